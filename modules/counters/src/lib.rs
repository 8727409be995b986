//! The `counters` module.
