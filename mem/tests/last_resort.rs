//! Whatever bytes the arena holds, checks and remedies come to an end, and what was reset is sound.

use olelo_mem::{
    ArenaConfig, Blob, Checkup, Published, Queue, Table, Tag, Wheel, Words, arena, check_all, heap,
    init, rebuild, repair_all, reset, structures, take_suspicions,
};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, OnceLock};

const WATCHDOG_S: u32 = 120;

/// Rounds of scribbling; `OLELO_SCRIBBLES` asks for more.
fn rounds() -> u64 {
    let asked = std::env::var("OLELO_SCRIBBLES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(100)
}

#[derive(Clone, Copy)]
struct World {
    table: Table,
    other: Table,
    wheel: Wheel,
    queue: Queue,
    published: Published,
    words: Words,
    tag: Tag,
}

fn world() -> (World, MutexGuard<'static, ()>) {
    static ALONE: Mutex<()> = Mutex::new(());
    static MADE: OnceLock<World> = OnceLock::new();
    let alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    // SAFETY: a plain system call; the default action of SIGALRM ends a test that hangs.
    unsafe { libc::alarm(WATCHDOG_S + rounds() as u32 / 5) };
    let world = MADE.get_or_init(|| {
        init(ArenaConfig {
            size: 8 << 20,
            populate: false,
            max_slots: 8,
        })
        .expect("an arena");
        World {
            table: Table::create("table", 32, Tag::register("table")).expect("room"),
            other: Table::create("other", 8, Tag::register("other")).expect("room"),
            wheel: Wheel::create("wheel", 10, 16).expect("room"),
            queue: Queue::create("queue", 32).expect("room"),
            published: Published::create("published").expect("room"),
            words: Words::create("words", 8).expect("room"),
            tag: Tag::register("last resort"),
        }
    });
    (*world, alone)
}

impl World {
    /// Some of everything, large and small.
    fn fill(&self, random: &mut Random) {
        let blob = |len: usize| Blob::from_bytes(&vec![len as u8; len], self.tag);
        for i in 0..40_u64 {
            let len = random.below(700) as usize;
            let children = [len, 3 * len, 60 * len]
                .into_iter()
                .filter_map(|len| blob(len).ok());
            let children = children.take(random.below(4) as usize).collect();
            let table = if i % 3 == 0 { self.other } else { self.table };
            let mut bucket = table.lock(random.0 as u32);
            let _ = bucket.insert(&[&vec![1; len]], children, &[i]);
            drop(bucket);
            let _ = self.wheel.insert(i * 37, [i, 0, 0]);
            if let Ok(blob) = blob(len) {
                let _ = self.queue.push(blob);
            }
        }
        for i in 0..3_u8 {
            let _ = self.published.publish(&[i; 300]);
        }
    }

    /// Everything works, and goes away again.
    fn assert_works(&self, random: &mut Random) {
        self.fill(random);
        assert!(!self.table.is_empty() && !self.wheel.is_empty() && !self.queue.is_empty());
        let mut delivered = 0;
        self.wheel.advance(1_000_000, 10_000, |_| delivered += 1);
        assert!(delivered >= 40, "{delivered} of 40 timers");
        self.table.clear();
        self.other.clear();
        self.wheel.clear();
        while self.queue.pop().is_some() {}
        assert_eq!(
            self.published
                .current()
                .map(|(_, view)| view.to_vec())
                .as_deref(),
            Some(&[2; 300][..])
        );
        assert_eq!(check_all(), Checkup::default());
    }

    /// Of what is published only the history takes memory.
    fn assert_nothing_leaked(&self) {
        let usage = heap::usage();
        assert!(
            usage.iter().all(|user| user.name == "published"),
            "{usage:?}"
        );
    }
}

#[test]
fn broken_structures_are_found_and_reset() {
    let (world, _alone) = world();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let from = ["table", "other", "wheel", "queue", "published"]
        .iter()
        .map(|name| arena().region_place(name).expect("a region").0)
        .min()
        .expect("regions");
    let (mut broken, mut kept) = (0, 0);
    for round in 0..rounds() {
        world.fill(&mut random);
        scribble(&mut random, &[from..from + 8_000, from..from + (1 << 19)]);
        let mut faults = check_all().faults;
        for slot in [1, 2, 700] {
            faults.extend(repair_all(slot).faults);
        }
        faults.extend(check_all().faults);
        broken += usize::from(!faults.is_empty());
        let mut names: Vec<&str> = faults
            .iter()
            .map(|fault| fault.structure.as_str())
            .collect();
        names.dedup();
        let told = reset(&names);
        kept += told.iter().filter(|line| line.ends_with("kept")).count();
        assert_eq!(
            check_all(),
            Checkup::default(),
            "round {round}, after {told:?}"
        );
        // A block that the scribble made look let go under its name stays: who knows whether it was.
        reset(&structures().iter().map(String::as_str).collect::<Vec<_>>());
        world.assert_works(&mut random);
    }
    eprintln!(
        "{} rounds, {broken} broke something, {kept} generations kept",
        rounds()
    );
    assert!(
        broken > rounds() as usize / 3 && kept > 0,
        "the scribbles hit nothing"
    );
}

#[test]
fn whatever_the_arena_holds_it_can_be_made_anew() {
    let (world, _alone) = world();
    let mut random = Random(0x1234_5678_9abc_def1);
    let (mut broken, mut kept, mut lost) = (0, 0, 0);
    world
        .words
        .get(3)
        .expect("a word")
        .store(77, Ordering::SeqCst);
    let place = arena().region_place("words").expect("a region");
    for round in 0..rounds() {
        world.fill(&mut random);
        // The front of the arena is dense with what matters.
        scribble(&mut random, &[0..1 << 16, 0..1 << 20, 0..8 << 20]);
        for slot in [1, 2, 700] {
            repair_all(slot);
        }
        broken += usize::from(!check_all().faults.is_empty());
        heap::usage();
        heap::stats();
        heap::level();
        heap::trend();
        olelo_mem::lock::held();
        take_suspicions();
        let told = rebuild();
        assert_eq!(
            check_all(),
            Checkup::default(),
            "round {round}, after {told:?}"
        );
        assert_eq!(take_suspicions(), [""; 0]);
        let current = world.published.current();
        kept += usize::from(current.is_some());
        lost += usize::from(current.is_none());
        if let Some((_, view)) = current {
            assert!(
                view.iter().all(|byte| *byte == view[0]),
                "a torn generation"
            );
        }
        world.assert_works(&mut random);
        world.assert_nothing_leaked();
    }
    eprintln!(
        "{} rounds, {broken} broke something, kept {kept}, lost {lost}",
        rounds()
    );
    assert!(
        broken > rounds() as usize / 10 && kept > 0,
        "the scribbles hit nothing"
    );
    assert!(place.1 >= 64);
}

#[test]
fn words_and_the_current_generation_survive_a_rebuild() {
    let (world, _alone) = world();
    let mut random = Random(99);
    world.fill(&mut random);
    world
        .words
        .get(5)
        .expect("a word")
        .store(55, Ordering::SeqCst);
    let generation = world.published.publish(b"the script").expect("room");
    let told = rebuild();
    assert!(
        told.contains(&format!("published: generation {generation} kept")),
        "{told:?}"
    );
    assert!(told.contains(&"table: empty".to_owned()), "{told:?}");
    let (now, view) = world.published.current().expect("it is kept");
    assert_eq!((now, &view[..]), (generation, &b"the script"[..]));
    drop(view);
    let word = world.words.get(5).expect("a word");
    assert_eq!(word.load(Ordering::SeqCst), 55);
    assert!(world.table.is_empty() && world.wheel.is_empty() && world.queue.is_empty());
    assert!(world.published.publish(b"next").expect("room") > generation);
    for i in 0..3_u8 {
        world.published.publish(&[i; 300]).expect("room");
    }
    world.assert_works(&mut random);
}

#[test]
fn a_panic_under_a_lock_is_a_suspicion() {
    let (world, _alone) = world();
    take_suspicions();
    let panicked = std::panic::catch_unwind(|| {
        let _bucket = world.table.lock(3);
        std::panic::resume_unwind(Box::new("as a bug would"));
    });
    assert!(panicked.is_err());
    assert_eq!(take_suspicions(), ["table"]);
    assert_eq!(take_suspicions(), [""; 0]);
    assert_eq!(olelo_mem::lock::held(), [], "the lock was released");
}

/// Overwrites random places of the arena, each in one of these ranges of offsets.
fn scribble(random: &mut Random, ranges: &[Range<usize>]) {
    let file = File::from(arena().fd().try_clone().expect("a descriptor"));
    for _ in 0..1 + random.below(60) {
        let range = &ranges[random.below(ranges.len() as u64) as usize];
        let at = range.start + random.below(range.len() as u64) as usize;
        let longest = if random.below(8) == 0 { 4_096 } else { 16 };
        let len = (1 + random.below(longest) as usize).min(range.end - at);
        let kind = random.below(4);
        let bytes: Vec<u8> = (0..len)
            .map(|_| match kind {
                0 => 0,
                1 => 0xff,
                2 => random.below(4) as u8,
                _ => random.below(256) as u8,
            })
            .collect();
        file.write_all_at(&bytes, at as u64).expect("written");
    }
}

/// xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
