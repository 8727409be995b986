//! The message whose route runs. Native functions of interpreters are handed nothing of ours, so they
//! find it here.

use crate::call::Limits;
use olelo_core::route::ctx::{Ctx, End};
use olelo_core::route::engine::Outcome;
use olelo_ipc::budget::{self, Budget, Stop};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

/// How deep calls of interpreters from functions may be nested.
const DEEPEST: u32 = 32;

thread_local! {
    /// Null while no route runs, and while a function of the server works on the message.
    static CURRENT: Cell<*mut Ctx> = const { Cell::new(ptr::null_mut()) };
    /// Calls of interpreters that are under way.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Calls an interpreter, in `f`, for the message in `ctx`. `stop(data)` is how it is told to end when
/// the time is over; [`budget::is_over`] says so to those that ask. An `exit` or `drop` of the
/// script becomes the outcome, unless `f` has failed.
///
/// # Safety
/// `stop(data)` must be sound in a signal handler on this thread while `f` runs.
pub unsafe fn enter(
    ctx: &mut Ctx,
    limits: Limits,
    stop: Stop,
    data: *mut c_void,
    f: impl FnOnce() -> Outcome,
) -> Outcome {
    let depth = DEPTH.get();
    if depth >= DEEPEST {
        return Outcome::Failed(format!(
            "calls of scripts from functions are nested {depth} deep; it is left out"
        ));
    }
    DEPTH.set(depth + 1);
    let _deeper = Deeper;
    let (outcome, over) = {
        // SAFETY: the caller's promise; the guard is dropped at the end of this block.
        let _time = unsafe { Budget::start(limits.time_ms, stop, data) };
        let outcome = set_current(ctx, f);
        (outcome, budget::is_over())
    };
    match (outcome, ctx.end) {
        (Outcome::Failed(e), _) if over => {
            Outcome::OutOfBudget(format!("{}: {e}", budget::complaint(limits.time_ms)))
        }
        (Outcome::OutOfBudget(e), _) => Outcome::OutOfBudget(e),
        (_, _) if over => Outcome::OutOfBudget(budget::complaint(limits.time_ms)),
        (Outcome::Failed(e), _) => Outcome::Failed(e),
        (_, End::Exit) => Outcome::Exit,
        (_, End::Drop) => Outcome::Drop,
        (outcome, End::None) => outcome,
    }
}

/// Hands the message to `f`; `None` while no route runs.
pub(crate) fn with_current<R>(f: impl FnOnce(Option<&mut Ctx>) -> R) -> R {
    let taken = CURRENT.replace(ptr::null_mut());
    let _before = Before(taken);
    // SAFETY: the pointer was made by `set_current` from a `&mut Ctx` that outlives its `f`, within which we
    // are, and which nobody uses meanwhile: `set_current` only waits. It was taken out above, so that there is
    // no second reference until `_before` puts it back.
    f(unsafe { taken.as_mut() })
}

/// Makes `ctx` the message that [`with_current`] finds while `f` runs. Nests.
fn set_current<R>(ctx: &mut Ctx, f: impl FnOnce() -> R) -> R {
    let _before = Before(CURRENT.replace(ptr::from_mut(ctx)));
    f()
}

/// Puts back what was there, also when a panic passes.
struct Before(*mut Ctx);

impl Drop for Before {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Puts the depth back, also when a panic passes.
struct Deeper;

impl Drop for Deeper {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
