//! The functions that Python calls: every `KSR.x.y`, and the few that the bootstrap text needs.
//!
//! An export is one C function object whose `self` is a capsule with the export's address: no
//! closure, no look-up by name. A call of it converts the arguments where they are, runs the function
//! and converts what it returns. `exit` and `drop` raise a class of their own, derived from
//! `SystemExit`; a script that catches it is ended at its next call.

use super::interpreter::is_attached;
use super::library::{FastCall, METH_FASTCALL, MethodDef, Obj, python};
use super::value::{Ref, Unfit, make, make_bytes, make_str, take, type_name};
use olelo_core::route::engine::Source;
use olelo_core::route::function::Function;
use olelo_core::route::value::Val;
use olelo_script::call::{self, MOST_ARGS, Ran};
use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The classes of the bootstrap text that are raised here; its module keeps them alive.
#[derive(Default)]
pub struct Classes {
    /// A call of KSR that failed.
    pub error: AtomicPtr<std::ffi::c_void>,
    /// `exit` and `drop`.
    pub exit: AtomicPtr<std::ffi::c_void>,
    /// The time is up.
    pub stopped: AtomicPtr<std::ffi::c_void>,
}

/// The classes of this process.
pub static CLASSES: Classes = Classes {
    error: AtomicPtr::new(ptr::null_mut()),
    exit: AtomicPtr::new(ptr::null_mut()),
    stopped: AtomicPtr::new(ptr::null_mut()),
};

thread_local! {
    /// Whether this is the process' own thread: the others are a script's, and have no message.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
    /// Whether the server's own code runs, called by a script.
    static IN_EXPORT: Cell<bool> = const { Cell::new(false) };
    /// What imports are answered from.
    static SOURCE: RefCell<Option<Rc<Source>>> = const { RefCell::new(None) };
}

/// Makes the calling thread the one that may use KSR.
pub fn this_is_the_worker() {
    IS_WORKER.set(true);
}

/// Whether this is the worker, and no script runs but one that waits for a function of the server.
pub fn is_servers_turn() -> bool {
    IS_WORKER.get() && (IN_EXPORT.get() || !is_attached())
}

/// A script's turn, within a function of the server or not; ends when dropped.
pub struct ScriptsTurn(bool);

impl ScriptsTurn {
    /// Begins it.
    pub fn begin() -> ScriptsTurn {
        ScriptsTurn(IN_EXPORT.replace(false))
    }
}

impl Drop for ScriptsTurn {
    fn drop(&mut self) {
        IN_EXPORT.set(self.0);
    }
}

/// The source; `None` as well at the very end of the process.
fn source() -> Option<Rc<Source>> {
    SOURCE.try_with(|s| s.borrow().clone()).ok().flatten()
}

/// Answers imports from this source from now on; returns the one before.
pub fn import_from(source: Option<Rc<Source>>) -> Option<Rc<Source>> {
    SOURCE.replace(source)
}

/// A function object that calls `call` with this `self`.
pub fn builtin(name: &str, call: FastCall, me: Option<&Ref>) -> Option<Ref> {
    let name = CString::new(name).ok()?;
    // A handful once per process, and some hundreds per generation: `defs` below keeps the latter.
    let def = Box::leak(Box::new(MethodDef {
        name: name.into_raw(),
        call,
        flags: METH_FASTCALL,
        doc: ptr::null(),
    }));
    function_object(def, me)
}

fn function_object(def: &'static MethodDef, me: Option<&Ref>) -> Option<Ref> {
    let me = me.map_or(ptr::null_mut(), Ref::get);
    // SAFETY: the definition is never freed; Python takes references of its own.
    unsafe { Ref::owned((python().f.PyCFunction_NewEx)(def, me, ptr::null_mut())) }
}

