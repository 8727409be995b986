use crate::{arena::ArenaError, heap::Blob};
#[derive(Debug, Clone, Copy)]
pub struct Queue { inner: &'static () }
impl Queue {
    pub fn create(name: &str, capacity: usize) -> Result<Queue, ArenaError> { unimplemented!() }
    pub fn push(&self, blob: Blob) -> Result<(), Blob> { unimplemented!() }
    pub fn pop(&self) -> Option<Blob> { unimplemented!() }
    pub fn len(&self) -> usize { unimplemented!() }
    pub fn capacity(&self) -> usize { unimplemented!() }
}
