//! Runs a program for a message.
//!
//! A [`Machine`] lives for one call of a route block and the blocks that it calls. It never fails as
//! a whole: what goes wrong in a statement is logged with its place and the routes that led there,
//! the statement counts as false, and the next one runs, as operators of Kamailio know it. Bounds
//! are on rounds of a loop and on nesting, on the length of a value, and on the CPU time of a message
//! ([`crate::budget`]), since loops within loops and calls that fork multiply.

use crate::budget;
use crate::fields;
use crate::ops;
use crate::program::{Arg, Args, Assign, At, Call, Expr, Op, Pattern, Program, Step, Switch};
use olelo_cfg::ast::RouteKind;
use olelo_core::route::ctx::{Ctx, End, Place};
use olelo_core::route::engine::{Engine, Outcome};
use olelo_core::route::function::{
    BRANCH, EVENT, FAILURE, ONREPLY, ONSEND, Routes, ScriptError, TM_ONREPLY,
};
use olelo_core::route::trace::{self, Step as Traced};
use olelo_core::route::value::Val;
use olelo_textops::posix;
use std::cell::Cell;

/// Most arguments of a function.
const MOST_ARGS: usize = 8;

/// A program as an engine.
pub struct Native(pub Program);

impl Engine for Native {
    fn call(&self, name: &str, _: &[&str], ctx: &mut Ctx) -> Outcome {
        match self.block(name, ctx.route) {
            Some(b) => Machine::new(&self.0).start(b, ctx),
            None => Outcome::Missing,
        }
    }

    fn has(&self, name: &str) -> bool {
        match whole(name) {
            Some((kind, name)) => self.0.find(kind, name).is_some(),
            // Main blocks have the empty name; it calls none of them.
            None if name.is_empty() => false,
            None => self.0.index.values().any(|names| names.contains_key(name)),
        }
    }
}

impl Native {
    /// The block that `name` means while a block of kind `routes` runs.
    fn block(&self, name: &str, routes: Routes) -> Option<usize> {
        if let Some((kind, name)) = whole(name) {
            return self.0.find(kind, name);
        }
        if name.is_empty() {
            return None;
        }
        let kind = match routes {
            FAILURE => RouteKind::Failure,
            BRANCH => RouteKind::Branch,
            TM_ONREPLY | ONREPLY => RouteKind::Reply,
            EVENT => RouteKind::Event,
            ONSEND => RouteKind::OnSend,
            _ => RouteKind::Request,
        };
        // Routes that go on after a pause, and those named by a control command, are plain ones.
        self.0
            .find(kind, name)
            .or_else(|| self.0.find(RouteKind::Request, name))
    }
}

/// Kind and name of a block whose name says its kind.
fn whole(name: &str) -> Option<(RouteKind, &str)> {
    match name {
        "request_route" => Some((RouteKind::Request, "")),
        "reply_route" => Some((RouteKind::Reply, "")),
        "onsend_route" => Some((RouteKind::OnSend, "")),
        _ => {
            let event = name.strip_prefix("event_route[")?.strip_suffix(']')?;
            Some((RouteKind::Event, event))
        }
    }
}

/// What follows a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// The next one.
    Next,
    /// What comes after the loop or `switch`.
    Break,
    /// The caller of the block.
    Return,
    /// Nothing: routing of the message is over.
    Stop,
}

thread_local! {
    /// Blocks that run in this process, those of machines within machines included: functions call
    /// routes, too. What a panic leaves behind is set right by the next outermost machine.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// See the file's essay.
struct Machine<'p> {
    program: &'p Program,
    /// Return code of the last statement; that of the block when it ends.
    value: i64,
    /// Set where a function's return code says that routing is over.
    over: bool,
    /// Blocks that run, with the place that each was called from.
    stack: Vec<(usize, At)>,
    /// Where the machine is.
    at: At,
}

impl<'p> Machine<'p> {
    fn new(program: &'p Program) -> Self {
        Machine {
            program,
            value: 1,
            over: false,
            stack: Vec::new(),
            at: At::default(),
        }
    }

