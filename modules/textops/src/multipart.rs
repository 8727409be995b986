//! Bodies of several parts (RFC 2046 §5.1): making one, adding, taking out and reading parts.
//!
//! The functions work on the body as set so far, so that they can follow each other.

use crate::body::{set_type, unhex};
use crate::yes;
use olelo_core::pv::Spec;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{
    BRANCH, FAILURE, Function, ONREPLY, REQUEST, ScriptError, function,
};
use olelo_core::route::value::Val;
use olelo_sip::{HeaderName, Span, multipart as mime};

type Done = Result<i64, ScriptError>;

const BOUNDARY: &[u8] = b"unique-boundary-1";

/// The boundary of the body set here.
#[derive(Default)]
struct Made(Option<Vec<u8>>);

pub(crate) fn functions() -> Vec<Function> {
    let routes = REQUEST | FAILURE | BRANCH;
    let hex = |c: &mut Ctx, h: &[u8], t: &[u8], d: Option<&[u8]>| {
        unhex(h).map_or(-1, |b| append(c, &b, t, d))
    };
    vec![
        function("set_body_multipart_mode", |c: &mut Ctx| {
            convert(c, BOUNDARY)
        })
        .routes(routes)
        .doc("Makes the body one of several parts, the present one the first."),
        function("set_body_multipart_boundary", |c: &mut Ctx, b: &[u8]| {
            convert(c, b)
        })
        .args(["boundary"])
        .routes(routes)
        .doc("Makes the body one of several parts, with this boundary."),
        function(
            "set_body_multipart_content",
            |c: &mut Ctx, b: &[u8], t: &[u8]| create(c, b, t, BOUNDARY),
        )
        .args(["body", "content_type"])
        .routes(routes)
        .doc("Sets a body of several parts with this one as the first."),
        function(
            "set_body_multipart",
            |c: &mut Ctx, b: &[u8], t: &[u8], s: &[u8]| create(c, b, t, s),
        )
        .args(["body", "content_type", "boundary"])
        .routes(routes)
        .doc("Sets a body of several parts with this one as the first."),
        function("set_body_multipart_native", native)
            .native_only()
            .cfg("set_body_multipart")
            .args(["first", "second", "third"])
            .routes(routes)
            .doc("set_body_multipart([body, content_type][, boundary])."),
        function("append_body_part", |c: &mut Ctx, b: &[u8], t: &[u8]| {
            append(c, b, t, None)
        })
        .args(["body", "content_type"])
        .routes(routes)
        .doc("Adds a part."),
        function(
            "append_body_part_cd",
            |c: &mut Ctx, b: &[u8], t: &[u8], d: &[u8]| append(c, b, t, Some(d)),
        )
        .args(["body", "content_type", "content_disposition"])
        .routes(routes)
        .doc("Adds a part with Content-Disposition."),
        function(
            "append_body_part_native",
            |c: &mut Ctx, b: &[u8], t: &[u8], d: Option<&[u8]>| append(c, b, t, d),
        )
        .native_only()
        .cfg("append_body_part")
        .args(["body", "content_type", "content_disposition"])
        .routes(routes)
        .doc("Adds a part, with Content-Disposition where given."),
        function(
            "append_body_part_hex",
            move |c: &mut Ctx, b: &[u8], t: &[u8]| hex(c, b, t, None),
        )
        .args(["hex", "content_type"])
        .routes(routes)
        .doc("Adds a part given in hexadecimal."),
        function(
            "append_body_part_hex_cd",
            move |c: &mut Ctx, b: &[u8], t: &[u8], d: &[u8]| hex(c, b, t, Some(d)),
        )
        .args(["hex", "content_type", "content_disposition"])
        .routes(routes)
        .doc("Adds a part given in hexadecimal, with Content-Disposition."),
        function(
            "append_body_part_hex_native",
            move |c: &mut Ctx, b: &[u8], t: &[u8], d: Option<&[u8]>| hex(c, b, t, d),
        )
        .native_only()
        .cfg("append_body_part_hex")
        .args(["hex", "content_type", "content_disposition"])
        .routes(routes)
        .doc("Adds a part given in hexadecimal."),
        function("remove_body_part", remove)
            .cfg("remove_body_part")
            .args(["content_type"])
            .routes(routes)
            .doc("Removes the first part of this type."),
        function("get_body_part", |c: &mut Ctx, t: &[u8], v: &[u8]| {
            read(c, t, v, false)
        })
        .cfg("get_body_part")
        .args(["content_type", "var"])
        .raw(&["var"])
        .routes(routes | ONREPLY)
        .doc("Puts the first part of this type into a pseudo-variable."),
        function("get_body_part_raw", |c: &mut Ctx, t: &[u8], v: &[u8]| {
            read(c, t, v, true)
        })
        .cfg("get_body_part_raw")
        .args(["content_type", "var"])
        .raw(&["var"])
        .routes(routes | ONREPLY)
        .doc("Puts the first part of this type, with its headers, into a pseudo-variable."),
    ]
}

/// The body as set so far, and the boundary of its parts if it has any.
pub(crate) fn current(ctx: &Ctx) -> (Vec<u8>, Option<Vec<u8>>) {
    let received = || {
        let t = ctx.msg.content_type()?;
        mime::boundary_of(ctx.msg.buf(), &t).map(<[u8]>::to_vec)
    };
    let made = ctx.ext_ref::<Made>().and_then(|m| m.0.clone());
    let body = ctx
        .edits
        .new_body()
        .unwrap_or_else(|| ctx.msg.body())
        .to_vec();
    (body, made.or_else(received))
}

