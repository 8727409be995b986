//! Scripts in Python that go wrong. Each costs its own message, at worst its worker; signals of the
//! server work as before, and threads of a script do no harm.

use crate::python::{reason, status};
use olelo_tests::{Phone, Server, Setup};

/// Every method is one abuse; all others are answered.
const SCRIPT: &str = r#"
import ctypes, itertools, os, re, socket, subprocess, sys, threading, time
import KSR

kept = []

def catcher():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

def finally_loop():
    try:
        while True:
            pass
    finally:
        while True:
            pass

def nested():
    try:
        nested()
    finally:
        nested()

class Loops:
    def __del__(self):
        while True:
            pass

def generator():
    while True:
        try:
            yield
        except BaseException:
            pass

def generators():
    while True:
        g = generator()
        next(g)
        try:
            g.throw(ValueError)
        except BaseException:
            pass

def untrace():
    while True:
        try:
            while True:
                sys.settrace(None)
        except BaseException:
            sys.settrace(None)

def doubling():
    s = "x"
    while True:
        s = s + s

def listing():
    all = []
    while True:
        all.append(object())

def eater():
    try:
        all = []
        while True:
            all.append(bytes(10 ** 6))
    except MemoryError:
        pass
    KSR.sl.sl_send_reply(200, "went on")

def recurse(n=0):
    return 1 + recurse(n + 1)

def unlimited():
    sys.setrecursionlimit(10 ** 9)
    try:
        return recurse()
    finally:
        sys.setrecursionlimit(1000)

class Deep:
    def __repr__(self):
        return repr(self)

def deep():
    class Unspeakable(Exception):
        def __str__(self):
            while True:
                pass
    raise Unspeakable()

def in_thread():
    said = []
    def go():
        try:
            KSR.info("never\n")
        except RuntimeError as e:
            said.append(str(e))
    t = threading.Thread(target=go)
    t.start()
    t.join()
    raise ValueError(said[0])

def sleeper():
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass

def receiver():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))
    s.recv(1)

def nest():
    KSR.app_python3.exec("nest")

abuse = {
    "LOOP": lambda: [0 for _ in itertools.repeat(0) if False],
    "WHILE": lambda: exec("while True: pass"),
    "CATCH": catcher,
    "FINALLY": finally_loop,
    "NESTED": nested,
    "DEL": lambda: Loops() and None,
    "GENERATOR": generators,
    "UNTRACE": untrace,
    "REGEX": lambda: re.match("(a*)*b", "a" * 64),
    "DOUBLE": doubling,
    "LIST": listing,
    "BYTES": lambda: bytearray(10 ** 10),
    "RECURSE": recurse,
    "UNLIMITED": unlimited,
    "DEEPREPR": lambda: repr(Deep()),
    "DEEPERROR": deep,
    "THREAD": in_thread,
    "NEST": nest,
    "SIGNAL": lambda: __import__("signal").signal(15, lambda *a: None),
    "FORK": lambda: (os.fork(), 1 / 0),
    "EATER": eater,
    "SLEEP": sleeper,
    "RECEIVE": receiver,
    "CENDLESS": lambda: sum(itertools.repeat(0)),
    "SEGV": lambda: ctypes.string_at(16),
    "UEXIT": lambda: os._exit(3),
    "ABORT": os.abort,
    "KILL": lambda: os.kill(os.getpid(), 9),
}

def nest_again(msg):
    nest()

def ksr_request_route(msg):
    f = abuse.get(KSR.pv.get("$rm"))
    if f:
        f()
    KSR.sl.sl_send_reply(200, "OK")
"#;

/// What ends with 500 and leaves the worker alive.
const CAUGHT: &[&str] = &[
    "LOOP",
    "WHILE",
    "CATCH",
    "FINALLY",
    "GENERATOR",
    "UNTRACE",
    "REGEX",
    "DOUBLE",
    "LIST",
    "BYTES",
    "RECURSE",
    "UNLIMITED",
    "DEEPREPR",
    "DEEPERROR",
    "THREAD",
    "NEST",
    "SIGNAL",
    "FORK",
];

