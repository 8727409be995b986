//! The `kex` module: statistics commands, and a few functions that Kamailio keeps here.
//!
//! Flags and URI functions of `kex` are the core's here; this module has their native names.

#![forbid(unsafe_code)]

use olelo_core::log::DEBUG;
use olelo_core::pv::{self, pv};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{ScriptError, function};
use olelo_core::route::module::Module;
use olelo_core::route::value::Val;
use olelo_core::rpc::{Answer, Fault, Params, Value, fields, rpc, text};
use olelo_core::stats::{self, Stat};
use std::cell::Cell;

thread_local!(static LEVEL_BEFORE: Cell<Option<i64>> = const { Cell::new(None) });

static TOTAL: Stat = Stat::computed("shmem", "total_size", "shared memory, bytes", || {
    olelo_core::mem::heap::stats().total as i64
});
static USED: Stat = Stat::computed("shmem", "used_size", "shared memory in use, bytes", || {
    olelo_core::mem::heap::stats().used as i64
});
static REAL: Stat = Stat::computed(
    "shmem",
    "real_used_size",
    "shared memory in use with overhead, bytes",
    || olelo_core::mem::heap::stats().real_used as i64,
);
static MOST: Stat = Stat::computed(
    "shmem",
    "max_used_size",
    "most shared memory ever in use, bytes",
    || olelo_core::mem::heap::stats().max_used as i64,
);
static FREE: Stat = Stat::computed("shmem", "free_size", "shared memory free, bytes", || {
    olelo_core::mem::heap::stats().free as i64
});
static FRAGMENTS: Stat =
    Stat::computed("shmem", "fragments", "free pieces of shared memory", || {
        olelo_core::mem::heap::stats().fragments as i64
    });

/// The module.
pub fn module() -> Module {
    let m = Module::new("kex")
        .doc("Statistics commands, and a few functions that Kamailio keeps here.")
        .function(
            function("setdebug", setdebug)
                .cfg("setdebug")
                .args(["level"])
                .doc("Sets the level of the log for this process until resetdebug."),
        )
        .function(
            function("resetdebug", resetdebug)
                .cfg("resetdebug")
                .doc("Takes back setdebug."),
        )
        .function(
            function("is_myhost", |_: &mut Ctx, h: &[u8]| {
                if olelo_core::net::own::is_myself(h, 0, None) {
                    1i64
                } else {
                    -1
                }
            })
            .native_only()
            .cfg("is_myhost")
            .args(["host"])
            .doc("Whether a host name or address is this server."),
        )
        .function(
            function("pv_printf", pv_printf)
                .native_only()
                .cfg("pv_printf")
                .cfg("avp_printf")
                .args(["variable", "format"])
                .doc("Writes a text with pseudo-variables into a variable."),
        )
        .pv(pv("sruid", |_, _| Val::owned(unique_id())).doc("A new unique id."))
        .rpc(
            rpc("stats.get_statistics", get_statistics)
                .args("*names")
                .array()
                .doc("Statistics as text: all, GROUP:, or names."),
        )
        .rpc(
            rpc("stats.fetch", |p| fetch(p, true))
                .args("*names")
                .doc("Statistics by name, values as text."),
        )
        .rpc(
            rpc("stats.fetchn", |p| fetch(p, false))
                .args("*names")
                .doc("Statistics by name, values as numbers."),
        )
        .rpc(
            rpc("stats.reset_statistics", reset)
                .args("*names")
                .doc("Sets statistics back to zero."),
        )
        .rpc(
            rpc("stats.clear_statistics", clear)
                .args("*names")
                .doc("Reads statistics and sets them back to zero."),
        )
        .rpc(
            rpc("mod.stats", mod_stats)
                .args("[module] [shm|pkg|all]")
                .array()
                .doc("Shared memory by module."),
        )
        .rpc(
            rpc("mod.mem_stats", mod_stats)
                .args("[module] [shm|pkg|all]")
                .array()
                .doc("Shared memory by module."),
        )
        .rpc(
            rpc("mod.mem_statsx", mod_stats)
                .args("[module] [shm|pkg|all]")
                .array()
                .doc("Shared memory by module."),
        )
        .rpc(
            rpc("pkg.stats", pkg_stats)
                .array()
                .doc("Memory of each process: resident bytes."),
        )
        .rpc(
            rpc("pkg.info", |_| {
                Ok(vec![fields([("name", text("mimalloc"))])])
            })
            .doc("The allocator of process memory."),
        );
    let m = olelo_core::exports::of_kex()
        .into_iter()
        .fold(m, Module::function);
    [&TOTAL, &USED, &REAL, &MOST, &FREE, &FRAGMENTS]
        .into_iter()
        .fold(m, Module::stat)
}

