//! Digest access authentication (RFC 2617, RFC 7616, RFC 8760): credentials and challenges read,
//! responses calculated. Nonces, accounts and policy are the business of the auth modules.

use crate::param::ParamSpans;
use crate::scan::{find, is_ws, skip_ws, trim_span};
use crate::span::{ParseError, Span};
use md5::Md5;
use sha2::{Sha256, Sha512_256};

/// A digest algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// MD5, also where none is named.
    #[default]
    Md5,
    /// MD5-sess.
    Md5Sess,
    /// SHA-256.
    Sha256,
    /// SHA-256-sess.
    Sha256Sess,
    /// SHA-512-256.
    Sha512_256,
    /// SHA-512-256-sess.
    Sha512_256Sess,
    /// Any other.
    Other,
}

impl Algorithm {
    /// From a name in any case.
    pub fn parse(text: &[u8]) -> Algorithm {
        use Algorithm::*;
        for a in [Md5, Md5Sess, Sha256, Sha256Sess, Sha512_256, Sha512_256Sess] {
            if text.eq_ignore_ascii_case(a.as_str().as_bytes()) {
                return a;
            }
        }
        Other
    }

    /// The registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Md5Sess => "MD5-sess",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha256Sess => "SHA-256-sess",
            Algorithm::Sha512_256 => "SHA-512-256",
            Algorithm::Sha512_256Sess => "SHA-512-256-sess",
            Algorithm::Other => "unknown",
        }
    }

    /// True for the `-sess` variants.
    pub fn is_session(self) -> bool {
        matches!(
            self,
            Algorithm::Md5Sess | Algorithm::Sha256Sess | Algorithm::Sha512_256Sess
        )
    }

    /// The hash of the parts joined by `:`, as lower-case hex; empty for `Other`.
    pub fn hash(self, parts: &[&[u8]]) -> String {
        match self {
            Algorithm::Md5 | Algorithm::Md5Sess => hex(&joined::<Md5>(parts)),
            Algorithm::Sha256 | Algorithm::Sha256Sess => hex(&joined::<Sha256>(parts)),
            Algorithm::Sha512_256 | Algorithm::Sha512_256Sess => hex(&joined::<Sha512_256>(parts)),
            Algorithm::Other => String::new(),
        }
    }
}

/// Quality of protection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Qop {
    /// None named (RFC 2069).
    #[default]
    None,
    /// `auth`
    Auth,
    /// `auth-int`
    AuthInt,
    /// Any other.
    Other,
}

impl Qop {
    fn parse(text: &[u8]) -> Qop {
        if text.eq_ignore_ascii_case(b"auth") {
            Qop::Auth
        } else if text.eq_ignore_ascii_case(b"auth-int") {
            Qop::AuthInt
        } else {
            Qop::Other
        }
    }

    /// Its name; empty for none.
    pub fn as_str(self) -> &'static str {
        match self {
            Qop::None => "",
            Qop::Auth => "auth",
            Qop::AuthInt => "auth-int",
            Qop::Other => "unknown",
        }
    }
}

/// One Authorization or Proxy-Authorization value. Spans of quoted values exclude the quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The scheme as written.
    pub scheme: Span,
    /// True where the scheme is Digest.
    pub is_digest: bool,
    /// `username`, whole.
    pub username: Span,
    /// `realm`.
    pub realm: Span,
    /// `nonce`.
    pub nonce: Span,
    /// `uri`.
    pub uri: Span,
    /// `response`, hex.
    pub response: Span,
    /// `algorithm`; MD5 where none is named.
    pub algorithm: Algorithm,
    /// `algorithm` as written.
    pub algorithm_text: Option<Span>,
    /// `cnonce`.
    pub cnonce: Option<Span>,
    /// `opaque`.
    pub opaque: Option<Span>,
    /// `qop`.
    pub qop: Qop,
    /// `nc`, eight hex digits as written.
    pub nc: Option<Span>,
}

