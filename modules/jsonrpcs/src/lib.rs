//! The `jsonrpcs` module.
