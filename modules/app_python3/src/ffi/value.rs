//! Values between Python and exports.
//!
//! KEMI's strings are bytes. Scripts see them as `str`, decoded as UTF-8 with Python's
//! `surrogateescape`, and may give back `str`, encoded the same way, or `bytes`: any bytes survive the
//! way there and back. Arguments borrow from Python's objects, which the calling frame keeps alive.
//! No function takes a list or dict; some return one.

use super::library::{Obj, python};
use olelo_core::route::value::Val;
use std::ffi::{c_int, c_ulong};
use std::ptr;

const LONG: c_ulong = 1 << 24;
const BYTES: c_ulong = 1 << 27;
const STR: c_ulong = 1 << 28;

/// Why an object is no value.
#[derive(Debug)]
pub enum Unfit {
    /// Its type crosses no border.
    Type,
    /// It is of a type that does, but can't be read; why.
    Value(&'static str),
}

/// A reference to an object, given back when dropped: only while this thread has Python's lock.
pub struct Ref(Obj);

impl Ref {
    /// Takes over a reference that a function of Python returned; `None` where it raised an error.
    ///
    /// # Safety
    /// `obj` is null or a reference that the caller owns and no longer uses.
    pub unsafe fn owned(obj: Obj) -> Option<Ref> {
        (!obj.is_null()).then_some(Ref(obj))
    }

    /// Another reference to an object that is alive.
    ///
    /// # Safety
    /// `obj` is a live object.
    pub unsafe fn more(obj: Obj) -> Ref {
        // SAFETY: as the caller says.
        unsafe { (python().f.Py_IncRef)(obj) };
        Ref(obj)
    }

    /// The object, still ours.
    pub fn get(&self) -> Obj {
        self.0
    }

    /// The object, no longer ours: for functions that take it over, and to return it to Python.
    pub fn give(self) -> Obj {
        let obj = self.0;
        std::mem::forget(self);
        obj
    }
}

impl Drop for Ref {
    fn drop(&mut self) {
        // SAFETY: the reference is ours; who holds a `Ref` has Python's lock.
        unsafe { (python().f.Py_DecRef)(self.0) }
    }
}

/// The address of an object's type.
///
/// # Safety
/// `obj` is a live object.
pub unsafe fn type_of(obj: Obj) -> Obj {
    // SAFETY: an object begins with its count of references and its type in every version that has
    // Python's lock; `layout_is_known` has looked.
    unsafe { *obj.cast::<Obj>().add(1) }
}

/// Whether objects are laid out as [`type_of`] counts on; some builds for debugging differ.
pub fn layout_is_known() -> bool {
    let p = python();
    // SAFETY: `None` is alive; `PyObject_Type` returns a reference that is ours.
    unsafe {
        let asked = Ref::owned((p.f.PyObject_Type)(p.none));
        asked.is_some_and(|t| t.get() == type_of(p.none))
    }
}

/// Takes an argument. Strings that need encoding are kept in `kept` for as long as the value is used.
/// The error says why it is no value.
///
/// # Safety
/// `obj` is a live object that outlives `'a`, as does `kept`; this thread has Python's lock.
pub unsafe fn take<'a>(obj: Obj, kept: &mut Vec<Ref>) -> Result<Val<'a>, Unfit> {
    let p = python();
    if obj == p.none {
        return Ok(Val::Null);
    }
    if obj == p.truth || obj == p.falsehood {
        return Ok(Val::Bool(obj == p.truth));
    }
    // SAFETY: the caller's promises.
    unsafe {
        let flags = (p.f.PyType_GetFlags)(type_of(obj));
        if flags & LONG != 0 {
            take_int(obj)
        } else if flags & (STR | BYTES) != 0 {
            take_bytes(obj, flags & STR != 0, kept).map(Val::bytes)
        } else {
            Err(Unfit::Type)
        }
    }
}

unsafe fn take_int(obj: Obj) -> Result<Val<'static>, Unfit> {
    let mut overflow: c_int = 0;
    // SAFETY: `obj` is an int, so this can't fail but by overflow, which it reports.
    let i = unsafe { (python().f.PyLong_AsLongLongAndOverflow)(obj, &mut overflow) };
    if overflow == 0 {
        Ok(Val::Int(i))
    } else {
        Err(Unfit::Value("the integer has more than 64 bits"))
    }
}

