//! Iterators over the headers and over the lines of the body, by name, at most four of each kind.
//!
//! They live with the message. They walk over the message as received: what is removed or added on
//! the way shows when the message is sent.

use crate::yes;
use olelo_core::error;
use olelo_core::pv::PvKey;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, function};
use olelo_core::route::value::Val;
use olelo_sip::{HeaderName, Span};

/// Iterators of one kind that a message may have.
const MOST: usize = 4;

#[derive(Default)]
struct Headers(Vec<Iter>);

#[derive(Default)]
struct Lines(Vec<Iter>);

/// Where an iterator is.
#[derive(Debug, Default)]
struct Iter {
    name: Vec<u8>,
    at: Place,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Place {
    #[default]
    Before,
    At(usize),
    Behind,
}

pub(crate) fn functions() -> Vec<Function> {
    let mut v = over_headers();
    v.extend(over_lines());
    v
}

fn over_headers() -> Vec<Function> {
    vec![
        function("hf_iterator_start", |c: &mut Ctx, n: &[u8]| {
            yes(start(&mut c.ext::<Headers>().0, n))
        })
        .cfg("hf_iterator_start")
        .args(["name"])
        .doc("Begins a walk over the headers."),
        function("hf_iterator_end", |c: &mut Ctx, n: &[u8]| {
            yes(end(&mut c.ext::<Headers>().0, n))
        })
        .cfg("hf_iterator_end")
        .args(["name"])
        .doc("Ends a walk over the headers."),
        function("hf_iterator_next", |c: &mut Ctx, n: &[u8]| {
            let count = c.msg.headers().len();
            yes(next(&mut c.ext::<Headers>().0, n, count))
        })
        .cfg("hf_iterator_next")
        .args(["name"])
        .doc("Goes to the next header; false behind the last."),
        function("hf_iterator_prev", |c: &mut Ctx, n: &[u8]| {
            yes(prev(&mut c.ext::<Headers>().0, n))
        })
        .cfg("hf_iterator_prev")
        .args(["name"])
        .doc("Goes back to the previous header; false before the first."),
        function("hf_iterator_rm", |c: &mut Ctx, n: &[u8]| {
            yes(current_header(c, n).map(|s| c.edits.remove(s)).is_some())
        })
        .cfg("hf_iterator_rm")
        .args(["name"])
        .doc("Removes the header the walk is at."),
        function("hf_iterator_append", |c: &mut Ctx, n: &[u8], t: &[u8]| {
            let at = current_header(c, n);
            yes(add(c, at.map(Span::to), t))
        })
        .cfg("hf_iterator_append")
        .args(["name", "header"])
        .doc("Adds header lines behind the one the walk is at."),
        function("hf_iterator_insert", |c: &mut Ctx, n: &[u8], t: &[u8]| {
            let at = current_header(c, n);
            yes(add(c, at.map(Span::at), t))
        })
        .cfg("hf_iterator_insert")
        .args(["name", "header"])
        .doc("Adds header lines before the one the walk is at."),
        function(
            "hf_iterator_hname",
            |c: &mut Ctx, n: &[u8]| -> Val<'static> { name_at(c, n).into_owned() },
        )
        .args(["name"])
        .doc("Name of the header the walk is at."),
        function(
            "hf_iterator_hbody",
            |c: &mut Ctx, n: &[u8]| -> Val<'static> { body_at(c, n).into_owned() },
        )
        .args(["name"])
        .doc("Body of the header the walk is at."),
    ]
}

fn over_lines() -> Vec<Function> {
    vec![
        function("bl_iterator_start", |c: &mut Ctx, n: &[u8]| {
            yes(start(&mut c.ext::<Lines>().0, n))
        })
        .cfg("bl_iterator_start")
        .args(["name"])
        .doc("Begins a walk over the lines of the body."),
        function("bl_iterator_end", |c: &mut Ctx, n: &[u8]| {
            yes(end(&mut c.ext::<Lines>().0, n))
        })
        .cfg("bl_iterator_end")
        .args(["name"])
        .doc("Ends a walk over the lines of the body."),
        function("bl_iterator_next", next_line)
            .cfg("bl_iterator_next")
            .args(["name"])
            .doc("Goes to the next line; false behind the last."),
        function("bl_iterator_rm", |c: &mut Ctx, n: &[u8]| {
            yes(current_line(c, n).map(|s| c.edits.remove(s)).is_some())
        })
        .cfg("bl_iterator_rm")
        .args(["name"])
        .doc("Removes the line the walk is at."),
        function("bl_iterator_append", |c: &mut Ctx, n: &[u8], t: &[u8]| {
            let at = current_line(c, n);
            yes(add(c, at.map(Span::to), t))
        })
        .cfg("bl_iterator_append")
        .args(["name", "text"])
        .doc("Adds text behind the line the walk is at."),
        function("bl_iterator_insert", |c: &mut Ctx, n: &[u8], t: &[u8]| {
            let at = current_line(c, n);
            yes(add(c, at.map(Span::at), t))
        })
        .cfg("bl_iterator_insert")
        .args(["name", "text"])
        .doc("Adds text before the line the walk is at."),
        function(
            "bl_iterator_value",
            |c: &mut Ctx, n: &[u8]| -> Val<'static> {
                current_line(c, n).map_or(Val::Null, |s| Val::owned(c.msg.slice(s)))
            },
        )
        .args(["name"])
        .doc("The line the walk is at, with its line end."),
    ]
}

