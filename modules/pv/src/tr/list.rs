//! `{param.…}` on `name=value;…` and `{line.…}` on lines.

use super::string::nth;
use super::{arg, bytes, class, int, letter, part};
use olelo_core::pv::Transformation;
use olelo_core::route::value::Val;
use std::ops::Range;

pub(crate) fn all() -> Vec<Transformation> {
    let mut v = class(
        "param",
        vec![
            (
                "value",
                1,
                3,
                |_, v, a| {
                    let name = arg(a, 0);
                    param(v, letter(a, 1, b';'), |b, all| {
                        // Of several the last counts.
                        all.iter()
                            .rfind(|p| p.is(b, &name))
                            .map(|p| p.value.clone())
                    })
                },
                "`name`: the value of a parameter.",
            ),
            (
                "in",
                1,
                3,
                |_, v, a| {
                    let name = arg(a, 0);
                    count(&v, letter(a, 1, b';'), |b, p| p.is(b, &name))
                        .map_or(Val::Null, |n| Val::Int(n.min(1)))
                },
                "`name`: 1 where there is such a parameter, else 0.",
            ),
            (
                "valueat",
                1,
                3,
                |_, v, a| {
                    let i = int(a, 0).unwrap_or(0);
                    param(v, letter(a, 1, b';'), |_, all| nth(all, i).map(|p| p.value))
                },
                "`index`: the value of the parameter at this place.",
            ),
            (
                "name",
                1,
                3,
                |_, v, a| {
                    let i = int(a, 0).unwrap_or(0);
                    param(v, letter(a, 1, b';'), |_, all| nth(all, i).map(|p| p.name))
                },
                "`index`: the name of the parameter at this place.",
            ),
            (
                "count",
                0,
                2,
                |_, v, a| count(&v, letter(a, 0, b';'), |_, _| true).map_or(Val::Null, Val::Int),
                "How many parameters there are.",
            ),
        ],
    );
    v.extend(class(
        "line",
        vec![
            (
                "count",
                0,
                0,
                |_, v, _| {
                    let b = bytes(&v).filter(|b| !b.is_empty());
                    b.map_or(Val::Null, |b| Val::from(lines(&b).len().to_string()))
                },
                "How many lines there are.",
            ),
            (
                "at",
                1,
                1,
                |_, v, a| {
                    let i = int(a, 0).unwrap_or(0);
                    line(v, |b| nth(&lines(b), i))
                },
                "`index`: one line; negative counts from the end.",
            ),
            (
                "sw",
                1,
                1,
                |_, v, a| {
                    let start = arg(a, 0);
                    line(v, |b| {
                        let begins = |r: &Range<usize>| {
                            b.get(r.clone()).is_some_and(|l| l.starts_with(&start))
                        };
                        lines(b).into_iter().find(begins)
                    })
                },
                "`prefix`: the first line that begins with it.",
            ),
        ],
    ));
    v
}

/// Where a parameter's name and value stand.
#[derive(Clone)]
struct Param {
    name: Range<usize>,
    value: Range<usize>,
}

impl Param {
    fn is(&self, b: &[u8], name: &[u8]) -> bool {
        b.get(self.name.clone())
            .is_some_and(|n| n.eq_ignore_ascii_case(name))
    }
}

/// One of the parameters: empty where it is missing, null where the text is no list of them.
fn param<'c>(
    v: Val<'c>,
    sep: u8,
    f: impl FnOnce(&[u8], &[Param]) -> Option<Range<usize>>,
) -> Val<'c> {
    part(v, |b| Some(f(b, &params(b, sep)?).unwrap_or(0..0)))
}

fn count(v: &Val<'_>, sep: u8, f: impl Fn(&[u8], &Param) -> bool) -> Option<i64> {
    let b = bytes(v)?;
    Some(params(&b, sep)?.iter().filter(|p| f(&b, p)).count() as i64)
}

/// `name=value;name;…`: blanks may stand around all of them, quotes around a value. A comma ends the
/// list, as it does in a header. Nothing for a text that is not written so.
fn params(b: &[u8], sep: u8) -> Option<Vec<Param>> {
    let blank = |i: usize| b.get(i).is_some_and(u8::is_ascii_whitespace);
    let skip = |mut i: usize| {
        while blank(i) {
            i += 1;
        }
        i
    };
    let ends = |i: usize| b.get(i).is_none_or(|c| *c == sep || *c == b',');
    let (mut out, mut i) = (Vec::new(), skip(0));
    while i < b.len() {
        let start = i;
        while !ends(i) && !blank(i) && b.get(i) != Some(&b'=') {
            i += 1;
        }
        let mut p = Param {
            name: start..i,
            value: i..i,
        };
        i = skip(i);
        if b.get(i) == Some(&b'=') {
            let at = skip(i + 1);
            (p.value, i) = value(b, at, |i| ends(i) || blank(i))?;
            i = skip(i);
        } else if i == b.len() && i > p.name.end {
            return None;
        }
        if !ends(i) {
            return None;
        }
        out.push(p);
        if b.get(i).is_some_and(|c| *c != sep) {
            break;
        }
        i = skip(i + 1);
    }
    let empty = |p: &Param| p.name.is_empty() && p.value.is_empty();
    (!out.iter().all(empty)).then_some(out)
}

/// Where the value at `start` stands, and where it is over.
fn value(b: &[u8], start: usize, ends: impl Fn(usize) -> bool) -> Option<(Range<usize>, usize)> {
    let mut i = start;
    if let Some(quote @ (b'"' | b'\'')) = b.get(start) {
        i += 1;
        while *b.get(i)? != *quote {
            i += if b.get(i) == Some(&b'\\') { 2 } else { 1 };
        }
        return Some((start + 1..i, i + 1));
    }
    while !ends(i) {
        i += 1;
    }
    Some((start..i, i))
}

/// One line: empty where it is missing, null where the text is empty.
fn line<'c>(v: Val<'c>, f: impl FnOnce(&[u8]) -> Option<Range<usize>>) -> Val<'c> {
    part(v, |b| (!b.is_empty()).then(|| f(b).unwrap_or(0..0)))
}

/// Where the lines are, without their ends.
fn lines(b: &[u8]) -> Vec<Range<usize>> {
    let (mut out, mut start) = (Vec::new(), 0);
    for (i, c) in b.iter().enumerate() {
        if *c == b'\n' {
            out.push(
                start..if i > start && b[i - 1] == b'\r' {
                    i - 1
                } else {
                    i
                },
            );
            start = i + 1;
        }
    }
    if start < b.len() {
        out.push(start..b.len());
    }
    out
}
