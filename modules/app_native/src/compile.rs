//! From the syntax tree to a [`Program`], with everything that is wrong in the route blocks.
//!
//! Names are resolved against the exports of the loaded modules. Faults don't end the work: one run
//! shows them all, each at its place with the nearest name. Which blocks are never reached, and
//! functions in blocks where they mean nothing, is found by [`crate::check`].

use crate::call;
use crate::program::{
    Arith, Assign, At, Code, Expr, Label, Op, Pattern, Program, Relation, Step, Switch, Test,
};
use crate::run::MATCH;
use olelo_cfg::Parsed;
use olelo_cfg::ast::{
    self, AssignOp, BinaryOp, CaseLabel, CastTo, ExprKind, Field, IpNet, RouteKind, SelectPart,
    Stmt, StmtKind, UnaryOp,
};
use olelo_cfg::diagnostic::Diagnostic;
use olelo_cfg::source::Span;
use olelo_core::net::Proto;
use olelo_core::pv::Spec;
use olelo_core::route::ctx::PlaceNames;
use olelo_core::route::registry::Registry;
use olelo_core::route::value::Val;
use olelo_textops::posix;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

/// Compiles all route blocks. The program is only to be run where no diagnostic is an error.
pub fn compile(parsed: &Parsed, registry: &'static Registry) -> (Program, Vec<Diagnostic>) {
    let mut c = Compiler::new(parsed, registry);
    for (i, r) in parsed.config.routes.iter().enumerate() {
        c.kind = r.kind;
        c.named = r.name.is_some();
        let code = c.block(&r.body.stmts);
        c.program.blocks[i] = code;
    }
    if c.program.find(RouteKind::Request, "").is_none() && crate::routes_here() {
        let head = Span::default();
        c.fault(
            Diagnostic::warning(
                "no-request-route",
                "the configuration has no request_route: requests are answered with 500",
                head,
            )
            .with_help("write request_route { … }, or name a script's language with cfgengine"),
        );
    }
    crate::check::blocks(&parsed.config, registry, &mut c.diagnostics);
    (c.program, c.diagnostics)
}

/// How a block is written at its head.
pub fn head(kind: RouteKind, name: Option<&str>) -> String {
    match (kind, name) {
        (RouteKind::Request, None) => "request_route".into(),
        (RouteKind::Reply, None) => "reply_route".into(),
        (kind, None) => kind.keyword().into(),
        (kind, Some(n)) => format!("{}[{n}]", kind.keyword()),
    }
}

/// State of a compilation.
pub(crate) struct Compiler<'a> {
    parsed: &'a Parsed,
    pub(crate) registry: &'static Registry,
    pub(crate) program: Program,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) flags: HashMap<String, i64>,
    pub(crate) kind: RouteKind,
    pub(crate) named: bool,
}

impl<'a> Compiler<'a> {
    fn new(parsed: &'a Parsed, registry: &'static Registry) -> Self {
        let config = &olelo_core::server().config;
        let files = parsed.sources.files().iter().map(|f| f.name.clone());
        let routes = parsed.config.routes.iter();
        let mut program = Program {
            names: Rc::new(PlaceNames {
                files: files.collect(),
                routes: routes.map(|r| head(r.kind, r.name.as_deref())).collect(),
            }),
            max_loops: config.int("max_while_loops", 100),
            max_depth: config.int("max_recursive_level", 256).clamp(2, 1024) as usize,
            ..Program::default()
        };
        for (i, r) in parsed.config.routes.iter().enumerate() {
            program.blocks.push(Code::default());
            let names = program.index.entry(r.kind).or_default();
            names.insert(r.name.clone().unwrap_or_default(), i);
        }
        Compiler {
            parsed,
            registry,
            program,
            diagnostics: Vec::new(),
            flags: flags(&parsed.config),
            kind: RouteKind::Request,
            named: false,
        }
    }

    pub(crate) fn fault(&mut self, d: Diagnostic) {
        self.diagnostics.push(d);
    }

    fn at(&self, span: Span) -> At {
        At {
            file: span.file.0,
            line: self.parsed.sources.locate(span).line,
        }
    }

