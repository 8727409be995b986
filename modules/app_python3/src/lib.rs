//! The `app_python3` module: routing in Python 3, from 3.8 on.
//!
//! `cfgengine "python"` makes the script named by the `load` parameter the server's routing, in either
//! of two styles. In the class style `mod_init()` returns an object whose methods are the routes:
//! `ksr_request_route(self, msg)`, `ksr_reply_route(self, msg)`, and those named by
//! `KSR.tm.t_on_failure` and its like; `child_init(self, rank)` is called in every process. In the style
//! of `app_python3s` the routes are functions of the module. All exports are under `KSR`.
//!
//! Python is not linked: its library is opened when the module is initialised ([`find`] says which), so
//! a machine without Python builds and runs the server. Each process begins Python after its fork and
//! keeps it; a generation is a fresh module in it, together with the modules that lie beside the
//! script. Packages that `pip` has installed are imported once per process and stay.
//!
//! **Threads.** A script may start threads, best in `child_init`. They run while the worker waits for
//! messages or computes in C, and within a millisecond while a route runs; they are not on the time
//! of messages, but what they hold is on the memory of the process. They can't call `KSR`: there is
//! no message for them, and an exception says so; they hand their results over in Python's own
//! queues. A thread outlives its generation: one that works in a loop should end when
//! `__name__ in sys.modules` no longer holds. A child that a script or thread forks ends at once;
//! `subprocess` works. Signals belong to the server: `signal.signal` raises `ValueError`.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod ffi;
mod find;
mod message;

use olelo_core::route::canary;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::{Engine, Outcome, Source};
use olelo_core::route::function::{Function, function};
use olelo_core::route::module::{Module, StrParam, param_call, param_ignored, param_str};
use olelo_script::{Language, Limits, Settings, call, call_function};
use std::rc::Rc;
use std::sync::OnceLock;

static SETTINGS: Settings = Settings::new();
static LIBRARY: StrParam = StrParam::new("");
static MOD_INIT: StrParam = StrParam::new("mod_init");
static CHILD_INIT: StrParam = StrParam::new("child_init");
static SCRIPT_INIT: StrParam = StrParam::new("");
static SCRIPT_CHILD_INIT: StrParam = StrParam::new("");

/// The module.
pub fn module() -> Module {
    let m = olelo_script::module::<Python>();
    if let Some(init) = m.init {
        let _ = INIT_OF_LANGUAGE.set(init);
    }
    m.init(init)
        .alias("app_python3s")
        .alias("app_python")
        .param(
            param_call("script_name", olelo_script::add_script::<Python>)
                .doc("The same as `load`."),
        )
        .param(
            param_str("mod_init_function", &MOD_INIT)
                .doc("The function that returns the object whose methods are the routes."),
        )
        .param(
            param_str("child_init_method", &CHILD_INIT).doc(
                "The method that each process calls with its rank, after each reload as well.",
            ),
        )
        .param(
            param_str("script_init", &SCRIPT_INIT)
                .doc("A function to call once the script is loaded, in the style of app_python3s."),
        )
        .param(
            param_str("script_child_init", &SCRIPT_CHILD_INIT).doc(
                "A function that each process calls with its rank, in the style of app_python3s.",
            ),
        )
        .param(param_ignored(
            "threads_mode",
            false,
            "threads of a script always run while the worker waits",
        ))
        .param(
            param_str("library", &LIBRARY)
                .doc("Python's library; where it is not given, that of `python3`. Olelo's own."),
        )
}

/// The language.
struct Python;

impl Language for Python {
    const NAME: &'static str = "Python";
    const ENGINE: &'static str = "python";
    const ALIASES: &'static [&'static str] = &[
        "python3",
        "python3s",
        "app_python3",
        "app_python3s",
        "app_python",
    ];
    const MODULE: &'static str = "app_python3";
    const RPC: &'static str = "app_python";
    const NATIVE: &'static str = "python";
    const DOC: &'static str = "Routing in Python 3: `cfgengine \"python\"` with the script named by `load`. Python's \
         library is opened at run time, with the packages of the `python3` (or virtual environment) \
         found where the server starts. Threads of a script run while the worker waits; they can't call KSR.";

    fn settings() -> &'static Settings {
        &SETTINGS
    }

    fn build(source: &Source, limits: Limits) -> Result<Rc<dyn Engine>, String> {
        let start = ffi::Start {
            exports: &call::exports(),
            msg: &message::functions(),
            settings: &[
                ("mod_init_function", MOD_INIT.text()),
                ("child_init_method", CHILD_INIT.text()),
                ("script_init", SCRIPT_INIT.text()),
                ("script_child_init", SCRIPT_CHILD_INIT.text()),
            ],
            rank: rank(),
        };
        Ok(Rc::new(ffi::Script::load(source, limits, &start)?))
    }

    fn functions() -> Vec<Function> {
        let one = |c: &mut Ctx, n: &str| call_function::<Python>(c, n, &[]);
        let two = |c: &mut Ctx, n: &str, a: &str| call_function::<Python>(c, n, &[a]);
        let of_python = [
            function("exec", one)
                .cfg("python_exec")
                .cfg("app_python3s_exec")
                .args(["method"])
                .doc("Calls a method or function of the Python script with the message."),
            function("execx", one)
                .args(["method"])
                .doc("The same as `exec`."),
            function("exec_p1", two)
                .cfg("python_exec")
                .cfg("app_python3s_exec")
                .args(["method", "arg"])
                .doc("Calls a method or function of the Python script with the message and a string."),
        ];
        olelo_script::functions::<Self>()
            .into_iter()
            .chain(of_python)
            .collect()
    }

    fn route_missing(source: &Source, route: &str) -> String {
        format!(
            "{}: has no {route}: neither a method of what {}() returns nor a function",
            source.path(),
            MOD_INIT.text()
        )
    }
}

impl Engine for ffi::Script {
    fn call(&self, name: &str, args: &[&str], ctx: &mut Ctx) -> Outcome {
        ffi::Script::call(self, name, args, ctx)
    }

    fn run(&self, text: &[u8], name: &str, ctx: &mut Ctx) -> Outcome {
        ffi::Script::run(self, text, name, ctx)
    }

    fn has(&self, name: &str) -> bool {
        ffi::Script::has(self, name)
    }
}

/// What every language does when its module is initialised.
static INIT_OF_LANGUAGE: OnceLock<Init> = OnceLock::new();

type Init = fn() -> Result<(), String>;

/// Main opens the library, which all processes then share, and calls nothing in it.
fn init() -> Result<(), String> {
    let found = find::first_usable(LIBRARY.text(), ffi::open)?;
    olelo_core::info!(
        "app_python3",
        "Python {} of {}",
        ffi::version(),
        found.library
    );
    if let Some(program) = found.program {
        ffi::set_program(program);
    }
    INIT_OF_LANGUAGE.get().map_or(Ok(()), |init| init())
}

/// The rank of this process, if it is one that serves: the canary, and main before it has forked any,
/// only try the script.
fn rank() -> Option<i32> {
    let table = olelo_ipc::process::table();
    let slot = table.get(olelo_core::mem::current_slot())?;
    let tries = slot.slot() == 0 || slot.description() == canary::NAME;
    (!tries).then(|| slot.rank())
}
