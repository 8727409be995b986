//! What must hold, whatever happens: RFC 3261 §16.7 and §17 as seen on the wire.
//!
//! The checks see each message as the server takes and sends it, in the order in which it does. What
//! a worker has taken that died over it may have had its effect or not: neither is held against it.

use crate::network::Peer;
use crate::plan::{Call, Plan, Script};
use crate::sip::Sip;
use crate::uac::{T1, T2, Uac};
use crate::uas::Uas;
use olelo_core::net::Proto;
use std::collections::BTreeMap;

/// When something happens, and what to make of it.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: u64,
    /// No fault has touched timing since.
    pub calm_since: u64,
    /// The clock has last jumped.
    pub jumped: u64,
    /// It is caused by a message whose transaction is over, or not there yet.
    pub stray: bool,
    /// It is caused by a reply.
    pub of_reply: bool,
}

/// `wt_timer`: for so long an answered transaction absorbs repetitions, milliseconds.
const WAIT: u64 = 4_900;

/// The server's side towards a caller's request.
#[derive(Default)]
struct Up {
    /// The first final reply.
    last: Option<(u16, Vec<u8>)>,
    /// When it was sent.
    at: u64,
    /// A worker has certainly taken the request.
    taken: bool,
}

/// A request on its way to a callee.
struct Leg {
    request: Sip,
    sends: Vec<u64>,
    reliable: bool,
    /// A provisional reply was taken; maybe, certainly.
    ringing: (bool, bool),
    /// A final reply was taken for certain.
    last: Option<u16>,
    /// ACKs owed and sent.
    acks: (u32, u32),
}

/// See the file's essay.
pub struct Check {
    pub findings: Vec<String>,
    /// Requests of the server's own of whose end it was told.
    pub done: Vec<usize>,
    calls: Vec<Call>,
    strict_time: bool,
    deaths: bool,
    jumps: bool,
    spare_tcp: bool,
    ups: BTreeMap<(usize, String, String), Up>,
    legs: BTreeMap<String, Leg>,
}

impl Check {
    /// Checks for this world.
    pub fn new(plan: &Plan) -> Check {
        Check {
            findings: Vec::new(),
            done: Vec::new(),
            calls: plan.calls.clone(),
            strict_time: plan.faults.overlap == 0,
            deaths: plan.faults.deaths > 0,
            jumps: !plan.faults.jumps.is_empty(),
            spare_tcp: plan.faults.spare_tcp,
            ups: BTreeMap::new(),
            legs: BTreeMap::new(),
        }
    }

    /// The server will make this request itself.
    pub fn made_here(&mut self, n: usize) {
        let key = (n, String::new(), self.calls[n].method.to_string());
        self.ups.insert(key, Up::default());
    }

    /// A reply to a leg whose transaction has a successor for the same request: it is over.
    pub fn is_old(&self, reply: &Sip) -> bool {
        let stem = |b: &str| b.rsplit_once('.').map(|s| s.0.to_string());
        let Some(leg) = self.legs.get(&reply.branch()) else {
            return false;
        };
        let own = stem(&leg.request.branch());
        self.legs.values().any(|l| {
            l.request.branch_below() == leg.request.branch_below()
                && l.request.method == leg.request.method
                && l.request.call_id == leg.request.call_id
                && stem(&l.request.branch()) != own
                && l.sends[0] > leg.sends[0]
        })
    }

    /// A worker takes a message, or (`sure`) has dealt with it and is alive.
    pub fn arrived(&mut self, m: &Moment, peer: Peer, sip: &Sip, sure: bool) {
        if peer.k == 0 {
            if sip.method != "ACK" {
                let key = (peer.call, sip.branch(), sip.method.clone());
                let up = self.ups.entry(key).or_default();
                up.taken |= sure;
                if m.stray && !sure && (m.now > up.at + WAIT || m.jumped >= up.at) {
                    // The transaction is over and has waited: the request is a new one.
                    up.last = None;
                }
            }
            return;
        }
        let Some(leg) = self.legs.get_mut(&sip.branch()) else {
            return;
        };
        if leg.request.method != sip.cseq_method {
            return;
        }
        if sip.status < 200 {
            leg.ringing = (true, leg.ringing.1 || sure);
        } else {
            leg.ringing.0 = true;
            if sure {
                leg.last.get_or_insert(sip.status);
                if sip.status >= 300 && sip.cseq_method == "INVITE" && !m.stray {
                    leg.acks.0 += 1;
                }
            }
        }
    }

