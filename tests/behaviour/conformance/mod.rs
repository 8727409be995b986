//! What an engine must do, once for each: every exported function can be called from it and answers
//! as it answers to all others, no argument can harm the server, routes end as they are told to, what
//! runs away is stopped, a reload leaves nothing behind.
//!
//! `suite.lua`, `suite.js`, `suite.py` and `suite.sq` are the same script; what differs between them is
//! in [`Case`]. The native language has another nature and a file of its own.

mod native;

use nix::sys::signal::Signal;
use olelo_ipc::Value;
use olelo_tests::language::{JAVASCRIPT, LUA, Language, PYTHON, SQUIRREL};
use olelo_tests::{Phone, Server, Setup, Transport, field, text};
use std::collections::{BTreeMap, BTreeSet};

/// A language as the suite needs it.
struct Case {
    language: Language,
    script: &'static str,
    /// What is said of the line with `x.y`, which fails.
    fails: &'static str,
    /// A script whose route answers `v` and the version twice, one half from a helper file.
    versioned: fn(&str) -> String,
    /// The helper file: its name, and its text for a version.
    helper: (&'static str, fn(&str) -> String),
    /// Scripts that can't be loaded, with what is said of each.
    broken: &'static [(&'static str, &'static str)],
}

const LUA_CASE: Case = Case {
    language: LUA,
    script: include_str!("suite.lua"),
    fails: "attempt to index",
    versioned: |v| {
        format!(
            "local half = '{v}'\nlocal helper = require('helper')\nfunction ksr_request_route()\n  local n = (seen or 0) + 1\n  seen = n\n  KSR.sl.sl_send_reply(200, 'v' .. half .. helper.half)\nend\n"
        )
    },
    helper: ("helper.lua", |v| format!("return {{ half = '{v}' }}\n")),
    broken: &[
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
    ],
};

const JAVASCRIPT_CASE: Case = Case {
    language: JAVASCRIPT,
    script: include_str!("suite.js"),
    fails: "cannot read property 'y' of null",
    versioned: |v| {
        format!(
            "const half = '{v}';\nconst helper = require('./helper');\nfunction ksr_request_route() {{\n  KSR.sl.sl_send_reply(200, 'v' + half + helper.half);\n}}\n"
        )
    },
    helper: ("helper.js", |v| format!("exports.half = '{v}';\n")),
    broken: &[
        (
            "function ksr_request_route() {\n  var = 1;\n}\n",
            "route.js:2:",
        ),
        ("throw new Error('not today');\n", "route.js:1:"),
        ("throw new Error('not today');\n", "not today"),
        ("function other() {}\n", "no function ksr_request_route"),
        ("while (true);\n", "used more than"),
        ("require('nonesuch');\n", "route.js:1:"),
        ("require('nonesuch');\n", "module 'nonesuch'"),
        ("import x from './nonesuch.js';\n", "nonesuch"),
        (
            "export function other() {}\n",
            "no function ksr_request_route",
        ),
    ],
};

const PYTHON_CASE: Case = Case {
    language: PYTHON,
    script: include_str!("suite.py"),
    fails: "'NoneType' object has no attribute 'y'",
    versioned: |v| {
        format!(
            "import KSR\nimport helper\nhalf = '{v}'\ndef ksr_request_route(msg):\n    KSR.sl.sl_send_reply(200, 'v' + half + helper.half)\n"
        )
    },
    helper: ("helper.py", |v| format!("half = '{v}'\n")),
    broken: &[
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
        (
            "import sys\nsys.exit(0)\n",
            "ends the route (exit) while it is loaded",
        ),
        ("import os\nos._exit(0)\n", "died"),
    ],
};

const SQUIRREL_CASE: Case = Case {
    language: SQUIRREL,
    script: include_str!("suite.sq"),
    fails: "the index 'y' does not exist",
    versioned: |v| {
        format!(
            "local half = \"{v}\";\ndofile(\"helper.nut\");\nfunction ksr_request_route() {{\n  KSR.sl.sl_send_reply(200, \"v\" + half + helper_half);\n}}\n"
        )
    },
    helper: ("helper.nut", |v| format!("::helper_half <- \"{v}\";\n")),
    broken: &[
        (
            "function ksr_request_route() {\n  local = 1;\n}\n",
            "route.sq:2:",
        ),
        ("throw \"not today\";\n", "not today"),
        ("function other() {}\n", "no function ksr_request_route"),
        ("while (true) {}\n", "used more than"),
        ("dofile(\"nonesuch.nut\");\n", "nonesuch"),
        (
            "local bad = compilestring(\"x = ;\", \"piece\");\n",
            "route.sq:1:",
        ),
        ("local a = array(1 << 33);\n", "MB of memory"),
    ],
};

/// The suite as tests of one language.
macro_rules! suite {
    ($($module:ident: $case:expr;)*) => {$(
        mod $module {
            use super::*;

            #[test]
            fn every_function_answers_as_to_lua_and_no_argument_harms_the_server() {
                functions(&$case);
            }
            #[test]
            fn values_cross_the_border_unchanged() {
                values(&$case);
            }
            #[test]
            fn exit_and_drop_leave_the_route_from_wherever_they_are_called() {
                exits(&$case);
            }
            #[test]
            fn what_runs_away_gets_500_and_the_worker_goes_on() {
                runaways(&$case);
            }
            #[test]
            fn an_error_is_logged_with_its_line_and_the_signature() {
                errors(&$case);
            }
            #[test]
            fn a_script_can_be_called_by_name_and_extended_by_pieces() {
                pieces(&$case);
            }
            #[test]
            fn a_million_calls_leave_nothing_behind() {
                memory(&$case);
            }
            #[test]
            fn a_reload_begins_anew_with_imports() {
                reload(&$case);
            }
            #[test]
            fn a_broken_script_is_refused_with_its_line() {
                refused(&$case);
            }
            #[test]
            fn no_message_is_lost_or_routed_by_half_a_script_while_reloading() {
                traffic(&$case);
            }
        }
    )*};
}

suite! {
    lua: LUA_CASE;
    javascript: JAVASCRIPT_CASE;
    python: PYTHON_CASE;
    squirrel: SQUIRREL_CASE;
}

fn start(case: &Case, time_limit: u32, children: usize) -> Server {
    Setup::script(case.language, case.script)
        .cfg(&format!(
            "modparam(\"htable\", \"htable\", \"x=>size=4\")\nmodparam(\"{0}\", \"time_limit\", {time_limit})\nmodparam(\"{0}\", \"memory_limit\", 64)",
            case.language.module
        ))
        .children(children)
        .start()
}

fn status(phone: &mut Phone, method: &str) -> u16 {
    phone
        .ask(&phone.request(method, "sip:test.local", "", ""))
        .status()
}

fn reason(phone: &mut Phone, method: &str) -> String {
    let reply = phone.ask(&phone.request(method, "sip:test.local", "", ""));
    String::from_utf8_lossy(reply.reason()).into_owned()
}

/// Functions whose answers tell ports, ids or the time.
const VOLATILE: [&str; 12] = [
    "KSR.kx.get_callid",
    "KSR.kx.get_cturi",
    "KSR.kx.get_msglen",
    "KSR.kx.get_rcvaddr_sock",
    "KSR.kx.get_rcvadvport",
    "KSR.kx.get_rcvport",
    "KSR.kx.get_srcaddr_sock",
    "KSR.kx.get_srcport",
    "KSR.kx.get_srcuri",
    "KSR.kx.get_timestamp",
    "KSR.kx.gete_cturi",
    "KSR.kx.getw_cturi",
];

/// What each function answered to each set of arguments.
fn answers(case: &Case) -> BTreeMap<String, Vec<String>> {
    let server = start(case, 5000, 1);
    let mut phone = Phone::new("a", server.addr, Transport::Tcp);
    let said = reason(&mut phone, "COUNT");
    let count: usize = said
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    assert!(count > 300, "{said}");
    abuse(&server, count, |i| {
        // A log that is not read in time loses lines.
        server.wait_for_log(&format!("PROBE {i}."));
    });
    let log = server.logged();
    let lines = log.lines().filter_map(|l| {
        let (name, said) = l.split_once("RESULT ")?.1.split_once(" = ")?;
        let said = said.split(" | ").map(str::to_string).collect();
        Some((name.to_string(), said))
    });
    let found: BTreeMap<_, _> = lines.collect();
    assert!(found.len() > count * 9 / 10, "{} of {count}", found.len());
    found
}

fn functions(case: &Case) {
    let here = answers(case);
    if case.language == LUA {
        return;
    }
    let lua = answers(&LUA_CASE);
    let names: BTreeSet<&String> = lua.keys().chain(here.keys()).collect();
    let mut different = Vec::new();
    for name in names {
        if VOLATILE.contains(&name.as_str()) {
            continue;
        }
        let none = Vec::new();
        let (l, h) = (
            lua.get(name).unwrap_or(&none),
            here.get(name).unwrap_or(&none),
        );
        let at = l.iter().zip(h).position(|(a, b)| a != b);
        if let Some(i) = at {
            different.push(format!("{name}, set {i}: {} but {}", l[i], h[i]));
        } else if l.len() != h.len() {
            different.push(format!("{name}: {} answers but {}", l.len(), h.len()));
        }
    }
    assert!(
        different.is_empty(),
        "{} differ from Lua:\n{}",
        different.len(),
        different.join("\n")
    );
}

/// Sends a message for each function and sees that the server is as before. The only UDP worker
/// takes one message after the other: what is answered last was routed last.
fn abuse(server: &Server, count: usize, after: impl Fn(usize)) {
    let before = server.processes();
    let mut phone = Phone::udp("c", server.addr);
    // Each function is abused in a message of its own: one may well end the message (t_relay, replies).
    let mut probe = Phone::udp("b", server.addr);
    for i in 1..=count {
        phone.send(phone.request("INFO", &format!("sip:{i}@test.local"), "", "v=0\r\n"));
        let request = probe.request("OPTIONS", &format!("sip:{i}@test.local"), "", "");
        assert_eq!(probe.ask(&request).status(), 200, "after function {i}");
        after(i);
    }
    assert_eq!(status(&mut probe, "OPTIONS"), 200);
    let after = server.processes();
    let deaths: Vec<String> = server
        .logged()
        .lines()
        .filter(|l| l.contains("ended by") || l.contains("CRITICAL"))
        .map(str::to_string)
        .collect();
    assert_eq!(after, before, "{}", deaths.join("\n"));
    assert_eq!(server.stat("core.panics"), 0);
}

fn values(case: &Case) {
    let server = start(case, 500, 1);
    let mut phone = Phone::udp("a", server.addr);
    let odd: &[u8] = b"caf\xc3\xa9 \xe9\xff\x80 end";
    let mut request = phone
        .request(
            "VALUES",
            "sip:bob@test.local:5070;transport=udp",
            "X-Bytes: @\r\n",
            "",
        )
        .into_bytes();
    let at = request.iter().position(|b| *b == b'@').expect("a sign");
    let at = at
        + request[at..]
            .windows(3)
            .position(|w| w == b"@\r\n")
            .expect("the header");
    request.splice(at..=at, odd.iter().copied());
    phone.send(&request);
    let reply = phone.final_reply();
    assert_eq!(reply.status(), 200);
    let back = [b"X-Back: ", odd, b"\r\n"].concat();
    let came = reply.buf().windows(back.len()).any(|w| w == back);
    assert!(came, "bytes come back: {}", text(&reply));
    server.wait_for_log("VALUE flags");
    let log = server.logged();
    let said = |name: &str| {
        let line = log
            .lines()
            .find_map(|l| l.split_once(&format!("VALUE {name} = ")));
        line.map(|(_, v)| v.to_string()).unwrap_or_default()
    };
    assert_eq!(said("$ru"), "'sip:bob@test.local:5070;'");
    assert_eq!(said("$rU"), "'bob'");
    assert_eq!(said("$Rp"), server.addr.port().to_string());
    assert_eq!(said("$avp(none)"), "null");
    assert!(
        said("avps").starts_with("4294967296'caf"),
        "{}",
        said("avps")
    );
    assert_eq!(said("fraction"), "'0.25'");
    assert!(said("flags").ends_with("truefalse"), "{}", said("flags"));
}

fn exits(case: &Case) {
    let server = start(case, 500, 1);
    let mut phone = Phone::udp("a", server.addr);
    for method in ["EXIT", "CAUGHT"] {
        assert_eq!(status(&mut phone, method), 202, "{method}");
    }
    phone.send(phone.request("DROP", "sip:test.local", "", ""));
    let first = status(&mut phone, "OPTIONS");
    assert_eq!(first, 200, "the next reply is the next request's");
    assert!(!server.has_logged("not reached"), "{}", server.logged());
}

fn runaways(case: &Case) {
    let server = start(case, 100, 2);
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for method in [
        "LOOP", "CATCH", "EAT", "GROW", "FAIL", "RECURSE", "WRONG", "MANYARGS", "THROW", "NEST",
    ] {
        assert_eq!(
            status(&mut phone, method),
            500,
            "{method}\n{}",
            server.logged()
        );
        assert_eq!(status(&mut phone, "OPTIONS"), 200, "after {method}");
    }
    assert_eq!(server.processes(), before, "no worker was replaced");
    server.wait_for_log("used more than 100 ms of CPU (time_limit)");
    server.wait_for_log("nested 32 deep");
}

fn errors(case: &Case) {
    let server = start(case, 500, 1);
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(status(&mut phone, "FAIL"), 500);
    let number = case.script.lines().position(|l| l.contains("return x.y"));
    let place = format!("{}:{}", case.language.file(), number.expect("the line") + 1);
    let line = server.wait_for_log(case.fails);
    assert!(line.contains(&place), "{line}");
    assert_eq!(status(&mut phone, "WRONG"), 500);
    let line = server.wait_for_log("KSR.setflag(flag: int)");
    assert!(
        line.contains("expected an integer, got string \"many\""),
        "{line}"
    );
    assert!(line.contains(&case.language.file()), "{line}");
    assert_eq!(status(&mut phone, "MANYARGS"), 500);
    server.wait_for_log("given 8 arguments to KSR.setflag(flag: int)");
}

fn pieces(case: &Case) {
    let server = start(case, 500, 1);
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(reason(&mut phone, "CALLED"), "called 1ab");
    assert_eq!(reason(&mut phone, "PIECE"), "piece 7");
}

fn memory(case: &Case) {
    let server = start(case, 20_000, 1);
    let mut phone = Phone::udp("a", server.addr);
    let worker = server
        .processes()
        .iter()
        .find(|(_, n)| n.starts_with("udp"))
        .map(|(pid, _)| *pid)
        .expect("a UDP worker");
    let pages = || -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{worker}/statm")).expect("its memory");
        text.split(' ')
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("a number")
    };
    let calls = |phone: &mut Phone| assert_eq!(status(phone, "MANY"), 200);
    for _ in 0..3 {
        calls(&mut phone);
    }
    let before = pages();
    // 100 000 calls each.
    for _ in 0..10 {
        calls(&mut phone);
    }
    let grown = pages().saturating_sub(before) * 4096;
    assert!(grown < 6 << 20, "{grown} bytes more after a million calls");
}

