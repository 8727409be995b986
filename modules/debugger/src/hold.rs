//! Holding a process at a statement: it waits there for commands of `dbg.bp`.
//!
//! Each process has a record of words in shared memory, by its slot: whether it is to hold, whether
//! it holds, and a command for it. Texts (what to evaluate, what came of it) are in a table by slot.
//! A held process waits no longer than [`LONGEST`], and not at all once the server ends.

use crate::trace::{self, whereabouts};
use crate::{BREAKPOINT, STEP_LOOPS, STEP_USLEEP};
use olelo_core::pv::format;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::trace::Step;
use olelo_core::rpc::{Answer, Fault, Params, Value, fields, text};
use olelo_core::timer::monotonic_ms;
use olelo_ipc::{process, signals};
use olelo_mem::atomic::{AtomicU64, Ordering};
use olelo_mem::heap::Tag;
use olelo_mem::table::Table;
use olelo_mem::words::Words;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Longest time at one statement.
const LONGEST: Duration = Duration::from_secs(600);
/// Slots with a record; processes of higher slots are never held.
const SLOTS: usize = 1024;
/// Words of a record.
const HOLD: usize = 0;
const HELD: usize = 1;
const COMMAND: usize = 2;
const RECORD: usize = 3;

/// Commands to a held process; 0 is none.
const NEXT: u64 = 1;
const MOVE: u64 = 2;
const SHOW: u64 = 3;
const EVAL: u64 = 4;
const LOG: u64 = 5;
/// The command is done.
const DONE: u64 = 6;

static STATES: OnceLock<Words> = OnceLock::new();
static TEXTS: OnceLock<Table> = OnceLock::new();

/// Makes what processes share; main, before the forks.
pub fn create() -> Result<(), String> {
    let states = Words::create("debugger states", SLOTS * RECORD).map_err(|e| e.to_string())?;
    if BREAKPOINT.is_on() {
        for slot in 0..SLOTS {
            if let Some(w) = states.get(slot * RECORD + HOLD) {
                w.store(1, Ordering::Relaxed);
            }
        }
    }
    let _ = STATES.set(states);
    let tag = Tag::register("debugger");
    let texts = Table::create("debugger texts", 64, tag).map_err(|e| e.to_string())?;
    let _ = TEXTS.set(texts);
    Ok(())
}

fn word(slot: u16, which: usize) -> Option<&'static AtomicU64> {
    if usize::from(slot) >= SLOTS {
        return None;
    }
    STATES.get()?.get(usize::from(slot) * RECORD + which)
}

fn get(slot: u16, which: usize) -> u64 {
    word(slot, which).map_or(0, |w| w.load(Ordering::Acquire))
}

fn set(slot: u16, which: usize, v: u64) {
    if let Some(w) = word(slot, which) {
        w.store(v, Ordering::Release);
    }
}

/// Whether any process is to hold.
pub fn any() -> bool {
    process::table().iter().any(|p| get(p.slot(), HOLD) != 0)
}

/// Holds here whatever was said before.
pub fn here(ctx: &mut Ctx) {
    let slot = olelo_mem::slot::current_slot();
    set(slot, HOLD, 1);
    trace::refresh();
    wait(ctx, slot);
}

/// Called at each statement that is watched.
pub fn at(ctx: &mut Ctx, _: &Step<'_>) {
    let slot = olelo_mem::slot::current_slot();
    if get(slot, HOLD) != 0 {
        wait(ctx, slot);
    }
}

fn wait(ctx: &mut Ctx, slot: u16) {
    let pause = Duration::from_micros(STEP_USLEEP.get().clamp(100, 1_000_000) as u64);
    let end = Instant::now() + LONGEST;
    process::wait_until(monotonic_ms() + LONGEST.as_millis() as u64);
    set(slot, COMMAND, 0);
    put_text(slot, whereabouts(ctx).as_bytes());
    set(slot, HELD, 1);
    while get(slot, HOLD) != 0 && !signals::stopping() {
        if Instant::now() > end {
            olelo_core::warn!(
                "debugger",
                "held for {LONGEST:?} at {}; going on",
                whereabouts(ctx)
            );
            set(slot, HOLD, 0);
            break;
        }
        match get(slot, COMMAND) {
            NEXT => {
                set(slot, COMMAND, DONE);
                break;
            }
            MOVE => {
                set(slot, HOLD, 0);
                set(slot, COMMAND, DONE);
                break;
            }
            SHOW => answer(slot, whereabouts(ctx).as_bytes()),
            EVAL => {
                let value = evaluated(ctx, slot);
                answer(slot, &value);
            }
            LOG => {
                let value = evaluated(ctx, slot);
                olelo_core::error!("debugger", "{}", String::from_utf8_lossy(&value));
                answer(slot, &value);
            }
            _ => std::thread::sleep(pause),
        }
    }
    set(slot, HELD, 0);
    process::wait_until(monotonic_ms());
}

