//! What a module is: one value that lists everything it exports, and its hooks.
//!
//! A module is linked into the server and comes to life with `loadmodule`. Its `Module` value is
//! the only declaration of what it exports; documentation, stubs, completion and the RPC list are
//! printed from it.

use super::function::Function;
use crate::pv::{PvClass, Transformation};
use crate::rpc::Rpc;
use crate::stats::Stat;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{OnceLock, RwLock};

/// A module, as it declares itself.
#[derive(Default)]
pub struct Module {
    /// Name as in `loadmodule "NAME.so"`.
    pub name: &'static str,
    /// Other names that `loadmodule` and `modparam` take for it.
    pub aliases: Vec<&'static str>,
    /// KEMI prefix; the module's name unless told.
    pub prefix: &'static str,
    /// What it is for, in a sentence.
    pub doc: &'static str,
    /// Modules that must be loaded before it.
    pub depends: Vec<&'static str>,
    /// Exported functions.
    pub functions: Vec<Function>,
    /// Parameters for `modparam`.
    pub params: Vec<ModParam>,
    /// Pseudo-variables.
    pub pvs: Vec<PvClass>,
    /// Transformations.
    pub transformations: Vec<Transformation>,
    /// Control commands.
    pub rpcs: Vec<Rpc>,
    /// Event routes: name and when it runs.
    pub events: Vec<(&'static str, &'static str)>,
    /// Statistics.
    pub stats: Vec<&'static Stat>,
    /// Names of the original that make no sense here: name and why.
    pub answered: Vec<(&'static str, &'static str)>,
    /// Runs in main after all parameters are set, before any fork. Shared structures are made here.
    pub init: Option<fn() -> Result<(), String>>,
    /// Runs in every child after the fork.
    pub child_init: Option<fn(rank: i32) -> Result<(), String>>,
    /// Runs in main when the server ends.
    pub destroy: Option<fn()>,
    /// Runs when main has found a worker dead and repaired the shared structures: what the module
    /// itself kept in the dead worker's name is given back here.
    pub worker_died: Option<fn(slot: u16)>,
    /// Processes of its own, asked for after `init`.
    pub processes: Option<fn() -> Vec<ExtraProcess>>,
}

/// A process that a module asks main to fork and watch.
#[derive(Clone)]
pub struct ExtraProcess {
    /// As `core.psx` shows it.
    pub description: String,
    /// Runs until the server ends; returning is a death.
    pub run: fn(index: usize),
    /// Handed to `run`.
    pub index: usize,
    /// Whether it routes messages, and so builds an interpreter.
    pub routes: bool,
}

impl Module {
    /// A module with this name and nothing in it.
    pub fn new(name: &'static str) -> Self {
        Module {
            name,
            prefix: name,
            ..Module::default()
        }
    }

    /// Says what it is for.
    pub fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// Adds another name.
    pub fn alias(mut self, name: &'static str) -> Self {
        self.aliases.push(name);
        self
    }

    /// Whether it is meant by this name.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// Sets the KEMI prefix of its functions.
    pub fn prefix(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix;
        self
    }

    /// Names a module it needs.
    pub fn depends(mut self, on: &'static str) -> Self {
        self.depends.push(on);
        self
    }

    /// Adds a function.
    pub fn function(mut self, f: Function) -> Self {
        self.functions.push(f);
        self
    }

    /// Adds a parameter.
    pub fn param(mut self, p: ModParam) -> Self {
        self.params.push(p);
        self
    }

    /// Lets `cfg.set` change these parameters while the server runs; they are declared before.
    pub fn dynamic(mut self, names: &[&str]) -> Self {
        for p in &mut self.params {
            p.dynamic |= names.contains(&p.name);
        }
        self
    }

    /// Adds a pseudo-variable.
    pub fn pv(mut self, p: PvClass) -> Self {
        self.pvs.push(p);
        self
    }

    /// Adds a transformation.
    pub fn transformation(mut self, t: Transformation) -> Self {
        self.transformations.push(t);
        self
    }