    /// The server sends a message. Returns what is wrong with it.
    pub fn sent(&mut self, m: &Moment, peer: Peer, sip: &Sip) -> Vec<String> {
        let mut found = Vec::new();
        if m.stray && m.of_reply {
            return found;
        }
        match (peer.k, sip.status) {
            (0, 0) => found.push(format!("a request to a caller: {}", sip.brief())),
            (0, _) => self.reply(m, peer, sip, &mut found),
            (_, 0) => self.request(m, peer, sip, &mut found),
            _ => found.push(format!("a reply to a callee: {}", sip.brief())),
        }
        found
    }

    fn reply(&mut self, m: &Moment, peer: Peer, sip: &Sip, found: &mut Vec<String>) {
        let mut bad = |what: &str| found.push(format!("{what}: {}", sip.brief()));
        if sip.vias.len() != 1 {
            bad("a reply with another number of Vias than the request's");
        }
        if sip.status > 100 && sip.to_tag.is_empty() {
            bad("a reply without To-tag");
        }
        let key = (peer.call, sip.branch(), sip.cseq_method.clone());
        let Some(up) = self.ups.get_mut(&key) else {
            return bad("a reply to no request");
        };
        let success = (200..300).contains(&sip.status) && sip.cseq_method == "INVITE";
        match &up.last {
            None if sip.status >= 200 => {
                up.last = Some((sip.status, sip.raw.clone()));
                up.at = m.now;
            }
            None => {}
            // Its transaction ended while the request waited to be taken: this is another one's.
            Some(_) if m.now > up.at + WAIT && sip.cseq_method != "INVITE" => {
                up.last = Some((sip.status, sip.raw.clone()));
            }
            Some((first, raw)) => {
                if sip.status < 200 {
                    bad(&format!("a provisional reply after the final {first}"));
                } else if !success && (*raw != sip.raw) {
                    bad(&format!("another final reply after {first}"));
                }
            }
        }
    }

    fn request(&mut self, m: &Moment, peer: Peer, sip: &Sip, found: &mut Vec<String>) {
        let mut bad = |what: &str| found.push(format!("{what}: {}", sip.brief()));
        let leg = self.legs.get_mut(&sip.branch());
        match (sip.method.as_str(), leg) {
            ("ACK", _) if sip.to_tag.is_empty() => bad("an ACK without To-tag"),
            ("ACK", Some(leg)) => {
                leg.acks.1 += 1;
                if leg.request.ruri != sip.ruri {
                    bad("an ACK to another URI than its INVITE");
                }
            }
            ("ACK", None) => {}
            ("CANCEL", None) => bad("a CANCEL of nothing"),
            ("CANCEL", Some(leg)) => {
                if !leg.ringing.0 {
                    bad("a CANCEL before any provisional reply");
                }
                if leg.last.is_some() {
                    bad("a CANCEL after the final reply");
                }
                if leg.request.ruri != sip.ruri || leg.request.cseq != sip.cseq {
                    bad("a CANCEL that does not fit its INVITE");
                }
            }
            (_, Some(leg)) => {
                let again = leg.again(m, sip, self.strict_time, self.deaths);
                again.into_iter().for_each(|w| bad(&w));
            }
            (method, None) => {
                let below = sip.branch_below();
                let up = self.ups.get(&(peer.call, below, method.to_string()));
                match up.map(|u| &u.last) {
                    None => bad("a request that nobody has sent"),
                    // The first sending was lost with its worker, and nobody could cancel it yet.
                    Some(Some((200..300, _))) if self.deaths => {}
                    Some(Some((code, _))) => bad(&format!("a new leg after the final {code}")),
                    Some(None) => {}
                }
                let callee = self.calls[peer.call].callees().nth(peer.k - 1);
                let leg = Leg {
                    request: sip.clone(),
                    sends: vec![m.now],
                    reliable: callee.is_some_and(|c| c.proto == Proto::Tcp),
                    ringing: (false, false),
                    last: None,
                    acks: (0, 0),
                };
                self.legs.insert(sip.branch(), leg);
            }
        }
    }

    /// Steps of serial forking of which some leg was sent: then all legs were published.
    fn steps_begun(&self, n: usize, call: &Call) -> Vec<usize> {
        let sent_to = |k: usize| {
            let to = Peer { call: n, k }.addr().to_string();
            let mut legs = self.legs.values();
            legs.any(|l| l.request.ruri.contains(&to) && l.request.cseq == 1)
        };
        let begun = |step: &usize| {
            let first = call.first_of(*step);
            (first..first + call.steps[*step].len()).any(sent_to)
        };
        (0..call.steps.len()).filter(begun).collect()
    }

