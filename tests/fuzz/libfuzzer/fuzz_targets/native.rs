//! Looks for bytes that break `native` of `olelo_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| olelo_fuzz::run("native", bytes));
