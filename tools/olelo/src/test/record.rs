//! Writes a case anew with what the script did as its expectations, to be read, judged and kept.
//!
//! Steps that cause something stay as they are, so do expectations of values, logs and errors. Of an
//! expected message stay its name and the lines that have a pattern or give a name a value.

use super::calls::{Calls, Place, Sent};
use super::case::{Case, Expect, Message, Step};
use super::compare::{Diff, Names, block};
use super::sip::{Sip, same_name};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

/// See the file's essay.
pub struct Recorder {
    lines: Vec<String>,
    /// The case's own lines: first, and the one after the last; from 1.
    from: usize,
    to: usize,
    removed: Vec<(usize, usize)>,
    /// What goes before a line.
    added: BTreeMap<usize, String>,
    /// Where what is caused now goes.
    at: usize,
    cause: Option<Sip>,
    /// What was expected already, with the expectation.
    taken: Vec<(Sent, Message)>,
}

impl Recorder {
    /// For a case of a file with this text.
    pub fn new(source: &str, case: &Case) -> Recorder {
        let lines: Vec<String> = source.lines().map(str::to_string).collect();
        let next = lines
            .iter()
            .skip(case.line)
            .position(|l| l.starts_with("=="));
        Recorder {
            from: case.line,
            to: next.map_or(lines.len(), |n| case.line + n) + 1,
            lines,
            removed: Vec::new(),
            added: BTreeMap::new(),
            at: case.line + 1,
            cause: None,
            taken: Vec::new(),
        }
    }

    /// This message arrives; an empty one: time goes by.
    pub fn cause(&mut self, sip: Sip) {
        self.cause = Some(sip);
    }

    /// The script meets an expectation.
    pub fn expected(
        &mut self,
        step: &Step,
        e: &Expect,
        pending: &mut VecDeque<Sent>,
        calls: &mut Calls,
        names: &mut Names,
    ) {
        match e {
            Expect::Nothing | Expect::Error(_) => self.removed.push((step.line, step.end)),
            Expect::Message(m) => {
                self.removed.push((step.line, step.end));
                if let Some(sent) = pending.pop_front() {
                    block(&mut Diff::default(), &m.block, &sent.sip, names);
                    if let Some(n) = &m.name {
                        calls.name_last(&sent, n);
                    }
                    self.taken.push((sent, m.clone()));
                }
            }
            Expect::Log(..) | Expect::Value(..) => {}
        }
    }

    /// Writes what the last cause has led to; `next` is the one that follows.
    pub fn settle(
        &mut self,
        next: Option<&Step>,
        pending: &mut VecDeque<Sent>,
        errors: &mut Vec<String>,
        calls: &Calls,
    ) {
        let mut all = std::mem::take(&mut self.taken);
        all.extend(pending.drain(..).map(|s| (s, Message::default())));
        let mut text = String::new();
        for (sent, m) in &all {
            text += &self.expectation(sent, m, calls);
        }
        for e in errors.drain(..) {
            let first = e.lines().next().unwrap_or_default();
            let _ = writeln!(
                text,
                "expect error \"{}\"",
                first.replace('\\', "\\\\").replace('"', "\\\"")
            );
        }
        if text.is_empty() && self.cause.is_some() {
            text = "expect nothing\n".into();
        }
        *self.added.entry(self.at).or_default() += &text;
        if let Some(n) = next {
            self.at = n.end;
        }
        self.cause = None;
    }

    fn expectation(&self, sent: &Sent, m: &Message, calls: &Calls) -> String {
        let sip = &sent.sip;
        let nothing = Sip::default();
        let cause = self.cause.as_ref().unwrap_or(&nothing);
        // A request that no request has led to is made here, with what all such have.
        let made_here = cause.first.is_empty() || !cause.is_request();
        let mut out = String::from("expect ");
        if sip.is_request() {
            let _ = write!(
                out,
                "{} {} to {}",
                sip.word(0),
                sip.word(1),
                name(calls, &sent.to)
            );
        } else {
            let _ = write!(out, "{}", sip.word(1));
            let reason = sip.first.splitn(3, ' ').nth(2).unwrap_or_default();
            // A word of the language within it is kept from being one by quotes.
            let quote = match reason.split(' ').any(|w| matches!(w, "to" | "as")) {
                true => "\"",
                false => "",
            };
            if sip.status() != 100 && !reason.is_empty() {
                let _ = write!(out, " {quote}{reason}{quote}");
            }
            if calls.asker(sip).is_some_and(|a| a != sent.to) {
                let _ = write!(out, " to {}", name(calls, &sent.to));
            }
        }
        if let Some(n) = &m.name {
            let _ = write!(out, " as {n}");
        }
        out.push('\n');
        if sip.status() == 100 {
            return out;
        }
        let kept: Vec<&String> = m
            .block
            .iter()
            .filter(|l| l.contains('{') || l.contains(": /"))
            .collect();
        let is_kept = |n: &str| {
            kept.iter()
                .any(|l| l.split(':').next().is_some_and(|k| same_name(k.trim(), n)))
        };
        for l in &kept {
            let _ = writeln!(out, "  {l}");
        }
        let mut done: Vec<&str> = Vec::new();
        for (n, _) in &sip.headers {
            let same = sip.all(n) == cause.all(n);
            if same
                || is_kept(n)
                || done.contains(&n.as_str())
                || USUAL.iter().any(|u| same_name(u, n))
                || made_here && same_name(n, "Max-Forwards")
            {
                continue;
            }
            done.push(n);
            match DRAWN.iter().any(|d| same_name(d, n)) {
                true => _ = writeln!(out, "  {n}: *"),
                false => sip
                    .all(n)
                    .iter()
                    .for_each(|v| _ = writeln!(out, "  {n}: {v}")),
            }
        }
        if sip.is_request() == cause.is_request() && !cause.first.is_empty() {
            for (n, _) in &cause.headers {
                if sip.get(n).is_none() && !USUAL.iter().any(|u| same_name(u, n)) {
                    let _ = writeln!(out, "  {n}: -");
                }
            }
        }
        if !sip.body.is_empty() && sip.body != cause.body {
            out.push('\n');
            sip.body.lines().for_each(|l| _ = writeln!(out, "  {l}"));
        }
        out
    }

    /// The case, with its head.
    pub fn text(self) -> String {
        let mut out: Vec<&str> = Vec::new();
        for number in self.from..=self.to {
            if let Some(a) = self.added.get(&number) {
                out.extend(a.lines());
            }
            let gone = self.removed.iter().any(|(f, t)| (*f..*t).contains(&number));
            if number < self.to && !gone {
                let line = self.lines[number - 1].as_str();
                if !(line.is_empty() && out.last().is_some_and(|l| l.is_empty())) {
                    out.push(line);
                }
            }
        }
        out.join("\n") + "\n"
    }
}

/// A place by the name of its phone.
fn name(calls: &Calls, place: &Place) -> String {
    let shown = calls.shown(place);
    shown.split(' ').next().unwrap_or_default().to_string()
}

/// Headers that follow from the message before.
const USUAL: [&str; 9] = [
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Content-Length",
    "Server",
    "User-Agent",
    "Content-Type",
];

/// Headers whose values are drawn anew each time.
const DRAWN: [&str; 3] = ["WWW-Authenticate", "Proxy-Authenticate", "Date"];
