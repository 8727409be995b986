//! `KSR.pvx.*`: script variables, shared variables and AVPs by their plain names.

use crate::kemi::or;
use crate::xavp::{Family, fields, set_child};
use crate::{avp, explode, functions as native, shv, var};
use olelo_core::pv::Index;
use olelo_core::route::avp::AvpVal;
use olelo_core::route::ctx::{Branch, Ctx};
use olelo_core::route::function::{BRANCH, FAILURE, Function, REQUEST, ScriptError, function};
use olelo_core::route::value::Val;

type Done = Result<i64, ScriptError>;

pub(crate) fn functions() -> Vec<Function> {
    let mut v = variables();
    v.extend(avps());
    v.extend(texts());
    v.extend(branches());
    v.extend(family(Family::P, &XAVP));
    v.extend(family(Family::U, &XAVU));
    v.extend(family(Family::I, &XAVI));
    v.extend(stacks());
    v.into_iter().map(|f| f.prefix("pvx")).collect()
}

fn variables() -> Vec<Function> {
    vec![
        function("var_seti", |_: &mut Ctx, n: &[u8], v: i64| {
            var::set(n, Val::Int(v)).map(|()| 1i64)
        })
        .args(["name", "value"])
        .doc("Sets $var(name) to an integer."),
        function("var_sets", |_: &mut Ctx, n: &[u8], v: &[u8]| {
            var::set(n, Val::bytes(v)).map(|()| 1i64)
        })
        .args(["name", "value"])
        .doc("Sets $var(name) to a string."),
        function("var_get", |_: &mut Ctx, n: &[u8]| var::get(n))
            .args(["name"])
            .doc("The value of $var(name)."),
        function("shv_seti", |_: &mut Ctx, n: &[u8], v: i64| {
            shv::set(n, &Val::Int(v)).map(|()| 1i64)
        })
        .args(["name", "value"])
        .doc("Sets $shv(name) to an integer."),
        function("shv_sets", |_: &mut Ctx, n: &[u8], v: &[u8]| {
            shv::set(n, &Val::bytes(v)).map(|()| 1i64)
        })
        .args(["name", "value"])
        .doc("Sets $shv(name) to a string."),
        function("shv_get", |_: &mut Ctx, n: &[u8]| shv::get(n))
            .args(["name"])
            .doc("The value of $shv(name)."),
        function("shvinc_get", |_: &mut Ctx, n: &[u8]| shv::increment(n))
            .args(["name"])
            .doc("Adds one to $shv(name) and returns it."),
        function("evalx", |c: &mut Ctx, d: &[u8], t: &[u8]| {
            native::evalx(c, d, t)
        })
        .args(["var", "text"])
        .doc("Evaluates a text twice into a pseudo-variable."),
    ]
}

fn avps() -> Vec<Function> {
    let get = |c: &Ctx, n: &[u8]| avp::get(c, n, Index::None).into_owned();
    let set = |c: &mut Ctx, n: &[u8], v: Val<'_>| {
        avp::set(c, n, Index::None, v);
        1i64
    };
    vec![
        function("avp_seti", move |c: &mut Ctx, n: &[u8], v: i64| {
            set(c, n, Val::Int(v))
        })
        .args(["name", "value"])
        .doc("Puts an integer on top of $avp(name)."),
        function("avp_sets", move |c: &mut Ctx, n: &[u8], v: &[u8]| {
            set(c, n, Val::bytes(v))
        })
        .args(["name", "value"])
        .doc("Puts a string on top of $avp(name)."),
        function("avp_get", move |c: &mut Ctx, n: &[u8]| get(c, n))
            .args(["name"])
            .doc("The newest value of $avp(name), or nil."),
        function("avp_gete", move |c: &mut Ctx, n: &[u8]| {
            or(Some(get(c, n)), b"")
        })
        .args(["name"])
        .doc("The newest value of $avp(name), or the empty string."),
        function("avp_getw", move |c: &mut Ctx, n: &[u8]| {
            or(Some(get(c, n)), b"<null>")
        })
        .args(["name"])
        .doc("The newest value of $avp(name), or `<null>`."),
        function("avp_rm", move |c: &mut Ctx, n: &[u8]| set(c, n, Val::Null))
            .args(["name"])
            .doc("Removes the newest value of $avp(name)."),
        function(
            "avp_is_null",
            move |c: &mut Ctx, n: &[u8]| if get(c, n).is_null() { 1i64 } else { -1 },
        )
        .args(["name"])
        .doc("Whether $avp(name) has no value."),
    ]
}

