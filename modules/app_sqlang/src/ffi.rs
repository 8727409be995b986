//! The only file of this crate that talks to Squirrel: its C interface as far as it is used, machines
//! ([`Machine`]), and what they call back.
//!
//! A machine has a heap of its own and belongs to one thread. What can fail in C++ is behind `shim.cpp`,
//! which says how a script that may not go on is left; no jump and no exception passes over a frame of
//! Rust, and no panic over one of C++.
//!
//! `KSR.x.y` is one native closure whose free variable is the address of the export: the arguments are
//! read from Squirrel's stack, strings without a copy, and the value is pushed there.

mod raw;

use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::Function;
use olelo_core::route::value::Val;
use olelo_ipc::budget;
use olelo_script::Limits;
use olelo_script::call::{self, MOST_ARGS, Ran};
use raw::Vm;
use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// Arrays and tables nested deeper than this become null.
const DEEPEST: u32 = 16;

/// Reads what a script imports.
pub type Importer = Box<dyn Fn(&str) -> Result<Vec<u8>, String>>;

/// A Squirrel machine with the exports in it.
pub struct Machine {
    raw: *mut raw::Machine,
    limits: Limits,
    /// The machine has its address.
    _import: Box<Importer>,
}

impl Machine {
    /// A fresh machine with Squirrel's libraries and `KSR`.
    pub fn new(
        exports: &[(&'static str, &'static Function)],
        limits: Limits,
        import: Importer,
    ) -> Result<Machine, String> {
        let import = Box::new(import);
        let user = ptr::from_ref::<Importer>(&import).cast_mut().cast();
        // SAFETY: `user` is read by `olelo_squirrel_import` only, while this machine lives.
        let raw = unsafe { raw::olelo_squirrel_new(limits.memory, user) };
        if raw.is_null() {
            return Err("there is no memory for Squirrel".into());
        }
        let m = Machine {
            raw,
            limits,
            _import: import,
        };
        for (module, f) in exports {
            m.bind(module, f)?;
        }
        budget::arm();
        Ok(m)
    }

    fn bind(&self, module: &str, f: &'static Function) -> Result<(), String> {
        let text = |s: &str| CString::new(s).map_err(|e| e.to_string());
        let (module, name) = (text(module)?, text(f.name)?);
        let address = ptr::from_ref(f).cast_mut().cast();
        // SAFETY: the machine is live; `address` is that of a function which is never freed, and only
        // `olelo_squirrel_export` gets it.
        unsafe { raw::olelo_squirrel_bind(self.raw, module.as_ptr(), name.as_ptr(), address) };
        Ok(())
    }

    /// Whether a global function of this name exists.
    pub fn has(&self, name: &str) -> bool {
        // SAFETY: the machine is live; `name` is readable for its length.
        unsafe { raw::olelo_squirrel_has(self.raw, name.as_ptr().cast(), name.len()) != 0 }
    }

    /// Calls the global function `name` with these strings; those it has no parameters for are left
    /// out.
    pub fn call(&self, name: &str, args: &[&str], ctx: &mut Ctx) -> Outcome {
        let texts = texts(args);
        self.enter(ctx, |r| {
            let (name, len) = (name.as_ptr().cast(), name.len());
            let n = args.len().min(MOST_ARGS);
            // SAFETY: all texts are readable for their lengths and outlive the call.
            unsafe { raw::olelo_squirrel_call(self.raw, name, len, texts.as_ptr(), n, r) };
        })
    }

    /// Compiles and runs a text. `name` is what error messages call it.
    pub fn run(&self, text: &[u8], name: &str, ctx: &mut Ctx) -> Outcome {
        let name = CString::new(name).unwrap_or_default();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        self.enter(ctx, |r| {
            let (at, len) = (text.as_ptr().cast(), text.len());
            // SAFETY: `text` is readable for its length, `name` ends with a zero; both outlive the call.
            unsafe { raw::olelo_squirrel_run(self.raw, at, len, name.as_ptr(), r) };
        })
    }

