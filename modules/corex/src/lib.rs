//! The `corex` module.