fn texts() -> Vec<Function> {
    let imploded = |f: Family, quoted: bool| {
        move |c: &mut Ctx, root: &[u8], to: &[u8]| -> i64 {
            let Some(text) = explode::implode(c, f, root, quoted) else {
                return -1;
            };
            let var = if to.first() == Some(&b'$') {
                to.to_vec()
            } else {
                [b"$var(", to, b")"].concat()
            };
            if crate::kemi::write(c, &var, Val::owned(text)) {
                1
            } else {
                -1
            }
        }
    };
    vec![
        function("xavp_params_explode", |c: &mut Ctx, t: &[u8], r: &[u8]| {
            explode::params(c, Family::P, t, r)
        })
        .cfg("xavp_params_explode")
        .args(["params", "root"])
        .doc("`a=1;b=2` into the fields of a new xavp."),
        function(
            "xavp_xparams_explode",
            |c: &mut Ctx, t: &[u8], s: &[u8], r: &[u8]| {
                explode::separated(c, Family::P, t, s.first().copied().unwrap_or(b';'), r)
            },
        )
        .cfg("xavp_xparams_explode")
        .args(["params", "separator", "root"])
        .doc("As xavp_params_explode with another separator."),
        function("xavu_params_explode", |c: &mut Ctx, t: &[u8], r: &[u8]| {
            explode::params(c, Family::U, t, r)
        })
        .cfg("xavu_params_explode")
        .args(["params", "root"])
        .doc("`a=1;b=2` into the fields of an xavu."),
        function("xavp_params_implode", imploded(Family::P, false))
            .cfg("xavp_params_implode")
            .args(["root", "var"])
            .raw(&["var"])
            .doc("The fields of an xavp as `a=1;b=2;` into a pseudo-variable."),
        function("xavp_params_implode_qval", imploded(Family::P, true))
            .cfg("xavp_params_implode_qval")
            .args(["root", "var"])
            .raw(&["var"])
            .doc("As xavp_params_implode, values in quotes."),
        function("xavu_params_implode", imploded(Family::U, false))
            .cfg("xavu_params_implode")
            .args(["root", "var"])
            .raw(&["var"])
            .doc("The fields of an xavu as `a=1;b=2;` into a pseudo-variable."),
        function(
            "xavp_slist_explode",
            |c: &mut Ctx, t: &[u8], s: &[u8], m: &[u8], r: &[u8]| explode::slist(c, t, s, m, r),
        )
        .cfg("xavp_slist_explode")
        .args(["list", "separator", "mode", "root"])
        .doc("A list into the fields `v` of a new xavp; mode t trims."),
        function("pv_var_to_xavp", var_to_xavp)
            .cfg("pv_var_to_xavp")
            .args(["var", "root"])
            .doc("A script variable, or all with `*`, into the fields of a new xavp."),
        function("pv_xavp_to_var", xavp_to_var)
            .cfg("pv_xavp_to_var")
            .args(["root"])
            .doc("The fields of an xavp into script variables."),
        function("pv_xavp_print", |c: &mut Ctx| explode::print(c, Family::P))
            .cfg("pv_xavp_print")
            .doc("Writes all xavps to the log."),
        function("pv_xavu_print", |c: &mut Ctx| explode::print(c, Family::U))
            .cfg("pv_xavu_print")
            .doc("Writes all xavus to the log."),
        function("pv_xavi_print", |c: &mut Ctx| explode::print(c, Family::I))
            .cfg("pv_xavi_print")
            .doc("Writes all xavis to the log."),
    ]
}

