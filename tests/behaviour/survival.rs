//! A worker may die, stop or get stuck, and the service goes on.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use olelo_ipc::Value;
use olelo_tests::{Phone, Server, Setup, field};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SCRIPT: &str = "function ksr_request_route() KSR.sl.sl_send_reply(200, 'OK') end";

#[test]
fn a_killed_worker_is_replaced_in_its_slot() {
    let server = Setup::lua(SCRIPT).start();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for (pid, description) in before.iter().skip(1) {
        kill(Pid::from_raw(*pid as i32), Signal::SIGKILL).expect("killed");
        // The control process may be the one that was killed.
        server.wait_for_log(&format!("\"{description}\" pid {pid} ended"));
        assert_eq!(
            phone
                .ask(&phone.request("OPTIONS", "sip:test.local", "", ""))
                .status(),
            200
        );
    }
    server.eventually("all run again", || {
        std::os::unix::net::UnixStream::connect(server.dir().join("ctl")).is_ok()
            && server
                .processes()
                .iter()
                .zip(&before)
                .all(|(now, old)| now.1 == old.1 && now.0 != 0)
    });
    let crashes = server.call("core.crashes", &[]);
    assert_eq!(crashes.len(), before.len() - 1);
    assert_eq!(
        field(&crashes[0], "how"),
        Some(&Value::Str("SIGKILL".into()))
    );
    let check = server.call("mem.check", &[]);
    assert_eq!(
        field(&check[0], "faults"),
        Some(&Value::Int(0)),
        "{check:?}"
    );
}

#[test]
fn the_end_leaves_no_process_and_no_socket() {
    let server = Setup::lua(SCRIPT).start();
    let pids: Vec<i64> = server.processes().iter().map(|(p, _)| *p).collect();
    let addr = server.addr;
    assert!(server.stop());
    for pid in pids {
        assert!(
            kill(Pid::from_raw(pid as i32), None).is_err(),
            "{pid} is still there"
        );
    }
    std::net::UdpSocket::bind(addr).expect("the port is free again");
}

#[test]
fn a_killed_main_takes_its_workers_along() {
    let server = Setup::lua(SCRIPT).start();
    let pids: Vec<i64> = server.processes().iter().map(|(p, _)| *p).collect();
    kill(Pid::from_raw(server.pid()), Signal::SIGKILL).expect("killed");
    server.eventually("all workers are gone", || {
        pids.iter()
            .skip(1)
            .all(|p| kill(Pid::from_raw(*p as i32), None).is_err())
    });
}

/// Answers everything, but one kind of message kills its worker and another keeps it busy.
const DEADLY: &str = r#"
loadmodule "cfgutils.so"
request_route {
	if (is_method("INFO")) {
		exec("kill -ABRT $PPID");
	}
	if (is_method("MESSAGE")) {
		exec("kill -STOP $PPID");
	}
	if (is_method("NOTIFY")) {
		sleep(3);
	}
	sl_send_reply("200", "OK");
}
"#;

fn deaths(server: &Server) -> i64 {
    server.stat("core.worker_deaths")
}

fn options(phone: &mut Phone) -> u16 {
    let m = phone.request("OPTIONS", "sip:test.local", "", "");
    phone.insist(&m).status()
}

fn signal(pid: i64, s: Signal) {
    kill(Pid::from_raw(pid as i32), s).expect("the process is there");
}

