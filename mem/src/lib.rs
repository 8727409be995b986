//! The shared-memory arena: heap, locks, tables, queues, published blobs, counters, and the repair of each.