fn branches() -> Vec<Function> {
    use crate::branch::Aside;
    vec![
        function("sbranch_set_ruri", |c: &mut Ctx| {
            let b = c.ext::<Aside>().0.clone();
            if b.uri.is_empty() {
                return -1i64;
            }
            c.set_ruri(&b.uri);
            c.dst_uri = Some(b.dst_uri.clone()).filter(|d| !d.is_empty());
            c.path = Some(b.path.clone()).filter(|p| !p.is_empty());
            c.send_socket = b.socket.or(c.send_socket);
            c.bflags = b.flags;
            c.ruri_q = b.q;
            c.contact = b;
            1
        })
        .cfg("sbranch_set_ruri")
        .doc("Makes the branch kept aside the request URI."),
        function("sbranch_append", |c: &mut Ctx| {
            let b = c.ext::<Aside>().0.clone();
            if !b.uri.is_empty() && c.add_branch(b) {
                1i64
            } else {
                -1
            }
        })
        .cfg("sbranch_append")
        .doc("Adds the branch kept aside to the destinations."),
        function("sbranch_reset", |c: &mut Ctx| {
            c.ext::<Aside>().0 = Branch::default();
            1i64
        })
        .cfg("sbranch_reset")
        .doc("Forgets the branch kept aside."),
    ]
}

