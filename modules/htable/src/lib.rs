//! `htable`: tables of named values that all processes share, for scripts.
//!
//! [`table`] is the table itself, [`lock`] the locks that scripts hold; this file is what scripts
//! see. Iterators work on copies of one bucket at a time, so that a script may change the table
//! while it walks it.

#![forbid(unsafe_code)]

mod lock;
mod rpc;
pub mod table;

use olelo_core::hooks::POST_SCRIPT;
use olelo_core::proc::rank;
use olelo_core::pv::{PvKey, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{EVENT, ScriptError, function};
use olelo_core::route::module::{
    IntParam, Module, ParamValue, StrParam, param_call, param_ignored, param_int, param_str,
};
use olelo_core::route::run;
use olelo_core::route::value::Val;
use olelo_core::timer::{self, Pace};
use std::sync::{OnceLock, RwLock};
use table::{Definition, Entry, HTable, Value};

static TIMER_INTERVAL: IntParam = IntParam::new(20);
static TIMER_PROCS: IntParam = IntParam::new(0);
static EVENT_CALLBACK: StrParam = StrParam::unset();
static EVENT_CALLBACK_MODE: IntParam = IntParam::new(0);
static DEFINED: RwLock<Vec<Definition>> = RwLock::new(Vec::new());
static TABLES: OnceLock<Vec<HTable>> = OnceLock::new();

/// The tables, the last defined first.
pub fn tables() -> Vec<&'static HTable> {
    TABLES
        .get()
        .map_or(Vec::new(), |t| t.iter().rev().collect())
}

/// The table of this name.
pub fn find(name: &[u8]) -> Option<&'static HTable> {
    TABLES.get()?.iter().find(|t| t.def.name.as_bytes() == name)
}

/// The module.
pub fn module() -> Module {
    let m = Module::new("htable")
        .doc("Tables of named values that all processes share.")
        .init(init)
        .child_init(child_init)
        .worker_died(lock::worker_died)
        .param(param_call("htable", define).doc("name=>size=8;autoexpire=7200;initval=0;updateexpire=1"))
        .param(param_int("timer_interval", &TIMER_INTERVAL).doc("Seconds between looks for entries that have ended."))
        .param(param_int("timer_procs", &TIMER_PROCS).doc("Accepted; the slow timer process does the work."))
        .param(param_str("event_callback", &EVENT_CALLBACK).doc("Script function for events."))
        .param(param_int("event_callback_mode", &EVENT_CALLBACK_MODE).doc("Accepted; htable:mod-init always runs in the first worker, where there is an interpreter."))
        .event("htable:mod-init", "the tables are there; runs once, in the first worker")
        .event(
            "htable:reloaded:<table>",
            "the table was loaded again from its database; never, without one",
        )
        .event("htable:expired:<table>", "an entry has ended; $shtrecord(key) and $shtrecord(value)")
        .pv(pv_named("sht", get).set(set).doc("The value of a key: $sht(table=>key)."))
        .pv(pv_named("shtex", get_expire).set(set_expire).doc("Seconds a key still has."))
        .pv(pv_named("shtcn", |c, k| count(c, k, |e| e.key.clone())).doc("How many keys match: ~~ regular expression, ~% beginning, == equal."))
        .pv(pv_named("shtcv", |c, k| count(c, k, |e| e.value.text())).doc("How many values match; also eq, ne, lt, gt with a number."))
        .pv(pv_named("shtinc", |_, k| step(k, 1)).doc("Adds one to a key and gives the sum, in one step."))
        .pv(pv_named("shtdec", |_, k| step(k, -1)).doc("Takes one from a key and gives the rest, in one step."))
        .pv(pv_named("shtrecord", record).doc("The entry that has ended: key or value."))
        .pv(pv_named("shtitkey", |c, k| current(c, k).map_or(Val::Null, |e| Val::bytes(&e.key))).doc("The key an iterator is at."))
        .pv(pv_named("shtitval", |c, k| current(c, k).map_or(Val::Null, |e| shown(&e.value))).doc("The value an iterator is at."));
    with_rpc(with_functions(without_database(m)))
}

