//! Substitution in the manner of sed: `/re/replacement/flags`, any character for the slash.
//!
//! In the replacement `\0` is the whole match, `\1`… its groups, `\n` `\r` `\t` line ends and
//! tabulator, `\u` the request URI, and pseudo-variables are replaced. Flags: `i` ignores case, `g`
//! replaces all, `s` lets `.` match line ends.

use crate::posix::{Flags, compiled};
use crate::{parts, yes};
use olelo_core::pv::{Spec, format};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{
    BRANCH, FAILURE, Function, ONREPLY, REQUEST, ScriptError, function,
};
use olelo_core::route::value::Val;
use olelo_sip::{Span, Uri, UriBuf};
use regex::bytes::{Captures, Regex};
use std::rc::Rc;

type Done = Result<i64, ScriptError>;

pub(crate) fn functions() -> Vec<Function> {
    let routes = REQUEST | ONREPLY | FAILURE | BRANCH;
    vec![
        function("subst", |c: &mut Ctx, e: &[u8]| {
            edit(c, &[parts::after_first_line(c)], e)
        })
        .cfg("subst")
        .args(["expression"])
        .raw(&["expression"])
        .doc("Substitutes in headers and body."),
        function("subst_body", |c: &mut Ctx, e: &[u8]| {
            edit(c, &[parts::body(c)], e)
        })
        .cfg("subst_body")
        .args(["expression"])
        .raw(&["expression"])
        .doc("Substitutes in the body."),
        function("subst_hf", |c: &mut Ctx, n: &[u8], e: &[u8], w: &[u8]| {
            let s = parts::header_bodies(c, n, w);
            edit(c, &s, e)
        })
        .cfg("subst_hf")
        .args(["header", "expression", "which"])
        .raw(&["expression"])
        .doc("Substitutes in bodies of a header: f first, l last, a all."),
        function("subst_uri", subst_uri)
            .cfg("subst_uri")
            .args(["expression"])
            .raw(&["expression"])
            .routes(routes)
            .doc("Substitutes in the request URI."),
        function("subst_user", subst_user)
            .cfg("subst_user")
            .args(["expression"])
            .raw(&["expression"])
            .routes(routes)
            .doc("Substitutes in the user of the request URI."),
        function("subst_v", subst_v)
            .cfg("subst_v")
            .args(["text", "expression", "var"])
            .raw(&["expression", "var"])
            .doc("Substitutes in a text and puts the result into a pseudo-variable."),
    ]
}

/// `{re.subst,…}`: the text unchanged where nothing matches or the expression is none.
pub(crate) fn transform<'c>(ctx: &'c Ctx, v: Val<'c>, args: &[Val<'c>]) -> Val<'c> {
    if v.as_bytes().is_none_or(|b| b.is_empty()) {
        return Val::Null;
    }
    // Commas separate arguments; in an expression they are just commas.
    let text: Vec<Vec<u8>> = args
        .iter()
        .map(|a| {
            a.as_bytes()
                .map(std::borrow::Cow::into_owned)
                .unwrap_or_default()
        })
        .collect();
    let text = text.join(&b","[..]);
    let done = v
        .as_bytes()
        .map(|b| Subst::parse(&text).map(|s| s.apply(ctx, &b)));
    match done {
        Some(Ok(Some(new))) => Val::owned(new),
        Some(Err(e)) => {
            olelo_core::error!("textops", "{{re.subst}}: {e}");
            v
        }
        _ => v,
    }
}

/// A parsed expression.
struct Subst<'a> {
    re: Rc<Regex>,
    replacement: Vec<Piece<'a>>,
    all: bool,
}

enum Piece<'a> {
    /// Text with pseudo-variables.
    Text(&'a [u8]),
    /// One character that was escaped.
    Byte(u8),
    /// A group of the match.
    Group(usize),
    /// The request URI.
    Uri,
}

