//! Header lines: adding, removing, asking for.

use crate::posix::{USUAL, compiled};
use crate::yes;
use olelo_core::net::reply::ReplyHeaders;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{BRANCH, FAILURE, Function, REQUEST, ScriptError, function};
use olelo_sip::{Header, HeaderName, MethodSet};

type Done = Result<i64, ScriptError>;

pub(crate) fn functions() -> Vec<Function> {
    let mut v = removing();
    v.extend(adding());
    v.extend(asking());
    v
}

fn removing() -> Vec<Function> {
    vec![
        function("remove_hf", |c: &mut Ctx, n: &[u8]| remove_named(c, n))
            .cfg("remove_hf")
            .cfg("remove_hf_pv")
            .args(["name"])
            .doc("Removes all headers of a name."),
        function("remove_hf_re", |c: &mut Ctx, re: &[u8]| {
            remove_matching(c, re, None)
        })
        .cfg("remove_hf_re")
        .cfg("remove_hf_re_pv")
        .args(["regex"])
        .doc("Removes all headers whose name matches."),
        function("remove_hf_exp", |c: &mut Ctx, re: &[u8], skip: &[u8]| {
            remove_matching(c, re, Some(skip))
        })
        .cfg("remove_hf_exp")
        .cfg("remove_hf_exp_pv")
        .args(["regex", "skip"])
        .doc("Removes all headers whose name matches one expression and not the other."),
        function("remove_hf_idx", remove_idx)
            .cfg("remove_hf_idx")
            .args(["name", "index"])
            .doc("Removes one header of a name; negative counts from the end."),
        function("remove_hf_match", remove_match)
            .cfg("remove_hf_match")
            .args(["name", "op", "text"])
            .doc("Removes headers by their bodies: op eq, ne, in, re."),
        function("via_param_rm", via_param_rm)
            .native_only()
            .cfg("via_param_rm")
            .args(["name", "index"])
            .doc("Removes a parameter of a Via; the topmost is 0."),
    ]
}

fn adding() -> Vec<Function> {
    let in_request = REQUEST | FAILURE | BRANCH;
    vec![
        function("append_hf", append_hf)
            .native_only()
            .cfg("append_hf")
            .args(["header", "after"])
            .doc("Adds a header at the end, or behind the last one of a name."),
        function("insert_hf", insert_hf)
            .native_only()
            .cfg("insert_hf")
            .args(["header", "before"])
            .doc("Adds a header before all, or before the first one of a name."),
        function("append_urihf", append_urihf)
            .native_only()
            .cfg("append_urihf")
            .args(["prefix", "suffix"])
            .routes(in_request)
            .doc("Adds a header that has the request URI as received in its middle."),
        function("append_to_reply", append_to_reply)
            .native_only()
            .cfg("append_to_reply")
            .args(["header"])
            .routes(in_request)
            .doc("Adds a header to replies made here."),
        function("append_time", |c: &mut Ctx| {
            let d = date();
            c.ext::<ReplyHeaders>().0.extend(d);
            1i64
        })
        .native_only()
        .cfg("append_time")
        .routes(in_request)
        .doc("Adds Date to replies made here."),
        function("append_time_to_request", |c: &mut Ctx| {
            c.edits.append_header(&date());
            1i64
        })
        .native_only()
        .cfg("append_time_to_request")
        .doc("Adds Date to the message."),
    ]
}

fn asking() -> Vec<Function> {
    vec![
        function("is_present_hf", |c: &mut Ctx, n: &[u8]| {
            yes(c.msg.headers_by_text(n).next().is_some())
        })
        .cfg("is_present_hf")
        .cfg("is_present_hf_pv")
        .args(["name"])
        .doc("Whether there is a header of a name."),
        function("is_present_hf_re", |c: &mut Ctx, re: &[u8]| -> Done {
            let re = compiled(re, USUAL)?;
            Ok(yes(c
                .msg
                .headers()
                .iter()
                .any(|h| re.is_match(c.msg.slice(h.name_text)))))
        })
        .cfg("is_present_hf_re")
        .cfg("is_present_hf_re_pv")
        .args(["regex"])
        .doc("Whether there is a header whose name matches."),
        function("is_method", is_method)
            .native_only()
            .cfg("is_method")
            .args(["methods"])
            .doc("Whether the method is one of `INVITE|BYE|…`."),
        function("is_privacy", is_privacy)
            .cfg("is_privacy")
            .args(["type"])
            .doc("Whether Privacy has this value."),
    ]
}

/// A header line as it goes out, with its line end.
fn line(text: &[u8]) -> Vec<u8> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    [body.strip_suffix(b"\r").unwrap_or(body), b"\r\n"].concat()
}

