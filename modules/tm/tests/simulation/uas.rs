//! A callee: server transactions of RFC 3261 §17.2, its 2xx repeated until the ACK (§13.3.1.4),
//! CANCEL answered as §9.2 says.

use crate::plan::Callee;
use crate::sip::Sip;
use crate::uac::{T1, T2};

/// A server transaction.
struct Tx {
    request: Sip,
    /// The last reply.
    sent: Vec<u8>,
    /// Its status.
    status: u16,
    /// The ACK has come.
    acked: bool,
    resend_at: u64,
    interval: u64,
    end_at: u64,
    /// Replies to come: when, status, tag.
    planned: Vec<(u64, u16, String)>,
    /// A second 2xx that waits for its own ACK.
    second: Option<Vec<u8>>,
}

/// A callee.
pub struct Uas {
    plan: Callee,
    tag: String,
    contact: String,
    txs: Vec<Tx>,
    /// Some request has come.
    pub heard: bool,
    /// Tags of the 2xx to an INVITE that it has sent.
    pub accepted: Vec<String>,
}

impl Uas {
    /// A callee that behaves so; `tag` is its To-tag.
    pub fn new(plan: Callee, tag: String, contact: String) -> Uas {
        Uas {
            plan,
            tag,
            contact,
            txs: Vec::new(),
            heard: false,
            accepted: Vec::new(),
        }
    }

    /// When the clock matters next.
    pub fn next_wake(&self) -> Option<u64> {
        let times = self.txs.iter().flat_map(|t| {
            let planned = t.planned.iter().map(|p| p.0);
            planned.chain([t.resend_at, t.end_at])
        });
        times.filter(|t| *t != 0).min()
    }

    /// The clock has moved.
    pub fn wake(&mut self, now: u64) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for i in 0..self.txs.len() {
            while let Some(at) = self.txs[i].planned.iter().position(|p| now >= p.0) {
                let (_, status, tag) = self.txs[i].planned.remove(at);
                out.extend(self.answer(now, i, status, &tag));
            }
            let t = &mut self.txs[i];
            if t.end_at != 0 && now >= t.end_at {
                (t.end_at, t.resend_at) = (0, 0);
            } else if t.resend_at != 0 && now >= t.resend_at {
                t.interval = (t.interval * 2).min(T2);
                t.resend_at = now + t.interval;
                out.extend((!t.acked).then(|| t.sent.clone()));
                out.extend(t.second.clone());
            }
        }
        out
    }

    fn answer(&mut self, now: u64, i: usize, status: u16, tag: &str) -> Option<Vec<u8>> {
        let t = &mut self.txs[i];
        let invite = t.request.method == "INVITE";
        let again = invite && (200..300).contains(&t.status) && (200..300).contains(&status);
        if t.status >= 200 && !again {
            return None;
        }
        let bytes = t.request.reply(status, tag, &self.contact);
        if again {
            t.second = Some(bytes.clone());
            (t.interval, t.resend_at, t.end_at) = (T1, now + T1, now + 64 * T1);
            self.accepted.push(tag.into());
            return Some(bytes);
        }
        (t.sent, t.status) = (bytes.clone(), status);
        if status < 200 {
            return Some(bytes);
        }
        t.end_at = now + 64 * T1;
        t.planned.retain(|p| (200..300).contains(&p.1));
        if invite {
            let accepted = (200..300).contains(&status);
            if accepted {
                self.accepted.push(tag.into());
            } else {
                t.planned.clear();
            }
            t.interval = T1;
            let repeats = accepted || !self.plan.proto.is_reliable();
            t.resend_at = if repeats { now + T1 } else { 0 };
        }
        Some(bytes)
    }

    /// A request has come.
    pub fn receive(&mut self, now: u64, request: &Sip) -> Vec<Vec<u8>> {
        self.heard = true;
        if self.plan.deaf {
            return Vec::new();
        }
        let branch = request.branch();
        let invite = self.txs.iter_mut().rev().find(|t| {
            t.request.method == "INVITE"
                && (t.request.branch() == branch || request.method == "ACK" && t.status < 300)
        });
        match (request.method.as_str(), invite) {
            ("ACK", Some(t)) => {
                match request.to_tag == self.tag {
                    true => t.acked = true,
                    false => t.second = None,
                }
                if t.acked && t.second.is_none() {
                    t.resend_at = 0;
                }
                Vec::new()
            }
            ("ACK", None) => Vec::new(),
            ("CANCEL", Some(t)) => {
                let mut out = vec![request.reply(200, &self.tag, "")];
                if t.status < 200 {
                    t.planned.clear();
                    let i = self.txs.iter().rposition(|t| t.request.branch() == branch);
                    let tag = self.tag.clone();
                    out.extend(i.and_then(|i| self.answer(now, i, 487, &tag)));
                }
                out
            }
            ("CANCEL", None) => vec![request.reply(481, &self.tag, "")],
            _ => self.request(now, request, &branch),
        }
    }

    fn request(&mut self, now: u64, request: &Sip, branch: &str) -> Vec<Vec<u8>> {
        let known = self
            .txs
            .iter()
            .find(|t| t.request.branch() == branch && t.request.method == request.method);
        if let Some(t) = known {
            let repeats = t.status != 0 && !(t.request.method == "INVITE" && t.acked);
            return if repeats {
                vec![t.sent.clone()]
            } else {
                Vec::new()
            };
        }
        let mut planned = Vec::new();
        if request.to_tag.is_empty() {
            let tag = self.tag.clone();
            for (after, status) in self.plan.provisional.iter().copied() {
                planned.push((now + after, status, tag.clone()));
            }
            if let Some((after, status)) = self.plan.last {
                planned.push((now + after, status, tag.clone()));
                if let Some(more) = self
                    .plan
                    .second_2xx
                    .filter(|_| (200..300).contains(&status))
                {
                    planned.push((now + after + more, status, format!("{tag}b")));
                }
                planned.retain(|p| p.1 >= 200 || p.0 < now + after);
            }
        } else {
            planned.push((now, 200, self.tag.clone()));
        }
        self.txs.push(Tx {
            request: request.clone(),
            sent: Vec::new(),
            status: 0,
            acked: false,
            resend_at: 0,
            interval: T1,
            end_at: 0,
            planned,
            second: None,
        });
        self.wake(now)
    }
}
