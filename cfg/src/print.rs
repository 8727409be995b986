//! The tree as text again, in one normal form: what is parsed from it is the same tree.
//!
//! Comments, defines and includes are gone; strings are quoted anew. [`config`] prints everything,
//! [`expr`] one expression (for traces and messages).

use crate::ast::{
    AssignOp, BinaryOp, Block, Call, CaseLabel, CastTo, Config, Expr, ExprKind, FlagDecl, Item,
    Listen, ModParamValue, ParamValue, Proto, RouteBlock, RouteKind, SelectPart, Stmt, StmtKind,
    UnaryOp,
};
use crate::parse::{level, spelling};
use std::fmt::Write as _;

/// A whole configuration.
pub fn config(config: &Config) -> String {
    let mut out = String::new();
    for item in &config.items {
        top(&mut out, config, *item);
    }
    out
}

/// An expression.
pub fn expr(expr: &Expr) -> String {
    let mut out = String::new();
    expression(&mut out, expr, 0);
    out
}

fn top(out: &mut String, config: &Config, item: Item) {
    let line = match item {
        Item::Param(i) => config.params.get(i).map(|p| {
            let value = match &p.value {
                ParamValue::Int(n) => n.to_string(),
                ParamValue::Bool(b) => if *b { "yes" } else { "no" }.to_owned(),
                ParamValue::Str(s) => quote(s),
                ParamValue::Id(s) => bare_host(s),
            };
            format!("{} = {value}", p.name)
        }),
        Item::Listen(i) => config.listens.get(i).map(listen),
        Item::Alias(i) => config.aliases.get(i).map(|a| {
            let port = a.port.map(|p| format!(":{p}")).unwrap_or_default();
            format!("alias = {}{}{port}", proto(a.proto), host(&a.host))
        }),
        Item::LoadModule(i) => config.modules.get(i).map(|m| {
            let opts = m
                .opts
                .as_ref()
                .map(|o| format!(", {}", quote(o)))
                .unwrap_or_default();
            format!(
                "loadmodule{} {}{opts}",
                if m.evaluate { "x" } else { "" },
                quote(&m.name)
            )
        }),
        Item::LoadPath(i) => config
            .loadpaths
            .get(i)
            .map(|p| format!("loadpath {}", quote(&p.path))),
        Item::ModParam(i) => config.modparams.get(i).map(|m| {
            let x = if m.evaluate { "x" } else { "" };
            format!(
                "modparam{x}({}, {}, {})",
                quote(&m.pattern),
                quote(&m.name),
                value(&m.value)
            )
        }),
        Item::Global(i) => config.globals.get(i).map(|g| {
            let desc = g
                .desc
                .as_ref()
                .map(|d| format!(" desc {}", quote(d)))
                .unwrap_or_default();
            format!("{}.{} = {}{desc}", g.group, g.name, value(&g.value))
        }),
        Item::Flag(i) => config.flags.get(i).map(|f| flag("flags", f)),
        Item::AvpFlag(i) => config.avpflags.get(i).map(|f| flag("avpflags", f)),
        Item::Engine => config
            .engine
            .as_ref()
            .map(|(name, _)| format!("cfgengine {}", quote(name))),
        Item::Route(i) => config.routes.get(i).map(route),
    };
    if let Some(line) = line {
        out.push_str(&line);
        out.push('\n');
    }
}

fn listen(l: &Listen) -> String {
    let hosts = match l.hosts.as_slice() {
        [one] => host(one),
        many => format!(
            "({})",
            many.iter().map(|h| host(h)).collect::<Vec<_>>().join(", ")
        ),
    };
    let port = l.port.map(|p| format!(":{p}")).unwrap_or_default();
    let bind = format!("{}{hosts}{port}", proto(l.proto));
    let advertise = l.advertise.as_ref().map(|a| {
        let port = a.port.map(|p| format!(":{p}")).unwrap_or_default();
        format!("{}{port}", host(&a.host))
    });
    let mut out = String::new();
    let block = l.workers.is_some() || l.vrf.is_some();
    let (start, sep, eq) = if block {
        ("socket = { bind = ", "; ", " = ")
    } else {
        ("listen = ", " ", " ")
    };
    let _ = write!(out, "{start}{bind}");
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(out, "{sep}{key}{eq}{value}");
        }
    };
    add("advertise", advertise);
    add("name", l.name.as_deref().map(quote));
    add("agname", l.agname.as_deref().map(quote));
    add("workers", l.workers.map(|n| n.to_string()));
    add("vrf", l.vrf.as_deref().map(quote));
    if l.is_virtual {
        out.push_str(if block { "; virtual = yes" } else { " virtual" });
    }
    if block {
        out.push_str("; }");
    }
    out
}

