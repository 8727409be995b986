//! Squirrel's C interface and the shim's, as far as they are used: declarations, no code.

use std::ffi::{c_char, c_int, c_void};

/// Squirrel's `SQVM`.
pub enum Vm {}

/// The shim's machine.
pub enum Machine {}

/// Bytes of a string.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    pub at: *const c_char,
    pub len: usize,
}

/// How a call ended, and the value it returned.
#[repr(C)]
#[derive(Default)]
pub struct Result {
    pub ended: c_int,
    pub kind: u32,
    pub value: i64,
}

pub const RETURNED: c_int = 0;
pub const ENDED: c_int = 2;
pub const STOPPED: c_int = 3;
pub const MISSING: c_int = 4;

/// Types of values, as `squirrel.h` numbers them.
pub const NULL: u32 = 0x0100_0001;
pub const INTEGER: u32 = 0x0500_0002;
pub const FLOAT: u32 = 0x0500_0004;
pub const BOOL: u32 = 0x0100_0008;
pub const STRING: u32 = 0x0800_0010;

/// As Squirrel's `type()` names them.
pub fn type_name(kind: u32) -> &'static str {
    match kind & 0x00ff_ffff {
        0x20 => "table",
        0x40 => "array",
        0x80 | 0x800 => "userdata",
        0x100 | 0x200 => "function",
        0x400 => "generator",
        0x1000 => "thread",
        0x4000 => "class",
        0x8000 => "instance",
        0x1_0000 => "weakref",
        _ => "value",
    }
}

unsafe extern "C" {
    pub fn olelo_squirrel_new(limit: usize, user: *mut c_void) -> *mut Machine;
    pub fn olelo_squirrel_free(m: *mut Machine);
    pub fn olelo_squirrel_stop(m: *mut Machine) -> *mut c_int;
    pub fn olelo_squirrel_over(m: *const Machine) -> c_int;
    pub fn olelo_squirrel_dead(m: *const Machine) -> c_int;
    #[cfg(test)]
    pub fn olelo_squirrel_used(m: *const Machine) -> usize;
    pub fn olelo_squirrel_trace(m: *const Machine, len: *mut usize) -> *const c_char;
    pub fn olelo_squirrel_bind(
        m: *mut Machine,
        module: *const c_char,
        name: *const c_char,
        function: *mut c_void,
    );
    pub fn olelo_squirrel_has(m: *mut Machine, name: *const c_char, len: usize) -> c_int;
    pub fn olelo_squirrel_call(
        m: *mut Machine,
        name: *const c_char,
        len: usize,
        args: *const Text,
        n: usize,
        r: *mut Result,
    );
    pub fn olelo_squirrel_run(
        m: *mut Machine,
        text: *const c_char,
        len: usize,
        name: *const c_char,
        r: *mut Result,
    );

    pub fn sq_gettype(v: *mut Vm, at: i64) -> u32;
    pub fn sq_getinteger(v: *mut Vm, at: i64, i: *mut i64) -> i64;
    pub fn sq_getfloat(v: *mut Vm, at: i64, x: *mut f64) -> i64;
    pub fn sq_getbool(v: *mut Vm, at: i64, b: *mut u64) -> i64;
    pub fn sq_getstringandsize(v: *mut Vm, at: i64, s: *mut *const c_char, n: *mut i64) -> i64;
    pub fn sq_pushnull(v: *mut Vm);
    pub fn sq_pushinteger(v: *mut Vm, i: i64);
    pub fn sq_pushbool(v: *mut Vm, b: u64);
    pub fn sq_pushstring(v: *mut Vm, s: *const c_char, n: i64);
    pub fn sq_newarray(v: *mut Vm, size: i64);
    pub fn sq_arrayappend(v: *mut Vm, at: i64) -> i64;
    pub fn sq_newtable(v: *mut Vm);
    pub fn sq_newslot(v: *mut Vm, at: i64, is_static: u64) -> i64;
    pub fn sq_throwobject(v: *mut Vm) -> i64;
}
