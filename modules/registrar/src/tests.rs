//! RFC 3261 §10 as a table, and what scripts see of it.

use super::*;
use crate::save::{Kept, MAKE_HEADERS, NO_REPLY};
use olelo_core::net::reply::ReplyHeaders;
use std::sync::{Mutex, MutexGuard};

/// Parameters are statics: tests that set them take turns.
static TURN: Mutex<()> = Mutex::new(());

struct Turn(#[expect(dead_code, reason = "held for its drop")] MutexGuard<'static, ()>);

fn turn() -> Turn {
    let guard = TURN.lock().unwrap_or_else(|e| e.into_inner());
    olelo_core::server::for_tests(vec![olelo_usrloc::module(), module()]);
    olelo_usrloc::store::init(10).unwrap();
    for p in [
        &MAX_CONTACTS,
        &MIN_EXPIRES_MODE,
        &USE_PATH,
        &OUTBOUND_MODE,
        &METHOD_FILTERING,
        &PATH_MODE,
        &APPEND_BRANCHES,
        &MAX_EXPIRES,
    ] {
        p.set(p.default());
    }
    Turn(guard)
}

fn request(method: &str, user: &str, cseq: u32, headers: &str) -> Ctx {
    let mut ctx = Ctx::new();
    ctx.msg.buf_mut().extend_from_slice(
        format!(
            "{method} sip:{user}@example.org SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:{user}@example.org>;tag=1\r\nTo: <sip:{user}@example.org>\r\n\
             Call-ID: call\r\nCSeq: {cseq} {method}\r\n{headers}Content-Length: 0\r\n\r\n"
        )
        .as_bytes(),
    );
    ctx.msg.parse().unwrap();
    ctx
}

/// Code returned, status, headers of the reply.
fn register(user: &str, cseq: u32, headers: &str) -> (i64, u16, String) {
    let mut ctx = request("REGISTER", user, cseq, headers);
    let code = save_kemi(&mut ctx, "location", NO_REPLY | MAKE_HEADERS);
    let status = ctx.ext::<Kept>().0.map_or(0, |(s, _)| s);
    let lines = String::from_utf8(ctx.ext::<ReplyHeaders>().0.clone()).unwrap();
    (code, status, lines)
}

fn addresses(user: &str) -> Vec<String> {
    let table = olelo_usrloc::table("location").unwrap();
    let record = table.read(user.as_bytes());
    let text = |c: Contact<'_>| String::from_utf8_lossy(c.uri).into_owned();
    record.contacts().map(text).collect()
}

/// What is sent (CSeq, headers), and code, status, part of the reply and contacts afterwards.
type Step<'a> = (&'a str, u32, &'a str, i64, u16, &'a str, &'a [&'a str]);

#[test]
fn rfc3261_section_10() {
    let _turn = turn();
    let a = "Contact: <sip:a@192.0.2.1>\r\n";
    let b = "Contact: <sip:b@192.0.2.2>;expires=100;q=0.5\r\n";
    // Each step works on what the steps before have stored.
    let steps: &[Step<'_>] = &[
        ("a query of nothing", 1, "", 4, 200, "", &[]),
        (
            "the first contact",
            2,
            a,
            1,
            200,
            "Contact: <sip:a@192.0.2.1>;expires=3600\r\n",
            &["sip:a@192.0.2.1"],
        ),
        (
            "a query",
            3,
            "",
            4,
            200,
            "Contact: <sip:a@192.0.2.1>;expires=3600\r\n",
            &["sip:a@192.0.2.1"],
        ),
        (
            "a second contact, preferred",
            4,
            b,
            1,
            200,
            "Contact: <sip:b@192.0.2.2>;q=0.5;expires=100, <sip:a@192.0.2.1>;expires=3600\r\n",
            &["sip:b@192.0.2.2", "sip:a@192.0.2.1"],
        ),
        (
            "refreshed",
            5,
            b,
            2,
            200,
            "<sip:b@192.0.2.2>;q=0.5",
            &["sip:b@192.0.2.2", "sip:a@192.0.2.1"],
        ),
        (
            "an older request",
            4,
            b,
            -1,
            400,
            "P-Registrar-Error: Invalid CSeq number",
            &["sip:b@192.0.2.2", "sip:a@192.0.2.1"],
        ),
        (
            "a retransmission",
            5,
            b,
            1,
            200,
            "<sip:b@192.0.2.2>",
            &["sip:b@192.0.2.2", "sip:a@192.0.2.1"],
        ),
        (
            "star with an expiry",
            6,
            "Contact: *\r\nExpires: 1\r\n",
            -1,
            400,
            "* used in contact and expires is not zero",
            &["sip:b@192.0.2.2", "sip:a@192.0.2.1"],
        ),
        (
            "star without an expiry",
            6,
            "Contact: *\r\n",
            -1,
            400,
            "* used",
            &["sip:b@192.0.2.2", "sip:a@192.0.2.1"],
        ),
        (
            "star and more",
            6,
            "Contact: *\r\nContact: <sip:x@192.0.2.9>\r\nExpires: 0\r\n",
            -1,
            400,
            "* used in contact and more than 1 contact",
            &["sip:b@192.0.2.2", "sip:a@192.0.2.1"],
        ),
        (
            "no contact to be read",
            6,
            "Contact: <>>\r\n",
            -1,
            400,
            "Contact parse error",
            &["sip:b@192.0.2.2", "sip:a@192.0.2.1"],
        ),
        (
            "one good, one bad: all or nothing",
            6,
            "Contact: <sip:x@192.0.2.9>, <>>\r\n",
            -1,
            400,
            "",
            &["sip:b@192.0.2.2", "sip:a@192.0.2.1"],
        ),
        (
            "removal of one",
            7,
            "Contact: <sip:b@192.0.2.2>;expires=0\r\n",
            3,
            200,
            "Contact: <sip:a@",
            &["sip:a@192.0.2.1"],
        ),
        (
            "Expires that is no number counts as the default",
            8,
            "Contact: <sip:a@192.0.2.1>\r\nExpires: soon\r\n",
            2,
            200,
            ";expires=3600",
            &["sip:a@192.0.2.1"],
        ),
        (
            "below the minimum: raised",
            9,
            "Contact: <sip:a@192.0.2.1>\r\nExpires: 5\r\n",
            2,
            200,
            ";expires=60",
            &["sip:a@192.0.2.1"],
        ),
        ("star", 10, "Contact: *\r\nExpires: 0\r\n", 3, 200, "", &[]),
    ];
    for (what, cseq, headers, code, status, shown, stored) in steps {
        let (c, s, lines) = register("rfc", *cseq, headers);
        assert_eq!((c, s), (*code, *status), "{what}: {lines}");
        assert!(lines.contains(shown), "{what}: {lines}");
        assert_eq!(addresses("rfc"), *stored, "{what}");
    }
}

