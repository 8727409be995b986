//! SIP, SIPS, TEL and URN URIs (RFC 3261 §19.1, RFC 3966): read, compared, escaped.
//!
//! [`Uri`] borrows the text it was read from; owning and changing one is [`crate::uri_buf`].

use crate::param::Params;
use crate::scan::{find, number};
use crate::span::ParseError;
use std::borrow::Cow;
use std::net::IpAddr;

/// A URI's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// `urn:`
    Urn,
    /// Anything else.
    Other,
}

/// A transport named in a URI or Via.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// SCTP.
    Sctp,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// Unknown.
    Other,
}

impl Transport {
    /// From a name in any case.
    pub fn parse(text: &[u8]) -> Transport {
        use Transport::*;
        for t in [Udp, Tcp, Tls, Ws, Wss, Sctp] {
            if text.eq_ignore_ascii_case(t.as_str().as_bytes()) {
                return t;
            }
        }
        Other
    }

    /// Lower-case name, as in a `transport=` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Sctp => "sctp",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
            Transport::Other => "other",
        }
    }

    /// Upper-case name, as in Via.
    pub fn via_name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Sctp => "SCTP",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
            Transport::Other => "OTHER",
        }
    }

    /// True for streams, which never lose a request.
    pub fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp | Transport::Other)
    }
}

/// What a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostKind {
    /// An IPv4 address.
    V4,
    /// An IPv6 reference in brackets.
    V6,
    /// A name.
    Name,
}