fn setdebug(_: &mut Ctx, level: i64) -> i64 {
    LEVEL_BEFORE.set(LEVEL_BEFORE.get().or(Some(DEBUG.get())));
    DEBUG.set(level);
    1
}

fn resetdebug(_: &mut Ctx) -> i64 {
    if let Some(l) = LEVEL_BEFORE.take() {
        DEBUG.set(l);
    }
    1
}

fn pv_printf(ctx: &mut Ctx, variable: &[u8], format: &[u8]) -> Result<i64, ScriptError> {
    let spec = pv::Spec::parse_cached(variable)?;
    let value = pv::format::expand(ctx, format)?;
    spec.set(ctx, Val::owned(value))?;
    Ok(1)
}

/// A text that no process of this server has made before.
pub fn unique_id() -> String {
    thread_local!(static COUNT: Cell<u64> = const { Cell::new(0) });
    COUNT.set(COUNT.get() + 1);
    let slot = olelo_core::mem::current_slot();
    format!(
        "olelo-{:x}-{slot:x}-{:x}-{:x}",
        olelo_core::server().started_at,
        olelo_core::timer::monotonic_ms(),
        COUNT.get()
    )
}

/// The statistics that the parameters name: `all`, `group:`, `group:name` or `name`.
fn named(p: &Params) -> Result<Vec<&'static Stat>, Fault> {
    let all = stats::all();
    if p.is_empty() {
        return Ok(all);
    }
    let mut out = Vec::new();
    for i in 0..p.len() {
        let n = p.text(i, "name")?;
        match n.strip_suffix(':') {
            _ if n == "all" => out.extend(all.iter().copied()),
            Some(group) => out.extend(all.iter().copied().filter(|s| s.group == group)),
            None => out
                .push(stats::find(&n).ok_or_else(|| Fault::new(404, format!("no statistic {n}")))?),
        }
    }
    Ok(out)
}

fn get_statistics(p: &Params) -> Answer {
    Ok(named(p)?
        .into_iter()
        .map(|s| text(format!("{} = {}", s.full_name(), s.get())))
        .collect())
}

fn fetch(p: &Params, as_text: bool) -> Answer {
    let value = |s: &Stat| {
        if as_text {
            text(s.get().to_string())
        } else {
            Value::Int(s.get())
        }
    };
    Ok(vec![Value::Struct(
        named(p)?
            .into_iter()
            .map(|s| (format!("{}.{}", s.group, s.name), value(s)))
            .collect(),
    )])
}

fn reset(p: &Params) -> Answer {
    for s in named(p)? {
        s.reset();
    }
    Ok(vec![])
}

fn clear(p: &Params) -> Answer {
    Ok(named(p)?
        .into_iter()
        .map(|s| {
            let before = s.get();
            s.reset();
            text(format!("{} = {before}", s.full_name()))
        })
        .collect())
}

fn mod_stats(p: &Params) -> Answer {
    let only = p.opt_text(0).filter(|m| m != "all");
    let usage = olelo_core::mem::heap::usage();
    let shown = usage
        .into_iter()
        .filter(|u| only.as_ref().is_none_or(|o| *o == u.name));
    Ok(shown
        .map(|u| {
            fields([
                ("Module", text(u.name)),
                ("Total", Value::Int(u.bytes as i64)),
                ("Blocks", Value::Int(u.blocks as i64)),
            ])
        })
        .collect())
}

fn pkg_stats(_: &Params) -> Answer {
    let page = 4096;
    Ok(olelo_ipc::process::table()
        .iter()
        .filter(|s| s.pid() != 0)
        .map(|s| {
            let statm =
                std::fs::read_to_string(format!("/proc/{}/statm", s.pid())).unwrap_or_default();
            let pages = |i: usize| {
                statm
                    .split_whitespace()
                    .nth(i)
                    .and_then(|v| v.parse::<i64>().ok())
                    .unwrap_or(0)
            };
            fields([
                ("entry", Value::Int(s.slot().into())),
                ("pid", Value::Int(s.pid().into())),
                ("rank", Value::Int(s.rank().into())),
                ("used", Value::Int((pages(1) - pages(2)) * page)),
                ("real_used", Value::Int(pages(1) * page)),
                ("total_size", Value::Int(pages(0) * page)),
                ("desc", text(s.description())),
            ])
        })
        .collect())
}
