//! `$var(name)`: variables of the process, kept from message to message. `$var` begins as 0, `$vn`
//! as null.

use olelo_core::pv::{PvClass, PvKey, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::ScriptError;
use olelo_core::route::module::ParamValue;
use olelo_core::route::value::Val;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::RwLock;

/// Variables a script may have; names built from messages must not grow a worker without bound.
const MOST: usize = 4096;

thread_local! {
    static ZERO: RefCell<HashMap<Box<[u8]>, Val<'static>>> = RefCell::new(at_start());
    static NULL: RefCell<HashMap<Box<[u8]>, Val<'static>>> = RefCell::default();
}

/// What `varset` gave; every process begins with it.
static AT_START: RwLock<Vec<(Vec<u8>, Val<'static>)>> = RwLock::new(Vec::new());

pub(crate) fn classes() -> Vec<PvClass> {
    vec![
        pv_named("var", |_, k| get(k.name()))
            .set(|_, k, v| set(k.name(), v))
            .doc("A variable of the process; 0 until it is set."),
        pv_named("vz", |_, k| get(k.name()))
            .set(|_, k, v| set(k.name(), v))
            .doc("As $var."),
        pv_named("vn", get_null)
            .set(set_null)
            .doc("A variable of the process; null until it is set."),
    ]
}

/// All `$var` that are set, by name.
pub(crate) fn every() -> Vec<(Vec<u8>, Val<'static>)> {
    let mut all: Vec<_> = ZERO.with_borrow(|m| {
        let pairs = m.iter().map(|(n, v)| (n.to_vec(), v.clone()));
        pairs.collect()
    });
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// The value of `$var(name)`.
pub(crate) fn get(name: &[u8]) -> Val<'static> {
    ZERO.with_borrow(|m| m.get(name).cloned())
        .unwrap_or(Val::Int(0))
}

/// Sets `$var(name)`; null sets it back to 0.
pub(crate) fn set(name: &[u8], v: Val<'_>) -> Result<(), ScriptError> {
    ZERO.with_borrow_mut(|m| put(m, name, v))
}

fn get_null<'c>(_: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    NULL.with_borrow(|m| m.get(key.name()).cloned())
        .unwrap_or(Val::Null)
}

fn set_null(_: &mut Ctx, key: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    NULL.with_borrow_mut(|m| put(m, key.name(), v))
}

fn put(
    m: &mut HashMap<Box<[u8]>, Val<'static>>,
    name: &[u8],
    v: Val<'_>,
) -> Result<(), ScriptError> {
    if v.is_null() {
        m.remove(name);
        return Ok(());
    }
    if let Some(old) = m.get_mut(name) {
        *old = v.into_owned();
        return Ok(());
    }
    if m.len() >= MOST {
        return Err(ScriptError(format!(
            "there are {MOST} script variables already; are their names made from messages? use $avp"
        )));
    }
    m.insert(name.into(), v.into_owned());
    Ok(())
}

fn at_start() -> HashMap<Box<[u8]>, Val<'static>> {
    let list = AT_START.read().map(|l| l.clone()).unwrap_or_default();
    list.into_iter()
        .map(|(n, v)| (n.into_boxed_slice(), v))
        .collect()
}

/// `modparam("pv", "varset", "name=i:5")`.
pub(crate) fn param_varset(v: &ParamValue) -> Result<(), String> {
    let (name, value) = assignment(v)?;
    if let Ok(mut l) = AT_START.write() {
        l.push((name.into_bytes(), value));
    }
    Ok(())
}

/// `name=s:text` or `name=i:5`.
pub(crate) fn assignment(v: &ParamValue) -> Result<(String, Val<'static>), String> {
    let ParamValue::Str(text) = v else {
        return Err("wants name=s:text or name=i:number".into());
    };
    let bad = || format!("\"{text}\" is no assignment; write name=s:text or name=i:number");
    let (name, value) = text.split_once('=').ok_or_else(bad)?;
    let value = match value.trim().split_once(':') {
        Some(("i", n)) => Val::Int(n.trim().parse().map_err(|_| bad())?),
        Some(("s", t)) => Val::owned(t),
        _ => return Err(bad()),
    };
    Ok((name.trim().to_string(), value))
}

/// The variable of this name, or all for `*`.
pub(crate) fn all(name: &[u8]) -> Vec<(Vec<u8>, Val<'static>)> {
    ZERO.with_borrow(|m| {
        m.iter()
            .filter(|(n, _)| name == b"*" || ***n == *name)
            .map(|(n, v)| (n.to_vec(), v.clone()))
            .collect()
    })
}
