//! Transformations: `{s.len}`, `{uri.host}`, `{param.value,name}` … Each is a function from a value
//! and arguments to a value; null stays null unless a transformation says otherwise.

mod address;
mod codec;
mod keccak;
mod list;
mod string;

use olelo_core::pv::{Transform, Transformation, transformation};
use olelo_core::route::value::Val;
use std::borrow::Cow;

/// All transformations.
pub(crate) fn all() -> Vec<Transformation> {
    let mut v = string::all();
    v.extend(codec::all());
    v.extend(address::all());
    v.extend(list::all());
    v
}

/// One row of a table: name, fewest and most arguments, code, doc.
pub(crate) type Row = (&'static str, usize, usize, Transform, &'static str);

/// A class from its table.
pub(crate) fn class(class: &'static str, rows: Vec<Row>) -> Vec<Transformation> {
    rows.into_iter()
        .map(|(name, least, most, run, doc)| {
            transformation(class, name, least..=most, run).doc(doc)
        })
        .collect()
}

/// The value's bytes; `None` for null.
pub(crate) fn bytes<'a>(v: &'a Val<'_>) -> Option<Cow<'a, [u8]>> {
    v.as_bytes()
}

/// Keeps a borrowed value borrowed: `f` picks a part of it.
pub(crate) fn part<'c>(
    v: Val<'c>,
    f: impl FnOnce(&[u8]) -> Option<std::ops::Range<usize>>,
) -> Val<'c> {
    let Some(b) = v.into_bytes() else {
        return Val::Null;
    };
    let Some(range) = f(&b) else { return Val::Null };
    match b {
        Cow::Borrowed(b) => Val::opt(b.get(range)),
        Cow::Owned(b) => b.get(range).map_or(Val::Null, Val::owned),
    }
}

/// A new text from the old one.
pub(crate) fn text<'c>(v: &Val<'c>, f: impl FnOnce(&[u8]) -> Vec<u8>) -> Val<'c> {
    bytes(v).map_or(Val::Null, |b| Val::owned(f(&b)))
}

/// A number from the text.
pub(crate) fn number<'c>(v: &Val<'c>, f: impl FnOnce(&[u8]) -> i64) -> Val<'c> {
    bytes(v).map_or(Val::Null, |b| Val::Int(f(&b)))
}

/// Argument `i` as an integer.
pub(crate) fn int(args: &[Val<'_>], i: usize) -> Option<i64> {
    args.get(i)?.as_int()
}

/// Argument `i` as bytes; empty where it is missing.
pub(crate) fn arg<'a>(args: &'a [Val<'_>], i: usize) -> Cow<'a, [u8]> {
    args.get(i).and_then(Val::as_bytes).unwrap_or_default()
}

/// The first byte of argument `i`, else `default`.
pub(crate) fn letter(args: &[Val<'_>], i: usize, default: u8) -> u8 {
    // A comma separates arguments, so as an argument it comes as the empty string.
    match args.get(i).and_then(Val::as_bytes) {
        None => default,
        Some(b) => b.first().copied().unwrap_or(b','),
    }
}
