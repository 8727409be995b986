//! A name server for tests: answers from a list of records, over UDP and TCP on the loopback.

use super::record::{Kind, Record, name};
use simple_dns::rdata::{A, AAAA, CNAME, NAPTR, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, CharacterString, Name, Packet, PacketFlag, RCODE, ResourceRecord};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Mutex;

/// Held by tests that change settings or look at the shared cache.
pub static ALONE: Mutex<()> = Mutex::new(());

/// What the server knows.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    records: Vec<(String, Record)>,
    fails: Vec<String>,
    mute: Vec<String>,
}

impl Zone {
    pub fn new() -> Zone {
        Zone::default()
    }

    fn add(mut self, owner: &str, r: Record) -> Zone {
        self.records.push((name(owner), r));
        self
    }

    pub fn a(self, owner: &str, ip: impl Into<IpAddr>) -> Zone {
        self.add(owner, Record::Address(ip.into()))
    }

    pub fn cname(self, owner: &str, to: &str) -> Zone {
        self.add(owner, Record::Cname(to.into()))
    }

    pub fn ptr(self, owner: &str, to: &str) -> Zone {
        self.add(owner, Record::Ptr(to.into()))
    }

    pub fn txt(self, owner: &str, t: &str) -> Zone {
        self.add(owner, Record::Txt(vec![t.into()]))
    }

    pub fn srv(self, owner: &str, priority: u16, weight: u16, port: u16, target: &str) -> Zone {
        let target = target.into();
        self.add(
            owner,
            Record::Srv {
                priority,
                weight,
                port,
                target,
            },
        )
    }

    pub fn naptr(
        self,
        owner: &str,
        order: u16,
        preference: u16,
        flags: &str,
        services: &str,
        replacement: &str,
    ) -> Zone {
        let r = Record::Naptr {
            order,
            preference,
            flags: flags.into(),
            services: services.into(),
            regexp: String::new(),
            replacement: replacement.into(),
        };
        self.add(owner, r)
    }

    /// Answers SERVFAIL for this name.
    pub fn fails(mut self, owner: &str) -> Zone {
        self.fails.push(name(owner));
        self
    }

    /// Does not answer for this name.
    pub fn mute(mut self, owner: &str) -> Zone {
        self.mute.push(name(owner));
        self
    }

    /// What it has, as the resolver would find it.
    pub fn find(&self, owner: &str, kind: Kind) -> Vec<Record> {
        let all = self.records.iter().filter(|(n, _)| *n == name(owner));
        all.filter(|(_, r)| r.kind() == kind)
            .map(|(_, r)| r.clone())
            .collect()
    }
}

/// Starts a server and returns its address.
pub fn server(zone: Zone) -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            break (udp, tcp);
        }
    };
    let addr = udp.local_addr().unwrap();
    let over_tcp = zone.clone();
    std::thread::spawn(move || {
        let mut buf = [0; 1500];
        while let Ok((n, from)) = udp.recv_from(&mut buf) {
            // First one with another id, which does not count.
            let _ = udp.send_to(&[0; 12], from);
            if let Some(a) = answer(&zone, &buf[..n], true) {
                let _ = udp.send_to(&a, from);
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut s, _)) = tcp.accept() {
            let mut size = [0; 2];
            s.read_exact(&mut size).unwrap();
            let mut q = vec![0; usize::from(u16::from_be_bytes(size))];
            s.read_exact(&mut q).unwrap();
            let a = answer(&over_tcp, &q, false).unwrap();
            s.write_all(&(a.len() as u16).to_be_bytes()).unwrap();
            s.write_all(&a).unwrap();
        }
    });
    addr
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// The answer to a question.
pub fn answer(zone: &Zone, question: &[u8], short: bool) -> Option<Vec<u8>> {
    let q = Packet::parse(question).unwrap();
    let mut reply = Packet::parse(question).unwrap().into_reply();
    reply.questions = q.questions.clone();
    let asked = name(&q.questions[0].qname.to_string());
    let qtype = q.questions[0].qtype;
    if zone.mute.contains(&asked) {
        return None;
    }
    if zone.fails.contains(&asked) {
        *reply.rcode_mut() = RCODE::ServerFailure;
        return Some(reply.build_bytes_vec().unwrap());
    }
    if !zone.records.iter().any(|(n, _)| *n == asked) {
        *reply.rcode_mut() = RCODE::NameError;
    }
    let mut owner = asked;
    for _ in 0..8 {
        let mut next = None;
        for (n, r) in zone.records.iter().filter(|(n, _)| *n == owner) {
            let wanted = r.kind().on_the_wire().map(simple_dns::QTYPE::TYPE) == Some(qtype);
            if let Record::Cname(to) = r {
                next = Some(to.clone());
            } else if !wanted {
                continue;
            }
            let n = Name::new(n).unwrap().into_owned();
            reply
                .answers
                .push(ResourceRecord::new(n, CLASS::IN, 60, data(r)));
        }
        match next {
            Some(n) => owner = n,
            None => break,
        }
    }
    let bytes = reply.build_bytes_vec().unwrap();
    if short && bytes.len() > 512 {
        reply.answers.clear();
        reply.set_flags(PacketFlag::TRUNCATION);
        return Some(reply.build_bytes_vec().unwrap());
    }
    Some(bytes)
}

fn data(r: &Record) -> RData<'static> {
    let text = |t: &str| CharacterString::new(t.as_bytes()).unwrap().into_owned();
    let named = |n: &str| Name::new(n).unwrap().into_owned();
    match r {
        Record::Address(IpAddr::V4(a)) => RData::A(A::from(*a)),
        Record::Address(IpAddr::V6(a)) => RData::AAAA(AAAA::from(*a)),
        Record::Cname(n) => RData::CNAME(CNAME(named(n))),
        Record::Ptr(n) => RData::PTR(PTR(named(n))),
        Record::Txt(t) => RData::TXT(TXT::new().with_string(&t[0]).unwrap().into_owned()),
        Record::Srv {
            priority,
            weight,
            port,
            target,
        } => RData::SRV(SRV {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: named(target),
        }),
        Record::Naptr {
            order,
            preference,
            flags,
            services,
            regexp,
            replacement,
        } => RData::NAPTR(NAPTR {
            order: *order,
            preference: *preference,
            flags: text(flags),
            services: text(services),
            regexp: text(regexp),
            replacement: named(replacement),
        }),
    }
}
