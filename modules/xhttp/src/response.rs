//! An HTTP response and what becomes of the connection after it.

use olelo_core::net::{self, Dst, SendFlags, reply::ReplyHeaders, reply::server_value};
use olelo_core::route::ctx::Ctx;

/// Whether the message is an HTTP request.
pub fn is_http(ctx: &Ctx) -> bool {
    ctx.msg.is_request() && ctx.msg.version().starts_with(b"HTTP/")
}

/// Answers the HTTP request in `ctx`; with the headers that `append_to_reply` has collected. False
/// where it is none, or the connection is gone.
pub fn reply(ctx: &mut Ctx, code: i64, reason: &[u8], ctype: &[u8], body: &[u8]) -> bool {
    if !is_http(ctx) {
        olelo_core::error!("xhttp", "xhttp_reply: the message is no HTTP request");
        return false;
    }
    if !(100..=999).contains(&code) {
        olelo_core::error!("xhttp", "xhttp_reply: {code} is no status code");
        return false;
    }
    let extra = ctx
        .ext_mut::<ReplyHeaders>()
        .map(|h| std::mem::take(&mut h.0))
        .unwrap_or_default();
    let close = wants_close(ctx) || net::wishes(ctx).reply.close;
    let out = build(&Response {
        code,
        reason,
        ctype,
        extra: &extra,
        body,
        head_only: ctx.msg.method_text() == b"HEAD",
        close,
        says_keep_alive: ctx.msg.version() == b"HTTP/1.0",
    });
    send(ctx, &out, close)
}

/// Answers what the script does not see, and closes the connection.
pub(crate) fn refuse(ctx: &mut Ctx, code: i64, reason: &str) -> bool {
    let out = build(&Response {
        code,
        reason: reason.as_bytes(),
        ctype: b"",
        extra: b"",
        body: b"",
        head_only: false,
        close: true,
        says_keep_alive: false,
    });
    send(ctx, &out, true);
    true
}

struct Response<'a> {
    code: i64,
    reason: &'a [u8],
    ctype: &'a [u8],
    extra: &'a [u8],
    body: &'a [u8],
    /// The length is told, the body is left out (RFC 9110 §9.3.2).
    head_only: bool,
    close: bool,
    says_keep_alive: bool,
}

fn build(r: &Response<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(160 + r.extra.len() + r.body.len());
    out.extend(format!("HTTP/1.1 {} ", r.code).bytes());
    out.extend(r.reason.iter().filter(|b| !b.is_ascii_control()));
    out.extend_from_slice(b"\r\n");
    let mut header = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend(value.iter().filter(|b| !b.is_ascii_control()));
        out.extend_from_slice(b"\r\n");
    };
    if !r.ctype.is_empty() {
        header("Content-Type", r.ctype);
    }
    if let Some(s) = server_value() {
        header("Server", s);
    }
    if r.close {
        header("Connection", b"close");
    } else if r.says_keep_alive {
        header("Connection", b"keep-alive");
    }
    header("Content-Length", r.body.len().to_string().as_bytes());
    out.extend_from_slice(r.extra);
    out.extend_from_slice(b"\r\n");
    if !r.head_only {
        out.extend_from_slice(r.body);
    }
    out
}

/// What the request's version and Connection header ask for (RFC 9112 §9.3).
fn wants_close(ctx: &Ctx) -> bool {
    let says = |what: &[u8]| {
        ctx.msg.headers_by_text(b"Connection").any(|h| {
            let body = ctx.msg.slice(h.body);
            body.split(|b| *b == b',')
                .any(|t| t.trim_ascii().eq_ignore_ascii_case(what))
        })
    };
    if ctx.msg.version() == b"HTTP/1.0" {
        return !says(b"keep-alive");
    }
    says(b"close")
}

fn send(ctx: &Ctx, bytes: &[u8], close: bool) -> bool {
    let dst = Dst {
        proto: ctx.rcv.proto,
        addr: ctx.rcv.src,
        socket: ctx.rcv.socket,
        conn: ctx.rcv.conn,
        flags: SendFlags {
            no_connect: true,
            close,
        },
    };
    match net::send(&dst, bytes) {
        Ok(()) => true,
        Err(e) => {
            olelo_core::info!("xhttp", "the answer to {} is lost: {e}", ctx.rcv.src);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Ctx {
        let mut c = Ctx::new();
        c.msg.buf_mut().extend_from_slice(text.as_bytes());
        c.msg.parse().unwrap();
        c
    }

    #[test]
    fn the_version_and_the_connection_header_decide() {
        for (text, close) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", true),
            ("GET / HTTP/1.0\r\n\r\n", true),
            ("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", false),
        ] {
            assert_eq!(wants_close(&request(text)), close, "{text}");
        }
    }

    #[test]
    fn nothing_from_the_script_breaks_the_head() {
        olelo_core::server::for_tests(vec![]);
        let out = build(&Response {
            code: 200,
            reason: b"OK\r\nX: y",
            ctype: b"text/plain\r\n",
            extra: b"A: b\r\n",
            body: b"body",
            head_only: true,
            close: false,
            says_keep_alive: false,
        });
        let t = String::from_utf8(out).unwrap();
        assert!(
            t.starts_with("HTTP/1.1 200 OKX: y\r\nContent-Type: text/plain\r\n"),
            "{t}"
        );
        assert!(t.ends_with("Content-Length: 4\r\nA: b\r\n\r\n"), "{t}");
    }
}
