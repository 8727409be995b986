//! A script that goes wrong costs its own message, nothing else.

use olelo_tests::{Phone, Setup};

const SCRIPT: &str = r#"
function ksr_request_route()
  local m = KSR.pv.get("$rm")
  if m == "LOOP" then while true do end end
  if m == "CATCH" then while true do pcall(function() while true do end end) end end
  if m == "EAT" then local t = {} while true do t[#t + 1] = string.rep("x", 1000) .. #t end end
  if m == "FAIL" then local x = nil; x.y = 1 end
  if m == "RECURSE" then local function f() return 1 + f() end f() end
  if m == "WRONG" then KSR.setflag("many") end
  if m == "CAUGHT" then pcall(KSR.x.exit) KSR.sl.sl_send_reply(200, "not reached") end
  if m ~= "CAUGHT" then KSR.sl.sl_send_reply(200, "OK") end
end
"#;

fn status(phone: &mut Phone, method: &str) -> u16 {
    phone
        .ask(&phone.request(method, "sip:test.local", "", ""))
        .status()
}

#[test]
fn each_kind_of_runaway_gets_500_and_the_worker_goes_on() {
    let server = Setup::lua(SCRIPT)
        .cfg("modparam(\"app_lua\", \"time_limit\", 100)")
        .start();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for method in ["LOOP", "CATCH", "EAT", "FAIL", "RECURSE", "WRONG"] {
        assert_eq!(status(&mut phone, method), 500, "{method}");
        assert_eq!(status(&mut phone, "OPTIONS"), 200, "after {method}");
    }
    assert_eq!(server.processes(), before, "no worker was replaced");
}

#[test]
fn an_error_is_logged_with_its_line_and_the_signature() {
    let server = Setup::lua(SCRIPT).start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(status(&mut phone, "FAIL"), 500);
    assert!(
        server
            .wait_for_log("attempt to index")
            .contains("route.lua:7:")
    );
    assert_eq!(status(&mut phone, "WRONG"), 500);
    let line = server.wait_for_log("KSR.setflag(flag: int)");
    assert!(
        line.contains("route.lua:9:") && line.contains("expected an integer, got string \"many\""),
        "{line}"
    );
}

#[test]
fn an_exit_that_the_script_catches_still_ends_the_route() {
    let server = Setup::lua(SCRIPT).start();
    let mut phone = Phone::udp("a", server.addr);
    phone.send(phone.request("CAUGHT", "sip:test.local", "", ""));
    assert_eq!(
        status(&mut phone, "OPTIONS"),
        200,
        "the first reply is the second request's"
    );
    assert!(!server.has_logged("not reached"));
}