impl<'a> Subst<'a> {
    fn parse(text: &'a [u8]) -> Result<Subst<'a>, ScriptError> {
        let bad = |what: &str| {
            ScriptError(format!(
                "\"{}\" {what}; write /re/replacement/flags",
                String::from_utf8_lossy(text)
            ))
        };
        let (&sep, rest) = text.split_first().ok_or_else(|| bad("is empty"))?;
        if sep == b'\\' || sep.is_ascii_alphanumeric() {
            return Err(bad("doesn't begin with a separator"));
        }
        let middle = unescaped(rest, sep).ok_or_else(|| bad("has no replacement"))?;
        let (re, rest) = (&rest[..middle], &rest[middle + 1..]);
        let end = unescaped(rest, sep).ok_or_else(|| bad("doesn't end with its separator"))?;
        let (replacement, flags) = (&rest[..end], &rest[end + 1..]);
        let has = |f: u8| flags.contains(&f);
        if let Some(f) = flags.iter().find(|f| !b"igs".contains(f)) {
            return Err(bad(&format!("has the unknown flag {}", *f as char)));
        }
        let plain: Vec<u8> = if sep == b'/' {
            re.to_vec()
        } else {
            without_escape(re, sep)
        };
        Ok(Subst {
            re: compiled(
                &plain,
                Flags {
                    ignore_case: has(b'i'),
                    lines: !has(b's'),
                },
            )?,
            replacement: pieces(replacement),
            all: has(b'g'),
        })
    }

    /// Ranges that match, with what comes there.
    fn matches(&self, ctx: &Ctx, text: &[u8]) -> Vec<(std::ops::Range<usize>, Vec<u8>)> {
        let most = if self.all { usize::MAX } else { 1 };
        let found = self.re.captures_iter(text).take(most);
        found
            .filter_map(|c| Some((c.get(0)?.range(), self.replaced(ctx, &c))))
            .collect()
    }

    fn replaced(&self, ctx: &Ctx, found: &Captures<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for p in &self.replacement {
            match p {
                // What is no pseudo-variable after all stays as it is.
                Piece::Text(t) => out.extend(format::expand(ctx, t).unwrap_or_else(|_| t.to_vec())),
                Piece::Byte(b) => out.push(*b),
                Piece::Group(n) => {
                    out.extend_from_slice(found.get(*n).map_or(&[], |m| m.as_bytes()))
                }
                Piece::Uri => out.extend_from_slice(ctx.ruri()),
            }
        }
        out
    }

    /// The text with its substitutions; `None` where nothing matched.
    fn apply(&self, ctx: &Ctx, text: &[u8]) -> Option<Vec<u8>> {
        let found = self.matches(ctx, text);
        if found.is_empty() {
            return None;
        }
        let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
        for (range, new) in found {
            out.extend_from_slice(text.get(at..range.start)?);
            out.extend(new);
            at = range.end;
        }
        out.extend_from_slice(text.get(at..)?);
        Some(out)
    }
}

/// Where the first separator stands that no backslash precedes.
fn unescaped(text: &[u8], sep: u8) -> Option<usize> {
    let mut at = 0;
    while let Some(&b) = text.get(at) {
        match b {
            b'\\' => at += 2,
            b if b == sep => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// `\:` is `:` where that is the separator.
fn without_escape(re: &[u8], sep: u8) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(re.len()), 0);
    while let Some(&b) = re.get(at) {
        if b == b'\\' && re.get(at + 1) == Some(&sep) {
            at += 1;
            continue;
        }
        out.push(b);
        if b == b'\\'
            && let Some(&next) = re.get(at + 1)
        {
            out.push(next);
            at += 1;
        }
        at += 1;
    }
    out
}

fn pieces(text: &[u8]) -> Vec<Piece<'_>> {
    let (mut out, mut start, mut at) = (Vec::new(), 0, 0);
    while let Some(&b) = text.get(at) {
        let next = text.get(at + 1).copied();
        let (b'\\', Some(next)) = (b, next) else {
            at += 1;
            continue;
        };
        if at > start {
            out.push(Piece::Text(&text[start..at]));
        }
        out.push(match next {
            b'0'..=b'9' => Piece::Group(usize::from(next - b'0')),
            b'n' => Piece::Byte(b'\n'),
            b'r' => Piece::Byte(b'\r'),
            b't' => Piece::Byte(b'\t'),
            b'u' => Piece::Uri,
            other => Piece::Byte(other),
        });
        at += 2;
        start = at;
    }
    if start < text.len() {
        out.push(Piece::Text(&text[start..]));
    }
    out
}

fn edit(ctx: &mut Ctx, spans: &[Span], expression: &[u8]) -> Done {
    let s = Subst::parse(expression)?;
    let mut any = false;
    for span in spans {
        for (range, new) in s.matches(ctx, ctx.msg.slice(*span)) {
            ctx.edits.replace(
                Span::new(span.at() + range.start, span.at() + range.end),
                &new,
            );
            any = true;
        }
    }
    Ok(yes(any))
}

fn subst_uri(ctx: &mut Ctx, expression: &[u8]) -> Done {
    let Some(new) = Subst::parse(expression)?.apply(ctx, ctx.ruri()) else {
        return Ok(-1);
    };
    ctx.set_ruri(&new);
    Ok(1)
}

fn subst_user(ctx: &mut Ctx, expression: &[u8]) -> Done {
    let s = Subst::parse(expression)?;
    let user = Uri::parse(ctx.ruri()).ok().and_then(|u| u.user);
    let Some(new) = user.and_then(|u| s.apply(ctx, u)) else {
        return Ok(-1);
    };
    let Ok(mut b) = UriBuf::parse(ctx.ruri()) else {
        return Ok(-1);
    };
    if b.set_user(&new).is_err() {
        return Ok(-1);
    }
    ctx.new_uri = Some(b.into_bytes());
    Ok(1)
}

fn subst_v(ctx: &mut Ctx, text: &[u8], expression: &[u8], var: &[u8]) -> Done {
    let Some(new) = Subst::parse(expression)?.apply(ctx, text) else {
        return Ok(-1);
    };
    Spec::parse_cached(var)?.set(ctx, Val::owned(new))?;
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_substituted() {
        olelo_core::server::for_tests(vec![crate::module()]);
        let ctx = Ctx::new();
        for (e, text, want) in [
            ("/o/0/g", "hello world", Some("hell0 w0rld")),
            ("/o/0/", "hello world", Some("hell0 world")),
            ("/(h)(.)/\\2\\1/", "hello", Some("ehllo")),
            (
                "/^sip:([0-9]+)@(.*)$/sip:3463\\1@\\2;orig=\\0/i",
                "SIP:12@h",
                Some("sip:346312@h;orig=SIP:12@h"),
            ),
            (":a\\:b:x:", "1a:b2", Some("1x2")),
            ("/a\\/b/-/", "1a/b2", Some("1-2")),
            ("/L/x/", "hello", None),
            ("/x$/\\r\\n/", "ax", Some("a\r\n")),
        ] {
            let s = Subst::parse(e.as_bytes()).unwrap_or_else(|err| panic!("{e}: {err}"));
            assert_eq!(
                s.apply(&ctx, text.as_bytes()).as_deref(),
                want.map(str::as_bytes),
                "{e}"
            );
        }
        for bad in ["", "/a/b", "/a", "abc", "/a/b/x"] {
            assert!(Subst::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_request_uri_changes() {
        olelo_core::server::for_tests(vec![crate::module()]);
        let mut c = Ctx::new();
        c.msg
            .buf_mut()
            .extend_from_slice(b"INVITE sip:3642@h SIP/2.0\r\n\r\n");
        c.msg.parse().unwrap();
        assert_eq!(subst_user(&mut c, b"/3642$/36423463/"), Ok(1));
        assert_eq!(c.ruri(), b"sip:36423463@h");
        assert_eq!(subst_uri(&mut c, b"/@h/@x/"), Ok(1));
        assert_eq!(c.ruri(), b"sip:36423463@x");
        assert_eq!(subst_uri(&mut c, b"/zzz/x/"), Ok(-1));
    }
}
