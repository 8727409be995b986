//! Raw tokens to the parser's tokens: conditions, defines, substitutions and includes resolved.
//!
//! A define replaces an identifier by the tokens of its value (never inside strings or
//! pseudo-variables); a `#!subst` works inside strings only. The tokens of a value carry the span of the
//! place that used the name. All that a short text can multiply is bounded: files, depth of includes and
//! of expansions, tokens, bytes that defines and substitutions make, faults. What passes a bound is an
//! error, and reading ends there.

use crate::diagnostic::{Diagnostic, nearest};
use crate::ifexp::{self, Val};
use crate::lexer::{DIRECTIVES, Lexer, Tok, Token};
use crate::source::{FileId, SourceMap, Span};
use crate::subst::Subst;
use crate::{Options, SubstKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// More tokens than any configuration has; stops `#!define` chains that double at every step.
const MAX_TOKENS: usize = 1_000_000;
const MAX_EXPANSION_DEPTH: usize = 64;
/// Most work of defines and substitutions: bytes read out of values or added to strings, and what a
/// use costs besides.
const MAX_MADE: usize = 8 << 20;
/// What one use of a define costs: names that double at every step may end in nothing.
const USE_COST: usize = 64;
/// So many bytes of a string are searched at the cost of one made.
const SEARCHED: usize = 16;
/// Most substitutions: each is compiled, and tried on every string behind it.
const MAX_SUBSTS: usize = 200;
/// Reading ends after so many errors.
const MAX_ERRORS: usize = 1000;

#[derive(Debug, Clone)]
pub(crate) struct Define {
    pub value: Option<String>,
    pub span: Option<Span>,
}

pub(crate) struct Preprocessor<'o> {
    options: &'o Options,
    pub sources: SourceMap,
    pub diagnostics: Vec<Diagnostic>,
    pub files: Vec<(PathBuf, Vec<u8>)>,
    pub defines: BTreeMap<String, Define>,
    pub tokens: Vec<Token>,
    substs: Vec<Subst>,
    /// Bytes made by defines and substitutions.
    made: usize,
    errors: usize,
    /// A bound is passed, and the error for it is written.
    overflowed: bool,
}

/// One `#!if…` being read.
struct Branch {
    span: Span,
    /// Some branch of it has been taken already.
    taken: bool,
    in_else: bool,
}

/// Most files that are read: two that include each other twice would be read without end.
const MOST_FILES: usize = 1000;

impl<'o> Preprocessor<'o> {
    pub fn new(options: &'o Options) -> Self {
        let mut this = Self {
            options,
            sources: SourceMap::default(),
            diagnostics: Vec::new(),
            files: Vec::new(),
            defines: BTreeMap::new(),
            tokens: Vec::new(),
            substs: Vec::new(),
            made: 0,
            errors: 0,
            overflowed: false,
        };
        for (name, value) in options.predefined.iter().chain(&options.defines) {
            this.defines.insert(
                name.clone(),
                Define {
                    value: value.clone(),
                    span: None,
                },
            );
        }
        for (kind, text) in &options.substs {
            let file = this.sources.add("<command line>", None, text.clone(), None);
            this.subst(*kind, text, Span::new(file, 0, text.len()));
        }
        this
    }

    /// Reads a file as the start of the configuration.
    pub fn main_file(&mut self, path: &Path) {
        match self.options.files.read(path) {
            Ok(bytes) => self.bytes(path, bytes, None, 0),
            Err(e) => {
                let file =
                    self.sources
                        .add(path.display().to_string(), Some(path), String::new(), None);
                let message = format!("cannot read the configuration file {}: {e}", path.display());
                self.diagnostics.push(Diagnostic::error(
                    "unreadable-file",
                    message,
                    Span::new(file, 0, 0),
                ));
            }
        }
    }

    /// Reads a text as the start of the configuration.
    pub fn main_text(&mut self, name: &str, text: &str) {
        let file = self
            .sources
            .add(name, Some(Path::new(name)), text.to_owned(), None);
        self.text(file, text, 0);
    }

