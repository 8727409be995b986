//! A small resolver for the records that the system's own does not give: SRV, NAPTR, PTR.
//!
//! One question over UDP to each server of `/etc/resolv.conf` in turn, over TCP where the answer was
//! cut short. All of it together takes at most [`PATIENCE`]. The id is random and the port the
//! system's choice; an answer counts if it comes from the server asked and repeats id and question.
//! Names are taken as they are (no search list). Nothing is remembered here.

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// All attempts together.
const PATIENCE: Duration = Duration::from_secs(2);
/// One attempt.
const ATTEMPT: Duration = Duration::from_millis(700);
/// Most servers and most records that count.
const MOST_SERVERS: usize = 3;
const MOST_RECORDS: usize = 64;

/// One record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// RFC 2782.
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    /// RFC 2915.
    Naptr {
        order: u16,
        preference: u16,
        flags: String,
        services: String,
        regexp: String,
        replacement: String,
    },
    /// RFC 1035 §3.3.12.
    Ptr(String),
}

/// Which records are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Srv,
    Naptr,
    Ptr,
}

impl Kind {
    fn qtype(self) -> TYPE {
        match self {
            Kind::Srv => TYPE::SRV,
            Kind::Naptr => TYPE::NAPTR,
            Kind::Ptr => TYPE::PTR,
        }
    }
}

/// Asks the system's servers. Empty where the name has no such records; the error says why nobody
/// answered.
pub(crate) fn query(name: &str, kind: Kind) -> Result<Vec<Record>, String> {
    let conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    ask(&servers(&conf), name, kind)
}

/// The name under which an address' name is found (RFC 1035 §3.5, RFC 3596 §2.5).
pub(crate) fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(a) => {
            let [a, b, c, d] = a.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(a) => {
            let nibbles = a.octets().into_iter().rev().flat_map(|o| [o & 15, o >> 4]);
            let labels: String = nibbles.map(|n| format!("{n:x}.")).collect();
            format!("{labels}ip6.arpa")
        }
    }
}

/// `nameserver` lines; the local host where there is none.
fn servers(resolv_conf: &str) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = resolv_conf
        .lines()
        .filter_map(|l| l.trim().strip_prefix("nameserver"))
        .filter_map(|a| a.trim().parse().ok())
        .map(|ip: IpAddr| SocketAddr::new(ip, 53))
        .take(MOST_SERVERS)
        .collect();
    if found.is_empty() {
        found.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
    }
    found
}

fn ask(servers: &[SocketAddr], name: &str, kind: Kind) -> Result<Vec<Record>, String> {
    let end = Instant::now() + PATIENCE;
    let mut why = String::from("no server");
    for server in servers {
        let attempt_ends = (Instant::now() + ATTEMPT).min(end);
        match ask_one(*server, name, kind, attempt_ends) {
            Ok(records) => return Ok(records),
            Err(e) => why = format!("{server}: {e}"),
        }
        if Instant::now() >= end {
            break;
        }
    }
    Err(format!("no answer for {name} ({kind:?}): {why}"))
}

