//! Regular expressions in the manner of Perl, with a limit on the work of each.
//!
//! The crate `fancy-regex` has look-around, back-references, atomic groups and possessive counts; an
//! expression without them is searched in linear time. As PCRE does without its UTF mode, one byte is
//! one character: bytes above 127 are taken as Latin-1, on both sides. Recursion (`(?R)`), callouts
//! and `\C` are refused with a message. A search that tries too much ends as an error, not a match.

use fancy_regex::{Regex, RegexBuilder};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Expressions a process keeps compiled.
const KEPT: usize = 512;
/// Steps that one search may go back.
const BACKTRACKS: usize = 100_000;
/// Bytes that one compiled expression may take.
const LARGEST: usize = 4 << 20;

/// How expressions match, unless they say it themselves with `(?i)` and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Options {
    pub(crate) caseless: bool,
    pub(crate) multiline: bool,
    pub(crate) dotall: bool,
    pub(crate) extended: bool,
}

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Pcre {
    regex: Regex,
    multiline: bool,
}

impl Pcre {
    /// Compiles; the error says what is wrong with the expression.
    pub(crate) fn compile(pattern: &[u8], o: Options) -> Result<Pcre, String> {
        let text = unquoted(&latin1(pattern));
        let regex = RegexBuilder::new(&text)
            .case_insensitive(o.caseless)
            .multi_line(o.multiline)
            .dot_matches_new_line(o.dotall)
            .verbose_mode(o.extended)
            .backtrack_limit(BACKTRACKS)
            .delegate_size_limit(LARGEST)
            .build()
            .map_err(|e| {
                format!(
                    "\"{}\" is no regular expression: {e}",
                    String::from_utf8_lossy(pattern)
                )
            })?;
        Ok(Pcre {
            regex,
            multiline: o.multiline,
        })
    }

    /// As [`Pcre::compile`], remembering the result: scripts give the same few over and over.
    pub(crate) fn cached(pattern: &[u8], o: Options) -> Result<Rc<Pcre>, String> {
        type Kept = HashMap<(Box<[u8]>, Options), Rc<Pcre>>;
        thread_local!(static CACHE: RefCell<Kept> = RefCell::default());
        CACHE.with_borrow_mut(|kept| {
            if let Some(r) = kept.get(&(pattern.into(), o)) {
                return Ok(r.clone());
            }
            let re = Rc::new(Pcre::compile(pattern, o)?);
            if kept.len() >= KEPT {
                kept.clear();
            }
            kept.insert((pattern.into(), o), re.clone());
            Ok(re)
        })
    }

    /// Whether it matches somewhere; the error says why that was not found out.
    pub(crate) fn is_match(&self, subject: &[u8]) -> Result<bool, String> {
        let is = |s: &[u8]| self.regex.is_match(&latin1(s)).map_err(|e| e.to_string());
        if is(subject)? {
            return Ok(true);
        }
        // In PCRE `$` matches before a line feed at the end, too.
        match subject.strip_suffix(b"\n") {
            Some(line) if !self.multiline => is(line),
            _ => Ok(false),
        }
    }
}

/// The expression without `\\Q…\\E`, which `fancy-regex` does not know: what is between is escaped.
fn unquoted(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        let escape_end = at + 1 + rest[at + 1..].chars().next().map_or(0, char::len_utf8);
        match &rest[at + 1..escape_end] {
            "Q" => {
                out.push_str(&rest[..at]);
                let quoted = &rest[escape_end..];
                let (inside, behind) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                out.push_str(&fancy_regex::escape(inside));
                rest = behind;
            }
            _ => {
                out.push_str(&rest[..escape_end]);
                rest = &rest[escape_end..];
            }
        }
    }
    out + rest
}

