//! The shipped routing is one behaviour in five languages: the same traffic gives the same messages on
//! the wire.

use crate::{shipped, shipped_in, shipped_natively};
use olelo_sip::Message;
use olelo_tests::language::{JAVASCRIPT, PYTHON, SQUIRREL};
use olelo_tests::{Phone, Setup, Transport, free_port, text};
use regex::Regex;
use std::net::UdpSocket;
use std::sync::LazyLock;

/// What differs from run to run: ids, tags, ports, seconds that are left.
static IDS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"branch=[^;,>\r\n]+", "branch=*"),
        (r"tag=[^;,>\r\n]+", "tag=*"),
        (r"(?m)^Call-ID: .*$", "Call-ID: *"),
        (r"rport=\d+", "rport=*"),
        (r"127\.0\.0\.1[:~]\d+", "127.0.0.1:*"),
        (r"nonce=.[^,]+", "nonce=*"),
        (r"expires=\d+", "expires=*"),
        (r"pid=\d+", "pid=*"),
        (r"req_src_port=\d+", "req_src_port=*"),
    ]
    .map(|(re, to)| (Regex::new(re).expect("an expression"), to))
    .into()
});

/// What phones have seen, ids masked.
#[derive(Default)]
struct Seen(Vec<String>);

impl Seen {
    fn note(&mut self, who: &str, m: Message) -> Message {
        let masked = IDS
            .iter()
            .fold(text(&m), |t, (re, to)| re.replace_all(&t, *to).into_owned());
        self.0.push(format!("--- {who} gets\n{masked}"));
        m
    }
}

fn contact(p: &Phone) -> String {
    format!("Contact: <{}>\r\n", p.contact())
}

/// Registration: bindings made, listed, refreshed, refused, removed.
fn registers(how: Transport, server: &olelo_tests::Server, seen: &mut Seen) {
    let mut p = Phone::new("carol", server.addr, how);
    for expires in [600, 300, 0] {
        let m = p.register(expires);
        seen.note("carol", m);
    }
    // A transaction of its own each: one that repeats another's is taken for a retransmission.
    let query = |p: &Phone| -> String {
        p.request("REGISTER", "sip:test.local", "", "")
            .split_inclusive("\r\n")
            .filter(|l| !l.starts_with("Contact"))
            .collect()
    };
    let m = p.ask(&query(&p));
    seen.note("carol", m);
    let wild = query(&p).replace("Max-Forwards", "Contact: *\r\nExpires: 3\r\nMax-Forwards");
    let m = p.ask(&wild);
    seen.note("carol", m);
}

/// Requests that are answered here.
fn answered_here(how: Transport, server: &olelo_tests::Server, seen: &mut Seen) {
    let mut p = Phone::new("dave", server.addr, how);
    let plain = |p: &Phone, method: &str, uri: &str| p.request(method, uri, "", "");
    for (method, uri) in [
        ("OPTIONS", "sip:test.local"),
        ("INVITE", "sip:nobody@test.local"),
        ("INVITE", "sip:test.local"),
        ("MESSAGE", "sip:nobody@test.local"),
        ("BYE", "sip:test.local"),
    ] {
        let m = p.ask(&plain(&p, method, uri));
        seen.note("dave", m);
        if method == "INVITE" {
            // Its ACK ends here.
            continue;
        }
    }
    for (from, to) in [
        ("Max-Forwards: 70", "Max-Forwards: 0"),
        ("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"),
        ("CSeq: 1 OPTIONS", "CSeq: 1 INFO"),
        ("To: <sip:test.local>", "To: <sip:test.local>;tag=x"),
    ] {
        let m = plain(&p, "OPTIONS", "sip:test.local").replace(from, to);
        let m = p.ask(&m);
        seen.note("dave", m);
    }
}