    fn block(&mut self, stmts: &[Stmt]) -> Code {
        let mut steps = Vec::new();
        self.steps(stmts, &mut steps);
        self.unreachable(stmts);
        steps.into()
    }

    /// Warns of statements behind one that never goes on.
    fn unreachable(&mut self, stmts: &[Stmt]) {
        let ends = |s: &Stmt| {
            matches!(
                s.kind,
                StmtKind::Break | StmtKind::Return(_) | StmtKind::Exit(_) | StmtKind::Drop(_)
            )
        };
        if let Some(at) = stmts.iter().position(ends)
            && let Some(next) = stmts.get(at + 1)
            // `exit; break;` at the end of a case is habit, not a mistake.
            && !(matches!(next.kind, StmtKind::Break) && at + 2 == stmts.len())
        {
            self.fault(
                Diagnostic::warning("unreachable", "this is never reached", next.span)
                    .with_note(stmts[at].span, "routing never goes on behind this"),
            );
        }
    }

    fn steps(&mut self, stmts: &[Stmt], out: &mut Vec<Step>) {
        for s in stmts {
            if let StmtKind::Block(b) = &s.kind {
                self.steps(&b.stmts, out);
                continue;
            }
            let at = self.at(s.span);
            let op = self.op(s);
            out.push(Step { at, op });
        }
    }

    fn op(&mut self, s: &Stmt) -> Op {
        match &s.kind {
            StmtKind::If {
                cond,
                then,
                otherwise,
            } => {
                let cond = self.condition(cond);
                let then = self.block(&then.stmts);
                let otherwise = otherwise.as_ref().map(|b| self.block(&b.stmts));
                Op::If(cond, then, otherwise.unwrap_or_default())
            }
            StmtKind::While { cond, body } => {
                let cond = self.condition(cond);
                Op::While(cond, self.block(&body.stmts))
            }
            StmtKind::Switch { value, cases } => Op::Switch(Box::new(self.switch(value, cases))),
            StmtKind::Break => Op::Break,
            StmtKind::Return(e) => Op::Return(e.as_ref().map(|e| self.expr(e))),
            StmtKind::Exit(e) => {
                e.as_ref().map(|e| self.expr(e));
                Op::Exit
            }
            StmtKind::Drop(e) => {
                e.as_ref().map(|e| self.expr(e));
                Op::Drop
            }
            StmtKind::Assign { target, op, value } => self.assign(target, *op, value),
            StmtKind::Call(c) => Op::Do(call::compile(self, c)),
            StmtKind::Block(_) => Op::Do(Expr::Fixed(Val::Int(1))),
        }
    }

    fn assign(&mut self, target: &ast::Pv, op: AssignOp, value: &ast::Expr) -> Op {
        let value = self.expr(value);
        let target_text = &target.text;
        let Some(spec) = self.pv(target) else {
            return Op::Do(Expr::Fixed(Val::Null));
        };
        if spec.class().set.is_none() {
            self.fault(Diagnostic::error(
                "read-only",
                format!("${} can't be changed", spec.class().name),
                target.span,
            ));
        }
        let assign = |target, value| {
            let text = target_text.as_str().into();
            Op::Assign(Box::new(Assign {
                target,
                text,
                value,
            }))
        };
        let with = match op {
            AssignOp::Set => return assign(spec, value),
            AssignOp::Add => Arith::Add,
            AssignOp::Sub => Arith::Sub,
            AssignOp::Mul => Arith::Mul,
            AssignOp::Div => Arith::Div,
        };
        let old = Expr::Pv(Box::new(spec.clone()));
        let new = Expr::Arith(with, Box::new([old, value]));
        assign(spec, new)
    }

    fn switch(&mut self, value: &ast::Expr, cases: &[ast::Case]) -> Switch {
        let value = self.expr(value);
        let (mut labels, mut default, mut steps) = (Vec::new(), None, Vec::new());
        for c in cases {
            let at = steps.len();
            match &c.label {
                CaseLabel::Default => default = Some(at),
                CaseLabel::Regex(text) => match self.regex(text, c.span) {
                    Some(re) => labels.push((Label::Regex(re), at)),
                    None => continue,
                },
                CaseLabel::Value(e) => match constant(e) {
                    Some(Val::Int(i)) => labels.push((Label::Int(i), at)),
                    Some(v) => {
                        let text = crate::ops::text(&v).into_owned();
                        labels.push((Label::Str(text.into()), at));
                    }
                    None => self.fault(
                        Diagnostic::error("case-label", "a case label must be a constant", e.span)
                            .with_help("compare with if … else if"),
                    ),
                },
            }
            self.steps(&c.body, &mut steps);
            self.unreachable(&c.body);
        }
        Switch {
            value,
            numeric: labels.iter().all(|(l, _)| matches!(l, Label::Int(_))),
            labels,
            default,
            code: steps.into(),
        }
    }