impl Credentials {
    /// Reads one value. Schemes other than Digest give only the scheme.
    pub fn parse(buf: &[u8], span: Span) -> Result<Credentials, ParseError> {
        let span = trim_span(buf, span.at(), span.to());
        let stop = find(buf, span.at(), span.to(), is_ws);
        let mut c = Credentials {
            scheme: Span::new(span.at(), stop),
            ..Credentials::default()
        };
        if c.scheme.is_empty() {
            return Err(ParseError::new("credentials are empty", span.at()));
        }
        c.is_digest = c.scheme.of(buf).eq_ignore_ascii_case(b"Digest");
        if !c.is_digest {
            return Ok(c);
        }
        let params = Span::new(skip_ws(buf, stop, span.to()), span.to());
        for p in ParamSpans::separated(buf, params, b',') {
            let Some(v) = p.value else { continue };
            let name = p.name.of(buf);
            let is = |n: &str| name.eq_ignore_ascii_case(n.as_bytes());
            if is("username") {
                c.username = v;
            } else if is("realm") {
                c.realm = v;
            } else if is("nonce") {
                c.nonce = v;
            } else if is("uri") {
                c.uri = v;
            } else if is("response") {
                c.response = v;
            } else if is("algorithm") {
                c.algorithm = Algorithm::parse(v.of(buf));
                c.algorithm_text = Some(v);
            } else if is("cnonce") {
                c.cnonce = Some(v);
            } else if is("opaque") {
                c.opaque = Some(v);
            } else if is("qop") {
                c.qop = Qop::parse(v.of(buf));
            } else if is("nc") {
                c.nc = Some(v);
            }
        }
        Ok(c)
    }

    /// True where all a digest needs is there: username, realm, nonce, uri, response, and with qop
    /// also cnonce and nc.
    pub fn is_complete(&self) -> bool {
        self.is_digest
            && [self.username, self.nonce, self.uri, self.response]
                .iter()
                .all(|s| !s.is_empty())
            && self.realm != Span::default()
            && (self.qop == Qop::None || (self.cnonce.is_some() && self.nc.is_some()))
    }

    /// The username split at its `@`: (user, domain).
    pub fn username_parts<'a>(&self, buf: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
        let name = self.username.of(buf);
        match memchr::memchr(b'@', name) {
            Some(n) => (&name[..n], Some(&name[n + 1..])),
            None => (name, None),
        }
    }

    /// The nonce count as a number.
    pub fn nonce_count(&self, buf: &[u8]) -> Option<u32> {
        let text = std::str::from_utf8(self.nc?.of(buf)).ok()?;
        (text.len() <= 8).then(|| u32::from_str_radix(text, 16).ok())?
    }

    /// The response these credentials should carry, lower-case hex, for the account's HA1
    /// (`H(user:realm:password)`), the request's method and, for auth-int, its body.
    pub fn expected_response(&self, buf: &[u8], ha1: &str, method: &[u8], body: &[u8]) -> String {
        response(&ResponseInput {
            algorithm: self.algorithm,
            ha1,
            nonce: self.nonce.of(buf),
            nc: self.nc.unwrap_or_default().of(buf),
            cnonce: self.cnonce.unwrap_or_default().of(buf),
            qop: self.qop,
            method,
            uri: self.uri.of(buf),
            body,
        })
    }
}

/// One WWW-Authenticate or Proxy-Authenticate value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// `realm`.
    pub realm: Span,
    /// `nonce`.
    pub nonce: Span,
    /// `opaque`.
    pub opaque: Option<Span>,
    /// `qop`, the list as written.
    pub qop: Option<Span>,
    /// `algorithm`.
    pub algorithm: Algorithm,
    /// True with `stale=true`.
    pub stale: bool,
}

impl Challenge {
    /// Reads one Digest challenge.
    pub fn parse(buf: &[u8], span: Span) -> Result<Challenge, ParseError> {
        let span = trim_span(buf, span.at(), span.to());
        let stop = find(buf, span.at(), span.to(), is_ws);
        if !Span::new(span.at(), stop)
            .of(buf)
            .eq_ignore_ascii_case(b"Digest")
        {
            return Err(ParseError::new("a challenge is not Digest", span.at()));
        }
        let mut c = Challenge::default();
        let params = Span::new(skip_ws(buf, stop, span.to()), span.to());
        for p in ParamSpans::separated(buf, params, b',') {
            let Some(v) = p.value else { continue };
            let name = p.name.of(buf);
            let is = |n: &str| name.eq_ignore_ascii_case(n.as_bytes());
            if is("realm") {
                c.realm = v;
            } else if is("nonce") {
                c.nonce = v;
            } else if is("opaque") {
                c.opaque = Some(v);
            } else if is("qop") {
                c.qop = Some(v);
            } else if is("algorithm") {
                c.algorithm = Algorithm::parse(v.of(buf));
            } else if is("stale") {
                c.stale = v.of(buf).eq_ignore_ascii_case(b"true");
            }
        }
        if c.nonce.is_empty() {
            return Err(ParseError::new("a challenge has no nonce", span.at()));
        }
        Ok(c)
    }
}

