//! Bytes to raw tokens: one file (or one define's value) at a time, nothing expanded yet.
//!
//! The lexer knows comments, numbers, strings with their escapes, pseudo-variables, selects and
//! preprocessor lines. It does not know keywords: those are identifiers until the parser asks. It never
//! fails: what it cannot read becomes a diagnostic and is stepped over.

use crate::diagnostic::Diagnostic;
use crate::pv::PvSpec;
use crate::source::{FileId, Span};

/// A token with where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub tok: Tok,
    pub span: Span,
    /// No white space or comment stands between this and the token before.
    pub glued: bool,
    /// This is the first token of its line.
    pub first: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tok {
    /// A number, with its digits as written (addresses are put together from those).
    Int(i64, String),
    Str(String),
    Ident(String),
    /// `$…`, whole.
    Pv(String),
    /// `@…`, whole.
    Select(String),
    /// The inside of `/…/` after `case`.
    Regex(String),
    /// An operator or bracket.
    P(&'static str),
    /// `#!word rest`.
    Directive {
        word: String,
        rest: String,
        rest_at: usize,
    },
    Eof,
}

/// Operators and brackets, the longer before their prefixes.
const PUNCTUATION: [&str; 42] = [
    "||", "&&", "==", "=~", "!=", "!~", "<<", ">>", "<=", ">=", "+=", "-=", "*=", "/=", "(", ")",
    "{", "}", "[", "]", ";", ",", ":", ".", "=", "<", ">", "+", "-", "*", "/", "%", "!", "~", "&",
    "|", "^", "?", "@", "$", "\\", "`",
];

/// Words that may follow `#!` (or `!!` at the start of a line).
pub(crate) const DIRECTIVES: [&str; 33] = [
    "define",
    "def",
    "trydefine",
    "trydef",
    "redefine",
    "redef",
    "undefine",
    "undef",
    "tryundefine",
    "tryundef",
    "defexp",
    "defexps",
    "defenv",
    "defenvs",
    "trydefenv",
    "trydefenvs",
    "ifdef",
    "ifndef",
    "ifexp",
    "else",
    "endif",
    "subst",
    "substdef",
    "substdefs",
    "include_file",
    "import_file",
    "KAMAILIO",
    "OPENSER",
    "SER",
    "ALL",
    "MAXCOMPAT",
    "kamailio",
    "ser",
];

pub(crate) struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
    file: FileId,
    first: bool,
    after_case: bool,
    pub diagnostics: Vec<Diagnostic>,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str, file: FileId) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            pos: 0,
            file,
            first: true,
            after_case: false,
            diagnostics: Vec::new(),
        }
    }

    /// The next token; [`Tok::Eof`] for ever at the end.
    pub fn token(&mut self) -> Token {
        loop {
            let before = self.pos;
            self.blanks();
            let glued = self.pos == before && before > 0;
            let start = self.pos;
            let first = std::mem::replace(&mut self.first, false);
            let Some(byte) = self.bytes.get(start).copied() else {
                return self.make(Tok::Eof, start, glued, first);
            };
            if let Some(tok) = self.directive(byte, first) {
                self.after_case = false;
                return self.make(tok, start, glued, first);
            }
            let after_case = std::mem::replace(&mut self.after_case, false);
            if byte == b'/'
                && after_case
                && !matches!(self.byte(1), Some(b'"' | b'\''))
                && let Some(tok) = self.regex()
            {
                return self.make(tok, start, glued, first);
            }
            let tok = match byte {
                b'0'..=b'9' => self.number(),
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                    let word = self.word();
                    self.after_case = word == "case";
                    Tok::Ident(word)
                }
                b'"' => self.quoted(),
                b'\'' => self.ticked(),
                b'$' => self.pseudo_variable(),
                b'@' => self.select(),
                _ => match PUNCTUATION.iter().find(|p| self.rest().starts_with(**p)) {
                    Some(p) => {
                        self.pos += p.len();
                        Tok::P(p)
                    }
                    None => {
                        let c = self.rest().chars().next().unwrap_or(' ');
                        self.pos += c.len_utf8();
                        self.fault(
                            "bad-character",
                            format!("unexpected character {c:?}"),
                            start,
                        );
                        self.first = first;
                        continue;
                    }
                },
            };
            return self.make(tok, start, glued, first);
        }
    }

    /// Steps over lines, inside a condition that does not hold, up to the next directive.
    pub fn skip_to_directive(&mut self) -> Option<Token> {
        // Only what starts a line is looked at, so that broken text in a dead branch is no fault.
        while self.pos < self.bytes.len() {
            let line = self.rest();
            let trimmed = line.trim_start_matches([' ', '\t', '\r']);
            let start = self.pos + (line.len() - trimmed.len());
            let byte = trimmed.bytes().next();
            if trimmed.starts_with("#!") || trimmed.starts_with("!!") {
                self.pos = start;
                if let Some(tok) = self.directive(byte.unwrap_or(b'#'), true) {
                    return Some(self.make(tok, start, false, true));
                }
            }
            self.pos = line
                .find('\n')
                .map_or(self.bytes.len(), |n| self.pos + n + 1);
            self.first = true;
        }
        None
    }

    fn make(&self, tok: Tok, start: usize, glued: bool, first: bool) -> Token {
        Token {
            tok,
            span: Span::new(self.file, start, self.pos),
            glued,
            first,
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.pos..).unwrap_or("")
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.pos + ahead).copied()
    }

    fn fault(&mut self, code: &'static str, message: impl Into<String>, start: usize) {
        let span = Span::new(self.file, start, self.pos);
        self.diagnostics
            .push(Diagnostic::error(code, message, span));
    }

    /// Steps over white space and comments.
    fn blanks(&mut self) {
        while let Some(byte) = self.byte(0) {
            match byte {
                b'\n' => {
                    self.first = true;
                    self.pos += 1;
                }
                b if b.is_ascii_whitespace() || b == 0x0b => self.pos += 1,
                // A byte order mark at the very start is no text.
                0xef if self.pos == 0 && self.rest().starts_with('\u{feff}') => self.pos += 3,
                b'#' if !self.at_directive() => self.line_end(),
                b'/' if self.byte(1) == Some(b'/') => self.line_end(),
                b'/' if self.byte(1) == Some(b'*') => self.block_comment(),
                b'\\' if self.rest().starts_with("\\\n") || self.rest().starts_with("\\\r\n") => {
                    self.pos += 1
                }
                _ => break,
            }
        }
    }

    fn line_end(&mut self) {
        self.pos = self
            .rest()
            .find('\n')
            .map_or(self.bytes.len(), |n| self.pos + n);
    }

    fn block_comment(&mut self) {
        let start = self.pos;
        let body = self.text.get(start + 2..).unwrap_or("");
        match body.find("*/") {
            Some(n) => {
                self.first |= body.get(..n).is_some_and(|c| c.contains('\n'));
                self.pos = start + 2 + n + 2;
            }
            None => {
                self.pos = start + 2;
                self.fault("open-comment", "this comment is never closed", start);
                self.pos = self.bytes.len();
            }
        }
    }

    /// Whether `#!word` stands here, for a word the preprocessor acts on. `#!other` is a comment.
    fn at_directive(&self) -> bool {
        self.rest().strip_prefix("#!").is_some_and(|rest| {
            let word = leading_word(rest);
            !word.is_empty() && !rest.starts_with('/')
        })
    }

    fn directive(&mut self, byte: u8, first: bool) -> Option<Tok> {
        let start = self.pos;
        let marked = match byte {
            b'#' => self.at_directive(),
            b'!' if first => self
                .rest()
                .strip_prefix("!!")
                .is_some_and(|r| DIRECTIVES.contains(&leading_word(r))),
            _ => false,
        };
        if !marked {
            return None;
        }
        let word = leading_word(self.text.get(start + 2..).unwrap_or("")).to_owned();
        self.pos = start + 2 + word.len();
        // The rest of the line, and of the next ones while it ends in a backslash.
        let rest_at = self.pos;
        let mut rest = String::new();
        loop {
            let line = self.rest();
            let end = line.find('\n').unwrap_or(line.len());
            let piece = line.get(..end).unwrap_or("").trim_end_matches('\r');
            self.pos += end;
            match piece.strip_suffix('\\') {
                Some(piece) if self.pos < self.bytes.len() => {
                    rest.push_str(piece);
                    self.pos += 1;
                }
                _ => {
                    rest.push_str(piece);
                    break;
                }
            }
        }
        Some(Tok::Directive {
            word,
            rest,
            rest_at,
        })
    }

    fn word(&mut self) -> String {
        let word = leading_word(self.rest());
        self.pos += word.len();
        word.to_owned()
    }

    fn number(&mut self) -> Tok {
        let start = self.pos;
        let rest = self.rest();
        let (radix, prefix) = match rest.as_bytes() {
            [b'0', b'x' | b'X', d, ..] if d.is_ascii_hexdigit() => (16, 2),
            [b'0', b'b' | b'B', b'0' | b'1', ..] => (2, 2),
            _ => (10, 0),
        };
        let digits = rest.get(prefix..).unwrap_or("");
        let len = digits.chars().take_while(|c| c.is_digit(radix)).count();
        let digits = digits.get(..len).unwrap_or("");
        self.pos += prefix + len;
        let octal = radix == 10 && digits.len() > 1 && digits.starts_with('0');
        let radix = if octal && digits.bytes().all(|b| b < b'8') {
            8
        } else {
            radix
        };
        let value = i64::from_str_radix(digits, radix).unwrap_or_else(|_| {
            self.fault("big-number", "this number does not fit in 64 bits", start);
            i64::MAX
        });
        Tok::Int(
            value,
            self.text.get(start..self.pos).unwrap_or("").to_owned(),
        )
    }

    /// `"…"`: escapes are resolved, an unknown one keeps its backslash (regular expressions rely on it).
    fn quoted(&mut self) -> Tok {
        let start = self.pos;
        let limit = self.string_limit(start, b'"');
        let mut value = String::new();
        self.pos += 1;
        while self.pos < limit {
            let rest = self.text.get(self.pos..limit).unwrap_or("");
            let Some(stop) = rest.find(['"', '\\']) else {
                value.push_str(rest);
                break;
            };
            value.push_str(rest.get(..stop).unwrap_or(""));
            self.pos += stop;
            if self.byte(0) == Some(b'"') {
                self.pos += 1;
                return Tok::Str(value);
            }
            self.pos += 1;
            self.escape(&mut value);
        }
        self.pos = limit;
        Tok::Str(value)
    }

    /// What follows a backslash in a quoted string.
    fn escape(&mut self, value: &mut String) {
        let Some(c) = self.rest().chars().next() else {
            value.push('\\');
            return;
        };
        self.pos += c.len_utf8();
        match c {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            'a' => value.push('\x07'),
            '\\' | '"' => value.push(c),
            '\n' => {}
            '\r' if self.byte(0) == Some(b'\n') => self.pos += 1,
            'x' => match self.radix_digits(16, 2) {
                Some(n) => value.push(char::from(n)),
                None => value.push_str("\\x"),
            },
            '0'..='7' => {
                // One digit alone is a back-reference (`\1`), not a character.
                self.pos -= 1;
                let many = self.byte(1).is_some_and(|b| (b'0'..=b'7').contains(&b));
                match many.then(|| self.radix_digits(8, 3)).flatten() {
                    Some(n) if n > 0 => value.push(char::from(n)),
                    Some(_) => {}
                    None => value.push('\\'),
                }
            }
            other => {
                value.push('\\');
                value.push(other);
            }
        }
    }

    fn radix_digits(&mut self, radix: u32, most: usize) -> Option<u8> {
        let len = self
            .rest()
            .chars()
            .take(most)
            .take_while(|c| c.is_digit(radix))
            .count();
        let value = u32::from_str_radix(self.rest().get(..len)?, radix).ok()?;
        self.pos += len;
        u8::try_from(value & 0xff).ok()
    }

    /// `'…'`: nothing is special inside.
    fn ticked(&mut self) -> Tok {
        let start = self.pos;
        let limit = self.string_limit(start, b'\'');
        let inside = self.text.get(start + 1..limit).unwrap_or("");
        self.pos = limit;
        Tok::Str(inside.strip_suffix('\'').unwrap_or(inside).to_owned())
    }

    /// Where the string opened at `start` ends. One that is never closed, or closes on a later line right
    /// before text (so that its "end" is the start of another string), is reported and ends on its own line.
    fn string_limit(&mut self, start: usize, quote: u8) -> usize {
        let mut at = start + 1;
        let mut end = None;
        while let Some(byte) = self.bytes.get(at) {
            match byte {
                b'\\' if quote == b'"' => at += 1,
                b if *b == quote => {
                    end = Some(at + 1);
                    break;
                }
                _ => {}
            }
            at += 1;
        }
        let line_end = self
            .text
            .get(start..)
            .and_then(|t| t.find('\n'))
            .map_or(self.bytes.len(), |n| start + n);
        if let Some(end) = end {
            let follows = self.bytes.get(end).copied().unwrap_or(b' ');
            let text_follows = follows.is_ascii_alphanumeric()
                || matches!(follows, b'$' | b'%' | b'_' | b'[' | b':');
            if end <= line_end || !text_follows {
                return end;
            }
        }
        // Its line: give back the closing `);` so that the rest of the statement still reads.
        let line = self.text.get(start..line_end).unwrap_or("");
        let kept = line
            .trim_end_matches([')', ';', ' ', '\t', '\r', '}', '{', ','])
            .len()
            .max(1);
        let span = Span::new(self.file, start, start + kept);
        self.diagnostics.push(
            Diagnostic::error("open-string", "this string is never closed", span)
                .with_help(format!("add `{}` where it should end", char::from(quote))),
        );
        start + kept
    }

    fn pseudo_variable(&mut self) -> Tok {
        let start = self.pos;
        match PvSpec::parse(self.rest()) {
            Ok((_, len)) => {
                self.pos += len;
                Tok::Pv(self.text.get(start..self.pos).unwrap_or("").to_owned())
            }
            Err(why) => {
                // Step over the likely extent: up to a blank or what ends an expression.
                let stop = |c: char| c.is_whitespace() || matches!(c, ';' | '=' | ',');
                let given = self.rest().split(stop).next().unwrap_or("$");
                let opened = given.matches('(').count();
                let mut kept = given;
                while kept.matches(')').count() > opened && kept.ends_with(')') {
                    kept = kept.strip_suffix(')').unwrap_or("");
                }
                self.pos += kept.len().max(1);
                self.fault("bad-pseudo-variable", why, start);
                Tok::Pv("$null".into())
            }
        }
    }

    /// `@name`, then `.name`, `[number]` or `["key"]` without blanks.
    fn select(&mut self) -> Tok {
        let start = self.pos;
        self.pos += 1;
        self.word();
        loop {
            let rest = self.rest();
            let step = match rest.as_bytes() {
                [b'.', b, ..] if b.is_ascii_alphabetic() || *b == b'_' => {
                    1 + leading_word(rest.get(1..).unwrap_or("")).len()
                }
                [b'[', ..] => bracketed(rest).unwrap_or(0),
                _ => 0,
            };
            if step == 0 {
                break;
            }
            self.pos += step;
        }
        if self.pos == start + 1 {
            self.fault("bad-select", "a name must follow `@`", start);
        }
        Tok::Select(self.text.get(start..self.pos).unwrap_or("").to_owned())
    }

    /// `/…/` on one line.
    fn regex(&mut self) -> Option<Tok> {
        let rest = self.rest().get(1..)?;
        let line = rest.get(..rest.find('\n').unwrap_or(rest.len()))?;
        let mut escaped = false;
        let end = line.bytes().position(|b| {
            let closes = b == b'/' && !escaped;
            escaped = b == b'\\' && !escaped;
            closes
        })?;
        self.pos += end + 2;
        line.get(..end).map(|r| Tok::Regex(r.replace("\\/", "/")))
    }
}

