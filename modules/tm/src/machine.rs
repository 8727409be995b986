//! What happens to a transaction: pure decisions, no I/O, no clock, no locks.
//!
//! RFC 3261 §17 (client and server transactions), §16.7 (the proxy's response context), §9
//! (CANCEL) and RFC 6026 (Accepted) as functions of the state and an event, at a given time. A
//! function changes the [`Tx`] and returns what is to be done, in order; the caller publishes the
//! state first and then does it. Two rules hold throughout: legs run their own timers, and whoever
//! finds the last active leg ended returns [`Do::Final`]. While a script works on the transaction
//! (`busy`), ends are recorded but not acted upon; the script's process asks [`Tx::settle`] after.

use crate::best;
use crate::state::{Leg, LegState, Tx, Uas, flag, leg_flag};

/// What is to be done after the state is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Do {
    /// Send the request of a leg again.
    Resend(usize),
    /// Send the ACK for the negative reply in hand.
    Ack(usize),
    /// Send a CANCEL (again).
    Cancel(usize),
    /// Send the reply in hand upstream; it is the transaction's last reply now.
    Forward,
    /// Send the reply in hand upstream; nothing else changes (a second 2xx, a late one).
    Pass,
    /// Keep the reply in hand with its leg.
    Keep,
    /// Send the last reply upstream again.
    Repeat,
    /// All legs have ended without success: the best reply, or the failure route.
    Final,
    /// A leg has ended without success: its branch failure route.
    LegFailed(usize),
    /// The local request has its final reply.
    LocalDone(usize),
    /// The transaction is over.
    Delete,
}

/// What the decisions depend on besides the state.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Restart the timer of a ringing leg on each provisional reply.
    pub restart_fr: bool,
    /// Forward 100 as well.
    pub relay_100: bool,
    /// How a leg without any reply is canceled: 0 ends it, 1 waits for a reply, 2 sends the CANCEL.
    pub cancel_method: u8,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            restart_fr: true,
            relay_100: false,
            cancel_method: 1,
        }
    }
}

/// What is to be done, in order. Mostly one or two things.
pub type Todo = Vec<Do>;

impl Tx {
    /// A leg is about to be sent: starts timers A/E and B/F.
    pub fn start_leg(&mut self, mut leg: Leg, now: u64) -> usize {
        leg.state = LegState::Calling as u8;
        leg.step = self.head.step;
        leg.interval = self.head.t1;
        leg.resend = if leg.has(leg_flag::RELIABLE) {
            0
        } else {
            now + u64::from(self.head.t1)
        };
        leg.fr_at = self.within_life(now + u64::from(self.head.fr));
        self.legs.push(leg);
        self.head.flags |= flag::RELAYED;
        self.legs.len() - 1
    }

    /// A leg could not be sent: it counts as answered by us.
    pub fn fail_leg(&mut self, at: usize, code: u16) {
        if let Some(l) = self.legs.get_mut(at) {
            l.stop();
            l.stop_cancel();
            l.state = LegState::Completed as u8;
            l.code = code;
            l.flags |= leg_flag::FAKED;
        }
    }

    /// A reply has come for a leg.
    pub fn on_reply(&mut self, at: usize, code: u16, now: u64, busy: bool, rules: &Rules) -> Todo {
        let mut todo = Vec::with_capacity(4);
        let invite = self.head.has(flag::INVITE);
        let Some(leg) = self.legs.get(at).copied() else {
            return todo;
        };
        match (leg.state(), code) {
            (LegState::Calling | LegState::Proceeding, 100..200) => {
                self.provisional(at, code, now, rules, &mut todo);
            }
            (LegState::Calling | LegState::Proceeding, 200..300) => {
                self.success(at, code, now, rules, &mut todo);
            }
            (LegState::Calling | LegState::Proceeding, _) if code >= 300 => {
                self.negative(at, code, now, busy, rules, &mut todo);
            }
            // A negative reply was seen or faked. The ACK was lost, or our patience was too short.
            (LegState::Completed, 300..) if invite => {
                self.legs[at].stop_cancel();
                todo.push(Do::Ack(at));
            }
            (LegState::Completed, 200..300) if invite && !self.is_silent() => {
                self.late_success(at, code, now, rules, &mut todo);
            }
            // RFC 6026 §7.2: a repeated or another 2xx goes on to the sender.
            (LegState::Accepted, 200..300) => todo.push(if self.is_silent() {
                Do::LocalDone(at)
            } else {
                Do::Pass
            }),
            _ => {}
        }
        todo
    }