/// Ends with 500, or where Python 3.8 gives up on its stack, with the worker.
const NESTED: &str = "NESTED";

/// What ends the worker: nothing of Python is asked there.
const DEADLY: &[&str] = &["CENDLESS", "SEGV", "UEXIT", "ABORT", "KILL"];

fn server() -> Server {
    Setup::python(SCRIPT)
        .cfg("modparam(\"app_python3\", \"time_limit\", 100)\nmodparam(\"app_python3\", \"memory_limit\", 64)")
        .children(1)
        .start()
}

#[test]
fn each_abuse_gets_500_and_the_worker_goes_on() {
    let server = server();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for method in CAUGHT {
        assert_eq!(status(&mut phone, method), 500, "{method}");
        assert_eq!(status(&mut phone, "OPTIONS"), 200, "after {method}");
        assert_eq!(server.processes(), before, "after {method}");
    }
    server.wait_for_log("it used more than 100 ms of CPU");
    server.wait_for_log("it used more than 64 MB of memory");
    server.wait_for_log("RecursionError");
    server.wait_for_log("a thread of a script can't call it");
    server.wait_for_log("signals belong to the server");
    server.call("mem.check", &[]);
}

#[test]
fn a_stop_names_the_place_that_ran() {
    let server = server();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(status(&mut phone, "CATCH"), 500);
    let line = server.wait_for_log("it used more than 100 ms of CPU");
    assert!(line.contains("route.py:"), "{line}");
    server.wait_for_log("in catcher");
}

#[test]
fn memory_that_a_script_gives_back_is_no_end_of_it() {
    let server = server();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(status(&mut phone, "EATER"), 200);
    assert_eq!(status(&mut phone, "OPTIONS"), 200);
}

#[test]
fn what_can_not_be_stopped_costs_its_worker_only() {
    let server = server();
    for method in DEADLY {
        let before = server.processes();
        let mut phone = Phone::udp("a", server.addr);
        phone.send(phone.request(method, "sip:test.local", "", ""));
        server.eventually("the worker is replaced", || {
            let now = server.processes();
            now != before && now.len() == before.len()
        });
        let request = phone.request("OPTIONS", "sip:test.local", "", "");
        assert_eq!(phone.insist(&request).status(), 200, "after {method}");
    }
    server.call("mem.check", &[]);
}

#[test]
fn errors_within_errors_cost_the_worker_at_most() {
    let server = server();
    let mut phone = Phone::udp("a", server.addr);
    phone.send(phone.request(NESTED, "sip:test.local", "", ""));
    let mut other = Phone::udp("b", server.addr);
    let request = other.request("OPTIONS", "sip:test.local", "", "");
    assert_eq!(other.insist(&request).status(), 200);
    server.call("mem.check", &[]);
}

#[test]
fn a_million_calls_take_no_memory() {
    let server = Setup::python(
        r#"
import KSR

def resident():
    with open("/proc/self/status") as f:
        return int(f.read().split("VmRSS:")[1].split()[0])

def calls(n):
    odd = b"\xff".decode("utf-8", "surrogateescape")
    for i in range(n):
        KSR.setflag(3)
        KSR.pv.sets("$var(x)", "some text")
        KSR.pv.get("$var(x)")
        KSR.pv.sets("$var(y)", odd)
        try:
            KSR.setflag("wrong")
        except RuntimeError:
            pass

def ksr_request_route(msg):
    calls(1000)
    before = resident()
    calls(200000)
    KSR.sl.sl_send_reply(200, str(resident() - before))
"#,
    )
    .cfg("modparam(\"app_python3\", \"time_limit\", 15000)\nwatchdog_time=60")
    .children(1)
    .start();
    let grown: i64 = reason(&server).parse().expect("kilobytes");
    assert!(grown < 1024, "{grown} KB more after a million calls");
}

