//! Tests of transactions in shared memory: what is published, what is freed.

use crate::attrs::{self, Attr};
use crate::lookup::{self, AckOf, Created};
use crate::mine::mine;
use crate::orphan;
use crate::state::{Leg, Uas, flag};
use crate::store::{self, LegPiece, Mark, Open, Piece};
use crate::timers;
use olelo_core::mem::{NodeId, heap};
use olelo_core::route::ctx::Ctx;
use olelo_core::timer::monotonic_ms;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// The tests share one arena and look at its totals.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    static MADE: OnceLock<()> = OnceLock::new();
    let guard = LOCK.lock().unwrap_or_else(|e| e.into_inner());
    MADE.get_or_init(|| {
        olelo_core::server::for_tests(vec![crate::module()]);
        store::create().unwrap();
        crate::promise::create().unwrap();
    });
    store::store().unwrap().wheel.clear();
    guard
}

pub(crate) fn request(method: &str, call: &str, more: &str) -> Ctx {
    let mut ctx = Ctx::new();
    ctx.msg.buf_mut().extend_from_slice(
        format!("{method} sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{call}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>{more}\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\r\n")
            .as_bytes(),
    );
    ctx.msg.parse().unwrap();
    ctx
}

pub(crate) fn new(call: &str) -> (Ctx, NodeId) {
    let mut ctx = request("INVITE", call, "");
    let Created::New(id) = lookup::create(&mut ctx, false) else {
        panic!("{call} exists")
    };
    (ctx, id)
}

fn used() -> usize {
    heap::usage()
        .iter()
        .filter(|u| u.name.starts_with("tm"))
        .map(|u| u.blocks)
        .sum()
}

#[test]
fn a_transaction_comes_back_as_it_was_committed_and_leaves_nothing() {
    let _one = alone();
    let before = used();
    let (_, id) = new("roundtrip");
    let now = monotonic_ms();
    let mut open = Open::node(id).unwrap();
    for n in 0..3_u8 {
        let at = open.tx.start_leg(Leg::default(), now);
        assert!(open.set_leg(at, LegPiece::Sent, &[b'a' + n; 700]));
    }
    open.set_leg(1, LegPiece::Reply, b"486");
    open.set(Piece::Reply, b"last");
    assert!(open.commit());
    let mut open = Open::node(id).unwrap();
    assert_eq!(open.tx.legs.len(), 3);
    assert_eq!(open.leg_piece(2, LegPiece::Sent), Some(&[b'c'; 700][..]));
    assert_eq!(open.leg_piece(1, LegPiece::Reply), Some(&b"486"[..]));
    assert_eq!(open.leg_piece(0, LegPiece::Reply), None);
    open.set(Piece::Reply, b"newer");
    open.set_leg(0, LegPiece::Sent, b"");
    assert!(open.commit());
    let open = Open::node(id).unwrap();
    assert_eq!(open.piece(Piece::Reply), Some(&b"newer"[..]));
    assert_eq!(open.leg_piece(0, LegPiece::Sent), None);
    assert_eq!(open.leg_piece(1, LegPiece::Sent), Some(&[b'b'; 700][..]));
    assert!(open.delete());
    assert!(Open::node(id).is_none());
    store::store().unwrap().wheel.clear();
    assert_eq!(used(), before);
}

#[test]
fn a_request_sent_again_finds_its_transaction() {
    let _one = alone();
    let (_, id) = new("again");
    let mut again = request("INVITE", "again", "");
    assert_eq!(lookup::create(&mut again, false), Created::Again(id));
    let cancel = request("CANCEL", "again", "");
    assert_eq!(lookup::canceled_invite(&cancel), Some(id));
    assert_eq!(lookup::request(&cancel), None);
    Open::node(id).unwrap().delete();
}

