//! Who does what, and who dies of it; and what the server's code calls while it runs: its wire, its
//! script.

use crate::check::Moment;
use crate::death::{Doom, Said, perform_and_die};
use crate::network::Peer;
use crate::plan::Call;
use crate::server::{self, Work};
use crate::sip::Sip;
use crate::time::step;
use crate::world::{End, Event, World, uri, with};
use olelo_core::net::{Dst, Proto};
use olelo_core::timer::{Pace, set_clock};
use olelo_mem::set_current_slot;
use std::rc::Rc;

/// A worker deals with this.
pub fn at_work(work: Work, from: Option<Peer>) {
    let sip = match &work {
        Work::Message { bytes, .. } => Some(Sip::read(bytes)),
        _ => None,
    };
    // A reply to a transaction that is over goes on without state, whatever it says.
    let stray = sip.as_ref().map_or((false, false), |s| {
        let found = olelo_tm::tmx_api::find_call(s.call_id.as_bytes(), s.cseq);
        let over = found.is_none() || with(|w| w.check.is_old(s));
        (over, s.status != 0)
    });
    let started = with(|w| w.now);
    let chosen = with(|w| {
        if let (Some(peer), Work::Message { conn, .. }) = (from, &work)
            && !w.is_open(peer, *conn)
        {
            w.note(format!("lost with the connection of {}", peer.name()));
            return None;
        }
        let (slot, doom) = w.worker(&work, sip.as_ref())?;
        if let (Some(peer), Some(sip)) = (from, &sip) {
            let dies = doom.map_or(String::new(), |d| format!(" and dies at {d:?}"));
            w.note(format!(
                "{slot} takes {} from {}{dies}",
                sip.brief(),
                peer.name()
            ));
            let moment = Moment {
                stray: stray.0,
                of_reply: stray.1,
                ..w.moment()
            };
            w.check.arrived(&moment, peer, sip, false);
        } else if doom.is_some() || !matches!(work, Work::Timer(_)) {
            w.note(format!("{slot} does {work:?}, dies: {doom:?}"));
        }
        w.busy.push(slot);
        set_clock(w.now + w.skew);
        Some((slot, doom, std::mem::replace(&mut w.stray, stray)))
    });
    let Some((slot, doom, stray_before)) = chosen else {
        return;
    };
    match doom {
        None => {
            let stores = server::perform_and_count(slot, &work);
            let kind = kind(&work, sip.as_ref());
            with(|w| {
                let known = w.stores.entry(kind).or_insert(stores);
                *known = (*known * 3 + stores) / 4;
            });
        }
        Some(doom) => die(slot, &work, doom),
    }
    set_current_slot(0);
    with(|w| {
        if let (Some(peer), Some(sip), None) = (from, &sip, doom) {
            // A jump meanwhile may have ended the transaction under the route.
            let moment = Moment {
                stray: w.stray.0 || w.jumped >= started,
                ..w.moment()
            };
            w.check.arrived(&moment, peer, sip, true);
        }
        w.busy.retain(|s| *s != slot);
        w.stray = stray_before;
    });
}

/// What kind of event this is, as far as it says how many stores it takes.
fn kind(work: &Work, sip: Option<&Sip>) -> u16 {
    match (work, sip) {
        (_, Some(s)) if s.status != 0 => s.status / 100,
        (_, Some(s)) => 100 + s.method.bytes().map(u16::from).sum::<u16>(),
        (Work::Timer(Pace::Fast), _) => 10,
        (Work::Timer(Pace::Slow), _) => 11,
        _ => 12,
    }
}

/// A worker dies while it deals with this.
fn die(slot: u16, work: &Work, doom: Doom) {
    match perform_and_die(slot, work, doom) {
        Ok(all) => {
            for said in all {
                match said {
                    Said::Sent(dst, bytes) => sent(&dst, &bytes),
                    Said::Trace(text) => trace(text),
                }
            }
        }
        Err(e) => with(|w| w.find(e)),
    }
    let at_once = server::holds_locks(slot);
    let later = with(|w| {
        w.deaths += 1;
        w.calm_since = w.now;
        w.dead.push(slot);
        for peer in w.network.owner_died(slot) {
            w.note(format!("  the connection of {} is gone", peer.name()));
            if let Some(End::Caller(u)) = w.ends.get_mut(&peer) {
                u.connection_lost();
            }
            w.arm(peer);
        }
        let later = !at_once && w.dice.percent(50);
        if later {
            let at = w.now + w.dice.range(1, 60);
            w.post(at, Event::Bury(slot));
        }
        later
    });
    if !later {
        bury(slot);
    }
}

/// The repair after a death.
pub fn bury(slot: u16) {
    with(|w| set_clock(w.now + w.skew));
    let faults = server::bury(slot);
    with(|w| {
        w.note(format!("{slot} is buried"));
        w.dead.retain(|s| *s != slot);
        faults
            .into_iter()
            .for_each(|f| w.find(format!("the repair: {f}")));
    });
}

