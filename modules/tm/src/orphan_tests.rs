//! Tests of what dead processes leave to others. `tests/simulation` kills them for real.

use crate::lookup::{self, Created};
use crate::mine::mine;
use crate::orphan;
use crate::promise::{self, promise};
use crate::relay;
use crate::state::{Leg, LegState, flag, leg_flag};
use crate::store::{LegPiece, Mark, Open, Piece};
use crate::store_tests::{alone, new, request};
use crate::timers;
use olelo_core::mem::NodeId;
use olelo_core::net::{ConnId, Proto};
use olelo_core::timer::monotonic_ms;

/// The slot of the process that dies.
const DEAD: u16 = 7;

/// A request over this transport; its connection, if it has one, belongs to `owner`.
fn created(call: &str, owner: Option<u16>) -> NodeId {
    let mut ctx = request("INVITE", call, "");
    if let Some(slot) = owner {
        ctx.rcv.proto = Proto::Tcp;
        ctx.rcv.conn = Some(ConnId { slot, number: 1 });
    }
    let Created::New(id) = lookup::create(&mut ctx, false) else {
        panic!("{call} exists")
    };
    id
}

#[test]
fn a_request_that_went_nowhere_starts_anew_or_is_answered() {
    let _one = alone();
    const DELETED: Option<u16> = None;
    // Without a script here, nothing takes the place of what is routed again.
    const AGAIN: Option<u16> = None;
    const LEFT: Option<u16> = Some(0);
    for (what, mark, owner, flags, code, want) in [
        ("repeats", Mark::Request, None, 0, 0, DELETED),
        ("had-100", Mark::Trying, None, 0, 0, AGAIN),
        ("had-180", Mark::Request, None, 0, 180, Some(500)),
        (
            "canceled",
            Mark::Request,
            None,
            flag::CANCELED,
            0,
            Some(487),
        ),
        ("tcp", Mark::Request, Some(DEAD + 1), 0, 0, AGAIN),
        ("cut-off", Mark::Request, Some(DEAD), 0, 0, DELETED),
        ("waits", Mark::Request, None, flag::SUSPENDED, 0, LEFT),
        ("resumed", Mark::Busy, None, 0, 0, Some(500)),
    ] {
        let id = created(what, owner);
        let mut open = Open::node(id).unwrap();
        open.tx.head.flags |= flags;
        open.tx.head.code = code;
        open.set_mark(Some((mark, DEAD)));
        assert!(open.commit());
        orphan::script_died(id, DEAD);
        let left = Open::node(id);
        assert_eq!(left.as_ref().map(|o| o.tx.head.code), want, "{what}");
        if let Some(open) = left {
            assert_eq!(open.mark(), None, "{what}");
            open.delete();
        }
    }
}

#[test]
fn the_end_of_the_last_leg_is_drawn_by_others() {
    let _one = alone();
    let (_, id) = new("promised");
    let now = monotonic_ms();
    let note = promise(id);
    let mut open = Open::node(id).unwrap();
    open.set_mark(None);
    open.tx.start_leg(Leg::default(), now);
    open.tx
        .on_reply(0, 486, now, false, &crate::params::rules());
    open.commit();
    // As in a process that is killed here.
    std::mem::forget(note);
    orphan::worker_died(olelo_core::mem::current_slot());
    timers::tick(monotonic_ms() + 100);
    let open = Open::node(id).unwrap();
    assert_eq!((open.tx.head.answered(), open.tx.head.code), (true, 486));
    open.delete();
}

#[test]
fn a_panic_hands_over_what_it_was_at() {
    let _one = alone();
    let (_, id) = new("panic");
    let mut open = Open::node(id).unwrap();
    open.tx.start_leg(Leg::default(), monotonic_ms());
    open.tx.fail_leg(0, 404);
    open.set_mark(Some((Mark::Busy, olelo_core::mem::current_slot())));
    open.commit();
    let route = std::panic::catch_unwind(|| {
        let _promise = promise(id);
        panic!("a route of the server's own fails");
    });
    assert!(route.is_err());
    assert_eq!(promise::left_by(olelo_core::mem::current_slot()), []);
    timers::tick(monotonic_ms() + 100);
    let open = Open::node(id).unwrap();
    assert_eq!((open.mark(), open.tx.head.code), (None, 404));
    open.delete();
}

#[test]
fn a_promise_is_noted_once_and_taken_back() {
    let _one = alone();
    let (_, id) = new("noted");
    let slot = olelo_core::mem::current_slot();
    let outer = promise(id);
    drop(promise(id));
    assert_eq!(promise::left_by(slot), [id], "the inner one takes nothing");
    drop(outer);
    drop(promise(id));
    assert_eq!(promise::left_by(slot), []);
    Open::node(id).unwrap().delete();
}

#[test]
fn a_leg_over_tcp_is_sent_again_until_its_peer_has_answered() {
    let _one = alone();
    let (_, id) = new("again-tcp");
    let now = monotonic_ms();
    let mut open = Open::node(id).unwrap();
    let reliable = Leg {
        flags: leg_flag::RELIABLE,
        ..Leg::default()
    };
    open.tx.start_leg(reliable, now);
    open.set_leg(0, LegPiece::Sent, b"INVITE sip:b@h SIP/2.0\r\n\r\n");
    assert!(open.commit());
    let again = |id| {
        let open = Open::node(id).unwrap();
        !orphan::unsent(&open).is_empty()
    };
    assert!(again(id));
    let mut open = Open::node(id).unwrap();
    open.tx.legs[0].state = LegState::Proceeding as u8;
    assert!(open.commit());
    assert!(!again(id));
    Open::node(id).unwrap().delete();
}

#[test]
fn a_caller_on_tcp_gets_its_last_reply_again() {
    let _one = alone();
    for (call, owner, want) in [("up-tcp", Some(DEAD + 1), 1), ("up-udp", None, 0)] {
        let id = created(call, owner);
        let again = || orphan::unsent(&Open::node(id).unwrap()).len();
        assert_eq!(again(), 0, "{call}: no reply yet");
        let mut open = Open::node(id).unwrap();
        open.tx.answer(486, false, monotonic_ms());
        open.set(Piece::Reply, b"SIP/2.0 486 Busy Here\r\n\r\n");
        assert!(open.commit());
        assert_eq!(again(), want, "{call}");
        Open::node(id).unwrap().delete();
    }
}

/// A leg of a transaction whose lifetime is over would time out before anybody could answer.
#[test]
fn nothing_is_relayed_after_the_end_of_the_lifetime() {
    let _one = alone();
    let (mut ctx, id) = new("expired");
    let mut open = Open::node(id).unwrap();
    open.tx.head.life_end = monotonic_ms();
    open.commit();
    assert_eq!(relay::relay(&mut ctx, &relay::Target::default()), -1);
    assert_eq!(mine(&mut ctx).delayed.map(|d| d.0), Some(408));
    let open = Open::node(id).unwrap();
    assert!(open.tx.legs.is_empty());
    open.delete();
}
