//! The only file of this crate that talks to Lua's C interface: raw bindings of the exported
//! functions and protected calls.
//!
//! A call from Lua costs one C function whose upvalue points at the export: no closure, no boxing.
//! Lua errors unwind by `longjmp`-like means, so the C functions here keep nothing that needs
//! dropping on their own frame when they raise one: work happens in [`run_export`], which leaves
//! its result in a thread-local before it returns.
//!
//! A script whose time is over is stopped by a hook that the handler of the ticks sets for the next
//! instruction and for every one after it, so that a script that catches the error is stopped again.

use mlua::ffi::{self, lua_State};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::Function;
use olelo_core::route::value::Val;
use olelo_ipc::budget;
use olelo_script::Limits;
use olelo_script::call::{self, LONGEST_ERROR, MOST_ARGS, Ran};
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr;

thread_local! {
    /// What the last export returned or complained about: kept alive while Lua copies it.
    static RESULT: RefCell<Val<'static>> = const { RefCell::new(Val::Null) };
    static COMPLAINT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Raised for `exit` and `drop`: an address that no script can make up.
static SENTINEL: u8 = 0;

fn sentinel() -> *mut c_void {
    ptr::from_ref(&SENTINEL).cast_mut().cast()
}

/// A Lua state with the exports in it.
pub struct State {
    lua: mlua::Lua,
    raw: *mut lua_State,
    /// Registry references of names: to look one up makes no new string.
    names: RefCell<FxHashMap<String, c_int>>,
    limits: Limits,
}

impl State {
    /// A fresh state with all of Lua's libraries and `KSR`.
    pub fn new(
        exports: &[(&'static str, &'static Function)],
        limits: Limits,
    ) -> Result<State, String> {
        // SAFETY: operators' scripts are trusted as their configuration is; LuaJIT's own `ffi` lets
        // them reach outside, which costs at most their worker.
        let lua = unsafe { mlua::Lua::unsafe_new() };
        lua.set_memory_limit(limits.memory)
            .map_err(|e| format!("can't limit Lua's memory: {e}"))?;
        let raw = Cell::new(ptr::null_mut());
        // SAFETY: the closure only reads the pointer of the state, which lives as long as `lua`,
        // and leaves the stack as it was.
        unsafe { lua.exec_raw::<()>((), |l| raw.set(l)) }.map_err(|e| e.to_string())?;
        let raw = raw.get();
        let s = State {
            lua,
            raw,
            names: RefCell::default(),
            limits,
        };
        s.bind(exports)?;
        budget::arm();
        Ok(s)
    }

    /// The state as mlua has it, for what is not on the path of a message.
    pub fn lua(&self) -> &mlua::Lua {
        &self.lua
    }

    fn bind(&self, exports: &[(&'static str, &'static Function)]) -> Result<(), String> {
        let fail = |e: mlua::Error| e.to_string();
        let ksr = self.lua.create_table().map_err(fail)?;
        for (prefix, f) in exports {
            let table = if prefix.is_empty() {
                ksr.clone()
            } else {
                match ksr.raw_get::<Option<mlua::Table>>(*prefix).map_err(fail)? {
                    Some(t) => t,
                    None => {
                        let t = self.lua.create_table().map_err(fail)?;
                        ksr.raw_set(*prefix, &t).map_err(fail)?;
                        t
                    }
                }
            };
            let address: *const Function = *f;
            // SAFETY: pushes one C closure whose upvalue is the address of an export; exports are
            // part of the server's registry, which is never freed.
            let closure: mlua::Function = unsafe {
                self.lua.exec_raw((), |l| {
                    ffi::lua_pushlightuserdata(l, address.cast_mut().cast());
                    ffi::lua_pushcclosure(l, thunk, 1);
                })
            }
            .map_err(fail)?;
            table.raw_set(f.name, closure).map_err(fail)?;
        }
        self.lua.globals().raw_set("KSR", ksr).map_err(fail)
    }

    /// Whether a global function of this name exists.
    pub fn has(&self, name: &str) -> bool {
        let l = self.raw;
        // SAFETY: what was pushed is popped again.
        unsafe {
            if ffi::lua_checkstack(l, 4) == 0 {
                return false;
            }
            let found = self.push_route(name);
            ffi::lua_pop(l, c_int::from(found));
            found
        }
    }

    /// Calls the global function `name`, as it is now, with these strings.
    pub fn call(&self, name: &str, args: &[&str], ctx: &mut Ctx) -> Outcome {
        self.protected(ctx, |l| {
            // SAFETY: room for the pushes was made by `protected`.
            unsafe {
                if !self.push_route(name) {
                    return Err(Outcome::Missing);
                }
                for a in args.iter().take(MOST_ARGS) {
                    ffi::lua_pushlstring(l, a.as_ptr().cast(), a.len());
                }
            }
            Ok(args.len().min(MOST_ARGS) as c_int)
        })
    }

    /// Pushes the global function of this name, or nothing. Tables' metamethods are not asked: one
    /// could raise an error.
    ///
    /// # Safety
    /// There must be room for three values on the stack.
    unsafe fn push_route(&self, name: &str) -> bool {
        let l = self.raw;
        let key = self.name(name);
        // SAFETY: `key` is a reference to a string in this state's registry; what is not the
        // function is popped.
        unsafe {
            ffi::lua_pushvalue(l, ffi::LUA_GLOBALSINDEX);
            ffi::lua_rawgeti(l, ffi::LUA_REGISTRYINDEX, key.into());
            ffi::lua_rawget(l, -2);
            ffi::lua_remove(l, -2);
            let found = ffi::lua_type(l, -1) == ffi::LUA_TFUNCTION;
            if !found {
                ffi::lua_pop(l, 1);
                // Names may come from messages (`KSR.app_lua.run`): only those of functions are kept.
                self.names.borrow_mut().remove(name);
                ffi::luaL_unref(l, ffi::LUA_REGISTRYINDEX, key);
            }
            found
        }
    }

    /// Runs a piece of Lua: a file if `name` is its path.
    pub fn run(&self, text: &[u8], name: &str, ctx: &mut Ctx) -> Outcome {
        let mark = if name.contains(['/', '.']) { '@' } else { '=' };
        let chunk = CString::new(format!("{mark}{name}")).unwrap_or_default();
        self.protected(ctx, |l| {
            // SAFETY: `text` is readable for its length and `chunk` ends with a zero; the loader
            // pushes one value, function or message.
            let status = unsafe {
                ffi::luaL_loadbuffer(l, text.as_ptr().cast(), text.len(), chunk.as_ptr())
            };
            if status == ffi::LUA_OK {
                Ok(0)
            } else {
                Err(Outcome::Failed(top_text(l)))
            }
        })
    }

    /// Calls what `push` left on the stack (function, then its arguments), with the time running and
    /// `ctx` as the message that exports work on. Nests.
    fn protected(
        &self,
        ctx: &mut Ctx,
        push: impl FnOnce(*mut lua_State) -> Result<c_int, Outcome>,
    ) -> Outcome {
        let l = self.raw;
        // SAFETY: the stack is brought back to `base` below; the handler is a C function of this
        // file; errors inside `lua_pcall` come back as its status.
        let called = || unsafe {
            let base = ffi::lua_gettop(l);
            if ffi::lua_checkstack(l, MOST_ARGS as c_int + 8) == 0 {
                return Outcome::Failed("Lua's stack is full".into());
            }
            ffi::lua_pushcfunction(l, on_error);
            let outcome = match push(l) {
                Err(outcome) => outcome,
                Ok(args) => self.outcome(ffi::lua_pcall(l, args, 1, base + 1)),
            };
            ffi::lua_settop(l, base);
            outcome
        };
        // SAFETY: `lua_sethook`, which `stop` calls, is what Lua's own programs call from a signal
        // handler; the state lives as long as `self` and runs on this very thread.
        let outcome = unsafe { call::enter(ctx, self.limits, stop, l.cast(), called) };
        if matches!(outcome, Outcome::OutOfBudget(_)) {
            // SAFETY: removing the hook is always allowed.
            unsafe { ffi::lua_sethook(l, None, 0, 0) };
        }
        outcome
    }

    /// What `lua_pcall` came to.
    fn outcome(&self, status: c_int) -> Outcome {
        let l = self.raw;
        if status == ffi::LUA_OK {
            // SAFETY: `lua_pcall` was asked for one result, which is on top.
            return unsafe {
                match ffi::lua_type(l, -1) {
                    ffi::LUA_TNUMBER => Outcome::Return(ffi::lua_tonumber(l, -1) as i64),
                    ffi::LUA_TBOOLEAN => Outcome::Return(if ffi::lua_toboolean(l, -1) != 0 {
                        1
                    } else {
                        -1
                    }),
                    _ => Outcome::Return(1),
                }
            };
        }
        // SAFETY: on failure the error value is on top.
        if unsafe { ffi::lua_touserdata(l, -1) } == sentinel() {
            return Outcome::Exit;
        }
        match status {
            ffi::LUA_ERRMEM => Outcome::OutOfBudget("it used more memory than it may".into()),
            _ => Outcome::Failed(top_text(l)),
        }
    }

    /// The registry reference of a name; that of nil where it can't be kept, which is no key.
    fn name(&self, name: &str) -> c_int {
        if let Some(r) = self.names.borrow().get(name) {
            return *r;
        }
        let mut names = self.names.borrow_mut();
        let made = self.lua.create_string(name).map(|text| {
            let r = Cell::new(ffi::LUA_REFNIL);
            // SAFETY: mlua pushes the string; `luaL_ref` pops it and keeps it in this state's registry.
            let kept = unsafe {
                self.lua
                    .exec_raw::<()>(text, |l| r.set(ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX)))
            };
            kept.map_or(ffi::LUA_REFNIL, |()| r.get())
        });
        let r = made.unwrap_or(ffi::LUA_REFNIL);
        if r != ffi::LUA_REFNIL {
            names.insert(name.to_string(), r);
        }
        r
    }
}

