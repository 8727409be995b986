//! Every pseudo-variable and transformation gives what Kamailio gives.
//!
//! `recorded/values.tsv` is what Debian's Kamailio said to each case, written by
//! `recorder/record.py`; `recorded/newer.tsv` has values written by hand from the documentation, for
//! names that that Kamailio doesn't know yet. The same Lua script asks Olelo here. Where Olelo
//! deliberately says something else, `recorded/deviations.tsv` tells what and why; a line there that
//! explains nothing is a failure too.

use olelo_tests::{PATIENCE, Server, Setup};
use regex::bytes::Regex;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

const VALUES: &str = include_str!("../recorded/values.tsv");
const NEWER: &str = include_str!("../recorded/newer.tsv");
const DEVIATIONS: &str = include_str!("../recorded/deviations.tsv");
const MESSAGES: &str = include_str!("../recorded/messages.txt");
const SETTINGS: &str = include_str!("../recorded/settings.cfg");
const SCRIPT: &str = include_str!("../recorder/table.lua");

/// A question with the answer that is wanted.
struct Case {
    group: String,
    message: String,
    setup: String,
    expr: String,
    check: String,
    want: Answer,
}

/// What a server said: the type and the value.
#[derive(Clone, PartialEq, Debug)]
struct Answer {
    kind: String,
    value: Vec<u8>,
}

/// Where Olelo says something else, and why.
struct Deviation {
    expr: Regex,
    setup: Regex,
    kind: String,
    value: Regex,
    line: &'static str,
    used: std::cell::Cell<bool>,
}

#[test]
fn every_value_is_kamailios() {
    let cases: Vec<Case> = rows(VALUES)
        .chain(rows(NEWER))
        .map(|r| Case::read(&r))
        .collect();
    let newer: Vec<Case> = rows(NEWER).map(|r| Case::read(&r)).collect();
    let newer = names(newer.iter().map(|c| c.asked().into_bytes()));
    let deviations: Vec<Deviation> = DEVIATIONS.lines().filter_map(Deviation::read).collect();
    let answers = ask(&cases);
    let mut faults = Vec::new();
    for (c, got) in cases.iter().zip(&answers) {
        if let Some(d) = deviations.iter().find(|d| d.explains(c, got)) {
            if !c.agrees(got, &newer) {
                d.used.set(true);
            }
        } else if !c.agrees(got, &newer) {
            faults.push(format!(
                "[{}] {} {} {}\n    kamailio: {}\n    olelo:    {got}",
                c.group, c.message, c.setup, c.expr, c.want
            ));
        }
    }
    for d in deviations.iter().filter(|d| !d.used.get()) {
        faults.push(format!("this deviation explains nothing: {}", d.line));
    }
    assert!(
        faults.is_empty(),
        "{} of {} cases:\n{}",
        faults.len(),
        cases.len(),
        faults.join("\n")
    );
}

impl Case {
    fn read(r: &[&str]) -> Case {
        let [group, message, setup, expr, check, kind, value, ..] = r else {
            panic!("too few columns: {r:?}")
        };
        Case {
            group: group.to_string(),
            message: message.to_string(),
            setup: String::from_utf8(unescape(setup)).expect("text"),
            expr: String::from_utf8(unescape(expr)).expect("text"),
            check: check.to_string(),
            want: Answer {
                kind: kind.to_string(),
                value: unescape(value),
            },
        }
    }

    /// The text that names what is asked for: where there is no expression, the script.
    fn asked(&self) -> String {
        if self.expr.is_empty() {
            self.setup.clone()
        } else {
            self.expr.clone()
        }
    }

