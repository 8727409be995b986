//! Processes: main boots and supervises, workers route, timers tick. See `LIFECYCLE.md` beside this.

pub mod boot;
pub mod crashes;
mod death;
mod gauge;
mod job;
mod last_resort;
pub mod main_loop;
pub mod owner;
pub mod quarantine;
pub mod rehearsal;
mod watchdog;
pub mod worker;

use crate::stats::Stat;

use std::sync::OnceLock;

/// Statistics of supervision.
pub static STATS: [&Stat; 8] = [
    &death::DEATHS,
    &death::WITH_LOCK,
    &death::SWEPT,
    &death::QUARANTINED,
    &watchdog::INTERRUPTED,
    &watchdog::KILLED,
    &last_resort::RESETS,
    &last_resort::RESTARTS,
];

static SECRET: OnceLock<u64> = OnceLock::new();

/// A random number that all processes of this server share and nobody else knows: it keys hashes of
/// what comes from the network, and tags and branches made here.
pub fn secret() -> u64 {
    *SECRET.get_or_init(|| {
        use std::hash::{BuildHasher, Hasher};
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    })
}

/// Sets [`secret`], so that a simulation can be repeated; before anybody asked for it.
pub fn set_secret(secret: u64) {
    let _ = SECRET.set(secret);
}

/// Ranks of processes, as modules see them in `child_init`.
pub mod rank {
    /// Main itself.
    pub const MAIN: i32 = 0;
    /// The first worker; the others of UDP count on.
    pub const FIRST: i32 = 1;
    /// Timer processes.
    pub const TIMER: i32 = -1;
    /// Control processes.
    pub const RPC: i32 = -2;
    /// Stream workers have ranks from here on.
    pub const TCP: i32 = -4;
    /// Processes of modules.
    pub const NOSIP: i32 = -127;
}