/// A URI, as parts of the text it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The whole text.
    pub text: &'a [u8],
    /// The scheme.
    pub scheme: Scheme,
    /// The user with its own `;` parameters; for `tel:` the number.
    pub user: Option<&'a [u8]>,
    /// The password.
    pub password: Option<&'a [u8]>,
    /// The host, IPv6 in brackets; for `tel:` empty, for others all after the scheme.
    pub host: &'a [u8],
    /// The port.
    pub port: Option<u16>,
    /// URI parameters, without the first `;`.
    pub params: &'a [u8],
    /// URI headers, without the `?`.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads one from all of `text` (without `<>`).
    pub fn parse(text: &'a [u8]) -> Result<Uri<'a>, ParseError> {
        let colon = memchr::memchr(b':', text).ok_or(ParseError::new("a URI has no scheme", 0))?;
        let scheme = match &text[..colon] {
            b"sip" => Scheme::Sip,
            s if s.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
            s if s.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
            s if s.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
            s if s.eq_ignore_ascii_case(b"urn") => Scheme::Urn,
            s if s.first().is_some_and(u8::is_ascii_alphabetic)
                && s.iter()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) =>
            {
                Scheme::Other
            }
            _ => return Err(ParseError::new("a URI's scheme is malformed", 0)),
        };
        let rest = &text[colon + 1..];
        let marks = Marks::of(rest).map_err(|bad| {
            ParseError::new(
                "a URI has a space, a bracket or a control byte",
                colon + 1 + bad,
            )
        })?;
        match scheme {
            Scheme::Sip | Scheme::Sips => Uri::parse_sip(text, scheme, colon + 1, &marks),
            Scheme::Tel => Uri::parse_tel(text, colon + 1),
            _ if rest.is_empty() => Err(ParseError::new("a URI is empty", colon + 1)),
            _ => Ok(Uri {
                text,
                scheme,
                user: None,
                password: None,
                host: rest,
                port: None,
                params: b"",
                headers: b"",
            }),
        }
    }

    fn parse_sip(
        text: &'a [u8],
        scheme: Scheme,
        start: usize,
        marks: &Marks,
    ) -> Result<Uri<'a>, ParseError> {
        let end = text.len();
        let (user, password, host_at) = match marks.at {
            Some(n) => {
                let info = &text[start..start + n];
                let (user, password) = match marks.colon {
                    Some(c) => (&info[..c], Some(&info[c + 1..])),
                    None => (info, None),
                };
                if user.is_empty() {
                    return Err(ParseError::new("a URI has @ but no user", start));
                }
                (Some(user), password, start + n + 1)
            }
            None => (None, None, start),
        };
        let host_end = if text.get(host_at) == Some(&b'[') {
            match memchr::memchr(b']', &text[host_at..]) {
                Some(n) => host_at + n + 1,
                None => {
                    return Err(ParseError::new(
                        "a URI's IPv6 address never closes",
                        host_at,
                    ));
                }
            }
        } else {
            marks.host_end.map_or(end, |n| start + n)
        };
        let host = &text[host_at..host_end];
        if host.is_empty() || marks.more_at && host.contains(&b'@') {
            return Err(ParseError::new("a URI has no host", host_at));
        }
        let mut at = host_end;
        let mut port = None;
        if text.get(at) == Some(&b':') {
            let stop = find(text, at + 1, end, |b| !b.is_ascii_digit());
            let digits = &text[at + 1..stop];
            port = Some(
                number(digits)
                    .and_then(|n| u16::try_from(n).ok())
                    .ok_or(ParseError::new("a URI's port is no 16-bit number", at + 1))?,
            );
            at = stop;
        }
        let (params, headers) = match text.get(at) {
            None => (&b""[..], &b""[..]),
            Some(b';') => split_headers(&text[at + 1..]),
            Some(b'?') => (&b""[..], &text[at + 1..]),
            Some(_) => return Err(ParseError::new("unexpected text after a URI's host", at)),
        };
        Ok(Uri {
            text,
            scheme,
            user,
            password,
            host,
            port,
            params,
            headers,
        })
    }

    fn parse_tel(text: &'a [u8], start: usize) -> Result<Uri<'a>, ParseError> {
        let stop = find(text, start, text.len(), |b| b == b';' || b == b'?');
        if stop == start {
            return Err(ParseError::new("a tel URI has no number", start));
        }
        let (params, headers) = match text.get(stop) {
            Some(b';') => split_headers(&text[stop + 1..]),
            Some(b'?') => (&b""[..], &text[stop + 1..]),
            _ => (&b""[..], &b""[..]),
        };
        Ok(Uri {
            text,
            scheme: Scheme::Tel,
            user: Some(&text[start..stop]),
            password: None,
            host: b"",
            port: None,
            params,
            headers,
        })
    }

    /// The URI parameters.
    pub fn params(&self) -> Params<'a> {
        Params(self.params)
    }

    /// A URI parameter's value; empty for a flag.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params().value(name)
    }

    /// The `transport` parameter.
    pub fn transport(&self) -> Option<Transport> {
        self.param(b"transport").map(Transport::parse)
    }

    /// The transport it asks for: its parameter, else TLS for `sips`, else UDP.
    pub fn effective_transport(&self) -> Transport {
        match (self.scheme, self.transport()) {
            (Scheme::Sips, Some(Transport::Tcp | Transport::Udp) | None) => Transport::Tls,
            (_, Some(t)) => t,
            (_, None) => Transport::Udp,
        }
    }

    /// The port it asks for: its own, else 5061 for TLS, 80/443 for WebSocket, else 5060.
    pub fn effective_port(&self) -> u16 {
        self.port
            .unwrap_or_else(|| match self.effective_transport() {
                Transport::Tls => 5061,
                Transport::Ws => 80,
                Transport::Wss => 443,
                _ => 5060,
            })
    }

    /// True with `lr`.
    pub fn lr(&self) -> bool {
        self.params().has(b"lr")
    }

    /// True with `ob` (RFC 5626).
    pub fn ob(&self) -> bool {
        self.params().has(b"ob")
    }

    /// `gr` (RFC 5627): empty for a temporary GRUU.
    pub fn gr(&self) -> Option<&'a [u8]> {
        self.param(b"gr")
    }

    /// `maddr`.
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.param(b"maddr")
    }

    /// `r2`: one of a pair of Record-Routes written by the same proxy.
    pub fn r2(&self) -> Option<&'a [u8]> {
        self.param(b"r2")
    }

    /// The user without its own parameters: `+1234` of `+1234;phone-context=x`.
    pub fn user_name(&self) -> Option<&'a [u8]> {
        self.user
            .map(|u| &u[..memchr::memchr(b';', u).unwrap_or(u.len())])
    }

    /// Parameters inside the user part.
    pub fn user_params(&self) -> Params<'a> {
        let user = self.user.unwrap_or_default();
        Params(memchr::memchr(b';', user).map_or(&b""[..], |n| &user[n + 1..]))
    }

    /// What the host is.
    pub fn host_kind(&self) -> HostKind {
        host_kind(self.host)
    }

    /// The host as an address, where it is one.
    pub fn host_ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }

    /// The headers after `?` as (name, value).
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.headers
            .split(|b| *b == b'&')
            .filter(|h| !h.is_empty())
            .map(|h| match memchr::memchr(b'=', h) {
                Some(n) => (&h[..n], &h[n + 1..]),
                None => (h, &b""[..]),
            })
    }

    /// Equality of RFC 3261 §19.1.4 (for tel: RFC 3966 §4, digits without separators).
    pub fn equals(&self, other: &Uri<'_>) -> bool {
        if self.scheme != other.scheme {
            return false;
        }
        match self.scheme {
            Scheme::Sip | Scheme::Sips => {
                // What mostly differs first.
                self.port == other.port
                    && self.host.eq_ignore_ascii_case(other.host)
                    && same_unescaped(self.user, other.user, false)
                    && same_unescaped(self.password, other.password, false)
                    && same_params(self.params(), other.params())
                    && same_headers(self, other)
            }
            Scheme::Tel => {
                let number = |u: &Uri<'_>| -> Vec<u8> {
                    u.user
                        .unwrap_or_default()
                        .iter()
                        .filter(|b| !matches!(b, b'-' | b'.' | b'(' | b')'))
                        .map(u8::to_ascii_lowercase)
                        .collect()
                };
                number(self) == number(other) && same_tel_params(self.params(), other.params())
            }
            _ => self.text.eq_ignore_ascii_case(other.text),
        }
    }

    /// Writes the canonical address of record: `user@host`, unescaped user, host in lower case;
    /// with `fold_user` the user too. Without a user: the host.
    pub fn write_aor(&self, fold_user: bool, with_host: bool, out: &mut Vec<u8>) {
        if let Some(user) = self.user {
            let start = out.len();
            unescape_into(user, out);
            if fold_user {
                out[start..].make_ascii_lowercase();
            }
            if !with_host {
                return;
            }
            if !self.host.is_empty() {
                out.push(b'@');
            }
        }
        out.extend(self.host.iter().map(u8::to_ascii_lowercase));
    }

    /// [`Uri::write_aor`] into a new buffer.
    pub fn aor(&self, fold_user: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len());
        self.write_aor(fold_user, true, &mut out);
        out
    }
}

