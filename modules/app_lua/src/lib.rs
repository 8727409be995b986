//! The `app_lua` module.
