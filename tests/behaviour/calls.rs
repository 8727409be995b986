//! Calls through the proxy: the whole of RFC 3261's INVITE in its usual ways, UDP and TCP.

use crate::shipped;
use olelo_sip::{HeaderName, Message};
use olelo_tests::{Phone, Server, Setup, Transport, field, header, text};
use std::time::Duration;

fn phones<const N: usize>(server: &Server, how: Transport, users: [&str; N]) -> [Phone; N] {
    users.map(|u| {
        let mut p = Phone::new(u, server.addr, how);
        assert_eq!(p.register(600).status(), 200);
        p
    })
}

fn contact(p: &Phone) -> String {
    format!("Contact: <{}>\r\n", p.contact())
}

/// The table of transactions is empty again and nothing is broken.
fn all_quiet(server: &Server) {
    let check = server.call("mem.check", &[]);
    assert_eq!(
        field(&check[0], "faults"),
        Some(&olelo_ipc::Value::Int(0)),
        "{check:?}"
    );
}

#[test]
fn a_call_is_set_up_and_ended() {
    for how in [Transport::Udp, Transport::Tcp] {
        let server = shipped().start();
        let [mut alice, mut bob] = phones(&server, how, ["alice", "bob"]);
        let invite = alice.request("INVITE", "sip:bob@test.local", "", "v=0\r\n");
        alice.send(&invite);
        let at_bob = bob.expect("INVITE");
        assert_eq!(at_bob.ruri(), bob.contact().as_bytes());
        assert!(
            header(&at_bob, HeaderName::RecordRoute).contains("lr"),
            "{}",
            text(&at_bob)
        );
        assert_eq!(at_bob.max_forwards(), Some(69));
        assert_eq!(at_bob.body(), b"v=0\r\n");
        assert_eq!(at_bob.vias().map(|v| v.len()), Ok(2));
        bob.answer(&at_bob, 180, "Ringing", &contact(&bob));
        alice.reply(180);
        bob.answer(&at_bob, 200, "OK", &contact(&bob));
        let ok = alice.reply(200);
        assert_eq!(ok.vias().map(|v| v.len()), Ok(1));
        let ack = alice.in_dialog("ACK", 1, &invite, &ok);
        alice.send(&ack);
        let ack = bob.expect("ACK");
        assert_eq!(ack.ruri(), bob.contact().as_bytes());
        assert!(ack.routes().is_ok_and(|r| r.is_empty()), "{}", text(&ack));
        let bye = alice.in_dialog("BYE", 2, &invite, &ok);
        alice.send(&bye);
        let bye = bob.expect("BYE");
        bob.answer(&bye, 200, "OK", "");
        assert_eq!(alice.final_reply().status(), 200);
        all_quiet(&server);
    }
}

#[test]
fn a_call_crosses_from_tcp_to_udp_and_back() {
    let server = shipped().start();
    let [mut alice] = phones(&server, Transport::Tcp, ["alice"]);
    let [mut bob] = phones(&server, Transport::Udp, ["bob"]);
    let invite = alice.request("INVITE", "sip:bob@test.local", "", "");
    alice.send(&invite);
    let at_bob = bob.expect("INVITE");
    bob.answer(&at_bob, 200, "OK", &contact(&bob));
    let ok = alice.reply(200);
    alice.send(alice.in_dialog("ACK", 1, &invite, &ok));
    bob.expect("ACK");
    // The callee ends it: its route set is what the INVITE recorded.
    let routes: String = at_bob
        .headers_named(HeaderName::RecordRoute)
        .map(|h| {
            format!(
                "Route: {}\r\n",
                String::from_utf8_lossy(at_bob.slice(h.body))
            )
        })
        .collect();
    let bye = format!(
        "BYE {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{};rport\r\n{routes}From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        alice.contact(),
        bob.addr,
        olelo_tests::unique(),
        header(&ok, HeaderName::To),
        header(&ok, HeaderName::From),
        header(&ok, HeaderName::CallId),
    );
    bob.send(bye);
    let bye = alice.expect("BYE");
    alice.answer(&bye, 200, "OK", "");
    assert_eq!(bob.final_reply().status(), 200);
}

#[test]
fn retransmissions_are_absorbed() {
    let server = shipped().start();
    let [mut alice, mut bob] = phones(&server, Transport::Udp, ["alice", "bob"]);
    let invite = alice.request("INVITE", "sip:bob@test.local", "", "");
    alice.send(&invite);
    let at_bob = bob.expect("INVITE");
    bob.answer(&at_bob, 180, "Ringing", &contact(&bob));
    alice.reply(180);
    alice.send(&invite);
    // The last reply is repeated, the callee sees nothing.
    alice.reply(180);
    assert!(bob.receive_within(Duration::from_millis(300)).is_none());
    bob.answer(&at_bob, 486, "Busy Here", "");
    let busy = alice.reply(486);
    bob.expect("ACK");
    let ack = hop_ack(&invite, &busy);
    alice.send(ack);
    assert!(
        bob.receive_within(Duration::from_millis(300)).is_none(),
        "an ACK to a refusal ends here"
    );
}

