//! Scripts that abuse their interpreter and the process around it. Each costs its own message, at
//! worst its worker: the next messages are served, by a replacement where the worker died.

use olelo_tests::{Phone, Server, Setup};
use std::time::Duration;

/// Every method is one abuse; all others are answered.
const SCRIPT: &str = r#"
local ffi = require("ffi")
ffi.cdef [[ int fork(void); void exit(int); void _exit(int); int raise(int); void abort(void); int getpid(void); ]]
local abuse = {}
leaked = {}

function abuse.COUNT() local n = 0 while true do n = n + 1 end end
function abuse.FOR() local n = 0 for i = 1, 1e15 do n = n + i % 7 end KSR.info(n) end
function abuse.XPCALL() while true do xpcall(function() while true do end end, function() while true do end end) end end
function abuse.WRAP() local f = coroutine.wrap(function() while true do end end) f() end
function abuse.RESUME() while true do coroutine.resume(coroutine.create(function() while true do end end)) end end
function abuse.YIELD() local f = coroutine.wrap(function() while true do coroutine.yield() end end) while true do f() end end
function abuse.INDEX() local t = setmetatable({}, { __index = function() while true do end end }) return t.x end
function abuse.UNHOOK() while true do pcall(function() while true do debug.sethook() end end) end end
function abuse.GOTO() ::again:: goto again end

function abuse.REP() return ("x"):rep(1e9) end
function abuse.DOUBLE() local s = "x" while true do s = s .. s end end
function abuse.TABLE() local t = {} for i = 1, 1e9 do t[i] = i end end
function abuse.CONCAT() local t = {} for i = 1, 1e5 do t[i] = ("x"):rep(1e4) end return table.concat(t) end
function abuse.THREADS() local t = {} while true do t[#t + 1] = coroutine.create(function() end) end end
function abuse.BUFFER() local b = require("string.buffer").new() while true do b:put(("x"):rep(1e6)) end end

function abuse.RECURSE() local function f() return 1 + f() end return f() end
function abuse.PCALLS() local function f() return pcall(f) end while true do f() end end
function abuse.GSUB() local function f() return (("x"):gsub("x", f)) end return f() end
function abuse.SORT() local t = {} for i = 1, 1000 do t[i] = i % 13 end table.sort(t, function() return true end) error("x") end
function abuse.NESTED() local p = ("("):rep(1e5) return ("x"):find(p) end

function abuse.TABLEERROR() error({ code = 1 }) end
function abuse.NILERROR() error(nil) end
function abuse.OSEXIT() os.exit() end
function abuse.OSEXIT0() os.exit(0, true) end
function abuse.EXECUTE() os.execute("kill -9 $PPID") end
function abuse.SEGV() return ffi.cast("int *", 16)[0] end
function abuse.WRITE() ffi.cast("int *", 16)[0] = 1 end
function abuse.EXIT() ffi.C.exit(0) end
function abuse.UEXIT() ffi.C._exit(3) end
function abuse.ABORT() ffi.C.abort() end
function abuse.RAISE() ffi.C.raise(9) end
function abuse.FORK() ffi.C.fork() error("forked") end
function abuse.FORKLOOP() ffi.C.fork() while true do end end

function ksr_request_route()
  local f = abuse[KSR.pv.get("$rm")]
  if f then f() end
  KSR.sl.sl_send_reply(200, "OK")
end
"#;

/// What ends with 500 and leaves the worker alive.
const CAUGHT: &[&str] = &[
    "COUNT",
    "FOR",
    "XPCALL",
    "WRAP",
    "RESUME",
    "YIELD",
    "INDEX",
    "UNHOOK",
    "GOTO",
    "REP",
    "DOUBLE",
    "TABLE",
    "CONCAT",
    "THREADS",
    "BUFFER",
    "RECURSE",
    "PCALLS",
    "GSUB",
    "SORT",
    "NESTED",
    "TABLEERROR",
    "NILERROR",
    "OSEXIT",
    "OSEXIT0",
    "FORK",
    "FORKLOOP",
];

/// What ends the worker.
const DEADLY: &[&str] = &[
    "EXECUTE", "SEGV", "WRITE", "EXIT", "UEXIT", "ABORT", "RAISE",
];

fn server() -> Server {
    Setup::lua(SCRIPT)
        .cfg("modparam(\"app_lua\", \"time_limit\", 100)\nmodparam(\"app_lua\", \"memory_limit\", 64)")
        .start()
}

fn status(phone: &mut Phone, method: &str) -> u16 {
    phone
        .ask(&phone.request(method, "sip:test.local", "", ""))
        .status()
}

#[test]
fn what_the_interpreter_can_catch_gets_500_and_the_worker_goes_on() {
    let server = server();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for method in CAUGHT {
        let started = std::time::Instant::now();
        phone.send(phone.request(method, "sip:test.local", "", ""));
        let got = phone
            .receive_within(Duration::from_secs(5))
            .map(|m| m.status());
        eprintln!("{method}: {got:?} in {:?}", started.elapsed());
        let now = server.processes();
        if now != before {
            eprintln!("   PROCESSES CHANGED");
        }
    }
    eprintln!("{}", server.logged());
    assert_eq!(status(&mut phone, "OPTIONS"), 200);
    assert_eq!(server.processes(), before, "no worker was replaced");
}

#[test]
fn what_kills_its_worker_costs_that_worker_only() {
    let server = server();
    let mut phone = Phone::udp("a", server.addr);
    for method in DEADLY {
        let started = std::time::Instant::now();
        phone.send(phone.request(method, "sip:test.local", "", ""));
        let got = phone
            .receive_within(Duration::from_secs(1))
            .map(|m| m.status());
        eprintln!("{method}: {got:?} in {:?}", started.elapsed());
        assert_eq!(status(&mut phone, "OPTIONS"), 200, "after {method}");
    }
    eprintln!("{}", server.logged());
}