fn without_database(mut m: Module) -> Module {
    for (name, is_text) in [
        ("db_url", true),
        ("key_name_column", true),
        ("key_type_column", true),
        ("value_type_column", true),
        ("key_value_column", true),
        ("expires_column", true),
        ("array_size_suffix", true),
        ("fetch_rows", false),
        ("db_expires", false),
    ] {
        m = m.param(param_ignored(
            name,
            is_text,
            "there is no database in this build",
        ));
    }
    for (name, is_text) in [
        ("enable_dmq", false),
        ("dmq_init_sync", false),
        ("dmq_peer_id", true),
    ] {
        m = m.param(param_ignored(
            name,
            is_text,
            "there is no dmq in this build",
        ));
    }
    m
}

fn with_rpc(m: Module) -> Module {
    use olelo_core::rpc::rpc as command;
    m.rpc(
        command("htable.get", rpc::get)
            .args("table key")
            .doc("One entry."),
    )
    .rpc(
        command("htable.delete", rpc::delete)
            .args("table key")
            .doc("Removes one entry."),
    )
    .rpc(
        command("htable.sets", rpc::sets)
            .args("table key text")
            .doc("Sets a text."),
    )
    .rpc(
        command("htable.seti", rpc::seti)
            .args("table key number")
            .doc("Sets an integer."),
    )
    .rpc(
        command("htable.setex", rpc::setex)
            .args("table key seconds")
            .doc("Sets the seconds an entry still has."),
    )
    .rpc(
        command("htable.setxs", rpc::setxs)
            .args("table key text seconds")
            .doc("Sets a text and its seconds."),
    )
    .rpc(
        command("htable.setxi", rpc::setxi)
            .args("table key number seconds")
            .doc("Sets an integer and its seconds."),
    )
    .rpc(
        command("htable.dump", rpc::dump)
            .args("table")
            .doc("All entries.")
            .array(),
    )
    .rpc(
        command("htable.flush", rpc::flush)
            .args("table")
            .doc("Removes all entries."),
    )
    .rpc(
        command("htable.listTables", rpc::list)
            .doc("The tables and how they were defined.")
            .array(),
    )
    .rpc(
        command("htable.stats", rpc::stats)
            .doc("How full the tables are.")
            .array(),
    )
    .rpc(
        command("htable.reload", rpc::no_database)
            .args("table")
            .doc("Loads from a database, where there is one."),
    )
    .rpc(
        command("htable.store", rpc::no_database)
            .args("table")
            .doc("Writes to a database, where there is one."),
    )
    .rpc(
        command("htable.dmqsync", rpc::no_dmq)
            .args("table")
            .doc("Needs dmq."),
    )
    .rpc(
        command("htable.dmqresync", rpc::no_dmq)
            .args("table")
            .doc("Needs dmq."),
    )
}

