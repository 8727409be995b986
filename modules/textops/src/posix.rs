//! POSIX extended regular expressions, translated to those of the `regex` crate and kept compiled.
//!
//! What differs: in brackets a backslash is itself, and with [`Flags::lines`] neither `.` nor a
//! negated bracket matches a line feed, `^` and `$` match at lines. `regex` searches in linear time,
//! whatever the expression; the leftmost match is the first alternative's, not the longest.

use olelo_core::route::function::ScriptError;
use regex::bytes::{Regex, RegexBuilder};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// How an expression matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flags {
    /// Upper and lower case are the same.
    pub ignore_case: bool,
    /// `^` and `$` are the ends of lines.
    pub lines: bool,
}

/// As most functions match: without regard to case, line by line.
pub const USUAL: Flags = Flags {
    ignore_case: true,
    lines: true,
};

/// Expressions a process keeps compiled; a script that builds them from messages must not grow it
/// without bound.
const KEPT: usize = 512;
/// Bytes that one compiled expression may take.
const LARGEST: usize = 1 << 20;

/// The compiled expression.
pub fn compiled(text: &[u8], flags: Flags) -> Result<Rc<Regex>, ScriptError> {
    type Kept = HashMap<(Box<[u8]>, Flags), Rc<Regex>>;
    thread_local!(static CACHE: RefCell<Kept> = RefCell::default());
    CACHE.with_borrow_mut(|kept| {
        if let Some(r) = kept.get(&(text.into(), flags)) {
            return Ok(r.clone());
        }
        let shown = String::from_utf8_lossy(text);
        let re = RegexBuilder::new(&translated(&shown, flags.lines))
            .unicode(false)
            .case_insensitive(flags.ignore_case)
            .multi_line(flags.lines)
            .dot_matches_new_line(!flags.lines)
            .size_limit(LARGEST)
            .build()
            .map_err(|e| ScriptError(format!("\"{shown}\" is no regular expression: {e}")))?;
        if kept.len() >= KEPT {
            kept.clear();
        }
        let re = Rc::new(re);
        kept.insert((text.into(), flags), re.clone());
        Ok(re)
    })
}

/// The same expression in the syntax of `regex`.
fn translated(text: &str, lines: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::with_capacity(text.len() + 8), 0);
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            '\\' => {
                out.push(c);
                if let Some(&next) = chars.get(at) {
                    // `\/` and the like: an escaped character that needs no escape.
                    if !next.is_ascii_alphanumeric() && !regex_special(next) {
                        out.pop();
                    }
                    out.push(next);
                    at += 1;
                } else {
                    out.push('\\');
                }
            }
            '[' => at = bracket(&chars, at, lines, &mut out),
            // A brace that opens no count is a brace.
            '{' if !is_count(&chars[at..]) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    out
}

fn regex_special(c: char) -> bool {
    "\\.+*?()|[]{}^$#&-~<>/ ".contains(c) && !"/<>".contains(c)
}

/// Whether `12}`, `1,}` or `1,2}` follows a brace.
fn is_count(rest: &[char]) -> bool {
    match rest.iter().position(|c| *c == '}') {
        Some(end) if end > 0 => {
            rest[0].is_ascii_digit() && rest[..end].iter().all(|c| c.is_ascii_digit() || *c == ',')
        }
        _ => false,
    }
}

/// Translates a bracket expression whose `[` stands before `at`; the place behind its `]`.
fn bracket(chars: &[char], mut at: usize, lines: bool, out: &mut String) -> usize {
    out.push('[');
    if chars.get(at) == Some(&'^') {
        out.push('^');
        at += 1;
        if lines {
            out.push_str("\\n");
        }
    }
    let start = at;
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            ']' if at - 1 > start => {
                out.push(']');
                return at;
            }
            '[' if chars.get(at) == Some(&':') => {
                let end = (at..chars.len().saturating_sub(1))
                    .find(|i| chars[*i] == ':' && *i > at && chars[*i + 1] == ']');
                match end {
                    Some(end) => {
                        out.push('[');
                        out.extend(&chars[at..end + 2]);
                        at = end + 2;
                    }
                    None => out.push_str("\\["),
                }
            }
            '\\' | '[' | ']' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_as_posix_has_it() {
        for (re, text, want) in [
            ("^sip:", "SIP:a", true),
            ("[[:alpha:]]+[0-9]", "ab1", true),
            ("a[^b]c", "a\nc", false),
            ("a.c", "a\nc", false),
            ("^b$", "a\nb\nc", true),
            ("[.]x", ".x", true),
            ("[\\.]x", "\\x", true),
            ("[]a]", "]", true),
            ("[^]a]", "]", false),
            ("[[]x", "[x", true),
            ("a{2}", "aa", true),
            ("a{x", "a{x", true),
            ("\\/\\+", "/+", true),
            ("[a&&b]", "&", true),
        ] {
            let re_c = compiled(re.as_bytes(), USUAL).unwrap_or_else(|e| panic!("{re}: {e}"));
            assert_eq!(re_c.is_match(text.as_bytes()), want, "{re} on {text:?}");
        }
        assert!(compiled(b"(", USUAL).is_err());
    }

    #[test]
    fn flags_say_how() {
        let exact = Flags {
            ignore_case: false,
            lines: false,
        };
        assert!(!compiled(b"ab", exact).unwrap().is_match(b"AB"));
        assert!(compiled(b"a.b", exact).unwrap().is_match(b"a\nb"));
    }
}
