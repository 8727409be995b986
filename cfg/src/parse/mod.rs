//! Tokens to the tree, by recursive descent, going on after every fault.
//!
//! A function that cannot read what it should returns `Err(Reported)`: the diagnostic is already in the
//! list, and only the nearest loop (statements of a block, items of the top level) catches it and steps to
//! the next place worth reading. So one fault gives one diagnostic. Nesting is bounded by [`MAX_DEPTH`].

mod address;
mod call;
mod expr;
pub(crate) use expr::{level, spelling};
mod route;
mod toplevel;

use crate::ast::Config;
use crate::diagnostic::Diagnostic;
use crate::lexer::{Tok, Token};
use crate::params;
use crate::source::{FileId, Span};

/// Deeper nesting of blocks and expressions than this is refused (each level is a few stack frames).
const MAX_DEPTH: usize = 200;

/// More operators than this in one statement are refused: it bounds the height of an expression's tree, which
/// everything after the parser walks by recursion.
const MAX_OPERATORS: usize = 2000;

/// After so many errors the rest is not worth reading to a person.
const MAX_ERRORS: usize = 100;

/// A fault that is in the list of diagnostics already.
#[derive(Debug)]
pub(crate) struct Reported;

pub(crate) type Res<T> = Result<T, Reported>;

pub(crate) struct Parser {
    tokens: Vec<Token>,
    pos: usize,
    depth: usize,
    errors: usize,
    /// Operators in the statement being read.
    operators: usize,
    /// Where an unclosed block was noticed last.
    unclosed_at: Option<usize>,
    eof: Token,
    pub config: Config,
    pub diagnostics: Vec<Diagnostic>,
    /// Names of known defines, for "did you mean".
    defines: Vec<String>,
}

impl Parser {
    pub fn new(tokens: Vec<Token>, defines: Vec<String>) -> Self {
        let eof = tokens.last().cloned().unwrap_or(Token {
            tok: Tok::Eof,
            span: Span::new(FileId(0), 0, 0),
            glued: false,
            first: true,
        });
        Self {
            tokens,
            pos: 0,
            depth: 0,
            errors: 0,
            operators: 0,
            unclosed_at: None,
            eof,
            config: Config::default(),
            diagnostics: Vec::new(),
            defines,
        }
    }

    /// Reads everything.
    pub fn run(&mut self) {
        while !self.at_end() && self.errors < MAX_ERRORS {
            let before = self.pos;
            if self.item().is_err() {
                self.recover_item(before);
            }
            if self.pos == before {
                self.pos += 1;
            }
        }
    }

    // ---- looking and stepping

    fn peek(&self) -> &Token {
        self.ahead(0)
    }

    fn ahead(&self, n: usize) -> &Token {
        self.tokens.get(self.pos + n).unwrap_or(&self.eof)
    }

    fn tok(&self) -> &Tok {
        &self.peek().tok
    }

    fn at_end(&self) -> bool {
        *self.tok() == Tok::Eof
    }

    fn bump(&mut self) -> Token {
        let token = self.peek().clone();
        if self.pos < self.tokens.len() {
            self.pos += 1;
        }
        token
    }

    /// The span of the token before this one.
    fn last_span(&self) -> Span {
        self.pos
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .map_or(self.eof.span, |t| t.span)
    }

    fn is(&self, punct: &str) -> bool {
        self.is_ahead(0, punct)
    }

    fn is_ahead(&self, n: usize, punct: &str) -> bool {
        matches!(&self.ahead(n).tok, Tok::P(p) if *p == punct)
    }

    fn eat(&mut self, punct: &str) -> bool {
        let yes = self.is(punct);
        if yes {
            self.pos += 1;
        }
        yes
    }

    fn word(&self) -> Option<&str> {
        self.word_ahead(0)
    }

    fn word_ahead(&self, n: usize) -> Option<&str> {
        match &self.ahead(n).tok {
            Tok::Ident(word) => Some(word),
            _ => None,
        }
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let yes = self.word() == Some(word);
        if yes {
            self.pos += 1;
        }
        yes
    }

    // ---- reporting

    fn report(&mut self, fault: Diagnostic) -> Reported {
        self.errors += 1;
        self.diagnostics.push(fault);
        Reported
    }

    fn fail<T>(&mut self, code: &'static str, message: impl Into<String>, span: Span) -> Res<T> {
        Err(self.report(Diagnostic::error(code, message, span)))
    }

    /// "expected X, found Y" at the current token.
    fn unexpected<T>(&mut self, expected: &[&str]) -> Res<T> {
        let found = describe(self.tok());
        let wanted: Vec<String> = expected.iter().map(|s| (*s).to_owned()).collect();
        let span = self.peek().span;
        let fault =
            Diagnostic::error("syntax", format!("unexpected {found}"), span).with_expected(wanted);
        Err(self.report(fault))
    }

    /// Steps over a punctuation that must stand here.
    fn expect(&mut self, punct: &str) -> Res<Span> {
        if self.is(punct) {
            return Ok(self.bump().span);
        }
        let quoted = format!("`{punct}`");
        // What is missing belongs after the last token, when this one is on another line.
        if self.peek().first || self.at_end() {
            let span = self.last_span().after();
            let fault = Diagnostic::error("syntax", format!("{quoted} is missing"), span)
                .with_note(self.peek().span, format!("before {}", describe(self.tok())));
            return Err(self.report(fault));
        }
        self.unexpected(&[&quoted])
    }