    fn start(mut self, block: usize, ctx: &mut Ctx) -> Outcome {
        thread_local! {
            /// The stack of the last machine: its memory serves the next.
            static SPARE: Cell<Vec<(usize, At)>> = const { Cell::new(Vec::new()) };
        }
        self.stack = SPARE.take();
        self.stack.clear();
        self.stack.push((block, At::default()));
        let place = Place {
            route: block as u32,
            names: Some(self.program.names.clone()),
            ..Place::default()
        };
        let outer = std::mem::replace(&mut ctx.place, place);
        if outer.names.is_none() {
            DEPTH.set(1);
            budget::begin();
        }
        let flow = self.run(&self.program.blocks[block], ctx);
        ctx.place = outer;
        if budget::is_spent() {
            let place = self.program.place(self.at);
            SPARE.set(std::mem::take(&mut self.stack));
            return Outcome::OutOfBudget(budget::complaint(&place));
        }
        SPARE.set(std::mem::take(&mut self.stack));
        match (ctx.end, flow) {
            (End::Drop, _) => Outcome::Drop,
            (End::Exit, _) | (_, Flow::Stop) => Outcome::Exit,
            _ => Outcome::Return(self.value),
        }
    }

    fn run(&mut self, code: &'p [Step], ctx: &mut Ctx) -> Flow {
        for step in code {
            self.at = step.at;
            (ctx.place.file, ctx.place.line) = (step.at.file, step.at.line);
            if trace::is_on() {
                self.trace(step.op.name(), None, ctx);
            }
            let flow = self.step(step, ctx);
            if flow != Flow::Next {
                return flow;
            }
        }
        Flow::Next
    }

    fn step(&mut self, step: &'p Step, ctx: &mut Ctx) -> Flow {
        match &step.op {
            Op::Do(Expr::Call(c)) => {
                self.value = self.call(c, ctx);
                self.flow(ctx)
            }
            Op::Do(e) => {
                match self.eval(e, ctx) {
                    Ok(v) => self.value = ops::int(&v),
                    Err(e) => self.failed(&e, ctx),
                }
                self.flow(ctx)
            }
            Op::If(cond, then, otherwise) => {
                let yes = self.holds(cond, ctx);
                if self.flow(ctx) == Flow::Stop {
                    return Flow::Stop;
                }
                self.value = 1;
                self.run(if yes { then } else { otherwise }, ctx)
            }
            Op::Assign(a) => {
                self.assign(a, ctx);
                self.flow(ctx)
            }
            Op::While(cond, body) => self.repeat(step.at, cond, body, ctx),
            Op::Switch(s) => self.switch(s, ctx),
            Op::Break => {
                // A block that ends with it is neither true nor false.
                self.value = 0;
                Flow::Break
            }
            Op::Return(None) => {
                self.value = 1;
                Flow::Return
            }
            Op::Return(Some(e)) => {
                match self.eval(e, ctx) {
                    Ok(v) => self.value = ops::int(&v),
                    Err(e) => self.failed(&e, ctx),
                }
                match self.flow(ctx) {
                    Flow::Next => Flow::Return,
                    other => other,
                }
            }
            Op::Exit => {
                ctx.end = End::Exit;
                Flow::Stop
            }
            Op::Drop => {
                ctx.end = End::Drop;
                Flow::Stop
            }
        }
    }

    /// Whether something called has ended the routing.
    fn flow(&self, ctx: &Ctx) -> Flow {
        if self.over || ctx.end != End::None {
            Flow::Stop
        } else {
            Flow::Next
        }
    }

    fn assign(&mut self, a: &'p Assign, ctx: &mut Ctx) {
        // A fixed value is handed over without a copy.
        let done = match &a.value {
            Expr::Fixed(v) => a.target.set(ctx, v.clone()),
            e => match self.eval(e, ctx) {
                Ok(v) if ops::text(&v).len() > budget::LONGEST => Err(ScriptError(format!(
                    "a value of more than {} bytes is not kept",
                    budget::LONGEST
                ))),
                Ok(v) => a.target.set(ctx, v),
                Err(e) => Err(e),
            },
        };
        self.value = 1;
        if let Err(e) = done {
            self.failed(&e, ctx);
        } else if trace::is_on() {
            let value = a.target.get(ctx).as_bytes().map(|b| b.into_owned());
            let value = String::from_utf8_lossy(value.as_deref().unwrap_or(b"<null>")).into_owned();
            self.trace("assigned", Some((&a.text, &value)), ctx);
        }
    }