/// HA1 of an account: `H(user:realm:password)`, lower-case hex.
pub fn ha1(algorithm: Algorithm, user: &[u8], realm: &[u8], password: &[u8]) -> String {
    algorithm.hash(&[user, realm, password])
}

/// All a response is made of.
#[derive(Clone, Copy, Debug)]
pub struct ResponseInput<'a> {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// `H(user:realm:password)` in hex; the `-sess` step is done here.
    pub ha1: &'a str,
    /// The nonce.
    pub nonce: &'a [u8],
    /// The nonce count as written.
    pub nc: &'a [u8],
    /// The client's nonce.
    pub cnonce: &'a [u8],
    /// Quality of protection.
    pub qop: Qop,
    /// The method.
    pub method: &'a [u8],
    /// The digest URI.
    pub uri: &'a [u8],
    /// The body, for auth-int.
    pub body: &'a [u8],
}

/// The digest response, lower-case hex (RFC 7616 §3.4.1); empty for an unknown algorithm.
pub fn response(i: &ResponseInput<'_>) -> String {
    let a = i.algorithm;
    let session;
    let ha1 = if a.is_session() {
        session = a.hash(&[i.ha1.as_bytes(), i.nonce, i.cnonce]);
        session.as_bytes()
    } else {
        i.ha1.as_bytes()
    };
    let ha2 = match i.qop {
        Qop::AuthInt => a.hash(&[i.method, i.uri, a.hash(&[i.body]).as_bytes()]),
        _ => a.hash(&[i.method, i.uri]),
    };
    match i.qop {
        Qop::None => a.hash(&[ha1, i.nonce, ha2.as_bytes()]),
        qop => a.hash(&[
            ha1,
            i.nonce,
            i.nc,
            i.cnonce,
            qop.as_str().as_bytes(),
            ha2.as_bytes(),
        ]),
    }
}

fn joined<D: md5::Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut d = D::new();
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            d.update(b":");
        }
        d.update(part);
    }
    d.finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        for n in [b >> 4, b & 15] {
            out.push(char::from_digit(u32::from(n), 16).unwrap_or('0'));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_2617_example() {
        let b = br#"Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let c = Credentials::parse(b, Span::all(b)).unwrap();
        assert!(c.is_complete());
        assert_eq!(c.nonce_count(b), Some(1));
        let ha1 = ha1(Algorithm::Md5, b"Mufasa", c.realm.of(b), b"Circle Of Life");
        assert_eq!(ha1, "939e7578ed9e3c518a452acee763bce9");
        assert_eq!(
            c.expected_response(b, &ha1, b"GET", b"").as_bytes(),
            c.response.of(b)
        );
    }

    #[test]
    fn rfc_7616_example() {
        let ha1 = ha1(
            Algorithm::Sha256,
            b"Mufasa",
            b"http-auth@example.org",
            b"Circle of Life",
        );
        let got = response(&ResponseInput {
            algorithm: Algorithm::Sha256,
            ha1: &ha1,
            nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            nc: b"00000001",
            cnonce: b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            qop: Qop::Auth,
            method: b"GET",
            uri: b"/dir/index.html",
            body: b"",
        });
        assert_eq!(
            got,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn usernames_and_other_schemes() {
        let b = br#"digest UserName="bob@example.com",realm="",nonce=x,uri="sip:a;b,c",response=q, algorithm=md5-SESS"#;
        let c = Credentials::parse(b, Span::all(b)).unwrap();
        assert_eq!(
            c.username_parts(b),
            (&b"bob"[..], Some(&b"example.com"[..]))
        );
        assert_eq!(c.algorithm, Algorithm::Md5Sess);
        assert_eq!(c.uri.of(b), b"sip:a;b,c");
        assert!(c.is_complete());
        let b = b"NoOneKnowsThisScheme opaque-data=here";
        assert!(!Credentials::parse(b, Span::all(b)).unwrap().is_digest);
        let b = br#"Digest realm="r", qop="auth,auth-int", nonce="n", stale=TRUE"#;
        let c = Challenge::parse(b, Span::all(b)).unwrap();
        assert!(c.stale && c.qop.unwrap().of(b) == b"auth,auth-int");
    }
}