/// The C function behind every `KSR.x.y`.
unsafe extern "C-unwind" fn thunk(l: *mut lua_State) -> c_int {
    // SAFETY: called by Lua with a live state; the upvalue is the address that `bind` put there.
    // Nothing on this frame needs dropping, so `lua_error` may leave it at any place.
    unsafe {
        let f = ffi::lua_touserdata(l, ffi::lua_upvalueindex(1)).cast::<Function>();
        match run_export(l, f) {
            Pushed::Int(i) => {
                ffi::lua_pushnumber(l, i as f64);
                1
            }
            Pushed::Bool(b) => {
                ffi::lua_pushboolean(l, c_int::from(b));
                1
            }
            Pushed::Value => push_result(l),
            Pushed::Complaint => {
                ffi::luaL_where(l, 1);
                COMPLAINT.with(|c| {
                    let (p, n) = match c.try_borrow() {
                        Ok(c) => (c.as_ptr(), c.len()),
                        Err(_) => (ptr::dangling(), 0),
                    };
                    ffi::lua_pushlstring(l, p.cast(), n);
                });
                ffi::lua_concat(l, 2);
                ffi::lua_error(l)
            }
            Pushed::End => {
                ffi::lua_pushlightuserdata(l, sentinel());
                ffi::lua_error(l)
            }
        }
    }
}