#[test]
fn a_message_that_kills_twice_is_not_routed_again() {
    let server = Setup::native(DEADLY).start();
    let mut phone = Phone::udp("a", server.addr);
    let deadly = phone.request("INFO", "sip:test.local", "", "");
    for n in 1..=2 {
        phone.send(&deadly);
        server.eventually("the worker died of it", || deaths(&server) == n);
        assert_eq!(options(&mut phone), 200);
    }
    assert_eq!(phone.ask(&deadly).status(), 500);
    assert_eq!(deaths(&server), 2, "it was not routed");
    let rows = server.call("core.quarantine", &[]);
    assert_eq!(field(&rows[0], "quarantined"), Some(&Value::Int(1)));
    let Some(Value::Str(text)) = field(&rows[0], "message") else {
        panic!("no message in {rows:?}")
    };
    assert!(text.starts_with("INFO sip:test.local"), "{text}");
    let other = phone.request("INFO", "sip:test.local", "", "");
    phone.send(&other);
    server.eventually("another message is another matter", || deaths(&server) == 3);

    server.call("core.quarantine_release", &[]);
    phone.send(&deadly);
    server.eventually("it is routed again", || deaths(&server) == 4);
    assert_eq!(options(&mut phone), 200);
    let crashes = server.call("core.crashes", &[]);
    assert_eq!(
        field(&crashes[3], "how"),
        Some(&Value::Str("SIGABRT".into()))
    );
}

#[test]
fn a_worker_that_does_not_get_on_is_replaced() {
    let server = Setup::native(DEADLY).cfg("watchdog_time=1").start();
    let mut phone = Phone::udp("a", server.addr);
    // One that sleeps on purpose is let be, for longer than the watchdog's patience.
    let asleep = phone.request("NOTIFY", "sip:test.local", "", "");
    assert_eq!(phone.ask(&asleep).status(), 200);
    assert_eq!(deaths(&server), 0);
    // One that is stopped in the middle of a message is not.
    phone.send(phone.request("MESSAGE", "sip:test.local", "", ""));
    for _ in 0..20 {
        assert_eq!(options(&mut phone), 200, "the others serve");
    }
    let line = server.wait_for_log("on one message, it worked on: MESSAGE");
    assert!(line.contains("SIGKILL by main"), "{line}");
    server.eventually("both workers are there", || {
        server.processes().iter().all(|(pid, _)| *pid != 0)
    });
    assert_eq!(server.stat("core.worker_kills"), 1);
}

#[test]
fn a_stopped_process_harms_nobody() {
    let server = Setup::native(DEADLY).start();
    let mut phone = Phone::udp("a", server.addr);
    let all = server.processes();
    // Whichever of them waits at the socket.
    for (pid, name) in all.iter().filter(|(_, n)| n.starts_with("udp receiver")) {
        signal(*pid, Signal::SIGSTOP);
        for _ in 0..5 {
            assert_eq!(options(&mut phone), 200, "while {name} was stopped");
        }
        signal(*pid, Signal::SIGCONT);
    }
    assert_eq!(deaths(&server), 0, "they went on");
    let (timer, _) = all
        .iter()
        .find(|(_, n)| n == "timer")
        .expect("there is a timer");
    signal(*timer, Signal::SIGSTOP);
    let line = server.wait_for_log("no sign of life");
    assert!(line.contains("\"timer\""), "{line}");
    assert_eq!(options(&mut phone), 200);
}

#[test]
fn calls_survive_the_death_of_every_process() {
    let server = Setup::native(CALLS).children(3).shm_mb(128).start();
    let stop = AtomicBool::new(false);
    let (report, kills) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut kills = 0;
            while !stop.load(Ordering::Relaxed) {
                let pids = children(server.pid());
                let victim = pids[kills * 7 % pids.len()];
                if kill(Pid::from_raw(victim), Signal::SIGKILL).is_ok() {
                    kills += 1;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            kills
        });
        let mut plan = olload::Plan::new(server.addr);
        plan.domain = "test.local".into();
        plan.rate = 60.0;
        plan.lasting = Duration::from_secs(5);
        plan.users = 50;
        let report = olload::Load::new(plan).expect("it begins").run();
        stop.store(true, Ordering::Relaxed);
        (report, killer.join().expect("the killer ends"))
    });
    assert!(kills > 20, "only {kills} kills: the test proves nothing");
    assert_eq!(report.failed, Default::default(), "{report}");
    assert_eq!(report.completed, 300, "{report}");
    server.eventually("the control process is back", || {
        std::os::unix::net::UnixStream::connect(server.dir().join("ctl")).is_ok()
    });
    let check = server.call("mem.check", &[]);
    assert_eq!(field(&check[0], "faults"), Some(&Value::Int(0)));
}

