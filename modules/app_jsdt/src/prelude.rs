//! What scripts expect besides the language: `console`, `print`, `require`, and what of Duktape is
//! commonly used. Written in JavaScript (`prelude.js`) over a few functions of the server.

use crate::ffi::State;
use crate::imports::Finder;
use olelo_core::log::Level;
use rquickjs::context::EvalOptions;
use rquickjs::{Ctx, Exception, Function, Object, Result, Value};
use std::rc::Rc;

/// Its name in stacks.
pub const FILE: &str = "prelude";

/// Puts it into a fresh state. `main` is the script's path; `require` whether there is one.
pub fn install(
    state: &State,
    finder: &Rc<Finder>,
    main: &str,
    require: bool,
) -> std::result::Result<(), String> {
    state.with(|ctx| {
        let host = host(&ctx, finder)?;
        host.set("main", main)?;
        host.set("hasRequire", require)?;
        let mut options = EvalOptions::default();
        options.filename = Some(FILE.to_string());
        let run: Function = ctx.eval_with_options(include_str!("prelude.js"), options)?;
        run.call((host,))
    })
}

fn host<'js>(ctx: &Ctx<'js>, finder: &Rc<Finder>) -> Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    host.set("log", Function::new(ctx.clone(), log)?)?;
    let find = finder.clone();
    let find = move |base: String, name: String| find.find(&base, &name);
    host.set("find", Function::new(ctx.clone(), find)?)?;
    let read = finder.clone();
    let read = move |ctx: Ctx<'js>, path: String| {
        let text = read.read(&path);
        let text = text.map_err(|e| Exception::throw_message(&ctx, &e))?;
        Ok::<_, rquickjs::Error>(String::from_utf8_lossy(&text).into_owned())
    };
    host.set("read", Function::new(ctx.clone(), read)?)?;
    host.set("compile", Function::new(ctx.clone(), compile)?)?;
    Ok(host)
}

fn log(level: String, text: String) {
    let level = match level.as_str() {
        "error" => Level::Err,
        "warn" => Level::Warn,
        "debug" => Level::Dbg,
        _ => Level::Info,
    };
    olelo_core::log!(level, "app_jsdt", "{}", text.trim_end());
}

/// A function whose text is in the file at `path`, for `require`.
fn compile<'js>(ctx: Ctx<'js>, head: String, text: String, path: String) -> Result<Value<'js>> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(path);
    // On one line with the text's first, so that lines are those of the file.
    ctx.eval_with_options(format!("({head} {text}\n}})"), options)
}
