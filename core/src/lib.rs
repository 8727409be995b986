//! The server: transports, processes, routing, pseudo-variables, timers, statistics, logging.
//!
//! The path of a request, in the order to read it: [`net::udp`] receives, [`olelo_sip`] indexes,
//! [`route::run`] checks the generation and runs the engine, a module's function does the work,
//! [`net`] sends. `ARCHITECTURE.md` draws it.

#![forbid(unsafe_code)]

pub mod cfgvars;
pub mod config;
pub mod dns;
pub mod exports;
pub mod hooks;
pub mod log;
pub mod net;
pub mod proc;
pub mod pv;
pub mod route;
pub mod rpc;
pub mod server;
pub mod stats;
pub mod timer;

pub use olelo_mem as mem;
pub use olelo_sip as sip;
pub use server::server;
