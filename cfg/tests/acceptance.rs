//! What is accepted and what is refused, snippet by snippet; and the same against an installed Kamailio.
//!
//! The two tables were made by trying each snippet on Kamailio 5.6: `YES` it takes, `NO` it refuses for its
//! syntax. `OURS` are forms newer versions document, or that are harmless, which it refuses and we take.

use olelo_cfg::{Options, Parsed, parse_str};
use std::io::Write as _;
use std::process::{Command, Stdio};

fn parse(text: &str) -> Parsed {
    parse_str("t.cfg", text, &Options::default())
}

fn in_route(stmt: &str) -> String {
    format!("request_route {{ {stmt}\n}}\nroute[A] {{ return; }}\n")
}

const TOP_YES: &[&str] = &[
    "debug=3",
    "debug=3;",
    "debug=-1",
    "debug=yes",
    "dns=1",
    "log_name=\"x\" \"y\"",
    "foo.bar=3",
    "foo.bar=3 desc \"x\"",
    "foo.bar=\"a\"",
    "foo.bar = 1 description \"x\"",
    "foo.bar=yes",
    "listen=udp:127.0.0.1:5060",
    "listen=127.0.0.1",
    "listen=UDP:127.0.0.1:5060",
    "listen=[::1]",
    "listen=udp:[::1]:5060",
    "listen=udp:127.0.0.1:5060 advertise 1.2.3.4:5060",
    "listen=udp:127.0.0.1:5060 advertise \"1.2.3.4\":5060 name \"abc\"",
    "listen=udp:127.0.0.1:5060 udp:127.0.0.1:5062",
    "listen=udp:127.0.0.1:5060 tcp:127.0.0.1:5062 name \"x\"",
    "listen=\"127.0.0.1\"",
    "listen=udp:lo:5060",
    "listen=127.0.0.1:5070\nalias=x",
    "alias=a.b.c d.e.f",
    "alias=\"a.b\" \"c.d\"",
    "alias=a.b:5060 udp:c.d:5061",
    "alias=udp:c.d:*",
    "alias=my-host.com:5060",
    "alias=\"udp:x.com:5060\"",
    "flags F1:1, F2",
    "flags F1:1, F2:3;",
    "avpflags a, b",
    "avpflags a;",
    "loadpath \"/x:/y/\"",
    "mpath=\"/x\"",
    "cfgengine \"native\"",
    "async_workers_group=\"name=a;workers=2\"",
    "udp_mtu_try_proto=TCP",
    "udp_mtu_try_proto=tcp",
    "tos=IPTOS_LOWDELAY",
    "log_facility=LOG_LOCAL0",
    "mcast=\"eth0\"",
    "debug=3 memlog=4",
    "debug=0x1f",
    "debug=017",
    "children=1 ; ; ;",
    "tcp_accept_aliases=enable",
    "tcp_accept_aliases=disable",
    "user=root",
    "user=\"root\"",
    "advertised_address=1.2.3.4",
    "advertised_address=\"a.b\"",
    "advertised_port=5060",
    "tcp_source_ipv4=1.2.3.4",
    "tcp_poll_method=epoll_lt",
    "import_file \"nonexist\"",
    "#!define A",
    "#!redef B 2",
    "#!KAMAILIO",
    "!!define A 3\ndebug=A",
    " #!define A 3\ndebug=A",
    "debug=3 #!define A 3\nchildren=A",
    "#!trydefenv NOSUCHENV",
    "#!undef A",
    "#!import_file \"nonexist\"",
    "route[x] { exit; }",
    "event_route[a:b] {exit;}",
    "event_route[tm:branch-failure:x-y] {exit;}",
    "branch_route[a] {exit;} failure_route[1] {exit;} onreply_route[b] {exit;} onreply_route {exit;} onsend_route {exit;}",
    "reply_route {exit;}",
    "branch_route[\"a\"] {exit;}",
    "route[\"a b\"] {exit;}",
    "event_route [a:b] {exit;};",
];

