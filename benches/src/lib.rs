//! Micro-benchmarks, and the load generator that compares Olelo with its peers.