#[test]
fn an_ack_is_ours_after_a_negative_reply_and_the_peers_after_a_2xx() {
    let _one = alone();
    let now = monotonic_ms();
    let (_, id) = new("negative");
    let mut open = Open::node(id).unwrap();
    open.tx.answer(486, true, now);
    open.commit();
    let mut ack = request("ACK", "negative", ";tag=x");
    assert_eq!(lookup::ack(&mut ack), AckOf::Ours(id));
    assert_eq!(Open::node(id).unwrap().tx.head.uas(), Uas::Done);
    Open::node(id).unwrap().delete();

    let (_, id) = new("positive");
    let mut open = Open::node(id).unwrap();
    open.tx.answer(200, false, now);
    open.commit();
    let mut ack = request("ACK", "positive", ";tag=x");
    let text = String::from_utf8(ack.msg.buf().to_vec())
        .unwrap()
        .replace("z9hG4bKpositive", "z9hG4bKother");
    ack.msg.buf_mut().clear();
    ack.msg.buf_mut().extend_from_slice(text.as_bytes());
    ack.msg.parse().unwrap();
    assert_eq!(lookup::ack(&mut ack), AckOf::Relayed(id));
    let mut stranger = request("ACK", "unheard-of", "");
    assert_eq!(lookup::ack(&mut stranger), AckOf::Unknown);
    Open::node(id).unwrap().delete();
}

#[test]
fn after_all_timers_nothing_is_left() {
    let _one = alone();
    let before = used();
    let ids: Vec<NodeId> = (0..50).map(|n| new(&format!("timers{n}")).1).collect();
    let mut now = monotonic_ms();
    for (n, id) in ids.iter().enumerate() {
        let mut open = Open::node(*id).unwrap();
        open.set_mark(None);
        if n % 2 == 0 {
            open.tx.start_leg(Leg::default(), now);
        } else {
            open.tx.answer(404, true, now);
        }
        open.commit();
    }
    // As the timer process would, on a faster clock.
    for _ in 0..2_000 {
        now += 100;
        for id in &ids {
            if let Some(mut open) = Open::node(*id) {
                if open.tx.settle().is_some() {
                    open.tx.answer(408, true, now);
                    open.commit();
                    continue;
                }
                timers::due(open, *id, now);
            }
        }
    }
    assert!(ids.iter().all(|id| Open::node(*id).is_none()));
    store::store().unwrap().wheel.clear();
    assert_eq!(used(), before);
}

#[test]
fn a_dead_process_leaves_its_mark_to_others() {
    let _one = alone();
    let (_, id) = new("orphan");
    let open = Open::node(id).unwrap();
    open.set_mark(Some((Mark::Busy, 77)));
    assert!(open.is_busy());
    drop(open);
    orphan::script_died(id, 76);
    assert!(Open::node(id).unwrap().is_busy(), "another's death");
    orphan::script_died(id, 77);
    let open = Open::node(id).unwrap();
    assert_eq!(open.mark(), None);
    assert_eq!(open.tx.head.code, 500, "answered without the script");
    open.delete();
}

#[test]
fn the_newest_timer_counts_and_older_ones_are_void() {
    let _one = alone();
    let (_, id) = new("timer");
    let now = monotonic_ms();
    let mut open = Open::node(id).unwrap();
    open.tx.start_leg(Leg::default(), now);
    open.commit();
    let mut open = Open::node(id).unwrap();
    let first = open.armed();
    assert_eq!(first, now + 500);
    open.tx.legs[0].resend = now + 100;
    open.commit();
    let open = Open::node(id).unwrap();
    assert_eq!(open.armed(), now + 100);
    assert!(!open.timer_fired(1) && !open.timer_fired(2));
    assert!(open.timer_fired(3));
    assert_eq!(open.armed(), 0);
    open.delete();
}

