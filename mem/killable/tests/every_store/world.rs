//! The structures under test, what is seen of them, and the children that act on them.

use crate::operations::{OPERATIONS, Operation};
use olelo_mem::atomic::Ordering;
use olelo_mem::{
    ArenaConfig, Blob, Checkup, Published, Queue, Ref, Table, Tag, Wheel, Words, check_all, heap,
    init, lock, repair_all, reset, set_current_slot,
};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// The slots of the children; A takes blocks from another heap than main and B.
pub const A: u16 = 1;
pub const B: u16 = 2;
pub const C: u16 = 3;

/// Words that tests use: points passed, a flag, what was delivered, a clock, and handles handed over.
pub const POINTS: usize = 0;
pub const READY: usize = 1;
pub const DELIVERED: usize = 2;
pub const NOW: usize = 3;
pub const HANDLES: std::ops::Range<usize> = 8..16;

const WATCHDOG_S: u32 = 240;
const CHILD_WATCHDOG_S: u32 = 20;

/// Everything shared, as one test at a time has it.
pub struct World {
    pub table: Table,
    pub wheel: Wheel,
    pub queue: Queue,
    pub published: Published,
    words: Words,
    pub tag: Tag,
    at_rest: (Vec<heap::Usage>, u32),
    _alone: MutexGuard<'static, ()>,
}

/// The shared state, without numbers that count on (ids, generations).
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub records: Vec<Record>,
    pub timers: Vec<(u64, [u64; 3])>,
    pub delivered: u64,
    pub queued: Vec<Vec<u8>>,
    pub current: Option<Vec<u8>>,
    pub kept: Vec<Vec<u8>>,
    /// Of each handle handed over: the bytes of its block.
    pub handed: Vec<bool>,
    pub blocks: Vec<heap::Usage>,
}

/// Bytes, children, words.
pub type Record = (Vec<u8>, Vec<Vec<u8>>, Vec<u64>);

impl World {
    pub fn alone() -> World {
        static ALONE: Mutex<()> = Mutex::new(());
        static MADE: OnceLock<(Table, Wheel, Queue, Published, Words, Tag)> = OnceLock::new();
        let alone = ALONE
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        // SAFETY: a plain system call; the default action of SIGALRM ends a test that hangs.
        unsafe { libc::alarm(WATCHDOG_S) };
        let &(table, wheel, queue, published, words, tag) = MADE.get_or_init(|| {
            init(ArenaConfig {
                size: 32 << 20,
                populate: false,
                max_slots: 8,
            })
            .expect("an arena");
            let tag = Tag::register("world");
            (
                Table::create("w.table", 4, Tag::register("w.table")).expect("a table"),
                Wheel::create("w.wheel", 10, 8).expect("a wheel"),
                Queue::create("w.queue", 3).expect("a queue"),
                Published::create(PUBLISHED).expect("a blob"),
                Words::create("w.words", 64).expect("words"),
                tag,
            )
        });
        repair_all(A);
        let mut world = World {
            table,
            wheel,
            queue,
            published,
            words,
            tag,
            at_rest: (Vec::new(), 0),
            _alone: alone,
        };
        // One generation is always kept.
        world.set_up(&OPERATIONS[0]);
        world.clear();
        world.at_rest = world.rest();
        world
    }

    /// The state that each operation starts from.
    pub fn set_up(&self, operation: &Operation) {
        for i in 0..8 {
            let publish = self.published.publish(format!("base {i}").as_bytes());
            publish.expect("room");
        }
        self.word(DELIVERED, 0);
        (operation.set_up)(self);
    }

    pub fn word(&self, at: usize, value: u64) {
        self.shared_word(at).store(value, Ordering::SeqCst);
    }

    pub fn read(&self, at: usize) -> u64 {
        self.shared_word(at).load(Ordering::SeqCst)
    }

