//! Behaviour of the real server, one file per behaviour.

mod control;
mod framing;
mod reload;
mod script_budget;
mod stateless;
mod survival;
