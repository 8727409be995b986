//! The operations on shared memory, each as: what main sets up, what the child prepares, what it does.

use crate::world::{DELIVERED, HANDLES, NOW, Seen, World};
use olelo_mem::{Blob, Child, NodeId, PublishError, Ref, Tag, heap};

/// What a child does while it is armed.
pub type Act<'a> = Box<dyn FnOnce() + 'a>;

/// One operation.
pub struct Operation {
    pub name: &'static str,
    /// By main, before the fork.
    pub set_up: fn(&World),
    /// By the child, unarmed; what is left to do is the operation.
    pub prepare: for<'a> fn(&'a World) -> Act<'a>,
    /// Whether a death may leave this, besides what is before and after.
    pub between: fn(&Seen) -> bool,
}

const fn operation(name: &'static str, prepare: for<'a> fn(&'a World) -> Act<'a>) -> Operation {
    Operation {
        name,
        set_up: |_| (),
        prepare,
        between: |_| false,
    }
}

impl Operation {
    const fn after(self, set_up: fn(&World)) -> Operation {
        Operation { set_up, ..self }
    }

    const fn or(self, between: fn(&Seen) -> bool) -> Operation {
        Operation { between, ..self }
    }
}

/// All of them; the last [`GREEDY`] take all memory there is.
pub const OPERATIONS: &[Operation] = &[
    operation("alloc 0 bytes", |w| alloc(w, 0)),
    operation("alloc 100", |w| alloc(w, 100)),
    operation("alloc 1000", |w| alloc(w, 1_000)),
    operation("alloc 30000", |w| alloc(w, 30_000)),
    operation("alloc a new page", |w| Box::new(|| drop(w.blob(5_000)))),
    operation("alloc until the page is full", |w| {
        let first = w.blob(30_000);
        Box::new(move || drop((w.blob(30_000), w.blob(30_000), first)))
    }),
    operation("alloc large", |w| Box::new(|| drop(w.blob(200_000)))),
    operation("free small", |w| {
        let (kept, blob) = (w.blob(100), w.blob(100));
        Box::new(move || {
            drop(blob);
            drop(kept);
        })
    }),
    operation("free large", |w| {
        let blob = w.blob(200_000);
        Box::new(move || drop(blob))
    }),
    operation("free: full page to the list, empty page to the map", |w| {
        let [a, b, c] = [(); 3].map(|()| w.blob(30_000));
        Box::new(move || {
            drop(a);
            drop(b);
            drop(c);
        })
    }),
    operation("free what another allocated", |w| {
        Box::new(|| HANDLES.for_each(|at| drop(Blob::adopt(Ref::from_bits(w.read(at))))))
    })
    .after(hand_over)
    .or(|seen| seen.handed.is_sorted()),
    operation("hand over", |w| {
        // What another left there would be lost.
        drop(Blob::adopt(Ref::from_bits(w.read(HANDLES.start))));
        let blob = w.blob(300);
        Box::new(move || blob.hand_over(w.shared_word(HANDLES.start)))
    }),
    operation("register a tag", |_| {
        Box::new(|| {
            let name = format!("tag {}", std::process::id() % 64);
            assert_eq!(Tag::register(&name).name(), name);
        })
    }),
    operation("insert", |w| {
        Box::new(|| insert(w, &[b"record"], vec![], &[]))
    }),
    operation("insert with a child and words", |w| {
        let child = w.blob(50);
        Box::new(move || insert(w, &[b"re", b"cord"], vec![child], &[1, 2]))
    })
    .after(entry),
    operation("insert with three children", |w| {
        let children = vec![w.blob(10), w.blob(2_000), w.blob(70_000)];
        Box::new(move || insert(w, &[&[1; 500]], children, &[]))
    })
    .after(entry),
    operation("replace, all children kept", |w| {
        Box::new(|| replace(w, &[0, 1, 2], 0))
    })
    .after(entries),
    operation("replace, one child kept, one new", |w| {
        Box::new(|| replace(w, &[1], 1))
    })
    .after(entries),
    operation("replace, no child kept", |w| {
        Box::new(|| replace(w, &[], 2))
    })
    .after(entries),
    operation("remove", |w| {
        Box::new(|| {
            let mut guard = w.table.lock(1);
            if let Some(id) = second(&guard) {
                assert!(guard.remove(id));
            }
        })
    })
    .after(entries),
    operation("retain", |w| {
        Box::new(|| {
            w.table.lock(1).retain(|view| view.bytes() != b"entry 1");
        })
    })
    .after(entries),
    // Record by record: what is left are the older ones.
    operation("clear", |w| Box::new(|| w.table.clear()))
        .after(entries)
        .or(|seen| {
            let left: Vec<_> = seen.records.iter().map(|(bytes, ..)| &bytes[..]).collect();
            [&b"entry 2"[..], b"entry 1", b"entry 0"].ends_with(&left)
        }),
    operation("timer insert", |w| {
        Box::new(|| w.wheel.insert(50, [1, 2, 3]).expect("room"))
    }),
    operation("timer insert beyond the horizon", |w| {
        Box::new(|| w.wheel.insert(1_000_000, [1, 2, 3]).expect("room"))
    })
    .after(timers),
    operation("timers delivered", |w| Box::new(|| deliver(w, 1_000)))
        .after(timers)
        .or(none_lost),
    operation("timers put off", |w| Box::new(|| deliver(w, 20)))
        .after(timers)
        .or(none_lost),
    operation("timers late", |w| Box::new(|| deliver(w, 100_000)))
        .after(timers)
        .or(none_lost),
    operation("push", |w| {
        let blob = w.blob(20);
        Box::new(move || drop(w.queue.push(blob)))
    })
    .after(|w| queued(w, 1)),
    operation("push to a full queue", |w| {
        let blob = w.blob(20);
        Box::new(move || drop(w.queue.push(blob)))
    })
    .after(|w| queued(w, 3)),
    operation("pop", |w| Box::new(|| drop(w.queue.pop()))).after(|w| queued(w, 2)),
    operation("pop from an empty queue", |w| {
        Box::new(|| drop(w.queue.pop()))
    }),
    operation("publish", |w| {
        Box::new(|| {
            w.published.publish(b"new").expect("room");
        })
    }),
    operation("publish while old ones are read", |w| {
        let view = w.published.get(w.published.kept()[0]);
        Box::new(move || {
            let outcome = w.published.publish(b"new");
            assert!(matches!(outcome, Ok(_) | Err(PublishError::Busy)));
            drop(view);
        })
    }),
    operation("go back a generation", |w| {
        Box::new(|| w.published.set(w.published.kept()[2]).expect("kept"))
    }),
    operation("read what is published", |w| {
        Box::new(|| drop((w.published.current(), w.published.get(1))))
    }),
    operation("sample", |w| {
        let now = w.read(NOW);
        Box::new(move || {
            heap::sample(now);
        })
    })
    .after(|w| w.word(NOW, w.read(NOW) + (1 << 40))),
    operation("alloc where nothing is left", |w| {
        let flood = flood(w);
        Box::new(move || {
            assert!(Blob::from_bytes(&[1; 700], w.tag).is_err());
            assert!(heap::alloc(100_000, w.tag).is_err());
            std::mem::forget(flood);
        })
    }),
    operation("alloc from the reserve", |w| {
        let flood = flood(w);
        Box::new(move || {
            let _reserve = heap::use_reserve();
            drop((w.blob(700), w.blob(100_000)));
            std::mem::forget(flood);
        })
    }),
];

/// So many operations leave nothing to others.
pub const GREEDY: usize = 2;

fn alloc(w: &World, len: usize) -> Act<'_> {
    let before = w.blob(len);
    Box::new(move || {
        drop(w.blob(len));
        drop(before);
    })
}

