//! The heap against a model, its exhaustion, and its recovery.

use olelo_mem::{ArenaConfig, Blob, Checkup, Table, Tag, check_all, heap, init};
use proptest::prelude::*;
use std::sync::Mutex;

/// One arena, and one test at a time: they count what is free.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    let guard = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let _ = init(ArenaConfig {
        size: 8 << 20,
        populate: false,
        max_slots: 8,
    });
    guard
}

#[test]
fn exhaustion_is_an_answer_and_passes() {
    let _guard = alone();
    let tag = Tag::register("flood");
    let at_rest = heap::stats().free;
    for size in [16, 300, 5_000, 30_000, 200_000] {
        let mut flood = Vec::new();
        let error = loop {
            match Blob::from_bytes(&vec![size as u8; size], tag) {
                Ok(blob) => flood.push(blob),
                Err(error) => break error,
            }
        };
        assert_eq!((error.size, error.tag), (size, tag));
        assert!(error.to_string().contains("flood"), "{error}");
        let reserved = heap::alloc_reserved(300, tag);
        assert!(reserved.is_ok(), "the reserve was eaten by blobs of {size}");
        assert!(
            flood
                .iter()
                .all(|blob| blob.as_bytes().iter().all(|&byte| byte == size as u8))
        );
        drop((flood, reserved));
        assert_eq!(check_all(), Checkup::default());
        // Classes keep the page they take from, of which some bytes are no block; nothing else may stay.
        let kept = at_rest.saturating_sub(heap::stats().free);
        assert!(
            kept <= 64 << 10,
            "{kept} bytes stayed after the flood of {size}"
        );
    }
}

#[test]
fn small_allocations_cannot_eat_what_the_reserve_is_for() {
    let _guard = alone();
    let tag = Tag::register("greedy");
    let flood = flood(tag);
    let level = heap::level();
    assert!(level.free_pages <= level.reserve_pages && level.used_percent >= 97);
    // Each that ends something leaves most of a page: nobody else may have it.
    let mut ending = Vec::new();
    while let Ok(blob) = heap::alloc_reserved(300, tag) {
        ending.push(blob);
        for size in [0, 100, 300, 1_000, 10_000] {
            assert!(
                heap::alloc(size, tag).is_err(),
                "{size} bytes of the reserve"
            );
        }
    }
    let blocks_of_a_page = 65_536 / (300 + 20);
    let pages = level.free_pages as usize;
    assert!(
        ending.len() >= pages * blocks_of_a_page,
        "{} blocks of {pages} pages",
        ending.len()
    );
    drop(ending);
    assert_eq!(heap::level().free_pages, level.free_pages);
    drop(flood);
}

#[test]
fn a_fragmented_heap_comes_back_whole() {
    static TABLE: std::sync::OnceLock<Table> = std::sync::OnceLock::new();
    let _guard = alone();
    let tag = Tag::register("pieces");
    let table = *TABLE.get_or_init(|| Table::create("pieces", 64, tag).expect("room"));
    let settled = || {
        // The repair after a death gives back each page that serves nothing.
        olelo_mem::repair_all(7);
        heap::level().free_pages
    };
    let at_rest = settled();
    for round in 0..3_u32 {
        let mut ids = Vec::new();
        let mut size = 7_usize;
        loop {
            size = (size * 31 + 17) % 3_000;
            let children: Result<Vec<Blob>, _> = (0..size % 4)
                .map(|i| Blob::from_bytes(&vec![1; size * (i + 1) * 3 % 40_000], tag))
                .collect();
            let Ok(children) = children else { break };
            let mut bucket = table.lock(size as u32);
            match bucket.insert(&[&vec![2; size]], children, &[]) {
                Ok(id) => ids.push(id),
                Err(_) => break,
            }
        }
        assert!(ids.len() > 100, "{} records", ids.len());
        // Holes everywhere, then smaller and larger ones in their place.
        for (at, id) in ids.iter().enumerate() {
            let mut bucket = table.lock_node(*id).expect("it is there");
            match at as u32 % 3 {
                kind if kind == round => assert!(bucket.remove(*id)),
                _ => {
                    let _ = bucket.replace(*id, &[&vec![3; at * 37 % 5_000]], vec![]);
                }
            }
        }
        assert_eq!(check_all(), Checkup::default());
        table.clear();
        assert_eq!(settled(), at_rest, "pages stayed after round {round}");
        assert!(
            Blob::from_bytes(&vec![0; 4 << 20], tag).is_ok(),
            "half of it in one piece"
        );
    }
}

/// Blobs of falling sizes, until no ordinary allocation succeeds.
fn flood(tag: Tag) -> Vec<Blob> {
    let mut flood = Vec::new();
    for size in [1 << 20, 60_000, 10_000, 1_000, 300, 100, 0] {
        while let Ok(blob) = heap::alloc(size, tag) {
            flood.push(blob);
        }
    }
    flood
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn blobs_keep_their_bytes(steps in proptest::collection::vec((0_usize..40_000, any::<bool>(), any::<u8>()), 1..200)) {
        let _guard = alone();
        let tag = Tag::register("model");
        let mut model: Vec<(Blob, Vec<u8>)> = Vec::new();
        for (number, free, byte) in steps {
            if free && !model.is_empty() {
                let (blob, bytes) = model.swap_remove(number % model.len());
                prop_assert_eq!(blob.as_bytes(), &bytes[..]);
            } else {
                // Mostly small ones, some of several pages.
                let size = if byte % 16 == 0 { number * 4 } else { number % 600 };
                let bytes = vec![byte; size];
                if let Ok(blob) = Blob::from_bytes(&bytes, tag) {
                    model.push((blob, bytes));
                }
            }
        }
        for (blob, bytes) in &model {
            prop_assert_eq!(blob.as_bytes(), &bytes[..]);
        }
        let counted: usize = heap::usage().iter().filter(|row| row.name == "model").map(|row| row.blocks).sum();
        prop_assert_eq!(counted, model.len());
        drop(model);
        prop_assert!(heap::usage().iter().all(|row| row.name != "model"));
        prop_assert_eq!(check_all(), Checkup::default());
    }
}
