//! How long the basic operations take, uncontended: `cargo run --release -p olelo-mem --example speed`.

use olelo_mem::{Blob, Queue, Table, Tag, Wheel, heap, init_for_tests};
use std::time::Instant;

fn main() {
    init_for_tests();
    let tag = Tag::register("speed");
    let table = Table::create("speed.table", 1024, tag).expect("a table");
    let queue = Queue::create("speed.queue", 16).expect("a queue");
    let wheel = Wheel::create("speed.wheel", 10, 1024).expect("a wheel");
    measure("lock a bucket", || {
        drop(std::hint::black_box(table.lock(5)))
    });
    measure("alloc and free 300 bytes", || {
        drop(std::hint::black_box(heap::alloc(300, tag)))
    });
    let mut blobs: std::collections::VecDeque<_> =
        (0..50_000).map(|_| heap::alloc(300, tag)).collect();
    measure("the same, 50 000 alive", || {
        blobs.push_back(heap::alloc(300, tag));
        drop(blobs.pop_front());
    });
    drop(blobs);
    let body = [7_u8; 400];
    measure("insert and remove a record", || {
        let mut guard = table.lock(9);
        let id = guard.insert(&[&body], Vec::new(), &[]).expect("room");
        guard.remove(id);
    });
    measure("push and pop a blob", || {
        let _ = queue.push(Blob::from_bytes(&body, tag).expect("room"));
        drop(queue.pop());
    });
    let mut now = 0;
    measure("insert and deliver a timer", || {
        now += 10;
        wheel.insert(now, [1, 2, 3]).expect("room");
        wheel.advance(now + 10, 10, |_| ());
    });
}

fn measure(what: &str, mut operation: impl FnMut()) {
    const ROUNDS: u32 = 1_000_000;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        operation();
    }
    println!(
        "{:>7.1} ns  {what}",
        start.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
    );
}
