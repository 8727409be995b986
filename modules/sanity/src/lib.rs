//! The `sanity` module.