    /// An expression used as a condition.
    fn condition(&mut self, e: &ast::Expr) -> Expr {
        if let ExprKind::Str(s) = &e.kind {
            self.fault(
                Diagnostic::warning(
                    "constant-condition",
                    format!("the string \"{s}\" is always {}", crate::ops::truth(&Val::text(s))),
                    e.span,
                )
                .with_help("pseudo-variables in strings are not replaced in expressions; write the pseudo-variable alone"),
            );
        }
        self.expr(e)
    }

    pub(crate) fn expr(&mut self, e: &ast::Expr) -> Expr {
        match &e.kind {
            ExprKind::Int(i) => Expr::Fixed(Val::Int(*i)),
            ExprKind::Str(s) => Expr::Fixed(Val::owned(s.as_bytes())),
            ExprKind::Pv(pv) => self.pv_value(pv),
            ExprKind::Select(s) => self.select(s, e.span),
            ExprKind::Field(f) => Expr::Field(*f),
            ExprKind::Myself | ExprKind::Net(_) | ExprKind::Proto(_) | ExprKind::Af { .. } => {
                self.lonely(e)
            }
            ExprKind::Call(c) => call::compile(self, c),
            ExprKind::Unary(op, e) => {
                let e = Box::new(self.expr(e));
                match op {
                    UnaryOp::Not => Expr::Not(e),
                    UnaryOp::Neg => Expr::Neg(e),
                    UnaryOp::BitNot => Expr::BitNot(e),
                }
            }
            ExprKind::Binary(op, a, b) => self.binary(*op, a, b),
            ExprKind::Cast(CastTo::Int, e) => Expr::ToInt(Box::new(self.expr(e))),
            ExprKind::Cast(CastTo::Str, e) => Expr::ToStr(Box::new(self.expr(e))),
            ExprKind::Defined(e) => Expr::Defined(Box::new(self.expr(e))),
            ExprKind::StrLen(e) => Expr::StrLen(Box::new(self.expr(e))),
            ExprKind::StrEmpty(e) => Expr::StrEmpty(Box::new(self.expr(e))),
            ExprKind::SelVal(p) => {
                let [a, b, c] = &**p;
                Expr::SelVal(Box::new([self.expr(a), self.expr(b), self.expr(c)]))
            }
            ExprKind::Assign(both) => match self.assign(&both.0, AssignOp::Set, &both.1) {
                Op::Assign(a) => Expr::Assign(a),
                _ => Expr::Fixed(Val::Null),
            },
            ExprKind::Error => Expr::Fixed(Val::Null),
        }
    }

    /// A word that only means something beside a field.
    fn lonely(&mut self, e: &ast::Expr) -> Expr {
        let (what, field) = match &e.kind {
            ExprKind::Myself => ("myself", "uri"),
            ExprKind::Net(_) => ("an address", "src_ip"),
            ExprKind::Proto(_) => ("a transport", "proto"),
            _ => ("an address family", "af"),
        };
        self.fault(
            Diagnostic::error("comparison", format!("{what} can't stand here"), e.span)
                .with_help(format!("compare it: {field} == …")),
        );
        Expr::Fixed(Val::Null)
    }