fn ask_one(
    server: SocketAddr,
    name: &str,
    kind: Kind,
    end: Instant,
) -> Result<Vec<Record>, String> {
    let id = rand::random();
    let question = question(id, name, kind)?;
    let answer = over_udp(server, &question, end).map_err(|e| e.to_string())?;
    match read(&answer, id, name, kind)? {
        Some(records) => Ok(records),
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
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        qname,
        QTYPE::TYPE(kind.qtype()),
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
    socket.connect(server)?;
    socket.send(question)?;
    let mut buf = vec![0; 4096];
    loop {
        socket.set_read_timeout(Some(left(end)?))?;
        let n = socket.recv(&mut buf)?;
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
        match stream.read(&mut buf[have..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => have += n,
        }
    }
    Ok(())
}

fn left(end: Instant) -> std::io::Result<Duration> {
    end.checked_duration_since(Instant::now())
        .filter(|d| !d.is_zero())
        .ok_or_else(|| std::io::ErrorKind::TimedOut.into())
}

/// The records of an answer; `None` where it was cut short.
fn read(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Result<Option<Vec<Record>>, String> {
    let p = Packet::parse(bytes).map_err(|e| format!("the answer can't be read: {e}"))?;
    let asked = name.trim_end_matches('.');
    let ours = p.id() == id
        && p.has_flags(PacketFlag::RESPONSE)
        && p.questions.first().is_some_and(|q| {
            q.qtype == QTYPE::TYPE(kind.qtype()) && q.qname.to_string().eq_ignore_ascii_case(asked)
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
    Ok(Some(
        p.answers
            .iter()
            .filter_map(|r| record(&r.rdata, kind))
            .take(MOST_RECORDS)
            .collect(),
    ))
}

fn record(data: &RData<'_>, kind: Kind) -> Option<Record> {
    let text =
        |c: &simple_dns::CharacterString<'_>| String::try_from(c.clone()).unwrap_or_default();
    match data {
        RData::SRV(r) if kind == Kind::Srv => Some(Record::Srv {
            priority: r.priority,
            weight: r.weight,
            port: r.port,
            target: r.target.to_string(),
        }),
        RData::NAPTR(r) if kind == Kind::Naptr => Some(Record::Naptr {
            order: r.order,
            preference: r.preference,
            flags: text(&r.flags),
            services: text(&r.services),
            regexp: text(&r.regexp),
            replacement: r.replacement.to_string(),
        }),
        RData::PTR(r) if kind == Kind::Ptr => Some(Record::Ptr(r.0.to_string())),
        _ => None,
    }
}

/// The order in which records are tried: by priority, within one by chance in proportion to the
/// weights (RFC 2782); NAPTR by order and preference (RFC 2915). `chance` gives a number below its
/// argument.
pub(crate) fn sort(records: &mut Vec<Record>, mut chance: impl FnMut(u32) -> u32) {
    let rank = |r: &Record| match r {
        // Weight 0 first, so that it has a small chance.
        Record::Srv {
            priority, weight, ..
        } => (*priority, *weight),
        Record::Naptr {
            order, preference, ..
        } => (*order, *preference),
        Record::Ptr(_) => (0, 0),
    };
    records.sort_by_key(rank);
    if !matches!(records.first(), Some(Record::Srv { .. })) {
        return;
    }
    let mut left = std::mem::take(records);
    while let Some((first, _)) = left.first().map(rank) {
        let group = left.iter().take_while(|r| rank(r).0 == first).count();
        let total: u32 = left[..group].iter().map(|r| u32::from(rank(r).1)).sum();
        let mut pick = chance(total + 1);
        let at = left[..group].iter().position(|r| {
            let weight = u32::from(rank(r).1);
            let here = pick <= weight;
            pick = pick.saturating_sub(weight);
            here
        });
        records.push(left.remove(at.unwrap_or(0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::rdata::{NAPTR, PTR, SRV};
    use simple_dns::{CharacterString, ResourceRecord};

    fn answer(question: &[u8], how: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let q = Packet::parse(question).unwrap();
        let mut reply = Packet::parse(question).unwrap().into_reply();
        reply.questions = q.questions.clone();
        how(&mut reply);
        reply.build_bytes_vec().unwrap()
    }

    fn add<'a>(p: &mut Packet<'a>, data: RData<'a>) {
        let name = p.questions[0].qname.clone();
        p.answers
            .push(ResourceRecord::new(name, CLASS::IN, 60, data));
    }

    /// A name server that answers one question.
    fn server(how: fn(&[u8]) -> Vec<u8>) -> SocketAddr {
        let s = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = s.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buf = [0; 1500];
            let (n, from) = s.recv_from(&mut buf).unwrap();
            // First one with another id, which does not count.
            s.send_to(&[0; 12], from).unwrap();
            s.send_to(&how(&buf[..n]), from).unwrap();
        });
        addr
    }

    fn two_srv(q: &[u8]) -> Vec<u8> {
        answer(q, |p| {
            for (priority, port) in [(20, 5062), (10, 5061)] {
                let target = Name::new("host.example.com").unwrap();
                add(
                    p,
                    RData::SRV(SRV {
                        priority,
                        weight: 5,
                        port,
                        target,
                    }),
                );
            }
        })
    }

    #[test]
    fn records_are_asked_for_and_read() {
        let name = "_sip._udp.example.com";
        let mut r = ask(&[server(two_srv)], name, Kind::Srv).unwrap();
        sort(&mut r, |_| 0);
        let ports: Vec<u16> = r
            .iter()
            .map(|r| match r {
                Record::Srv { port, target, .. } if target == "host.example.com" => *port,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ports, [5061, 5062]);

        let naptr = server(|q| {
            answer(q, |p| {
                let text = |t: &'static str| CharacterString::new(t.as_bytes()).unwrap();
                let replacement = Name::new("_sip._udp.example.com").unwrap();
                add(
                    p,
                    RData::NAPTR(NAPTR {
                        order: 1,
                        preference: 2,
                        flags: text("s"),
                        services: text("SIP+D2U"),
                        regexp: text(""),
                        replacement,
                    }),
                );
            })
        });
        let r = ask(&[naptr], "example.com.", Kind::Naptr).unwrap();
        assert!(
            matches!(&r[..], [Record::Naptr { order: 1, preference: 2, flags, services, replacement, .. }]
            if flags == "s" && services == "SIP+D2U" && replacement == "_sip._udp.example.com"),
            "{r:?}"
        );

        let ptr = server(|q| {
            answer(q, |p| {
                add(p, RData::PTR(PTR(Name::new("a.example").unwrap())))
            })
        });
        let r = ask(&[ptr], &reverse_name([192, 0, 2, 1].into()), Kind::Ptr).unwrap();
        assert_eq!(r, [Record::Ptr("a.example".into())]);
    }

    #[test]
    fn no_such_name_is_an_answer_and_nonsense_is_none() {
        let nobody = server(|q| answer(q, |p| *p.rcode_mut() = RCODE::NameError));
        assert_eq!(ask(&[nobody], "x.invalid", Kind::Srv), Ok(vec![]));
        let broken = server(|q| answer(q, |p| *p.rcode_mut() = RCODE::ServerFailure));
        assert!(
            ask(&[broken], "x.invalid", Kind::Srv)
                .unwrap_err()
                .contains("ServerFailure")
        );
        let other = server(|q| [&q[..12], &b"\x01y\x00\x00\x21\x00\x01"[..]].concat());
        assert!(ask(&[other], "x.invalid", Kind::Srv).is_err());
        assert!(ask(&[server(two_srv)], &"x".repeat(70), Kind::Srv).is_err());
        // The first server knows nothing, the second is asked.
        let broken = server(|q| answer(q, |p| *p.rcode_mut() = RCODE::Refused));
        assert_eq!(
            ask(&[broken, server(two_srv)], "a.b", Kind::Srv)
                .unwrap()
                .len(),
            2
        );
        assert!(read(&[0xff; 40], 1, "a", Kind::Srv).is_err());
    }

    #[test]
    fn weights_are_chances() {
        let srv = |priority, weight| Record::Srv {
            priority,
            weight,
            port: weight,
            target: String::new(),
        };
        for (chance, want) in [(0, [0, 1, 9]), (1, [1, 0, 9]), (5, [9, 0, 1])] {
            let mut r = vec![srv(1, 9), srv(1, 0), srv(1, 1), srv(0, 7)];
            let mut first = true;
            sort(&mut r, |most| {
                if std::mem::take(&mut first) || most < 8 {
                    0
                } else {
                    chance
                }
            });
            let ports: Vec<u16> = r
                .iter()
                .map(|r| match r {
                    Record::Srv { port, .. } => *port,
                    _ => 0,
                })
                .collect();
            assert_eq!(ports[0], 7, "the lowest priority comes first");
            assert_eq!(ports[1], want[0], "{chance}: {ports:?}");
        }
    }

    #[test]
    fn servers_and_reverse_names() {
        let conf = "# x\nnameserver 192.0.2.1\nsearch a\nnameserver ::1\nnameserver bad\n";
        assert_eq!(
            servers(conf),
            ["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]
        );
        assert_eq!(servers("").len(), 1);
        assert_eq!(
            reverse_name([192, 0, 2, 1].into()),
            "1.2.0.192.in-addr.arpa"
        );
        assert!(reverse_name("2001:db8::1".parse().unwrap()).starts_with("1.0.0.0."));
        assert!(
            reverse_name("2001:db8::1".parse().unwrap()).ends_with(".8.b.d.0.1.0.0.2.ip6.arpa")
        );
    }
}
