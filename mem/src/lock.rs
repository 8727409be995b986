#[derive(Debug, Clone)]
pub struct HeldLock { pub slot: u16, pub name: String, pub index: usize, pub waiters: bool }
pub fn held() -> Vec<HeldLock> { unimplemented!() }
