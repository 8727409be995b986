//! `KSR.hdr.*`: headers of the message. Changes show when it is sent, not in look-ups before that.

use crate::net::reply::ReplyHeaders;
use crate::route::ctx::Ctx;
use crate::route::function::{Function, function};
use olelo_sip::{Header, HeaderName};

pub(super) fn functions() -> Vec<Function> {
    let h = |f: Function| f.prefix("hdr");
    [
        function("append", append).args(["header"]).doc("Adds a header (whole line) behind the last one."),
        function("append_after", append_after).args(["header", "after"]).doc("Adds a header behind the first one named `after`."),
        function("insert", insert).args(["header"]).doc("Adds a header before the first one."),
        function("insert_before", insert_before).args(["header", "before"]).doc("Adds a header before the first one named `before`."),
        function("remove", remove).args(["name"]).doc("Removes all headers of this name."),
        function("rmappend", |c: &mut Ctx, n: &[u8], h: &[u8]| { remove(c, n); append(c, h) }).args(["name", "header"]).doc("Removes all headers of a name and appends another."),
        function("rminsert", |c: &mut Ctx, n: &[u8], h: &[u8]| { remove(c, n); insert(c, h) }).args(["name", "header"]).doc("Removes all headers of a name and inserts another."),
        function("is_present", |c: &mut Ctx, n: &[u8]| if find(c, n, 0).is_some() { 1i64 } else { -1 }).args(["name"]).doc("1 where a header of this name is in the message as received, else -1."),
        function("append_to_reply", append_to_reply).args(["header"]).doc("Adds a header to replies made here."),
        function("get", |c: &mut Ctx, n: &[u8]| get(c, n, 0)).args(["name"]).doc("The body of the first header of this name, or nil."),
        function("gete", |c: &mut Ctx, n: &[u8]| get(c, n, 0).unwrap_or_default()).args(["name"]).doc("As `get`, the empty string where there is none."),
        function("getw", |c: &mut Ctx, n: &[u8]| get(c, n, 0).unwrap_or_else(|| b"<null>".to_vec())).args(["name"]).doc("As `get`, `<null>` where there is none."),
        function("get_idx", |c: &mut Ctx, n: &[u8], i: i64| get(c, n, i)).args(["name", "index"]).doc("The body of header number `index` of this name; negative counts from the end."),
        function("gete_idx", |c: &mut Ctx, n: &[u8], i: i64| get(c, n, i).unwrap_or_default()).args(["name", "index"]).doc("As `get_idx`, the empty string where there is none."),
        function("getw_idx", |c: &mut Ctx, n: &[u8], i: i64| get(c, n, i).unwrap_or_else(|| b"<null>".to_vec())).args(["name", "index"]).doc("As `get_idx`, `<null>` where there is none."),
        function("match_content", match_content).args(["name", "op", "value", "which"]).doc("Compares header bodies: op eq, ne, sw (starts with), in (contains), re; which f (first), l (last), a (any)."),
    ]
    .into_iter()
    .map(h)
    .collect()
}

/// A header line as it goes out: with its line end, whatever the script gave.
pub fn line(text: &[u8]) -> Vec<u8> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let body = body.strip_suffix(b"\r").unwrap_or(body);
    [body, b"\r\n"].concat()
}

fn append(ctx: &mut Ctx, header: &[u8]) -> i64 {
    ctx.edits.append_header(&line(header));
    1
}

fn insert(ctx: &mut Ctx, header: &[u8]) -> i64 {
    ctx.edits.prepend_header(&line(header));
    1
}

fn append_after(ctx: &mut Ctx, header: &[u8], after: &[u8]) -> i64 {
    match find(ctx, after, 0).map(|h| h.whole.to()) {
        Some(at) => ctx
            .edits
            .insert_before(at, &line(header), HeaderName::Other),
        None => ctx.edits.append_header(&line(header)),
    }
    1
}

fn insert_before(ctx: &mut Ctx, header: &[u8], before: &[u8]) -> i64 {
    match find(ctx, before, 0).map(|h| h.whole.at()) {
        Some(at) => ctx
            .edits
            .insert_before(at, &line(header), HeaderName::Other),
        None => ctx.edits.prepend_header(&line(header)),
    }
    1
}

fn remove(ctx: &mut Ctx, name: &[u8]) -> i64 {
    let spans: Vec<_> = ctx.msg.headers_by_text(name).map(|h| h.whole).collect();
    for s in &spans {
        ctx.edits.remove(*s);
    }
    1
}

fn append_to_reply(ctx: &mut Ctx, header: &[u8]) -> i64 {
    let l = line(header);
    ctx.ext::<ReplyHeaders>().0.extend(l);
    1
}

/// Header number `index` of a name; negative counts from the end.
pub fn find<'c>(ctx: &'c Ctx, name: &'c [u8], index: i64) -> Option<&'c Header> {
    match usize::try_from(index) {
        Ok(i) => ctx.msg.headers_by_text(name).nth(i),
        Err(_) => {
            let all: Vec<_> = ctx.msg.headers_by_text(name).collect();
            all.len()
                .checked_sub(index.unsigned_abs() as usize)
                .map(|i| all[i])
        }
    }
}

fn get(ctx: &mut Ctx, name: &[u8], index: i64) -> Option<Vec<u8>> {
    find(ctx, name, index).map(|h| ctx.msg.slice(h.body).to_vec())
}

fn match_content(
    ctx: &mut Ctx,
    name: &[u8],
    op: &str,
    value: &[u8],
    which: &str,
) -> Result<bool, crate::route::function::ScriptError> {
    let bodies: Vec<&[u8]> = ctx
        .msg
        .headers_by_text(name)
        .map(|h| ctx.msg.slice(h.body))
        .collect();
    let re = match op {
        "re" => Some(
            regex::bytes::Regex::new(&String::from_utf8_lossy(value))
                .map_err(|e| crate::route::function::ScriptError(e.to_string()))?,
        ),
        _ => None,
    };
    let test = |b: &[u8]| match op {
        "eq" => b == value,
        "ne" => b != value,
        "sw" => b.starts_with(value),
        "in" => memchr::memmem::find(b, value).is_some(),
        _ => re.as_ref().is_some_and(|r| r.is_match(b)),
    };
    Ok(match which {
        "l" => bodies.last().is_some_and(|b| test(b)),
        "a" => bodies.iter().any(|b| test(b)),
        _ => bodies.first().is_some_and(|b| test(b)),
    })
}