fn with_functions(m: Module) -> Module {
    type C = Ctx;
    m.function(
        function("sht_get", |_: &mut C, t: &[u8], k: &[u8]| -> Val<'static> {
            read(t, k)
        })
        .args(["table", "key"])
        .doc("The value of a key; null if there is none."),
    )
    .function(
        function(
            "sht_gete",
            |_: &mut C, t: &[u8], k: &[u8]| -> Val<'static> {
                match read(t, k) {
                    Val::Null => Val::text(""),
                    v => v,
                }
            },
        )
        .args(["table", "key"])
        .doc("As sht_get; an empty string if there is none."),
    )
    .function(
        function(
            "sht_getw",
            |_: &mut C, t: &[u8], k: &[u8]| -> Val<'static> {
                match read(t, k) {
                    Val::Null => Val::text("<null>"),
                    v => v,
                }
            },
        )
        .args(["table", "key"])
        .doc("As sht_get; `<null>` if there is none."),
    )
    .function(
        function("sht_sets", |_: &mut C, t: &[u8], k: &[u8], v: &[u8]| {
            put(t, k, Value::Str(v.to_vec()), None)
        })
        .args(["table", "key", "text"])
        .doc("Sets a text."),
    )
    .function(
        function("sht_seti", |_: &mut C, t: &[u8], k: &[u8], v: i64| {
            put(t, k, Value::Int(v), None)
        })
        .args(["table", "key", "number"])
        .doc("Sets an integer."),
    )
    .function(
        function("sht_setex", |_: &mut C, t: &[u8], k: &[u8], s: i64| {
            with(t, |t| i64::from(t.set_expire(k, s)).max(1))
        })
        .args(["table", "key", "seconds"])
        .doc("Sets the seconds a key still has."),
    )
    .function(
        function(
            "sht_setxs",
            |_: &mut C, t: &[u8], k: &[u8], v: &[u8], s: i64| -> R {
                Ok(put(t, k, Value::Str(v.to_vec()), Some(s)))
            },
        )
        .cfg("sht_setxs")
        .args(["table", "key", "text", "seconds"])
        .doc("Sets a text and its seconds."),
    )
    .function(
        function(
            "sht_setxi",
            |_: &mut C, t: &[u8], k: &[u8], v: i64, s: i64| -> R {
                Ok(put(t, k, Value::Int(v), Some(s)))
            },
        )
        .cfg("sht_setxi")
        .args(["table", "key", "number", "seconds"])
        .doc("Sets an integer and its seconds."),
    )
    .function(
        function("sht_inc", |_: &mut C, t: &[u8], k: &[u8]| {
            with(t, |t| t.add(k, 1).unwrap_or(-1))
        })
        .cfg("sht_inc")
        .args(["table", "key"])
        .doc("Adds one to a key in one step; the sum, -1 if it is no integer."),
    )
    .function(
        function("sht_dec", |_: &mut C, t: &[u8], k: &[u8]| {
            with(t, |t| t.add(k, -1).unwrap_or(-1))
        })
        .cfg("sht_dec")
        .args(["table", "key"])
        .doc("Takes one from a key in one step; the rest, -1 if it is no integer."),
    )
    .function(
        function("sht_is_null", |_: &mut C, t: &[u8], k: &[u8]| -> R {
            Ok(with(t, |t| if t.entry(k).is_none() { 1 } else { -1 }))
        })
        .cfg("sht_is_null")
        .args(["table", "key"])
        .doc("Whether a key has no value."),
    )
    .function(
        function("sht_rm", |_: &mut C, t: &[u8], k: &[u8]| -> R {
            Ok(with(t, |t| {
                t.remove(k);
                1
            }))
        })
        .cfg("sht_rm")
        .args(["table", "key"])
        .doc("Removes a key."),
    )
    .function(
        function("sht_reset", |_: &mut C, t: &[u8]| -> R {
            Ok(with(t, |t| {
                t.clear();
                1
            }))
        })
        .cfg("sht_reset")
        .args(["table"])
        .doc("Removes all keys."),
    )
    .function(
        function("sht_rm_name_re", |_: &mut C, t: &[u8], e: &[u8]| {
            remove(t, b"re", e, |e| e.key.clone())
        })
        .args(["table", "expression"])
        .doc("Removes the keys that match a regular expression."),
    )
    .function(
        function("sht_rm_value_re", |_: &mut C, t: &[u8], e: &[u8]| {
            remove(t, b"re", e, |e| e.value.text())
        })
        .args(["table", "expression"])
        .doc("Removes the keys whose values match a regular expression."),
    )
    .function(
        function("sht_rm_name_re_cfg", |_: &mut C, te: &[u8]| -> R {
            let (t, e) = split(te)?;
            Ok(remove(t, b"re", e, |e| e.key.clone()))
        })
        .native_only()
        .cfg("sht_rm_name_re")
        .args(["table=>expression"])
        .doc("As KSR.htable.sht_rm_name_re."),
    )
    .function(
        function("sht_rm_value_re_cfg", |_: &mut C, te: &[u8]| -> R {
            let (t, e) = split(te)?;
            Ok(remove(t, b"re", e, |e| e.value.text()))
        })
        .native_only()
        .cfg("sht_rm_value_re")
        .args(["table=>expression"])
        .doc("As KSR.htable.sht_rm_value_re."),
    )
    .function(
        function(
            "sht_rm_name",
            |_: &mut C, t: &[u8], o: &[u8], v: &[u8]| -> R {
                Ok(remove(t, o, v, |e| e.key.clone()))
            },
        )
        .cfg("sht_rm_name")
        .args(["table", "op", "value"])
        .doc("Removes the keys that match: re, sw, eq, ne."),
    )
    .function(
        function(
            "sht_rm_value",
            |_: &mut C, t: &[u8], o: &[u8], v: &[u8]| -> R {
                Ok(remove(t, o, v, |e| e.value.text()))
            },
        )
        .cfg("sht_rm_value")
        .args(["table", "op", "value"])
        .doc("Removes the keys whose values match: re, sw, eq, ne."),
    )
    .function(
        function(
            "sht_match_name",
            |_: &mut C, t: &[u8], o: &[u8], v: &[u8]| -> R {
                Ok(any(t, o, v, |e| Some(e.key.clone())))
            },
        )
        .cfg("sht_match_name")
        .cfg("sht_has_name")
        .args(["table", "op", "value"])
        .doc("Whether a key matches: eq, ne, re, sw."),
    )
    .function(
        function(
            "sht_match_str_value",
            |_: &mut C, t: &[u8], o: &[u8], v: &[u8]| -> R { Ok(any(t, o, v, texts)) },
        )
        .cfg("sht_match_str_value")
        .cfg("sht_has_str_value")
        .args(["table", "op", "value"])
        .doc("Whether a text matches: eq, ne, re, sw."),
    )
    .function(
        function("sht_cn", |_: &mut C, t: &[u8], o: &[u8], v: &[u8]| {
            with(t, |t| {
                let m = Matcher::new(o, v);
                let mut n = 0;
                t.for_each(|e| n += i64::from(m.takes(&e.key)));
                n
            })
        })
        .args(["table", "op", "value"])
        .doc("How many keys match: eq, ne, re, sw."),
    )
    .function(
        function("sht_print", |_: &mut C| {
            print();
            1i64
        })
        .native_only()
        .cfg("sht_print")
        .doc("Writes all tables to the log."),
    )
    .function(
        function("sht_lock", |c: &mut C, t: &[u8], k: &[u8]| {
            locked(c, t, k, true)
        })
        .args(["table", "key"])
        .doc("Locks a key against other sht_lock; at most for this message."),
    )
    .function(
        function("sht_unlock", |c: &mut C, t: &[u8], k: &[u8]| {
            locked(c, t, k, false)
        })
        .args(["table", "key"])
        .doc("Unlocks a key."),
    )
    .function(
        function("sht_lock_cfg", |c: &mut C, tk: &[u8]| -> R {
            let (t, k) = split(tk)?;
            Ok(locked(c, t, k, true))
        })
        .native_only()
        .cfg("sht_lock")
        .args(["table=>key"])
        .doc("As KSR.htable.sht_lock."),
    )
    .function(
        function("sht_unlock_cfg", |c: &mut C, tk: &[u8]| -> R {
            let (t, k) = split(tk)?;
            Ok(locked(c, t, k, false))
        })
        .native_only()
        .cfg("sht_unlock")
        .args(["table=>key"])
        .doc("As KSR.htable.sht_unlock."),
    )
    .function(
        function("sht_iterator_start", |c: &mut C, i: &[u8], t: &[u8]| -> R {
            Ok(iterator_start(c, i, t))
        })
        .cfg("sht_iterator_start")
        .args(["iterator", "table"])
        .doc("Begins to walk a table; sht_iterator_next goes to the first entry."),
    )
    .function(
        function("sht_iterator_end", |c: &mut C, i: &[u8]| -> R {
            c.ext::<Iterators>().0.retain(|w| w.name != i);
            Ok(1)
        })
        .cfg("sht_iterator_end")
        .args(["iterator"])
        .doc("Ends a walk."),
    )
    .function(
        function("sht_iterator_next", |c: &mut C, i: &[u8]| -> R {
            Ok(iterator_next(c, i))
        })
        .cfg("sht_iterator_next")
        .args(["iterator"])
        .doc("Goes to the next entry; -1 at the end."),
    )
    .function(
        function("sht_iterator_rm", |c: &mut C, i: &[u8]| -> R {
            Ok(iterator_rm(c, i))
        })
        .cfg("sht_iterator_rm")
        .args(["iterator"])
        .doc("Removes the entry and goes to the next; -2 if that was the last."),
    )
    .function(
        function("sht_iterator_sets", |c: &mut C, i: &[u8], v: &[u8]| -> R {
            Ok(iterator_set(c, i, Value::Str(v.to_vec())))
        })
        .cfg("sht_iterator_sets")
        .args(["iterator", "text"])
        .doc("Sets the entry to a text."),
    )
    .function(
        function("sht_iterator_seti", |c: &mut C, i: &[u8], v: i64| -> R {
            Ok(iterator_set(c, i, Value::Int(v)))
        })
        .cfg("sht_iterator_seti")
        .args(["iterator", "number"])
        .doc("Sets the entry to an integer."),
    )
    .function(
        function("sht_iterator_setex", |c: &mut C, i: &[u8], s: i64| -> R {
            Ok(iterator_setex(c, i, s))
        })
        .cfg("sht_iterator_setex")
        .args(["iterator", "seconds"])
        .doc("Sets the seconds the entry still has."),
    )
}

