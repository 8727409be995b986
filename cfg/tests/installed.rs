//! Configurations as operators have them: Debian's, where it is installed, under every set of its switches.

use olelo_cfg::{Options, parse_file, parse_str, print};
use std::path::Path;

/// Every WITH_… a file mentions.
fn switches(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|w| w.starts_with("WITH_") && w.len() > 5)
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

fn check(path: &Path, defines: &[&str]) {
    let options = Options {
        defines: defines.iter().map(|d| ((*d).to_owned(), None)).collect(),
        ..Options::default()
    };
    let parsed = parse_file(path, &options);
    assert!(
        parsed.diagnostics.is_empty(),
        "{} with {defines:?}\n{}",
        path.display(),
        parsed.render(false)
    );
    let printed = print::config(&parsed.config);
    let again = parse_str("printed.cfg", &printed, &Options::default());
    assert!(
        again.diagnostics.is_empty(),
        "{} printed with {defines:?}\n{}",
        path.display(),
        again.render(false)
    );
    assert_eq!(print::config(&again.config), printed);
    assert_eq!(parsed.files[0].1, std::fs::read(path).unwrap_or_default());
}

#[test]
fn debian_s_configuration_has_no_fault() {
    let path = Path::new("/etc/kamailio/kamailio.cfg");
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("no configuration is installed here");
        return;
    };
    let all = switches(&text);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    check(path, &[]);
    check(path, &all);
    // Several switches use the database's URL, which only this one defines.
    let database = "WITH_MYSQL";
    for one in &all {
        check(path, &[database, one]);
        if *one != database {
            let others: Vec<&str> = all.iter().copied().filter(|d| d != one).collect();
            check(path, &others);
        }
    }
}

#[test]
fn a_sample_of_every_construct_has_no_fault() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sample.cfg"));
    let all = ["WITH_AUTH", "WITH_NAT"];
    check(path, &[]);
    check(path, &all);
    let parsed = parse_file(path, &Options::default());
    let c = &parsed.config;
    assert_eq!(c.listens.len(), 4);
    assert_eq!(c.aliases.len(), 3);
    assert_eq!(
        c.modules.iter().map(|m| m.short_name()).collect::<Vec<_>>(),
        ["tm", "sl", "pv", "registrar"]
    );
    assert_eq!(c.routes.len(), 9);
    assert_eq!(c.param("children").and_then(|p| p.value.as_int()), Some(4));
}
