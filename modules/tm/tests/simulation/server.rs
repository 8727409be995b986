//! The server under test: the real boot, the real `tm`, with the simulation's clock and network, and
//! a script of a few Rust functions in place of an interpreter.
//!
//! One process plays all workers, one event after the other, by taking their slots. [`perform`] does
//! one event; [`perform_and_die`] does it in a forked child that kills itself on the way. What that
//! child had sent comes back through a pipe; what it had published is in shared memory; all else is
//! gone with it.

use crate::plan::{Call, Script};
use crate::world;
use olelo_core::config::CoreConfig;
use olelo_core::net::{ConnId, Dst, Proto, SendError, SendFlags, SocketId, udp, wire};
use olelo_core::proc::{boot, rank, set_secret};
use olelo_core::route::ctx::{Branch, Ctx, Received};
use olelo_core::route::engine::{Engine, EngineKind, File, Outcome, Source, register};
use olelo_core::route::module::Module;
use olelo_core::route::value::Val;
use olelo_core::route::{generation, run};
use olelo_core::timer::{Pace, jobs, monotonic_ms};
use olelo_ipc::process::table;
use olelo_ipc::signals::{self, Fork};
use olelo_tm::uac;
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::rc::Rc;

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
    wire::replace(send);
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
            ("simulation", script_module),
        ],
    )
    .expect("the modules fit together");
    let config = CoreConfig::from_tree(&parsed.config);
    boot::prepare(&parsed.config, config, registry, false)
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

