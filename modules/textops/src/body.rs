//! The body: whether there is one, setting it, in the message and in replies made here.

use crate::{multipart, yes};
use olelo_core::net::reply::ReplyBody;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{BRANCH, FAILURE, Function, ONREPLY, REQUEST, function};
use olelo_sip::sdp::Sdp;
use olelo_sip::{HeaderName, multipart as mime};

pub(crate) fn functions() -> Vec<Function> {
    let in_request = REQUEST | FAILURE | BRANCH;
    vec![
        function("set_body", |c: &mut Ctx, b: &[u8], t: &[u8]| set(c, b, t)).cfg("set_body").args(["body", "content_type"]).routes(in_request | ONREPLY).doc("Sets the body and Content-Type."),
        function("set_body_hex", |c: &mut Ctx, h: &[u8], t: &[u8]| unhex(h).map_or(-1, |b| set(c, &b, t))).cfg("set_body_hex").args(["hex", "content_type"]).doc("Sets the body, given in hexadecimal."),
        function("set_reply_body", |c: &mut Ctx, b: &[u8], t: &[u8]| set_reply(c, b.to_vec(), t)).cfg("set_reply_body").args(["body", "content_type"]).routes(in_request).doc("Sets the body of replies made here."),
        function("set_reply_body_hex", |c: &mut Ctx, h: &[u8], t: &[u8]| unhex(h).map_or(-1, |b| set_reply(c, b, t))).cfg("set_reply_body_hex").args(["hex", "content_type"]).routes(in_request).doc("Sets the body of replies made here, given in hexadecimal."),
        function("has_body", |c: &mut Ctx| yes(!c.msg.body().is_empty())).doc("Whether there is a body."),
        function("has_body_type", |c: &mut Ctx, t: &[u8]| has_type(c, t)).args(["content_type"]).doc("Whether there is a body of this type."),
        function("has_body_native", |c: &mut Ctx, t: Option<&[u8]>| t.filter(|t| !t.is_empty()).map_or_else(|| yes(!c.msg.body().is_empty()), |t| has_type(c, t))).native_only().cfg("has_body").args(["content_type"]).doc("Whether there is a body, of this type where one is named."),
        function("filter_body", filter).cfg("filter_body").args(["content_type"]).doc("Leaves only the first part of this type of a body of several parts."),
        function("is_audio_on_hold", on_hold).cfg("is_audio_on_hold").doc("Whether audio is on hold: 1 by a null address (RFC 2543), 2 by sendonly or inactive (RFC 3264)."),
    ]
}

/// Sets body and Content-Type of the message.
pub(crate) fn set(ctx: &mut Ctx, body: &[u8], content_type: &[u8]) -> i64 {
    if content_type.is_empty() && !body.is_empty() {
        return -1;
    }
    ctx.edits.set_body(body);
    set_type(ctx, content_type);
    1
}

/// Sets Content-Type, where it is or as a new header; removes it for the empty string.
pub(crate) fn set_type(ctx: &mut Ctx, content_type: &[u8]) {
    // The empty part behind the last header: a second call takes the place of the first.
    let at = ctx.msg.headers_end();
    let place = match ctx.msg.header(HeaderName::ContentType) {
        Some(h) => h.whole,
        None => olelo_sip::Span::new(at, at),
    };
    if content_type.is_empty() {
        ctx.edits.replace(place, b"");
    } else {
        let line = [b"Content-Type: ", content_type, b"\r\n"].concat();
        ctx.edits.replace(place, &line);
    }
}

fn set_reply(ctx: &mut Ctx, body: Vec<u8>, content_type: &[u8]) -> i64 {
    if content_type.is_empty() {
        return -1;
    }
    ctx.ext::<ReplyBody>().0 = Some((content_type.to_vec(), body));
    1
}

/// Bytes from hexadecimal digits.
pub(crate) fn unhex(hex: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    hex.chunks(2)
        .map(|p| Some(digit(*p.first()?)? << 4 | digit(*p.get(1)?)?))
        .collect()
}

fn has_type(ctx: &Ctx, want: &[u8]) -> i64 {
    if ctx.msg.body().is_empty() {
        return -1;
    }
    let Some(have) = ctx.msg.content_type() else {
        // A body without a type is SDP by tradition.
        return yes(want.eq_ignore_ascii_case(b"application/sdp"));
    };
    let (kind, subtype) = match want.iter().position(|b| *b == b'/') {
        Some(at) => (&want[..at], &want[at + 1..]),
        None => return -1,
    };
    let same_kind = ctx.msg.slice(have.kind).eq_ignore_ascii_case(kind);
    yes(same_kind && (subtype == b"*" || ctx.msg.slice(have.subtype).eq_ignore_ascii_case(subtype)))
}

