//! `$xavp(root=>field)`, `$xavu(…)`, `$xavi(…)`: values with named fields.
//!
//! `$xavp` keeps a stack of values per name, each a value or a list of fields, fields being stacks
//! again; `root[1]=>field[0]` names one of them. `$xavi` is the same with names without regard to
//! case. `$xavu` keeps one value per name.

use crate::avp::{kept, shown};
use olelo_core::pv::{Index, PvClass, PvKey, pv_named};
use olelo_core::route::avp::{AvpList, AvpVal};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::ScriptError;
use olelo_core::route::value::{Val, parse_int};
use std::borrow::Cow;

/// Which of the three families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `$xavp`.
    P,
    /// `$xavu`.
    U,
    /// `$xavi`.
    I,
}

pub(crate) fn classes() -> Vec<PvClass> {
    vec![
        pv_named("xavp", |c, k| get(c, Family::P, k.name()))
            .set(|c, k, v| set(c, Family::P, k, &v))
            .doc("A value with fields: `$xavp(root[i]=>field[j])`."),
        pv_named("xavu", |c, k| get(c, Family::U, k.name()))
            .set(|c, k, v| set(c, Family::U, k, &v))
            .doc("A value with fields, one for each name."),
        pv_named("xavi", |c, k| get(c, Family::I, k.name()))
            .set(|c, k, v| set(c, Family::I, k, &v))
            .doc("A value with fields, names without regard to case."),
    ]
}

impl Family {
    /// The list it is kept in.
    pub(crate) fn list(self, ctx: &Ctx) -> &AvpList {
        match self {
            Family::P => &ctx.avps.xavp,
            Family::U => &ctx.avps.xavu,
            Family::I => &ctx.avps.xavi,
        }
    }

    /// The list, to be changed.
    pub(crate) fn list_mut(self, ctx: &mut Ctx) -> &mut AvpList {
        match self {
            Family::P => &mut ctx.avps.xavp,
            Family::U => &mut ctx.avps.xavu,
            Family::I => &mut ctx.avps.xavi,
        }
    }

    /// A name as this family keeps it.
    pub(crate) fn name(self, n: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Family::I => Cow::Owned(n.to_ascii_lowercase()),
            _ => Cow::Borrowed(n),
        }
    }
}

/// One step of a path: a name and its index.
struct Step<'a> {
    name: Cow<'a, [u8]>,
    index: Index,
}

struct Path<'a> {
    root: Step<'a>,
    field: Option<Step<'a>>,
}

fn parse(family: Family, text: &[u8]) -> Option<Path<'_>> {
    let (root, field) = match text.windows(2).position(|w| w == b"=>") {
        Some(at) => (&text[..at], Some(&text[at + 2..])),
        None => (text, None),
    };
    Some(Path {
        root: step(family, root)?,
        field: match field {
            Some(f) => Some(step(family, f)?),
            None => None,
        },
    })
}

fn step(family: Family, text: &[u8]) -> Option<Step<'_>> {
    let text = text.trim_ascii();
    let (name, index) = match text.iter().position(|b| *b == b'[') {
        None => (text, Index::None),
        Some(at) => {
            let inner = text.get(at + 1..)?.strip_suffix(b"]")?;
            let index = match inner.trim_ascii() {
                b"*" => Index::All,
                n => Index::At(parse_int(n)?),
            };
            (&text[..at], index)
        }
    };
    (!name.is_empty()).then(|| Step {
        name: family.name(name.trim_ascii()),
        index,
    })
}

/// The place of an index, 0 being the newest.
fn place(list: &AvpList, s: &Step<'_>) -> Option<usize> {
    crate::avp::at(s.index, || list.all(&s.name).count())
}

/// Reads `root` or `root=>field`.
pub(crate) fn get<'c>(ctx: &'c Ctx, family: Family, text: &[u8]) -> Val<'c> {
    let Some(path) = parse(family, text) else {
        return Val::Null;
    };
    let list = family.list(ctx);
    let Some(v) = place(list, &path.root).and_then(|i| list.get(&path.root.name, i)) else {
        return Val::Null;
    };
    let Some(field) = &path.field else {
        return shown(v);
    };
    let AvpVal::Fields(fields) = v else {
        return Val::Null;
    };
    let named = || fields.iter().rev().filter(|f| f.name == *field.name);
    if field.index == Index::All {
        let all: Vec<_> = named().filter_map(|f| shown(&f.val).into_bytes()).collect();
        return match all.is_empty() {
            true => Val::Null,
            false => Val::owned(all.join(&b", "[..])),
        };
    }
    let found = match crate::avp::at(field.index, || named().count()) {
        Some(i) => named().nth(i),
        None => None,
    };
    found.map_or(Val::Null, |f| shown(&f.val))
}

