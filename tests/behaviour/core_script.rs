//! What scripts ask of the core: connections, branches, Vias, and the core's own events.

use olelo_ipc::Value;
use olelo_sip::HeaderName;
use olelo_tests::{PATIENCE, Phone, Setup, Transport, field, header, text};
use std::io::Read;
use std::net::{TcpListener, TcpStream};

#[test]
fn a_connection_is_closed_after_the_reply_where_the_script_says_so() {
    let server = Setup::lua(
        "function ksr_request_route() if KSR.is_OPTIONS() then KSR.set_reply_close() end KSR.sl.sl_send_reply(200, 'OK') end",
    )
    .start();
    for (method, closes) in [("OPTIONS", true), ("INFO", false)] {
        let helper = Phone::udp("a", server.addr);
        let mut s = TcpStream::connect(server.addr).expect("a connection");
        s.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = helper
            .request(method, "sip:test.local", "", "")
            .replace("SIP/2.0/UDP", "SIP/2.0/TCP");
        std::io::Write::write_all(&mut s, request.as_bytes()).expect("sent");
        let mut got = Vec::new();
        let mut buf = [0; 4096];
        while !got.ends_with(b"\r\n\r\n") {
            let n = s.read(&mut buf).expect("a reply");
            assert_ne!(n, 0, "{method}");
            got.extend_from_slice(&buf[..n]);
        }
        assert!(got.starts_with(b"SIP/2.0 200"), "{method}");
        if closes {
            assert_eq!(s.read(&mut buf).expect("the end"), 0);
        } else {
            // It still serves.
            std::io::Write::write_all(&mut s, request.as_bytes()).expect("sent");
            assert_ne!(s.read(&mut buf).expect("another reply"), 0);
        }
    }
}

#[test]
fn no_connection_is_opened_where_the_script_forbids_it() {
    let server = Setup::lua(
        r#"function ksr_request_route()
            if KSR.is_INFO() then KSR.set_forward_no_connect() end
            KSR.tm.t_relay()
        end"#,
    )
    .start();
    let callee = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let uri = format!(
        "sip:b@{};transport=tcp",
        callee.local_addr().expect("an address")
    );
    let mut phone = Phone::new("a", server.addr, Transport::Tcp);
    phone.send(phone.request("INFO", &uri, "", ""));
    server.wait_for_log("none may be opened");
    // Without that wish the next one opens it.
    phone.send(phone.request("OPTIONS", &uri, "", ""));
    let (mut s, _) = callee.accept().expect("a connection");
    s.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut buf = [0; 4096];
    let n = s.read(&mut buf).expect("a request");
    assert!(
        buf[..n].starts_with(b"OPTIONS "),
        "{}",
        String::from_utf8_lossy(&buf[..n])
    );
}

#[test]
fn a_request_has_no_more_branches_than_max_branches() {
    let server = Setup::lua(
        r#"function ksr_request_route()
            local n = 0
            for i = 1, 10 do
                if KSR.corex.append_branch_uri('sip:b' .. i .. '@127.0.0.1') > 0 then n = n + 1 end
            end
            KSR.sl.sl_send_reply(200, 'added ' .. n)
        end"#,
    )
    .cfg("max_branches=4")
    .start();
    let mut phone = Phone::udp("a", server.addr);
    let reply = phone.ask(&phone.request("OPTIONS", "sip:test.local", "", ""));
    // The request URI is one of the four.
    assert!(
        text(&reply).starts_with("SIP/2.0 200 added 3\r\n"),
        "{}",
        text(&reply)
    );
}

#[test]
fn a_large_request_leaves_udp() {
    let server = Setup::lua("function ksr_request_route() KSR.tm.t_relay() end")
        .cfg("udp_mtu=800\nudp_mtu_try_proto=TCP")
        .start();
    let callee = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let uri = format!("sip:b@{}", callee.local_addr().expect("an address"));
    let mut phone = Phone::udp("a", server.addr);
    phone.send(phone.request("INFO", &uri, "", &"x".repeat(900)));
    let (mut s, _) = callee.accept().expect("a connection");
    s.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut buf = [0; 4096];
    let n = s.read(&mut buf).expect("a request");
    let got = String::from_utf8_lossy(&buf[..n]).into_owned();
    assert!(got.contains("\r\nVia: SIP/2.0/TCP "), "{got}");
}

