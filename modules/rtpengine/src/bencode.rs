//! Bencode: the encoding of rtpengine's ng protocol. Integers, byte strings, lists, dictionaries.
//!
//! Decoding takes bytes from the network: it never goes deeper than [`DEPTH`] and never trusts a length.

use serde_json::Value as Json;

/// Deepest nesting that is decoded.
const DEPTH: usize = 32;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// Bytes, mostly text.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// Keys and values in the order given; encoded in the order of keys.
    Dict(Vec<(Vec<u8>, Value)>),
}

impl From<&str> for Value {
    fn from(s: &str) -> Value {
        Value::Bytes(s.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Value {
    fn from(s: &[u8]) -> Value {
        Value::Bytes(s.to_vec())
    }
}

impl Value {
    /// The value under a key of a dictionary.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Dict(d) => d.iter().find(|(k, _)| k == key.as_bytes()).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The value at the end of a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |v, k| v.get(k))
    }

    /// The bytes of a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(b) => Some(b),
            _ => None,
        }
    }

    /// A number; a string of digits counts.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(i) => Some(*i),
            Value::Bytes(b) => std::str::from_utf8(b).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The members of a dictionary.
    pub fn members(&self) -> &[(Vec<u8>, Value)] {
        match self {
            Value::Dict(d) => d,
            _ => &[],
        }
    }

    /// The members of a list.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::List(l) => l,
            _ => &[],
        }
    }

    /// As JSON; bytes that are no UTF-8 are replaced.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Int(i) => Json::from(*i),
            Value::Bytes(b) => Json::from(String::from_utf8_lossy(b).into_owned()),
            Value::List(l) => l.iter().map(Value::to_json).collect(),
            Value::Dict(d) => Json::Object(
                d.iter()
                    .map(|(k, v)| (String::from_utf8_lossy(k).into_owned(), v.to_json()))
                    .collect(),
            ),
        }
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Int(i) => out.extend(format!("i{i}e").bytes()),
            Value::Bytes(b) => encode_bytes(b, out),
            Value::List(l) => {
                out.push(b'l');
                l.iter().for_each(|v| v.encode(out));
                out.push(b'e');
            }
            Value::Dict(d) => {
                let mut sorted: Vec<_> = d.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                out.push(b'd');
                for (k, v) in sorted {
                    encode_bytes(k, out);
                    v.encode(out);
                }
                out.push(b'e');
            }
        }
    }

    /// Decodes a whole text; `None` where it is none.
    pub fn decode(bytes: &[u8]) -> Option<Value> {
        let mut rest = bytes;
        let v = value(&mut rest, DEPTH)?;
        rest.trim_ascii().is_empty().then_some(v)
    }
}

fn encode_bytes(b: &[u8], out: &mut Vec<u8>) {
    out.extend(format!("{}:", b.len()).bytes());
    out.extend_from_slice(b);
}

fn value(rest: &mut &[u8], depth: usize) -> Option<Value> {
    let deeper = depth.checked_sub(1)?;
    match *rest.first()? {
        b'i' => {
            *rest = &rest[1..];
            number(rest, b'e').map(Value::Int)
        }
        b'l' => {
            *rest = &rest[1..];
            let mut list = Vec::new();
            while *rest.first()? != b'e' {
                list.push(value(rest, deeper)?);
            }
            *rest = &rest[1..];
            Some(Value::List(list))
        }
        b'd' => {
            *rest = &rest[1..];
            let mut dict = Vec::new();
            while *rest.first()? != b'e' {
                let key = string(rest)?;
                dict.push((key, value(rest, deeper)?));
            }
            *rest = &rest[1..];
            Some(Value::Dict(dict))
        }
        _ => string(rest).map(Value::Bytes),
    }
}

/// A decimal number up to and with the byte `end`.
fn number(rest: &mut &[u8], end: u8) -> Option<i64> {
    // No number that is one has more digits.
    let at = rest.iter().take(21).position(|b| *b == end)?;
    let n = std::str::from_utf8(&rest[..at]).ok()?.parse().ok()?;
    *rest = &rest[at + 1..];
    Some(n)
}

fn string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let len = usize::try_from(number(rest, b':')?).ok()?;
    let text = rest.get(..len)?.to_vec();
    *rest = &rest[len..];
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::Int),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(4, 30, 5, |inner| {
            let key = prop::collection::vec(any::<u8>(), 0..6);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
                prop::collection::btree_map(key, inner, 0..5)
                    .prop_map(|m| Value::Dict(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_round_trip(v in any_value()) {
            let mut out = Vec::new();
            v.encode(&mut out);
            prop_assert_eq!(Value::decode(&out), Some(v));
        }

        #[test]
        fn no_bytes_do_harm(b in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Value::decode(&b);
        }

        #[test]
        fn no_near_miss_does_harm(b in "[idle0-9:]{0,60}") {
            let _ = Value::decode(b.as_bytes());
        }
    }

    #[test]
    fn known_texts() {
        let v = Value::decode(b"d6:result4:ponge").unwrap();
        assert_eq!(
            v.get("result").and_then(Value::as_bytes),
            Some(&b"pong"[..])
        );
        assert_eq!(v.to_json().to_string(), r#"{"result":"pong"}"#);
        for bad in [
            "",
            "d",
            "i12",
            "5:abc",
            "i1ei2e",
            "99999999999999999999:",
            "d1:ae",
        ] {
            assert_eq!(Value::decode(bad.as_bytes()), None, "{bad}");
        }
        let deep = ["l".repeat(100), "e".repeat(100)].concat();
        assert_eq!(Value::decode(deep.as_bytes()), None);
        let mut out = Vec::new();
        Value::Dict(vec![
            (b"b".to_vec(), Value::Int(1)),
            (b"a".to_vec(), Value::Int(-2)),
        ])
        .encode(&mut out);
        assert_eq!(out, b"d1:ai-2e1:bi1ee");
    }
}