/// What is to be pushed; nothing that needs dropping.
enum Pushed {
    /// A number: most exports return one, and it needs no place to wait in.
    Int(i64),
    /// A boolean, likewise.
    Bool(bool),
    /// What `RESULT` holds.
    Value,
    Complaint,
    End,
}

/// Converts the arguments, calls, and leaves the result in a thread-local.
fn run_export(l: *mut lua_State, f: *const Function) -> Pushed {
    let complain = |text: String| {
        COMPLAINT.set(text);
        Pushed::Complaint
    };
    // SAFETY: `f` points into the registry, which is never freed.
    let Some(f) = (unsafe { f.as_ref() }) else {
        return complain("this is no function of KSR".into());
    };
    // Every value borrows from Lua's stack or is a number: there is nothing to drop.
    let mut args = [const { ManuallyDrop::new(Val::Null) }; MOST_ARGS];
    // SAFETY: reads of the arguments of the running C function; strings stay on Lua's stack, and so
    // alive, until it returns.
    let n = unsafe {
        let n = ffi::lua_gettop(l) as usize;
        if n > MOST_ARGS {
            return complain(call::too_many(f, n));
        }
        for (i, a) in args.iter_mut().take(n).enumerate() {
            let at = i as c_int + 1;
            *a = ManuallyDrop::new(match ffi::lua_type(l, at) {
                ffi::LUA_TNIL => Val::Null,
                ffi::LUA_TNUMBER => {
                    let x = ffi::lua_tonumber(l, at);
                    if x.fract() != 0.0 && f.takes_text(i) {
                        // The argument itself becomes the string.
                        let mut len = 0usize;
                        let p = ffi::lua_tolstring(l, at, &mut len);
                        Val::bytes(std::slice::from_raw_parts(p.cast(), len))
                    } else {
                        Val::Int(x as i64)
                    }
                }
                ffi::LUA_TBOOLEAN => Val::Bool(ffi::lua_toboolean(l, at) != 0),
                ffi::LUA_TSTRING => {
                    let mut len = 0usize;
                    let p = ffi::lua_tolstring(l, at, &mut len);
                    Val::bytes(std::slice::from_raw_parts(p.cast(), len))
                }
                t => {
                    let name = std::ffi::CStr::from_ptr(ffi::lua_typename(l, t)).to_string_lossy();
                    return complain(call::unfit(f, i, &name));
                }
            });
        }
        n
    };
    match call::export(f, plain(&args[..n])) {
        Ran::Val(Val::Int(i)) => Pushed::Int(i),
        Ran::Val(Val::Bool(b)) => Pushed::Bool(b),
        Ran::Val(v) => {
            RESULT.set(v);
            Pushed::Value
        }
        Ran::Error(e) => complain(e),
        Ran::End => Pushed::End,
    }
}

