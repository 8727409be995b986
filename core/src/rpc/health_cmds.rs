//! Control commands about the server's health: deaths, locks, shared memory.
//!
//! They take no lock where that can be helped: they are asked when something stands still.

use super::core_cmds::ctime;
use super::{Answer, Fault, Params, Rpc, Value, fields, rpc, text};
use crate::proc::{crashes, quarantine};
use olelo_ipc::process;
use olelo_mem::heap;

/// The commands.
pub fn all() -> Vec<Rpc> {
    vec![
        rpc("core.crashes", list_crashes)
            .array()
            .doc("Processes that died: when, how, with which locks, on which message."),
        rpc("core.quarantine", list_quarantine)
            .array()
            .doc("Messages on which workers died; those with two strikes are answered with 500."),
        rpc("core.quarantine_release", release_quarantine)
            .args("[key]")
            .doc("Lets all messages of the quarantine go, or the one of this key."),
        rpc("core.locks", locks)
            .array()
            .doc("Shared locks held now: lock, holder, what it works on, who waits and how long. Answers while others stand still."),
        rpc("mem.check", check).doc("Walks all shared structures and names what is wrong, and what could not be looked at because its lock is busy."),
        rpc("mem.top", mem_top)
            .array()
            .doc("Shared memory by module, the largest first; change per minute and per hour in bytes."),
    ]
}

fn list_crashes(_: &Params) -> Answer {
    let row = |c: crashes::Crash| {
        fields([
            ("at", Value::Int(c.at)),
            ("time", text(ctime(c.at))),
            ("slot", Value::Int(c.slot.into())),
            ("pid", Value::Int(c.pid.into())),
            ("process", text(c.name)),
            ("how", text(c.how)),
            ("locks", Value::Int(c.locks as i64)),
            ("message", text(c.message)),
            ("key", text(format!("{:016x}", c.key))),
        ])
    };
    Ok(crashes::list().into_iter().map(row).collect())
}

fn list_quarantine(_: &Params) -> Answer {
    let crashes = crashes::list();
    let row = |s: quarantine::Struck| {
        let crash = crashes.iter().rfind(|c| c.key == s.key);
        fields([
            ("key", text(format!("{:016x}", s.key))),
            ("quarantined", Value::Int(s.is_quarantined().into())),
            ("strikes", text(format!("{}", s.half_strikes as f64 / 2.0))),
            ("last", text(ctime(s.at))),
            (
                "message",
                text(crash.map_or("", |c| &c.message).to_string()),
            ),
        ])
    };
    Ok(quarantine::list().into_iter().map(row).collect())
}

fn release_quarantine(p: &Params) -> Answer {
    let key = match p.opt_text(0) {
        None => None,
        Some(k) => Some(u64::from_str_radix(&k, 16).map_err(|_| {
            Fault::new(
                400,
                format!("\"{k}\" is no key; core.quarantine lists them"),
            )
        })?),
    };
    let gone = quarantine::release(key);
    Ok(vec![fields([("released", Value::Int(gone as i64))])])
}

fn locks(_: &Params) -> Answer {
    let row = |l: olelo_mem::lock::HeldLock| {
        let holder = process::table().get(l.slot);
        let busy = holder.filter(|s| s.busy_since() != 0);
        let message = busy.map_or(String::new(), |s| first_line(&s.summary()));
        fields([
            ("lock", text(l.name)),
            ("index", Value::Int(l.index as i64)),
            ("slot", Value::Int(l.slot.into())),
            ("holder", text(who(l.slot))),
            ("pid", Value::Int(holder.map_or(0, |s| s.pid()).into())),
            ("message", text(message)),
            ("waited_ms", Value::Int(l.waited_ms as i64)),
            (
                "waiters",
                Value::Array(l.waiters.into_iter().map(|w| text(who(w))).collect()),
            ),
        ])
    };
    Ok(olelo_mem::lock::held().into_iter().map(row).collect())
}

/// A process by its description.
fn who(slot: u16) -> String {
    let place = process::table().get(slot);
    place.map_or_else(|| format!("slot {slot}"), |s| s.description())
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or("").to_string()
}

fn check(_: &Params) -> Answer {
    let found = olelo_mem::check_all();
    let shown = found.faults.iter().map(|f| text(format!("{f:?}")));
    let busy = found.busy.iter().map(|b| {
        let (lock, index) = (&b.structure, b.index);
        text(format!("{lock}[{index}] is held by {}", who(b.holder)))
    });
    Ok(vec![fields([
        ("faults", Value::Int(found.faults.len() as i64)),
        ("list", Value::Array(shown.collect())),
        ("busy", Value::Array(busy.collect())),
    ])])
}

fn mem_top(_: &Params) -> Answer {
    let trend = heap::trend();
    let row = |u: heap::Usage| {
        let change = trend.iter().find(|t| t.name == u.name);
        let minute = change.map_or(0, |t| t.per_minute);
        let hour = change.map_or(0, |t| t.per_hour);
        fields([
            ("name", text(u.name)),
            ("bytes", Value::Int(u.bytes as i64)),
            ("blocks", Value::Int(u.blocks as i64)),
            ("per_minute", Value::Int(minute)),
            ("per_hour", Value::Int(hour)),
        ])
    };
    Ok(heap::usage().into_iter().map(row).collect())
}
