//! An owned URI that can be changed part by part: what `$ru`, `$rU`, `strip` and `prefix` write to.
//!
//! It keeps text, not a tree: every setter reads the current text once and writes the new one, so
//! what is not touched stays byte for byte. A setter on a text that cannot be read does nothing and
//! says so.

use crate::param::ParamSpans;
use crate::scan::push_number;
use crate::span::{ParseError, Span};
use crate::uri::Uri;

/// An owned, editable URI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UriBuf {
    text: Vec<u8>,
}

impl UriBuf {
    /// From a text that reads as a URI.
    pub fn parse(text: &[u8]) -> Result<UriBuf, ParseError> {
        Uri::parse(text)?;
        Ok(UriBuf {
            text: text.to_vec(),
        })
    }

    /// From parts.
    pub fn from_parts(
        scheme: &[u8],
        user: Option<&[u8]>,
        host: &[u8],
        port: Option<u16>,
    ) -> UriBuf {
        let mut text = Vec::with_capacity(64);
        text.extend_from_slice(scheme);
        text.push(b':');
        if let Some(user) = user.filter(|u| !u.is_empty()) {
            text.extend_from_slice(user);
            text.push(b'@');
        }
        text.extend_from_slice(host);
        if let Some(port) = port {
            text.push(b':');
            push_number(&mut text, u64::from(port));
        }
        UriBuf { text }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The text, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.text
    }

    /// The parts.
    pub fn uri(&self) -> Result<Uri<'_>, ParseError> {
        Uri::parse(&self.text)
    }

    /// Replaces the user; an empty one removes user and password.
    pub fn set_user(&mut self, user: &[u8]) -> Result<(), ParseError> {
        let mut parts = Parts::of(&self.text)?;
        parts.user = user;
        if user.is_empty() {
            parts.password = None;
        }
        self.text = parts.write()?;
        Ok(())
    }

    /// Replaces or removes the password.
    pub fn set_password(&mut self, password: Option<&[u8]>) -> Result<(), ParseError> {
        let mut parts = Parts::of(&self.text)?;
        parts.password = password;
        self.text = parts.write()?;
        Ok(())
    }

    /// Replaces the host; the port stays. An IPv6 address needs its brackets.
    pub fn set_host(&mut self, host: &[u8]) -> Result<(), ParseError> {
        let mut parts = Parts::of(&self.text)?;
        parts.host = host;
        self.text = parts.write()?;
        Ok(())
    }

    /// Replaces or removes the port.
    pub fn set_port(&mut self, port: Option<u16>) -> Result<(), ParseError> {
        let mut parts = Parts::of(&self.text)?;
        parts.port = port;
        self.text = parts.write()?;
        Ok(())
    }

    /// Replaces all of host and port, as given (`host`, `host:port`).
    pub fn set_host_port(&mut self, host_port: &[u8]) -> Result<(), ParseError> {
        let mut parts = Parts::of(&self.text)?;
        parts.host = host_port;
        parts.port = None;
        self.text = parts.write()?;
        Ok(())
    }

    /// Replaces the scheme (`sip`, `sips`, `tel`).
    pub fn set_scheme(&mut self, scheme: &[u8]) -> Result<(), ParseError> {
        let mut parts = Parts::of(&self.text)?;
        parts.scheme = scheme;
        self.text = parts.write()?;
        Ok(())
    }

    /// Drops the first `n` bytes of the user; all of it where it is shorter.
    pub fn strip(&mut self, n: usize) -> Result<(), ParseError> {
        let mut parts = Parts::of(&self.text)?;
        parts.user = parts.user.get(n..).unwrap_or_default();
        self.text = parts.write()?;
        Ok(())
    }

    /// Drops the last `n` bytes of the user.
    pub fn strip_tail(&mut self, n: usize) -> Result<(), ParseError> {
        let mut parts = Parts::of(&self.text)?;
        parts.user = &parts.user[..parts.user.len().saturating_sub(n)];
        self.text = parts.write()?;
        Ok(())
    }

    /// Puts `prefix` before the user.
    pub fn prefix(&mut self, prefix: &[u8]) -> Result<(), ParseError> {
        let mut user = prefix.to_vec();
        user.extend_from_slice(self.uri()?.user.unwrap_or_default());
        self.set_user(&user)
    }

    /// Sets a URI parameter (`None`: a flag), in place where it is there, else at the end.
    pub fn set_param(&mut self, name: &[u8], value: Option<&[u8]>) -> Result<(), ParseError> {
        let params = self.uri()?.params.to_vec();
        let mut new = Vec::with_capacity(params.len() + name.len() + 16);
        let mut done = false;
        for p in ParamSpans::new(&params, Span::all(&params)) {
            if !new.is_empty() {
                new.push(b';');
            }
            if p.name.of(&params).eq_ignore_ascii_case(name) {
                if done {
                    new.pop();
                    continue;
                }
                write_param(&mut new, name, value);
                done = true;
            } else {
                new.extend_from_slice(bare(&params, p.whole));
            }
        }
        if !done {
            if !new.is_empty() {
                new.push(b';');
            }
            write_param(&mut new, name, value);
        }
        let mut parts = Parts::of(&self.text)?;
        parts.params = &new;
        self.text = parts.write()?;
        Ok(())
    }

    /// Removes a URI parameter; true where it was there.
    pub fn remove_param(&mut self, name: &[u8]) -> Result<bool, ParseError> {
        let params = self.uri()?.params.to_vec();
        let mut new = Vec::with_capacity(params.len());
        let mut found = false;
        for p in ParamSpans::new(&params, Span::all(&params)) {
            if p.name.of(&params).eq_ignore_ascii_case(name) {
                found = true;
                continue;
            }
            if !new.is_empty() {
                new.push(b';');
            }
            new.extend_from_slice(bare(&params, p.whole));
        }
        if found {
            let mut parts = Parts::of(&self.text)?;
            parts.params = &new;
            self.text = parts.write()?;
        }
        Ok(found)
    }

    /// Removes all URI parameters.
    pub fn clear_params(&mut self) -> Result<(), ParseError> {
        let mut parts = Parts::of(&self.text)?;
        parts.params = b"";
        self.text = parts.write()?;
        Ok(())
    }
}

