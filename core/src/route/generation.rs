//! Generations of routing code: a reload is tried, published with one store, and acknowledged.
//!
//! A generation is an immutable blob in shared memory: the source's path and text. [`reload`] reads
//! the file once, builds it in a forked canary, publishes it, wakes every process that routes and
//! waits until each has built a fresh engine from the blob. Until the store the old generation
//! serves; a refusal of the canary, or of any worker, leaves or brings back the old one. A respawned
//! worker reads the same word.
//!
//! A process asks [`current`] before it routes a message: one atomic load where nothing changed.

use super::engine::{Engine, EngineKind, Source};
use olelo_ipc::process;
use olelo_mem::published::Published;
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the canary may take to load the source.
const CANARY_TIME: Duration = Duration::from_secs(20);
/// How long workers may take to acknowledge.
const ACK_TIME: Duration = Duration::from_secs(10);

static STORE: OnceLock<Store> = OnceLock::new();

struct Store {
    kind: EngineKind,
    path: String,
    blob: Published,
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
    /// The file can't be read.
    #[error("can't read {0}: {1}")]
    Unreadable(String, String),
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

/// Publishes the first generation; main, before the forks. The error has file:line.
pub fn install(kind: EngineKind, path: &str) -> Result<(), String> {
    let source = read(path).map_err(|e| e.to_string())?;
    try_in_canary(kind, &source)?;
    let blob = Published::create("routing").map_err(|e| e.to_string())?;
    blob.publish(&encode(&source)).map_err(|e| e.to_string())?;
    let _ = STORE.set(Store {
        kind,
        path: path.to_string(),
        blob,
    });
    Ok(())
}

/// Whether a script is installed.
pub fn installed() -> bool {
    STORE.get().is_some()
}

/// The number of the generation that serves.
pub fn number() -> u32 {
    STORE.get().map_or(0, |s| s.blob.generation())
}

/// The path of the script.
pub fn path() -> Option<&'static str> {
    STORE.get().map(|s| s.path.as_str())
}

/// Generations kept for [`rollback`], oldest first.
pub fn kept() -> Vec<u32> {
    STORE.get().map(|s| s.blob.kept()).unwrap_or_default()
}

/// SHA-256 of the text that serves.
pub fn digest() -> Option<String> {
    let (_, view) = STORE.get()?.blob.current()?;
    Some(hex_digest(&decode(&view)?.text))
}

/// This process' engine of the generation that serves, built anew if the generation changed.
/// `None` where no script is installed or this process failed to build any.
pub fn current() -> Option<Rc<dyn Engine>> {
    let store = STORE.get()?;
    let wanted = store.blob.generation();
    if BUILT.get() != wanted {
        build(store, wanted);
    }
    ENGINE.with_borrow(Clone::clone)
}

/// Drops this process' engine; the next message builds a fresh one. For an engine that was stopped
/// in the midst of something.
pub fn discard() {
    BUILT.set(0);
}

thread_local! {
    static BUILT: Cell<u32> = const { Cell::new(0) };
    static ENGINE: RefCell<Option<Rc<dyn Engine>>> = const { RefCell::new(None) };
}