const TOP_NO: &[&str] = &[
    "log_name=abc",
    "foo=3",
    "a.b.c=3",
    "debug=3+1",
    "debug=(3)",
    "debug 3",
    "debug=",
    "loadmodule pv",
    "dns=YES",
    "dns=True",
    "statistics=\"x\"",
    "tls=yes",
    "include_file \"nonexist\"",
    "#!define A 1\n#!define A 2",
    "#!ifdef A",
    "#!endif",
    "#!subst \"/a/b\"",
    "#!subst \"a\"",
    "#!defenv NOSUCHENV",
    "#!include_file \"nonexist\"",
    "event_route[a:b {exit;}",
    "request_route[x] {exit;}",
    "route(a) {exit;}",
    "route[x] { exit; }\nroute[x] { exit; }",
    "route(A);",
    "}",
    "user=",
    "modparam(\"pv\", \"shvset\" \"a\")",
    "modparam(\"pv\", \"shvset\")",
    "route[] {exit;}",
    "listen=udp:",
    "\"x\"",
    "3",
];

const TOP_OURS: &[&str] = &[
    "debug=0b11",
    "tcp_accept_aliases=enabled",
    "advertised_port=\"5060\"",
    "coreparam[iuid]=\"x\"",
    "coreparam[\"iuid\"]=\"x\"",
    "socket={bind=udp:127.0.0.1:5060; name=\"x\";}",
    "socket = { bind = \"udp:127.0.0.1:5060\"; advertise = 1.2.3.4:5060; workers=2; virtual=yes; vrf=\"x\"; agname=\"g\"}",
    "route[x] { }",
    "route[a.b] {exit;}",
    "foo.bar=-3",
    "listen=udp:*:5060",
    "#!ifexp 1 == 1\n#!endif",
];