fn hop_ack(invite: &str, reply: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    olelo_sip::build::ack_for_negative(invite.as_bytes(), reply, &mut out).expect("an ACK");
    out
}

#[test]
fn a_lost_request_and_a_lost_reply_are_repeated() {
    let server = shipped().start();
    let [mut alice, mut bob] = phones(&server, Transport::Udp, ["alice", "bob"]);
    let invite = alice.request("INVITE", "sip:bob@test.local", "", "");
    alice.send(&invite);
    let first = bob.expect("INVITE");
    // The callee says nothing: the server repeats the request, as it was.
    let second = bob.expect("INVITE");
    assert_eq!(text(&first), text(&second));
    bob.answer(&second, 486, "Busy Here", "");
    alice.reply(486);
    // The caller sends no ACK: the server repeats the refusal.
    let again = alice.reply(486);
    alice.send(hop_ack(&invite, &again));
}

#[test]
fn three_contacts_ring_and_one_answers() {
    let server = shipped().start();
    let [mut alice] = phones(&server, Transport::Udp, ["alice"]);
    let mut bobs = phones(&server, Transport::Udp, ["bob", "bob", "bob"]);
    let invite = alice.request("INVITE", "sip:bob@test.local", "", "");
    alice.send(&invite);
    let got: Vec<Message> = bobs.iter_mut().map(|b| b.expect("INVITE")).collect();
    for (b, i) in bobs.iter_mut().zip(&got) {
        let c = contact(b);
        b.answer(i, 180, "Ringing", &c);
    }
    let c = contact(&bobs[1]);
    bobs[1].answer(&got[1], 200, "OK", &c);
    let ok = alice.reply(200);
    alice.send(alice.in_dialog("ACK", 1, &invite, &ok));
    bobs[1].expect("ACK");
    for i in [0, 2] {
        let cancel = bobs[i].expect("CANCEL");
        bobs[i].answer(&cancel, 200, "OK", "");
        bobs[i].answer(&got[i], 487, "Request Terminated", "");
        bobs[i].expect("ACK");
    }
    assert!(
        alice
            .receive_within(Duration::from_millis(300))
            .is_none_or(|m| m.status() == 200),
        "only the 200 goes on"
    );
}

#[test]
fn the_best_refusal_of_all_branches_is_chosen() {
    let server = shipped().start();
    let [mut alice] = phones(&server, Transport::Udp, ["alice"]);
    let mut bobs = phones(&server, Transport::Udp, ["bob", "bob", "bob"]);
    let invite = alice.request("INVITE", "sip:bob@test.local", "", "");
    alice.send(&invite);
    for (b, (code, reason)) in bobs.iter_mut().zip([
        (503, "Service Unavailable"),
        (404, "Not Found"),
        (486, "Busy Here"),
    ]) {
        let i = b.expect("INVITE");
        b.answer(&i, code, reason, "");
        b.expect("ACK");
    }
    let status = alice.final_reply().status();
    assert!(
        status == 404 || status == 486,
        "{status} is not of the lowest class"
    );
}

#[test]
fn a_call_is_cancelled_before_and_after_it_rings() {
    for ring in [false, true] {
        let server = shipped().start();
        let [mut alice, mut bob] = phones(&server, Transport::Udp, ["alice", "bob"]);
        let invite = alice.request("INVITE", "sip:bob@test.local", "", "");
        alice.send(&invite);
        let at_bob = bob.expect("INVITE");
        if ring {
            bob.answer(&at_bob, 180, "Ringing", &contact(&bob));
            alice.reply(180);
        }
        let mut cancel = Vec::new();
        olelo_sip::build::cancel(invite.as_bytes(), b"", &mut cancel).expect("a CANCEL");
        alice.send(cancel);
        if !ring {
            // A CANCEL may only follow a provisional reply (RFC 3261 §9.1).
            bob.answer(&at_bob, 180, "Ringing", &contact(&bob));
        }
        let at_bob_cancel = bob.expect("CANCEL");
        bob.answer(&at_bob_cancel, 200, "OK", "");
        bob.answer(&at_bob, 487, "Request Terminated", "");
        bob.expect("ACK");
        let (mut ok, mut terminated) = (false, false);
        while !(ok && terminated) {
            let m = alice.final_reply();
            match m.status() {
                200 => {
                    assert_eq!(m.method_text(), b"CANCEL");
                    ok = true;
                }
                487 => {
                    terminated = true;
                    alice.send(hop_ack(&invite, &m));
                }
                other => panic!("{other}, ringing: {ring}"),
            }
        }
    }
}