/// The bytes of a `str` or `bytes`.
unsafe fn take_bytes<'a>(obj: Obj, is_str: bool, kept: &mut Vec<Ref>) -> Result<&'a [u8], Unfit> {
    let p = python();
    // SAFETY: `obj` is of the type that `is_str` says. The text of a `str` belongs to it, and that
    // of an encoded one to the object put into `kept`: both outlive `'a`, as `take` demands.
    unsafe {
        let mut len = 0isize;
        if is_str {
            let text = (p.f.PyUnicode_AsUTF8AndSize)(obj, &mut len);
            if !text.is_null() {
                return Ok(std::slice::from_raw_parts(text.cast(), len as usize));
            }
            // It has bytes that are no text.
            (p.f.PyErr_Clear)();
        }
        let mut holder = obj;
        if is_str {
            let encoded = (p.f.PyUnicode_AsEncodedString)(
                obj,
                c"utf-8".as_ptr(),
                c"surrogateescape".as_ptr(),
            );
            let Some(encoded) = Ref::owned(encoded) else {
                (p.f.PyErr_Clear)();
                return Err(Unfit::Value("the str can't be encoded"));
            };
            holder = encoded.get();
            kept.push(encoded);
        }
        let mut text = ptr::null_mut();
        if (p.f.PyBytes_AsStringAndSize)(holder, &mut text, &mut len) != 0 {
            (p.f.PyErr_Clear)();
            return Err(Unfit::Value("the bytes can't be read"));
        }
        Ok(std::slice::from_raw_parts(text.cast(), len as usize))
    }
}

/// Makes an object; `None` where Python raised an error (memory).
///
/// This thread has Python's lock, as everything that has a `Ref`.
pub fn make(v: &Val<'_>) -> Option<Ref> {
    let p = python();
    // SAFETY: the functions return new references or null; `PyList_SetItem` takes over the item,
    // `PyDict_SetItem` does not.
    unsafe {
        match v {
            Val::Null => Some(Ref::more(p.none)),
            Val::Int(i) => Ref::owned((p.f.PyLong_FromLongLong)(*i)),
            Val::Bool(b) => Some(Ref::more(if *b { p.truth } else { p.falsehood })),
            Val::Str(s) => make_str(s),
            Val::List(items) => {
                let list = Ref::owned((p.f.PyList_New)(items.len() as isize))?;
                for (i, item) in items.iter().enumerate() {
                    (p.f.PyList_SetItem)(list.get(), i as isize, make(item)?.give());
                }
                Some(list)
            }
            Val::Dict(fields) => {
                let dict = Ref::owned((p.f.PyDict_New)())?;
                for (k, v) in fields {
                    let (k, v) = (make_str(k.as_bytes())?, make(v)?);
                    if (p.f.PyDict_SetItem)(dict.get(), k.get(), v.get()) != 0 {
                        return None;
                    }
                }
                Some(dict)
            }
        }
    }
}

/// A `str` of any bytes.
pub fn make_str(b: &[u8]) -> Option<Ref> {
    // SAFETY: the bytes are readable for their length.
    unsafe {
        Ref::owned((python().f.PyUnicode_DecodeUTF8)(
            b.as_ptr().cast(),
            b.len() as isize,
            c"surrogateescape".as_ptr(),
        ))
    }
}

/// A `bytes`.
pub fn make_bytes(b: &[u8]) -> Option<Ref> {
    // SAFETY: as above.
    unsafe {
        Ref::owned((python().f.PyBytes_FromStringAndSize)(
            b.as_ptr().cast(),
            b.len() as isize,
        ))
    }
}

/// A `tuple` of these.
pub fn make_tuple(items: impl ExactSizeIterator<Item = Ref>) -> Option<Ref> {
    let p = python();
    // SAFETY: the new tuple has room for the items, each of which it takes over.
    unsafe {
        let tuple = Ref::owned((p.f.PyTuple_New)(items.len() as isize))?;
        for (i, item) in items.enumerate() {
            (p.f.PyTuple_SetItem)(tuple.get(), i as isize, item.give());
        }
        Some(tuple)
    }
}

/// The text of a `str`.
pub fn text_of(obj: &Ref) -> Option<String> {
    let mut kept = Vec::new();
    // SAFETY: `obj` and `kept` outlive the copying.
    match unsafe { take(obj.get(), &mut kept) } {
        Ok(Val::Str(s)) => Some(String::from_utf8_lossy(&s).into_owned()),
        _ => None,
    }
}

/// The name of an object's type.
///
/// # Safety
/// `obj` is a live object.
pub unsafe fn type_name(obj: Obj) -> String {
    let p = python();
    // SAFETY: a type is a live object as long as its instance.
    let name = unsafe {
        Ref::owned((p.f.PyObject_GetAttrString)(
            type_of(obj),
            c"__name__".as_ptr(),
        ))
    };
    name.and_then(|n| text_of(&n)).unwrap_or_default()
}