const ROUTE_YES: &[&str] = &[
    "exit;",
    "exit; ;",
    "exit() ;",
    "exit(1);",
    "exit 1;",
    "return -1;",
    "return (-1);",
    "return(1);",
    "return $var(a);",
    "return $var(a)+1;",
    "return 1==2;",
    "return \"x\";",
    "drop;",
    "drop(1);",
    "break;",
    "if (1) exit;",
    "if 1 exit;",
    "if method==\"INVITE\" exit;",
    "if (1) ;",
    "if (1) { ; }",
    "if (1) { exit; } else if (2) { drop; } else drop;",
    "while (1) { break; }",
    "while (1) break;",
    "while $var(x) < 1 { break; }",
    "switch ($var(x)) { case 1: exit; break; default: drop; }",
    "switch ($var(x)) { case \"a\": exit; case \"b\": case \"c\": break; }",
    "switch ($var(x)) { case /\"a.*\": exit; }",
    "switch $var(x) { case 1: exit; }",
    "switch ($var(x)) { }",
    "switch ($var(x)) { case -1: exit; case 1+1: drop; }",
    "switch(route(A)) { case 1: exit; }",
    "$var(x) = 1 + 2 * 3 / 4 - 5 mod 2 & 7 | 8 ^ 1 << 2 >> 1;",
    "$var(x) = ~1;",
    "$var(x) = -$var(y);",
    "$var(x) = !1;",
    "$var(x) = \"a\" + \"b\";",
    "$var(x) = \"a\" \"b\";",
    "$var(x) = (int)\"1\";",
    "$var(x) = (str)1;",
    "$var(x) = (int)$var(y) + 1;",
    "$var(x) = strlen($var(y));",
    "$var(x) = strempty($var(y));",
    "$var(x) = defined $var(y);",
    "$var(x) = selval($var(y)==1, \"a\", \"b\");",
    "$var(x) = @ruri.host;",
    "$var(x) = @msg.header[\"a\"];",
    "$var(x) = @via[1].host;",
    "$var(x) = method==\"INVITE\" && uri==myself;",
    "$var(x) = route(A);",
    "if (not 0 or 1 and 1) exit;",
    "if (uri == myself) exit;",
    "if (myself == uri) exit;",
    "if (src_ip == myself) exit;",
    "if (src_ip==1.2.3.0/24) exit;",
    "if (src_ip==1.2.3.0/255.255.255.0) exit;",
    "if (src_ip==[::1]) exit;",
    "if (src_ip==::1) exit;",
    "if (src_ip==2001:db8::/32) exit;",
    "if (src_ip==\"1.2.3.4\") exit;",
    "if (src_ip==localhost) exit;",
    "if (src_ip=~\"1.2\") exit;",
    "if (src_port==5060) exit;",
    "if (!src_ip==a.b.c) exit;",
    "if (!method==INVITE && 1) exit;",
    "if (proto==UDP) exit;",
    "if (proto!=TLS) exit;",
    "if (proto==\"udp\") exit;",
    "if (af==INET6 || af==ipv4) exit;",
    "if (method==REGISTER) exit;",
    "if (method=~\"INV|ACK\") exit;",
    "if (method eq \"INVITE\" || method ne \"ACK\") exit;",
    "if (status=~\"2..\") exit;",
    "if (status==200) exit;",
    "if (from_uri==myself || to_uri=~\"x\") exit;",
    "if (msg:len > 2048) exit;",
    "if ($var(x) == 1 & 2) exit;",
    "if (!$var(x) == 1) exit;",
    "if ((1) == (2)) exit;",
    "if ($avp(s:x) == $avp(i:1)) exit;",
    "if ($(avp(x)[*]) == 1) exit;",
    "if ($(hdr(From)[-1]{s.len}) == 1) exit;",
    "if ($(ru{uri.param,x}{s.substr,1,2}) == 1) exit;",
    "if ($xavp(a[0]=>b) == 1) exit;",
    "if ($_s($ru-x) == 1) exit;",
    "if (1 == 1 == 1) exit;",
    "if (1==1) && (2==2) { exit; }",
    "route(A);",
    "route(\"A\");",
    "route($var(x));",
    "route(1);",
    "route (A);",
    "forward();",
    "forward(uri:host, uri:port);",
    "forward(1.2.3.4, 5060);",
    "forward(\"a.b.c\");",
    "forward(a.b.c, 5060);",
    "forward_tcp(uri:host, uri:port);",
    "log(\"x\");",
    "log(1, \"x\");",
    "setflag(1);",
    "strip(1);",
    "if (isflagset(1)) exit;",
    "prefix(\"00\");",
    "seturi(\"a\");",
    "userphone();",
    "remove_branch();",
    "revert_uri;",
    "force_rport;",
    "force_rport();",
    "force_tcp_alias(5060);",
    "add_tcp_alias;",
    "udp_mtu_try_proto(TCP);",
    "set_advertised_address(1.2.3.4);",
    "set_advertised_address(a.b);",
    "set_advertised_port(5060);",
    "force_send_socket(1.2.3.4:5060);",
    "force_send_socket(udp:[::1]:5060);",
    "force_send_socket(\"udp:1.2.3.4:5060\");",
    "set_reply_no_connect;",
    "set_reply_close();",
    "$(avp(x)[0]) = 1;",
    "$(avp(x)[*]) = $null;",
    "$var(x) = 'a$b\\n';",
    "switch($rm) { case \"INVITE\": route(A); break; default: exit; };",
    "if ($var(x)==1) { exit; };",
    "if (1) exit; else drop;",
    "/* c */ exit; // x",
    "exit; # foo",
    "return $(var(x){s.int});",
    "if (@cfg_get.core.debug == 1) exit;",
];

