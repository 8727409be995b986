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
//! A process asks [`current`] before it routes a message: one atomic load where nothing changed.

use super::canary;
use super::engine::{self, Engine, EngineKind, File, Source};
use olelo_ipc::process;
use olelo_mem::published::{Published, View};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long workers may take to acknowledge.
const ACK_TIME: Duration = Duration::from_secs(10);

static STORE: OnceLock<Published> = OnceLock::new();
/// What modules have installed, until [`publish_first`].
static INSTALLED: Mutex<Vec<Part>> = Mutex::new(Vec::new());

/// The routing code of one engine.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    engine: String,
    source: Source,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The generation that serves now.
    pub generation: u32,
    /// SHA-256 of its text, in hexadecimal.
    pub digest: String,
    /// Processes that acknowledged it.
    pub workers: usize,
    /// From the call to the last acknowledgement.
    pub took: Duration,
}

/// Why a reload was refused; the old generation serves on.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ReloadError {
    /// No engine with a script runs.
    #[error("no routing script is loaded")]
    NoScript,
    /// The files can't be read, or what changed in them can't change while the server runs.
    #[error("refused, generation {0} serves on: {1}")]
    Unfit(u32, String),
    /// The canary refused it.
    #[error("refused, generation {0} serves on: {1}")]
    Refused(u32, String),
    /// A worker failed to load what the canary had loaded; all went back.
    #[error("taken back to generation {0}: {1}")]
    Reverted(u32, String),
    /// Shared memory is short, or another reload runs.
    #[error("can't publish: {0}")]
    Publish(String),
}

