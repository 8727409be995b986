//! Carrying decisions out: what `machine` says is to be done becomes bytes, then packets.
//!
//! In two halves with the publishing between them. [`prepare`] runs under the bucket lock and only
//! copies and builds bytes; [`carry_out`] runs after it, sends, and calls what runs scripts.

use crate::events::{self, News};
use crate::machine::{Do, Todo};
use crate::params;
use crate::state::{Head, flag};
use crate::store::{LegPiece, Open, Piece};
use crate::{failure, stats, uac};
use olelo_core::mem::NodeId;
use olelo_core::net::{self, Dst};
use olelo_core::route::ctx::Ctx;
use olelo_sip::build;

/// Something ready to be done without the lock.
#[derive(Debug)]
pub enum Out {
    /// A request of ours: retransmission, ACK, CANCEL.
    Down(Dst, Vec<u8>),
    /// A relayed reply: status, leg, bytes.
    Relay(Dst, u16, usize, Vec<u8>),
    /// The last reply again.
    Repeat(Dst, Vec<u8>),
    /// All legs have failed.
    Final,
    /// A leg has failed.
    LegFailed(usize),
    /// A request made here has its final reply, from this leg.
    LocalDone(usize),
}

/// Turns decisions into bytes and records what has to stay. `reply` is the received reply in hand,
/// with its edits, and its leg.
pub fn prepare(open: &mut Open, todo: &Todo, reply: Option<(&Ctx, usize)>) -> Vec<Out> {
    let mut out = Vec::with_capacity(todo.len());
    for what in todo {
        match *what {
            Do::Resend(i) => {
                if let (Some(leg), Some(bytes)) =
                    (open.tx.legs.get(i), open.leg_piece(i, LegPiece::Sent))
                {
                    out.push(Out::Down(leg.to.dst(), bytes.to_vec()));
                }
            }
            Do::Cancel(i) => out.extend(cancel(open, i)),
            Do::Ack(i) => {
                if let Some((ctx, _)) = reply {
                    out.extend(ack(open, i, ctx));
                }
            }
            Do::Forward | Do::Pass => {
                if let Some((ctx, leg)) = reply {
                    let status = ctx.msg.status();
                    let bytes = upstream_bytes(open, ctx);
                    if *what == Do::Forward && status > 100 {
                        open.set(Piece::Reply, &bytes);
                    }
                    if (200..300).contains(&status) && open.tx.head.has(flag::INVITE) {
                        // Neither ACK nor CANCEL will be made from it any more.
                        open.set_leg(leg, LegPiece::Sent, b"");
                    }
                    out.push(Out::Relay(open.tx.head.up.dst(), status, leg, bytes));
                }
            }
            Do::Keep => {
                if let Some((ctx, leg)) = reply {
                    let bytes = upstream_bytes(open, ctx);
                    open.set_leg(leg, LegPiece::Reply, &bytes);
                }
            }
            Do::Repeat => {
                if let Some(bytes) = open.piece(Piece::Reply) {
                    out.push(Out::Repeat(open.tx.head.up.dst(), bytes.to_vec()));
                }
            }
            Do::Final => out.push(Out::Final),
            Do::LegFailed(i) => out.push(Out::LegFailed(i)),
            Do::LocalDone(i) => {
                if let Some((ctx, leg)) = reply {
                    let bytes = upstream_bytes(open, ctx);
                    open.set_leg(leg, LegPiece::Reply, &bytes);
                }
                out.push(Out::LocalDone(i));
            }
            Do::Delete => {}
        }
    }
    out
}

/// Sends what was prepared. `reply` is the received reply in hand.
pub fn carry_out(id: NodeId, head: &Head, out: Vec<Out>, mut reply: Option<&mut Ctx>) {
    for what in out {
        match what {
            Out::Down(dst, bytes) => down(&dst, &bytes),
            Out::Relay(dst, code, leg, bytes) => {
                up(&dst, &bytes, reply.as_deref_mut());
                stats::RPL_RELAYED.inc();
                stats::RPL_SENT.inc();
                if code >= 200 {
                    stats::ended(code);
                }
                let news = News {
                    what: events::RESPONSE_OUT,
                    code,
                    leg: Some(leg),
                    reply: &bytes,
                    made_here: false,
                };
                events::tell(id, head, &news, None);
                net::reply::give_back(bytes);
            }
            Out::Repeat(dst, bytes) => up(&dst, &bytes, None),
            Out::Final => failure::finish(id),
            Out::LegFailed(leg) => failure::leg_failed(id, leg),
            Out::LocalDone(leg) => uac::done(id, leg, reply.as_deref_mut()),
        }
    }
}

/// Sends a request of ours; a failure is logged, the timers go on.
pub fn down(dst: &Dst, bytes: &[u8]) {
    if let Err(e) = net::send(dst, bytes) {
        olelo_core::info!("tm", "{e}");
    }
}

/// Sends a reply upstream.
pub fn up(dst: &Dst, bytes: &[u8], ctx: Option<&mut Ctx>) {
    match ctx {
        Some(ctx) => {
            net::reply::send(ctx, dst, bytes);
        }
        None => down(dst, bytes),
    }
}

/// The CANCEL of a leg.
pub fn cancel(open: &Open, leg: usize) -> Option<Out> {
    let to = open.tx.legs.get(leg)?.to.dst();
    let sent = open.leg_piece(leg, LegPiece::Sent)?;
    let mut reason = open.piece(Piece::Reason).unwrap_or_default().to_vec();
    if reason.is_empty() && open.tx.head.code >= 200 && params::LOCAL_CANCEL_REASON.is_on() {
        reason = format!("Reason: SIP;cause={}\r\n", open.tx.head.code).into_bytes();
    }
    let mut bytes = Vec::with_capacity(512);
    match build::cancel(sent, &reason, &mut bytes) {
        Ok(()) => Some(Out::Down(to, bytes)),
        Err(e) => {
            olelo_core::error!("tm", "no CANCEL can be made: {e}");
            None
        }
    }
}

fn ack(open: &Open, leg: usize, reply: &Ctx) -> Option<Out> {
    let to = open.tx.legs.get(leg)?.to.dst();
    let sent = open.leg_piece(leg, LegPiece::Sent)?;
    let mut bytes = Vec::with_capacity(512);
    match build::ack_for_negative(sent, &reply.msg, &mut bytes) {
        Ok(()) => Some(Out::Down(to, bytes)),
        Err(e) => {
            olelo_core::error!("tm", "no ACK can be made: {e}");
            None
        }
    }
}

fn upstream_bytes(open: &Open, ctx: &Ctx) -> Vec<u8> {
    let mut bytes = net::reply::take_buffer();
    let reliable = open.tx.head.has(flag::UP_RELIABLE);
    build::forward_reply(&ctx.msg, &ctx.edits, reliable, &mut bytes);
    bytes
}