fn filter(ctx: &mut Ctx, content_type: &[u8]) -> i64 {
    let (body, boundary) = multipart::current(ctx);
    let Some(boundary) = boundary else { return -1 };
    match mime::find_part(&body, olelo_sip::Span::all(&body), &boundary, content_type) {
        Some(p) => {
            ctx.edits.set_body(p.body.of(&body));
            1
        }
        None => -1,
    }
}

fn on_hold(ctx: &mut Ctx) -> i64 {
    let Some(span) = ctx.msg.sdp_span() else {
        return -1;
    };
    let buf = ctx.msg.buf();
    let Some(sdp) = Sdp::parse(buf, span) else {
        return -1;
    };
    for m in sdp.media().iter().filter(|m| m.kind.of(buf) == b"audio") {
        let address = sdp.connection_of(m).map(|a| a.address.of(buf));
        if address.is_some_and(|a| a == b"0.0.0.0" || a == b"::") {
            return 1;
        }
        let lines = sdp.session_lines().iter().chain(sdp.media_lines(m));
        // The media's own direction overrules the session's.
        let direction = lines
            .filter(|l| l.kind == b'a')
            .map(|l| l.value.of(buf))
            .rfind(|v| matches!(*v, b"sendonly" | b"inactive" | b"sendrecv" | b"recvonly"));
        if direction.is_some_and(|d| d == b"sendonly" || d == b"inactive") {
            return 2;
        }
    }
    -1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ctx(kind: &str, body: &str) -> Ctx {
        let mut c = Ctx::new();
        let text = format!(
            "INVITE sip:a@h SIP/2.0\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        c.msg.buf_mut().extend_from_slice(text.as_bytes());
        c.msg.parse().unwrap();
        c
    }

    fn sent(c: &Ctx) -> String {
        let mut out = Vec::new();
        c.edits.apply(&c.msg, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_body_is_set_with_its_type_and_length() {
        let mut c = ctx("", "");
        assert_eq!(set(&mut c, b"hello", b"text/plain"), 1);
        let out = sent(&c);
        assert!(
            out.contains("Content-Type: text/plain\r\n")
                && out.contains("Content-Length: 5\r\n")
                && out.ends_with("\r\n\r\nhello"),
            "{out}"
        );
        let mut c = ctx("Content-Type: a/b\r\n", "xy");
        set(&mut c, b"1", b"text/plain");
        set(&mut c, b"123", b"text/html");
        let out = sent(&c);
        assert!(
            out.contains("Content-Type: text/html\r\n")
                && !out.contains("plain")
                && out.ends_with("\r\n\r\n123"),
            "{out}"
        );
        assert_eq!(set(&mut c, b"1", b""), -1);
    }

    #[test]
    fn types_are_compared() {
        for (kind, body, want, yes) in [
            (
                "Content-Type: application/SDP;x=1\r\n",
                "v",
                "application/sdp",
                1,
            ),
            (
                "Content-Type: multipart/mixed;boundary=x\r\n",
                "v",
                "multipart/*",
                1,
            ),
            ("Content-Type: text/plain\r\n", "v", "application/sdp", -1),
            ("Content-Type: text/plain\r\n", "", "text/plain", -1),
        ] {
            assert_eq!(
                has_type(&ctx(kind, body), want.as_bytes()),
                yes,
                "{kind} {want}"
            );
        }
    }

    #[test]
    fn hold_by_address_or_direction() {
        let sdp = |c: &str, a: &str| {
            format!(
                "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 {c}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n{a}"
            )
        };
        for (c, a, want) in [
            ("0.0.0.0", "", 1),
            ("1.2.3.4", "a=sendonly\r\n", 2),
            ("1.2.3.4", "a=inactive\r\n", 2),
            ("1.2.3.4", "a=sendrecv\r\n", -1),
            ("1.2.3.4", "", -1),
        ] {
            let mut x = ctx("Content-Type: application/sdp\r\n", &sdp(c, a));
            assert_eq!(on_hold(&mut x), want, "{c} {a}");
        }
    }
}
