//! Log lines: one line per event, to standard error or syslog, in the form operators grep for.
//!
//! ```text
//!  3(4711) ERROR: tm [fr.rs:12]: <text of log_prefix> <text>
//! ```
//!
//! The level is a shared word, so `dbg`, `cfg.set core debug` and `corex.debug` reach every process
//! at once. A line is one write that never waits ([`sink`]): a full disk, a reader that sleeps or a
//! dead syslog loses lines, never a message.

use crate::route::module::IntParam;
use std::cell::RefCell;
use std::fmt::Arguments;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

mod sink;

pub use sink::LOST;

/// `debug` of the core: lines above this level are not written.
pub static DEBUG: IntParam = IntParam::new(0);
/// `log_stderror`.
static TO_STDERR: AtomicBool = AtomicBool::new(true);
/// `log_facility`, as syslog numbers it, shifted.
static FACILITY: AtomicI32 = AtomicI32::new(3 << 3);

/// Levels as Kamailio numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum Level {
    /// Something needs a person now.
    Alert = -5,
    /// A fault of this program.
    Bug = -4,
    /// The service suffers.
    Crit = -2,
    /// Something failed.
    Err = -1,
    /// Something looks wrong.
    Warn = 0,
    /// Worth knowing.
    Notice = 1,
    /// What happens.
    Info = 2,
    /// Every step.
    Dbg = 3,
}

impl Level {
    /// From the number in a script or config; out of range is clamped.
    pub fn from_int(i: i64) -> Level {
        match i {
            i64::MIN..=-5 => Level::Alert,
            -4 => Level::Bug,
            -3 | -2 => Level::Crit,
            -1 => Level::Err,
            0 => Level::Warn,
            1 => Level::Notice,
            2 => Level::Info,
            _ => Level::Dbg,
        }
    }

    /// From a name as `xlog("L_INFO", …)` has it.
    pub fn from_name(name: &str) -> Option<Level> {
        let n = name.trim().to_ascii_uppercase();
        let n = n.strip_prefix("L_").unwrap_or(&n);
        Some(match n {
            "ALERT" => Level::Alert,
            "BUG" => Level::Bug,
            "CRIT" | "CRITICAL" => Level::Crit,
            "ERR" | "ERROR" => Level::Err,
            "WARN" | "WARNING" => Level::Warn,
            "NOTICE" => Level::Notice,
            "INFO" => Level::Info,
            "DBG" | "DEBUG" => Level::Dbg,
            other => return other.parse().ok().map(Level::from_int),
        })
    }

    /// As lines of the log begin.
    pub fn label(self) -> &'static str {
        match self {
            Level::Alert => "ALERT",
            Level::Bug => "BUG",
            Level::Crit => "CRITICAL",
            Level::Err => "ERROR",
            Level::Warn => "WARNING",
            Level::Notice => "NOTICE",
            Level::Info => "INFO",
            Level::Dbg => "DEBUG",
        }
    }

    fn syslog(self) -> i32 {
        match self {
            Level::Alert => 1,
            Level::Bug | Level::Crit => 2,
            Level::Err => 3,
            Level::Warn => 4,
            Level::Notice => 5,
            Level::Info => 6,
            Level::Dbg => 7,
        }
    }
}

/// Writes a line; see the macros [`crate::error!`], [`crate::warn!`], [`crate::info!`] …
pub fn write(level: Level, module: &str, file: &str, line: u32, text: Arguments<'_>) {
    if !enabled(level, module) {
        return;
    }
    LINE.with_borrow_mut(|buf| {
        buf.clear();
        let slot = olelo_mem::slot::current_slot();
        let file = file.rsplit('/').next().unwrap_or(file);
        let _ = write!(
            buf,
            "{slot:2}({}) {}: {module} [{file}:{line}]: ",
            std::process::id(),
            level.label()
        );
        PREFIX.with_borrow(|p| buf.extend_from_slice(p));
        let head = buf.len();
        let _ = write!(buf, "{text}");
        // A message from the network must not be able to forge lines of the log.
        for b in &mut buf[head..] {
            if *b < 0x20 && *b != b'\t' {
                *b = b' ';
            }
        }
        match TAP.get() {
            Some(tap) => tap(level, module, &buf[head..]),
            None => emit(level, buf),
        }
    });
}