#[test]
fn limits_refuse_and_store_nothing() {
    let _turn = turn();
    MAX_CONTACTS.set(2);
    MIN_EXPIRES_MODE.set(1);
    let three = "Contact: <sip:a@h>, <sip:b@h>, <sip:c@h>\r\n";
    let (code, status, lines) = register("limits", 1, three);
    assert_eq!((code, status), (-2, 503), "{lines}");
    assert!(lines.contains("P-Registrar-Error: Too many registered contacts"));
    let (code, status, lines) = register("limits", 1, "Contact: <sip:a@h>;expires=5\r\n");
    assert_eq!((code, status), (-1, 423));
    assert!(lines.contains("Min-Expires: 60\r\n"));
    let long = format!("Contact: <sip:{}@h>\r\n", "x".repeat(600));
    assert_eq!(register("limits", 1, &long).1, 400);
    assert!(addresses("limits").is_empty());
    MAX_EXPIRES.set(100);
    assert!(
        register("limits", 2, "Contact: <sip:a@h>\r\n")
            .2
            .contains("expires=100")
    );
}

#[test]
fn path_follows_its_mode() {
    let _turn = turn();
    USE_PATH.set(1);
    let contact =
        "Contact: <sip:a@192.0.2.1>\r\nPath: <sip:p1.example;lr>, <sip:p2.example;lr>\r\n";
    let supported = format!("{contact}Supported: path\r\n");
    let refused = register("path", 1, contact);
    assert_eq!((refused.0, refused.1), (-1, 420));
    assert!(refused.2.contains("Unsupported: path\r\n"));
    let taken = register("path", 2, &supported);
    assert!(
        taken
            .2
            .contains("Path: <sip:p1.example;lr>, <sip:p2.example;lr>\r\n")
    );
    let mut ctx = request("INVITE", "path", 1, "");
    assert_eq!(lookup_as(&mut ctx, "location", None, Into::Request), 1);
    assert_eq!(ctx.ruri(), b"sip:a@192.0.2.1");
    assert_eq!(ctx.dst_uri.as_deref(), Some(&b"sip:p1.example;lr"[..]));
    assert_eq!(
        ctx.path.as_deref(),
        Some(&b"<sip:p1.example;lr>, <sip:p2.example;lr>"[..])
    );
    PATH_MODE.set(1);
    assert!(!register("path", 3, contact).2.contains("Path:"));
    PATH_MODE.set(0);
    assert!(!register("path", 4, &supported).2.contains("Path:"));
}

#[test]
fn outbound_follows_its_mode() {
    let _turn = turn();
    let contact = "Contact: <sip:a@192.0.2.1>;+sip.instance=\"<urn:uuid:1>\";reg-id=1\r\n";
    let flow = |cseq, host: &str, tag: &str| {
        let c = contact.replace("192.0.2.1", host);
        register("ob", cseq, &format!("{c}{tag}"))
    };
    assert_eq!(flow(1, "192.0.2.1", "Require: outbound\r\n").1, 420);
    OUTBOUND_MODE.set(2);
    let refused = flow(2, "192.0.2.1", "");
    assert_eq!(
        (refused.1, refused.2.contains("Require: outbound")),
        (421, true)
    );
    OUTBOUND_MODE.set(1);
    let taken = flow(3, "192.0.2.1", "Supported: outbound\r\n");
    assert_eq!(taken.1, 200);
    assert!(taken.2.contains("Require: outbound\r\n") && taken.2.contains(";reg-id=1"));
    let again = flow(4, "192.0.2.77", "Supported: outbound\r\n");
    assert_eq!(
        again.0, 2,
        "the same flow from a new address replaces the old one"
    );
    assert_eq!(addresses("ob"), ["sip:a@192.0.2.77"]);
}

