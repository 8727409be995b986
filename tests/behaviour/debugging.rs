//! Watching one call among others, holding a process at a statement, and what a message looks like.

use olelo_ipc::Value;
use olelo_tests::{Phone, Server, Setup, field};

const ROUTES: &str = r#"
request_route {
  $var(n) = 1;
  route(ANSWER);
}
route[ANSWER] {
  append_hf("X-Debug: yes\r\n");
  remove_hf("Max-Forwards");
  $avp(who) = $rU;
  dbg_sip_msg("L_WARN");
  dbg_pv_dump("6", "L_WARN");
  xlogl("L_WARN", "was here\n");
  send_reply("200", "OK $cfg(route) $cfg(line)");
}
"#;

fn server(parameters: &str) -> Server {
    Setup::native(ROUTES)
        .cfg(&format!("loadmodule \"debugger.so\"\n{parameters}"))
        .children(1)
        .start()
}

fn call(phone: &mut Phone, user: &str, call_id: &str) -> String {
    let request = phone.request("OPTIONS", &format!("sip:{user}@test.local"), "", "");
    let own = request
        .lines()
        .find(|l| l.starts_with("Call-ID"))
        .expect("a Call-ID");
    let reply = phone.ask(&request.replace(own, &format!("Call-ID: {call_id}")));
    String::from_utf8_lossy(reply.reason()).into_owned()
}

fn traced(server: &Server, call_id: &str) -> usize {
    let log = server.logged();
    let mark = format!("ci=[{call_id}]");
    log.lines()
        .filter(|l| l.contains("*** cfgtrace:") && l.contains(&mark))
        .count()
}

#[test]
fn one_call_is_watched_and_no_other() {
    let server = server("");
    let mut phone = Phone::udp("alice", server.addr);
    assert_eq!(call(&mut phone, "a", "one"), "OK ANSWER 13");
    server.call("dbg.trace", &["on", "call_id=two"]);
    call(&mut phone, "a", "two");
    call(&mut phone, "a", "three");
    server.eventually("a line per statement", || traced(&server, "two") == 9);
    let line = server.wait_for_log("n=send_reply");
    assert!(line.contains("routes.cfg] l=13 "), "{line}");

    server.call("dbg.trace", &["on", "from=alice", "src=127.0.0.1"]);
    call(&mut phone, "a", "four");
    server.eventually("four's lines", || traced(&server, "four") == 9);
    server.call("dbg.trace", &["on", "src=192.0.2.1"]);
    call(&mut phone, "a", "five");
    server.call("dbg.trace", &["off"]);
    call(&mut phone, "a", "six");
    // Once these are there, so would be the lines of those before, had they been written.
    server.call("dbg.trace", &["on", "call_id=seven"]);
    call(&mut phone, "a", "seven");
    server.eventually("seven's lines", || traced(&server, "seven") == 9);
    for unwatched in ["one", "three", "five", "six"] {
        assert_eq!(traced(&server, unwatched), 0, "{unwatched}");
    }
    let e = server
        .ctl()
        .call("dbg.trace", &["on", "colour=red"])
        .expect_err("a fault");
    assert!(e.contains("can't be watched for"), "{e}");
}

#[test]
fn the_configuration_can_ask_for_lines_from_the_start() {
    let server = server(
        "modparam(\"debugger\", \"cfgtrace\", 1)\nmodparam(\"debugger\", \"log_assign\", 1)\nmodparam(\"debugger\", \"log_level_name\", \"exec\")",
    );
    let mut phone = Phone::udp("alice", server.addr);
    call(&mut phone, "bert", "one");
    server.eventually("a line per statement", || traced(&server, "one") > 9);
    server.wait_for_log("$avp(who)=[bert]");
}

#[test]
fn a_message_and_its_variables_are_shown() {
    let server = server("");
    let mut phone = Phone::udp("alice", server.addr);
    call(&mut phone, "bert", "one");
    server.wait_for_log("- Max-Forwards: 70");
    server.wait_for_log("X-Debug: yes");
    server.wait_for_log("\"$avp(who)\":[\"bert\"]");
    server.wait_for_log("12:was here");
}

#[test]
fn a_process_is_held_looked_into_and_let_go() {
    let server = server("modparam(\"debugger\", \"step_usleep\", 1000)");
    let mut phone = Phone::udp("alice", server.addr);
    let of_udp = server.processes();
    let (pid, _) = of_udp
        .iter()
        .find(|(_, d)| d.contains("udp"))
        .expect("a UDP worker");
    let pid = pid.to_string();
    server.call("dbg.bp", &["on", &pid]);
    phone.send(phone.request("OPTIONS", "sip:bert@test.local", "", ""));
    let held = || {
        let list = server.call("dbg.ls", &[&pid]);
        field(&list[0], "held") == Some(&Value::Int(1))
    };
    server.eventually("the worker is held", held);
    let result = |args: &[&str]| match server.call("dbg.bp", args).first() {
        Some(v) => format!("{:?}", field(v, "result")),
        None => String::new(),
    };
    assert!(result(&["eval", &pid, "user $rU"]).contains("user bert"));
    assert!(result(&["show", &pid]).contains("l=3"));
    result(&["next", &pid]);
    server.eventually("the next statement", || {
        held() && result(&["show", &pid]).contains("l=4")
    });
    result(&["move", &pid]);
    assert_eq!(phone.final_reply().status(), 200);
    let e = server
        .ctl()
        .call("dbg.bp", &["next", &pid])
        .expect_err("nothing is held");
    assert!(e.contains("not held"), "{e}");
}

#[test]
fn levels_of_modules_change_while_running() {
    let server = server(
        "modparam(\"debugger\", \"mod_hash_size\", 5)\nmodparam(\"debugger\", \"mod_level_mode\", 1)\nmodparam(\"debugger\", \"mod_level\", \"xlog=-5\")",
    );
    let mut phone = Phone::udp("alice", server.addr);
    assert_eq!(
        server.call("dbg.get_mod_level", &["xlog"]),
        [Value::Int(-5)]
    );
    call(&mut phone, "a", "one");
    server.call("dbg.set_mod_level", &["xlog", "3"]);
    call(&mut phone, "a", "two");
    server.wait_for_log("was here");
    assert!(
        server
            .ctl()
            .call("dbg.set_mod_level", &["nope", "3"])
            .is_err()
    );
}