#[test]
fn a_zone_that_was_written_over_is_emptied_and_the_rest_stays() {
    let server = Setup::native(BREAKABLE)
        .cfg("modparam(\"htable\", \"htable\", \"kept=>size=4;\")")
        .start();
    let mut phone = Phone::udp("marked-for-damage", server.addr);
    assert_eq!(phone.register(600).status(), 200);
    server.call("htable.sets", &["kept", "a", "value"]);
    let processes = server.processes().len();
    damage(server.pid(), b"marked-for-damage");
    // Workers die one after another, each of another message: that makes main look.
    let begun_anew = || server.has_logged("started anew");
    while !begun_anew() {
        let died = || server.logged().matches("ended by SIGABRT").count();
        let before = died();
        phone.send(phone.request("INFO", "sip:test.local", "", ""));
        server.eventually("one died", || died() > before || begun_anew());
    }
    server.wait_for_log("shared memory: usrloc: empty");
    assert_eq!(options(&mut phone), 200);
    server.eventually("control is back", || {
        std::os::unix::net::UnixStream::connect(server.dir().join("ctl")).is_ok()
    });
    assert_eq!(server.stat("core.full_restarts"), 1);
    assert_eq!(server.processes().len(), processes);
    let check = server.call("mem.check", &[]);
    assert_eq!(
        field(&check[0], "faults"),
        Some(&Value::Int(0)),
        "{check:?}"
    );
    let kept = server.call("htable.get", &["kept", "a"]);
    assert!(format!("{kept:?}").contains("value"), "{kept:?}");
    let users = server.call("ul.dump", &["brief"]);
    assert!(!format!("{users:?}").contains("marked"), "{users:?}");
    assert_eq!(phone.register(600).status(), 200);
}

const BREAKABLE: &str = r#"
request_route {
	if (is_method("INFO")) {
		exec("kill -ABRT $PPID");
	}
	if (is_method("REGISTER")) {
		save("location");
		exit;
	}
	sl_send_reply("200", "OK");
}
"#;

/// Writes over the header of the block of shared memory in which these bytes are, as a library with a
/// wild pointer might.
fn damage(main: i32, marker: &[u8]) {
    use std::os::unix::fs::FileExt;
    let fds = std::fs::read_dir(format!("/proc/{main}/fd")).expect("descriptors");
    let memory = fds
        .flatten()
        .find(|f| {
            std::fs::read_link(f.path())
                .is_ok_and(|l| l.to_string_lossy().starts_with("/memfd:olelo"))
        })
        .expect("the server's shared memory");
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(memory.path())
        .expect("it can be opened");
    let len = file.metadata().expect("a length").len();
    let mut page = vec![0; 64 << 10];
    for at in (0..len).step_by(page.len()) {
        file.read_exact_at(&mut page, at).expect("a page");
        // In messages, of which the process table has copies, the name follows a scheme.
        let mut windows = page.windows(marker.len() + 1);
        let hit = windows.position(|w| w[1..] == *marker && w[0] != b':');
        if let Some(hit) = hit {
            let start = (at + hit as u64).saturating_sub(48) & !15;
            file.write_all_at(&[0xff; 48], start).expect("written");
            return;
        }
    }
    panic!("the bytes are not in shared memory");
}

/// A registrar and proxy, as small as it can be.
const CALLS: &str = r#"
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

fn children(main: i32) -> Vec<i32> {
    std::fs::read_to_string(format!("/proc/{main}/task/{main}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|p| p.parse().ok())
        .collect()
}
