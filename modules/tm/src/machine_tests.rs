//! Tests of the state machine: the timer tables of RFC 3261 §17, CANCEL, RFC 6026, and a simulated
//! network that loses, repeats and reorders.

use crate::best;
use crate::machine::{Do, Rules};
use crate::state::{Head, Leg, LegState, Tx, Uas, flag, leg_flag};

const RULES: Rules = Rules {
    restart_fr: true,
    relay_100: false,
    cancel_method: 1,
};
const START: u64 = 1_000_000;

fn tx(flags: u32, legs: usize) -> Tx {
    let mut t = Tx {
        head: Head {
            created: START,
            life_end: START + 180_000,
            flags,
            fr: 30_000,
            fr_inv: 120_000,
            t1: 500,
            t2: 4_000,
            wait: 5_000,
            winner: 255,
            ..Head::default()
        },
        legs: Default::default(),
    };
    for _ in 0..legs {
        t.start_leg(Leg::default(), START);
    }
    t
}

/// Lets the clock run from deadline to deadline; what is done, with milliseconds since the start.
fn run(t: &mut Tx, until: u64) -> Vec<(u64, Do)> {
    let mut seen = Vec::new();
    loop {
        let next = t.next_deadline();
        if next == 0 || next > START + until {
            return seen;
        }
        for d in t.on_timer(next, false, &RULES) {
            seen.push((next - START, d));
            if d == Do::Delete {
                return seen;
            }
        }
    }
}

#[test]
fn timer_a_doubles_and_stays_at_t2_until_timer_b() {
    let mut t = tx(flag::INVITE, 1);
    let seen = run(&mut t, 29_999);
    let times: Vec<u64> = seen.iter().map(|s| s.0).collect();
    assert_eq!(
        times,
        [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500]
    );
    assert_eq!(run(&mut t, 30_000), [(30_000, Do::Final)]);
    assert_eq!(t.legs[0].code, 408);
    assert!(t.legs[0].has(leg_flag::TIMEOUT | leg_flag::FAKED));
}

#[test]
fn timer_e_goes_on_at_t2_after_a_provisional_and_timer_f_ends_it() {
    let mut t = tx(0, 1);
    assert_eq!(t.on_reply(0, 100, START + 10, false, &RULES), []);
    let seen = run(&mut t, 30_000);
    assert_eq!(seen[0], (4_010, Do::Resend(0)));
    assert_eq!(seen[1].0, 8_010);
    assert_eq!(seen.last(), Some(&(30_000, Do::Final)));
}

#[test]
fn reliable_transports_repeat_nothing() {
    let mut t = tx(flag::INVITE | flag::UP_RELIABLE, 0);
    t.start_leg(
        Leg {
            flags: leg_flag::RELIABLE,
            ..Leg::default()
        },
        START,
    );
    assert_eq!(run(&mut t, 29_999), []);
    let todo = t.on_reply(0, 486, START + 29_999, false, &RULES);
    assert_eq!(todo, [Do::Ack(0), Do::Keep, Do::Final]);
    assert!(t.answer(486, false, START + 29_999));
    assert_eq!(t.head.uas_resend, 0);
}

#[test]
fn a_ringing_leg_times_out_with_a_cancel() {
    let mut t = tx(flag::INVITE, 1);
    assert_eq!(t.on_reply(0, 180, START, false, &RULES), [Do::Forward]);
    t.answer(180, false, START);
    let seen = run(&mut t, 120_000);
    assert_eq!(seen, [(120_000, Do::Cancel(0)), (120_000, Do::Final)]);
    // Its late 487 still gets an ACK, and a late 2xx still goes upstream.
    assert_eq!(t.on_reply(0, 487, START, false, &RULES), [Do::Ack(0)]);
    t.answer(408, true, START + 120_000);
    assert_eq!(t.on_reply(0, 200, START, false, &RULES), [Do::Pass]);
}

