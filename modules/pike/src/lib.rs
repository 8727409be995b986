//! `pike`: senders of too many requests are told apart from the others, per address.
//!
//! Each address has an entry in a shared table: hits in this unit of time and in the one before,
//! both in one word that changes under the bucket's lock. An address is blocked while either unit,
//! or the mean of both, is above the limit. An entry is forgotten `remove_latency` seconds after
//! its last hit; there are at most [`MAX_ADDRESSES`], so that forged addresses cannot eat the
//! memory of the server: further ones are then let pass.

#![forbid(unsafe_code)]

use olelo_core::proc;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{ONREPLY, REQUEST, function};
use olelo_core::route::module::{IntParam, Module, param_int};
use olelo_core::rpc::{Answer, Params, Value, rpc};
use olelo_core::stats::Stat;
use olelo_core::timer::{self, Pace, monotonic_ms};
use olelo_mem::heap::Tag;
use olelo_mem::table::Table;
use std::hash::{DefaultHasher, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

static SAMPLING_TIME_UNIT: IntParam = IntParam::new(2);
static REQS_DENSITY_PER_UNIT: IntParam = IntParam::new(30);
static REMOVE_LATENCY: IntParam = IntParam::new(120);
static LOG_LEVEL: IntParam = IntParam::new(1);

/// Most addresses watched at a time.
pub const MAX_ADDRESSES: usize = 1 << 18;

const BUCKETS: usize = 1 << 14;
/// Addresses spread unevenly over the buckets, so a bucket may have four times its share.
const MOST_PER_BUCKET: usize = MAX_ADDRESSES / BUCKETS * 4;

static TABLE: OnceLock<Table> = OnceLock::new();

static BLOCKED: Stat = Stat::computed(
    "pike",
    "blocked_ips",
    "addresses that are blocked now",
    || entries().iter().filter(|e| e.hot).count() as i64,
);

/// What is said of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass = 1,
    Blocked = -1,
    NewlyBlocked = -2,
}

/// The module.
pub fn module() -> Module {
    Module::new("pike")
        .doc("Blocks addresses that send too many requests.")
        .param(param_int("sampling_time_unit", &SAMPLING_TIME_UNIT).doc("Seconds of one unit."))
        .param(param_int("reqs_density_per_unit", &REQS_DENSITY_PER_UNIT).doc("Most requests of one address in a unit."))
        .param(param_int("remove_latency", &REMOVE_LATENCY).doc("Seconds after its last request that an address is forgotten."))
        .param(param_int("pike_log_level", &LOG_LEVEL).doc("Level at which a newly blocked address is logged."))
        .function(
            function("pike_check_req", check_req)
                .cfg("pike_check_req")
                .routes(REQUEST | ONREPLY)
                .doc("Counts the request for its source address. 1 pass, -1 blocked, -2 blocked from now on."),
        )
        .function(
            function("pike_check_ip", check_ip)
                .cfg("pike_check_ip")
                .args(["address"])
                .routes(REQUEST | ONREPLY)
                .doc("As pike_check_req, for another address."),
        )
        .rpc(rpc("pike.top", top).args("[ALL|HOT|WARM]").doc("Addresses with their hits; the blocked ones unless told."))
        .rpc(rpc("pike.list", top).args("[ALL|HOT|WARM]").doc("As pike.top."))
        .stat(&BLOCKED)
        .init(init)
}

fn init() -> Result<(), String> {
    let table = Table::create("pike", BUCKETS, Tag::register("pike"))
        .map_err(|e| format!("pike: can't make the table of addresses: {e}"))?;
    let _ = TABLE.set(table);
    timer::every("pike sweep", 1000, Pace::Slow, sweep);
    Ok(())
}

fn check_req(ctx: &mut Ctx) -> i64 {
    checked(ctx.rcv.src.ip())
}

fn check_ip(_ctx: &mut Ctx, address: &str) -> i64 {
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(ip) => checked(ip),
        Err(_) => {
            olelo_core::error!("pike", "\"{address}\" is no IP address");
            Verdict::Pass as i64
        }
    }
}

