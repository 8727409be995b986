//! From one generation to the next: all processes take it up, or none keeps it.
//!
//! Whoever asks for a reload (a control process, the reloader) publishes the new generation as a
//! trial, then waits until every slot that routes by plan has acknowledged it. A slot whose process
//! died is waited for as well: its next process loads the trial, too. A refusal, silence, or a
//! process that dies again and again while it loads ends the trial: the generation that had proved
//! itself serves again, unless somebody else has published meanwhile.
//!
//! The asker itself may die. What it tries stands in one shared word: who asks, and what to go back to.
//! Main decides in its stead ([`asker_died`]). A second reload takes the word over together with the
//! way back, so a trial never counts as proved because another followed it.

use super::super::engine::{self, EngineKind, Source};
use super::{ACK_TIME, Part, STORE, decode, encode, hex_digest, try_in_canary};
use olelo_ipc::process::{self, Ack};
use olelo_ipc::wake::wake;
use olelo_mem::arena::ArenaError;
use olelo_mem::atomic::{AtomicU64, Ordering};
use olelo_mem::published::{PublishError, Published, View};
use olelo_mem::words::Words;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Deaths in one slot during a trial that end it.
const DEATHS: u64 = 2;

static ASKED: OnceLock<Words> = OnceLock::new();

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
    /// Another reload or rollback was asked for meanwhile, and has replaced it.
    #[error("superseded: generation {0} is published by now")]
    Superseded(u32),
    /// Shared memory is short, or another reload runs.
    #[error("can't publish: {0}")]
    Publish(String),
}

/// Makes what askers share; main, before the first fork.
pub(super) fn create() -> Result<(), ArenaError> {
    let _ = ASKED.set(Words::create("routing trial", 1)?);
    Ok(())
}

/// Reads the routing code of `only` (or of all engines) again and makes it the generation that
/// serves, or says why not.
pub fn reload(only: Option<&str>) -> Result<Report, ReloadError> {
    let store = STORE.get().ok_or(ReloadError::NoScript)?;
    let (old, view) = store.current().ok_or(ReloadError::NoScript)?;
    let before = decode(&view).ok_or(ReloadError::NoScript)?;
    drop(view);
    let mut parts = before.clone();
    let fresh = reread(&before, only, old)?;
    let tried = try_in_canary(&fresh).map_err(|e| {
        crate::error!("core", "reload refused: {e}");
        ReloadError::Refused(old, e)
    })?;
    for part in tried {
        if let Some(p) = parts.iter_mut().find(|p| p.engine == part.engine) {
            p.revision += 1;
            p.source = part.source;
        }
    }
    let blob = encode(&parts);
    let report = adopt(store, old, hex_digest(&parts), || {
        store.publish_if(old, &blob)
    })?;
    tell(&before, &parts);
    Ok(report)
}

/// What the files of `only` (or of all) say now.
fn reread(
    parts: &[Part],
    only: Option<&str>,
    serves: u32,
) -> Result<Vec<(EngineKind, Source)>, ReloadError> {
    let mut fresh = Vec::new();
    for part in parts {
        if only.is_some_and(|o| o != part.engine) {
            continue;
        }
        let Some(kind) = engine::find(&part.engine) else {
            continue;
        };
        let source = (kind.reread)(&part.source).map_err(|e| {
            crate::error!("core", "reload of {} refused: {e}", part.source.path());
            ReloadError::Unfit(serves, e)
        })?;
        fresh.push((kind, source));
    }
    if fresh.is_empty() {
        return Err(ReloadError::NoScript);
    }
    Ok(fresh)
}

/// Tells engines whose source is another now.
fn tell(before: &[Part], now: &[Part]) {
    for part in now {
        let old = before.iter().find(|p| p.engine == part.engine);
        if let (Some(old), Some(kind)) = (old, engine::find(&part.engine))
            && old.source != part.source
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
    let now = parts(Some(view));
    let digest = hex_digest(&now);
    let report = adopt(store, old, digest, || {
        store.set_if(old, target).map(|()| target)
    })?;
    tell(&before, &now);
    Ok(report)
}

/// Main, when it buries the process in a slot: if that had a generation on trial, it stays where all
/// have taken it up, and is taken back otherwise.
pub(crate) fn asker_died(slot: u16) {
    let (Some(store), Some(asked)) = (STORE.get(), asked()) else {
        return;
    };
    let word = asked.load(Ordering::Acquire);
    let Some(trial) = Trial::read(word).filter(|t| t.asker == slot) else {
        return;
    };
    let tried = store.generation();
    // Still its word: what was current is what it tried, or what it had not yet replaced.
    if tried == trial.proved || asked.load(Ordering::Acquire) != word {
        forget(word);
        return;
    }
    if all_acknowledged(tried) {
        crate::warn!(
            "core",
            "who asked for generation {tried} died; all have taken it up, so it serves. Values that the configuration sets beside routing are as before"
        );
    } else if store.set_if(tried, trial.proved).is_ok() {
        wake_all();
        crate::error!(
            "core",
            "who asked for generation {tried} died before all had taken it up: taken back to generation {}",
            trial.proved
        );
    }
    forget(word);
}

/// Who tries a generation, and what to go back to. One word, so that it is whole at any instant.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Trial {
    /// The generation that all had taken up.
    proved: u32,
    /// The slot of the process that asks.
    asker: u16,
    /// Tells the trials of one asker apart.
    sequence: u16,
}

