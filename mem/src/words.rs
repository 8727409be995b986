use crate::arena::ArenaError;
use std::sync::atomic::{AtomicU32, AtomicU64};
#[derive(Debug, Clone, Copy)]
pub struct Words { inner: &'static [AtomicU64] }
impl Words {
    pub fn create(name: &str, n: usize) -> Result<Words, ArenaError> { unimplemented!() }
    pub fn get(&self, i: usize) -> Option<&'static AtomicU64> { self.inner.get(i) }
    pub fn len(&self) -> usize { self.inner.len() }
}
#[derive(Debug, Clone, Copy)]
pub struct Words32 { inner: &'static [AtomicU32] }
impl Words32 {
    pub fn create(name: &str, n: usize) -> Result<Words32, ArenaError> { unimplemented!() }
    pub fn get(&self, i: usize) -> Option<&'static AtomicU32> { self.inner.get(i) }
    pub fn len(&self) -> usize { self.inner.len() }
}
