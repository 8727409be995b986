//! `{s.…}` on text, `{num.…}` on numbers, `{val.…}` on any value.

use super::{Row, arg, bytes, class, int, letter, number, part, text};
use olelo_core::pv::Transformation;
use olelo_core::route::value::Val;

pub(crate) fn all() -> Vec<Transformation> {
    let mut v = class("s", parts());
    v.extend(class("s", changes()));
    v.extend(class(
        "num",
        vec![
            ("fdigit", 0, 0, |_, v, _| digit(v, true), "The first digit."),
            ("ldigit", 0, 0, |_, v, _| digit(v, false), "The last digit."),
        ],
    ));
    v.extend(class(
        "val",
        vec![
            (
                "n0",
                0,
                0,
                |_, v, _| if v.is_null() { Val::Int(0) } else { v },
                "0 for null.",
            ),
            (
                "ne",
                0,
                0,
                |_, v, _| if v.is_null() { Val::text("") } else { v },
                "The empty string for null.",
            ),
            (
                "json",
                0,
                0,
                |_, v, _| json(v, false),
                "As a value of JSON: text in quotes, null as null.",
            ),
            (
                "jsonqe",
                0,
                0,
                |_, v, _| json(v, true),
                "As a string of JSON without its quotes.",
            ),
        ],
    ));
    v
}

fn parts() -> Vec<Row> {
    vec![
        (
            "len",
            0,
            0,
            |_, v, _| number(&v, |b| b.len() as i64),
            "Length in bytes.",
        ),
        (
            "int",
            0,
            0,
            |_, v, _| whole_int(v),
            "The text as an integer; null where it is none.",
        ),
        (
            "intv",
            0,
            0,
            |_, v, _| whole_int(v),
            "The value as an integer.",
        ),
        (
            "substr",
            2,
            2,
            |_, v, a| substr(v, int(a, 0), int(a, 1)),
            "`offset,length`: a part; a negative offset counts from the end, length 0 is all.",
        ),
        (
            "select",
            2,
            3,
            |_, v, a| select(v, int(a, 0), letter(a, 1, b',')),
            "`index,separator`: one of the pieces; negative counts from the end.",
        ),
        (
            "selectsw",
            1,
            1,
            |_, v, a| select_words(v, int(a, 0)),
            "`index`: one of the words.",
        ),
        (
            "strip",
            1,
            1,
            |_, v, a| {
                let n = int(a, 0).unwrap_or(0).max(0) as usize;
                part(v, |b| Some(n.min(b.len())..b.len()))
            },
            "Without the first bytes.",
        ),
        (
            "striptail",
            1,
            1,
            |_, v, a| {
                let n = int(a, 0).unwrap_or(0).max(0) as usize;
                part(v, |b| Some(0..b.len().saturating_sub(n)))
            },
            "Without the last bytes.",
        ),
        (
            "stripto",
            1,
            2,
            |_, v, a| {
                let c = letter(a, 0, b',');
                part(v, |b| {
                    Some(b.iter().position(|x| *x == c).unwrap_or(b.len())..b.len())
                })
            },
            "From a character on.",
        ),
        (
            "before",
            1,
            2,
            |_, v, a| {
                let c = letter(a, 0, b',');
                part(v, |b| {
                    Some(0..b.iter().position(|x| *x == c).unwrap_or(b.len()))
                })
            },
            "What stands before a character; all where it is missing.",
        ),
        (
            "after",
            1,
            2,
            |_, v, a| {
                let c = letter(a, 0, b',');
                part(v, |b| {
                    Some(b.iter().position(|x| *x == c).map_or(b.len(), |p| p + 1)..b.len())
                })
            },
            "What stands after a character; nothing where it is missing.",
        ),
        (
            "rbefore",
            1,
            2,
            |_, v, a| {
                let c = letter(a, 0, b',');
                part(v, |b| {
                    Some(0..b.iter().rposition(|x| *x == c).unwrap_or(b.len()))
                })
            },
            "What stands before the last of a character; all where it is missing.",
        ),
        (
            "rafter",
            1,
            2,
            |_, v, a| {
                let c = letter(a, 0, b',');
                part(v, |b| {
                    Some(b.iter().rposition(|x| *x == c).map_or(b.len(), |p| p + 1)..b.len())
                })
            },
            "What stands after the last of a character; nothing where it is missing.",
        ),
        (
            "trim",
            0,
            0,
            |_, v, _| trimmed(v, true, true),
            "Without blanks at both ends.",
        ),
        (
            "ltrim",
            0,
            0,
            |_, v, _| trimmed(v, true, false),
            "Without blanks at the beginning.",
        ),
        (
            "rtrim",
            0,
            0,
            |_, v, _| trimmed(v, false, true),
            "Without blanks at the end.",
        ),
        (
            "unquote",
            0,
            0,
            |_, v, _| {
                if too_short(&v) {
                    return v;
                }
                part(v, |b| {
                    Some(
                        within(b, b'"', b'"')
                            .or(within(b, b'\'', b'\''))
                            .unwrap_or(0..b.len()),
                    )
                })
            },
            "Without quotes around.",
        ),
        (
            "unbracket",
            0,
            0,
            |_, v, _| {
                if too_short(&v) {
                    return v;
                }
                part(v, |b| {
                    let pairs = [(b'<', b'>'), (b'(', b')'), (b'[', b']'), (b'{', b'}')];
                    Some(
                        pairs
                            .iter()
                            .find_map(|(o, c)| within(b, *o, *c))
                            .unwrap_or(0..b.len()),
                    )
                })
            },
            "Without brackets around.",
        ),
        (
            "count",
            1,
            2,
            |_, v, a| {
                let c = letter(a, 0, b',');
                number(&v, |b| b.iter().filter(|x| **x == c).count() as i64)
            },
            "How often a character is in it.",
        ),
        ("charat", 1, 1, |_, v, a| at(v, int(a, 0)), "One character."),
        (
            "byteat",
            1,
            1,
            |_, v, a| {
                let one = at(v, int(a, 0));
                bytes(&one)
                    .and_then(|b| b.first().map(|b| Val::Int(i64::from(*b))))
                    .unwrap_or(Val::Null)
            },
            "The number of one byte.",
        ),
    ]
}

