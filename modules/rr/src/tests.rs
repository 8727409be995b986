//! Route sets followed and recorded, by tables. The server of these tests has no sockets: what is
//! this server's own is said by a check of names.

use crate::loose::{Direction, direction, loose_route, next_route, routed_params};
use crate::record::{add_rr_param, preset, record_route, remove};
use olelo_core::route::ctx::Ctx;
use std::sync::Once;

fn server() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        olelo_core::server::for_tests(vec![crate::module()]);
        olelo_core::net::own::add_check(|host, _, _| host == "us");
    });
}

fn ctx(ruri: &str, to_tag: &str, routes: &str) -> Ctx {
    server();
    let mut c = Ctx::new();
    let text = format!(
        "BYE {ruri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n{routes}From: <sip:a@h>;tag=ft\r\nTo: <sip:b@h>{to_tag}\r\n\
        Call-ID: c\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
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

fn route_lines(c: &Ctx) -> Vec<String> {
    let all = sent(c);
    all.lines()
        .filter(|l| l.starts_with("Route:"))
        .map(str::to_string)
        .collect()
}

struct Row {
    what: &'static str,
    ruri: &'static str,
    tag: &'static str,
    routes: &'static str,
    rc: i64,
    ruri_after: &'static str,
    duri: Option<&'static str>,
    left: &'static [&'static str],
}

#[test]
fn route_sets_are_followed() {
    const IN: &str = ";tag=tt";
    let rows = [
        Row {
            what: "no route set",
            ruri: "sip:b@x",
            tag: IN,
            routes: "",
            rc: -1,
            ruri_after: "sip:b@x",
            duri: None,
            left: &[],
        },
        Row {
            what: "ours alone",
            ruri: "sip:b@x",
            tag: IN,
            routes: "Route: <sip:us;lr>\r\n",
            rc: 1,
            ruri_after: "sip:b@x",
            duri: None,
            left: &[],
        },
        Row {
            what: "ours, then another proxy",
            ruri: "sip:b@x",
            tag: IN,
            routes: "Route: <sip:us;lr>, <sip:p2;lr>\r\n",
            rc: 1,
            ruri_after: "sip:b@x",
            duri: Some("sip:p2;lr"),
            left: &["Route: <sip:p2;lr>"],
        },
        Row {
            what: "two of ours",
            ruri: "sip:b@x",
            tag: IN,
            routes: "Route: <sip:us;r2=on;lr>\r\nRoute: <sip:us;r2=on;lr>\r\nRoute: <sip:p2;lr>\r\n",
            rc: 1,
            ruri_after: "sip:b@x",
            duri: Some("sip:p2;lr"),
            left: &["Route: <sip:p2;lr>"],
        },
        Row {
            what: "not ours",
            ruri: "sip:b@x",
            tag: IN,
            routes: "Route: <sip:p2;lr>\r\n",
            rc: 1,
            ruri_after: "sip:b@x",
            duri: Some("sip:p2;lr"),
            left: &["Route: <sip:p2;lr>"],
        },
        Row {
            what: "next is a strict router",
            ruri: "sip:b@x",
            tag: IN,
            routes: "Route: <sip:us;lr>\r\nRoute: <sip:p2>\r\n",
            rc: 1,
            ruri_after: "sip:p2",
            duri: None,
            left: &["Route: <sip:b@x>"],
        },
        Row {
            what: "came from a strict router",
            ruri: "sip:us;lr",
            tag: IN,
            routes: "Route: <sip:p2;lr>\r\nRoute: <sip:b@x>\r\n",
            rc: 1,
            ruri_after: "sip:b@x",
            duri: Some("sip:p2;lr"),
            left: &["Route: <sip:p2;lr>"],
        },
        Row {
            what: "strict router, target only",
            ruri: "sip:us;lr",
            tag: IN,
            routes: "Route: <sip:b@x>\r\n",
            rc: 1,
            ruri_after: "sip:b@x",
            duri: None,
            left: &[],
        },
        Row {
            what: "initial, ours alone",
            ruri: "sip:b@x",
            tag: "",
            routes: "Route: <sip:us;lr>\r\n",
            rc: -1,
            ruri_after: "sip:b@x",
            duri: None,
            left: &[],
        },
        Row {
            what: "initial, preloaded",
            ruri: "sip:b@us",
            tag: "",
            routes: "Route: <sip:us;lr>\r\nRoute: <sip:p2;lr>\r\n",
            rc: -3,
            ruri_after: "sip:b@us",
            duri: Some("sip:p2;lr"),
            left: &["Route: <sip:p2;lr>"],
        },
    ];
    for r in rows {
        let mut c = ctx(r.ruri, r.tag, r.routes);
        assert_eq!(loose_route(&mut c, 0), r.rc, "{}", r.what);
        assert_eq!(
            String::from_utf8_lossy(c.ruri()),
            r.ruri_after,
            "{}",
            r.what
        );
        assert_eq!(
            c.dst_uri.as_deref(),
            r.duri.map(str::as_bytes),
            "{}",
            r.what
        );
        assert_eq!(route_lines(&c), r.left, "{}", r.what);
    }
}

#[test]
fn the_direction_is_told_by_the_callers_tag() {
    for (params, want) in [
        (";ftag=ft", Direction::Downstream),
        (";ftag=other", Direction::Upstream),
        ("", Direction::Downstream),
    ] {
        let mut c = ctx(
            "sip:b@x",
            ";tag=tt",
            &format!("Route: <sip:us;lr{params}>\r\n"),
        );
        loose_route(&mut c, 0);
        assert_eq!(direction(&c), want, "{params}");
        assert!(routed_params(&c).is_some());
        assert_eq!(next_route(&c), None);
    }
}

#[test]
fn parameters_join_before_and_after_and_all_can_be_taken_back() {
    let mut c = ctx("sip:b@x", "", "");
    assert_eq!(add_rr_param(&mut c, b";early=1"), 1);
    assert_eq!(record_route(&mut c, b";given=2"), 1);
    assert_eq!(record_route(&mut c, b""), -1);
    assert_eq!(add_rr_param(&mut c, b";late=3"), 1);
    assert_eq!(add_rr_param(&mut c, b";bad\r\nX: y"), -1);
    let out = sent(&c);
    assert!(out.contains("branch=z9hG4bK1\r\nRecord-Route: <sip:127.0.0.1;lr;ftag=ft;early=1;given=2;late=3>\r\nFrom:"), "{out}");
    remove(&mut c);
    assert!(!sent(&c).contains("Record-Route"));
    assert_eq!(record_route(&mut c, b""), 1);
}

#[test]
fn a_branch_takes_its_parameters_with_it() {
    let mut c = ctx("sip:b@x", "", "");
    record_route(&mut c, b"");
    let before = c.edits.checkpoint();
    add_rr_param(&mut c, b";nat=yes");
    assert!(sent(&c).contains(";nat=yes>"));
    c.edits.rollback(before);
    assert!(!sent(&c).contains("nat=yes"));
}

#[test]
fn presets_come_as_given_above_what_is_there() {
    let mut c = ctx("sip:b@x", "", "Record-Route: <sip:p1;lr>\r\n");
    assert_eq!(
        preset(&mut c, b"1.2.3.4:5090;r2=on", Some(b"10.0.0.1;r2=on")),
        1
    );
    let out = sent(&c);
    let want = "Record-Route: <sip:1.2.3.4:5090;r2=on;lr;ftag=ft>\r\nRecord-Route: <sip:10.0.0.1;r2=on;lr;ftag=ft>\r\nRecord-Route: <sip:p1;lr>\r\n";
    assert!(out.contains(want), "{out}");
}
