//! The `sl` module.
