//! A language as a module: its parameters, control commands and engine.

use crate::call::Limits;
use crate::pieces;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::{self, Engine, EngineKind, File, Outcome, Source};
use olelo_core::route::function::Function;
use olelo_core::route::generation;
use olelo_core::route::module::{IntParam, Module, ParamValue, param_call, param_int};
use olelo_core::rpc::{Answer, Fault, Params, Rpc, Value, core_cmds, fields, rpc, text};
use std::rc::Rc;
use std::sync::RwLock;

/// What operators set; a static of each language.
pub struct Settings {
    scripts: RwLock<Vec<String>>,
    reload: IntParam,
    log_mode: IntParam,
    time_limit: IntParam,
    memory_limit: IntParam,
}

impl Settings {
    /// The defaults.
    pub const fn new() -> Settings {
        Settings {
            scripts: RwLock::new(Vec::new()),
            reload: IntParam::new(1),
            log_mode: IntParam::new(0),
            time_limit: IntParam::new(500),
            memory_limit: IntParam::new(256),
        }
    }

    /// What a script may use.
    pub fn limits(&self) -> Limits {
        Limits {
            time_ms: self.time_limit.get(),
            memory: (self.memory_limit.get().clamp(4, 1 << 20) as usize) << 20,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings::new()
    }
}

/// A language that routes.
pub trait Language: 'static {
    /// As people call it.
    const NAME: &'static str;
    /// As in `cfgengine "lua"`.
    const ENGINE: &'static str;
    /// Other names that `cfgengine` takes.
    const ALIASES: &'static [&'static str];
    /// The module's name, and the prefix of its functions.
    const MODULE: &'static str;
    /// The prefix of its control commands.
    const RPC: &'static str = Self::MODULE;
    /// The prefix of its functions in the native language: `lua` in `lua_run`.
    const NATIVE: &'static str;
    /// What the module is, for documentation.
    const DOC: &'static str;

    /// What operators set.
    fn settings() -> &'static Settings;

    /// A fresh interpreter in which the source's top level has run. The error has file:line.
    fn build(source: &Source, limits: Limits) -> Result<Rc<dyn Engine>, String>;

    /// Functions that run pieces of the language: those of the original's module.
    fn functions() -> Vec<Function> {
        pieces::functions::<Self>()
    }

    /// The complaint about a script without this route, unless it has it in another way.
    fn route_missing(source: &Source, route: &str) -> String {
        format!("{}: has no function {route}", source.path())
    }
}

/// Runs the files of a source one after the other, each with `run`; the error is of the first that
/// fails.
pub fn load_files(source: &Source, run: impl Fn(&File, &mut Ctx) -> Outcome) -> Result<(), String> {
    source
        .files
        .iter()
        .try_for_each(|file| match run(file, &mut Ctx::new()) {
            Outcome::Failed(e) | Outcome::OutOfBudget(e) => Err(e),
            _ => Ok(()),
        })
}

/// The module of a language. More can be added to it.
pub fn module<L: Language + ?Sized>() -> Module {
    let settings = L::settings();
    let m = Module::new(L::MODULE)
        .doc(L::DOC)
        .param(param_call("load", add_script::<L>).doc(
            "A script to load. Several are loaded one after the other into the same interpreter.",
        ))
        .param(
            param_int("reload", &settings.reload)
                .doc("Whether the script may be loaded anew by a control command."),
        )
        .param(
            param_int("log_mode", &settings.log_mode)
                .doc("How script errors are logged; they are always logged with their traceback."),
        )
        .param(
            param_int("time_limit", &settings.time_limit)
                .doc("Milliseconds of CPU that the routing of one message may use. Olelo's own."),
        )
        .param(
            param_int("memory_limit", &settings.memory_limit)
                .doc("Megabytes that a process' interpreter may hold. Olelo's own."),
        )
        .init(init::<L>)
        .rpc(
            command(L::RPC, "list", list::<L>)
                .array()
                .doc("The script, and each process' generation, load time and last error."),
        )
        .rpc(
            command(L::RPC, "reload", reload::<L>)
                .args("[index]")
                .doc("Loads the script anew, as one generation for all processes, or refuses it."),
        )
        .rpc(
            command(L::RPC, "api_list", api_list)
                .array()
                .doc("All functions that scripts can call."),
        );
    L::functions().into_iter().fold(m, Module::function)
}

