//! Statistics: named numbers that every process adds to without waiting for another.
//!
//! A counter is one cell per process in shared memory, summed when it is read. A module declares
//! each as a static and lists it in its `Module`; `stats.get_statistics`, `counters` and `olctl top`
//! read them by `group:name`.

pub mod messages;

use olelo_mem::counters::Counters;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static CELLS: OnceLock<Counters> = OnceLock::new();

/// One statistic.
pub struct Stat {
    /// Group: mostly the module's name.
    pub group: &'static str,
    /// Name in the group.
    pub name: &'static str,
    /// What it counts.
    pub doc: &'static str,
    /// Computes the value, for numbers that are known elsewhere.
    compute: Option<fn() -> i64>,
    /// Cell + 1; 0 until the registry is frozen.
    cell: AtomicU32,
}

impl Stat {
    /// A counter.
    pub const fn counter(group: &'static str, name: &'static str, doc: &'static str) -> Stat {
        Stat {
            group,
            name,
            doc,
            compute: None,
            cell: AtomicU32::new(0),
        }
    }

    /// A number that `compute` finds when it is asked for.
    pub const fn computed(
        group: &'static str,
        name: &'static str,
        doc: &'static str,
        compute: fn() -> i64,
    ) -> Stat {
        Stat {
            group,
            name,
            doc,
            compute: Some(compute),
            cell: AtomicU32::new(0),
        }
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        if let (c @ 1.., Some(cells)) = (self.cell.load(Ordering::Relaxed), CELLS.get()) {
            cells.add(c as usize - 1, n);
        }
    }

    /// The value over all processes.
    pub fn get(&self) -> i64 {
        if let Some(f) = self.compute {
            return f();
        }
        match (self.cell.load(Ordering::Relaxed), CELLS.get()) {
            (c @ 1.., Some(cells)) => cells.sum(c as usize - 1),
            _ => 0,
        }
    }

    /// Sets a counter back to zero; false for a computed one.
    pub fn reset(&self) -> bool {
        match (self.compute, self.cell.load(Ordering::Relaxed), CELLS.get()) {
            (None, c @ 1.., Some(cells)) => {
                cells.reset(c as usize - 1);
                true
            }
            _ => false,
        }
    }

    /// `group:name`.
    pub fn full_name(&self) -> String {
        format!("{}:{}", self.group, self.name)
    }
}

/// Largest number of counters that scripts may declare (`counters` module, `statistics`).
pub const MAX_SCRIPT_STATS: usize = 512;

/// Gives each statistic its cell; main, after the modules are known and before the forks.
pub(crate) fn freeze(stats: &[&'static Stat]) -> Result<(), olelo_mem::arena::ArenaError> {
    let cells = Counters::create("stats", stats.len() + MAX_SCRIPT_STATS)?;
    for (i, s) in stats.iter().enumerate() {
        s.cell.store(i as u32 + 1, Ordering::Relaxed);
    }
    NEXT.store(stats.len() as u32, Ordering::Relaxed);
    let _ = CELLS.set(cells);
    Ok(())
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Statistics declared by the operator, in main before the forks.
static DECLARED: std::sync::RwLock<Vec<&'static Stat>> = std::sync::RwLock::new(Vec::new());

/// Declares a statistic by name; main, from a module's `init`.
pub fn declare(group: &str, name: &str) -> Result<&'static Stat, String> {
    let mut declared = DECLARED
        .write()
        .map_err(|_| "the list of statistics is broken".to_string())?;
    if let Some(s) = declared.iter().find(|s| s.group == group && s.name == name) {
        return Ok(s);
    }
    if declared.len() >= MAX_SCRIPT_STATS {
        return Err(format!(
            "can't declare statistic {group}:{name}: there are {MAX_SCRIPT_STATS} already"
        ));
    }
    let leak = |s: &str| -> &'static str { Box::leak(s.to_string().into_boxed_str()) };
    let stat: &'static Stat = Box::leak(Box::new(Stat::counter(
        leak(group),
        leak(name),
        "declared by the operator",
    )));
    stat.cell
        .store(NEXT.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    declared.push(stat);
    Ok(stat)
}

/// Every statistic there is.
pub fn all() -> Vec<&'static Stat> {
    let mut v: Vec<&'static Stat> = crate::server()
        .registry
        .modules()
        .iter()
        .flat_map(|m| m.stats.iter().copied())
        .collect();
    if let Ok(d) = DECLARED.read() {
        v.extend(d.iter().copied());
    }
    v
}

/// The statistic `group:name`, or the only one called `name`.
pub fn find(name: &str) -> Option<&'static Stat> {
    match name.split_once([':', '.']) {
        Some((g, n)) => all().into_iter().find(|s| s.group == g && s.name == n),
        None => all().into_iter().find(|s| s.name == name),
    }
}
