//! The `textops` module: looking into the text of a message and changing it.
//!
//! Every change goes to the message's edits and shows when the message is sent; searches see the
//! message as received. Regular expressions are POSIX extended ones ([`posix`]), as operators have
//! always written them.

#![forbid(unsafe_code)]

mod body;
mod headers;
mod multipart;
mod parts;
pub mod posix;
mod search;
mod strings;
mod subst;

use olelo_core::pv::transformation;
use olelo_core::route::module::Module;

/// The module.
pub fn module() -> Module {
    let m = Module::new("textops")
        .doc("Looking into the text of a message and changing it.")
        .transformation(
            transformation("re", "subst", 1..=32, subst::transform)
                .doc("`/re/repl/flags`: the text with what matches replaced."),
        );
    [
        search::functions(),
        subst::functions(),
        headers::functions(),
        body::functions(),
        multipart::functions(),
        strings::functions(),
    ]
    .into_iter()
    .flatten()
    .fold(m, Module::function)
}

/// What scripts take for true and false.
pub(crate) fn yes(b: bool) -> i64 {
    if b { 1 } else { -1 }
}
