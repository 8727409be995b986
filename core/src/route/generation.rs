//! Generations of routing code: a reload is tried, published with one store, and acknowledged.
//!
//! A generation is an immutable blob in shared memory: for each engine that has routing code, all
//! files of it. [`reload`] reads the files of one engine (or of all) once, builds them in a forked
//! canary, publishes the generation, wakes every process that routes and waits until each has built
//! a fresh engine from the blob. Until the store the old generation serves; a refusal of the canary,
//! or of any worker, leaves or brings back the old one. A respawned worker reads the same word.
//!
//! One engine routes (`cfgengine`). Others may hold code beside it: native event routes beside a
//! Lua script, a Lua script that native routes call with `lua_run`.
//!
//! A process asks [`current`] before it routes a message: one atomic load where nothing changed. How
//! a generation comes to be taken up by all, or by none, is told in `generation/adoption.rs`.

mod adoption;

pub(crate) use adoption::asker_died;
pub use adoption::{ReloadError, Report, reload, rollback};

use super::canary;
use super::engine::{self, Engine, EngineKind, File, Source};
use crate::timer::monotonic_ms;
use olelo_ipc::process;
use olelo_mem::published::Published;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// How long workers may take to acknowledge.
const ACK_TIME: Duration = Duration::from_secs(10);
/// Milliseconds after which a process without any engine tries again to build one.
const RETRY: u64 = 1_000;

static STORE: OnceLock<Published> = OnceLock::new();
/// What modules have installed, until [`publish_first`].
static INSTALLED: Mutex<Vec<Part>> = Mutex::new(Vec::new());

/// The routing code of one engine.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    engine: String,
    /// Grows with every reload of this engine: also one of the same text begins anew.
    revision: u64,
    source: Source,
}

/// Gives an engine its routing code; main, in a module's `init`. The error has file:line.
pub fn install(kind: EngineKind, source: Source) -> Result<(), String> {
    let tried = try_in_canary(&[(kind, source)])?;
    if let Ok(mut parts) = INSTALLED.lock() {
        parts.extend(tried);
    }
    Ok(())
}

/// Publishes what was installed as the first generation; main, when all modules are initialised.
pub fn publish_first() -> Result<(), String> {
    let parts = INSTALLED.lock().map(|p| p.clone()).unwrap_or_default();
    if parts.is_empty() {
        return Ok(());
    }
    let blob = Published::create("routing").map_err(|e| e.to_string())?;
    blob.publish(&encode(&parts)).map_err(|e| e.to_string())?;
    adoption::create().map_err(|e| e.to_string())?;
    let _ = STORE.set(blob);
    Ok(())
}

/// Makes the code that the server was started with serve again, if shared memory has lost what
/// served; main, while no worker runs.
pub(crate) fn restore() {
    let parts = INSTALLED.lock().map(|p| p.clone()).unwrap_or_default();
    if let Some(store) = STORE.get().filter(|s| s.current().is_none())
        && !parts.is_empty()
        && let Err(e) = store.publish(&encode(&parts))
    {
        crate::crit!("core", "the routing code can't be published again: {e}");
    }
}

/// Whether this engine has routing code.
pub fn installed(engine: &str) -> bool {
    let parts = INSTALLED.lock();
    parts.is_ok_and(|p| p.iter().any(|p| p.engine == engine))
}

/// The number of the generation that serves.
pub fn number() -> u32 {
    STORE.get().map_or(0, Published::generation)
}

/// Paths of all files that serve.
pub fn paths() -> Vec<String> {
    let parts = STORE
        .get()
        .and_then(Published::current)
        .and_then(|(_, v)| decode(&v));
    let sources = parts.into_iter().flatten().map(|p| p.source);
    let files = sources.flat_map(|s| s.files.into_iter().chain(s.imports));
    files.map(|f| f.path).collect()
}

/// The routing code of an engine, as it serves now.
pub fn source(engine: &str) -> Option<Source> {
    let (_, view) = STORE.get()?.current()?;
    let parts = decode(&view)?;
    parts
        .into_iter()
        .find(|p| p.engine == engine)
        .map(|p| p.source)
}

/// Generations kept for [`rollback`], oldest first.
pub fn kept() -> Vec<u32> {
    STORE.get().map(Published::kept).unwrap_or_default()
}

/// SHA-256 of all files that serve.
pub fn digest() -> Option<String> {
    let (_, view) = STORE.get()?.current()?;
    Some(hex_digest(&decode(&view)?))
}