    fn agrees(&self, got: &Answer, newer: &[String]) -> bool {
        match self.want.kind.as_str() {
            // What ends Kamailio needs only an answer.
            "crash" => true,
            "unparsed" => {
                ["null", "error"].contains(&got.kind.as_str())
                    || names([self.asked().into_bytes()].into_iter())
                        .iter()
                        .any(|n| newer.contains(n))
            }
            "error" => got.kind == "error",
            _ if !self.check.is_empty() => {
                let whole = Regex::new(&format!("^(?s-u:{})$", self.check)).expect("a regex");
                got.kind == self.want.kind && whole.is_match(&got.value)
            }
            _ => *got == self.want,
        }
    }
}

impl Deviation {
    fn read(line: &'static str) -> Option<Deviation> {
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let c: Vec<&str> = line.split('\t').collect();
        let [expr, setup, kind, value, reason] = c[..] else {
            panic!("a deviation has five columns: {line}")
        };
        assert!(!reason.is_empty(), "a deviation needs a reason: {line}");
        let regex = |r: &str| Regex::new(&format!("^(?s-u:{r})$")).expect("a regex");
        Some(Deviation {
            expr: regex(expr),
            setup: regex(setup),
            kind: kind.into(),
            value: regex(value),
            line,
            used: false.into(),
        })
    }

    fn explains(&self, c: &Case, got: &Answer) -> bool {
        self.expr.is_match(c.expr.as_bytes())
            && self.setup.is_match(c.setup.as_bytes())
            && self.kind == got.kind
            && self.value.is_match(&got.value)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.value.escape_ascii())
    }
}

