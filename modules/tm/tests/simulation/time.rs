//! What happens next: the queue, the ticks of the timer processes, and what happens outside of the
//! server. What the server does not get to now, because all workers are busy or it stands still,
//! waits.

use crate::check::Moment;
use crate::network::Peer;
use crate::server::Work;
use crate::sip::Sip;
use crate::workers::{at_work, bury};
use crate::world::{END, End, Event, START, SWEEP, TICK, World, with};
use olelo_core::net::{ConnId, Proto};
use olelo_core::timer::Pace;

/// Lets the next thing happen, if it does not come after `until`. False where nothing is left.
pub fn step(until: u64) -> bool {
    let in_use = olelo_tm::in_use();
    let Some(next) = with(|w| w.following(in_use, until)) else {
        return false;
    };
    match next {
        Next::Tick => at_work(Work::Timer(Pace::Fast), None),
        Next::Sweep => at_work(Work::Timer(Pace::Slow), None),
        Next::Event(Event::ToServer {
            peer,
            proto,
            conn,
            bytes,
        }) => {
            let batch = with(|w| proto == Proto::Tcp || w.dice.percent(40));
            let from = peer.addr();
            let work = Work::Message {
                proto,
                from,
                conn,
                bytes,
                batch,
            };
            at_work(work, Some(peer));
        }
        Next::Event(Event::Resume(call)) => at_work(Work::Resume(call), None),
        Next::Event(Event::Local(call)) => at_work(Work::Local(call), None),
        Next::Event(Event::Bury(slot)) => bury(slot),
        Next::Event(e) => with(|w| w.outside(e)),
    }
    true
}

enum Next {
    Tick,
    Sweep,
    Event(Event),
}

impl World {
    fn following(&mut self, in_use: usize, until: u64) -> Option<Next> {
        loop {
            let first = self.queue.first_key_value().map(|(k, _)| *k);
            if in_use == 0 && first.is_none() {
                return None;
            }
            let at = first.map_or(u64::MAX, |k| k.0);
            if in_use > 0 || !self.dead.is_empty() {
                let due = self.next_tick.min(self.next_sweep);
                if due <= at {
                    if due > until {
                        return None;
                    }
                    if due > END {
                        self.find("after 25 minutes there still are transactions".into());
                        return None;
                    }
                    self.now = self.now.max(due);
                    let tick = self.next_tick <= self.next_sweep;
                    let (next, span) = match tick {
                        true => (&mut self.next_tick, TICK),
                        false => (&mut self.next_sweep, SWEEP),
                    };
                    *next = self.now.max(self.stalled) + span;
                    let slot = if tick {
                        self.slots.timer
                    } else {
                        self.slots.slow
                    };
                    if self.stalled > self.now || !self.is_free(slot) {
                        continue;
                    }
                    return Some(if tick { Next::Tick } else { Next::Sweep });
                }
            } else {
                self.next_tick = self.next_tick.max(at.min(END));
                self.next_sweep = self.next_sweep.max(at.min(END));
            }
            if at > until {
                return None;
            }
            let (key, event) = self.queue.pop_first()?;
            self.now = self.now.max(key.0);
            if let Some(later) = self.must_wait(&event) {
                self.queue.insert((later, key.1), event);
                continue;
            }
            return Some(Next::Event(event));
        }
    }

    /// When the event can be dealt with, if not now.
    pub fn must_wait(&self, event: &Event) -> Option<u64> {
        let free = match event {
            Event::ToServer { conn: Some(c), .. } => !self.busy.contains(&c.slot),
            Event::ToServer { .. } | Event::Resume(_) | Event::Local(_) => {
                self.slots.udp.iter().any(|s| self.is_free(*s))
            }
            Event::Bury(_) => return None,
            _ => return None,
        };
        match (free, self.stalled > self.now) {
            (_, true) => Some(self.stalled),
            (false, _) => Some(self.now + 1),
            _ => None,
        }
    }

    pub fn is_free(&self, slot: u16) -> bool {
        !self.busy.contains(&slot) && !self.dead.contains(&slot)
    }

