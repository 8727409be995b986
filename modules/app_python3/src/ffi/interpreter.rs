//! Python in this process: begun once, after the fork, and there until the process ends.
//!
//! A generation is a module in it, not an interpreter of its own. The process' thread holds Python's
//! lock only while something of Python is called ([`attached`]): threads of a script run while the
//! worker waits for messages.

use super::export::{self, CLASSES};
use super::library::{FastCall, Obj, Python, python};
use super::value::{Ref, layout_is_known, make_str, make_tuple};
use super::{fork, memory, stop};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::OnceLock;

/// What is run before any script.
const BOOTSTRAP: &CStr =
    match CStr::from_bytes_with_nul(concat!(include_str!("../bootstrap.py"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("the text has a zero"),
    };

/// Python's name for a text of statements.
const FILE_INPUT: c_int = 257;

/// Functions of the bootstrap text, there for the life of the process.
pub struct Boot {
    /// `load(files, settings, exports, rank)`.
    pub load: ManuallyDrop<Ref>,
    /// `collect()`.
    pub collect: ManuallyDrop<Ref>,
    /// `describe(kind, value, trace)`.
    pub describe: ManuallyDrop<Ref>,
    /// The message as old scripts see it.
    pub msg: ManuallyDrop<Ref>,
    /// Its `native`, to which functions are added.
    pub native: ManuallyDrop<Ref>,
}

thread_local! {
    /// Python's state of this thread, while it does not hold the lock.
    static THREAD: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
    /// How many calls of [`attached`] are under way.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static BOOT: Cell<Option<&'static Boot>> = const { Cell::new(None) };
}

/// The interpreter to derive paths from; set by main.
static PROGRAM: OnceLock<String> = OnceLock::new();

/// Says which program Python takes itself for: its packages are found from there.
pub fn set_program(path: String) {
    let _ = PROGRAM.set(path);
}

/// Begins Python in this process, unless it has begun. It has to be called on the thread that routes.
pub fn begin() -> Result<&'static Boot, String> {
    if let Some(b) = BOOT.get() {
        return Ok(b);
    }
    let p = python();
    p.set_flag(c"Py_UTF8Mode", 1);
    p.set_flag(c"Py_UnbufferedStdioFlag", 1);
    memory::wrap(p);
    // SAFETY: the first call into Python of this process, which has one thread; the name is never
    // freed. No handlers of signals are installed.
    unsafe {
        if let Some(program) = PROGRAM.get() {
            (p.f.Py_SetProgramName)(wide(program));
        }
        (p.f.Py_InitializeEx)(0);
    }
    export::this_is_the_worker();
    if !layout_is_known() {
        return Err("this build of Python lays out its objects in another way".into());
    }
    let boot = {
        let _signal = stop::KeepSigint::now();
        bootstrap(p)
    };
    let boot = boot.ok_or_else(|| format!("Python does not begin: {}", raised_text(p)))?;
    let boot: &'static Boot = Box::leak(Box::new(boot));
    BOOT.set(Some(boot));
    fork::watch();
    // SAFETY: this thread holds the lock since Python began.
    THREAD.set(unsafe { (p.f.PyEval_SaveThread)() });
    Ok(boot)
}

/// Python's lock, held by this thread until dropped. Nests.
pub struct Attached(());

/// Whether this thread holds Python's lock.
pub fn is_attached() -> bool {
    DEPTH.get() > 0
}

/// Takes Python's lock.
pub fn attached() -> Attached {
    if DEPTH.get() == 0 {
        // SAFETY: the state is this thread's, saved when the lock was let go.
        unsafe { (python().f.PyEval_RestoreThread)(THREAD.get()) };
    }
    DEPTH.set(DEPTH.get() + 1);
    Attached(())
}

impl Attached {
    /// Whether this is the outermost.
    pub fn is_outermost(&self) -> bool {
        DEPTH.get() == 1
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            // SAFETY: this thread holds the lock.
            THREAD.set(unsafe { (python().f.PyEval_SaveThread)() });
        }
    }
}

/// Calls a function with these arguments; `None` where it raised an error.
pub fn call(f: &Ref, args: impl ExactSizeIterator<Item = Ref>) -> Option<Ref> {
    let args = make_tuple(args)?;
    // SAFETY: both are alive; who has a `Ref` has the lock.
    unsafe { Ref::owned((python().f.PyObject_CallObject)(f.get(), args.get())) }
}

/// An attribute; `None` where it raised an error.
pub fn attribute(of: &Ref, name: &CStr) -> Option<Ref> {
    // SAFETY: as above.
    unsafe { Ref::owned((python().f.PyObject_GetAttrString)(of.get(), name.as_ptr())) }
}

/// An error that Python has raised.
pub struct Raised {
    /// Its class.
    pub kind: Ref,
    value: Option<Ref>,
    trace: Option<Ref>,
}

