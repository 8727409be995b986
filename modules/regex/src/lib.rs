//! The `regex` module: groups of regular expressions.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("regex").doc("Groups of regular expressions.")
}
