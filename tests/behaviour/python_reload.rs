//! A reload of a Python script, and of the modules beside it, is a fresh start or nothing.

use crate::python::reason;
use olelo_ipc::Value;
use olelo_tests::{PATIENCE, Phone, Server, Setup, field};
use std::io::{Read, Write};
use std::net::TcpStream;

fn script(version: &str) -> String {
    format!(
        "import KSR\nhalf = '{version}'\ndef ksr_request_route(msg):\n    KSR.sl.sl_send_reply(200, 'v{version}' + half)\n# {}\n",
        "padding ".repeat(200)
    )
}

/// Counts its messages, in the script and in a module beside it that a package imports.
const COUNTING: &str = r#"
import KSR
import helpers
from helpers import counter
import os, json

here = 0

def mod_init():
    return Routes()

class Routes:
    def ksr_request_route(self, msg):
        global here
        here += 1
        from helpers import late
        KSR.sl.sl_send_reply(200, "%s %d %d %s" % (helpers.NAME, here, counter.count(), late.WORD))
"#;

const COUNTER: &str =
    "total = 0\ndef count():\n    global total\n    total += 1\n    return total\n";

fn counting() -> Setup {
    Setup::python(COUNTING)
        .file("helpers/__init__.py", "NAME = 'one'\n")
        .file("helpers/counter.py", COUNTER)
        .file("helpers/late.py", "WORD = 'late'\n")
        .children(1)
}

#[test]
fn a_reload_drops_state_of_the_script_and_of_modules_beside_it() {
    let server = counting().start();
    assert_eq!(reason(&server), "one 1 1 late");
    assert_eq!(reason(&server), "one 2 2 late");
    server.write_file("helpers/__init__.py", "NAME = 'two'\n");
    let answer = server.call("app_python.reload", &[]);
    assert_eq!(field(&answer[0], "generation"), Some(&Value::Int(2)));
    assert_eq!(reason(&server), "two 1 1 late");
    for p in server.call("app_python.list", &[]) {
        assert_eq!(field(&p, "generation"), Some(&Value::Int(2)), "{p:?}");
    }
}

#[test]
fn a_worker_loads_what_was_published_not_what_lies_on_the_disk() {
    let server = counting().start();
    assert_eq!(reason(&server), "one 1 1 late");
    server.write_file("helpers/__init__.py", "syntax error here\n");
    server.write_file("helpers/counter.py", "1 / 0\n");
    server.write_script("raise RuntimeError('never read')\n");
    let worker = pid_of_worker(&server);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(worker),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("sent");
    let mut phone = Phone::udp("a", server.addr);
    let request = phone.request("OPTIONS", "sip:test.local", "", "");
    assert_eq!(phone.insist(&request).reason(), b"one 1 1 late");
    assert_ne!(pid_of_worker(&server), worker);
}

fn pid_of_worker(server: &Server) -> i32 {
    let all = server.processes();
    let found = all.iter().find(|(_, d)| d.starts_with("udp receiver"));
    found.map_or(0, |(pid, _)| *pid as i32)
}

#[test]
fn a_module_that_is_new_is_found_and_one_that_is_gone_is_not() {
    let server = counting().start();
    server.write_file("fresh.py", "WORD = 'fresh'\n");
    server.write_script(
        "import KSR, fresh\ndef ksr_request_route(msg):\n    KSR.sl.sl_send_reply(200, fresh.WORD)\n",
    );
    server.call("app_python.reload", &[]);
    assert_eq!(reason(&server), "fresh");
    std::fs::remove_file(server.dir().join("fresh.py")).expect("it is there");
    let e = server.ctl().call("app_python.reload", &[]).expect_err("no");
    assert!(e.contains("No module named 'fresh'"), "{e}");
    assert_eq!(reason(&server), "fresh");
}

#[test]
fn a_broken_script_is_refused_with_its_line() {
    let server = Setup::python(&script("1"))
        .file("broken.py", "x = 1\n1 / 0\n")
        .start();
    let broken = [
        (
            "import KSR\ndef f(:\n    pass\n",
            "route.py:2:7: SyntaxError",
        ),
        (
            "raise ValueError('not today')\n",
            "route.py:1: ValueError: not today",
        ),
        ("def other(): pass\n", "has no ksr_request_route"),
        (
            "def mod_init(): return object()\n",
            "has no ksr_request_route",
        ),
        ("def mod_init(): pass\n", "mod_init() returned None"),
        ("while True: pass\n", "used more than"),
        ("import nonesuch\n", "No module named 'nonesuch'"),
        ("import broken\n", "broken.py:2: ZeroDivisionError"),
        (
            "import sys\nsys.exit(0)\n",
            "ends the route (exit) while it is loaded",
        ),
        ("import os\nos._exit(0)\n", "died"),
        ("import KSR\nKSR.setflag('x')\n", "KSR.setflag(flag: int)"),
        (
            "import os\nif os.fork() == 0:\n    raise ValueError\n1 / 0\n",
            "ZeroDivisionError",
        ),
        (
            "x = []\nwhile True: x.append(bytes(1000000))\n",
            "MB of memory",
        ),
    ];
    for (text, why) in broken {
        server.write_script(text);
        let e = server.ctl().call("app_python.reload", &[]).expect_err(text);
        assert!(e.contains(why), "{text:?} was refused with {e:?}");
        assert_eq!(reason(&server), "v11");
    }
    let answer = server.call("cfg.generations", &[]);
    assert_eq!(field(&answer[0], "serves"), Some(&Value::Int(1)));
}