#[test]
fn routes_and_avps_stay_with_the_transaction() {
    let _one = alone();
    let (mut ctx, id) = new("attrs");
    ctx.avps
        .avp
        .push(b"x", olelo_core::route::avp::AvpVal::Int(7));
    mine(&mut ctx).on_reply = Some("rep".into());
    let mut all = Vec::new();
    attrs::put(&mut all, Attr::OnReply, b"rep");
    attrs::put_ctx(&mut all, &ctx);
    let mut open = Open::node(id).unwrap();
    open.set(Piece::Attrs, &all);
    open.tx.head.flags |= flag::HAS_REPLY;
    open.commit();
    let seen = crate::revive::with(id, |c| {
        (
            mine(c).on_reply.clone(),
            c.avps.avp.get(b"x", 0).cloned(),
            c.msg.call_id().map(<[u8]>::to_vec),
        )
    });
    let (route, avp, call) = seen.unwrap();
    assert_eq!(route.as_deref(), Some("rep"));
    assert_eq!(avp, Some(olelo_core::route::avp::AvpVal::Int(7)));
    assert_eq!(call.as_deref(), Some(&b"attrs"[..]));
    Open::node(id).unwrap().delete();
}

/// The worker that relayed a request is still in its script when the last leg fails: another one
/// runs the failure route. The script's end must neither take its mark away nor the transaction.
#[test]
fn a_script_that_ends_late_leaves_the_failure_route_of_another_alone() {
    let _one = alone();
    let (mut ctx, id) = new("late");
    let now = monotonic_ms();
    let mut open = Open::node(id).unwrap();
    open.tx.start_leg(Leg::default(), now);
    open.tx.head.put(flag::HAS_FAILURE, true);
    open.tx
        .on_reply(0, 486, now, false, &crate::params::rules());
    assert_eq!(open.tx.active(), 0);
    open.set_mark(Some((Mark::Busy, 77)));
    open.commit();
    crate::script_ended(&mut ctx);
    let open = Open::node(id).unwrap();
    assert_eq!(open.mark(), Some((Mark::Busy, 77)));
    assert!(!open.tx.head.has(flag::RELEASED));
    open.delete();
}

/// The same, one step earlier: the last leg's end is recorded, nobody has begun to finish.
#[test]
fn a_script_that_ends_between_the_last_reply_and_its_consequence_finishes() {
    let _one = alone();
    let (mut ctx, id) = new("between");
    let now = monotonic_ms();
    let mut open = Open::node(id).unwrap();
    open.tx.start_leg(Leg::default(), now);
    open.tx
        .on_reply(0, 486, now, false, &crate::params::rules());
    open.commit();
    crate::script_ended(&mut ctx);
    let open = Open::node(id).unwrap();
    assert!(open.tx.head.answered());
    assert_eq!(open.tx.head.code, 486);
    open.delete();
}

#[test]
fn a_reply_has_the_body_that_the_script_asked_for() {
    let _one = alone();
    let (mut ctx, id) = new("body");
    ctx.ext::<olelo_core::net::reply::ReplyBody>().0 =
        Some((b"text/plain".to_vec(), b"sorry".to_vec()));
    let busy = crate::upstream::Answer {
        code: 486,
        reason: "Busy Here",
        ..Default::default()
    };
    crate::upstream::answer(&mut ctx, id, &busy);
    let open = Open::node(id).unwrap();
    let kept = String::from_utf8(open.piece(Piece::Reply).unwrap().to_vec()).unwrap();
    assert!(kept.contains("Content-Type: text/plain\r\n"), "{kept}");
    assert!(kept.ends_with("Content-Length: 5\r\n\r\nsorry"), "{kept}");
    open.delete();
}