    /// A bracket that closes the one at `open`.
    fn expect_close(&mut self, punct: &str, open: Span) -> Res<Span> {
        if self.is(punct) {
            return Ok(self.bump().span);
        }
        let result = self.expect(punct);
        if let Some(fault) = self.diagnostics.last_mut() {
            fault.notes.push((open, "it would close this".into()));
        }
        result
    }

    fn expect_string(&mut self, what: &str) -> Res<(String, Span)> {
        match self.tok() {
            Tok::Str(text) => {
                let text = text.clone();
                Ok((text, self.bump().span))
            }
            Tok::Ident(word) => {
                let help = self.quote_help(&word.clone());
                let span = self.peek().span;
                let fault = Diagnostic::error("syntax", format!("{what} must be in quotes"), span)
                    .with_help(help);
                Err(self.report(fault))
            }
            _ => self.unexpected(&[&format!("{what} in quotes")]),
        }
    }

    /// What a bare word where a value should be probably was.
    fn quote_help(&self, word: &str) -> String {
        match crate::diagnostic::nearest(word, self.defines.iter().map(String::as_str)) {
            Some(name) => {
                format!("did you mean the define `{name}`? A string needs quotes: \"{word}\"")
            }
            None => {
                format!("`{word}` is not defined by #!define; a string needs quotes: \"{word}\"")
            }
        }
    }

    // ---- nesting

    fn enter(&mut self) -> Res<()> {
        if self.depth >= MAX_DEPTH {
            let span = self.peek().span;
            // Reading on would report this once per level.
            self.pos = self.tokens.len();
            return self.fail(
                "too-deep",
                format!("nested more than {MAX_DEPTH} levels deep"),
                span,
            );
        }
        self.depth += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    // ---- going on after a fault

    /// To the next thing that starts a top-level item; `from` is where the broken one started.
    fn recover_item(&mut self, from: usize) {
        if self.pos == from {
            self.pos += 1;
        }
        let mut depth = 0usize;
        while !self.at_end() {
            if self.starts_route() || (self.peek().first && self.starts_directive()) {
                return;
            }
            match self.tok() {
                Tok::P("{") => depth += 1,
                Tok::P("}") => {
                    self.pos += 1;
                    if depth <= 1 {
                        self.eat(";");
                        return;
                    }
                    depth -= 1;
                    continue;
                }
                Tok::P(";") if depth == 0 => {
                    self.pos += 1;
                    return;
                }
                Tok::Ident(_)
                    if depth == 0
                        && self.peek().first
                        && self.pos > from
                        && self.starts_assignment() =>
                {
                    return;
                }
                _ => {}
            }
            self.pos += 1;
        }
    }

    /// After a broken statement: past its `;`, or to the `}` that ends the block, or to a line that starts a
    /// statement; nested braces are stepped over whole.
    fn recover_stmt(&mut self, from: usize) {
        if self.pos == from && !self.is("}") {
            self.pos += 1;
        }
        let mut depth = 0usize;
        while !self.at_end() && !self.starts_route() {
            match self.tok() {
                Tok::P("{") => depth += 1,
                Tok::P("}") if depth == 0 => return,
                Tok::P("}") => {
                    depth -= 1;
                    if depth == 0 {
                        self.pos += 1;
                        return;
                    }
                }
                Tok::P(";") if depth == 0 => {
                    self.pos += 1;
                    return;
                }
                Tok::Ident(_) | Tok::Pv(_)
                    if depth == 0 && self.peek().first && self.pos > from + 1 =>
                {
                    return;
                }
                _ => {}
            }
            self.pos += 1;
        }
    }

    /// `request_route {`, `route[x] {`, `event_route[…]` …: never inside a block, so a sure place to go on.
    fn starts_route(&self) -> bool {
        let Some(word) = self.word() else {
            return false;
        };
        if !route::is_route_word(word) {
            return false;
        }
        self.is_ahead(1, "{") || self.is_ahead(1, "[")
    }

    fn starts_directive(&self) -> bool {
        let string_next = matches!(self.ahead(1).tok, Tok::Str(_));
        match self.word() {
            Some("loadmodule" | "loadmodulex") => true,
            Some("loadpath" | "mpath" | "cfgengine") => string_next || self.is_ahead(1, "="),
            Some("modparam" | "modparamx") => self.is_ahead(1, "("),
            _ => false,
        }
    }

    /// Anything that surely starts an item of the top level.
    fn starts_item(&self) -> bool {
        self.starts_route() || self.starts_directive() || self.starts_assignment()
    }

    /// `name =` of a core parameter or `a.b =`.
    fn starts_assignment(&self) -> bool {
        let Some(word) = self.word() else {
            return false;
        };
        (self.is_ahead(1, "=") && params::find(word).is_some())
            || (self.is_ahead(1, ".") && self.word_ahead(2).is_some() && self.is_ahead(3, "="))
            || matches!(word, "flags" | "avpflags")
    }
}

/// A token as people would call it.
fn describe(tok: &Tok) -> String {
    match tok {
        Tok::Int(_, raw) => format!("number `{raw}`"),
        Tok::Str(text) => format!("string \"{}\"", shorten(text)),
        Tok::Ident(word) => format!("`{}`", shorten(word)),
        Tok::Pv(text) | Tok::Select(text) => format!("`{}`", shorten(text)),
        Tok::Regex(text) => format!("`/{}/`", shorten(text)),
        Tok::P(p) => format!("`{p}`"),
        Tok::Directive { word, .. } => format!("`#!{word}`"),
        Tok::Eof => "end of the configuration".into(),
    }
}

fn shorten(text: &str) -> String {
    let line: String = text
        .chars()
        .take(32)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.len() < text.len() {
        format!("{line}…")
    } else {
        line
    }
}
