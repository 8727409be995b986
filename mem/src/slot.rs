pub fn set_current_slot(slot: u16) { unimplemented!() }
pub fn current_slot() -> u16 { unimplemented!() }
