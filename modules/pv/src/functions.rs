//! Functions that only the native language has: tests of pseudo-variables given by their text.

use crate::explode;
use crate::kemi::{read, write};
use crate::xavp::{Family, set_child};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{AnyVal, Function, ScriptError, function};
use olelo_core::route::value::Val;

pub(crate) fn functions() -> Vec<Function> {
    let n = |f: Function| f.native_only();
    vec![
        n(function("pv_isset", |c: &mut Ctx, p: &[u8]| {
            yes(read(c, p).is_some_and(|v| !v.is_null()))
        })
        .cfg("pv_isset")
        .args(["var"])
        .raw(&["var"])
        .doc("Whether a pseudo-variable is set.")),
        n(function("pv_unset", |c: &mut Ctx, p: &[u8]| {
            yes(write(c, p, Val::Null))
        })
        .cfg("pv_unset")
        .args(["var"])
        .raw(&["var"])
        .doc("Unsets a pseudo-variable.")),
        n(function("is_int", |c: &mut Ctx, p: &[u8]| {
            yes(read(c, p).is_some_and(|v| matches!(v, Val::Int(_))))
        })
        .cfg("is_int")
        .args(["var"])
        .raw(&["var"])
        .doc("Whether a pseudo-variable is an integer.")),
        n(function("typeof", type_of)
            .cfg("typeof")
            .args(["var", "type"])
            .raw(&["var"])
            .doc("Whether a pseudo-variable is of a type: int, str, null, avp, xavp.")),
        n(function("not_empty", |c: &mut Ctx, p: &[u8]| {
            yes(read(c, p)
                .and_then(|v| v.as_bytes().map(|b| !b.is_empty()))
                .unwrap_or(false))
        })
        .cfg("not_empty")
        .args(["var"])
        .raw(&["var"])
        .doc("Whether a pseudo-variable is neither null nor empty.")),
        n(
            function("pv_evalx", |c: &mut Ctx, d: &[u8], t: &[u8]| evalx(c, d, t))
                .cfg("pv_evalx")
                .args(["var", "text"])
                .raw(&["var", "text"])
                .doc("Evaluates a text, and what it gives, into a pseudo-variable."),
        ),
    ]
    .into_iter()
    .chain(child_functions())
    .collect()
}

/// Native functions on fields whose value may be of either type.
fn child_functions() -> Vec<Function> {
    let set = |f: Family| {
        move |c: &mut Ctx, r: &[u8], n: &[u8], v: AnyVal<'_>| -> Result<i64, ScriptError> {
            set_child(c, f, r, n, v.0)?;
            Ok(1)
        }
    };
    let int = |f: Family| {
        move |c: &mut Ctx, r: &[u8], n: &[u8], v: i64| -> Result<i64, ScriptError> {
            set_child(c, f, r, n, &Val::Int(v))?;
            Ok(1)
        }
    };
    vec![
        function("xavp_child_sets_n", set(Family::P))
            .native_only()
            .cfg("xavp_child_sets")
            .args(["root", "field", "value"])
            .doc("Sets a field to a string."),
        function("xavp_child_seti_n", int(Family::P))
            .native_only()
            .cfg("xavp_child_seti")
            .args(["root", "field", "value"])
            .doc("Sets a field to an integer."),
        function("xavi_child_sets_n", set(Family::I))
            .native_only()
            .cfg("xavi_child_sets")
            .args(["root", "field", "value"])
            .doc("Sets a field to a string."),
        function("xavi_child_seti_n", int(Family::I))
            .native_only()
            .cfg("xavi_child_seti")
            .args(["root", "field", "value"])
            .doc("Sets a field to an integer."),
        function(
            "xavp_copy_n",
            |c: &mut Ctx, s: &[u8], i: i64, d: &[u8], j: Option<i64>| explode::copy(c, s, i, d, j),
        )
        .native_only()
        .cfg("xavp_copy")
        .args(["source", "index", "target", "target_index"])
        .doc("Copies an xavp, in place of one where an index is given."),
    ]
}

fn yes(b: bool) -> i64 {
    if b { 1 } else { -1 }
}

fn type_of(ctx: &mut Ctx, var: &[u8], kind: &str) -> Result<i64, ScriptError> {
    let v = read(ctx, var).unwrap_or(Val::Null);
    let class = |n: &[u8]| {
        var.trim_ascii_start()
            .strip_prefix(b"$")
            .map(|t| t.strip_prefix(b"(").unwrap_or(t))
            .is_some_and(|t| t.starts_with(n))
    };
    Ok(yes(match kind {
        "int" => matches!(v, Val::Int(_)),
        "str" => matches!(v, Val::Str(_)),
        "null" | "nil" => v.is_null(),
        "avp" => class(b"avp("),
        "xavp" => class(b"xavp("),
        "xavi" => class(b"xavi("),
        "xavu" => class(b"xavu("),
        _ => {
            return Err(ScriptError(format!(
                "no type \"{kind}\"; one of int, str, null, avp, xavp, xavu, xavi"
            )));
        }
    }))
}

/// Evaluates `text` into `var`. The native language has evaluated it once already by then, and so
/// evaluates it twice, as it is documented.
pub(crate) fn evalx(ctx: &mut Ctx, var: &[u8], text: &[u8]) -> Result<i64, ScriptError> {
    let value = olelo_core::pv::format::expand(ctx, text)?;
    Ok(yes(write(ctx, var, Val::owned(value))))
}