/// This process' engine that routes, of the generation that serves; built anew if the generation
/// changed. `None` where there is none or this process failed to build any.
pub fn current() -> Option<Rc<dyn Engine>> {
    refresh(false)?;
    ROUTING.with_borrow(Clone::clone)
}

/// This process' engine of this kind, whether it routes or stands beside the one that does.
pub fn beside(engine: &str) -> Option<Rc<dyn Engine>> {
    refresh(false)?;
    ENGINES.with_borrow(|all| {
        let e = all.iter().find(|b| b.part.engine == engine)?;
        Some(e.engine.clone())
    })
}

/// Drops this process' engines; the next message builds fresh ones. For an engine that was stopped
/// in the midst of something. While a route runs, that waits for its end: to build anew takes time, and
/// the message has none left.
pub fn discard() {
    if super::run::is_under_way() {
        SPENT.set(true);
    } else {
        drop_engines();
    }
}

/// The outermost route has ended.
pub(super) fn route_ended() {
    if SPENT.take() {
        drop_engines();
    }
}

fn drop_engines() {
    BUILT.set(0);
    FAILED.set((0, 0));
    ENGINES.with_borrow_mut(Vec::clear);
    ROUTING.set(None);
}

/// An engine with what it was built from.
struct BuiltEngine {
    part: Part,
    engine: Rc<dyn Engine>,
}

thread_local! {
    static BUILT: Cell<u32> = const { Cell::new(0) };
    /// An engine was stopped while a route runs: all are to be dropped when it ends.
    static SPENT: Cell<bool> = const { Cell::new(false) };
    /// The generation that left this process without any engine, and when to try it again.
    static FAILED: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
    static ENGINES: RefCell<Vec<BuiltEngine>> = const { RefCell::new(Vec::new()) };
    static ROUTING: RefCell<Option<Rc<dyn Engine>>> = const { RefCell::new(None) };
}

/// Takes up the generation that serves. A message is routed by one generation: while a route runs,
/// what it calls is of the same, unless the process must answer for it `now`.
fn refresh(now: bool) -> Option<()> {
    let store = STORE.get()?;
    let wanted = store.generation();
    let later = !now && BUILT.get() != 0 && super::run::is_under_way();
    if BUILT.get() != wanted && !later {
        let (failed, again_at) = FAILED.get();
        if failed != wanted || monotonic_ms() >= again_at {
            rebuild(store, wanted);
        }
    }
    Some(())
}

fn rebuild(store: &Published, wanted: u32) {
    let slot = olelo_mem::slot::current_slot();
    // First: what a script does at its top level may ask for the engine.
    BUILT.set(wanted);
    // Loading may take its time: whoever does it is not stuck, even if what went before was.
    olelo_ipc::signals::forget_interrupt();
    process::wait_until(monotonic_ms() + ACK_TIME.as_millis() as u64);
    let parts = store.get(wanted).and_then(|v| decode(&v));
    let built = match parts {
        Some(p) => build_all(p),
        None => Err(format!("generation {wanted} is no longer kept")),
    };
    process::wait_until(monotonic_ms());
    match built {
        Ok(new) => {
            FAILED.set((0, 0));
            let main = engine::find(&crate::server().config.engine).map_or("", |k| k.name);
            let routing = new.iter().find(|b| b.part.engine == main);
            ROUTING.set(routing.map(|b| b.engine.clone()));
            let old = ENGINES.with_borrow_mut(|all| std::mem::replace(all, new));
            drop(old);
            process::acknowledge(slot, wanted);
        }
        Err(e) => {
            failed(wanted, &e);
            process::refuse(slot, wanted, &e);
        }
    }
}

/// This process can't build a generation. With an engine of the one before it goes on, and does not
/// try again: whoever published takes it back. With none it tries again, but not for each message.
fn failed(wanted: u32, why: &str) {
    let left = if ENGINES.with_borrow(Vec::is_empty) {
        BUILT.set(0);
        FAILED.set((wanted, monotonic_ms() + RETRY));
        "and there is none before it"
    } else {
        "the one before serves on"
    };
    crate::error!(
        "core",
        "generation {wanted} does not load here, {left}: {why}"
    );
}