/// Its CANCEL is pointless once the final reply is there, even if the answer to it was lost.
#[test]
fn a_final_reply_that_comes_late_stops_the_cancel() {
    let mut t = tx(flag::INVITE, 1);
    t.on_reply(0, 180, START, false, &RULES);
    let seen = run(&mut t, 120_000);
    assert!(seen.contains(&(120_000, Do::Cancel(0))), "{seen:?}");
    assert_ne!(t.legs[0].cancel_at, 0);
    assert_eq!(t.on_reply(0, 487, START, false, &RULES), [Do::Ack(0)]);
    assert_eq!((t.legs[0].cancel_at, t.legs[0].cancel_end), (0, 0));
}

#[test]
fn restarting_the_ring_timer_is_a_choice() {
    for (restart, end) in [(true, START + 160_000), (false, START + 120_000)] {
        let rules = Rules {
            restart_fr: restart,
            ..RULES
        };
        let mut t = tx(flag::INVITE, 1);
        t.on_reply(0, 180, START, false, &rules);
        t.on_reply(0, 180, START + 40_000, false, &rules);
        assert_eq!(t.legs[0].fr_at, end);
    }
}

#[test]
fn a_negative_reply_upstream_is_repeated_until_its_ack_and_no_longer_than_timer_h() {
    let mut t = tx(flag::INVITE, 0);
    t.answer(404, true, START);
    assert_eq!(run(&mut t, 1_500), [(500, Do::Repeat), (1_500, Do::Repeat)]);
    assert!(t.on_ack(START + 1_600));
    assert_eq!(t.head.uas(), Uas::Done);
    assert_eq!(run(&mut t, 60_000), [(6_600, Do::Delete)]);

    let mut t = tx(flag::INVITE, 0);
    t.answer(404, true, START);
    let seen = run(&mut t, 60_000);
    assert_eq!(seen.last(), Some(&(35_000, Do::Delete)));
    assert!(seen.iter().all(|(at, d)| *at <= 30_000 || *d == Do::Delete));
}

#[test]
fn a_2xx_made_here_is_repeated_until_the_end_to_end_ack() {
    let mut t = tx(flag::INVITE | flag::UP_RELIABLE, 0);
    t.answer(200, true, START);
    assert_eq!(run(&mut t, 1_500).len(), 2);
    t.on_e2e_ack(START + 1_600);
    assert_eq!(run(&mut t, 60_000), [(6_600, Do::Delete)]);
}

#[test]
fn every_2xx_of_an_invite_goes_upstream_and_the_others_are_canceled() {
    let mut t = tx(flag::INVITE, 3);
    t.on_reply(0, 180, START, false, &RULES);
    assert_eq!(
        t.on_reply(2, 200, START, false, &RULES),
        [Do::Forward, Do::Cancel(0)]
    );
    assert!(t.legs[1].has(leg_flag::CANCEL_WANTED));
    // RFC 3261 §9.1: the CANCEL waits for a provisional reply.
    assert_eq!(t.on_reply(1, 183, START, false, &RULES), [Do::Cancel(1)]);
    assert_eq!(t.on_reply(2, 200, START, false, &RULES), [Do::Pass]);
    assert_eq!(t.on_reply(0, 200, START, false, &RULES), [Do::Pass]);
    assert_eq!(t.head.uas(), Uas::Accepted);
}

#[test]
fn only_the_first_final_of_another_request_goes_upstream() {
    let mut t = tx(0, 2);
    assert_eq!(t.on_reply(0, 200, START, false, &RULES), [Do::Forward]);
    assert_eq!(t.on_reply(1, 200, START, false, &RULES), []);
    assert_eq!(t.on_reply(0, 200, START, false, &RULES), []);
}

#[test]
fn a_6xx_cancels_the_others_unless_told_otherwise() {
    let mut t = tx(flag::INVITE, 2);
    t.on_reply(0, 180, START, false, &RULES);
    assert_eq!(
        t.on_reply(1, 603, START, false, &RULES),
        [Do::Ack(1), Do::Keep, Do::Cancel(0)]
    );
    let mut t = tx(flag::INVITE | flag::NO_6XX_BLOCK, 2);
    t.on_reply(0, 180, START, false, &RULES);
    assert_eq!(
        t.on_reply(1, 603, START, false, &RULES),
        [Do::Ack(1), Do::Keep]
    );
}

