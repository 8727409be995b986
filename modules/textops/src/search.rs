//! Searching and replacing in the message: `search`, `replace` and their kin.

use crate::posix::{USUAL, compiled};
use crate::{parts, yes};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, ScriptError, function};
use olelo_sip::{HeaderName, Span};

type Part = fn(&Ctx) -> Span;
type Done = Result<i64, ScriptError>;

pub(crate) fn functions() -> Vec<Function> {
    let mut v = searching();
    v.extend(replacing());
    v
}

fn searching() -> Vec<Function> {
    let find = |part: Part| {
        move |c: &mut Ctx, re: &[u8]| -> Done {
            Ok(yes(compiled(re, USUAL)?.is_match(c.msg.slice(part(c)))))
        }
    };
    let append = |part: Part| {
        move |c: &mut Ctx, re: &[u8], text: &[u8]| -> Done {
            let all = part(c);
            let Some(m) = compiled(re, USUAL)?.find(c.msg.slice(all)).map(|m| m.end()) else {
                return Ok(-1);
            };
            c.edits.insert_after(all.at() + m, text, HeaderName::Other);
            Ok(1)
        }
    };
    vec![
        function("search", find(parts::whole))
            .cfg("search")
            .args(["regex"])
            .doc("Whether the message matches."),
        function("search_body", find(parts::body))
            .cfg("search_body")
            .args(["regex"])
            .doc("Whether the body matches."),
        function("search_hf", search_hf)
            .cfg("search_hf")
            .args(["header", "regex", "which"])
            .doc("Whether bodies of a header match; which is f (first), l (last), a (any)."),
        function("search_append", append(parts::after_first_line))
            .cfg("search_append")
            .args(["regex", "text"])
            .doc("Adds a text behind the first match."),
        function("search_append_body", append(parts::body))
            .cfg("search_append_body")
            .args(["regex", "text"])
            .doc("Adds a text behind the first match in the body."),
    ]
}

fn replacing() -> Vec<Function> {
    let by_regex = |part: Part, all: bool| {
        move |c: &mut Ctx, re: &[u8], text: &[u8]| replace(c, part(c), re, text, all)
    };
    let by_text = |part: Part| {
        move |c: &mut Ctx, find: &[u8], text: &[u8], mode: &[u8]| {
            replace_text(c, part(c), find, text, mode)
        }
    };
    vec![
        function("replace", by_regex(parts::after_first_line, false))
            .cfg("replace")
            .args(["regex", "text"])
            .doc("Replaces the first match."),
        function("replace_all", by_regex(parts::after_first_line, true))
            .cfg("replace_all")
            .args(["regex", "text"])
            .doc("Replaces all matches."),
        function("replace_body", by_regex(parts::body, false))
            .cfg("replace_body")
            .args(["regex", "text"])
            .doc("Replaces the first match in the body."),
        function("replace_body_all", by_regex(parts::body, true))
            .cfg("replace_body_all")
            .args(["regex", "text"])
            .doc("Replaces all matches in the body, line by line."),
        function("replace_body_atonce", replace_atonce)
            .cfg("replace_body_atonce")
            .args(["regex", "text"])
            .doc("Replaces all matches in the body, over line ends."),
        function("replace_hdrs", by_regex(parts::headers, false))
            .cfg("replace_hdrs")
            .args(["regex", "text"])
            .doc("Replaces the first match in the headers."),
        function("replace_str", by_text(parts::after_first_line))
            .cfg("replace_str")
            .args(["find", "text", "mode"])
            .doc("Replaces a text, the first (f) or all (a)."),
        function("replace_body_str", by_text(parts::body))
            .cfg("replace_body_str")
            .args(["find", "text", "mode"])
            .doc("Replaces a text in the body, the first (f) or all (a)."),
        function("replace_hdrs_str", by_text(parts::headers))
            .cfg("replace_hdrs_str")
            .args(["find", "text", "mode"])
            .doc("Replaces a text in the headers, the first (f) or all (a)."),
    ]
}

fn search_hf(ctx: &mut Ctx, name: &[u8], re: &[u8], which: &[u8]) -> Done {
    let re = compiled(re, USUAL)?;
    let spans = parts::header_bodies(ctx, name, which);
    Ok(yes(spans.iter().any(|s| re.is_match(ctx.msg.slice(*s)))))
}

fn replace(ctx: &mut Ctx, part: Span, re: &[u8], text: &[u8], all: bool) -> Done {
    let re = compiled(re, USUAL)?;
    let most = if all { usize::MAX } else { 1 };
    let found: Vec<(usize, usize)> = re
        .find_iter(ctx.msg.slice(part))
        .take(most)
        .map(|m| (m.start(), m.end()))
        .collect();
    Ok(put(ctx, part, &found, text))
}

fn replace_atonce(ctx: &mut Ctx, re: &[u8], text: &[u8]) -> Done {
    let re = compiled(
        re,
        crate::posix::Flags {
            ignore_case: true,
            lines: false,
        },
    )?;
    let part = parts::body(ctx);
    let found: Vec<(usize, usize)> = re
        .find_iter(ctx.msg.slice(part))
        .map(|m| (m.start(), m.end()))
        .collect();
    Ok(put(ctx, part, &found, text))
}

fn replace_text(ctx: &mut Ctx, part: Span, find: &[u8], text: &[u8], mode: &[u8]) -> i64 {
    if find.is_empty() {
        return -1;
    }
    let most = if matches!(mode.first(), Some(b'a' | b'A')) {
        usize::MAX
    } else {
        1
    };
    let hay = ctx.msg.slice(part);
    let found: Vec<(usize, usize)> = memchr::memmem::find_iter(hay, find)
        .take(most)
        .map(|at| (at, at + find.len()))
        .collect();
    put(ctx, part, &found, text)
}

fn put(ctx: &mut Ctx, part: Span, found: &[(usize, usize)], text: &[u8]) -> i64 {
    for (from, to) in found {
        ctx.edits
            .replace(Span::new(part.at() + from, part.at() + to), text);
    }
    yes(!found.is_empty())
}
