//! The `app_lua` module: routing in Lua, on LuaJIT.
//!
//! `cfgengine "lua"` makes the script named by the `load` parameter the server's routing: its
//! functions `ksr_request_route`, `ksr_reply_route`, `ksr_onsend_route`, and those named by
//! `KSR.tm.t_on_failure` and its like. All exports are under `KSR`. Each process has its own state,
//! built after the fork from the generation that serves; [`ffi`] is all that touches Lua's memory.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod ffi;
mod functions;

use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::{self, Engine, EngineKind, Outcome, Source};
use olelo_core::route::generation;
use olelo_core::route::module::{IntParam, Module, ParamValue, param_call, param_int};
use olelo_core::rpc::{Answer, Fault, Params, Value, core_cmds, fields, rpc, text};
use std::rc::Rc;
use std::sync::RwLock;

static RELOAD: IntParam = IntParam::new(1);
static LOG_MODE: IntParam = IntParam::new(0);
static TIME_LIMIT: IntParam = IntParam::new(500);
static MEMORY_LIMIT: IntParam = IntParam::new(256);
static SCRIPTS: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// The module.
pub fn module() -> Module {
    let m = Module::new("app_lua")
        .doc("Routing in Lua (LuaJIT): `cfgengine \"lua\"` with the script named by `load`.")
        .param(
            param_call("load", add_script).doc(
                "A script to load. Several are loaded one after the other into the same state.",
            ),
        )
        .param(param_int("reload", &RELOAD).doc("Whether `app_lua.reload` is allowed."))
        .param(
            param_int("log_mode", &LOG_MODE)
                .doc("How script errors are logged; they are always logged with their traceback."),
        )
        .param(
            param_int("time_limit", &TIME_LIMIT)
                .doc("Milliseconds of CPU that the routing of one message may use. Olelo's own."),
        )
        .param(
            param_int("memory_limit", &MEMORY_LIMIT)
                .doc("Megabytes that a process' Lua state may hold. Olelo's own."),
        )
        .init(init)
        .rpc(
            rpc("app_lua.list", list)
                .array()
                .doc("The script, and each process' generation, load time and last error."),
        )
        .rpc(
            rpc("app_lua.reload", reload)
                .args("[index]")
                .doc("Loads the script anew, as one generation for all processes, or refuses it."),
        )
        .rpc(
            rpc("app_lua.api_list", api_list)
                .array()
                .doc("All functions that scripts can call."),
        );
    functions::all().into_iter().fold(m, Module::function)
}

fn add_script(v: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(path) = v else {
        return Err("wants the path of a script".into());
    };
    if let Ok(mut s) = SCRIPTS.write() {
        s.push(path.clone());
    }
    Ok(())
}

fn init() -> Result<(), String> {
    let kind = EngineKind {
        name: "lua",
        aliases: &["app_lua"],
        reread: EngineKind::same_files,
        adopted: EngineKind::nothing_else,
        build,
    };
    engine::register(kind);
    let scripts = SCRIPTS.read().map(|s| s.clone()).unwrap_or_default();
    if !scripts.is_empty() {
        return generation::install(kind, Source::read(&scripts)?);
    }
    if routes() {
        return Err(
            "cfgengine \"lua\" needs a script: modparam(\"app_lua\", \"load\", \"FILE\")".into(),
        );
    }
    Ok(())
}

/// Whether Lua is the routing language, not only called from another.
fn routes() -> bool {
    matches!(
        olelo_core::server().config.engine.as_str(),
        "lua" | "app_lua"
    )
}

/// A Lua state with one generation in it.
struct Lua(Rc<ffi::State>);

fn build(source: &Source) -> Result<Rc<dyn Engine>, String> {
    let exports: Vec<_> = olelo_core::server()
        .registry
        .functions()
        .filter(|(_, f, _)| f.kemi)
        .map(|(_, f, _)| (f.prefix.unwrap_or(""), f))
        .collect();
    let state = ffi::State::new(
        &exports,
        TIME_LIMIT.get(),
        (MEMORY_LIMIT.get().max(4) as usize) << 20,
    )?;
    replace_exit(state.lua()).map_err(|e| e.to_string())?;
    for file in &source.files {
        if let Some(dir) = std::path::Path::new(&file.path)
            .parent()
            .filter(|d| !d.as_os_str().is_empty())
        {
            add_package_path(state.lua(), &dir.display().to_string()).map_err(|e| e.to_string())?;
        }
        let mut ctx = Ctx::new();
        match state.run(&file.text, &format!("@{}", file.path), &mut ctx) {
            Outcome::Failed(e) | Outcome::OutOfBudget(e) => return Err(e),
            _ => {}
        }
    }
    if routes()
        && !state.has("ksr_request_route")
        && olelo_core::server()
            .config
            .text("kemi.request_route_callback")
            .is_none()
    {
        return Err(format!(
            "{}: has no function ksr_request_route",
            source.path()
        ));
    }
    let state = Rc::new(state);
    functions::built(&state);
    Ok(Rc::new(Lua(state)))
}

/// `os.exit` would end the worker, with the messages of others that it holds.
fn replace_exit(lua: &mlua::Lua) -> mlua::Result<()> {
    let why = "os.exit ends programs, not routes: use KSR.x.exit()";
    lua.load(format!("function os.exit() error('{why}', 2) end"))
        .set_name("=olelo")
        .exec()
}

/// `require` finds files beside the script as well.
fn add_package_path(lua: &mlua::Lua, dir: &str) -> mlua::Result<()> {
    let package: mlua::Table = lua.globals().get("package")?;
    let path: String = package.get("path")?;
    package.set("path", format!("{dir}/?.lua;{path}"))
}

impl Engine for Lua {
    fn call(&self, name: &str, arg: Option<&str>, ctx: &mut Ctx) -> Outcome {
        functions::with_state(&self.0, || self.0.call(name, arg.as_slice(), ctx))
    }

    fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }
}

fn list(_: &Params) -> Answer {
    let script = generation::source("lua").map_or_else(String::new, |s| s.path().to_string());
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

fn reload(_: &Params) -> Answer {
    if !RELOAD.is_on() {
        return Err(Fault::new(
            500,
            "reloading is switched off: modparam(\"app_lua\", \"reload\", 1)",
        ));
    }
    core_cmds::reload_answer(generation::reload(Some("lua")))
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
