//! What comes with Python, and what `pip` installs, works in a script: HTTP, C extensions, threads,
//! other programs.

use crate::python::reason;
use olelo_tests::{PATIENCE, Setup};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

/// A server that answers every HTTP request with this text, until the test ends.
fn http_server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut s in listener.incoming().map_while(Result::ok) {
            let _ = s.set_read_timeout(Some(PATIENCE));
            let mut head = Vec::new();
            let mut byte = [0u8; 1];
            while !head.ends_with(b"\r\n\r\n") && s.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let _ = write!(
                s,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                answer.len()
            );
        }
    });
    addr
}

#[test]
fn a_route_asks_a_web_server() {
    let addr = http_server("from the web");
    let server = Setup::python(&format!(
        r#"
import urllib.request
import KSR

def ksr_request_route(msg):
    with urllib.request.urlopen("http://{addr}/", timeout=20) as answer:
        KSR.sl.sl_send_reply(200, answer.read())
"#
    ))
    .children(1)
    .start();
    assert_eq!(reason(&server), "from the web");
}

#[test]
fn requests_works_where_it_is_installed() {
    let installed = Command::new("python3")
        .args(["-c", "import requests"])
        .status();
    if !installed.is_ok_and(|s| s.success()) {
        eprintln!("the package requests is not installed: nothing to test");
        return;
    }
    let addr = http_server("by requests");
    let server = Setup::python(&format!(
        r#"
import requests
import KSR

session = requests.Session()

def ksr_request_route(msg):
    KSR.sl.sl_send_reply(200, session.get("http://{addr}/", timeout=20).text)
"#
    ))
    .children(1)
    .start();
    assert_eq!(reason(&server), "by requests");
}

#[test]
fn a_thread_hands_its_results_over() {
    let addr = http_server("42");
    let server = Setup::python(&format!(
        r#"
import queue, threading, urllib.request
import KSR

asked, answers = queue.Queue(), queue.Queue()

def asking():
    while __name__ in sys.modules:
        asked.get()
        with urllib.request.urlopen("http://{addr}/", timeout=20) as answer:
            answers.put(answer.read().decode())

import sys

def mod_init():
    return Routes()

class Routes:
    def child_init(self, rank):
        threading.Thread(target=asking, daemon=True).start()

    def ksr_request_route(self, msg):
        asked.put(1)
        try:
            KSR.sl.sl_send_reply(200, answers.get(timeout=20))
        except queue.Empty:
            KSR.sl.sl_send_reply(200, "nothing")
"#
    ))
    .children(1)
    .start();
    assert_eq!(reason(&server), "42");
}

#[test]
fn extensions_in_c_work_after_reloads_too() {
    let script = r#"
import KSR
import _ssl, asyncio, ctypes, dataclasses, decimal, hashlib, json, sqlite3, ssl, zlib

@dataclasses.dataclass
class Row:
    n: "int"

async def later():
    await asyncio.sleep(0.001)
    return 3

def ksr_request_route(msg):
    db = sqlite3.connect(":memory:")
    db.execute("create table t (n)")
    db.execute("insert into t values (1)")
    row = Row(*db.execute("select n from t").fetchone())
    digest = hashlib.sha256(b"x").hexdigest()[:4]
    KSR.sl.sl_send_reply(200, "%d %s %s %d %d" % (
        row.n, digest, decimal.Decimal("0.1") * 3, asyncio.run(later()), zlib.crc32(b"x") > 0))
"#;
    let server = Setup::python(script).children(1).start();
    for _ in 0..3 {
        assert_eq!(reason(&server), "1 2d71 0.3 3 1");
        server.call("app_python.reload", &[]);
    }
    server.call("mem.check", &[]);
}

#[test]
fn other_programs_can_be_run() {
    let server = Setup::python(
        r#"
import os, subprocess
import KSR

def ksr_request_route(msg):
    one = subprocess.run(["echo", "one"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    two = subprocess.check_output("echo two", shell=True, preexec_fn=os.getpid).decode().strip()
    pid = os.fork()
    if pid == 0:
        KSR.sl.sl_send_reply(200, "from the child")
    status = os.waitpid(pid, 0)[1] >> 8
    KSR.sl.sl_send_reply(200, "%s %s %d" % (one, two, status))
"#,
    )
    .children(1)
    .start();
    assert_eq!(reason(&server), "one two 127");
}

/// An environment that has one package of its own, as `pip install` would leave it.
#[test]
fn packages_of_a_virtual_environment_are_found() {
    let dir = std::env::temp_dir().join(format!("olelo-venv-{}", olelo_tests::unique()));
    let made = Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(&dir)
        .status()
        .expect("python3 runs");
    assert!(made.success(), "python3 -m venv (Debian: python3-venv)");
    let packages = std::fs::read_dir(dir.join("lib"))
        .expect("lib")
        .flatten()
        .map(|d| d.path().join("site-packages"))
        .find(|p| p.is_dir())
        .expect("site-packages");
    std::fs::write(packages.join("of_the_venv.py"), "WORD = 'of the venv'\n").expect("written");
    let server = Setup::python(
        "import KSR, of_the_venv\ndef ksr_request_route(msg):\n    KSR.sl.sl_send_reply(200, of_the_venv.WORD)\n",
    )
    .env("VIRTUAL_ENV", &dir.display().to_string())
    .children(1)
    .start();
    assert_eq!(reason(&server), "of the venv");
    drop(server);
    let _ = std::fs::remove_dir_all(&dir);
}
