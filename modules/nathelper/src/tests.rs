//! Tests of NATs and corrections, as tables.

use super::*;

fn message(contact: &str, via: &str, sdp: &str) -> Ctx {
    olelo_core::server::for_tests(vec![module()]);
    let mut ctx = Ctx::new();
    let body = if sdp.is_empty() {
        String::new()
    } else {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {sdp}\r\ns=-\r\nc=IN IP4 {sdp}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:4001 IN IP4 {sdp}\r\n"
        )
    };
    ctx.msg.buf_mut().extend_from_slice(
        format!(
            "INVITE sip:a@example.org SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContact: {contact}\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    ctx.msg.parse().unwrap();
    ctx.rcv.src = "203.0.113.9:5062".parse().unwrap();
    ctx
}

fn sent(ctx: &Ctx) -> String {
    let mut out = Vec::new();
    ctx.edits.apply(&ctx.msg, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn each_test_finds_its_nat() {
    let private = ("<sip:a@10.0.0.1>", "192.168.1.2:5060", "172.16.0.3");
    let public = (
        "<sip:a@203.0.113.9:5062>",
        "203.0.113.9:5062",
        "203.0.113.9",
    );
    for (flag, behind, open) in [
        (1, true, false),
        (2, true, false),
        (4, true, false),
        (8, true, false),
        (16, true, false),
        (32, false, false),
        (64, false, false),
        (128, true, false),
        (256, true, false),
        (512, false, false),
        (19, true, false),
    ] {
        let ctx = message(private.0, private.1, private.2);
        assert_eq!(nat_uac_test(&ctx, flag), behind, "{flag} behind a NAT");
        let ctx = message(public.0, public.1, public.2);
        assert_eq!(nat_uac_test(&ctx, flag), open, "{flag} in the open");
    }
    let mut ctx = message(public.0, "203.0.113.9", "");
    assert!(nat_uac_test(&ctx, 16), "no port in Via means 5060");
    ctx.rcv.src = "10.1.1.1:5060".parse().unwrap();
    assert!(nat_uac_test(&ctx, 32));
    ctx.rcv.proto = Proto::Wss;
    assert!(nat_uac_test(&ctx, 64));
}

#[test]
fn contacts_are_corrected() {
    for (contact, want) in [
        ("<sip:a@10.0.0.1>", "Contact: <sip:a@203.0.113.9:5062>\r\n"),
        (
            "\"A\" <sip:a@10.0.0.1:99;transport=tcp>;q=1",
            "Contact: \"A\" <sip:a@203.0.113.9:5062;transport=tcp>;q=1\r\n",
        ),
        ("sip:10.0.0.1", "Contact: sip:203.0.113.9:5062\r\n"),
        ("<sip:a@[::1]:5>", "Contact: <sip:a@203.0.113.9:5062>\r\n"),
    ] {
        let mut ctx = message(contact, "1.2.3.4", "");
        assert_eq!(fix_nated_contact(&mut ctx), 1);
        assert!(sent(&ctx).contains(want), "{}", sent(&ctx));
    }
    assert_eq!(fix_nated_contact(&mut message("*", "1.2.3.4", "")), -1);
}

#[test]
fn aliases_are_set_and_followed() {
    let mut ctx = message("sip:a@10.0.0.1", "1.2.3.4", "");
    assert_eq!(add_contact_alias(&mut ctx), 1);
    assert!(
        sent(&ctx).contains("Contact: <sip:a@10.0.0.1;alias=203.0.113.9~5062~1>\r\n"),
        "{}",
        sent(&ctx)
    );
    let mut ctx = message("<sip:a@203.0.113.9:5062>", "1.2.3.4", "");
    assert_eq!(add_contact_alias(&mut ctx), 2, "the source is the contact");
    let mut ctx = message("<sip:a@h;alias=1.1.1.1~1~1>", "1.2.3.4", "");
    assert_eq!(set_contact_alias(&mut ctx, true), 1);
    assert!(
        sent(&ctx).contains("Contact: <sip:a@h;alias=203.0.113.9~5062~1>\r\n"),
        "{}",
        sent(&ctx)
    );
    let mut ctx = message("*", "1.2.3.4", "");
    ctx.set_ruri(b"sip:a@10.0.0.1;alias=203.0.113.9~5062~2;ob;alias=1.1.1.1~1~1");
    assert_eq!(handle_ruri_alias(&mut ctx, 0), 1);
    assert_eq!(ctx.ruri(), b"sip:a@10.0.0.1;ob;alias=1.1.1.1~1~1");
    assert_eq!(
        ctx.dst_uri.as_deref(),
        Some(&b"sip:203.0.113.9:5062;transport=tcp"[..])
    );
    assert_eq!(handle_ruri_alias(&mut ctx, 1), 1);
    assert_eq!(handle_ruri_alias(&mut ctx, 0), 2);
    ctx.set_ruri(b"sip:a@h;alias=example.org~1~1");
    assert_eq!(handle_ruri_alias(&mut ctx, 0), -1);
}

#[test]
fn received_is_added() {
    let mut ctx = message("<sip:a@10.0.0.1>;q=1, <sip:b@h>", "1.2.3.4", "");
    assert_eq!(add_rcv_param(&mut ctx, 0), 1);
    assert!(sent(&ctx).contains(
        "<sip:a@10.0.0.1>;q=1;received=\"sip:203.0.113.9:5062\", <sip:b@h>;received=\"sip:203.0.113.9:5062\"\r\n"
    ), "{}", sent(&ctx));
}

#[test]
fn descriptions_are_corrected() {
    let mut ctx = message("*", "1.2.3.4", "10.0.0.1");
    assert_eq!(sdp::fix(&mut ctx, 2 | 8 | 1 | 4, None), 1);
    let text = sent(&ctx);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{text}"
    );
    assert_eq!(
        body,
        "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n\
         a=rtcp:4001 IN IP4 203.0.113.9\r\na=oldmediaip:10.0.0.1\r\na=direction:active\r\na=nortpproxy:yes\r\n"
    );
    let mut ctx = message("*", "1.2.3.4", "0.0.0.0");
    assert_eq!(sdp::fix(&mut ctx, 2, None), 2, "on hold stays on hold");
    assert_eq!(sdp::fix(&mut message("*", "1.2.3.4", ""), 2, None), -1);
    assert_eq!(
        sdp::fix(&mut message("*", "1.2.3.4", "10.0.0.1"), 2, Some("nowhere")),
        -1
    );
}