    fn repeat(&mut self, at: At, cond: &'p Expr, body: &'p [Step], ctx: &mut Ctx) -> Flow {
        let mut rounds = 0;
        loop {
            self.at = at;
            let yes = self.holds(cond, ctx);
            if self.flow(ctx) == Flow::Stop {
                return Flow::Stop;
            }
            if !yes {
                self.value = 1;
                return Flow::Next;
            }
            rounds += 1;
            if budget::spend() {
                return Flow::Stop;
            }
            if self.program.max_loops > 0 && rounds > self.program.max_loops {
                let e = format!(
                    "while: more than {} rounds (max_while_loops); the loop is left",
                    self.program.max_loops
                );
                self.failed(&ScriptError(e), ctx);
                return Flow::Next;
            }
            match self.run(body, ctx) {
                Flow::Next => {}
                Flow::Break => return Flow::Next,
                other => return other,
            }
        }
    }

    fn switch(&mut self, s: &'p Switch, ctx: &mut Ctx) -> Flow {
        let value = match self.eval(&s.value, ctx) {
            Ok(v) => v,
            Err(e) => {
                self.failed(&e, ctx);
                Val::Null
            }
        };
        if self.flow(ctx) == Flow::Stop {
            return Flow::Stop;
        }
        self.value = 1;
        match s.entry(&value) {
            Some(at) => match self.run(&s.code[at..], ctx) {
                Flow::Break => Flow::Next,
                other => other,
            },
            None => Flow::Next,
        }
    }

    /// A condition. One that can't be evaluated doesn't hold.
    fn holds(&mut self, e: &'p Expr, ctx: &mut Ctx) -> bool {
        let v = if e.is_condition() || e.is_leaf() {
            self.test(e, ctx)
        } else {
            self.eval(e, ctx).map(|v| ops::truth(&v))
        };
        v.unwrap_or_else(|e| {
            self.failed(&e, ctx);
            false
        })
    }

    /// The truth of an expression, without copying the values in it where that can be.
    fn test(&mut self, e: &'p Expr, ctx: &mut Ctx) -> Result<bool, ScriptError> {
        match e {
            Expr::Call(c) => Ok(self.call(c, ctx) > 0),
            Expr::Route(r) => Ok(self.route(*r, ctx)? > 0),
            Expr::RouteNamed(_) => Ok(ops::int(&self.eval(e, ctx)?) > 0),
            Expr::Not(e) => Ok(!self.test(e, ctx)?),
            Expr::And(p) => Ok(self.test(&p[0], ctx)? && self.test(&p[1], ctx)?),
            Expr::Or(p) => Ok(self.test(&p[0], ctx)? || self.test(&p[1], ctx)?),
            Expr::Compare(r, not, p) if p.iter().all(Expr::is_leaf) => {
                let (a, b) = (p[0].read(ctx)?, p[1].read(ctx)?);
                Ok(ops::relates(*r, &a, &b) != *not)
            }
            Expr::Defined(e) if e.is_leaf() => Ok(!e.read(ctx)?.is_null()),
            Expr::Match(m, not) if m.0.is_leaf() => match &m.1 {
                Pattern::Fixed(re) => Ok(re.is_match(&ops::text(&m.0.read(ctx)?)) != *not),
                Pattern::Value(_) => Ok(ops::truth(&self.eval(e, ctx)?)),
            },
            e if e.is_leaf() => Ok(ops::truth(&e.read(ctx)?)),
            e => Ok(ops::truth(&self.eval(e, ctx)?)),
        }
    }