/// Starts a server and sends it every case.
fn ask(cases: &[Case]) -> Vec<Answer> {
    let phone = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let here = phone.local_addr().expect("its address").port().to_string();
    let dir = std::env::temp_dir().join(format!("olelo-table-{}", olelo_tests::unique()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    let (table, results) = (dir.join("cases.lua"), dir.join("results"));
    std::fs::write(&table, "CASES = {}\n").expect("the cases");
    std::fs::write(&results, "").expect("the results");
    let script = SCRIPT
        .replace("dofile(\"@CASES@\")", "CASES = {}")
        .replace("@RESULTS@", &results.display().to_string())
        .replace(
            "local function run()",
            &format!(
                "local function run()\n  if not next(CASES) then dofile(\"{}\") end",
                table.display()
            ),
        );
    let mut setup = Setup::lua(&script)
        .children(1)
        .env("TABLE_ENV", "from the environment")
        .env("TZ", "Europe/Berlin")
        .cfg("#!define TABLE_WORD a word\n#!define TABLE_NUMBER 42");
    for m in ["textopsx", "ipops", "regex", "cfgutils", "mqueue", "xhttp"] {
        setup = setup.cfg(&format!("loadmodule \"{m}.so\""));
    }
    let server = setup.cfg(SETTINGS).start();
    let there = server.addr.port().to_string();
    // The cases name the ports, known only now: the script reads them with the first message.
    std::fs::write(&table, lua(cases, &here, &there)).expect("the cases");
    let messages = messages();
    // As many at a time as a socket's buffer surely holds.
    for (block, chunk) in cases.chunks(50).enumerate() {
        for (i, c) in chunk.iter().enumerate() {
            let number = format!("{:05}", block * 50 + i);
            let m = messages
                .iter()
                .find(|(n, _)| *n == c.message)
                .unwrap_or_else(|| panic!("no message {}", c.message));
            let text = fill(&m.1, &here, &there).replace("@CASE@", &number);
            phone.send_to(text.as_bytes(), server.addr).expect("sent");
        }
        wait_for(&server, &results, block * 50 + chunk.len());
    }
    let text = std::fs::read_to_string(&results).expect("the results");
    let _ = std::fs::remove_dir_all(&dir);
    let mut answers = vec![None; cases.len()];
    for line in text.lines() {
        let mut w = line.split(' ');
        let (Some(n), Some(kind), Some(hex)) = (w.next(), w.next(), w.next()) else {
            panic!("no answer: {line}")
        };
        let value = mask(
            mask(unhex(hex), there.as_bytes(), b"@RP@"),
            here.as_bytes(),
            b"@SP@",
        );
        answers[n.parse::<usize>().expect("a number")] = Some(Answer {
            kind: kind.into(),
            value,
        });
    }
    answers
        .into_iter()
        .zip(cases)
        .map(|(a, c)| a.unwrap_or_else(|| panic!("no answer to {}", c.expr)))
        .collect()
}

fn wait_for(server: &Server, results: &Path, lines: usize) {
    let end = Instant::now() + PATIENCE;
    loop {
        let have = std::fs::read(results).expect("the results");
        if have.iter().filter(|b| **b == b'\n').count() >= lines {
            return;
        }
        assert!(
            Instant::now() < end,
            "no answer to case {lines}:\n{}\n{}",
            String::from_utf8_lossy(&have[have.len().saturating_sub(200)..]),
            server.logged()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The cases as the script reads them.
fn lua(cases: &[Case], here: &str, there: &str) -> String {
    let quoted = |s: &str| -> String {
        let body: String = s.bytes().map(|b| format!("\\{b:03}")).collect();
        format!("\"{body}\"")
    };
    let mut out = String::from("CASES = {}\n");
    for (i, c) in cases.iter().enumerate() {
        let setup = fill(&c.setup, here, there).replace("@CASE@", &format!("{i:05}"));
        out.push_str(&format!(
            "CASES[\"{i:05}\"] = {{ {}, {} }}\n",
            quoted(&setup),
            quoted(&c.expr)
        ));
    }
    out
}

fn messages() -> Vec<(&'static str, String)> {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in MESSAGES.lines() {
        if let Some(name) = line.strip_prefix("=== ") {
            all.push((name.trim(), Vec::new()));
        } else if let Some((_, lines)) = all.last_mut() {
            lines.push(line);
        }
    }
    all.into_iter()
        .map(|(name, lines)| {
            let text = lines.join("\r\n") + "\r\n";
            let (head, body) = text.split_once("\r\n\r\n").expect("a body");
            let head = head.replace("@CL@", &body.len().to_string());
            (name, format!("{head}\r\n\r\n{body}"))
        })
        .collect()
}

fn fill(text: &str, here: &str, there: &str) -> String {
    text.replace("@RP@", there).replace("@SP@", here)
}

fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| l.split('\t').collect())
}

/// Names of pseudo-variables and transformations in expressions.
fn names(exprs: impl Iterator<Item = Vec<u8>>) -> Vec<String> {
    let word =
        Regex::new(r"KSR\.[a-z_.]+|\{[a-z0-9]+\.[a-zA-Z0-9.]+|\$\(?[A-Za-z_][A-Za-z0-9_.]*(\([a-zA-Z_.\[\]0-9]+\))?")
            .expect("a regex");
    exprs
        .flat_map(|e| {
            word.find_iter(&e)
                .map(|m| String::from_utf8_lossy(m.as_bytes()).replace("$(", "$"))
                .filter(|n| !n.starts_with("$vn") && !n.starts_with("$var") && n != "$ru")
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Undoes what the recorder wrote for bytes that don't print.
fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [b, tail @ ..] = rest {
        rest = tail;
        if *b != b'\\' {
            out.push(*b);
            continue;
        }
        let [c, tail @ ..] = rest else { break };
        rest = tail;
        out.push(match c {
            b't' => b'\t',
            b'n' => b'\n',
            b'r' => b'\r',
            b'x' => {
                let (hex, tail) = rest.split_at(2);
                rest = tail;
                unhex(std::str::from_utf8(hex).expect("hex"))[0]
            }
            c => *c,
        });
    }
    out
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
        .collect()
}

fn mask(value: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(value.len()), &value[..]);
    while let Some(b) = rest.first() {
        if rest.starts_with(from) {
            out.extend_from_slice(to);
            rest = &rest[from.len()..];
        } else {
            out.push(*b);
            rest = &rest[1..];
        }
    }
    out
}
