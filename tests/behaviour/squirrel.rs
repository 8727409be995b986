//! What is Squirrel's own: its `print`, its sizes, commands of the system, and the names by which the native
//! language calls it.

use olelo_tests::language::SQUIRREL;
use olelo_tests::{Phone, Setup};

const SCRIPT: &str = r#"
function grow() { local t = []; while (true) try { t.push(blob(10000)) } catch (e) {} }
function ksr_request_route() {
  local m = KSR.pv.get("$rm")
  if (m == "EAT") grow()
  if (m == "HUGE") array(1 << 40)
  if (m == "NEGATIVE") blob().resize(-1)
  if (m == "MATCH") { local s = format("%99d%99d", 1, 1); while (true) regexp("( *)*( *)*( *)*x").search(s) }
  if (m == "PRINT") print("printed by the script\n")
  if (m == "SYSTEM") KSR.sl.sl_send_reply(202, "exit " + (system("exit 3") >> 8))
  KSR.sl.sl_send_reply(200, "OK")
}
"#;

fn status(phone: &mut Phone, method: &str) -> u16 {
    phone
        .ask(&phone.request(method, "sip:test.local", "", ""))
        .status()
}

#[test]
fn no_size_and_no_native_loop_costs_more_than_its_message() {
    let server = Setup::script(SQUIRREL, SCRIPT)
        .cfg("modparam(\"app_sqlang\", \"time_limit\", 100)")
        .cfg("modparam(\"app_sqlang\", \"memory_limit\", 32)")
        .start();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for method in ["EAT", "HUGE", "NEGATIVE", "MATCH"] {
        assert_eq!(status(&mut phone, method), 500, "{method}");
        assert_eq!(status(&mut phone, "OPTIONS"), 200, "after {method}");
    }
    assert_eq!(server.processes(), before, "no worker was replaced");
    server.wait_for_log("more than 32 MB of memory (memory_limit)");
}

#[test]
fn what_it_prints_is_logged_and_commands_run() {
    let server = Setup::script(SQUIRREL, SCRIPT).cfg("debug=2").start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(status(&mut phone, "PRINT"), 200);
    server.wait_for_log("printed by the script");
    let reply = phone.ask(&phone.request("SYSTEM", "sip:test.local", "", ""));
    assert_eq!(reply.reason(), b"exit 3");
}

#[test]
fn the_native_language_calls_it() {
    let server = Setup::native(
        r#"
request_route {
    sqlang_run("one");
    sqlang_run("two", "$rm");
    sqlang_run("three", "$rm", "b");
    sqlang_run("four", "$rm", "b", "c");
    sqlang_dostring("got <- got + \" string\"");
    sqlang_runstring("got <- got + \" $rm\"");
    sqlang_dofile("piece.nut");
    if (!sqlang_run("fails")) { xlog("it failed\n"); }
    if (!sqlang_run("nonesuch")) { xlog("it is missing\n"); }
    sqlang_run("answer");
}"#,
    )
    .file(
        "route.nut",
        r#"
got <- ""
function one() { got = "1" }
function two(a) { got += " 2" + a }
function three(a, b) { got += " 3" + a + b }
function four(a, b, c) { got += " 4" + a + b + c }
function fails() { throw "as wanted" }
function answer() { KSR.sl.sl_send_reply(200, got) }
"#,
    )
    .file("piece.nut", "got += \" file\"")
    .cfg("loadmodule \"app_sqlang.so\"")
    .cfg("modparam(\"app_sqlang\", \"load\", \"route.nut\")")
    .start();
    let mut phone = Phone::udp("a", server.addr);
    let reply = phone.ask(&phone.request("OPTIONS", "sip:test.local", "", ""));
    assert_eq!(
        String::from_utf8_lossy(reply.reason()),
        "1 2OPTIONS 3OPTIONSb 4OPTIONSbc string OPTIONS file"
    );
    server.wait_for_log("it failed");
    server.wait_for_log("it is missing");
    assert!(server.has_logged("route.nut:7: as wanted"));
}
