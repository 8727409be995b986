//! The `maxfwd` module.
