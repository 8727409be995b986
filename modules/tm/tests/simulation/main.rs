//! The seeded simulator of `tm`: the real module under loss, delay, jumps of the clock and the death
//! of workers, in virtual time, against endpoints that know RFC 3261.
//!
//! | file | what it is |
//! |---|---|
//! | `plan`, `dice` | what a seed draws: faults, calls |
//! | `world`, `time` | its beginning and end; what happens next |
//! | `workers`, `death` | who does it, who dies of it |
//! | `server`, `script` | the real server, and its routing |
//! | `network`, `uac`, `uas`, `sip` | what is around it |
//! | `check` | what must hold |
//!
//! Each seed lives in a process of its own, from the boot on, so that it means the same alone and
//! among others. `OLELO_SIM_SEED=7` runs one and prints its trace; `OLELO_SIM_SEEDS=1000` and
//! `OLELO_SIM_FROM=1` choose how many and from where. `modules/tm/LIFECYCLE.md` says more.

mod check;
mod death;
mod dice;
mod network;
mod plan;
mod script;
mod server;
mod sip;
mod time;
mod uac;
mod uas;
mod workers;
mod world;

use olelo_ipc::signals::{self, Fork};
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Instant;
use world::Report;

/// Seeds of a run that nobody has asked for: about ten seconds.
const SEEDS: u64 = 80;
/// A seed that takes longer than this hangs, seconds.
const WATCHDOG: u32 = 120;
/// Most lines of a trace that are printed beside a finding.
const TRACE: usize = 400;

const NAME: &str = "no_death_and_no_network_breaks_a_transaction";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--list") {
        if !args.iter().any(|a| a == "--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters = args.iter().filter(|a| !a.starts_with('-'));
    if !filters.clone().all(|f| NAME.contains(f.as_str())) || args.iter().any(|a| a == "--ignored")
    {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("OLELO_SIM_SEED") {
        let r = one(seed);
        r.trace.iter().for_each(|l| println!("{l}"));
        return sum_up(&[(seed, r)], Instant::now());
    }
    let from = number("OLELO_SIM_FROM").unwrap_or(1);
    let seeds = number("OLELO_SIM_SEEDS").unwrap_or(SEEDS);
    let started = Instant::now();
    let mut reports = Vec::new();
    for seed in from..from + seeds {
        let r = one(seed);
        if !r.findings.is_empty() {
            show(seed, &r);
        }
        reports.push((
            seed,
            Report {
                trace: Vec::new(),
                ..r
            },
        ));
    }
    sum_up(&reports, started)
}

fn show(seed: u64, r: &Report) {
    println!("\nseed {seed}:");
    r.findings.iter().for_each(|f| println!("  {f}"));
    if std::env::var_os("OLELO_SIM_BRIEF").is_none() {
        r.trace.iter().take(TRACE).for_each(|l| println!("    {l}"));
    }
    println!("again: OLELO_SIM_SEED={seed} cargo nextest run -p olelo-tm --no-capture {NAME}");
}

fn sum_up(reports: &[(u64, Report)], started: Instant) -> ExitCode {
    let sum = |f: fn(&Report) -> u64| reports.iter().map(|(_, r)| f(r)).sum::<u64>();
    let bad: Vec<u64> = reports
        .iter()
        .filter(|(_, r)| !r.findings.is_empty())
        .map(|(s, _)| *s)
        .collect();
    println!(
        "{} seeds, {:.1} simulated hours, {} messages, {} deaths, {} findings, {:.1} s; seeds with findings: {bad:?}",
        reports.len(),
        sum(|r| r.simulated_ms) as f64 / 3_600_000.0,
        sum(|r| r.messages),
        sum(|r| r.deaths),
        sum(|r| r.findings.len() as u64),
        started.elapsed().as_secs_f64(),
    );
    ExitCode::from(u8::from(!bad.is_empty()))
}

/// Runs a seed in a process of its own.
fn one(seed: u64) -> Report {
    let (read, write) = nix::unistd::pipe().expect("a pipe");
    match signals::fork().expect("a process") {
        Fork::Child => {
            drop(read);
            nix::unistd::alarm::set(WATCHDOG);
            let done = std::panic::catch_unwind(|| world::live(seed));
            let text = match done {
                Ok(r) => encode(&r),
                Err(_) => "f the simulation itself panicked".into(),
            };
            let _ = std::fs::File::from(write).write_all(text.as_bytes());
            signals::exit_now(0)
        }
        Fork::Parent(pid) => {
            drop(write);
            let mut text = String::new();
            let _ = std::fs::File::from(read).read_to_string(&mut text);
            let pid = nix::unistd::Pid::from_raw(pid);
            let ended = nix::sys::wait::waitpid(pid, None);
            let mut r = decode(&text);
            if text.is_empty() {
                r.findings.push(format!("it hangs, or dies: {ended:?}"));
            }
            r
        }
    }
}

fn encode(r: &Report) -> String {
    let mut text = format!("n {} {} {}\n", r.simulated_ms, r.messages, r.deaths);
    r.findings.iter().for_each(|f| text += &format!("f {f}\n"));
    r.trace.iter().for_each(|t| text += &format!("t {t}\n"));
    text
}

fn decode(text: &str) -> Report {
    let mut r = Report::default();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ').unwrap_or_default();
        match kind {
            "n" => {
                let mut n = rest.split(' ').map(|n| n.parse().unwrap_or(0));
                let mut next = || n.next().unwrap_or(0);
                (r.simulated_ms, r.messages, r.deaths) = (next(), next(), next());
            }
            "f" => r.findings.push(rest.into()),
            _ => r.trace.push(rest.into()),
        }
    }
    r
}