/// Names of the functions that every family has: the same verbs under three prefixes.
struct Names {
    seti: &'static str,
    sets: &'static str,
    get: [&'static str; 3],
    rm: &'static str,
    is_null: &'static str,
    child_seti: &'static str,
    child_sets: &'static str,
    child_get: [&'static str; 3],
    child_rm: &'static str,
    child_is_null: &'static str,
}

macro_rules! names {
    ($p:literal) => {
        Names {
            seti: concat!($p, "_seti"),
            sets: concat!($p, "_sets"),
            get: [
                concat!($p, "_get"),
                concat!($p, "_gete"),
                concat!($p, "_getw"),
            ],
            rm: concat!($p, "_rm"),
            is_null: concat!($p, "_is_null"),
            child_seti: concat!($p, "_child_seti"),
            child_sets: concat!($p, "_child_sets"),
            child_get: [
                concat!($p, "_child_get"),
                concat!($p, "_child_gete"),
                concat!($p, "_child_getw"),
            ],
            child_rm: concat!($p, "_child_rm"),
            child_is_null: concat!($p, "_child_is_null"),
        }
    };
}
static XAVP: Names = names!("xavp");
static XAVU: Names = names!("xavu");
static XAVI: Names = names!("xavi");

fn family(f: Family, n: &'static Names) -> Vec<Function> {
    let set = move |c: &mut Ctx, name: &[u8], v: &Val<'_>| -> i64 {
        let name = f.name(name).into_owned();
        let list = f.list_mut(c);
        if f == Family::U {
            list.remove(&name, None);
        }
        list.push(&name, avp::kept(v));
        1
    };
    let get = move |c: &Ctx, name: &[u8]| crate::xavp::get(c, f, name).into_owned();
    let child = move |c: &Ctx, root: &[u8], name: &[u8]| {
        crate::xavp::get(c, f, &[root, b"=>", name].concat()).into_owned()
    };
    let set_field = move |c: &mut Ctx, r: &[u8], name: &[u8], v: Val<'_>| -> Done {
        set_child(c, f, r, name, &v).map(|()| 1)
    };
    let null = |v: Val<'_>| if v.is_null() { 1i64 } else { -1 };
    vec![
        function(n.seti, move |c: &mut Ctx, name: &[u8], v: i64| {
            set(c, name, &Val::Int(v))
        })
        .args(["name", "value"])
        .doc("Puts an integer on top of a name."),
        function(n.sets, move |c: &mut Ctx, name: &[u8], v: &[u8]| {
            set(c, name, &Val::bytes(v))
        })
        .args(["name", "value"])
        .doc("Puts a string on top of a name."),
        function(n.get[0], move |c: &mut Ctx, name: &[u8]| get(c, name))
            .args(["name"])
            .doc("The newest value, or nil."),
        function(n.get[1], move |c: &mut Ctx, name: &[u8]| {
            or(Some(get(c, name)), b"")
        })
        .args(["name"])
        .doc("The newest value, or the empty string."),
        function(n.get[2], move |c: &mut Ctx, name: &[u8]| {
            or(Some(get(c, name)), b"<null>")
        })
        .args(["name"])
        .doc("The newest value, or `<null>`."),
        native_name(
            n.rm,
            function(n.rm, move |c: &mut Ctx, name: &[u8]| {
                let name = f.name(name).into_owned();
                f.list_mut(c).remove(&name, Some(0));
                1i64
            }),
        )
        .args(["name"])
        .doc("Removes the newest value."),
        function(n.is_null, move |c: &mut Ctx, name: &[u8]| {
            null(get(c, name))
        })
        .args(["name"])
        .doc("Whether there is no value."),
        function(
            n.child_seti,
            move |c: &mut Ctx, r: &[u8], name: &[u8], v: i64| set_field(c, r, name, Val::Int(v)),
        )
        .args(["root", "field", "value"])
        .doc("Sets a field of the newest root to an integer."),
        function(
            n.child_sets,
            move |c: &mut Ctx, r: &[u8], name: &[u8], v: &[u8]| {
                set_field(c, r, name, Val::bytes(v))
            },
        )
        .args(["root", "field", "value"])
        .doc("Sets a field of the newest root to a string."),
        function(n.child_get[0], move |c: &mut Ctx, r: &[u8], name: &[u8]| {
            child(c, r, name)
        })
        .args(["root", "field"])
        .doc("A field of the newest root, or nil."),
        function(n.child_get[1], move |c: &mut Ctx, r: &[u8], name: &[u8]| {
            or(Some(child(c, r, name)), b"")
        })
        .args(["root", "field"])
        .doc("A field of the newest root, or the empty string."),
        function(n.child_get[2], move |c: &mut Ctx, r: &[u8], name: &[u8]| {
            or(Some(child(c, r, name)), b"<null>")
        })
        .args(["root", "field"])
        .doc("A field of the newest root, or `<null>`."),
        native_name(
            n.child_rm,
            function(n.child_rm, move |c: &mut Ctx, r: &[u8], name: &[u8]| {
                set_field(c, r, name, Val::Null)
            }),
        )
        .args(["root", "field"])
        .doc("Removes a field of the newest root."),
        function(
            n.child_is_null,
            move |c: &mut Ctx, r: &[u8], name: &[u8]| null(child(c, r, name)),
        )
        .args(["root", "field"])
        .doc("Whether the newest root has no such field."),
    ]
}

/// The native language has the same name, except for xavu.
fn native_name(name: &'static str, f: Function) -> Function {
    if name.starts_with("xavu") {
        f
    } else {
        f.cfg(name)
    }
}

