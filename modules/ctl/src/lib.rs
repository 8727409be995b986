//! The `ctl` module.
