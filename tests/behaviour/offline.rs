//! `olelo test`: routing scripts against cases, without sockets.

use olelo_tests::{program, unique};
use regex::Regex;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tree.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A directory of the test's own with these files.
struct Dir(PathBuf);

impl Dir {
    fn with(files: &[(&str, &str)]) -> Dir {
        let dir = std::env::temp_dir().join(format!("olelo-offline-{}", unique()));
        std::fs::create_dir_all(&dir).expect("a directory");
        for (name, text) in files {
            std::fs::write(dir.join(name), text).expect("written");
        }
        Dir(dir)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).expect("a file")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Exit code, standard output, standard error.
fn test(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let out = Command::new(program("olelo"))
        .arg("test")
        .args(args)
        .current_dir(dir)
        .output()
        .expect("olelo runs");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (
        out.status.code().unwrap_or(-1),
        text(&out.stdout),
        text(&out.stderr),
    )
}

/// Times and what the build draws are different each time.
fn masked(text: &str) -> String {
    let re = |e| Regex::new(e).expect("an expression");
    let text = re(r"\d+\.\d+ (ms|s)\b").replace_all(text, "# $1");
    let text = re(r"Server: .*").replace_all(&text, "Server: *");
    re(r"branch=z9hG4bK\w+\.[\w.]+")
        .replace_all(&text, "branch=*")
        .into_owned()
}

const SCRIPT: &str = include_str!("offline/route.lua");

/// The shipped cases hold for each language that the shipped routing is written in.
#[test]
fn the_shipped_routing_does_what_its_cases_say_in_every_language() {
    let etc = std::fs::read_dir(root().join("etc")).expect("etc");
    let mut scripts: Vec<String> = etc
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| n == "routes.cfg" || n.starts_with("olelo."))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 3, "{scripts:?}");
    for script in scripts {
        let (code, said, err) = test(root(), &[&format!("etc/{script}"), "etc/cases"]);
        assert_eq!(code, 0, "etc/{script}:\n{said}{err}");
        assert!(said.lines().count() > 25, "etc/{script}:\n{said}");
    }
}

#[test]
fn every_way_to_fail_is_told() {
    let here = root().join("tests/behaviour/offline");
    let (code, said, err) = test(&here, &["route.lua", "failing.sip", "--timeout", "60"]);
    assert_eq!(code, 1, "{err}");
    let said = masked(&said);
    let golden = here.join("failing.txt");
    if std::env::var_os("OLELO_GOLDEN").is_some() {
        std::fs::write(&golden, &said).expect("written");
    }
    let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        said == wanted,
        "it says now (OLELO_GOLDEN=1 writes it to {}):\n{said}",
        golden.display()
    );
}

#[test]
fn the_example_of_the_documentation_is_true() {
    let doc = std::fs::read_to_string(root().join("doc/testing.md")).expect("the page");
    let block = |language: &str| {
        let (_, rest) = doc
            .split_once(&format!("```{language}\n"))
            .expect("a block");
        rest.split("```").next().unwrap_or_default()
    };
    let dir = Dir::with(&[("route.lua", block("lua")), ("voicemail.sip", block("sip"))]);
    let (_, said, err) = test(&dir.0, &["route.lua", "voicemail.sip"]);
    assert_eq!(masked(&said), masked(block("text")), "{err}");
}

#[test]
fn what_was_recorded_holds() {
    let bare = "# kept\nphone alice sip:alice@olelo.local at udp:192.0.2.10:5060\nphone bob sip:bob@olelo.local at udp:192.0.2.20:5070\n\n== a relayed request\n# kept as well\nreceive INVITE sip:relay@192.0.2.20:5070 from alice\n  Subject: hello\nexpect 404\nexpect INVITE as first\n  Call-ID: {id}\nreply 180 to first\nreply 486\nreceive ACK\n\n== an answer\nreceive OPTIONS sip:x@y from alice\nexpect $avp(who) == \"x\"\nafter 5s\n";
    let dir = Dir::with(&[("route.lua", SCRIPT), ("x.sip", bare)]);
    let (code, said, err) = test(&dir.0, &["route.lua", "x.sip", "--update"]);
    assert_eq!(code, 0, "{said}{err}");
    let written = dir.read("x.sip");
    for wanted in [
        "# kept\nphone",
        "# kept as well\nreceive INVITE sip:relay@192.0.2.20:5070 from alice\n  Subject: hello\nexpect 100\nexpect INVITE sip:relay@192.0.2.20:5070 to bob as first\n  Call-ID: {id}\n  X-Way: a;b\n  Subject: -\n",
        "reply 180 to first\nexpect 180 Ringing\n",
        "reply 486\nexpect ACK sip:relay@192.0.2.20:5070 to bob\n",
        "expect 486 Busy Here\n",
        "receive ACK\nexpect nothing\n",
        "expect 200 OK\nexpect $avp(who) == \"x\"\nafter 5s\nexpect nothing\n",
    ] {
        assert!(written.contains(wanted), "no {wanted:?} in\n{written}");
    }
    let (code, said, err) = test(&dir.0, &["route.lua", "x.sip"]);
    assert_eq!(code, 0, "{said}{err}\n{written}");
    let (_, said, _) = test(&dir.0, &["route.lua", "x.sip", "--update"]);
    assert_eq!((said.as_str(), dir.read("x.sip")), ("", written));
    let (code, said, _) = test(
        &dir.0,
        &["route.lua", "x.sip", "--record", "--filter", "answer"],
    );
    assert!(
        code == 0 && said.starts_with("== an answer\n") && !said.contains("relayed"),
        "{said}"
    );
}

