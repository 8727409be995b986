//! The `mtree` module: trees of prefixes in shared memory.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("mtree").doc("Trees of prefixes in shared memory.")
}
