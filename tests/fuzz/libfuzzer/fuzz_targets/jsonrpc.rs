//! Looks for bytes that break `jsonrpc` of `olelo_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| olelo_fuzz::run("jsonrpc", bytes));
