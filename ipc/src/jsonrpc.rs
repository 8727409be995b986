//! JSON-RPC 2.0: parsing requests, and building replies as text.
//!
//! Transport-free, and without batches (the servers whose tools call us have none: a batch is
//! answered with an error). Parameters may be positional or named; named ones keep their order.

use crate::value::Value;
use serde_json::{Value as Json, json};

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The command.
    pub method: String,
    /// Its arguments.
    pub params: Params,
    /// To be repeated in the reply; `None` is a notification, which is not answered.
    pub id: Option<Json>,
}

/// Arguments of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Params {
    /// By position.
    Positional(Vec<Value>),
    /// By name, in the order given.
    Named(Vec<(String, Value)>),
}

impl Params {
    /// The values in order, whether named or not: what a command with positional arguments takes.
    pub fn into_values(self) -> Vec<Value> {
        match self {
            Params::Positional(values) => values,
            Params::Named(members) => members.into_iter().map(|(_, value)| value).collect(),
        }
    }
}

/// Why a text is no call; carries the code of the specification and what to answer with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct JsonRpcError {
    /// -32700 parse error, -32600 invalid request, -32602 invalid params.
    pub code: i64,
    /// What is wrong.
    pub message: String,
    /// The id of the call, where it could be read.
    pub id: Json,
}

/// The text is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// It is JSON, but no call.
pub const INVALID_REQUEST: i64 = -32600;
/// There is no such command.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The parameters are neither an array nor an object.
pub const INVALID_PARAMS: i64 = -32602;
/// The command failed inside.
pub const INTERNAL_ERROR: i64 = -32603;

/// Parses one call.
pub fn parse(text: &[u8]) -> Result<Request, JsonRpcError> {
    let error = |code, message: &str, id: &Json| JsonRpcError {
        code,
        message: message.to_owned(),
        id: id.clone(),
    };
    let json: Json = serde_json::from_slice(text)
        .map_err(|why| error(PARSE_ERROR, &format!("Parse error: {why}"), &Json::Null))?;
    let Json::Object(mut call) = json else {
        let what = if json.is_array() {
            "Invalid Request: batches are not supported"
        } else {
            "Invalid Request"
        };
        return Err(error(INVALID_REQUEST, what, &Json::Null));
    };
    let id = call.remove("id");
    let answer_to = id.clone().unwrap_or(Json::Null);
    if id
        .as_ref()
        .is_some_and(|id| id.is_object() || id.is_array() || id.is_boolean())
    {
        return Err(error(
            INVALID_REQUEST,
            "Invalid Request: an id is a text or a number",
            &Json::Null,
        ));
    }
    // Some clients leave the version out; another than 2.0 is refused.
    if call.get("jsonrpc").is_some_and(|version| version != "2.0") {
        return Err(error(
            INVALID_REQUEST,
            "Invalid Request: jsonrpc must be \"2.0\"",
            &answer_to,
        ));
    }
    let Some(Json::String(method)) = call.remove("method") else {
        return Err(error(
            INVALID_REQUEST,
            "Invalid Request: no method",
            &answer_to,
        ));
    };
    let params = match call.remove("params") {
        None | Some(Json::Null) => Params::Positional(Vec::new()),
        Some(Json::Array(values)) => {
            Params::Positional(values.iter().map(Value::from_json).collect())
        }
        Some(Json::Object(members)) => Params::Named(
            members
                .iter()
                .map(|(name, value)| (name.clone(), Value::from_json(value)))
                .collect(),
        ),
        Some(_) => {
            return Err(error(
                INVALID_PARAMS,
                "Invalid params: neither array nor object",
                &answer_to,
            ));
        }
    };
    Ok(Request { method, params, id })
}

/// The reply to a call that succeeded.
pub fn reply(id: &Json, result: &[Value]) -> Json {
    json!({ "jsonrpc": "2.0", "result": Value::reply_to_json(result), "id": id })
}

/// The reply to a call that failed.
pub fn fault(id: &Json, code: i64, message: &str) -> Json {
    json!({ "jsonrpc": "2.0", "error": { "code": code, "message": message }, "id": id })
}

/// A call, for clients.
pub fn request(method: &str, params: &[Value], id: u64) -> Json {
    let params: Vec<Json> = params.iter().map(Value::to_json).collect();
    json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn calls_of_the_specification() {
        let table = [
            (
                r#"{"jsonrpc":"2.0","method":"core.echo","params":[1,"a",2.5],"id":7}"#,
                Ok((3, Some(json!(7)))),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"x","params":{"b":1,"a":2},"id":"q"}"#,
                Ok((2, Some(json!("q")))),
            ),
            (r#"{"jsonrpc":"2.0","method":"notify"}"#, Ok((0, None))),
            (
                r#"{"jsonrpc":"2.0","method":"foobar, "params":"bar","baz]"#,
                Err(PARSE_ERROR),
            ),
            (
                r#"{"jsonrpc":"2.0","method":1,"params":"bar"}"#,
                Err(INVALID_REQUEST),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"x","params":"bar"}"#,
                Err(INVALID_PARAMS),
            ),
            (r#"{"jsonrpc":"1.0","method":"x"}"#, Err(INVALID_REQUEST)),
            ("[]", Err(INVALID_REQUEST)),
            ("1", Err(INVALID_REQUEST)),
        ];
        for (text, expected) in table {
            let got = parse(text.as_bytes()).map(|call| (call.params.into_values().len(), call.id));
            assert_eq!(got.map_err(|error| error.code), expected, "{text}");
        }
    }

    #[test]
    fn replies() {
        let one = reply(&json!(1), &[Value::Str("ok".into())]);
        assert_eq!(one.to_string(), r#"{"jsonrpc":"2.0","result":"ok","id":1}"#);
        let failed = fault(&json!("a"), 500, "command x not found");
        assert_eq!(
            failed.to_string(),
            r#"{"jsonrpc":"2.0","error":{"code":500,"message":"command x not found"},"id":"a"}"#
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
