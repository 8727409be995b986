//! Nonces: signed, so that every worker (and, with a common `secret`, every server) accepts them
//! without having seen them; and, where asked for, counted in shared words against replay.
//!
//! `base64(time 4 ‖ index 4 ‖ HMAC-SHA-256(secret, time ‖ index ‖ checked parts of the request)[..16])`.
//! The index names a shared word: which nonce it is for (tag) and the highest count seen. A newer
//! nonce takes the word of an old one over, which then is stale: memory is bounded.

use crate::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use olelo_core::timer;
use olelo_mem::words::{Words, Words32};
use olelo_sip::{Credentials, Method, Qop};
use sha2::Sha256;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

const MAC: usize = 16;

/// What a nonce is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Good.
    Good,
    /// Not ours, or changed.
    Forged,
    /// Too old, or replaced by newer ones.
    Stale,
    /// Good once, and used before.
    Reused,
}

static SECRET: OnceLock<Vec<u8>> = OnceLock::new();
static COUNTS: OnceLock<Words32> = OnceLock::new();
static NEXT: OnceLock<Words> = OnceLock::new();

/// Makes secret and shared words; main, before the forks.
pub fn init() -> Result<(), String> {
    let secret = match crate::SECRET.get() {
        Some(s) => s.as_bytes().to_vec(),
        None => rand::random::<[u8; 32]>().to_vec(),
    };
    let _ = SECRET.set(secret);
    if NONCE_COUNT.is_on() || ONE_TIME_NONCE.is_on() {
        let size = |size: &IntParam, order: &IntParam| match (size.get(), order.get()) {
            (0, 0) => 1 << 20,
            (0, o) => 1usize << o.clamp(4, 26),
            (n, _) => 1usize << (63 - n.clamp(16, 1 << 26).leading_zeros()),
        };
        let many = size(&NC_ARRAY_SIZE, &NC_ARRAY_ORDER)
            .max(size(&OTN_IN_FLIGHT_NO, &OTN_IN_FLIGHT_ORDER));
        let fail =
            |e| format!("auth: can't make the table of {many} nonces: {e}; set nc_array_size");
        let counts = Words32::create("auth_nonces", many).map_err(fail)?;
        let next = Words::create("auth_next_nonce", 1).map_err(fail)?;
        let _ = COUNTS.set(counts);
        let _ = NEXT.set(next);
    }
    Ok(())
}

/// A new nonce for the request in `ctx`.
pub fn make(ctx: &Ctx) -> String {
    make_at(ctx, timer::wall_s() as u32)
}

fn make_at(ctx: &Ctx, now: u32) -> String {
    let index = match (NEXT.get().and_then(|w| w.get(0)), COUNTS.get()) {
        (Some(next), Some(counts)) => {
            let index = next.fetch_add(1, Ordering::Relaxed) as u32;
            if let Some(word) = counts.get(index as usize % counts.len()) {
                word.store(tag(index, counts.len()) << 8, Ordering::Relaxed);
            }
            index
        }
        _ => 0,
    };
    let mut bytes = [now.to_be_bytes(), index.to_be_bytes()].concat();
    let mac = sign(ctx, &bytes, checks(ctx));
    bytes.extend_from_slice(&mac);
    STANDARD.encode(bytes)
}

/// Checks signature and age of the nonce of `credentials`; its use is not counted yet.
pub fn check(ctx: &Ctx, credentials: &Credentials) -> Check {
    check_at(ctx, credentials, timer::wall_s(), false)
}

/// As [`check`], and counts its use: for a response that is right.
pub fn check_and_count(ctx: &Ctx, credentials: &Credentials) -> Check {
    check_at(ctx, credentials, timer::wall_s(), true)
}

fn check_at(ctx: &Ctx, credentials: &Credentials, now: i64, use_up: bool) -> Check {
    let buf = ctx.msg.buf();
    let Ok(bytes) = STANDARD.decode(credentials.nonce.of(buf)) else {
        return Check::Forged;
    };
    let Some((&[t0, t1, t2, t3, i0, i1, i2, i3], mac)) = bytes.split_first_chunk::<8>() else {
        return Check::Forged;
    };
    let counted = NONCE_COUNT.is_on() && credentials.qop != Qop::None && credentials.nc.is_some();
    // With a count the other checks do not apply, but what was signed does not change.
    let expected = sign(ctx, &bytes[..8], checks(ctx));
    if !same(mac, &expected) {
        // The request differs in a checked part from the one challenged: a new challenge will do.
        return if checks(ctx) != 0 {
            Check::Stale
        } else {
            Check::Forged
        };
    }
    let made = i64::from(u32::from_be_bytes([t0, t1, t2, t3]));
    if made > now + NONCE_AUTH_MAX_DRIFT.get() || made + NONCE_EXPIRE.get() < now {
        return Check::Stale;
    }
    let index = u32::from_be_bytes([i0, i1, i2, i3]);
    if !use_up {
        Check::Good
    } else if counted {
        match credentials.nonce_count(buf) {
            Some(nc) => count(index, nc),
            None => Check::Forged,
        }
    } else if ONE_TIME_NONCE.is_on() {
        // Any count above the highest: the nonce is used up.
        match count(index, 255) {
            Check::Stale => Check::Reused,
            c => c,
        }
    } else {
        Check::Good
    }
}

