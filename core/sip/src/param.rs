//! Parameter lists: `;name=value`, `;flag`, `;name="quoted"`, and the comma form of credentials.
//!
//! One iterator serves Via, name-addr, Contact, URIs, Content-Type and digest credentials. It never
//! fails: what cannot be a parameter is skipped to the next separator.

use crate::scan::{find, is_ws, skip_quoted, skip_ws, trim_span};
use crate::span::Span;

/// One parameter as spans of the buffer it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamSpan {
    /// The name.
    pub name: Span,
    /// The value, without its quotes; `None` where there is no `=`.
    pub value: Option<Span>,
    /// True where the value was a quoted string (its escapes are kept).
    pub quoted: bool,
    /// The parameter with the separator before it and its quotes: what to remove.
    pub whole: Span,
}

/// Iterates over the parameters of a part of a buffer.
#[derive(Clone, Debug)]
pub struct ParamSpans<'a> {
    buf: &'a [u8],
    at: usize,
    end: usize,
    sep: u8,
}

impl<'a> ParamSpans<'a> {
    /// Parameters separated by `;` within `span`; a leading separator is allowed.
    pub fn new(buf: &'a [u8], span: Span) -> ParamSpans<'a> {
        ParamSpans::separated(buf, span, b';')
    }

    /// Parameters with another separator, as `,` in credentials.
    pub fn separated(buf: &'a [u8], span: Span, sep: u8) -> ParamSpans<'a> {
        ParamSpans {
            buf,
            at: span.at(),
            end: span.to().min(buf.len()),
            sep,
        }
    }
}

impl Iterator for ParamSpans<'_> {
    type Item = ParamSpan;

    fn next(&mut self) -> Option<ParamSpan> {
        let (buf, end, sep) = (self.buf, self.end, self.sep);
        loop {
            let mut whole = self.at;
            let mut at = skip_ws(buf, self.at, end);
            while at < end && buf[at] == sep {
                whole = at;
                at = skip_ws(buf, at + 1, end);
            }
            if at >= end {
                self.at = end;
                return None;
            }
            let name_end = find(buf, at, end, |b| b == b'=' || b == sep || is_ws(b));
            let name = Span::new(at, name_end);
            let eq = skip_ws(buf, name_end, end);
            let mut value = None;
            let mut quoted = false;
            let mut stop = name_end;
            if eq < end && buf[eq] == b'=' {
                let start = skip_ws(buf, eq + 1, end);
                match (start < end && buf[start] == b'"')
                    .then(|| skip_quoted(buf, start, end))
                    .flatten()
                {
                    Some(after) => {
                        quoted = true;
                        value = Some(Span::new(start + 1, after - 1));
                        stop = after;
                    }
                    None => {
                        let v = trim_span(buf, start, find(buf, start, end, |b| b == sep));
                        stop = v.to().max(eq + 1);
                        value = Some(v);
                    }
                }
            }
            self.at = find(buf, stop, end, |b| b == sep);
            // Junk before the separator belongs to what is replaced or removed.
            let junk = trim_span(buf, stop, self.at);
            if !junk.is_empty() {
                stop = junk.to();
            }
            if name.is_empty() {
                continue;
            }
            return Some(ParamSpan {
                name,
                value,
                quoted,
                whole: Span::new(whole, stop),
            });
        }
    }
}

/// One parameter as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name as written.
    pub name: &'a [u8],
    /// The value without quotes; `None` where there is no `=`.
    pub value: Option<&'a [u8]>,
    /// True where it was quoted.
    pub quoted: bool,
}

/// A raw `;`-separated parameter list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(pub &'a [u8]);

impl<'a> Params<'a> {
    /// Each in order.
    pub fn iter(self) -> impl Iterator<Item = Param<'a>> {
        let raw = self.0;
        ParamSpans::new(raw, Span::all(raw)).map(move |p| Param {
            name: p.name.of(raw),
            value: p.value.map(|v| v.of(raw)),
            quoted: p.quoted,
        })
    }

    /// The first of that name, in any case.
    pub fn get(self, name: &[u8]) -> Option<Param<'a>> {
        self.iter().find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// The value of the first of that name; the empty slice for a flag.
    pub fn value(self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name).map(|p| p.value.unwrap_or_default())
    }

    /// True where it is there, with or without a value.
    pub fn has(self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let raw = br#";lr ; tag = abc;x="a;\"b";;empty=;  =junk ;last"#;
        let got: Vec<(String, Option<String>)> = Params(raw)
            .iter()
            .map(|p| {
                (
                    String::from_utf8_lossy(p.name).into(),
                    p.value.map(|v| String::from_utf8_lossy(v).into()),
                )
            })
            .collect();
        let want = [
            ("lr", None),
            ("tag", Some("abc")),
            ("x", Some("a;\\\"b")),
            ("empty", Some("")),
            ("last", None),
        ];
        assert_eq!(got.len(), want.len(), "{got:?}");
        for (g, w) in got.iter().zip(want) {
            assert_eq!((g.0.as_str(), g.1.as_deref()), w);
        }
        assert_eq!(Params(raw).value(b"TAG"), Some(b"abc".as_slice()));
        assert!(Params(raw).has(b"lr"));
    }

    #[test]
    fn whole_covers_separator_and_quotes() {
        let raw = br#"x;a="1";b"#;
        let all: Vec<_> = ParamSpans::new(raw, Span::new(1, raw.len())).collect();
        assert_eq!(all[0].whole.of(raw), br#";a="1""#);
        assert_eq!(all[1].whole.of(raw), b";b");
    }
}
