//! Single values of headers that are lists (`Supported: path, 100rel`), and their parameters.
//!
//! A value is named `HEADER[INDEX].PARAM`: the index counts the values over all headers of that
//! name from 1, negative from the last, `*` is all. The functions that end in 2 are for headers in
//! the form of Authorization (RFC 3261 §22.4): there the index counts headers, and commas separate
//! parameters.

use crate::yes;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{
    BRANCH, FAILURE, Function, ONREPLY, REQUEST, ScriptError, function,
};
use olelo_sip::{HeaderName, Span};

type Done = Result<i64, ScriptError>;

pub(crate) fn functions() -> Vec<Function> {
    let v = vec![
        function("append_hf_value", append)
            .cfg("append_hf_value")
            .args(["header", "value"])
            .doc("Adds a value behind `header[index]`; a header at the end where there is none or no index."),
        function("insert_hf_value", insert)
            .cfg("insert_hf_value")
            .args(["header", "value"])
            .doc("Adds a value before `header[index]`; a header before the first of its name without an index."),
        function("remove_hf_value", |c: &mut Ctx, t: &str| remove(c, t, FIELD_VALUES))
            .cfg("remove_hf_value")
            .args(["value"])
            .doc("Removes `header[index]` or `header[index].param`; the index may be `*`."),
        function("remove_hf_value2", |c: &mut Ctx, t: &str, _unused: &[u8]| remove(c, t, CREDENTIALS))
            .args(["value", "unused"])
            .doc("As remove_hf_value, in a header like Authorization; the second argument is for compatibility."),
        function("remove_hf_value2_native", |c: &mut Ctx, t: &str| remove(c, t, CREDENTIALS))
            .native_only()
            .cfg("remove_hf_value2")
            .args(["value"])
            .doc("As remove_hf_value, in a header like Authorization."),
        function("assign_hf_value", |c: &mut Ctx, t: &str, v: &[u8]| assign(c, t, v, FIELD_VALUES))
            .cfg("assign_hf_value")
            .args(["place", "value"])
            .doc("Sets `header[index]` or `header[index].param`; an empty parameter has no equal sign."),
        function("assign_hf_value2", |c: &mut Ctx, t: &str, v: &[u8]| assign(c, t, v, CREDENTIALS))
            .cfg("assign_hf_value2")
            .args(["place", "value"])
            .doc("As assign_hf_value, in a header like Authorization."),
        function("include_hf_value", |c: &mut Ctx, h: &str, v: &[u8]| -> Done { Ok(include(c, Target::name(h)?, v)) })
            .cfg("include_hf_value")
            .args(["header", "value"])
            .doc("Adds a value to a set such as Supported unless it is there."),
        function("exclude_hf_value", |c: &mut Ctx, h: &str, v: &[u8]| -> Done { Ok(exclude(c, Target::name(h)?, v)) })
            .cfg("exclude_hf_value")
            .args(["header", "value"])
            .doc("Removes a value from a set such as Supported."),
        function("hf_value_exists", |c: &mut Ctx, h: &str, v: &[u8]| -> Done { Ok(yes(exists(c, Target::name(h)?, v))) })
            .cfg("hf_value_exists")
            .args(["header", "value"])
            .doc("Whether a value is in a set such as Supported."),
    ];
    v.into_iter()
        .map(|f| f.routes(REQUEST | ONREPLY | FAILURE | BRANCH))
        .collect()
}

/// How a header's body is made.
#[derive(Clone, Copy)]
struct Form {
    /// Commas separate values.
    commas_split: bool,
    /// What separates parameters.
    separator: u8,
}

