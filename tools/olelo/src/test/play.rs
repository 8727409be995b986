//! Plays one case, in a process of its own: its steps one after the other, and what came of each.

use super::calls::{Calls, Place, Sent};
use super::case::{Case, Expect, Message, Operator, Receive, Reply, Step, Text, What};
use super::compare::{self, Diff, Names, filled, first_unknown, fits};
use super::parse::unquoted;
use super::record::Recorder;
use super::sip::{Sip, user_host};
use olelo_core::dns::conf;
use olelo_core::log::Level;
use olelo_core::net::{Dst, SendError};
use olelo_core::proc::rehearsal::{self, Rehearsal};
use olelo_core::pv::Spec;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;
use olelo_core::rpc::{self, Params, Value};
use serde_json::json;
use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;

/// What came of a case.
#[derive(Debug, Default)]
pub struct Played {
    /// What was not as expected.
    pub failures: Vec<Failure>,
    /// What happened, for `-v` and beside failures.
    pub trace: Vec<serde_json::Value>,
    /// The case with what happened as its expectations.
    pub record: Option<String>,
}

/// Something that was not as expected.
#[derive(Debug)]
pub struct Failure {
    /// The line of the step.
    pub line: usize,
    /// In a sentence.
    pub what: String,
    /// Line by line.
    pub diff: Vec<compare::Line>,
}

/// What the server's code hands over while it runs.
#[derive(Default)]
struct Caught {
    sent: Vec<Sent>,
    log: Vec<(Level, String)>,
    errors: Vec<String>,
}

thread_local! {
    static CAUGHT: RefCell<Caught> = RefCell::default();
}

/// Takes what the server would send.
fn wire(dst: &Dst, bytes: &[u8]) -> Result<(), SendError> {
    let by = olelo_core::server().sockets.get(dst.socket);
    let sent = Sent {
        to: Place {
            proto: dst.proto,
            addr: dst.addr,
        },
        by: by.map_or(dst.addr, |l| l.addr),
        bytes: bytes.to_vec(),
        sip: Sip::read(bytes),
    };
    CAUGHT.with_borrow_mut(|c| c.sent.push(sent));
    Ok(())
}

/// Takes a line of the log.
pub fn tap(level: Level, module: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text).into_owned();
    CAUGHT.with_borrow_mut(|c| {
        // A statement of the native language that fails is logged, and routing goes on.
        if module == "app_native" && level <= Level::Err {
            c.errors.push(text.clone());
        }
        c.log.push((level, text));
    });
}

/// Takes a route's failure.
pub fn route_failed(route: &str, why: &str) {
    CAUGHT.with_borrow_mut(|c| c.errors.push(format!("{route}: {why}")));
}

/// Plays a case; in a fresh child of the prepared process. With `source`, the text of its file, what
/// happens is recorded instead of compared. `at` hears of each step before it is taken.
pub fn play(case: &Case, source: Option<&str>, at: &mut dyn FnMut(usize)) -> Played {
    conf::seal(conf::parse_hosts(""));
    let rehearsal = match rehearsal::begin(wire) {
        Ok(r) => r,
        Err(e) => return Played::failed(case.line, format!("the script does not load: {e}")),
    };
    let mut p = Player {
        rehearsal,
        ctx: Ctx::new(),
        calls: Calls::default(),
        names: Names::new(),
        hosts: String::new(),
        ignored: Vec::new(),
        pending: VecDeque::new(),
        seen: HashSet::new(),
        log: Vec::new(),
        errors: Vec::new(),
        cause: case.line,
        recorder: source.map(|s| Recorder::new(s, case)),
        done: Played::default(),
    };
    p.take();
    for step in &case.steps {
        at(step.line);
        if let Err(e) = p.step(step) {
            p.fail(step.line, e);
            break;
        }
        if p.stop() {
            break;
        }
    }
    p.end()
}

impl Played {
    /// A case that could not be played.
    pub fn failed(line: usize, what: impl Into<String>) -> Played {
        let failure = Failure {
            line,
            what: what.into(),
            diff: Vec::new(),
        };
        Played {
            failures: vec![failure],
            ..Played::default()
        }
    }
}

struct Player {
    rehearsal: Rehearsal,
    ctx: Ctx,
    calls: Calls,
    names: Names,
    hosts: String,
    ignored: Vec<String>,
    /// Sent, and not yet expected.
    pending: VecDeque<Sent>,
    /// All that was sent: what repeats by itself is left out.
    seen: HashSet<(SocketAddr, Vec<u8>)>,
    /// Since the last step that caused something.
    log: Vec<(Level, String)>,
    errors: Vec<String>,
    /// The line of that step.
    cause: usize,
    recorder: Option<Recorder>,
    done: Played,
}