const ROUTE_NO: &[&str] = &[
    "exit",
    "if (1) exit",
    "if (1) { exit } else { drop; }",
    "if (1) { exit; }; else { drop; }",
    "$var(x) := 1;",
    "$var(x) = $var(y) = 1;",
    "$var(x) = \"a\" . \"b\";",
    "if (myself exit;",
    "if ($ru =~ /x/) exit;",
    "if ($var(x) in 1) exit;",
    "switch ($var(x)) { case 1: exit }",
    "xlog;",
    "nosuch;",
    "f(abc);",
    "f(udp);",
    "f(\"200\", , \"OK\");",
    "f(\"200\",);",
    "f(\"a\") || exit;",
    "1;",
    "\"x\";",
    "$var(x);",
    "forward(1.2.3.4:5060);",
    "userphone;",
    "@cfg_get.a.b = 1;",
    "foo.bar",
    "$var(x) = abc;",
    "$var(x) = 1.2.3.4;",
    "if (1) exit else drop;",
    "if (f(\"a\"), 1) exit;",
    "while(1) { continue; }",
    "$var(x) = ;",
    "if () exit;",
    "if (1 exit;",
    "f(1;",
    "else exit;",
    "case 1: exit;",
    "$var(x = 1;",
    "tcp:1.2.3.4;",
];

#[test]
fn what_kamailio_takes_is_taken() {
    for text in TOP_YES.iter().chain(TOP_OURS) {
        let parsed = parse(&format!("{text}\nrequest_route {{ exit; }}\n"));
        assert!(
            parsed.diagnostics.is_empty(),
            "{text}\n{}",
            parsed.render(false)
        );
    }
    for text in ROUTE_YES {
        let parsed = parse(&in_route(text));
        assert!(
            parsed.diagnostics.is_empty(),
            "{text}\n{}",
            parsed.render(false)
        );
    }
}

#[test]
fn what_kamailio_refuses_is_refused_once() {
    let mut wrong = String::new();
    let mut check = |text: &str, whole: &str, routes: usize| {
        let parsed = parse(whole);
        let kept = parsed.config.routes.len() >= routes;
        if parsed.diagnostics.len() != 1 || !kept {
            wrong += &format!(
                "==== {text} (blocks kept: {kept})\n{}\n",
                parsed.render(false)
            );
        }
    };
    for text in TOP_NO {
        check(
            text,
            &format!("{text}\nrequest_route {{ exit; }}\n"),
            usize::from(*text != "#!ifdef A"),
        );
    }
    for text in ROUTE_NO {
        check(text, &in_route(text), 2);
    }
    assert!(
        wrong.is_empty(),
        "not one diagnostic, or a block was lost:\n{wrong}"
    );
}

/// Where a Kamailio is installed, the tables above must still be true.
#[test]
#[ignore = "runs an installed kamailio once per snippet"]
fn the_tables_are_what_kamailio_does() {
    let accepts = |text: &str| -> Option<bool> {
        let path = std::env::temp_dir().join(format!("olelo-cfg-{}.cfg", std::process::id()));
        std::fs::File::create(&path)
            .and_then(|mut f| f.write_all(text.as_bytes()))
            .ok()?;
        let status = Command::new("kamailio")
            .arg("-c")
            .arg("-f")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let _ = std::fs::remove_file(&path);
        status.ok().map(|s| s.success())
    };
    if accepts("request_route { exit; }\n") != Some(true) {
        eprintln!("no kamailio here: nothing to compare with");
        return;
    }
    let pv = "loadmodule \"pv.so\"\n";
    for (list, want) in [(TOP_YES, true), (TOP_NO, false)] {
        for text in list {
            assert_eq!(
                accepts(&format!("{text}\nrequest_route {{ exit; }}\n")),
                Some(want),
                "{text}"
            );
        }
    }
    for (list, want) in [(ROUTE_YES, true), (ROUTE_NO, false)] {
        for text in list {
            assert_eq!(
                accepts(&format!("{pv}{}", in_route(text))),
                Some(want),
                "{text}"
            );
        }
    }
}
