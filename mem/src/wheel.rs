use crate::{arena::ArenaError, heap::OutOfMemory};
#[derive(Debug, Clone, Copy)]
pub struct Wheel { inner: &'static () }
impl Wheel {
    pub fn create(name: &str, tick_ms: u64, slots: usize) -> Result<Wheel, ArenaError> { unimplemented!() }
    /// From any process. `due_ms` is CLOCK_MONOTONIC milliseconds (see `monotonic_ms`).
    pub fn insert(&self, due_ms: u64, payload: [u64; 3]) -> Result<(), OutOfMemory> { unimplemented!() }
    /// By the timer process only: delivers at most `max` due payloads; returns how many.
    pub fn advance(&self, now_ms: u64, max: usize, deliver: impl FnMut([u64; 3])) -> usize { unimplemented!() }
    pub fn len(&self) -> usize { unimplemented!() }
    pub fn clear(&self) { unimplemented!() }
}
/// CLOCK_MONOTONIC in milliseconds: one clock for all processes.
pub fn monotonic_ms() -> u64 { unimplemented!() }
