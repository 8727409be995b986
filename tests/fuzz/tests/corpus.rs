//! Every file of the corpus, and all its beginnings, through its target. What the fuzzer has found
//! is kept there as `found-*`, so that it stays fixed.

use std::path::PathBuf;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let files = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let paths = files.map(|f| f.expect("an entry").path());
    paths
        .map(|p| (p.clone(), std::fs::read(p).expect("a file")))
        .collect()
}

#[test]
fn every_input_keeps_its_properties() {
    for (name, target) in olelo_fuzz::TARGETS {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has a corpus");
        for (path, bytes) in files {
            let kept = std::panic::catch_unwind(|| target(&bytes));
            assert!(kept.is_ok(), "{}", path.display());
        }
    }
}

#[test]
fn every_beginning_of_an_input_keeps_its_properties() {
    for (name, target) in olelo_fuzz::TARGETS {
        for (path, bytes) in corpus(name) {
            // Long ones in larger steps: each beginning is read as a whole.
            for n in (0..bytes.len()).step_by(bytes.len() / 64 + 1) {
                let kept = std::panic::catch_unwind(|| target(&bytes[..n]));
                assert!(kept.is_ok(), "{} cut to {n}", path.display());
            }
        }
    }
}

#[test]
fn each_target_has_a_program() {
    let manifest = include_str!("../libfuzzer/Cargo.toml");
    for (name, _) in olelo_fuzz::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