    /// Adds a control command.
    pub fn rpc(mut self, r: Rpc) -> Self {
        self.rpcs.push(r);
        self
    }

    /// Adds an event route.
    pub fn event(mut self, name: &'static str, doc: &'static str) -> Self {
        self.events.push((name, doc));
        self
    }

    /// Adds a statistic.
    pub fn stat(mut self, s: &'static Stat) -> Self {
        self.stats.push(s);
        self
    }

    /// Lists a name of the original that has no meaning here, with the reason.
    pub fn answered(mut self, name: &'static str, why: &'static str) -> Self {
        self.answered.push((name, why));
        self
    }

    /// Sets the hook that runs before the forks.
    pub fn init(mut self, f: fn() -> Result<(), String>) -> Self {
        self.init = Some(f);
        self
    }

    /// Sets the hook that runs in every child.
    pub fn child_init(mut self, f: fn(i32) -> Result<(), String>) -> Self {
        self.child_init = Some(f);
        self
    }

    /// Sets the hook that runs when the server ends.
    pub fn destroy(mut self, f: fn()) -> Self {
        self.destroy = Some(f);
        self
    }

    /// Sets the hook that runs for a dead worker.
    pub fn worker_died(mut self, f: fn(u16)) -> Self {
        self.worker_died = Some(f);
        self
    }

    /// Sets the hook that names its processes.
    pub fn processes(mut self, f: fn() -> Vec<ExtraProcess>) -> Self {
        self.processes = Some(f);
        self
    }
}

/// The value given to `modparam`.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamValue {
    /// An integer.
    Int(i64),
    /// A string.
    Str(String),
}

/// Where a parameter's value goes.
#[derive(Clone, Copy)]
pub enum ParamTarget {
    /// An integer.
    Int(&'static IntParam),
    /// A string.
    Str(&'static StrParam),
    /// Each setting calls this: parameters that may be given several times.
    Call(fn(&ParamValue) -> Result<(), String>),
    /// Known, and without effect here.
    Ignored,
}

/// One parameter of a module.
pub struct ModParam {
    /// Name.
    pub name: &'static str,
    /// Where the value goes.
    pub target: ParamTarget,
    /// Whether a string is wanted (`Call` and `Ignored`).
    pub string: bool,
    /// What it does.
    pub doc: &'static str,
    /// The default as documentation shows it.
    pub default: String,
    /// May be changed while the server runs (`cfg.set`).
    pub dynamic: bool,
}

/// Declares an integer parameter.
pub fn param_int(name: &'static str, to: &'static IntParam) -> ModParam {
    ModParam {
        name,
        target: ParamTarget::Int(to),
        string: false,
        doc: "",
        default: to.default.to_string(),
        dynamic: false,
    }
}

/// Declares a string parameter.
pub fn param_str(name: &'static str, to: &'static StrParam) -> ModParam {
    ModParam {
        name,
        target: ParamTarget::Str(to),
        string: true,
        doc: "",
        default: to.default.unwrap_or("").to_string(),
        dynamic: false,
    }
}

/// Declares a string parameter that may be set several times.
pub fn param_call(name: &'static str, f: fn(&ParamValue) -> Result<(), String>) -> ModParam {
    ModParam {
        name,
        target: ParamTarget::Call(f),
        string: true,
        doc: "",
        default: String::new(),
        dynamic: false,
    }
}

/// Declares a parameter that the original has and that changes nothing here.
pub fn param_ignored(name: &'static str, string: bool, why: &'static str) -> ModParam {
    ModParam {
        name,
        target: ParamTarget::Ignored,
        string,
        doc: why,
        default: String::new(),
        dynamic: false,
    }
}

impl ModParam {
    /// Says what it does.
    pub fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// Lets `cfg.set` change it while the server runs.
    pub fn dynamic(mut self) -> Self {
        self.dynamic = true;
        self
    }

    /// The type wanted, as documentation shows it.
    pub fn type_name(&self) -> &'static str {
        match self.target {
            ParamTarget::Int(_) => "int",
            ParamTarget::Str(_) => "string",
            _ if self.string => "string",
            _ => "int",
        }
    }

    /// Stores `value`, converting a numeric string where an integer is wanted and the reverse.
    pub fn set(&self, value: &ParamValue) -> Result<(), String> {
        match (&self.target, value) {
            (ParamTarget::Int(p), ParamValue::Int(i)) => p.set(*i),
            (ParamTarget::Int(p), ParamValue::Str(s)) => match s.trim().parse() {
                Ok(i) => p.set(i),
                Err(_) => return Err(format!("wants an integer, got the string \"{s}\"")),
            },
            (ParamTarget::Str(p), ParamValue::Str(s)) => p.set(s),
            (ParamTarget::Str(p), ParamValue::Int(i)) => p.set(&i.to_string()),
            (ParamTarget::Call(f), v) => f(v)?,
            (ParamTarget::Ignored, _) => {}
        }
        Ok(())
    }
}

/// An integer parameter: a static of its module, read by every process. A parameter that may be
/// changed at run time (`cfg.set`) is moved to a shared word by [`IntParam::share`] before the forks.
pub struct IntParam {
    local: AtomicI64,
    /// Index + 1 of the shared word; 0 for none.
    shared: AtomicU32,
    default: i64,
}

impl IntParam {
    /// A parameter with this default.
    pub const fn new(default: i64) -> Self {
        IntParam {
            local: AtomicI64::new(default),
            shared: AtomicU32::new(0),
            default,
        }
    }