fn leading_word(text: &str) -> &str {
    let len = text
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
        .count();
    text.get(..len).unwrap_or("")
}

/// The length of `[…]` at the start of `text`; a quoted key may hold anything.
fn bracketed(text: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' => return None,
            b']' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(text: &str) -> (Vec<Tok>, Vec<&'static str>) {
        let mut lexer = Lexer::new(text, FileId(0));
        let mut toks = Vec::new();
        loop {
            match lexer.token().tok {
                Tok::Eof => break,
                tok => toks.push(tok),
            }
        }
        (toks, lexer.diagnostics.iter().map(|d| d.code).collect())
    }

    fn one(text: &str) -> Tok {
        let (mut toks, faults) = lex(text);
        assert_eq!(
            (toks.len(), faults.len()),
            (1, 0),
            "{text}: {toks:?} {faults:?}"
        );
        toks.remove(0)
    }

    #[test]
    fn numbers() {
        for (text, want) in [
            ("0", 0),
            ("42", 42),
            ("0x1F", 31),
            ("0b101", 5),
            ("017", 15),
            ("089", 89),
        ] {
            assert_eq!(one(text), Tok::Int(want, text.into()));
        }
        assert_eq!(lex("99999999999999999999").1, vec!["big-number"]);
    }

    #[test]
    fn strings() {
        let cases = [
            (r#""a\tb\"c\\d""#, "a\tb\"c\\d"),
            (r#""x\+y\.z\d""#, r"x\+y\.z\d"),
            (r#""\x41\101\0101\1""#, "AA\x081\\1"),
            (r"'x\n\\'", r"x\n\\"),
            ("\"ab\\\ncd\"", "abcd"),
            ("\"ab\ncd\"", "ab\ncd"),
            ("\"\"", ""),
        ];
        for (text, want) in cases {
            assert_eq!(one(text), Tok::Str(want.into()), "{text}");
        }
    }

    #[test]
    fn an_open_string_ends_on_its_line() {
        let (toks, faults) = lex("log(\"abc);\nlog(\"x\");");
        assert_eq!(faults, vec!["open-string"]);
        assert_eq!(toks.len(), 10);
        assert_eq!(toks[2], Tok::Str("abc".into()));
        assert_eq!(lex("\"abc").1, vec!["open-string"]);
        assert_eq!(lex("'").1, vec!["open-string"]);
    }

    #[test]
    fn variables_selects_and_regexes_are_one_token() {
        assert_eq!(
            one("$(avp(x)[*]{s.len})"),
            Tok::Pv("$(avp(x)[*]{s.len})".into())
        );
        assert_eq!(
            one("@msg.header[\"a]b\"].x[1]"),
            Tok::Select("@msg.header[\"a]b\"].x[1]".into())
        );
        assert_eq!(lex("case /a\\/b.*/:").0[1], Tok::Regex("a/b.*".into()));
        assert_eq!(lex("$var(a").1, vec!["bad-pseudo-variable"]);
    }

    #[test]
    fn comments_and_directives() {
        assert_eq!(lex("a # x\n// y\n/* z\n */ b").0.len(), 2);
        assert_eq!(lex("a /* b").1, vec!["open-comment"]);
        assert_eq!(
            lex("#!define A 1 \\\n + 2\nx").0[0],
            Tok::Directive {
                word: "define".into(),
                rest: " A 1  + 2".into(),
                rest_at: 8
            }
        );
        assert_eq!(lex("!!ifdef A").0.len(), 1);
        assert_eq!(lex("if (!!x)").0.len(), 6);
    }
}
