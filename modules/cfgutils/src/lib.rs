//! The `cfgutils` module: small things that scripts need, mostly to try and to steer them.
//!
//! Shared words hold the probability of `rand_event` and the 32 global flags: all processes see a
//! change at once, each word is always whole. The locks of scripts are in [`lock`].
//!
//! What differs from the original: `sleep` and `usleep` wait at most [`LONGEST_SLEEP`], since a
//! worker that sleeps serves nobody; `abort` writes to the log and kills nothing; `core_hash` is
//! another hash, with the same range of values.

#![forbid(unsafe_code)]

mod lock;
mod rpc;

use olelo_core::hooks::POST_SCRIPT;
use olelo_core::pv::pv;
use olelo_core::route::ctx::{Ctx, End};
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::{Function, function};
use olelo_core::route::module::{IntParam, Module, StrParam, param_int, param_str};
use olelo_core::route::run;
use olelo_core::route::value::Val;
use olelo_core::timer::monotonic_ms;
use olelo_core::{error, info, warn};
use olelo_ipc::process;
use olelo_mem::atomic::{AtomicU64, Ordering};
use olelo_mem::words::Words;
use std::sync::OnceLock;
use std::time::Duration;

/// The longest that one call of `sleep` or `usleep` waits.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(10);

static INITIAL_PROBABILITY: IntParam = IntParam::new(10);
static INITIAL_GFLAGS: IntParam = IntParam::new(0);
static HASH_FILE: StrParam = StrParam::unset();
static LOCK_SET_SIZE: IntParam = IntParam::new(0);

static WORDS: OnceLock<Words> = OnceLock::new();
const PROBABILITY: usize = 0;
const GFLAGS: usize = 1;

/// The module.
pub fn module() -> Module {
    let m = Module::new("cfgutils")
        .doc("Random decisions, global flags, locks, waiting, and other small things for scripts.")
        .init(init)
        .worker_died(lock::worker_died)
        .param(
            param_int("initial_probability", &INITIAL_PROBABILITY)
                .doc("Percent of rand_event() that are true, 0 to 100."),
        )
        .param(
            param_int("initial_gflags", &INITIAL_GFLAGS)
                .doc("Global flags at the start, a bitmap of 32."),
        )
        .param(
            param_str("hash_file", &HASH_FILE)
                .doc("File whose hash is taken at the start, to see later if it changed."),
        )
        .param(
            param_int("lock_set_size", &LOCK_SET_SIZE)
                .doc("Number of locks as a power of two; 0 for none."),
        )
        .pv(pv("RANDOM", |_, _| {
            Val::Int(i64::from(rand::random::<u32>() >> 1))
        })
        .doc("A random number, 0 to 2^31 - 1."));
    let m = [chance(), flags(), locks(), waiting(), memory(), routes()]
        .into_iter()
        .flatten()
        .fold(m, Module::function);
    rpc::commands().into_iter().fold(m, Module::rpc)
}

fn init() -> Result<(), String> {
    let p = INITIAL_PROBABILITY.get();
    if !(0..=100).contains(&p) {
        return Err(format!(
            "initial_probability is {p}; it is a percentage, 0 to 100"
        ));
    }
    let words = Words::create("cfgutils", 2)
        .map_err(|e| format!("can't make cfgutils' shared words: {e}"))?;
    let _ = WORDS.set(words);
    set_probability(p);
    word(GFLAGS).store(INITIAL_GFLAGS.get() as u64 & 0xffff_ffff, Ordering::Relaxed);
    rpc::remember_hash(HASH_FILE.get())?;
    lock::init(LOCK_SET_SIZE.get())?;
    POST_SCRIPT.add(lock::unlock_all);
    Ok(())
}

fn word(i: usize) -> &'static AtomicU64 {
    static NONE: AtomicU64 = AtomicU64::new(0);
    WORDS.get().and_then(|w| w.get(i)).unwrap_or(&NONE)
}

fn yes(b: bool) -> i64 {
    if b { 1 } else { -1 }
}

/// Percent of `rand_event()` that are true.
pub(crate) fn probability() -> i64 {
    word(PROBABILITY).load(Ordering::Relaxed) as i64
}

/// Sets the percentage; false where it is none.
pub(crate) fn set_probability(percent: i64) -> bool {
    let good = (0..=100).contains(&percent);
    if good {
        word(PROBABILITY).store(percent as u64, Ordering::Relaxed);
    } else {
        error!(
            "cfgutils",
            "a probability of {percent} is no percentage, 0 to 100"
        );
    }
    good
}

pub(crate) fn reset_probability() {
    set_probability(INITIAL_PROBABILITY.get());
}

