//! Python's library as opened at run time: its functions by name, in one table.
//!
//! Nothing is linked: a machine without Python builds and runs the server. The functions are those of
//! Python's stable interface, and the few beside it that every version from 3.8 on has exported.
//! The library is opened once, by main, so that all processes share its pages, and is never closed;
//! main calls nothing in it. It is opened with its symbols global, as the C extensions of packages
//! look for them.

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// A Python object, of which only the address is known here.
pub type Obj = *mut c_void;

/// A function that Python calls with its arguments as an array (`METH_FASTCALL`).
pub type FastCall = unsafe extern "C" fn(Obj, *const Obj, isize) -> Obj;

/// What tells Python of a C function. Python keeps the address: never freed.
#[repr(C)]
pub struct MethodDef {
    /// Name.
    pub name: *const c_char,
    /// The function.
    pub call: FastCall,
    /// How it is called: [`METH_FASTCALL`].
    pub flags: c_int,
    /// Its description.
    pub doc: *const c_char,
}

/// Arguments come as an array.
pub const METH_FASTCALL: c_int = 0x80;

/// A function that Python calls for each event of a trace.
pub type TraceFn = unsafe extern "C" fn(Obj, *mut c_void, c_int, Obj) -> c_int;

/// An allocator of memory as Python calls it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Allocator {
    /// Handed to the functions.
    pub ctx: *mut c_void,
    /// As in C.
    pub malloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    /// As in C.
    pub calloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    /// As in C.
    pub realloc: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void,
    /// As in C.
    pub free: unsafe extern "C" fn(*mut c_void, *mut c_void),
}

/// An allocator of the arenas that small objects live in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ArenaAllocator {
    /// Handed to the functions.
    pub ctx: *mut c_void,
    /// A new arena.
    pub alloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    /// Gives one back.
    pub free: unsafe extern "C" fn(*mut c_void, *mut c_void, usize),
}

/// The table, with each function's type.
macro_rules! functions {
    ($($name:ident($($arg:ty),*) $(-> $result:ty)?;)*) => {
        /// Python's functions, under Python's names.
        #[allow(non_snake_case, missing_docs)]
        pub struct Functions {
            $(pub $name: unsafe extern "C" fn($($arg),*) $(-> $result)?,)*
        }

        impl Functions {
            fn find(library: &Library) -> Result<Functions, libloading::Error> {
                Ok(Functions {
                    // SAFETY: the types are those of Python's headers, the same in all versions
                    // that `open` lets pass.
                    $($name: unsafe { *library.get(concat!(stringify!($name), "\0").as_bytes())? },)*
                })
            }
        }
    };
}

functions! {
    Py_GetVersion() -> *const c_char;
    Py_SetProgramName(*const libc::wchar_t);
    Py_InitializeEx(c_int);
    PyEval_SaveThread() -> *mut c_void;
    PyEval_RestoreThread(*mut c_void);
    PyEval_SetTrace(Option<TraceFn>, Obj);
    PyEval_EvalCode(Obj, Obj, Obj) -> Obj;
    PyEval_GetBuiltins() -> Obj;
    Py_CompileString(*const c_char, *const c_char, c_int) -> Obj;
    PyMem_GetAllocator(c_int, *mut Allocator);
    PyMem_SetAllocator(c_int, *mut Allocator);
    PyObject_GetArenaAllocator(*mut ArenaAllocator);
    PyObject_SetArenaAllocator(*mut ArenaAllocator);
    PyOS_BeforeFork();
    PyOS_AfterFork_Parent();
    PyOS_AfterFork_Child();
    PyErr_SetInterrupt();
    PyErr_SetObject(Obj, Obj);
    PyErr_SetNone(Obj);
    PyErr_Clear();
    PyErr_Fetch(*mut Obj, *mut Obj, *mut Obj);
    PyErr_NormalizeException(*mut Obj, *mut Obj, *mut Obj);
    PyErr_GivenExceptionMatches(Obj, Obj) -> c_int;
    PyException_SetTraceback(Obj, Obj) -> c_int;
    Py_IncRef(Obj);
    Py_DecRef(Obj);
    PyType_GetFlags(Obj) -> libc::c_ulong;
    PyObject_Type(Obj) -> Obj;
    PyObject_GetAttrString(Obj, *const c_char) -> Obj;
    PyObject_CallObject(Obj, Obj) -> Obj;
    PyObject_Str(Obj) -> Obj;
    PyCFunction_NewEx(*const MethodDef, Obj, Obj) -> Obj;
    PyCapsule_New(*mut c_void, *const c_char, Option<unsafe extern "C" fn(Obj)>) -> Obj;
    PyCapsule_GetPointer(Obj, *const c_char) -> *mut c_void;
    PyLong_FromLongLong(i64) -> Obj;
    PyLong_AsLongLongAndOverflow(Obj, *mut c_int) -> i64;
    PyUnicode_AsUTF8AndSize(Obj, *mut isize) -> *const c_char;
    PyUnicode_AsEncodedString(Obj, *const c_char, *const c_char) -> Obj;
    PyUnicode_DecodeUTF8(*const c_char, isize, *const c_char) -> Obj;
    PyBytes_AsStringAndSize(Obj, *mut *mut c_char, *mut isize) -> c_int;
    PyBytes_FromStringAndSize(*const c_char, isize) -> Obj;
    PyList_New(isize) -> Obj;
    PyList_SetItem(Obj, isize, Obj) -> c_int;
    PySequence_GetItem(Obj, isize) -> Obj;
    PyTuple_New(isize) -> Obj;
    PyTuple_SetItem(Obj, isize, Obj) -> c_int;
    PyDict_New() -> Obj;
    PyDict_SetItem(Obj, Obj, Obj) -> c_int;
    PyDict_SetItemString(Obj, *const c_char, Obj) -> c_int;
    PyDict_GetItemString(Obj, *const c_char) -> Obj;
}

