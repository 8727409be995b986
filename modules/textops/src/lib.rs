//! The `textops` module.