fn versioned(case: &Case) -> Server {
    Setup::script(case.language, &(case.versioned)("1"))
        .file(case.helper.0, &(case.helper.1)("1"))
        .start()
}

fn reload(case: &Case) {
    let server = start(case, 500, 1);
    let mut phone = Phone::udp("a", server.addr);
    for n in 1..4 {
        assert_eq!(reason(&mut phone, "STATE"), format!("state {n}"));
    }
    server.call(&case.language.reload(), &[]);
    assert_eq!(
        reason(&mut phone, "STATE"),
        "state 1",
        "a reload begins anew"
    );

    let server = versioned(case);
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(reason(&mut phone, "OPTIONS"), "v11");
    // A worker never reads for itself: what changed on the disk is not seen before the reload.
    std::fs::write(
        server.dir().join(case.helper.0),
        "this is no text of any language (",
    )
    .expect("written");
    let (udp, _) = server
        .processes()
        .into_iter()
        .find(|(_, n)| n.starts_with("udp"))
        .expect("a worker");
    crate::reload::signal(udp as i32, Signal::SIGKILL);
    server.eventually("another runs", || {
        server.processes().iter().all(|(p, _)| *p != udp && *p != 0)
    });
    for _ in 0..8 {
        assert_eq!(reason(&mut phone, "OPTIONS"), "v11");
    }
    let e = server
        .ctl()
        .call(&case.language.reload(), &[])
        .expect_err("no");
    assert!(e.contains(case.helper.0), "{e}");
    std::fs::write(server.dir().join(case.helper.0), (case.helper.1)("2")).expect("written");
    server.write_script(&(case.versioned)("2"));
    server.call(&case.language.reload(), &[]);
    for _ in 0..8 {
        assert_eq!(reason(&mut phone, "OPTIONS"), "v22");
    }
    let lists = server.call(&format!("{}.list", case.language.rpc), &[]);
    for p in &lists {
        assert_eq!(field(p, "generation"), Some(&Value::Int(2)), "{p:?}");
    }
    server.call("cfg.rollback", &[]);
    assert_eq!(
        reason(&mut phone, "OPTIONS"),
        "v11",
        "imports come back too"
    );
}

fn refused(case: &Case) {
    let server = versioned(case);
    let mut phone = Phone::udp("a", server.addr);
    for (text, why) in case.broken {
        server.write_script(text);
        let e = server
            .ctl()
            .call(&case.language.reload(), &[])
            .expect_err(text);
        assert!(e.contains(why), "{text:?} was refused with {e:?}");
        assert_eq!(reason(&mut phone, "OPTIONS"), "v11");
    }
    let answer = server.call("cfg.generations", &[]);
    assert_eq!(field(&answer[0], "serves"), Some(&Value::Int(1)));
}

fn traffic(case: &Case) {
    let server = versioned(case);
    let helper = server.dir().join(case.helper.0);
    crate::reload::reloads_under_traffic(&server, &case.language.reload(), |v| {
        std::fs::write(&helper, (case.helper.1)(v)).expect("the helper");
        server.write_script(&(case.versioned)(v));
    });
}