    /// All is over: what is missing from a request of the server's own.
    pub fn finish_local(&mut self, n: usize) -> Vec<String> {
        let told = self.done.contains(&n) || self.deaths;
        let missing = (!told).then(|| format!("call {n}: nobody was told of its end"));
        missing.into_iter().collect()
    }

    /// All is over: what is missing from a call.
    pub fn finish(
        &mut self,
        n: usize,
        call: &Call,
        caller: &Uac,
        callees: &[(usize, &Uas)],
        lossy: bool,
    ) -> Vec<String> {
        let mut found = Vec::new();
        for leg in self.legs.values().filter(|l| l.request.call() == Some(n)) {
            if leg.acks.1 < leg.acks.0 {
                let what = leg.request.brief();
                found.push(format!("{} of {} ACKs: {what}", leg.acks.1, leg.acks.0));
            }
        }
        for step in self.steps_begun(n, call) {
            let first = call.first_of(step);
            for (i, c) in call.steps[step].iter().enumerate() {
                let heard = callees.iter().any(|(k, u)| *k == first + i && u.heard);
                if c.proto == Proto::Tcp && !heard && self.spare_tcp {
                    found.push(format!("call {n}: nothing came to callee {}", first + i));
                }
            }
        }
        if caller.cut_off {
            return found;
        }
        for ((of, branch, method), up) in &self.ups {
            // What reached the caller without state, long after, counts as well.
            let reached = method == call.method && caller.ended().is_some();
            if *of == n && up.taken && up.last.is_none() && !reached {
                found.push(format!(
                    "call {n}: no final reply was sent to {method} [{branch}]"
                ));
            }
        }
        let gave_up = caller.heard_nothing();
        let invite = call.method == "INVITE";
        // A lost final reply is not repeated for long with `t_set_fr` (timer H is fr_timer), nor after
        // a jump of the clock.
        let unlucky = lossy && (call.fr.1 != 0 || self.jumps);
        if caller.ended().is_none() && !unlucky && invite && !(gave_up && lossy) {
            found.push(format!("call {n}: its caller never had a final reply"));
        }
        for (method, heard) in caller.open().filter(|_| !lossy && !self.deaths) {
            if method == "CANCEL" {
                found.push(format!("call {n}: {method} without a final reply, {heard}"));
            }
        }
        for (k, callee) in callees {
            for tag in &callee.accepted {
                if !caller.has_dialog(tag) && !gave_up {
                    found.push(format!("call {n}: the 2xx of callee {k} ({tag}) is lost"));
                }
            }
        }
        let local = matches!(call.script, Script::Answer(_));
        if local && !callees.iter().all(|(_, c)| c.accepted.is_empty()) {
            found.push(format!("call {n}: was to be answered here"));
        }
        found
    }
}

impl Leg {
    /// It is sent again: what is wrong with that.
    fn again(&mut self, m: &Moment, sip: &Sip, strict: bool, deaths: bool) -> Option<String> {
        let before = self.sends.last().copied().unwrap_or(m.now);
        self.sends.push(m.now);
        if sip.raw != self.request.raw {
            return Some("a retransmission that differs".into());
        }
        if self.reliable {
            return (!deaths).then(|| "sent again over a reliable transport".into());
        }
        if self.last.is_some() {
            return Some("sent again after the final reply".into());
        }
        let invite = sip.method == "INVITE";
        if invite && self.ringing.1 {
            return Some("an INVITE sent again after a provisional reply".into());
        }
        if !strict || m.calm_since >= before || self.ringing.0 {
            return None;
        }
        // Timer A and E: T1 doubled up to T2, which the wheel may round up to its tick. Where workers
        // die, what is seen as the first may have been the second.
        let nth = self.sends.len() as u32 - 2;
        let took = m.now - before;
        let due = |n: u32| (T1 << n.min(10)).min(T2);
        let fits = |n: u32| (due(n).saturating_sub(20)..=due(n) + 30).contains(&took);
        let on_time = fits(nth) || deaths && (nth + 1..nth + 4).any(fits);
        (!on_time).then(|| format!("sent again after {took} ms, not {}", due(nth)))
    }
}
