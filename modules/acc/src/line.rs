//! The accounting line: `method=…;from_tag=…;to_tag=…;call_id=…;code=…;reason=…` and what the
//! operator adds. Its form is that which collectors parse; the values are the network's, so control
//! characters in them are replaced.

use crate::*;
use chrono::{Local, TimeZone, Utc};
use olelo_core::pv::Spec;
use olelo_core::route::ctx::Ctx;
use olelo_sip::{HeaderName, Message};

/// Most legs of one line (`multi_leg_info`).
const MAX_LEGS: usize = 64;

/// `name=$pv` pairs of `log_extra` and its like.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extra(pub Vec<(String, String)>);

impl Extra {
    /// Reads `name=$pv;name=$pv`.
    pub fn parse(text: &str) -> Result<Extra, String> {
        let mut pairs = Vec::new();
        let mut depth = 0;
        let parts = text.split(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            c == ';' && depth == 0
        });
        for part in parts.map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .filter(|(n, v)| !n.trim().is_empty() && v.trim().starts_with('$'))
                .ok_or_else(|| format!("\"{part}\" should be name=$variable"))?;
            pairs.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(Extra(pairs))
    }

    /// `;name=value` for each; a null is an empty value.
    fn write(&self, ctx: &Ctx, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            field(out, name, &value_of(ctx, value).unwrap_or_default());
        }
    }

    /// The same once per leg, as long as any of the values has one more.
    fn write_legs(&self, ctx: &Ctx, out: &mut Vec<u8>) {
        for leg in 0..MAX_LEGS {
            let values: Vec<Option<Vec<u8>>> = self
                .0
                .iter()
                .map(|(_, v)| value_of(ctx, &format!("$({}[{leg}])", v.trim_start_matches('$'))))
                .collect();
            if values.iter().all(Option::is_none) {
                return;
            }
            for ((name, _), value) in self.0.iter().zip(values) {
                field(out, name, &value.unwrap_or_default());
            }
        }
    }
}

/// What happened, for a line.
pub struct Facts<'a> {
    /// Status; empty where none is known.
    pub code: &'a str,
    /// Reason phrase or the script's words.
    pub reason: &'a [u8],
    /// The reply, where there is one: its To has the tag.
    pub reply: Option<&'a Message>,
}

/// The line for the request in `ctx`, from `timestamp=` on.
pub fn line(ctx: &Ctx, facts: &Facts<'_>, extra: &Extra, legs: &Extra) -> String {
    let msg = &ctx.msg;
    let mut out = format!("timestamp={}", olelo_core::timer::wall_s()).into_bytes();
    let from_tag = msg.from_tag().unwrap_or_default();
    let to_tag = facts
        .reply
        .and_then(Message::to_tag)
        .or(msg.to_tag())
        .unwrap_or_default();
    // Upstream requests of a dialog come from the callee: the record keeps the call's direction.
    let swap = DETECT_DIRECTION.is_on()
        && msg.to_tag().is_some()
        && olelo_rr::is_direction(ctx, olelo_rr::Direction::Upstream);
    let (from_tag, to_tag) = if swap {
        (to_tag, from_tag)
    } else {
        (from_tag, to_tag)
    };
    field(&mut out, "method", msg.method_text());
    field(&mut out, "from_tag", from_tag);
    field(&mut out, "to_tag", to_tag);
    field(&mut out, "call_id", msg.call_id().unwrap_or_default());
    field(&mut out, "code", facts.code.as_bytes());
    let of_header = facts
        .reply
        .filter(|_| REASON_FROM_HF.is_on())
        .and_then(|r| r.header_body(HeaderName::Reason));
    field(&mut out, "reason", of_header.unwrap_or(facts.reason));
    time(ctx, &mut out);
    extra.write(ctx, &mut out);
    legs.write_legs(ctx, &mut out);
    String::from_utf8_lossy(&out)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// `time_mode`.
fn time(ctx: &Ctx, out: &mut Vec<u8>) {
    let (seconds, micros) = match ctx.received_at {
        (0, _) => (olelo_core::timer::wall_s(), 0),
        at => at,
    };
    let (attribute, extension, format) = (TIME_ATTR.text(), TIME_EXTEN.text(), TIME_FORMAT.text());
    match TIME_MODE.get() {
        1 => {
            field(out, attribute, seconds.to_string().as_bytes());
            field(out, extension, micros.to_string().as_bytes());
        }
        2 => field(
            out,
            attribute,
            format!("{seconds}.{:03}", micros / 1000).as_bytes(),
        ),
        3 => {
            if let Some(t) = Local.timestamp_opt(seconds, 0).single() {
                field(out, attribute, formatted(&t, format).as_bytes());
            }
        }
        4 => {
            if let Some(t) = Utc.timestamp_opt(seconds, 0).single() {
                field(out, attribute, formatted(&t, format).as_bytes());
            }
        }
        _ => {}
    }
}

/// A format that chrono does not know is written as it is.
fn formatted<T: TimeZone>(t: &chrono::DateTime<T>, format: &str) -> String
where
    T::Offset: std::fmt::Display,
{
    use std::fmt::Write;
    let mut out = String::new();
    match write!(out, "{}", t.format(format)) {
        Ok(()) => out,
        Err(_) => format.to_owned(),
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.push(b';');
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value);
}

fn value_of(ctx: &Ctx, pv: &str) -> Option<Vec<u8>> {
    let spec = Spec::parse_cached(pv.as_bytes()).ok()?;
    spec.get(ctx).into_bytes().map(|b| b.into_owned())
}
