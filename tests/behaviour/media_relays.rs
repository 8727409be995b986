//! `rtpengine` and `rtpproxy` against relays that the test plays itself; and, where a real rtpengine is
//! installed, against that.

use olelo_rtpengine::bencode::Value;
use olelo_sip::build::{self, ReplyOptions};
use olelo_sip::{HeaderName, Message};
use olelo_tests::{PATIENCE, Phone, Server, Setup, field, free_port};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\na=rtcp:4001\r\n";
const TYPE: &str = "Content-Type: application/sdp\r\n";

/// A relay: answers what `answer` makes of a command and reports each to the test.
fn relay<T: Send + 'static>(
    mut answer: impl FnMut(&[u8]) -> Option<(T, Vec<u8>)> + Send + 'static,
) -> (SocketAddr, Receiver<T>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let addr = socket.local_addr().expect("an address");
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut buf = [0; 65536];
        while let Ok((n, from)) = socket.recv_from(&mut buf) {
            let Some(space) = buf[..n].iter().position(|b| *b == b' ') else {
                continue;
            };
            let (cookie, command) = buf[..n].split_at(space + 1);
            if let Some((what, reply)) = answer(command) {
                let _ = socket.send_to(&[cookie, &reply].concat(), from);
                if tell.send(what).is_err() {
                    return;
                }
            }
        }
    });
    (addr, told)
}

fn text_of(v: &Value, key: &str) -> String {
    let b = v.get(key).and_then(Value::as_bytes).unwrap_or_default();
    String::from_utf8_lossy(b).into_owned()
}

fn dict(members: &[(&str, Value)]) -> Value {
    Value::Dict(
        members
            .iter()
            .map(|(k, v)| (k.as_bytes().to_vec(), v.clone()))
            .collect(),
    )
}

/// A relay of the ng protocol; pings are answered and not reported.
fn ng_relay(address: &'static str) -> (SocketAddr, Receiver<Value>) {
    let (addr, told) = relay(move |command| {
        let command = Value::decode(command)?;
        let answer = match text_of(&command, "command").as_str() {
            "ping" => dict(&[("result", "pong".into())]),
            "offer" | "answer" => {
                let sdp = text_of(&command, "sdp").replace("10.0.0.1", address);
                dict(&[("result", "ok".into()), ("sdp", sdp.as_str().into())])
            }
            _ => {
                let n = |p, b| {
                    dict(&[
                        ("packets", Value::Int(p)),
                        ("bytes", Value::Int(b)),
                        ("errors", Value::Int(0)),
                    ])
                };
                let report = dict(&[("MOS", Value::Int(42)), ("jitter", Value::Int(3))]);
                let totals = dict(&[("RTP", n(2, 320)), ("RTCP", n(1, 80))]);
                let ssrc = dict(&[("77", dict(&[("average MOS", report)]))]);
                dict(&[("result", "ok".into()), ("totals", totals), ("SSRC", ssrc)])
            }
        };
        let mut out = Vec::new();
        answer.encode(&mut out);
        Some((command, out))
    });
    (addr, told)
}

/// The next command that is no ping.
fn next(told: &Receiver<Value>) -> Value {
    loop {
        let v = told.recv_timeout(PATIENCE).expect("a command");
        if text_of(&v, "command") != "ping" {
            return v;
        }
    }
}

/// The script of both: manages each message of a call.
fn script(manage: &str, more: &str) -> String {
    format!(
        r#"
function ksr_request_route()
    if KSR.is_CANCEL() then {manage}; KSR.tm.t_relay_cancel() return 1 end
    {more}
    {manage}
    KSR.tm.t_on_reply('ksr_onreply')
    if KSR.tm.t_relay() < 0 then KSR.sl.sl_reply_error() end
end
function ksr_onreply()
    {manage}
    return 1
end
"#
    )
}

fn answer_with(phone: &mut Phone, request: &Message, sdp: &str) {
    let contact = format!("Contact: <{}>\r\n", phone.contact());
    let options = ReplyOptions {
        to_tag: Some(b"callee"),
        extra_headers: contact.as_bytes(),
        body: (!sdp.is_empty()).then_some((&b"application/sdp"[..], sdp.as_bytes())),
        ..ReplyOptions::default()
    };
    let mut out = Vec::new();
    build::reply(request, 200, b"OK", &options, &mut out);
    phone.send(out);
}

fn tags(v: &Value) -> (String, String) {
    (text_of(v, "from-tag"), text_of(v, "to-tag"))
}

fn from_tag(m: &Message) -> String {
    String::from_utf8_lossy(m.from_tag().unwrap_or_default()).into_owned()
}