/// Writes text as it is, as `xlog` does: line breaks of the operator's format stay.
pub fn write_raw(level: Level, module: &str, text: &[u8]) {
    if !enabled(level, module) {
        return;
    }
    LINE.with_borrow_mut(|buf| {
        buf.clear();
        let slot = olelo_mem::slot::current_slot();
        let _ = write!(buf, "{slot:2}({}) {}: ", std::process::id(), level.label());
        PREFIX.with_borrow(|p| buf.extend_from_slice(p));
        let head = buf.len();
        buf.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
        match TAP.get() {
            Some(tap) => tap(level, module, &buf[head..]),
            None => emit(level, buf),
        }
    });
}

/// Whether lines of this level are written for this module.
pub fn enabled(level: Level, module: &str) -> bool {
    level as i64 <= module_level(module).unwrap_or_else(|| DEBUG.get())
}

/// Sets the text that stands before every line of this process (`log_prefix`, evaluated).
pub fn set_prefix(text: &[u8]) {
    PREFIX.with_borrow_mut(|p| {
        p.clear();
        p.extend_from_slice(text);
    });
}

/// From now on lines go to `tap` and nowhere else: level, module, text. It must not log.
pub fn tap(tap: Tap) {
    let _ = TAP.set(tap);
}

/// Takes a line of the log.
pub type Tap = fn(Level, &str, &[u8]);

static TAP: std::sync::OnceLock<Tap> = std::sync::OnceLock::new();

/// Chooses standard error or syslog.
pub fn to_stderr(yes: bool) {
    TO_STDERR.store(yes, Ordering::Relaxed);
}

/// Sets the syslog facility by name (`LOG_LOCAL0`).
pub fn set_facility(name: &str) -> Result<(), String> {
    const NAMES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
        "authpriv", "ftp", "ntp", "security", "console", "clock", "local0", "local1", "local2",
        "local3", "local4", "local5", "local6", "local7",
    ];
    let plain = name.to_ascii_lowercase();
    let plain = plain.strip_prefix("log_").unwrap_or(&plain);
    match NAMES.iter().position(|n| *n == plain) {
        Some(i) => {
            FACILITY.store((i as i32) << 3, Ordering::Relaxed);
            Ok(())
        }
        None => Err(format!(
            "no syslog facility \"{name}\"; one of LOG_DAEMON, LOG_USER, LOG_LOCAL0 … LOG_LOCAL7"
        )),
    }
}