/// Takes count `nc` of nonce `index`, if it is above those seen.
fn count(index: u32, nc: u32) -> Check {
    let Some(counts) = COUNTS.get() else {
        return Check::Good;
    };
    let Some(word) = counts.get(index as usize % counts.len()) else {
        return Check::Stale;
    };
    if nc > 255 {
        return Check::Stale;
    }
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        if seen >> 8 != tag(index, counts.len()) {
            return Check::Stale;
        }
        if nc <= seen & 0xff {
            return Check::Stale;
        }
        match word.compare_exchange_weak(
            seen,
            seen & !0xff | nc,
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            Ok(_) => return Check::Good,
            Err(now) => seen = now,
        }
    }
}

/// Tells the nonces that share a word apart.
fn tag(index: u32, len: usize) -> u32 {
    (index as usize / len.max(1)) as u32 & 0xff_ffff
}

/// Which parts of the request are signed with the nonce (`auth_checks_…`).
fn checks(ctx: &Ctx) -> i64 {
    if ctx.msg.method() == Method::Register {
        AUTH_CHECKS_REGISTER.get()
    } else if ctx.msg.to_tag().is_none() {
        AUTH_CHECKS_NO_DLG.get()
    } else {
        AUTH_CHECKS_IN_DLG.get()
    }
}

fn sign(ctx: &Ctx, bytes: &[u8], checks: i64) -> [u8; MAC] {
    let secret = SECRET.get().map_or(&b""[..], Vec::as_slice);
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return [0; MAC]; // HMAC takes keys of any length
    };
    mac.update(bytes);
    let mut part = |bit: i64, text: &[u8]| {
        if checks & bit != 0 {
            mac.update(&(text.len() as u32).to_be_bytes());
            mac.update(text);
        }
    };
    part(1, ctx.msg.ruri());
    part(2, ctx.msg.call_id().unwrap_or_default());
    part(4, ctx.msg.from_tag().unwrap_or_default());
    part(8, ctx.rcv.src.ip().to_string().as_bytes());
    let full = mac.finalize().into_bytes();
    let mut out = [0; MAC];
    out.copy_from_slice(&full[..MAC]);
    out
}

/// Equality in constant time.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use olelo_sip::Span;

    fn credentials(nonce: &str, nc: &str) -> (Ctx, Credentials) {
        let value = format!(
            "Digest username=\"u\", realm=\"r\", nonce=\"{nonce}\", uri=\"sip:r\", response=\"0\", qop=auth, \
             cnonce=\"c\", nc={nc}"
        );
        let mut ctx = Ctx::new();
        ctx.msg.buf_mut().extend_from_slice(
            format!("REGISTER sip:r SIP/2.0\r\nAuthorization: {value}\r\n\r\n").as_bytes(),
        );
        ctx.msg.parse().unwrap();
        let at = ctx.msg.headers()[0].body;
        let c = Credentials::parse(ctx.msg.buf(), Span::new(at.at(), at.to())).unwrap();
        (ctx, c)
    }

    #[test]
    fn nonces_age_and_are_not_forged() {
        let _turn = crate::tests::turn();
        let (ctx, _) = credentials("", "1");
        let nonce = make_at(&ctx, 1_000_000);
        for (now, want) in [
            (1_000_000, Check::Good),
            (1_000_300, Check::Good),
            (1_000_301, Check::Stale),
            (999_997, Check::Good),
            (999_996, Check::Stale),
        ] {
            let (ctx, c) = credentials(&nonce, "00000001");
            assert_eq!(check_at(&ctx, &c, now, true), want, "{now}");
        }
        for i in 0..nonce.len() {
            let mut forged = nonce.clone().into_bytes();
            forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
            let (ctx, c) = credentials(std::str::from_utf8(&forged).unwrap(), "00000001");
            assert_ne!(
                check_at(&ctx, &c, 1_000_000, true),
                Check::Good,
                "character {i}"
            );
        }
    }

    #[test]
    fn counts_only_go_up() {
        let _turn = crate::tests::turn();
        let _ = COUNTS.set(Words32::create("n", 16).unwrap());
        let _ = NEXT.set(Words::create("m", 1).unwrap());
        NONCE_COUNT.set(1);
        let (ctx, _) = credentials("", "1");
        let nonce = make_at(&ctx, 1_000_000);
        let at = |nc: &str| {
            let (ctx, c) = credentials(&nonce, nc);
            check_at(&ctx, &c, 1_000_000, true)
        };
        for (nc, want) in [
            ("00000001", Check::Good),
            ("00000001", Check::Stale),
            ("00000003", Check::Good),
            ("00000002", Check::Stale),
            ("000000ff", Check::Good),
            ("00000100", Check::Stale),
        ] {
            assert_eq!(at(nc), want, "{nc}");
        }
        let first = make_at(&ctx, 1_000_000);
        (0..16).for_each(|_| drop(make_at(&ctx, 1_000_000)));
        let (ctx, c) = credentials(&first, "00000001");
        assert_eq!(
            check_at(&ctx, &c, 1_000_000, true),
            Check::Stale,
            "its word was taken over"
        );
        NONCE_COUNT.set(0);
    }
}
