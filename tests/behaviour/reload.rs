//! A reload is all or nothing: tried first, taken up by every worker, without a gap.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use olelo_ipc::Value;
use olelo_tests::{Phone, Server, Setup, field};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn script(version: &str) -> String {
    format!(
        "local half = '{version}'\nfunction ksr_request_route()\n  KSR.sl.sl_send_reply(200, 'v{version}' .. half)\nend\n-- {}\n",
        "padding ".repeat(200)
    )
}

pub(crate) fn ask(phone: &mut Phone) -> String {
    let reply = phone.ask(&phone.request("OPTIONS", "sip:test.local", "", ""));
    String::from_utf8_lossy(reply.reason()).into_owned()
}

/// As [`ask`], repeating itself as a phone does: a worker that loads a script takes its time.
fn insist(phone: &mut Phone) -> String {
    let request = phone.request("OPTIONS", "sip:test.local", "", "");
    String::from_utf8_lossy(phone.insist(&request).reason()).into_owned()
}

#[test]
fn all_workers_serve_the_new_script_once_the_answer_is_there() {
    let server = Setup::lua(&script("1")).children(4).start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(ask(&mut phone), "v11");
    server.write_script(&script("2"));
    let answer = server.call("app_lua.reload", &[]);
    assert_eq!(field(&answer[0], "generation"), Some(&Value::Int(2)));
    for _ in 0..50 {
        assert_eq!(ask(&mut phone), "v22");
    }
    for p in server.call("app_lua.list", &[]) {
        assert_eq!(field(&p, "generation"), Some(&Value::Int(2)), "{p:?}");
    }
}

#[test]
fn an_older_generation_can_be_brought_back() {
    let server = Setup::lua(&script("1")).start();
    let mut phone = Phone::udp("a", server.addr);
    server.write_script(&script("2"));
    server.call("app_lua.reload", &[]);
    assert_eq!(ask(&mut phone), "v22");
    server.call("cfg.rollback", &[]);
    assert_eq!(ask(&mut phone), "v11");
}

/// Reloads twenty versions, each put in place by `write`, while requests are answered by halves of
/// them.
pub(crate) fn reloads_under_traffic(server: &Server, command: &str, write: impl Fn(&str)) {
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let (addr, stop) = (server.addr, stop.clone());
            std::thread::spawn(move || {
                let mut phone = Phone::udp("a", addr);
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    let reason = ask(&mut phone);
                    let (a, b) = reason[1..].split_at((reason.len() - 1) / 2);
                    assert_eq!(a, b, "the halves are of one generation");
                    n += 1;
                }
                n
            })
        })
        .collect();
    for i in 2..22 {
        write(&i.to_string());
        server.call(command, &[]);
    }
    stop.store(true, Ordering::Relaxed);
    for c in callers {
        assert!(c.join().expect("no caller failed") > 0);
    }
    server.call("mem.check", &[]);
}

#[test]
fn hangup_reloads_too() {
    let server = Setup::lua(&script("1")).start();
    let mut phone = Phone::udp("a", server.addr);
    let before = server.processes();
    for n in 2..5 {
        server.write_script(&script(&n.to_string()));
        signal(server.pid(), Signal::SIGHUP);
        server.wait_for_log(&format!("reloaded: generation {n}"));
        assert_eq!(ask(&mut phone), format!("v{n}{n}"));
        // The process that reloaded is gone before the next may start.
        server.eventually("the reloader is gone", || server.processes() == before);
    }
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("sent");
}

/// The pid of the process whose description begins so.
fn pid_of(server: &Server, description: &str) -> i32 {
    let all = server.processes();
    let found = all.iter().find(|(_, d)| d.starts_with(description));
    found
        .unwrap_or_else(|| panic!("no \"{description}\" in {all:?}"))
        .0 as i32
}

/// A script that does `what` at its top level, but in no canary: in the first process called
/// `olelo/NAME…` that finds a file which [`allow`] has made.
fn once(server: &Server, version: &str, name: &str, what: &str) -> String {
    let dir = server.dir().display();
    format!(
        "local me = io.open('/proc/self/comm'):read()\n\
         if me:match('^olelo/{name}') and os.rename('{dir}/may', '{dir}/done') then {what} end\n{}",
        script(version)
    )
}

/// Lets one process do what [`once`] says.
fn allow(server: &Server) {
    std::fs::write(server.dir().join("may"), "").expect("a file");
}

/// What a script does to wait, at its top level, until [`open_gate`].
fn wait_at_gate(server: &Server) -> String {
    let dir = server.dir().display();
    format!("os.execute('while test -e {dir}/done; do sleep 0.02; done')")
}

fn open_gate(server: &Server) {
    std::fs::remove_file(server.dir().join("done")).expect("somebody waits");
}

/// Asks for a reload whose answer nobody waits for yet.
fn reload_in_background(server: &Server) -> std::thread::JoinHandle<Result<Vec<Value>, String>> {
    let mut ctl = server.ctl();
    std::thread::spawn(move || ctl.call("app_lua.reload", &[]))
}

fn wait_until_all_serve(server: &Server, generation: i64) {
    let wanted = Some(Value::Int(generation));
    server.eventually("one generation everywhere", || {
        let all = server.call("app_lua.list", &[]);
        all.iter()
            .all(|p| field(p, "generation").cloned() == wanted)
    });
}