/// Sets `root` or `root=>field`; null removes.
fn set(ctx: &mut Ctx, family: Family, key: &PvKey<'_>, v: &Val<'_>) -> Result<(), ScriptError> {
    let bad = || {
        ScriptError(format!(
            "\"{}\" is no name[index]=>name[index]",
            String::from_utf8_lossy(key.name())
        ))
    };
    let path = parse(family, key.name()).ok_or_else(bad)?;
    match &path.field {
        None => set_root(ctx, family, &path.root, v),
        Some(f) => set_field(ctx, family, &path.root, f, v, false),
    }
}

fn set_root(
    ctx: &mut Ctx,
    family: Family,
    root: &Step<'_>,
    v: &Val<'_>,
) -> Result<(), ScriptError> {
    let list = family.list_mut(ctx);
    let at = place(list, root);
    if v.is_null() {
        match root.index {
            Index::All => drop(list.remove(&root.name, None)),
            _ => drop(at.map(|i| list.remove(&root.name, Some(i)))),
        }
        return Ok(());
    }
    match root.index {
        Index::At(_) => match at.and_then(|i| list.get_mut(&root.name, i)) {
            Some(old) => *old = kept(v),
            None => {
                return Err(ScriptError::new(
                    "there is no value of this index to change",
                ));
            }
        },
        _ if family == Family::U || root.index == Index::All => {
            list.remove(&root.name, None);
            list.push(&root.name, kept(v));
        }
        _ => list.push(&root.name, kept(v)),
    }
    Ok(())
}

/// Without an index on the root a new root is put on top; with one, or in `$xavu`, the field is put
/// into an existing root: on top of others of its name, or in place of the one of its index. `child`
/// says that a missing root is made and an old field replaced.
fn set_field(
    ctx: &mut Ctx,
    family: Family,
    root: &Step<'_>,
    field: &Step<'_>,
    v: &Val<'_>,
    child: bool,
) -> Result<(), ScriptError> {
    let list = family.list_mut(ctx);
    let existing = root.index != Index::None || family == Family::U || v.is_null();
    let at = if existing { place(list, root) } else { None };
    let Some(found) = at.and_then(|i| list.get_mut(&root.name, i)) else {
        if v.is_null() {
            return Ok(());
        }
        if matches!(root.index, Index::At(_)) && !child {
            return Err(ScriptError::new(
                "there is no root of this index to put a field in",
            ));
        }
        let mut fields = AvpList::default();
        fields.push(&field.name, kept(v));
        list.push(&root.name, AvpVal::Fields(fields.0));
        return Ok(());
    };
    let AvpVal::Fields(fields) = found else {
        return Err(ScriptError::new(
            "this root is a plain value and can't have fields",
        ));
    };
    let mut inner = AvpList(std::mem::take(fields));
    let at = place(&inner, field);
    match (v.is_null(), field.index) {
        (true, Index::All) => drop(inner.remove(&field.name, None)),
        (true, _) => drop(at.map(|i| inner.remove(&field.name, Some(i)))),
        (false, Index::All) => {
            inner.remove(&field.name, None);
            inner.push(&field.name, kept(v));
        }
        (false, Index::At(_)) => {
            if let Some(old) = at.and_then(|i| inner.get_mut(&field.name, i)) {
                *old = kept(v);
            }
        }
        (false, Index::None) if child || family == Family::U => {
            inner.set(&field.name, 0, kept(v));
        }
        (false, Index::None) => inner.push(&field.name, kept(v)),
    }
    *fields = inner.0;
    Ok(())
}

/// The fields of the newest root of a name.
pub(crate) fn fields(ctx: &Ctx, family: Family, root: &[u8], index: usize) -> Option<AvpList> {
    match family.list(ctx).get(&family.name(root), index)? {
        AvpVal::Fields(f) => Some(AvpList(f.clone())),
        _ => None,
    }
}

/// Sets one field of the newest root, making the root where there is none.
pub(crate) fn set_child(
    ctx: &mut Ctx,
    family: Family,
    root: &[u8],
    field: &[u8],
    v: &Val<'_>,
) -> Result<(), ScriptError> {
    let root = Step {
        name: family.name(root),
        index: Index::At(0),
    };
    let field = Step {
        name: family.name(field),
        index: Index::None,
    };
    set_field(ctx, family, &root, &field, v, true)
}
