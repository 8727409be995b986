//! Watching routing step by step: where a language that has steps tells what it is about to do.
//!
//! One shared word says whether anybody watches. While nobody does, a step costs reading it. The
//! `debugger` module is the one that watches; the core knows only this function.

use super::ctx::Ctx;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A statement that is about to run, or has set something. Where it is, `ctx.place` says.
#[derive(Debug)]
pub struct Step<'a> {
    /// What it is: `if`, `assign`, the name of a function.
    pub what: &'a str,
    /// How many blocks are nested.
    pub depth: usize,
    /// What an assignment has set, and to what.
    pub assigned: Option<(&'a str, &'a str)>,
}

/// What is told of each step.
pub type Observer = fn(&mut Ctx, &Step<'_>);

static OBSERVER: OnceLock<Observer> = OnceLock::new();
/// Number of the shared word, plus 1; 0 while there is none.
static WORD: AtomicU32 = AtomicU32::new(0);

/// Sets the observer; main, before the forks. False where shared words are used up.
pub fn observe(f: Observer) -> bool {
    let Some(word) = crate::config::take_shared(1) else {
        return false;
    };
    WORD.store(word + 1, Ordering::Relaxed);
    OBSERVER.set(f).is_ok()
}

/// Starts or stops the watching, in all processes.
pub fn switch(on: bool) {
    if let Some(word) = WORD.load(Ordering::Relaxed).checked_sub(1) {
        crate::config::set_shared_value(word, on.into());
    }
}

/// Whether anybody watches.
#[inline]
pub fn is_on() -> bool {
    match WORD.load(Ordering::Relaxed) {
        0 => false,
        n => crate::config::shared_value(n - 1) != 0,
    }
}

/// Tells the observer of a step.
pub fn step(ctx: &mut Ctx, s: &Step<'_>) {
    if let Some(f) = OBSERVER.get() {
        f(ctx, s);
    }
}