fn flag(word: &str, f: &FlagDecl) -> String {
    let number = f.number.map(|n| format!(":{n}")).unwrap_or_default();
    format!("{word} {}{number};", quote(&f.name))
}

fn route(r: &RouteBlock) -> String {
    let mut out = match (&r.name, r.kind) {
        (Some(name), kind) => format!("{}[{}] ", kind.keyword(), bare_or_quoted(name)),
        (None, RouteKind::Request) => "request_route ".into(),
        (None, RouteKind::Reply) => "reply_route ".into(),
        (None, kind) => format!("{} ", kind.keyword()),
    };
    block(&mut out, &r.body, 0);
    out
}

fn block(out: &mut String, b: &Block, indent: usize) {
    out.push_str("{\n");
    for stmt in &b.stmts {
        statement(out, stmt, indent + 1);
    }
    if b.stmts.is_empty() {
        line(out, indent + 1, ";");
    }
    out.push_str(&"\t".repeat(indent));
    out.push('}');
}

fn line(out: &mut String, indent: usize, text: &str) {
    out.push_str(&"\t".repeat(indent));
    out.push_str(text);
    out.push('\n');
}

fn statement(out: &mut String, stmt: &Stmt, indent: usize) {
    out.push_str(&"\t".repeat(indent));
    match &stmt.kind {
        StmtKind::If {
            cond,
            then,
            otherwise,
        } => {
            let _ = write!(out, "if ({}) ", expr(cond));
            block(out, then, indent);
            if let Some(otherwise) = otherwise {
                out.push_str(" else ");
                block(out, otherwise, indent);
            }
        }
        StmtKind::While { cond, body } => {
            let _ = write!(out, "while ({}) ", expr(cond));
            block(out, body, indent);
        }
        StmtKind::Switch { value, cases } => {
            let _ = writeln!(out, "switch ({}) {{", expr(value));
            for case in cases {
                let label = match &case.label {
                    CaseLabel::Value(value) => format!("case {}:", expr(value)),
                    CaseLabel::Regex(regex) => format!("case /{}:", quote(regex)),
                    CaseLabel::Default => "default:".into(),
                };
                line(out, indent + 1, &label);
                for stmt in &case.body {
                    statement(out, stmt, indent + 2);
                }
            }
            out.push_str(&"\t".repeat(indent));
            out.push('}');
        }
        StmtKind::Break => out.push_str("break;"),
        StmtKind::Return(value) => leaving(out, "return", value.as_ref()),
        StmtKind::Exit(value) => leaving(out, "exit", value.as_ref()),
        StmtKind::Drop(value) => leaving(out, "drop", value.as_ref()),
        StmtKind::Assign { target, op, value } => {
            let op = match op {
                AssignOp::Set => "=",
                AssignOp::Add => "+=",
                AssignOp::Sub => "-=",
                AssignOp::Mul => "*=",
                AssignOp::Div => "/=",
            };
            let _ = write!(out, "{} {op} {};", target.text, expr(value));
        }
        StmtKind::Call(c) => {
            call(out, c);
            out.push(';');
        }
        StmtKind::Block(b) => block(out, b, indent),
    }
    out.push('\n');
}

fn leaving(out: &mut String, word: &str, value: Option<&Expr>) {
    match value {
        Some(value) => {
            let _ = write!(out, "{word} {};", expr(value));
        }
        None => {
            let _ = write!(out, "{word};");
        }
    }
}

fn call(out: &mut String, c: &Call) {
    let args: Vec<String> = c.args.iter().map(expr).collect();
    let _ = write!(out, "{}({})", c.name, args.join(", "));
}

