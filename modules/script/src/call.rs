//! Both ways between an interpreter and the server.
//!
//! [`enter`] surrounds a call into the interpreter: it makes the message current, starts the time, and
//! says how the route ended. [`export`] is what the interpreter's native functions do: it never
//! panics, and what a script may do wrong comes back as text.

pub use crate::ffi::enter;

use crate::ffi::with_current;
use olelo_core::route::ctx::End;
use olelo_core::route::function::Function;
use olelo_core::route::value::Val;
use olelo_ipc::budget::Outside;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Arguments beyond this many are an error: KEMI functions have at most six.
pub const MOST_ARGS: usize = 6;
/// Longest error text that is kept, bytes: a script makes up its own.
pub const LONGEST_ERROR: usize = 8192;
/// What a script may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Milliseconds of CPU for one message, 0 for any.
    pub time_ms: i64,
    /// Bytes that a process' interpreter may hold.
    pub memory: usize,
}

/// What an exported function came to.
#[derive(Debug)]
pub enum Ran {
    /// Its value.
    Val(Val<'static>),
    /// It can't be called so; the text is to be raised as an error of the language.
    Error(String),
    /// The routing of the message is over: the script must be left, whatever it catches.
    End,
}

/// Calls an exported function for the message whose route runs.
pub fn export(f: &Function, args: &[Val<'_>]) -> Ran {
    with_current(|ctx| {
        let Some(ctx) = ctx else {
            return Ran::Error("KSR can only be used while a route runs".into());
        };
        if ctx.end != End::None {
            // A script that catches errors has caught our exit; it is over all the same.
            return Ran::End;
        }
        let _outside = Outside::enter();
        match catch_unwind(AssertUnwindSafe(|| f.call(ctx, args))) {
            Ok(Ok(_)) if ctx.end != End::None => Ran::End,
            Ok(Ok(v)) => Ran::Val(v),
            Ok(Err(e)) => Ran::Error(e.0),
            Err(_) => Ran::Error(format!(
                "{} failed inside; this is a fault of the server",
                f.full_name()
            )),
        }
    })
}

/// Whether a route runs: then a piece of script can call exported functions.
pub fn is_routing() -> bool {
    with_current(|c| c.is_some())
}

/// The complaint about a call with more arguments than any function has.
pub fn too_many(f: &Function, given: usize) -> String {
    format!(
        "{} given {given} arguments to {}",
        f.full_name(),
        f.signature()
    )
}

/// The complaint about an argument, counted from 0, of a type that crosses no border.
pub fn unfit(f: &Function, argument: usize, type_name: &str) -> String {
    format!(
        "argument {}: a {type_name} can't be given to {}",
        argument + 1,
        f.signature()
    )
}

/// All functions that scripts can call, each with its prefix (`tm` in `KSR.tm.t_relay`, empty for
/// `KSR.info`).
pub fn exports() -> Vec<(&'static str, &'static Function)> {
    olelo_core::server()
        .registry
        .functions()
        .filter(|(_, f, _)| f.kemi)
        .map(|(_, f, _)| (f.prefix.unwrap_or(""), f))
        .collect()
}

/// An error text of a length that a log can have.
pub fn cut(mut text: String) -> String {
    if text.len() > LONGEST_ERROR {
        let end = (0..=LONGEST_ERROR)
            .rev()
            .find(|i| text.is_char_boundary(*i));
        text.truncate(end.unwrap_or(0));
    }
    text
}
