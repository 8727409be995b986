//! Values of control commands, before they are encoded as BINRPC or JSON.

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Integer.
    Int(i64),
    /// Floating point.
    Double(f64),
    /// Text.
    Str(String),
    /// Named values in order.
    Struct(Vec<(String, Value)>),
    /// A list.
    Array(Vec<Value>),
}

impl From<i64> for Value {
    fn from(i: i64) -> Self {
        Value::Int(i)
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::Str(s.to_string())
    }
}

impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::Str(s)
    }
}