/// The open library.
pub struct Python {
    /// Its functions.
    pub f: Functions,
    /// `None`.
    pub none: Obj,
    /// `True`.
    pub truth: Obj,
    /// `False`.
    pub falsehood: Obj,
    /// `MemoryError`, behind the address of the variable: it is null until Python runs.
    memory_error: *const Obj,
    /// `SystemExit`, likewise.
    system_exit: *const Obj,
    library: Library,
}

// SAFETY: the pointers are addresses of the library's own variables, which live as long as the
// process; who may use what they point at is the business of Python's own lock.
unsafe impl Send for Python {}
// SAFETY: as above.
unsafe impl Sync for Python {}

static PYTHON: OnceLock<Python> = OnceLock::new();

/// The library, once [`open`] has found it.
pub fn python() -> &'static Python {
    PYTHON
        .get()
        .expect("nothing of Python is used before open()")
}

/// Opens the library at this path or of this name. The error says why it can't be used.
pub fn open(path: &str) -> Result<(), String> {
    // SAFETY: Python's library runs no code of its own when opened.
    let library =
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.map_err(|e| e.to_string())?;
    usable(&version_of(&library)?)?;
    let f = Functions::find(&library).map_err(|e| e.to_string())?;
    let variable = |name: &CStr| {
        // SAFETY: only the address is taken.
        let found = unsafe { library.get::<*mut c_void>(name.to_bytes_with_nul()) };
        found.map(|s| s.into_raw()).map_err(|e| e.to_string())
    };
    let python = Python {
        f,
        none: variable(c"_Py_NoneStruct")?,
        truth: variable(c"_Py_TrueStruct")?,
        falsehood: variable(c"_Py_FalseStruct")?,
        memory_error: variable(c"PyExc_MemoryError")?.cast(),
        system_exit: variable(c"PyExc_SystemExit")?.cast(),
        library,
    };
    PYTHON
        .set(python)
        .map_err(|_| "Python's library is open already".to_string())
}

fn version_of(library: &Library) -> Result<String, String> {
    type GetVersion = unsafe extern "C" fn() -> *const c_char;
    // SAFETY: the type is that of Python's headers; it returns a constant text, before Python is
    // initialised as well.
    unsafe {
        let f = library
            .get::<GetVersion>(c"Py_GetVersion".to_bytes_with_nul())
            .map_err(|_| "this is no library of Python".to_string())?;
        Ok(CStr::from_ptr(f()).to_string_lossy().into_owned())
    }
}

/// Whether this version, as Python writes it, has the functions and layouts that are counted on.
fn usable(version: &str) -> Result<(), String> {
    let number = version.split([' ', '+']).next().unwrap_or_default();
    let mut parts = number.split('.').map(|p| p.parse::<u32>().unwrap_or(0));
    match (parts.next(), parts.next()) {
        (Some(3), Some(8..=14)) if !version.contains("free-threading") => Ok(()),
        (Some(3), Some(8..=14)) => Err(format!(
            "Python {number} without its lock (free-threading) can't be used"
        )),
        _ => Err(format!("Python {number} is not one of 3.8 to 3.14")),
    }
}

impl Python {
    /// Its version: `3.11.2`.
    pub fn version(&self) -> String {
        // SAFETY: returns a constant text.
        let text = unsafe { CStr::from_ptr((self.f.Py_GetVersion)()) };
        let text = text.to_string_lossy();
        text.split(' ').next().unwrap_or_default().to_string()
    }

    /// `MemoryError`.
    pub fn memory_error(&self) -> Obj {
        // SAFETY: a variable of the library, set once Python runs and never changed.
        unsafe { *self.memory_error }
    }

    /// `SystemExit`.
    pub fn system_exit(&self) -> Obj {
        // SAFETY: as above.
        unsafe { *self.system_exit }
    }

    /// Sets a flag of the start-up, where this version has it as a variable.
    pub fn set_flag(&self, name: &CStr, value: c_int) {
        // SAFETY: flags are `int` variables, read when Python is initialised, which comes later.
        unsafe {
            if let Ok(flag) = self.library.get::<*mut c_int>(name.to_bytes_with_nul()) {
                flag.into_raw().cast::<c_int>().write(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::usable;

    #[test]
    fn versions_that_are_known_are_used() {
        for v in ["3.8.18 (default)", "3.11.2 (main, Apr)", "3.14.0+ (x)"] {
            assert_eq!(usable(v), Ok(()), "{v}");
        }
        for v in [
            "2.7.18 (default)",
            "3.7.1 (x)",
            "3.15.0 (x)",
            "3.13.0 experimental free-threading build (x)",
            "",
        ] {
            assert!(usable(v).is_err(), "{v}");
        }
    }
}