    fn bytes(&mut self, path: &Path, bytes: Vec<u8>, at: Option<Span>, depth: usize) {
        if let Some(at) = at.filter(|_| self.files.len() >= MOST_FILES) {
            let message = format!("more than {MOST_FILES} files are included");
            return self.overflow("deep-include", message, at);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let broken = std::str::from_utf8(&bytes).err().map(|e| e.valid_up_to());
        let file = self
            .sources
            .add(path.display().to_string(), Some(path), text.clone(), at);
        if let Some(offset) = broken {
            let span = Span::new(file, offset, offset + 1);
            let message = "this file is not UTF-8; such bytes become U+FFFD";
            self.diagnostics
                .push(Diagnostic::warning("not-utf8", message, span));
        }
        self.files.push((path.to_path_buf(), bytes));
        self.text(file, &text, depth);
    }

    fn text(&mut self, file: FileId, text: &str, depth: usize) {
        let mut lexer = Lexer::new(text, file);
        let mut branches: Vec<Branch> = Vec::new();
        let mut event_name = false;
        loop {
            if self.overflowed {
                break;
            }
            let token = lexer.token();
            match token.tok {
                Tok::Eof => break,
                Tok::Directive {
                    ref word,
                    ref rest,
                    rest_at,
                } => {
                    let at = Span::new(file, rest_at, rest_at + rest.len());
                    if is_condition(word) {
                        self.condition(&mut lexer, &mut branches, token.span, word, rest, at);
                    } else {
                        self.directive(token.span, word, rest, at, depth);
                    }
                }
                Tok::Ident(ref word) if word == "include_file" || word == "import_file" => {
                    let must = word == "include_file";
                    let next = lexer.token();
                    let mut name = Vec::new();
                    self.expand(next.clone(), &mut Vec::new(), &mut name);
                    match name.first().map(|t| &t.tok) {
                        Some(Tok::Str(path)) => {
                            let path = path.clone();
                            self.include(&path, token.span.to(next.span), must, depth);
                        }
                        _ => self.error(
                            "bad-include",
                            format!("a file name in quotes must follow `{word}`"),
                            next.span,
                        ),
                    }
                }
                _ => {
                    // `event_route[tm:local-request]`: the words of the name are no defines.
                    event_name = match &token.tok {
                        Tok::Ident(word) if word == "event_route" => true,
                        Tok::P("]" | "{" | ";") => false,
                        _ => event_name,
                    };
                    if event_name {
                        self.push(token);
                    } else {
                        let mut out = Vec::new();
                        self.expand(token, &mut Vec::new(), &mut out);
                        out.into_iter().for_each(|t| self.push(t));
                    }
                }
            }
        }
        for branch in branches {
            let fault = Diagnostic::error(
                "open-condition",
                "different number of preprocessor directives: this condition has no #!endif",
                branch.span,
            )
            .with_help("add `#!endif` where it should end");
            self.diagnostics.push(fault);
        }
        self.diagnostics.append(&mut lexer.diagnostics);
        if depth == 0 {
            self.end(file, text.len());
        }
    }

    fn end(&mut self, file: FileId, at: usize) {
        let span = Span::new(file, at, at);
        self.tokens.push(Token {
            tok: Tok::Eof,
            span,
            glued: false,
            first: true,
        });
    }

    fn push(&mut self, token: Token) {
        if self.tokens.len() >= MAX_TOKENS {
            return self.too_large(token.span);
        }
        // Neighbouring strings are one.
        if let (
            Tok::Str(next),
            Some(Token {
                tok: Tok::Str(last),
                span,
                ..
            }),
        ) = (&token.tok, self.tokens.last_mut())
        {
            last.push_str(next);
            *span = span.to(token.span);
            return;
        }
        self.tokens.push(token);
    }

    fn expand(&mut self, token: Token, active: &mut Vec<String>, out: &mut Vec<Token>) {
        if self.overflowed {
            return;
        }
        if out.len() >= MAX_TOKENS {
            return self.too_large(token.span);
        }
        match &token.tok {
            Tok::Str(text) if !self.substs.is_empty() => {
                let mut value = text.clone();
                for subst in &self.substs {
                    self.made += value.len() / SEARCHED;
                    let room = MAX_MADE.saturating_sub(self.made);
                    let Some(next) = subst.apply(&value, value.len() + room) else {
                        return self.too_large(token.span);
                    };
                    self.made += next.len().saturating_sub(value.len());
                    value = next;
                }
                out.push(Token {
                    tok: Tok::Str(value),
                    ..token
                });
            }
            Tok::Ident(name) => {
                let Some(define) = self.defines.get(name) else {
                    return out.push(token);
                };
                let Some(value) = define.value.clone() else {
                    return;
                };
                if active.contains(name) || active.len() >= MAX_EXPANSION_DEPTH {
                    let message = format!("the define `{name}` is made of itself");
                    return self.error("endless-define", message, token.span);
                }
                self.made += value.len() + USE_COST;
                if self.made > MAX_MADE {
                    return self.too_large(token.span);
                }
                active.push(name.clone());
                let mut lexer = Lexer::new(&value, token.span.file);
                let mut lead = true;
                loop {
                    let mut inner = lexer.token();
                    if inner.tok == Tok::Eof || self.overflowed {
                        break;
                    }
                    inner.span = token.span;
                    inner.first = lead && token.first;
                    inner.glued = if lead { token.glued } else { inner.glued };
                    lead = false;
                    self.expand(inner, active, out);
                }
                for fault in lexer.diagnostics {
                    let message = format!("in the value of `{name}`: {}", fault.message);
                    self.error(fault.code, message, token.span);
                }
                active.pop();
            }
            _ => out.push(token),
        }
    }

    fn condition(
        &mut self,
        lexer: &mut Lexer<'_>,
        branches: &mut Vec<Branch>,
        span: Span,
        word: &str,
        rest: &str,
        at: Span,
    ) {
        match word {
            "else" => match branches.last_mut() {
                Some(branch) if !branch.in_else => {
                    branch.in_else = true;
                    if branch.taken {
                        self.skip(lexer, branches);
                    }
                }
                Some(branch) => {
                    let first = branch.span;
                    let fault =
                        Diagnostic::error("stray-else", "a second #!else for one condition", span)
                            .with_note(first, "the condition");
                    self.diagnostics.push(fault);
                }
                None => self.error("stray-else", "#!else without #!ifdef", span),
            },
            "endif" => {
                if branches.pop().is_none() {
                    self.error("stray-endif", "#!endif without #!ifdef", span);
                }
            }
            _ => {
                let taken = self.holds(word, rest, span, at);
                branches.push(Branch {
                    span,
                    taken,
                    in_else: false,
                });
                if !taken {
                    self.skip(lexer, branches);
                }
            }
        }
    }

    /// Steps over a dead branch: up to the `#!else` or `#!endif` of the innermost condition.
    fn skip(&mut self, lexer: &mut Lexer<'_>, branches: &mut Vec<Branch>) {
        let mut nested = 0usize;
        while let Some(token) = lexer.skip_to_directive() {
            let Tok::Directive { word, .. } = &token.tok else {
                continue;
            };
            match word.as_str() {
                "ifdef" | "ifndef" | "ifexp" => nested += 1,
                "endif" if nested > 0 => nested -= 1,
                "endif" => {
                    branches.pop();
                    return;
                }
                "else" if nested == 0 => match branches.last_mut() {
                    Some(branch) if !branch.in_else => {
                        branch.in_else = true;
                        if !branch.taken {
                            branch.taken = true;
                            return;
                        }
                    }
                    _ => self.error(
                        "stray-else",
                        "a second #!else for one condition",
                        token.span,
                    ),
                },
                _ => {}
            }
        }
    }

    fn holds(&mut self, word: &str, rest: &str, span: Span, at: Span) -> bool {
        if word == "ifexp" {
            return match self.evaluate(rest) {
                Ok(value) => value.truth(),
                Err(why) => {
                    self.error(
                        "bad-ifexp",
                        format!("cannot evaluate this expression: {why}"),
                        at,
                    );
                    false
                }
            };
        }
        let (name, more) = split_word(rest);
        if name.is_empty() {
            self.error(
                "bad-directive",
                format!("a name must follow #!{word}"),
                span,
            );
            return false;
        }
        let more = strip_comment(more);
        if !more.is_empty() {
            let fault = Diagnostic::warning(
                "ignored-text",
                format!("text after the name of #!{word} is ignored"),
                at,
            )
            .with_help("use #!ifexp for an expression");
            self.diagnostics.push(fault);
        }
        self.defines.contains_key(name) == (word == "ifdef")
    }

    fn evaluate(&self, text: &str) -> Result<Val, String> {
        ifexp::evaluate(text, &|name| {
            self.defines.get(name).map(|d| d.value.clone())
        })
    }

    fn directive(&mut self, span: Span, word: &str, rest: &str, at: Span, depth: usize) {
        match word {
            "define" | "def" => self.define(rest, span, at, true, true),
            "trydefine" | "trydef" => self.define(rest, span, at, false, false),
            "redefine" | "redef" => self.define(rest, span, at, true, false),
            "undefine" | "undef" | "tryundefine" | "tryundef" => {
                self.defines.remove(split_word(rest).0);
            }
            "defexp" | "defexps" => self.define_expression(rest, span, at, word == "defexps"),
            "defenv" | "defenvs" | "trydefenv" | "trydefenvs" => {
                self.define_env(word, rest, span, at)
            }
            "subst" | "substdef" | "substdefs" => {
                let kind = match word {
                    "subst" => SubstKind::Subst,
                    "substdef" => SubstKind::SubstDef,
                    _ => SubstKind::SubstDefs,
                };
                match quoted(rest) {
                    Some(text) => self.subst(kind, &text, at),
                    None => self.error(
                        "bad-subst",
                        format!("#!{word} needs \"/regex/text/flags\" in quotes"),
                        at,
                    ),
                }
            }
            "include_file" | "import_file" => match quoted(rest) {
                Some(path) => self.include(&path, span, word == "include_file", depth),
                None => self.error(
                    "bad-include",
                    format!("a file name in quotes must follow #!{word}"),
                    at,
                ),
            },
            mark if DIRECTIVES.contains(&mark) => {}
            other => {
                let mut fault = Diagnostic::warning(
                    "unknown-directive",
                    format!("#!{other} is no directive and is taken for a comment"),
                    span,
                );
                match nearest(other, DIRECTIVES) {
                    Some(name) => fault = fault.with_help(format!("did you mean `#!{name}`?")),
                    // `#!/usr/sbin/kamailio` and decoration such as `#!----` are plain comments.
                    None => return,
                }
                self.diagnostics.push(fault);
            }
        }
    }

    fn define(&mut self, rest: &str, span: Span, at: Span, replace: bool, complain: bool) {
        let (name, value) = split_word(rest);
        if name.is_empty() {
            return self.error(
                "bad-define",
                "a name of letters, digits and `_` must follow #!define",
                at,
            );
        }
        if complain {
            if let Some(old) = self.defines.get(name).and_then(|d| d.span) {
                let fault = Diagnostic::error(
                    "double-define",
                    format!("`{name}` is defined already"),
                    span,
                )
                .with_help("use #!redefine to change it, or #!trydefine to keep the first")
                .with_note(old, "first defined");
                return self.diagnostics.push(fault);
            }
            // What the command line defined wins over the file.
            if self.defines.contains_key(name) {
                return;
            }
        }
        if replace || !self.defines.contains_key(name) {
            let value = value.trim();
            let value = (!value.is_empty()).then(|| value.to_owned());
            self.defines.insert(
                name.to_owned(),
                Define {
                    value,
                    span: Some(span),
                },
            );
        }
    }

    fn define_expression(&mut self, rest: &str, span: Span, at: Span, quote: bool) {
        let (name, text) = split_word(rest);
        match self.evaluate(text) {
            Ok(value) if !name.is_empty() => {
                let value = match (quote, value) {
                    (false, Val::Int(n)) => n.to_string(),
                    (_, value) => quote_value(&value.to_string()),
                };
                self.defines.insert(
                    name.to_owned(),
                    Define {
                        value: Some(value),
                        span: Some(span),
                    },
                );
            }
            Ok(_) => self.error("bad-define", "a name must follow #!defexp", at),
            Err(why) => self.error(
                "bad-ifexp",
                format!("cannot evaluate this expression: {why}"),
                at,
            ),
        }
    }

    fn define_env(&mut self, word: &str, rest: &str, span: Span, at: Span) {
        let text = strip_comment(rest.trim());
        let (name, env) = match text.split_once('=') {
            Some((name, env)) => (name.trim(), env.trim()),
            None => (text, text),
        };
        if split_word(name) != (name, "") || name.is_empty() {
            return self.error(
                "bad-define",
                format!("#!{word} needs NAME or NAME=VARIABLE"),
                at,
            );
        }
        match self.options.env.get(env) {
            Some(value) if !self.defines.contains_key(name) || word.starts_with("def") => {
                let value = if word.ends_with('s') {
                    quote_value(&value)
                } else {
                    value
                };
                let value = (!value.is_empty()).then_some(value);
                self.defines.insert(
                    name.to_owned(),
                    Define {
                        value,
                        span: Some(span),
                    },
                );
            }
            Some(_) => {}
            None if word.starts_with("try") => {}
            None => {
                let fault = Diagnostic::error(
                    "no-such-env",
                    format!("the environment has no variable `{env}`"),
                    at,
                )
                .with_help(format!("set it, or use #!try{word}"));
                self.diagnostics.push(fault);
            }
        }
    }

    fn subst(&mut self, kind: SubstKind, text: &str, at: Span) {
        if self.substs.len() >= MAX_SUBSTS {
            let message = format!("more than {MAX_SUBSTS} substitutions");
            return self.overflow("too-large", message, at);
        }
        match Subst::parse(text) {
            Ok(subst) => {
                let value = match kind {
                    SubstKind::Subst => None,
                    SubstKind::SubstDef => Some(subst.text().to_owned()),
                    SubstKind::SubstDefs => Some(quote_value(subst.text())),
                };
                if let Some(value) = value {
                    let define = Define {
                        value: Some(value),
                        span: Some(at),
                    };
                    self.defines.insert(subst.pattern().to_owned(), define);
                }
                self.substs.push(subst);
            }
            Err(why) => self.error("bad-subst", why, at),
        }
    }

    fn include(&mut self, name: &str, at: Span, must: bool, depth: usize) {
        if depth >= self.options.max_include_depth {
            let most = self.options.max_include_depth;
            let fault = Diagnostic::error(
                "deep-include",
                format!("files are included more than {most} deep"),
                at,
            )
            .with_help("does a file include itself?");
            return self.diagnostics.push(fault);
        }
        let here = self.sources.file(at.file).and_then(|f| f.path.clone());
        let beside = here
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(Path::new(""))
            .join(name);
        if name.contains(['*', '?', '[']) {
            return self.include_all(&beside, at, must, depth);
        }
        let mut tried = vec![beside];
        if Path::new(name) != tried[0] && Path::new(name).is_relative() {
            tried.push(PathBuf::from(name));
        }
        let mut fault = None;
        for path in tried {
            match self.options.files.read(&path) {
                Ok(bytes) => return self.bytes(&path, bytes, Some(at), depth + 1),
                Err(e) if fault.is_none() => fault = Some((path, e)),
                Err(_) => {}
            }
        }
        let Some((path, e)) = fault else { return };
        if must || e.kind() != std::io::ErrorKind::NotFound {
            let fault = Diagnostic::error(
                "unreadable-file",
                format!("cannot read {}: {e}", path.display()),
                at,
            )
            .with_help("import_file does not mind a missing file");
            self.diagnostics.push(fault);
        }
    }

    fn include_all(&mut self, pattern: &Path, at: Span, must: bool, depth: usize) {
        let shown = pattern.display().to_string();
        match self.options.files.glob(&shown) {
            Ok(paths) if paths.is_empty() && must => {
                self.error("unreadable-file", format!("no file matches {shown}"), at);
            }
            Ok(paths) => {
                for path in paths {
                    if self.overflowed {
                        return;
                    }
                    match self.options.files.read(&path) {
                        Ok(bytes) => self.bytes(&path, bytes, Some(at), depth + 1),
                        Err(e) => self.error(
                            "unreadable-file",
                            format!("cannot read {}: {e}", path.display()),
                            at,
                        ),
                    }
                }
            }
            Err(e) => self.error(
                "bad-include",
                format!("{shown} is no file pattern: {e}"),
                at,
            ),
        }
    }

    fn error(&mut self, code: &'static str, message: impl Into<String>, span: Span) {
        self.errors += 1;
        self.overflowed |= self.errors >= MAX_ERRORS;
        self.diagnostics
            .push(Diagnostic::error(code, message, span));
    }

    fn too_large(&mut self, span: Span) {
        let message = "the configuration is too large once its defines are expanded";
        self.overflow("too-large", message, span);
    }

    /// A bound is passed: says so once, and reading ends.
    fn overflow(&mut self, code: &'static str, message: impl Into<String>, span: Span) {
        if !self.overflowed {
            self.overflowed = true;
            self.error(code, message, span);
        }
    }
}

fn is_condition(word: &str) -> bool {
    matches!(word, "ifdef" | "ifndef" | "ifexp" | "else" | "endif")
}

/// The first word (a define's name) and what follows it.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let len = text
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
        .count();
    text.split_at(len)
}

fn strip_comment(text: &str) -> &str {
    let end = [text.find('#'), text.find("//"), text.find("/*")]
        .into_iter()
        .flatten()
        .min();
    text.get(..end.unwrap_or(text.len())).unwrap_or(text).trim()
}

/// The string in quotes that starts `text`. Backslashes stay: substitutions need them.
fn quoted(text: &str) -> Option<String> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inside = text.get(1..)?;
    inside
        .rfind(quote)
        .and_then(|end| inside.get(..end))
        .map(str::to_owned)
}

fn quote_value(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}