#[test]
fn rtpengine_takes_part_in_a_call_from_offer_to_delete() {
    let (addr, told) = ng_relay("192.0.2.7");
    let server = Setup::lua(&script(
        "KSR.rtpengine.rtpengine_manage('replace-origin trust-address ICE=remove')",
        "if KSR.is_BYE() then KSR.info('stat ' .. KSR.pv.get('$rtpestat') .. '\\n') end",
    ))
    .cfg("loadmodule \"rtpengine.so\"")
    .cfg(&format!(
        "modparam(\"rtpengine\", \"rtpengine_sock\", \"udp:{addr}\")"
    ))
    .cfg("modparam(\"rtpengine\", \"ping_mode\", 0)")
    .start();
    let mut alice = Phone::udp("alice", server.addr);
    let mut bob = Phone::udp("bob", server.addr);
    let invite = alice.request("INVITE", &bob.contact(), TYPE, SDP);
    alice.send(&invite);
    let at_bob = bob.expect("INVITE");
    assert!(at_bob.body().windows(9).any(|w| w == b"192.0.2.7"));
    let offer = next(&told);
    let caller = from_tag(&at_bob);
    assert_eq!(text_of(&offer, "command"), "offer");
    assert_eq!(text_of(&offer, "ICE"), "remove");
    assert_eq!(
        offer.get("replace"),
        Some(&Value::List(vec!["origin".into()]))
    );
    assert_eq!(
        offer.get("flags"),
        Some(&Value::List(vec!["trust-address".into()]))
    );
    assert_eq!(tags(&offer), (caller.clone(), String::new()));
    answer_with(&mut bob, &at_bob, SDP);
    let ok = alice.reply(200);
    assert!(ok.body().windows(9).any(|w| w == b"192.0.2.7"));
    let answer = next(&told);
    assert_eq!(text_of(&answer, "command"), "answer");
    assert_eq!(tags(&answer), (caller.clone(), "callee".into()));
    assert_eq!(text_of(&answer, "call-id"), text_of(&offer, "call-id"));
    let count = |server: &Server| server.call("rtpengine.get_hash_total", &[])[0].clone();
    assert_eq!(count(&server), olelo_ipc::Value::Int(1));
    let ack = alice.in_dialog("ACK", 1, &invite, &ok);
    alice.send(&ack);
    bob.expect("ACK");
    let bye = alice.in_dialog("BYE", 2, &invite, &ok);
    alice.send(&bye);
    bob.expect("BYE");
    assert_eq!(text_of(&next(&told), "command"), "query");
    let delete = next(&told);
    assert_eq!(text_of(&delete, "command"), "delete");
    assert_eq!(tags(&delete), (caller, String::new()));
    assert_eq!(count(&server), olelo_ipc::Value::Int(0));
    server.wait_for_log(
        "stat RTP: 320 bytes, 2 packets, 0 errors; RTCP: 80 bytes, 1 packets, 0 errors",
    );
}

#[test]
fn rtpengine_completes_a_late_offer_in_the_ack() {
    let (addr, told) = ng_relay("192.0.2.8");
    let server = Setup::lua(&script("KSR.rtpengine.rtpengine_manage0()", ""))
        .cfg("loadmodule \"rtpengine.so\"")
        .cfg(&format!(
            "modparam(\"rtpengine\", \"rtpengine_sock\", \"udp:{addr}\")"
        ))
        .start();
    let mut alice = Phone::udp("alice", server.addr);
    let mut bob = Phone::udp("bob", server.addr);
    let invite = alice.request("INVITE", &bob.contact(), "", "");
    alice.send(&invite);
    let at_bob = bob.expect("INVITE");
    answer_with(&mut bob, &at_bob, SDP);
    let ok = alice.reply(200);
    let offer = next(&told);
    // Who offers comes first: here the callee.
    assert_eq!(text_of(&offer, "command"), "offer");
    assert_eq!(tags(&offer), ("callee".into(), from_tag(&at_bob)));
    let ack = alice.in_dialog("ACK", 1, &invite, &ok).replace(
        "Content-Length: 0\r\n\r\n",
        &format!("{TYPE}Content-Length: {}\r\n\r\n{SDP}", SDP.len()),
    );
    alice.send(&ack);
    assert!(
        bob.expect("ACK")
            .body()
            .windows(9)
            .any(|w| w == b"192.0.2.8")
    );
    let answer = next(&told);
    assert_eq!(text_of(&answer, "command"), "answer");
    assert_eq!(tags(&answer), ("callee".into(), from_tag(&at_bob)));
}

