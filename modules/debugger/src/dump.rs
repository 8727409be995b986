//! What a message and its variables look like, written to the log.

use olelo_core::log::{self, Level};
use olelo_core::route::avp::{Avp, AvpVal};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;
use serde_json::{Map, Value, json};

/// Bits of a dump's mask.
const NULLS: i64 = 1;
const AVPS: i64 = 2;
const VARS: i64 = 4;
const XAVPS: i64 = 8;
const OTHERS: i64 = 16;

/// Pseudo-variables that stand for the others: what operators look for first.
const COMMON: [&str; 10] = [
    "$rm", "$ru", "$du", "$fu", "$tu", "$ci", "$si", "$sp", "$rs", "$rc",
];

/// Writes variables as one line of JSON.
pub fn variables(ctx: &mut Ctx, mask: i64, level: Option<&str>) -> bool {
    let mut out = Map::new();
    let mut put = |name: String, v: Value| {
        if !v.is_null() || mask & NULLS != 0 {
            out.insert(name, v);
        }
    };
    if mask & VARS != 0 {
        for (name, v) in olelo_pv::variables() {
            put(
                format!("$var({})", String::from_utf8_lossy(&name)),
                shown(&v),
            );
        }
    }
    let lists = [
        ("avp", AVPS, &ctx.avps.avp),
        ("xavp", XAVPS, &ctx.avps.xavp),
        ("xavu", XAVPS, &ctx.avps.xavu),
        ("xavi", XAVPS, &ctx.avps.xavi),
    ];
    for (class, bit, list) in lists {
        if mask & bit != 0 {
            for (name, values) in grouped(list.0.iter().rev()) {
                put(format!("${class}({name})"), Value::Array(values));
            }
        }
    }
    if mask & OTHERS != 0 {
        for name in COMMON {
            put(name.into(), shown(&ctx.pv(name)));
        }
    }
    let text = Value::Object(out).to_string();
    write(level.unwrap_or("L_DBG"), &text);
    true
}

/// Values by name, in the order in which they are found.
fn grouped<'a>(newest_first: impl Iterator<Item = &'a Avp>) -> Vec<(String, Vec<Value>)> {
    let mut out: Vec<(String, Vec<Value>)> = Vec::new();
    for a in newest_first {
        let name = String::from_utf8_lossy(&a.name).into_owned();
        let value = of_avp(&a.val);
        match out.iter_mut().find(|(n, _)| *n == name) {
            Some((_, values)) => values.push(value),
            None => out.push((name, vec![value])),
        }
    }
    out
}

fn of_avp(v: &AvpVal) -> Value {
    match v {
        AvpVal::Null => Value::Null,
        AvpVal::Int(i) => json!(i),
        AvpVal::Str(s) => json!(String::from_utf8_lossy(s)),
        AvpVal::Fields(l) => {
            let fields = grouped(l.iter())
                .into_iter()
                .map(|(n, v)| (n, Value::Array(v)));
            Value::Object(fields.collect())
        }
    }
}

fn shown(v: &Val<'_>) -> Value {
    match v {
        Val::Int(i) => json!(i),
        v => v
            .as_bytes()
            .map_or(Value::Null, |b| json!(String::from_utf8_lossy(&b))),
    }
}

/// Writes the message as it would be sent now, and what differs from the received one.
pub fn message(ctx: &mut Ctx, level: Option<&str>) -> bool {
    let mut now = Vec::new();
    ctx.edits.apply(&ctx.msg, &mut now);
    let (before, after) = (ctx.msg.buf().to_vec(), now);
    let (old_head, old_body) = split(&before);
    let (new_head, new_body) = split(&after);
    let mut text = format!(
        "line {}\n------------------------- START OF SIP message debug --------------------------\n{}\n------------------------------ SIP header diffs -------------------------------\n",
        ctx.place.line,
        String::from_utf8_lossy(&after)
    );
    text.push_str(&differences(old_head, new_head));
    text.push_str(
        "------------------------------- SIP body diffs --------------------------------\n",
    );
    text.push_str(&differences(old_body, new_body));
    text.push_str(
        "-------------------------- END OF SIP message debug ---------------------------\n",
    );
    write(level.unwrap_or("L_DBG"), &text);
    true
}

/// Head and body.
fn split(m: &[u8]) -> (&[u8], &[u8]) {
    let end = m.windows(4).position(|w| w == b"\r\n\r\n");
    end.map_or((m, &[]), |at| (&m[..at + 2], &m[at + 4..]))
}

/// Lines that went, with a minus, and lines that came.
fn differences(old: &[u8], new: &[u8]) -> String {
    let lines = |t: &[u8]| -> Vec<String> {
        String::from_utf8_lossy(t)
            .lines()
            .map(str::to_string)
            .collect()
    };
    let (old, new) = (lines(old), lines(new));
    let gone = old
        .iter()
        .filter(|l| !new.contains(l))
        .map(|l| format!("- {l}\n"));
    let come = new
        .iter()
        .filter(|l| !old.contains(l))
        .map(|l| format!("{l}\n"));
    gone.chain(come).collect()
}

fn write(level: &str, text: &str) {
    let level = Level::from_name(level)
        .or_else(|| level.parse().ok().map(Level::from_int))
        .unwrap_or(Level::Dbg);
    log::write_raw(level, "debugger", format!("debugger: {text}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_lines_that_went_and_came() {
        assert_eq!(
            differences(b"A: 1\r\nB: 2\r\n", b"A: 1\r\nC: 3\r\n"),
            "- B: 2\nC: 3\n"
        );
        assert_eq!(split(b"a\r\n\r\nbody"), (&b"a\r\n"[..], &b"body"[..]));
    }
}
