//! The `xlog` module.
