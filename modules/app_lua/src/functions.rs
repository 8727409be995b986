//! What scripts can ask of Lua itself: end the route, call a native function, run more Lua.

use crate::ffi::State;
use olelo_core::route::ctx::{Ctx, End};
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::{Function, ScriptError, function};
use olelo_core::route::value::Val;
use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    /// The state whose route runs, for the functions below.
    static STATE: RefCell<Option<Rc<State>>> = const { RefCell::new(None) };
    /// The state built last: the one that `lua_run` of another language works on.
    static BUILT: RefCell<Option<Rc<State>>> = const { RefCell::new(None) };
}

/// Makes `state` the one that other languages call.
pub fn built(state: &Rc<State>) {
    BUILT.set(Some(state.clone()));
}

/// Runs `f` while `state` is the one that the functions below work on.
pub fn with_state<R>(state: &Rc<State>, f: impl FnOnce() -> R) -> R {
    let outer = STATE.replace(Some(state.clone()));
    let r = f();
    STATE.set(outer);
    r
}

/// The functions.
pub fn all() -> Vec<Function> {
    vec![
        function("exit", exit).prefix("x").doc("Ends the routing of this message."),
        function("drop", drop_message).prefix("x").doc("Ends the routing; a reply or branch is not forwarded."),
        function("modf", modf)
            .prefix("x")
            .args(["name", "a", "b", "c", "d", "e"])
            .doc("Calls a function of the native language by its name there, all arguments as strings."),
        function("probe", |_: &mut Ctx| ()).prefix("x").doc("Does nothing: tells whether KSR works."),
        function("dostring", run_string).cfg("lua_dostring").args(["text"]).doc("Runs a piece of Lua."),
        function("runstring", run_string).cfg("lua_runstring").args(["text"]).doc("Runs a piece of Lua."),
        function("dofile", do_file).cfg("lua_dofile").args(["path"]).doc("Runs a file of Lua."),
        function("run", run).cfg("lua_run").args(["name"]).doc("Calls a function of the script."),
        function("run_p1", |c: &mut Ctx, n: &str, a: &str| call(c, n, &[a]))
            .cfg("lua_run")
            .args(["name", "a"])
            .doc("Calls a function of the script with one string."),
        function("run_p2", |c: &mut Ctx, n: &str, a: &str, b: &str| call(c, n, &[a, b]))
            .cfg("lua_run")
            .args(["name", "a", "b"])
            .doc("Calls a function of the script with two strings."),
        function("run_p3", |c: &mut Ctx, n: &str, a: &str, b: &str, d: &str| call(c, n, &[a, b, d]))
            .cfg("lua_run")
            .args(["name", "a", "b", "c"])
            .doc("Calls a function of the script with three strings."),
    ]
}

fn exit(ctx: &mut Ctx) {
    ctx.end = End::Exit;
}

fn drop_message(ctx: &mut Ctx) {
    ctx.end = End::Drop;
}

fn modf(
    ctx: &mut Ctx,
    name: &str,
    a: Option<&[u8]>,
    b: Option<&[u8]>,
    c: Option<&[u8]>,
    d: Option<&[u8]>,
    e: Option<&[u8]>,
) -> Result<i64, ScriptError> {
    let args: Vec<Val<'_>> = [a, b, c, d, e]
        .into_iter()
        .map_while(|x| x.map(Val::bytes))
        .collect();
    let registry = &olelo_core::server().registry;
    let fits = registry
        .native(name)
        .iter()
        .map(|id| registry.function(*id))
        .find(|f| (f.least..=f.params.len()).contains(&args.len()));
    match fits {
        Some(f) => Ok(f.call(ctx, &args)?.as_int().unwrap_or(1)),
        None => Err(ScriptError::new(format!(
            "no native function {name} with {} arguments",
            args.len()
        ))),
    }
}

fn state() -> Result<Rc<State>, ScriptError> {
    let inner = STATE.with_borrow(Clone::clone);
    inner
        .or_else(|| {
            // Brings this process to the generation that serves.
            olelo_core::route::generation::beside("lua")?;
            BUILT.with_borrow(Clone::clone)
        })
        .ok_or_else(|| ScriptError::new("no Lua script is loaded in this process"))
}

fn run(ctx: &mut Ctx, name: &str) -> Result<i64, ScriptError> {
    call(ctx, name, &[])
}

fn call(ctx: &mut Ctx, name: &str, args: &[&str]) -> Result<i64, ScriptError> {
    let state = state()?;
    let outcome = with_state(&state, || state.call(name, args, ctx));
    answer(ctx, outcome, || format!("no function {name} in the script"))
}

fn run_string(ctx: &mut Ctx, text: &[u8]) -> Result<i64, ScriptError> {
    let state = state()?;
    let outcome = with_state(&state, || state.run(text, "=string", ctx));
    answer(ctx, outcome, String::new)
}

fn do_file(ctx: &mut Ctx, path: &str) -> Result<i64, ScriptError> {
    let text =
        std::fs::read(path).map_err(|e| ScriptError::new(format!("can't read {path}: {e}")))?;
    let state = state()?;
    let outcome = with_state(&state, || state.run(&text, &format!("@{path}"), ctx));
    answer(ctx, outcome, String::new)
}

/// An `exit` in the piece that ran ends the caller as well.
fn answer(ctx: &mut Ctx, o: Outcome, missing: impl FnOnce() -> String) -> Result<i64, ScriptError> {
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
        Outcome::Failed(e) | Outcome::OutOfBudget(e) => Err(ScriptError(e)),
        Outcome::Suspended(_) => Ok(1),
    }
}