    /// Bytes in use.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        // SAFETY: the machine is live.
        unsafe { raw::olelo_squirrel_used(self.raw) }
    }

    fn enter(&self, ctx: &mut Ctx, f: impl FnOnce(&mut raw::Result)) -> Outcome {
        // SAFETY: the machine is live; the flag is part of it.
        let flag = unsafe { raw::olelo_squirrel_stop(self.raw) };
        let work = || {
            let mut r = raw::Result::default();
            f(&mut r);
            self.outcome(&r)
        };
        // SAFETY: `stop` only writes to the flag, which lives as long as the machine; the machine is
        // borrowed until the call is over.
        unsafe { call::enter(ctx, self.limits, stop, flag.cast(), work) }
    }

    fn outcome(&self, r: &raw::Result) -> Outcome {
        match r.ended {
            raw::RETURNED => Outcome::Return(match r.kind {
                raw::INTEGER | raw::FLOAT => r.value,
                raw::BOOL if r.value == 0 => -1,
                _ => 1,
            }),
            raw::ENDED => Outcome::Exit,
            raw::MISSING => Outcome::Missing,
            raw::STOPPED => self.stopped(),
            _ => Outcome::Failed(self.trace()),
        }
    }

    fn stopped(&self) -> Outcome {
        // SAFETY: the machine is live.
        let (over, dead) = unsafe {
            (
                raw::olelo_squirrel_over(self.raw) != 0,
                raw::olelo_squirrel_dead(self.raw) != 0,
            )
        };
        let trace = self.trace();
        match (over, dead) {
            (true, _) => Outcome::OutOfBudget(format!(
                "it used more than {} MB of memory (memory_limit): {trace}",
                self.limits.memory >> 20
            )),
            (_, true) if !budget::is_over() => {
                Outcome::OutOfBudget("its interpreter was stopped before".into())
            }
            _ => Outcome::Failed(trace),
        }
    }

    /// Text of the last error.
    fn trace(&self) -> String {
        let mut len = 0;
        // SAFETY: the machine is live; its text is copied before anything else happens to it.
        let text = unsafe {
            let at = raw::olelo_squirrel_trace(self.raw, &mut len);
            std::slice::from_raw_parts(at.cast::<u8>(), len)
        };
        call::cut(String::from_utf8_lossy(text).into_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: made by `olelo_squirrel_new`, and nobody else has it.
        unsafe { raw::olelo_squirrel_free(self.raw) };
    }
}

/// Called by the handler of the ticks.
unsafe fn stop(flag: *mut c_void) {
    // SAFETY: `flag` is the machine's flag, which `Machine::enter` keeps alive.
    unsafe { flag.cast::<c_int>().write_volatile(1) };
}

/// Strings as the shim takes them.
fn texts(args: &[&str]) -> [raw::Text; MOST_ARGS] {
    std::array::from_fn(|i| {
        let s = args.get(i).copied().unwrap_or("");
        raw::Text {
            at: s.as_ptr().cast(),
            len: s.len(),
        }
    })
}

/// Behind every `KSR.x.y`: 1 with a value pushed, 0 without, -1 with an error set, 2 for the end.
///
/// # Safety
/// Called by the shim with the running machine, whose `args` arguments begin at place 2, and with an
/// address given to `olelo_squirrel_bind`.
#[unsafe(no_mangle)]
unsafe extern "C" fn olelo_squirrel_export(v: *mut Vm, f: *const Function, args: i64) -> c_int {
    // SAFETY: the address is that of an export, which is never freed.
    let f = unsafe { &*f };
    let n = args as usize;
    let ran = if n > MOST_ARGS {
        Ran::Error(call::too_many(f, n))
    } else {
        let mut values = [const { Val::Null }; MOST_ARGS];
        let given = values
            .iter_mut()
            .take(n)
            .enumerate()
            .try_for_each(|(i, a)| {
                // SAFETY: the place holds an argument, and stays as it is until the shim returns.
                *a = unsafe { value(v, i as i64 + 2, f.takes_text(i)) }
                    .map_err(|t| call::unfit(f, i, t))?;
                Ok(())
            });
        match given {
            Ok(()) => call::export(f, &values[..n]),
            Err(e) => Ran::Error(e),
        }
    };
    // SAFETY: `v` is live and has room for what is pushed.
    unsafe {
        match ran {
            Ran::Val(Val::Null) => 0,
            Ran::Val(x) => {
                push(v, &x, 0);
                1
            }
            Ran::Error(e) => raise(v, &e),
            Ran::End => 2,
        }
    }
}

