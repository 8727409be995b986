//! All that the loaded modules export, found by name.
//!
//! Built once in main from the `Module` values, then never changed: every process reads it without
//! a lock. Numbers handed out here (`FnId`) are the same in all processes.

use super::function::Function;
use super::module::Module;
use crate::pv::{PvClass, Transformation};
use crate::rpc::Rpc;
use std::collections::{BTreeMap, HashMap};

/// A function's place in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FnId(pub u32);

/// The registry.
#[derive(Default)]
pub struct Registry {
    modules: Vec<Module>,
    functions: Vec<Function>,
    owners: Vec<usize>,
    native: HashMap<&'static str, Vec<FnId>>,
    pvs: HashMap<&'static str, PvClass>,
    transformations: HashMap<String, Transformation>,
    rpcs: BTreeMap<&'static str, Rpc>,
}

impl Registry {
    /// Takes the modules in the order in which they were loaded.
    pub fn new(modules: Vec<Module>) -> Registry {
        let mut r = Registry::default();
        for mut m in modules {
            let owner = r.modules.len();
            for mut f in m.functions.drain(..) {
                let id = FnId(r.functions.len() as u32);
                f.prefix.get_or_insert(m.prefix);
                for n in &f.cfg {
                    r.native.entry(n).or_default().push(id);
                }
                r.functions.push(f);
                r.owners.push(owner);
            }
            for p in &m.pvs {
                r.pvs.insert(p.name, p.clone());
            }
            for t in &m.transformations {
                r.transformations
                    .insert(format!("{}.{}", t.class, t.name), t.clone());
            }
            for c in &m.rpcs {
                r.rpcs.insert(c.name, c.clone());
            }
            r.modules.push(m);
        }
        r
    }

    /// The modules, without their functions (see [`Registry::functions`]).
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// Whether a module of this name is loaded.
    pub fn has_module(&self, name: &str) -> bool {
        self.modules.iter().any(|m| m.name == name)
    }

    /// All functions with the module that owns each.
    pub fn functions(&self) -> impl Iterator<Item = (FnId, &Function, &Module)> {
        self.functions
            .iter()
            .zip(&self.owners)
            .enumerate()
            .map(|(i, (f, o))| (FnId(i as u32), f, &self.modules[*o]))
    }

    /// The function of this number.
    pub fn function(&self, id: FnId) -> &Function {
        &self.functions[id.0 as usize]
    }

    /// Functions of this name in the native language; they differ in the number of arguments.
    pub fn native(&self, name: &str) -> &[FnId] {
        self.native.get(name).map_or(&[], Vec::as_slice)
    }

    /// Names in the native language.
    pub fn native_names(&self) -> impl Iterator<Item = &&'static str> {
        self.native.keys()
    }

    /// A class of pseudo-variables.
    pub fn pv(&self, name: &str) -> Option<&PvClass> {
        self.pvs.get(name)
    }

    /// All classes of pseudo-variables.
    pub fn pvs(&self) -> impl Iterator<Item = &PvClass> {
        self.pvs.values()
    }

    /// A transformation by `class.name`.
    pub fn transformation(&self, full: &str) -> Option<&Transformation> {
        self.transformations.get(full)
    }

    /// All transformations.
    pub fn transformations(&self) -> impl Iterator<Item = &Transformation> {
        self.transformations.values()
    }

    /// A control command.
    pub fn rpc(&self, name: &str) -> Option<&Rpc> {
        self.rpcs.get(name)
    }

    /// All control commands by name.
    pub fn rpcs(&self) -> impl Iterator<Item = &Rpc> {
        self.rpcs.values()
    }
}
