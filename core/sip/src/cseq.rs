//! CSeq (RFC 3261 §20.16) and RAck (RFC 3262 §7.2).

use crate::method::Method;
use crate::scan::{find, is_ws, number, skip_ws, trim_span};
use crate::span::{ParseError, Span};

/// A CSeq value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// The sequence number.
    pub number: u32,
    /// Its digits as written.
    pub number_text: Span,
    /// The method.
    pub method: Method,
    /// The method's text.
    pub method_text: Span,
}

impl CSeq {
    /// Reads `number method`.
    pub fn parse(buf: &[u8], span: Span) -> Result<CSeq, ParseError> {
        let span = trim_span(buf, span.at(), span.to());
        let end = span.to();
        let digits = Span::new(span.at(), find(buf, span.at(), end, is_ws));
        let number = number(digits.of(buf))
            .ok_or(ParseError::new("CSeq has no 32-bit number", span.at()))?;
        let start = skip_ws(buf, digits.to(), end);
        let method_text = Span::new(start, find(buf, start, end, is_ws));
        if method_text.is_empty() || method_text.to() != end {
            return Err(ParseError::new("CSeq has no single method", start));
        }
        Ok(CSeq {
            number,
            number_text: digits,
            method: Method::parse(method_text.of(buf)),
            method_text,
        })
    }
}

/// A RAck value: which reliable provisional reply is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RAck {
    /// The reply's RSeq.
    pub rseq: u32,
    /// The CSeq it belongs to.
    pub cseq: CSeq,
}

impl RAck {
    /// Reads `rseq cseq-number method`.
    pub fn parse(buf: &[u8], span: Span) -> Result<RAck, ParseError> {
        let span = trim_span(buf, span.at(), span.to());
        let stop = find(buf, span.at(), span.to(), is_ws);
        let rseq = number(Span::new(span.at(), stop).of(buf))
            .ok_or(ParseError::new("RAck has no 32-bit number", span.at()))?;
        Ok(RAck {
            rseq,
            cseq: CSeq::parse(buf, Span::new(stop, span.to()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let rows: &[(&str, Option<(u32, Method)>)] = &[
            ("1 INVITE", Some((1, Method::Invite))),
            ("0009\r\n  INVITE", Some((9, Method::Invite))),
            (" 4294967295\tFOO ", Some((u32::MAX, Method::Other))),
            ("36893488147419103232 REGISTER", None),
            ("INVITE", None),
            ("1", None),
            ("1 INVITE x", None),
            ("", None),
        ];
        for (text, want) in rows {
            let b = text.as_bytes();
            let got = CSeq::parse(b, Span::all(b))
                .ok()
                .map(|c| (c.number, c.method));
            assert_eq!(got, *want, "{text:?}");
        }
        let b = b"776656 1 INVITE";
        let r = RAck::parse(b, Span::all(b)).unwrap();
        assert_eq!(
            (r.rseq, r.cseq.number, r.cseq.method),
            (776656, 1, Method::Invite)
        );
    }
}
