//! The world: virtual time, the queue of what will happen, and who is at work.
//!
//! Everything happens in the order of the queue, so a seed means one history. The world is borrowed
//! only between events: while the server's code runs it may come back here through the wire and the
//! script. The server's clock is the world's plus `skew`, which a jump makes larger.

use crate::check::{Check, Moment};
use crate::dice::Dice;
use crate::network::{Network, Peer};
use crate::plan::{self, Call, Plan};
use crate::server::{self, Doom, Said, Slots, Work};
use crate::sip::Sip;
use crate::uac::Uac;
use crate::uas::Uas;
use olelo_core::mem::{heap, set_current_slot};
use olelo_core::net::{ConnId, Dst, Proto};
use olelo_core::timer::{Pace, set_clock};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// When a world begins, milliseconds.
const START: u64 = 1_000_000_000;
/// After so long everything must have ended.
const END: u64 = START + 1_500_000;
/// Of the fast timer.
const TICK: u64 = 10;
/// Of the slow timer.
const SWEEP: u64 = 5_000;

/// What will happen.
enum Event {
    ToServer {
        peer: Peer,
        proto: Proto,
        conn: Option<ConnId>,
        bytes: Vec<u8>,
    },
    ToPeer(Peer, Vec<u8>),
    Wake(Peer),
    Resume(usize),
    Local(usize),
    Bury(u16),
    Jump(u64),
    Stall(u64),
}

/// An endpoint.
enum End {
    Caller(Uac),
    Callee(Uas),
}

/// See the file's essay.
struct World {
    plan: Rc<Plan>,
    calls: Vec<Rc<Call>>,
    slots: Slots,
    now: u64,
    skew: u64,
    /// The server does nothing before.
    stalled: u64,
    /// No fault has touched timing since.
    calm_since: u64,
    queue: BTreeMap<(u64, u64), Event>,
    number: u64,
    next_tick: u64,
    next_sweep: u64,
    dice: Dice,
    network: Network,
    ends: BTreeMap<Peer, End>,
    armed: BTreeMap<Peer, u64>,
    busy: Vec<u16>,
    dead: Vec<u16>,
    depth: u32,
    /// What the event in hand is about has no transaction; it is a reply.
    stray: (bool, bool),
    jumped: u64,
    check: Check,
    trace: Vec<String>,
    deaths: u64,
    messages: u64,
}

