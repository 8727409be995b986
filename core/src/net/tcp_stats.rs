//! Statistics of TCP, under the names that operators' tools know; `read_timeout` and `bad_stream` are
//! Olelo's own.

use crate::stats::Stat;

/// All of them.
pub static STATS: [&Stat; 13] = [
    &OPENED,
    &ACCEPTED,
    &ESTABLISHED,
    &RESETS,
    &CONNECT_FAILED,
    &CURRENT,
    &QUEUE_FULL,
    &TIMEOUTS,
    &REFUSED,
    &SEND_TIMEOUTS,
    &WRITE_QUEUED,
    &READ_TIMEOUTS,
    &BAD_STREAM,
];
pub(super) static OPENED: Stat = Stat::counter("tcp", "connect_success", "connections opened");
pub(super) static ACCEPTED: Stat = Stat::counter("tcp", "passive_open", "connections accepted");
pub(super) static ESTABLISHED: Stat =
    Stat::counter("tcp", "established", "connections established");
pub(super) static RESETS: Stat = Stat::counter("tcp", "con_reset", "connections ended by an error");
pub(super) static CONNECT_FAILED: Stat = Stat::counter(
    "tcp",
    "connect_failed",
    "connections that could not be opened",
);
pub(super) static QUEUE_FULL: Stat = Stat::counter(
    "tcp",
    "sendq_full",
    "messages refused because too much waits to be sent",
);
pub(super) static TIMEOUTS: Stat = Stat::counter(
    "tcp",
    "con_timeout",
    "connections closed because they were idle",
);
pub(super) static SEND_TIMEOUTS: Stat = Stat::counter(
    "tcp",
    "send_timeout",
    "connections closed because the peer did not read",
);
/// Bytes that wait to be sent, as the workers saw it within the last second.
pub static WRITE_QUEUED: Stat = Stat::counter(
    "tcp",
    "current_write_queue_size",
    "bytes that wait to be sent on all connections",
);
pub(super) static REFUSED: Stat = Stat::counter(
    "tcp",
    "local_reject",
    "connections refused because there are too many, at all or from one address",
);
pub(super) static CURRENT: Stat = Stat::computed(
    "tcp",
    "current_opened_connections",
    "connections open now",
    || super::tcp_table::connections() as i64,
);
pub(super) static READ_TIMEOUTS: Stat = Stat::counter(
    "tcp",
    "read_timeout",
    "connections closed because a message took too long to arrive",
);
pub(super) static BAD_STREAM: Stat = Stat::counter(
    "tcp",
    "bad_stream",
    "connections closed because of what came: no SIP, or a message too large",
);
