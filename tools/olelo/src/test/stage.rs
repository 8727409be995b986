//! The processes of a run: one per set of defines prepares the server, and forks a child per case.
//!
//! A stage is single-threaded, so it may fork; its children start from what it has prepared and keep
//! their changes to themselves (`proc/rehearsal.rs`). A case that crashes or does not end is a failure
//! of that case alone. Outcomes come back as lines of JSON.

use super::case::{Case, File};
use super::options::Options;
use super::play::{self, Played};
use super::setup;
use crate::start;
use olelo_core::proc::rehearsal;
use olelo_core::{hooks, log};
use olelo_ipc::signals::{self, Fork};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A case by its place: number of the file, number in it.
pub type Place = (usize, usize);

/// What the wall clock shows when a case begins: 2026-01-01 12:00 UTC, in milliseconds.
const NOON: u64 = 1_767_268_800_000;

/// Plays these cases, which have the same defines. Each outcome goes to `each`. False where the script
/// can't be used; why has been said.
pub fn run(o: &Options, files: &[File], cases: &[Place], mut each: impl FnMut(Value)) -> bool {
    let (ours, theirs) = match UnixStream::pair() {
        Ok(p) => p,
        Err(e) => return complain(format!("can't make a channel: {e}")),
    };
    match signals::fork() {
        Ok(Fork::Child) => {
            drop(ours);
            let code = stage(o, files, cases, theirs);
            let _ = std::io::stdout().flush();
            signals::exit_now(code)
        }
        Ok(Fork::Parent(pid)) => {
            drop(theirs);
            let mut left = cases.len();
            for line in BufReader::new(ours).lines().map_while(Result::ok) {
                if let Ok(v) = serde_json::from_str::<Value>(&line) {
                    each(v);
                    left -= 1;
                }
            }
            let ended = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            use nix::sys::wait::WaitStatus;
            match ended {
                Ok(WaitStatus::Exited(_, 0)) => left == 0,
                Ok(WaitStatus::Exited(..)) => false,
                how => complain(format!(
                    "the process that prepares the server died: {how:?}"
                )),
            }
        }
        Err(e) => complain(format!("can't fork: {e}")),
    }
}

fn complain(what: String) -> bool {
    eprintln!("olelo test: {what}");
    false
}

/// The stage's whole life.
fn stage(o: &Options, files: &[File], cases: &[Place], mut out: UnixStream) -> i32 {
    signals::ignore_pipe();
    let Some((first, _)) = cases.first() else {
        return 0;
    };
    if let Err(e) = prepare(o, &files[*first]) {
        if !e.is_empty() {
            complain(e);
        }
        return 2;
    }
    for (f, c) in cases {
        let file = &files[*f];
        let source = o
            .record
            .then(|| std::fs::read_to_string(&file.path).unwrap_or_default());
        let started = Instant::now();
        let played = in_child(
            &file.cases[*c],
            source.as_deref(),
            Duration::from_secs(o.timeout.max(1)),
        );
        let mut v =
            played.unwrap_or_else(|what| to_json(&Played::failed(file.cases[*c].line, what)));
        v["file"] = json!(f);
        v["case"] = json!(c);
        v["ms"] = json!(started.elapsed().as_micros() as f64 / 1000.0);
        if writeln!(out, "{v}").is_err() {
            return 0;
        }
    }
    0
}

/// Prepares the server. An empty error has been said already.
fn prepare(o: &Options, file: &File) -> Result<(), String> {
    let server = setup::server_options(o, &file.defines);
    let options = start::parse_options(&server);
    let (path, parsed) = setup::read(o, &options)?;
    let folder = o.workdir.clone().or_else(|| path.parent().map(Into::into));
    if let Some(dir) = folder.filter(|d| !d.as_os_str().is_empty()) {
        std::env::set_current_dir(&dir)
            .map_err(|e| format!("can't work in {}: {e}", dir.display()))?;
    }
    rehearsal::stop_clock(NOON);
    let argv = vec!["olelo".into()];
    let loaded = start::load(&server, argv, parsed, options).ok_or("")?;
    log::DEBUG.set(3);
    hooks::ROUTE_FAILED.add(play::route_failed);
    match start::rehearse(&server, loaded) {
        true => {
            log::tap(play::tap);
            Ok(())
        }
        false => Err(String::new()),
    }
}

/// Plays a case in a child. The error says how that ended.
fn in_child(case: &Case, source: Option<&str>, most: Duration) -> Result<Value, String> {
    let (mut ours, mut theirs) = UnixStream::pair().map_err(|e| format!("no channel: {e}"))?;
    let me = std::process::id() as i32;
    match signals::fork().map_err(|e| format!("can't fork: {e}"))? {
        Fork::Child => {
            drop(ours);
            if !signals::die_with(me) {
                signals::exit_now(1);
            }
            let done =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play::play(case, source)));
            let done = done
                .unwrap_or_else(|_| Played::failed(case.line, "the runner itself failed; see -v"));
            let _ = theirs.write_all(to_json(&done).to_string().as_bytes());
            let _ = std::io::stdout().flush();
            signals::exit_now(0)
        }
        Fork::Parent(pid) => {
            drop(theirs);
            let said = read(&mut ours, most);
            if said.is_none() {
                signals::kill_and_reap(pid);
                return Err(format!(
                    "it was not done within {} s (--timeout)",
                    most.as_secs()
                ));
            }
            let ended = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            use nix::sys::wait::WaitStatus;
            match (serde_json::from_slice(&said.unwrap_or_default()), ended) {
                (Ok(v), _) => Ok(v),
                (_, Ok(WaitStatus::Signaled(_, s, _))) => {
                    Err(format!("it crashed: {}", s.as_str()))
                }
                (_, Ok(WaitStatus::Exited(_, c))) => Err(format!("its process ended with {c}")),
                (_, how) => Err(format!("its process ended: {how:?}")),
            }
        }
    }
}

/// All that the child says; nothing where it is not done in time.
fn read(from: &mut UnixStream, most: Duration) -> Option<Vec<u8>> {
    let end = Instant::now() + most;
    let (mut said, mut some) = (Vec::new(), [0; 65536]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let _ = from.set_read_timeout(Some(left));
        match from.read(&mut some) {
            Ok(0) => return Some(said),
            Ok(n) => said.extend(&some[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

fn to_json(p: &Played) -> Value {
    let failures = p.failures.iter().map(|f| {
        json!({
            "line": f.line,
            "what": f.what,
            "diff": f.diff.iter().map(|l| l.to_json()).collect::<Vec<_>>(),
        })
    });
    json!({
        "failures": failures.collect::<Vec<_>>(),
        "trace": p.trace,
        "record": p.record,
    })
}
