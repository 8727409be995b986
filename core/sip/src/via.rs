//! Via (RFC 3261 §20.42; rport: RFC 3581; alias: RFC 5923). Read in full, positions kept, so that
//! `received` and `rport` can be written in place when the message is forwarded or answered.

use crate::param::{ParamSpan, ParamSpans, Params};
use crate::scan::{find, is_ws, number, skip_quoted, skip_ws, trim_span};
use crate::span::{ParseError, Span};
use crate::uri::Transport;

/// The `rport` parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rport {
    /// Not there.
    #[default]
    Absent,
    /// `;rport` alone: the sender asks for it.
    Asked,
    /// `;rport=n`.
    Port(u16),
}

/// One Via value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// The value, trimmed, comment included.
    pub span: Span,
    /// Protocol name, usually `SIP`.
    pub protocol: Span,
    /// Protocol version, usually `2.0`.
    pub version: Span,
    /// The transport.
    pub transport: Transport,
    /// The transport as written.
    pub transport_text: Span,
    /// sent-by host; an IPv6 reference keeps its brackets.
    pub host: Span,
    /// sent-by port.
    pub port: Option<u16>,
    /// Parameters from the first `;`; empty where there are none, then placed where one would go.
    pub params: Span,
    /// `branch`.
    pub branch: Option<Span>,
    /// `received`.
    pub received: Option<Span>,
    /// The whole `;received=…`.
    pub received_whole: Option<Span>,
    /// `rport`.
    pub rport: Rport,
    /// The whole `;rport…`.
    pub rport_whole: Option<Span>,
    /// True with `alias` (connection reuse).
    pub alias: bool,
    /// `i`, Kamailio's connection id.
    pub i: Option<Span>,
    /// `ttl`.
    pub ttl: Option<u8>,
    /// `maddr`.
    pub maddr: Option<Span>,
}

/// What RFC 3261 branches begin with.
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

impl Via {
    /// Reads one value at `span`.
    pub fn parse(buf: &[u8], span: Span) -> Result<Via, ParseError> {
        let span = trim_span(buf, span.at(), span.to());
        let end = span.to();
        let (protocol, at) = part(buf, span.at(), end, "Via has no protocol name")?;
        let at = slash(buf, at, end)?;
        let (version, at) = part(buf, at, end, "Via has no protocol version")?;
        let at = slash(buf, at, end)?;
        let (transport_text, at) = part(buf, at, end, "Via has no transport")?;
        let start = skip_ws(buf, at, end);
        if start == at {
            return Err(ParseError::new("Via has no space before the host", at));
        }
        let (host, port, at) = sent_by(buf, start, end)?;
        let at = skip_ws(buf, at, end);
        let params = if at < end && buf[at] == b';' {
            trim_span(buf, at, comment(buf, at, end))
        } else if at >= end || buf[at] == b'(' {
            let after = trim_span(buf, start, at).to();
            Span::new(after, after)
        } else {
            return Err(ParseError::new("unexpected text after Via's host", at));
        };
        let mut via = Via {
            span,
            protocol,
            version,
            transport: Transport::parse(transport_text.of(buf)),
            transport_text,
            host,
            port,
            params,
            branch: None,
            received: None,
            received_whole: None,
            rport: Rport::Absent,
            rport_whole: None,
            alias: false,
            i: None,
            ttl: None,
            maddr: None,
        };
        via.read_params(buf)?;
        Ok(via)
    }

    fn read_params(&mut self, buf: &[u8]) -> Result<(), ParseError> {
        for p in ParamSpans::new(buf, self.params) {
            let name = p.name.of(buf);
            match name.len() {
                1 if name.eq_ignore_ascii_case(b"i") => self.i = p.value,
                3 if name.eq_ignore_ascii_case(b"ttl") => {
                    self.ttl = p
                        .value
                        .and_then(|v| number(v.of(buf)))
                        .and_then(|n| u8::try_from(n).ok());
                }
                5 if name.eq_ignore_ascii_case(b"alias") => self.alias = true,
                5 if name.eq_ignore_ascii_case(b"maddr") => self.maddr = p.value,
                5 if name.eq_ignore_ascii_case(b"rport") => {
                    replaceable(buf, &p)?;
                    self.rport_whole = Some(p.whole);
                    self.rport = match p.value.filter(|v| !v.is_empty()) {
                        None => Rport::Asked,
                        Some(v) => Rport::Port(port_of(buf, v)?),
                    };
                }
                6 if name.eq_ignore_ascii_case(b"branch") => self.branch = p.value,
                8 if name.eq_ignore_ascii_case(b"received") => {
                    replaceable(buf, &p)?;
                    self.received = p.value;
                    self.received_whole = Some(p.whole);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The parameters.
    pub fn params<'a>(&self, buf: &'a [u8]) -> Params<'a> {
        Params(self.params.of(buf))
    }

    /// The host's bytes.
    pub fn host<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.host.of(buf)
    }

    /// The branch's bytes.
    pub fn branch<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.branch.map(|b| b.of(buf))
    }

    /// True where the branch begins with the RFC 3261 magic cookie (compared without case).
    pub fn is_rfc3261(&self, buf: &[u8]) -> bool {
        self.branch(buf)
            .and_then(|b| b.get(..MAGIC_COOKIE.len()))
            .is_some_and(|b| b.eq_ignore_ascii_case(MAGIC_COOKIE))
    }
}

