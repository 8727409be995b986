//! The `app_lua` module: routing in Lua, on LuaJIT.
//!
//! `cfgengine "lua"` makes the script named by the `load` parameter the server's routing: its
//! functions `ksr_request_route`, `ksr_reply_route`, `ksr_onsend_route`, and those named by
//! `KSR.tm.t_on_failure` and its like. All exports are under `KSR`. Each process has its own state,
//! built after the fork from the generation that serves; `ffi` is all that touches Lua's memory.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod ffi;

use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::{Engine, Outcome, Source};
use olelo_core::route::module::Module;
use olelo_script::{Language, Limits, Settings, call, load_files};
use std::path::Path;
use std::rc::Rc;

static SETTINGS: Settings = Settings::new();

/// The language.
struct Lua;

impl Language for Lua {
    const NAME: &'static str = "Lua";
    const ENGINE: &'static str = "lua";
    const ALIASES: &'static [&'static str] = &["app_lua"];
    const MODULE: &'static str = "app_lua";
    const NATIVE: &'static str = "lua";
    const DOC: &'static str =
        "Routing in Lua (LuaJIT): `cfgengine \"lua\"` with the script named by `load`.";

    fn settings() -> &'static Settings {
        &SETTINGS
    }

    fn build(source: &Source, limits: Limits) -> Result<Rc<dyn Engine>, String> {
        let state = ffi::State::new(&call::exports(), limits)?;
        replace_exit(state.lua()).map_err(|e| e.to_string())?;
        find_imports(state.lua(), source).map_err(|e| e.to_string())?;
        load_files(source, |f, ctx| state.run(&f.text, &f.path, ctx))?;
        Ok(Rc::new(state))
    }
}

/// The module.
pub fn module() -> Module {
    olelo_script::module::<Lua>()
}

/// `os.exit` would end the worker, with the messages of others that it holds.
fn replace_exit(lua: &mlua::Lua) -> mlua::Result<()> {
    let why = "os.exit ends programs, not routes: use KSR.x.exit()";
    lua.load(format!("function os.exit() error('{why}', 2) end"))
        .set_name("=olelo")
        .exec()
}

/// `require` and `dofile` find files beside the script as well, and take those that belong to the
/// generation from it.
fn find_imports(lua: &mlua::Lua, source: &Source) -> mlua::Result<()> {
    let package: mlua::Table = lua.globals().get("package")?;
    let path: String = package.get("path")?;
    let mut beside: Vec<String> = Vec::new();
    for f in &source.files {
        let dir = Path::new(&f.path).parent();
        if let Some(dir) = dir.filter(|d| !d.as_os_str().is_empty()) {
            beside.insert(0, format!("{}/?.lua", dir.display()));
        }
    }
    beside.push(path);
    package.set("path", beside.join(";"))?;
    let source = Rc::new(source.clone());
    let held = source.clone();
    let read = lua.create_function(move |lua, path: mlua::LuaString| {
        let text = held.import(&path.to_string_lossy());
        match text {
            Ok(t) => Ok((Some(lua.create_string(&t)?), None)),
            Err(e) => Ok((None, Some(e))),
        }
    })?;
    let holds = lua.create_function(move |_, path: mlua::LuaString| {
        Ok(source.holds(&path.to_string_lossy()))
    })?;
    lua.load(IMPORTS).set_name("=olelo").call((read, holds))
}

/// Lua's own second searcher, `loadfile` and `dofile`, over what the source has or the disk.
const IMPORTS: &str = r#"
local read, holds = ...
local function find(name, among)
  local tried = {}
  for template in package.path:gmatch("[^;]+") do
    local path = template:gsub("%?", (name:gsub("%.", "/")))
    if among(path) then return path end
    tried[#tried + 1] = "\n\tno file '" .. path .. "'"
  end
  return nil, table.concat(tried)
end
local function on_disk(path)
  local f = io.open(path, "r")
  return f and f:close() or false
end
package.loaders[2] = function(name)
  local path, tried = find(name, holds)
  if not path then path, tried = find(name, on_disk) end
  if not path then return tried end
  local f, e = loadstring(assert(read(path)), "@" .. path)
  if not f then error("error loading module '" .. name .. "' from file '" .. path .. "':\n\t" .. e, 0) end
  return f
end
local stdin = loadfile
function loadfile(path, ...)
  if not path then return stdin() end
  local text, e = read(path)
  if not text then return nil, e end
  return load(text, "@" .. path, ...)
end
function dofile(path)
  local f, e = loadfile(path)
  if not f then error(e, 0) end
  return f()
end
"#;

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
