//! What the workers of the chaos tests do to shared memory.

use olelo_mem::{
    Blob, Child, NodeId, Published, Queue, Table, Tag, Wheel, Words, heap, monotonic_ms,
};

/// The structures that all workers share.
#[derive(Clone, Copy)]
pub struct Shared {
    pub table: Table,
    pub wheel: Wheel,
    pub queue: Queue,
    pub published: Published,
    pub operations: Words,
    record: Tag,
    child: Tag,
}

impl Shared {
    /// Once, before the first fork.
    pub fn create() -> Shared {
        let record = Tag::register("chaos.record");
        Shared {
            table: Table::create("chaos", 64, record).unwrap(),
            wheel: Wheel::create("chaos.wheel", 1, 64).unwrap(),
            queue: Queue::create("chaos.queue", 64).unwrap(),
            published: Published::create("chaos.published").unwrap(),
            operations: Words::create("chaos.operations", 64).unwrap(),
            record,
            child: Tag::register("chaos.child"),
        }
    }

    /// Who uses memory, but for what stays published.
    pub fn usage() -> Vec<heap::Usage> {
        let mut usage = heap::usage();
        usage.retain(|user| user.name != "chaos.published");
        usage
    }

    /// Empties everything but what is published.
    pub fn clear(self) {
        self.table.clear();
        self.wheel.clear();
        while self.queue.pop().is_some() {}
    }

    /// One random operation; only the timer process delivers.
    pub fn step(self, timer: bool, random: &mut Random) {
        let hash = random.below(64) as u32;
        let body = [random.0 as u8; 600];
        let bytes = &body[..random.below(600) as usize];
        match random.below(12) {
            0..=3 => {
                let children = (0..random.below(4))
                    .filter_map(|_| Blob::from_bytes(bytes, self.child).ok())
                    .collect();
                let mut guard = self.table.lock(hash);
                if guard.len() < 40
                    && let Ok(id) = guard.insert(&[b"head", bytes], children, &[0, 1])
                {
                    drop(guard);
                    let _ = self
                        .wheel
                        .insert(monotonic_ms() + random.below(50), [id.to_bits(), 0, 0]);
                }
            }
            4..=6 => {
                let mut guard = self.table.lock(hash);
                let Some((id, kept)) = guard
                    .iter()
                    .nth(random.below(8) as usize)
                    .map(|view| (view.id(), view.child_ref(0)))
                else {
                    return;
                };
                let mut children: Vec<Child> = kept.map(Child::Keep).into_iter().collect();
                children.extend(Blob::from_bytes(bytes, self.child).map(Child::New));
                let _ = guard.replace(id, &[bytes], children);
            }
            7..=8 => {
                let mut guard = self.table.lock(hash);
                if let Some(id) = guard
                    .iter()
                    .nth(random.below(8) as usize)
                    .map(|view| view.id())
                {
                    guard.remove(id);
                }
            }
            9 => {
                if let Ok(blob) = Blob::from_bytes(&body[..300], self.record) {
                    let _ = self.queue.push(blob);
                }
                // Large ones take the page map's way.
                drop(heap::alloc(100_000, self.child));
            }
            10 => {
                drop(self.queue.pop());
                if let Some((_, view)) = self.published.current() {
                    assert!(
                        view.iter().all(|&byte| byte == view[0]),
                        "a torn generation"
                    );
                }
            }
            _ if timer => {
                self.wheel.advance(monotonic_ms(), 100, |[id, ..]| {
                    let id = NodeId::from_bits(id);
                    if let Some(mut guard) = self.table.lock_node(id) {
                        guard.remove(id);
                    }
                });
            }
            _ => drop(self.published.publish(&body[..64])),
        }
    }
}

/// xorshift: a child must not depend on the parent's random state.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
