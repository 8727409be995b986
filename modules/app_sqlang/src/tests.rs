//! Scripts against a machine with a few functions of our own under `KSR`, without a server.

mod budgets;
mod errors;
mod files;
mod garbage;
mod values;

use crate::ffi::Machine;
use olelo_core::route::ctx::{Ctx, End};
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::{AnyVal, Function, function};
use olelo_core::route::value::Val;
use olelo_script::Limits;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Milliseconds and bytes that are enough for all that is not to be stopped.
const PLENTY: Limits = Limits {
    time_ms: 60_000,
    memory: 64 << 20,
};

thread_local! {
    /// What `KSR.test.nested` calls.
    static INNER: RefCell<Option<Rc<Machine>>> = const { RefCell::new(None) };
}

/// A machine whose top level has run. The time of scripts is one of the process, so tests of one
/// process run one after the other.
struct Script {
    machine: Rc<Machine>,
    _alone: MutexGuard<'static, ()>,
}

impl Script {
    fn new(text: &str) -> Script {
        Script::limited(text, PLENTY)
    }

    fn limited(text: &str, limits: Limits) -> Script {
        match Script::load(text.as_bytes(), limits) {
            (s, Outcome::Return(_)) => s,
            (_, other) => panic!("{other:?}"),
        }
    }

    /// The machine, and how its top level ended.
    fn load(text: &[u8], limits: Limits) -> (Script, Outcome) {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let import = |path: &str| match path {
            "good.nut" => Ok(b"imported <- 7; return 8;".to_vec()),
            "bad.nut" => Ok(b"local x = ;".to_vec()),
            _ => Err(format!("can't read {path}: no such file")),
        };
        let machine = Machine::new(&exports(), limits, Box::new(import)).expect("a machine");
        let machine = Rc::new(machine);
        INNER.set(Some(machine.clone()));
        let outcome = machine.run(text, "t.nut", &mut Ctx::new());
        let script = Script {
            machine,
            _alone: alone,
        };
        (script, outcome)
    }

    fn call(&self, name: &str) -> Outcome {
        self.machine.call(name, &[], &mut Ctx::new())
    }

    fn failed(&self, name: &str) -> String {
        match self.call(name) {
            Outcome::Failed(e) => e,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn out_of_budget(&self, name: &str) -> String {
        match self.call(name) {
            Outcome::OutOfBudget(e) => e,
            other => panic!("{name}: {other:?}"),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        INNER.set(None);
    }
}

fn exports() -> Vec<(&'static str, &'static Function)> {
    let all = vec![
        function("add", |_: &mut Ctx, a: i64, b: i64| a + b),
        function("same", |_: &mut Ctx, v: AnyVal<'_>| {
            v.0.clone().into_owned()
        }),
        function("upper", |_: &mut Ctx, s: &[u8]| s.to_ascii_uppercase()),
        function("exit", |c: &mut Ctx| c.end = End::Exit),
        function("drop", |c: &mut Ctx| c.end = End::Drop),
        function("panics", |_: &mut Ctx| -> i64 { panic!("as wanted") }),
        function("nested", nested),
        function("list", |_: &mut Ctx| list()),
        function("dict", |_: &mut Ctx| {
            Val::Dict(vec![("one".into(), Val::Int(1)), ("list".into(), list())])
        }),
        function(
            "six",
            |_: &mut Ctx, a: i64, b: i64, c: i64, d: i64, e: i64, f: i64| a + b + c + d + e + f,
        ),
    ];
    let all = all.into_iter().map(|mut f| {
        f.prefix = Some("test");
        ("test", &*Box::leak(Box::new(f)))
    });
    all.collect()
}

fn list() -> Val<'static> {
    let inner = Val::List(vec![Val::Bool(true)]);
    Val::List(vec![Val::Int(1), Val::text("two"), inner, Val::Null])
}

/// Calls a function of the same script, as `KSR.app_sqlang.run` does: 1 returned, 2 exit, 3 failed, 4 out
/// of budget.
fn nested(ctx: &mut Ctx, name: &str) -> i64 {
    let machine = INNER.with_borrow(Clone::clone).expect("a machine");
    match machine.call(name, &[], ctx) {
        Outcome::Return(_) => 1,
        Outcome::Exit | Outcome::Drop => 2,
        Outcome::Failed(_) => 3,
        _ => 4,
    }
}
