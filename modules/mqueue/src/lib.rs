//! The `mqueue` module: queues between processes.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("mqueue").doc("Queues between processes.")
}
