//! Lines about statements: for all messages, for one process, or for those that a filter names.
//!
//! Whether anybody watches is one shared word of the core; what is watched is a text in shared
//! memory that each process reads when its version changes. A message is judged once, at its first
//! statement.

use crate::{CFGTRACE, CFGTRACE_FORMAT, LOG_ASSIGN, LOG_LEVEL, LOG_PREFIX, hold};
use olelo_core::log::{self, Level};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{
    BRANCH, CORE_ONREPLY, EVENT, FAILURE, ONREPLY, ONSEND, TM_ONREPLY,
};
use olelo_core::route::trace::{self, Step};
use olelo_core::rpc::{Answer, Fault, Params, fields, text};
use olelo_mem::published::Published;
use olelo_mem::words::Words;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

static WATCHED: OnceLock<Published> = OnceLock::new();
/// Word 0: how often message numbers were reset.
static WORDS: OnceLock<Words> = OnceLock::new();

/// What is watched.
#[derive(Debug, Clone, Default, PartialEq)]
struct Watch {
    /// Whether lines are written at all.
    on: bool,
    /// Only this process.
    pid: Option<u32>,
    /// Only messages with this Call-ID.
    call_id: Option<String>,
    /// Only messages whose From has this text.
    from: Option<String>,
    /// Only messages from this address.
    src: Option<String>,
}

/// Makes what processes share; main, before the forks.
pub fn create() -> Result<(), String> {
    let store = Published::create("debugger").map_err(|e| e.to_string())?;
    let first = Watch {
        on: CFGTRACE.is_on(),
        ..Watch::default()
    };
    store
        .publish(first.to_text().as_bytes())
        .map_err(|e| e.to_string())?;
    let _ = WATCHED.set(store);
    let words = Words::create("debugger ids", 1).map_err(|e| e.to_string())?;
    let _ = WORDS.set(words);
    if !trace::observe(observe) {
        return Err("shared words are used up".into());
    }
    trace::switch(first.on || crate::BREAKPOINT.is_on());
    Ok(())
}

/// `dbg.trace on|off …`.
pub fn command(p: &Params) -> Answer {
    let word = p.text(0, "on or off")?;
    let mut watch = Watch {
        on: match word.as_str() {
            "on" | "1" => true,
            "off" | "0" => false,
            w => return Err(Fault::new(400, format!("\"{w}\" is neither on nor off"))),
        },
        ..Watch::default()
    };
    for i in 1..p.len() {
        let given = p.opt_text(i).unwrap_or_default();
        watch.narrow(&given).map_err(|e| Fault::new(400, e))?;
    }
    let store = WATCHED.get().ok_or_else(|| Fault::new(500, "not ready"))?;
    let shown = watch.to_text();
    store
        .publish(shown.as_bytes())
        .map_err(|e| Fault::new(500, e.to_string()))?;
    trace::switch(watch.on || hold::any());
    Ok(vec![fields([("trace", text(shown))])])
}

/// Says whether steps are watched at all, after breakpoints have changed.
pub fn refresh() {
    let on = current().is_some_and(|w| w.on);
    trace::switch(on || hold::any());
}

/// Lets message numbers begin anew.
pub fn reset_ids() {
    if let Some(w) = WORDS.get().and_then(|w| w.get(0)) {
        w.fetch_add(1, Ordering::Relaxed);
    }
    trace::switch(true);
}

/// Whether lines are written for this process.
pub fn is_traced(pid: i32) -> bool {
    current().is_some_and(|w| w.on && w.pid.is_none_or(|p| i64::from(p) == i64::from(pid)))
}

impl Watch {
    /// Takes in one more condition.
    fn narrow(&mut self, given: &str) -> Result<(), String> {
        if let Ok(pid) = given.parse() {
            self.pid = Some(pid);
            return Ok(());
        }
        let (key, value) = given.split_once('=').ok_or_else(|| {
            format!("\"{given}\" is neither a pid nor call_id=…, from=… or src=…")
        })?;
        let value = Some(value.to_string());
        match key {
            "call_id" | "callid" | "ci" => self.call_id = value,
            "from" | "fu" => self.from = value,
            "src" | "si" | "source" => self.src = value,
            k => {
                return Err(format!(
                    "\"{k}\" can't be watched for; call_id, from and src can"
                ));
            }
        }
        Ok(())
    }

    /// `on src=192.0.2.1`: what [`command`] takes.
    fn to_text(&self) -> String {
        let mut out = String::from(if self.on { "on" } else { "off" });
        if let Some(p) = self.pid {
            out.push_str(&format!(" {p}"));
        }
        for (key, v) in [
            ("call_id", &self.call_id),
            ("from", &self.from),
            ("src", &self.src),
        ] {
            if let Some(v) = v {
                out.push_str(&format!(" {key}={v}"));
            }
        }
        out
    }

