//! The `app_native` module: the native routing language.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("app_native").doc("The native routing language.")
}
