//! The contract of an interpreter of routing code.
//!
//! An engine module registers an [`EngineKind`]; a process that routes builds its own [`Engine`]
//! from the current generation's source, after the fork. Engines are never shared and never loaded
//! with a second source: a reload builds a fresh one.

use super::ctx::Ctx;
use std::cell::RefCell;
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
    /// Calls the route `name` for the message in `ctx`. Event routes have the event's name as their
    /// argument. Calls nest: a route's function may cause another route to run.
    fn call(&self, name: &str, args: &[&str], ctx: &mut Ctx) -> Outcome;

    /// Runs a piece of the language in the same interpreter; error messages call it `name`.
    fn run(&self, _text: &[u8], name: &str, _ctx: &mut Ctx) -> Outcome {
        Outcome::Failed(format!(
            "{name}: this language has no pieces that run alone"
        ))
    }

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
    /// What they asked for while they were loaded, see [`Source::import`].
    pub imports: Vec<File>,
}

/// Most that the imports of a source may be, bytes and files.
const MOST_IMPORTED: (usize, usize) = (16 << 20, 4096);

thread_local! {
    /// What was read from the disk by [`Source::import`], while somebody wants to know.
    static IMPORTED: RefCell<Option<Vec<File>>> = const { RefCell::new(None) };
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
        Ok(Source::of(files.collect::<Result<_, _>>()?))
    }

    /// A source of these files.
    pub fn of(files: Vec<File>) -> Source {
        Source {
            files,
            imports: Vec::new(),
        }
    }

    /// The text of a file that a script imports (`require`, `import`, `dofile`). The first process that
    /// loads a generation reads it from the disk; what it read becomes part of the generation, so that
    /// all others get the same. A file that is asked for only later comes from the disk.
    pub fn import(&self, path: &str) -> Result<Vec<u8>, String> {
        if let Some(f) = self.imports.iter().find(|f| f.path == path) {
            return Ok(f.text.clone());
        }
        let text = std::fs::read(path).map_err(|e| format!("can't read {path}: {e}"))?;
        IMPORTED.with_borrow_mut(|seen| match seen {
            Some(seen) => remember(seen, path, &text),
            None => Ok(()),
        })?;
        Ok(text)
    }

    /// Whether an import of this path is part of the source.
    pub fn holds(&self, path: &str) -> bool {
        self.imports.iter().any(|f| f.path == path)
    }

    /// The same with what `load` imports of it, and nothing that was imported before.
    pub(super) fn loaded_by(
        &self,
        load: impl FnOnce(&Source) -> Result<(), String>,
    ) -> Result<Source, String> {
        let mut whole = Source::of(self.files.clone());
        let outer = IMPORTED.replace(Some(Vec::new()));
        let done = load(&whole);
        whole.imports = IMPORTED.replace(outer).unwrap_or_default();
        done.map(|()| whole)
    }

    /// Path of the main file.
    pub fn path(&self) -> &str {
        self.files.first().map_or("", |f| &f.path)
    }
}

fn remember(seen: &mut Vec<File>, path: &str, text: &[u8]) -> Result<(), String> {
    if seen.iter().any(|f| f.path == path) {
        return Ok(());
    }
    let bytes = seen.iter().map(|f| f.text.len()).sum::<usize>() + text.len();
    if bytes > MOST_IMPORTED.0 || seen.len() >= MOST_IMPORTED.1 {
        return Err(format!(
            "{path}: the script imports more than {} MB or {} files",
            MOST_IMPORTED.0 >> 20,
            MOST_IMPORTED.1
        ));
    }
    seen.push(File {
        path: path.to_string(),
        text: text.to_vec(),
    });
    Ok(())
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
