//! Which requests are being routed right now, for those that are sent again too soon.
//!
//! One word per entry of a small open-addressed table: 48 bits of the request's hash, and the slot of
//! the process that routes it. A process claims an entry by one compare-and-swap and clears it when
//! its route ends; main clears those of a dead process. Where the few entries that a request may use
//! are taken, the request is just not known: the transaction catches it a little later.

use olelo_core::mem::words::Words;
use olelo_core::mem::{current_slot, words};
use olelo_core::route::ctx::Ctx;
use olelo_sip::Method;
use std::hash::{DefaultHasher, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// Entries; a power of two.
const ENTRIES: usize = 4096;
/// Entries that a request may use.
const PROBES: usize = 4;

static TABLE: OnceLock<Words> = OnceLock::new();

/// The entry that this process has claimed for the message.
#[derive(Debug, Default)]
struct Claim(Option<usize>);

/// Creates the table; main, before the forks.
pub fn create() -> Result<(), String> {
    let words = words::Words::create("tmx.precheck", ENTRIES).map_err(|e| e.to_string())?;
    let _ = TABLE.set(words);
    Ok(())
}

/// `t_precheck_trans`: 1 where another process routes this request, else -1 and it is ours.
pub fn check(ctx: &mut Ctx) -> i64 {
    let (Some(table), Some(key)) = (TABLE.get(), key_of(ctx)) else {
        return -1;
    };
    if ctx.ext::<Claim>().0.is_some() {
        return -1;
    }
    match claim(table, key, current_slot()) {
        Claimed::Mine(at) => {
            ctx.ext::<Claim>().0 = Some(at);
            -1
        }
        Claimed::Others => 1,
        Claimed::Full => -1,
    }
}

/// The route of a message has ended.
pub fn done(ctx: &mut Ctx) {
    let claimed = ctx.ext_ref::<Claim>().and_then(|c| c.0);
    if let (Some(at), Some(table)) = (claimed, TABLE.get()) {
        ctx.ext::<Claim>().0 = None;
        if let Some(w) = table.get(at) {
            w.store(0, Release);
        }
    }
}

/// Frees what a dead process had claimed. Runs in main.
pub fn worker_died(slot: u16) {
    let Some(table) = TABLE.get() else { return };
    for w in (0..table.len()).filter_map(|i| table.get(i)) {
        let now = w.load(Acquire);
        if now != 0 && now & 0xffff == u64::from(slot) + 1 {
            let _ = w.compare_exchange(now, 0, AcqRel, Acquire);
        }
    }
}

#[derive(Debug, PartialEq)]
enum Claimed {
    Mine(usize),
    Others,
    Full,
}

fn claim(table: &Words, key: u64, slot: u16) -> Claimed {
    let word = key & !0xffff | (u64::from(slot) + 1);
    let places = (0..PROBES).map(|p| ((key >> 16) as usize + p) % ENTRIES);
    // First look at all places: an equal one may lie behind one that has become free.
    let equal = |w: u64| w & !0xffff == key & !0xffff && w != 0;
    for at in places.clone() {
        if table.get(at).is_some_and(|w| equal(w.load(Acquire))) {
            return Claimed::Others;
        }
    }
    for at in places {
        let Some(w) = table.get(at) else { continue };
        match w.compare_exchange(0, word, AcqRel, Acquire) {
            Ok(_) => return Claimed::Mine(at),
            Err(now) if equal(now) => return Claimed::Others,
            Err(_) => {}
        }
    }
    Claimed::Full
}

/// Keyed hash of what makes a request itself; ACK and CANCEL are not tracked.
fn key_of(ctx: &Ctx) -> Option<u64> {
    let msg = &ctx.msg;
    if matches!(msg.method(), Method::Ack | Method::Cancel) {
        return None;
    }
    let mut h = DefaultHasher::new();
    h.write_u64(olelo_core::proc::secret());
    h.write(msg.call_id()?);
    h.write_u8(b' ');
    h.write(msg.cseq().map(|c| msg.slice(c.method_text))?);
    h.write_u32(msg.cseq()?.number);
    let via = msg.via(0)?;
    h.write(via.branch(msg.buf()).unwrap_or_default());
    h.write_u8(b' ');
    h.write(via.host(msg.buf()));
    h.write_u16(via.port.unwrap_or(0));
    Some(h.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_gets_a_request_until_it_is_done_or_dead() {
        olelo_core::server::for_tests(vec![]);
        create().unwrap();
        let t = TABLE.get().unwrap();
        let key = 0xabcd_1234_5678_0000;
        let Claimed::Mine(at) = claim(t, key, 3) else {
            panic!("free")
        };
        assert_eq!(claim(t, key, 4), Claimed::Others);
        t.get(at).unwrap().store(0, Release);
        assert!(matches!(claim(t, key, 4), Claimed::Mine(_)));
        worker_died(3);
        assert_eq!(claim(t, key, 3), Claimed::Others);
        worker_died(4);
        assert!(matches!(claim(t, key, 3), Claimed::Mine(_)));
    }

    #[test]
    fn a_full_neighbourhood_is_no_obstacle() {
        olelo_core::server::for_tests(vec![]);
        let t = Words::create("tmx.full", ENTRIES).unwrap();
        for n in 0..PROBES as u64 {
            // Same place, other hash above.
            let key = (n + 1) << 40 | 7 << 16;
            assert!(matches!(claim(&t, key, 1), Claimed::Mine(_)));
        }
        assert_eq!(claim(&t, 99 << 40 | 7 << 16, 1), Claimed::Full);
    }
}
