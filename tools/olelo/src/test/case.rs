//! What a case file says: its declarations, its cases, their steps, each with its line.
//!
//! `doc/testing.md` tells the language, `parse.rs` reads it; nothing in either knows the server.

use std::path::PathBuf;

/// A file of cases.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// Where it was read from.
    pub path: PathBuf,
    /// `define NAME[=VALUE]`: what the configuration is read with.
    pub defines: Vec<(String, Option<String>)>,
    /// Its text.
    pub text: String,
    /// The cases.
    pub cases: Vec<Case>,
}

/// A named case.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// What follows `==`.
    pub name: String,
    /// Its line, from 1.
    pub line: usize,
    /// What the file declares for all its cases, and then its own steps.
    pub steps: Vec<Step>,
}

/// A step.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its line, from 1.
    pub line: usize,
    /// The line after its last.
    pub end: usize,
    /// What it says.
    pub what: What,
}

/// What a step says.
#[derive(Debug, Clone)]
pub enum What {
    /// `hosts ADDRESS NAME…`.
    Hosts(Vec<String>),
    /// `phone NAME URI at ADDRESS`.
    Phone(Phone),
    /// `ignore STATUS|METHOD`: such messages need no expectation.
    Ignore(String),
    /// `clock 2026-01-31 12:00[:00]`: the time on the wall, UTC.
    Clock(String),
    /// `given $pv = VALUE`.
    Set(String, String),
    /// `given contact PHONE|AOR [URI]`.
    Contact(String, Option<String>),
    /// `rpc NAME ARG…`.
    Rpc(Vec<String>),
    /// A request arrives.
    Receive(Receive),
    /// A reply to a relayed request arrives.
    Reply(Reply),
    /// `after TIME`, milliseconds.
    After(u64),
    /// `expect …`.
    Expect(Expect),
}

/// A phone: a name for an address of record and the place it sends from.
#[derive(Debug, Clone, PartialEq)]
pub struct Phone {
    /// As steps call it.
    pub name: String,
    /// Its address of record.
    pub uri: String,
    /// `udp:192.0.2.10:5060`.
    pub address: String,
}

/// `receive …`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Receive {
    /// `raw`: the block is the message, nothing is filled in.
    pub raw: bool,
    /// `again`: the last message once more.
    pub again: bool,
    /// Method, where the message is described.
    pub method: Option<String>,
    /// Request URI.
    pub uri: Option<String>,
    /// `in dialog`.
    pub in_dialog: bool,
    /// `from PHONE|ADDRESS`.
    pub from: Option<String>,
    /// `at ADDRESS`.
    pub at: Option<String>,
    /// `N times`, one after the other.
    pub times: Option<usize>,
    /// `with USER:PASSWORD`.
    pub with: Option<String>,
    /// Headers that matter and the body; or the whole message.
    pub block: Vec<String>,
}

/// `reply STATUS [REASON] [from PHONE|ADDRESS] [to NAME]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
    /// Whose: the last request that was sent there.
    pub from: Option<String>,
    /// To which: the name that `as` gave.
    pub to: Option<String>,
    /// Headers and body.
    pub block: Vec<String>,
}

/// What is expected.
#[derive(Debug, Clone, PartialEq)]
pub enum Expect {
    /// Nothing is sent.
    Nothing,
    /// A message is sent.
    Message(Message),
    /// A line of the log: level, text.
    Log(Option<String>, Text),
    /// A script error.
    Error(Text),
    /// A pseudo-variable, the operator, the value.
    Value(String, Operator, Text),
}

/// A message that is expected.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// Status or method.
    pub first: String,
    /// Reason phrase or request URI, where it matters.
    pub rest: Option<String>,
    /// `to PHONE|ADDRESS`.
    pub to: Option<String>,
    /// `as NAME`.
    pub name: Option<String>,
    /// Headers and body, where they matter.
    pub block: Vec<String>,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Is,
    /// `!=`
    IsNot,
    /// `=~`
    Matches,
}

/// A text to compare with: as it is, or a pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum Text {
    /// `"…"`, a number, a word.
    Plain(String),
    /// `/…/`.
    Pattern(String),
    /// `null`: no value.
    Null,
}
