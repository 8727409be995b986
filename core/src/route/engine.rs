//! The contract of an interpreter of routing code.
//!
//! An engine module registers an [`EngineKind`]; a process that routes builds its own [`Engine`]
//! from the current generation's source, after the fork. Engines are never shared and never loaded
//! with a second source: a reload builds a fresh one.

use super::ctx::Ctx;
use std::rc::Rc;
use std::sync::RwLock;

/// How a call of a route ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It returned this (1 where the language returned nothing).
    Return(i64),
    /// `exit`.
    Exit,
    /// `drop`.
    Drop,
    /// There is no route of this name.
    Missing,
    /// It failed; the text has file:line and, where the language has one, the traceback.
    Failed(String),
    /// It used up its time or memory and was stopped.
    OutOfBudget(String),
    /// It waits for something (a token of the wait); its worker goes on with other messages.
    Suspended(u64),
}

/// An interpreter with one generation of routing code in it.
pub trait Engine {
    /// Calls the route `name` for the message in `ctx`. `arg` is the event's name for event routes.
    /// Calls nest: a route's function may cause another route to run.
    fn call(&self, name: &str, arg: Option<&str>, ctx: &mut Ctx) -> Outcome;

    /// Whether there is a route of this name.
    fn has(&self, name: &str) -> bool;
}

/// A file of routing code.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// Where it was read from; error messages name it.
    pub path: String,
    /// The text.
    pub text: Vec<u8>,
}

/// All that an engine's routing code is made of: the script, or the configuration with its
/// includes. A generation keeps it whole, so that nothing is read again after the check.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Source {
    /// The files, the main one first.
    pub files: Vec<File>,
}

impl Source {
    /// Reads these files. The error names the one that can't be read.
    pub fn read<S: AsRef<str>>(paths: &[S]) -> Result<Source, String> {
        let files = paths.iter().map(|p| {
            let path = p.as_ref().to_string();
            match std::fs::read(&path) {
                Ok(text) => Ok(File { path, text }),
                Err(e) => Err(format!("can't read {path}: {e}")),
            }
        });
        Ok(Source {
            files: files.collect::<Result<_, _>>()?,
        })
    }

    /// Path of the main file.
    pub fn path(&self) -> &str {
        self.files.first().map_or("", |f| &f.path)
    }
}

/// A kind of interpreter.
#[derive(Clone, Copy)]
pub struct EngineKind {
    /// As in `cfgengine "lua"`.
    pub name: &'static str,
    /// Other names that `cfgengine` takes.
    pub aliases: &'static [&'static str],
    /// Reads the running source's files anew for a reload; the error says why there can be none.
    pub reread: fn(&Source) -> Result<Source, String>,
    /// Called once all processes run the new source, with the one before it: for what the source says
    /// beside routing.
    pub adopted: fn(&Source, &Source),
    /// Builds an interpreter and runs the source's top level in it. The error has file:line.
    pub build: fn(&Source) -> Result<Rc<dyn Engine>, String>,
}

impl EngineKind {
    /// [`EngineKind::adopted`] of engines whose source is routing and nothing else.
    pub fn nothing_else(_before: &Source, _now: &Source) {}

    /// [`EngineKind::reread`] of engines whose source is a list of scripts.
    pub fn same_files(running: &Source) -> Result<Source, String> {
        let paths: Vec<&str> = running.files.iter().map(|f| f.path.as_str()).collect();
        Source::read(&paths)
    }
}

static KINDS: RwLock<Vec<EngineKind>> = RwLock::new(Vec::new());

/// Registers a kind; main, in a module's `init`.
pub fn register(kind: EngineKind) {
    if let Ok(mut k) = KINDS.write() {
        k.push(kind);
    }
}

/// The kind of this name.
pub fn find(name: &str) -> Option<EngineKind> {
    let kinds = KINDS.read().ok()?;
    kinds
        .iter()
        .find(|k| k.name == name || k.aliases.contains(&name))
        .copied()
}