/// What came of a seed.
#[derive(Debug, Default)]
pub struct Report {
    pub simulated_ms: u64,
    pub messages: u64,
    pub deaths: u64,
    pub findings: Vec<String>,
    pub trace: Vec<String>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fn with<R>(f: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(|w| f(w.as_mut().expect("the world has begun")))
}

/// Lives through the world of a seed.
pub fn live(seed: u64) -> Report {
    let plan = plan::draw(seed);
    set_clock(START);
    let slots = server::boot(seed);
    let before = usage();
    begin(plan, slots);
    while step(u64::MAX) {}
    settle();
    let after = usage();
    let faults = olelo_core::mem::check_all();
    let w = WORLD.take().expect("the world has begun");
    finish(w, &before, &after, faults)
}

fn usage() -> Vec<(String, usize)> {
    let all = heap::usage()
        .into_iter()
        .filter(|u| u.name.starts_with("tm"));
    all.map(|u| (u.name.clone(), u.blocks)).collect()
}

fn begin(plan: Plan, slots: Slots) {
    let calls: Vec<Rc<Call>> = plan.calls.iter().cloned().map(Rc::new).collect();
    let mut w = World {
        now: START,
        skew: 0,
        stalled: 0,
        calm_since: START,
        queue: BTreeMap::new(),
        number: 0,
        next_tick: START,
        next_sweep: START,
        dice: Dice::new(plan.seed, 3),
        network: Network::new(plan.seed, &plan.faults, calls.len()),
        ends: BTreeMap::new(),
        armed: BTreeMap::new(),
        busy: Vec::new(),
        dead: Vec::new(),
        depth: 0,
        stray: (false, false),
        jumped: 0,
        check: Check::new(&plan),
        trace: Vec::new(),
        deaths: 0,
        messages: 0,
        plan: Rc::new(plan),
        calls,
        slots,
    };
    for n in 0..w.calls.len() {
        let call = w.calls[n].clone();
        let peer = Peer { call: n, k: 0 };
        if call.local {
            w.check.made_here(n);
            w.post(START + call.at, Event::Local(n));
        } else {
            let addr = peer.addr().to_string();
            let uac = Uac::new(n, call.clone(), START + call.at, &addr);
            w.ends.insert(peer, End::Caller(uac));
            w.arm(peer);
        }
        for (i, c) in call.callees().enumerate() {
            let peer = Peer { call: n, k: i + 1 };
            let uas = Uas::new(c.clone(), format!("t{n}.{}", i + 1), uri(peer, c.proto));
            w.ends.insert(peer, End::Callee(uas));
        }
    }
    let faults = w.plan.faults.clone();
    faults
        .jumps
        .iter()
        .for_each(|j| w.post(START + j.0, Event::Jump(j.1)));
    faults
        .stalls
        .iter()
        .for_each(|s| w.post(START + s.0, Event::Stall(s.1)));
    w.note(format!("seed {}: {:?}", w.plan.seed, w.plan.faults));
    for (n, c) in w.calls.clone().iter().enumerate() {
        w.note(format!("call {n}: {c:?}"));
    }
    WORLD.set(Some(w));
}

fn uri(peer: Peer, proto: Proto) -> String {
    let transport = if proto == Proto::Tcp {
        ";transport=tcp"
    } else {
        ""
    };
    format!("sip:{}{transport}", peer.addr())
}

/// Lets the next thing happen, if it does not come after `until`. False where nothing is left.
fn step(until: u64) -> bool {
    let in_use = olelo_tm::in_use();
    let Some(next) = with(|w| w.next(in_use, until)) else {
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
    fn next(&mut self, in_use: usize, until: u64) -> Option<Next> {
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
    fn must_wait(&self, event: &Event) -> Option<u64> {
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

    fn is_free(&self, slot: u16) -> bool {
        !self.busy.contains(&slot) && !self.dead.contains(&slot)
    }

    /// What happens outside of the server.
    fn outside(&mut self, event: Event) {
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
                self.stalled = self.now + by;
                self.calm_since = self.stalled;
                self.note(format!("the server stands still for {by} ms"));
            }
            _ => {}
        }
    }

    /// Messages leave an endpoint.
    fn leave(&mut self, peer: Peer, out: Vec<Vec<u8>>) {
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

    fn tcp_alive(&self) -> Vec<u16> {
        let all = self.slots.tcp.iter().copied();
        all.filter(|s| !self.dead.contains(s)).collect()
    }

    fn arm(&mut self, peer: Peer) {
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

    fn post(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.queue.insert((at, self.number), event);
    }

    fn note(&mut self, text: String) {
        let at = self.now - START;
        self.trace
            .push(format!("{:>4}.{:03} {text}", at / 1000, at % 1000));
    }

    fn find(&mut self, what: String) {
        self.note(format!("FINDING: {what}"));
        self.check.findings.push(what);
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            calm_since: self.calm_since,
            jumped: self.jumped,
            stray: self.stray.0,
            of_reply: self.stray.1,
        }
    }

    /// The worker for this, and whether it is to die.
    fn worker(&mut self, work: &Work) -> Option<(u16, Option<Doom>)> {
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
        let deaths = self.plan.faults.deaths;
        let dies = match work {
            Work::Timer(Pace::Fast) => self.dice.range(0, 39) == 0 && self.dice.permille(deaths),
            _ => self.dice.permille(deaths),
        };
        let doom = dies.then(|| match self.dice.percent(50) {
            true => Doom::Point(self.dice.range(1, 10) as u32),
            false => {
                let most = 1 << self.dice.range(0, 10);
                Doom::Store(self.dice.range(1, most) as u32)
            }
        });
        Some((slot, doom))
    }

    /// A connection still is what it was when the message was sent on it.
    fn is_open(&self, peer: Peer, conn: Option<ConnId>) -> bool {
        conn.is_none() || self.network.connection(peer) == conn
    }
}

/// A worker deals with this.
fn at_work(work: Work, from: Option<Peer>) {
    let sip = match &work {
        Work::Message { bytes, .. } => Some(Sip::read(bytes)),
        _ => None,
    };
    // A reply to a transaction that is over goes on without state, whatever it says.
    let stray = sip.as_ref().map_or((false, false), |s| {
        let found = olelo_tm::tmx_api::find_call(s.call_id.as_bytes(), s.cseq);
        (found.is_none(), s.status != 0)
    });
    let chosen = with(|w| {
        if let (Some(peer), Work::Message { conn, .. }) = (from, &work)
            && !w.is_open(peer, *conn)
        {
            w.note(format!("lost with the connection of {}", peer.name()));
            return None;
        }
        let (slot, doom) = w.worker(&work)?;
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
        None => server::perform(slot, &work),
        Some(doom) => die(slot, &work, doom),
    }
    set_current_slot(0);
    with(|w| {
        if let (Some(peer), Some(sip), None) = (from, &sip, doom) {
            w.check.arrived(&w.moment(), peer, sip, true);
        }
        w.busy.retain(|s| *s != slot);
        w.stray = stray_before;
    });
}

/// A worker dies while it deals with this.
fn die(slot: u16, work: &Work, doom: Doom) {
    match server::perform_and_die(slot, work, doom) {
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

fn bury(slot: u16) {
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

/// Lets the wheel turn until every void timer has come round.
fn settle() {
    with(|w| w.stalled = 0);
    for _ in 0..12 {
        with(|w| {
            w.skew += 41_000;
            set_clock(w.now + w.skew);
        });
        let slots = with(|w| w.slots.clone());
        server::perform(slots.timer, &Work::Timer(Pace::Fast));
        server::perform(slots.slow, &Work::Timer(Pace::Slow));
        set_current_slot(0);
    }
}

fn finish(
    mut w: World,
    before: &[(String, usize)],
    after: &[(String, usize)],
    faults: Vec<olelo_core::mem::Fault>,
) -> Report {
    if olelo_tm::in_use() != 0 {
        w.find(format!("{} transactions are left", olelo_tm::in_use()));
    }
    if before != after {
        w.find(format!("shared memory was {before:?}, is {after:?}"));
    }
    faults.into_iter().for_each(|f| w.find(format!("{f:?}")));
    let panics = olelo_core::route::run::STATS
        .iter()
        .find(|s| s.name == "panics");
    if let Some(n) = panics.map(|s| s.get()).filter(|n| *n != 0) {
        w.find(format!("{n} panics"));
    }
    for n in 0..w.calls.len() {
        let mut callees = Vec::new();
        let mut caller = None;
        for (peer, end) in w.ends.iter().filter(|(p, _)| p.call == n) {
            match end {
                End::Caller(u) => caller = Some(u),
                End::Callee(u) => callees.push((peer.k, u)),
            }
        }
        let lossy = w.network.lossy[n];
        let found = match caller {
            Some(caller) => w.check.finish(n, &w.calls[n], caller, &callees, lossy),
            None => w.check.finish_local(n),
        };
        found.into_iter().for_each(|f| w.find(f));
    }
    Report {
        simulated_ms: w.now - START,
        messages: w.messages,
        deaths: w.deaths,
        findings: w.check.findings,
        trace: w.trace,
    }
}
