//! Workers are killed at random instructions; nothing is lost, nothing is corrupt, nobody sticks.
//!
//! Forked children use nothing but shared memory and `_exit`, so forking from the test harness is
//! sound. The run is bounded by kills, and every wait by a watchdog.

use olelo_mem::{
    Blob, Child, NodeId, Published, Queue, Table, Tag, Wheel, Words, arena, check_all, heap,
    init_for_tests, monotonic_ms, repair_all, set_current_slot,
};
use std::sync::atomic::Ordering;

const WORKERS: u16 = 4;
const WATCHDOG_S: u32 = 120;

/// How often to kill; `OLELO_CHAOS_KILLS` asks for a longer run.
fn kills() -> u32 {
    std::env::var("OLELO_CHAOS_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(400)
}

#[derive(Clone, Copy)]
struct Shared {
    table: Table,
    wheel: Wheel,
    queue: Queue,
    published: Published,
    operations: Words,
    record: Tag,
    child: Tag,
}

#[test]
fn workers_may_die_at_any_instruction() {
    // SAFETY: a plain system call; the default action of SIGALRM ends a test that hangs.
    unsafe { libc::alarm(WATCHDOG_S + kills() / 20) };
    init_for_tests();
    let record = Tag::register("chaos.record");
    let shared = Shared {
        table: Table::create("chaos", 64, record).unwrap(),
        wheel: Wheel::create("chaos.wheel", 1, 64).unwrap(),
        queue: Queue::create("chaos.queue", 64).unwrap(),
        published: Published::create("chaos.published").unwrap(),
        operations: Words::create("chaos.operations", 64).unwrap(),
        record,
        child: Tag::register("chaos.child"),
    };
    let before = heap::usage();
    let free_before = heap::stats().free;

    let mut pids: Vec<i32> = (1..=WORKERS).map(|slot| spawn(slot, shared, 1)).collect();
    let mut locks_held = 0;
    let mut blocks_freed = 0;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for kill in 0..kills() {
        sleep_us(1_000 + random.below(4_000));
        let victim = random.below(u64::from(WORKERS)) as usize;
        let slot = victim as u16 + 1;
        end(pids[victim]);
        let report = repair_all(slot);
        assert_eq!(report.faults, [], "after kill {kill}");
        locks_held += report.locks_released.len();
        blocks_freed += report.blocks_freed;
        if kill % 20 == 0 {
            let faults = check_all();
            assert!(faults.is_empty(), "after kill {kill}: {faults:#?}");
            assert_progress(shared, kill);
        }
        pids[victim] = spawn(slot, shared, u64::from(kill) + 2);
    }
    for (victim, pid) in pids.into_iter().enumerate() {
        end(pid);
        repair_all(victim as u16 + 1);
    }

    assert_eq!(check_all(), []);
    eprintln!(
        "{} kills, {locks_held} locks held at death, {blocks_freed} reserved blocks freed",
        kills()
    );
    assert!(
        blocks_freed > 0,
        "no kill hit anything: the test proves nothing"
    );
    shared.table.clear();
    shared.wheel.clear();
    while shared.queue.pop().is_some() {}
    let left: Vec<_> = heap::usage()
        .into_iter()
        .filter(|user| user.name != "chaos.published")
        .collect();
    assert_eq!(left, before, "memory leaked");
    let spare = free_before - heap::stats().free;
    assert!(
        spare < arena().size() / 4,
        "{spare} bytes of pages did not come back"
    );
}

/// Every worker did something since the last look, or the look waits until it has.
fn assert_progress(shared: Shared, kill: u32) {
    let count = |slot: u16| {
        shared
            .operations
            .get(usize::from(slot))
            .unwrap()
            .load(Ordering::Relaxed)
    };
    let start: Vec<u64> = (1..=WORKERS).map(count).collect();
    for _ in 0..5_000 {
        if (1..=WORKERS)
            .filter(|&slot| count(slot) > start[usize::from(slot) - 1])
            .count()
            >= usize::from(WORKERS) - 1
        {
            return;
        }
        sleep_us(1_000);
    }
    panic!(
        "workers stand still after kill {kill}; held: {:?}",
        olelo_mem::lock::held()
    );
}

fn spawn(slot: u16, shared: Shared, seed: u64) -> i32 {
    // SAFETY: the child touches only shared memory, its own stack and the allocator through small
    // vectors; glibc's fork leaves its allocator usable in the child. It ends by `_exit` or a kill.
    match unsafe { libc::fork() } {
        0 => {
            set_current_slot(slot);
            let result = std::panic::catch_unwind(|| work(slot, shared, seed));
            // SAFETY: ends this child at once, without the harness' exit handlers.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "fork failed");
            pid
        }
    }
}

fn end(pid: i32) {
    let mut status = 0;
    // SAFETY: our own child; the status is ours.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
    }
    let by_kill = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
    assert!(by_kill, "worker {pid} ended by itself: status {status:#x}");
}

fn work(slot: u16, shared: Shared, seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(slot));
    let operations = shared.operations.get(usize::from(slot)).unwrap();
    let timer = slot == 1;
    loop {
        step(shared, timer, &mut random);
        operations.fetch_add(1, Ordering::Relaxed);
    }
}

fn step(shared: Shared, timer: bool, random: &mut Random) {
    let hash = random.below(64) as u32;
    let body = [random.0 as u8; 600];
    let bytes = &body[..random.below(600) as usize];
    match random.below(12) {
        0..=3 => {
            let children = (0..random.below(4))
                .filter_map(|_| Blob::from_bytes(bytes, shared.child).ok())
                .collect();
            let mut guard = shared.table.lock(hash);
            if guard.len() < 40
                && let Ok(id) = guard.insert(&[b"head", bytes], children, &[0, 1])
            {
                drop(guard);
                let _ = shared
                    .wheel
                    .insert(monotonic_ms() + random.below(50), [id.to_bits(), 0, 0]);
            }
        }
        4..=6 => {
            let mut guard = shared.table.lock(hash);
            let Some((id, kept)) = guard
                .iter()
                .nth(random.below(8) as usize)
                .map(|view| (view.id(), view.child_ref(0)))
            else {
                return;
            };
            let mut children: Vec<Child> = kept.map(Child::Keep).into_iter().collect();
            children.extend(Blob::from_bytes(bytes, shared.child).map(Child::New));
            let _ = guard.replace(id, &[bytes], children);
        }
        7..=8 => {
            let mut guard = shared.table.lock(hash);
            if let Some(id) = guard
                .iter()
                .nth(random.below(8) as usize)
                .map(|view| view.id())
            {
                guard.remove(id);
            }
        }
        9 => {
            if let Ok(blob) = Blob::from_bytes(&body[..300], shared.record) {
                let _ = shared.queue.push(blob);
            }
            // Large ones take the page map's way.
            drop(heap::alloc(100_000, shared.child));
        }
        10 => {
            drop(shared.queue.pop());
            if let Some((_, view)) = shared.published.current() {
                assert!(
                    view.iter().all(|&byte| byte == view[0]),
                    "a torn generation"
                );
            }
        }
        _ if timer => {
            shared.wheel.advance(monotonic_ms(), 100, |[id, ..]| {
                let id = NodeId::from_bits(id);
                if let Some(mut guard) = shared.table.lock_node(id) {
                    guard.remove(id);
                }
            });
        }
        _ => drop(shared.published.publish(&body[..64])),
    }
}

fn sleep_us(us: u64) {
    std::thread::sleep(std::time::Duration::from_micros(us));
}

/// xorshift: a child must not depend on the parent's random state.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