/// Prints with parentheses where the operator around (of level `around`) binds tighter.
fn expression(out: &mut String, e: &Expr, around: u8) {
    match &e.kind {
        ExprKind::Int(n) if *n < 0 && around >= PREFIX => {
            let _ = write!(out, "({n})");
        }
        ExprKind::Int(n) => {
            let _ = write!(out, "{n}");
        }
        ExprKind::Str(s) => out.push_str(&quote(s)),
        ExprKind::Pv(pv) => out.push_str(&pv.text),
        ExprKind::Select(select) => out.push_str(&select_text(&select.parts)),
        ExprKind::Field(field) => out.push_str(field.as_str()),
        ExprKind::Myself => out.push_str("myself"),
        ExprKind::Net(net) => {
            let _ = write!(out, "{}/{}", host(&net.addr.to_string()), net.prefix);
        }
        ExprKind::Proto(p) => out.push_str(&p.as_str().to_ascii_uppercase()),
        ExprKind::Af { v6 } => out.push_str(if *v6 { "INET6" } else { "INET" }),
        ExprKind::Call(c) => call(out, c),
        ExprKind::Unary(op, inner) => {
            out.push_str(match op {
                UnaryOp::Not => "!",
                UnaryOp::Neg => "-",
                UnaryOp::BitNot => "~",
            });
            expression(out, inner, PREFIX);
        }
        ExprKind::Binary(op, left, right) => binary(out, *op, left, right, around),
        ExprKind::Cast(to, inner) => {
            out.push_str(match to {
                CastTo::Int => "(int)",
                CastTo::Str => "(str)",
            });
            expression(out, inner, PREFIX);
        }
        ExprKind::Defined(inner) => {
            out.push_str("defined ");
            expression(out, inner, PREFIX);
        }
        ExprKind::StrLen(inner) => {
            let _ = write!(out, "strlen({})", expr(inner));
        }
        ExprKind::StrEmpty(inner) => {
            let _ = write!(out, "strempty({})", expr(inner));
        }
        ExprKind::SelVal(parts) => {
            let parts: Vec<String> = parts.iter().map(expr).collect();
            let _ = write!(out, "selval({})", parts.join(", "));
        }
        ExprKind::Assign(both) => {
            let _ = write!(out, "({} = {})", both.0.text, expr(&both.1));
        }
        ExprKind::Error => out.push_str("<error>"),
    }
}

fn binary(out: &mut String, op: BinaryOp, left: &Expr, right: &Expr, around: u8) {
    let own = level(op);
    let wrap = own < around;
    if wrap {
        out.push('(');
    }
    expression(out, left, own);
    let _ = write!(out, " {} ", spelling(op));
    expression(out, right, own + 1);
    if wrap {
        out.push(')');
    }
}

fn select_text(parts: &[SelectPart]) -> String {
    let mut out = String::from("@");
    for (at, part) in parts.iter().enumerate() {
        let _ = match part {
            SelectPart::Name(name) if at == 0 => write!(out, "{name}"),
            SelectPart::Name(name) => write!(out, ".{name}"),
            SelectPart::Index(n) => write!(out, "[{n}]"),
            SelectPart::Key(key) => write!(out, "[\"{key}\"]"),
        };
    }
    out
}

fn value(v: &ModParamValue) -> String {
    match v {
        ModParamValue::Int(n) => n.to_string(),
        ModParamValue::Str(s) => quote(s),
    }
}

fn proto(p: Option<Proto>) -> String {
    p.map(|p| format!("{}:", p.as_str())).unwrap_or_default()
}

/// A host in a list: in quotes (which a name may need), an IPv6 address in brackets.
fn host(text: &str) -> String {
    if text.contains(':') && text.parse::<std::net::IpAddr>().is_ok() {
        format!("[{text}]")
    } else if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !text.is_empty() {
        text.to_owned()
    } else {
        quote(text)
    }
}

fn bare_host(text: &str) -> String {
    if text.contains(':') {
        format!("[{text}]")
    } else {
        text.to_owned()
    }
}

fn bare_or_quoted(name: &str) -> String {
    let bare = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':'));
    if bare { name.to_owned() } else { quote(name) }
}

/// A string in quotes, escaped so that reading it gives the same text.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Tighter than every operator with two operands.
const PREFIX: u8 = 12;
