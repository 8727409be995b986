//! The `pike` module.