#[test]
fn cancel_by_each_method_on_a_leg_without_reply() {
    for (method, todo, active) in [
        (0, vec![Do::Final], 0),
        (1, vec![], 1),
        (2, vec![Do::Cancel(0)], 1),
    ] {
        let rules = Rules {
            cancel_method: method,
            ..RULES
        };
        let mut t = tx(flag::INVITE, 1);
        assert_eq!(t.on_cancel(START, false, &rules), (false, todo));
        assert_eq!(t.active(), active, "method {method}");
    }
    let mut none = tx(flag::INVITE, 0);
    assert_eq!(none.on_cancel(START, false, &RULES), (true, vec![]));
}

#[test]
fn while_a_script_decides_ends_are_recorded_only() {
    let mut t = tx(flag::INVITE, 1);
    assert_eq!(
        t.on_reply(0, 486, START, true, &RULES),
        [Do::Ack(0), Do::Keep]
    );
    assert_eq!(t.settle(), Some(Do::Final));
    t.start_leg(Leg::default(), START);
    assert_eq!(t.settle(), None);
}

#[test]
fn a_provisional_that_comes_late_changes_nothing() {
    let mut t = tx(flag::INVITE, 1);
    t.on_reply(0, 486, START, false, &RULES);
    assert_eq!(t.on_reply(0, 180, START, false, &RULES), []);
    assert_eq!(t.legs[0].state(), LegState::Completed);
    assert_eq!(t.on_reply(7, 180, START, false, &RULES), []);
}

/// A little random, the same for a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Packet {
    /// To a leg's server.
    Invite(usize),
    Cancel(usize),
    Ack(usize),
    /// To us, from a leg.
    Reply(usize, u16),
    CancelOk(usize),
    /// To us, from upstream.
    UpAck,
    UpCancel,
    /// A server's own timer: answer, or repeat the answer.
    Decide(usize),
}

struct World {
    dice: Dice,
    loss: u64,
    queue: std::collections::BinaryHeap<std::cmp::Reverse<(u64, u64, Packet)>>,
    sent: u64,
    /// Final status that each server will give; 0: never answers.
    plan: Vec<u16>,
    answered: Vec<Option<u16>>,
    acked: Vec<bool>,
    finals_up: Vec<u16>,
}

impl World {
    fn post(&mut self, now: u64, p: Packet, network: bool) {
        if network && self.dice.roll(100) < self.loss {
            return;
        }
        let copies = 1 + u64::from(network && self.dice.roll(10) == 0);
        for _ in 0..copies {
            let delay = 1 + self.dice.roll(300);
            self.sent += 1;
            self.queue
                .push(std::cmp::Reverse((now + delay, self.sent, p)));
        }
    }

    fn carry_out(&mut self, t: &mut Tx, now: u64, todo: Vec<Do>, code: u16) -> bool {
        for d in todo {
            match d {
                Do::Resend(i) => self.post(now, Packet::Invite(i), true),
                Do::Ack(i) => self.post(now, Packet::Ack(i), true),
                Do::Cancel(i) => {
                    assert!(
                        t.legs[i].has(leg_flag::REPLIED),
                        "no CANCEL before a provisional reply"
                    );
                    self.post(now, Packet::Cancel(i), true);
                }
                Do::Forward if code >= 200 => self.finals_up.push(code),
                Do::Final => {
                    assert_eq!(t.active(), 0);
                    let w = best::choose(t, 0).expect("all legs have a final status");
                    let code = t.legs[w].code;
                    assert!(t.answer(code, false, now), "one final reply only");
                    self.finals_up.push(code);
                    self.post(now, Packet::UpAck, true);
                }
                Do::Repeat => self.post(now, Packet::UpAck, true),
                Do::Delete => return true,
                _ => {}
            }
        }
        false
    }

