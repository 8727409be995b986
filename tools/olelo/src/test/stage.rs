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
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
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
            let ended = waitpid(Pid::from_raw(pid), None);
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
    // What a script prints must not get between the lines of the report.
    let _ = nix::unistd::dup2_stdout(std::io::stderr());
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
        let source = o.record.then_some(file.text.as_str());
        let started = Instant::now();
        let most = Duration::from_secs(o.timeout.max(1));
        let mut v = in_child(&file.cases[*c], source, most);
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
    rehearsal::settle(NOON);
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

/// Plays a case in a child. Where that does not end well, the step it was at is to blame.
fn in_child(case: &Case, source: Option<&str>, most: Duration) -> Value {
    let failed = |line, what: String| to_json(&Played::failed(line, what));
    let (mut ours, theirs) = match UnixStream::pair() {
        Ok(p) => p,
        Err(e) => return failed(case.line, format!("no channel: {e}")),
    };
    let me = std::process::id() as i32;
    match signals::fork() {
        Err(e) => failed(case.line, format!("can't fork: {e}")),
        Ok(Fork::Child) => {
            drop(ours);
            if !signals::die_with(me) {
                signals::exit_now(1);
            }
            be(case, source, theirs)
        }
        Ok(Fork::Parent(pid)) => {
            drop(theirs);
            let (said, in_time) = read(&mut ours, most);
            let said = String::from_utf8_lossy(&said);
            let last = said.lines().last().unwrap_or_default();
            if let Ok(v) = serde_json::from_str(last)
                && in_time
            {
                let _ = waitpid(Pid::from_raw(pid), None);
                return v;
            }
            let at = said.lines().rev().find_map(|l| l.strip_prefix('@'));
            let at = at.and_then(|l| l.parse().ok()).unwrap_or(case.line);
            if !in_time {
                signals::kill_and_reap(pid);
                let s = most.as_secs();
                return failed(at, format!("it was not done within {s} s (--timeout)"));
            }
            failed(
                at,
                match waitpid(Pid::from_raw(pid), None) {
                    Ok(WaitStatus::Signaled(_, s, _)) => format!("it crashed: {}", s.as_str()),
                    Ok(WaitStatus::Exited(_, c)) => format!("its process ended with {c}"),
                    how => format!("its process ended: {how:?}"),
                },
            )
        }
    }
}

/// The child's whole life: it says each step's line before it takes it, and at the end what came of all.
fn be(case: &Case, source: Option<&str>, mut out: UnixStream) -> ! {
    let mut steps = out.try_clone().ok();
    let mut at = |line| {
        if let Some(s) = &mut steps {
            let _ = writeln!(s, "@{line}");
        }
    };
    let play = std::panic::AssertUnwindSafe(|| play::play(case, source, &mut at));
    let done = std::panic::catch_unwind(play);
    let done = done.unwrap_or_else(|_| Played::failed(case.line, "the runner itself failed"));
    let _ = out.write_all(to_json(&done).to_string().as_bytes());
    let _ = std::io::stdout().flush();
    signals::exit_now(0)
}

/// All that the child says, and whether it was done in time.
fn read(from: &mut UnixStream, most: Duration) -> (Vec<u8>, bool) {
    let end = Instant::now() + most;
    let (mut said, mut some) = (Vec::new(), [0; 65536]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (said, false);
        }
        let _ = from.set_read_timeout(Some(left));
        match from.read(&mut some) {
            Ok(0) => return (said, true),
            Ok(n) => said.extend(&some[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return (said, false),
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
