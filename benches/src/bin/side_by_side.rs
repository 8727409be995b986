//! Olelo and Kamailio under the same traffic, alternately, on one machine: CPU per transaction and
//! memory per contact, with the ratio of the medians. Below 1 is better for Olelo.
//!
//!     cargo run --release -p olelo-benches --bin side_by_side -- --rounds 3

use clap::{Arg, Command};
use olelo_benches::load::{self, Outcome};
use olelo_benches::peer::{Program, Running};
use std::path::PathBuf;

/// What is measured: name, unit, how.
type Figure = (
    &'static str,
    &'static str,
    fn(&Running) -> std::io::Result<f64>,
);

const FIGURES: [Figure; 4] = [
    ("options", "us CPU", |s| per(s, 50_000, load::run_options)),
    ("register", "us CPU", |s| {
        per(s, 50_000, |a, n| load::run_register(a, n, 10_000, None))
    }),
    ("call", "us CPU", |s| {
        per(s, 10_000, |a, n| load::run_calls(a, n, 100))
    }),
    ("contacts", "bytes each", memory_per_contact),
];

fn main() -> std::io::Result<()> {
    let m = Command::new("side_by_side")
        .about("Compares Olelo with Kamailio: CPU per transaction, memory per contact")
        .arg(
            Arg::new("olelo")
                .long("olelo")
                .default_value("target/release/olelo"),
        )
        .arg(
            Arg::new("peer")
                .long("peer")
                .default_value("/usr/sbin/kamailio"),
        )
        .arg(
            Arg::new("peer-modules")
                .long("peer-modules")
                .default_value("/usr/lib/x86_64-linux-gnu/kamailio/modules"),
        )
        .arg(Arg::new("rounds").long("rounds").default_value("3"))
        .arg(
            Arg::new("figures")
                .num_args(0..)
                .help("options register call contacts; all unless told"),
        )
        .get_matches();
    let path = |n: &str| PathBuf::from(m.get_one::<String>(n).cloned().unwrap_or_default());
    let ours = Program {
        path: std::path::absolute(path("olelo"))?,
        modules: None,
        args: vec![],
    };
    // The peer with its fast allocator: the default one is for debugging.
    let peer = Program {
        path: path("peer"),
        modules: Some(path("peer-modules")),
        args: ["-x", "fm", "-X", "fm"].map(String::from).to_vec(),
    };
    let rounds: usize = m
        .get_one::<String>("rounds")
        .and_then(|r| r.parse().ok())
        .unwrap_or(3);
    let wanted: Vec<String> = m
        .get_many::<String>("figures")
        .map(|v| v.cloned().collect())
        .unwrap_or_default();
    println!(
        "{:<10} {:>12} {:>12} {:>8}  unit",
        "figure", "olelo", "peer", "ratio"
    );
    for (name, unit, measure) in FIGURES {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            // The order changes from round to round, so that neither has the warmer machine.
            for first in [round % 2 == 0, round % 2 != 0] {
                let (program, to) = if first {
                    (&ours, &mut a)
                } else {
                    (&peer, &mut b)
                };
                if program.path.exists() {
                    to.push(measure(&program.start(4)?)?);
                }
            }
        }
        let shown = |v: Option<f64>| v.map_or("-".into(), |x| format!("{x:.2}"));
        let (x, y) = (median(a), median(b));
        let ratio = x.zip(y).map(|(x, y)| x / y);
        println!(
            "{name:<10} {:>12} {:>12} {:>8}  {unit}",
            shown(x),
            shown(y),
            shown(ratio)
        );
    }
    Ok(())
}

/// Microseconds of the server's CPU for each of `count` transactions.
fn per(
    s: &Running,
    count: u64,
    run: impl Fn(std::net::SocketAddr, u64) -> std::io::Result<Outcome>,
) -> std::io::Result<f64> {
    let before = s.cpu_ns();
    let o = run(s.addr, count)?;
    if o.failed > 0 {
        eprintln!("note: {} of {count} transactions failed", o.failed);
    }
    Ok((s.cpu_ns() - before) as f64 / 1000.0 / o.done.max(1) as f64)
}

fn memory_per_contact(s: &Running) -> std::io::Result<f64> {
    const CONTACTS: u64 = 100_000;
    load::run_register(s.addr, 1000, 1000, None)?;
    let before = s.memory();
    load::run_register(s.addr, CONTACTS, CONTACTS, None)?;
    Ok((s.memory() - before) as f64 / (CONTACTS - 1000) as f64)
}

fn median(mut v: Vec<f64>) -> Option<f64> {
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied()
}
