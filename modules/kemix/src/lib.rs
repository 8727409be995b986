//! The `kemix` module.
