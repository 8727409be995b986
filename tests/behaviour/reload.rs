//! A reload is all or nothing: tried first, taken up by every worker, without a gap.

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
fn a_broken_script_is_refused_with_its_line() {
    let server = Setup::lua(&script("1")).start();
    let mut phone = Phone::udp("a", server.addr);
    let broken = [
        (
            "function ksr_request_route()\n  local = 1\nend\n",
            "route.lua:2:",
        ),
        ("error('not today')\n", "route.lua:1: not today"),
        ("function other() end\n", "no function ksr_request_route"),
        ("while true do end\n", "used more than"),
        ("require('nonesuch')\n", "nonesuch"),
        ("os.exit(0)\n", "os.exit ends programs"),
        (
            "local f = require('ffi') f.cdef 'void _exit(int);' f.C._exit(0)\n",
            "died",
        ),
    ];
    for (text, why) in broken {
        server.write_script(text);
        let e = server.ctl().call("app_lua.reload", &[]).expect_err(text);
        assert!(e.contains(why), "{text:?} was refused with {e:?}");
        assert_eq!(ask(&mut phone), "v11");
    }
    let answer = server.call("cfg.generations", &[]);
    assert_eq!(field(&answer[0], "serves"), Some(&Value::Int(1)));
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

#[test]
fn no_message_is_lost_or_routed_by_half_a_script_while_reloading() {
    let server = Setup::lua(&script("1")).children(2).start();
    reloads_under_traffic(&server, "app_lua.reload", script);
}

/// Reloads twenty versions while requests are answered by halves of them.
pub(crate) fn reloads_under_traffic(server: &Server, command: &str, version: fn(&str) -> String) {
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
        server.write_script(&version(&i.to_string()));
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
        let main = nix::unistd::Pid::from_raw(server.pid());
        nix::sys::signal::kill(main, nix::sys::signal::Signal::SIGHUP).expect("sent");
        server.wait_for_log(&format!("reloaded: generation {n}"));
        assert_eq!(ask(&mut phone), format!("v{n}{n}"));
        // The process that reloaded is gone before the next may start.
        server.eventually("the reloader is gone", || server.processes() == before);
    }
}