fn remove_those(ctx: &mut Ctx, which: impl Fn(&Ctx, &Header) -> bool) -> i64 {
    let spans: Vec<_> = ctx
        .msg
        .headers()
        .iter()
        .filter(|h| which(ctx, h))
        .map(|h| h.whole)
        .collect();
    spans.iter().for_each(|s| ctx.edits.remove(*s));
    yes(!spans.is_empty())
}

fn remove_named(ctx: &mut Ctx, name: &[u8]) -> i64 {
    let spans: Vec<_> = ctx.msg.headers_by_text(name).map(|h| h.whole).collect();
    spans.iter().for_each(|s| ctx.edits.remove(*s));
    yes(!spans.is_empty())
}

fn remove_matching(ctx: &mut Ctx, re: &[u8], skip: Option<&[u8]>) -> Done {
    let re = compiled(re, USUAL)?;
    let skip = skip
        .filter(|s| !s.is_empty())
        .map(|s| compiled(s, USUAL))
        .transpose()?;
    Ok(remove_those(ctx, |c, h| {
        let name = c.msg.slice(h.name_text);
        re.is_match(name) && !skip.as_ref().is_some_and(|s| s.is_match(name))
    }))
}

fn remove_idx(ctx: &mut Ctx, name: &[u8], index: i64) -> i64 {
    let all: Vec<_> = ctx.msg.headers_by_text(name).map(|h| h.whole).collect();
    let at = match usize::try_from(index) {
        Ok(i) => Some(i),
        Err(_) => all.len().checked_sub(index.unsigned_abs() as usize),
    };
    match at.and_then(|i| all.get(i)) {
        Some(s) => {
            ctx.edits.remove(*s);
            1
        }
        None => -1,
    }
}

fn remove_match(ctx: &mut Ctx, name: &[u8], op: &str, text: &[u8]) -> Done {
    let re = if op == "re" {
        Some(compiled(text, USUAL)?)
    } else {
        None
    };
    let fits = |body: &[u8]| match op {
        "eq" => body == text,
        "ne" => body != text,
        "in" => memchr::memmem::find(body, text).is_some(),
        _ => re.as_ref().is_some_and(|r| r.is_match(body)),
    };
    if !["eq", "ne", "in", "re"].contains(&op) {
        return Err(ScriptError(format!(
            "no operator \"{op}\"; one of eq, ne, in, re"
        )));
    }
    let spans: Vec<_> = ctx
        .msg
        .headers_by_text(name)
        .filter(|h| fits(ctx.msg.slice(h.body)))
        .map(|h| h.whole)
        .collect();
    spans.iter().for_each(|s| ctx.edits.remove(*s));
    Ok(yes(!spans.is_empty()))
}

fn via_param_rm(ctx: &mut Ctx, name: &[u8], index: i64) -> i64 {
    let Some(via) = usize::try_from(index).ok().and_then(|i| ctx.msg.via(i)) else {
        return -1;
    };
    let params = via.params;
    let buf = ctx.msg.buf();
    let found = olelo_sip::param::ParamSpans::new(buf, params)
        .find(|p| p.name.of(buf).eq_ignore_ascii_case(name));
    match found {
        Some(p) => {
            ctx.edits.remove(p.whole);
            1
        }
        None => -1,
    }
}

fn append_hf(ctx: &mut Ctx, header: &[u8], after: Option<&[u8]>) -> i64 {
    let at = after
        .and_then(|n| ctx.msg.headers_by_text(n).last())
        .map(|h| h.whole.to());
    match at {
        Some(at) => ctx
            .edits
            .insert_before(at, &line(header), HeaderName::Other),
        None => ctx.edits.append_header(&line(header)),
    }
    1
}

fn insert_hf(ctx: &mut Ctx, header: &[u8], before: Option<&[u8]>) -> i64 {
    let at = before
        .and_then(|n| ctx.msg.headers_by_text(n).next())
        .map(|h| h.whole.at());
    match at {
        Some(at) => ctx
            .edits
            .insert_before(at, &line(header), HeaderName::Other),
        None => ctx.edits.prepend_header(&line(header)),
    }
    1
}

fn append_urihf(ctx: &mut Ctx, prefix: &[u8], suffix: &[u8]) -> i64 {
    let text = [prefix, ctx.msg.ruri(), suffix].concat();
    ctx.edits.append_header(&line(&text));
    1
}

fn append_to_reply(ctx: &mut Ctx, header: &[u8]) -> i64 {
    ctx.ext::<ReplyHeaders>().0.extend(line(header));
    1
}

