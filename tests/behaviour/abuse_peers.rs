//! Peers, control clients and logs that misbehave cost their own connection, request or line; others
//! are served meanwhile, and a counter tells.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use olelo_ipc::Value;
use olelo_ipc::binrpc::{self, Body, Packet};
use olelo_tests::{PATIENCE, Phone, Server, Setup, Transport};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Instant;

const OK: &str = "function ksr_request_route() KSR.sl.sl_send_reply(200, 'OK') end";

/// Answers, with a long line of the log for each message.
const CHATTY: &str = "function ksr_request_route() KSR.err(string.rep('x', 2000) .. '\\n') KSR.sl.sl_send_reply(200, 'OK') end";

/// Both transports answer.
fn serves(server: &Server) {
    for how in [Transport::Udp, Transport::Tcp] {
        let mut phone = Phone::new("a", server.addr, how);
        let got = phone.ask(&phone.request("OPTIONS", "sip:test.local", "", ""));
        assert_eq!(got.status(), 200, "{how:?}");
    }
}

/// Waits until the peer has closed; fails where it sends anything.
fn is_closed(mut s: &TcpStream) {
    s.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    match s.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("not closed: {other:?}"),
    }
}

fn wait_for_stat(server: &Server, name: &str, least: i64) {
    server.eventually(&format!("{name} of {least}"), || server.stat(name) >= least);
}

#[test]
fn a_byte_now_and_then_does_not_hold_a_connection() {
    let server = Setup::lua(OK)
        .cfg("tcp_msg_read_timeout=2\ntcp_msg_data_timeout=2")
        .start();
    let head = b"OPTIONS sip:a SIP/2.0\r\nX: ";
    let slow = TcpStream::connect(server.addr).expect("a connection");
    (&slow).write_all(head).expect("sent");
    let body = TcpStream::connect(server.addr).expect("a connection");
    (&body)
        .write_all(b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 900\r\n\r\n")
        .expect("sent");
    // An answer to a keep-alive is no message, and an idle connection is not slow.
    let idle = TcpStream::connect(server.addr).expect("a connection");
    (&idle).write_all(b"\r\n").expect("sent");
    let mut dripped = 0;
    server.eventually("the slow one is closed", || {
        dripped += 1;
        let _ = (&body).write_all(b"x");
        (&slow).write_all(b"x").is_err()
    });
    assert!(dripped > 3, "bytes came all the time");
    is_closed(&body);
    assert_eq!(server.stat("tcp.read_timeout"), 2);
    (&idle).write_all(b"\r\n").expect("the idle one lives");
    let mut pong = [0; 2];
    idle.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (&idle)
        .read_exact(&mut pong)
        .expect("the idle one is answered");
    serves(&server);
}

#[test]
fn a_message_in_many_pieces_arrives_if_it_takes_not_too_long() {
    let server = Setup::lua(OK).cfg("tcp_msg_read_timeout=30").start();
    let mut phone = Phone::new("a", server.addr, Transport::Tcp);
    let message = phone.request("OPTIONS", "sip:test.local", "", "a body");
    for piece in message.as_bytes().chunks(7) {
        phone.send(piece);
    }
    assert_eq!(phone.receive().status(), 200);
    assert_eq!(server.stat("tcp.read_timeout"), 0);
}

#[test]
fn what_is_no_sip_or_too_large_closes_its_connection() {
    let server = Setup::lua(OK).start();
    let bad: [&[u8]; 4] = [
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 4294967295\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\n\n\n\n\n\n\n\n",
    ];
    for bytes in bad {
        let s = TcpStream::connect(server.addr).expect("a connection");
        (&s).write_all(bytes).expect("sent");
        is_closed(&s);
    }
    let endless = TcpStream::connect(server.addr).expect("a connection");
    let line = [b'a'; 8192];
    while (&endless).write_all(&line).is_ok() {}
    wait_for_stat(&server, "tcp.bad_stream", 5);
    serves(&server);
}

#[test]
fn a_peer_that_resets_costs_nothing() {
    let server = Setup::lua(OK).start();
    let whole =
        Phone::new("a", server.addr, Transport::Tcp).request("OPTIONS", "sip:test.local", "", "");
    for part in [&whole[..], &whole[..50], ""] {
        for _ in 0..50 {
            let s = TcpStream::connect(server.addr).expect("a connection");
            (&s).write_all(part.as_bytes()).expect("sent");
            let s = socket2(s);
            s.set_linger(Some(std::time::Duration::ZERO))
                .expect("a reset at close");
        }
    }
    serves(&server);
    server.eventually("none is left", || {
        server.stat("tcp.current_opened_connections") == 0
    });
}

fn socket2(s: TcpStream) -> socket2::Socket {
    s.into()
}

#[test]
fn a_peer_that_does_not_read_is_closed_and_others_are_served() {
    let script = "function ksr_request_route() KSR.hdr.append_to_reply('X: ' .. string.rep('x', 8000) .. '\\r\\n') KSR.sl.sl_send_reply(200, 'OK') end";
    let server = Setup::lua(script).cfg("tcp_send_timeout=2").start();
    let mut ask = Phone::new("a", server.addr, Transport::Tcp);
    let request = ask.request("OPTIONS", "sip:test.local", "", "");
    // More than its queue holds: closed at once.
    let deaf = TcpStream::connect(server.addr).expect("a connection");
    while (&deaf).write_all(request.as_bytes()).is_ok() {}
    wait_for_stat(&server, "tcp.sendq_full", 1);
    assert_eq!(ask.ask(&request).status(), 200);
    serves(&server);
    assert_eq!(server.stat("tcp.send_timeout"), 0);
}

#[test]
fn connections_are_bounded_at_all_and_from_one_address() {
    let server = Setup::lua(OK)
        .cfg("tcp_max_connections=40\ntcp_accept_iplimit=20")
        .start();
    let mut phone = Phone::new("a", server.addr, Transport::Tcp);
    let request = phone.request("OPTIONS", "sip:test.local", "", "");
    assert_eq!(phone.ask(&request).status(), 200);
    let flood: Vec<TcpStream> = (0..60)
        .filter_map(|_| TcpStream::connect(server.addr).ok())
        .collect();
    wait_for_stat(&server, "tcp.local_reject", 41);
    assert_eq!(server.stat("tcp.current_opened_connections"), 20);
    assert!(
        server
            .wait_for_log("refused")
            .contains("127.0.0.1 has 20 (tcp_accept_iplimit)")
    );
    let refused = server.logged().matches(" refused: ").count();
    assert!(
        refused <= 2,
        "a line per worker, not per connection: {refused}"
    );
    // Another address is none of these; who was there before is served.
    let other: std::net::SocketAddr = "127.0.0.9:0".parse().expect("an address");
    let s =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    s.bind(&other.into()).expect("bound");
    s.connect(&server.addr.into()).expect("connected");
    let other: TcpStream = s.into();
    (&other).write_all(b"\r\n\r\n").expect("sent");
    other.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (&other).read_exact(&mut [0; 2]).expect("a pong");
    assert_eq!(phone.ask(&request).status(), 200);
    drop(flood);
    server.eventually("the others are gone", || {
        server.stat("tcp.current_opened_connections") <= 2
    });
    serves(&server);
}

#[test]
fn the_count_of_an_address_survives_its_worker() {
    let server = Setup::lua(OK).cfg("tcp_accept_iplimit=10").start();
    let held: Vec<TcpStream> = (0..10)
        .filter_map(|_| TcpStream::connect(server.addr).ok())
        .collect();
    server.eventually("ten", || {
        server.stat("tcp.current_opened_connections") == 10
    });
    for (pid, d) in server.processes() {
        if d.starts_with("tcp receiver") {
            let pid = nix::unistd::Pid::from_raw(pid as i32);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
        }
    }
    held.iter().for_each(is_closed);
    let mut phone = loop_until_connected(&server);
    let request = phone.request("OPTIONS", "sip:test.local", "", "");
    assert_eq!(
        phone.ask(&request).status(),
        200,
        "nothing is left of the ten"
    );
}

/// A connection made after the workers died is accepted by their replacements.
fn loop_until_connected(server: &Server) -> Phone {
    server.eventually("new workers", || {
        server.stat("tcp.current_opened_connections") == 0
    });
    Phone::new("a", server.addr, Transport::Tcp)
}

/// Raises this process' limit of descriptors, and says what it is.
fn raise_open_files() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised");
    hard as usize
}