#[test]
fn silence_ends_with_408() {
    let server = shipped().cfg("modparam(\"tm\", \"fr_timer\", 600)").start();
    let [mut alice, mut bob] = phones(&server, Transport::Udp, ["alice", "bob"]);
    let invite = alice.request("INVITE", "sip:bob@test.local", "", "");
    alice.send(&invite);
    bob.expect("INVITE");
    let timeout = alice.reply(408);
    alice.send(hop_ack(&invite, &timeout));
    let message = alice.request("MESSAGE", "sip:bob@test.local", "", "hello");
    assert_eq!(alice.ask(&message).status(), 408);
}

#[test]
fn nobody_there_is_404() {
    let server = shipped().start();
    let [mut alice] = phones(&server, Transport::Udp, ["alice"]);
    let invite = alice.request("INVITE", "sip:nobody@test.local", "", "");
    let reply = alice.ask(&invite);
    assert_eq!(reply.status(), 404);
    alice.send(hop_ack(&invite, &reply));
}

/// A script whose failure route tries the phone `carol` when `bob` refuses.
const FAILOVER: &str = r#"
function ksr_request_route()
  if KSR.is_REGISTER() then KSR.registrar.save("location", 0) return 1 end
  if KSR.is_CANCEL() then if KSR.tm.t_check_trans() > 0 then KSR.tm.t_relay() end return 1 end
  if KSR.is_ACK() then if KSR.tm.t_check_trans() > 0 then KSR.tm.t_relay() end return 1 end
  KSR.pv.sets("$avp(who)", "first")
  KSR.setflag(7)
  if KSR.registrar.lookup("location") < 0 then KSR.sl.sl_send_reply(404, "Not Found") return 1 end
  KSR.tm.t_on_failure("ksr_failure_next")
  KSR.tm.t_on_reply("ksr_onreply_any")
  KSR.tm.t_on_branch("ksr_branch_any")
  KSR.tm.t_relay()
end

function ksr_branch_any()
  KSR.hdr.append("X-Branch: " .. KSR.tm.t_get_branch_index() .. "\r\n")
end

function ksr_onreply_any()
  KSR.info("reply " .. KSR.kx.get_status() .. " who=" .. KSR.pv.gete("$avp(who)"))
end

function ksr_failure_next()
  if KSR.tm.t_is_canceled() > 0 then return 1 end
  KSR.info("failure " .. KSR.tm.t_get_status_code() .. " who=" .. KSR.pv.gete("$avp(who)") .. " flag=" .. tostring(KSR.isflagset(7)))
  if KSR.tm.t_check_status("486|302|408") > 0 then
    KSR.seturi("sip:carol@test.local")
    if KSR.registrar.lookup("location") > 0 then
      KSR.pv.sets("$avp(who)", "second")
      KSR.tm.t_on_branch("ksr_branch_any")
      KSR.tm.t_relay()
    end
  end
end
"#;

#[test]
fn a_failure_route_tries_another_phone() {
    for (code, reason) in [(486, "Busy Here"), (302, "Moved Temporarily"), (408, "")] {
        let server = Setup::lua(FAILOVER)
            .cfg("modparam(\"tm\", \"fr_timer\", 700)")
            .start();
        let [mut alice, mut bob, mut carol] =
            phones(&server, Transport::Udp, ["alice", "bob", "carol"]);
        let invite = alice.request("INVITE", "sip:bob@test.local", "", "");
        alice.send(&invite);
        let at_bob = bob.expect("INVITE");
        assert!(text(&at_bob).contains("X-Branch: 0"), "{}", text(&at_bob));
        if code != 408 {
            bob.answer(&at_bob, code, reason, "Contact: <sip:x@192.0.2.1>\r\n");
            bob.expect("ACK");
        }
        let at_carol = carol.expect("INVITE");
        assert!(
            text(&at_carol).contains("X-Branch: 1"),
            "{}",
            text(&at_carol)
        );
        assert_eq!(
            text(&at_carol).matches("X-Branch").count(),
            1,
            "a branch's header is its own"
        );
        carol.answer(&at_carol, 200, "OK", &contact(&carol));
        assert_eq!(alice.reply(200).status(), 200);
        server.wait_for_log(&format!("failure {code} who=first flag=true"));
        server.wait_for_log("reply 200 who=second");
    }
}

#[test]
fn transactions_leave_no_memory_behind() {
    let server = shipped().cfg("modparam(\"tm\", \"wt_timer\", 100)").start();
    let [mut alice, mut bob] = phones(&server, Transport::Udp, ["alice", "bob"]);
    let used = |server: &Server| match field(&server.call("core.shmmem", &[])[0], "used") {
        Some(olelo_ipc::Value::Int(n)) => *n,
        other => panic!("{other:?}"),
    };
    let mut round = || {
        for _ in 0..20 {
            let invite = alice.request("INVITE", "sip:bob@test.local", "", "");
            alice.send(&invite);
            let at_bob = bob.expect("INVITE");
            bob.answer(&at_bob, 486, "Busy Here", "");
            bob.expect("ACK");
            let busy = alice.reply(486);
            alice.send(hop_ack(&invite, &busy));
        }
    };
    let before = used(&server);
    round();
    server.eventually("memory returns", || used(&server) <= before + before / 50);
}