fn stacks() -> Vec<Function> {
    let whole = |f: Family| move |c: &mut Ctx, n: &[u8]| dict(c, f, n, 0);
    let whole_at = |f: Family| move |c: &mut Ctx, n: &[u8], i: i64| dict(c, f, n, i);
    let keys = |f: Family| move |c: &mut Ctx, n: &[u8], i: i64| keys(c, f, n, i);
    let clear = |f: Family| {
        move |c: &mut Ctx, n: &[u8]| {
            let n = f.name(n).into_owned();
            f.list_mut(c).remove(&n, None);
            1i64
        }
    };
    vec![
        function("xavp_getd", whole(Family::P))
            .args(["name"])
            .doc("All roots of a name as tables of lists."),
        function("xavp_getd_p1", whole_at(Family::P))
            .args(["name", "index"])
            .doc("One root as a table of values."),
        function("xavp_get_keys", keys(Family::P))
            .args(["name", "index"])
            .doc("Names of the fields of a root."),
        function("xavp_rm_all", clear(Family::P))
            .cfg("xavp_rm_all")
            .args(["name"])
            .doc("Removes all values of a name."),
        function("xavi_getd", whole(Family::I))
            .args(["name"])
            .doc("All roots of a name as tables of lists."),
        function("xavi_getd_p1", whole_at(Family::I))
            .args(["name", "index"])
            .doc("One root as a table of values."),
        function("xavi_get_keys", keys(Family::I))
            .args(["name", "index"])
            .doc("Names of the fields of a root."),
        function("xavi_rm_all", clear(Family::I))
            .cfg("xavi_rm_all")
            .args(["name"])
            .doc("Removes all values of a name."),
        function("xavp_copy", |c: &mut Ctx, s: &[u8], i: i64, d: &[u8]| {
            explode::copy(c, s, i, d, None)
        })
        .args(["source", "index", "target"])
        .doc("Copies an xavp on top of another name."),
        function(
            "xavp_copy_dst",
            |c: &mut Ctx, s: &[u8], i: i64, d: &[u8], j: i64| explode::copy(c, s, i, d, Some(j)),
        )
        .args(["source", "index", "target", "target_index"])
        .doc("Copies an xavp in place of another."),
        function("xavp_lshift", |c: &mut Ctx, n: &[u8], by: i64| {
            explode::lshift(c, n, by)
        })
        .cfg("xavp_lshift")
        .args(["name", "by"])
        .doc("Turns the values of a name left: the first goes to the end."),
        function("xavp_push_dst", |c: &mut Ctx, n: &[u8]| {
            explode::push_dst(c, n)
        })
        .cfg("xavp_push_dst")
        .args(["name"])
        .routes(REQUEST | BRANCH | FAILURE)
        .doc("Sets where the request goes from the newest root's fields."),
    ]
}

/// All roots of a name as a list of tables (`index` 0), or the fields of one.
fn dict(ctx: &Ctx, f: Family, name: &[u8], index: i64) -> Val<'static> {
    let index = usize::try_from(index).unwrap_or(0);
    fields(ctx, f, name, index).map_or(Val::Null, |l| explode::dict(&l, index == 0))
}

fn keys(ctx: &Ctx, f: Family, name: &[u8], index: i64) -> Val<'static> {
    let Some(l) = usize::try_from(index)
        .ok()
        .and_then(|i| fields(ctx, f, name, i))
    else {
        return Val::Null;
    };
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for a in l.0.iter().rev() {
        if !seen.contains(&a.name) {
            seen.push(a.name.clone());
        }
    }
    Val::List(seen.into_iter().map(Val::owned).collect())
}

fn var_to_xavp(ctx: &mut Ctx, name: &[u8], root: &[u8]) -> i64 {
    let all = var::all(name);
    if all.is_empty() {
        return -1;
    }
    let fields = all
        .into_iter()
        .map(|(n, v)| olelo_core::route::avp::Avp {
            name: n,
            val: avp::kept(&v),
        })
        .collect();
    ctx.avps.xavp.push(root, AvpVal::Fields(fields));
    1
}

fn xavp_to_var(ctx: &mut Ctx, root: &[u8]) -> Done {
    let Some(l) = fields(ctx, Family::P, root, 0) else {
        return Ok(-1);
    };
    for a in &l.0 {
        var::set(&a.name, avp::shown(&a.val))?;
    }
    Ok(1)
}
