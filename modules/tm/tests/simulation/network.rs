//! The network between the endpoints and the server: datagrams that are late, lost or doubled, and
//! connections that keep their order and die with the worker that owns them.

use crate::dice::Dice;
use crate::plan::Faults;
use olelo_core::net::ConnId;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An endpoint: the caller of a call (`k` 0) or one of its callees (1, 2, …).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    pub call: usize,
    pub k: usize,
}

impl Peer {
    /// Where it is.
    pub fn addr(self) -> SocketAddr {
        let ip = Ipv4Addr::new(10, self.k as u8, (self.call >> 8) as u8, self.call as u8);
        SocketAddr::new(ip.into(), 5060)
    }

    /// Who is there.
    pub fn at(addr: SocketAddr) -> Option<Peer> {
        match addr.ip() {
            IpAddr::V4(ip) if ip.octets()[0] == 10 => {
                let [_, k, hi, lo] = ip.octets();
                Some(Peer {
                    call: usize::from(hi) << 8 | usize::from(lo),
                    k: k.into(),
                })
            }
            _ => None,
        }
    }

    /// For the trace.
    pub fn name(self) -> String {
        match self.k {
            0 => format!("caller{}", self.call),
            k => format!("callee{}.{k}", self.call),
        }
    }
}

/// See the file's essay.
pub struct Network {
    dice: Dice,
    faults: Faults,
    conns: BTreeMap<Peer, ConnId>,
    next_conn: u32,
    /// When the last message of a connection arrives, each way.
    last: BTreeMap<(Peer, bool), u64>,
    /// Calls of which a datagram was lost.
    pub lossy: Vec<bool>,
}

impl Network {
    /// A network with these faults.
    pub fn new(seed: u64, faults: &Faults, calls: usize) -> Network {
        Network {
            dice: Dice::new(seed, 2),
            faults: faults.clone(),
            conns: BTreeMap::new(),
            next_conn: 1,
            last: BTreeMap::new(),
            lossy: vec![false; calls],
        }
    }

    /// When a datagram sent now arrives: never, once or twice.
    pub fn datagram(&mut self, now: u64, peer: Peer) -> Vec<u64> {
        if self.dice.percent(self.faults.loss) {
            self.lossy[peer.call] = true;
            return Vec::new();
        }
        let copies = 1 + usize::from(self.dice.percent(self.faults.twice));
        (0..copies).map(|_| now + self.delay()).collect()
    }

    /// When what is sent now on the peer's connection arrives: in order.
    pub fn stream(&mut self, now: u64, peer: Peer, to_server: bool) -> u64 {
        let at = now + self.delay();
        let last = self.last.entry((peer, to_server)).or_default();
        *last = at.max(*last);
        *last
    }

    fn delay(&mut self) -> u64 {
        let (least, most) = self.faults.delay;
        self.dice.range(least, most)
    }

    /// The peer's connection, if it has one.
    pub fn connection(&self, peer: Peer) -> Option<ConnId> {
        self.conns.get(&peer).copied()
    }

    /// The peer's connection; a new one belongs to one of `owners`.
    pub fn connect(&mut self, peer: Peer, owners: &[u16]) -> Option<ConnId> {
        if let Some(c) = self.connection(peer) {
            return Some(c);
        }
        if owners.is_empty() {
            return None;
        }
        let conn = ConnId {
            slot: self.dice.one(owners),
            number: self.next_conn,
        };
        self.next_conn += 1;
        self.conns.insert(peer, conn);
        Some(conn)
    }

    /// A worker is dead: whose connections are gone.
    pub fn owner_died(&mut self, slot: u16) -> Vec<Peer> {
        let gone: Vec<Peer> = self
            .conns
            .iter()
            .filter(|(_, c)| c.slot == slot)
            .map(|(p, _)| *p)
            .collect();
        gone.iter().for_each(|p| {
            self.conns.remove(p);
        });
        gone
    }
}