fn evaluated(ctx: &Ctx, slot: u16) -> Vec<u8> {
    format::expand(ctx, &text_of(slot)).unwrap_or_else(|e| e.0.into_bytes())
}

fn answer(slot: u16, value: &[u8]) {
    put_text(slot, value);
    set(slot, COMMAND, DONE);
}

fn put_text(slot: u16, text: &[u8]) {
    let Some(t) = TEXTS.get() else { return };
    let mut bucket = t.lock(slot.into());
    bucket.retain(|r| r.bytes().get(..2) != Some(&slot.to_le_bytes()));
    let mut record = slot.to_le_bytes().to_vec();
    record.extend_from_slice(&text[..text.len().min(4096)]);
    if let Err(e) = bucket.insert(&[&record], Vec::new(), &[]) {
        olelo_core::error!("debugger", "no memory for an answer: {e}");
    }
}

fn text_of(slot: u16) -> Vec<u8> {
    let Some(t) = TEXTS.get() else {
        return Vec::new();
    };
    let bucket = t.lock(slot.into());
    bucket
        .iter()
        .find_map(|r| {
            r.bytes()
                .strip_prefix(&slot.to_le_bytes()[..])
                .map(<[u8]>::to_vec)
        })
        .unwrap_or_default()
}

/// `dbg.ls [pid]`.
pub fn list(p: &Params) -> Answer {
    let only = p.opt_int(0);
    Ok(process::table()
        .iter()
        .filter(|s| only.is_none_or(|o| o == i64::from(s.pid())))
        .map(|s| {
            let held = get(s.slot(), HELD) != 0;
            let place = if held { text_of(s.slot()) } else { Vec::new() };
            fields([
                ("pid", Value::Int(s.pid().into())),
                ("process", text(s.description())),
                ("trace", Value::Int(trace::is_traced(s.pid()).into())),
                ("breakpoint", Value::Int(get(s.slot(), HOLD) as i64)),
                ("held", Value::Int(held.into())),
                ("at", text(String::from_utf8_lossy(&place))),
            ])
        })
        .collect())
}

/// `dbg.bp COMMAND [pid] [text]`.
pub fn command(p: &Params) -> Answer {
    let what = p.text(0, "command")?;
    let pid = p.opt_int(1);
    let slots: Vec<u16> = process::table()
        .iter()
        .filter(|s| s.routes() && pid.is_none_or(|pid| pid == i64::from(s.pid())))
        .map(|s| s.slot())
        .collect();
    if let (Some(pid), true) = (pid, slots.is_empty()) {
        return Err(Fault::new(500, format!("no process {pid} routes messages")));
    }
    let hold = |on: u64, which: &dyn Fn(u16) -> bool| {
        slots
            .iter()
            .filter(|s| which(**s))
            .for_each(|s| set(*s, HOLD, on));
    };
    let code = match what.as_str() {
        "on" => {
            hold(1, &|_| true);
            0
        }
        "off" => {
            hold(0, &|_| true);
            0
        }
        "release" => {
            hold(0, &|s| get(s, HELD) == 0);
            0
        }
        "keep" => {
            let pid = pid.ok_or_else(|| Fault::new(400, "keep needs a pid"))?;
            for s in process::table()
                .iter()
                .filter(|s| i64::from(s.pid()) != pid)
            {
                set(s.slot(), HOLD, 0);
            }
            0
        }
        "next" => NEXT,
        "move" => MOVE,
        "show" => SHOW,
        "eval" => EVAL,
        "log" => LOG,
        w => {
            return Err(Fault::new(
                400,
                format!(
                    "\"{w}\" is no command: on, off, keep, release, next, move, show, eval, log are"
                ),
            ));
        }
    };
    trace::refresh();
    if code == 0 {
        return Ok(vec![fields([(
            "processes",
            Value::Int(slots.len() as i64),
        )])]);
    }
    let [slot] = slots[..] else {
        return Err(Fault::new(
            400,
            format!("{what} needs the pid of one process"),
        ));
    };
    ask(slot, code, p)
}

/// Gives a held process a command and waits for what comes of it.
fn ask(slot: u16, code: u64, p: &Params) -> Answer {
    if get(slot, HELD) == 0 {
        return Err(Fault::new(500, "the process is not held at a statement"));
    }
    if matches!(code, EVAL | LOG) {
        put_text(slot, p.text(2, "pseudo-variable")?.as_bytes());
    }
    set(slot, COMMAND, code);
    let pause = Duration::from_micros(STEP_USLEEP.get().clamp(100, 1_000_000) as u64);
    for _ in 0..STEP_LOOPS.get().clamp(1, 10_000) {
        if get(slot, COMMAND) != code {
            let said = String::from_utf8_lossy(&text_of(slot)).into_owned();
            return Ok(vec![fields([("result", text(said))])]);
        }
        std::thread::sleep(pause);
    }
    Err(Fault::new(500, "the process does not answer"))
}
