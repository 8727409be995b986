//! A caller: client transactions of RFC 3261 §17.1, CANCEL (§9.1), ACK for each 2xx (§13.2.2.4), BYE.
//!
//! It has a clock of its own, the world's, which never jumps. What it sends is returned as bytes.

use crate::plan::Call;
use crate::sip::{Request, Sip};
use std::collections::BTreeMap;
use std::rc::Rc;

/// RFC 3261 §17.1.1.1, milliseconds.
pub const T1: u64 = 500;
pub const T2: u64 = 4_000;

/// A client transaction.
struct Tx {
    method: &'static str,
    branch: String,
    bytes: Vec<u8>,
    /// A provisional reply has come.
    proceeding: bool,
    /// Status of the final reply.
    last: Option<u16>,
    resend_at: u64,
    interval: u64,
    end_at: u64,
}

/// A caller.
pub struct Uac {
    number: usize,
    call: Rc<Call>,
    server: String,
    begins: u64,
    txs: Vec<Tx>,
    /// Its connection was lost: it expects nothing more.
    pub cut_off: bool,
    cancel_at: u64,
    /// Dialogs by the callee's tag: the ACK, the callee's address.
    dialogs: BTreeMap<String, (Vec<u8>, String)>,
    bye: Option<(u64, String)>,
}

impl Uac {
    /// The caller of a call; `begins` is when, `server` where it sends to.
    pub fn new(number: usize, call: Rc<Call>, begins: u64, server: &str) -> Uac {
        Uac {
            number,
            server: server.into(),
            begins,
            txs: Vec::new(),
            cut_off: false,
            cancel_at: call.cancel_at.map_or(0, |c| begins + c),
            dialogs: BTreeMap::new(),
            bye: None,
            call,
        }
    }

    /// Its transport is reliable.
    fn reliable(&self) -> bool {
        self.call.proto.is_reliable()
    }

    /// When the clock matters next.
    pub fn next_wake(&self) -> Option<u64> {
        if self.cut_off {
            return None;
        }
        let start = self.txs.is_empty().then_some(self.begins);
        let txs = self.txs.iter().flat_map(|t| [t.resend_at, t.end_at]);
        let more = [self.cancel_at, self.bye.as_ref().map_or(0, |b| b.0)];
        let times = txs.chain(more).filter(|t| *t != 0);
        times.chain(start).min()
    }