#[test]
fn a_leg_goes_on_to_the_next_place_as_another_branch() {
    use crate::failover;
    use crate::ids;
    use crate::state::{LegState, Place, leg_flag};
    use olelo_core::net::{Dst, Proto, SendFlags, SocketId};
    use olelo_sip::{HeaderName, Message};
    use zerocopy::IntoBytes;
    let _one = alone();
    let (_, id) = new("failover");
    let dst = |proto, n: u8| Dst {
        proto,
        addr: ([192, 0, 2, n], 5060).into(),
        socket: SocketId(0),
        conn: None,
        flags: SendFlags::default(),
    };
    let branch = |n| ids::branch(id, n);
    let mut places = Vec::new();
    for (proto, n) in [(Proto::Udp, 2), (Proto::Tcp, 3)] {
        let via = format!(
            "SIP/2.0/{} me{n};branch={};i=1",
            proto.via_name(),
            branch(0)
        );
        places.extend_from_slice(Place::new(&dst(proto, n)).as_bytes());
        places.extend_from_slice(&(via.len() as u16).to_le_bytes());
        places.extend_from_slice(via.as_bytes());
    }
    let mut leg_attrs = Vec::new();
    attrs::put(&mut leg_attrs, Attr::OnReply, b"r");
    attrs::put(&mut leg_attrs, Attr::Places, &places);
    let sent = format!(
        "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP me1;branch={}\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\nCall-ID: c\r\n\r\nbody",
        branch(0)
    );
    let now = monotonic_ms();
    let mut open = Open::node(id).unwrap();
    open.set_mark(None);
    let leg = Leg {
        to: Place::new(&dst(Proto::Udp, 1)),
        bflags: 7,
        flags: leg_flag::MORE | leg_flag::BRANCH_FAILURE,
        ..Leg::default()
    };
    open.tx.start_leg(leg, now);
    open.set_leg(0, LegPiece::Sent, sent.as_bytes());
    open.set_leg(0, LegPiece::Attrs, &leg_attrs);
    assert!(open.commit());

    let mut open = Open::node(id).unwrap();
    open.set_mark(Some((Mark::Busy, 1)));
    assert_eq!(
        failover::next(&mut open, 0, false),
        None,
        "a script decides"
    );
    open.set_mark(None);
    assert_eq!(failover::after_reply(&mut open, 0, 486), None);
    assert_eq!(failover::after_reply(&mut open, 0, 503), Some(1));
    assert_eq!(failover::next(&mut open, 0, false), None, "only once");
    // The machine sees that another is active: nothing is over.
    let todo = open.tx.on_reply(0, 503, now, false, &Default::default());
    assert!(!todo.contains(&crate::machine::Do::Final), "{todo:?}");
    assert!(
        !todo.contains(&crate::machine::Do::LegFailed(0)),
        "{todo:?}"
    );
    assert!(open.commit());

    let open = Open::node(id).unwrap();
    let leg = open.tx.legs[1];
    assert_eq!((leg.to.dst(), leg.bflags), (dst(Proto::Udp, 2), 7));
    assert!(leg.has(leg_flag::MORE) && leg.has(leg_flag::BRANCH_FAILURE));
    let second = Message::from_bytes(open.leg_piece(1, LegPiece::Sent).unwrap()).unwrap();
    let vias: Vec<&[u8]> = second
        .header_bodies(HeaderName::Via)
        .map(|s| second.slice(s))
        .collect();
    let want = format!("SIP/2.0/UDP me2;branch={};i=1", branch(1));
    assert_eq!(
        vias,
        [want.as_bytes(), b"SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx"]
    );
    drop(open);

    // Its time is up: the third, over TCP, which needs a length.
    let mut open = Open::node(id).unwrap();
    let at = open.tx.legs[1].fr_at;
    let (added, _) = failover::after_timeout(&mut open, at);
    assert_eq!(added, [2]);
    let third = Message::from_bytes(open.leg_piece(2, LegPiece::Sent).unwrap()).unwrap();
    let via = third.via(0).unwrap();
    assert_eq!(via.branch(third.buf()), Some(branch(2).as_bytes()));
    assert_eq!(
        third.header_body(HeaderName::ContentLength),
        Some(&b"4"[..])
    );
    assert!(open.tx.legs[2].has(leg_flag::RELIABLE) && !open.tx.legs[2].has(leg_flag::MORE));
    let own = open.leg_piece(2, LegPiece::Attrs).unwrap();
    assert_eq!(
        (
            attrs::text(own, Attr::OnReply),
            attrs::get(own, Attr::Places)
        ),
        (Some("r"), None)
    );
    // Canceled: nobody else is asked.
    open.tx.legs[2].flags |= leg_flag::MORE | leg_flag::CANCEL_WANTED;
    assert_eq!(failover::next(&mut open, 2, true), None);
    assert_eq!(open.tx.legs[0].state(), LegState::Completed);
    open.delete();
}