    fn parse(text: &str) -> Watch {
        let mut words = text.split(' ');
        let mut w = Watch {
            on: words.next() == Some("on"),
            ..Watch::default()
        };
        for word in words {
            let _ = w.narrow(word);
        }
        w
    }

    fn fits(&self, ctx: &Ctx) -> bool {
        if !self.on || self.pid.is_some_and(|p| p != std::process::id()) {
            return false;
        }
        let call_id = |c: &String| ctx.msg.call_id().is_some_and(|m| m == c.as_bytes());
        let from = |f: &String| {
            let uri = ctx.msg.from().map(|a| a.uri_text(ctx.msg.buf()));
            uri.is_some_and(|u| String::from_utf8_lossy(u).contains(f.as_str()))
        };
        let src = |s: &String| {
            let a = ctx.rcv.src;
            *s == a.ip().to_string() || *s == a.to_string()
        };
        self.call_id.as_ref().is_none_or(call_id)
            && self.from.as_ref().is_none_or(from)
            && self.src.as_ref().is_none_or(src)
    }
}

/// What this message's statements are to be watched for, judged once.
#[derive(Default)]
struct Judged {
    message: u64,
    version: u32,
    watched: bool,
}

thread_local! {
    static READ: RefCell<(u32, Rc<Watch>)> = RefCell::default();
    static RESETS: RefCell<u64> = const { RefCell::new(0) };
}

/// What is watched now, read anew where it has changed.
fn current() -> Option<Rc<Watch>> {
    let store = WATCHED.get()?;
    let version = store.generation();
    READ.with_borrow_mut(|(read, watch)| {
        if *read != version {
            let (_, view) = store.current()?;
            *watch = Rc::new(Watch::parse(&String::from_utf8_lossy(&view)));
            *read = version;
        }
        Some(watch.clone())
    })
}

fn observe(ctx: &mut Ctx, step: &Step<'_>) {
    renumber(ctx);
    let version = WATCHED.get().map_or(0, Published::generation);
    let id = ctx.id;
    let judged = ctx.ext::<Judged>();
    if judged.message != id || judged.version != version {
        let watched = current().is_some_and(|w| w.fits(ctx));
        *ctx.ext::<Judged>() = Judged {
            message: id,
            version,
            watched,
        };
    }
    if ctx.ext::<Judged>().watched {
        line(ctx, step);
    }
    if step.assigned.is_none() {
        hold::at(ctx, step);
    }
}

fn renumber(ctx: &mut Ctx) {
    let resets = WORDS.get().and_then(|w| w.get(0));
    let resets = resets.map_or(0, |w| w.load(Ordering::Relaxed));
    RESETS.with_borrow_mut(|seen| {
        if *seen != resets {
            *seen = resets;
            ctx.id = 1;
        }
    });
}

fn line(ctx: &Ctx, step: &Step<'_>) {
    let level = Level::from_int(LOG_LEVEL.get());
    if !log::enabled(level, "debugger") {
        return;
    }
    let mut out = format!("{} {}", LOG_PREFIX.text(), whereabouts(ctx));
    match step.assigned {
        Some((name, value)) if LOG_ASSIGN.is_on() => {
            out.push_str(&format!(" {name}=[{value}]"));
        }
        Some(_) => return,
        None => out.push_str(&format!(" n={}", step.what)),
    }
    if let Some(c) = ctx.msg.call_id() {
        out.push_str(&format!(" ci=[{}]", String::from_utf8_lossy(c)));
    }
    log::write(level, "debugger", file!(), line!(), format_args!("{out}"));
}

/// `request_route=[RELAY] c=[/etc/kamailio.cfg] l=12`.
pub fn whereabouts(ctx: &Ctx) -> String {
    let kind = match ctx.route {
        FAILURE => "failure_route",
        BRANCH => "branch_route",
        ONREPLY | TM_ONREPLY | CORE_ONREPLY => "onreply_route",
        ONSEND => "onsend_route",
        EVENT => "event_route",
        _ => "request_route",
    };
    let head = ctx.place.route().unwrap_or("");
    let inner = head.split_once('[').and_then(|(_, n)| n.strip_suffix(']'));
    let file = match CFGTRACE_FORMAT.get() {
        1 => String::new(),
        _ => format!(" c=[{}]", ctx.place.file().unwrap_or("?")),
    };
    format!(
        "{kind}=[{}]{file} l={}",
        inner.unwrap_or("DEFAULT_ROUTE"),
        ctx.place.line
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_watched_is_read_as_it_is_written() {
        let mut w = Watch {
            on: true,
            ..Watch::default()
        };
        for given in ["1234", "call_id=a@b", "from=alice", "src=192.0.2.1"] {
            w.narrow(given).unwrap();
        }
        assert_eq!(w.to_text(), "on 1234 call_id=a@b from=alice src=192.0.2.1");
        assert_eq!(Watch::parse(&w.to_text()), w);
        assert!(w.narrow("colour=red").is_err());
        assert!(!Watch::parse("off").on);
    }
}
