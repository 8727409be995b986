//! The `siputils` module.