/// `Date: Sat, 13 Nov 2010 23:29:00 GMT` (RFC 3261 §20.17).
fn date() -> Vec<u8> {
    let now = chrono::DateTime::from_timestamp(olelo_core::timer::wall_s(), 0).unwrap_or_default();
    now.format("Date: %a, %d %b %Y %H:%M:%S GMT\r\n")
        .to_string()
        .into_bytes()
}

fn is_method(ctx: &mut Ctx, methods: &[u8]) -> i64 {
    let (method, text) = (ctx.msg.method(), ctx.msg.method_text());
    let one = |m: &[u8]| {
        m.eq_ignore_ascii_case(text)
            // What is one plain word and not this method's is decided: only lists are left.
            || !m.iter().all(u8::is_ascii_alphabetic)
                && MethodSet::parse(m).is_some_and(|s| s.contains(method))
    };
    yes(methods
        .split(|b| matches!(b, b'|' | b','))
        .map(<[u8]>::trim_ascii)
        .any(one))
}

fn is_privacy(ctx: &mut Ctx, kind: &[u8]) -> i64 {
    let has = |h: &Header| {
        ctx.msg
            .slice(h.body)
            .split(|b| matches!(b, b';' | b','))
            .any(|v| v.trim_ascii().eq_ignore_ascii_case(kind))
    };
    yes(ctx.msg.headers_named(HeaderName::Privacy).any(has))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ctx() -> Ctx {
        let mut c = Ctx::new();
        c.msg.buf_mut().extend_from_slice(b"INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1;x=1\r\nX-A: one\r\nP-B: b\r\nX-A: two\r\nf: <sip:q@h>\r\nPrivacy: id;header\r\n\r\n");
        c.msg.parse().unwrap();
        c
    }

    fn sent(c: &Ctx) -> String {
        let mut out = Vec::new();
        c.edits.apply(&c.msg, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn headers_go() {
        type Row = (fn(&mut Ctx) -> i64, i64, &'static str, &'static str);
        let rows: &[Row] = &[
            (|c| remove_named(c, b"x-a"), 1, "P-B", "X-A"),
            (|c| remove_named(c, b"From"), 1, "P-B", "\nf:"),
            (|c| remove_named(c, b"Nope"), -1, "X-A", "Nope"),
            (
                |c| remove_matching(c, b"^p-", None).unwrap(),
                1,
                "X-A",
                "P-B",
            ),
            (
                |c| remove_matching(c, b"^(x|p)-", Some(b"b$")).unwrap(),
                1,
                "P-B",
                "X-A",
            ),
            (|c| remove_idx(c, b"X-A", -1), 1, "one", "two"),
            (|c| remove_idx(c, b"X-A", 2), -1, "two", "zzz"),
            (
                |c| remove_match(c, b"X-A", "re", b"^o").unwrap(),
                1,
                "two",
                "one",
            ),
            (
                |c| via_param_rm(c, b"x", 0),
                1,
                "branch=z9hG4bK1\r\n",
                "x=1",
            ),
        ];
        for (i, (f, rc, kept, gone)) in rows.iter().enumerate() {
            let mut c = ctx();
            assert_eq!(f(&mut c), *rc, "row {i}");
            let out = sent(&c);
            assert!(out.contains(kept) && !out.contains(gone), "row {i}: {out}");
        }
    }

    #[test]
    fn headers_come() {
        let mut c = ctx();
        append_hf(&mut c, b"Y: 1\r\n", None);
        append_hf(&mut c, b"Z: 1", Some(b"X-A"));
        insert_hf(&mut c, b"A: 1\r\n", None);
        insert_hf(&mut c, b"B: 1\r\n", Some(b"X-A"));
        let out = sent(&c);
        assert!(
            out.starts_with("INVITE sip:a@h SIP/2.0\r\nA: 1\r\nVia:"),
            "{out}"
        );
        assert!(out.contains("\r\nB: 1\r\nX-A: one"), "{out}");
        assert!(out.contains("X-A: two\r\nZ: 1\r\nf:"), "{out}");
        assert!(out.contains("\r\nY: 1\r\n"), "{out}");
    }

    #[test]
    fn questions() {
        let mut c = ctx();
        for (m, want) in [
            ("INVITE", 1),
            ("invite", 1),
            ("BYE|INVITE", 1),
            ("BYE", -1),
            ("FOO|INVITE", 1),
        ] {
            assert_eq!(is_method(&mut c, m.as_bytes()), want, "{m}");
        }
        assert_eq!(is_privacy(&mut c, b"ID"), 1);
        assert_eq!(is_privacy(&mut c, b"user"), -1);
    }
}
