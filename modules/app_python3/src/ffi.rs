//! The only file of this crate, with those in `ffi/`, that touches Python's memory: a [`Script`] is a
//! generation of routing code in the process' interpreter.
//!
//! Every reference to an object is a `value::Ref`, which may be used only while this thread holds
//! Python's lock; [`Script::guarded`] takes it, with the message, the time and the memory of the call.
//! Nothing of Python unwinds: errors come back as null and are taken at once.

mod export;
mod fork;
mod interpreter;
mod library;
mod memory;
mod stop;
mod value;

pub use interpreter::set_program;
pub use library::open;

use interpreter::{Attached, Boot, Raised, attached, attribute, call as call_object};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::{Outcome, Source};
use olelo_core::route::function::Function;
use olelo_core::route::value::Val;
use olelo_ipc::budget;
use olelo_script::Limits;
use olelo_script::call::{cut, enter};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::ptr;
use std::rc::Rc;
use value::{Ref, make, make_bytes, make_str};

/// Memory that the text of an error may take where a script has used up its own.
const FOR_ERRORS: usize = 8 << 20;
/// Milliseconds that making the text of an error may take: it calls what the script has defined.
const FOR_ERRORS_MS: i64 = 100;
/// Names of routes that are remembered: they may come from messages.
const MOST_NAMES: usize = 1024;

/// The version of the library, once it is open.
pub fn version() -> String {
    library::python().version()
}

/// How a generation is begun.
pub struct Start<'a> {
    /// The functions under `KSR`.
    pub exports: &'a [(&'static str, &'static Function)],
    /// The functions behind `msg`.
    pub msg: &'a [(&'static str, &'static Function)],
    /// Parameters that the bootstrap text knows.
    pub settings: &'a [(&'static str, &'static str)],
    /// The process' rank; `None` where the script is only tried.
    pub rank: Option<i32>,
}

/// A generation of routing code in this process' interpreter.
pub struct Script {
    /// What imports are answered from.
    source: Rc<Source>,
    limits: Limits,
    boot: &'static Boot,
    /// The `Generation`; `None` once it has ended.
    generation: Option<Ref>,
    routes: RefCell<FxHashMap<String, Option<Route>>>,
}

/// A callable and how many arguments it takes at most.
struct Route {
    callable: Ref,
    most: usize,
}

impl Script {
    /// Loads a source. The error has file:line and the traceback.
    pub fn load(source: &Source, limits: Limits, start: &Start<'_>) -> Result<Script, String> {
        let boot = interpreter::begin()?;
        budget::arm();
        let mut script = Script {
            source: Rc::new(source.clone()),
            limits,
            boot,
            generation: None,
            routes: RefCell::default(),
        };
        let before = export::import_from(Some(script.source.clone()));
        let mut made = None;
        let outcome = script.guarded(&mut Ctx::new(), || {
            let args = arguments(boot, source, start)?;
            made = call_object(&boot.load, args.into_iter());
            made.as_ref().map(|_| Outcome::Return(1))
        });
        match outcome {
            Outcome::Return(_) => {}
            Outcome::Failed(e) | Outcome::OutOfBudget(e) => {
                export::import_from(before);
                return Err(e);
            }
            _ => {
                export::import_from(before);
                return Err(format!(
                    "{}: it ends the route (exit) while it is loaded",
                    source.path()
                ));
            }
        }
        script.generation = made;
        Ok(script)
    }

    /// Whether there is a route of this name.
    pub fn has(&self, name: &str) -> bool {
        let _lock = attached();
        self.route(name, |r| r.is_some())
    }

    /// Calls the route `name` with the message and these strings, as many as it takes.
    pub fn call(&self, name: &str, args: &[&str], ctx: &mut Ctx) -> Outcome {
        let mut missing = false;
        let outcome = self.guarded(ctx, || {
            let Some((callable, most)) =
                self.route(name, |r| r.map(|r| (more(&r.callable), r.most)))
            else {
                missing = true;
                return Some(Outcome::Missing);
            };
            let mut given = smallvec::SmallVec::<[Ref; 4]>::new();
            given.push(more(&self.boot.msg));
            for a in args {
                given.push(make_str(a.as_bytes())?);
            }
            given.truncate(most);
            let result = call_object(&callable, given.into_iter())?;
            Some(Outcome::Return(returned(&result)))
        });
        if missing { Outcome::Missing } else { outcome }
    }

    /// Runs a piece of Python among the names of the script.
    pub fn run(&self, text: &[u8], name: &str, ctx: &mut Ctx) -> Outcome {
        self.guarded(ctx, || {
            let run = attribute(self.generation.as_ref()?, c"run")?;
            call_object(
                &run,
                [make_bytes(text)?, make_str(name.as_bytes())?].into_iter(),
            )?;
            Some(Outcome::Return(1))
        })
    }

    /// Runs `f` for the message in `ctx`, with Python's lock and within the limits. Where it returns
    /// `None`, Python has raised an error.
    fn guarded(&self, ctx: &mut Ctx, f: impl FnOnce() -> Option<Outcome>) -> Outcome {
        let lock = attached();
        let mut raised = None;
        let outcome = within(ctx, self.limits, self.limits.memory, &lock, || match f() {
            Some(outcome) => outcome,
            None => {
                raised = Raised::take();
                self.ended_by(raised.as_ref())
            }
        });
        let complaint = match &outcome {
            Outcome::Failed(e) | Outcome::OutOfBudget(e) => e,
            _ => return outcome,
        };
        let text = cut(complaint.clone() + &self.describe(raised, ctx, &lock));
        match outcome {
            Outcome::Failed(_) => Outcome::Failed(text),
            _ => Outcome::OutOfBudget(text),
        }
    }