/// Gives an engine its routing code; main, in a module's `init`. The error has file:line.
pub fn install(kind: EngineKind, source: Source) -> Result<(), String> {
    try_in_canary(&[(kind, source.clone())])?;
    if let Ok(mut parts) = INSTALLED.lock() {
        parts.push(Part {
            engine: kind.name.to_string(),
            source,
        });
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
    let files = parts.into_iter().flatten().flat_map(|p| p.source.files);
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
    Some(hex_digest(&view))
}

/// This process' engine that routes, of the generation that serves; built anew if the generation
/// changed. `None` where there is none or this process failed to build any.
pub fn current() -> Option<Rc<dyn Engine>> {
    refresh()?;
    ROUTING.with_borrow(Clone::clone)
}

/// This process' engine of this kind, whether it routes or stands beside the one that does.
pub fn beside(engine: &str) -> Option<Rc<dyn Engine>> {
    refresh()?;
    ENGINES.with_borrow(|all| {
        let e = all.iter().find(|b| b.part.engine == engine)?;
        Some(e.engine.clone())
    })
}

/// Drops this process' engines; the next message builds fresh ones. For an engine that was stopped
/// in the midst of something.
pub fn discard() {
    BUILT.set(0);
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
    static ENGINES: RefCell<Vec<BuiltEngine>> = const { RefCell::new(Vec::new()) };
    static ROUTING: RefCell<Option<Rc<dyn Engine>>> = const { RefCell::new(None) };
}

fn refresh() -> Option<()> {
    let store = STORE.get()?;
    let wanted = store.generation();
    if BUILT.get() != wanted {
        rebuild(store, wanted);
    }
    Some(())
}

fn rebuild(store: &Published, wanted: u32) {
    let slot = olelo_mem::slot::current_slot();
    // Whatever happens, don't try again for each message: a failure is reported once and main's
    // side reverts the generation.
    BUILT.set(wanted);
    let parts = store.get(wanted).and_then(|v| decode(&v));
    let built = match parts {
        Some(p) => build_all(p),
        None => Err(format!("generation {wanted} is no longer kept")),
    };
    match built {
        Ok(new) => {
            let main = engine::find(&crate::server().config.engine).map_or("", |k| k.name);
            let routing = new.iter().find(|b| b.part.engine == main);
            ROUTING.set(routing.map(|b| b.engine.clone()));
            let old = ENGINES.with_borrow_mut(|all| std::mem::replace(all, new));
            drop(old);
            process::acknowledge(slot, wanted);
        }
        Err(e) => {
            crate::error!(
                "core",
                "generation {wanted} does not load here, the one before serves on: {e}"
            );
            process::refuse(slot, wanted, &e);
        }
    }
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

/// Reads the routing code of `only` (or of all engines) again and makes it the generation that
/// serves, or says why not.
pub fn reload(only: Option<&str>) -> Result<Report, ReloadError> {
    let store = STORE.get().ok_or(ReloadError::NoScript)?;
    let (old, view) = store.current().ok_or(ReloadError::NoScript)?;
    let before = decode(&view).ok_or(ReloadError::NoScript)?;
    let mut parts = before.clone();
    let mut fresh = Vec::new();
    for part in &mut parts {
        if only.is_some_and(|o| o != part.engine) {
            continue;
        }
        let Some(kind) = engine::find(&part.engine) else {
            continue;
        };
        let source = (kind.reread)(&part.source).map_err(|e| {
            crate::error!("core", "reload of {} refused: {e}", part.source.path());
            ReloadError::Unfit(old, e)
        })?;
        fresh.push((kind, source.clone()));
        part.source = source;
    }
    if fresh.is_empty() {
        return Err(ReloadError::NoScript);
    }
    try_in_canary(&fresh).map_err(|e| {
        crate::error!("core", "reload refused: {e}");
        ReloadError::Refused(old, e)
    })?;
    let start = Instant::now();
    let blob = encode(&parts);
    let new = store
        .publish_if(old, &blob)
        .map_err(|e| ReloadError::Publish(e.to_string()))?;
    let report = adopt(store, old, new, start, hex_digest(&blob))?;
    tell(&before, &parts);
    Ok(report)
}

/// Tells engines whose source is another now.
fn tell(before: &[Part], now: &[Part]) {
    for part in now {
        let old = before.iter().find(|p| p.engine == part.engine);
        if let (Some(old), Some(kind)) = (old, engine::find(&part.engine))
            && old != part
        {
            (kind.adopted)(&old.source, &part.source);
        }
    }
}

/// Makes an older generation serve again: the one before, or `to`.
pub fn rollback(to: Option<u32>) -> Result<Report, ReloadError> {
    let store = STORE.get().ok_or(ReloadError::NoScript)?;
    let old = store.generation();
    let target = match to {
        Some(t) => t,
        None => *store
            .kept()
            .iter()
            .filter(|g| **g < old)
            .max()
            .ok_or(ReloadError::NoScript)?,
    };
    let parts = |view: Option<View>| view.and_then(|v| decode(&v)).unwrap_or_default();
    let before = parts(store.get(old));
    let view = store
        .get(target)
        .ok_or_else(|| ReloadError::Publish(format!("generation {target} is not kept")))?;
    let digest = hex_digest(&view);
    let start = Instant::now();
    store
        .set(target)
        .map_err(|e| ReloadError::Publish(e.to_string()))?;
    let report = adopt(store, old, target, start, digest)?;
    tell(&before, &parts(Some(view)));
    Ok(report)
}

/// Waits for every worker to build `new`; reverts to `old` if one can't.
fn adopt(
    store: &Published,
    old: u32,
    new: u32,
    start: Instant,
    digest: String,
) -> Result<Report, ReloadError> {
    let mut workers;
    loop {
        workers = 0;
        let mut waiting = Vec::new();
        for p in process::table().iter().filter(|p| p.routes()) {
            match p.generation_state(new) {
                process::Ack::Loaded => workers += 1,
                process::Ack::Refused(why) => {
                    let text = format!("worker {} ({}): {why}", p.slot(), p.description());
                    return Err(revert(store, old, text));
                }
                process::Ack::Pending => waiting.push((p.slot(), p.description())),
            }
        }
        if waiting.is_empty() {
            break;
        }
        if start.elapsed() > ACK_TIME {
            let names: Vec<String> = waiting.iter().map(|(s, d)| format!("{s} ({d})")).collect();
            return Err(revert(
                store,
                old,
                format!(
                    "no answer within {ACK_TIME:?} from worker {}",
                    names.join(", ")
                ),
            ));
        }
        for (slot, _) in &waiting {
            olelo_ipc::wake::wake(*slot);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = start.elapsed();
    crate::info!(
        "core",
        "generation {new} serves, {workers} workers, sha256 {digest}, {} ms",
        took.as_millis()
    );
    Ok(Report {
        generation: new,
        digest,
        workers,
        took,
    })
}

fn revert(store: &Published, old: u32, why: String) -> ReloadError {
    if let Err(e) = store.set(old) {
        crate::crit!("core", "can't go back to generation {old}: {e}");
    }
    for p in process::table().iter().filter(|p| p.routes()) {
        olelo_ipc::wake::wake(p.slot());
    }
    ReloadError::Reverted(old, why)
}

/// Builds the source in a child process of its own: whatever it does there harms nobody.
fn try_in_canary(parts: &[(EngineKind, Source)]) -> Result<(), String> {
    let builds = || {
        parts
            .iter()
            .try_for_each(|(k, source)| (k.build)(source).map(drop))
    };
    match canary::ask(builds)? {
        Some(Ok(())) => Ok(()),
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

/// Per engine its name and files, each text with its length before it.
fn encode(parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |b: &[u8]| {
        out.extend((b.len() as u32).to_le_bytes());
        out.extend(b);
    };
    for p in parts {
        put(p.engine.as_bytes());
        put(p.source.files.len().to_string().as_bytes());
        for f in &p.source.files {
            put(f.path.as_bytes());
            put(&f.text);
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
        let count: usize = text(next()?).parse().ok()?;
        let mut files = Vec::new();
        for _ in 0..count {
            files.push(File {
                path: text(next()?),
                text: next()?,
            });
        }
        parts.push(Part {
            engine: text(engine),
            source: Source { files },
        });
    }
    Some(parts)
}

fn hex_digest(text: &[u8]) -> String {
    olelo_sip::Algorithm::Sha256.hash(&[text])
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
                source: Source {
                    files: vec![file("a.lua", b"x\0y"), file("b.lua", b"")],
                },
            },
            Part {
                engine: "native".into(),
                source: Source::default(),
            },
        ];
        let blob = encode(&parts);
        assert_eq!(decode(&blob), Some(parts));
        for cut in 1..blob.len() {
            let _ = decode(&blob[..cut]);
        }
    }
}