/// The values without their wrapper.
fn plain<'a, 'b>(args: &'a [ManuallyDrop<Val<'b>>]) -> &'a [Val<'b>] {
    // SAFETY: `ManuallyDrop<T>` has the layout of `T` (`repr(transparent)`).
    unsafe { std::slice::from_raw_parts(args.as_ptr().cast(), args.len()) }
}

/// Pushes what [`run_export`] left.
///
/// # Safety
/// `l` must be the live state of the C function that runs.
unsafe fn push_result(l: *mut lua_State) -> c_int {
    RESULT.with(|r| {
        let Ok(v) = r.try_borrow() else { return 0 };
        // The borrow's guard would be lost if a push ran out of memory and unwound this frame: take
        // the pointer, end the borrow, then push.
        let v: *const Val<'static> = &raw const *v;
        // SAFETY: the thread-local outlives the push and nothing replaces it before the next export
        // runs, which can't happen inside a push.
        unsafe { push(l, &*v) }
    })
}

/// # Safety
/// `l` must be a live state with room on its stack.
unsafe fn push(l: *mut lua_State, v: &Val<'_>) -> c_int {
    // SAFETY: plain pushes; `lua_checkstack` makes room for nested ones.
    unsafe {
        match v {
            Val::Null => ffi::lua_pushnil(l),
            Val::Int(i) => ffi::lua_pushnumber(l, *i as f64),
            Val::Bool(b) => ffi::lua_pushboolean(l, c_int::from(*b)),
            Val::Str(s) => {
                ffi::lua_pushlstring(l, s.as_ptr().cast(), s.len());
            }
            Val::List(items) => {
                ffi::lua_checkstack(l, 4);
                ffi::lua_createtable(l, items.len() as c_int, 0);
                for (i, x) in items.iter().enumerate() {
                    push(l, x);
                    ffi::lua_rawseti(l, -2, (i as c_int + 1).into());
                }
            }
            Val::Dict(fields) => {
                ffi::lua_checkstack(l, 4);
                ffi::lua_createtable(l, 0, fields.len() as c_int);
                for (k, x) in fields {
                    ffi::lua_pushlstring(l, k.as_ptr().cast(), k.len());
                    push(l, x);
                    ffi::lua_rawset(l, -3);
                }
            }
        }
    }
    1
}

/// Turns an error into text with a traceback; lets `exit` and `drop` pass.
unsafe extern "C-unwind" fn on_error(l: *mut lua_State) -> c_int {
    // SAFETY: called by Lua with the error value at index 1; nothing here needs dropping.
    unsafe {
        if ffi::lua_touserdata(l, 1) == sentinel() || ffi::lua_type(l, 1) != ffi::LUA_TSTRING {
            return 1;
        }
        ffi::luaL_traceback(l, l, ffi::lua_tostring(l, 1), 1);
        1
    }
}

/// The text on top of the stack.
fn top_text(l: *mut lua_State) -> String {
    // SAFETY: reads the top value; the string is copied before anything else runs.
    unsafe {
        match ffi::lua_type(l, -1) {
            ffi::LUA_TSTRING | ffi::LUA_TNUMBER => {
                let mut len = 0usize;
                let p = ffi::lua_tolstring(l, -1, &mut len);
                let len = len.min(LONGEST_ERROR);
                String::from_utf8_lossy(std::slice::from_raw_parts(p.cast(), len)).into_owned()
            }
            t => format!(
                "the error value is a {}",
                std::ffi::CStr::from_ptr(ffi::lua_typename(l, t)).to_string_lossy()
            ),
        }
    }
}

/// Asks Lua to call [`raise`] at its next instruction and at each one after that.
///
/// # Safety
/// `state` must be a live Lua state that runs on this thread, if any runs.
unsafe fn stop(state: *mut c_void) {
    // SAFETY: the caller's promise; `lua_sethook` may be called in a signal handler.
    unsafe { ffi::lua_sethook(state.cast(), Some(raise), ffi::LUA_MASKCOUNT, 1) };
}

unsafe extern "C-unwind" fn raise(l: *mut lua_State, _: *mut ffi::lua_Debug) {
    if !budget::is_over() {
        // Set at the very end of the message before.
        // SAFETY: removing the hook is always allowed.
        unsafe { ffi::lua_sethook(l, None, 0, 0) };
        return;
    }
    // SAFETY: a hook may raise an error; nothing on this frame needs dropping.
    unsafe { ffi::luaL_error(l, c"stopped: the script used up its time".as_ptr()) };
}
