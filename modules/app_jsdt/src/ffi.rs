//! The only file of this crate that talks to QuickJS' C interface: raw bindings of the exported
//! functions, evaluation and calls. What is not on the path of a message goes through rquickjs.
//!
//! A call from JavaScript costs one C function whose `magic` is the export's number in the registry.
//! `exit`, `drop` and the end of the message's time are errors that QuickJS lets no script catch.
//!
//! Every `JSValue` that this file is given a count of is an [`Owned`] until it is handed on: a count
//! lost is memory lost.

mod memory;
mod value;

use crate::imports::{EsModules, Finder};
use memory::Bounded;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::Function;
use olelo_core::route::registry::FnId;
use olelo_core::route::value::Val;
use olelo_ipc::budget;
use olelo_script::Limits;
use olelo_script::call::{self, MOST_ARGS, Ran};
use rquickjs::qjs;
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_int, c_void};
use std::ptr;
use std::rc::Rc;
use value::{Argument, Owned, is_exception, tag, text_of};

/// Native stack that JavaScript may nest on.
const STACK: usize = 4 << 20;
/// Names of routes that are remembered although they don't exist: names may come from messages.
const MOST_UNKNOWN: usize = 1024;

/// An interpreter with the exports in it.
pub struct State {
    /// Names looked up before that are no property: constants of the script, or `None`.
    hidden: RefCell<FxHashMap<String, Option<Owned>>>,
    /// What the scripts that are modules export.
    exported: RefCell<Vec<Owned>>,
    /// Raised for `exit` and `drop`.
    sentinel: Owned,
    limits: Limits,
    /// Whether memory was asked for that it may not have.
    refused: Rc<Cell<bool>>,
    /// Promises that failed and that nobody has looked at.
    forgotten: Rc<RefCell<Vec<Forgotten>>>,
    raw: *mut qjs::JSContext,
    // Last: all values above are of it.
    context: rquickjs::Context,
    runtime: rquickjs::Runtime,
}

thread_local! {
    /// The sentinel of the state whose script runs. Raw: the state keeps it alive.
    static SENTINEL: RefCell<Vec<qjs::JSValue>> = const { RefCell::new(Vec::new()) };
}

impl State {
    /// A fresh interpreter with `KSR`, that finds modules with `finder`.
    pub fn new(limits: Limits, finder: Rc<Finder>) -> Result<State, String> {
        let fail = |e: rquickjs::Error| format!("can't make an interpreter: {e}");
        let (memory, refused) = Bounded::new(limits.memory);
        let runtime = rquickjs::Runtime::new_with_alloc(memory).map_err(fail)?;
        runtime.set_max_stack_size(STACK);
        runtime.set_interrupt_handler(Some(Box::new(budget::is_over)));
        runtime.set_loader(EsModules(finder.clone()), EsModules(finder));
        let forgotten = Rc::new(RefCell::new(Vec::new()));
        runtime.set_host_promise_rejection_tracker(Some(tracker(forgotten.clone())));
        let context = rquickjs::Context::full(&runtime).map_err(fail)?;
        let raw = context.as_raw().as_ptr();
        // SAFETY: `raw` is live as long as `context`; the new error is ours.
        let sentinel = unsafe {
            let error = qjs::JS_NewError(raw);
            qjs::JS_SetUncatchableError(raw, error);
            Owned::new(raw, error)
        };
        let state = State {
            hidden: RefCell::default(),
            exported: RefCell::default(),
            sentinel,
            limits,
            refused,
            forgotten,
            raw,
            context,
            runtime,
        };
        state.bind()?;
        budget::arm();
        Ok(state)
    }

