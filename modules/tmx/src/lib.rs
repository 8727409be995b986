//! The `tmx` module.