impl Player {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match &step.what {
            What::Hosts(words) => {
                self.hosts += &format!("{}\n", words.join(" "));
                conf::seal(conf::parse_hosts(&self.hosts));
            }
            What::Phone(p) => {
                let contact = self.calls.add_phone(p)?;
                self.names.insert(p.name.clone(), contact);
            }
            What::Ignore(what) => self.ignored.push(what.clone()),
            What::Clock(text) => set_clock(text)?,
            What::Set(pv, value) => self.set(pv, value)?,
            What::Contact(aor, uri) => self.register(aor, uri.as_deref())?,
            What::Rpc(words) => {
                let words: Result<Vec<_>, _> = words.iter().map(|w| self.fill(w)).collect();
                command(&words?)?;
                self.take();
            }
            What::Receive(r) => {
                self.next(step);
                self.receive(r)?;
            }
            What::Reply(r) => {
                self.next(step);
                self.reply(r)?;
            }
            What::After(ms) => {
                self.next(step);
                self.after(*ms);
            }
            What::Expect(e) => self.expect(step, e)?,
        }
        Ok(())
    }

    /// Before something else is caused: all that was sent must have been expected.
    fn next(&mut self, step: &Step) {
        self.settle(Some(step));
        self.cause = step.line;
        self.log.clear();
    }

    /// Complains about what nobody expected.
    fn settle(&mut self, next: Option<&Step>) {
        if let Some(r) = &mut self.recorder {
            r.settle(next, &mut self.pending, &mut self.errors, &self.calls);
        }
        for sent in std::mem::take(&mut self.pending) {
            let to = self.calls.shown(&sent.to);
            let diff = sent
                .sip
                .lines()
                .into_iter()
                .map(|text| compare::Line { sign: '+', text });
            self.done.failures.push(Failure {
                line: self.cause,
                what: format!("not expected: {} to {to}", sent.sip.first),
                diff: diff.collect(),
            });
        }
        for e in std::mem::take(&mut self.errors) {
            self.fail(self.cause, format!("script error: {e}"));
        }
    }

    fn end(mut self) -> Played {
        if !self.stop() {
            self.settle(None);
        }
        self.done.record = self.recorder.take().map(Recorder::text);
        self.done
    }

    /// What comes after a failure mostly is its consequence.
    fn stop(&self) -> bool {
        !self.done.failures.is_empty()
    }

    fn fail(&mut self, line: usize, what: impl Into<String>) {
        self.done
            .failures
            .extend(Played::failed(line, what).failures);
    }

    fn set(&mut self, pv: &str, value: &str) -> Result<(), String> {
        let spec = Spec::parse(self.fill(pv)?.as_bytes()).map_err(|e| e.0)?;
        let text = self.fill(&unquoted(value)?)?;
        let value = match text.parse::<i64>() {
            Ok(n) if !value.starts_with('"') => Val::Int(n),
            _ if value == "null" => Val::Null,
            _ => Val::owned(text),
        };
        spec.set(&mut self.ctx, value).map_err(|e| e.0)
    }

    /// A contact in the location table.
    fn register(&mut self, aor: &str, uri: Option<&str>) -> Result<(), String> {
        let (aor, own) = match self.calls.phone(aor) {
            Some((p, place)) => {
                let user = user_host(&p.uri).0.unwrap_or(&p.name);
                (p.uri.clone(), Some(place.contact(user)))
            }
            None => (aor.to_string(), None),
        };
        let uri = match uri {
            Some(u) => self.fill(u)?,
            None => own.ok_or(format!("given contact {aor}: at which URI?"))?,
        };
        let aor = aor.trim_start_matches("sip:").to_string();
        let words = [
            "ul.add", "location", &aor, &uri, "3600", "1", "0", "0", "0", "0",
        ];
        command(&words.map(str::to_string))
    }

    fn receive(&mut self, r: &Receive) -> Result<(), String> {
        let at = r.at.as_ref().map(|a| Place::parse(a)).transpose()?;
        let mut r = r.clone();
        for l in &mut r.block {
            *l = self.fill(l)?;
        }
        r.uri = r.uri.map(|u| self.fill(&u)).transpose()?;
        for _ in 0..r.times.unwrap_or(1) {
            let (from, bytes) = self.calls.receive(&r)?;
            if at.is_some_and(|a| a.proto != from.proto) {
                let at = r.at.unwrap_or_default();
                return Err(format!("a message {} can't arrive at {at}", from.text()));
            }
            self.deliver(&from, at.map(|a| a.addr), &bytes)?;
        }
        Ok(())
    }

    fn reply(&mut self, r: &Reply) -> Result<(), String> {
        let mut r = r.clone();
        for l in &mut r.block {
            *l = self.fill(l)?;
        }
        let (from, by, bytes) = self.calls.reply(&r)?;
        self.deliver(&from, Some(by), &bytes)
    }

    fn deliver(
        &mut self,
        from: &Place,
        at: Option<SocketAddr>,
        bytes: &[u8],
    ) -> Result<(), String> {
        let shown = self.calls.shown(from);
        let lines = Sip::read(bytes).lines();
        self.done.trace.push(json!({"in": shown, "lines": lines}));
        if let Some(r) = &mut self.recorder {
            r.cause(Sip::read(bytes));
        }
        self.rehearsal
            .deliver(&mut self.ctx, from.proto, from.addr, at, bytes)?;
        self.take();
        Ok(())
    }

    fn after(&mut self, ms: u64) {
        self.done.trace.push(json!({"after": ms}));
        if let Some(r) = &mut self.recorder {
            r.cause(Sip::default());
        }
        self.rehearsal.pass(ms);
        // What was sent before goes out again by itself: transactions retransmit.
        let seen = &mut self.seen;
        CAUGHT.with_borrow_mut(|c| {
            c.sent.retain(|s| seen.insert((s.to.addr, s.bytes.clone())));
        });
        self.take();
    }

    /// Takes over what the server has sent and logged.
    fn take(&mut self) {
        let caught = CAUGHT.take();
        for (level, text) in &caught.log {
            self.done
                .trace
                .push(json!({"log": *level as i8, "label": level.label(), "text": text}));
        }
        self.log.extend(caught.log);
        self.errors.extend(caught.errors);
        for sent in caught.sent {
            let to = self.calls.shown(&sent.to);
            self.done
                .trace
                .push(json!({"out": to, "lines": sent.sip.lines()}));
            self.seen.insert((sent.to.addr, sent.bytes.clone()));
            self.calls.sent(&sent);
            let first = if sent.sip.is_request() { 0 } else { 1 };
            if !self.ignored.iter().any(|i| i == sent.sip.word(first)) {
                self.pending.push_back(sent);
            }
        }
    }

    fn expect(&mut self, step: &Step, e: &Expect) -> Result<(), String> {
        if let Some(r) = &mut self.recorder {
            r.expected(step, e, &mut self.pending, &mut self.calls, &mut self.names);
            return Ok(());
        }
        match e {
            Expect::Nothing => {
                let cause = std::mem::replace(&mut self.cause, step.line);
                self.settle(None);
                self.cause = cause;
            }
            Expect::Message(m) => self.message(step.line, m)?,
            Expect::Log(level, text) => self.logged(step.line, level.as_deref(), text)?,
            Expect::Error(text) => {
                let found = self.errors.len();
                let names = &mut self.names;
                self.errors.retain(|e| !contains(text, e, names));
                if self.errors.len() == found {
                    self.fail(
                        step.line,
                        format!(
                            "expected a script error with {}, there was none",
                            shown(text)
                        ),
                    );
                }
            }
            Expect::Value(pv, operator, text) => self.value(step.line, pv, *operator, text)?,
        }
        Ok(())
    }

    fn message(&mut self, line: usize, m: &Message) -> Result<(), String> {
        let wanted = format!("{} {}", m.first, m.rest.as_deref().unwrap_or_default());
        let wanted = filled(wanted.trim(), &self.names);
        let to =
            m.to.as_ref()
                .map(|t| self.calls.place(&filled(t, &self.names)))
                .transpose()?;
        let Some(got) = self.pending.pop_front() else {
            self.fail(line, format!("expected {wanted}, nothing was sent"));
            return Ok(());
        };
        let sip = got.sip.clone();
        let is_status = m.first.bytes().all(|b| b.is_ascii_digit());
        let (first, rest) = match sip.is_request() {
            true => (sip.word(0), sip.word(1)),
            false => (
                sip.word(1),
                sip.first.splitn(3, ' ').nth(2).unwrap_or_default(),
            ),
        };
        let mut diff = Diff::default();
        let fit = first == m.first
            && is_status != sip.is_request()
            && m.rest.as_ref().is_none_or(|r| match is_status {
                true => fits(r, rest, &mut self.names),
                false => {
                    let r = self
                        .calls
                        .phone(r)
                        .map_or(r.clone(), |(p, _)| p.uri.clone());
                    compare::uri(&filled(&r, &self.names)) == compare::uri(rest)
                        || fits(&r, rest, &mut self.names)
                }
            });
        match fit {
            true => diff.same(&sip.first),
            false => diff.differ(&wanted, &sip.first),
        }
        let asker = self.calls.asker(&sip).filter(|_| !sip.is_request());
        if let Some(wanted) = to.or(asker).filter(|w| *w != got.to) {
            diff.differ(
                format!("to {}", self.calls.shown(&wanted)),
                format!("to {}", self.calls.shown(&got.to)),
            );
        }
        compare::block(&mut diff, &m.block, &sip, &mut self.names);
        if let Some(name) = &m.name {
            self.calls.name_last(&got, name);
        }
        if diff.differs {
            let to = self.calls.shown(&got.to);
            self.done.failures.push(Failure {
                line,
                what: format!("expected {wanted}, this was sent to {to}"),
                diff: diff.lines,
            });
        }
        Ok(())
    }

    fn logged(&mut self, line: usize, level: Option<&str>, text: &Text) -> Result<(), String> {
        let level = level.and_then(Level::from_name);
        let fit = |l: &(Level, String), names: &mut Names| {
            level.is_none_or(|w| w == l.0) && contains(text, &l.1, names)
        };
        let names = &mut self.names;
        if self.log.iter().any(|l| fit(l, names)) {
            return Ok(());
        }
        let label = level.map_or(String::new(), |l| format!("{} ", l.label()));
        let own = self.log.iter().filter(|(l, _)| *l < Level::Dbg);
        let diff = own.map(|(l, t)| compare::Line {
            sign: '+',
            text: format!("{}: {t}", l.label()),
        });
        let diff = diff.collect();
        self.done.failures.push(Failure {
            line,
            what: format!("expected {label}{} in the log", shown(text)),
            diff,
        });
        Ok(())
    }

    fn value(
        &mut self,
        line: usize,
        pv: &str,
        operator: Operator,
        text: &Text,
    ) -> Result<(), String> {
        let pv = self.fill(pv)?;
        let spec = Spec::parse(pv.as_bytes()).map_err(|e| e.0)?;
        let value = spec.get(&self.ctx);
        let got = value
            .as_bytes()
            .map(|b| String::from_utf8_lossy(&b).into_owned());
        let same = match (text, &got) {
            (Text::Null, g) => g.is_none(),
            (_, None) => false,
            (Text::Plain(t), Some(g)) => fits(t, g, &mut self.names),
            (Text::Pattern(p), Some(g)) => fits(&format!("/{p}/"), g, &mut self.names),
        };
        if same == (operator != Operator::IsNot) {
            return Ok(());
        }
        let got = got.map_or("null".into(), |g| format!("\"{g}\""));
        let mut diff = Diff::default();
        let sign = match operator {
            Operator::Is => "==",
            Operator::IsNot => "!=",
            Operator::Matches => "=~",
        };
        diff.differ(
            format!("{pv} {sign} {}", shown(text)),
            format!("{pv} == {got}"),
        );
        self.done.failures.push(Failure {
            line,
            what: format!("{pv} is {got}"),
            diff: diff.lines,
        });
        Ok(())
    }

    /// `text` with its names filled in; one without a meaning is an error.
    fn fill(&self, text: &str) -> Result<String, String> {
        match first_unknown(text, &self.names) {
            Some(n) => Err(format!(
                "{{{n}}} has no value yet: an expectation gives it one"
            )),
            None => Ok(filled(text, &self.names)),
        }
    }
}

