//! `/regex/text/flags`: what `#!subst` does to the strings of a configuration.
//!
//! Any character may stand for `/`. `\1`…`\9` in the text are the groups of the regex. Flags: `g` every
//! match, `i` any case, `s` the dot matches line ends.

use regex::{Captures, Regex, RegexBuilder};

/// A substitution, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Subst {
    regex: Regex,
    pattern: String,
    text: String,
    all: bool,
}

impl Subst {
    /// Reads `/regex/text/flags`; `Err` says what is wrong, for people.
    pub fn parse(source: &str) -> Result<Subst, String> {
        let mark = source
            .chars()
            .next()
            .ok_or("a substitution is /regex/text/flags, this one is empty")?;
        let body = source.get(mark.len_utf8()..).unwrap_or("");
        let (pattern, rest) = split(body, mark).ok_or(format!("the second `{mark}` is missing"))?;
        let (text, flags) = split(rest, mark).ok_or(format!("the third `{mark}` is missing"))?;
        if pattern.is_empty() {
            return Err("the regular expression is empty".into());
        }
        if let Some(flag) = flags.trim().chars().find(|c| !matches!(c, 'g' | 'i' | 's')) {
            return Err(format!("unknown flag `{flag}`: g, i and s are known"));
        }
        let regex = RegexBuilder::new(&pattern)
            .case_insensitive(flags.contains('i'))
            .dot_matches_new_line(flags.contains('s'))
            .size_limit(1 << 20)
            .build()
            .map_err(|e| format!("bad regular expression: {e}"))?;
        Ok(Subst {
            regex,
            pattern,
            text,
            all: flags.contains('g'),
        })
    }

    /// The regular expression as written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The replacement as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text with its matches replaced; `None` where that takes more than `most` bytes.
    pub fn apply(&self, text: &str, most: usize) -> Option<String> {
        let limit = if self.all { 0 } else { 1 };
        let mut room = most;
        let mut fits = text.len() <= most;
        let made = self.regex.replacen(text, limit, |found: &Captures<'_>| {
            let new = if fits {
                self.replacement(found, room)
            } else {
                String::new()
            };
            fits &= new.len() <= room;
            room = room.saturating_sub(new.len());
            new
        });
        (fits && made.len() <= most).then(|| made.into_owned())
    }

    /// What stands for a match; cut where it is longer than `room`.
    fn replacement(&self, found: &Captures<'_>, room: usize) -> String {
        let mut out = String::new();
        let mut chars = self.text.chars();
        while let Some(c) = chars.next() {
            if out.len() > room {
                break;
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some(d) if d.is_ascii_digit() => {
                    let group = d as usize - '0' as usize;
                    out.push_str(found.get(group).map_or("", |m| m.as_str()));
                }
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            }
        }
        out
    }
}

/// The text before the next unescaped `mark`, with `\mark` as `mark`, and the text after it.
fn split(text: &str, mark: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == mark {
            return Some((out, text.get(at + c.len_utf8()..)?));
        }
        if c == '\\' {
            let (_, next) = chars.next()?;
            if next != mark {
                out.push('\\');
            }
            out.push(next);
        } else {
            out.push(c);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces() {
        let cases = [
            ("/foo([0-9])/bar\\1/g", "foo1 foo2", "bar1 bar2"),
            ("/foo/bar/", "foo foo", "bar foo"),
            ("!ID!a/b!g", "x ID", "x a/b"),
            ("/FOO/$1/i", "foo", "$1"),
            ("/a\\/b/c/", "a/b", "c"),
        ];
        for (subst, text, want) in cases {
            assert_eq!(
                Subst::parse(subst).map(|s| s.apply(text, 100)),
                Ok(Some(want.to_owned())),
                "{subst}"
            );
        }
        for bad in ["", "/", "/a", "/a/b", "/a/b/x", "//b/", "/(/b/"] {
            assert!(Subst::parse(bad).is_err(), "{bad}");
        }
    }
}