    fn binary(&mut self, op: BinaryOp, a: &ast::Expr, b: &ast::Expr) -> Expr {
        if let Some(t) = self.test(op, a, b).or_else(|| self.test(op, b, a)) {
            return Expr::Test(Box::new(t));
        }
        if matches!(op, BinaryOp::Match | BinaryOp::NotMatch) {
            return self.matches(a, b, op == BinaryOp::NotMatch);
        }
        if let Some(e) = self
            .null_test(op, a, b)
            .or_else(|| self.null_test(op, b, a))
        {
            return e;
        }
        if matches!(op, BinaryOp::And | BinaryOp::Or) {
            let pair = Box::new([self.expr(a), self.expr(b)]);
            return match op {
                BinaryOp::And => Expr::And(pair),
                _ => Expr::Or(pair),
            };
        }
        let pair = Box::new([self.operand(a), self.operand(b)]);
        let compare = |r, not, pair| Expr::Compare(r, not, pair);
        match op {
            BinaryOp::Eq => compare(Relation::Eq, false, pair),
            BinaryOp::Ne => compare(Relation::Eq, true, pair),
            BinaryOp::StrEq => compare(Relation::StrEq, false, pair),
            BinaryOp::StrNe => compare(Relation::StrEq, true, pair),
            BinaryOp::IntEq => compare(Relation::IntEq, false, pair),
            BinaryOp::IntNe => compare(Relation::IntEq, true, pair),
            BinaryOp::Lt => compare(Relation::Lt, false, pair),
            BinaryOp::Le => compare(Relation::Le, false, pair),
            BinaryOp::Gt => compare(Relation::Gt, false, pair),
            BinaryOp::Ge => compare(Relation::Ge, false, pair),
            BinaryOp::BitOr => Expr::Arith(Arith::Or, pair),
            BinaryOp::BitXor => Expr::Arith(Arith::Xor, pair),
            BinaryOp::BitAnd => Expr::Arith(Arith::And, pair),
            BinaryOp::Shl => Expr::Arith(Arith::Shl, pair),
            BinaryOp::Shr => Expr::Arith(Arith::Shr, pair),
            BinaryOp::Add => Expr::Arith(Arith::Add, pair),
            BinaryOp::Sub => Expr::Arith(Arith::Sub, pair),
            BinaryOp::Mul => Expr::Arith(Arith::Mul, pair),
            BinaryOp::Div => Expr::Arith(Arith::Div, pair),
            BinaryOp::Mod => Expr::Arith(Arith::Mod, pair),
            // Dealt with above.
            BinaryOp::Or | BinaryOp::And | BinaryOp::Match | BinaryOp::NotMatch => {
                Expr::Fixed(Val::Null)
            }
        }
    }

    /// An operand of a comparison or calculation: there a call is 1 or 0, not its return code.
    fn operand(&mut self, e: &ast::Expr) -> Expr {
        match self.expr(e) {
            call @ (Expr::Call(_) | Expr::Route(_) | Expr::RouteNamed(_)) => {
                Expr::Not(Box::new(Expr::Not(Box::new(call))))
            }
            e => e,
        }
    }

    /// `$x == $null`: whether there is a value at all; an empty string and 0 are values.
    fn null_test(&mut self, op: BinaryOp, a: &ast::Expr, b: &ast::Expr) -> Option<Expr> {
        let ExprKind::Pv(pv) = &b.kind else {
            return None;
        };
        if pv.spec.name != "null" {
            return None;
        }
        let defined = |c: &mut Self| Box::new(Expr::Defined(Box::new(c.operand(a))));
        match op {
            BinaryOp::Eq => Some(Expr::Not(defined(self))),
            BinaryOp::Ne => Some(*defined(self)),
            _ => None,
        }
    }

    fn matches(&mut self, a: &ast::Expr, b: &ast::Expr, not: bool) -> Expr {
        let subject = self.expr(a);
        let pattern = match &b.kind {
            ExprKind::Str(text) => match self.regex(text, b.span) {
                Some(re) => Pattern::Fixed(re),
                None => return Expr::Fixed(Val::Null),
            },
            _ => Pattern::Value(self.expr(b)),
        };
        Expr::Match(Box::new((subject, pattern)), not)
    }

    fn regex(&mut self, text: &str, span: Span) -> Option<Rc<regex::bytes::Regex>> {
        match posix::compiled(text.as_bytes(), MATCH) {
            Ok(re) => Some(re),
            Err(e) => {
                self.fault(Diagnostic::error("regex", e.0, span));
                None
            }
        }
    }

