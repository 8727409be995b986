//! How messages find their transaction: the bucket, the request's key, our Via branch.
//!
//! All messages of a transaction share Call-ID and CSeq number, so these choose the bucket, and a
//! look-up locks one bucket. Within it a request is known by its key (RFC 3261 §17.2.3), an ACK for
//! a 2xx by its dialog. A reply needs no search: our Via branch names the table's node, with a keyed
//! check so that nobody can address a transaction by guessing, nor a reply from before a restart.
//! All hashes are keyed with the server's secret.

use olelo_core::mem::NodeId;
use olelo_core::net::reply::push_hex;
use olelo_core::proc::secret;
use olelo_sip::{Message, Method};
use std::hash::{DefaultHasher, Hasher};
use std::sync::OnceLock;

/// The magic cookie of RFC 3261 §8.1.1.7.
const COOKIE: &[u8] = b"z9hG4bK";

/// What of a request's texts is compared where its branch has no cookie (RFC 3261 §17.2.3).
#[derive(Debug, Clone, Copy)]
pub struct OldMatching {
    /// Compare the request URI (`ruri_matching`).
    pub ruri: bool,
    /// Compare the topmost Via (`via1_matching`).
    pub via: bool,
}

/// The bucket of a message: from Call-ID and CSeq number.
pub fn bucket_hash(call_id: &[u8], cseq: u32) -> u32 {
    let mut h = keyed(1);
    h.write_u32(cseq);
    h.write(call_id);
    h.finish() as u32
}

/// The bucket of a message, where it has what is needed.
pub fn bucket_of(msg: &Message) -> Option<u32> {
    Some(bucket_hash(msg.call_id()?, msg.cseq()?.number))
}

/// The key of a request, the method left out: branch and sent-by, or what RFC 2543 compares.
pub fn request_key(msg: &Message, old: OldMatching) -> Option<u64> {
    let via = msg.via(0)?;
    let buf = msg.buf();
    let branch = via.branch(buf).unwrap_or_default();
    if branch.len() > COOKIE.len() && branch[..COOKIE.len()].eq_ignore_ascii_case(COOKIE) {
        let mut h = keyed(2);
        h.write(&branch[COOKIE.len()..]);
        h.write_u8(b' ');
        // In pieces of fixed length, whatever the host: the same text gives the same writes.
        for part in via.host(buf).chunks(32) {
            let mut lower = [0u8; 32];
            lower[..part.len()].copy_from_slice(part);
            lower.make_ascii_lowercase();
            h.write(&lower[..part.len()]);
        }
        h.write_u16(via.port.filter(|p| *p != 0).unwrap_or(5060));
        return Some(h.finish());
    }
    let mut h = keyed(3);
    h.write_u64(dialog_key(msg)?);
    if old.ruri {
        h.write(msg.ruri());
    }
    if old.via {
        h.write(via.host(buf));
        h.write_u16(via.port.unwrap_or(5060));
        h.write(branch);
    }
    Some(h.finish())
}

/// Call-ID, CSeq number and From-tag: the same in an INVITE and the ACK for its 2xx.
pub fn dialog_key(msg: &Message) -> Option<u64> {
    let mut h = keyed(4);
    h.write_u32(msg.cseq()?.number);
    h.write(msg.call_id()?);
    h.write_u8(b' ');
    h.write(msg.from_tag().unwrap_or_default());
    Some(h.finish())
}

/// The branch of our Via for a leg.
pub fn branch(id: NodeId, leg: usize) -> String {
    let mut out = String::with_capacity(40);
    out.push_str("z9hG4bK");
    push_hex(&mut out, u64::from(id.bucket), digits(id.bucket));
    out.push('.');
    push_hex(&mut out, u64::from(id.id), digits(id.id));
    out.push('.');
    push_hex(&mut out, u64::from(check(id)), 8);
    out.push('.');
    out.push_str(&leg.to_string());
    out
}