fn changes() -> Vec<Row> {
    vec![
        (
            "tolower",
            0,
            0,
            |_, v, _| text(&v, <[u8]>::to_ascii_lowercase),
            "In lower case.",
        ),
        (
            "toupper",
            0,
            0,
            |_, v, _| text(&v, <[u8]>::to_ascii_uppercase),
            "In upper case.",
        ),
        (
            "numeric",
            0,
            0,
            |_, v, _| {
                text(&v, |b| {
                    b.iter().copied().filter(u8::is_ascii_digit).collect()
                })
            },
            "Its digits.",
        ),
        (
            "rmws",
            0,
            0,
            |_, v, _| {
                text(&v, |b| {
                    b.iter()
                        .copied()
                        .filter(|c| !c.is_ascii_whitespace())
                        .collect()
                })
            },
            "Without blanks.",
        ),
        (
            "rmhdws",
            0,
            0,
            |_, v, _| text(&v, |b| without_folds(b, false)),
            "A header's body on one line: folds and double blanks become one blank.",
        ),
        (
            "rmhlws",
            0,
            0,
            |_, v, _| text(&v, |b| without_folds(b, true)),
            "Header lines without folds.",
        ),
        (
            "rm",
            1,
            1,
            |_, v, a| text(&v, |b| replaced(b, &arg(a, 0), b"")),
            "Without a text.",
        ),
        (
            "replace",
            2,
            2,
            |_, v, a| text(&v, |b| replaced(b, &arg(a, 0), &arg(a, 1))),
            "A text replaced by another.",
        ),
        (
            "prefixes",
            0,
            1,
            |_, v, a| text(&v, |b| prefixes(b, int(a, 0), b"")),
            "All its beginnings, separated by commas.",
        ),
        (
            "prefixes.quoted",
            0,
            1,
            |_, v, a| text(&v, |b| prefixes(b, int(a, 0), b"'")),
            "All its beginnings, in quotes.",
        ),
        (
            "ftime",
            1,
            1,
            |_, v, a| match v.as_int() {
                Some(s) => crate::time::ftime(s, &arg(a, 0)),
                None => Val::Null,
            },
            "A number of seconds as local time in a format of strftime.",
        ),
        (
            "fmtlines",
            2,
            2,
            |_, v, a| text(&v, |b| lines(b, int(a, 0), int(a, 1), b' ')),
            "`n,m`: lines of n bytes, all but the first indented by m blanks.",
        ),
        (
            "fmtlinet",
            2,
            2,
            |_, v, a| text(&v, |b| lines(b, int(a, 0), int(a, 1), b'\t')),
            "`n,m`: lines of n bytes, all but the first indented by m tabulators.",
        ),
    ]
}