    /// A reply to a CANCEL of ours has come.
    pub fn on_cancel_reply(&mut self, at: usize, code: u16) {
        if let Some(l) = self.legs.get_mut(at)
            && code >= 200
        {
            l.stop_cancel();
        }
    }

    /// A CANCEL has come from upstream, or somebody here wants the transaction to end. Legs in
    /// `keep_out` stay as they are.
    pub fn cancel_legs(
        &mut self,
        now: u64,
        rules: &Rules,
        keep_out: impl Fn(usize) -> bool,
        todo: &mut Todo,
    ) {
        if !self.head.has(flag::INVITE) {
            return;
        }
        let (fr, t1) = (u64::from(self.head.fr), self.head.t1);
        for (i, leg) in self.legs.iter_mut().enumerate() {
            if keep_out(i) || !leg.is_active() || leg.has(leg_flag::CANCELED) {
                continue;
            }
            match (leg.state(), rules.cancel_method) {
                (LegState::Proceeding, _) | (_, 2) => {
                    start_cancel(leg, now, fr, t1);
                    todo.push(Do::Cancel(i));
                }
                (_, 0) => {
                    leg.stop();
                    leg.state = LegState::Completed as u8;
                    leg.code = 487;
                    leg.flags |= leg_flag::FAKED;
                }
                // RFC 3261 §9.1: no CANCEL before a provisional reply.
                _ => leg.flags |= leg_flag::CANCEL_WANTED,
            }
        }
    }

    /// A CANCEL has come from upstream. True where nobody is left to answer 487 for us.
    pub fn on_cancel(&mut self, now: u64, busy: bool, rules: &Rules) -> (bool, Todo) {
        let mut todo = Vec::new();
        if self.head.answered() {
            return (false, todo);
        }
        self.head.flags |= flag::CANCELED;
        self.cancel_legs(now, rules, |_| false, &mut todo);
        if self.legs.is_empty() || self.head.has(flag::SUSPENDED) {
            return (!busy, todo);
        }
        if self.active() == 0 && !busy {
            todo.push(Do::Final);
        }
        (false, todo)
    }

    /// The ACK for our negative reply has come. True where it was one.
    pub fn on_ack(&mut self, now: u64) -> bool {
        match self.head.uas() {
            Uas::Completed => {
                self.head.uas = Uas::Done as u8;
                self.head.uas_resend = 0;
                self.head.uas_end = now + u64::from(self.head.wait);
                true
            }
            Uas::Done => true,
            _ => false,
        }
    }

    /// The end-to-end ACK for the 2xx has come by.
    pub fn on_e2e_ack(&mut self, now: u64) {
        self.head.flags |= flag::ACKED;
        if self.head.has(flag::REPEAT_2XX) {
            self.head.flags &= !flag::REPEAT_2XX;
            self.head.uas_resend = 0;
            self.head.uas_end = now + u64::from(self.head.wait);
        }
    }

