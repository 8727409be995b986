//! The heap against a model, its exhaustion, and its recovery.

use olelo_mem::{ArenaConfig, Blob, Tag, check_all, heap, init};
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
        assert_eq!(check_all(), []);
        // Classes keep the page they take from, of which some bytes are no block; nothing else may stay.
        let kept = at_rest.saturating_sub(heap::stats().free);
        assert!(
            kept <= 64 << 10,
            "{kept} bytes stayed after the flood of {size}"
        );
    }
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
        prop_assert_eq!(check_all(), vec![]);
    }
}
