//! What the modules that route by scripts share. A language is an implementation of [`Language`];
//! [`module`] makes of it what operators know: parameters, control commands, functions that run a
//! piece of it. [`call`] is both ways between an interpreter and the server: a route of the script
//! is called for a message, and calls the exported functions.
//!
//! Nothing here knows an interpreter; `ffi` is all that is unsafe.

#![deny(unsafe_code)]

pub mod call;
#[allow(unsafe_code)]
mod ffi;
mod module;
mod pieces;

pub use call::Limits;
pub use module::{Language, Settings, add_script, load_files, module};
pub use pieces::{call as call_function, functions};
