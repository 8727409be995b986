//! Between texts and AVPs: `name=value;…` into fields and back, lists, copies, `xavp_lshift`.

use crate::avp::shown;
use crate::xavp::{Family, fields};
use olelo_core::route::avp::{Avp, AvpList, AvpVal};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::ScriptError;
use olelo_core::route::value::Val;
use olelo_sip::{ParamSpan, Span};

/// `a=1;b=2` into the fields of a new root. 1, or -1 where the text has no parameter.
pub(crate) fn params(ctx: &mut Ctx, family: Family, text: &[u8], root: &[u8]) -> i64 {
    separated(ctx, family, text, b';', root)
}

/// As [`params`], with another separator.
pub(crate) fn separated(ctx: &mut Ctx, family: Family, text: &[u8], sep: u8, root: &[u8]) -> i64 {
    let mut list = AvpList::default();
    let all: Vec<ParamSpan> =
        olelo_sip::param::ParamSpans::separated(text, Span::all(text), sep).collect();
    // Pushed from the last, so that the first comes first when they are read.
    for p in all.iter().rev() {
        let value = p.value.map_or(&b""[..], |v| v.of(text));
        let name = family.name(p.name.of(text));
        list.push(&name, AvpVal::Str(value.to_vec()));
    }
    if list.0.is_empty() || root.is_empty() {
        return -1;
    }
    let name = family.name(root).into_owned();
    if family == Family::U {
        family.list_mut(ctx).remove(&name, None);
    }
    family.list_mut(ctx).push(&name, AvpVal::Fields(list.0));
    1
}

/// The fields of a root as `a=1;b=2;`; with `quoted` values in quotes. `None` where there is no root.
pub(crate) fn implode(ctx: &Ctx, family: Family, root: &[u8], quoted: bool) -> Option<Vec<u8>> {
    let list = fields(ctx, family, root, 0)?;
    let mut out = Vec::new();
    for f in list.0.iter().rev() {
        let Some(v) = shown(&f.val).as_bytes().map(std::borrow::Cow::into_owned) else {
            continue;
        };
        out.extend_from_slice(&f.name);
        if !v.is_empty() {
            out.push(b'=');
            if quoted {
                out.push(b'"');
            }
            out.extend_from_slice(&v);
            if quoted {
                out.push(b'"');
            }
        }
        out.push(b';');
    }
    Some(out)
}

/// A list of texts into the fields `name` of a new root.
pub(crate) fn slist(ctx: &mut Ctx, text: &[u8], sep: &[u8], mode: &[u8], root: &[u8]) -> i64 {
    let Some(sep) = sep.first().copied() else {
        return -1;
    };
    let trim = mode.contains(&b't');
    let mut list = AvpList::default();
    let items: Vec<&[u8]> = text
        .split(|b| *b == sep)
        .map(|i| if trim { i.trim_ascii() } else { i })
        .filter(|i| !i.is_empty())
        .collect();
    for item in items.iter().rev() {
        list.push(b"v", AvpVal::Str(item.to_vec()));
    }
    if list.0.is_empty() || root.is_empty() {
        return -1;
    }
    ctx.avps.xavp.push(root, AvpVal::Fields(list.0));
    1
}

/// Copies a root, behind the target's others or in place of one.
pub(crate) fn copy(
    ctx: &mut Ctx,
    source: &[u8],
    index: i64,
    target: &[u8],
    at: Option<i64>,
) -> Result<i64, ScriptError> {
    let from = usize::try_from(index)
        .ok()
        .and_then(|i| ctx.avps.xavp.get(source, i))
        .cloned();
    let Some(from) = from else { return Ok(-1) };
    match at {
        // Behind those that are there.
        None => ctx.avps.xavp.0.insert(
            0,
            Avp {
                name: target.to_vec(),
                val: from,
            },
        ),
        Some(i) => match usize::try_from(i)
            .ok()
            .and_then(|i| ctx.avps.xavp.get_mut(target, i))
        {
            Some(old) => *old = from,
            None => return Ok(-1),
        },
    }
    Ok(1)
}

/// Turns the values of a name left by `n`: the first goes to the end.
pub(crate) fn lshift(ctx: &mut Ctx, name: &[u8], n: i64) -> i64 {
    let list = &mut ctx.avps.xavp;
    let mut values: Vec<AvpVal> = list.all(name).cloned().collect();
    if values.is_empty() || n < 0 {
        return -1;
    }
    let by = (n as usize) % values.len();
    values.rotate_left(by);
    list.remove(name, None);
    values.into_iter().rev().for_each(|v| list.push(name, v));
    1
}

/// Sets where the request goes from the newest root's fields `uri`, `dst_uri`, `path`, `flags`,
/// `sock`.
pub(crate) fn push_dst(ctx: &mut Ctx, root: &[u8]) -> i64 {
    let Some(list) = fields(ctx, Family::P, root, 0) else {
        return -1;
    };
    let text = |n: &[u8]| {
        list.get(n, 0)
            .and_then(|v| shown(v).as_bytes().map(std::borrow::Cow::into_owned))
    };
    let Some(uri) = text(b"uri").filter(|u| !u.is_empty()) else {
        return -1;
    };
    ctx.set_ruri(&uri);
    ctx.dst_uri = text(b"dst_uri").filter(|d| !d.is_empty());
    ctx.path = text(b"path").filter(|p| !p.is_empty());
    if let Some(s) = text(b"sock") {
        ctx.send_socket = olelo_core::server()
            .sockets
            .find(&String::from_utf8_lossy(&s))
            .map(|l| l.id);
    }
    if let Some(AvpVal::Int(f)) = list.get(b"flags", 0) {
        ctx.bflags = *f as u32;
    }
    ctx.avps.xavp.remove(root, Some(0));
    1
}

/// All roots of a family, for the log.
pub(crate) fn print(ctx: &Ctx, family: Family) -> i64 {
    fn walk(l: &AvpList, depth: usize) {
        for a in l.0.iter().rev() {
            let name = String::from_utf8_lossy(&a.name);
            match &a.val {
                AvpVal::Fields(f) => {
                    olelo_core::info!("pv", "{:depth$}{name}: fields", "");
                    walk(&AvpList(f.clone()), depth + 2);
                }
                v => {
                    let text = shown(v)
                        .as_bytes()
                        .map(|b| String::from_utf8_lossy(&b).into_owned());
                    olelo_core::info!(
                        "pv",
                        "{:depth$}{name}: {}",
                        "",
                        text.unwrap_or_else(|| "<null>".into())
                    );
                }
            }
        }
    }
    walk(family.list(ctx), 0);
    1
}

/// A root as a dictionary of lists; `first_only` gives values instead of lists.
pub(crate) fn dict(list: &AvpList, first_only: bool) -> Val<'static> {
    let mut out: Vec<(String, Val<'static>)> = Vec::new();
    let value = |v: &AvpVal| match v {
        AvpVal::Fields(f) => dict(&AvpList(f.clone()), first_only),
        v => shown(v).into_owned(),
    };
    for a in list.0.iter().rev() {
        let name = String::from_utf8_lossy(&a.name).into_owned();
        match out.iter_mut().find(|(n, _)| *n == name) {
            Some((_, Val::List(l))) => l.push(value(&a.val)),
            Some(_) => {}
            None if first_only => out.push((name, value(&a.val))),
            None => out.push((name, Val::List(vec![value(&a.val)]))),
        }
    }
    Val::Dict(out)
}
