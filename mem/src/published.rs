use crate::{arena::ArenaError, heap::OutOfMemory};
#[derive(Debug, Clone, Copy)]
pub struct Published { inner: &'static () }
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("the current generation is {current}, not {expected}: another reload came between")] Conflict { expected: u32, current: u32 },
    #[error("no generation {0} kept")] Unknown(u32),
    #[error("readers still hold old generations")] Busy,
    #[error(transparent)] OutOfMemory(#[from] OutOfMemory),
}
/// A pinned view of one published blob; keep it short-lived.
pub struct View { x: () }
impl std::ops::Deref for View { type Target = [u8]; fn deref(&self) -> &[u8] { unimplemented!() } }
impl Published {
    pub fn create(name: &str) -> Result<Published, ArenaError> { unimplemented!() }
    pub fn publish(&self, bytes: &[u8]) -> Result<u32, PublishError> { unimplemented!() }
    pub fn publish_if(&self, expected: u32, bytes: &[u8]) -> Result<u32, PublishError> { unimplemented!() }
    /// One acquire load; 0 = nothing published yet.
    pub fn generation(&self) -> u32 { unimplemented!() }
    pub fn current(&self) -> Option<(u32, View)> { unimplemented!() }
    pub fn get(&self, generation: u32) -> Option<View> { unimplemented!() }
    /// Makes a kept generation current again (rollback).
    pub fn set(&self, generation: u32) -> Result<(), PublishError> { unimplemented!() }
    pub fn kept(&self) -> Vec<u32> { unimplemented!() }
}