    /// A reply of this status is sent upstream. False where the transaction takes none any more.
    pub fn answer(&mut self, code: u16, local: bool, now: u64) -> bool {
        let h = &mut self.head;
        if h.answered() || h.has(flag::LOCAL) {
            return false;
        }
        h.put(flag::LOCAL_REPLY, local);
        h.code = code;
        if code < 200 {
            return true;
        }
        h.flags &= !(flag::SUSPENDED);
        h.fr_at = 0;
        h.uas_resend = 0;
        h.uas_interval = h.t1;
        let reliable = h.has(flag::UP_RELIABLE);
        let resend = now + u64::from(h.t1);
        match (h.has(flag::INVITE), code) {
            (true, 300..) => {
                h.uas = Uas::Completed as u8;
                h.uas_end = now + u64::from(h.fr);
                h.uas_resend = if reliable { 0 } else { resend };
            }
            (true, _) => {
                h.uas = Uas::Accepted as u8;
                h.uas_end = now + u64::from(h.wait);
                if local {
                    // RFC 3261 §13.3.1.4: the UAS core repeats its 2xx, over any transport.
                    h.flags |= flag::REPEAT_2XX;
                    h.uas_resend = resend;
                    h.uas_end = now + 64 * u64::from(h.t1);
                }
            }
            _ => {
                h.uas = Uas::Done as u8;
                h.uas_end = now + u64::from(h.wait);
            }
        }
        true
    }

    /// Gives the transaction up: it stays for `wait` to absorb what comes late.
    pub fn release(&mut self, now: u64) {
        self.head.flags |= flag::RELEASED;
        self.head.flags &= !flag::SUSPENDED;
        self.head.fr_at = 0;
        if !self.head.answered() {
            self.head.uas = Uas::Done as u8;
            self.head.uas_end = now + u64::from(self.head.wait);
        }
        for l in &mut self.legs {
            l.stop();
            if l.is_active() {
                l.state = LegState::Completed as u8;
            }
        }
    }

    /// A script that worked on the transaction has ended: what was left for it to decide.
    pub fn settle(&mut self) -> Option<Do> {
        let h = &self.head;
        let open = !h.answered() && !h.has(flag::SUSPENDED) && !self.legs.is_empty();
        (open && self.active() == 0).then_some(Do::Final)
    }

    /// The clock has moved.
    pub fn on_timer(&mut self, now: u64, busy: bool, rules: &Rules) -> Todo {
        let mut todo = Vec::new();
        let invite = self.head.has(flag::INVITE);
        let (t1, t2, fr) = (self.head.t1, self.head.t2, u64::from(self.head.fr));
        let (active_before, mut failed) = (self.active(), Vec::new());
        for (i, leg) in self.legs.iter_mut().enumerate() {
            if due(leg.fr_at, now) && leg.is_active() {
                let ringing = leg.state() == LegState::Proceeding;
                leg.stop();
                leg.state = LegState::Completed as u8;
                leg.code = 408;
                leg.flags |= leg_flag::TIMEOUT | leg_flag::FAKED;
                if invite && (ringing || rules.cancel_method == 2) && !leg.has(leg_flag::CANCELED) {
                    start_cancel(leg, now, fr, t1);
                    todo.push(Do::Cancel(i));
                }
                failed.push(i);
                continue;
            }
            if due(leg.resend, now) {
                leg.interval = leg.interval.saturating_mul(2).min(t2);
                leg.resend = now + u64::from(leg.interval);
                todo.push(Do::Resend(i));
            }
            if due(leg.cancel_end, now) {
                leg.stop_cancel();
            }
            if due(leg.cancel_at, now) {
                leg.cancel_interval = leg.cancel_interval.saturating_mul(2).min(t2);
                leg.cancel_at = now + u64::from(leg.cancel_interval);
                todo.push(Do::Cancel(i));
            }
        }
        if !self.head.answered() {
            failed
                .iter()
                .filter(|i| self.legs[**i].has(leg_flag::BRANCH_FAILURE))
                .for_each(|i| todo.push(Do::LegFailed(*i)));
            if active_before > 0 && self.active() == 0 && !busy {
                todo.push(Do::Final);
            }
            if due(self.head.fr_at, now) && self.head.has(flag::SUSPENDED) && !busy {
                self.head.flags &= !flag::SUSPENDED;
                self.head.fr_at = 0;
                todo.push(Do::Final);
            }
        }
        self.uas_timer(now, busy, &mut todo);
        todo
    }