/// Takes all ordinary pages. What is returned is not to be dropped under arms: that is another test.
fn flood(w: &World) -> Vec<Blob> {
    let mut taken = Vec::new();
    for len in [1_000_000, 60_000] {
        while let Ok(blob) = heap::alloc(len, w.tag) {
            taken.push(blob);
        }
    }
    taken
}

fn hand_over(w: &World) {
    for at in HANDLES {
        drop(Blob::adopt(Ref::from_bits(w.read(at))));
        w.blob(15_000).hand_over(w.shared_word(at));
    }
}

fn entry(w: &World) {
    let children = vec![w.blob(10), w.blob(20), w.blob(30)];
    let bytes = format!("entry {}", w.table.len());
    insert(w, &[bytes.as_bytes()], children, &[9]);
}

fn insert(w: &World, parts: &[&[u8]], children: Vec<Blob>, words: &[u64]) {
    let inserted = w.table.lock(1).insert(parts, children, words);
    inserted.expect("room");
}

fn entries(w: &World) {
    (0..3).for_each(|_| entry(w));
}

fn second(guard: &olelo_mem::BucketGuard) -> Option<NodeId> {
    guard.iter().nth(1).map(|view| view.id())
}

fn replace(w: &World, kept: &[usize], new: usize) {
    let fresh: Vec<Blob> = (0..new).map(|_| w.blob(60)).collect();
    let mut guard = w.table.lock(1);
    let Some(id) = second(&guard) else { return };
    let view = guard.get(id).expect("it is there");
    let kept = kept.iter().filter_map(|&at| view.child_ref(at));
    let mut children: Vec<Child> = kept.map(Child::Keep).collect();
    children.extend(fresh.into_iter().map(Child::New));
    guard.replace(id, &[b"replaced"], children).expect("room");
}

/// Three timers; each payload is a bit.
fn timers(w: &World) {
    w.wheel.advance(0, 100, |_| ());
    for (due, bit) in [(15, 1), (30, 2), (70, 4)] {
        w.wheel.insert(due, [bit, 0, 0]).expect("room");
    }
}

fn deliver(w: &World, now: u64) {
    w.wheel.advance(now, 100, |[bit, ..]| {
        let seen = w.read(DELIVERED);
        w.word(DELIVERED, seen | bit);
    });
}

/// At least once: each timer is delivered, or waits, or both.
fn none_lost(seen: &Seen) -> bool {
    let waiting = seen
        .timers
        .iter()
        .fold(0, |bits, (_, [bit, ..])| bits | bit);
    seen.timers.len() <= 3 && waiting | seen.delivered == 7
}

fn queued(w: &World, count: usize) {
    for i in 0..count {
        let blob = Blob::from_bytes(&[i as u8; 30], w.tag).expect("room");
        let _ = w.queue.push(blob);
    }
}
