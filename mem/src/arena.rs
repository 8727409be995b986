use std::sync::atomic::AtomicU64;
#[derive(Debug, Clone, Copy)]
pub struct ArenaConfig { pub size: usize, pub populate: bool, pub max_slots: u16 }
#[derive(Debug, thiserror::Error)]
#[error("arena")]
pub struct ArenaError;
#[derive(Debug)]
pub struct Arena;
pub fn init(cfg: ArenaConfig) -> Result<&'static Arena, ArenaError> { unimplemented!() }
pub fn arena() -> &'static Arena { unimplemented!() }
/// Idempotent: 64 MiB, lazily touched, 64 slots.
pub fn init_for_tests() -> &'static Arena { unimplemented!() }
impl Arena {
    /// A named zeroed region that lives for ever (creation in main, before the first fork).
    pub fn region(&self, name: &str, bytes: usize) -> Result<&'static [AtomicU64], ArenaError> { unimplemented!() }
    pub fn size(&self) -> usize { unimplemented!() }
    pub fn max_slots(&self) -> u16 { unimplemented!() }
}