    /// The value of an expression, a copy of its own.
    fn eval(&mut self, e: &'p Expr, ctx: &mut Ctx) -> Result<Val<'static>, ScriptError> {
        Ok(match e {
            e if e.is_leaf() => e.read(ctx)?.into_owned(),
            Expr::Call(c) => Val::Int(self.call(c, ctx)),
            Expr::Route(r) => Val::Int(self.route(*r, ctx)?),
            Expr::RouteNamed(e) => {
                let name = self.eval(e, ctx)?;
                let name = String::from_utf8_lossy(&ops::text(&name)).into_owned();
                let named = (!name.is_empty()).then_some(&name);
                let route = named.and_then(|n| self.program.find(RouteKind::Request, n));
                let route =
                    route.ok_or_else(|| ScriptError(format!("there is no route[{name}]")))?;
                Val::Int(self.route(route, ctx)?)
            }
            Expr::Not(_) | Expr::And(_) | Expr::Or(_) => Val::Int(self.test(e, ctx)?.into()),
            Expr::Neg(e) => Val::Int(ops::int(&self.eval(e, ctx)?).wrapping_neg()),
            Expr::BitNot(e) => Val::Int(!ops::int(&self.eval(e, ctx)?)),
            Expr::Compare(r, not, p) => {
                let (a, b) = (self.eval(&p[0], ctx)?, self.eval(&p[1], ctx)?);
                Val::Int((ops::relates(*r, &a, &b) != *not).into())
            }
            Expr::Match(m, not) => {
                let subject = self.eval(&m.0, ctx)?;
                let re = match &m.1 {
                    Pattern::Fixed(re) => re.clone(),
                    Pattern::Value(e) => {
                        let v = self.eval(e, ctx)?;
                        posix::compiled(&ops::text(&v), MATCH)?
                    }
                };
                Val::Int((re.is_match(&ops::text(&subject)) != *not).into())
            }
            Expr::Arith(op, p) => {
                let (a, b) = (self.eval(&p[0], ctx)?, self.eval(&p[1], ctx)?);
                ops::calculate(*op, &a, &b)?
            }
            Expr::ToInt(e) => Val::Int(ops::int(&self.eval(e, ctx)?)),
            Expr::ToStr(e) => Val::from(ops::text(&self.eval(e, ctx)?).into_owned()),
            Expr::Defined(e) => Val::Int((!self.eval(e, ctx)?.is_null()).into()),
            Expr::StrLen(e) => Val::Int(ops::text(&self.eval(e, ctx)?).len() as i64),
            Expr::StrEmpty(e) => Val::Int(ops::text(&self.eval(e, ctx)?).is_empty().into()),
            Expr::SelVal(p) => {
                let chosen = if self.test(&p[0], ctx)? { &p[1] } else { &p[2] };
                self.eval(chosen, ctx)?
            }
            Expr::Assign(a) => {
                self.assign(a, ctx);
                Val::Int(1)
            }
            // Leaves are read above.
            Expr::Fixed(_) | Expr::Pv(_) | Expr::Field(_) | Expr::Test(_) => Val::Null,
        })
    }

    /// A function's return code: below 0 false, above 0 true, 0 ends the routing.
    fn call(&mut self, c: &'p Call, ctx: &mut Ctx) -> i64 {
        let done = match &c.args {
            Args::Fixed(v) => c.function.call(ctx, v),
            Args::Mixed(args) => self.call_mixed(c, args, ctx),
        };
        let rc = match done {
            Ok(v) => code(&v),
            Err(e) => {
                self.failed(&e, ctx);
                -1
            }
        };
        ctx.rc = rc;
        self.over |= rc == 0;
        rc
    }

    fn call_mixed(
        &mut self,
        c: &'p Call,
        args: &'p [Arg],
        ctx: &mut Ctx,
    ) -> Result<Val<'static>, ScriptError> {
        let mut values = [const { Val::Null }; MOST_ARGS];
        for (v, arg) in values.iter_mut().zip(args) {
            *v = match arg {
                Arg::Fixed(Val::Str(s)) => Val::bytes(s),
                Arg::Fixed(v) => v.clone(),
                Arg::Text(f) => Val::from(f.eval(ctx)),
                Arg::Value(e) => self.eval(e, ctx)?,
                Arg::String(e, null) => match self.eval(e, ctx)? {
                    Val::Null => Val::bytes(null),
                    v @ (Val::Int(_) | Val::Bool(_)) => Val::from(ops::text(&v).into_owned()),
                    v => v,
                },
            };
        }
        c.function.call(ctx, &values[..args.len().min(MOST_ARGS)])
    }