/// The server has sent this.
pub fn sent(dst: &Dst, bytes: &[u8]) {
    with(|w| {
        w.messages += 1;
        let sip = Sip::read(bytes);
        let Some(peer) = Peer::at(dst.addr).filter(|p| w.ends.contains_key(p)) else {
            return w.find(format!(
                "a message to {}, where nobody is: {}",
                dst.addr,
                sip.brief()
            ));
        };
        w.note(format!("  sends {} to {}", sip.brief(), peer.name()));
        let moment = w.moment();
        let found = w.check.sent(&moment, peer, &sip);
        if w.sweeps() {
            w.find("the sweep has to help: a timer or an end was lost".into());
        }
        found.into_iter().for_each(|f| w.find(f));
        if dst.proto == Proto::Udp {
            for at in w.network.datagram(w.now, peer) {
                w.post(at, Event::ToPeer(peer, bytes.to_vec()));
            }
            return;
        }
        let alive = w.tcp_alive();
        let open = dst.conn.or_else(|| w.network.connect(peer, &alive));
        if open.is_none() || open != w.network.connection(peer) {
            return w.note("  which is lost: the connection is gone".into());
        }
        let at = w.network.stream(w.now, peer, false);
        w.post(at, Event::ToPeer(peer, bytes.to_vec()));
    });
}

/// A line from within the server.
pub fn trace(text: String) {
    with(|w| w.note(text));
}

/// A route runs: other workers may go on meanwhile.
pub fn overlap() {
    let until = with(|w| {
        let goes_on = w.depth < 2 && w.dice.percent(w.plan.faults.overlap);
        goes_on.then(|| {
            w.depth += 1;
            w.now + w.dice.range(0, 300)
        })
    });
    let Some(until) = until else { return };
    while step(until) {}
    with(|w| {
        w.depth -= 1;
        w.calm_since = w.now;
        w.note("  the route goes on".into());
        set_clock(w.now + w.skew);
    });
}

/// What is planned for a call.
pub fn call_plan(call: usize) -> Option<Rc<Call>> {
    with(|w| w.calls.get(call).cloned())
}

/// The callees of a step.
pub fn uris(call: &Call, call_id: &[u8], step: usize) -> Vec<String> {
    let number = Sip {
        call_id: String::from_utf8_lossy(call_id).into_owned(),
        ..Sip::default()
    };
    let first = call.first_of(step);
    let all = call.steps[step].iter().enumerate();
    all.map(|(i, c)| {
        let peer = Peer {
            call: number.call().unwrap_or(0),
            k: first + i,
        };
        uri(peer, c.proto)
    })
    .collect()
}

/// A request was suspended.
pub fn suspended(after: Option<u64>, call_id: &[u8]) {
    let call = Sip {
        call_id: String::from_utf8_lossy(call_id).into_owned(),
        ..Sip::default()
    }
    .call();
    if let (Some(after), Some(call)) = (after, call) {
        with(|w| w.post(w.now + after, Event::Resume(call)));
    }
}

/// A request of the server's own has ended.
pub fn done(call_id: &[u8]) {
    let text = String::from_utf8_lossy(call_id).into_owned();
    let sip = Sip {
        call_id: text,
        ..Sip::default()
    };
    with(|w| w.check.done.extend(sip.call()));
}

impl World {
    /// The slow timer is at work alone, and no fault of the clock has given it a reason.
    fn sweeps(&self) -> bool {
        let faults = &self.plan.faults;
        let on_time = faults.jumps.is_empty() && faults.stalls.is_empty();
        on_time && self.busy.last() == Some(&self.slots.slow)
    }

    /// The worker for this, and whether it is to die.
    fn worker(&mut self, work: &Work, sip: Option<&Sip>) -> Option<(u16, Option<Doom>)> {
        let free: Vec<u16> = self
            .slots
            .udp
            .iter()
            .copied()
            .filter(|s| self.is_free(*s))
            .collect();
        let slot = match work {
            Work::Message { conn: Some(c), .. } => c.slot,
            Work::Timer(Pace::Fast) => self.slots.timer,
            Work::Timer(Pace::Slow) => self.slots.slow,
            _ => self.dice.one(&free),
        };
        if self.dead.contains(&slot) {
            return None;
        }
        let faults = &self.plan.faults;
        let spared = faults.spare_tcp && self.slots.tcp.contains(&slot);
        // The end of a transaction is the worst moment.
        let last = sip.is_some_and(|s| s.status >= 200);
        let deaths = faults.deaths * if last { 3 } else { 1 };
        let dies = !spared
            && match work {
                Work::Timer(Pace::Fast) => {
                    self.dice.range(0, 39) == 0 && self.dice.permille(deaths)
                }
                _ => self.dice.permille(deaths),
            };
        let stores = self.stores.get(&kind(work, sip)).copied().unwrap_or(100);
        let doom = dies.then(|| match self.dice.percent(40) {
            true => Doom::Point(self.dice.range(1, 10) as u32),
            false => Doom::Store(self.dice.range(1, stores * 5 / 4 + 2) as u32),
        });
        Some((slot, doom))
    }
}