#[test]
fn lookup_prefers_and_forks() {
    let _turn = turn();
    register(
        "fork",
        1,
        "Contact: <sip:low@h>;q=0.1, <sip:high@h>;q=0.9;received=\"sip:203.0.113.5:5062\"\r\n",
    );
    let mut ctx = request("INVITE", "FORK", 1, "");
    assert_eq!(lookup_as(&mut ctx, "location", None, Into::Request), 1);
    assert_eq!(ctx.ruri(), b"sip:high@h");
    assert_eq!(ctx.dst_uri.as_deref(), Some(&b"sip:203.0.113.5:5062"[..]));
    assert_eq!(ctx.ruri_q, 900);
    assert_eq!(ctx.branches.len(), 1);
    assert_eq!(
        (ctx.branches[0].uri.as_slice(), ctx.branches[0].q),
        (&b"sip:low@h"[..], 100)
    );
    APPEND_BRANCHES.set(0);
    let mut ctx = request("INVITE", "fork", 1, "");
    lookup_as(&mut ctx, "location", None, Into::Request);
    assert!(ctx.branches.is_empty());
    APPEND_BRANCHES.set(1);
    let mut ctx = request("INVITE", "fork", 1, "");
    lookup_as(&mut ctx, "location", None, Into::Branches);
    assert_eq!(
        (ctx.ruri(), ctx.branches.len()),
        (&b"sip:fork@example.org"[..], 2)
    );
    let mut ctx = request("INVITE", "nobody", 1, "");
    assert_eq!(lookup_as(&mut ctx, "location", None, Into::Request), -1);
    METHOD_FILTERING.set(1);
    register("deaf", 1, "Contact: <sip:a@h>\r\nAllow: INVITE, ACK\r\n");
    let mut ctx = request("MESSAGE", "deaf", 1, "");
    assert_eq!(lookup_as(&mut ctx, "location", None, Into::Request), -2);
}

#[test]
fn gruus_lead_to_their_contact() {
    let _turn = turn();
    let (_, _, lines) = register(
        "gruu",
        1,
        "Contact: <sip:one@h>;+sip.instance=\"<urn:uuid:7>\", <sip:two@h>;q=1\r\nSupported: gruu\r\n",
    );
    let quoted = |name: &str| {
        let at = lines
            .find(name)
            .unwrap_or_else(|| panic!("{name} in {lines}"))
            + name.len()
            + 2;
        lines[at..].split('"').next().unwrap().to_owned()
    };
    for uri in [quoted("pub-gruu"), quoted("temp-gruu")] {
        let mut ctx = request("INVITE", "x", 1, "");
        ctx.set_ruri(uri.as_bytes());
        assert_eq!(
            lookup_as(&mut ctx, "location", None, Into::Request),
            1,
            "{uri}"
        );
        assert_eq!(ctx.ruri(), b"sip:one@h", "{uri}");
    }
}

#[test]
fn scripts_see_and_remove_contacts() {
    let _turn = turn();
    register(
        "seen",
        1,
        "Contact: <sip:a@h>;q=0.3\r\nUser-Agent: phone\r\n",
    );
    let mut ctx = request("INVITE", "seen", 1, "");
    assert_eq!(fetch(&mut ctx, "location", b"sip:seen@x", b"p"), 1);
    assert_eq!(ulc::value(&ctx, b"p", b"count", 0), Val::Int(1));
    assert_eq!(ulc::value(&ctx, b"p", b"user_agent", 0), Val::text("phone"));
    assert_eq!(ulc::value(&ctx, b"p", b"q", 0), Val::Int(300));
    assert_eq!(ulc::value(&ctx, b"p", b"addr", 1), Val::Null);
    assert_eq!(registered(&mut ctx, "location", None, 0, 0), 1);
    assert_eq!(
        unregister(&mut ctx, "location", b"sip:seen@x", Some(b"none")),
        -3
    );
    assert_eq!(unregister(&mut ctx, "location", b"sip:seen@x", None), 1);
    assert_eq!(registered(&mut ctx, "location", None, 0, 0), -1);
    free(&mut ctx, b"p");
    assert_eq!(ulc::value(&ctx, b"p", b"count", 0), Val::Null);
}

#[test]
fn one_contact_mode_keeps_the_newest_registration() {
    let _turn = turn();
    register("single", 1, "Contact: <sip:a@h>\r\n");
    let mut ctx = request("REGISTER", "single", 2, "Contact: <sip:b@h>\r\n");
    assert_eq!(
        save_kemi(&mut ctx, "location", NO_REPLY | save::ONE_CONTACT),
        1
    );
    assert_eq!(addresses("single"), ["sip:b@h"]);
}