    /// What happens outside of the server.
    pub fn outside(&mut self, event: Event) {
        match event {
            Event::ToPeer(peer, bytes) => {
                let (now, sip) = (self.now, Sip::read(&bytes));
                let out = match self.ends.get_mut(&peer) {
                    Some(End::Caller(u)) => u.receive(now, &sip),
                    Some(End::Callee(u)) => u.receive(now, &sip),
                    None => return self.find(format!("a message to nobody: {}", sip.brief())),
                };
                self.leave(peer, out);
            }
            Event::Wake(peer) => {
                if self.armed.get(&peer) != Some(&self.now) {
                    return;
                }
                self.armed.remove(&peer);
                let now = self.now;
                let out = match self.ends.get_mut(&peer) {
                    Some(End::Caller(u)) => u.wake(now),
                    Some(End::Callee(u)) => u.wake(now),
                    None => Vec::new(),
                };
                self.leave(peer, out);
            }
            Event::Jump(by) => {
                self.skew += by;
                self.jumped = self.now;
                self.calm_since = self.now;
                self.note(format!("the clock jumps by {by} ms"));
            }
            Event::Stall(by) => {
                self.stalled = self.stalled.max(self.now + by);
                self.calm_since = self.stalled;
                self.note(format!("the server stands still for {by} ms"));
            }
            _ => {}
        }
    }

    /// Messages leave an endpoint.
    pub fn leave(&mut self, peer: Peer, out: Vec<Vec<u8>>) {
        let call = &self.calls[peer.call];
        let proto = match peer.k {
            0 => call.proto,
            k => call.callees().nth(k - 1).map_or(Proto::Udp, |c| c.proto),
        };
        for bytes in out {
            self.messages += 1;
            let sip = Sip::read(&bytes);
            self.note(format!("{} sends {}", peer.name(), sip.brief()));
            if proto == Proto::Udp {
                for at in self.network.datagram(self.now, peer) {
                    let bytes = bytes.clone();
                    self.post(
                        at,
                        Event::ToServer {
                            peer,
                            proto,
                            conn: None,
                            bytes,
                        },
                    );
                }
                continue;
            }
            let alive = self.tcp_alive();
            let Some(conn) = self.network.connect(peer, &alive) else {
                self.note("  nobody takes the connection".into());
                continue;
            };
            let at = self.network.stream(self.now, peer, true);
            self.post(
                at,
                Event::ToServer {
                    peer,
                    proto,
                    conn: Some(conn),
                    bytes,
                },
            );
        }
        self.arm(peer);
    }

    pub fn tcp_alive(&self) -> Vec<u16> {
        let all = self.slots.tcp.iter().copied();
        all.filter(|s| !self.dead.contains(s)).collect()
    }

    pub fn arm(&mut self, peer: Peer) {
        let next = match &self.ends[&peer] {
            End::Caller(u) => u.next_wake(),
            End::Callee(u) => u.next_wake(),
        };
        let Some(at) = next.map(|n| n.max(self.now)) else {
            self.armed.remove(&peer);
            return;
        };
        if self.armed.get(&peer) != Some(&at) {
            self.armed.insert(peer, at);
            self.post(at, Event::Wake(peer));
        }
    }

    pub fn post(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.queue.insert((at, self.number), event);
    }

    pub fn note(&mut self, text: String) {
        let at = self.now - START;
        self.trace
            .push(format!("{:>4}.{:03} {text}", at / 1000, at % 1000));
    }

    pub fn find(&mut self, what: String) {
        self.note(format!("FINDING: {what}"));
        self.check.findings.push(what);
    }

    pub fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            calm_since: self.calm_since,
            jumped: self.jumped,
            stray: self.stray.0,
            of_reply: self.stray.1,
        }
    }

    /// A connection still is what it was when the message was sent on it.
    pub fn is_open(&self, peer: Peer, conn: Option<ConnId>) -> bool {
        conn.is_none() || self.network.connection(peer) == conn
    }
}
