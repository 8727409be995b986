//! The server under test: the real boot, the real `tm`, with the simulation's clock, network and
//! script. One process plays all workers, one event after the other, by taking their slots.

use crate::death::{self, trace};
use crate::script;
use crate::workers;
use olelo_core::config::CoreConfig;
use olelo_core::net::{ConnId, Proto, udp, wire};
use olelo_core::proc::{boot, rank, set_secret};
use olelo_core::route::ctx::{Ctx, Received};
use olelo_core::route::run;
use olelo_core::timer::{Pace, jobs, monotonic_ms};
use olelo_ipc::process::table;
use olelo_tm::uac;
use std::cell::{Cell, RefCell};

/// Slots of the processes.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    pub udp: Vec<u16>,
    pub tcp: Vec<u16>,
    pub timer: u16,
    pub slow: u16,
}

const CONFIG: &str = "\
listen=udp:127.0.0.1:0 advertise 192.0.2.1:5060
listen=tcp:127.0.0.1:0 advertise 192.0.2.1:5060
children=1
tcp_children=2
shm=24
cfgengine \"simulation\"
loadmodule \"sl.so\"
loadmodule \"tm.so\"
loadmodule \"simulation.so\"
";

/// Boots the server.
pub fn boot(secret: u64) -> Slots {
    set_secret(secret);
    wire::replace(death::send);
    let parsed = olelo_cfg::parse_str("simulation", CONFIG, &olelo_cfg::Options::default());
    assert!(parsed.ok(), "{}", parsed.render(false));
    let core = vec![olelo_core::exports::module()];
    let registry = boot::load_modules(
        &parsed.config,
        core,
        Vec::new(),
        &[
            ("sl", olelo_sl::module),
            ("tm", olelo_tm::module),
            ("simulation", script::module),
        ],
    )
    .expect("the modules fit together");
    let config = CoreConfig::from_tree(&parsed.config);
    boot::prepare(&parsed.config, config, registry, boot::Purpose::Serve)
        .unwrap_or_else(|e| panic!("the server boots: {}", e.message));
    let take = |rank, name: &str| {
        let slot = table().reserve(rank, true, name);
        slot.expect("a free slot").slot()
    };
    Slots {
        udp: (1..4).map(|n| take(n, "udp")).collect(),
        timer: take(rank::TIMER, "timer"),
        slow: take(rank::TIMER, "slow timer"),
        tcp: table()
            .iter()
            .filter(|s| s.description().starts_with("tcp"))
            .map(|s| s.slot())
            .collect(),
    }
}

/// An event for a worker.
#[derive(Debug, Clone)]
pub enum Work {
    /// A message has arrived.
    Message {
        proto: Proto,
        from: std::net::SocketAddr,
        conn: Option<ConnId>,
        bytes: Vec<u8>,
        /// It is one of a batch: what it causes is sent at the end.
        batch: bool,
    },
    /// The jobs of a timer process.
    Timer(Pace),
    /// A suspended request goes on.
    Resume(usize),
    /// A request of the server's own.
    Local(usize),
}

/// Does it, as the process in `slot`.
pub fn perform(slot: u16, work: &Work) {
    olelo_mem::set_current_slot(slot);
    match work {
        Work::Message {
            proto,
            from,
            conn,
            bytes,
            batch,
        } => {
            let listen = &olelo_core::server().sockets;
            let listen = listen.first(*proto, false).expect("a socket");
            let rcv = Received {
                proto: *proto,
                src: *from,
                dst: listen.addr,
                socket: listen.id,
                conn: *conn,
            };
            if *batch {
                hold();
            }
            let mut ctx = CONTEXTS.with_borrow_mut(Vec::pop).unwrap_or_default();
            run::receive(&mut ctx, rcv, bytes);
            CONTEXTS.with_borrow_mut(|c| c.push(ctx));
        }
        Work::Timer(pace) => {
            // Its jobs hold and flush by themselves.
            HOLDS.set(*pace == Pace::Fast);
            jobs(*pace).iter().for_each(|j| (j.run)(monotonic_ms()));
        }
        Work::Resume(call) => {
            let id = olelo_tm::tmx_api::find_call(format!("c{call}@sim").as_bytes(), 1);
            if let Some(id) = id {
                olelo_tm::tmx_api::resume(id, "resumed");
            }
        }
        Work::Local(call) => request_here(*call),
    }
    udp::flush();
    HOLDS.set(false);
}

/// As [`perform`]. Returns how many stores to shared memory it took, where they are counted.
pub fn perform_and_count(slot: u16, work: &Work) -> u64 {
    #[cfg(feature = "kill-points")]
    olelo_mem::kill_points::arm(u64::MAX);
    perform(slot, work);
    #[cfg(feature = "kill-points")]
    return olelo_mem::kill_points::disarm();
    #[cfg(not(feature = "kill-points"))]
    0
}

/// Makes a request, as another module would.
fn request_here(call: usize) {
    let Some(plan) = workers::call_plan(call) else {
        return;
    };
    let id = format!("c{call}@sim");
    let ruri = workers::uris(&plan, id.as_bytes(), 0).swap_remove(0);
    let made = uac::request(&uac::Request {
        method: plan.method,
        ruri: ruri.as_bytes(),
        from: format!("<sip:a{call}@sim>;tag=f{call}").as_bytes(),
        call_id: id.as_bytes(),
        cseq: 1,
        notify: Some(("simulation", id.as_bytes())),
        ..uac::Request::default()
    });
    if let Err(e) = made {
        trace(format!("  no request: {e}"));
    }
}

/// Begins a batch.
pub fn hold() {
    HOLDS.set(true);
    udp::hold();
}

/// The process in `slot` is dead: what main does.
pub fn bury(slot: u16) -> Vec<String> {
    olelo_mem::set_current_slot(0);
    let report = olelo_mem::repair_all(slot);
    for m in olelo_core::server().registry.modules() {
        if let Some(f) = m.worker_died {
            f(slot);
        }
    }
    report.faults.iter().map(|f| format!("{f:?}")).collect()
}

/// Locks and half-made changes that forbid others to go on before the repair.
pub fn holds_locks(slot: u16) -> bool {
    olelo_mem::lock::held().iter().any(|l| l.slot == slot)
}

thread_local! {
    /// The worker at work sends at the end of its batch.
    pub static HOLDS: Cell<bool> = const { Cell::new(false) };
    static CONTEXTS: RefCell<Vec<Ctx>> = const { RefCell::new(Vec::new()) };
}
