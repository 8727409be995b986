//! What processes say to each other: process table, wake-ups, and the values of control commands.
//!
//! Everything shared lies in the arena of `olelo-mem` and survives the death of any process.

#![deny(clippy::undocumented_unsafe_blocks)]

pub mod process;
pub mod signals;
pub mod value;
pub mod wake;
