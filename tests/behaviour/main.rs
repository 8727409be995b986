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
mod register;
mod reload;
mod squirrel;
mod stateless;
mod survival;

/// A server with the shipped script, as an operator has it.
fn shipped() -> olelo_tests::Setup {
    olelo_tests::Setup::lua(include_str!("../../etc/olelo.lua")).cfg(PARAMETERS)
}

/// The same in the native language.
fn shipped_natively() -> olelo_tests::Setup {
    olelo_tests::Setup::native(include_str!("../../etc/routes.cfg")).cfg(PARAMETERS)
}

/// The same in Squirrel.
fn shipped_in_squirrel() -> olelo_tests::Setup {
    let script = include_str!("../../etc/olelo.sq");
    olelo_tests::Setup::script(olelo_tests::language::SQUIRREL, script).cfg(PARAMETERS)
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