#[test]
fn what_a_worker_refuses_leaves_the_old_generation_whole() {
    let server = counting().start();
    assert_eq!(reason(&server), "one 1 1 late");
    server.write_file("helpers/__init__.py", "NAME = 'two'\n");
    server.write_script(&COUNTING.replace(
        "class Routes:",
        "class Routes:\n    def child_init(self, rank): raise ValueError('not here')",
    ));
    let e = server.ctl().call("app_python.reload", &[]).expect_err("no");
    assert!(e.contains("ValueError: not here"), "{e}");
    assert_eq!(reason(&server), "one 2 2 late");
}

#[test]
fn what_a_script_changed_in_python_is_as_before_after_a_reload() {
    let server = Setup::python(
        "import sys, KSR\nsys.path.append('/nonesuch')\nKSR.pv.get = None\ndef ksr_request_route(msg):\n    KSR.sl.sl_send_reply(200, 'one')\n",
    )
    .start();
    assert_eq!(reason(&server), "one");
    server.write_script(
        "import sys, KSR\ndef ksr_request_route(msg):\n    KSR.sl.sl_send_reply(200, '%s %s' % (KSR.pv.get('$rm'), '/nonesuch' in sys.path))\n",
    );
    server.call("app_python.reload", &[]);
    assert_eq!(reason(&server), "OPTIONS False");
}

/// The process that is asked has Python in it, with a thread that holds its lock most of the time.
#[test]
fn a_worker_can_be_asked_for_a_reload() {
    let server = Setup::native(
        r#"
request_route { python_exec("answer"); }
event_route[xhttp:request] { jsonrpc_dispatch(); }
"#,
    )
    .file(
        "beside.py",
        r#"
import sys, threading
import KSR

def child_init(rank):
    threading.Thread(target=burn, args=(__name__,), daemon=True).start()

def answer(msg):
    KSR.sl.sl_send_reply(200, "OK")

def burn(name):
    while name in sys.modules:
        sum(range(10000))
"#,
    )
    .cfg("loadmodule \"xhttp.so\"\nloadmodule \"app_python3.so\"")
    .cfg("modparam(\"app_python3\", \"load\", \"{dir}/beside.py\")")
    .children(1)
    .start();
    let call = r#"{"jsonrpc":"2.0","method":"app_python.reload","id":1}"#;
    for generation in 2..5 {
        let mut s = TcpStream::connect(server.addr).expect("a connection");
        s.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        write!(
            s,
            "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{call}",
            call.len()
        )
        .expect("sent");
        let mut answer = String::new();
        s.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains("200 OK"), "{answer}");
        server.eventually("all have it", || {
            let all = server.call("app_python.list", &[]);
            all.iter()
                .all(|p| field(p, "generation") == Some(&Value::Int(generation)))
        });
        assert_eq!(reason(&server), "OK");
    }
}

/// What is held at once is two generations: the one that serves and the one that is loaded.
#[test]
fn memory_of_generations_that_have_ended_is_given_back() {
    let script = |n: u32| {
        format!(
            r#"
import KSR
cache = [bytes(10 ** 6) for _ in range(110)]
def ksr_request_route(msg):
    KSR.sl.sl_send_reply(200, "{n} %d" % len(cache))
"#
        )
    };
    let server = Setup::python(&script(1))
        .cfg("modparam(\"app_python3\", \"memory_limit\", 256)")
        .children(1)
        .start();
    for n in 2..7 {
        server.write_script(&script(n));
        server.call("app_python.reload", &[]);
        assert_eq!(reason(&server), format!("{n} 110"));
    }
}

#[test]
fn a_route_is_what_its_name_means_when_it_is_called() {
    let server = Setup::python(
        r#"
import KSR

said = []

def mod_init():
    return Routes()

class Routes:
    def ksr_request_route(self, msg):
        try:
            KSR.app_python3.exec("late")
        except RuntimeError:
            said.append("none")
        globals()["late"] = lambda msg: said.append("function")
        KSR.app_python3.exec("late")
        globals()["late"] = lambda: said.append("other")
        KSR.app_python3.exec("late")
        Routes.late = lambda self, msg: said.append("method")
        KSR.app_python3.exec("late")
        self.late = lambda msg: said.append("own")
        KSR.app_python3.exec("late")
        del self.late, Routes.late
        KSR.app_python3.exec("late")
        del globals()["late"]
        try:
            KSR.app_python3.exec("late")
        except RuntimeError:
            said.append("gone")
        Routes.ksr_request_route = answer

def answer(self, msg):
    KSR.sl.sl_send_reply(200, " ".join(said))
"#,
    )
    .children(1)
    .start();
    let mut phone = Phone::udp("a", server.addr);
    phone.send(phone.request("INFO", "sip:test.local", "", ""));
    assert_eq!(reason(&server), "none function other method own other gone");
}

#[test]
fn all_functions_are_listed() {
    let server = Setup::python(&script("1")).start();
    let all = server.call("app_python.api_list", &[]);
    assert!(all.len() > 300, "{}", all.len());
}
