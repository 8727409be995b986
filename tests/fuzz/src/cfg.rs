//! Configurations: every complaint points into a text, and what has none prints to a text that
//! reads without a complaint and prints the same.
//! The input is one file, or several with NUL between: the others are `1.cfg`, `2.cfg` … beside it.

use olelo_cfg::{Env, MemoryFiles, Options, Parsed, parse_file, print};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the file's essay.
pub fn target(bytes: &[u8]) {
    let parsed = parse(bytes);
    for d in &parsed.diagnostics {
        let _ = parsed.sources.locate(d.span);
    }
    let _ = (parsed.render(true), parsed.to_json());
    if !parsed.diagnostics.is_empty() {
        return;
    }
    let printed = print::config(&parsed.config);
    let again = parse(printed.as_bytes());
    assert!(
        again.diagnostics.is_empty(),
        "{printed}\n{}",
        again.render(false)
    );
    assert_eq!(
        print::config(&again.config),
        printed,
        "the printed form stays"
    );
}

/// Reads the files that the input holds, and no others.
pub fn parse(bytes: &[u8]) -> Parsed {
    let files: MemoryFiles = bytes
        .split(|b| *b == 0)
        .take(4)
        .enumerate()
        .map(|(i, text)| match i {
            0 => ("main.cfg".into(), text.to_vec()),
            n => (format!("{n}.cfg").into(), text.to_vec()),
        })
        .collect();
    let options = Options {
        files: Arc::new(files),
        env: Env::Map(BTreeMap::from([("HOME".into(), "/h".into())])),
        predefined: vec![
            ("MOD_tm".into(), None),
            ("VERSION".into(), Some("5".into())),
        ],
        ..Options::default()
    };
    parse_file("main.cfg", &options)
}
