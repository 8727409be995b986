//! Replies without state, and what the server does with what is no request for it.

use olelo_sip::HeaderName;
use olelo_tests::{Phone, Setup, Transport, header};

const SCRIPT: &str = r#"
function ksr_request_route()
  if KSR.maxfwd.process_maxfwd(10) < 0 then KSR.sl.sl_send_reply(483, "Too Many Hops") return 1 end
  if KSR.is_OPTIONS() and KSR.is_myself_ruri() then KSR.sl.sl_send_reply(200, "Keepalive") KSR.x.exit() end
  KSR.sl.sl_send_reply(404, "Not here")
end
"#;

#[test]
fn options_is_answered_over_udp_and_tcp() {
    let server = Setup::lua(SCRIPT).start();
    for how in [Transport::Udp, Transport::Tcp] {
        let mut phone = Phone::new("a", server.addr, how);
        let reply = phone.ask(&phone.request("OPTIONS", "sip:test.local", "", ""));
        assert_eq!((reply.status(), reply.reason()), (200, &b"Keepalive"[..]));
        assert!(reply.to_tag().is_some());
        assert!(header(&reply, HeaderName::Via).contains(&format!("rport={}", phone.addr.port())));
    }
}

#[test]
fn the_last_hop_is_refused() {
    let server = Setup::lua(SCRIPT).start();
    let mut phone = Phone::udp("a", server.addr);
    let request = phone
        .request("OPTIONS", "sip:test.local", "", "")
        .replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(phone.ask(&request).status(), 483);
}

#[test]
fn garbage_is_met_with_silence_and_counted() {
    let server = Setup::lua(SCRIPT).start();
    let mut phone = Phone::udp("a", server.addr);
    phone.send(b"no SIP at all\r\n\r\n");
    phone.send([0xff; 300]);
    // Keep-alives are no fault.
    phone.send(b"\r\n\r\n");
    assert_eq!(
        phone
            .ask(&phone.request("OPTIONS", "sip:test.local", "", ""))
            .status(),
        200
    );
    server.eventually("both are counted", || server.stat("core.bad_msg_hdr") == 2);
    assert_eq!(server.stat("core.rcv_keepalives"), 1);
}

/// Where a request came from is for us to say: replies of those behind us would go there.
#[test]
fn a_claimed_received_is_replaced() {
    let server = Setup::lua(SCRIPT).start();
    let mut phone = Phone::udp("a", server.addr);
    let honest = phone.request("OPTIONS", "sip:test.local", "", "");
    let claimed = honest.replace(";rport", ";received=203.0.113.9");
    assert_ne!(claimed, honest);
    let reply = phone.ask(&claimed);
    let via = header(&reply, HeaderName::Via);
    assert!(via.contains(";received=127.0.0.1"), "{via}");
    assert!(!via.contains("203.0.113.9"), "{via}");
}
