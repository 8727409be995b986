//! Sockets, destinations and sending. Any process may send; only workers receive.
//!
//! UDP goes out through the listening socket, from whatever process decides it. A stream connection
//! belongs to the TCP worker that accepted or opened it; another process posts the bytes to it.

pub mod own;
pub mod reply;
pub mod socket;
pub mod target;
pub mod tcp;
mod tcp_bounds;
pub mod tcp_conn;
mod tcp_stats;
mod tcp_table;
pub mod udp;
pub mod via;
pub mod wire;

use crate::stats::Stat;
use std::net::SocketAddr;

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Proto {
    /// UDP.
    Udp = 1,
    /// TCP.
    Tcp = 2,
    /// TLS over TCP.
    Tls = 3,
    /// SCTP.
    Sctp = 4,
    /// WebSocket.
    Ws = 5,
    /// WebSocket over TLS.
    Wss = 6,
}

impl Proto {
    /// From its number, as `$pr` and tables store it.
    pub fn from_number(n: u8) -> Option<Proto> {
        [
            Proto::Udp,
            Proto::Tcp,
            Proto::Tls,
            Proto::Sctp,
            Proto::Ws,
            Proto::Wss,
        ]
        .into_iter()
        .find(|p| *p as u8 == n)
    }

    /// From its name in any case.
    pub fn from_name(name: &[u8]) -> Option<Proto> {
        [
            Proto::Udp,
            Proto::Tcp,
            Proto::Tls,
            Proto::Sctp,
            Proto::Ws,
            Proto::Wss,
        ]
        .into_iter()
        .find(|p| p.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Proto::Udp => "udp",
            Proto::Tcp => "tcp",
            Proto::Tls => "tls",
            Proto::Sctp => "sctp",
            Proto::Ws => "ws",
            Proto::Wss => "wss",
        }
    }

    /// Name as Via has it.
    pub fn via_name(self) -> &'static str {
        match self {
            Proto::Udp => "UDP",
            Proto::Tcp => "TCP",
            Proto::Tls => "TLS",
            Proto::Sctp => "SCTP",
            Proto::Ws => "WS",
            Proto::Wss => "WSS",
        }
    }

    /// Port used where none is given.
    pub fn default_port(self) -> u16 {
        match self {
            Proto::Tls => 5061,
            Proto::Ws => 80,
            Proto::Wss => 443,
            _ => 5060,
        }
    }

    /// Whether messages are not lost once sent, so that tm need not retransmit.
    pub fn is_reliable(self) -> bool {
        self != Proto::Udp
    }
}

/// A listening socket's number: its place in [`socket::Sockets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(pub u16);

/// A connection: slot of the worker that owns it, and its number there, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    /// Owner.
    pub slot: u16,
    /// Number in the owner.
    pub number: u32,
}

impl ConnId {
    /// Packed into a word.
    pub fn to_bits(self) -> u64 {
        (u64::from(self.slot) << 32) | u64::from(self.number)
    }

    /// From [`ConnId::to_bits`]; 0 is none.
    pub fn from_bits(b: u64) -> Option<ConnId> {
        (b != 0).then_some(ConnId {
            slot: (b >> 32) as u16,
            number: b as u32,
        })
    }
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dst {
    /// Transport.
    pub proto: Proto,
    /// Address.
    pub addr: SocketAddr,
    /// Socket to send from.
    pub socket: SocketId,
    /// Connection, where one is known.
    pub conn: Option<ConnId>,
    /// What is wanted of the connection.
    pub flags: SendFlags,
}

/// What a script wants of the connection that a message is sent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendFlags {
    /// Open none: send only where there is one.
    pub no_connect: bool,
    /// Close it once the message is sent.
    pub close: bool,
}

impl SendFlags {
    /// Packed into a byte.
    pub fn to_bits(self) -> u8 {
        u8::from(self.no_connect) | u8::from(self.close) << 1
    }

    /// From [`SendFlags::to_bits`].
    pub fn from_bits(b: u8) -> SendFlags {
        SendFlags {
            no_connect: b & 1 != 0,
            close: b & 2 != 0,
        }
    }
}

/// What the script said about connections for the message being routed (`set_reply_close` …).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// For the request.
    pub request: SendFlags,
    /// For replies to it.
    pub reply: SendFlags,
}

/// What the script said about connections for the message in `ctx`.
pub fn wishes(ctx: &crate::route::ctx::Ctx) -> Wishes {
    ctx.ext_ref().copied().unwrap_or_default()
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The kernel refused.
    #[error("can't send {bytes} bytes to {proto}:{addr}: {source}")]
    Io {
        /// Transport.
        proto: &'static str,
        /// Destination.
        addr: SocketAddr,
        /// Length.
        bytes: usize,
        /// Why.
        source: std::io::Error,
    },
    /// No connection and none may be opened.
    #[error("no connection to {0}, and none may be opened")]
    NoConnection(SocketAddr),
    /// The connection's owner takes no more.
    #[error("the connection to {0} has too much waiting to be sent")]
    Full(SocketAddr),
    /// The transport isn't there.
    #[error("no {0} socket to send from; is one in `listen`?")]
    NoSocket(&'static str),
}

/// Messages that could not be sent.
pub static ERR_SEND: Stat = Stat::counter("core", "err_send", "messages that could not be sent");

/// Sends `bytes`. UDP may be held back until the end of the batch being worked on.
pub fn send(dst: &Dst, bytes: &[u8]) -> Result<(), SendError> {
    let r = match dst.proto {
        Proto::Udp => udp::send(dst, bytes),
        Proto::Tcp => match wire::replaced() {
            Some(wire) => wire(dst, bytes),
            None => tcp::send(dst, bytes),
        },
        p => Err(SendError::NoSocket(p.name())),
    };
    if let Err(e) = &r {
        ERR_SEND.inc();
        if let SendError::Io { .. } = e {
            crate::dns::blocklist::failed(dst, crate::dns::blocklist::reason::SEND);
        }
    }
    r
}
