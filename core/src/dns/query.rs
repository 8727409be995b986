//! One question to the name servers: over UDP to each in turn, over TCP where the answer was cut
//! short.
//!
//! The id is random and the port the system's choice; an answer counts if it comes from the server
//! asked and repeats id and question. Nothing is remembered here. Every wait ends: one server has
//! [`Conf::timeout`], all attempts together at most [`PATIENCE`].

use super::conf::Conf;
use super::record::{self, Kind, Record};
use crate::timer::monotonic_ms;
use olelo_ipc::process;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// All attempts together.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most records of an answer that count.
const MOST_RECORDS: usize = 128;
/// Most aliases followed within an answer.
const MOST_ALIASES: usize = 8;

/// A record and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Owner, lower case, without the last dot.
    pub name: String,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// What it says.
    pub record: Record,
}

/// Asks the servers. What comes back belongs to the name, to the names that it is an alias of, or to
/// hosts that its records name; it is empty where there is no such name or record. The error says why
/// nobody answered.
pub fn ask(conf: &Conf, name: &str, kind: Kind) -> Result<Vec<Found>, String> {
    let end = Instant::now() + PATIENCE;
    let mut why = String::from("no server");
    for _ in 0..conf.attempts {
        for server in &conf.servers {
            let attempt_ends = (Instant::now() + conf.timeout).min(end);
            let left = attempt_ends.saturating_duration_since(Instant::now());
            // Silent servers are not the message's fault.
            process::wait_until(monotonic_ms() + left.as_millis() as u64);
            match ask_one(*server, name, kind, attempt_ends) {
                Ok(found) => return Ok(found),
                Err(e) => why = format!("{server}: {e}"),
            }
            if Instant::now() >= end {
                break;
            }
        }
    }
    Err(format!("no answer for {name} ({}): {why}", kind.name()))
}

fn ask_one(server: SocketAddr, name: &str, kind: Kind, end: Instant) -> Result<Vec<Found>, String> {
    let id = rand::random();
    let question = question(id, name, kind)?;
    let answer = over_udp(server, &question, end).map_err(|e| e.to_string())?;
    match read(&answer, id, name, kind)? {
        Some(found) => Ok(found),
        None => {
            // Cut short: the same question over a connection.
            let answer = over_tcp(server, &question, end).map_err(|e| e.to_string())?;
            read(&answer, id, name, kind)?.ok_or_else(|| "the answer is cut short".to_string())
        }
    }
}

fn question(id: u16, name: &str, kind: Kind) -> Result<Vec<u8>, String> {
    let qname =
        Name::new(name.trim_end_matches('.')).map_err(|e| format!("\"{name}\" is no name: {e}"))?;
    let qtype = kind
        .on_the_wire()
        .ok_or_else(|| format!("{} records can't be asked for", kind.name()))?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        qname,
        QTYPE::TYPE(qtype),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet
        .build_bytes_vec()
        .map_err(|e| format!("\"{name}\" can't be asked for: {e}"))
}

fn over_udp(server: SocketAddr, question: &[u8], end: Instant) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // Connected: the kernel lets nobody else's datagrams in.
    socket.connect(server)?;
    socket.send(question)?;
    let mut buf = vec![0; 4096];
    loop {
        socket.set_read_timeout(Some(left(end)?))?;
        let n = match socket.recv(&mut buf) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            n => n?,
        };
        // Another id is an answer to someone else, or a guess.
        if buf.get(..2) == question.get(..2) && n >= 12 {
            buf.truncate(n);
            return Ok(buf);
        }
    }
}

fn over_tcp(server: SocketAddr, question: &[u8], end: Instant) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, left(end)?)?;
    stream.set_write_timeout(Some(left(end)?))?;
    let len = u16::try_from(question.len()).unwrap_or(0);
    stream.write_all(&[&len.to_be_bytes()[..], question].concat())?;
    let mut size = [0; 2];
    read_all(&mut stream, &mut size, end)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(size))];
    read_all(&mut stream, &mut answer, end)?;
    Ok(answer)
}

