//! Values of JavaScript and of the server, both ways.
//!
//! Texts of SIP are bytes. Those that are UTF-8 become the string that they spell; any other byte
//! becomes a lone surrogate U+DC80 … U+DCFF, which no text has, and comes back as that byte.

use crate::prelude::FILE;
use olelo_core::route::value::Val;
use rquickjs::qjs;
use std::borrow::Cow;
use std::ffi::{CString, c_int};

/// `undefined`.
pub const UNDEFINED: qjs::JSValue = qjs::JS_MKVAL(qjs::JS_TAG_UNDEFINED, 0);
const NULL: qjs::JSValue = qjs::JS_MKVAL(qjs::JS_TAG_NULL, 0);
/// Something was thrown.
pub const EXCEPTION: qjs::JSValue = qjs::JS_MKVAL(qjs::JS_TAG_EXCEPTION, 0);

/// What kind of value it is.
pub fn tag(v: qjs::JSValue) -> c_int {
    // SAFETY: the tag of any value can be read.
    unsafe { qjs::JS_VALUE_GET_NORM_TAG(v) }
}

/// Whether something was thrown.
pub fn is_exception(v: qjs::JSValue) -> bool {
    tag(v) == qjs::JS_TAG_EXCEPTION
}

/// A value of which we hold one count, given back when dropped.
pub struct Owned {
    l: *mut qjs::JSContext,
    v: qjs::JSValue,
}

impl Owned {
    /// Takes over one count of `v`.
    ///
    /// # Safety
    /// `v` is a value of the live context `l`, of which the caller holds a count; the context
    /// outlives it.
    pub unsafe fn new(l: *mut qjs::JSContext, v: qjs::JSValue) -> Owned {
        Owned { l, v }
    }

    /// A string of these bytes.
    pub fn text(l: *mut qjs::JSContext, bytes: &[u8]) -> Owned {
        // SAFETY: every caller's `l` is the live context of its state.
        unsafe { Owned::new(l, made_text(l, bytes)) }
    }

    /// The value; the count stays here.
    pub fn raw(&self) -> qjs::JSValue {
        self.v
    }

    /// The value with its count.
    pub fn into_raw(self) -> qjs::JSValue {
        std::mem::ManuallyDrop::new(self).v
    }

    /// The same value, counted once more.
    pub fn copy(&self) -> Owned {
        // SAFETY: the value is alive as we hold a count.
        unsafe { Owned::new(self.l, qjs::JS_DupValue(self.l, self.v)) }
    }

    /// Whether both are the same object.
    pub fn is(&self, other: &Owned) -> bool {
        // SAFETY: objects have a pointer, which is only compared.
        tag(self.v) == qjs::JS_TAG_OBJECT
            && tag(other.v) == qjs::JS_TAG_OBJECT
            && unsafe { qjs::JS_VALUE_GET_PTR(self.v) == qjs::JS_VALUE_GET_PTR(other.v) }
    }

    /// Whether it can be called.
    pub fn is_function(&self) -> bool {
        // SAFETY: the value is alive.
        unsafe { qjs::JS_IsFunction(self.l, self.v) }
    }

    /// Sets a property of an object.
    pub fn set(&self, name: &str, v: Owned) {
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: object and value are alive; the property takes over the value's count.
        unsafe { qjs::JS_SetPropertyStr(self.l, self.v, name.as_ptr(), v.into_raw()) };
    }

    /// A property that is a function.
    pub fn function(&self, name: &str) -> Option<Owned> {
        self.get(name).filter(Owned::is_function)
    }