type R = Result<i64, ScriptError>;

fn define(v: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(text) = v else {
        return Err("wants a definition such as \"name=>size=8;\"".into());
    };
    let def = Definition::parse(text)?;
    let mut all = DEFINED.write().map_err(|e| e.to_string())?;
    if all.iter().any(|d| d.name == def.name) {
        return Err(format!("the htable \"{}\" is defined twice", def.name));
    }
    all.push(def);
    Ok(())
}

fn init() -> Result<(), String> {
    let defs = DEFINED.read().map_err(|e| e.to_string())?;
    let made = defs
        .iter()
        .cloned()
        .map(HTable::create)
        .collect::<Result<_, _>>()?;
    let _ = TABLES.set(made);
    lock::init()?;
    POST_SCRIPT.add(lock::unlock_all);
    let every = TIMER_INTERVAL.get().clamp(1, 86_400) as u64 * 1000;
    timer::every("htable expiry", every, Pace::Slow, |_| {
        sweep(timer::wall_s())
    });
    Ok(())
}

fn child_init(r: i32) -> Result<(), String> {
    // Rank 1 is the first worker: it has an interpreter.
    if r == rank::MAIN + 1 {
        let mut ctx = Ctx::new();
        run_event(&mut ctx, "htable:mod-init");
    }
    Ok(())
}