impl std::fmt::Display for UriBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

/// A URI taken apart for writing.
struct Parts<'a> {
    scheme: &'a [u8],
    user: &'a [u8],
    password: Option<&'a [u8]>,
    host: &'a [u8],
    port: Option<u16>,
    params: &'a [u8],
    headers: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(text: &'a [u8]) -> Result<Parts<'a>, ParseError> {
        let uri = Uri::parse(text)?;
        let colon = memchr::memchr(b':', text).unwrap_or(0);
        Ok(Parts {
            scheme: &text[..colon],
            user: uri.user.unwrap_or_default(),
            password: uri.password,
            host: uri.host,
            port: uri.port,
            params: uri.params,
            headers: uri.headers,
        })
    }

    /// The text, where it reads as a URI.
    fn write(&self) -> Result<Vec<u8>, ParseError> {
        let mut out = Vec::with_capacity(96);
        out.extend_from_slice(self.scheme);
        out.push(b':');
        out.extend_from_slice(self.user);
        if let (Some(password), false) = (self.password, self.user.is_empty()) {
            out.push(b':');
            out.extend_from_slice(password);
        }
        let tel = self.scheme.eq_ignore_ascii_case(b"tel");
        if !self.user.is_empty() && !tel {
            out.push(b'@');
        }
        if !tel {
            out.extend_from_slice(self.host);
        }
        if let Some(port) = self.port {
            out.push(b':');
            push_number(&mut out, u64::from(port));
        }
        for (mark, part) in [(b';', self.params), (b'?', self.headers)] {
            if !part.is_empty() {
                out.push(mark);
                out.extend_from_slice(part);
            }
        }
        Uri::parse(&out)?;
        Ok(out)
    }
}

fn write_param(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    out.extend_from_slice(name);
    if let Some(value) = value {
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// A parameter without the separator before it.
fn bare(params: &[u8], whole: Span) -> &[u8] {
    let text = whole.of(params);
    text.strip_prefix(b";").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setters_change_only_their_part() {
        let mut u = UriBuf::parse(b"sip:alice:pw@h.example:5080;a=1;lr?x=y").unwrap();
        u.set_user(b"bob").unwrap();
        u.set_host(b"[::1]").unwrap();
        u.set_port(None).unwrap();
        u.set_param(b"A", Some(b"2")).unwrap();
        u.set_param(b"transport", Some(b"tcp")).unwrap();
        assert_eq!(u.as_bytes(), b"sip:bob:pw@[::1];A=2;lr;transport=tcp?x=y");
        assert!(u.remove_param(b"lr").unwrap());
        assert!(!u.remove_param(b"lr").unwrap());
        u.set_user(b"").unwrap();
        assert_eq!(u.as_bytes(), b"sip:[::1];A=2;transport=tcp?x=y");
        assert!(u.set_host(b"a b").is_err());
        assert_eq!(u.as_bytes(), b"sip:[::1];A=2;transport=tcp?x=y");
    }

    #[test]
    fn strip_and_prefix() {
        let mut u = UriBuf::from_parts(b"sip", Some(b"0049123"), b"h", Some(5060));
        u.strip(2).unwrap();
        u.prefix(b"+").unwrap();
        u.strip_tail(1).unwrap();
        assert_eq!(u.as_bytes(), b"sip:+4912@h:5060");
        u.strip(99).unwrap();
        assert_eq!(u.as_bytes(), b"sip:h:5060");
        let mut t = UriBuf::parse(b"tel:+1;x=y").unwrap();
        t.set_scheme(b"sip").unwrap_err();
        t.set_user(b"+2").unwrap();
        assert_eq!(t.as_bytes(), b"tel:+2;x=y");
    }
}
