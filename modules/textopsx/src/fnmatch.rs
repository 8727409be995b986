//! Patterns as `fnmatch(3)` has them without flags: `*`, `?`, `[…]` with `!` or `^`, ranges and
//! `[:class:]`, and a backslash that takes the next byte as it is. A slash and a leading dot are
//! bytes like others. An opening bracket without its end is itself.
//!
//! Time is at most the product of both lengths: of several stars only the last is tried again.

/// Whether all of `value` matches `pattern`.
pub(crate) fn matches(value: &[u8], pattern: &[u8], ignore_case: bool) -> bool {
    let (mut v, mut p) = (0, 0);
    // Behind the last star, and where its match ends so far.
    let mut star: Option<(usize, usize)> = None;
    while v < value.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, v));
            continue;
        }
        match one(value[v], &pattern[p..], ignore_case) {
            Some(used) => {
                v += 1;
                p += used;
            }
            None => match star {
                Some((behind, end)) => {
                    star = Some((behind, end + 1));
                    (p, v) = (behind, end + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// How many bytes of the pattern matched this one byte.
fn one(byte: u8, pattern: &[u8], ignore_case: bool) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', next, ..] => same(*next, byte, ignore_case).then_some(2),
        [b'[', rest @ ..] => match bracket(byte, rest, ignore_case) {
            Some((true, used)) => Some(used + 1),
            Some((false, _)) => None,
            None => (byte == b'[').then_some(1),
        },
        [c, ..] => same(*c, byte, ignore_case).then_some(1),
    }
}

fn same(a: u8, b: u8, ignore_case: bool) -> bool {
    a == b || ignore_case && a.eq_ignore_ascii_case(&b)
}

/// Whether the bracket whose `[` stands before `text` takes the byte, and its length; `None` where
/// it does not end.
fn bracket(byte: u8, text: &[u8], ignore_case: bool) -> Option<(bool, usize)> {
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let (mut at, mut found) = (start, false);
    loop {
        let c = *text.get(at)?;
        if c == b']' && at > start {
            return Some((found != negated, at + 1));
        }
        if c == b'[' && text.get(at + 1) == Some(&b':') {
            let rest = &text[at + 2..];
            if let Some(len) = rest.windows(2).position(|w| w == b":]") {
                found |= class(&rest[..len], byte);
                at += len + 4;
                continue;
            }
        }
        let (low, next) = literal(text, at)?;
        at = next;
        let is_range = text.get(at) == Some(&b'-') && text.get(at + 1).is_some_and(|b| *b != b']');
        if is_range {
            let (high, next) = literal(text, at + 1)?;
            at = next;
            let within = |b: u8| (low..=high).contains(&b);
            found |= within(byte)
                || ignore_case
                    && (within(byte.to_ascii_lowercase()) || within(byte.to_ascii_uppercase()));
        } else {
            found |= same(low, byte, ignore_case);
        }
    }
}

/// The byte at `at`, a backslash before it taken away, and the place behind it.
fn literal(text: &[u8], at: usize) -> Option<(u8, usize)> {
    match text.get(at)? {
        b'\\' => Some((*text.get(at + 1)?, at + 2)),
        c => Some((*c, at + 1)),
    }
}

fn class(name: &[u8], b: u8) -> bool {
    match name {
        b"alpha" => b.is_ascii_alphabetic(),
        b"digit" => b.is_ascii_digit(),
        b"alnum" => b.is_ascii_alphanumeric(),
        b"upper" => b.is_ascii_uppercase(),
        b"lower" => b.is_ascii_lowercase(),
        b"space" => b.is_ascii_whitespace() || b == 0x0b,
        b"blank" => b == b' ' || b == b'\t',
        b"punct" => b.is_ascii_punctuation(),
        b"xdigit" => b.is_ascii_hexdigit(),
        b"cntrl" => b.is_ascii_control(),
        b"graph" => b.is_ascii_graphic(),
        b"print" => b.is_ascii_graphic() || b == b' ',
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_the_original_matches() {
        for (value, pattern, want) in [
            ("12345", "123*", true),
            ("abc", "A*", false),
            ("a/b", "a*", true),
            (".b", "*", true),
            ("b", "[!a]", true),
            ("b", "[^b]", false),
            ("*", "\\*", true),
            ("x", "\\*", false),
            ("[x", "[x", true),
            ("5", "[[:digit:]]", true),
            ("", "*", true),
            ("", "", true),
            ("a", "", false),
            ("a", "[z-a]", false),
            ("]", "[]]", true),
            ("m", "[a-z]", true),
            ("-", "[a-]", true),
            ("abcabd", "*ab?", true),
            ("abcabdx", "*ab?", false),
            ("aXbYc", "a*b*c", true),
        ] {
            assert_eq!(
                matches(value.as_bytes(), pattern.as_bytes(), false),
                want,
                "{pattern} on {value}"
            );
        }
        assert!(matches(b"abc", b"A[B]?", true));
        assert!(matches(b"M", b"[a-z]", true));
    }

    proptest! {
        #[test]
        fn any_pattern_ends(v in "[ab*\\[]{0,40}", p in "[ab*?\\[\\]\\\\!:-]{0,40}") {
            matches(v.as_bytes(), p.as_bytes(), true);
        }

        #[test]
        fn a_text_without_signs_matches_itself_only(v in "[a-z0-9]{0,20}", w in "[a-z0-9]{0,20}") {
            prop_assert_eq!(matches(v.as_bytes(), w.as_bytes(), false), v == w);
        }
    }
}
