//! The native language: what `olelo -c` finds in it, how it fails, how it reloads.

use crate::reload::{ask, reloads_under_traffic};
use olelo_ipc::Value;
use olelo_tests::{Phone, Setup, field, program, unique};
use std::process::Command;

/// What the check says of these routes, and whether it found them good.
fn check(routes: &str) -> (bool, String) {
    let path = std::env::temp_dir().join(format!("olelo-check-{}.cfg", unique()));
    let modules: String = ["tm", "sl", "pv", "xlog", "textops", "rr"]
        .iter()
        .map(|m| format!("loadmodule \"{m}.so\"\n"))
        .collect();
    std::fs::write(&path, format!("{modules}{routes}")).expect("a file");
    let out = Command::new(program("olelo"))
        .args(["-c", "-f"])
        .arg(&path)
        .output()
        .expect("olelo runs");
    let _ = std::fs::remove_file(&path);
    (
        out.status.success(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

#[test]
fn the_check_finds_what_is_wrong_in_routes() {
    // Lines count behind the six of the modules.
    for (routes, wanted) in [
        (
            "request_route {\n  sl_send_repyl(\"200\", \"OK\");\n}",
            &[":8:3: error", "did you mean sl_send_reply?"][..],
        ),
        (
            "request_route {\n  t_on_failure();\n}",
            &[":8:3: error", "is given 0 arguments", "t_on_failure(name)"],
        ),
        (
            "request_route {\n  if (mf_process_maxfwd_header(\"10\")) exit;\n}",
            &[":8:7: error", "loadmodule \"maxfwd.so\""],
        ),
        (
            "request_route {\n  xlog(\"$rx\");\n  if ($rx == 1) exit;\n}",
            &[":9:7: error", "did you mean $r"],
        ),
        (
            "request_route {\n  $rm = \"BYE\";\n}",
            &[":8:3: error", "can't be changed"],
        ),
        (
            "request_route {\n  route(RELAYX);\n}\nroute[RELAY] {\n  exit;\n}",
            &[
                ":8:9: error",
                "there is no route[RELAYX]",
                "did you mean route[RELAY]?",
                "warning: nothing calls route[RELAY]",
            ],
        ),
        (
            "request_route {\n  t_on_failure(\"FOUL\");\n}\nfailure_route[FAIL] {\n  exit;\n}",
            &[
                ":8:16: warning",
                "no failure_route[FOUL]",
                "did you mean FAIL?",
            ],
        ),
        (
            "request_route {\n  exit;\n  drop;\n}",
            &[":9:3: warning", "never reached"],
        ),
        (
            "request_route { exit; }\nonsend_route {\n  t_relay();\n}",
            &[":9:3: error", "t_relay can't be called in onsend_route"],
        ),
        (
            "request_route {\n  if ($ru =~ \"a(b\") exit;\n}",
            &[":8:14: error", "no regular expression"],
        ),
        (
            "request_route {\n  t_reply(\"abc\", \"x\");\n}",
            &[":8:11: error", "is a number, not \"abc\""],
        ),
    ] {
        let (good, said) = check(routes);
        for w in wanted {
            assert!(said.contains(w), "{routes}\nwanted {w:?} in\n{said}");
        }
        let only_warned = !wanted.iter().any(|w| w.contains("error"));
        assert_eq!(good, only_warned, "{said}");
    }
    let (good, said) = check("request_route {\n  sl_send_reply(\"200\", \"OK\");\n}");
    assert!(good && !said.contains("warning"), "{said}");
}

#[test]
fn a_failing_statement_is_logged_with_its_place_and_costs_nothing_else() {
    let server = Setup::native(
        "request_route {\n  route(A);\n  send_reply(\"200\", \"$var(x)\");\n}\nroute[A] {\n  $var(x) = 1;\n  $var(n) = 0;\n  $var(x) = 7 / $var(n);\n  $var(x) = $var(x) + 1;\n  while (1) { $var(n) = $var(n) + 1; }\n  route(\"NO\" + $var(n));\n}",
    )
    .start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(ask(&mut phone), "2");
    let line = server.wait_for_log("division by 0");
    assert!(
        line.contains("routes.cfg:8:")
            && line.contains("request_route > route[A] (")
            && line.contains("routes.cfg:2)"),
        "{line}"
    );
    assert!(
        server
            .wait_for_log("more than 100 rounds")
            .contains("routes.cfg:10:")
    );
    assert!(
        server
            .wait_for_log("there is no route[NO100]")
            .contains("routes.cfg:11:")
    );
}

#[test]
fn routes_that_call_themselves_end() {
    let server =
        Setup::native("request_route {\n  route(A);\n  send_reply(\"200\", \"out\");\n}\nroute[A] {\n  $var(d) = $var(d) + 1;\n  route(A);\n}").start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(ask(&mut phone), "out");
    server.wait_for_log("nested 256 deep");
}

/// Every way a block can end.
#[test]
fn exit_drop_and_return_end_what_they_should() {
    let server = Setup::native(
        r#"
request_route {
  if ($rU == "exit") { route(EXIT); }
  if ($rU == "zero") { route(ZERO); }
  if ($rU == "false") { if (!route(FALSE)) { send_reply("200", "false $rc"); exit; } }
  if ($rU == "value") { route(VALUE); send_reply("200", "value $rc"); exit; }
  if ($rU == "drop") { route(DROP); }
  if ($rU == "event") { sl_send_reply("200", "event"); xlog("L_WARN", "after the event\n"); exit; }
  send_reply("200", "end $rU");
}
route[EXIT] { send_reply("200", "in exit"); exit; }
route[ZERO] { send_reply("200", "in zero"); return 0; }
route[FALSE] { return -3; }
route[VALUE] { return 7; }
route[DROP] { send_reply("200", "in drop"); drop; }
event_route[sl:filtered-ack] { exit; }
event_route[sl:local-response] { if ($rU == "event") { exit; } }
"#,
    )
    .start();
    let mut phone = Phone::udp("a", server.addr);
    for (user, want) in [
        ("exit", "in exit"),
        ("zero", "in zero"),
        ("false", "false -3"),
        ("value", "value 7"),
        ("drop", "in drop"),
        ("event", "event"),
        ("none", "end none"),
    ] {
        let request = phone.request("OPTIONS", &format!("sip:{user}@test.local"), "", "");
        let reply = phone.ask(&request);
        assert_eq!(String::from_utf8_lossy(reply.reason()), want, "{user}");
    }
    server.wait_for_log("after the event");
}

fn routes(version: &str) -> String {
    format!(
        "#!define WHO \"v{version}\"\nrequest_route {{\n  sl_send_reply(\"200\", WHO \"{version}\");\n}}\n# {}\n",
        "padding ".repeat(200)
    )
}

#[test]
fn a_reload_takes_up_routes_defines_and_includes() {
    let server = Setup::native(&routes("1")).children(4).start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(ask(&mut phone), "v11");
    server.write_script(&routes("2"));
    let answer = server.call("cfg.reload_routes", &[]);
    assert_eq!(field(&answer[0], "generation"), Some(&Value::Int(2)));
    for _ in 0..50 {
        assert_eq!(ask(&mut phone), "v22");
    }
    server.call("cfg.rollback", &[]);
    assert_eq!(ask(&mut phone), "v11");
}

#[test]
fn a_reload_sets_parameters_that_can_change() {
    let text = |gw: &str| {
        format!(
            "pstn.gw = \"{gw}\" desc \"gateway\"\nrequest_route {{\n  sl_send_reply(\"200\", \"$sel(cfg_get.pstn.gw)\");\n}}\n"
        )
    };
    let server = Setup::native(&text("one")).start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(ask(&mut phone), "one");
    server.write_script(&text("two"));
    server.call("cfg.reload_routes", &[]);
    assert_eq!(ask(&mut phone), "two");
    // What an operator has set stays until the file says something new.
    server.call("cfg.sets", &["pstn", "gw", "three"]);
    server.call("cfg.reload_routes", &[]);
    assert_eq!(ask(&mut phone), "three");
    server.call("cfg.rollback", &["1"]);
    assert_eq!(ask(&mut phone), "one");
}

#[test]
fn a_reload_of_what_can_not_serve_is_refused_with_the_reason() {
    let server = Setup::native(&routes("1")).start();
    let mut phone = Phone::udp("a", server.addr);
    for (text, why) in [
        ("request_route {\n  nonesuch();\n}\n", "routes.cfg:2:3"),
        ("request_route {\n  if (\n}\n", "routes.cfg:3:1"),
        ("route[A] {\n  exit;\n}\n", "no request_route"),
        (
            "children=7\nrequest_route {\n  exit;\n}\n",
            "children: 2 is now",
        ),
        (
            "loadmodule \"tmrec.so\"\nrequest_route {\n  exit;\n}\n",
            "tmrec",
        ),
        (
            "modparam(\"usrloc\", \"hash_size\", 5)\nrequest_route {\n  exit;\n}\n",
            "modparam usrloc hash_size: 5 is new",
        ),
    ] {
        server.write_script(text);
        let e = server.ctl().call("cfg.reload_routes", &[]).expect_err(text);
        assert!(e.contains(why), "{text:?} was refused with {e:?}");
        assert_eq!(ask(&mut phone), "v11");
    }
    let answer = server.call("cfg.generations", &[]);
    assert_eq!(field(&answer[0], "serves"), Some(&Value::Int(1)));
}

#[test]
fn no_message_is_lost_or_routed_by_half_a_generation_while_reloading() {
    let server = Setup::native(&routes("1")).children(2).start();
    reloads_under_traffic(&server, "cfg.reload_routes", |v| {
        server.write_script(&routes(v))
    });
}

#[test]
fn native_routes_call_lua_and_lua_runs_beside_native_events() {
    let dir = std::env::temp_dir().join(format!("olelo-lua-{}", unique()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let script = dir.join("beside.lua");
    std::fs::write(
        &script,
        "function name(a) KSR.pv.sets('$var(n)', 'lua ' .. a); return 1 end\nfunction stop() KSR.x.exit() end",
    )
    .expect("a script");
    let server = Setup::native(
        "request_route {\n  lua_run(\"name\", \"$rU\");\n  send_reply(\"200\", \"$var(n)\");\n  lua_run(\"stop\");\n  xlog(\"L_ERR\", \"goes on\\n\");\n}",
    )
    .cfg(&format!(
        "loadmodule \"app_lua.so\"\nmodparam(\"app_lua\", \"load\", \"{}\")",
        script.display()
    ))
    .start();
    let mut phone = Phone::udp("a", server.addr);
    let request = phone.request("OPTIONS", "sip:zed@test.local", "", "");
    assert_eq!(phone.ask(&request).reason(), b"lua zed");
    assert!(!server.has_logged("goes on"));
    let _ = std::fs::remove_dir_all(&dir);

    let server = Setup::lua("function ksr_request_route() KSR.sl.sl_send_reply(200, 'OK') end")
        .cfg("event_route[sl:local-response] {\n  xlog(\"L_WARN\", \"native hears $rm\\n\");\n}")
        .start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(ask(&mut phone), "OK");
    server.wait_for_log("native hears OPTIONS");
}