/// The whole text as a decimal integer, null for any other; the empty text is 0.
fn whole_int<'c>(v: Val<'c>) -> Val<'c> {
    match bytes(&v) {
        Some(b) if b.is_empty() => Val::Int(0),
        Some(b) => std::str::from_utf8(&b)
            .ok()
            .and_then(|t| t.parse().ok())
            .map_or(Val::Null, Val::Int),
        None => Val::Null,
    }
}

fn substr<'c>(v: Val<'c>, offset: Option<i64>, length: Option<i64>) -> Val<'c> {
    let (Some(offset), Some(length)) = (offset, length) else {
        return Val::Null;
    };
    part(v, |b| {
        let start = match usize::try_from(offset) {
            Ok(o) => o,
            Err(_) => b.len().checked_sub(offset.unsigned_abs() as usize)?,
        };
        if start >= b.len() {
            return None;
        }
        let end = match length {
            0 => b.len(),
            l => start.saturating_add(usize::try_from(l).ok()?).min(b.len()),
        };
        Some(start..end)
    })
}

fn select<'c>(v: Val<'c>, index: Option<i64>, sep: u8) -> Val<'c> {
    part(v, |b| {
        let mut ranges = Vec::new();
        let mut start = 0;
        for (i, c) in b.iter().enumerate() {
            if *c == sep {
                ranges.push(start..i);
                start = i + 1;
            }
        }
        ranges.push(start..b.len());
        Some(nth(&ranges, index?).unwrap_or(b.len()..b.len()))
    })
}

fn select_words<'c>(v: Val<'c>, index: Option<i64>) -> Val<'c> {
    part(v, |b| {
        let mut ranges = Vec::new();
        let mut start = None;
        for (i, c) in b.iter().enumerate() {
            match (c.is_ascii_whitespace(), start) {
                (true, Some(s)) => {
                    ranges.push(s..i);
                    start = None;
                }
                (false, None) => start = Some(i),
                _ => {}
            }
        }
        ranges.extend(start.map(|s| s..b.len()));
        Some(nth(&ranges, index?).unwrap_or(b.len()..b.len()))
    })
}

/// Element `index`; negative counts from the end.
pub(crate) fn nth<T: Clone>(list: &[T], index: i64) -> Option<T> {
    let at = match usize::try_from(index) {
        Ok(i) => i,
        Err(_) => list.len().checked_sub(index.unsigned_abs() as usize)?,
    };
    list.get(at).cloned()
}

fn trimmed<'c>(v: Val<'c>, left: bool, right: bool) -> Val<'c> {
    part(v, |b| {
        let start = if left {
            b.len() - b.trim_ascii_start().len()
        } else {
            0
        };
        let end = if right {
            b.trim_ascii_end().len()
        } else {
            b.len()
        };
        Some(start..end.max(start))
    })
}

/// Nothing of a single character can be taken off.
fn too_short(v: &Val<'_>) -> bool {
    bytes(v).is_some_and(|b| b.len() < 2)
}

