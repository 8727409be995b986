//! What behaviour tests share: a server of their own, phones, and a control client.
//!
//! A test starts the real `olelo` program on free ports of the loopback, talks SIP to it and looks
//! at what comes back. Everything waits with a deadline ([`PATIENCE`]); nothing sleeps for luck. The
//! server ends with the test, whether it passes or panics.

pub mod language;
mod phone;
mod server;

pub use phone::{Phone, Transport, header, text};
pub use server::{Ctl, Server, Setup, field, free_port, program};

use std::time::Duration;

/// How long anything may take before the test fails. Generous: machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A text that no other call of any test makes.
pub fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static N: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        "{}-{:x}-{}",
        std::process::id(),
        now.as_nanos(),
        N.fetch_add(1, Ordering::Relaxed)
    )
}