#[test]
fn our_via_has_what_the_script_wants() {
    let server = Setup::lua(
        r#"function ksr_request_route()
            KSR.pv.sets('$xavp(via=>one)', '1')
            KSR.pv.sets('$xavp(via[0]=>two)', 'zwei')
            KSR.corex.via_add_srvid(1)
            KSR.corex.via_add_xavp_params(1)
            KSR.tm.t_relay()
        end"#,
    )
    .cfg("server_id=7\nxavp_via_params=\"via\"")
    .start();
    let mut alice = Phone::udp("alice", server.addr);
    let mut bob = Phone::udp("bob", server.addr);
    alice.send(alice.request("OPTIONS", &bob.contact(), "", ""));
    let via = header(&bob.expect("OPTIONS"), HeaderName::Via);
    assert!(via.ends_with(";srvid=7;two=zwei;one=1"), "{via}");
}

#[test]
fn the_core_tells_scripts_what_happens() {
    let server = Setup::lua(
        r#"function ksr_request_route() KSR.sl.sl_send_reply(200, 'OK') end
        function ksr_event(name) KSR.info('event ' .. name .. '\n') return 1 end
        function ksr_received(name) KSR.info('event ' .. name .. '\n') return 1 end
        function ksr_pre(name)
            KSR.info('event ' .. name .. '\n')
            if KSR.is_INFO() then KSR.set_drop() end
            return 1
        end"#,
    )
    .cfg("kemi.event_route_callback=\"ksr_event\"\nkemi.received_route_callback=\"ksr_received\"\nkemi.pre_routing_callback=\"ksr_pre\"\nreceived_route_mode=1")
    .start();
    server.wait_for_log("event core:worker-one-init");
    let mut phone = Phone::udp("a", server.addr);
    let reply = phone.ask(&phone.request("OPTIONS", "sip:test.local", "", ""));
    assert_eq!(reply.status(), 200);
    server.wait_for_log("event core:msg-received");
    server.wait_for_log("event core:pre-routing");
    phone.send("OPTIONS sip:x SIP/2.0\r\nno header\r\n\r\n");
    server.wait_for_log("event core:receive-parse-error");
    // What pre-routing drops is not routed: only the second request is answered.
    phone.send(phone.request("INFO", "sip:test.local", "", ""));
    let options = phone.request("OPTIONS", "sip:test.local", "", "");
    let reply = phone.ask(&options);
    assert!(header(&reply, HeaderName::CSeq).ends_with("OPTIONS"));
}

#[test]
fn the_prefix_of_log_lines_may_follow_the_script() {
    let script = r#"function ksr_request_route()
        KSR.pv.sets('$var(step)', 'one')
        KSR.notice('first\n')
        KSR.pv.sets('$var(step)', 'two')
        KSR.notice('second\n')
        KSR.sl.sl_send_reply(200, 'OK')
    end"#;
    for (mode, first, second) in [
        (0, "<0> first", "<0> second"),
        (1, "<one> first", "<two> second"),
    ] {
        let server = Setup::lua(script)
            .cfg(&format!(
                "log_prefix=\"<$var(step)> \"\nlog_prefix_mode={mode}"
            ))
            .children(1)
            .start();
        let mut phone = Phone::udp("a", server.addr);
        phone.ask(&phone.request("OPTIONS", "sip:test.local", "", ""));
        server.wait_for_log(first);
        server.wait_for_log(second);
    }
}

#[test]
fn parameters_are_read_and_changed_by_command() {
    let server = Setup::lua("function ksr_request_route() end").start();
    let before = server.call("modparam.getn", &["tm", "fr_timer"]);
    assert_eq!(before, [Value::Int(30000)]);
    assert_eq!(
        server.call("modparam.setn", &["tm", "fr_timer", "1234"]),
        [Value::Int(1234)]
    );
    assert_eq!(
        server.call("modparam.getn", &["tm", "fr_timer"]),
        [Value::Int(1234)]
    );
    let mut ctl = server.ctl();
    for (command, args) in [
        ("modparam.getn", &["tm", "no_such"][..]),
        ("modparam.getn", &["no_such", "x"]),
        ("modparam.setn", &["usrloc", "db_mode", "1"]),
        ("shm.rprint", &["no_such"]),
        ("core.sfmalloc", &["100"]),
    ] {
        let e = ctl.call(command, args);
        assert!(e.is_err(), "{command} {args:?}: {e:?}");
    }
    let options = server.call("core.tcp_options", &[]);
    assert_eq!(
        field(&options[0], "connection_lifetime"),
        Some(&Value::Int(120))
    );
    assert_eq!(server.call("udp.proxy.dump", &[]), []);
    let raw = server.call("core.udp4_raw_info", &[]);
    assert_eq!(field(&raw[0], "udp4_raw"), Some(&Value::Int(0)));
    assert_eq!(server.stat("tcp.send_timeout"), 0);
}

