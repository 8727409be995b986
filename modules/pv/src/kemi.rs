//! `KSR.pv.*`: pseudo-variables by their text.
//!
//! A text that is no pseudo-variable is an error in the log with the likely fix, and reads as null:
//! a script that probes for a variable goes on.

use olelo_core::pv::Spec;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{AnyVal, Function, function};
use olelo_core::route::value::Val;

pub(crate) fn functions() -> Vec<Function> {
    let f = |f: Function| f.prefix("pv");
    [
        function("get", |c: &mut Ctx, n: &[u8]| {
            read(c, n).unwrap_or(Val::Null)
        })
        .args(["name"])
        .doc("The value of a pseudo-variable, or nil."),
        function("gete", |c: &mut Ctx, n: &[u8]| or(read(c, n), b""))
            .args(["name"])
            .doc("The value, or the empty string for null."),
        function("getw", |c: &mut Ctx, n: &[u8]| or(read(c, n), b"<null>"))
            .args(["name"])
            .doc("The value, or `<null>`."),
        function("geti", |c: &mut Ctx, n: &[u8]| int(c, n).unwrap_or(0))
            .args(["name"])
            .doc("The value as an integer, 0 where it is none."),
        function("getl", |c: &mut Ctx, n: &[u8]| int(c, n).unwrap_or(0))
            .args(["name"])
            .doc("The value as an integer of 64 bits, 0 where it is none."),
        function("getvn", |c: &mut Ctx, n: &[u8], d: i64| {
            read(c, n).filter(|v| !v.is_null()).unwrap_or(Val::Int(d))
        })
        .args(["name", "default"])
        .doc("The value, or an integer for null."),
        function("getvs", |c: &mut Ctx, n: &[u8], d: &[u8]| or(read(c, n), d))
            .args(["name", "default"])
            .doc("The value, or a string for null."),
        function("seti", |c: &mut Ctx, n: &[u8], v: i64| {
            write(c, n, Val::Int(v))
        })
        .args(["name", "value"])
        .doc("Sets a pseudo-variable to an integer."),
        function("setl", |c: &mut Ctx, n: &[u8], v: i64| {
            write(c, n, Val::Int(v))
        })
        .args(["name", "value"])
        .doc("Sets a pseudo-variable to an integer of 64 bits."),
        function("sets", |c: &mut Ctx, n: &[u8], v: AnyVal<'_>| sets(c, n, v))
            .args(["name", "value"])
            .doc("Sets a pseudo-variable to a string."),
        function("unset", |c: &mut Ctx, n: &[u8]| write(c, n, Val::Null))
            .args(["name"])
            .doc("Sets a pseudo-variable to null."),
        function("is_null", |c: &mut Ctx, n: &[u8]| {
            read(c, n).is_none_or(|v| v.is_null())
        })
        .args(["name"])
        .doc("Whether the value is null."),
    ]
    .into_iter()
    .map(f)
    .collect()
}

/// The value; `None` where `name` is no pseudo-variable.
pub(crate) fn read(ctx: &Ctx, name: &[u8]) -> Option<Val<'static>> {
    match Spec::parse_cached(name) {
        Ok(s) => Some(s.get(ctx).into_owned()),
        Err(e) => {
            olelo_core::error!(
                "pv",
                "can't read \"{}\": {e}",
                String::from_utf8_lossy(name)
            );
            None
        }
    }
}

/// Sets a pseudo-variable; false where that isn't possible.
pub(crate) fn write(ctx: &mut Ctx, name: &[u8], value: Val<'_>) -> bool {
    let done = Spec::parse_cached(name).and_then(|s| s.set(ctx, value));
    if let Err(e) = &done {
        olelo_core::error!("pv", "can't set \"{}\": {e}", String::from_utf8_lossy(name));
    }
    done.is_ok()
}

fn sets(ctx: &mut Ctx, name: &[u8], value: AnyVal<'_>) -> bool {
    match value.0.as_bytes() {
        Some(text) => write(ctx, name, Val::bytes(&text)),
        None => write(ctx, name, Val::Null),
    }
}

fn int(ctx: &Ctx, name: &[u8]) -> Option<i64> {
    read(ctx, name)?.as_int()
}

/// The value, or `instead` for null.
pub(crate) fn or(v: Option<Val<'static>>, instead: &[u8]) -> Val<'static> {
    match v {
        None | Some(Val::Null) => Val::owned(instead),
        Some(v) => v,
    }
}