    /// When the clock matters next; 0 for never.
    pub fn next_deadline(&self) -> u64 {
        let h = &self.head;
        let legs = self
            .legs
            .iter()
            .flat_map(|l| [l.resend, l.fr_at, l.cancel_at, l.cancel_end]);
        legs.chain([h.uas_resend, h.uas_end, h.fr_at])
            .filter(|t| *t != 0)
            .min()
            .unwrap_or(0)
    }

    /// New values of the final-response timers, for legs that run as well.
    pub fn set_fr(&mut self, fr: u32, fr_inv: u32, now: u64) {
        if fr != 0 {
            self.head.fr = fr;
        }
        if fr_inv != 0 {
            self.head.fr_inv = fr_inv;
        }
        let invite = self.head.has(flag::INVITE);
        for i in 0..self.legs.len() {
            let (active, ringing) = (
                self.legs[i].is_active(),
                self.legs[i].state() == LegState::Proceeding,
            );
            let span = if invite && ringing { fr_inv } else { fr };
            if active && span != 0 {
                self.legs[i].fr_at = self.within_life(now + u64::from(span));
            }
        }
    }

    fn provisional(&mut self, at: usize, code: u16, now: u64, rules: &Rules, todo: &mut Todo) {
        let invite = self.head.has(flag::INVITE);
        let (t1, t2, fr) = (self.head.t1, self.head.t2, u64::from(self.head.fr));
        let ring_until = self.within_life(now + u64::from(self.head.fr_inv));
        let leg = &mut self.legs[at];
        let first = leg.state() == LegState::Calling;
        leg.state = LegState::Proceeding as u8;
        leg.flags |= leg_flag::REPLIED;
        let rising = code >= 180 && code > leg.code;
        leg.code = leg.code.max(code);
        if !invite {
            // RFC 3261 §17.1.2.2: timer E goes on at T2.
            if leg.resend != 0 {
                leg.interval = t2;
                leg.resend = now + u64::from(t2);
            }
        } else {
            leg.resend = 0;
            if !leg.has(leg_flag::CANCELED) && (first || rules.restart_fr || rising) {
                leg.fr_at = ring_until;
            }
            if leg.has(leg_flag::CANCEL_WANTED) && !leg.has(leg_flag::CANCELED) {
                start_cancel(leg, now, fr, t1);
                todo.push(Do::Cancel(at));
            }
        }
        let h = &self.head;
        let news = code > 100 || rules.relay_100;
        if news && !h.answered() && !self.is_silent() {
            todo.push(Do::Forward);
        }
    }

    fn success(&mut self, at: usize, code: u16, now: u64, rules: &Rules, todo: &mut Todo) {
        let invite = self.head.has(flag::INVITE);
        let leg = &mut self.legs[at];
        leg.stop();
        leg.stop_cancel();
        leg.flags |= leg_flag::REPLIED;
        leg.code = code;
        leg.state = if invite {
            LegState::Accepted
        } else {
            LegState::Completed
        } as u8;
        if self.is_silent() {
            self.local_done(at, now, todo);
        } else if !self.head.answered() {
            self.head.winner = at as u8;
            self.answer(code, false, now);
            todo.push(Do::Forward);
        } else if invite {
            todo.push(Do::Pass);
        }
        self.cancel_legs(now, rules, |i| i == at, todo);
    }

    fn late_success(&mut self, at: usize, code: u16, now: u64, rules: &Rules, todo: &mut Todo) {
        self.legs[at].state = LegState::Accepted as u8;
        self.legs[at].code = code;
        self.legs[at].stop_cancel();
        if self.head.answered() {
            todo.push(Do::Pass);
        } else {
            self.head.winner = at as u8;
            self.answer(code, false, now);
            todo.push(Do::Forward);
            self.cancel_legs(now, rules, |i| i == at, todo);
        }
    }