#[test]
fn each_branch_can_be_a_session_of_its_own() {
    let (addr, told) = ng_relay("192.0.2.6");
    let server = Setup::lua(
        r#"
function ksr_request_route()
    KSR.tm.t_on_branch('ksr_branch')
    KSR.tm.t_on_reply('ksr_onreply')
    KSR.tm.t_relay()
end
function ksr_branch() KSR.rtpengine.rtpengine_offer('via-branch=auto-next') return 1 end
function ksr_onreply() KSR.rtpengine.rtpengine_answer('via-branch=auto-next') return 1 end
"#,
    )
    .cfg("loadmodule \"rtpengine.so\"")
    .cfg(&format!(
        "modparam(\"rtpengine\", \"rtpengine_sock\", \"udp:{addr}\")"
    ))
    .start();
    let mut alice = Phone::udp("alice", server.addr);
    let mut bob = Phone::udp("bob", server.addr);
    alice.send(alice.request("INVITE", &bob.contact(), TYPE, SDP));
    let at_bob = bob.expect("INVITE");
    let via = at_bob.via(0).and_then(|v| v.branch(at_bob.buf()));
    let branch = String::from_utf8_lossy(via.expect("a branch")).into_owned();
    assert_eq!(text_of(&next(&told), "via-branch"), branch);
    answer_with(&mut bob, &at_bob, SDP);
    assert_eq!(text_of(&next(&told), "via-branch"), branch);
}

#[test]
fn a_dead_rtpengine_is_left_alone_and_the_other_serves() {
    let (addr, told) = ng_relay("192.0.2.9");
    // Nobody listens here: the kernel says so at once.
    let dead = UdpSocket::bind("127.0.0.1:0")
        .expect("a socket")
        .local_addr()
        .expect("an address");
    let server = Setup::lua(&script("KSR.rtpengine.rtpengine_manage0()", ""))
        .cfg("loadmodule \"rtpengine.so\"")
        .cfg(&format!("modparam(\"rtpengine\", \"rtpengine_sock\", \"udp:{dead}=99 udp:{addr}\")"))
        .cfg("modparam(\"rtpengine\", \"ping_mode\", 0)\nmodparam(\"rtpengine\", \"rtpengine_tout_ms\", 200)\nmodparam(\"rtpengine\", \"rtpengine_retr\", 1)")
        .start();
    let mut alice = Phone::udp("alice", server.addr);
    let mut bob = Phone::udp("bob", server.addr);
    for _ in 0..6 {
        alice.send(alice.request("INVITE", &bob.contact(), TYPE, SDP));
        let at_bob = bob.expect("INVITE");
        assert!(at_bob.body().windows(9).any(|w| w == b"192.0.2.9"));
        bob.answer(&at_bob, 486, "Busy", "");
        assert_eq!(alice.final_reply().status(), 486);
        assert_eq!(text_of(&next(&told), "command"), "offer");
        assert_eq!(text_of(&next(&told), "command"), "delete");
    }
    let show = |what: &str| server.call("rtpengine.show", &[what]);
    let dead_url = format!("udp:{dead}");
    assert_eq!(
        field(&show(&dead_url)[0], "disabled"),
        Some(&olelo_ipc::Value::Int(1))
    );
    let ping = server.call("rtpengine.ping", &["all"]);
    assert_eq!(
        field(&ping[0], "status"),
        Some(&olelo_ipc::Value::Str("fail".into()))
    );
    server.call("rtpengine.enable", &[&format!("udp:{addr}"), "0"]);
    let off = show(&format!("udp:{addr}"));
    assert_eq!(
        field(&off[0], "disabled"),
        Some(&olelo_ipc::Value::Str("1(permanent)".into()))
    );
    let on = server.call("rtpengine.enable", &[&format!("udp:{addr}"), "1"]);
    assert_eq!(
        field(&on[0], "status"),
        Some(&olelo_ipc::Value::Str("enable".into()))
    );
    assert_eq!(
        field(&show(&format!("udp:{addr}"))[0], "disabled"),
        Some(&olelo_ipc::Value::Int(0))
    );
}