/// The node and leg that a branch of ours names; `None` for any other branch.
pub fn parse_branch(branch: &[u8]) -> Option<(NodeId, usize)> {
    let text = std::str::from_utf8(branch.strip_prefix(COOKIE)?).ok()?;
    let mut parts = text.splitn(4, '.');
    let hex = |s: Option<&str>| u32::from_str_radix(s?, 16).ok();
    let id = NodeId {
        bucket: hex(parts.next())?,
        id: hex(parts.next())?,
    };
    let given = hex(parts.next())?;
    let leg = parts.next()?.parse().ok()?;
    (given == check(id)).then_some((id, leg))
}

/// The To-tag of our replies in a transaction.
pub fn to_tag(id: NodeId) -> String {
    let mut h = keyed(5);
    h.write_u64(id.to_bits());
    let mut out = String::with_capacity(20);
    out.push_str("olt-");
    push_hex(&mut out, h.finish(), 16);
    out
}

/// Methods as one byte in shared memory.
pub fn method_number(m: Method) -> u8 {
    m as u8
}

/// Back from [`method_number`].
pub fn method_of(n: u8) -> Method {
    use Method::*;
    [
        Invite, Ack, Bye, Cancel, Register, Options, Subscribe, Notify, Message, Info, Update,
        Prack, Refer, Publish, Kdmq, Get, Post, Put, Delete,
    ]
    .into_iter()
    .find(|m| *m as u8 == n)
    .unwrap_or(Other)
}

/// How many hexadecimal digits a number has.
fn digits(n: u32) -> u32 {
    (32 - n.leading_zeros()).div_ceil(4).max(1)
}

fn check(id: NodeId) -> u32 {
    let mut h = keyed(6);
    h.write_u64(id.to_bits());
    h.finish() as u32
}

/// A hash keyed with the server's secret, one for each purpose.
fn keyed(purpose: u8) -> DefaultHasher {
    static FRESH: OnceLock<DefaultHasher> = OnceLock::new();
    let mut h = FRESH
        .get_or_init(|| {
            let mut h = DefaultHasher::new();
            h.write_u64(secret());
            h
        })
        .clone();
    h.write_u8(purpose);
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: OldMatching = OldMatching {
        ruri: true,
        via: true,
    };

    fn key(via: &str, method: &str, ruri: &str) -> u64 {
        let text = format!(
            "{method} {ruri} SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\r\n"
        );
        request_key(&Message::from_bytes(text.as_bytes()).unwrap(), OLD).unwrap()
    }

    #[test]
    fn requests_match_by_branch_and_sent_by_whatever_else_differs() {
        let a = key("h:5060;branch=z9hG4bKx", "INVITE", "sip:b@h");
        assert_eq!(a, key("H;branch=z9hG4bKx;rport", "ACK", "sip:other@h"));
        assert_ne!(a, key("h:5061;branch=z9hG4bKx", "INVITE", "sip:b@h"));
        assert_ne!(a, key("h:5060;branch=z9hG4bKy", "INVITE", "sip:b@h"));
    }

    #[test]
    fn without_the_cookie_uri_and_via_decide() {
        let a = key("h;branch=1", "INVITE", "sip:b@h");
        assert_eq!(a, key("h;branch=1", "CANCEL", "sip:b@h"));
        assert_ne!(a, key("h;branch=2", "INVITE", "sip:b@h"));
        assert_ne!(a, key("h;branch=1", "INVITE", "sip:c@h"));
    }

    #[test]
    fn branches_come_back_and_forged_ones_do_not() {
        let id = NodeId {
            bucket: 77,
            id: 0xabcd,
        };
        let b = branch(id, 3);
        assert_eq!(parse_branch(b.as_bytes()), Some((id, 3)));
        for forged in [
            b.replacen("4d", "4e", 1),
            "z9hG4bK".into(),
            "z9hG4bK1.2.3".into(),
        ] {
            assert_eq!(parse_branch(forged.as_bytes()), None, "{forged}");
        }
    }
}
