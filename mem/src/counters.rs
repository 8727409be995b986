use crate::arena::ArenaError;
#[derive(Debug, Clone, Copy)]
pub struct Counters { inner: &'static () }
impl Counters {
    pub fn create(name: &str, n_max: usize) -> Result<Counters, ArenaError> { unimplemented!() }
    pub fn add(&self, id: usize, n: i64) { unimplemented!() }
    pub fn set(&self, id: usize, value: i64) { unimplemented!() }
    pub fn sum(&self, id: usize) -> i64 { unimplemented!() }
    pub fn of_slot(&self, slot: u16, id: usize) -> i64 { unimplemented!() }
    pub fn reset(&self, id: usize) { unimplemented!() }
}
