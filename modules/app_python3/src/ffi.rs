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
use std::ptr;
use std::rc::Rc;
use value::{Ref, make, make_bytes, make_str};

/// Memory that the text of an error and the end of a script may take where it has used up its own.
const SLACK: usize = 8 << 20;
/// Milliseconds that making the text of an error may take: it calls what the script has defined.
const FOR_ERRORS_MS: i64 = 100;
/// Milliseconds that looking for garbage may take at least: Python does it in one piece.
const FOR_GARBAGE_MS: i64 = 1000;

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
        };
        script.collect(&attached());
        let before = export::import_from(Some(script.source.clone()));
        let mut made = None;
        let outcome = script.guarded(&mut Ctx::new(), || {
            let args = arguments(boot, source, start)?;
            made = call_object(&boot.load, args.into_iter());
            made.as_ref().map(|_| Outcome::Return(1))
        });
        // Where it comes too late, it has to be ended as well.
        script.generation = made;
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
        Ok(script)
    }

    /// Whether there is a route of this name.
    pub fn has(&self, name: &str) -> bool {
        let _lock = attached();
        match self.route(name) {
            Some(found) => found.is_some(),
            None => {
                drop(Raised::take());
                false
            }
        }
    }

    /// Calls the route `name` with the message and these strings, as many as it takes.
    pub fn call(&self, name: &str, args: &[&str], ctx: &mut Ctx) -> Outcome {
        let mut missing = false;
        let outcome = self.guarded(ctx, || {
            let Some(Route { callable, most }) = self.route(name)? else {
                missing = true;
                return Some(Outcome::Missing);
            };
            let mut given = smallvec::SmallVec::<[Ref; 4]>::new();
            // SAFETY: it lives as long as the process.
            given.push(unsafe { Ref::more(self.boot.msg.get()) });
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
        let outcome = within(ctx, self.limits, self.limits.memory, &lock, || {
            let outcome = f().unwrap_or_else(|| {
                raised = Raised::take();
                self.ended_by(raised.as_ref())
            });
            if self.is_full() && !matches!(outcome, Outcome::Missing) {
                return Outcome::OutOfBudget(self.too_much());
            }
            outcome
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
                Outcome::OutOfBudget(self.too_much())
            }
            _ => Outcome::Failed(String::new()),
        }
    }

    fn too_much(&self) -> String {
        let most = self.limits.memory >> 20;
        format!("it used more than {most} MB of memory (memory_limit): ")
    }

    /// Whether the script came to its limit and has kept most of it, whatever it caught: only a fresh
    /// one can serve.
    fn is_full(&self) -> bool {
        self.generation.is_some() && memory::refused() && memory::held() > self.limits.memory / 2
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
        within(ctx, limits, self.room(), lock, || {
            text = raised.text(&self.boot.describe);
            Outcome::Return(1)
        });
        text
    }

    /// Memory for what the server does at the script's cost.
    fn room(&self) -> usize {
        memory::held().max(self.limits.memory) + SLACK
    }

    /// Frees what nothing refers to any more, of earlier generations as well.
    fn collect(&self, lock: &Attached) {
        self.tidy(lock, || call_object(&self.boot.collect, std::iter::empty()));
    }

    /// Does something that no message waits for, with room even where the script has used up its own.
    /// What is freed there may call what the script has defined: it has a time.
    fn tidy(&self, lock: &Attached, f: impl FnOnce() -> Option<Ref>) {
        let limits = match self.limits.time_ms {
            0 => self.limits,
            time_ms => Limits {
                time_ms: time_ms.max(FOR_GARBAGE_MS),
                ..self.limits
            },
        };
        within(&mut Ctx::new(), limits, self.room(), lock, || {
            if f().is_none() {
                drop(Raised::take());
            }
            Outcome::Return(1)
        });
    }

    /// What the script has under this name now; `None` where Python has raised an error.
    fn route(&self, name: &str) -> Option<Option<Route>> {
        let lookup = attribute(self.generation.as_ref()?, c"lookup")?;
        let pair = call_object(&lookup, [make_str(name.as_bytes())?].into_iter())?;
        if pair.get() == library::python().none {
            return Some(None);
        }
        // SAFETY: the pair is alive; an item is a new reference.
        let item =
            |i| unsafe { Ref::owned((library::python().f.PySequence_GetItem)(pair.get(), i)) };
        Some(Some(Route {
            callable: item(0)?,
            most: usize::try_from(returned(&item(1)?)).unwrap_or(0),
        }))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let lock = attached();
        if let Some(generation) = self.generation.take() {
            self.tidy(&lock, move || {
                call_object(&attribute(&generation, c"end")?, std::iter::empty())
            });
        }
        self.collect(&lock);
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