fn within(b: &[u8], open: u8, close: u8) -> Option<std::ops::Range<usize>> {
    (b.len() >= 2 && b.first() == Some(&open) && b.last() == Some(&close)).then(|| 1..b.len() - 1)
}

fn at<'c>(v: Val<'c>, index: Option<i64>) -> Val<'c> {
    part(v, |b| {
        let i = match usize::try_from(index?) {
            Ok(i) => i,
            Err(_) => b.len().checked_sub(index?.unsigned_abs() as usize)?,
        };
        (i < b.len()).then(|| i..i + 1)
    })
}

/// Joins folded lines; runs of blanks become one, or with `keep` stay.
fn without_folds(b: &[u8], keep: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(b.len());
    let mut i = 0;
    while i < b.len() {
        let fold = match &b[i..] {
            [b'\r', b'\n', b' ' | b'\t', ..] => 3,
            [b'\n', b' ' | b'\t', ..] => 2,
            _ => 0,
        };
        if fold > 0 {
            i += fold;
            while b.get(i).is_some_and(|c| matches!(c, b' ' | b'\t')) {
                i += 1;
            }
            if out.last() != Some(&b' ') {
                out.push(b' ');
            }
        } else if !keep && matches!(b[i], b' ' | b'\t') {
            if out.last() != Some(&b' ') {
                out.push(b' ');
            }
            i += 1;
        } else {
            out.push(b[i]);
            i += 1;
        }
    }
    out
}

fn replaced(b: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    if from.is_empty() {
        return b.to_vec();
    }
    let mut out = Vec::with_capacity(b.len());
    let mut i = 0;
    while i < b.len() {
        if b[i..].starts_with(from) {
            out.extend_from_slice(to);
            i += from.len();
        } else {
            out.push(b[i]);
            i += 1;
        }
    }
    out
}

fn prefixes(b: &[u8], most: Option<i64>, quote: &[u8]) -> Vec<u8> {
    // The result grows with the square of the length; this much is plenty for a dialled number.
    const LONGEST: usize = 255;
    let most = most
        .and_then(|m| usize::try_from(m).ok())
        .filter(|m| *m > 0)
        .unwrap_or(b.len());
    let all: Vec<Vec<u8>> = (1..=b.len().min(most).min(LONGEST))
        .map(|n| [quote, &b[..n], quote].concat())
        .collect();
    all.join(&b","[..])
}

fn lines(b: &[u8], n: Option<i64>, m: Option<i64>, blank: u8) -> Vec<u8> {
    let n = n
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n > 0)
        .unwrap_or(b.len().max(1));
    let m = m
        .and_then(|m| usize::try_from(m).ok())
        .unwrap_or(0)
        .min(256);
    let mut out = Vec::new();
    for (i, chunk) in b.chunks(n).enumerate() {
        if i > 0 {
            out.extend_from_slice(b"\r\n");
            out.extend(std::iter::repeat_n(blank, m));
        }
        out.extend_from_slice(chunk);
    }
    out
}

fn digit<'c>(v: Val<'c>, first: bool) -> Val<'c> {
    let Some(b) = bytes(&v) else { return Val::Null };
    let mut digits = b.iter().filter(|c| c.is_ascii_digit());
    let d = if first {
        digits.next()
    } else {
        digits.next_back()
    };
    d.map_or(Val::Null, |d| Val::Int(i64::from(d - b'0')))
}

fn json<'c>(v: Val<'c>, bare: bool) -> Val<'c> {
    let inner = |b: &[u8]| {
        let mut out = Vec::with_capacity(b.len() + 2);
        for c in b {
            match c {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..=0x1f => out.extend_from_slice(format!("\\u{c:04x}").as_bytes()),
                c => out.push(*c),
            }
        }
        out
    };
    match (v, bare) {
        (Val::Null, false) => Val::text("null"),
        (Val::Null, true) => Val::text(""),
        (Val::Int(i), _) => Val::Int(i),
        (v, true) => text(&v, inner),
        (v, false) => text(&v, |b| [b"\"", inner(b).as_slice(), b"\""].concat()),
    }
}
