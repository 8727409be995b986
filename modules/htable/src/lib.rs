//! The `htable` module.