fn part(
    buf: &[u8],
    at: usize,
    end: usize,
    what: &'static str,
) -> Result<(Span, usize), ParseError> {
    let stop = find(buf, at, end, |b| b == b'/' || b == b';' || is_ws(b));
    if stop == at {
        return Err(ParseError::new(what, at));
    }
    Ok((Span::new(at, stop), stop))
}

fn slash(buf: &[u8], at: usize, end: usize) -> Result<usize, ParseError> {
    let at = skip_ws(buf, at, end);
    if at >= end || buf[at] != b'/' {
        return Err(ParseError::new("Via has no / where one belongs", at));
    }
    Ok(skip_ws(buf, at + 1, end))
}

fn sent_by(buf: &[u8], at: usize, end: usize) -> Result<(Span, Option<u16>, usize), ParseError> {
    let stop = if at < end && buf[at] == b'[' {
        let close = find(buf, at, end, |b| b == b']');
        if close >= end {
            return Err(ParseError::new("Via's IPv6 address never closes", at));
        }
        close + 1
    } else {
        find(buf, at, end, |b| {
            matches!(b, b':' | b';' | b'(') || is_ws(b)
        })
    };
    if stop == at {
        return Err(ParseError::new("Via has no host", at));
    }
    let host = Span::new(at, stop);
    let colon = skip_ws(buf, stop, end);
    if colon >= end || buf[colon] != b':' {
        return Ok((host, None, stop));
    }
    let start = skip_ws(buf, colon + 1, end);
    let stop = find(buf, start, end, |b| !b.is_ascii_digit());
    Ok((host, Some(port_of(buf, Span::new(start, stop))?), stop))
}

/// `received` and `rport` are replaced on the way: a quote, bracket or parenthesis that went with
/// one of them would end or begin a value of the Via list elsewhere.
fn replaceable(buf: &[u8], p: &ParamSpan) -> Result<(), ParseError> {
    let opens = |b: u8| matches!(b, b'"' | b'\\' | b'<' | b'>' | b'(' | b')' | b',');
    let start = p.whole.at();
    match p.whole.of(buf).iter().position(|b| opens(*b)) {
        None => Ok(()),
        Some(n) => Err(ParseError::new(
            "Via's received or rport is no address or port",
            start + n,
        )),
    }
}

fn port_of(buf: &[u8], digits: Span) -> Result<u16, ParseError> {
    number(digits.of(buf))
        .and_then(|n| u16::try_from(n).ok())
        .ok_or(ParseError::new(
            "Via has a port that is no 16-bit number",
            digits.at(),
        ))
}

/// Where the parameters end: at a comment outside quotes, or at `end`.
fn comment(buf: &[u8], mut at: usize, end: usize) -> usize {
    if memchr::memchr(b'(', &buf[at..end]).is_none() {
        return end;
    }
    while at < end {
        match buf[at] {
            b'(' => return at,
            b'"' => at = skip_quoted(buf, at, end).unwrap_or(end),
            _ => at += 1,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(text: &str) -> Result<Via, ParseError> {
        Via::parse(text.as_bytes(), Span::all(text.as_bytes()))
    }

    #[test]
    fn table() {
        let text = "SIP / 2.0\r\n /UDP\r\n  192.0.2.2 : 5060 ;branch=390skdjuw;rport; received=1.2.3.4;alias;i=7;ttl=16;maddr=224.2.0.1 (a;b)";
        let b = text.as_bytes();
        let v = via(text).unwrap();
        assert_eq!(v.protocol.of(b), b"SIP");
        assert_eq!(v.version.of(b), b"2.0");
        assert_eq!(v.transport, Transport::Udp);
        assert_eq!((v.host(b), v.port), (&b"192.0.2.2"[..], Some(5060)));
        assert_eq!(v.branch(b), Some(&b"390skdjuw"[..]));
        assert!(!v.is_rfc3261(b));
        assert_eq!(v.rport, Rport::Asked);
        assert_eq!(v.rport_whole.unwrap().of(b), b";rport");
        assert_eq!(v.received.unwrap().of(b), b"1.2.3.4");
        assert!(v.alias);
        assert_eq!(v.ttl, Some(16));
        assert_eq!(v.maddr.unwrap().of(b), b"224.2.0.1");
        let v = via("SIP/2.0/TLS [2001:db8::9:1];branch=z9hG4bKas3;rport=99").unwrap();
        assert_eq!((v.transport, v.rport), (Transport::Tls, Rport::Port(99)));
        let v = via("SIP/2.0/UDP h:5060 (c)").unwrap();
        assert!(v.params.is_empty());
        for bad in [
            "",
            "SIP",
            "SIP/2.0",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0/UDP h:99999",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP h junk",
            "SIP/2.0/UDP h:",
            "SIP/2.0/UDP h;rport=x",
            "SIP/2.0/UDP h;rport \"x\"",
            "SIP/2.0/UDP h;received=\"<a;b>\"",
            "SIP/2.0/UDP h;received=a\"b;x=\",SIP/2.0/UDP i",
            "SIP/2.0/UDP h;received=<a;x=>,SIP/2.0/UDP i",
            "SIP/2.0 h",
        ] {
            assert!(via(bad).is_err(), "{bad}");
        }
    }
}
