//! Route blocks of every kind in the native language, and what ends them.

use olelo_sip::HeaderName;
use olelo_tests::{Phone, Server, Setup, header, text};
use std::time::Duration;

/// Users and the phones that stand for them are looked up in a table that the test fills.
const ROUTES: &str = r#"
request_route {
  if (is_method("REGISTER")) { save("location"); exit; }
  if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
  if (has_totag()) { loose_route(); t_relay(); exit; }
  record_route();
  t_on_branch("BRANCH");
  t_on_reply("REPLY");
  t_on_failure("FAILURE");
  t_on_branch_failure("LEG");
  $avp(wanted) = $rU;
  if ($rU =~ "^both") { $rU = "bob"; if (!lookup("location")) { xlog("L_ERR", "no bob\n"); } append_branch("sip:nobody@127.0.0.1:9"); }
  else { $rU = "bob"; if (!lookup("location")) { send_reply("404", "Not Found"); exit; } }
  if (!t_relay()) { sl_reply_error(); }
}

branch_route[BRANCH] {
  append_hf("X-Branch: $T_branch_idx $rU\r\n");
  if ($rU == "nobody") { xlog("L_WARN", "branch to nobody is dropped\n"); drop; }
}

onreply_route[REPLY] {
  xlog("L_WARN", "reply $rs for $avp(wanted) in $T_branch_idx\n");
  if (status == 180 && $avp(wanted) == "silent") { drop; }
  if (status =~ "^2") { append_hf("X-Reply: $rs\r\n"); }
}

failure_route[FAILURE] {
  if (t_is_canceled()) { exit; }
  if (t_check_status("486") && $avp(wanted) == "again") {
    $avp(wanted) = "once";
    $rU = "carol";
    if (lookup("location")) { t_on_failure("FAILURE"); t_relay(); exit; }
  }
  if (t_check_status("5[0-9][0-9]")) { t_reply("403", "Refused for $avp(wanted)"); }
}

event_route[tm:branch-failure:LEG] {
  xlog("L_WARN", "leg failed with $T_reply_code\n");
}

onsend_route {
  if (method == "INVITE" && $hdr(X-Never) != $null) { drop; }
  if (msg:len > 0 && to_port > 0) { $var(sent) = $var(sent) + 1; }
}

reply_route {
  if ($hdr(X-Lost) == "yes") { drop; }
}
"#;

fn contact(p: &Phone) -> String {
    format!("Contact: <{}>\r\n", p.contact())
}

fn start() -> (Server, Phone, Phone) {
    let server = Setup::native(ROUTES)
        .cfg("modparam(\"tm\", \"failure_reply_mode\", 3)")
        .start();
    let (alice, mut bob) = (
        Phone::udp("alice", server.addr),
        Phone::udp("bob", server.addr),
    );
    assert_eq!(bob.register(600).status(), 200);
    (server, alice, bob)
}

fn call(alice: &mut Phone, user: &str, extra: &str) -> String {
    let invite = alice.request("INVITE", &format!("sip:{user}@test.local"), extra, "");
    alice.send(&invite);
    invite
}

#[test]
fn a_branch_route_edits_its_branch_and_can_drop_it() {
    let (server, mut alice, mut bob) = start();
    call(&mut alice, "both", "");
    let at_bob = bob.expect("INVITE");
    assert!(
        text(&at_bob).contains("X-Branch: 0 bob\r\n"),
        "{}",
        text(&at_bob)
    );
    server.wait_for_log("branch to nobody is dropped");
    bob.answer(&at_bob, 200, "OK", &contact(&bob));
    let ok = alice.reply(200);
    assert!(text(&ok).contains("X-Reply: 200"), "{}", text(&ok));
}

#[test]
fn a_provisional_reply_that_is_dropped_goes_nowhere() {
    let (server, mut alice, mut bob) = start();
    call(&mut alice, "silent", "");
    let at_bob = bob.expect("INVITE");
    bob.answer(&at_bob, 180, "Ringing", "");
    server.wait_for_log("reply 180 for silent in 0");
    bob.answer(&at_bob, 183, "Progress", "");
    // The one after it does: had 180 gone on, it would have come first.
    loop {
        let m = alice.receive();
        assert_ne!(m.status(), 180);
        if m.status() == 183 {
            break;
        }
    }
    bob.answer(&at_bob, 200, "OK", &contact(&bob));
    alice.reply(200);
}

#[test]
fn a_failure_route_tries_another_and_answers_for_others() {
    let (server, mut alice, mut bob) = start();
    let mut carol = Phone::udp("carol", server.addr);
    assert_eq!(carol.register(600).status(), 200);
    call(&mut alice, "again", "");
    let at_bob = bob.expect("INVITE");
    bob.answer(&at_bob, 486, "Busy Here", "");
    bob.expect("ACK");
    server.wait_for_log("leg failed with 486");
    let at_carol = carol.expect("INVITE");
    // The branch route was set for the first round only; the reply route stays.
    assert!(!text(&at_carol).contains("X-Branch"), "{}", text(&at_carol));
    carol.answer(&at_carol, 200, "OK", &contact(&carol));
    assert!(text(&alice.reply(200)).contains("X-Reply: 200"));

    call(&mut alice, "plain", "");
    let at_bob = bob.expect("INVITE");
    bob.answer(&at_bob, 503, "Service Unavailable", "");
    let refused = alice.reply(403);
    assert_eq!(refused.reason(), b"Refused for plain");
}

#[test]
fn what_is_sent_can_be_held_back() {
    let (server, mut alice, mut bob) = start();
    call(&mut alice, "plain", "X-Never: 1\r\n");
    // Nothing of it arrives; the next call does.
    let second = call(&mut alice, "plain", "");
    let at_bob = bob.expect("INVITE");
    assert!(second.contains(&header(&at_bob, HeaderName::CallId)));
    assert!(
        bob.receive_within(Duration::from_millis(100))
            .is_none_or(|m| !text(&m).contains("X-Never"))
    );
    bob.answer(&at_bob, 180, "Ringing", "X-Lost: yes\r\n");
    bob.answer(&at_bob, 200, "OK", &contact(&bob));
    loop {
        let m = alice.receive();
        if second.contains(&header(&m, HeaderName::CallId)) {
            assert_ne!(m.status(), 180, "dropped by reply_route");
            if m.status() == 200 {
                break;
            }
        }
    }
    drop(server);
}