/// Where the parts of a SIP URI end, found in one pass over what follows the scheme.
#[derive(Default)]
struct Marks {
    /// The first `@`.
    at: Option<usize>,
    /// The first `:` before it.
    colon: Option<usize>,
    /// The first `:`, `;` or `?` behind it, or at all where there is none.
    host_end: Option<usize>,
    /// There is another `@`.
    more_at: bool,
}

impl Marks {
    /// Fails at a byte that no URI has: a blank, a control byte, `<` or `>`.
    fn of(rest: &[u8]) -> Result<Marks, usize> {
        let mut m = Marks::default();
        for (n, b) in rest.iter().enumerate() {
            match CLASS[*b as usize] {
                PLAIN => {}
                AT if m.at.is_none() => {
                    m.at = Some(n);
                    m.host_end = None;
                }
                AT => m.more_at = true,
                BAD => return Err(n),
                class => {
                    if class == COLON && m.at.is_none() && m.colon.is_none() {
                        m.colon = Some(n);
                    }
                    m.host_end = m.host_end.or(Some(n));
                }
            }
        }
        Ok(m)
    }
}

const PLAIN: u8 = 0;
const BAD: u8 = 1;
const AT: u8 = 2;
const COLON: u8 = 3;
const AFTER_HOST: u8 = 4;

