//! Checks beyond reading: what RFC 3261 asks of a message and RFC 4475 tries to get wrong.
//!
//! Each check is its own function giving the reply code and reason a server would answer, so that
//! the `sanity` module can run those an operator selects. [`check`] runs all of them.

use crate::header::HeaderName;
use crate::message::Message;
use crate::name_addr::NameAddr;
use crate::uri::{Scheme, Uri};
use thiserror::Error;

/// A check that failed. The sender is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{code} {reason}")]
pub struct Fault {
    /// The status code to answer with.
    pub code: u16,
    /// The reason phrase.
    pub reason: &'static str,
}

/// The outcome of a check.
pub type Checked = Result<(), Fault>;

/// All checks, in the order of cost.
pub fn check(msg: &Message) -> Checked {
    sip_version(msg)?;
    via_protocol(msg)?;
    required_headers(msg)?;
    single_headers(msg)?;
    ruri_scheme(msg)?;
    ruri(msg)?;
    cseq_value(msg)?;
    cseq_method(msg)?;
    content_length(msg)?;
    max_forwards(msg)?;
    expires_value(msg)?;
    from_to_uris(msg)?;
    contacts(msg)?;
    digest(msg)
}

/// The first line says SIP/2.0.
pub fn sip_version(msg: &Message) -> Checked {
    fault_unless(
        msg.version().eq_ignore_ascii_case(b"SIP/2.0"),
        505,
        "Version Not Supported",
    )
}

/// The Request-URI has a scheme we route: sip, sips, tel, urn.
pub fn ruri_scheme(msg: &Message) -> Checked {
    if !msg.is_request() {
        return Ok(());
    }
    match Uri::parse(msg.ruri()) {
        Ok(u) => fault_unless(u.scheme != Scheme::Other, 416, "Unsupported URI Scheme"),
        Err(_) => Ok(()),
    }
}

/// The Request-URI can be read.
pub fn ruri(msg: &Message) -> Checked {
    fault_unless(
        !msg.is_request() || Uri::parse(msg.ruri()).is_ok(),
        400,
        "Bad Request-URI",
    )
}

/// Via, From, To, Call-ID and CSeq are there; From has a tag where `From` can be read.
pub fn required_headers(msg: &Message) -> Checked {
    use HeaderName::{CSeq, CallId, From, To, Via};
    for (name, reason) in [
        (Via, "Missing Via Header"),
        (From, "Missing From Header"),
        (To, "Missing To Header"),
        (CallId, "Missing Call-ID Header"),
        (CSeq, "Missing CSeq Header"),
    ] {
        fault_unless(
            msg.header_body(name).is_some_and(|b| !b.is_empty()),
            400,
            reason,
        )?;
    }
    Ok(())
}

/// Headers that may appear once do.
pub fn single_headers(msg: &Message) -> Checked {
    use HeaderName::{CSeq, CallId, ContentLength, From, MaxForwards, To};
    for (name, reason) in [
        (From, "Multiple From Headers"),
        (To, "Multiple To Headers"),
        (CallId, "Multiple Call-ID Headers"),
        (CSeq, "Multiple CSeq Headers"),
        (MaxForwards, "Multiple Max-Forwards Headers"),
        (ContentLength, "Multiple Content-Length Headers"),
    ] {
        fault_unless(msg.headers_named(name).nth(1).is_none(), 400, reason)?;
    }
    Ok(())
}

/// Every Via can be read, and the top one is SIP/2.0.
pub fn via_protocol(msg: &Message) -> Checked {
    fault_unless(msg.vias().is_ok(), 400, "Bad Via Header")?;
    let Some(via) = msg.via(0) else { return Ok(()) };
    let sip =
        msg.slice(via.protocol).eq_ignore_ascii_case(b"SIP") && msg.slice(via.version) == b"2.0";
    fault_unless(sip, 505, "Version Not Supported in Via")
}

/// CSeq has a number below 2^31 and a method.
pub fn cseq_value(msg: &Message) -> Checked {
    if msg.header(HeaderName::CSeq).is_none() {
        return Ok(());
    }
    fault_unless(
        msg.cseq().is_some_and(|c| c.number < 1 << 31),
        400,
        "Bad CSeq Header",
    )
}

/// CSeq's method is the request's.
pub fn cseq_method(msg: &Message) -> Checked {
    match msg.cseq() {
        Some(c) if msg.is_request() => fault_unless(
            msg.slice(c.method_text) == msg.method_text(),
            400,
            "CSeq Method Does Not Match",
        ),
        _ => Ok(()),
    }
}

/// Content-Length is a number and not more than came.
pub fn content_length(msg: &Message) -> Checked {
    if msg.header(HeaderName::ContentLength).is_none() {
        return Ok(());
    }
    let have = msg.buf().len().saturating_sub(msg.body_start());
    fault_unless(
        msg.content_length().is_some_and(|n| n as usize <= have),
        400,
        "Content-Length Mis-Match",
    )
}

/// Max-Forwards is 0 to 255.
pub fn max_forwards(msg: &Message) -> Checked {
    fault_unless(
        msg.header(HeaderName::MaxForwards).is_none()
            || msg.max_forwards().is_some_and(|n| n <= 255),
        400,
        "Bad Max-Forwards Header",
    )
}

/// Expires is a number; one too large is as large as can be.
pub fn expires_value(msg: &Message) -> Checked {
    fault_unless(
        msg.header(HeaderName::Expires).is_none() || msg.expires().is_some(),
        400,
        "Bad Expires Header",
    )
}

/// From and To can be read, and hold URIs.
pub fn from_to_uris(msg: &Message) -> Checked {
    let good = |a: Option<&NameAddr>| a.is_some_and(|a| a.uri(msg.buf()).is_ok());
    fault_unless(
        msg.header(HeaderName::From).is_none() || good(msg.from()),
        400,
        "Bad From Header",
    )?;
    fault_unless(
        msg.header(HeaderName::To).is_none() || good(msg.to()),
        400,
        "Bad To Header",
    )
}

/// Contacts can be read; one with `?` stands in `<>` (RFC 3261 §20.10).
pub fn contacts(msg: &Message) -> Checked {
    let list = match msg.contacts() {
        Ok(c) => c.list(),
        Err(_) => &[],
    };
    let good = msg.contacts().is_ok()
        && list.iter().all(|c| {
            (c.addr.bracketed || !msg.slice(c.addr.uri).contains(&b'?'))
                && c.addr.uri(msg.buf()).is_ok()
        });
    fault_unless(good, 400, "Bad Contact Header")
}

/// Digest credentials are complete.
pub fn digest(msg: &Message) -> Checked {
    for list in [msg.authorizations(), msg.proxy_authorizations()] {
        let good = list.is_ok_and(|l| l.iter().all(|c| !c.is_digest || c.is_complete()));
        fault_unless(good, 400, "Bad Credentials")?;
    }
    Ok(())
}

/// The option tags of Proxy-Require that `known` does not hold, for 420 and Unsupported.
pub fn unknown_proxy_require<'a>(
    msg: &'a Message,
    known: &'a [&'a [u8]],
) -> impl Iterator<Item = &'a [u8]> {
    msg.option_tags(HeaderName::ProxyRequire)
        .filter(move |tag| !known.iter().any(|k| k.eq_ignore_ascii_case(tag)))
}

fn fault_unless(good: bool, code: u16, reason: &'static str) -> Checked {
    if good {
        Ok(())
    } else {
        Err(Fault { code, reason })
    }
}
