//! Control commands: what they answer, and that bad clients harm nobody.

use olelo_ipc::Value;
use olelo_tests::{Setup, field, program};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;

const SCRIPT: &str = "function ksr_request_route() KSR.sl.sl_send_reply(200, 'OK') end";

#[test]
fn an_unknown_command_suggests_the_nearest() {
    let server = Setup::lua(SCRIPT).start();
    let e = server.ctl().call("core.uptme", &[]).expect_err("a fault");
    assert!(e.contains("did you mean core.uptime?"), "{e}");
}

#[test]
fn parameters_are_read_and_changed_for_all() {
    let server = Setup::lua(SCRIPT)
        .cfg("pstn.gw = \"192.0.2.1\" desc \"the gateway\"\npstn.tries = 3")
        .start();
    assert_eq!(
        server.call("cfg.get", &["pstn", "gw"]),
        [Value::Str("192.0.2.1".into())]
    );
    server.call("cfg.seti", &["pstn", "tries", "5"]);
    assert_eq!(server.call("cfg.get", &["pstn", "tries"]), [Value::Int(5)]);
    server.call("cfg.sets", &["pstn", "gw", "192.0.2.9"]);
    assert_eq!(
        server.call("cfg.get", &["pstn", "gw"]),
        [Value::Str("192.0.2.9".into())]
    );
    server.call("cfg.reset", &["pstn"]);
    assert_eq!(
        server.call("cfg.get", &["pstn", "gw"]),
        [Value::Str("192.0.2.1".into())]
    );
    let e = server.ctl().call("cfg.seti", &["pstn", "gw", "1"]);
    assert!(e.expect_err("a fault").contains("cfg.sets"));
    assert!(
        server
            .call("cfg.list", &[])
            .contains(&Value::Str("pstn: gw".into()))
    );
}

#[test]
fn a_client_that_sends_garbage_or_hangs_harms_nobody() {
    let server = Setup::lua(SCRIPT).start();
    let path = server.dir().join("ctl");
    let mut half = UnixStream::connect(&path).expect("connected");
    half.write_all(&[0xa1, 0x01]).expect("sent");
    let mut bad = UnixStream::connect(&path).expect("connected");
    bad.write_all(&[0x42; 5000]).expect("sent");
    let up = server.call("core.uptime", &[]);
    assert!(matches!(field(&up[0], "uptime"), Some(Value::Int(_))));
    assert_eq!(
        server
            .call("mem.check", &[])
            .first()
            .and_then(|v| field(v, "faults"))
            .cloned(),
        Some(Value::Int(0))
    );
}

#[test]
fn olctl_prints_tables_and_json() {
    let server = Setup::lua(SCRIPT).start();
    let socket = format!("unix:{}", server.dir().join("ctl").display());
    let run = |args: &[&str]| {
        let out = Command::new(program("olctl"))
            .args(["-s", &socket])
            .args(args)
            .output()
            .expect("olctl runs");
        (
            out.status.success(),
            String::from_utf8_lossy(&out.stdout).into_owned(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let (ok, out, _) = run(&["core.psx"]);
    assert!(
        ok && out.contains("ctl handler") && out.contains("RANK"),
        "{out}"
    );
    let (ok, out, _) = run(&["--json", "core.uptime"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(ok && json["uptime"].is_i64(), "{out}");
    let (ok, out, _) = run(&["doc", "KSR.sl.sl_send_reply"]);
    assert!(ok && out.contains("KSR.sl.sl_send_reply("), "{out}");
    let (ok, _, err) = run(&["doc", "KSR.tm.t_rely"]);
    assert!(!ok && err.contains("did you mean KSR.tm.t_relay?"), "{err}");
    let (ok, out, _) = run(&["top"]);
    assert!(ok && out.contains("messages/s"), "{out}");
}

#[test]
fn jsonrpc_is_spoken_on_the_datagram_socket_and_the_fifo() {
    use std::os::unix::net::UnixDatagram;
    let server = Setup::lua(SCRIPT)
        .cfg("modparam(\"jsonrpcs\", \"dgram_socket\", \"rpc.sock\")\nmodparam(\"jsonrpcs\", \"fifo_name\", \"rpc.fifo\")")
        .start();
    let mine = server.dir().join("client.sock");
    let s = UnixDatagram::bind(&mine).expect("a socket");
    s.set_read_timeout(Some(olelo_tests::PATIENCE))
        .expect("a timeout");
    s.send_to(
        br#"{"jsonrpc":"2.0","method":"core.version","id":1}"#,
        server.dir().join("rpc.sock"),
    )
    .expect("sent");
    let mut buf = vec![0u8; 65536];
    let n = s.recv(&mut buf).expect("an answer");
    let json: serde_json::Value = serde_json::from_slice(&buf[..n]).expect("JSON");
    assert!(json["result"].to_string().contains("olelo"), "{json}");
    s.send_to(b"{]", server.dir().join("rpc.sock"))
        .expect("sent");
    let n = s.recv(&mut buf).expect("an answer");
    let json: serde_json::Value = serde_json::from_slice(&buf[..n]).expect("JSON");
    assert_eq!(json["error"]["code"], -32700, "{json}");
    assert!(
        server
            .processes()
            .iter()
            .any(|(_, d)| d == "JSONRPC-S FIFO")
    );
}
