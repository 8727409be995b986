//! Routing in Squirrel as operators meet it: what a script that goes wrong costs, how it is loaded
//! anew, and how other languages call it.

use olelo_ipc::Value;
use olelo_tests::{Phone, Server, Setup, field};

const SCRIPT: &str = r#"
function grow() { local t = []; while (true) try { t.push(blob(10000)) } catch (e) {} }
function ksr_request_route() {
  local m = KSR.pv.get("$rm")
  if (m == "LOOP") while (true) {}
  if (m == "CATCH") while (true) try { while (true) {} } catch (e) {}
  if (m == "EAT") grow()
  if (m == "HUGE") array(1 << 40)
  if (m == "FAIL") local x = this.nothing
  if (m == "RECURSE") { local f; f = function() { return 1 + f() }; f() }
  if (m == "WRONG") KSR.setflag("many")
  if (m == "PRINT") print("printed by the script\n")
  if (m == "CAUGHT") { try { KSR.x.exit() } catch (e) {} KSR.sl.sl_send_reply(200, "not reached") }
  if (m == "EXIT") system("exit 3")
  KSR.sl.sl_send_reply(200, "OK")
}
"#;

fn status(phone: &mut Phone, method: &str) -> u16 {
    phone
        .ask(&phone.request(method, "sip:test.local", "", ""))
        .status()
}

fn reason(phone: &mut Phone) -> String {
    let reply = phone.ask(&phone.request("OPTIONS", "sip:test.local", "", ""));
    String::from_utf8_lossy(reply.reason()).into_owned()
}

fn reload(server: &Server) -> Result<Vec<Value>, String> {
    server.ctl().call("app_sqlang.reload", &[])
}

#[test]
fn each_kind_of_runaway_gets_500_and_the_worker_goes_on() {
    let server = Setup::squirrel(SCRIPT)
        .cfg("modparam(\"app_sqlang\", \"time_limit\", 100)")
        .cfg("modparam(\"app_sqlang\", \"memory_limit\", 32)")
        .start();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for method in ["LOOP", "CATCH", "EAT", "HUGE", "FAIL", "RECURSE", "WRONG"] {
        assert_eq!(status(&mut phone, method), 500, "{method}");
        assert_eq!(status(&mut phone, "OPTIONS"), 200, "after {method}");
    }
    assert_eq!(server.processes(), before, "no worker was replaced");
}

#[test]
fn an_error_is_logged_with_its_line_and_the_signature() {
    let server = Setup::squirrel(SCRIPT).start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(status(&mut phone, "FAIL"), 500);
    let line = server.wait_for_log("the index 'nothing' does not exist");
    assert!(line.contains("route.nut:9:"), "{line}");
    assert_eq!(status(&mut phone, "WRONG"), 500);
    let line = server.wait_for_log("KSR.setflag(flag: int)");
    assert!(
        line.contains("route.nut:11:") && line.contains("expected an integer, got string \"many\""),
        "{line}"
    );
}

#[test]
fn what_it_prints_is_logged() {
    let server = Setup::squirrel(SCRIPT).cfg("debug=2").start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(status(&mut phone, "PRINT"), 200);
    server.wait_for_log("printed by the script");
    assert_eq!(status(&mut phone, "EXIT"), 200);
}

#[test]
fn an_exit_that_the_script_catches_still_ends_the_route() {
    let server = Setup::squirrel(SCRIPT).start();
    let mut phone = Phone::udp("a", server.addr);
    phone.send(phone.request("CAUGHT", "sip:test.local", "", ""));
    assert_eq!(
        status(&mut phone, "OPTIONS"),
        200,
        "the first reply is the second request's"
    );
    assert!(!server.has_logged("not reached"));
}

/// Says which version it is and whether it remembers calls of another one.
fn version(n: u32) -> String {
    format!(
        "dofile(\"part.nut\")\nif (!(\"calls\" in getroottable())) calls <- 0\n\
         function ksr_request_route() {{ calls++; KSR.sl.sl_send_reply(200, \"v{n} \" + part() + \" \" + calls) }}\n"
    )
}

fn part(n: u32) -> String {
    format!("function part() {{ return \"p{n}\" }}\n")
}

#[test]
fn a_reload_begins_anew_with_what_the_script_imports() {
    let server = Setup::squirrel(&version(1))
        .file("part.nut", &part(1))
        .children(1)
        .start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(reason(&mut phone), "v1 p1 1");
    assert_eq!(reason(&mut phone), "v1 p1 2");
    server.write_file("part.nut", &part(2));
    assert_eq!(reason(&mut phone), "v1 p1 3", "the disk is not read again");
    server.write_script(&version(2));
    let answer = reload(&server).expect("it is loaded");
    assert_eq!(field(&answer[0], "generation"), Some(&Value::Int(2)));
    assert_eq!(reason(&mut phone), "v2 p2 1");
    for p in server.call("app_sqlang.list", &[]) {
        assert_eq!(field(&p, "generation"), Some(&Value::Int(2)), "{p:?}");
    }
    server.write_file("part.nut", &part(3));
    server.call("cfg.rollback", &[]);
    assert_eq!(reason(&mut phone), "v1 p1 1", "imports belong to it");
}

#[test]
fn a_broken_script_is_refused_with_its_line() {
    let server = Setup::squirrel(&version(1))
        .file("part.nut", &part(1))
        .file("bad.nut", "local x = ;")
        .start();
    let mut phone = Phone::udp("a", server.addr);
    for (text, why) in [
        ("function f() {\n  local x = ;\n}\n", "route.nut:2:"),
        ("throw \"not today\"\n", "route.nut:1: not today"),
        ("function other() {}\n", "no function ksr_request_route"),
        ("while (true) {}\n", "used more than"),
        ("local a = array(1 << 33)\n", "MB of memory"),
        ("dofile(\"nonesuch.nut\")\n", "can't read"),
        ("\ndofile(\"bad.nut\")\n", "bad.nut:1:"),
        ("KSR.info(\"too early\")\nthrow 1", "route.nut:2: 1"),
    ] {
        server.write_script(text);
        let e = reload(&server).expect_err(text);
        assert!(e.contains(why), "{text:?} was refused with {e:?}");
        assert!(reason(&mut phone).starts_with("v1 p1 "), "after {text:?}");
    }
    let all = server.call("app_sqlang.api_list", &[]);
    assert!(all.len() > 100);
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
    sqlang_dofile(DIR + "/piece.nut");
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
    .cfg("modparam(\"app_sqlang\", \"load\", \"{dir}/route.nut\")")
    .start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(
        reason(&mut phone),
        "1 2OPTIONS 3OPTIONSb 4OPTIONSbc string OPTIONS file"
    );
    server.wait_for_log("it failed");
    server.wait_for_log("it is missing");
    assert!(server.has_logged("route.nut:7: as wanted"));
}