fn run_event(ctx: &mut Ctx, event: &str) {
    match EVENT_CALLBACK.get() {
        Some(f) => {
            run::event(ctx, f, event);
        }
        None => {
            let native = format!("event_route[{event}]");
            if run::has(&native) {
                run::call(ctx, &native, None, EVENT);
            }
        }
    }
}

/// The entry of `htable:expired`.
#[derive(Default)]
struct Expired(Option<Entry>);

fn sweep(now: i64) {
    for t in tables() {
        let gone = t.sweep(now);
        let event = format!("htable:expired:{}", t.def.name);
        let heard = EVENT_CALLBACK.get().is_some() || run::has(&format!("event_route[{event}]"));
        if !heard {
            continue;
        }
        for e in gone {
            let mut ctx = Ctx::new();
            ctx.ext::<Expired>().0 = Some(e);
            run_event(&mut ctx, &event);
        }
    }
}

fn with(name: &[u8], f: impl FnOnce(&'static HTable) -> i64) -> i64 {
    match find(name) {
        Some(t) => f(t),
        None => {
            let names: Vec<&str> = tables().iter().map(|t| t.def.name.as_str()).collect();
            olelo_core::error!(
                "htable",
                "there is no htable \"{}\"; defined are: {}",
                String::from_utf8_lossy(name),
                names.join(", ")
            );
            -1
        }
    }
}

fn read(table: &[u8], key: &[u8]) -> Val<'static> {
    let value = find(table).and_then(|t| t.get(key));
    value.map_or(Val::Null, |v| match v {
        Value::Int(n) => Val::Int(n),
        Value::Str(s) => Val::from(s),
    })
}

