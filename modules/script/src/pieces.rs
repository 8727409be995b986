//! Functions that run a piece of a language in its own interpreter, for routes of another language
//! and of its own: `lua_run("name", "$ru")`, `KSR.app_lua.dostring(text)`. As in the original they
//! answer whether the piece ran (1, or an error), not what it returned: a route that calls a function
//! without a value goes on.

use crate::module::Language;
use olelo_core::route::ctx::{Ctx, End};
use olelo_core::route::engine::{Engine, Outcome};
use olelo_core::route::function::{Function, ScriptError, function};
use olelo_core::route::generation;
use std::rc::Rc;

/// `dostring`, `runstring`, `dofile`, `run`, `run_p1` … `run_p3` of a language, with their native
/// names.
pub fn functions<L: Language + ?Sized>() -> Vec<Function> {
    vec![
        function("dostring", run_string::<L>)
            .cfg(native::<L>("dostring"))
            .args(["text"])
            .doc(doc::<L>("Runs a piece of")),
        function("runstring", run_string::<L>)
            .cfg(native::<L>("runstring"))
            .args(["text"])
            .doc(doc::<L>("Runs a piece of")),
        function("dofile", do_file::<L>)
            .cfg(native::<L>("dofile"))
            .args(["path"])
            .doc(doc::<L>("Runs a file, read when it is called, of")),
        function("run", run::<L>)
            .cfg(native::<L>("run"))
            .args(["name"])
            .doc(doc::<L>("Calls a function in")),
        function("run_p1", |c: &mut Ctx, n: &str, a: &str| {
            ran(call::<L>(c, n, &[a]))
        })
        .cfg(native::<L>("run"))
        .args(["name", "a"])
        .doc(doc::<L>("Calls a function, with one string, in")),
        function("run_p2", |c: &mut Ctx, n: &str, a: &str, b: &str| {
            ran(call::<L>(c, n, &[a, b]))
        })
        .cfg(native::<L>("run"))
        .args(["name", "a", "b"])
        .doc(doc::<L>("Calls a function, with two strings, in")),
        function(
            "run_p3",
            |c: &mut Ctx, n: &str, a: &str, b: &str, d: &str| ran(call::<L>(c, n, &[a, b, d])),
        )
        .cfg(native::<L>("run"))
        .args(["name", "a", "b", "c"])
        .doc(doc::<L>("Calls a function, with three strings, in")),
    ]
}

/// Calls a function of the language's script; the value is what it returned.
pub fn call<L: Language + ?Sized>(
    ctx: &mut Ctx,
    name: &str,
    args: &[&str],
) -> Result<i64, ScriptError> {
    let outcome = engine::<L>()?.call(name, args, ctx);
    value(ctx, outcome, || format!("no function {name} in the script"))
}

fn run<L: Language + ?Sized>(ctx: &mut Ctx, name: &str) -> Result<i64, ScriptError> {
    ran(call::<L>(ctx, name, &[]))
}

fn ran(value: Result<i64, ScriptError>) -> Result<i64, ScriptError> {
    value.map(|_| 1)
}

fn run_string<L: Language + ?Sized>(ctx: &mut Ctx, text: &[u8]) -> Result<i64, ScriptError> {
    let outcome = engine::<L>()?.run(text, "string", ctx);
    ran(value(ctx, outcome, String::new))
}

fn do_file<L: Language + ?Sized>(ctx: &mut Ctx, path: &str) -> Result<i64, ScriptError> {
    let text =
        std::fs::read(path).map_err(|e| ScriptError::new(format!("can't read {path}: {e}")))?;
    let outcome = engine::<L>()?.run(&text, path, ctx);
    ran(value(ctx, outcome, String::new))
}

fn doc<L: Language + ?Sized>(what: &str) -> &'static str {
    Box::leak(format!("{what} {}.", L::NAME).into_boxed_str())
}

/// A name in the native language. Declarations live as long as the program.
fn native<L: Language + ?Sized>(name: &str) -> &'static str {
    Box::leak(format!("{}_{name}", L::NATIVE).into_boxed_str())
}

fn engine<L: Language + ?Sized>() -> Result<Rc<dyn Engine>, ScriptError> {
    generation::beside(L::ENGINE)
        .ok_or_else(|| ScriptError(format!("no {} script is loaded in this process", L::NAME)))
}

/// An `exit` in the piece that ran ends the caller as well.
fn value(ctx: &mut Ctx, o: Outcome, missing: impl FnOnce() -> String) -> Result<i64, ScriptError> {
    match o {
        Outcome::Return(n) => Ok(n),
        Outcome::Exit => {
            ctx.end = End::Exit;
            Ok(0)
        }
        Outcome::Drop => {
            ctx.end = End::Drop;
            Ok(0)
        }
        Outcome::Missing => Err(ScriptError(missing())),
        Outcome::Failed(e) => Err(ScriptError(e)),
        Outcome::OutOfBudget(e) => {
            // It was stopped in the midst of something.
            generation::discard();
            Err(ScriptError(e))
        }
        Outcome::Suspended(_) => Ok(1),
    }
}
