//! `$shv(name)`: variables that all processes share, in shared memory until the server ends.
//!
//! One table; a record is the name's length, the name, a type byte and the value. Numbers live in
//! the record's word, so `$shvinc` adds without losing another process's addition.

use olelo_core::mem::heap::Tag;
use olelo_core::mem::table::{BucketGuard, NodeId, RecordView, Table};
use olelo_core::pv::{PvClass, PvKey, pv_named};
use olelo_core::route::function::ScriptError;
use olelo_core::route::module::ParamValue;
use olelo_core::route::value::Val;
use olelo_core::rpc::{Answer, Fault, Params, Rpc, fields, rpc, text};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::Ordering;
use std::sync::{OnceLock, RwLock};

static TABLE: OnceLock<Table> = OnceLock::new();
/// What `shvset` gave, put into the table once there is one.
static AT_START: RwLock<Vec<(Vec<u8>, Val<'static>)>> = RwLock::new(Vec::new());
/// Variables there may be; names built from messages must not fill the shared memory.
const MOST: usize = 4096;
const BUCKETS: usize = 64;

pub(crate) fn classes() -> Vec<PvClass> {
    vec![
        pv_named("shv", |_, k| get(k.name()))
            .set(|_, k, v| set(k.name(), &v))
            .doc("A variable of all processes; 0 until it is set."),
        pv_named("shvinc", |_, k: &PvKey<'_>| increment(k.name()))
            .doc("Adds one to a shared variable and reads it."),
    ]
}

/// Makes the table; main, before the forks.
pub(crate) fn init() -> Result<(), String> {
    let table = Table::create("shv", BUCKETS, Tag::register("pv: $shv"))
        .map_err(|e| format!("can't make the table of shared variables: {e}"))?;
    let _ = TABLE.set(table);
    let list = AT_START.read().map(|l| l.clone()).unwrap_or_default();
    list.iter()
        .try_for_each(|(n, v)| set(n, v).map_err(|e| e.0))
}

/// The value; 0 where it was never set.
pub(crate) fn get(name: &[u8]) -> Val<'static> {
    let Some(t) = TABLE.get() else {
        return Val::Int(0);
    };
    let guard = t.lock(hash(name));
    find(&guard, name).map_or(Val::Int(0), |(_, v)| v)
}

/// Sets a variable; null removes it.
pub(crate) fn set(name: &[u8], v: &Val<'_>) -> Result<(), ScriptError> {
    let t = TABLE.get().ok_or_else(|| {
        ScriptError::new("shared variables are there once the server has started")
    })?;
    let full = t.len() >= MOST;
    let (kind, bytes, word) = match v {
        Val::Int(i) => (0u8, Vec::new(), *i as u64),
        v => (1, v.as_bytes().unwrap_or_default().into_owned(), 0),
    };
    let mut guard = t.lock(hash(name));
    let old = find(&guard, name).map(|(id, _)| id);
    let Ok(len) = u16::try_from(name.len()) else {
        return Err(ScriptError::new(
            "the name of a shared variable is too long",
        ));
    };
    if old.is_none() && full {
        return Err(ScriptError(format!(
            "there are {MOST} shared variables already; are their names made from messages? use htable"
        )));
    }
    let parts: [&[u8]; 4] = [&len.to_le_bytes(), name, &[kind], &bytes];
    // A replacement would keep the old word, so the new entry is put before the old one.
    guard
        .insert(&parts, Vec::new(), &[word])
        .map_err(|e| ScriptError(format!("can't keep the shared variable: {e}")))?;
    old.map(|id| guard.remove(id));
    Ok(())
}

/// Adds one to a number and returns it.
pub(crate) fn increment(name: &[u8]) -> Val<'static> {
    let Some(t) = TABLE.get() else {
        return Val::Null;
    };
    {
        let guard = t.lock(hash(name));
        if let Some((id, Val::Int(_))) = find(&guard, name)
            && let Some(w) = guard.get(id).and_then(|r| r.words().first())
        {
            return Val::Int((w.fetch_add(1, Ordering::Relaxed) as i64).wrapping_add(1));
        }
    }
    match set(name, &Val::Int(1)) {
        Ok(()) => Val::Int(1),
        Err(_) => Val::Null,
    }
}

fn hash(name: &[u8]) -> u32 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(name) as u32
}

fn find(guard: &BucketGuard, name: &[u8]) -> Option<(NodeId, Val<'static>)> {
    guard.iter().find_map(|r| {
        let (n, v) = read(&r)?;
        (n == name).then(|| (r.id(), v))
    })
}

/// Name and value of a record.
fn read<'a>(r: &RecordView<'a>) -> Option<(&'a [u8], Val<'static>)> {
    let (len, rest) = r.bytes().split_at_checked(2)?;
    let len = usize::from(u16::from_le_bytes(len.try_into().ok()?));
    let (name, rest) = rest.split_at_checked(len)?;
    let (kind, bytes) = rest.split_first()?;
    let v = match kind {
        0 => Val::Int(r.words().first()?.load(Ordering::Relaxed) as i64),
        _ => Val::owned(bytes),
    };
    Some((name, v))
}

/// `modparam("pv", "shvset", "name=i:5")`.
pub(crate) fn param_shvset(v: &ParamValue) -> Result<(), String> {
    let (name, value) = crate::var::assignment(v)?;
    if let Ok(mut l) = AT_START.write() {
        l.push((name.into_bytes(), value));
    }
    Ok(())
}

pub(crate) fn rpcs() -> Vec<Rpc> {
    vec![
        rpc("pv.shvSet", rpc_set)
            .args("name type value")
            .doc("Sets a shared variable; type is int or str."),
        rpc("pv.shvGet", rpc_get)
            .args("[name]")
            .doc("A shared variable, or all of them.")
            .array(),
    ]
}

fn rpc_set(p: &Params) -> Answer {
    let (name, kind) = (p.text(0, "name")?, p.text(1, "type")?);
    let value = match kind.as_str() {
        "int" | "i" => Val::Int(p.int(2, "value")?),
        "str" | "s" => Val::owned(p.text(2, "value")?),
        _ => {
            return Err(Fault::new(
                400,
                format!("no type \"{kind}\"; one of int, str"),
            ));
        }
    };
    set(name.as_bytes(), &value).map_err(|e| Fault::new(500, e.0))?;
    Ok(Vec::new())
}

fn rpc_get(p: &Params) -> Answer {
    let t = TABLE
        .get()
        .ok_or_else(|| Fault::new(500, "no shared variables"))?;
    let only = p.opt_text(0);
    let mut all: Vec<(Vec<u8>, Val<'static>)> = Vec::new();
    t.for_each_bucket(|b| {
        all.extend(
            b.iter()
                .filter_map(|r| read(&r).map(|(n, v)| (n.to_vec(), v))),
        )
    });
    all.retain(|(n, _)| only.as_ref().is_none_or(|o| o.as_bytes() == n));
    if let (Some(name), true) = (&only, all.is_empty()) {
        return Err(Fault::new(404, format!("no shared variable {name}")));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let shown = |(n, v): (Vec<u8>, Val<'static>)| {
        let (kind, value) = match v {
            Val::Int(i) => ("int", olelo_core::rpc::Value::Int(i)),
            v => (
                "string",
                text(String::from_utf8_lossy(&v.as_bytes().unwrap_or_default())),
            ),
        };
        fields([
            ("name", text(String::from_utf8_lossy(&n))),
            ("type", text(kind)),
            ("value", value),
        ])
    };
    Ok(all.into_iter().map(shown).collect())
}