fn build(store: &Store, wanted: u32) {
    let slot = olelo_mem::slot::current_slot();
    // Whatever happens, don't try again for each message: a failure is reported once and main's
    // side reverts the generation.
    BUILT.set(wanted);
    let source = store.blob.get(wanted).and_then(|v| decode(&v));
    let built = match source {
        Some(s) => (store.kind.build)(&s),
        None => Err(format!("generation {wanted} is no longer kept")),
    };
    match built {
        Ok(e) => {
            let old = ENGINE.with_borrow_mut(|slot| slot.replace(e));
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

/// Reads the script again and makes it the generation that serves, or says why not.
pub fn reload() -> Result<Report, ReloadError> {
    let store = STORE.get().ok_or(ReloadError::NoScript)?;
    let source = read(&store.path)?;
    let old = store.blob.generation();
    try_in_canary(store.kind, &source).map_err(|e| {
        crate::error!("core", "reload of {} refused: {e}", store.path);
        ReloadError::Refused(old, e)
    })?;
    let start = Instant::now();
    let new = store
        .blob
        .publish_if(old, &encode(&source))
        .map_err(|e| ReloadError::Publish(e.to_string()))?;
    adopt(store, old, new, start, hex_digest(&source.text))
}

/// Makes an older generation serve again: the one before, or `to`.
pub fn rollback(to: Option<u32>) -> Result<Report, ReloadError> {
    let store = STORE.get().ok_or(ReloadError::NoScript)?;
    let old = store.blob.generation();
    let target = match to {
        Some(t) => t,
        None => *store
            .blob
            .kept()
            .iter()
            .filter(|g| **g < old)
            .max()
            .ok_or(ReloadError::NoScript)?,
    };
    let text = store.blob.get(target).and_then(|v| decode(&v));
    let text = text
        .ok_or_else(|| ReloadError::Publish(format!("generation {target} is not kept")))?
        .text;
    let start = Instant::now();
    store
        .blob
        .set(target)
        .map_err(|e| ReloadError::Publish(e.to_string()))?;
    adopt(store, old, target, start, hex_digest(&text))
}

/// Waits for every worker to build `new`; reverts to `old` if one can't.
fn adopt(
    store: &Store,
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

fn revert(store: &Store, old: u32, why: String) -> ReloadError {
    if let Err(e) = store.blob.set(old) {
        crate::crit!("core", "can't go back to generation {old}: {e}");
    }
    for p in process::table().iter().filter(|p| p.routes()) {
        olelo_ipc::wake::wake(p.slot());
    }
    ReloadError::Reverted(old, why)
}

fn read(path: &str) -> Result<Source, ReloadError> {
    match std::fs::read(path) {
        Ok(text) => Ok(Source {
            path: path.to_string(),
            text,
        }),
        Err(e) => Err(ReloadError::Unreadable(path.to_string(), e.to_string())),
    }
}

/// Builds the source in a child process of its own: whatever it does there harms nobody.
fn try_in_canary(kind: EngineKind, source: &Source) -> Result<(), String> {
    let (mut ours, mut theirs) =
        std::os::unix::net::UnixStream::pair().map_err(|e| format!("can't make a canary: {e}"))?;
    match olelo_ipc::signals::fork().map_err(|e| format!("can't fork a canary: {e}"))? {
        olelo_ipc::signals::Fork::Child => {
            drop(ours);
            let verdict = match std::panic::catch_unwind(|| (kind.build)(source).map(drop)) {
                Ok(Ok(())) => String::new(),
                Ok(Err(e)) => format!("-{e}"),
                Err(_) => "-the interpreter panicked while loading it".to_string(),
            };
            let _ = theirs.write_all(format!("done{verdict}").as_bytes());
            drop(theirs);
            olelo_ipc::signals::exit_now(0);
        }
        olelo_ipc::signals::Fork::Parent(pid) => {
            drop(theirs);
            let _ = ours.set_read_timeout(Some(CANARY_TIME));
            let mut said = Vec::new();
            let mut limited = Read::take(&mut ours, 64 << 10);
            let read = limited.read_to_end(&mut said);
            olelo_ipc::signals::kill_and_reap(pid);
            if read.is_err() {
                return Err(format!(
                    "{}: did not finish loading within {} s",
                    source.path,
                    CANARY_TIME.as_secs()
                ));
            }
            let said = String::from_utf8_lossy(&said).into_owned();
            match said.strip_prefix("done") {
                Some("") => Ok(()),
                Some(e) => Err(e.trim_start_matches('-').to_string()),
                None => Err(format!(
                    "{}: the interpreter died while loading it",
                    source.path
                )),
            }
        }
    }
}

fn encode(s: &Source) -> Vec<u8> {
    let mut out = (s.path.len() as u32).to_le_bytes().to_vec();
    out.extend(s.path.as_bytes());
    out.extend(&s.text);
    out
}

fn decode(b: &[u8]) -> Option<Source> {
    let (n, rest) = b.split_at_checked(4)?;
    let (path, text) = rest.split_at_checked(u32::from_le_bytes(n.try_into().ok()?) as usize)?;
    Some(Source {
        path: String::from_utf8_lossy(path).into_owned(),
        text: text.to_vec(),
    })
}

fn hex_digest(text: &[u8]) -> String {
    olelo_sip::Algorithm::Sha256.hash(&[text])
}