fn put(table: &[u8], key: &[u8], value: Value, seconds: Option<i64>) -> i64 {
    with(table, |t| if t.set(key, &value, seconds) { 1 } else { -1 })
}

fn shown(v: &Value) -> Val<'_> {
    match v {
        Value::Int(n) => Val::Int(*n),
        Value::Str(s) => Val::bytes(s),
    }
}

fn split(name: &[u8]) -> Result<(&[u8], &[u8]), ScriptError> {
    let at = name.windows(2).position(|w| w == b"=>").ok_or_else(|| {
        ScriptError::new(format!(
            "\"{}\" should be table=>key",
            String::from_utf8_lossy(name)
        ))
    })?;
    Ok((
        olelo_sip::trim(&name[..at]),
        olelo_sip::trim(&name[at + 2..]),
    ))
}

fn get<'c>(_: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    split(key.name()).map_or(Val::Null, |(t, k)| read(t, k))
}

fn set(_: &mut Ctx, key: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    let (name, k) = split(key.name())?;
    let t = find(name).ok_or_else(|| no_table(name))?;
    let value = match v {
        Val::Null => {
            t.remove(k);
            return Ok(());
        }
        Val::Int(n) => Value::Int(n),
        Val::Bool(b) => Value::Int(i64::from(b)),
        Val::Str(s) => Value::Str(s.into_owned()),
        other => {
            return Err(ScriptError::new(format!(
                "an htable keeps integers and strings, not a {}",
                other.type_name()
            )));
        }
    };
    t.set(k, &value, None);
    Ok(())
}

fn no_table(name: &[u8]) -> ScriptError {
    ScriptError::new(format!(
        "there is no htable \"{}\"; define it with modparam(\"htable\", \"htable\", …)",
        String::from_utf8_lossy(name)
    ))
}

fn get_expire<'c>(_: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let Ok((name, k)) = split(key.name()) else {
        return Val::Null;
    };
    let Some(t) = find(name) else {
        return Val::Null;
    };
    let left = t.entry(k).filter(|e| e.ends > 0);
    Val::Int(left.map_or(0, |e| e.ends - timer::wall_s()))
}

fn set_expire(_: &mut Ctx, key: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    let (name, k) = split(key.name())?;
    let t = find(name).ok_or_else(|| no_table(name))?;
    let seconds = v
        .as_int()
        .ok_or_else(|| ScriptError::new("the seconds of $shtex are no integer"))?;
    t.set_expire(k, seconds);
    Ok(())
}

fn step<'c>(key: &PvKey<'_>, by: i64) -> Val<'c> {
    let Ok((name, k)) = split(key.name()) else {
        return Val::Null;
    };
    find(name)
        .and_then(|t| t.add(k, by))
        .map_or(Val::Null, Val::Int)
}

