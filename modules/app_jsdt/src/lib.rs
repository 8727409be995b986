//! The `app_jsdt` module: routing in JavaScript, on QuickJS-ng (ES2023).
//!
//! `cfgengine "jsdt"` makes the script named by the `load` parameter the server's routing. Scripts
//! written for Duktape run as they are: their functions are global, `require` finds modules in the
//! manner of Node.js, `print`, `console` and the common half of `Duktape` are there. A script that
//! begins with `import` or `export` (or is named `.mjs`) is a module: its routes are what it exports.
//! A route may be `async`: its promise is waited for within the message's time.
//!
//! `ffi` is all that touches the interpreter's memory; [`imports`] finds modules; `prelude.js` is
//! what scripts expect besides the language.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod ffi;
mod imports;
mod prelude;

use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::{Engine, Outcome, Source};
use olelo_core::route::module::{IntParam, Module, StrParam, param_int, param_str};
use olelo_script::{Language, Limits, Settings, load_files};
use std::rc::Rc;

static SETTINGS: Settings = Settings::new();
static MODE: IntParam = IntParam::new(1);
static LOADDIR: StrParam = StrParam::new("");

/// The language.
struct JavaScript;

impl Language for JavaScript {
    const NAME: &'static str = "JavaScript";
    const ENGINE: &'static str = "jsdt";
    const ALIASES: &'static [&'static str] = &["app_jsdt", "js", "javascript"];
    const MODULE: &'static str = "app_jsdt";
    const NATIVE: &'static str = "jsdt";
    const DOC: &'static str = "Routing in JavaScript (QuickJS-ng, ES2023): `cfgengine \"jsdt\"` with the script named by `load`. Scripts written for Duktape run as they are.";

    fn settings() -> &'static Settings {
        &SETTINGS
    }

    fn build(source: &Source, limits: Limits) -> Result<Rc<dyn Engine>, String> {
        let finder = Rc::new(imports::Finder::new(source, LOADDIR.text()));
        let state = ffi::State::new(limits, finder.clone())?;
        prelude::install(&state, &finder, source.path(), MODE.is_on())?;
        load_files(source, |f, ctx| state.load(&f.text, &f.path, ctx))?;
        Ok(Rc::new(state))
    }
}

/// The module.
pub fn module() -> Module {
    olelo_script::module::<JavaScript>()
        .param(
            param_int("mode", &MODE).doc("Whether scripts have `require` (Node.js' modules): 1 or 0."),
        )
        .param(param_str("loaddir", &LOADDIR).doc(
            "Folder in which `require` and `import` look for names without a path; the script's own comes next.",
        ))
}

impl Engine for ffi::State {
    fn call(&self, name: &str, args: &[&str], ctx: &mut Ctx) -> Outcome {
        ffi::State::call(self, name, args, ctx)
    }

    fn run(&self, text: &[u8], name: &str, ctx: &mut Ctx) -> Outcome {
        ffi::State::run(self, text, name, ctx)
    }

    fn has(&self, name: &str) -> bool {
        ffi::State::has(self, name)
    }
}
