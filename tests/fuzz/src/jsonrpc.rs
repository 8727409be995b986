//! JSON-RPC: what is a call stays the same call when it is written by position and read again.

use olelo_ipc::Value;
use olelo_ipc::jsonrpc::{self, Params};

/// See the file's essay.
pub fn target(bytes: &[u8]) {
    let request = match jsonrpc::parse(bytes) {
        Ok(r) => r,
        Err(e) => {
            let fault = jsonrpc::fault(&e.id, e.code, &e.message).to_string();
            let back: serde_json::Value = serde_json::from_str(&fault).expect("a fault is JSON");
            assert_eq!(back["error"]["code"], e.code);
            return;
        }
    };
    if let Some(id) = &request.id {
        assert!(!id.is_object() && !id.is_array(), "an id is a scalar");
    }
    let method = request.method.clone();
    let values = request.params.into_values();
    let text = jsonrpc::request(&method, &values, 7).to_string();
    let again = jsonrpc::parse(text.as_bytes()).expect("what we write is a call");
    assert_eq!(again.method, method);
    let Params::Positional(back) = again.params else {
        panic!("values are given by position");
    };
    assert_eq!(back.len(), values.len(), "{text}");
    let twice = jsonrpc::request(&method, &back, 7).to_string();
    assert_eq!(twice, text, "what was read writes the same");
    let reply = jsonrpc::reply(&request.id.unwrap_or_default(), &values).to_string();
    serde_json::from_str::<serde_json::Value>(&reply).expect("a reply is JSON");
    for v in &values {
        let _ = (v.as_int(), v.as_double(), v.to_text(), v.as_str());
        depth(v, 0);
    }
}

/// Nesting is bounded: whoever walks a value may recurse.
fn depth(v: &Value, n: usize) {
    assert!(n < 200, "nested deeper than any walker may expect");
    match v {
        Value::Array(items) => items.iter().for_each(|i| depth(i, n + 1)),
        Value::Struct(members) => members.iter().for_each(|(_, m)| depth(m, n + 1)),
        _ => {}
    }
}
