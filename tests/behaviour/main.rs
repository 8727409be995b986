//! Behaviour of the real server, one file per behaviour.

mod abuse_peers;
mod abuse_scripts;
mod bad_input;
mod calls;
mod configuration;
mod conformance;
mod control;
mod core_script;
mod debugging;
mod dns;
mod engines_agree;
mod field;
mod framing;
mod http;
mod ipv6;
mod javascript;
mod media_relays;
mod memory;
mod modules_misc;
mod native;
mod native_routes;
mod native_values;
mod offline;
mod pseudo_variables;
mod python;
mod python_budget;
mod python_packages;
mod python_reload;
mod register;
mod reload;
mod squirrel;
mod stateless;
mod survival;

use olelo_tests::Setup;
use olelo_tests::language::{LUA, Language};

/// A server with the shipped script, as an operator has it.
fn shipped() -> Setup {
    shipped_in(LUA, include_str!("../../etc/olelo.lua"))
}

/// The same in another language.
fn shipped_in(language: Language, script: &str) -> Setup {
    Setup::script(language, script).cfg(PARAMETERS)
}

/// The same in the native language.
fn shipped_natively() -> Setup {
    Setup::native(include_str!("../../etc/routes.cfg")).cfg(PARAMETERS)
}

/// Parameters of the shipped configuration that its routing counts on.
const PARAMETERS: &str = r#"
modparam("tm", "failure_reply_mode", 3)
modparam("rr", "enable_full_lr", 1)
modparam("registrar", "method_filtering", 1)
modparam("acc", "log_flag", 1)
modparam("acc", "failed_transaction_flag", 3)
modparam("htable", "htable", "ipban=>size=8;autoexpire=300;")
"#;