/// An export as a function object. The definitions are made once per process.
pub fn export(f: &'static Function) -> Option<Ref> {
    thread_local! {
        static DEFS: RefCell<rustc_hash::FxHashMap<usize, &'static MethodDef>> = RefCell::default();
    }
    let address: *const Function = f;
    let def = DEFS.with_borrow_mut(|defs| {
        *defs.entry(address as usize).or_insert_with(|| {
            let text = |s: &str| CString::new(s).unwrap_or_default().into_raw().cast_const();
            Box::leak(Box::new(MethodDef {
                name: text(f.name),
                call: call_export,
                flags: METH_FASTCALL,
                doc: text(&format!("{}\n\n{}", f.signature(), f.doc)),
            }))
        })
    });
    // SAFETY: exports are never freed, so the capsule needs no end of its own.
    let capsule = unsafe {
        Ref::owned((python().f.PyCapsule_New)(
            address.cast_mut().cast(),
            ptr::null(),
            None,
        ))
    }?;
    function_object(def, Some(&capsule))
}

/// The C function behind every export.
unsafe extern "C" fn call_export(capsule: Obj, args: *const Obj, n: isize) -> Obj {
    // SAFETY: Python calls this with the capsule that `export` made, which holds the address of an
    // export, and with `n` live objects. Strings borrowed from them, and from `kept`, are used only
    // until this returns, which the calling frame outlives.
    unsafe {
        let f: &Function = &*(python().f.PyCapsule_GetPointer)(capsule, ptr::null()).cast();
        if !IS_WORKER.get() {
            return raise(&format!(
                "{}: KSR is the worker's: a thread of a script can't call it",
                f.full_name()
            ));
        }
        if n as usize > MOST_ARGS {
            return raise(&call::too_many(f, n as usize));
        }
        let mut kept = Vec::new();
        let mut vals: smallvec::SmallVec<[Val<'_>; MOST_ARGS]> = smallvec::SmallVec::new();
        for i in 0..n as usize {
            let arg = *args.add(i);
            match take(arg, &mut kept) {
                Ok(v) => vals.push(v),
                Err(Unfit::Type) => return raise(&call::unfit(f, i, &type_name(arg))),
                Err(Unfit::Value(why)) => {
                    return raise(&format!("{}: argument {}: {why}", f.signature(), i + 1));
                }
            }
        }
        let outer = IN_EXPORT.replace(true);
        let ran = call::export(f, &vals);
        IN_EXPORT.set(outer);
        match ran {
            Ran::Val(v) => make(&v).map_or(ptr::null_mut(), Ref::give),
            Ran::Error(e) => raise(&e),
            Ran::End => {
                (python().f.PyErr_SetNone)(CLASSES.exit.load(Ordering::Relaxed));
                ptr::null_mut()
            }
        }
    }
}

/// Raises `Router.Error` with this text: what a function returns to Python then.
pub fn raise(text: &str) -> Obj {
    // SAFETY: the class lives as long as the process; Python takes references of its own.
    unsafe {
        if let Some(text) = make_str(text.as_bytes()) {
            (python().f.PyErr_SetObject)(CLASSES.error.load(Ordering::Relaxed), text.get());
        }
    }
    ptr::null_mut()
}

/// `import_file(path)`: the text of a file that a script imports, `None` where there is none.
///
/// # Safety
/// Called by Python only.
pub unsafe extern "C" fn import_file(_: Obj, args: *const Obj, n: isize) -> Obj {
    // SAFETY: Python gives `n` live objects.
    let path = unsafe { first_text(args, n) };
    let text = path.and_then(|p| source()?.import(&p).ok());
    match text {
        Some(t) => make_bytes(&t),
        None => make(&Val::Null),
    }
    .map_or(ptr::null_mut(), Ref::give)
}

/// `is_held(path)`: whether an import is part of the generation.
///
/// # Safety
/// Called by Python only.
pub unsafe extern "C" fn is_held(_: Obj, args: *const Obj, n: isize) -> Obj {
    // SAFETY: Python gives `n` live objects.
    let path = unsafe { first_text(args, n) };
    let held = path.is_some_and(|p| source().is_some_and(|s| s.holds(&p)));
    make(&Val::Bool(held)).map_or(ptr::null_mut(), Ref::give)
}

/// # Safety
/// `args` are `n` live objects.
unsafe fn first_text(args: *const Obj, n: isize) -> Option<String> {
    let mut kept = Vec::new();
    // SAFETY: as the caller says.
    match unsafe { take((n > 0).then(|| *args)?, &mut kept) } {
        Ok(Val::Str(s)) => Some(String::from_utf8_lossy(&s).into_owned()),
        _ => None,
    }
}