    /// Works with the interpreter through rquickjs; the error is what JavaScript threw.
    pub fn with(
        &self,
        f: impl FnOnce(rquickjs::Ctx<'_>) -> rquickjs::Result<()>,
    ) -> Result<(), String> {
        use rquickjs::CatchResultExt;
        self.context
            .with(|ctx| f(ctx.clone()).catch(&ctx).map_err(|e| e.to_string()))
    }

    /// Makes `KSR` with all exported functions.
    fn bind(&self) -> Result<(), String> {
        let l = self.raw;
        // SAFETY: `l` is live; each value made is handed to the property that takes its count.
        unsafe {
            let global = Owned::new(l, qjs::JS_GetGlobalObject(l));
            let ksr = Owned::new(l, qjs::JS_NewObject(l));
            let mut tables: FxHashMap<&str, Owned> = FxHashMap::default();
            for (id, f, _) in olelo_core::server().registry.functions() {
                if !f.kemi {
                    continue;
                }
                let magic = c_int::from(
                    i16::try_from(id.0).map_err(|_| "there are too many exported functions")?,
                );
                let prefix = f.prefix.unwrap_or("");
                let table = match prefix {
                    "" => &ksr,
                    p => tables.entry(p).or_insert_with(|| {
                        let table = Owned::new(l, qjs::JS_NewObject(l));
                        ksr.set(p, table.copy());
                        table
                    }),
                };
                let name = CString::new(f.name).unwrap_or_default();
                let function = qjs::JS_NewCFunction2(
                    l,
                    Some(std::mem::transmute::<Thunk, Plain>(thunk)),
                    name.as_ptr(),
                    f.params.len() as c_int,
                    qjs::JSCFunctionEnum_JS_CFUNC_generic_magic,
                    magic,
                );
                table.set(f.name, Owned::new(l, function));
            }
            global.set("KSR", ksr);
        }
        Ok(())
    }

    /// Whether there is a function of this name.
    pub fn has(&self, name: &str) -> bool {
        self.route(name).is_some()
    }

    /// Calls the function `name` with these strings.
    pub fn call(&self, name: &str, args: &[&str], ctx: &mut Ctx) -> Outcome {
        let Some(function) = self.route(name) else {
            return Outcome::Missing;
        };
        self.protected(ctx, || {
            let mut values: Vec<Owned> = Vec::with_capacity(args.len());
            values.extend(args.iter().map(|a| Owned::text(self.raw, a.as_bytes())));
            let mut raw: Vec<qjs::JSValue> = values.iter().map(Owned::raw).collect();
            // SAFETY: function and arguments are kept alive by their owners over the call.
            unsafe {
                Owned::new(
                    self.raw,
                    qjs::JS_Call(
                        self.raw,
                        function.raw(),
                        value::UNDEFINED,
                        raw.len() as c_int,
                        raw.as_mut_ptr(),
                    ),
                )
            }
        })
    }

    /// Runs a piece of JavaScript: its functions become global.
    pub fn run(&self, text: &[u8], name: &str, ctx: &mut Ctx) -> Outcome {
        self.hidden.borrow_mut().clear();
        self.protected(ctx, || self.eval(text, name, qjs::JS_EVAL_TYPE_GLOBAL))
    }

    /// Runs a script of the generation. What is no script but has lines of a module is one.
    pub fn load(&self, text: &[u8], path: &str, ctx: &mut Ctx) -> Outcome {
        self.protected(ctx, || {
            if !path.ends_with(".mjs") {
                let flags = qjs::JS_EVAL_TYPE_GLOBAL | qjs::JS_EVAL_FLAG_COMPILE_ONLY;
                let script = self.eval(text, path, flags);
                if !is_exception(script.raw()) {
                    // SAFETY: evaluating takes the count of the compiled script.
                    return unsafe {
                        Owned::new(self.raw, qjs::JS_EvalFunction(self.raw, script.into_raw()))
                    };
                }
                if !has_module_syntax(text) {
                    return script;
                }
                // SAFETY: takes the pending error, which nobody else will.
                drop(unsafe { Owned::new(self.raw, qjs::JS_GetException(self.raw)) });
            }
            let flags = qjs::JS_EVAL_TYPE_MODULE | qjs::JS_EVAL_FLAG_COMPILE_ONLY;
            let module = self.eval(text, path, flags);
            if is_exception(module.raw()) {
                return module;
            }
            // SAFETY: a value of this tag points at a module; evaluating it takes the count of the
            // value, while the context itself keeps the module.
            unsafe {
                let definition: *mut qjs::JSModuleDef = qjs::JS_VALUE_GET_PTR(module.raw()).cast();
                let promise = qjs::JS_EvalFunction(self.raw, module.into_raw());
                let promise = Owned::new(self.raw, promise);
                if !is_exception(promise.raw()) {
                    let names = qjs::JS_GetModuleNamespace(self.raw, definition);
                    self.exported.borrow_mut().push(Owned::new(self.raw, names));
                }
                promise
            }
        })
    }

    fn eval(&self, text: &[u8], name: &str, flags: u32) -> Owned {
        let text = terminated(text);
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: text and name end with a zero and outlive the call.
        unsafe {
            Owned::new(
                self.raw,
                qjs::JS_Eval(
                    self.raw,
                    text.as_ptr().cast(),
                    (text.len() - 1) as _,
                    name.as_ptr(),
                    flags as c_int,
                ),
            )
        }
    }

    /// Runs `f` with the time running and `ctx` as the message that exports work on. Nests.
    fn protected(&self, ctx: &mut Ctx, f: impl FnOnce() -> Owned) -> Outcome {
        // SAFETY: `asked` does nothing; the interpreter asks `budget::is_over` itself.
        let outcome = unsafe {
            call::enter(ctx, self.limits, asked, ptr::null_mut(), || {
                SENTINEL.with_borrow_mut(|s| s.push(self.sentinel.raw()));
                let result = self.settled(f());
                SENTINEL.with_borrow_mut(Vec::pop);
                self.outcome(&result)
            })
        };
        for f in self.forgotten.take() {
            olelo_core::error!("app_jsdt", "a promise failed, unseen: {}", f.why);
        }
        if !self.refused.take() {
            return outcome;
        }
        let limit = format!(
            "it used more than {} MB (memory_limit)",
            self.limits.memory >> 20
        );
        Outcome::OutOfBudget(match outcome {
            Outcome::Failed(e) | Outcome::OutOfBudget(e) => format!("{limit}: {e}"),
            _ => limit,
        })
    }

    /// Runs what waits for its turn. Of a promise what it became: its value, or what it threw; of one
    /// that nothing can settle any more, nothing.
    fn settled(&self, result: Owned) -> Owned {
        let l = self.raw;
        // SAFETY: all values are alive; the runtime is the context's own.
        unsafe {
            let runtime = qjs::JS_GetRuntime(l);
            while qjs::JS_IsJobPending(runtime) {
                let mut of = ptr::null_mut();
                if qjs::JS_ExecutePendingJob(runtime, &mut of) < 0 {
                    return Owned::new(l, value::EXCEPTION);
                }
            }
            if !qjs::JS_IsPromise(result.raw()) {
                return result;
            }
            match qjs::JS_PromiseState(l, result.raw()) {
                qjs::JSPromiseStateEnum_JS_PROMISE_FULFILLED => {
                    Owned::new(l, qjs::JS_PromiseResult(l, result.raw()))
                }
                qjs::JSPromiseStateEnum_JS_PROMISE_REJECTED => {
                    let why = qjs::JS_PromiseResult(l, result.raw());
                    Owned::new(l, qjs::JS_Throw(l, why))
                }
                _ => Owned::new(l, value::UNDEFINED),
            }
        }
    }

    /// What a call came to.
    fn outcome(&self, result: &Owned) -> Outcome {
        let l = self.raw;
        // SAFETY: the result is alive; a number is read by its tag.
        unsafe {
            let v = result.raw();
            match tag(v) {
                qjs::JS_TAG_EXCEPTION => {}
                qjs::JS_TAG_INT => return Outcome::Return(qjs::JS_VALUE_GET_INT(v).into()),
                qjs::JS_TAG_FLOAT64 => {
                    return Outcome::Return(qjs::JS_VALUE_GET_FLOAT64(v) as i64);
                }
                qjs::JS_TAG_BOOL => {
                    return Outcome::Return(if qjs::JS_VALUE_GET_BOOL(v) { 1 } else { -1 });
                }
                _ => return Outcome::Return(1),
            }
            let thrown = Owned::new(l, qjs::JS_GetException(l));
            if thrown.is(&self.sentinel) {
                return Outcome::Exit;
            }
            Outcome::Failed(call::cut(value::complaint(l, &thrown)))
        }
    }

    /// The function of this name, as it is now: global, exported by a module, or a constant of a script.
    fn route(&self, name: &str) -> Option<Owned> {
        // SAFETY: the global object is ours once made.
        let global = unsafe { Owned::new(self.raw, qjs::JS_GetGlobalObject(self.raw)) };
        if let Some(f) = global.function(name) {
            return Some(f);
        }
        let exported = self.exported.borrow().iter().find_map(|e| e.function(name));
        if exported.is_some() {
            return exported;
        }
        if let Some(known) = self.hidden.borrow().get(name) {
            return known.as_ref().map(Owned::copy);
        }
        let found = self.constant(name);
        let mut hidden = self.hidden.borrow_mut();
        if found.is_some() || hidden.len() < MOST_UNKNOWN {
            hidden.insert(name.to_string(), found.as_ref().map(Owned::copy));
        }
        found
    }

    /// A function that is no property of anything, which only evaluating its name finds.
    fn constant(&self, name: &str) -> Option<Owned> {
        let l = self.raw;
        // `const route = () => …` at the top of a script is a property of nothing.
        let mut letters = name.chars();
        let is_name = letters
            .next()
            .is_some_and(|c| c.is_alphabetic() || c == '_')
            && letters.all(|c| c.is_alphanumeric() || c == '_');
        if !is_name {
            return None;
        }
        let text = format!("typeof {name} === 'function' ? {name} : undefined");
        let found = self.eval(text.as_bytes(), "name", qjs::JS_EVAL_TYPE_GLOBAL);
        if is_exception(found.raw()) {
            // SAFETY: takes the pending error, which nobody else will.
            drop(unsafe { Owned::new(l, qjs::JS_GetException(l)) });
            return None;
        }
        found.is_function().then_some(found)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.hidden.borrow_mut().clear();
        self.exported.borrow_mut().clear();
        self.forgotten.borrow_mut().clear();
        self.runtime.set_host_promise_rejection_tracker(None);
        self.runtime.set_interrupt_handler(None);
    }
}

/// A promise that failed, kept so that no other takes its address.
struct Forgotten {
    promise: Owned,
    why: String,
}

/// Notes promises that fail while nobody handles it, and strikes those that are handled later.
fn tracker(forgotten: Rc<RefCell<Vec<Forgotten>>>) -> rquickjs::runtime::RejectionTracker {
    Box::new(move |ctx, promise, reason, is_handled| {
        let l = ctx.as_raw().as_ptr();
        // SAFETY: both are live values of this context, each counted once more.
        let (promise, reason) = unsafe {
            (
                Owned::new(l, qjs::JS_DupValue(l, promise.as_raw())),
                Owned::new(l, qjs::JS_DupValue(l, reason.as_raw())),
            )
        };
        let mut all = forgotten.borrow_mut();
        all.retain(|f| !f.promise.is(&promise));
        if !is_handled && all.len() < MOST_FORGOTTEN {
            let why = call::cut(value::complaint(l, &reason));
            all.push(Forgotten { promise, why });
        }
    })
}

/// How many failed promises of one call the log has.
const MOST_FORGOTTEN: usize = 16;

/// Whether a line of it begins as only lines of modules do.
fn has_module_syntax(text: &[u8]) -> bool {
    text.split(|b| *b == b'\n').any(|line| {
        let line = line.trim_ascii_start();
        [&b"import"[..], b"export"].iter().any(|word| {
            line.strip_prefix(*word)
                .and_then(|rest| rest.first())
                .is_some_and(|next| matches!(next, b' ' | b'\t' | b'{' | b'*' | b'"' | b'\''))
        })
    })
}

/// The text with the zero at its end that the parser wants.
fn terminated(text: &[u8]) -> Vec<u8> {
    let mut t = Vec::with_capacity(text.len() + 1);
    t.extend_from_slice(text);
    t.push(0);
    t
}

/// Nothing to do: QuickJS asks at loops and calls whether the time is over.
unsafe fn asked(_: *mut c_void) {}

type Plain = unsafe extern "C" fn(
    *mut qjs::JSContext,
    qjs::JSValue,
    c_int,
    *mut qjs::JSValue,
) -> qjs::JSValue;
type Thunk = unsafe extern "C" fn(
    *mut qjs::JSContext,
    qjs::JSValue,
    c_int,
    *mut qjs::JSValue,
    c_int,
) -> qjs::JSValue;

/// The C function behind every `KSR.x.y`.
unsafe extern "C" fn thunk(
    l: *mut qjs::JSContext,
    _this: qjs::JSValue,
    argc: c_int,
    argv: *mut qjs::JSValue,
    magic: c_int,
) -> qjs::JSValue {
    let f = olelo_core::server().registry.function(FnId(magic as u32));
    let given = argc.max(0) as usize;
    let argv = match given {
        // `argv` may be null where there are none.
        0 => &[],
        // SAFETY: QuickJS hands over `argc` live values.
        n => unsafe { std::slice::from_raw_parts(argv, n) },
    };
    // SAFETY: `l` is the context that calls; what is thrown or returned is handed to it.
    unsafe {
        match run_export(l, f, argv) {
            Ran::Val(v) => value::made(l, &v),
            Ran::Error(e) => value::throw(l, &e),
            Ran::End => {
                let sentinel = SENTINEL.with_borrow(|s| s.last().copied());
                match sentinel {
                    Some(s) => qjs::JS_Throw(l, qjs::JS_DupValue(l, s)),
                    None => value::throw(l, "the routing of this message is over"),
                }
            }
        }
    }
}

/// Converts the arguments and calls.
fn run_export(l: *mut qjs::JSContext, f: &Function, argv: &[qjs::JSValue]) -> Ran {
    if argv.len() > MOST_ARGS {
        return Ran::Error(call::too_many(f, argv.len()));
    }
    let mut held = [const { Argument::None }; MOST_ARGS];
    for (i, v) in argv.iter().enumerate() {
        // SAFETY: the value is alive while the function that was given it runs.
        held[i] = match unsafe { Argument::read(l, *v, f.takes_text(i)) } {
            Ok(a) => a,
            Err(type_name) => return Ran::Error(call::unfit(f, i, type_name)),
        };
    }
    let mut args = [const { Val::Null }; MOST_ARGS];
    for (a, h) in args.iter_mut().zip(&held).take(argv.len()) {
        *a = h.val();
    }
    call::export(f, &args[..argv.len()])
}

/// The text of an error, for messages.
pub(crate) fn lossy(l: *mut qjs::JSContext, v: &Owned) -> String {
    text_of(l, v.raw()).map_or_else(String::new, |t| String::from_utf8_lossy(&t).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_lines_that_no_script_has() {
        for (text, want) in [
            ("import x from 'y';", true),
            ("var a;\n  export function f() {}", true),
            ("export{a};", true),
            ("import(\"x\");", false),
            ("importance = 1;\nexports.x = 1;", false),
            ("// import x", false),
        ] {
            assert_eq!(has_module_syntax(text.as_bytes()), want, "{text}");
        }
    }
}
