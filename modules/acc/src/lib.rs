//! The `acc` module.
