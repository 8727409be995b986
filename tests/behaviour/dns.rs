//! Where names lead: SRV and its failover, the cache and its commands, destinations that failed.

use olelo_ipc::Value;
use olelo_sip::{HeaderName, Message};
use olelo_tests::{Phone, Server, Setup, Transport, field, free_port, header, unique};
use simple_dns::rdata::{A, RData, SRV};
use simple_dns::{CLASS, Name, Packet, QTYPE, RCODE, ResourceRecord};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

const RELAY: &str = r#"request_route {
    if (is_method("INVITE")) t_set_fr(0, 700);
    if (is_present_hf("X-Only-One")) t_set_disable_failover(1);
    if (is_present_hf("X-Flags")) { t_relay_to("0x04"); exit; }
    t_relay();
}"#;

/// What a name server has.
#[derive(Clone)]
enum Says {
    /// Priority, port, target.
    Srv(u16, u16, &'static str),
    Address(Ipv4Addr),
}

/// A name server.
struct NameServer {
    addr: SocketAddr,
    zone: Arc<Mutex<Vec<(&'static str, Says)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// Says what it has, once the ports are known.
    fn has(&self, zone: Vec<(&'static str, Says)>) {
        *self.zone.lock().expect("zone") = zone;
    }

    /// How many questions it was asked.
    fn questions(&self) -> usize {
        self.asked.lock().expect("questions").len()
    }
}

/// A name server that knows nothing yet.
fn name_server() -> NameServer {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let addr = socket.local_addr().expect("an address");
    let server = NameServer {
        addr,
        zone: Arc::default(),
        asked: Arc::default(),
    };
    let (known, asked) = (server.zone.clone(), server.asked.clone());
    std::thread::spawn(move || {
        let mut buf = [0; 1500];
        while let Ok((n, from)) = socket.recv_from(&mut buf) {
            let Ok(q) = Packet::parse(&buf[..n]) else {
                continue;
            };
            let name = q.questions[0].qname.to_string();
            let kind = q.questions[0].qtype;
            asked.lock().expect("questions").push(name.clone());
            let zone = known.lock().expect("zone").clone();
            let mut reply = Packet::new_reply(q.id());
            reply.questions = q.questions.clone();
            for (_, says) in zone.iter().filter(|(n, _)| *n == name) {
                let data = match says {
                    Says::Srv(priority, port, target) => RData::SRV(SRV {
                        priority: *priority,
                        weight: 0,
                        port: *port,
                        target: Name::new(target).expect("a name"),
                    }),
                    Says::Address(ip) => RData::A(A::from(*ip)),
                };
                if kind == QTYPE::TYPE(data.type_code()) {
                    let owner = Name::new(&name).expect("a name").into_owned();
                    let record = ResourceRecord::new(owner, CLASS::IN, 300, data);
                    reply.answers.push(record);
                }
            }
            if !zone.iter().any(|(n, _)| *n == name) {
                *reply.rcode_mut() = RCODE::NameError;
            }
            let _ = socket.send_to(&reply.build_bytes_vec().expect("a packet"), from);
        }
    });
    server
}

/// A server and the `resolv.conf` it reads.
struct Resolving {
    server: Server,
    file: PathBuf,
}

impl Deref for Resolving {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for Resolving {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A server that asks this name server.
fn start(setup: Setup, name_server: &NameServer) -> Resolving {
    let file = std::env::temp_dir().join(format!("olelo-resolv-{}", unique()));
    let text = format!(
        "nameserver {}\noptions timeout:2 attempts:1\n",
        name_server.addr
    );
    std::fs::write(&file, text).expect("resolv.conf");
    let server = setup
        .env("OLELO_RESOLV_CONF", &file.display().to_string())
        .env("OLELO_HOSTS", "/dev/null")
        .start();
    Resolving { server, file }
}

fn local() -> Says {
    Says::Address(Ipv4Addr::LOCALHOST)
}

/// Two places for `pbx.test`, the first at `first`, the second at `second`.
fn pbx(service: &'static str, first: u16, second: u16) -> Vec<(&'static str, Says)> {
    vec![
        (service, Says::Srv(20, second, "two.pbx.test")),
        (service, Says::Srv(10, first, "one.pbx.test")),
        ("one.pbx.test", local()),
        ("two.pbx.test", local()),
    ]
}

fn branch(m: &Message) -> String {
    let via = header(m, HeaderName::Via);
    let at = via.find("branch=").expect("a branch") + 7;
    via[at..]
        .split([';', ','])
        .next()
        .unwrap_or_default()
        .to_string()
}

fn text(v: &Value, name: &str) -> String {
    match field(v, name) {
        Some(Value::Str(s)) => s.clone(),
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn the_first_place_is_silent_and_the_second_gets_the_request() {
    let dns = name_server();
    let server = start(Setup::native(RELAY).cfg("use_dns_failover=yes"), &dns);
    let (mut silent, mut alive) = (Phone::udp("s", server.addr), Phone::udp("b", server.addr));
    dns.has(pbx(
        "_sip._udp.pbx.test",
        silent.addr.port(),
        alive.addr.port(),
    ));
    let mut caller = Phone::udp("a", server.addr);
    caller.send(caller.request("INVITE", "sip:b@pbx.test", "", ""));
    let first = silent.expect("INVITE");
    let second = alive.expect("INVITE");
    assert_eq!(second.ruri(), b"sip:b@pbx.test");
    let (b1, b2) = (branch(&first), branch(&second));
    assert!(b1.ends_with(".0") && b2.ends_with(".1"), "{b1} {b2}");
    assert_eq!(
        b1[..b1.len() - 1],
        b2[..b2.len() - 1],
        "two branches of one transaction"
    );
    alive.answer(&second, 180, "Ringing", "");
    alive.answer(&second, 200, "OK", "");
    assert_eq!(caller.final_reply().status(), 200);
    assert_eq!(dns.asked.lock().unwrap()[0], "_sip._udp.pbx.test");
}

#[test]
fn a_503_leads_on_and_another_failure_does_not() {
    let dns = name_server();
    let cfg = "use_dns_failover=yes\nmodparam(\"tm\", \"failover_reply_codes\", \"code=480\")";
    let server = start(Setup::native(RELAY).cfg(cfg), &dns);
    let (mut one, mut two) = (Phone::udp("s", server.addr), Phone::udp("b", server.addr));
    dns.has(pbx("_sip._udp.pbx.test", one.addr.port(), two.addr.port()));
    let mut caller = Phone::udp("a", server.addr);
    for code in [503, 480] {
        caller.send(caller.request("INVITE", "sip:b@pbx.test", "", ""));
        let r = one.expect("INVITE");
        one.answer(&r, code, "Elsewhere", "");
        one.expect("ACK");
        let r = two.expect("INVITE");
        two.answer(&r, 486, "Busy", "");
        two.expect("ACK");
        let reply = caller.final_reply();
        assert_eq!(
            reply.status(),
            if code == 503 { 486 } else { 480 },
            "the best of both"
        );
    }
    let questions = dns.questions();
    caller.send(caller.request("OPTIONS", "sip:b@pbx.test", "", ""));
    let r = one.expect("OPTIONS");
    one.answer(&r, 500, "No", "");
    assert_eq!(caller.final_reply().status(), 500);
    assert_eq!(dns.questions(), questions, "all is remembered");
    // Nobody is left.
    caller.send(caller.request("OPTIONS", "sip:b@pbx.test", "", ""));
    for phone in [&mut one, &mut two] {
        let r = phone.expect("OPTIONS");
        phone.answer(&r, 503, "No", "");
    }
    assert_eq!(caller.final_reply().status(), 500);
    // The script wants none.
    for header in ["X-Only-One: 1\r\n", "X-Flags: 4\r\n"] {
        caller.send(caller.request("OPTIONS", "sip:b@pbx.test", header, ""));
        let r = one.expect("OPTIONS");
        one.answer(&r, 503, "No", "");
        assert_eq!(caller.final_reply().status(), 500);
    }
    // Without failover a 503 is the end.
    server.call("cfg.set_now_int", &["core", "use_dns_failover", "0"]);
    caller.send(caller.request("OPTIONS", "sip:b@pbx.test", "", ""));
    let r = one.expect("OPTIONS");
    one.answer(&r, 503, "No", "");
    assert_eq!(caller.final_reply().status(), 500);
    // The next that the second place gets is what is meant for it.
    let direct = format!("sip:b@{}", two.addr);
    caller.send(caller.request("OPTIONS", &direct, "", ""));
    let r = two.expect("OPTIONS");
    assert_eq!(r.ruri(), direct.as_bytes());
    two.answer(&r, 200, "OK", "");
    assert_eq!(caller.final_reply().status(), 200);
}

#[test]
fn a_connection_that_does_not_open_leads_on() {
    // SRV of TCP leads to nobody, and so does its address; the commands name a place by UDP.
    let dns = name_server();
    dns.has(vec![
        (
            "_sip._tcp.pbx.test",
            Says::Srv(1, free_port(), "one.pbx.test"),
        ),
        (
            "_sip._tcp.pbx.test",
            Says::Srv(2, free_port(), "one.pbx.test"),
        ),
        ("one.pbx.test", local()),
    ]);
    let cfg = "use_dns_failover=yes\nuse_dst_blocklist=yes";
    let server = start(Setup::native(RELAY).cfg(cfg), &dns);
    let mut alive = Phone::udp("b", server.addr);
    let mut caller = Phone::udp("a", server.addr);
    let tcp = "sip:b@pbx.test;transport=tcp";
    let reply = caller.ask(&caller.request("OPTIONS", tcp, "", ""));
    assert_eq!(reply.status(), 477, "both places were tried, and at once");
    let listed = server.call("dst_blocklist.view", &[]);
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(
        (text(&listed[0], "protocol"), text(&listed[0], "ip")),
        ("tcp".into(), "127.0.0.1".into())
    );
    // What failed is not tried again.
    let reply = caller.ask(&caller.request("OPTIONS", tcp, "", ""));
    assert_eq!(reply.status(), 477);
    server.eventually("a hit", || {
        server.call("dst_blocklist.stats_get", &["hits"])[0]
            != Value::Struct(vec![("hits".into(), Value::Int(0))])
    });
    server.call("dst_blocklist.delete_all", &[]);
    assert!(server.call("dst_blocklist.view", &[]).is_empty());
    // By hand: the first place is avoided.
    let port = alive.addr.port().to_string();
    let dead = free_port().to_string();
    server.call(
        "dns.add_srv",
        &[
            "_sip._udp.hand.test",
            "60",
            "1",
            "0",
            &dead,
            "one.pbx.test",
            "0",
        ],
    );
    server.call(
        "dns.add_srv",
        &[
            "_sip._udp.hand.test",
            "60",
            "2",
            "0",
            &port,
            "one.pbx.test",
            "0",
        ],
    );
    server.call("dst_blocklist.add", &["127.0.0.1", &dead, "1", "64"]);
    caller.send(caller.request("OPTIONS", "sip:b@hand.test", "", ""));
    let r = alive.expect("OPTIONS");
    alive.answer(&r, 200, "OK", "");
    assert_eq!(caller.final_reply().status(), 200);
}

#[test]
fn who_does_not_answer_is_avoided() {
    let cfg = "use_dst_blocklist=yes\ndst_blocklist_expire=30\nmodparam(\"tm\", \"blst_503\", 1)\nmodparam(\"tm\", \"blst_503_max_timeout\", 9)";
    let dns = name_server();
    let server = start(Setup::native(RELAY).cfg(cfg), &dns);
    let (mut silent, mut busy) = (Phone::udp("s", server.addr), Phone::udp("b", server.addr));
    let mut caller = Phone::udp("a", server.addr);
    let to = format!("sip:s@{}", silent.addr);
    assert_eq!(
        caller.ask(&caller.request("INVITE", &to, "", "")).status(),
        408
    );
    silent.expect("INVITE");
    server.eventually("it is listed", || {
        server.call("dst_blocklist.view", &[]).len() == 1
    });
    assert_eq!(
        caller.ask(&caller.request("INVITE", &to, "", "")).status(),
        477
    );
    // A 503 lists for as long as it asks, within limits; one that does not ask does not.
    let to = format!("sip:b@{}", busy.addr);
    for retry in ["", "Retry-After: 3600\r\n"] {
        caller.send(caller.request("OPTIONS", &to, "", ""));
        let r = busy.expect("OPTIONS");
        busy.answer(&r, 503, "Later", retry);
        assert_eq!(caller.final_reply().status(), 500);
    }
    assert_eq!(
        caller.ask(&caller.request("OPTIONS", &to, "", "")).status(),
        477
    );
    let all = server.call("dst_blocklist.debug", &[]);
    let mut seconds: Vec<i64> = all
        .chunks(5)
        .filter_map(|e| match e[3] {
            Value::Int(n) => Some(n),
            _ => None,
        })
        .collect();
    seconds.sort_unstable();
    assert!(
        (1..=9).contains(&seconds[0]) && (10..=30).contains(&seconds[1]),
        "{all:?}"
    );
    // A BYE goes out no matter what.
    caller.send(caller.request("BYE", &to, "", ""));
    let r = busy.expect("BYE");
    busy.answer(&r, 200, "OK", "");
    assert_eq!(caller.final_reply().status(), 200);
}

#[test]
fn names_given_by_hand_lead_somewhere_until_they_are_deleted() {
    let dns = name_server();
    let given =
        "modparam(\"corex\", \"dns_cache\", \"type=A;name=given.test;addr=127.0.0.1;flags=2\")";
    let server = start(Setup::native(RELAY).cfg(given), &dns);
    let given = server.call("dns.lookup", &["A", "given.test"]);
    assert_eq!(text(&given[0], "permanent"), "yes");
    server.call("dns.delete_a", &["given.test"]);
    let mut phone = Phone::udp("b", server.addr);
    let mut caller = Phone::udp("a", server.addr);
    let uri = format!("sip:b@hand.test:{}", phone.addr.port());
    assert_eq!(
        caller
            .ask(&caller.request("OPTIONS", &uri, "", ""))
            .status(),
        478
    );
    // That there is none is remembered.
    let questions = dns.questions();
    assert!(questions > 0);
    assert_eq!(
        caller
            .ask(&caller.request("OPTIONS", &uri, "", ""))
            .status(),
        478
    );
    assert_eq!(dns.questions(), questions);
    let seen = server.call("dns.view", &[]);
    assert!(
        seen.iter().all(|e| text(e, "negative_entry") == "yes"),
        "{seen:?}"
    );
    server.call("dns.delete_a", &["hand.test"]);

    server.call("dns.add_a", &["hand.test", "60", "127.0.0.1", "2"]);
    caller.send(caller.request("OPTIONS", &uri, "", ""));
    let r = phone.expect("OPTIONS");
    phone.answer(&r, 200, "OK", "");
    assert_eq!(caller.final_reply().status(), 200);

    let entry = &server.call("dns.lookup", &["A", "hand.test"])[0];
    assert_eq!(
        (text(entry, "type"), text(entry, "permanent")),
        ("A".into(), "yes".into())
    );
    let Some(Value::Struct(records)) = field(entry, "records") else {
        panic!("no records in {entry:?}")
    };
    assert_eq!(text(&records[0].1, "rr_ip"), "127.0.0.1");
    server.call("dns.delete_all", &[]);
    assert_eq!(
        server.call("dns.debug_all", &[]).len(),
        11,
        "the permanent one stays"
    );
    server.call("dns.delete_all_force", &[]);
    assert!(server.call("dns.debug", &[]).is_empty());
    let mut ctl = server.ctl();
    for (command, args) in [
        ("dns.lookup", &["XX", "hand.test"][..]),
        ("dns.lookup", &["A", "hand.test"]),
        ("dns.delete_srv", &["hand.test"]),
        ("dns.add_a", &["hand.test", "60", "::1", "0"]),
        ("dns.add_a", &["hand.test"]),
        ("dst_blocklist.add", &["nobody", "1", "1", "1"]),
    ] {
        assert!(ctl.call(command, args).is_err(), "{command} {args:?}");
    }
    // Name servers that are down are not asked.
    let questions = dns.questions();
    server.call("dns.set_server_state", &["0"]);
    assert_eq!(server.call("dns.get_server_state", &[]), [Value::Int(0)]);
    let reply = caller.ask(&caller.request("OPTIONS", "sip:b@other.test", "", ""));
    assert_eq!(reply.status(), 478);
    assert_eq!(dns.questions(), questions);
    assert_eq!(server.call("dns.mem_info", &[]).len(), 2);
}

#[test]
fn a_stateless_relay_goes_to_the_first_place() {
    let dns = name_server();
    let server = start(Setup::native("request_route { forward(); }"), &dns);
    let (mut one, two) = (Phone::udp("s", server.addr), Phone::udp("b", server.addr));
    dns.has(pbx("_sip._udp.pbx.test", one.addr.port(), two.addr.port()));
    for how in [Transport::Udp, Transport::Tcp] {
        let mut caller = Phone::new("a", server.addr, how);
        caller.send(caller.request("OPTIONS", "sip:b@pbx.test", "", ""));
        let r = one.expect("OPTIONS");
        one.answer(&r, 200, "OK", "");
        assert_eq!(caller.final_reply().status(), 200);
    }
}

#[test]
fn a_place_that_cannot_be_sent_to_leads_on_at_once() {
    let dns = name_server();
    let cfg = "use_dns_failover=yes\nuse_dst_blocklist=yes\ndst_blocklist_udp_imask=2";
    let server = start(Setup::native(RELAY).cfg(cfg).children(1), &dns);
    let mut alive = Phone::udp("b", server.addr);
    // Nothing can be sent to port 0.
    dns.has(pbx("_sip._udp.pbx.test", 0, alive.addr.port()));
    let mut caller = Phone::udp("a", server.addr);
    // Many at once: they are sent in batches, whose failures show only at the end.
    const MANY: usize = 12;
    for _ in 0..MANY {
        caller.send(caller.request("OPTIONS", "sip:b@pbx.test", "", ""));
    }
    for _ in 0..MANY {
        let r = alive.expect("OPTIONS");
        assert!(branch(&r).ends_with(".1"));
        alive.answer(&r, 200, "OK", "");
        assert_eq!(caller.final_reply().status(), 200);
    }
    assert!(
        server.call("dst_blocklist.view", &[]).is_empty(),
        "the mask says so"
    );
}
