//! What is wrong with a configuration, said to people and to editors.
//!
//! A diagnostic points at a span; [`Diagnostic::render`] draws it in the manner of rustc and
//! [`Diagnostic::to_json`] gives the same to an editor. Diagnostics never stop the parser.

use crate::source::{SourceMap, Span};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration works, probably not as meant.
    Warning,
    /// The configuration cannot be used.
    Error,
}

impl Severity {
    /// `warning` or `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Stable name of the kind of fault, such as `unknown-parameter`.
    pub code: &'static str,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What could have stood there.
    pub expected: Vec<String>,
    /// The likely fix.
    pub help: Option<String>,
    /// Other places that matter, each with what it has to do with the fault.
    pub notes: Vec<(Span, String)>,
}

impl Diagnostic {
    /// An error at a span.
    pub fn error(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            span,
            expected: Vec::new(),
            help: None,
            notes: Vec::new(),
        }
    }

    /// A warning at a span.
    pub fn warning(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message, span)
        }
    }

    /// Adds the likely fix.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what could have stood there.
    #[must_use]
    pub fn with_expected<S: Into<String>>(mut self, expected: impl IntoIterator<Item = S>) -> Self {
        self.expected = expected.into_iter().map(Into::into).collect();
        self
    }

    /// Adds another place that matters.
    #[must_use]
    pub fn with_note(mut self, span: Span, note: impl Into<String>) -> Self {
        self.notes.push((span, note.into()));
        self
    }

    /// Draws the fault: place, line, caret, help and the trail of includes.
    pub fn render(&self, sources: &SourceMap, color: bool) -> String {
        let paint = Paint { on: color };
        let tone = match self.severity {
            Severity::Error => "31;1",
            Severity::Warning => "33;1",
        };
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{}: {}: {} [{}]",
            paint.with("1", &sources.locate(self.span).to_string()),
            paint.with(tone, self.severity.as_str()),
            paint.with("1", &self.message),
            self.code
        );
        excerpt(&mut out, sources, self.span, &paint, tone);
        if !self.expected.is_empty() {
            let _ = writeln!(out, "   = expected {}", list(&self.expected));
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "   = {}: {help}", paint.with("36;1", "help"));
        }
        for (span, note) in &self.notes {
            let _ = writeln!(
                out,
                "   = {}: {note}: {}",
                paint.with("32;1", "note"),
                sources.locate(*span)
            );
        }
        for at in sources.trail(self.span) {
            let _ = writeln!(out, "   = included from {}", sources.locate(at));
        }
        out
    }

    /// The fault for an editor: lines and columns count from 1.
    pub fn to_json(&self, sources: &SourceMap) -> Value {
        let place = |span: Span| {
            let from = sources.locate(span);
            let to = sources.locate(span.after());
            json!({
                "file": from.file, "line": from.line, "column": from.column,
                "end_line": to.line, "end_column": to.column,
                "start": span.start, "end": span.end,
            })
        };
        json!({
            "severity": self.severity.as_str(),
            "code": self.code,
            "message": self.message,
            "at": place(self.span),
            "expected": self.expected,
            "help": self.help,
            "notes": self.notes.iter()
                .map(|(span, note)| json!({"message": note, "at": place(*span)})).collect::<Vec<_>>(),
            "included_from": sources.trail(self.span).into_iter().map(place).collect::<Vec<_>>(),
        })
    }
}

/// The known name nearest to `word`, where one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    let limit = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&lower, &name.to_ascii_lowercase()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `a`, `a or b`, `a, b or c`.
fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} or {last}", init.join(", ")),
    }
}

/// The line with carets under the span. Tabs become one space so that the carets stay below.
fn excerpt(out: &mut String, sources: &SourceMap, span: Span, paint: &Paint, tone: &str) {
    let place = sources.locate(span);
    let line: String = sources.line_text(span).chars().map(visible).collect();
    let number = place.line.to_string();
    let gutter = " ".repeat(number.len());
    let before = place.column.saturating_sub(1) as usize;
    let room = line.chars().count().saturating_sub(before).max(1);
    let width = sources
        .text(span)
        .lines()
        .next()
        .map_or(0, |l| l.chars().count())
        .clamp(1, room);
    let _ = writeln!(out, "{gutter} |");
    let _ = writeln!(out, "{number} | {line}");
    let _ = writeln!(
        out,
        "{gutter} | {}{}",
        " ".repeat(before),
        paint.with(tone, &"^".repeat(width))
    );
}

fn visible(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

struct Paint {
    on: bool,
}

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_as_rustc_does() {
        let mut map = SourceMap::default();
        let main = map.add(
            "kamailio.cfg",
            None,
            "include_file \"a.cfg\"\n".into(),
            None,
        );
        let inner = map.add(
            "a.cfg",
            None,
            "x\n\tdebgu = 3\n".into(),
            Some(Span::new(main, 0, 12)),
        );
        let fault = Diagnostic::error(
            "unknown-parameter",
            "no such parameter `debgu`",
            Span::new(inner, 3, 8),
        )
        .with_help("did you mean `debug`?");
        assert_eq!(
            fault.render(&map, false),
            "a.cfg:2:2: error: no such parameter `debgu` [unknown-parameter]\n  |\n2 |  debgu = 3\n  |  ^^^^^\n   \
             = help: did you mean `debug`?\n   = included from kamailio.cfg:1:1\n"
        );
        let json = fault.to_json(&map);
        assert_eq!(json["at"]["line"], 2);
        assert_eq!(json["at"]["end_column"], 7);
        assert_eq!(json["included_from"][0]["file"], "kamailio.cfg");
    }

    #[test]
    fn the_nearest_name_must_be_near() {
        assert_eq!(nearest("debgu", ["debug", "children"]), Some("debug"));
        assert_eq!(nearest("Listen", ["listen"]), Some("listen"));
        assert_eq!(nearest("zzzz", ["debug", "children"]), None);
    }
}