    fn negative(
        &mut self,
        at: usize,
        code: u16,
        now: u64,
        busy: bool,
        rules: &Rules,
        todo: &mut Todo,
    ) {
        let invite = self.head.has(flag::INVITE);
        let leg = &mut self.legs[at];
        leg.stop();
        leg.stop_cancel();
        leg.flags |= leg_flag::REPLIED;
        leg.code = code;
        leg.state = LegState::Completed as u8;
        if invite {
            todo.push(Do::Ack(at));
        }
        if self.head.answered() {
            return;
        }
        todo.push(Do::Keep);
        if code >= 600 && !self.head.has(flag::NO_6XX_BLOCK) {
            self.cancel_legs(now, rules, |i| i == at, todo);
        }
        if self.is_silent() {
            if self.active() == 0 {
                self.local_done(at, now, todo);
            }
            return;
        }
        if self.legs[at].has(leg_flag::BRANCH_FAILURE) {
            todo.push(Do::LegFailed(at));
        }
        if self.active() == 0 && !busy {
            todo.push(Do::Final);
        }
    }

    /// A request made here has its final reply: it waits for what comes late.
    fn local_done(&mut self, at: usize, now: u64, todo: &mut Todo) {
        if self.head.answered() {
            return;
        }
        self.head.winner = at as u8;
        self.head.code = self.legs[at].code;
        self.head.uas = if self.legs[at].state() == LegState::Accepted {
            Uas::Accepted
        } else {
            Uas::Done
        } as u8;
        self.head.uas_end = now + u64::from(self.head.wait);
        todo.push(Do::LocalDone(at));
    }

    /// What ends a request made here when all legs have failed: the best of them.
    pub fn local_final(&mut self, now: u64) -> Option<usize> {
        let at = best::choose(self, 0)?;
        let mut todo = Vec::new();
        self.local_done(at, now, &mut todo);
        Some(at)
    }

    fn uas_timer(&mut self, now: u64, busy: bool, todo: &mut Todo) {
        let (t2, wait) = (self.head.t2, u64::from(self.head.wait));
        let legs_end = self
            .legs
            .iter()
            .map(|l| if l.is_active() { l.fr_at } else { 0 }.max(l.cancel_end))
            .max()
            .unwrap_or(0);
        let h = &mut self.head;
        if due(h.uas_end, now) {
            h.uas_resend = 0;
            h.flags &= !flag::REPEAT_2XX;
            match h.uas() {
                Uas::Completed => {
                    // Timer H: the ACK never came.
                    h.uas = Uas::Done as u8;
                    h.uas_end = now + wait;
                }
                Uas::Proceeding => h.uas_end = 0,
                // Late replies of canceled legs must still find us.
                _ if busy || legs_end > now => h.uas_end = legs_end.max(now + 500),
                _ => todo.push(Do::Delete),
            }
        } else if due(h.uas_resend, now) {
            h.uas_interval = h.uas_interval.saturating_mul(2).min(t2);
            h.uas_resend = now + u64::from(h.uas_interval);
            todo.push(Do::Repeat);
        }
    }

    /// Replies of the legs go nowhere: the request was made here, or is a copy.
    pub fn is_silent(&self) -> bool {
        self.head.has(flag::LOCAL | flag::REPLICA)
    }

    /// It has lasted as long as it may: nothing new begins.
    pub fn is_expired(&self, now: u64) -> bool {
        self.head.life_end != 0 && self.head.life_end <= now
    }

    fn within_life(&self, at: u64) -> u64 {
        match self.head.life_end {
            0 => at,
            end => at.min(end),
        }
    }
}

fn due(at: u64, now: u64) -> bool {
    at != 0 && at <= now
}

/// Starts the CANCEL of a leg (RFC 3261 §9.1): it ends soon, whether answered or not.
fn start_cancel(leg: &mut Leg, now: u64, fr: u64, t1: u32) {
    leg.flags |= leg_flag::CANCELED;
    leg.flags &= !leg_flag::CANCEL_WANTED;
    leg.resend = 0;
    if leg.is_active() {
        leg.fr_at = leg.fr_at.min(now + fr);
    }
    leg.cancel_interval = t1;
    leg.cancel_end = now + fr;
    leg.cancel_at = if leg.has(leg_flag::RELIABLE) {
        0
    } else {
        now + u64::from(t1)
    };
}