    /// `src_ip == 10.0.0.0/8`, `uri == myself` and their like.
    fn test(&mut self, op: BinaryOp, a: &ast::Expr, b: &ast::Expr) -> Option<Test> {
        let not = match op {
            BinaryOp::Eq | BinaryOp::Match => false,
            BinaryOp::Ne | BinaryOp::NotMatch => true,
            _ => return None,
        };
        let ExprKind::Field(field) = a.kind else {
            return None;
        };
        let address = matches!(
            field,
            Field::SrcIp | Field::DstIp | Field::SndIp | Field::ToIp
        );
        let t = match &b.kind {
            ExprKind::Myself => Test::Myself(field),
            ExprKind::Net(net) => Test::Net(field, *net),
            ExprKind::Str(s) if address => Test::Net(field, net(s)?),
            ExprKind::Proto(p) => Test::Proto(field, Proto::from_name(p.as_str().as_bytes())?),
            ExprKind::Af { v6 } => Test::V6(field, *v6),
            _ => return None,
        };
        Some(if not { Test::Not(Box::new(t)) } else { t })
    }

    /// The value of a pseudo-variable.
    fn pv_value(&mut self, pv: &ast::Pv) -> Expr {
        if pv.spec.name == "null" && self.registry.pv("null").is_none() {
            return Expr::Fixed(Val::Null);
        }
        match self.pv(pv) {
            Some(s) => Expr::Pv(Box::new(s)),
            None => Expr::Fixed(Val::Null),
        }
    }

    fn pv(&mut self, pv: &ast::Pv) -> Option<Spec> {
        match Spec::parse(pv.text.as_bytes()) {
            Ok(s) => Some(s),
            Err(e) => {
                self.fault(Diagnostic::error("pseudo-variable", e.0, pv.span));
                None
            }
        }
    }

    /// A select is what `$sel` reads.
    fn select(&mut self, s: &ast::Select, span: Span) -> Expr {
        let mut path = String::new();
        for part in &s.parts {
            match part {
                SelectPart::Name(n) if path.is_empty() => path.push_str(n),
                SelectPart::Name(n) => path.push_str(&format!(".{n}")),
                SelectPart::Index(i) => path.push_str(&format!("[{i}]")),
                SelectPart::Key(k) => path.push_str(&format!(".{k}")),
            }
        }
        match Spec::parse(format!("$sel({path})").as_bytes()) {
            // One that names nothing is the empty string, not null.
            Ok(spec) => Expr::ToStr(Box::new(Expr::Pv(Box::new(spec)))),
            Err(_) => {
                self.fault(
                    Diagnostic::error("select", format!("@{path} can't be read"), span)
                        .with_help("selects are read by the module pv: loadmodule \"pv.so\""),
                );
                Expr::Fixed(Val::Null)
            }
        }
    }
}

/// The value of an expression that is the same for every message.
fn constant(e: &ast::Expr) -> Option<Val<'static>> {
    match &e.kind {
        ExprKind::Int(i) => Some(Val::Int(*i)),
        ExprKind::Str(s) => Some(Val::owned(s.as_bytes())),
        ExprKind::Unary(UnaryOp::Neg, e) => match constant(e)? {
            Val::Int(i) => Some(Val::Int(i.wrapping_neg())),
            _ => None,
        },
        _ => None,
    }
}

/// `10.0.0.0/8` or an address.
fn net(s: &str) -> Option<IpNet> {
    let (addr, prefix) = s.split_once('/').map_or((s, None), |(a, p)| (a, Some(p)));
    let addr: IpAddr = addr.trim_matches(['[', ']']).parse().ok()?;
    let most = if addr.is_ipv6() { 128 } else { 32 };
    let prefix = match prefix {
        Some(p) => p.parse().ok().filter(|p| *p <= most)?,
        None => most,
    };
    Some(IpNet { addr, prefix })
}

/// Numbers of the declared flags; those declared without one get the lowest that are free.
fn flags(config: &ast::Config) -> HashMap<String, i64> {
    let given: Vec<i64> = config.flags.iter().filter_map(|f| f.number).collect();
    let mut free = (0..32).filter(|n| !given.contains(n));
    let mut out = HashMap::new();
    for f in config.flags.iter().chain(&config.avpflags) {
        if let Some(n) = f.number.or_else(|| free.next()) {
            out.insert(f.name.clone(), n);
        }
    }
    out
}