#[test]
fn a_reload_whose_asker_dies_is_taken_back() {
    let server = Setup::lua(&script("1")).children(2).start();
    let mut phone = Phone::udp("a", server.addr);
    let ctl = pid_of(&server, "ctl");
    server.write_script(&once(&server, "2", "udp", &wait_at_gate(&server)));
    allow(&server);
    let asked = reload_in_background(&server);
    server.eventually("the other worker serves the new script", || {
        insist(&mut phone) == "v22"
    });
    server.eventually("one worker is slow to load it", || {
        server.dir().join("done").exists()
    });
    signal(ctl, Signal::SIGKILL);
    server.wait_for_log("taken back to generation 1");
    asked.join().expect("no panic").expect_err("nobody answers");
    server.eventually("the old script serves", || insist(&mut phone) == "v11");
    open_gate(&server);
    wait_until_all_serve(&server, 1);
    // Nothing is left of it: the next reload has its own way back.
    server.call("app_lua.reload", &[]);
    wait_until_all_serve(&server, 3);
}

#[test]
fn a_script_that_kills_workers_and_spares_the_canary_is_taken_back() {
    let server = Setup::lua(&script("1")).children(1).start();
    let mut phone = Phone::udp("a", server.addr);
    server.write_script(&format!(
        "if io.open('/proc/self/comm'):read():match('^olelo/udp') then os.execute('kill -9 $PPID') end\n{}",
        script("2")
    ));
    let e = server.ctl().call("app_lua.reload", &[]).expect_err("no");
    assert!(e.contains("taken back to generation 1"), "{e}");
    assert!(e.contains("died"), "{e}");
    let request = phone.request("OPTIONS", "sip:test.local", "", "");
    assert_eq!(phone.insist(&request).reason(), b"v11");
    wait_until_all_serve(&server, 1);
}

#[test]
fn a_new_worker_that_can_not_load_the_script_does_not_serve() {
    let server = Setup::lua(&script("1")).children(1).start();
    let mut phone = Phone::udp("a", server.addr);
    server.write_script(&once(&server, "2", "udp", "error('not now')"));
    server.call("app_lua.reload", &[]);
    assert_eq!(ask(&mut phone), "v22");
    allow(&server);
    signal(pid_of(&server, "udp receiver"), Signal::SIGKILL);
    server.wait_for_log("and there is none before it");
    server.wait_for_log("ended by exit code 1");
    let request = phone.request("OPTIONS", "sip:test.local", "", "");
    assert_eq!(phone.insist(&request).reason(), b"v22");
}

#[test]
fn a_worker_that_lost_its_engine_tries_again_to_build_one() {
    let server = Setup::lua(&script("1"))
        .cfg("modparam(\"app_lua\", \"time_limit\", 200)")
        .children(1)
        .start();
    let mut phone = Phone::udp("a", server.addr);
    let endless = "function ksr_request_route()\n if KSR.is_method('MESSAGE') then while true do end end\n KSR.sl.sl_send_reply(200, 'v2')\nend\n";
    let text = once(&server, "1", "udp", "error('not now')") + endless;
    server.write_script(&text);
    server.call("app_lua.reload", &[]);
    assert_eq!(ask(&mut phone), "v2");
    let worker = pid_of(&server, "udp receiver");
    allow(&server);
    phone.send(phone.request("MESSAGE", "sip:test.local", "", ""));
    server.wait_for_log("and there is none before it");
    server.eventually("it has an engine again", || ask(&mut phone) == "v2");
    assert_eq!(pid_of(&server, "udp receiver"), worker, "the same process");
}

#[test]
fn a_generation_that_was_refused_once_can_be_tried_again() {
    let server = Setup::lua(&script("1")).children(1).start();
    let mut phone = Phone::udp("a", server.addr);
    server.write_script(&once(&server, "2", "udp", "error('not now')"));
    allow(&server);
    let e = server.ctl().call("app_lua.reload", &[]).expect_err("no");
    assert!(
        e.contains("taken back to generation 1") && e.contains("not now"),
        "{e}"
    );
    wait_until_all_serve(&server, 1);
    server.call("cfg.rollback", &["2"]);
    assert_eq!(ask(&mut phone), "v22");
    wait_until_all_serve(&server, 2);
}

#[test]
fn a_reload_that_comes_later_is_not_undone_by_the_one_before() {
    let server = Setup::lua(&script("1")).children(2).start();
    let mut phone = Phone::udp("a", server.addr);
    server.write_script(&once(&server, "2", "udp", &wait_at_gate(&server)));
    allow(&server);
    let asked = reload_in_background(&server);
    server.eventually("one worker is slow to load it", || {
        server.dir().join("done").exists()
    });
    server.write_script(&script("3"));
    signal(server.pid(), Signal::SIGHUP);
    let e = asked
        .join()
        .expect("no panic")
        .expect_err("it was replaced");
    assert!(e.contains("superseded: generation 3"), "{e}");
    open_gate(&server);
    server.wait_for_log("reloaded: generation 3");
    wait_until_all_serve(&server, 3);
    assert_eq!(ask(&mut phone), "v33");
}

#[test]
fn a_timer_that_takes_long_to_load_is_not_taken_for_stuck() {
    let server = Setup::lua(&script("1")).children(1).start();
    // Longer than a process that beats may be silent.
    server.write_script(&once(&server, "2", "timer", "os.execute('sleep 6')"));
    allow(&server);
    server.call("app_lua.reload", &[]);
    wait_until_all_serve(&server, 2);
    assert_eq!(server.stat("core.worker_kills"), 0);
    assert_eq!(server.stat("core.worker_deaths"), 0);
}
