//! `{param.…}` on `name=value;…` and `{line.…}` on lines.

use super::string::nth;
use super::{arg, bytes, class, int, letter, number, part};
use olelo_core::pv::Transformation;
use olelo_core::route::value::Val;
use olelo_sip::param::ParamSpans;
use olelo_sip::{ParamSpan, Span};

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
                        all.iter()
                            .find(|p| p.name.of(b).eq_ignore_ascii_case(&name))
                            .and_then(|p| p.value)
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
                    count(&v, letter(a, 1, b';'), |b, p| {
                        p.name.of(b).eq_ignore_ascii_case(&name)
                    })
                    .map_or(Val::Int(0), |n| Val::Int(n.min(1)))
                },
                "`name`: 1 where there is such a parameter, else 0.",
            ),
            (
                "valueat",
                1,
                3,
                |_, v, a| {
                    let i = int(a, 0).unwrap_or(0);
                    param(v, letter(a, 1, b';'), |_, all| {
                        nth(all, i).and_then(|p| p.value)
                    })
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
                |_, v, a| count(&v, letter(a, 0, b';'), |_, _| true).map_or(Val::Int(0), Val::Int),
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
                |_, v, _| number(&v, |b| lines(b).len() as i64),
                "How many lines there are.",
            ),
            (
                "at",
                1,
                1,
                |_, v, a| {
                    let i = int(a, 0).unwrap_or(0);
                    part(v, |b| Some(nth(&lines(b), i).unwrap_or(0..0)))
                },
                "`index`: one line; negative counts from the end.",
            ),
            (
                "sw",
                1,
                1,
                |_, v, a| {
                    let start = arg(a, 0);
                    part(v, |b| {
                        Some(
                            lines(b)
                                .into_iter()
                                .find(|r| b.get(r.clone()).is_some_and(|l| l.starts_with(&start)))
                                .unwrap_or(0..0),
                        )
                    })
                },
                "`prefix`: the first line that begins with it.",
            ),
        ],
    ));
    v
}

fn param<'c>(v: Val<'c>, sep: u8, f: impl FnOnce(&[u8], &[ParamSpan]) -> Option<Span>) -> Val<'c> {
    part(v, |b| {
        let all: Vec<ParamSpan> = ParamSpans::separated(b, Span::all(b), sep).collect();
        Some(f(b, &all).map_or(0..0, |s| s.at()..s.to()))
    })
}

fn count(v: &Val<'_>, sep: u8, f: impl Fn(&[u8], &ParamSpan) -> bool) -> Option<i64> {
    let b = bytes(v)?;
    let n = ParamSpans::separated(&b, Span::all(&b), sep)
        .filter(|p| f(&b, p))
        .count();
    Some(n as i64)
}

/// Where the lines are, without their ends.
fn lines(b: &[u8]) -> Vec<std::ops::Range<usize>> {
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
