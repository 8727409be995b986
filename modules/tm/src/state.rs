//! The state of a transaction, as it lies in shared memory, and its nouns.
//!
//! A [`Tx`] is one UAS side (towards who sent the request) and its [`Leg`]s, the client transactions
//! towards where it went. Both are plain data: what `machine` decides on, what `store` writes as one
//! record. Times are milliseconds of the machine-wide monotonic clock; 0 is "not running".

use olelo_core::net::{ConnId, Dst, Proto, SendFlags, SocketId};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most legs of a transaction, all steps of serial forking together.
pub const MAX_LEGS: usize = 64;

/// Flags of a transaction.
pub mod flag {
    /// The request is an INVITE.
    pub const INVITE: u32 = 1;
    /// The request was made here: there is no UAS side.
    pub const LOCAL: u32 = 1 << 1;
    /// A CANCEL has come for it.
    pub const CANCELED: u32 = 1 << 2;
    /// Replies upstream need no retransmission by us.
    pub const UP_RELIABLE: u32 = 1 << 3;
    /// A 100 was sent.
    pub const SENT_100: u32 = 1 << 4;
    /// Waits for `t_continue`.
    pub const SUSPENDED: u32 = 1 << 5;
    /// A 6xx does not stop the others.
    pub const NO_6XX_BLOCK: u32 = 1 << 6;
    /// Reason of a CANCEL is not copied.
    pub const NO_CANCEL_REASON: u32 = 1 << 7;
    /// The script has asked for `rport` in the sender's Via.
    pub const FORCE_RPORT: u32 = 1 << 8;
    /// A failure route is to run when all legs have failed.
    pub const HAS_FAILURE: u32 = 1 << 9;
    /// Replies are nobody's business (`t_replicate`).
    pub const REPLICA: u32 = 1 << 11;
    /// The last reply upstream was made here.
    pub const LOCAL_REPLY: u32 = 1 << 12;
    /// `t_release` was called, or the transaction was given up.
    pub const RELEASED: u32 = 1 << 13;
    /// The end-to-end ACK of the 2xx has come by.
    pub const ACKED: u32 = 1 << 14;
    /// No ACK of ours for a 2xx to a request made here.
    pub const NO_AUTO_ACK: u32 = 1 << 15;
    /// At least one leg was relayed.
    pub const RELAYED: u32 = 1 << 16;
    /// The 2xx upstream is ours and repeated until its ACK comes.
    pub const REPEAT_2XX: u32 = 1 << 17;
    /// A reply route is to run for replies (some leg names one).
    pub const HAS_REPLY: u32 = 1 << 18;
    /// No leg goes on to another address of its name.
    pub const NO_FAILOVER: u32 = 1 << 19;
}

/// Flags of a leg.
pub mod leg_flag {
    /// A reply has come.
    pub const REPLIED: u16 = 1;
    /// It timed out.
    pub const TIMEOUT: u16 = 2;
    /// Its final status was made here.
    pub const FAKED: u16 = 4;
    /// It is to be canceled as soon as a provisional reply comes.
    pub const CANCEL_WANTED: u16 = 8;
    /// A CANCEL was sent.
    pub const CANCELED: u16 = 16;
    /// Its reply no longer takes part in the choice of the best.
    pub const DROPPED: u16 = 32;
    /// Transport without loss: nothing is sent twice.
    pub const RELIABLE: u16 = 64;
    /// Its branch failure route is to run.
    pub const BRANCH_FAILURE: u16 = 128;
    /// There are more places to try.
    pub const MORE: u16 = 256;
}

/// The UAS side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Uas {
    /// No final reply was sent.
    Proceeding = 0,
    /// A negative final reply to an INVITE waits for its ACK (RFC 3261 §17.2.1).
    Completed = 1,
    /// Its ACK has come; or a request other than INVITE was answered.
    Done = 2,
    /// A 2xx to an INVITE was sent (RFC 6026 §7.1).
    Accepted = 3,
}

/// A client transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LegState {
    /// Sent, nothing has come back.
    Calling = 0,
    /// A provisional reply has come.
    Proceeding = 1,
    /// A negative reply has come or was made here; any final reply to a request other than INVITE.
    Completed = 2,
    /// A 2xx to an INVITE has come (RFC 6026 §7.2).
    Accepted = 3,
}

/// A network address with all that sending needs, as plain data.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Place {
    ip: [u8; 16],
    conn: u64,
    port: u16,
    socket: u16,
    proto: u8,
    v6: u8,
    flags: u8,
    pad: u8,
}

impl Place {
    /// From a destination.
    pub fn new(d: &Dst) -> Place {
        let (ip, v6) = match d.addr.ip() {
            IpAddr::V4(a) => (a.to_ipv6_mapped().octets(), 0),
            IpAddr::V6(a) => (a.octets(), 1),
        };
        Place {
            ip,
            conn: d.conn.map_or(0, ConnId::to_bits),
            port: d.addr.port(),
            socket: d.socket.0,
            proto: d.proto as u8,
            v6,
            flags: d.flags.to_bits(),
            pad: 0,
        }
    }

    /// Back to a destination.
    pub fn dst(&self) -> Dst {
        let v6 = Ipv6Addr::from(self.ip);
        let ip = match v6.to_ipv4_mapped() {
            Some(v4) if self.v6 == 0 => IpAddr::V4(v4),
            _ => IpAddr::V6(v6),
        };
        Dst {
            proto: Proto::from_number(self.proto).unwrap_or(Proto::Udp),
            addr: SocketAddr::new(ip, self.port),
            socket: SocketId(self.socket),
            conn: ConnId::from_bits(self.conn),
            flags: SendFlags::from_bits(self.flags),
        }
    }
}