static CLASS: [u8; 256] = {
    let mut table = [PLAIN; 256];
    let mut b = 0;
    while b <= b' ' as usize {
        table[b] = BAD;
        b += 1;
    }
    table[0x7f] = BAD;
    table[b'<' as usize] = BAD;
    table[b'>' as usize] = BAD;
    table[b'@' as usize] = AT;
    table[b':' as usize] = COLON;
    table[b';' as usize] = AFTER_HOST;
    table[b'?' as usize] = AFTER_HOST;
    table
};

/// What a host text is.
pub fn host_kind(host: &[u8]) -> HostKind {
    match host_ip(host) {
        Some(IpAddr::V4(_)) => HostKind::V4,
        Some(IpAddr::V6(_)) => HostKind::V6,
        None => HostKind::Name,
    }
}

/// The address a host text is, brackets of IPv6 optional.
pub fn host_ip(host: &[u8]) -> Option<IpAddr> {
    let inner = match host {
        [b'[', inner @ .., b']'] => {
            return std::str::from_utf8(inner)
                .ok()?
                .parse()
                .map(IpAddr::V6)
                .ok();
        }
        other => other,
    };
    if !matches!(
        inner.first(),
        Some(b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b':')
    ) {
        return None;
    }
    std::str::from_utf8(inner).ok()?.parse().ok()
}

/// Decodes `%hh`; borrowed where there is nothing to decode. Malformed escapes stay.
pub fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    unescape_into(text, &mut out);
    Cow::Owned(out)
}

/// Decodes `%hh` onto the end of `out`.
pub fn unescape_into(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < text.len() {
        if let Some((b, next)) = unescape_at(text, at) {
            out.push(b);
            at = next;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
}

/// Escapes what a URI's user part may not hold (RFC 3261 §25.1 `user`).
pub fn escape_user(text: &[u8]) -> Cow<'_, [u8]> {
    escape(text, |b| {
        is_unreserved(b) || matches!(b, b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/')
    })
}

/// Escapes what a URI parameter may not hold (RFC 3261 §25.1 `paramchar`).
pub fn escape_param(text: &[u8]) -> Cow<'_, [u8]> {
    escape(text, |b| {
        is_unreserved(b) || matches!(b, b'[' | b']' | b'/' | b':' | b'&' | b'+' | b'$')
    })
}

fn escape(text: &[u8], keep: impl Fn(u8) -> bool) -> Cow<'_, [u8]> {
    if text.iter().all(|b| keep(*b)) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 8);
    for b in text {
        if keep(*b) {
            out.push(*b);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
    }
    Cow::Owned(out)
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')'
        )
}

fn unescape_at(text: &[u8], at: usize) -> Option<(u8, usize)> {
    if text.get(at) != Some(&b'%') {
        return None;
    }
    let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let high = hex(*text.get(at + 1)?)?;
    let low = hex(*text.get(at + 2)?)?;
    Some((high << 4 | low, at + 3))
}

/// A `?` ends the parameters.
fn split_headers(rest: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'?', rest) {
        Some(n) => (&rest[..n], &rest[n + 1..]),
        None => (rest, &b""[..]),
    }
}

fn same_unescaped(a: Option<&[u8]>, b: Option<&[u8]>, fold: bool) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => same_text(a, b, fold),
        _ => false,
    }
}

fn same_text(a: &[u8], b: &[u8], fold: bool) -> bool {
    let (a, b) = (unescape(a), unescape(b));
    if fold {
        a.eq_ignore_ascii_case(&b)
    } else {
        a == b
    }
}

/// Parameters in both must agree; these must be in both or in none.
const NEVER_IGNORED: [&[u8]; 5] = [b"transport", b"user", b"ttl", b"method", b"maddr"];