fn checked(ip: IpAddr) -> i64 {
    let verdict = hit(ip, monotonic_ms());
    if verdict == Verdict::NewlyBlocked {
        // Levels as operators write them: -1 error, 0 warning, 1 notice and above.
        match LOG_LEVEL.get() {
            ..=-1 => olelo_core::error!("pike", "PIKE - BLOCKing ip {ip}"),
            0 | 1 => olelo_core::warn!("pike", "PIKE - BLOCKing ip {ip}"),
            2 => olelo_core::info!("pike", "PIKE - BLOCKing ip {ip}"),
            _ => olelo_core::debug!("pike", "PIKE - BLOCKing ip {ip}"),
        }
    }
    verdict as i64
}

/// Hits of an address: number of the unit, hits before it and in it, and whether it is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Hits {
    unit: u32,
    before: u16,
    now: u16,
}

const COUNT_MAX: u16 = 0x7fff;

impl Hits {
    /// `[unit 32][blocked 1][before 15][now 16]`, as one word.
    fn to_bits(self, hot: bool) -> u64 {
        u64::from(self.unit) << 32
            | u64::from(hot) << 31
            | u64::from(self.before.min(COUNT_MAX)) << 16
            | u64::from(self.now)
    }

    fn from_bits(b: u64) -> (Hits, bool) {
        let hits = Hits {
            unit: (b >> 32) as u32,
            before: (b >> 16) as u16 & COUNT_MAX,
            now: b as u16,
        };
        (hits, b >> 31 & 1 == 1)
    }

    /// The same seen from a later unit.
    fn at(self, unit: u32) -> Hits {
        match unit.wrapping_sub(self.unit) {
            0 => self,
            1 => Hits {
                unit,
                before: self.now.min(COUNT_MAX),
                now: 0,
            },
            _ => Hits {
                unit,
                ..Hits::default()
            },
        }
    }

    fn is_hot(self, limit: u64) -> bool {
        let (before, now) = (u64::from(self.before), u64::from(self.now));
        now > limit || before > limit || (before + now) / 2 > limit
    }
}

/// Counts a hit; an internal error lets pass.
fn hit(ip: IpAddr, now_ms: u64) -> Verdict {
    let Some(table) = TABLE.get() else {
        return Verdict::Pass;
    };
    let (key, unit, limit) = (octets(ip), unit_of(now_ms), limit());
    let mut guard = table.lock(hash(&key));
    let Some(r) = guard.iter().find(|r| r.bytes() == key) else {
        if guard.len() < MOST_PER_BUCKET {
            let first = Hits {
                unit,
                before: 0,
                now: 1,
            };
            let hot = first.is_hot(limit);
            let _ = guard.insert(&[&key], Vec::new(), &[first.to_bits(hot), now_ms]);
        }
        return Verdict::Pass;
    };
    let [hits, last, ..] = r.words() else {
        return Verdict::Pass;
    };
    let (was, was_hot) = Hits::from_bits(hits.load(Ordering::Relaxed));
    let mut is = was.at(unit);
    is.now = is.now.saturating_add(1).min(COUNT_MAX);
    let hot = is.is_hot(limit);
    hits.store(is.to_bits(hot), Ordering::Relaxed);
    last.store(now_ms, Ordering::Relaxed);
    match (was_hot, hot) {
        (_, false) => Verdict::Pass,
        (true, true) => Verdict::Blocked,
        (false, true) => Verdict::NewlyBlocked,
    }
}

fn limit() -> u64 {
    REQS_DENSITY_PER_UNIT.get().max(0) as u64
}