/// Makes a request, as another module would.
fn request_here(call: usize) {
    let Some(plan) = world::call_plan(call) else {
        return;
    };
    let id = format!("c{call}@sim");
    let ruri = world::uris(&plan, id.as_bytes(), 0).swap_remove(0);
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
fn hold() {
    HOLDS.set(true);
    udp::hold();
}

/// What a process that died had said before: messages, and lines of the trace.
pub enum Said {
    Sent(Dst, Vec<u8>),
    Trace(String),
}

/// Does it in a child that dies at its n-th point, or at the end. Points are: before and after each
/// message sent, and each place in the script. With `stores` the n-th store to shared memory counts.
pub fn perform_and_die(slot: u16, work: &Work, doom: Doom) -> Result<Vec<Said>, String> {
    let (read, write) = nix::unistd::pipe().map_err(|e| e.to_string())?;
    match signals::fork().map_err(|e| e.to_string())? {
        Fork::Child => {
            drop(read);
            PIPE.set(Some(write.into()));
            DOOM.set(Some(doom));
            #[cfg(feature = "kill-points")]
            if let Doom::Store(n) = doom {
                olelo_mem::kill_points::arm(n.into());
            }
            perform(slot, work);
            signals::exit_now(0)
        }
        Fork::Parent(pid) => {
            drop(write);
            let mut bytes = Vec::new();
            std::fs::File::from(read)
                .read_to_end(&mut bytes)
                .map_err(|e| e.to_string())?;
            let pid = nix::unistd::Pid::from_raw(pid);
            match nix::sys::wait::waitpid(pid, None) {
                Ok(nix::sys::wait::WaitStatus::Exited(_, 0)) => {}
                Ok(nix::sys::wait::WaitStatus::Signaled(_, nix::sys::signal::SIGKILL, _)) => {}
                other => return Err(format!("a worker ended by itself: {other:?}")),
            }
            Ok(said(&bytes))
        }
    }
}

/// Where a process dies.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "kill-points"), allow(dead_code))]
pub enum Doom {
    /// At this point.
    Point(u32),
    /// At this store to shared memory.
    Store(u32),
}

thread_local! {
    static PIPE: RefCell<Option<std::fs::File>> = const { RefCell::new(None) };
    static HOLDS: Cell<bool> = const { Cell::new(false) };
    static DOOM: Cell<Option<Doom>> = const { Cell::new(None) };
    static CONTEXTS: RefCell<Vec<Ctx>> = const { RefCell::new(Vec::new()) };
}

/// In a child that is to die: it may be now.
fn point() {
    match DOOM.get() {
        Some(Doom::Point(0 | 1)) => {
            signals::kill(std::process::id() as i32, nix::sys::signal::SIGKILL);
            loop {
                std::thread::park();
            }
        }
        Some(Doom::Point(n)) => DOOM.set(Some(Doom::Point(n - 1))),
        _ => {}
    }
}

/// A line for the trace, from within the server.
fn trace(text: String) {
    if DOOM.get().is_none() {
        return world::trace(text);
    }
    tell(0, &Dst::from_trace(), text.as_bytes());
}

/// The wire: what would go to the kernel.
fn send(dst: &Dst, bytes: &[u8]) -> Result<(), SendError> {
    if DOOM.get().is_none() {
        world::sent(dst, bytes);
        return Ok(());
    }
    point();
    tell(1, dst, bytes);
    point();
    Ok(())
}

trait FromTrace {
    fn from_trace() -> Dst;
}

impl FromTrace for Dst {
    fn from_trace() -> Dst {
        Dst {
            proto: Proto::Udp,
            addr: ([0, 0, 0, 0], 0).into(),
            socket: SocketId(0),
            conn: None,
            flags: SendFlags::default(),
        }
    }
}

/// One record into the pipe: kind, transport, connection, address, bytes.
fn tell(kind: u8, dst: &Dst, bytes: &[u8]) {
    let addr = dst.addr.to_string();
    let mut out = vec![kind, dst.proto as u8, addr.len() as u8];
    out.extend(dst.conn.map_or(0, ConnId::to_bits).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(addr.as_bytes());
    out.extend(bytes);
    PIPE.with_borrow_mut(|p| p.as_mut().map(|p| p.write_all(&out)));
}

fn said(mut b: &[u8]) -> Vec<Said> {
    let mut all = Vec::new();
    while let Some((head, rest)) = b.split_at_checked(15) {
        let conn = u64::from_le_bytes(head[3..11].try_into().expect("eight bytes"));
        let len = u32::from_le_bytes(head[11..15].try_into().expect("four bytes")) as usize;
        let (addr, rest) = rest.split_at(usize::from(head[2]));
        let (bytes, rest) = rest.split_at(len);
        b = rest;
        all.push(match head[0] {
            0 => Said::Trace(String::from_utf8_lossy(bytes).into_owned()),
            _ => Said::Sent(
                Dst {
                    proto: Proto::from_number(head[1]).unwrap_or(Proto::Udp),
                    addr: String::from_utf8_lossy(addr).parse().expect("an address"),
                    conn: ConnId::from_bits(conn),
                    ..Dst::from_trace()
                },
                bytes.to_vec(),
            ),
        });
    }
    all
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

fn script_module() -> Module {
    Module::new("simulation").init(|| {
        let kind = EngineKind {
            name: "simulation",
            aliases: &[],
            reread: EngineKind::same_files,
            adopted: EngineKind::nothing_else,
            build: |_| Ok(Rc::new(Routes)),
        };
        register(kind);
        uac::on_done("simulation", |done| {
            trace(format!(
                "  {} is done: {}",
                String::from_utf8_lossy(done.data),
                done.code
            ));
            world::done(done.data);
        });
        let file = File {
            path: "simulation".into(),
            text: Vec::new(),
        };
        generation::install(kind, Source { files: vec![file] })
    })
}

/// The script.
struct Routes;

impl Engine for Routes {
    fn call(&self, name: &str, _: Option<&str>, ctx: &mut Ctx) -> Outcome {
        let call = ctx.msg.call_id().and_then(|c| {
            let text = std::str::from_utf8(c).ok()?;
            text.strip_prefix('c')?
                .split('@')
                .next()?
                .parse::<usize>()
                .ok()
        });
        let Some(plan) = call.and_then(world::call_plan) else {
            return Outcome::Missing;
        };
        if !self.has(name) {
            return Outcome::Missing;
        }
        pause(name, ctx);
        let end = match name {
            "ksr_request_route" => request(ctx, &plan),
            "resumed" => relay(ctx, &plan, 0),
            "failed" => failed(ctx, &plan),
            _ => Outcome::Return(1),
        };
        pause("end", ctx);
        end
    }

    fn has(&self, name: &str) -> bool {
        ["ksr_request_route", "resumed", "failed", "branch", "reply"].contains(&name)
    }
}

/// A place in the script: others may go on, or this worker die.
fn pause(name: &str, ctx: &Ctx) {
    if name != "end" {
        trace(format!(
            "  runs {name} for {}",
            String::from_utf8_lossy(ctx.msg.call_id().unwrap_or_default())
        ));
    }
    point();
    if DOOM.get().is_none() {
        let (slot, holds) = (olelo_mem::current_slot(), HOLDS.get());
        // What waits in the outbox is this worker's: the others must not send it.
        udp::flush();
        world::overlap();
        olelo_mem::set_current_slot(slot);
        if holds {
            hold();
        }
    }
    point();
}

fn script(ctx: &mut Ctx, name: &str, args: &[Val<'_>]) -> i64 {
    let registry = &olelo_core::server().registry;
    let ids = registry.native(name).iter();
    let mut fitting = ids.map(|i| registry.function(*i));
    let f = fitting
        .next()
        .unwrap_or_else(|| panic!("{name} is exported"));
    let result = f
        .call(ctx, args)
        .unwrap_or_else(|e| panic!("{name}: {}", e.0));
    result.as_int().unwrap_or(0)
}

fn request(ctx: &mut Ctx, plan: &Call) -> Outcome {
    let method = ctx.msg.method().as_str().to_string();
    let initial = ctx.ruri().ends_with(b"sim.invalid");
    if method == "ACK" || method == "CANCEL" || !initial {
        script(ctx, "t_relay", &[]);
        return Outcome::Return(1);
    }
    if plan.check_trans && script(ctx, "t_check_trans", &[]) == 0 {
        return Outcome::Exit;
    }
    if (plan.newtran || plan.own_provisional.is_some()) && script(ctx, "t_newtran", &[]) <= 0 {
        return Outcome::Exit;
    }
    if let Some(code) = plan.own_provisional {
        script(ctx, "t_reply", &[Val::Int(code.into()), Val::text("Wait")]);
        pause("end", ctx);
    }
    match plan.script {
        Script::Relay => relay(ctx, plan, 0),
        Script::Answer(code) => {
            script(
                ctx,
                "t_send_reply",
                &[Val::Int(code.into()), Val::text("Local")],
            );
            Outcome::Return(1)
        }
        Script::Suspend(after) => {
            if olelo_tm::tmx_api::suspend(ctx).is_some() {
                world::suspended(after, ctx.msg.call_id().unwrap_or_default());
            }
            Outcome::Exit
        }
    }
}

fn relay(ctx: &mut Ctx, plan: &Call, step: usize) -> Outcome {
    let (ringing, other) = plan.fr;
    if ringing != 0 && step == 0 {
        let args = [Val::Int(ringing as i64), Val::Int(other as i64)];
        script(ctx, "t_set_fr", &args);
    }
    let more = step + 1 < plan.steps.len() || plan.failure_reply.is_some() && step == 0;
    if plan.has_failure_route() && more {
        script(ctx, "t_on_failure", &[Val::text("failed")]);
    }
    if plan.reply_route {
        script(ctx, "t_on_reply", &[Val::text("reply")]);
    }
    if plan.branch_route {
        script(ctx, "t_on_branch", &[Val::text("branch")]);
    }
    for (i, uri) in world::uris(plan, ctx.msg.call_id().unwrap_or_default(), step)
        .iter()
        .enumerate()
    {
        if i == 0 {
            ctx.set_ruri(uri.as_bytes());
        } else {
            ctx.add_branch(Branch {
                uri: uri.as_bytes().to_vec(),
                ..Branch::default()
            });
        }
    }
    script(ctx, "t_relay", &[]);
    Outcome::Return(1)
}

fn failed(ctx: &mut Ctx, plan: &Call) -> Outcome {
    if script(ctx, "t_is_canceled", &[]) > 0 {
        return Outcome::Return(1);
    }
    let step = (ctx.flags >> 8) as usize + 1;
    ctx.flags = (step as u32) << 8;
    if step < plan.steps.len() {
        return relay(ctx, plan, step);
    }
    if let Some(Some(code)) = plan.failure_reply {
        script(
            ctx,
            "t_reply",
            &[Val::Int(code.into()), Val::text("Failed")],
        );
    }
    Outcome::Return(1)
}
