//! What crosses the border between routing scripts and exported functions.
//!
//! A script hands over integers, strings and booleans; a function gives one value back. Strings
//! are bytes: SIP text comes from the network and need not be UTF-8. Arguments borrow from the
//! interpreter's stack, so a call copies nothing.

use std::borrow::Cow;

/// A value seen by scripts and pseudo-variables. `Null` is Kamailio's `$null`, Lua's `nil`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Val<'a> {
    /// No value.
    #[default]
    Null,
    /// A 64-bit integer.
    Int(i64),
    /// True or false, where the script language has such a type.
    Bool(bool),
    /// Bytes.
    Str(Cow<'a, [u8]>),
    /// An ordered list (KEMI type array).
    List(Vec<Val<'a>>),
    /// Named values in order (KEMI type dict).
    Dict(Vec<(String, Val<'a>)>),
}

impl<'a> Val<'a> {
    /// Borrowed bytes as a value.
    pub fn bytes(b: &'a [u8]) -> Val<'a> {
        Val::Str(Cow::Borrowed(b))
    }

    /// Borrowed text as a value.
    pub fn text(s: &'a str) -> Val<'a> {
        Val::Str(Cow::Borrowed(s.as_bytes()))
    }

    /// Owned bytes as a value.
    pub fn owned(b: impl Into<Vec<u8>>) -> Val<'a> {
        Val::Str(Cow::Owned(b.into()))
    }

    /// `Null` for `None`.
    pub fn opt(b: Option<&'a [u8]>) -> Val<'a> {
        b.map_or(Val::Null, Val::bytes)
    }

    /// Whether this is `Null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Val::Null)
    }

    /// The value as an integer: strings are parsed, as Kamailio does where an int is wanted.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Val::Int(i) => Some(*i),
            Val::Bool(b) => Some(i64::from(*b)),
            Val::Str(s) => parse_int(s),
            _ => None,
        }
    }

    /// The value as bytes: integers are printed in decimal. `None` for null and aggregates.
    pub fn as_bytes(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Val::Int(i) => Some(Cow::Owned(i.to_string().into_bytes())),
            Val::Bool(b) => Some(Cow::Borrowed(if *b { b"1" } else { b"0" })),
            Val::Str(s) => Some(Cow::Borrowed(s)),
            _ => None,
        }
    }

    /// Takes the bytes out, printing an integer.
    pub fn into_bytes(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Val::Str(s) => Some(s),
            Val::Int(i) => Some(Cow::Owned(i.to_string().into_bytes())),
            Val::Bool(b) => Some(Cow::Borrowed(if b { b"1" } else { b"0" })),
            _ => None,
        }
    }

    /// A copy that borrows from nothing.
    pub fn into_owned(self) -> Val<'static> {
        match self {
            Val::Null => Val::Null,
            Val::Int(i) => Val::Int(i),
            Val::Bool(b) => Val::Bool(b),
            Val::Str(s) => Val::Str(Cow::Owned(s.into_owned())),
            Val::List(l) => Val::List(l.into_iter().map(Val::into_owned).collect()),
            Val::Dict(d) => Val::Dict(d.into_iter().map(|(k, v)| (k, v.into_owned())).collect()),
        }
    }

    /// The name of the type, for error messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Val::Null => "nil",
            Val::Int(_) => "integer",
            Val::Bool(_) => "boolean",
            Val::Str(_) => "string",
            Val::List(_) => "array",
            Val::Dict(_) => "table",
        }
    }
}

impl From<i64> for Val<'_> {
    fn from(i: i64) -> Self {
        Val::Int(i)
    }
}

impl<'a> From<&'a [u8]> for Val<'a> {
    fn from(b: &'a [u8]) -> Self {
        Val::bytes(b)
    }
}

impl From<Vec<u8>> for Val<'_> {
    fn from(b: Vec<u8>) -> Self {
        Val::Str(Cow::Owned(b))
    }
}

impl From<String> for Val<'_> {
    fn from(s: String) -> Self {
        Val::Str(Cow::Owned(s.into_bytes()))
    }
}

/// Reads a decimal (or `0x…`) integer that fills the whole of `s`, blanks around it allowed.
pub fn parse_int(s: &[u8]) -> Option<i64> {
    let t = std::str::from_utf8(s).ok()?.trim();
    match t.strip_prefix("0x").or_else(|| t.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => t.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_kamailio_reads_them() {
        for (text, want) in [
            ("12", Some(12)),
            (" -3 ", Some(-3)),
            ("0x1f", Some(31)),
            ("", None),
            ("1a", None),
        ] {
            assert_eq!(parse_int(text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn bytes_of_an_integer_are_its_decimal_digits() {
        assert_eq!(Val::Int(-7).as_bytes().unwrap().as_ref(), b"-7");
        assert!(Val::Null.as_bytes().is_none());
    }
}