/// Lists longer than this are equal only where they are written alike: comparing each with each is
/// work that a sender could ask for with one datagram.
const MOST_COMPARED: usize = 64;

/// Of a name that is there twice the first counts, on both sides.
fn same_params(a: Params<'_>, b: Params<'_>) -> bool {
    if a.0 == b.0 {
        return true;
    }
    let agree = |x: Params<'_>, y: Params<'_>| {
        x.iter().all(|p| match (x.value(p.name), y.value(p.name)) {
            (Some(v), Some(w)) => same_text(v, w, true),
            _ => !NEVER_IGNORED.iter().any(|n| n.eq_ignore_ascii_case(p.name)),
        })
    };
    few(a) && few(b) && agree(a, b) && agree(b, a)
}

/// RFC 3966 §4: each must be in both.
fn same_tel_params(a: Params<'_>, b: Params<'_>) -> bool {
    if a.0 == b.0 {
        return true;
    }
    let within = |x: Params<'_>, y: Params<'_>| {
        x.iter().all(|p| match (x.value(p.name), y.value(p.name)) {
            (Some(v), Some(w)) => v.eq_ignore_ascii_case(w),
            _ => false,
        })
    };
    few(a) && few(b) && within(a, b) && within(b, a)
}

fn few(p: Params<'_>) -> bool {
    p.iter().nth(MOST_COMPARED).is_none()
}

