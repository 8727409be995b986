//! What a control command takes and answers, whatever the protocol.

use serde_json::{Map, Number};

/// One value of a reply. A whole reply is a `Vec<Value>`: commands answer with several in a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A decimal number.
    Double(f64),
    /// A text.
    Str(String),
    /// Named values, in order; names may repeat, or be empty (BINRPC has nameless members; a
    /// structure of only such ones is an array in JSON).
    Struct(Vec<(String, Value)>),
    /// Values in order.
    Array(Vec<Value>),
}

impl Value {
    /// As JSON. A name that repeats in a structure becomes one member with an array, since JSON
    /// objects name each member once.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Int(number) => Json::from(*number),
            Value::Double(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
            Value::Str(text) => Json::from(text.as_str()),
            Value::Array(values) => values.iter().map(Value::to_json).collect(),
            Value::Struct(members)
                if !members.is_empty() && members.iter().all(|(name, _)| name.is_empty()) =>
            {
                members.iter().map(|(_, value)| value.to_json()).collect()
            }
            Value::Struct(members) => {
                let mut object = Map::new();
                for (name, value) in members {
                    if object.contains_key(name) {
                        continue;
                    }
                    let mut same: Vec<Json> = members
                        .iter()
                        .filter(|(other, _)| other == name)
                        .map(|(_, value)| value.to_json())
                        .collect();
                    let json = if same.len() > 1 {
                        Json::Array(same)
                    } else {
                        same.pop().unwrap_or_else(|| value.to_json())
                    };
                    object.insert(name.clone(), json);
                }
                Json::Object(object)
            }
        }
    }

    /// From JSON; `null` and booleans become what the command line makes of them: "", 0 and 1.
    pub fn from_json(json: &serde_json::Value) -> Value {
        use serde_json::Value as Json;
        match json {
            Json::Null => Value::Str(String::new()),
            Json::Bool(yes) => Value::Int(i64::from(*yes)),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Value::Int(integer),
                None => Value::Double(number.as_f64().unwrap_or(0.0)),
            },
            Json::String(text) => Value::Str(text.clone()),
            Json::Array(values) => Value::Array(values.iter().map(Value::from_json).collect()),
            Json::Object(members) => Value::Struct(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), Value::from_json(value)))
                    .collect(),
            ),
        }
    }

    /// A whole reply as JSON: the value itself when it is one, else an array.
    pub fn reply_to_json(reply: &[Value]) -> serde_json::Value {
        match reply {
            [one] => one.to_json(),
            several => several.iter().map(Value::to_json).collect(),
        }
    }

    /// The integer, also of a text that is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Double(number) => Some(*number as i64),
            Value::Str(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The number, also of a text that is one.
    pub fn as_double(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(*number as f64),
            Value::Double(number) => Some(*number),
            Value::Str(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Value::Int(number) => Some(number.to_string()),
            Value::Double(number) => Some(number.to_string()),
            Value::Str(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// The text itself, of a text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Double(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_become_an_array() {
        let slot = |n: i64| ("slot".to_owned(), Value::Int(n));
        let value = Value::Struct(vec![
            slot(1),
            ("size".to_owned(), Value::Str("x".into())),
            slot(2),
        ]);
        assert_eq!(value.to_json().to_string(), r#"{"slot":[1,2],"size":"x"}"#);
        assert_eq!(
            Value::reply_to_json(&[Value::Int(1), Value::Double(1.5)]).to_string(),
            "[1,1.5]"
        );
    }
}