const FIELD_VALUES: Form = Form {
    commas_split: true,
    separator: b';',
};
const CREDENTIALS: Form = Form {
    commas_split: false,
    separator: b',',
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Which {
    Unsaid,
    At(i64),
    All,
}

/// `HEADER[INDEX].PARAM`, read.
#[derive(Debug, PartialEq)]
struct Target<'a> {
    header: &'a [u8],
    which: Which,
    param: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    fn parse(text: &'a str) -> Result<Target<'a>, ScriptError> {
        let wrong = |why: &str| {
            ScriptError(format!(
                "\"{text}\" is no place in a header: {why}; write HEADER[INDEX].PARAM"
            ))
        };
        let text_trimmed = text.trim();
        let end = text_trimmed.find(['[', '.']).unwrap_or(text_trimmed.len());
        let (header, mut rest) = text_trimmed.split_at(end);
        let header = header.trim();
        if header.is_empty() || !header.bytes().all(olelo_sip::is_token_byte) {
            return Err(wrong("it begins with no header's name"));
        }
        let mut which = Which::Unsaid;
        if let Some(inside) = rest.strip_prefix('[') {
            let (index, behind) = inside
                .split_once(']')
                .ok_or_else(|| wrong("the bracket does not end"))?;
            which = match index.trim() {
                "*" => Which::All,
                n => match n.parse() {
                    Ok(0) | Err(_) => {
                        return Err(wrong(
                            "the index counts from 1, or from -1 backwards, or is *",
                        ));
                    }
                    Ok(n) => Which::At(n),
                },
            };
            rest = behind.trim_start();
        }
        let param = match rest.strip_prefix('.') {
            Some(p) if !p.trim().is_empty() => Some(p.trim().as_bytes()),
            None if rest.trim().is_empty() => None,
            _ => return Err(wrong("what follows is no parameter")),
        };
        Ok(Target {
            header: header.as_bytes(),
            which,
            param,
        })
    }

    /// A header's name alone, for the functions on sets.
    fn name(text: &'a str) -> Result<&'a [u8], ScriptError> {
        match Target::parse(text)? {
            Target {
                header,
                which: Which::Unsaid,
                param: None,
            } => Ok(header),
            _ => Err(ScriptError(format!(
                "\"{text}\": a set is all of a header; name it alone"
            ))),
        }
    }

    /// The header alone, for the functions that add.
    fn parse_no_param(text: &'a str) -> Result<Target<'a>, ScriptError> {
        let t = Target::parse(text)?;
        if t.param.is_some() || t.which == Which::All {
            return Err(ScriptError(format!(
                "\"{text}\": a value is added at HEADER or HEADER[INDEX], not at a parameter or all values"
            )));
        }
        Ok(t)
    }
}

/// One value: where it is, and its place among the values of its header.
#[derive(Debug, Clone)]
struct Value {
    span: Span,
    /// All values of the header.
    siblings: Vec<Span>,
    /// The header's line.
    line: Span,
}

/// The values of all headers of a name, in order.
fn values(ctx: &Ctx, header: &[u8], form: Form) -> Vec<Value> {
    let mut all = Vec::new();
    for h in ctx.msg.headers_by_text(header) {
        let parts = if form.commas_split {
            split(ctx.msg.buf(), h.body, b',')
        } else {
            vec![h.body]
        };
        all.extend(parts.iter().map(|s| Value {
            span: *s,
            siblings: parts.clone(),
            line: h.whole,
        }));
    }
    all
}

/// The values meant, without those that are removed already.
fn pick<'a>(ctx: &Ctx, all: &'a [Value], which: Which) -> Vec<&'a Value> {
    let mut chosen = at_index(all, which);
    chosen.retain(|v| stands(ctx, v.span) && stands(ctx, v.line));
    chosen
}

/// Whether a part was not removed before.
fn stands(ctx: &Ctx, part: Span) -> bool {
    !ctx.edits.removes(part) || ctx.edits.replacement(part).is_some()
}

fn at_index(all: &[Value], which: Which) -> Vec<&Value> {
    let at = match which {
        Which::All => return all.iter().collect(),
        Which::Unsaid => Some(0),
        Which::At(n) if n > 0 => usize::try_from(n - 1).ok(),
        Which::At(n) => all
            .len()
            .checked_sub(usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    at.and_then(|i| all.get(i)).into_iter().collect()
}

/// Splits a part at `separator`, which does not count inside of quotes and angle brackets; the
/// pieces are trimmed.
fn split(buf: &[u8], part: Span, separator: u8) -> Vec<Span> {
    let text = part.of(buf);
    let (mut pieces, mut from) = (Vec::new(), 0);
    let (mut quoted, mut angled, mut escaped) = (false, false, false);
    for (i, b) in text.iter().enumerate() {
        if escaped {
            escaped = false;
            continue;
        }
        match b {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => angled = true,
            b'>' if !quoted => angled = false,
            b if *b == separator && !quoted && !angled => {
                pieces.push(trimmed(text, from, i, part.at()));
                from = i + 1;
            }
            _ => {}
        }
    }
    pieces.push(trimmed(text, from, text.len(), part.at()));
    pieces
}

fn trimmed(text: &[u8], mut from: usize, mut to: usize, base: usize) -> Span {
    while from < to && text[from].is_ascii_whitespace() {
        from += 1;
    }
    while to > from && text[to - 1].is_ascii_whitespace() {
        to -= 1;
    }
    Span::new(base + from, base + to)
}

/// The parameters of a value.
fn params(buf: &[u8], value: Span, form: Form) -> Vec<Span> {
    if form.commas_split {
        return split(buf, value, form.separator).split_off(1);
    }
    // Behind the scheme: `Digest a=1, b=2`.
    let text = value.of(buf);
    let word = text
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(text.len());
    let start = if text[..word].contains(&b'=') {
        0
    } else {
        word
    };
    let rest = Span::new(value.at() + start, value.to());
    split(buf, rest, form.separator)
        .into_iter()
        .filter(|s| !s.is_empty())
        .collect()
}

fn named(buf: &[u8], param: Span, name: &[u8]) -> bool {
    let text = param.of(buf);
    let end = text.iter().position(|b| *b == b'=').unwrap_or(text.len());
    text[..end].trim_ascii().eq_ignore_ascii_case(name)
}

/// Removes one piece of a list with the separator that is no longer needed. False where nothing of
/// the list would be left.
fn remove_piece(ctx: &mut Ctx, piece: Span, siblings: &[Span]) -> bool {
    let stays = |s: &&Span| **s != piece && !ctx.edits.removes(**s);
    let next = siblings
        .iter()
        .filter(stays)
        .find(|s| s.at() >= piece.to())
        .copied();
    let prev = siblings
        .iter()
        .filter(stays)
        .rfind(|s| s.to() <= piece.at())
        .copied();
    let part = match (prev, next) {
        (_, Some(n)) => Span::new(piece.at(), n.at()),
        (Some(p), None) => Span::new(p.to(), piece.to()),
        (None, None) => return false,
    };
    ctx.edits.remove(part);
    true
}

fn remove_value(ctx: &mut Ctx, v: &Value) {
    if !remove_piece(ctx, v.span, &v.siblings) {
        ctx.edits.remove(v.line);
    }
}

fn add_header(ctx: &mut Ctx, header: &[u8], value: &[u8]) {
    ctx.edits.append_header(&line(header, value));
}

fn line(header: &[u8], value: &[u8]) -> Vec<u8> {
    [header, b": ", value, b"\r\n"].concat()
}

fn append(ctx: &mut Ctx, place: &str, value: &[u8]) -> Done {
    let t = Target::parse_no_param(place)?;
    let all = values(ctx, t.header, FIELD_VALUES);
    let at = match t.which {
        Which::Unsaid => None,
        w => pick(ctx, &all, w).first().map(|v| v.span),
    };
    match at {
        Some(s) if s.is_empty() => {
            ctx.edits
                .insert_before(s.to(), &[b" ", value].concat(), HeaderName::Other)
        }
        Some(s) => ctx
            .edits
            .insert_before(s.to(), &[b",", value].concat(), HeaderName::Other),
        None => add_header(ctx, t.header, value),
    }
    Ok(1)
}

fn insert(ctx: &mut Ctx, place: &str, value: &[u8]) -> Done {
    let t = Target::parse_no_param(place)?;
    let all = values(ctx, t.header, FIELD_VALUES);
    match (t.which, pick(ctx, &all, t.which).first()) {
        (Which::Unsaid, Some(v)) => {
            let at = v.line.at();
            ctx.edits
                .insert_before(at, &line(t.header, value), HeaderName::Other);
        }
        (_, Some(v)) => {
            ctx.edits
                .insert_before(v.span.at(), &[value, b","].concat(), HeaderName::Other)
        }
        (Which::Unsaid | Which::At(1 | -1), None) => add_header(ctx, t.header, value),
        _ => return Ok(-1),
    }
    Ok(1)
}

fn remove(ctx: &mut Ctx, place: &str, form: Form) -> Done {
    let t = Target::parse(place)?;
    let all = values(ctx, t.header, form);
    let chosen = pick(ctx, &all, t.which);
    let mut done = false;
    for v in chosen {
        match t.param {
            None => {
                remove_value(ctx, v);
                done = true;
            }
            Some(name) => {
                let params = params(ctx.msg.buf(), v.span, form);
                let found: Vec<Span> = params
                    .iter()
                    .filter(|p| named(ctx.msg.buf(), **p, name))
                    .copied()
                    .collect();
                for p in found {
                    done = true;
                    if form.commas_split {
                        ctx.edits
                            .remove(with_separator(ctx.msg.buf(), p, form.separator));
                    } else if !remove_piece(ctx, p, &params) {
                        ctx.edits.remove(p);
                    }
                }
            }
        }
    }
    Ok(yes(done))
}

/// A parameter with the semicolon and blanks before it.
fn with_separator(buf: &[u8], param: Span, separator: u8) -> Span {
    let before = &buf[..param.at()];
    let start = before
        .iter()
        .rposition(|b| *b == separator)
        .unwrap_or(param.at());
    let start = before[..start].trim_ascii_end().len();
    Span::new(start, param.to())
}

fn assign(ctx: &mut Ctx, place: &str, value: &[u8], form: Form) -> Done {
    let t = Target::parse(place)?;
    let all = values(ctx, t.header, form);
    let chosen = pick(ctx, &all, t.which);
    for v in &chosen {
        match t.param {
            None => ctx.edits.replace(v.span, value),
            Some(name) => assign_param(ctx, v.span, name, value, form),
        }
    }
    Ok(yes(!chosen.is_empty()))
}

fn assign_param(ctx: &mut Ctx, of: Span, name: &[u8], value: &[u8], form: Form) {
    let params = params(ctx.msg.buf(), of, form);
    let found = params
        .iter()
        .find(|p| named(ctx.msg.buf(), **p, name) && stands(ctx, **p));
    let text = |name: &[u8]| {
        if value.is_empty() {
            name.to_vec()
        } else {
            [name, b"=", value].concat()
        }
    };
    match found {
        Some(p) => {
            let old = p.of(ctx.msg.buf());
            let end = old.iter().position(|b| *b == b'=').unwrap_or(old.len());
            let new = text(old[..end].trim_ascii());
            ctx.edits.replace(*p, &new);
        }
        None => {
            let separator: &[u8] = match (form.separator, params.is_empty()) {
                (b',', true) => b" ",
                (b',', false) => b",",
                _ => b";",
            };
            ctx.edits.insert_before(
                of.to(),
                &[separator, &text(name)].concat(),
                HeaderName::Other,
            );
        }
    }
}

/// The values of a set that are equal to this one, without regard to case.
fn equal(ctx: &Ctx, header: &[u8], value: &[u8]) -> Vec<Value> {
    let value = value.trim_ascii();
    let mut all = values(ctx, header, FIELD_VALUES);
    all.retain(|v| {
        ctx.msg.slice(v.span).eq_ignore_ascii_case(value)
            && stands(ctx, v.span)
            && stands(ctx, v.line)
    });
    all
}

fn include(ctx: &mut Ctx, header: &[u8], value: &[u8]) -> i64 {
    if !equal(ctx, header, value).is_empty() {
        return 1;
    }
    let mut all = values(ctx, header, FIELD_VALUES);
    all.retain(|v| stands(ctx, v.span) && stands(ctx, v.line));
    // Behind the last value of the first header.
    let line = all.first().map(|v| v.line);
    let last = all.iter().rfind(|v| Some(v.line) == line).map(|v| v.span);
    match last {
        Some(last) => {
            let separator: &[u8] = if last.is_empty() { b" " } else { b"," };
            ctx.edits
                .insert_before(last.to(), &[separator, value].concat(), HeaderName::Other);
        }
        None => add_header(ctx, header, value),
    }
    1
}

fn exclude(ctx: &mut Ctx, header: &[u8], value: &[u8]) -> i64 {
    for v in equal(ctx, header, value) {
        remove_value(ctx, &v);
    }
    1
}

fn exists(ctx: &Ctx, header: &[u8], value: &[u8]) -> bool {
    if !equal(ctx, header, value).is_empty() {
        return true;
    }
    // As selects write it, with underscores.
    let dashed: Vec<u8> = header
        .iter()
        .map(|b| if *b == b'_' { b'-' } else { *b })
        .collect();
    dashed != header && !equal(ctx, &dashed, value).is_empty()
}

#[cfg(test)]
mod tests;
