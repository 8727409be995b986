//! IPv6, several sockets, and addresses that are told to others (`advertise`).

use olelo_sip::HeaderName;
use olelo_tests::{Phone, Setup, free_port, header, text};
use std::net::{SocketAddr, UdpSocket};

const SCRIPT: &str = r#"
function ksr_request_route()
  if KSR.is_REGISTER() then KSR.registrar.save("location", 0) return end
  if KSR.is_OPTIONS() then KSR.sl.sl_send_reply(200, KSR.is_IPv6() and "six" or "four") return end
  KSR.rr.record_route()
  if KSR.registrar.lookup("location") < 0 then KSR.sl.sl_send_reply(404, "Not Found") return end
  KSR.tm.t_relay()
end
"#;

#[test]
fn a_call_crosses_from_ipv4_to_ipv6() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let port = free_port();
    let other = free_port();
    let server = Setup::lua(SCRIPT)
        .cfg(&format!(
            "listen=udp:[::1]:{port}\nlisten=udp:127.0.0.1:{other} advertise proxy.example.com:5070 name \"public\""
        ))
        .start();
    let six: SocketAddr = format!("[::1]:{port}").parse().expect("an address");
    let four: SocketAddr = format!("127.0.0.1:{other}").parse().expect("an address");
    let s = UdpSocket::bind("[::1]:0").expect("a socket");
    s.set_read_timeout(Some(olelo_tests::PATIENCE))
        .expect("a timeout");
    let me = s.local_addr().expect("an address");
    let mut buf = vec![0u8; 65536];
    let register = format!(
        "REGISTER sip:test.local SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{0};rport\r\nFrom: <sip:six@test.local>;tag=1\r\nTo: <sip:six@test.local>\r\nCall-ID: {0}\r\nCSeq: 1 REGISTER\r\nContact: <sip:six@{me}>\r\nContent-Length: 0\r\n\r\n",
        olelo_tests::unique()
    );
    s.send_to(register.as_bytes(), six).expect("sent");
    let n = s.recv(&mut buf).expect("a reply");
    assert!(
        buf[..n].starts_with(b"SIP/2.0 200"),
        "{}",
        String::from_utf8_lossy(&buf[..n])
    );
    let mut caller = Phone::udp("caller", four);
    let invite = caller.request("INVITE", "sip:six@test.local", "", "");
    caller.send(invite);
    let n = s.recv(&mut buf).expect("the INVITE");
    let m = olelo_sip::Message::from_bytes(&buf[..n]).expect("a message");
    assert!(
        header(&m, HeaderName::Via).contains(&format!("[::1]:{port}")),
        "{}",
        text(&m)
    );
    let routes = text(&m);
    assert!(
        routes.contains("proxy.example.com:5070") && routes.contains(&format!("[::1]:{port}")),
        "{routes}"
    );
    let mut probe = Phone::udp("probe", four);
    assert_eq!(
        probe
            .ask(&probe.request("OPTIONS", "sip:test.local", "", ""))
            .reason(),
        b"four"
    );
    assert_eq!(server.call("core.sockets_list", &[]).len(), 4);
}