/// The fixed part of a transaction.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Head {
    /// Keyed hash of what RFC 3261 §17.2.3 compares, the method left out.
    pub key: u64,
    /// Keyed hash of Call-ID, CSeq number and From-tag: finds the end-to-end ACK.
    pub dialog: u64,
    /// When it was created.
    pub created: u64,
    /// When it ends at the latest (`max_inv_lifetime`).
    pub life_end: u64,
    /// When the last reply upstream is repeated (timer G).
    pub uas_resend: u64,
    /// When waiting for the ACK ends (timer H), or all ends (timers I, J, L).
    pub uas_end: u64,
    /// When a suspended transaction times out.
    pub fr_at: u64,
    /// Where replies go.
    pub up: Place,
    /// Where the request came from; `up` has our side.
    pub src: Place,
    /// Flags, see [`flag`].
    pub flags: u32,
    /// Message flags (`setflag`).
    pub msg_flags: u32,
    /// Script flags.
    pub sflags: u32,
    /// Milliseconds until a final reply where no provisional has come.
    pub fr: u32,
    /// Milliseconds until a final reply after a provisional one.
    pub fr_inv: u32,
    /// First retransmission interval.
    pub t1: u32,
    /// Longest retransmission interval.
    pub t2: u32,
    /// Milliseconds that an ended transaction stays to absorb what comes late.
    pub wait: u32,
    /// Present interval of timer G.
    pub uas_interval: u32,
    /// Last status sent upstream; 0 for none.
    pub code: u16,
    /// Which of the pieces exist, a bit for each; see `store`.
    pub pieces: u16,
    /// Method, as `olelo_sip::Method` numbers it.
    pub method: u8,
    /// The UAS side, see [`Uas`].
    pub uas: u8,
    /// Leg whose reply was last sent upstream, 255 for none.
    pub winner: u8,
    /// Step of serial forking.
    pub step: u8,
    /// Nothing.
    pub pad: [u8; 4],
}

/// One client transaction.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Leg {
    /// Where it goes.
    pub to: Place,
    /// When the request is sent again (timers A, E).
    pub resend: u64,
    /// When it times out (timers B, C, F).
    pub fr_at: u64,
    /// When its CANCEL is sent again.
    pub cancel_at: u64,
    /// When sending the CANCEL again ends.
    pub cancel_end: u64,
    /// Present retransmission interval.
    pub interval: u32,
    /// Present interval of its CANCEL.
    pub cancel_interval: u32,
    /// Branch flags.
    pub bflags: u32,
    /// Last status.
    pub code: u16,
    /// Flags, see [`leg_flag`].
    pub flags: u16,
    /// See [`LegState`].
    pub state: u8,
    /// Which of its pieces exist.
    pub pieces: u8,
    /// Step of serial forking it belongs to.
    pub step: u8,
    /// Nothing.
    pub pad: [u8; 5],
}

/// A transaction's state.
#[derive(Debug, Clone, Default)]
pub struct Tx {
    /// The fixed part.
    pub head: Head,
    /// The legs, numbered as `$T_branch_idx`.
    pub legs: Vec<Leg>,
}

impl Head {
    /// Has this flag.
    pub fn has(&self, f: u32) -> bool {
        self.flags & f != 0
    }

    /// The UAS side.
    pub fn uas(&self) -> Uas {
        match self.uas {
            0 => Uas::Proceeding,
            1 => Uas::Completed,
            3 => Uas::Accepted,
            _ => Uas::Done,
        }
    }

    /// A final reply went upstream.
    pub fn answered(&self) -> bool {
        self.uas() != Uas::Proceeding
    }

    /// Sets or clears a flag.
    pub fn put(&mut self, f: u32, on: bool) {
        if on {
            self.flags |= f;
        } else {
            self.flags &= !f;
        }
    }
}

impl Leg {
    /// Has this flag.
    pub fn has(&self, f: u16) -> bool {
        self.flags & f != 0
    }

    /// Its state.
    pub fn state(&self) -> LegState {
        match self.state {
            0 => LegState::Calling,
            1 => LegState::Proceeding,
            3 => LegState::Accepted,
            _ => LegState::Completed,
        }
    }

    /// No final reply yet.
    pub fn is_active(&self) -> bool {
        self.state < LegState::Completed as u8
    }

    /// Nothing is to be sent any more.
    pub fn stop(&mut self) {
        self.resend = 0;
        self.fr_at = 0;
    }

    /// Its CANCEL is answered or pointless.
    pub fn stop_cancel(&mut self) {
        self.cancel_at = 0;
        self.cancel_end = 0;
    }
}

impl Tx {
    /// Legs that still have no final reply.
    pub fn active(&self) -> usize {
        self.legs.iter().filter(|l| l.is_active()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_keeps_a_destination() {
        for addr in ["10.1.2.3:5060", "[2001:db8::1]:5070", "[::ffff:1.2.3.4]:9"] {
            let d = Dst {
                proto: Proto::Tcp,
                addr: addr.parse().unwrap(),
                socket: SocketId(3),
                conn: ConnId::from_bits(0x0001_0000_0007),
                flags: SendFlags {
                    no_connect: true,
                    close: false,
                },
            };
            assert_eq!(Place::new(&d).dst(), d);
        }
    }

    #[test]
    fn the_record_is_small() {
        assert!(std::mem::size_of::<Head>() <= 192);
        assert!(std::mem::size_of::<Leg>() <= 96);
    }
}