/// `$hfitname(name)`.
pub(crate) fn header_name<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    name_at(ctx, key.name())
}

/// `$hfitbody(name)`.
pub(crate) fn header_body<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    body_at(ctx, key.name())
}

/// `$blitval(name)`.
pub(crate) fn line<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    Val::opt(current_line(ctx, key.name()).map(|s| ctx.msg.slice(s)))
}

fn name_at<'c>(ctx: &'c Ctx, name: &[u8]) -> Val<'c> {
    Val::opt(header_at(ctx, name).map(|h| ctx.msg.slice(h.name_text)))
}

fn body_at<'c>(ctx: &'c Ctx, name: &[u8]) -> Val<'c> {
    Val::opt(header_at(ctx, name).map(|h| ctx.msg.slice(h.body)))
}

fn start(all: &mut Vec<Iter>, name: &[u8]) -> bool {
    if let Some(i) = all.iter_mut().find(|i| i.name == name) {
        i.at = Place::Before;
        return true;
    }
    if all.len() >= MOST {
        error!(
            "textopsx",
            "{MOST} iterators are under way already; end one before \"{}\" begins",
            String::from_utf8_lossy(name)
        );
        return false;
    }
    all.push(Iter {
        name: name.to_vec(),
        at: Place::Before,
    });
    true
}

fn end(all: &mut Vec<Iter>, name: &[u8]) -> bool {
    let before = all.len();
    all.retain(|i| i.name != name);
    if all.len() == before {
        unknown(name);
    }
    all.len() < before
}

fn next(all: &mut [Iter], name: &[u8], count: usize) -> bool {
    let Some(i) = all.iter_mut().find(|i| i.name == name) else {
        unknown(name);
        return false;
    };
    let to = match i.at {
        Place::Before => 0,
        Place::At(n) => n + 1,
        Place::Behind => count,
    };
    i.at = if to < count {
        Place::At(to)
    } else {
        Place::Behind
    };
    to < count
}

fn prev(all: &mut [Iter], name: &[u8]) -> bool {
    let Some(i) = all.iter_mut().find(|i| i.name == name) else {
        unknown(name);
        return false;
    };
    match i.at {
        Place::At(n) if n > 0 => {
            i.at = Place::At(n - 1);
            true
        }
        Place::At(_) => {
            i.at = Place::Before;
            false
        }
        _ => false,
    }
}

fn unknown(name: &[u8]) {
    error!(
        "textopsx",
        "no iterator \"{}\"; it has to be started first",
        String::from_utf8_lossy(name)
    );
}

fn place(all: &[Iter], name: &[u8]) -> Option<usize> {
    match all.iter().find(|i| i.name == name)?.at {
        Place::At(n) => Some(n),
        _ => None,
    }
}

fn header_at<'c>(ctx: &'c Ctx, name: &[u8]) -> Option<&'c olelo_sip::Header> {
    ctx.msg
        .headers()
        .get(place(&ctx.ext_ref::<Headers>()?.0, name)?)
}

fn current_header(ctx: &Ctx, name: &[u8]) -> Option<Span> {
    header_at(ctx, name).map(|h| h.whole)
}

/// A line's iterator counts bytes: it is at the line that begins there.
fn current_line(ctx: &Ctx, name: &[u8]) -> Option<Span> {
    let at = place(&ctx.ext_ref::<Lines>()?.0, name)?;
    line_from(ctx, at)
}

fn line_from(ctx: &Ctx, at: usize) -> Option<Span> {
    let body = ctx.msg.body_span();
    let rest = Span::new(at.max(body.at()), body.to()).of(ctx.msg.buf());
    if rest.is_empty() {
        return None;
    }
    let len = rest
        .iter()
        .position(|b| *b == b'\n')
        .map_or(rest.len(), |n| n + 1);
    Some(Span::new(at, at + len))
}

fn next_line(ctx: &mut Ctx, name: &[u8]) -> i64 {
    let body = ctx.msg.body_span();
    let Some(at) = ctx
        .ext::<Lines>()
        .0
        .iter()
        .find(|i| i.name == name)
        .map(|i| i.at)
    else {
        unknown(name);
        return -1;
    };
    let to = match at {
        Place::Before => body.at(),
        Place::At(n) => line_from(ctx, n).map_or(body.to(), Span::to),
        Place::Behind => body.to(),
    };
    let at = if to < body.to() {
        Place::At(to)
    } else {
        Place::Behind
    };
    if let Some(i) = ctx.ext::<Lines>().0.iter_mut().find(|i| i.name == name) {
        i.at = at;
    }
    yes(at != Place::Behind)
}

