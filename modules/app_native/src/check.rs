//! What is wrong with route blocks as a whole: blocks that nothing calls, routes set for a
//! transaction that don't exist, functions in blocks where they can't work.

use olelo_cfg::ast::{self, Call, Config, Expr, ExprKind, RouteKind, Stmt, StmtKind};
use olelo_cfg::diagnostic::Diagnostic;
use olelo_core::route::function::{
    BRANCH, CORE_ONREPLY, EVENT, FAILURE, ONSEND, REQUEST, Routes, TM_ONREPLY,
};
use olelo_core::route::registry::Registry;
use olelo_core::rpc::nearest;
use std::collections::HashSet;

/// Functions whose first argument names a block, with the kind of block.
const NAMING: [(&str, RouteKind); 6] = [
    ("t_on_failure", RouteKind::Failure),
    ("t_on_branch", RouteKind::Branch),
    ("t_on_reply", RouteKind::Reply),
    ("t_on_branch_failure", RouteKind::Event),
    ("route_if_exists", RouteKind::Request),
    ("check_route_exists", RouteKind::Request),
];

/// Functions that call a plain route block by a name among their arguments.
const CALLING: [&str; 12] = [
    "t_continue",
    "async_route",
    "async_ms_route",
    "async_task_route",
    "async_task_group_route",
    "t_load_contacts",
    "sca_call_info_update",
    "http_async_query",
    "ts_append_to",
    "evapi_async_relay",
    "rtimer",
    "ksr_route",
];

/// Adds what is wrong.
pub fn blocks(config: &Config, registry: &'static Registry, out: &mut Vec<Diagnostic>) {
    let mut seen = Uses::default();
    for r in &config.routes {
        let mut calls = Vec::new();
        calls_of(&r.body.stmts, &mut calls);
        for c in calls {
            note(&mut seen, config, c, out);
            allowed(registry, r, c, out);
        }
    }
    unused(config, &seen, out);
}

/// Names of blocks that are used.
#[derive(Default)]
struct Uses {
    names: HashSet<(RouteKind, String)>,
    /// A name is only known when a message is routed: any block may be meant.
    any: HashSet<RouteKind>,
}

fn note(seen: &mut Uses, config: &Config, c: &Call, out: &mut Vec<Diagnostic>) {
    if CALLING.contains(&c.name.as_str()) {
        seen.any.insert(RouteKind::Request);
        return;
    }
    let kind = match NAMING.iter().find(|(n, _)| *n == c.name) {
        Some((_, k)) => *k,
        None if c.name == "route" => RouteKind::Request,
        None => return,
    };
    let Some(name) = c.args.first() else { return };
    let fixed = match &name.kind {
        ExprKind::Str(s) if !s.contains('$') => s.clone(),
        ExprKind::Int(i) => i.to_string(),
        _ => {
            seen.any.insert(kind);
            return;
        }
    };
    if c.name == "t_on_branch_failure" {
        seen.names
            .insert((kind, format!("tm:branch-failure:{fixed}")));
        return;
    }
    let there = config.route(kind, Some(&fixed)).is_some();
    // An unknown name of `route()` is reported where the call is compiled; 0 and "" clear.
    let may_lack = matches!(
        c.name.as_str(),
        "route" | "route_if_exists" | "check_route_exists"
    );
    if !there && !may_lack && !fixed.is_empty() && fixed != "0" {
        let names = config.routes.iter().filter(|r| r.kind == kind);
        let near = nearest(&fixed, names.filter_map(|r| r.name.as_deref()));
        // As for Kamailio, which takes it for an empty one: what is left out by `#!ifdef` may still
        // be named.
        let mut d = Diagnostic::warning(
            "undefined-route",
            format!("there is no {}[{fixed}]: nothing runs", kind.keyword()),
            name.span,
        );
        d.help = near.map(|n| format!("did you mean {n}?"));
        out.push(d);
    }
    seen.names.insert((kind, fixed));
}