    /// Runs another block and returns its code.
    fn route(&mut self, route: usize, ctx: &mut Ctx) -> Result<i64, ScriptError> {
        if budget::spend() {
            // Nothing more runs; the outermost machine says why.
            self.over = true;
            return Ok(-1);
        }
        if DEPTH.get() >= self.program.max_depth {
            return Err(ScriptError(format!(
                "routes are nested {} deep (max_recursive_level); {} is left out",
                DEPTH.get(),
                self.program.name(route)
            )));
        }
        let (back, outer) = (self.at, ctx.place.route);
        self.stack.push((route, back));
        ctx.place.route = route as u32;
        self.value = 1;
        let depth = DEPTH.get();
        DEPTH.set(depth + 1);
        let flow = self.run(&self.program.blocks[route], ctx);
        DEPTH.set(depth);
        self.stack.pop();
        self.at = back;
        (ctx.place.file, ctx.place.line, ctx.place.route) = (back.file, back.line, outer);
        ctx.rc = self.value;
        // `return 0` ends the routing, and so does what has ended it already.
        self.over |= flow == Flow::Stop || flow == Flow::Return && self.value == 0;
        Ok(self.value)
    }

    /// The statement is false. Logs what went wrong, with the place and the way that led there.
    fn failed(&mut self, e: &ScriptError, ctx: &mut Ctx) {
        self.value = -1;
        if !budget::is_logged() {
            return;
        }
        olelo_core::error!(
            "app_native",
            "{}: {e} [{}; {}]",
            self.program.place(self.at),
            self.trail(),
            String::from_utf8_lossy(ctx.msg.call_id().unwrap_or(b"no Call-ID"))
        );
    }

    /// `request_route > route[RELAY] (a.cfg:12)`: the blocks that run and where each was called. Of a
    /// long way only its ends.
    fn trail(&self) -> String {
        const SHOWN: usize = 6;
        let mut out = String::new();
        for (i, (block, from)) in self.stack.iter().enumerate() {
            if i >= SHOWN && i + SHOWN < self.stack.len() {
                if i == SHOWN {
                    out.push_str(" > …");
                }
                continue;
            }
            if i > 0 {
                out.push_str(" > ");
            }
            out.push_str(self.program.name(*block));
            if i > 0 {
                out.push_str(&format!(" ({})", self.program.place(*from)));
            }
        }
        out
    }

    #[cold]
    fn trace(&self, what: &str, assigned: Option<(&str, &str)>, ctx: &mut Ctx) {
        let step = Traced {
            what,
            depth: self.stack.len(),
            assigned,
        };
        trace::step(ctx, &step);
    }
}

/// `=~` matches without regard to case.
pub const MATCH: posix::Flags = posix::Flags {
    ignore_case: true,
    lines: false,
};

/// The return code that a function's value stands for.
fn code(v: &Val<'_>) -> i64 {
    match v {
        Val::Int(i) => *i,
        Val::Bool(true) => 1,
        Val::Bool(false) => -1,
        _ => 1,
    }
}

impl Switch {
    /// The statement to go on with for this value.
    fn entry(&self, value: &Val<'_>) -> Option<usize> {
        use crate::program::Label;
        let text = ops::text(value);
        let hit = self.labels.iter().find(|(l, _)| match l {
            Label::Int(i) if self.numeric => ops::int(value) == *i,
            Label::Int(i) => *text == *i.to_string().as_bytes(),
            Label::Str(s) => *text == **s,
            Label::Regex(re) => re.is_match(&text),
        });
        hit.map(|(_, at)| *at).or(self.default)
    }
}

impl Expr {
    /// Whether it is one value that can be read from the message as it is.
    fn is_leaf(&self) -> bool {
        matches!(
            self,
            Expr::Fixed(_) | Expr::Pv(_) | Expr::Field(_) | Expr::Test(_)
        )
    }

    /// Whether its value is a truth.
    fn is_condition(&self) -> bool {
        matches!(
            self,
            Expr::Call(_)
                | Expr::Route(_)
                | Expr::RouteNamed(_)
                | Expr::Not(_)
                | Expr::And(_)
                | Expr::Or(_)
                | Expr::Compare(..)
                | Expr::Match(..)
                | Expr::Defined(_)
        )
    }

    /// The value of a leaf, borrowed from the message where that can be.
    fn read<'c>(&'c self, ctx: &'c Ctx) -> Result<Val<'c>, ScriptError> {
        Ok(match self {
            Expr::Fixed(Val::Str(s)) => Val::bytes(s),
            Expr::Fixed(v) => v.clone(),
            Expr::Pv(s) => s.get(ctx),
            Expr::Field(f) => fields::value(*f, ctx),
            Expr::Test(t) => Val::Int(fields::test(t, ctx).into()),
            _ => Val::Null,
        })
    }
}
