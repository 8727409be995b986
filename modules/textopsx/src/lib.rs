//! The `textopsx` module: more on texts and headers.

#![forbid(unsafe_code)]

use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    Module::new("textopsx").doc("More on texts and headers.")
}