/// Reads what `loadfile` and `dofile` name and pushes it: 0, or -1 with an error set.
///
/// # Safety
/// Called by the shim with the running machine and the `user` that it was made with; `path` is
/// readable for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn olelo_squirrel_import(
    v: *mut Vm,
    user: *const c_void,
    path: *const c_char,
    len: usize,
) -> c_int {
    // SAFETY: `user` is the importer of a live machine; the path is a string on its stack.
    let (import, path) = unsafe {
        (
            &*user.cast::<Importer>(),
            std::slice::from_raw_parts(path.cast::<u8>(), len),
        )
    };
    let path = String::from_utf8_lossy(path);
    let read = catch_unwind(AssertUnwindSafe(|| import(&path)));
    // SAFETY: `v` is live.
    unsafe {
        match read {
            Ok(Ok(text)) => {
                let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
                push(v, &Val::bytes(text), 0);
                0
            }
            Ok(Err(e)) => raise(v, &e),
            Err(_) => raise(v, "reading it failed inside; this is a fault of the server"),
        }
    }
}

/// What a script prints goes to the log.
///
/// # Safety
/// `text` is readable for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn olelo_squirrel_print(text: *const c_char, len: usize, error: c_int) {
    // SAFETY: the caller's promise.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    let text = String::from_utf8_lossy(text);
    let text = text.trim_end();
    // A logger that panics must not unwind into C++; nothing else can be done about it.
    let _ = catch_unwind(|| match error {
        _ if text.is_empty() => {}
        0 => olelo_core::info!("app_sqlang", "{text}"),
        _ => olelo_core::error!("app_sqlang", "{text}"),
    });
}

/// Sets an error of the script; -1.
///
/// # Safety
/// `v` must be live.
unsafe fn raise(v: *mut Vm, text: &str) -> c_int {
    // SAFETY: the caller's promise; the string is popped again.
    unsafe {
        raw::sq_pushstring(v, text.as_ptr().cast(), text.len() as i64);
        raw::sq_throwobject(v) as c_int
    }
}

/// The value at a place of the stack; the error is the name of a type that crosses no border. Where
/// `text` is wanted a number with a fraction is printed.
///
/// # Safety
/// `v` must be live; the value must stay at its place for as long as the result lives.
unsafe fn value<'a>(v: *mut Vm, at: i64, text: bool) -> Result<Val<'a>, &'static str> {
    // SAFETY: the caller's promise; each getter is for the type that was asked for before.
    unsafe {
        let kind = raw::sq_gettype(v, at);
        let mut int = 0;
        Ok(match kind {
            raw::NULL => Val::Null,
            raw::FLOAT if text => {
                let mut x = 0.0;
                raw::sq_getfloat(v, at, &mut x);
                Val::from(x.to_string())
            }
            raw::INTEGER | raw::FLOAT => {
                raw::sq_getinteger(v, at, &mut int);
                Val::Int(int)
            }
            raw::BOOL => {
                let mut b = 0;
                raw::sq_getbool(v, at, &mut b);
                Val::Bool(b != 0)
            }
            raw::STRING => {
                let mut text = ptr::null();
                raw::sq_getstringandsize(v, at, &mut text, &mut int);
                Val::bytes(std::slice::from_raw_parts(text.cast(), int as usize))
            }
            _ => return Err(raw::type_name(kind)),
        })
    }
}

/// Pushes a value.
///
/// # Safety
/// `v` must be live, in a native function or with room on its stack.
unsafe fn push(v: *mut Vm, x: &Val<'_>, depth: u32) {
    // SAFETY: the caller's promise; nested values take two places a level.
    unsafe {
        match x {
            Val::Int(i) => raw::sq_pushinteger(v, *i),
            Val::Bool(b) => raw::sq_pushbool(v, u64::from(*b)),
            Val::Str(s) => raw::sq_pushstring(v, s.as_ptr().cast(), s.len() as i64),
            Val::List(items) if depth < DEEPEST => {
                raw::sq_newarray(v, 0);
                for x in items {
                    push(v, x, depth + 1);
                    raw::sq_arrayappend(v, -2);
                }
            }
            Val::Dict(fields) if depth < DEEPEST => {
                raw::sq_newtable(v);
                for (k, x) in fields {
                    raw::sq_pushstring(v, k.as_ptr().cast(), k.len() as i64);
                    push(v, x, depth + 1);
                    raw::sq_newslot(v, -3, 0);
                }
            }
            _ => raw::sq_pushnull(v),
        }
    }
}