    pub fn shared_word(&self, at: usize) -> &'static olelo_mem::AtomicU64 {
        self.words.get(at).expect("a word")
    }

    pub fn blob(&self, len: usize) -> Blob {
        Blob::from_bytes(&vec![7; len], self.tag).expect("room")
    }

    pub fn observe(&self) -> Seen {
        let mut records = Vec::new();
        self.table.for_each_bucket(|guard| {
            records.extend(guard.iter().map(|view| {
                let children = (0..view.children_len())
                    .map(|i| view.child(i).expect("a child").to_vec())
                    .collect();
                let words = view.words().iter();
                let words = words.map(|word| word.load(Ordering::Relaxed)).collect();
                (view.bytes().to_vec(), children, words)
            }));
        });
        let mut timers = self.wheel.contents();
        timers.sort_unstable();
        let kept = self.published.kept().into_iter();
        let handles = HANDLES.map(|at| Ref::from_bits(self.read(at)));
        Seen {
            records,
            timers,
            delivered: self.read(DELIVERED),
            queued: self.queue.contents(),
            current: self.published.current().map(|(_, view)| view.to_vec()),
            kept: kept
                .map(|generation| self.published.get(generation).expect("kept").to_vec())
                .collect(),
            handed: handles
                .map(|name| {
                    let blob = Blob::adopt(name);
                    let found = blob.is_some();
                    if let Some(blob) = blob {
                        blob.into_ref();
                    }
                    found
                })
                .collect(),
            blocks: self.rest().0,
        }
    }

    /// Nothing is broken and nobody holds a lock.
    pub fn assert_sound(&self, at: &str) {
        assert_eq!(lock::held(), [], "{at}: locks are held");
        assert_eq!(check_all(), Checkup::default(), "{at}");
    }

    /// Once all is cleared away the heap is as in the beginning, to the page.
    pub fn assert_nothing_leaked(&self, at: &str) {
        self.clear();
        assert_eq!(self.rest(), self.at_rest, "{at}: memory leaked");
    }

    fn clear(&self) {
        self.table.clear();
        self.wheel.clear();
        while self.queue.pop().is_some() {}
        for at in HANDLES {
            drop(Blob::adopt(Ref::from_bits(self.read(at))));
        }
        let kept = reset(&[PUBLISHED]);
        assert!(!kept.is_empty());
        let single = self.published.kept().len();
        assert!(single <= 1, "{single} generations after a reset");
        // The sweep after a death gives back each page that serves nothing.
        repair_all(A);
    }

    fn rest(&self) -> (Vec<heap::Usage>, u32) {
        let mut usage = heap::usage();
        usage.retain(|user| user.name != PUBLISHED);
        (usage, heap::level().free_pages)
    }
}

const PUBLISHED: &str = "w.published";

/// How a child ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum End {
    Done,
    Killed,
    Failed(i32),
}

/// Runs `work` in a child of that slot.
pub fn child(slot: u16, work: impl FnOnce()) -> i32 {
    // SAFETY: the child touches only shared memory, its own stack and the allocator, which glibc's
    // fork leaves usable in the child. It ends by `_exit` or a kill.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: plain system calls.
            unsafe { libc::alarm(CHILD_WATCHDOG_S) };
            set_current_slot(slot);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends this child at once, without the harness' exit handlers.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "fork failed");
            pid
        }
    }
}

/// Waits for the end of a child.
pub fn wait(pid: i32) -> End {
    reap(pid, 0).expect("waited for")
}

/// The end of a child, if it came already.
pub fn end_of(pid: i32) -> Option<End> {
    reap(pid, libc::WNOHANG)
}

fn reap(pid: i32, options: i32) -> Option<End> {
    let mut status = 0;
    // SAFETY: our own child; the status is ours.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, options) };
    if reaped == 0 {
        return None;
    }
    assert_eq!(reaped, pid);
    Some(
        if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL {
            End::Killed
        } else if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
            End::Done
        } else {
            End::Failed(status)
        },
    )
}

/// xorshift.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
