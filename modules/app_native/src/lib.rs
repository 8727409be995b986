//! The native routing language: the route blocks of the configuration itself.
//!
//! Unlike the script engines it is always there: it routes where `cfgengine` names no other, and its
//! event routes run beside a script. Reading order: [`compile`] makes a [`program`] of the syntax
//! tree, [`run`] runs it, [`reload`] reads the configuration anew.

#![forbid(unsafe_code)]

mod budget;
pub mod call;
mod check;
pub mod compile;
mod fields;
mod ops;
pub mod program;
pub mod reload;
mod run;

use olelo_cfg::diagnostic::{Diagnostic, Severity};
use olelo_cfg::{MemoryFiles, Options, Parsed};
use olelo_core::route::engine::{self, Engine, EngineKind, File, Source};
use olelo_core::route::generation;
use olelo_core::route::module::{Module, param_int};
use olelo_core::rpc::{Answer, Params, core_cmds, rpc};
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};

/// Name of the engine.
pub const ENGINE: &str = "native";

/// Words of the language that are neither functions nor operators.
pub const WORDS: [&str; 7] = ["if", "else", "switch", "case", "default", "while", "route"];

/// What the configuration was read with.
static OPTIONS: OnceLock<Options> = OnceLock::new();
/// What was read, until the module is initialised; then what is wrong with its routes.
static READ: Mutex<Option<Parsed>> = Mutex::new(None);
static FOUND: Mutex<Vec<Diagnostic>> = Mutex::new(Vec::new());

/// The module; always loaded, last.
pub fn module() -> Module {
    Module::new("app_native")
        .doc("Routing in the native language: the route blocks of the configuration.")
        .param(param_int("time_limit", &budget::TIME_LIMIT).doc(
            "Milliseconds of CPU that the routing of one message may use; 0 for any. Olelo's own.",
        ))
        .init(init)
        .rpc(
            rpc("cfg.reload_routes", |_: &Params| -> Answer {
                core_cmds::reload_answer(generation::reload(Some(ENGINE)))
            })
            .doc("Reads the configuration anew and makes its route blocks serve, or refuses it. Olelo's own."),
        )
}

/// Hands over the configuration that was read, and with what, before modules are initialised.
pub fn give(parsed: Parsed, options: Options) {
    let _ = OPTIONS.set(options);
    if let Ok(mut r) = READ.lock() {
        *r = Some(parsed);
    }
}

/// What was found in the route blocks when the module was initialised.
pub fn diagnostics() -> Vec<Diagnostic> {
    FOUND
        .lock()
        .map(|mut d| std::mem::take(&mut *d))
        .unwrap_or_default()
}

fn init() -> Result<(), String> {
    let kind = EngineKind {
        name: ENGINE,
        aliases: &["default", "kamailio"],
        reread: reload::reread,
        adopted: reload::adopted,
        build,
    };
    engine::register(kind);
    let Some(parsed) = READ.lock().ok().and_then(|mut r| r.take()) else {
        return Ok(());
    };
    if parsed.config.routes.is_empty() && !routes_here() {
        return Ok(());
    }
    let (_, found) = compile::compile(&parsed, &olelo_core::server().registry);
    let bad = found
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .count();
    if let Ok(mut f) = FOUND.lock() {
        *f = found;
    }
    if bad > 0 {
        return Err(format!(
            "the route blocks have {bad} fault{}",
            if bad == 1 { "" } else { "s" }
        ));
    }
    generation::install(kind, source(&parsed))
}

/// Whether requests are routed here, not by a script.
pub(crate) fn routes_here() -> bool {
    engine::find(&olelo_core::server().config.engine).is_none_or(|k| k.name == ENGINE)
}

/// All files of a configuration.
fn source(parsed: &Parsed) -> Source {
    let files = parsed.files.iter().map(|(path, text)| File {
        path: path.display().to_string(),
        text: text.clone(),
    });
    Source::of(files.collect())
}

/// Parses the files of a source as they are kept, without the disk.
fn parsed(source: &Source) -> Parsed {
    let files: MemoryFiles = source
        .files
        .iter()
        .map(|f| (f.path.clone().into(), f.text.clone()))
        .collect();
    let options = Options {
        files: Arc::new(files),
        ..OPTIONS.get().cloned().unwrap_or_default()
    };
    olelo_cfg::parse_file(source.path(), &options)
}

fn build(source: &Source) -> Result<Rc<dyn Engine>, String> {
    let parsed = parsed(source);
    let (program, found) = compile::compile(&parsed, &olelo_core::server().registry);
    let bad = parsed.diagnostics.iter().chain(&found);
    let bad: Vec<String> = bad
        .filter(|d| d.severity == Severity::Error)
        .map(|d| d.render(&parsed.sources, false))
        .collect();
    if bad.is_empty() {
        Ok(Rc::new(run::Native(program)))
    } else {
        Err(bad.join("\n"))
    }
}
