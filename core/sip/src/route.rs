//! Route, Record-Route, Path, Service-Route: name-addrs whose URI says loose (`lr`) or strict.

use crate::name_addr::NameAddr;
use crate::span::{ParseError, Span};
use crate::uri::Uri;

/// One value of a Route-like header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address.
    pub addr: NameAddr,
}

impl Route {
    /// Reads one value.
    pub fn parse(buf: &[u8], span: Span) -> Result<Route, ParseError> {
        Ok(Route {
            addr: NameAddr::parse(buf, span)?,
        })
    }

    /// The URI, read.
    pub fn uri<'a>(&self, buf: &'a [u8]) -> Result<Uri<'a>, ParseError> {
        self.addr.uri(buf)
    }

    /// True where the URI has `lr` (RFC 3261 §16.12).
    pub fn is_loose(&self, buf: &[u8]) -> bool {
        self.uri(buf).is_ok_and(|u| u.lr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_and_strict() {
        for (text, loose) in [
            ("<sip:p.example;lr>", true),
            ("<sip:p.example;lr=on>;x=1", true),
            ("<sip:p.example>", false),
            ("<sip:p.example>;lr", false),
        ] {
            let b = text.as_bytes();
            assert_eq!(
                Route::parse(b, Span::all(b)).unwrap().is_loose(b),
                loose,
                "{text}"
            );
        }
    }
}
