//! Calls of functions and route blocks: the name, the number of arguments, and each argument
//! compiled once for what the function wants.

use crate::compile::Compiler;
use crate::program::{Arg, Args, Call, Expr};
use olelo_cfg::ast::{self, ExprKind, RouteKind};
use olelo_cfg::diagnostic::Diagnostic;
use olelo_core::pv::Format;
use olelo_core::route::function::{Function, Kind, Param};
use olelo_core::route::value::{Val, parse_int};
use olelo_core::rpc::nearest;
use std::sync::OnceLock;

/// Tells which module of this build has a native function: its name is then in the help.
pub static CATALOGUE: OnceLock<fn(&str) -> Option<&'static str>> = OnceLock::new();

/// Compiles a call.
pub(crate) fn compile(c: &mut Compiler<'_>, call: &ast::Call) -> Expr {
    if call.name == "route" {
        return route(c, call);
    }
    let Some(function) = find(c, call) else {
        // The arguments may have faults of their own.
        for a in &call.args {
            c.expr(a);
        }
        return Expr::Fixed(Val::Null);
    };
    let args: Vec<Arg> = call
        .args
        .iter()
        .zip(&function.params)
        .map(|(a, p)| argument(c, a, p))
        .collect();
    let fixed = args.iter().all(|a| matches!(a, Arg::Fixed(_)));
    let args = if fixed {
        let values = args.into_iter().map(|a| match a {
            Arg::Fixed(v) => v,
            _ => Val::Null,
        });
        Args::Fixed(values.collect())
    } else {
        Args::Mixed(args.into())
    };
    Expr::Call(Box::new(Call { function, args }))
}

fn route(c: &mut Compiler<'_>, call: &ast::Call) -> Expr {
    let [name] = call.args.as_slice() else {
        c.fault(Diagnostic::error(
            "arity",
            format!("route takes one name, given are {}", call.args.len()),
            call.span,
        ));
        return Expr::Fixed(Val::Null);
    };
    let fixed = match &name.kind {
        ExprKind::Str(s) => s.clone(),
        ExprKind::Int(i) => i.to_string(),
        _ => return Expr::RouteNamed(Box::new(c.expr(name))),
    };
    match c.program.find(RouteKind::Request, &fixed) {
        Some(r) => Expr::Route(r),
        None => {
            let mut d = Diagnostic::error(
                "undefined-route",
                format!("there is no route[{fixed}]"),
                name.span,
            );
            let names = c.program.index.get(&RouteKind::Request);
            let near = names.and_then(|n| nearest(&fixed, n.keys().map(String::as_str)));
            d.help = near
                .filter(|n| !n.is_empty())
                .map(|n| format!("did you mean route[{n}]?"));
            c.fault(d);
            Expr::Fixed(Val::Null)
        }
    }
}

/// The function of this name that takes as many arguments.
fn find(c: &mut Compiler<'_>, call: &ast::Call) -> Option<&'static Function> {
    let found = c.registry.native(&call.name);
    let fits = found
        .iter()
        .map(|id| c.registry.function(*id))
        .filter(|f| (f.least..=f.params.len()).contains(&call.args.len()))
        .min_by_key(|f| f.params.len());
    if fits.is_some() {
        return fits;
    }
    let signatures: Vec<String> = found
        .iter()
        .map(|id| native_signature(&call.name, c.registry.function(*id)))
        .collect();
    let d = if signatures.is_empty() {
        let mut d = Diagnostic::error(
            "unknown-function",
            format!("no loaded module has a function {}", call.name),
            call.name_span,
        );
        let elsewhere = CATALOGUE.get().and_then(|f| f(&call.name));
        d.help = match elsewhere {
            Some(m) => Some(format!("it is in the module {m}: loadmodule \"{m}.so\"")),
            None => nearest(&call.name, c.registry.native_names().copied())
                .map(|n| format!("did you mean {n}?")),
        };
        d
    } else {
        Diagnostic::error(
            "arity",
            format!("{} is given {} arguments", call.name, call.args.len()),
            call.span,
        )
        .with_expected(signatures)
    };
    c.fault(d);
    None
}

/// `t_reply(code, reason)`.
pub fn native_signature(name: &str, f: &Function) -> String {
    let args: Vec<String> = f
        .params
        .iter()
        .map(|p| {
            if p.optional {
                format!("[{}]", p.name)
            } else {
                p.name.to_string()
            }
        })
        .collect();
    format!("{name}({})", args.join(", "))
}

fn argument(c: &mut Compiler<'_>, a: &ast::Expr, p: &Param) -> Arg {
    match &a.kind {
        ExprKind::Str(s) if p.raw => Arg::Fixed(Val::owned(s.as_bytes())),
        ExprKind::Pv(pv) if p.raw => Arg::Fixed(Val::owned(pv.text.as_bytes())),
        ExprKind::Str(s) => text(c, s, a, p),
        ExprKind::Int(i) if p.kind == Kind::Str => Arg::Fixed(Val::from(i.to_string())),
        ExprKind::Proto(proto) => Arg::Fixed(Val::owned(proto.as_str())),
        _ => match c.expr(a) {
            Expr::Fixed(v) => Arg::Fixed(v),
            e if p.kind == Kind::Str => Arg::String(e, b""),
            e => Arg::Value(e),
        },
    }
}

/// A string: a text with pseudo-variables, a number, or the name of a flag.
fn text(c: &mut Compiler<'_>, s: &str, a: &ast::Expr, p: &Param) -> Arg {
    let format = match Format::parse(s.as_bytes()) {
        Ok(f) => f,
        Err(e) => {
            c.fault(Diagnostic::error("pseudo-variable", e.0, a.span));
            return Arg::Fixed(Val::Null);
        }
    };
    let Some(literal) = format.literal() else {
        // A number is handed over as one where it stands alone.
        return match format.single() {
            Some(spec) => {
                let e = Expr::Pv(Box::new(spec.clone()));
                if p.kind == Kind::Str {
                    Arg::String(e, b"<null>")
                } else {
                    Arg::Value(e)
                }
            }
            None => Arg::Text(format),
        };
    };
    if p.kind == Kind::Int {
        if let Some(n) = c.flags.get(s) {
            return Arg::Fixed(Val::Int(*n));
        }
        return match parse_int(literal) {
            Some(n) => Arg::Fixed(Val::Int(n)),
            None => {
                c.fault(Diagnostic::error(
                    "argument",
                    format!("the argument {} is a number, not \"{s}\"", p.name),
                    a.span,
                ));
                Arg::Fixed(Val::Int(0))
            }
        };
    }
    Arg::Fixed(Val::owned(literal.to_vec()))
}
