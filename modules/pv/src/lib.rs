//! The `pv` module.