    /// The value.
    pub fn get(&self) -> i64 {
        match self.shared.load(Ordering::Relaxed) {
            0 => self.local.load(Ordering::Relaxed),
            n => crate::config::shared_value(n - 1),
        }
    }

    /// The value is not zero.
    pub fn is_on(&self) -> bool {
        self.get() != 0
    }

    /// Sets the value; for all processes where the parameter is shared.
    pub fn set(&self, v: i64) {
        match self.shared.load(Ordering::Relaxed) {
            0 => self.local.store(v, Ordering::Relaxed),
            n => crate::config::set_shared_value(n - 1, v),
        }
    }

    /// The default.
    pub fn default(&self) -> i64 {
        self.default
    }

    /// Moves the value to shared word `index`; main only, before the forks.
    pub fn share(&self, index: u32) {
        let v = self.get();
        self.shared.store(index + 1, Ordering::Relaxed);
        self.set(v);
    }
}

/// A string parameter. Set before the forks only.
pub struct StrParam {
    value: RwLock<Option<&'static str>>,
    frozen: OnceLock<Option<&'static str>>,
    default: Option<&'static str>,
}

impl StrParam {
    /// A parameter with this default.
    pub const fn new(default: &'static str) -> Self {
        StrParam {
            value: RwLock::new(Some(default)),
            frozen: OnceLock::new(),
            default: Some(default),
        }
    }

    /// A parameter that is unset until the operator sets it.
    pub const fn unset() -> Self {
        StrParam {
            value: RwLock::new(None),
            frozen: OnceLock::new(),
            default: None,
        }
    }

    /// The value; `None` where unset or set to the empty string.
    pub fn get(&self) -> Option<&'static str> {
        if crate::server::started() {
            return *self.frozen.get_or_init(|| self.read());
        }
        self.read()
    }

    /// The value, or the empty string.
    pub fn text(&self) -> &'static str {
        self.get().unwrap_or("")
    }

    /// Sets the value. Parameters live as long as the server, so the text is leaked on purpose.
    pub fn set(&self, v: &str) {
        if let Ok(mut slot) = self.value.write() {
            *slot = Some(Box::leak(v.to_string().into_boxed_str()));
        }
    }

    fn read(&self) -> Option<&'static str> {
        self.value
            .read()
            .ok()
            .and_then(|v| *v)
            .filter(|s| !s.is_empty())
    }
}
