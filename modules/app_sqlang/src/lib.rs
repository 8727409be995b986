//! The `app_sqlang` module: routing in Squirrel 3.
//!
//! `cfgengine "sqlang"` makes the script named by the `load` parameter the server's routing: its
//! functions `ksr_request_route`, `ksr_reply_route`, `ksr_onsend_route`, and those named by
//! `KSR.tm.t_on_failure` and its like. All exports are under `KSR`. Each process has its own machine,
//! built after the fork from the generation that serves.
//!
//! Squirrel is in the tree (`squirrel/`, with what was changed in its README); `ffi` is all that
//! touches its memory.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod ffi;
#[cfg(test)]
mod tests;

use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::{Engine, Outcome, Source};
use olelo_core::route::module::Module;
use olelo_script::{Language, Limits, Settings, call, load_files};
use std::path::{Path, PathBuf};
use std::rc::Rc;

static SETTINGS: Settings = Settings::new();

/// The language.
struct Squirrel;

impl Language for Squirrel {
    const NAME: &'static str = "Squirrel";
    const ENGINE: &'static str = "sqlang";
    const ALIASES: &'static [&'static str] = &["app_sqlang", "squirrel"];
    const MODULE: &'static str = "app_sqlang";
    const NATIVE: &'static str = "sqlang";
    const DOC: &'static str =
        "Routing in Squirrel 3: `cfgengine \"sqlang\"` with the script named by `load`.";

    fn settings() -> &'static Settings {
        &SETTINGS
    }

    fn build(source: &Source, limits: Limits) -> Result<Rc<dyn Engine>, String> {
        let machine = ffi::Machine::new(&call::exports(), limits, importer(source))?;
        load_files(source, |f, ctx| machine.run(&f.text, &f.path, ctx))?;
        Ok(Rc::new(machine))
    }
}

/// The module.
pub fn module() -> Module {
    olelo_script::module::<Squirrel>()
}

/// What `dofile` and `loadfile` read: a relative path is looked for beside the script first. What the
/// generation holds comes before the disk, so that a new file there changes nothing until a reload.
fn importer(source: &Source) -> ffi::Importer {
    let beside = Path::new(source.path()).parent().map(PathBuf::from);
    let source = source.clone();
    Box::new(move |path| {
        let near = beside
            .as_ref()
            .filter(|_| Path::new(path).is_relative())
            .map(|dir| dir.join(path).display().to_string());
        match near {
            Some(near) if source.holds(&near) => source.import(&near),
            _ if source.holds(path) => source.import(path),
            Some(near) if Path::new(&near).exists() => source.import(&near),
            _ => source.import(path),
        }
    })
}

impl Engine for ffi::Machine {
    fn call(&self, name: &str, args: &[&str], ctx: &mut Ctx) -> Outcome {
        ffi::Machine::call(self, name, args, ctx)
    }

    fn run(&self, text: &[u8], name: &str, ctx: &mut Ctx) -> Outcome {
        ffi::Machine::run(self, text, name, ctx)
    }

    fn has(&self, name: &str) -> bool {
        ffi::Machine::has(self, name)
    }
}
