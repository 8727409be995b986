//! The `tmrec` module: recurring times.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("tmrec").doc("Recurring times.")
}