fn contains(text: &Text, line: &str, names: &mut Names) -> bool {
    match text {
        Text::Plain(t) => line.contains(&filled(t, names)),
        Text::Pattern(p) => fits(&format!("/{p}/"), line, names),
        Text::Null => false,
    }
}

fn shown(text: &Text) -> String {
    match text {
        Text::Plain(t) => format!("\"{t}\""),
        Text::Pattern(p) => format!("/{p}/"),
        Text::Null => "null".into(),
    }
}

/// Runs a control command.
fn command(words: &[String]) -> Result<(), String> {
    let value = |w: &String| w.parse().map_or_else(|_| Value::Str(w.clone()), Value::Int);
    let params = Params(words[1..].iter().map(value).collect());
    let answer = rpc::run(&words[0], &params);
    answer.map(drop).map_err(|e| format!("{}: {e}", words[0]))
}

/// Sets the time on the wall, UTC.
fn set_clock(text: &str) -> Result<(), String> {
    let formats = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"];
    let time = formats
        .iter()
        .find_map(|f| chrono::NaiveDateTime::parse_from_str(text, f).ok());
    let time = time.ok_or(format!("no time: {text}; write 2026-01-31 12:00"))?;
    olelo_core::timer::set_wall(time.and_utc().timestamp_millis().unsigned_abs());
    Ok(())
}