fn native(ctx: &mut Ctx, a: Option<&[u8]>, b: Option<&[u8]>, c: Option<&[u8]>) -> i64 {
    match (a, b, c) {
        (None, ..) => convert(ctx, BOUNDARY),
        (Some(boundary), None, _) => convert(ctx, boundary),
        (Some(body), Some(kind), boundary) => create(ctx, body, kind, boundary.unwrap_or(BOUNDARY)),
    }
}

/// The present body becomes the first part.
fn convert(ctx: &mut Ctx, boundary: &[u8]) -> i64 {
    let (body, had) = current(ctx);
    if had.is_some() || body.is_empty() || boundary.is_empty() {
        return -1;
    }
    let kind = ctx
        .msg
        .header_body(HeaderName::ContentType)
        .unwrap_or(b"text/plain")
        .to_vec();
    create(ctx, &body, &kind, boundary)
}

fn create(ctx: &mut Ctx, body: &[u8], kind: &[u8], boundary: &[u8]) -> i64 {
    if kind.is_empty() || boundary.is_empty() {
        return -1;
    }
    let mut out = part(body, kind, None, boundary);
    out.extend([b"--", boundary, b"--\r\n"].concat());
    ctx.edits.set_body(&out);
    let value = [
        b"multipart/mixed;boundary=\"",
        boundary,
        b"\"\r\nMime-Version: 1.0",
    ]
    .concat();
    set_type(ctx, &value);
    ctx.ext::<Made>().0 = Some(boundary.to_vec());
    1
}

fn part(body: &[u8], kind: &[u8], disposition: Option<&[u8]>, boundary: &[u8]) -> Vec<u8> {
    let mut out = [b"--", boundary, b"\r\nContent-Type: ", kind, b"\r\n"].concat();
    if let Some(d) = disposition.filter(|d| !d.is_empty()) {
        out.extend([b"Content-Disposition: ", d, b"\r\n"].concat());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
    out
}

fn append(ctx: &mut Ctx, body: &[u8], kind: &[u8], disposition: Option<&[u8]>) -> i64 {
    let (old, boundary) = current(ctx);
    let Some(boundary) = boundary else { return -1 };
    let end = [b"--", boundary.as_slice(), b"--"].concat();
    let at = memchr::memmem::rfind(&old, &end).unwrap_or(old.len());
    let mut new = old.get(..at).unwrap_or_default().to_vec();
    if !new.ends_with(b"\n") {
        new.extend_from_slice(b"\r\n");
    }
    new.extend(part(body, kind, disposition, &boundary));
    new.extend(end);
    new.extend_from_slice(b"\r\n");
    ctx.edits.set_body(&new);
    1
}

fn remove(ctx: &mut Ctx, kind: &[u8]) -> i64 {
    let (old, boundary) = current(ctx);
    let Some(boundary) = boundary else { return -1 };
    let Some(found) = mime::find_part(&old, Span::all(&old), &boundary, kind) else {
        return -1;
    };
    // From the part's own delimiter up to the next one.
    let delimiter = [b"--", boundary.as_slice()].concat();
    let start = memchr::memmem::rfind(old.get(..found.body.at()).unwrap_or_default(), &delimiter);
    let end = memchr::memmem::find(old.get(found.body.to()..).unwrap_or_default(), &delimiter);
    let (Some(start), Some(end)) = (start, end) else {
        return -1;
    };
    let new = [
        old.get(..start).unwrap_or_default(),
        old.get(found.body.to() + end..).unwrap_or_default(),
    ]
    .concat();
    ctx.edits.set_body(&new);
    1
}

fn read(ctx: &mut Ctx, kind: &[u8], var: &[u8], raw: bool) -> Done {
    let (body, boundary) = current(ctx);
    let found = match &boundary {
        Some(b) => mime::find_part(&body, Span::all(&body), b, kind),
        None => None,
    };
    let Some(p) = found else { return Ok(-1) };
    let span = if raw {
        Span::new(p.headers.at(), p.body.to())
    } else {
        p.body
    };
    Spec::parse_cached(var)?.set(ctx, Val::owned(span.of(&body)))?;
    Ok(yes(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(c: &Ctx) -> String {
        String::from_utf8(current(c).0).unwrap()
    }

    #[test]
    fn parts_come_and_go() {
        let mut c = Ctx::new();
        c.msg.buf_mut().extend_from_slice(b"INVITE sip:a@h SIP/2.0\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0");
        c.msg.parse().unwrap();
        assert_eq!(append(&mut c, b"x", b"text/plain", None), -1);
        assert_eq!(convert(&mut c, b"B1"), 1);
        assert_eq!(append(&mut c, b"<a/>", b"text/xml", Some(b"render")), 1);
        assert_eq!(
            body(&c),
            "--B1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--B1\r\nContent-Type: text/xml\r\nContent-Disposition: render\r\n\r\n<a/>\r\n--B1--\r\n"
        );
        assert_eq!(remove(&mut c, b"application/sdp"), 1);
        assert_eq!(
            body(&c),
            "--B1\r\nContent-Type: text/xml\r\nContent-Disposition: render\r\n\r\n<a/>\r\n--B1--\r\n"
        );
        assert_eq!(remove(&mut c, b"application/sdp"), -1);
        let mut out = Vec::new();
        c.edits.apply(&c.msg, &mut out);
        let out = String::from_utf8(out).unwrap();
        assert!(
            out.contains("Content-Type: multipart/mixed;boundary=\"B1\"\r\nMime-Version: 1.0\r\n"),
            "{out}"
        );
    }
}