impl Trial {
    fn read(word: u64) -> Option<Trial> {
        (word != 0).then_some(Trial {
            proved: (word >> 32) as u32,
            asker: (word >> 16) as u16,
            sequence: word as u16,
        })
    }

    /// Never 0: no generation is.
    fn word(self) -> u64 {
        u64::from(self.proved) << 32 | u64::from(self.asker) << 16 | u64::from(self.sequence)
    }

    /// This process begins one while `current` serves. If that is itself on trial, the way back is
    /// what that trial would go back to.
    fn begin(current: u32) -> Trial {
        let begin = |before: u64| {
            let other = Trial::read(before);
            Trial {
                proved: match other {
                    Some(t) if !all_acknowledged(current) => t.proved,
                    _ => current,
                },
                asker: olelo_mem::slot::current_slot(),
                sequence: other.map_or(0, |t| t.sequence.wrapping_add(1)),
            }
        };
        let Some(asked) = asked() else {
            return begin(0);
        };
        let mut before = asked.load(Ordering::Acquire);
        loop {
            let mine = begin(before);
            match asked.compare_exchange(before, mine.word(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return mine,
                Err(now) => before = now,
            }
        }
    }
}

/// A trial of this process: its word is cleared when the outcome is known.
struct TrialGuard(Trial);

impl Drop for TrialGuard {
    fn drop(&mut self) {
        forget(self.0.word());
    }
}

fn asked() -> Option<&'static AtomicU64> {
    ASKED.get()?.get(0)
}

/// Clears the shared word, if it still says this.
fn forget(word: u64) {
    if let Some(asked) = asked() {
        let _ = asked.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

fn planned() -> impl Iterator<Item = process::Slot> {
    process::table()
        .iter()
        .filter(process::Slot::routes_by_plan)
}

fn all_acknowledged(generation: u32) -> bool {
    planned().all(|p| p.generation_state(generation) == Ack::Loaded)
}

fn wake_all() {
    for p in planned().filter(|p| p.pid() != 0) {
        wake(p.slot());
    }
}

/// Has a generation published, and waits for every worker to build it; reverts if one can't.
fn adopt(
    store: &Published,
    old: u32,
    digest: String,
    publish: impl FnOnce() -> Result<u32, PublishError>,
) -> Result<Report, ReloadError> {
    let trial = TrialGuard(Trial::begin(old));
    let deaths: Vec<u64> = process::table().iter().map(|p| p.deaths()).collect();
    let start = Instant::now();
    let new = publish().map_err(|e| ReloadError::Publish(e.to_string()))?;
    let workers = loop {
        if store.generation() != new {
            return Err(ReloadError::Superseded(store.generation()));
        }
        // Who asks may be a worker itself: its own word is waited for as well.
        if planned().any(|p| p.slot() == olelo_mem::slot::current_slot()) {
            super::refresh(true);
        }
        match look(new, &deaths) {
            Err(why) => return Err(revert(store, new, trial.0.proved, why)),
            Ok((workers, waiting)) if waiting.is_empty() => break workers,
            Ok((_, waiting)) if start.elapsed() > ACK_TIME => {
                let names: Vec<String> = waiting.iter().map(name).collect();
                let names = names.join(", ");
                let why = format!("no answer within {ACK_TIME:?} from worker {names}");
                return Err(revert(store, new, trial.0.proved, why));
            }
            Ok((_, waiting)) => {
                for p in waiting.iter().filter(|p| p.pid() != 0) {
                    wake(p.slot());
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    };
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

/// How many have taken up a generation, and who has not said yet. The error says why it can't stay.
/// `deaths`: those of each slot before it was published.
fn look(new: u32, deaths: &[u64]) -> Result<(usize, Vec<process::Slot>), String> {
    let (mut workers, mut waiting) = (0, Vec::new());
    for p in planned() {
        let before = deaths.get(usize::from(p.slot())).copied();
        let died = p.deaths().saturating_sub(before.unwrap_or(0));
        match p.generation_state(new) {
            Ack::Loaded => workers += 1,
            Ack::Refused(why) => return Err(format!("worker {}: {why}", name(&p))),
            Ack::Pending if died >= DEATHS => {
                return Err(format!("worker {} died {died} times over it", name(&p)));
            }
            Ack::Pending => waiting.push(p),
        }
    }
    Ok((workers, waiting))
}

fn name(p: &process::Slot) -> String {
    format!("{} ({})", p.slot(), p.description())
}

/// Ends a trial, unless another has replaced it.
fn revert(store: &Published, new: u32, proved: u32, why: String) -> ReloadError {
    match store.set_if(new, proved) {
        Ok(()) => {}
        Err(PublishError::Conflict { current, .. }) => return ReloadError::Superseded(current),
        Err(e) => crate::crit!("core", "can't go back to generation {proved}: {e}"),
    }
    wake_all();
    ReloadError::Reverted(proved, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_one_word_that_is_never_zero() {
        for (proved, asker, sequence) in [(1, 0, 0), (u32::MAX, 7, 9), (5, u16::MAX, u16::MAX)] {
            let trial = Trial {
                proved,
                asker,
                sequence,
            };
            assert_ne!(trial.word(), 0);
            assert_eq!(Trial::read(trial.word()), Some(trial));
        }
        assert_eq!(Trial::read(0), None);
    }
}
