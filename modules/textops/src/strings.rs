//! Functions on texts alone: lists, comparisons, searches.

use crate::posix::{USUAL, compiled};
use crate::yes;
use olelo_core::pv::Spec;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{
    BRANCH, FAILURE, Function, ONREPLY, REQUEST, ScriptError, function,
};
use olelo_core::route::value::Val;

pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("in_list", |_: &mut Ctx, s: &[u8], l: &[u8], sep: &[u8]| {
            in_list(s, l, sep, false)
        })
        .cfg("in_list")
        .args(["text", "list", "separator"])
        .doc("Whether a text is in a list."),
        function(
            "in_list_prefix",
            |_: &mut Ctx, s: &[u8], l: &[u8], sep: &[u8]| in_list(s, l, sep, true),
        )
        .cfg("in_list_prefix")
        .args(["text", "list", "separator"])
        .doc("Whether a text begins with one of a list."),
        function("cmp_str", |_: &mut Ctx, a: &[u8], b: &[u8]| yes(a == b))
            .cfg("cmp_str")
            .args(["one", "other"])
            .doc("Whether two texts are equal."),
        function("cmp_istr", |_: &mut Ctx, a: &[u8], b: &[u8]| {
            yes(a.eq_ignore_ascii_case(b))
        })
        .cfg("cmp_istr")
        .args(["one", "other"])
        .doc("Whether two texts are equal but for case."),
        function(
            "search_str",
            |_: &mut Ctx, t: &[u8], re: &[u8]| -> Result<i64, ScriptError> {
                Ok(yes(compiled(re, USUAL)?.is_match(t)))
            },
        )
        .cfg("search_str")
        .args(["text", "regex"])
        .doc("Whether a text matches."),
        function("starts_with", |_: &mut Ctx, a: &[u8], b: &[u8]| {
            yes(a.starts_with(b))
        })
        .cfg("starts_with")
        .args(["text", "start"])
        .doc("Whether a text begins with another."),
        function("ends_with", |_: &mut Ctx, a: &[u8], b: &[u8]| {
            yes(a.ends_with(b))
        })
        .cfg("ends_with")
        .args(["text", "end"])
        .doc("Whether a text ends with another."),
        function("str_find", |_: &mut Ctx, a: &[u8], b: &[u8]| {
            yes(!b.is_empty() && memchr::memmem::find(a, b).is_some())
        })
        .cfg("str_find")
        .args(["text", "find"])
        .doc("Whether a text contains another."),
        function("str_ifind", |_: &mut Ctx, a: &[u8], b: &[u8]| {
            yes(!b.is_empty()
                && memchr::memmem::find(&a.to_ascii_lowercase(), &b.to_ascii_lowercase()).is_some())
        })
        .cfg("str_ifind")
        .args(["text", "find"])
        .doc("Whether a text contains another, but for case."),
        function("str_any_in", |_: &mut Ctx, a: &[u8], set: &[u8]| {
            yes(a.iter().any(|b| set.contains(b)))
        })
        .cfg("str_any_in")
        .args(["text", "set"])
        .doc("Whether a text has a character of a set."),
        function("str_all_in", |_: &mut Ctx, a: &[u8], set: &[u8]| {
            yes(!a.is_empty() && a.iter().all(|b| set.contains(b)))
        })
        .cfg("str_all_in")
        .args(["text", "set"])
        .doc("Whether all characters of a text are of a set."),
        function("regex_substring", regex_substring)
            .cfg("regex_substring")
            .args(["text", "regex", "group", "groups", "var"])
            .raw(&["var"])
            .routes(REQUEST | FAILURE | BRANCH | ONREPLY)
            .doc("Puts a group of a match into a pseudo-variable."),
    ]
}

fn in_list(text: &[u8], list: &[u8], sep: &[u8], prefix: bool) -> Result<i64, ScriptError> {
    let [sep] = *sep else {
        return Err(ScriptError(format!(
            "\"{}\" is no separator of one character",
            String::from_utf8_lossy(sep)
        )));
    };
    let fits = |item: &[u8]| {
        if prefix {
            !item.is_empty() && text.starts_with(item)
        } else {
            item == text
        }
    };
    Ok(yes(!text.is_empty()
        && list
            .split(|b| *b == sep)
            .map(<[u8]>::trim_ascii)
            .any(fits)))
}

fn regex_substring(
    ctx: &mut Ctx,
    text: &[u8],
    re: &[u8],
    group: i64,
    _groups: i64,
    var: &[u8],
) -> Result<i64, ScriptError> {
    let re = compiled(re, USUAL)?;
    let found = re.captures(text);
    let part = usize::try_from(group)
        .ok()
        .and_then(|g| found.as_ref()?.get(g))
        .map(|m| m.as_bytes().to_vec());
    let Some(part) = part else { return Ok(-1) };
    Spec::parse_cached(var)?.set(ctx, Val::owned(part))?;
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (s, l, prefix, want) in [
            ("fi", "dk,fi,no", false, 1),
            ("f", "dk,fi,no", false, -1),
            ("fi", "dk, fi ,no", false, 1),
            ("final", "dk,fi,no", true, 1),
            ("x", "", true, -1),
            ("", "a,,b", false, -1),
        ] {
            assert_eq!(
                in_list(s.as_bytes(), l.as_bytes(), b",", prefix),
                Ok(want),
                "{s} in {l}"
            );
        }
        assert!(in_list(b"a", b"a", b"", false).is_err());
    }
}