    /// A property; `None` where reading it throws.
    pub fn get(&self, name: &str) -> Option<Owned> {
        let name = CString::new(name).ok()?;
        // SAFETY: the object is alive; the value read is ours, as is a pending error.
        unsafe {
            let v = Owned::new(
                self.l,
                qjs::JS_GetPropertyStr(self.l, self.v, name.as_ptr()),
            );
            if is_exception(v.v) {
                drop(Owned::new(self.l, qjs::JS_GetException(self.l)));
                return None;
            }
            Some(v)
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: by `new` we hold a count and the context lives.
        unsafe { qjs::JS_FreeValue(self.l, self.v) };
    }
}

/// An argument of an exported function, kept alive during the call.
pub enum Argument {
    /// Nothing, `null`, `undefined`.
    None,
    /// A number.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// Text of the interpreter, to be given back.
    Text {
        /// The context it is of.
        l: *mut qjs::JSContext,
        /// Bytes with a zero at their end.
        at: *const std::ffi::c_char,
        /// How many, the zero left out.
        len: usize,
    },
}

impl Argument {
    /// Reads a value; the error is the name of a type that can't be given. Where `text` is wanted a
    /// number with a fraction is printed.
    ///
    /// # Safety
    /// `v` is a live value of the live context `l`.
    pub unsafe fn read(
        l: *mut qjs::JSContext,
        v: qjs::JSValue,
        text: bool,
    ) -> Result<Argument, &'static str> {
        // SAFETY: each is read by its tag.
        unsafe {
            Ok(match tag(v) {
                qjs::JS_TAG_INT => Argument::Int(qjs::JS_VALUE_GET_INT(v).into()),
                qjs::JS_TAG_FLOAT64 if !text || qjs::JS_VALUE_GET_FLOAT64(v).fract() == 0.0 => {
                    Argument::Int(qjs::JS_VALUE_GET_FLOAT64(v) as i64)
                }
                qjs::JS_TAG_BOOL => Argument::Bool(qjs::JS_VALUE_GET_BOOL(v)),
                qjs::JS_TAG_NULL | qjs::JS_TAG_UNDEFINED => Argument::None,
                qjs::JS_TAG_STRING | qjs::JS_TAG_STRING_ROPE | qjs::JS_TAG_FLOAT64 => {
                    let mut len = 0;
                    let at = qjs::JS_ToCStringLen2(l, &mut len, v, false);
                    if at.is_null() {
                        drop(Owned::new(l, qjs::JS_GetException(l)));
                        return Err("string for which there is no memory");
                    }
                    Argument::Text {
                        l,
                        at,
                        len: len as usize,
                    }
                }
                qjs::JS_TAG_BIG_INT | qjs::JS_TAG_SHORT_BIG_INT => {
                    let mut i = 0;
                    if qjs::JS_ToBigInt64(l, &mut i, v) < 0 {
                        drop(Owned::new(l, qjs::JS_GetException(l)));
                        return Err("bigint");
                    }
                    Argument::Int(i)
                }
                qjs::JS_TAG_SYMBOL => return Err("symbol"),
                _ if qjs::JS_IsFunction(l, v) => return Err("function"),
                _ => return Err("object"),
            })
        }
    }

    /// The value.
    pub fn val(&self) -> Val<'_> {
        match self {
            Argument::None => Val::Null,
            Argument::Int(i) => Val::Int(*i),
            Argument::Bool(b) => Val::Bool(*b),
            // SAFETY: the interpreter's text lives until we give it back.
            Argument::Text { at, len, .. } => Val::Str(bytes_of(unsafe {
                std::slice::from_raw_parts(at.cast(), *len)
            })),
        }
    }
}

impl Drop for Argument {
    fn drop(&mut self) {
        if let Argument::Text { l, at, .. } = self {
            // SAFETY: the text came from this context and is given back once.
            unsafe { qjs::JS_FreeCString(*l, *at) };
        }
    }
}

/// The bytes that a string stands for, see the file's essay.
fn bytes_of(text: &[u8]) -> Cow<'_, [u8]> {
    // U+DC80 … U+DCFF are ED B2 80 … ED B3 BF.
    let lone = |w: &[u8]| w[0] == 0xed && matches!(w[1], 0xb2 | 0xb3);
    if !text.windows(3).any(lone) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        match rest {
            [0xed, b @ (0xb2 | 0xb3), c, tail @ ..] => {
                out.push((b & 1) << 6 | c & 0x3f | 0x80);
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = &rest[1..];
            }
        }
    }
    Cow::Owned(out)
}

/// The text of a value as JavaScript prints it; `None` where it can't.
pub fn text_of(l: *mut qjs::JSContext, v: qjs::JSValue) -> Option<Vec<u8>> {
    let mut len = 0;
    // SAFETY: every caller's value is alive; what was made is copied and given back.
    unsafe {
        let at = qjs::JS_ToCStringLen2(l, &mut len, v, false);
        if at.is_null() {
            drop(Owned::new(l, qjs::JS_GetException(l)));
            return None;
        }
        let text = std::slice::from_raw_parts(at.cast::<u8>(), len as usize).to_vec();
        qjs::JS_FreeCString(l, at);
        Some(text)
    }
}

/// # Safety
/// `l` is a live context.
unsafe fn made_text(l: *mut qjs::JSContext, bytes: &[u8]) -> qjs::JSValue {
    // SAFETY: pointer and length are of live slices.
    unsafe {
        if std::str::from_utf8(bytes).is_ok() {
            return qjs::JS_NewStringLen(l, bytes.as_ptr().cast(), bytes.len() as _);
        }
        let mut units: Vec<u16> = Vec::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            units.extend(chunk.valid().encode_utf16());
            units.extend(chunk.invalid().iter().map(|b| 0xdc00 | u16::from(*b)));
        }
        qjs::JS_NewStringUTF16(l, units.as_ptr(), units.len() as _)
    }
}