#[test]
fn thousands_of_idle_connections_leave_room_for_traffic() {
    let many = 10_000.min(raise_open_files() - 500);
    let server = Setup::lua(OK)
        .cfg("tcp_max_connections=20000\ntcp_accept_iplimit=0")
        .start();
    let mut idle = Vec::with_capacity(many);
    for _ in 0..many {
        idle.push(TcpStream::connect(server.addr).expect("a connection"));
    }
    server.eventually("all are open", || {
        server.stat("tcp.current_opened_connections") == many as i64
    });
    serves(&server);
    let last = idle.last().expect("one");
    (&*last).write_all(b"\r\n\r\n").expect("sent");
    (&*last)
        .read_exact(&mut [0; 2])
        .expect("an idle one is answered when it speaks");
    drop(idle);
    server.eventually("all are gone", || {
        server.stat("tcp.current_opened_connections") == 0
    });
}

#[test]
fn without_descriptors_clients_are_turned_away_and_the_rest_goes_on() {
    let server = Setup::lua(OK).cfg("tcp_accept_iplimit=0").start();
    let mut phone = Phone::new("a", server.addr, Transport::Tcp);
    let request = phone.request("OPTIONS", "sip:test.local", "", "");
    assert_eq!(phone.ask(&request).status(), 200);
    for (pid, d) in server.processes() {
        if d.starts_with("tcp receiver") {
            // Room for fifty more, whatever the process has open already.
            let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
            let numbers = open.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
            let most = numbers.max().expect("some") + 50;
            let done = std::process::Command::new("prlimit")
                .args([
                    "--pid",
                    &pid.to_string(),
                    &format!("--nofile={most}:{most}"),
                ])
                .status();
            assert!(done.expect("prlimit").success());
        }
    }
    raise_open_files();
    let flood: Vec<TcpStream> = (0..900)
        .map(|_| TcpStream::connect(server.addr).expect("a connection"))
        .collect();
    wait_for_stat(&server, "tcp.local_reject", 1);
    assert_eq!(phone.ask(&request).status(), 200);
    let lines = server.logged().matches("accepting on").count();
    assert!((1..=2).contains(&lines), "once per worker: {lines}");
    drop(flood);
    server.eventually("they are served again", || {
        server.stat("tcp.current_opened_connections") <= 1
    });
    serves(&server);
}

