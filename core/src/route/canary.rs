//! The canary: a process that tries what nobody knows to be harmless.
//!
//! It is forked for one question, answers through a socket pair, and ends. It has a slot of its own, so
//! that what it reserves or locks in shared memory is its own and goes with it: main sees that the
//! process in the slot is gone, repairs, and frees the slot. There is one at a time.

use olelo_ipc::process::{Slot, table};
use olelo_ipc::signals::{self, Fork};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::Duration;

/// How long it may take.
pub const TIME: Duration = Duration::from_secs(20);
/// How long to wait for the one before to be gone.
const TURN: Duration = Duration::from_secs(5);
/// The longest answer.
const LONGEST: u64 = 64 << 20;

/// Its description in the process table; it is listed only while it runs.
pub const NAME: &str = "canary";

/// Its name as a process.
const PROCESS: &str = "olelo/canary";

static SLOT: OnceLock<u16> = OnceLock::new();

/// Gives it its slot; main, during the boot.
pub(crate) fn reserve() {
    if let Some(s) = table().reserve(crate::proc::rank::NOSIP, false, NAME) {
        let _ = SLOT.set(s.slot());
    }
}

/// What the question had for an answer.
pub(crate) type Answer = Result<Vec<u8>, String>;

/// Runs `question` in a process of its own. `None` where that died of it or took too long.
pub(crate) fn ask(question: impl Fn() -> Answer) -> Result<Option<Answer>, String> {
    let (mut ours, theirs) = UnixStream::pair().map_err(|e| format!("can't make a canary: {e}"))?;
    let slot = slot();
    let me = std::process::id() as i32;
    if let Some(s) = slot {
        // Claimed in our own name until there is a child.
        if !signals::wait_until(TURN, || s.claim(me)) {
            return Err("another reload is under way".into());
        }
    }
    let forked = signals::fork().map_err(|e| {
        slot.inspect(|s| s.set_pid(0));
        format!("can't fork a canary: {e}")
    })?;
    match forked {
        Fork::Child => {
            drop(ours);
            be(slot, me, theirs, &question)
        }
        Fork::Parent(pid) => {
            drop(theirs);
            if let Some(s) = slot {
                s.set_pid(pid);
            }
            let _ = ours.set_read_timeout(Some(TIME));
            let mut said = Vec::new();
            let read = Read::take(&mut ours, LONGEST).read_to_end(&mut said);
            signals::kill_and_reap(pid);
            match main_but(me) {
                // It looks after the slot at once, not at its next round.
                Some(main) => signals::kill(main, nix::sys::signal::Signal::SIGCHLD),
                None => {
                    if let Some(s) = slot {
                        olelo_mem::repair_all(s.slot());
                        s.set_pid(0);
                    }
                }
            }
            Ok(read.ok().and_then(|_| verdict(&said)))
        }
    }
}

/// Main: the slot of a canary that is gone, to be repaired and freed.
pub(crate) fn gone() -> Option<Slot> {
    slot().filter(|s| s.pid() != 0 && !signals::is_there(s.pid()))
}

/// Main: ends a canary that runs.
pub(crate) fn kill() {
    if let Some(s) = slot().filter(|_| is_there()) {
        signals::kill(s.pid(), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Whether a canary runs, by its pid and its name: the table is shared memory.
pub(crate) fn is_there() -> bool {
    let pid = slot().map_or(0, |s| s.pid());
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    pid > 1 && comm.is_ok_and(|c| c.trim_end() == PROCESS)
}

fn slot() -> Option<Slot> {
    SLOT.get().and_then(|s| table().get(*s))
}

/// Main, unless that is who asks: during the boot it is.
fn main_but(me: i32) -> Option<i32> {
    let pid = table().get(0)?.pid();
    (pid != 0 && pid != me).then_some(pid)
}

fn be(
    slot: Option<Slot>,
    parent: i32,
    mut theirs: UnixStream,
    question: &impl Fn() -> Answer,
) -> ! {
    if let Some(s) = slot {
        olelo_mem::set_current_slot(s.slot());
        signals::set_name(PROCESS);
    }
    if !signals::die_with(parent) {
        signals::exit_now(1);
    }
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(question))
        .unwrap_or_else(|_| Err("the interpreter panicked while loading it".to_string()));
    let (mark, text) = match answer {
        Ok(bytes) => (DONE, bytes),
        Err(e) => (REFUSED, e.into_bytes()),
    };
    let _ = theirs.write_all(&[mark]);
    let _ = theirs.write_all(&text);
    let _ = theirs.write_all(&[END]);
    drop(theirs);
    signals::exit_now(0);
}

/// How an answer begins and ends: one that breaks off is none.
const DONE: u8 = b'+';
const REFUSED: u8 = b'-';
const END: u8 = b'.';

fn verdict(said: &[u8]) -> Option<Answer> {
    match said {
        [DONE, bytes @ .., END] => Some(Ok(bytes.to_vec())),
        [REFUSED, text @ .., END] => Some(Err(String::from_utf8_lossy(text).into_owned())),
        _ => None,
    }
}