    /// A packet arrives. True where the transaction is over.
    fn arrive(&mut self, t: &mut Tx, now: u64, p: Packet) -> bool {
        match p {
            Packet::Invite(i) => {
                match self.answered[i] {
                    Some(code) => self.post(now, Packet::Reply(i, code), true),
                    None => {
                        self.post(now, Packet::Reply(i, 180), true);
                        let first = self.dice.roll(2) == 0;
                        if first {
                            self.post(now + self.dice.0 % 20_000, Packet::Decide(i), false);
                        }
                    }
                }
                false
            }
            Packet::Decide(i) => {
                if self.plan[i] == 0 && self.answered[i].is_none() || self.acked[i] {
                    return false;
                }
                let code = *self.answered[i].get_or_insert(self.plan[i]);
                self.post(now, Packet::Reply(i, code), true);
                if code >= 300 {
                    self.post(now + 2_000, Packet::Decide(i), false);
                }
                false
            }
            Packet::Cancel(i) => {
                self.post(now, Packet::CancelOk(i), true);
                if self.answered[i].is_none() {
                    self.answered[i] = Some(487);
                    self.post(now, Packet::Decide(i), false);
                }
                false
            }
            Packet::Ack(i) => {
                self.acked[i] = true;
                false
            }
            Packet::Reply(i, code) => {
                let todo = t.on_reply(i, code, now, false, &RULES);
                self.carry_out(t, now, todo, code)
            }
            Packet::CancelOk(i) => {
                t.on_cancel_reply(i, 200);
                false
            }
            Packet::UpAck => {
                t.on_ack(now);
                false
            }
            Packet::UpCancel => {
                let (_, todo) = t.on_cancel(now, false, &RULES);
                self.carry_out(t, now, todo, 0)
            }
        }
    }
}

#[test]
fn whatever_the_network_does_one_final_goes_up_and_all_ends() {
    for seed in 1..400_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let legs = 1 + dice.roll(4) as usize;
        let codes = [200, 200, 486, 404, 503, 603, 401, 0];
        let plan: Vec<u16> = (0..legs).map(|_| codes[dice.roll(8) as usize]).collect();
        let mut w = World {
            loss: dice.roll(40),
            dice,
            queue: Default::default(),
            sent: 0,
            answered: vec![None; legs],
            acked: vec![false; legs],
            plan: plan.clone(),
            finals_up: Vec::new(),
        };
        let mut t = tx(flag::INVITE, legs);
        for i in 0..legs {
            w.post(START, Packet::Invite(i), true);
        }
        if w.dice.roll(3) == 0 {
            let after = w.dice.roll(10_000);
            w.post(START + after, Packet::UpCancel, false);
        }
        let mut over = None;
        for _ in 0..20_000 {
            let packet = w.queue.peek().map(|p| p.0.0).unwrap_or(u64::MAX);
            let timer = Some(t.next_deadline())
                .filter(|d| *d != 0)
                .unwrap_or(u64::MAX);
            let now = packet.min(timer);
            assert!(now < u64::MAX, "seed {seed}: nothing is left to happen");
            let end = if packet <= timer {
                let Some(std::cmp::Reverse((at, _, p))) = w.queue.pop() else {
                    break;
                };
                w.arrive(&mut t, at, p)
            } else {
                let todo = t.on_timer(now, false, &RULES);
                w.carry_out(&mut t, now, todo, 0)
            };
            if end {
                over = Some(now - START);
                break;
            }
        }
        let over = over.unwrap_or_else(|| panic!("seed {seed}: {plan:?} never ends: {t:?}"));
        assert!(over <= 260_000, "seed {seed}: ends after {over} ms");
        assert_eq!(w.finals_up.len(), 1, "seed {seed}: {:?}", w.finals_up);
        assert_eq!(t.active(), 0, "seed {seed}");
    }
}