/// Whether the function may be called in this block. Plain named blocks are called from anywhere.
fn allowed(registry: &'static Registry, r: &ast::RouteBlock, c: &Call, out: &mut Vec<Diagnostic>) {
    let here = match (r.kind, &r.name) {
        (RouteKind::Request, Some(_)) => return,
        (RouteKind::Request, None) => REQUEST,
        (RouteKind::Reply, None) => CORE_ONREPLY,
        (RouteKind::Reply, Some(_)) => TM_ONREPLY,
        (RouteKind::Branch, _) => BRANCH,
        (RouteKind::Failure, _) => FAILURE,
        (RouteKind::OnSend, _) => ONSEND,
        (RouteKind::Event, _) => EVENT,
    };
    let found = registry.native(&c.name);
    let routes = found
        .iter()
        .fold(Routes(0), |all, id| all | registry.function(*id).routes);
    if found.is_empty() || routes.contains(here) {
        return;
    }
    out.push(
        Diagnostic::error(
            "not-here",
            format!(
                "{} can't be called in {}",
                c.name,
                crate::compile::head(r.kind, r.name.as_deref())
            ),
            c.name_span,
        )
        .with_help(format!("it works in {}", routes.names())),
    );
}

fn unused(config: &Config, seen: &Uses, out: &mut Vec<Diagnostic>) {
    for r in &config.routes {
        let Some(name) = &r.name else { continue };
        // Events come from modules; a script's KSR.route may call any plain block.
        if r.kind == RouteKind::Event
            || seen.any.contains(&r.kind)
            || seen.names.contains(&(r.kind, name.clone()))
        {
            continue;
        }
        out.push(Diagnostic::warning(
            "unused-route",
            format!("nothing calls {}", crate::compile::head(r.kind, Some(name))),
            r.head_span,
        ));
    }
}

/// All calls in these statements, those in conditions included.
fn calls_of<'t>(stmts: &'t [Stmt], out: &mut Vec<&'t Call>) {
    for s in stmts {
        match &s.kind {
            StmtKind::If {
                cond,
                then,
                otherwise,
            } => {
                in_expr(cond, out);
                calls_of(&then.stmts, out);
                if let Some(o) = otherwise {
                    calls_of(&o.stmts, out);
                }
            }
            StmtKind::While { cond, body } => {
                in_expr(cond, out);
                calls_of(&body.stmts, out);
            }
            StmtKind::Switch { value, cases } => {
                in_expr(value, out);
                cases.iter().for_each(|c| calls_of(&c.body, out));
            }
            StmtKind::Return(Some(e)) | StmtKind::Exit(Some(e)) | StmtKind::Drop(Some(e)) => {
                in_expr(e, out);
            }
            StmtKind::Assign { value, .. } => in_expr(value, out),
            StmtKind::Call(c) => in_call(c, out),
            StmtKind::Block(b) => calls_of(&b.stmts, out),
            StmtKind::Break
            | StmtKind::Return(None)
            | StmtKind::Exit(None)
            | StmtKind::Drop(None) => {}
        }
    }
}

fn in_call<'t>(c: &'t Call, out: &mut Vec<&'t Call>) {
    out.push(c);
    c.args.iter().for_each(|a| in_expr(a, out));
}

fn in_expr<'t>(e: &'t Expr, out: &mut Vec<&'t Call>) {
    match &e.kind {
        ExprKind::Call(c) => in_call(c, out),
        ExprKind::Unary(_, e)
        | ExprKind::Cast(_, e)
        | ExprKind::Defined(e)
        | ExprKind::StrLen(e)
        | ExprKind::StrEmpty(e) => in_expr(e, out),
        ExprKind::Binary(_, a, b) => {
            in_expr(a, out);
            in_expr(b, out);
        }
        ExprKind::Assign(both) => in_expr(&both.1, out),
        ExprKind::SelVal(p) => p.iter().for_each(|e| in_expr(e, out)),
        _ => {}
    }
}
