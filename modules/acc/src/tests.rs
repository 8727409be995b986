//! What is accounted, and the line.

use super::*;
use olelo_core::route::avp::AvpVal;
use std::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    let guard = TURN.lock().unwrap_or_else(|e| e.into_inner());
    olelo_core::server::for_tests(vec![olelo_pv::module(), module()]);
    guard
}

fn invite(to_tag: &str) -> Ctx {
    let mut ctx = Ctx::new();
    ctx.msg.buf_mut().extend_from_slice(
        format!(
            "INVITE sip:b@c SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=ft\r\n\
             To: <sip:b@c>{to_tag}\r\nCall-ID: cid\r\nCSeq: 1 INVITE\r\n\r\n"
        )
        .as_bytes(),
    );
    ctx.msg.parse().unwrap();
    ctx
}

#[test]
fn the_line_is_as_collectors_know_it() {
    let _turn = turn();
    let mut ctx = invite("");
    for (name, value) in [("la", "1"), ("la", "2"), ("lb", "x")] {
        ctx.avps
            .avp
            .push(name.as_bytes(), AvpVal::Str(value.into()));
    }
    let reply = Message::from_bytes(
        b"SIP/2.0 486 Busy; Here\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nTo: <sip:b@c>;tag=tt\r\nCSeq: 1 INVITE\r\n\r\n",
    )
    .unwrap();
    let facts = Facts {
        code: "486",
        reason: reply.reason(),
        reply: Some(&reply),
    };
    let extra = Extra::parse("src=$ci; none=$avp(none)").unwrap();
    let legs = Extra::parse("leg_a=$avp(la);leg_b=$avp(lb)").unwrap();
    let text = line(&ctx, &facts, &extra, &legs);
    let (stamp, rest) = text.split_once(';').unwrap();
    assert!(stamp.starts_with("timestamp="));
    assert_eq!(
        rest,
        "method=INVITE;from_tag=ft;to_tag=tt;call_id=cid;code=486;reason=Busy; Here;src=cid;none=;\
         leg_a=2;leg_b=x;leg_a=1;leg_b="
    );
    let facts = Facts {
        code: "",
        reason: b"two\r\nlines",
        reply: None,
    };
    let text = line(&ctx, &facts, &Extra::default(), &Extra::default());
    assert!(
        text.ends_with(";to_tag=;call_id=cid;code=;reason=two  lines"),
        "{text}"
    );
}

#[test]
fn flags_say_what_is_accounted() {
    let _turn = turn();
    LOG_FLAG.set(1);
    LOG_MISSED_FLAG.set(2);
    FAILED_TRANSACTION_FLAG.set(3);
    let _ = FILTER.set(filter("404, 407").unwrap());
    let (all, answered, missed) = (
        0b1110,
        Some("ACC: transaction answered: "),
        Some("ACC: call missed: "),
    );
    for (what, code, flags, method, want) in [
        (RESPONSE_OUT, 200, 0b10, Method::Invite, answered),
        (RESPONSE_OUT, 200, 0, Method::Invite, None),
        (RESPONSE_OUT, 486, 0b10, Method::Invite, None),
        (RESPONSE_OUT, 486, all, Method::Invite, answered),
        (RESPONSE_OUT, 404, all, Method::Invite, None),
        (RESPONSE_OUT, 100, all, Method::Invite, None),
        (RESPONSE_OUT, 183, all, Method::Invite, None),
        (RESPONSE_OUT, 200, all, Method::Cancel, None),
        (RESPONSE_OUT, 200, all, Method::Bye, answered),
        (ON_FAILURE, 486, 0b100, Method::Invite, missed),
        (ON_FAILURE, 486, 0b100, Method::Message, None),
        (ON_FAILURE, 486, 0b10, Method::Invite, None),
        (E2E_ACK, 0, all, Method::Invite, None),
    ] {
        let b = Brief {
            what,
            code,
            flags,
            method,
            local: false,
        };
        assert_eq!(heading(&b), want, "{b:?}");
    }
}

#[test]
fn settings_are_checked() {
    assert_eq!(
        split_comment(b"404 Not; found"),
        ("404", &b"Not; found"[..])
    );
    assert_eq!(split_comment(b"404"), ("404", &b""[..]));
    assert_eq!(split_comment(b"4044 x"), ("", &b"4044 x"[..]));
    assert_eq!(split_comment(b"words"), ("", &b"words"[..]));
    assert!(filter("404,abc").is_err() && filter("200").is_err());
    assert!(
        Extra::parse("a").is_err() && Extra::parse("a=b").is_err() && Extra::parse("=$si").is_err()
    );
    assert_eq!(
        Extra::parse("a=$(hdr(X){s.select,1,;});b=$si")
            .unwrap()
            .0
            .len(),
        2
    );
}