    /// The clock has moved.
    pub fn wake(&mut self, now: u64) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        if self.txs.is_empty() && now >= self.begins {
            let ruri = format!("sip:call{}@sim.invalid", self.number);
            out.push(self.start(now, self.call.method, &ruri, "", 1));
        }
        for t in &mut self.txs {
            if t.end_at != 0 && now >= t.end_at {
                (t.end_at, t.resend_at) = (0, 0);
            } else if t.resend_at != 0 && now >= t.resend_at {
                t.interval *= 2;
                if t.method != "INVITE" {
                    t.interval = if t.proceeding { T2 } else { t.interval.min(T2) };
                }
                t.resend_at = now + t.interval;
                out.push(t.bytes.clone());
            }
        }
        if self.cancel_at != 0 && now >= self.cancel_at {
            self.cancel_at = 0;
            let waits = !self.txs[0].proceeding && self.txs[0].last.is_none();
            match waits {
                // RFC 3261 §9.1: not before a provisional reply.
                true if self.txs[0].end_at != 0 => self.cancel_at = now + 200,
                true => {}
                false => out.extend(self.cancel(now)),
            }
        }
        if let Some((at, tag)) = self.bye.clone().filter(|b| now >= b.0) {
            let _ = at;
            self.bye = None;
            let contact = self.dialogs[&tag].1.clone();
            out.push(self.start(now, "BYE", &contact, &tag, 2));
        }
        out
    }

    fn cancel(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.txs[0].last.is_some() {
            return None;
        }
        let branch = self.txs[0].branch.clone();
        let ruri = format!("sip:call{}@sim.invalid", self.number);
        Some(self.start_with(now, "CANCEL", &ruri, "", 1, branch))
    }

    fn start(&mut self, now: u64, method: &'static str, ruri: &str, tag: &str, n: u32) -> Vec<u8> {
        let branch = format!("z9hG4bKu{}.{}", self.number, self.txs.len());
        self.start_with(now, method, ruri, tag, n, branch)
    }

    fn start_with(
        &mut self,
        now: u64,
        method: &'static str,
        ruri: &str,
        tag: &str,
        cseq: u32,
        branch: String,
    ) -> Vec<u8> {
        let bytes = self.request(method, ruri, tag, cseq, &branch);
        self.txs.push(Tx {
            method,
            branch,
            bytes: bytes.clone(),
            proceeding: false,
            last: None,
            resend_at: if self.reliable() { 0 } else { now + T1 },
            interval: T1,
            end_at: now + 64 * T1,
        });
        bytes
    }

    fn request(&self, method: &str, ruri: &str, to_tag: &str, cseq: u32, branch: &str) -> Vec<u8> {
        let via = format!(
            "SIP/2.0/{} {};branch={branch}",
            self.call.proto.via_name(),
            self.server
        );
        Request {
            method,
            ruri,
            via: &via,
            call: self.number,
            cseq,
            to_tag,
            contact: &format!("sip:{}", self.server),
        }
        .bytes()
    }

    /// A reply has come.
    pub fn receive(&mut self, now: u64, reply: &Sip) -> Vec<Vec<u8>> {
        let (branch, method) = (reply.branch(), reply.cseq_method.as_str());
        let found = self
            .txs
            .iter()
            .position(|t| t.branch == branch && t.method == method);
        let Some(at) = found.filter(|_| !self.cut_off) else {
            return Vec::new();
        };
        let reliable = self.reliable();
        let t = &mut self.txs[at];
        if reply.status < 200 {
            if t.last.is_none() {
                t.proceeding = true;
                if t.method == "INVITE" {
                    (t.resend_at, t.end_at) = (0, 0);
                }
            }
            return Vec::new();
        }
        let first = t.last.is_none();
        t.last.get_or_insert(reply.status);
        (t.resend_at, t.end_at) = (0, 0);
        let _ = reliable;
        match (t.method, reply.status) {
            ("INVITE", 200..300) => self.ack_2xx(now, reply, first),
            ("INVITE", _) => {
                let ruri = format!("sip:call{}@sim.invalid", self.number);
                vec![self.request("ACK", &ruri, &reply.to_tag, 1, &branch)]
            }
            _ => Vec::new(),
        }
    }

    fn ack_2xx(&mut self, now: u64, reply: &Sip, first: bool) -> Vec<Vec<u8>> {
        let tag = reply.to_tag.clone();
        if let Some((ack, _)) = self.dialogs.get(&tag) {
            return vec![ack.clone()];
        }
        let branch = format!("z9hG4bKa{}.{}", self.number, self.dialogs.len());
        let contact = match reply.contact.as_str() {
            "" => format!("sip:call{}@sim.invalid", self.number),
            c => c.to_string(),
        };
        let ack = self.request("ACK", &contact, &tag, 1, &branch);
        if let Some(after) = self
            .call
            .bye_after
            .filter(|_| first && !reply.contact.is_empty())
        {
            self.bye = Some((now + after, tag.clone()));
        }
        self.dialogs.insert(tag, (ack.clone(), contact));
        vec![ack]
    }

    /// Its connection is gone: whatever runs has failed (RFC 3261 §17.1.4).
    pub fn connection_lost(&mut self) {
        self.cut_off = !self.txs.is_empty();
    }

    /// Status of the final reply to its first request.
    pub fn ended(&self) -> Option<u16> {
        self.txs.first()?.last
    }

    /// The first request never had any reply.
    pub fn heard_nothing(&self) -> bool {
        self.txs
            .first()
            .is_some_and(|t| !t.proceeding && t.last.is_none())
    }

    /// It has taken a 2xx with this tag.
    pub fn has_dialog(&self, tag: &str) -> bool {
        self.dialogs.contains_key(tag)
    }

    /// Requests without a final reply: method, and whether anything came.
    pub fn open(&self) -> impl Iterator<Item = (&'static str, bool)> {
        self.txs
            .iter()
            .filter(|t| t.last.is_none())
            .map(|t| (t.method, t.proceeding))
    }
}
