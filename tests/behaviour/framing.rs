//! Messages on a stream: fragments, several in one piece, keep-alives, limits.

use olelo_tests::{PATIENCE, Phone, Setup, Transport};
use std::io::{Read, Write};
use std::net::TcpStream;

const SCRIPT: &str = "function ksr_request_route() KSR.sl.sl_send_reply(200, 'OK') end";

#[test]
fn a_message_may_come_byte_by_byte() {
    let server = Setup::lua(SCRIPT).start();
    let mut phone = Phone::new("a", server.addr, Transport::Tcp);
    for b in phone
        .request("OPTIONS", "sip:test.local", "", "some body")
        .bytes()
    {
        phone.send([b]);
    }
    assert_eq!(phone.final_reply().status(), 200);
}

#[test]
fn several_messages_may_come_at_once() {
    let server = Setup::lua(SCRIPT).start();
    let mut phone = Phone::new("a", server.addr, Transport::Tcp);
    let all: String = (0..20)
        .map(|_| phone.request("OPTIONS", "sip:test.local", "", "x"))
        .collect();
    phone.send(format!("\r\n{all}"));
    for _ in 0..20 {
        assert_eq!(phone.final_reply().status(), 200);
    }
}

#[test]
fn a_keep_alive_is_answered() {
    let server = Setup::lua(SCRIPT).start();
    let mut s = TcpStream::connect(server.addr).expect("a connection");
    s.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    s.write_all(b"\r\n\r\n").expect("sent");
    let mut got = [0u8; 2];
    s.read_exact(&mut got).expect("the pong");
    assert_eq!(&got, b"\r\n");
}

#[test]
fn what_is_no_sip_ends_the_connection_only() {
    let server = Setup::lua(SCRIPT).start();
    let mut good = Phone::new("a", server.addr, Transport::Tcp);
    for bad in [
        &b"GARBAGE GARBAGE GARBAGE\r\n\r\n"[..],
        b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 99999999999\r\n\r\n",
    ] {
        let mut s = TcpStream::connect(server.addr).expect("a connection");
        s.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        s.write_all(bad).expect("sent");
        let mut rest = Vec::new();
        // End of file or a reset: the server hung up.
        let _ = s.read_to_end(&mut rest);
        assert_eq!(rest, b"", "{:?}", String::from_utf8_lossy(bad));
    }
    assert_eq!(
        good.ask(&good.request("OPTIONS", "sip:test.local", "", ""))
            .status(),
        200
    );
}
