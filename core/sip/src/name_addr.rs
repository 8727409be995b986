//! name-addr: `"Display" <uri>;params` or `uri;params` (RFC 3261 §25.1), as in From, To, Contact,
//! Route and the identity headers. Positions only; the URI is read by [`crate::uri`].

use crate::param::{ParamSpans, Params};
use crate::scan::{find, is_ws, skip_quoted, skip_ws, trim_span};
use crate::span::{ParseError, Span};
use crate::uri::Uri;

/// An address with an optional display name and header parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// All of it.
    pub span: Span,
    /// The display name as written, its quotes included.
    pub display: Option<Span>,
    /// The URI, without `<>`.
    pub uri: Span,
    /// True where the URI stood in `<>`.
    pub bracketed: bool,
    /// Header parameters from the first `;`; empty at the end where there are none.
    pub params: Span,
    /// Value of the `tag` parameter.
    pub tag: Option<Span>,
}

impl NameAddr {
    /// Reads one at `span` of `buf`.
    pub fn parse(buf: &[u8], span: Span) -> Result<NameAddr, ParseError> {
        let span = trim_span(buf, span.at(), span.to());
        let (start, end) = (span.at(), span.to());
        if span.is_empty() {
            return Err(ParseError::new("an address is empty", start));
        }
        let (display, open) = if buf[start] == b'"' {
            let after = skip_quoted(buf, start, end).ok_or(ParseError::new(
                "a display name's quote never closes",
                start,
            ))?;
            let open = find(buf, after, end, |b| b == b'<');
            if open >= end {
                return Err(ParseError::new("no < after a quoted display name", after));
            }
            (Some(Span::new(start, after)), Some(open))
        } else {
            // A < inside a quoted parameter of a bare addr-spec opens nothing.
            let open = find(buf, start, end, |b| b == b'<' || b == b'"');
            if open < end && buf[open] == b'<' {
                let name = trim_span(buf, start, open);
                ((!name.is_empty()).then_some(name), Some(open))
            } else {
                (None, None)
            }
        };
        let (uri, after) = match open {
            Some(open) => {
                let close = find(buf, open + 1, end, |b| b == b'>');
                if close >= end {
                    return Err(ParseError::new("no > after a URI", open));
                }
                (trim_span(buf, open + 1, close), close + 1)
            }
            None => {
                let stop = find(buf, start, end, |b| b == b';' || is_ws(b));
                (Span::new(start, stop), stop)
            }
        };
        let rest = skip_ws(buf, after, end);
        if rest < end && buf[rest] != b';' {
            return Err(ParseError::new("unexpected text after an address", rest));
        }
        let params = if rest < end {
            Span::new(rest, end)
        } else {
            Span::new(end, end)
        };
        let tag = if params.is_empty() {
            None
        } else {
            ParamSpans::new(buf, params)
                .filter(|p| p.name.of(buf).eq_ignore_ascii_case(b"tag"))
                .find_map(|p| p.value)
        };
        Ok(NameAddr {
            span,
            display,
            uri,
            bracketed: open.is_some(),
            params,
            tag,
        })
    }

    /// The URI's bytes.
    pub fn uri_text<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.uri.of(buf)
    }

    /// The URI, read.
    pub fn uri<'a>(&self, buf: &'a [u8]) -> Result<Uri<'a>, ParseError> {
        Uri::parse(self.uri.of(buf))
    }

    /// The display name without its quotes.
    pub fn display_unquoted<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        let text = self.display?.of(buf);
        match text {
            [b'"', inner @ .., b'"'] => Some(inner),
            other => Some(other),
        }
    }

    /// The tag's bytes.
    pub fn tag<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.tag.map(|t| t.of(buf))
    }

    /// The header parameters.
    pub fn params<'a>(&self, buf: &'a [u8]) -> Params<'a> {
        Params(self.params.of(buf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let rows: &[(&str, Option<&str>, &str, Option<&str>)] = &[
            ("sip:a@b", None, "sip:a@b", None),
            ("sip:a@b;tag=1", None, "sip:a@b", Some("1")),
            ("<sip:a@b;lr>;tag=1", None, "sip:a@b;lr", Some("1")),
            ("<sip:a@b;tag=x>", None, "sip:a@b;tag=x", None),
            (
                "\"A \\\"<;,> B\" <sip:a@b> ; TAG = q",
                Some("\"A \\\"<;,> B\""),
                "sip:a@b",
                Some("q"),
            ),
            ("Bell Alex <sip:a@b>", Some("Bell Alex"), "sip:a@b", None),
            ("<sip:a@b>\r\n ;tag=98", None, "sip:a@b", Some("98")),
            ("sip:a@b;p=\"<x>\";tag=2", None, "sip:a@b", Some("2")),
        ];
        for (text, display, uri, tag) in rows {
            let b = text.as_bytes();
            let n = NameAddr::parse(b, Span::all(b)).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                n.display.map(|d| d.of(b)),
                display.map(str::as_bytes),
                "{text}"
            );
            assert_eq!(n.uri.of(b), uri.as_bytes(), "{text}");
            assert_eq!(n.tag(b), tag.map(str::as_bytes), "{text}");
        }
        for bad in [
            "",
            "\"x <sip:a@b>",
            "<sip:a@b",
            "\"x\" sip:a@b",
            "<sip:a@b> junk",
        ] {
            assert!(
                NameAddr::parse(bad.as_bytes(), Span::all(bad.as_bytes())).is_err(),
                "{bad}"
            );
        }
    }
}