/// A new value; the caller has its count. Numbers beyond 53 bits lose their last digits, as all
/// numbers of JavaScript do.
///
/// # Safety
/// `l` is a live context.
pub unsafe fn made(l: *mut qjs::JSContext, v: &Val<'_>) -> qjs::JSValue {
    // SAFETY: the parts of a list or an object are handed to it with their counts.
    unsafe {
        match v {
            Val::Null => NULL,
            Val::Bool(b) => qjs::JS_MKVAL(qjs::JS_TAG_BOOL, c_int::from(*b)),
            Val::Int(i) => match i32::try_from(*i) {
                Ok(i) => qjs::JS_MKVAL(qjs::JS_TAG_INT, i),
                Err(_) => qjs::JS_NewFloat64(*i as f64),
            },
            Val::Str(s) => made_text(l, s),
            Val::List(items) => {
                let list = qjs::JS_NewArray(l);
                for (i, x) in items.iter().enumerate() {
                    qjs::JS_SetPropertyUint32(l, list, i as u32, made(l, x));
                }
                list
            }
            Val::Dict(fields) => {
                let object = Owned::new(l, qjs::JS_NewObject(l));
                for (k, x) in fields {
                    object.set(k, Owned::new(l, made(l, x)));
                }
                object.into_raw()
            }
        }
    }
}

/// QuickJS cuts longer texts of errors.
const LONGEST_FORMATTED: usize = 256;

/// Throws a TypeError with this text, with the place of the call.
///
/// # Safety
/// `l` is a live context, within a call of a native function.
pub unsafe fn throw(l: *mut qjs::JSContext, text: &str) -> qjs::JSValue {
    let brief = CString::new(text.replace('\0', " ")).unwrap_or_default();
    // SAFETY: the format takes one text with a zero at its end; the error is taken and thrown again.
    unsafe {
        let thrown = qjs::JS_ThrowTypeError(l, c"%s".as_ptr(), brief.as_ptr());
        if text.len() < LONGEST_FORMATTED {
            return thrown;
        }
        let error = Owned::new(l, qjs::JS_GetException(l));
        error.set("message", Owned::text(l, text.as_bytes()));
        qjs::JS_Throw(l, error.into_raw())
    }
}

/// What was thrown, for operators: `file:line:col: message`, then the stack.
pub fn complaint(l: *mut qjs::JSContext, thrown: &Owned) -> String {
    let message = super::lossy(l, thrown);
    // SAFETY: the value is alive.
    let stack = if unsafe { qjs::JS_IsError(thrown.raw()) } {
        thrown.get("stack").map(|s| super::lossy(l, &s))
    } else {
        None
    };
    let stack = stack.unwrap_or_default();
    match place(&stack) {
        Some(place) => format!("{place}: {message}\n{}", stack.trim_end()),
        None => message,
    }
}

/// The first place in a stack that is of a file of the operator's: `    at f (file:1:2)`,
/// `    at file:1:2`.
fn place(stack: &str) -> Option<&str> {
    stack.lines().find_map(|line| {
        let line = line.trim().strip_prefix("at ")?;
        let place = match line.rsplit_once('(') {
            Some((_, p)) => p.trim_end_matches(')'),
            None => line,
        };
        let (file, _) = place.split_once(':')?;
        (file != FILE).then_some(place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_no_text_comes_back() {
        for b in 0x80..=0xffu8 {
            let unit = 0xdc00u32 | u32::from(b);
            let text = [
                0xe0 | (unit >> 12) as u8,
                0x80 | (unit >> 6 & 63) as u8,
                0x80 | (unit & 63) as u8,
            ];
            assert_eq!(bytes_of(&text).as_ref(), [b], "{b:x}");
        }
        assert_eq!(bytes_of("é퟿".as_bytes()).as_ref(), "é퟿".as_bytes());
    }

    #[test]
    fn the_place_of_an_error_is_where_a_file_is_named() {
        let stack = "    at sl_send_reply (native)\n    at ksr_request_route (/etc/a.js:3:5)\n";
        assert_eq!(place(stack), Some("/etc/a.js:3:5"));
        assert_eq!(place("    at /etc/a.js:7:1\n"), Some("/etc/a.js:7:1"));
        let within = "    at require (prelude:158:54)\n    at /etc/a.js:2:9\n";
        assert_eq!(place(within), Some("/etc/a.js:2:9"));
        assert_eq!(place(""), None);
    }
}
