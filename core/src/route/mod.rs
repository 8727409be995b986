//! From an indexed message to the operator's routing code: the export registry, the context that
//! functions work on, the contract of interpreters, and generations of routing code.

pub mod avp;
pub mod canary;
pub mod core_events;
pub mod ctx;
pub mod engine;
pub mod function;
pub mod generation;
pub mod module;
pub mod registry;
pub mod run;
pub mod trace;
pub mod value;