#[test]
fn reports_are_for_people_cis_and_programs() {
    let cases = "phone alice sip:alice@olelo.local at udp:192.0.2.10\n== good\nreceive OPTIONS sip:x@y\nexpect 200\n== bad & <worse>\nreceive OPTIONS sip:x@y\nexpect 404\n";
    let dir = Dir::with(&[("route.lua", SCRIPT), ("x.sip", cases)]);
    let (code, said, _) = test(
        &dir.0,
        &["route.lua", "x.sip", "--json", "--junit", "r.xml"],
    );
    assert_eq!(code, 1);
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["ok"], &lines[1]["ok"]),
        (&true.into(), &false.into())
    );
    assert_eq!(lines[1]["failures"][0]["line"], 7);
    let xml = dir.read("r.xml");
    for wanted in [
        "<testsuites tests=\"2\" failures=\"1\"",
        "name=\"good\" file=\"x.sip\" line=\"2\"",
        "name=\"bad &amp; &lt;worse&gt;\"",
        "<failure message=\"expected 404, this was sent to alice (udp:192.0.2.10:5060)\">",
    ] {
        assert!(xml.contains(wanted), "no {wanted:?} in\n{xml}");
    }
    let count = |what: &str| xml.matches(what).count();
    assert_eq!((count("<testcase"), count("</testcase>")), (2, 1), "{xml}");
    let (code, said, _) = test(&dir.0, &["route.lua", "x.sip", "--list", "--filter", "bad"]);
    assert_eq!((code, said.as_str()), (0, "x.sip:5: bad & <worse>\n"));
    let (code, said, _) = test(
        &dir.0,
        &[
            "route.lua",
            ".",
            "--filter",
            "good",
            "-v",
            "--colour",
            "always",
        ],
    );
    assert!(
        code == 0
            && said.contains("\x1b[32mok")
            && said.contains("CSeq: 1 OPTIONS")
            && said.contains("INFO: asked for x"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_used_is_said_with_its_place() {
    let good = "== a\nreceive OPTIONS sip:x@y\nexpect 200\n";
    let dir = Dir::with(&[
        ("route.lua", SCRIPT),
        ("broken.lua", "function ksr_request_route(\n"),
        (
            "broken.cfg",
            "loadmodule \"sll.so\"\nrequest_route { exit; }\n",
        ),
        ("good.sip", good),
        ("bad.sip", "== a\nexpectt 200\n"),
    ]);
    for (args, wanted) in [
        (
            ["route.lua", "bad.sip"],
            "bad.sip:2: no step `expectt`; did you mean expect?",
        ),
        (["route.lua", "none.sip"], "none.sip:0: can't read it"),
        (["none.lua", "good.sip"], "can't read none.lua"),
        (["broken.lua", "good.sip"], "broken.lua:"),
        (
            ["broken.cfg", "good.sip"],
            "broken.cfg:1:1: error: no module \"sll\"",
        ),
    ] {
        let (code, said, err) = test(&dir.0, &args);
        assert!(
            code == 2 && err.contains(wanted),
            "{args:?}: {code}\n{said}{err}"
        );
    }
}

#[test]
fn no_case_takes_longer_than_it_may() {
    let cases = "== endless\nreceive OPTIONS sip:x@y\nexpect 200\nreceive OPTIONS sip:loop@y\n== good\nreceive OPTIONS sip:x@y\nexpect 200\n";
    let dir = Dir::with(&[("route.lua", SCRIPT), ("x.sip", cases)]);
    let limit = "app_lua:time_limit:i:600000";
    let (code, said, _) = test(
        &dir.0,
        &["route.lua", "x.sip", "--modparam", limit, "--timeout", "1"],
    );
    assert!(
        code == 1
            && said.contains("x.sip:4: it was not done within 1 s (--timeout)")
            && said.contains("ok  x.sip: good"),
        "{said}"
    );
}

/// Addresses that are taken can be listened at, and what is sent to one that is open arrives nowhere.
#[test]
fn nothing_reaches_the_network() {
    let phone = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let [a, b] = [&phone, &taken].map(|s| s.local_addr().expect("an address"));
    let cases = format!(
        "phone alice sip:alice@olelo.local at udp:{a}\n== relayed to myself\nreceive MESSAGE sip:relay@{a} from alice at udp:{b}\nexpect MESSAGE to alice\nexpect $Rp == {}\nreply 200\nexpect 200\n",
        b.port()
    );
    let dir = Dir::with(&[("route.lua", SCRIPT), ("x.sip", &cases)]);
    let (code, said, err) = test(&dir.0, &["route.lua", "x.sip", "-l", &format!("udp:{b}")]);
    assert_eq!(code, 0, "{said}{err}");
    for socket in [phone, taken] {
        socket.set_nonblocking(true).expect("set");
        let got = socket.recv(&mut [0; 2000]);
        assert_eq!(
            got.map_err(|e| e.kind()),
            Err(std::io::ErrorKind::WouldBlock)
        );
    }
}
