//! The `kex` module.
