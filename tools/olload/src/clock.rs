//! What is due when: a heap of deadlines, of which the void ones are told by who set them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// RFC 3261 §17: the first interval of retransmission.
pub const T1: Duration = Duration::from_millis(500);
/// The longest interval.
pub const T2: Duration = Duration::from_secs(4);
/// How long a request is tried.
pub const GIVE_UP: Duration = Duration::from_secs(32);

/// Deadlines of numbered things.
#[derive(Debug, Default)]
pub struct Clock(BinaryHeap<Reverse<(Instant, u64)>>);

impl Clock {
    /// `what` is due at `when`. An earlier deadline of the same thing stays: who is told looks.
    pub fn set(&mut self, when: Instant, what: u64) {
        self.0.push(Reverse((when, what)));
    }

    /// The next thing that is due by now.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        let Reverse((when, what)) = *self.0.peek()?;
        if when > now {
            return None;
        }
        self.0.pop();
        Some(what)
    }
}

/// A message that is sent again until something comes back.
#[derive(Debug)]
pub struct Resend {
    bytes: Vec<u8>,
    interval: Duration,
    next: Option<Instant>,
    end: Instant,
}

/// What a look at the clock says about a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    No,
    /// Send it again.
    Again,
    /// Nobody has answered for too long.
    GiveUp,
}

impl Resend {
    /// A message sent now, tried for this long.
    pub fn new(bytes: Vec<u8>, now: Instant, tried: Duration) -> Resend {
        Resend {
            bytes,
            interval: T1,
            next: Some(now + T1),
            end: now + tried,
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// It is not sent again; its end stays.
    pub fn stop(&mut self) {
        self.next = None;
    }

    /// It is sent again at the longest interval only (RFC 3261 §17.1.2.2, Proceeding).
    pub fn slow_down(&mut self) {
        self.interval = T2;
    }

    /// It ends at this time instead.
    pub fn end_at(&mut self, end: Instant) {
        self.end = end;
    }

    /// What is due.
    pub fn look(&mut self, now: Instant) -> Due {
        if now >= self.end {
            return Due::GiveUp;
        }
        match self.next {
            Some(next) if now >= next => {
                self.interval = (self.interval * 2).min(T2);
                self.next = Some(now + self.interval);
                Due::Again
            }
            _ => Due::No,
        }
    }

    /// When to look again.
    pub fn deadline(&self) -> Instant {
        self.next.map_or(self.end, |n| n.min(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_up_to_the_longest() {
        let start = Instant::now();
        let mut r = Resend::new(vec![], start, GIVE_UP);
        let mut seen = Vec::new();
        let end = loop {
            let now = r.deadline();
            match r.look(now) {
                Due::Again => seen.push((now - start).as_millis()),
                Due::GiveUp => break now,
                Due::No => panic!("nothing at its own deadline"),
            }
        };
        assert_eq!(seen[..5], [500, 1500, 3500, 7500, 11_500]);
        assert_eq!(end - start, GIVE_UP);
    }
}