fn same_headers(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    if a.headers == b.headers {
        return true;
    }
    let within = |x: &Uri<'_>, y: &Uri<'_>| {
        x.headers().all(|(name, value)| {
            y.headers()
                .any(|(n, v)| same_text(name, n, true) && same_text(value, v, false))
        })
    };
    let count = a.headers().count();
    count <= MOST_COMPARED && count == b.headers().count() && within(a, b) && within(b, a)
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (
        &'static str,
        Scheme,
        Option<&'static str>,
        &'static str,
        Option<u16>,
        &'static str,
        &'static str,
    );

    #[test]
    fn parse_table() {
        let rows: &[Row] = &[
            ("sip:a@b", Scheme::Sip, Some("a"), "b", None, "", ""),
            ("sip:b", Scheme::Sip, None, "b", None, "", ""),
            (
                "SIPS:a:pw@b:5061;transport=tcp?x=1",
                Scheme::Sips,
                Some("a"),
                "b",
                Some(5061),
                "transport=tcp",
                "x=1",
            ),
            (
                "sip:user;par=u%40example.net@example.com",
                Scheme::Sip,
                Some("user;par=u%40example.net"),
                "example.com",
                None,
                "",
                "",
            ),
            (
                "sip:[2001:db8::10]:5070;lr",
                Scheme::Sip,
                None,
                "[2001:db8::10]",
                Some(5070),
                "lr",
                "",
            ),
            ("sip:a@h?b=c", Scheme::Sip, Some("a"), "h", None, "", "b=c"),
            (
                "tel:+1-201;phone-context=x",
                Scheme::Tel,
                Some("+1-201"),
                "",
                None,
                "phone-context=x",
                "",
            ),
            (
                "urn:service:sos",
                Scheme::Urn,
                None,
                "service:sos",
                None,
                "",
                "",
            ),
            (
                "nobodyKnowsThisScheme:totallyopaque",
                Scheme::Other,
                None,
                "totallyopaque",
                None,
                "",
                "",
            ),
            (
                "sip:sip%3Auser%40example.com@company.com;other-param=summit",
                Scheme::Sip,
                Some("sip%3Auser%40example.com"),
                "company.com",
                None,
                "other-param=summit",
                "",
            ),
        ];
        for (text, scheme, user, host, port, params, headers) in rows {
            let u = Uri::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(u.scheme, *scheme, "{text}");
            assert_eq!(u.user, user.map(str::as_bytes), "{text}");
            assert_eq!(u.host, host.as_bytes(), "{text}");
            assert_eq!(u.port, *port, "{text}");
            assert_eq!(u.params, params.as_bytes(), "{text}");
            assert_eq!(u.headers, headers.as_bytes(), "{text}");
        }
        for bad in [
            "",
            "sip",
            "sip:",
            "sip:@h",
            "sip:a@",
            "sip:a@h:x",
            "sip:a@h:70000",
            "sip:a@[::1",
            "sip:a@h ;x",
            "<sip:a@h>",
            "1x:y",
            "tel:",
            "sip:a@h:5060x",
            "sip:h:",
        ] {
            assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn comparison_of_rfc_3261_19_1_4() {
        let same = [
            (
                "sip:%61lice@atlanta.com;transport=TCP",
                "sip:alice@AtLanTa.CoM;Transport=tcp",
            ),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            (
                "sip:carol@chicago.com;newparam=5",
                "sip:carol@chicago.com;security=on",
            ),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            ("tel:+1-201-555-0123", "tel:+12015550123"),
            (
                "sip:a@b;transport=tcp;transport=udp",
                "sip:a@b;transport=tcp",
            ),
            ("sip:a@b;ttl=1;ttl=2", "sip:a@b;ttl=1;ttl=2"),
        ];
        let different = [
            (
                "SIP:ALICE@AtLanTa.CoM;Transport=udp",
                "sip:alice@AtLanTa.CoM;Transport=UDP",
            ),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            (
                "sip:bob@biloxi.com",
                "sip:bob@biloxi.com:6000;transport=tcp",
            ),
            (
                "sip:carol@chicago.com",
                "sip:carol@chicago.com?Subject=next%20meeting",
            ),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            (
                "sip:carol@chicago.com;security=on",
                "sip:carol@chicago.com;security=off",
            ),
            ("sip:a@b", "sips:a@b"),
            ("sip:a@b", "sip:b"),
            ("sip:a@b;maddr=1.2.3.4", "sip:a@b"),
            ("sip:a@b?x=1&x=1", "sip:a@b?x=1&x=2"),
            ("tel:1;p=1;p=1", "tel:1;p=1;q=2"),
        ];
        let eq = |a: &str, b: &str| {
            Uri::parse(a.as_bytes())
                .unwrap()
                .equals(&Uri::parse(b.as_bytes()).unwrap())
        };
        for (a, b) in same {
            assert!(eq(a, b) && eq(b, a), "{a} {b}");
        }
        for (a, b) in different {
            assert!(!eq(a, b) && !eq(b, a), "{a} {b}");
        }
    }

    #[test]
    fn a_list_without_end_is_compared_as_it_is_written() {
        let long = |n: usize| format!("sip:a@b{}", ";x".repeat(n)).into_bytes();
        let (a, b) = (long(20_000), long(20_001));
        let (a, b) = (Uri::parse(&a).unwrap(), Uri::parse(&b).unwrap());
        assert!(a.equals(&a) && !a.equals(&b));
        let (c, d) = (long(30), long(31));
        assert!(Uri::parse(&c).unwrap().equals(&Uri::parse(&d).unwrap()));
    }

    #[test]
    fn hosts_escapes_and_aors() {
        assert_eq!(host_kind(b"192.0.2.1"), HostKind::V4);
        assert_eq!(host_kind(b"[::1]"), HostKind::V6);
        assert_eq!(host_kind(b"example.com"), HostKind::Name);
        assert_eq!(host_kind(b"[1.2.3.4]"), HostKind::Name);
        assert_eq!(unescape(b"%61%4z%").as_ref(), b"a%4z%");
        assert_eq!(escape_user(b"a b@c").as_ref(), b"a%20b%40c");
        assert_eq!(unescape(&escape_param(b"x;y=z")).as_ref(), b"x;y=z");
        let u = Uri::parse(b"sip:%41lice@EXAMPLE.com:5080;x").unwrap();
        assert_eq!(u.aor(false), b"Alice@example.com");
        assert_eq!(u.aor(true), b"alice@example.com");
    }
}