/// Bytes as characters U+0000 to U+00FF.
fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(s) if bytes.is_ascii() => Cow::Borrowed(s),
        _ => bytes
            .iter()
            .map(|b| char::from(*b))
            .collect::<String>()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_as_in_pcre() {
        let plain = Options::default();
        let i = Options {
            caseless: true,
            ..plain
        };
        let m = Options {
            multiline: true,
            ..plain
        };
        let s = Options {
            dotall: true,
            ..plain
        };
        let x = Options {
            extended: true,
            ..plain
        };
        for (re, o, subject, want) in [
            ("^a.c$", plain, "abc", true),
            ("(?i)^abc", plain, "ABC", true),
            ("abc", plain, "ABC", false),
            ("abc", i, "ABC", true),
            ("foo(?=bar)", plain, "foobar", true),
            ("foo(?!bar)", plain, "foobar", false),
            ("(?<=a)b", plain, "ab", true),
            ("(a)\\1", plain, "aa", true),
            ("(?P<q>a)(?P=q)", plain, "aa", true),
            ("(?>a+)b", plain, "aaab", true),
            ("a++a", plain, "aaa", false),
            ("^$", plain, "", true),
            ("abc$", plain, "abc\n", true),
            ("^b$", plain, "a\nb\nc", false),
            ("^b$", m, "a\nb\nc", true),
            ("a.b", plain, "a\nb", false),
            ("a.b", s, "a\nb", true),
            ("a b # c", x, "ab", true),
            ("^\\d{3}$", plain, "123", true),
            ("[[:alpha:]]+[[:digit:]]", plain, "ab1", true),
            ("^((\\+|00)34)?900\\d{6}$", plain, "0034900123456", true),
            ("\\bSIP\\b", plain, "a SIP b", true),
            ("^\\Q1.2\\E$", plain, "1.2", true),
            ("^\\Q1.2\\E$", plain, "1x2", false),
            ("\\\\Q.", plain, "\\Q1", true),
            ("\\Q(", plain, "(", true),
        ] {
            let p = Pcre::compile(re.as_bytes(), o).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(
                p.is_match(subject.as_bytes()),
                Ok(want),
                "{re} on {subject:?}"
            );
        }
    }

    #[test]
    fn one_byte_is_one_character() {
        let p = |re: &[u8]| Pcre::compile(re, Options::default()).unwrap();
        assert_eq!(p(b"^.$").is_match(b"\xff"), Ok(true));
        assert_eq!(p(b"^..$").is_match("é".as_bytes()), Ok(true));
        assert_eq!(p("é".as_bytes()).is_match("caf\u{e9}".as_bytes()), Ok(true));
        assert_eq!(p(b"^\\d$").is_match("٣".as_bytes()), Ok(false));
        assert_eq!(p(b"\xff").is_match(b"a\xffb"), Ok(true));
    }

    #[test]
    fn what_is_wrong_or_takes_too_long_is_said() {
        for bad in ["(", "a{2,1}", "[", "*a"] {
            let e = Pcre::compile(bad.as_bytes(), Options::default()).unwrap_err();
            assert!(e.contains(&format!("\"{bad}\"")), "{e}");
        }
        // Exponential for a backtracking search.
        let p = Pcre::compile(b"(?=(a+)+$)(\\1)b", Options::default()).unwrap();
        let subject = [&[b'a'; 60][..], b"!"].concat();
        assert!(matches!(p.is_match(&subject), Ok(false) | Err(_)));
        let p = Pcre::compile(b"^(a|a|(?!b)a)*$", Options::default()).unwrap();
        assert!(p.is_match(&subject).is_err());
    }

    #[test]
    fn expressions_are_kept() {
        let a = Pcre::cached(b"abc", Options::default()).unwrap();
        let b = Pcre::cached(b"abc", Options::default()).unwrap();
        let c = Pcre::cached(
            b"abc",
            Options {
                caseless: true,
                ..Options::default()
            },
        )
        .unwrap();
        assert!(Rc::ptr_eq(&a, &b) && !Rc::ptr_eq(&a, &c));
        assert!(Pcre::cached(b"(", Options::default()).is_err());
    }
}
