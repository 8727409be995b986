//! `$avp(name)`: values of the message and its transaction, a stack for each name.
//!
//! A name is text (`s:name` or `name`) or a number (`i:12`). Setting puts a value on top, whatever the
//! index; `[*]` replaces all. Setting null removes the newest, or with `[*]` all.

use olelo_core::pv::{Index, PvClass, pv_named};
use olelo_core::route::avp::AvpVal;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::ScriptError;
use olelo_core::route::module::ParamValue;
use olelo_core::route::value::Val;
use std::borrow::Cow;
use std::sync::RwLock;

/// Other names: alias and what it stands for.
static ALIASES: RwLock<Vec<(Vec<u8>, Vec<u8>)>> = RwLock::new(Vec::new());

pub(crate) fn classes() -> Vec<PvClass> {
    vec![
        pv_named("avp", |c, k| get(c, k.name(), k.index))
            .set(|c, k, v| {
                set(c, k.name(), k.index, v);
                Ok::<(), ScriptError>(())
            })
            .doc("A value of the message and its transaction."),
    ]
}

/// The name as AVPs are kept: text plain, numbers as `i:N`.
fn key(name: &[u8]) -> Cow<'_, [u8]> {
    let plain = name.strip_prefix(b"s:").unwrap_or(name);
    let aliases = ALIASES.read();
    match aliases
        .iter()
        .flat_map(|a| a.iter())
        .find(|(a, _)| a == plain)
    {
        Some((_, to)) => Cow::Owned(to.clone()),
        None => Cow::Borrowed(plain),
    }
}

/// A kept value as scripts see it.
pub(crate) fn shown(v: &AvpVal) -> Val<'_> {
    match v {
        AvpVal::Null => Val::Null,
        AvpVal::Int(i) => Val::Int(*i),
        AvpVal::Str(s) => Val::bytes(s),
        AvpVal::Fields(_) => Val::text("<<xavp>>"),
    }
}

/// A script's value as AVPs keep it.
pub(crate) fn kept(v: &Val<'_>) -> AvpVal {
    match v {
        Val::Int(i) => AvpVal::Int(*i),
        v => v
            .as_bytes()
            .map_or(AvpVal::Null, |b| AvpVal::Str(b.into_owned())),
    }
}

/// Reads a value.
pub(crate) fn get<'c>(ctx: &'c Ctx, name: &[u8], index: Index) -> Val<'c> {
    let name = key(name);
    let list = &ctx.avps.avp;
    match index {
        Index::All => {
            let all: Vec<Vec<u8>> = list
                .all(&name)
                .filter_map(|v| shown(v).as_bytes().map(Cow::into_owned))
                .collect();
            if all.is_empty() {
                Val::Null
            } else {
                Val::owned(all.join(&b", "[..]))
            }
        }
        _ => at(index, || list.all(&name).count())
            .and_then(|i| list.get(&name, i))
            .map_or(Val::Null, shown),
    }
}

/// How many values a name has.
pub(crate) fn count(ctx: &Ctx, name: &[u8]) -> usize {
    ctx.avps.avp.all(&key(name)).count()
}

/// The place that an index means, counted from the newest.
pub(crate) fn at(index: Index, count: impl Fn() -> usize) -> Option<usize> {
    match index {
        Index::None | Index::All => Some(0),
        Index::At(i) if i < 0 => count().checked_sub(i.unsigned_abs() as usize),
        Index::At(i) => usize::try_from(i).ok(),
    }
}

/// Sets or removes.
pub(crate) fn set(ctx: &mut Ctx, name: &[u8], index: Index, v: Val<'_>) {
    let name = key(name);
    let list = &mut ctx.avps.avp;
    match (index, v) {
        (Index::All, Val::Null) => drop(list.remove(&name, None)),
        // Whatever the index, the newest goes.
        (_, Val::Null) => drop(list.remove(&name, Some(0))),
        (Index::None | Index::At(_), v) => list.push(&name, kept(&v)),
        (Index::All, v) => {
            list.remove(&name, None);
            list.push(&name, kept(&v));
        }
    }
}

/// `modparam("pv", "avp_aliases", "uuid=I:50;email=s:mail")`.
pub(crate) fn param_aliases(v: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(text) = v else {
        return Err("wants alias=name;alias=name".into());
    };
    let mut all = ALIASES
        .write()
        .map_err(|_| "the list of aliases is broken".to_string())?;
    for one in text.split(';').filter(|o| !o.trim().is_empty()) {
        let (alias, name) = one
            .split_once('=')
            .ok_or_else(|| format!("\"{one}\" is no alias=name"))?;
        let name = name.trim().replace("I:", "i:");
        let name = name.strip_prefix("s:").unwrap_or(&name);
        all.push((alias.trim().as_bytes().to_vec(), name.as_bytes().to_vec()));
    }
    Ok(())
}
