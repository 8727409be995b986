//! Load and measurement for `side_by_side`: a server under test, traffic on the loopback, and the
//! CPU and memory that the server spent on it.

pub mod load;
pub mod peer;