    /// What an error means for the route. Its text is made later.
    fn ended_by(&self, raised: Option<&Raised>) -> Outcome {
        let p = library::python();
        match raised {
            Some(r) if r.is(p.system_exit()) => Outcome::Exit,
            Some(r) if memory::refused() && r.is(p.memory_error()) => {
                Outcome::OutOfBudget(format!(
                    "it used more than {} MB of memory (memory_limit): ",
                    self.limits.memory >> 20
                ))
            }
            _ => Outcome::Failed(String::new()),
        }
    }

    /// The text of an error. Making it may call what the script has defined: it has limits as well.
    fn describe(&self, raised: Option<Raised>, ctx: &mut Ctx, lock: &Attached) -> String {
        let Some(raised) = raised else {
            return String::new();
        };
        let limits = Limits {
            time_ms: FOR_ERRORS_MS,
            ..self.limits
        };
        let mut text = String::new();
        let room = memory::held().max(self.limits.memory) + FOR_ERRORS;
        within(ctx, limits, room, lock, || {
            text = raised.text(&self.boot.describe);
            Outcome::Return(1)
        });
        text
    }

    /// Finds a route, by its name as remembered or else in the script.
    fn route<R>(&self, name: &str, f: impl FnOnce(Option<&Route>) -> R) -> R {
        if let Some(found) = self.routes.borrow().get(name) {
            return f(found.as_ref());
        }
        let found = self.look_up(name);
        let mut routes = self.routes.borrow_mut();
        if found.is_none() && routes.len() >= MOST_NAMES {
            return f(None);
        }
        f(routes.entry(name.to_string()).or_insert(found).as_ref())
    }

    fn look_up(&self, name: &str) -> Option<Route> {
        let found = attribute(self.generation.as_ref()?, c"lookup")
            .and_then(|l| call_object(&l, [make_str(name.as_bytes())?].into_iter()));
        let item = |i: isize| {
            let pair = found.as_ref()?;
            // SAFETY: the pair is alive; an item is a new reference.
            unsafe { Ref::owned((library::python().f.PySequence_GetItem)(pair.get(), i)) }
        };
        let route = item(0).zip(item(1)).map(|(callable, most)| Route {
            callable,
            most: usize::try_from(returned(&most)).unwrap_or(0),
        });
        if route.is_none() {
            // `None` has no items: that there is no such route is no error.
            // SAFETY: this thread holds the lock.
            unsafe { (library::python().f.PyErr_Clear)() };
        }
        route
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _lock = attached();
        let generation = self.generation.take();
        let routes = self.routes.take();
        // What its objects do at their end is the script's as well.
        self.guarded(&mut Ctx::new(), move || {
            drop(routes);
            let end = attribute(generation.as_ref()?, c"end")?;
            call_object(&end, std::iter::empty())?;
            drop(generation);
            Some(Outcome::Return(1))
        });
    }
}

/// Runs `f` for the message in `ctx` within these limits.
fn within(
    ctx: &mut Ctx,
    limits: Limits,
    memory: usize,
    lock: &Attached,
    f: impl FnOnce() -> Outcome,
) -> Outcome {
    // SAFETY: Python documents that what `stop` calls may be called by a signal handler; the thread
    // is the one that Python began on.
    let outcome = unsafe {
        enter(ctx, limits, stop::stop, ptr::null_mut(), || {
            let _limit = memory::Limit::begin(memory);
            let _turn = export::ScriptsTurn::begin();
            f()
        })
    };
    if lock.is_outermost() {
        stop::forget();
    }
    outcome
}

/// Arguments of `load`.
fn arguments(boot: &Boot, source: &Source, start: &Start<'_>) -> Option<[Ref; 4]> {
    for (name, f) in start.msg {
        interpreter::set(&boot.native, &format!("msg_{name}"), &export::export(f)?)?;
    }
    let pair = |a: Ref, b: Ref| value::make_tuple([a, b].into_iter());
    let files = source
        .files
        .iter()
        .map(|f| pair(make_str(f.path.as_bytes())?, make_bytes(&f.text)?))
        .collect::<Option<Vec<_>>>()?;
    let settings = Val::Dict(
        start
            .settings
            .iter()
            .map(|(k, v)| (k.to_string(), Val::text(v)))
            .collect(),
    );
    let exports = start
        .exports
        .iter()
        .map(|(prefix, f)| {
            let names = [make_str(prefix.as_bytes())?, make_str(f.name.as_bytes())?];
            value::make_tuple(
                names
                    .into_iter()
                    .chain([export::export(f)?])
                    .collect::<Vec<_>>()
                    .into_iter(),
            )
        })
        .collect::<Option<Vec<_>>>()?;
    Some([
        value::make_tuple(files.into_iter())?,
        make(&settings)?,
        value::make_tuple(exports.into_iter())?,
        make(&start.rank.map_or(Val::Null, |r| Val::Int(r.into())))?,
    ])
}

fn more(r: &Ref) -> Ref {
    // SAFETY: who has a `Ref` has a live object, and the lock.
    unsafe { Ref::more(r.get()) }
}

/// A route's result as a number: 1 where it returned none.
fn returned(result: &Ref) -> i64 {
    let mut kept = Vec::new();
    // SAFETY: the result is alive until this returns.
    match unsafe { value::take(result.get(), &mut kept) } {
        Ok(Val::Int(i)) => i,
        Ok(Val::Bool(false)) => -1,
        _ => 1,
    }
}