fn unit_of(now_ms: u64) -> u32 {
    (now_ms / (SAMPLING_TIME_UNIT.get().max(1) as u64 * 1000)) as u32
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn hash(key: &[u8]) -> u32 {
    let mut h = DefaultHasher::new();
    h.write_u64(proc::secret());
    h.write(key);
    h.finish() as u32
}

/// Forgets addresses that have been quiet.
fn sweep(now_ms: u64) {
    let Some(table) = TABLE.get() else { return };
    let quiet = REMOVE_LATENCY.get().max(1) as u64 * 1000;
    table.for_each_bucket(|guard| {
        guard.retain(|r| {
            let last = r.words().get(1).map_or(0, |w| w.load(Ordering::Relaxed));
            now_ms.saturating_sub(last) < quiet
        });
    });
}

/// An address as `pike.top` shows it.
struct Entry {
    ip: IpAddr,
    hits: Hits,
    expires: i64,
    hot: bool,
}

fn entries() -> Vec<Entry> {
    let Some(table) = TABLE.get() else {
        return Vec::new();
    };
    let now = monotonic_ms();
    let (unit, limit) = (unit_of(now), limit());
    let mut all = Vec::new();
    table.for_each_bucket(|guard| {
        for r in guard.iter() {
            let (Ok(key), [hits, last, ..]) = (<[u8; 16]>::try_from(r.bytes()), r.words()) else {
                continue;
            };
            let hits = Hits::from_bits(hits.load(Ordering::Relaxed)).0.at(unit);
            let idle = now.saturating_sub(last.load(Ordering::Relaxed)) as i64 / 1000;
            all.push(Entry {
                ip: Ipv6Addr::from(key).to_canonical(),
                hits,
                expires: REMOVE_LATENCY.get() - idle,
                hot: hits.is_hot(limit),
            });
        }
    });
    all
}

fn top(p: &Params) -> Answer {
    let which = p
        .opt_text(0)
        .unwrap_or_else(|| "HOT".into())
        .to_ascii_uppercase();
    let mut shown = entries();
    shown.retain(|e| match which.as_str() {
        "ALL" => true,
        "WARM" => !e.hot,
        _ => e.hot,
    });
    shown.sort_by_key(|e| std::cmp::Reverse(u32::from(e.hits.before) + u32::from(e.hits.now)));
    let rows = shown.len() as i64;
    let list = shown
        .iter()
        .map(|e| {
            let row = Value::Struct(vec![
                ("ip_addr".into(), Value::Str(e.ip.to_string())),
                ("leaf_hits_prev".into(), Value::Int(e.hits.before.into())),
                ("leaf_hits_curr".into(), Value::Int(e.hits.now.into())),
                ("expires".into(), Value::Int(e.expires)),
                (
                    "status".into(),
                    Value::Str(if e.hot { "HOT" } else { "WARM" }.into()),
                ),
            ]);
            (String::new(), row)
        })
        .collect();
    Ok(vec![Value::Struct(vec![
        ("max_hits".into(), Value::Int(REQS_DENSITY_PER_UNIT.get())),
        ("list".into(), Value::Struct(list)),
        ("number_of_rows".into(), Value::Int(rows)),
    ])])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() {
        olelo_core::server::for_tests(vec![module()]);
        if TABLE.get().is_none() {
            let _ = TABLE.set(Table::create("pike", 64, Tag::register("pike")).unwrap());
        }
    }

    #[test]
    fn a_flood_is_blocked_and_forgiven() {
        ready();
        for ip in ["192.0.2.7", "2001:db8::7"] {
            let ip: IpAddr = ip.parse().unwrap();
            let unit = 2000;
            let verdicts: Vec<Verdict> = (0..32).map(|_| hit(ip, unit * 100)).collect();
            assert!(verdicts[..30].iter().all(|v| *v == Verdict::Pass));
            assert_eq!(verdicts[30..], [Verdict::NewlyBlocked, Verdict::Blocked]);
            assert_eq!(
                hit(ip, unit * 101),
                Verdict::Blocked,
                "the unit before was hot"
            );
            assert_eq!(hit(ip, unit * 103), Verdict::Pass, "a quiet unit forgives");
        }
        assert_eq!(hit("192.0.2.8".parse().unwrap(), 200_000), Verdict::Pass);
    }

    #[test]
    fn hits_pack_into_a_word() {
        for (unit, before, now, hot) in [
            (0, 0, 0, false),
            (u32::MAX, COUNT_MAX, COUNT_MAX, true),
            (7, 1, 2, false),
        ] {
            let h = Hits { unit, before, now };
            assert_eq!(Hits::from_bits(h.to_bits(hot)), (h, hot));
        }
    }
}
