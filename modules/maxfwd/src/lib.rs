//! The `maxfwd` module: Max-Forwards, the hop limit of a request (RFC 3261 §16.6 step 3).
//!
//! The header is changed in place when the request is sent. What this message's value has become is
//! remembered with the message, so that a check after the decrement sees the new value.

#![forbid(unsafe_code)]

use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{BRANCH, FAILURE, REQUEST, function};
use olelo_core::route::module::{IntParam, Module, param_int};
use olelo_sip::HeaderName;

static MAX_LIMIT: IntParam = IntParam::new(70);

/// The module.
pub fn module() -> Module {
    Module::new("maxfwd")
        .doc("Max-Forwards: the hop limit that ends loops.")
        .param(param_int("max_limit", &MAX_LIMIT).dynamic().doc("Largest value that leaves this server, 1 to 256."))
        .function(
            function("process_maxfwd", process_maxfwd)
                .cfg("mf_process_maxfwd_header")
                .cfg("maxfwd_process")
                .cfg("process_maxfwd")
                .args(["limit"])
                .routes(REQUEST)
                .doc("Decrements Max-Forwards, or adds it with `limit`. 1: decremented, 2: added, -1: it is 0, -2: it can't be read."),
        )
        .function(
            function("is_maxfwd_lt", is_maxfwd_lt)
                .cfg("is_maxfwd_lt")
                .cfg("maxfwd_at_least")
                .cfg("mf_lowlimit")
                .args(["limit"])
                .routes(REQUEST | FAILURE | BRANCH)
                .doc("Whether Max-Forwards, as it will leave, is below `limit`. -1: it is not, -2: there is none, -3: it can't be read."),
        )
}

/// What this server made of the header: nothing yet, or the value that will leave.
#[derive(Default)]
struct Leaving(Option<u32>);

enum Found {
    Missing,
    Garbage,
    Value(u32),
}

/// The value as received.
fn received(ctx: &Ctx) -> Found {
    match ctx.msg.header_body(HeaderName::MaxForwards) {
        None => Found::Missing,
        Some(_) => match ctx.msg.max_forwards() {
            Some(n) => Found::Value(n),
            None => Found::Garbage,
        },
    }
}

fn process_maxfwd(ctx: &mut Ctx, limit: i64) -> i64 {
    let Some(limit) = u32::try_from(limit).ok().filter(|l| (1..=256).contains(l)) else {
        olelo_core::error!(
            "maxfwd",
            "process_maxfwd({limit}): the limit must be 1 to 256"
        );
        return -2;
    };
    let ceiling = u32::try_from(MAX_LIMIT.get().clamp(1, 256)).unwrap_or(70);
    match received(ctx) {
        Found::Missing => {
            if ctx.ext::<Leaving>().0.is_none() {
                ctx.edits
                    .append_header(format!("Max-Forwards: {limit}\r\n").as_bytes());
                ctx.ext::<Leaving>().0 = Some(limit);
            }
            2
        }
        Found::Garbage => -2,
        Found::Value(0) => -1,
        Found::Value(n) => {
            let next = (n - 1).min(ceiling);
            if let Some(h) = ctx.msg.header(HeaderName::MaxForwards) {
                let at = h.body;
                let mut digits = [0u8; 10];
                ctx.edits.replace(at, decimal(next, &mut digits));
            }
            ctx.ext::<Leaving>().0 = Some(next);
            1
        }
    }
}

/// The digits of `n`, in the caller's room.
fn decimal(mut n: u32, room: &mut [u8; 10]) -> &[u8] {
    let mut at = room.len();
    loop {
        at -= 1;
        room[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &room[at..];
        }
    }
}

fn is_maxfwd_lt(ctx: &mut Ctx, limit: i64) -> i64 {
    let leaving = ctx.ext_ref::<Leaving>().and_then(|l| l.0);
    let value = match (leaving, received(ctx)) {
        (Some(n), _) | (None, Found::Value(n)) => n,
        (None, Found::Missing) => return -2,
        (None, Found::Garbage) => return -3,
    };
    if i64::from(value) < limit { 1 } else { -1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ctx(header: &str) -> Ctx {
        let mut c = Ctx::new();
        c.msg.buf_mut().extend_from_slice(
            format!("OPTIONS sip:a@b SIP/2.0\r\n{header}Content-Length: 0\r\n\r\n").as_bytes(),
        );
        c.msg.parse().unwrap();
        c
    }

    #[test]
    fn the_header_leaves_one_lower_or_is_added() {
        for (header, limit, want, leaves) in [
            ("", 10, 2, "Max-Forwards: 10\r\n"),
            ("Max-Forwards: 70\r\n", 10, 1, "Max-Forwards: 69\r\n"),
            ("Max-Forwards: 200\r\n", 10, 1, "Max-Forwards: 70\r\n"),
            ("Max-Forwards: 1\r\n", 10, 1, "Max-Forwards: 0\r\n"),
            ("Max-Forwards: 0\r\n", 10, -1, "Max-Forwards: 0\r\n"),
            ("Max-Forwards: x\r\n", 10, -2, "Max-Forwards: x\r\n"),
            ("Max-Forwards: 70\r\n", 0, -2, "Max-Forwards: 70\r\n"),
        ] {
            let mut c = ctx(header);
            assert_eq!(process_maxfwd(&mut c, limit), want, "{header:?}");
            let mut out = Vec::new();
            c.edits.apply(&c.msg, &mut out);
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains(leaves), "{header:?} left as {out}");
        }
    }

    #[test]
    fn a_check_sees_the_value_that_will_leave() {
        for (header, process, limit, want) in [
            ("", false, 1, -2),
            ("", true, 11, 1),
            ("Max-Forwards: 1\r\n", false, 1, -1),
            ("Max-Forwards: 1\r\n", true, 1, 1),
            ("Max-Forwards: abc\r\n", false, 1, -3),
        ] {
            let mut c = ctx(header);
            if process {
                process_maxfwd(&mut c, 10);
            }
            assert_eq!(is_maxfwd_lt(&mut c, limit), want, "{header:?} {process}");
        }
    }
}
