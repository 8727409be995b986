//! When shared memory is short, new work is refused; what has begun goes on and ends.

use olelo_ipc::Value;
use olelo_sip::{HeaderName, Message};
use olelo_tests::{Phone, Server, Setup, field, header};
use std::time::Duration;

/// A registrar and proxy, as small as it can be.
const ROUTES: &str = r#"
request_route {
	if (has_totag()) {
		loose_route();
		t_relay();
		exit;
	}
	if (is_method("REGISTER")) {
		save("location");
		exit;
	}
	record_route();
	if (!lookup("location")) {
		sl_send_reply("404", "Not Found");
		exit;
	}
	t_relay();
}
"#;

fn small() -> Server {
    Setup::native(ROUTES).shm_mb(8).start()
}

fn sound(server: &Server) {
    let check = server.call("mem.check", &[]);
    assert_eq!(
        field(&check[0], "faults"),
        Some(&Value::Int(0)),
        "{check:?}"
    );
    assert_eq!(server.stat("core.worker_deaths"), 0);
    assert_eq!(server.stat("core.panics"), 0);
}

/// Registers users nobody calls, each with a contact of some size, until one is refused. Returns the
/// refusal, and how many there are.
fn fill(filler: &mut Phone) -> (Message, usize) {
    for n in 0..100_000 {
        name(filler, n);
        let reply = filler.register(600);
        if reply.status() != 200 {
            return (reply, n);
        }
    }
    panic!("memory does not run out");
}

fn name(filler: &mut Phone, n: usize) {
    filler.user = format!("filler{n}x{}", "y".repeat(200));
}

#[test]
fn a_flood_of_registrations_stops_new_work_only() {
    let server = small();
    let [mut alice, mut bob] = ["alice", "bob"].map(|u| {
        let mut p = Phone::udp(u, server.addr);
        assert_eq!(p.register(600).status(), 200);
        p
    });
    let invite = alice.request("INVITE", "sip:bob@test.local", "", "");
    alice.send(&invite);
    let at_bob = bob.expect("INVITE");
    let contact = format!("Contact: <{}>\r\n", bob.contact());
    bob.answer(&at_bob, 200, "OK", &contact);
    let ok = alice.reply(200);
    alice.send(alice.in_dialog("ACK", 1, &invite, &ok));
    bob.expect("ACK");

    let mut filler = Phone::udp("filler", server.addr);
    let (refused, fillers) = fill(&mut filler);
    assert_eq!(refused.status(), 503);
    assert!(!header(&refused, HeaderName::RetryAfter).is_empty());
    let refused = alice.ask(&alice.request("INVITE", "sip:bob@test.local", "", ""));
    assert_eq!(refused.status(), 503);
    assert!(!header(&refused, HeaderName::RetryAfter).is_empty());
    assert_eq!(bob.register(600).status(), 200, "a renewal is no new work");
    server.wait_for_log("new work is refused with 503");

    // The call that stands can be ended.
    alice.send(alice.in_dialog("BYE", 2, &invite, &ok));
    let bye = bob.expect("BYE");
    bob.answer(&bye, 200, "OK", "");
    assert_eq!(alice.final_reply().status(), 200);

    for n in 0..fillers {
        name(&mut filler, n);
        assert_eq!(filler.register(0).status(), 200, "a removal is no new work");
    }
    server.eventually("calls are taken again", || {
        let invite = alice.request("INVITE", "sip:bob@test.local", "", "");
        alice.send(&invite);
        let Some(at_bob) = bob.receive_within(Duration::from_millis(500)) else {
            return false;
        };
        bob.answer(&at_bob, 486, "Busy Here", "");
        alice.final_reply().status() == 486
    });
    sound(&server);
}

#[test]
fn a_flood_of_calls_is_refused_and_those_that_stand_end() {
    let server = small();
    let mut plan = olload::Plan::new(server.addr);
    plan.domain = "test.local".into();
    plan.rate = 800.0;
    plan.lasting = Duration::from_secs(4);
    plan.users = 20;
    plan.talk = Duration::from_millis(300);
    let report = olload::Load::new(plan).expect("it begins").run();
    let refused = report.failed.get("INVITE 503").copied().unwrap_or(0);
    assert!(refused > 0, "memory did not run short: {report}");
    assert_eq!(
        report.failures(),
        refused,
        "nothing but new calls is refused: {report}"
    );
    assert!(report.completed > 0, "{report}");
    sound(&server);
}
