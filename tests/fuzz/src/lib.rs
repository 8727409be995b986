//! What must hold for any bytes that reach a parser, one function per target.
//!
//! Each target takes bytes from anywhere and panics where a property fails: bounds, round trips,
//! the same answer however the bytes were cut. "It does not crash" is only the least of them.
//!
//! Two programs run these functions. `tests/corpus.rs` runs every file of `corpus/` with the
//! workspace's tests, on the stable compiler. `libfuzzer/`, a workspace of its own because it needs
//! the nightly one, looks for bytes that break them; what it finds is kept in the corpus.

#![forbid(unsafe_code)]

mod binrpc;
mod cfg;
mod framing;
mod jsonrpc;
mod message;
mod native;
mod sdp;
mod uri;

/// One target: the name of its corpus and program, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("binrpc", binrpc::target),
    ("cfg", cfg::target),
    ("framing", framing::target),
    ("jsonrpc", jsonrpc::target),
    ("message", message::target),
    ("native", native::target),
    ("sdp", sdp::target),
    ("uri", uri::target),
];

/// Runs the target of this name.
///
/// # Panics
/// Where a property does not hold, and where there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(n, _)| *n == name)
        .unwrap_or_else(|| panic!("no target is named {name}"));
    target(bytes);
}

/// Where `part` stands in `whole`.
///
/// # Panics
/// Where it is no part of it.
fn place(whole: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize);
    let start = start.expect("a part begins within its text");
    assert!(start + part.len() <= whole.len(), "a part ends in its text");
    start..start + part.len()
}

/// For messages of failed properties.
fn show(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