/// Levels of single modules (`debugger`'s and `corex`'s): a shared word per module.
static MODULE_LEVELS: std::sync::OnceLock<Vec<(&'static str, IntParam)>> =
    std::sync::OnceLock::new();
/// The word of a module without a level of its own.
const NO_LEVEL: i64 = i64::MIN;
/// Whether any module ever got one: mostly not, and then none is searched for.
static ANY_LEVEL: IntParam = IntParam::new(0);

/// Makes room for a level per module; main, before the forks. Words start at `first`.
pub(crate) fn share_module_levels(names: &[&'static str], first: u32) {
    let levels = names
        .iter()
        .map(|n| (*n, IntParam::new(NO_LEVEL)))
        .collect::<Vec<_>>();
    ANY_LEVEL.share(first);
    for (i, (_, p)) in levels.iter().enumerate() {
        p.share(first + 1 + i as u32);
    }
    let _ = MODULE_LEVELS.set(levels);
}

/// The level of one module, where it has one of its own.
pub fn module_level(module: &str) -> Option<i64> {
    if ANY_LEVEL.get() == 0 {
        return None;
    }
    let levels = MODULE_LEVELS.get()?;
    levels
        .iter()
        .find(|(n, _)| *n == module)
        .map(|(_, p)| p.get())
        .filter(|l| *l != NO_LEVEL)
}

/// Sets or (with `None`) removes the level of one module; false where there is no such module.
pub fn set_module_level(module: &str, level: Option<i64>) -> bool {
    let found = MODULE_LEVELS
        .get()
        .and_then(|l| l.iter().find(|(n, _)| *n == module));
    if let Some((_, p)) = found {
        p.set(level.unwrap_or(NO_LEVEL));
        ANY_LEVEL.set(1);
    }
    found.is_some()
}

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static PREFIX: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static STDERR: RefCell<sink::Stderr> = RefCell::default();
    static SYSLOG: RefCell<sink::Syslog> = RefCell::new(sink::Syslog::at(Path::new("/dev/log")));
}

/// Longest line, bytes: a script may log any text.
const LONGEST: usize = 32 << 10;

fn emit(level: Level, line: &mut Vec<u8>) {
    line.truncate(LONGEST);
    if TO_STDERR.load(Ordering::Relaxed) {
        line.push(b'\n');
        return STDERR.with_borrow_mut(|s| s.write(line));
    }
    let pri = FACILITY.load(Ordering::Relaxed) | level.syslog();
    let mut packet = format!("<{pri}>olelo[{}]: ", std::process::id()).into_bytes();
    packet.extend_from_slice(line);
    SYSLOG.with_borrow_mut(|s| s.send(&packet));
}

/// Lets one of many alike lines through: what a peer can cause at will must not fill the log.
pub struct Seldom {
    /// When the last passed: monotonic milliseconds, 0 for never.
    last_ms: AtomicU64,
    held: AtomicU64,
}

impl Seldom {
    /// A gate that has let nothing through.
    pub const fn new() -> Seldom {
        Seldom {
            last_ms: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }

    /// Once in ten seconds and process: how many were held back since the last.
    pub fn pass(&self) -> Option<u64> {
        const EVERY_MS: u64 = 10_000;
        let (now, last) = (
            crate::timer::monotonic_ms().max(1),
            self.last_ms.load(Ordering::Relaxed),
        );
        if last != 0 && now < last + EVERY_MS {
            self.held.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.last_ms.store(now, Ordering::Relaxed);
        Some(self.held.swap(0, Ordering::Relaxed))
    }
}

/// Says at level error that shared memory is short, at most as often as [`Seldom`] lets pass: a flood
/// would fill the log with it.
pub fn short_of_memory(module: &'static str, what: &str, e: &dyn std::fmt::Display) {
    static SAID: Seldom = Seldom::new();
    if let Some(held) = SAID.pass() {
        crate::error!(module, "{what}: {e}; {} times lately", held + 1);
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Seldom::new()
    }
}

/// Has panics logged as every other line is: the standard way may wait for a reader for ever.
pub fn panics_too() {
    std::panic::set_hook(Box::new(|p| {
        let what = p
            .payload()
            .downcast_ref::<&str>()
            .map(|s| s.to_string())
            .or_else(|| p.payload().downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let place = p
            .location()
            .map_or((String::new(), 0), |l| (l.file().into(), l.line()));
        write(
            Level::Bug,
            "core",
            &place.0,
            place.1,
            format_args!("panicked at {}:{}: {what}", place.0, place.1),
        );
    }));
}

/// Writes a line at the given level: `log!(Level::Info, "tm", "text {x}")`.
#[macro_export]
macro_rules! log {
    ($level:expr, $module:expr, $($arg:tt)+) => {
        if $crate::log::enabled($level, $module) {
            $crate::log::write($level, $module, file!(), line!(), format_args!($($arg)+))
        }
    };
}
/// Something needs a person now.
#[macro_export]
macro_rules! alert { ($m:expr, $($a:tt)+) => { $crate::log!($crate::log::Level::Alert, $m, $($a)+) }; }
/// The service suffers.
#[macro_export]
macro_rules! crit { ($m:expr, $($a:tt)+) => { $crate::log!($crate::log::Level::Crit, $m, $($a)+) }; }
/// Something failed.
#[macro_export]
macro_rules! error { ($m:expr, $($a:tt)+) => { $crate::log!($crate::log::Level::Err, $m, $($a)+) }; }
/// Something looks wrong.
#[macro_export]
macro_rules! warn { ($m:expr, $($a:tt)+) => { $crate::log!($crate::log::Level::Warn, $m, $($a)+) }; }
/// Worth knowing.
#[macro_export]
macro_rules! notice { ($m:expr, $($a:tt)+) => { $crate::log!($crate::log::Level::Notice, $m, $($a)+) }; }
/// What happens.
#[macro_export]
macro_rules! info { ($m:expr, $($a:tt)+) => { $crate::log!($crate::log::Level::Info, $m, $($a)+) }; }
/// Every step.
#[macro_export]
macro_rules! debug { ($m:expr, $($a:tt)+) => { $crate::log!($crate::log::Level::Dbg, $m, $($a)+) }; }