impl Raised {
    /// Takes the error that was raised.
    pub fn take() -> Option<Raised> {
        let p = python();
        let (mut kind, mut value, mut trace) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: Python hands over references, or nulls.
        unsafe {
            (p.f.PyErr_Fetch)(&mut kind, &mut value, &mut trace);
            (p.f.PyErr_NormalizeException)(&mut kind, &mut value, &mut trace);
            let (value, trace) = (Ref::owned(value), Ref::owned(trace));
            if let (Some(v), Some(t)) = (&value, &trace) {
                (p.f.PyException_SetTraceback)(v.get(), t.get());
            }
            Some(Raised {
                kind: Ref::owned(kind)?,
                value,
                trace,
            })
        }
    }

    /// Whether it is of this class.
    pub fn is(&self, class: Obj) -> bool {
        // SAFETY: both are alive.
        unsafe { (python().f.PyErr_GivenExceptionMatches)(self.kind.get(), class) != 0 }
    }

    /// Its text with file:line and traceback, as `describe` makes it; the class' name where that
    /// fails.
    pub fn text(self, describe: &Ref) -> String {
        // SAFETY: `None` is alive.
        let none = || unsafe { Ref::more(python().none) };
        let name = attribute(&self.kind, c"__name__").and_then(|n| super::value::text_of(&n));
        let args = [
            self.kind,
            self.value.unwrap_or_else(none),
            self.trace.unwrap_or_else(none),
        ];
        let text = call(describe, args.into_iter()).and_then(|t| super::value::text_of(&t));
        // SAFETY: clears what `describe` may have raised.
        unsafe { (python().f.PyErr_Clear)() };
        text.or(name).unwrap_or_default()
    }
}

/// Runs the bootstrap text; `None` where it raised an error.
fn bootstrap(p: &Python) -> Option<Boot> {
    // SAFETY: Python has begun and this thread holds its lock; results are new references but for
    // those of `PyDict_GetItemString` and `PyEval_GetBuiltins`, which stay their owner's.
    unsafe {
        let native = Ref::owned((p.f.PyDict_New)())?;
        let natives: [(&str, FastCall); 5] = [
            ("import_file", export::import_file),
            ("is_held", export::is_held),
            ("on_interrupt", stop::on_interrupt),
            ("may_fork", fork::may_fork),
            ("in_forked_child", fork::in_forked_child),
        ];
        for (name, f) in natives {
            set(&native, name, &export::builtin(name, f, None)?)?;
        }
        let names = Ref::owned((p.f.PyDict_New)())?;
        set(
            &names,
            "__builtins__",
            &Ref::more((p.f.PyEval_GetBuiltins)()),
        )?;
        set(&names, "__name__", &make_str(b"olelo")?)?;
        set(&names, "native", &native)?;
        let code = Ref::owned((p.f.Py_CompileString)(
            BOOTSTRAP.as_ptr(),
            c"<olelo>".as_ptr(),
            FILE_INPUT,
        ))?;
        Ref::owned((p.f.PyEval_EvalCode)(code.get(), names.get(), names.get()))?;
        let named = |name: &CStr| {
            let found = (p.f.PyDict_GetItemString)(names.get(), name.as_ptr());
            (!found.is_null()).then(|| Ref::more(found))
        };
        for (class, name) in [
            (&CLASSES.error, c"Error"),
            (&CLASSES.exit, c"Exit"),
            (&CLASSES.stopped, c"Stopped"),
        ] {
            class.store(named(name)?.give(), std::sync::atomic::Ordering::Relaxed);
        }
        Some(Boot {
            load: ManuallyDrop::new(named(c"load")?),
            collect: ManuallyDrop::new(named(c"collect")?),
            describe: ManuallyDrop::new(named(c"describe")?),
            msg: ManuallyDrop::new(call(&named(c"msg")?, std::iter::empty())?),
            native: ManuallyDrop::new(native),
        })
    }
}

/// Puts an object into a dict.
pub fn set(dict: &Ref, name: &str, value: &Ref) -> Option<()> {
    let name = CString::new(name).ok()?;
    // SAFETY: both are alive; the dict takes a reference of its own.
    let done = unsafe { (python().f.PyDict_SetItemString)(dict.get(), name.as_ptr(), value.get()) };
    (done == 0).then_some(())
}

/// The error that Python has raised, in a few words.
fn raised_text(p: &Python) -> String {
    let text = |r: Raised| {
        let value = r.value?;
        let name = attribute(&r.kind, c"__name__").and_then(|n| super::value::text_of(&n))?;
        // SAFETY: the value is alive.
        let text = unsafe { Ref::owned((p.f.PyObject_Str)(value.get())) };
        Some(format!("{name}: {}", super::value::text_of(&text?)?))
    };
    Raised::take()
        .and_then(text)
        .unwrap_or_else(|| "for no reason that it tells".into())
}

/// A text as Python takes its program's name; never freed.
fn wide(text: &str) -> *const libc::wchar_t {
    let mut wide: Vec<libc::wchar_t> = text.chars().map(|c| c as libc::wchar_t).collect();
    wide.push(0);
    Box::leak(wide.into_boxed_slice()).as_ptr()
}
