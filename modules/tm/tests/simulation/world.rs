//! The world: what there is, how it begins, and what is made of its end.
//!
//! Everything happens in the order of the queue, so a seed means one history. The world is borrowed
//! only between events: while the server's code runs it may come back here through the wire and the
//! script. The server's clock is the world's plus `skew`, which a jump makes larger.

use crate::check::Check;
use crate::dice::Dice;
use crate::network::{Network, Peer};
use crate::plan::{self, Call, Plan};
use crate::server::{self, Slots, Work};
use crate::time::step;
use crate::uac::Uac;
use crate::uas::Uas;
use olelo_core::net::{ConnId, Proto};
use olelo_core::timer::{Pace, set_clock};
use olelo_mem::{heap, set_current_slot};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// When a world begins, milliseconds.
pub const START: u64 = 1_000_000_000;
/// After so long everything must have ended.
pub const END: u64 = START + 1_500_000;
/// Of the fast timer.
pub const TICK: u64 = 10;
/// Of the slow timer.
pub const SWEEP: u64 = 5_000;

/// What will happen.
pub enum Event {
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
pub enum End {
    Caller(Uac),
    Callee(Uas),
}

/// See the file's essay.
pub struct World {
    pub plan: Rc<Plan>,
    pub calls: Vec<Rc<Call>>,
    pub slots: Slots,
    pub now: u64,
    pub skew: u64,
    /// The server does nothing before.
    pub stalled: u64,
    /// No fault has touched timing since.
    pub calm_since: u64,
    pub queue: BTreeMap<(u64, u64), Event>,
    pub number: u64,
    pub next_tick: u64,
    pub next_sweep: u64,
    pub dice: Dice,
    pub network: Network,
    pub ends: BTreeMap<Peer, End>,
    pub armed: BTreeMap<Peer, u64>,
    pub busy: Vec<u16>,
    /// Stores to shared memory that kinds of events take.
    pub stores: BTreeMap<u16, u64>,
    pub dead: Vec<u16>,
    pub depth: u32,
    /// What the event in hand is about has no transaction; it is a reply.
    pub stray: (bool, bool),
    pub jumped: u64,
    pub check: Check,
    pub trace: Vec<String>,
    pub deaths: u64,
    pub messages: u64,
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

/// Does something with the world, which must not be borrowed.
pub fn with<R>(f: impl FnOnce(&mut World) -> R) -> R {
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
    let checkup = olelo_mem::check_all();
    let w = WORLD.take().expect("the world has begun");
    finish(w, &before, &after, checkup)
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
        stores: BTreeMap::new(),
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

/// The address of a callee.
pub fn uri(peer: Peer, proto: Proto) -> String {
    let transport = if proto == Proto::Tcp {
        ";transport=tcp"
    } else {
        ""
    };
    format!("sip:{}{transport}", peer.addr())
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
    checkup: olelo_mem::Checkup,
) -> Report {
    if olelo_tm::in_use() != 0 {
        w.find(format!("{} transactions are left", olelo_tm::in_use()));
    }
    if before != after {
        w.find(format!("shared memory was {before:?}, is {after:?}"));
    }
    if checkup != olelo_mem::Checkup::default() {
        w.find(format!("{checkup:?}"));
    }
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
