//! What the processes of a server say to each other, and to an operator's tools.
//!
//! | file | what it is |
//! |---|---|
//! | `budget` | the time an interpreter may use, and what it may not do to its process |
//! | `process` | the process table in shared memory: who is who, what each is doing |
//! | `wake` | waking a process that sleeps in a system call |
//! | `signals` | fork, wait, signals of main and of children |
//! | `text` | texts in shared words |
//! | `turn` | turns at a socket that several processes share |
//! | `value` | what a control command answers |
//! | `binrpc` | BINRPC version 1, the protocol of `kamcmd` |
//! | `jsonrpc` | JSON-RPC 2.0 |
//!
//! The codecs are pure functions of bytes; sockets are the matter of who uses them.
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod binrpc;
pub mod budget;
pub mod jsonrpc;
pub mod process;
pub mod signals;
pub mod text;
pub mod turn;
pub mod value;
pub mod wake;

pub use value::Value;