fn packet(name: &str, args: Vec<Value>) -> Vec<u8> {
    binrpc::encode(&Packet {
        cookie: 1,
        body: Body::Request(name.into(), args),
    })
}

#[test]
fn control_clients_that_never_read_do_not_keep_others_out() {
    let server = Setup::lua(OK).start();
    let long = packet("core.echo", vec![Value::Str("x".repeat(30_000))]);
    // More clients than there are places: some greedy, some silent.
    let clients: Vec<UnixStream> = (0..300)
        .map(|i| {
            let mut s = UnixStream::connect(server.dir().join("ctl")).expect("connected");
            s.set_nonblocking(true).expect("set");
            if i % 2 == 0 {
                while s.write(&long).is_ok_and(|n| n == long.len()) {}
            }
            s
        })
        .collect();
    assert_eq!(
        server.processes().len(),
        8,
        "an operator gets in and is answered"
    );
    wait_for_stat(&server, "ctl.evicted", 100);
    drop(clients);
    serves(&server);
}

#[test]
fn datagram_and_fifo_clients_that_never_read_do_not_hold_up_others() {
    let dir = std::env::temp_dir().join(format!("olelo-peers-{}", olelo_tests::unique()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let d = dir.display();
    let server = Setup::lua(OK)
        .cfg(&format!("modparam(\"jsonrpcs\", \"fifo_name\", \"{d}/fifo\")\nmodparam(\"jsonrpcs\", \"fifo_reply_dir\", \"{d}\")\nmodparam(\"jsonrpcs\", \"dgram_socket\", \"{d}/socket\")"))
        .start();
    let call = |reply: &str, text: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"core.echo\",\"params\":[\"{text}\"],\"id\":1,\"reply_name\":\"{reply}\"}}\n"
        )
    };

    // A socket that is full, then one that is read.
    let deaf = UnixDatagram::bind(dir.join("deaf")).expect("a socket");
    let started = Instant::now();
    for _ in 0..100 {
        deaf.send_to(call("", "x").as_bytes(), dir.join("socket"))
            .expect("sent");
    }
    let reads = UnixDatagram::bind(dir.join("reads")).expect("a socket");
    reads.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    reads
        .send_to(call("", "hello").as_bytes(), dir.join("socket"))
        .expect("sent");
    let mut buf = [0; 4096];
    let n = reads.recv(&mut buf).expect("an answer");
    assert!(String::from_utf8_lossy(&buf[..n]).contains("hello"));
    wait_for_stat(&server, "jsonrpcs.lost_answers", 50);
    eprintln!("datagrams: {:?}", started.elapsed());

    // FIFOs: nobody has the first open, the second's reader sleeps with a full pipe.
    for name in ["nobody", "sleeps", "wakes"] {
        nix::unistd::mkfifo(&dir.join(name), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    }
    let open = |name: &str| {
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.join(name))
            .expect("opened")
    };
    let _sleeps = open("sleeps");
    let mut wakes = open("wakes");
    let mut fifo = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.join("fifo"))
        .expect("the FIFO");
    let long = "x".repeat(30_000);
    for _ in 0..5 {
        fifo.write_all(call("nobody", "x").as_bytes())
            .expect("asked");
        fifo.write_all(call("sleeps", &long).as_bytes())
            .expect("asked");
        fifo.write_all(b"this is no JSON\n").expect("asked");
    }
    fifo.write_all(call("wakes", "good morning").as_bytes())
        .expect("asked");
    let n = wakes.read(&mut buf).expect("an answer");
    assert!(String::from_utf8_lossy(&buf[..n]).contains("good morning"));
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[test]
fn a_log_on_a_full_disk_loses_lines_only() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let server = Setup::lua(CHATTY).stderr(full).start();
    for _ in 0..20 {
        serves(&server);
    }
    assert!(server.stat("core.log_lost") >= 40);
}

#[test]
fn a_log_that_nobody_reads_loses_lines_only() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let server = Setup::lua(CHATTY).stderr(writer).start();
    // Far more than a pipe holds.
    for _ in 0..40 {
        serves(&server);
    }
    wait_for_stat(&server, "core.log_lost", 10);
    drop(reader);
    serves(&server);
}