fn record<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    match (
        ctx.ext_ref::<Expired>().and_then(|e| e.0.as_ref()),
        key.name(),
    ) {
        (Some(e), b"key") => Val::bytes(&e.key),
        (Some(e), b"value") => shown(&e.value),
        _ => Val::Null,
    }
}

/// How entries are picked.
enum Matcher {
    Equal(Vec<u8>),
    Unequal(Vec<u8>),
    Begins(Vec<u8>),
    Regex(regex::bytes::Regex),
    Number(std::cmp::Ordering, bool, i64),
    Nothing,
}

impl Matcher {
    fn new(op: &[u8], value: &[u8]) -> Matcher {
        match op {
            b"eq" => Matcher::Equal(value.to_vec()),
            b"ne" => Matcher::Unequal(value.to_vec()),
            b"sw" => Matcher::Begins(value.to_vec()),
            b"re" => Matcher::regex(value),
            _ => {
                olelo_core::error!(
                    "htable",
                    "\"{}\" is no way to match; there are eq, ne, re, sw",
                    String::from_utf8_lossy(op)
                );
                Matcher::Nothing
            }
        }
    }

    /// As `$shtcn` and `$shtcv` have it: an operator in front, a regular expression without one.
    fn prefixed(text: &[u8]) -> Matcher {
        use std::cmp::Ordering::*;
        let (op, rest) = text.split_at(text.len().min(2));
        let number = |o, same| match olelo_core::route::value::parse_int(rest) {
            Some(n) => Matcher::Number(o, same, n),
            None => Matcher::regex(text),
        };
        match op {
            b"~~" => Matcher::regex(rest),
            b"~%" => Matcher::Begins(rest.to_vec()),
            b"==" => Matcher::Equal(rest.to_vec()),
            b"eq" => number(Equal, true),
            b"ne" => number(Equal, false),
            b"lt" => number(Less, true),
            b"gt" => number(Greater, true),
            _ => Matcher::regex(text),
        }
    }

    fn regex(text: &[u8]) -> Matcher {
        let shown = String::from_utf8_lossy(text);
        match regex::bytes::Regex::new(&shown) {
            Ok(r) => Matcher::Regex(r),
            Err(e) => {
                olelo_core::error!("htable", "\"{shown}\" is no regular expression: {e}");
                Matcher::Nothing
            }
        }
    }

    fn takes(&self, text: &[u8]) -> bool {
        match self {
            Matcher::Equal(v) => text == v,
            Matcher::Unequal(v) => text != v,
            Matcher::Begins(v) => text.starts_with(v),
            Matcher::Regex(r) => r.is_match(text),
            Matcher::Number(order, same, n) => olelo_core::route::value::parse_int(text)
                .is_some_and(|v| (v.cmp(n) == *order) == *same),
            Matcher::Nothing => false,
        }
    }
}

fn count<'c>(_: &'c Ctx, key: &PvKey<'_>, of: impl Fn(&Entry) -> Vec<u8>) -> Val<'c> {
    let Ok((name, expression)) = split(key.name()) else {
        return Val::Null;
    };
    let Some(t) = find(name) else {
        return Val::Null;
    };
    let m = Matcher::prefixed(expression);
    let mut n = 0;
    t.for_each(|e| n += i64::from(m.takes(&of(&e))));
    Val::Int(n)
}

fn remove(table: &[u8], op: &[u8], value: &[u8], of: impl Fn(&Entry) -> Vec<u8>) -> i64 {
    with(table, |t| {
        let m = Matcher::new(op, value);
        t.remove_if(|e| m.takes(&of(e)));
        1
    })
}

fn any(table: &[u8], op: &[u8], value: &[u8], of: impl Fn(&Entry) -> Option<Vec<u8>>) -> i64 {
    with(table, |t| {
        let m = Matcher::new(op, value);
        let mut found = false;
        t.for_each(|e| found |= of(&e).is_some_and(|text| m.takes(&text)));
        if found { 1 } else { -1 }
    })
}