pub(crate) fn gflags() -> u32 {
    word(GFLAGS).load(Ordering::Relaxed) as u32
}

/// Sets the flags of a bitmap.
pub(crate) fn set_gflags(bits: u32) {
    word(GFLAGS).fetch_or(u64::from(bits), Ordering::Relaxed);
}

/// Clears the flags of a bitmap.
pub(crate) fn reset_gflags(bits: u32) {
    word(GFLAGS).fetch_and(u64::from(!bits), Ordering::Relaxed);
}

fn chance() -> Vec<Function> {
    vec![
        function("rand_set_prob", |_: &mut Ctx, p: i64| {
            yes(set_probability(p))
        })
        .cfg("rand_set_prob")
        .args(["percent"])
        .doc("Sets the percentage of rand_event() that are true; for all processes."),
        function("rand_reset_prob", |_: &mut Ctx| {
            reset_probability();
            1i64
        })
        .cfg("rand_reset_prob")
        .doc("Sets the percentage back to initial_probability."),
        function("rand_get_prob", |_: &mut Ctx| probability())
            .cfg("rand_get_prob")
            .doc("The percentage of rand_event() that are true."),
        function("rand_event", |_: &mut Ctx| {
            yes(i64::from(rand::random_range(0..100)) < probability())
        })
        .cfg("rand_event")
        .doc("True in so many percent of the calls."),
        function("core_hash", |_: &mut Ctx, a: &[u8], b: &[u8], size: i64| {
            core_hash(a, b, size)
        })
        .cfg("core_hash")
        .args(["text", "more", "size"])
        .doc("A hash of two strings, 1 to 2^size; not for security."),
    ]
}