/// A request over UDP; the reason phrase of its reply, in which the script says what it saw.
fn said_by(routes: &str, more: &str) -> String {
    let server = Setup::native(routes).cfg(more).start();
    let mut phone = Phone::udp("alice", server.addr);
    let reply = phone.ask(&phone.request("OPTIONS", "sip:0049301@test.local", "", ""));
    let text = text(&reply);
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("SIP/2.0 200 ")
        .unwrap_or(line)
        .to_string()
}

#[test]
fn the_native_language_rewrites_the_request_uri() {
    for (statements, uri) in [
        ("strip(2);", "sip:49301@test.local"),
        (
            "strip(2); prefix(\"+\"); strip_tail(1);",
            "sip:+4930@test.local",
        ),
        (
            "sethostport(\"h.test:5070\"); userphone();",
            "sip:0049301@h.test:5070;user=phone",
        ),
        (
            "rewritehostporttrans(\"h.test:5071;transport=tcp\");",
            "sip:0049301@h.test:5071;transport=tcp",
        ),
        (
            "setuser(\"bob\"); sethost(\"h.test\"); setport(\"9\");",
            "sip:bob@h.test:9",
        ),
        ("rewriteuserpass(\"bob:pw\");", "sip:bob:pw@test.local"),
        ("seturi(\"sip:x@y\"); revert_uri;", "sip:0049301@test.local"),
    ] {
        let routes = format!("request_route {{ {statements} sl_send_reply(\"200\", \"$ru\"); }}");
        assert_eq!(said_by(&routes, ""), uri, "{statements}");
    }
}

#[test]
fn the_native_language_has_named_flags() {
    let routes = r#"
request_route {
    setflag(ALPHA); setbflag("BETA"); setsflag(4);
    if (isflagset(3) && isbflagset("0") && issflagset(4) && !isflagset(BETA)) { sl_send_reply("200", "set"); exit; }
    sl_send_reply("200", "not set");
}"#;
    assert_eq!(said_by(routes, "flags ALPHA:3, BETA:0;"), "set");
}

#[test]
fn a_command_tells_the_native_language_how_it_ended() {
    let routes = r#"
request_route {
    log("a line\n");
    log(-1, "an error\n");
    if (exec("exit 0") && !exec("exit 1")) { sl_send_reply("200", "as it ended"); exit; }
    sl_send_reply("200", "otherwise");
}"#;
    assert_eq!(
        said_by(&routes.replace("log(-1", "log(1"), ""),
        "as it ended"
    );
}

#[test]
fn myself_is_a_host_on_any_port_unless_one_is_named() {
    let script = r#"
function ksr_request_route()
  local said = {}
  for _, x in ipairs({ "127.0.0.1", "sip:127.0.0.1", "sips:127.0.0.1", "test.local", "sip:a@TEST.local",
      "sip:127.0.0.1:" .. KSR.pv.get("$Rp"), "sip:127.0.0.1:9", "127.0.0.1:" .. KSR.pv.get("$Rp"),
      "udp:127.0.0.1", "foo", "", "a@127.0.0.1", "sip:", "tel:123" }) do
    said[#said + 1] = KSR.is_myself(x) and "1" or "0"
  end
  KSR.sl.sl_send_reply(200, table.concat(said) .. (KSR.is_myself_ruri() and " mine" or " other"))
end
"#;
    let server = Setup::lua(script).start();
    let mut phone = Phone::udp("a", server.addr);
    let mut ask = |uri: &str| {
        let reply = phone.ask(&phone.request("OPTIONS", uri, "", ""));
        String::from_utf8_lossy(reply.reason()).into_owned()
    };
    assert_eq!(ask("sip:x@127.0.0.1"), "11111100000000 mine");
    assert_eq!(ask("sip:x@127.0.0.1:9"), "11111100000000 other");
}
