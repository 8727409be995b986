//! `olelo test SCRIPT CASES…`: SIP messages against a routing script, without sockets.
//!
//! | file | what it is |
//! |---|---|
//! | `options` | the command line |
//! | `case`, `parse` | what a case file says |
//! | `setup` | the configuration that the script is put into |
//! | `stage` | the processes: one per set of defines, a child per case |
//! | `play` | a case, step by step |
//! | `calls`, `sip` | the phones' side: messages filled in from what went before |
//! | `compare` | expected against sent |
//! | `record` | a case written anew with what happened |
//! | `report` | to people, JUnit, JSON |
//!
//! The server's own code runs, from `receive()` to the wire: `proc/rehearsal.rs` in the core says what is
//! replaced. Exit code: 0 all as expected, 1 something is not, 2 the script or a case can't be read.

mod calls;
mod case;
mod compare;
mod options;
mod parse;
mod play;
mod record;
mod report;
mod setup;
mod sip;
mod stage;

use case::File;
use options::Options;
use report::Outcome;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Ending of files of cases in a folder.
const ENDING: &str = "sip";

/// Runs it and returns the exit code.
pub fn run(args: &[String]) -> u8 {
    let mut o = Options::read(args);
    o.record |= o.update;
    let files = match read(&o.cases) {
        Ok(f) => f,
        Err(e) => return refuse(&e),
    };
    let chosen: Vec<stage::Place> = files
        .iter()
        .enumerate()
        .flat_map(|(f, file)| (0..file.cases.len()).map(move |c| (f, c)))
        .filter(|(f, c)| {
            o.filter
                .as_ref()
                .is_none_or(|t| files[*f].cases[*c].name.contains(t.as_str()))
        })
        .collect();
    if o.list {
        for (f, c) in &chosen {
            let case = &files[*f].cases[*c];
            say(&format!(
                "{}:{}: {}\n",
                files[*f].path.display(),
                case.line,
                case.name
            ));
        }
        return 0;
    }
    if chosen.is_empty() {
        return refuse("no case to play");
    }
    let started = Instant::now();
    let mut all: Vec<Outcome> = Vec::new();
    let mut usable = true;
    for group in groups(&files, &chosen) {
        usable &= stage::run(&o, &files, &group, |said| {
            let number = |n: &str| said[n].as_u64().unwrap_or(0) as usize;
            let outcome = Outcome {
                file: number("file"),
                case: number("case"),
                ms: said["ms"].as_f64().unwrap_or(0.0),
                said,
            };
            show(&o, &files, &outcome);
            all.push(outcome);
        });
    }
    all.sort_by_key(|c| (c.file, c.case));
    if let Some(path) = &o.junit
        && let Err(e) = std::fs::write(path, report::junit(&files, &all))
    {
        return refuse(&format!("can't write {}: {e}", path.display()));
    }
    if o.record {
        return match recorded(&o, &files, &all) {
            Ok(()) if usable => 0,
            Ok(()) => 2,
            Err(e) => refuse(&e),
        };
    }
    if !o.json {
        say(&format!("{}\n", report::sum(&o, &all, started.elapsed())));
    }
    match (usable, all.iter().all(Outcome::good)) {
        (false, _) => 2,
        (true, good) => u8::from(!good),
    }
}

/// Prints. A reader that is gone is no reason to fail.
fn say(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn refuse(why: &str) -> u8 {
    eprintln!("olelo test: {why}");
    2
}

fn show(o: &Options, files: &[File], c: &Outcome) {
    let file = &files[c.file];
    if o.json {
        say(&format!("{}\n", report::json(file, c)));
    } else if !o.record || !c.good() {
        say(&report::case(o, file, c));
    }
}

/// All files of cases, folders gone through by name.
fn read(paths: &[PathBuf]) -> Result<Vec<File>, String> {
    let mut found = Vec::new();
    for p in paths {
        if p.is_dir() {
            gather(p, &mut found)?;
        } else {
            found.push(p.clone());
        }
    }
    found
        .iter()
        .map(|p| File::read(p).map_err(|e| e.to_string()))
        .collect()
}

fn gather(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("can't read {}: {e}", dir.display());
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(fail)?
        .filter_map(|e| Some(e.ok()?.path()))
        .collect();
    entries.sort();
    for e in entries {
        if e.is_dir() {
            gather(&e, found)?;
        } else if e.extension().is_some_and(|x| x == ENDING) {
            found.push(e);
        }
    }
    Ok(())
}

/// The cases by what their files define, in the order of the first of each.
fn groups(files: &[File], chosen: &[stage::Place]) -> Vec<Vec<stage::Place>> {
    let mut groups: Vec<Vec<stage::Place>> = Vec::new();
    for place in chosen {
        let same = |g: &&mut Vec<stage::Place>| files[g[0].0].defines == files[place.0].defines;
        match groups.iter_mut().find(same) {
            Some(g) => g.push(*place),
            None => groups.push(vec![*place]),
        }
    }
    groups
}

/// Prints what was recorded, or writes it into the files.
fn recorded(o: &Options, files: &[File], all: &[Outcome]) -> Result<(), String> {
    for (number, file) in files.iter().enumerate() {
        let of: Vec<&Outcome> = all.iter().filter(|c| c.file == number).collect();
        let text = |c: &Outcome| c.said["record"].as_str().map(str::to_string);
        if !o.update {
            of.iter().filter_map(|c| text(c)).for_each(|t| say(&t));
            continue;
        }
        let fail = |e: std::io::Error| format!("{}: {e}", file.path.display());
        let old = &file.text;
        let lines: Vec<&str> = old.lines().collect();
        let start = |c: usize| file.cases.get(c).map_or(lines.len(), |c| c.line - 1);
        let mut new: String = lines[..start(0)].iter().map(|l| format!("{l}\n")).collect();
        for (c, _) in file.cases.iter().enumerate() {
            let played = of.iter().find(|p| p.case == c && p.good());
            new += &played.and_then(|p| text(p)).unwrap_or_else(|| {
                lines[start(c)..start(c + 1)]
                    .iter()
                    .map(|l| format!("{l}\n"))
                    .collect()
            });
        }
        if new != *old {
            std::fs::write(&file.path, new).map_err(fail)?;
            say(&format!("written: {}\n", file.path.display()));
        }
    }
    Ok(())
}