#[test]
fn waiting_is_ended_by_the_watchdog() {
    let server = Setup::python(SCRIPT)
        .cfg("watchdog_time=1\n")
        .children(1)
        .start();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for method in ["SLEEP", "RECEIVE"] {
        assert_eq!(status(&mut phone, method), 500, "{method}");
        server.wait_for_log("it took longer than watchdog_time");
        assert_eq!(status(&mut phone, "OPTIONS"), 200, "after {method}");
    }
    assert_eq!(server.processes(), before, "no worker was replaced");
}

#[test]
fn signals_are_the_servers() {
    let server = server();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(status(&mut phone, "OPTIONS"), 200);
    assert!(server.stop(), "SIGTERM ends it well");
}

#[test]
fn threads_of_a_script_run_while_the_worker_waits() {
    let server = Setup::python(
        r#"
import threading
import KSR

count = 0
turn = threading.Condition()

def mod_init():
    return Routes()

class Routes:
    def child_init(self, rank):
        if rank == 1:
            threading.Thread(target=counting, daemon=True).start()

    def ksr_request_route(self, msg):
        KSR.sl.sl_send_reply(200, "many" if count > 50 else "few")

def counting():
    global count
    while __name__ in sys.modules:
        with turn:
            turn.wait(0.001)
        count += 1

import sys
"#,
    )
    .children(1)
    .start();
    server.eventually("the thread has counted", || reason(&server) == "many");
}

#[test]
fn a_thread_that_computes_is_not_on_the_time_of_messages() {
    let server = Setup::python(
        r#"
import threading
import KSR

def mod_init():
    return Routes()

class Routes:
    def child_init(self, rank):
        threading.Thread(target=burn, daemon=True).start()

    def ksr_request_route(self, msg):
        KSR.sl.sl_send_reply(200, "OK")

def burn():
    while True:
        sum(range(1000))
"#,
    )
    .cfg("modparam(\"app_python3\", \"time_limit\", 50)")
    .children(1)
    .start();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for _ in 0..100 {
        assert_eq!(status(&mut phone, "OPTIONS"), 200);
    }
    assert!(!server.has_logged("ERROR"), "{}", server.logged());
    assert_eq!(server.processes(), before);
}

/// Keeps what it makes, in itself and in a module beside it; `KEEP` fails by it, `CATCH` answers all
/// the same.
const KEEPING: &str = r#"
import KSR
import beside

kept = []

def keep():
    while True:
        kept.append(bytes(10 ** 6))
        beside.kept.append(bytes(10 ** 6))

def ksr_request_route(msg):
    if KSR.is_method("KEEP"):
        keep()
    if KSR.is_method("CATCH"):
        try:
            keep()
        except Exception:
            pass
    KSR.sl.sl_send_reply(200, "%d %d" % (len(kept), len(beside.kept)))
"#;

#[test]
fn a_script_that_keeps_all_it_may_is_built_anew() {
    let server = Setup::python(KEEPING)
        .file("beside.py", "kept = []\n")
        .cfg("modparam(\"app_python3\", \"memory_limit\", 64)")
        .children(1)
        .start();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for method in ["KEEP", "CATCH", "KEEP", "CATCH"] {
        phone.send(phone.request(method, "sip:test.local", "", ""));
        server.wait_for_log("was stopped: it used more than 64 MB of memory");
        let mut other = Phone::udp("b", server.addr);
        let request = other.request("OPTIONS", "sip:test.local", "", "");
        assert_eq!(other.ask(&request).reason(), b"0 0", "after {method}");
    }
    assert_eq!(status(&mut Phone::udp("c", server.addr), "KEEP"), 500);
    server.write_script(&format!("{KEEPING}\n# another\n"));
    server.call("app_python.reload", &[]);
    assert_eq!(reason(&server), "0 0");
    assert!(!server.has_logged("does not load"), "{}", server.logged());
    assert_eq!(server.processes(), before);
}