/// Builds the engines whose code differs from what runs; takes over the others.
fn build_all(parts: Vec<Part>) -> Result<Vec<BuiltEngine>, String> {
    let mut all = Vec::with_capacity(parts.len());
    for part in parts {
        let same = ENGINES.with_borrow(|old| {
            let same = old.iter().find(|b| b.part == part);
            same.map(|b| b.engine.clone())
        });
        let engine = match same {
            Some(e) => e,
            None => {
                let kind = engine::find(&part.engine)
                    .ok_or_else(|| format!("no engine \"{}\"", part.engine))?;
                (kind.build)(&part.source)?
            }
        };
        all.push(BuiltEngine { part, engine });
    }
    Ok(all)
}

/// Builds the sources in a child process of its own: whatever they do there harms nobody. Returns
/// them with what they imported.
fn try_in_canary(parts: &[(EngineKind, Source)]) -> Result<Vec<Part>, String> {
    let builds = || {
        let tried = parts.iter().map(|(k, source)| {
            let source = source.loaded_by(|s| (k.build)(s).map(drop))?;
            Ok(Part {
                engine: k.name.to_string(),
                revision: 0,
                source,
            })
        });
        Ok(encode(&tried.collect::<Result<Vec<_>, String>>()?))
    };
    match canary::ask(builds)? {
        Some(Ok(tried)) => {
            decode(&tried).ok_or_else(|| "the canary's answer can't be read".to_string())
        }
        Some(Err(e)) => Err(e),
        None => {
            let names: Vec<&str> = parts.iter().map(|(_, s)| s.path()).collect();
            let names = names.join(", ");
            Err(format!(
                "{names}: the interpreter died while loading it, or was not done within {} s",
                canary::TIME.as_secs()
            ))
        }
    }
}

/// Per engine its name, files and imports, each text with its length before it.
fn encode(parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |b: &[u8]| {
        out.extend((b.len() as u32).to_le_bytes());
        out.extend(b);
    };
    for p in parts {
        put(p.engine.as_bytes());
        put(&p.revision.to_le_bytes());
        for files in [&p.source.files, &p.source.imports] {
            put(files.len().to_string().as_bytes());
            for f in files {
                put(f.path.as_bytes());
                put(&f.text);
            }
        }
    }
    out
}

fn decode(b: &[u8]) -> Option<Vec<Part>> {
    let mut rest = b;
    let mut next = || -> Option<Vec<u8>> {
        let (n, tail) = rest.split_at_checked(4)?;
        let (text, tail) = tail.split_at_checked(u32::from_le_bytes(n.try_into().ok()?) as usize)?;
        rest = tail;
        Some(text.to_vec())
    };
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    let mut parts = Vec::new();
    while let Some(engine) = next() {
        let revision = u64::from_le_bytes(next()?.try_into().ok()?);
        let mut files = || -> Option<Vec<File>> {
            let count: usize = text(next()?).parse().ok()?;
            let file = |_| {
                Some(File {
                    path: text(next()?),
                    text: next()?,
                })
            };
            (0..count).map(file).collect()
        };
        parts.push(Part {
            engine: text(engine),
            revision,
            source: Source {
                files: files()?,
                imports: files()?,
            },
        });
    }
    Some(parts)
}

/// Of the code alone: the same files have the same digest, however often they were loaded.
fn hex_digest(parts: &[Part]) -> String {
    let code: Vec<Part> = parts
        .iter()
        .map(|p| Part {
            revision: 0,
            ..p.clone()
        })
        .collect();
    olelo_sip::Algorithm::Sha256.hash(&[&encode(&code)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_keeps_every_engine_and_file() {
        let file = |path: &str, text: &[u8]| File {
            path: path.into(),
            text: text.to_vec(),
        };
        let parts = vec![
            Part {
                engine: "lua".into(),
                revision: 7,
                source: Source {
                    files: vec![file("a.lua", b"x\0y"), file("b.lua", b"")],
                    imports: vec![file("c.lua", b"z")],
                },
            },
            Part {
                engine: "native".into(),
                revision: 0,
                source: Source::default(),
            },
        ];
        let blob = encode(&parts);
        assert_eq!(decode(&blob), Some(parts.clone()));
        let mut again = parts.clone();
        again[0].revision += 1;
        assert_eq!(hex_digest(&again), hex_digest(&parts));
        again[0].source.imports.clear();
        assert_ne!(hex_digest(&again), hex_digest(&parts));
        for cut in 1..blob.len() {
            let _ = decode(&blob[..cut]);
        }
    }
}