/// A call that is answered, one that is refused, one that is cancelled.
fn calls(how: Transport, server: &olelo_tests::Server, seen: &mut Seen) {
    let mut alice = Phone::new("alice", server.addr, how);
    let mut bob = Phone::new(&format!("bob-{how:?}"), server.addr, how);
    let uri = format!("sip:{}@test.local", bob.user);
    for p in [&mut alice, &mut bob] {
        assert_eq!(p.register(600).status(), 200);
    }
    let invite = alice.request("INVITE", &uri, "", "v=0\r\n");
    alice.send(&invite);
    let at_bob = seen.note("bob", bob.expect("INVITE"));
    bob.answer(&at_bob, 180, "Ringing", &contact(&bob));
    seen.note("alice", alice.reply(180));
    bob.answer(&at_bob, 200, "OK", &contact(&bob));
    let ok = seen.note("alice", alice.reply(200));
    alice.send(alice.in_dialog("ACK", 1, &invite, &ok));
    seen.note("bob", bob.expect("ACK"));
    alice.send(alice.in_dialog("BYE", 2, &invite, &ok));
    let bye = seen.note("bob", bob.expect("BYE"));
    bob.answer(&bye, 200, "OK", "");
    seen.note("alice", alice.final_reply());

    let busy = alice.request("INVITE", &uri, "", "");
    alice.send(&busy);
    let at_bob = seen.note("bob", bob.expect("INVITE"));
    bob.answer(&at_bob, 486, "Busy Here", "");
    seen.note("alice", alice.reply(486));
    seen.note("bob", bob.expect("ACK"));

    let given_up = alice.request("INVITE", &uri, "", "");
    alice.send(&given_up);
    let at_bob = seen.note("bob", bob.expect("INVITE"));
    bob.answer(&at_bob, 180, "Ringing", "");
    alice.reply(180);
    let cancel: String = given_up
        .lines()
        .filter(|l| !l.starts_with("Contact"))
        .map(|l| format!("{l}\r\n"))
        .collect::<String>()
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL");
    alice.send(cancel);
    let cancel = seen.note("bob", bob.expect("CANCEL"));
    bob.answer(&cancel, 200, "OK", "");
    bob.answer(&at_bob, 487, "Request Terminated", "");
    seen.note("alice", alice.reply(200));
    seen.note("alice", alice.reply(487));
    seen.note("bob", bob.expect("ACK"));
}

/// A request for another domain goes there.
fn outbound(server: &olelo_tests::Server, seen: &mut Seen) {
    let mut alice = Phone::new("alice", server.addr, Transport::Udp);
    let far = UdpSocket::bind(("127.0.0.1", free_port())).expect("a socket");
    far.set_read_timeout(Some(olelo_tests::PATIENCE))
        .expect("a timeout");
    let uri = format!("sip:zoe@{}", far.local_addr().expect("an address"));
    alice.send(alice.request("MESSAGE", &uri, "Route: <sip:test.local;lr>\r\n", "hi"));
    let mut buf = [0u8; 4096];
    let n = far.recv(&mut buf).expect("the request");
    seen.note("zoe", Message::from_bytes(&buf[..n]).expect("a message"));
}

fn traffic(setup: Setup, options: &[&str]) -> Vec<String> {
    let server = setup.args(options).start();
    let mut seen = Seen::default();
    for how in [Transport::Udp, Transport::Tcp] {
        registers(how, &server, &mut seen);
        answered_here(how, &server, &mut seen);
        if !options.contains(&"WITH_AUTH") {
            calls(how, &server, &mut seen);
        }
    }
    if !options.contains(&"WITH_AUTH") {
        outbound(&server, &mut seen);
    }
    seen.0
}

#[test]
fn native_routing_says_the_same_as_lua() {
    agrees_with_lua(shipped_natively);
}

#[test]
fn javascript_says_the_same_as_lua() {
    agrees_with_lua(|| shipped_in(JAVASCRIPT, include_str!("../../etc/olelo.js")));
}

#[test]
fn python_says_the_same_as_lua() {
    agrees_with_lua(|| shipped_in(PYTHON, include_str!("../../etc/olelo.py")));
}

#[test]
fn squirrel_says_the_same_as_lua() {
    agrees_with_lua(|| shipped_in(SQUIRREL, include_str!("../../etc/olelo.sq")));
}

fn agrees_with_lua(other: fn() -> Setup) {
    for options in [
        &[][..],
        &["-A", "WITH_NAT"],
        &["-A", "WITH_AUTH"],
        &["-A", "WITH_ANTIFLOOD"],
    ] {
        let lua = traffic(shipped(), options);
        let other = traffic(other(), options);
        assert!(lua.len() > 20, "{options:?}: only {} messages", lua.len());
        for (l, o) in lua.iter().zip(&other) {
            assert_eq!(l, o, "with {options:?}");
        }
        assert_eq!(lua.len(), other.len());
    }
}