#[test]
fn rtpproxy_rewrites_the_description() {
    let (addr, told) = relay(|command| {
        let text = String::from_utf8_lossy(command).into_owned();
        let answer = match command.first()? {
            b'V' => "20040107\n",
            b'U' => "35000 192.0.2.5\n",
            b'L' => "35002 192.0.2.5\n",
            b'Q' => "60 1 2 3 4\n",
            _ => "0\n",
        };
        Some((text, answer.into()))
    });
    let next = || loop {
        let c = told.recv_timeout(PATIENCE).expect("a command");
        if !c.starts_with('V') {
            return c;
        }
    };
    let server = Setup::lua(&script("KSR.rtpproxy.rtpproxy_manage('ro')", ""))
        .cfg("loadmodule \"rtpproxy.so\"")
        .cfg(&format!(
            "modparam(\"rtpproxy\", \"rtpproxy_sock\", \"udp:{addr}\")"
        ))
        .start();
    let mut alice = Phone::udp("alice", server.addr);
    let mut bob = Phone::udp("bob", server.addr);
    let invite = alice.request("INVITE", &bob.contact(), TYPE, SDP);
    alice.send(&invite);
    let at_bob = bob.expect("INVITE");
    let sdp = SDP
        .replace("10.0.0.1", "192.0.2.5")
        .replace("4000", "35000")
        .replace("4001", "35001");
    assert_eq!(
        String::from_utf8_lossy(at_bob.body()),
        format!("{sdp}a=nortpproxy:yes\r\n")
    );
    let length = olelo_tests::header(&at_bob, HeaderName::ContentLength);
    assert_eq!(length, at_bob.body().len().to_string());
    let (id, caller) = (
        String::from_utf8_lossy(at_bob.call_id().expect("a Call-ID")).into_owned(),
        from_tag(&at_bob),
    );
    assert_eq!(next(), format!("Uc0,8 {id} 10.0.0.1 4000 {caller};1"));
    answer_with(&mut bob, &at_bob, SDP);
    let ok = alice.reply(200);
    assert_eq!(
        next(),
        format!("Lc0,8 {id} 10.0.0.1 4000 {caller};1 callee;1")
    );
    assert!(String::from_utf8_lossy(ok.body()).contains("m=audio 35002 RTP/AVP 0 8\r\n"));
    alice.send(alice.in_dialog("ACK", 1, &invite, &ok));
    bob.expect("ACK");
    alice.send(alice.in_dialog("BYE", 2, &invite, &ok));
    bob.expect("BYE");
    assert_eq!(next(), format!("D {id} {caller} callee"));
    let listed = server.call("rtpproxy.list", &[]);
    assert_eq!(
        field(&listed[0], "disabled"),
        Some(&olelo_ipc::Value::Int(0))
    );
}

/// A real relay, ended with the test.
struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs rtpengine on the PATH"]
fn a_real_rtpengine_relays_a_call() {
    let port = free_port();
    let daemon = std::process::Command::new("rtpengine")
        .args([
            "--table=-1",
            "--interface=127.0.0.1",
            "--foreground",
            "--log-stderr",
        ])
        .arg(format!("--listen-ng=127.0.0.1:{port}"))
        .args(["--port-min=31000", "--port-max=31100"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("rtpengine starts");
    let _daemon = Daemon(daemon);
    let server = Setup::lua(&script(
        "KSR.rtpengine.rtpengine_manage('replace-origin')",
        "if KSR.is_BYE() then KSR.rtpengine.rtpengine_query_v('j', '$var(q)') KSR.info('q ' .. KSR.pv.get('$var(q)') .. '\\n') end",
    ))
    .cfg("loadmodule \"rtpengine.so\"")
    .cfg(&format!("modparam(\"rtpengine\", \"rtpengine_sock\", \"udp:127.0.0.1:{port}\")"))
    .start();
    server.eventually("rtpengine answers", || {
        field(&server.call("rtpengine.enable", &["all", "1"])[0], "status")
            == Some(&olelo_ipc::Value::Str("enable".into()))
    });
    let mut alice = Phone::udp("alice", server.addr);
    let mut bob = Phone::udp("bob", server.addr);
    let invite = alice.request("INVITE", &bob.contact(), TYPE, SDP);
    alice.send(&invite);
    let at_bob = bob.expect("INVITE");
    let sdp = String::from_utf8_lossy(at_bob.body()).into_owned();
    assert!(
        sdp.contains("c=IN IP4 127.0.0.1") && !sdp.contains("10.0.0.1"),
        "{sdp}"
    );
    answer_with(&mut bob, &at_bob, SDP);
    let ok = alice.reply(200);
    assert!(String::from_utf8_lossy(ok.body()).contains("c=IN IP4 127.0.0.1"));
    alice.send(alice.in_dialog("ACK", 1, &invite, &ok));
    bob.expect("ACK");
    alice.send(alice.in_dialog("BYE", 2, &invite, &ok));
    bob.expect("BYE");
    assert!(server.wait_for_log("q {").contains("totals"));
    assert_eq!(
        server.call("rtpengine.get_hash_total", &[])[0],
        olelo_ipc::Value::Int(0)
    );
}