/// Fills `buf` before `end`, however slowly the bytes come.
fn read_all(stream: &mut TcpStream, buf: &mut [u8], end: Instant) -> std::io::Result<()> {
    let mut have = 0;
    while have < buf.len() {
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(&mut buf[have..]) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => have += n?,
        }
    }
    Ok(())
}

fn left(end: Instant) -> std::io::Result<Duration> {
    end.checked_duration_since(Instant::now())
        .filter(|d| !d.is_zero())
        .ok_or_else(|| std::io::ErrorKind::TimedOut.into())
}

/// What an answer says; `None` where it was cut short.
fn read(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Result<Option<Vec<Found>>, String> {
    let p = Packet::parse(bytes).map_err(|e| format!("the answer can't be read: {e}"))?;
    let asked = record::name(name);
    let ours = p.id() == id
        && p.has_flags(PacketFlag::RESPONSE)
        && p.questions.first().is_some_and(|q| {
            kind.on_the_wire().map(QTYPE::TYPE) == Some(q.qtype)
                && q.qname.to_string().eq_ignore_ascii_case(&asked)
        });
    if !ours {
        return Err("the answer is to another question".into());
    }
    match p.rcode() {
        RCODE::NameError => return Ok(Some(Vec::new())),
        RCODE::NoError => {}
        other => return Err(format!("the server says {other:?}")),
    }
    if p.has_flags(PacketFlag::TRUNCATION) {
        return Ok(None);
    }
    let all = p.answers.iter().chain(&p.additional_records);
    let all: Vec<Found> = all
        .filter(|r| r.class == CLASS::IN)
        .filter_map(|r| {
            Some(Found {
                name: record::name(&r.name.to_string()),
                ttl: r.ttl,
                record: Record::from_packet(&r.rdata)?,
            })
        })
        .take(MOST_RECORDS)
        .collect();
    Ok(Some(relevant(all, asked)))
}

/// Of all records those that belong to the name asked for, to what it is an alias of, or to hosts
/// that these name. Anything else in an answer is somebody's attempt to be believed.
fn relevant(all: Vec<Found>, asked: String) -> Vec<Found> {
    let mut names = vec![asked];
    for _ in 0..MOST_ALIASES {
        let before = names.len();
        for f in &all {
            let leads_to = match &f.record {
                Record::Cname(n) => n,
                Record::Srv { target, .. } => target,
                Record::Naptr { replacement, .. } => replacement,
                _ => continue,
            };
            if names.contains(&f.name) && !names.contains(leads_to) {
                names.push(leads_to.clone());
            }
        }
        if names.len() == before {
            break;
        }
    }
    all.into_iter()
        .filter(|f| names.contains(&f.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fake::{self, Zone};
    use super::*;
    use proptest::prelude::*;

    fn conf(servers: &[SocketAddr]) -> Conf {
        Conf {
            servers: servers.to_vec(),
            attempts: 1,
            timeout: Duration::from_secs(10),
            ..Conf::parse("")
        }
    }

    fn zone() -> Zone {
        Zone::new()
            .srv("_sip._udp.example.com", 20, 5, 5062, "host.example.com")
            .srv("_sip._udp.example.com", 10, 5, 5061, "host.example.com")
            .naptr("example.com", 1, 2, "s", "SIP+D2U", "_sip._udp.example.com")
            .cname("www.example.com", "host.example.com")
            .a("host.example.com", [192, 0, 2, 1])
            .ptr("1.2.0.192.in-addr.arpa", "host.example.com")
            .txt("example.com", "hello")
    }

    #[test]
    fn records_are_asked_for_and_read() {
        let c = conf(&[fake::server(zone())]);
        let records = |name: &str, kind| -> Vec<Record> {
            let all = ask(&c, name, kind).unwrap();
            all.into_iter().map(|f| f.record).collect()
        };
        let mut r = records("_SIP._udp.example.com", Kind::Srv);
        record::sort(&mut r, |_| 0);
        let ports: Vec<u16> = r
            .iter()
            .map(|r| match r {
                Record::Srv { port, target, .. } if target == "host.example.com" => *port,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ports, [5061, 5062]);
        let r = records("example.com.", Kind::Naptr);
        assert!(
            matches!(&r[..], [Record::Naptr { order: 1, preference: 2, flags, services, replacement, .. }]
            if flags == "s" && services == "SIP+D2U" && replacement == "_sip._udp.example.com"),
            "{r:?}"
        );
        let r = records(&record::reverse_name([192, 0, 2, 1].into()), Kind::Ptr);
        assert_eq!(r, [Record::Ptr("host.example.com".into())]);
        let r = records("www.example.com", Kind::A);
        let ip = Record::Address([192, 0, 2, 1].into());
        assert_eq!(r, [Record::Cname("host.example.com".into()), ip]);
        assert_eq!(
            records("example.com", Kind::Txt),
            [Record::Txt(vec!["hello".into()])]
        );
        assert_eq!(records("example.com", Kind::Aaaa), []);
        assert_eq!(records("nobody.invalid", Kind::A), []);
    }

    #[test]
    fn a_long_answer_comes_over_a_connection() {
        let long = (0..60).fold(Zone::new(), |z, i| z.a("many.example", [10, 0, 0, i]));
        let c = conf(&[fake::server(long)]);
        assert_eq!(ask(&c, "many.example", Kind::A).unwrap().len(), 60);
    }

    #[test]
    fn a_server_that_fails_is_passed_over() {
        let broken = fake::server(Zone::new().fails("example.com"));
        let good = fake::server(zone());
        let e = ask(&conf(&[broken]), "example.com", Kind::Naptr).unwrap_err();
        assert!(e.contains("ServerFailure"), "{e}");
        let found = ask(&conf(&[broken, good]), "example.com", Kind::Naptr).unwrap();
        assert_eq!(found.len(), 1);
        let nobody = fake::nobody();
        let e = ask(&conf(&[nobody]), "example.com", Kind::A).unwrap_err();
        assert!(e.contains(&nobody.to_string()), "{e}");
        assert!(ask(&conf(&[good]), &"x".repeat(70), Kind::A).is_err());
        assert!(ask(&conf(&[good]), "x", Kind::Ebl).is_err());
    }

    #[test]
    fn silence_ends() {
        let mute = fake::server(Zone::new().mute("example.com"));
        let mut c = conf(&[mute]);
        c.timeout = Duration::from_millis(50);
        assert!(ask(&c, "example.com", Kind::A).is_err());
    }

    #[test]
    fn what_was_not_asked_for_is_not_believed() {
        let found = |name: &str, record| Found {
            name: name.into(),
            ttl: 1,
            record,
        };
        let ip = || Record::Address([192, 0, 2, 66].into());
        let all = vec![
            found("a.example", Record::Cname("b.example".into())),
            found("b.example", ip()),
            found("bank.example", ip()),
        ];
        let kept = relevant(all, "a.example".into());
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().all(|f| f.name != "bank.example"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(mut b in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..200usize) {
            let _ = read(&b, 1, "a.example", Kind::A);
            // And a good answer, damaged.
            let mut good = fake::answer(&zone(), &question(7, "_sip._udp.example.com", Kind::Srv).unwrap(), false).unwrap();
            b.truncate(4);
            for (i, x) in b.iter().enumerate() {
                let at = (cut + i * 7) % good.len();
                good[at] ^= x;
            }
            let _ = read(&good, 7, "_sip._udp.example.com", Kind::Srv);
            good.truncate(cut.min(good.len()));
            let _ = read(&good, 7, "_sip._udp.example.com", Kind::Srv);
        }
    }
}