/// FNV-1a, folded to `size` bits; from 1, since 0 would end a native route.
fn core_hash(a: &[u8], b: &[u8], size: i64) -> i64 {
    let hash = a
        .iter()
        .chain(b)
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| {
            (h ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    let folded = (hash ^ hash >> 32) & 0xffff_ffff;
    (folded & ((1u64 << size.clamp(0, 31)) - 1)) as i64 + 1
}

fn flags() -> Vec<Function> {
    vec![
        function("set_gflag", |_: &mut Ctx, n: i64| {
            with_flag(n, |bit| {
                set_gflags(bit);
                true
            })
        })
        .native_only()
        .cfg("set_gflag")
        .args(["flag"])
        .doc("Sets a global flag, 0 to 31."),
        function("reset_gflag", |_: &mut Ctx, n: i64| {
            with_flag(n, |bit| {
                reset_gflags(bit);
                true
            })
        })
        .native_only()
        .cfg("reset_gflag")
        .args(["flag"])
        .doc("Clears a global flag, 0 to 31."),
        function("is_gflag", |_: &mut Ctx, n: i64| {
            with_flag(n, |bit| gflags() & bit != 0)
        })
        .native_only()
        .cfg("is_gflag")
        .args(["flag"])
        .doc("Whether a global flag is set, 0 to 31."),
    ]
}

fn with_flag(number: i64, f: impl FnOnce(u32) -> bool) -> i64 {
    match u32::try_from(number) {
        Ok(n @ 0..=31) => yes(f(1 << n)),
        _ => {
            error!(
                "cfgutils",
                "there is no global flag {number}; they are 0 to 31"
            );
            -1
        }
    }
}

fn locks() -> Vec<Function> {
    vec![
        function("lock", |c: &mut Ctx, k: &[u8]| yes(lock::lock(c, k)))
            .args(["key"])
            .doc("Takes the lock of a key, waiting for it up to two seconds."),
        function("lock_key2", |c: &mut Ctx, k: &[u8], k2: &[u8]| {
            yes(lock::lock(c, &[k, k2].concat()))
        })
        .args(["key", "key2"])
        .doc("Takes the lock of two keys together."),
        function("lock_native", |c: &mut Ctx, k: &[u8], k2: Option<&[u8]>| {
            yes(lock::lock(c, &[k, k2.unwrap_or(b"")].concat()))
        })
        .native_only()
        .cfg("lock")
        .args(["key", "key2"])
        .doc("Takes the lock of a key, waiting for it up to two seconds."),
        function("trylock", |c: &mut Ctx, k: &[u8]| yes(lock::trylock(c, k)))
            .args(["key"])
            .doc("Takes the lock of a key if nobody has it."),
        function("trylock_key2", |c: &mut Ctx, k: &[u8], k2: &[u8]| {
            yes(lock::trylock(c, &[k, k2].concat()))
        })
        .args(["key", "key2"])
        .doc("Takes the lock of two keys together if nobody has it."),
        function(
            "trylock_native",
            |c: &mut Ctx, k: &[u8], k2: Option<&[u8]>| {
                yes(lock::trylock(c, &[k, k2.unwrap_or(b"")].concat()))
            },
        )
        .native_only()
        .cfg("trylock")
        .args(["key", "key2"])
        .doc("Takes the lock of a key if nobody has it."),
        function("unlock", |c: &mut Ctx, k: &[u8]| yes(lock::unlock(c, k)))
            .args(["key"])
            .doc("Gives the lock of a key back."),
        function("unlock_key2", |c: &mut Ctx, k: &[u8], k2: &[u8]| {
            yes(lock::unlock(c, &[k, k2].concat()))
        })
        .args(["key", "key2"])
        .doc("Gives the lock of two keys together back."),
        function(
            "unlock_native",
            |c: &mut Ctx, k: &[u8], k2: Option<&[u8]>| {
                yes(lock::unlock(c, &[k, k2.unwrap_or(b"")].concat()))
            },
        )
        .native_only()
        .cfg("unlock")
        .args(["key", "key2"])
        .doc("Gives the lock of a key back."),
    ]
}

fn waiting() -> Vec<Function> {
    vec![
        function("sleep", |_: &mut Ctx, s: i64| {
            wait(s.saturating_mul(1_000_000))
        })
        .cfg("sleep")
        .args(["seconds"])
        .doc("Waits, at most ten seconds; the worker serves nobody meanwhile."),
        function("usleep", |_: &mut Ctx, us: i64| wait(us))
            .cfg("usleep")
            .args(["microseconds"])
            .doc("Waits, at most ten seconds; the worker serves nobody meanwhile."),
        function("abort", |_: &mut Ctx| {
            error!(
                "cfgutils",
                "the script called abort(); this server does not end itself for that"
            );
            -1i64
        })
        .cfg("abort")
        .doc("Writes to the log; the original ends the server."),
    ]
}

fn wait(us: i64) -> i64 {
    let wanted = Duration::from_micros(u64::try_from(us).unwrap_or(0));
    if wanted > LONGEST_SLEEP {
        warn!(
            "cfgutils",
            "a sleep of {wanted:?} is cut to {LONGEST_SLEEP:?}"
        );
    }
    let time = wanted.min(LONGEST_SLEEP);
    process::wait_until(monotonic_ms() + time.as_millis() as u64);
    std::thread::sleep(time);
    process::wait_until(monotonic_ms());
    1
}

fn memory() -> Vec<Function> {
    vec![
        function("pkg_status", |_: &mut Ctx| own_memory())
            .cfg("pkg_status")
            .doc("Writes this process's memory to the log."),
        function("pkg_summary", |_: &mut Ctx| own_memory())
            .cfg("pkg_summary")
            .doc("Writes this process's memory to the log."),
        function("shm_status", |_: &mut Ctx| shared_memory(true))
            .cfg("shm_status")
            .doc("Writes the use of shared memory to the log, by owner."),
        function("shm_summary", |_: &mut Ctx| shared_memory(false))
            .cfg("shm_summary")
            .doc("Writes the use of shared memory to the log."),
    ]
}

fn own_memory() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines: Vec<String> = status
        .lines()
        .filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM") || l.starts_with("RssAnon"))
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    info!(
        "cfgutils",
        "memory of process {}: {}",
        std::process::id(),
        lines.join(", ")
    );
    1
}

fn shared_memory(by_owner: bool) -> i64 {
    let s = olelo_mem::heap::stats();
    info!("cfgutils", "shared memory: {s:?}");
    if by_owner {
        for u in olelo_mem::heap::usage() {
            info!("cfgutils", "shared memory: {u:?}");
        }
    }
    1
}

fn routes() -> Vec<Function> {
    vec![
        function("check_route_exists", |_: &mut Ctx, r: &str| {
            yes(run::has(r))
        })
        .cfg("check_route_exists")
        .args(["route"])
        .doc("Whether the script has a route of this name."),
        function("route_if_exists", route_if_exists)
            .cfg("route_if_exists")
            .args(["route"])
            .doc("Runs a route if the script has it and gives its value; false if there is none."),
    ]
}

fn route_if_exists(ctx: &mut Ctx, name: &str) -> i64 {
    if !run::has(name) {
        return -1;
    }
    let kind = ctx.route;
    match run::call(ctx, name, None, kind) {
        Outcome::Return(v) => v,
        // What ended the route ends the caller too.
        Outcome::Exit => {
            ctx.end = End::Exit;
            0
        }
        Outcome::Drop => {
            ctx.end = End::Drop;
            0
        }
        _ => -1,
    }
}

#[cfg(test)]
mod tests;