fn texts(e: &Entry) -> Option<Vec<u8>> {
    match &e.value {
        Value::Str(s) => Some(s.clone()),
        Value::Int(_) => None,
    }
}

fn print() {
    for t in tables() {
        t.for_each(|e| {
            olelo_core::error!(
                "htable",
                "{}=>{}: {}",
                t.def.name,
                String::from_utf8_lossy(&e.key),
                String::from_utf8_lossy(&e.value.text())
            );
        });
    }
}

fn locked(ctx: &mut Ctx, table: &[u8], key: &[u8], take: bool) -> i64 {
    with(table, |_| {
        let both = [table, b"=>", key].concat();
        let hash = table::hash(&both);
        let done = if take {
            lock::lock(ctx, hash)
        } else {
            lock::unlock(ctx, hash)
        };
        if done { 1 } else { -1 }
    })
}

/// The walks of a message.
#[derive(Default)]
struct Iterators(Vec<Walk>);

struct Walk {
    name: Vec<u8>,
    table: &'static HTable,
    /// The bucket to be copied next.
    next: u32,
    /// What is left of the bucket being walked; the last is the current entry.
    entries: Vec<Entry>,
    begun: bool,
}

/// Most iterators at a time.
const MAX_ITERATORS: usize = 16;

fn iterator_start(ctx: &mut Ctx, name: &[u8], table: &[u8]) -> i64 {
    with(table, |table| {
        let all = &mut ctx.ext::<Iterators>().0;
        all.retain(|w| w.name != name);
        if all.len() >= MAX_ITERATORS {
            olelo_core::error!(
                "htable",
                "{MAX_ITERATORS} iterators run already; end one first"
            );
            return -1;
        }
        all.push(Walk {
            name: name.to_vec(),
            table,
            next: 0,
            entries: Vec::new(),
            begun: false,
        });
        1
    })
}

fn walk<'c>(ctx: &'c mut Ctx, name: &[u8]) -> Option<&'c mut Walk> {
    ctx.ext::<Iterators>().0.iter_mut().find(|w| w.name == name)
}

fn iterator_next(ctx: &mut Ctx, name: &[u8]) -> i64 {
    let Some(w) = walk(ctx, name) else { return -1 };
    if w.begun {
        w.entries.pop();
    }
    w.begun = true;
    while w.entries.is_empty() {
        if w.next >= w.table.bucket_count() {
            return -1;
        }
        w.entries = w.table.bucket(w.next);
        w.next += 1;
    }
    1
}

fn iterator_rm(ctx: &mut Ctx, name: &[u8]) -> i64 {
    let Some(w) = walk(ctx, name) else { return -1 };
    let Some(e) = w.entries.last() else { return -1 };
    w.table.remove(&e.key);
    if iterator_next(ctx, name) > 0 { 1 } else { -2 }
}

fn iterator_set(ctx: &mut Ctx, name: &[u8], value: Value) -> i64 {
    let Some(w) = walk(ctx, name) else { return -1 };
    let Some(e) = w.entries.last_mut() else {
        return -1;
    };
    if !w.table.set(&e.key, &value, None) {
        return -1;
    }
    e.value = value;
    1
}

fn iterator_setex(ctx: &mut Ctx, name: &[u8], seconds: i64) -> i64 {
    let Some(w) = walk(ctx, name) else { return -1 };
    match w.entries.last() {
        Some(e) if w.table.set_expire(&e.key, seconds) => 1,
        _ => -1,
    }
}

fn current<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Option<&'c Entry> {
    let all = ctx.ext_ref::<Iterators>()?;
    let w = all.0.iter().find(|w| w.name == key.name())?;
    w.entries.last().filter(|_| w.begun)
}

#[cfg(test)]
mod tests;
