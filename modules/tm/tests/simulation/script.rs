//! The routing script: a few Rust functions behind the interface of an interpreter. They call what
//! `tm` exports by name, as any script does. What a call wants done is in its plan.

use crate::death::{point, trace};
use crate::plan::{Call, Script};
use crate::server::{self, HOLDS};
use crate::workers;
use olelo_core::net::udp;
use olelo_core::route::ctx::{Branch, Ctx};
use olelo_core::route::engine::{Engine, EngineKind, File, Outcome, Source, register};
use olelo_core::route::generation;
use olelo_core::route::module::Module;
use olelo_core::route::value::Val;
use olelo_tm::uac;
use std::rc::Rc;

/// The module that brings the script.
pub fn module() -> Module {
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
            workers::done(done.data);
        });
        let file = File {
            path: "simulation".into(),
            text: Vec::new(),
        };
        generation::install(kind, Source::of(vec![file]))
    })
}

/// The script.
struct Routes;

impl Engine for Routes {
    fn call(&self, name: &str, _: &[&str], ctx: &mut Ctx) -> Outcome {
        let call = ctx.msg.call_id().and_then(|c| {
            let text = std::str::from_utf8(c).ok()?;
            text.strip_prefix('c')?
                .split('@')
                .next()?
                .parse::<usize>()
                .ok()
        });
        let Some(plan) = call.and_then(workers::call_plan) else {
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
    if !crate::death::is_doomed() {
        let (slot, holds) = (olelo_mem::current_slot(), HOLDS.get());
        // What waits in the outbox is this worker's: the others must not send it.
        udp::flush();
        workers::overlap();
        olelo_mem::set_current_slot(slot);
        if holds {
            server::hold();
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
    if !initial {
        script(ctx, "t_relay", &[]);
        return Outcome::Return(1);
    }
    if method == "ACK" || method == "CANCEL" {
        // The name in its URI is nobody's: without a transaction it goes nowhere.
        if script(ctx, "t_check_trans", &[]) > 0 {
            script(ctx, "t_relay", &[]);
        }
        return Outcome::Exit;
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
                workers::suspended(after, ctx.msg.call_id().unwrap_or_default());
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
    for (i, uri) in workers::uris(plan, ctx.msg.call_id().unwrap_or_default(), step)
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