/// A command under the prefix of a language. Declarations live as long as the program.
fn command(prefix: &str, name: &str, run: fn(&Params) -> Answer) -> Rpc {
    rpc(Box::leak(format!("{prefix}.{name}").into_boxed_str()), run)
}

/// Takes the value of `load`, for languages with another name for it.
pub fn add_script<L: Language + ?Sized>(v: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(path) = v else {
        return Err("wants the path of a script".into());
    };
    if let Ok(mut s) = L::settings().scripts.write() {
        s.push(path.clone());
    }
    Ok(())
}

fn init<L: Language + ?Sized>() -> Result<(), String> {
    let kind = EngineKind {
        name: L::ENGINE,
        aliases: L::ALIASES,
        reread: EngineKind::same_files,
        adopted: EngineKind::nothing_else,
        build: build::<L>,
    };
    engine::register(kind);
    let scripts = L::settings().scripts.read();
    let scripts = scripts.map(|s| s.clone()).unwrap_or_default();
    if !scripts.is_empty() {
        return generation::install(kind, Source::read(&scripts)?);
    }
    if routes::<L>() {
        return Err(format!(
            "cfgengine \"{}\" needs a script: modparam(\"{}\", \"load\", \"FILE\")",
            L::ENGINE,
            L::MODULE
        ));
    }
    Ok(())
}

/// Whether this language routes, not only called from another.
fn routes<L: Language + ?Sized>() -> bool {
    let engine = olelo_core::server().config.engine.as_str();
    engine == L::ENGINE || L::ALIASES.contains(&engine)
}

fn build<L: Language + ?Sized>(source: &Source) -> Result<Rc<dyn Engine>, String> {
    let engine = L::build(source, L::settings().limits())?;
    let named = olelo_core::server()
        .config
        .text("kemi.request_route_callback");
    let route = named
        .filter(|n| !n.is_empty())
        .unwrap_or("ksr_request_route");
    if routes::<L>() && route != "none" && !engine.has(route) {
        return Err(L::route_missing(source, route));
    }
    Ok(engine)
}

fn list<L: Language + ?Sized>(_: &Params) -> Answer {
    let script = generation::source(L::ENGINE).map_or_else(String::new, |s| s.path().to_string());
    Ok(olelo_ipc::process::table()
        .iter()
        .filter(|s| s.routes())
        .map(|s| {
            fields([
                ("index", Value::Int(s.slot().into())),
                ("process", text(s.description())),
                ("script", text(script.clone())),
                ("generation", Value::Int(s.generation().into())),
                ("loaded", text(core_cmds::ctime(s.loaded_at() as i64))),
                ("error", text(s.error())),
            ])
        })
        .collect())
}

fn reload<L: Language + ?Sized>(_: &Params) -> Answer {
    if !L::settings().reload.is_on() {
        return Err(Fault::new(
            500,
            format!(
                "reloading is switched off: modparam(\"{}\", \"reload\", 1)",
                L::MODULE
            ),
        ));
    }
    core_cmds::reload_answer(generation::reload(Some(L::ENGINE)))
}

fn api_list(_: &Params) -> Answer {
    Ok(olelo_core::server()
        .registry
        .functions()
        .filter(|(_, f, _)| f.kemi)
        .map(|(_, f, m)| {
            fields([
                ("func", text(f.signature())),
                ("module", text(m.name)),
                ("doc", text(f.doc)),
            ])
        })
        .collect())
}