fn add(ctx: &mut Ctx, at: Option<usize>, text: &[u8]) -> bool {
    match at {
        Some(at) if !text.is_empty() => {
            ctx.edits.insert_before(at, text, HeaderName::Other);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{ctx_of, sent};

    fn call(c: &mut Ctx, name: &str, args: &[&str]) -> Val<'static> {
        let f = functions().into_iter().find(|f| f.name == name).unwrap();
        let args: Vec<Val<'_>> = args.iter().map(|a| Val::text(a)).collect();
        f.call(c, &args).unwrap()
    }

    const YES: Val<'static> = Val::Int(1);
    const NO: Val<'static> = Val::Int(-1);

    #[test]
    fn headers_are_walked_and_changed() {
        let mut c = ctx_of("INFO sip:a SIP/2.0\r\nA: 1\r\nX-A: 2\r\nB: 3\r\n\r\n");
        assert_eq!(call(&mut c, "hf_iterator_next", &["i"]), NO, "not begun");
        assert_eq!(call(&mut c, "hf_iterator_start", &["i"]), YES);
        assert_eq!(
            call(&mut c, "hf_iterator_rm", &["i"]),
            NO,
            "before the first"
        );
        let mut seen = Vec::new();
        while call(&mut c, "hf_iterator_next", &["i"]) == YES {
            let name = call(&mut c, "hf_iterator_hname", &["i"]);
            if name == Val::text("X-A") {
                assert_eq!(call(&mut c, "hf_iterator_rm", &["i"]), YES);
                assert_eq!(call(&mut c, "hf_iterator_append", &["i", "N: 1\r\n"]), YES);
                assert_eq!(call(&mut c, "hf_iterator_insert", &["i", "M: 1\r\n"]), YES);
                assert_eq!(call(&mut c, "hf_iterator_hbody", &["i"]), Val::text("2"));
            }
            seen.push(name);
        }
        assert_eq!(seen.len(), 3);
        assert_eq!(call(&mut c, "hf_iterator_hname", &["i"]), Val::Null);
        assert_eq!(
            call(&mut c, "hf_iterator_prev", &["i"]),
            NO,
            "behind the last"
        );
        assert_eq!(
            sent(&c),
            "INFO sip:a SIP/2.0\r\nA: 1\r\nM: 1\r\nN: 1\r\nB: 3\r\n\r\n"
        );
        assert_eq!(call(&mut c, "hf_iterator_start", &["i"]), YES, "anew");
        call(&mut c, "hf_iterator_next", &["i"]);
        call(&mut c, "hf_iterator_next", &["i"]);
        assert_eq!(call(&mut c, "hf_iterator_prev", &["i"]), YES);
        assert_eq!(call(&mut c, "hf_iterator_hname", &["i"]), Val::text("A"));
        for n in ["j", "k", "l"] {
            assert_eq!(call(&mut c, "hf_iterator_start", &[n]), YES);
        }
        assert_eq!(
            call(&mut c, "hf_iterator_start", &["m"]),
            NO,
            "four at most"
        );
        assert_eq!(call(&mut c, "hf_iterator_end", &["i"]), YES);
        assert_eq!(call(&mut c, "hf_iterator_end", &["i"]), NO);
        assert_eq!(call(&mut c, "hf_iterator_start", &["m"]), YES);
    }

    #[test]
    fn lines_of_the_body_are_walked_and_changed() {
        let mut c = ctx_of("INFO sip:a SIP/2.0\r\nContent-Length: 14\r\n\r\nv=0\r\no=x\r\nlast");
        assert_eq!(call(&mut c, "bl_iterator_start", &["b"]), YES);
        let mut seen = Vec::new();
        while call(&mut c, "bl_iterator_next", &["b"]) == YES {
            let line = call(&mut c, "bl_iterator_value", &["b"]);
            if line == Val::text("o=x\r\n") {
                assert_eq!(call(&mut c, "bl_iterator_rm", &["b"]), YES);
                assert_eq!(call(&mut c, "bl_iterator_append", &["b", "a=1\r\n"]), YES);
                assert_eq!(call(&mut c, "bl_iterator_insert", &["b", "b=1\r\n"]), YES);
            }
            seen.push(line);
        }
        assert_eq!(
            seen,
            [
                Val::text("v=0\r\n"),
                Val::text("o=x\r\n"),
                Val::text("last")
            ]
        );
        assert_eq!(call(&mut c, "bl_iterator_value", &["b"]), Val::Null);
        assert_eq!(call(&mut c, "bl_iterator_end", &["b"]), YES);
        assert!(sent(&c).ends_with("Content-Length: 19\r\n\r\nv=0\r\nb=1\r\na=1\r\nlast"));
    }
}
