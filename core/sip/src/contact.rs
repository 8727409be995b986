//! Contact (RFC 3261 §20.10) with what registrars need: q, expires, instance and reg-id (RFC 5626).

use crate::name_addr::NameAddr;
use crate::param::ParamSpans;
use crate::scan::{number, number_saturating};
use crate::span::{ParseError, Span};

/// One value of a Contact header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Address and raw parameters.
    pub addr: NameAddr,
    /// Preference, 0 to 1000 for 0.0 to 1.0.
    pub q: Option<u16>,
    /// Seconds; digits too large for 32 bits give `u32::MAX`.
    pub expires: Option<u32>,
    /// `+sip.instance`, without quotes, `<>` kept.
    pub instance: Option<Span>,
    /// `reg-id`.
    pub reg_id: Option<u32>,
    /// `received`, as some proxies add it.
    pub received: Option<Span>,
    /// `methods`, without quotes.
    pub methods: Option<Span>,
}

/// All Contact values of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contacts<'a> {
    /// `Contact: *`
    Star,
    /// The addresses; empty where there is no Contact header.
    List(&'a [Contact]),
}

impl<'a> Contacts<'a> {
    /// The addresses; empty for `*`.
    pub fn list(self) -> &'a [Contact] {
        match self {
            Contacts::Star => &[],
            Contacts::List(list) => list,
        }
    }

    /// True for `*`.
    pub fn is_star(self) -> bool {
        matches!(self, Contacts::Star)
    }
}

impl Contact {
    /// Reads one value.
    pub fn parse(buf: &[u8], span: Span) -> Result<Contact, ParseError> {
        let addr = NameAddr::parse(buf, span)?;
        let mut contact = Contact {
            addr,
            q: None,
            expires: None,
            instance: None,
            reg_id: None,
            received: None,
            methods: None,
        };
        for p in ParamSpans::new(buf, addr.params) {
            let Some(value) = p.value else { continue };
            let name = p.name.of(buf);
            let text = value.of(buf);
            if name.eq_ignore_ascii_case(b"q") {
                contact.q =
                    Some(parse_q(text).ok_or(ParseError::new("q is not 0 to 1", value.at()))?);
            } else if name.eq_ignore_ascii_case(b"expires") {
                contact.expires = number_saturating(text);
            } else if name.eq_ignore_ascii_case(b"+sip.instance") {
                contact.instance = Some(value);
            } else if name.eq_ignore_ascii_case(b"reg-id") {
                contact.reg_id = number(text);
            } else if name.eq_ignore_ascii_case(b"received") {
                contact.received = Some(value);
            } else if name.eq_ignore_ascii_case(b"methods") {
                contact.methods = Some(value);
            }
        }
        Ok(contact)
    }
}

/// A qvalue (`0`, `0.7`, `1.000`, `.5`) as thousandths; `None` outside 0 to 1.
pub fn parse_q(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match memchr::memchr(b'.', text) {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { number(whole)? };
    let mut q = whole.checked_mul(1000)?;
    let mut unit = 100;
    for b in fraction {
        if !b.is_ascii_digit() {
            return None;
        }
        q += u32::from(b - b'0') * unit;
        unit /= 10;
    }
    u16::try_from(q).ok().filter(|q| *q <= 1000)
}

/// Writes thousandths as a qvalue: `1`, `0.7`, `0.25`.
pub fn format_q(q: u16) -> String {
    let q = q.min(1000);
    if q.is_multiple_of(1000) {
        return (q / 1000).to_string();
    }
    let text = format!("0.{q:03}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_table() {
        let rows: &[(&str, Option<u16>)] = &[
            ("1", Some(1000)),
            ("1.0", Some(1000)),
            ("0", Some(0)),
            ("0.7", Some(700)),
            (".25", Some(250)),
            ("0.1234", Some(123)),
            ("1.1", None),
            ("-1", None),
            ("", None),
            (".", None),
            ("a", None),
        ];
        for (text, want) in rows {
            assert_eq!(parse_q(text.as_bytes()), *want, "{text}");
        }
        for q in 0..=1000u16 {
            assert_eq!(parse_q(format_q(q).as_bytes()), Some(q));
        }
    }

    #[test]
    fn outbound_contact() {
        let b = br#"<sip:a@b;ob>;q=0.5;expires=99999999999;+sip.instance="<urn:uuid:1>";reg-id=1"#;
        let c = Contact::parse(b, Span::all(b)).unwrap();
        assert_eq!(
            (c.q, c.expires, c.reg_id),
            (Some(500), Some(u32::MAX), Some(1))
        );
        assert_eq!(c.instance.unwrap().of(b), b"<urn:uuid:1>");
    }
}
