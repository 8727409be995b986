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
function abuse.FINALISER()
  local p = newproxy(true)
  getmetatable(p).__gc = function() while true do end end
  p = nil
  collectgarbage()
end
function abuse.PATTERN() return (("a"):rep(40)):find((".-"):rep(20) .. "b") end
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

function abuse.NEST() KSR.app_lua.run("ksr_nest") end
function ksr_nest() return KSR.app_lua.run("ksr_nest") end

function abuse.TABLEERROR() error({ code = 1 }) end
function abuse.LONGERROR() error(("x"):rep(1e7)) end
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
function abuse.LEAK() for i = 1, 100 do leaked[#leaked + 1] = ("x"):rep(1e5) .. #leaked end end

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
    "LONGERROR",
    "OSEXIT",
    "OSEXIT0",
    "FORK",
    "FORKLOOP",
];

/// What Lua can't interrupt: the worker ends itself, or gets away with 500.
const ENDLESS: &[&str] = &["XPCALL", "FINALISER", "PATTERN"];

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
        assert_eq!(status(&mut phone, method), 500, "{method}");
        assert_eq!(status(&mut phone, "OPTIONS"), 200, "after {method}");
    }
    assert_eq!(server.processes(), before, "no worker was replaced");
}

#[test]
fn what_kills_its_worker_costs_that_worker_only() {
    let server = server();
    let mut phone = Phone::udp("a", server.addr);
    for method in DEADLY {
        phone.send(phone.request(method, "sip:test.local", "", ""));
        server.wait_for_log(&format!("it worked on: {method} "));
        assert_eq!(status(&mut phone, "OPTIONS"), 200, "after {method}");
    }
    server.eventually("all run again", || {
        server.processes().iter().all(|(p, _)| *p != 0)
    });
}

#[test]
fn what_no_hook_can_stop_ends_with_its_worker() {
    let server = server();
    let mut phone = Phone::udp("a", server.addr);
    for method in ENDLESS {
        phone.send(phone.request(method, "sip:test.local", "", ""));
        let died = format!("it worked on: {method} ");
        server.eventually(&format!("an end of {method}"), || {
            let reply = phone.receive_within(Duration::from_millis(20));
            server.has_logged(&died) || reply.is_some_and(|r| r.status() == 500)
        });
        assert_eq!(status(&mut phone, "OPTIONS"), 200, "after {method}");
    }
    server.wait_for_log("ended by SIGXCPU");
}

#[test]
fn a_script_that_calls_itself_through_the_server_ends() {
    let server = server();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(status(&mut phone, "NEST"), 500);
    server.wait_for_log("nested 32 deep");
    assert_eq!(status(&mut phone, "OPTIONS"), 200);
}

#[test]
fn the_child_of_a_script_that_forks_does_nothing() {
    let server = server();
    let workers = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for _ in 0..10 {
        assert_eq!(status(&mut phone, "FORK"), 500);
    }
    for (pid, name) in &workers[1..] {
        server.eventually("no child of a worker runs", || {
            running_children(*pid).is_empty()
        });
        assert!(
            std::path::Path::new(&format!("/proc/{pid}")).exists(),
            "{name}"
        );
    }
    assert_eq!(
        status(&mut phone, "OPTIONS"),
        200,
        "no second reply came first"
    );
}

/// Children of a process that have not ended.
fn running_children(pid: i64) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let alive = |c: &&str| {
        let stat = std::fs::read_to_string(format!("/proc/{c}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|s| !s.is_empty() && !s.starts_with('Z'))
    };
    let children = children.unwrap_or_default();
    children
        .split(' ')
        .filter(|c| !c.is_empty())
        .filter(alive)
        .map(str::to_string)
        .collect()
}

#[test]
fn a_script_that_keeps_more_and_more_is_begun_anew() {
    let server = server();
    let mut phone = Phone::udp("a", server.addr);
    let mut failed = 0;
    for _ in 0..60 {
        failed += i32::from(status(&mut phone, "LEAK") == 500);
    }
    // 60 times 10 MB, where two workers may hold 64 MB each.
    assert!((2..30).contains(&failed), "{failed} of 60 failed");
    assert_eq!(status(&mut phone, "OPTIONS"), 200);
}

/// Each method is one abuse of the native language, whose bounds multiply: rounds within rounds,
/// calls that fork, values that double.
const ROUTES: &str = r#"
request_route {
    if (method == "LOOP") { while (1) { $var(i) = $var(i) + 1; } }
    if (method == "LOOPS") { while (1) { while (1) { while (1) { while (1) { $var(i) = 1; } } } } }
    if (method == "FORKS") { route(FORKS); }
    if (method == "DOUBLE") {
        $var(x) = "xxxxxxxxxx";
        while (1) { $var(x) = $var(x) + $var(x); $avp(y) = "$var(x)$var(x)$var(x)$var(x)"; }
    }
    if (method == "RECURSE") { route(RECURSE); }
    if (method == "DEEP") { route(DEEP); }
    sl_send_reply("200", "OK");
}
route[FORKS] { route(FORKS); route(FORKS); }
route[RECURSE] { route(RECURSE); }
route[DEEP] { if (1) { if (1) { if (1) { switch (1) { case 1: while (1) { if (!route(DEEP)) break; } } } } } }
"#;

#[test]
fn native_routes_that_multiply_run_out_of_time() {
    let server = Setup::native(ROUTES)
        .cfg("max_while_loops=0\nmax_recursive_level=4000\nmodparam(\"app_native\", \"time_limit\", 200)")
        .start();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for method in ["LOOP", "LOOPS", "FORKS", "DOUBLE"] {
        assert_eq!(status(&mut phone, method), 500, "{method}");
        assert_eq!(status(&mut phone, "OPTIONS"), 200, "after {method}");
    }
    assert_eq!(
        status(&mut phone, "RECURSE"),
        200,
        "left out at the deepest"
    );
    let deep = status(&mut phone, "DEEP");
    assert!([200, 500].contains(&deep), "it ends: {deep}");
    server.wait_for_log("more than 200 ms of CPU (time_limit)");
    server.wait_for_log("a value of more than 1048576 bytes");
    assert_eq!(server.processes(), before, "no worker was replaced");
}

#[test]
fn an_engine_that_was_stopped_beside_the_one_that_routes_is_begun_anew() {
    let script = r#"
local late = 0
function ksr_request_route()
  if KSR.is_INFO() then pcall(KSR.app_sqlang.run, "spike") end
  local fine = pcall(KSR.app_sqlang.run, "small")
  KSR.sl.sl_send_reply(200, fine and "fine" or "dead")
end
"#;
    let server = Setup::lua(script)
        .file(
            "beside.sq",
            "function spike() { local a = []; a.resize(100000000); }\nfunction small() { return 1; }\n",
        )
        .cfg("loadmodule \"app_sqlang.so\"\nmodparam(\"app_sqlang\", \"load\", \"{dir}/beside.sq\")\nmodparam(\"app_sqlang\", \"memory_limit\", 64)")
        .children(1)
        .start();
    let mut phone = Phone::udp("a", server.addr);
    for _ in 0..2 {
        assert_eq!(status(&mut phone, "INFO"), 200);
        let reply = phone.ask(&phone.request("OPTIONS", "sip:test.local", "", ""));
        assert_eq!(reply.reason(), b"fine");
    }
}
