//! Byte scanning shared by the parsers: white space, tokens, quoted strings, comma lists, numbers.
//!
//! Line folds inside a header body are white space here, so no header is ever unfolded by copying.

use crate::span::Span;

/// RFC 3261 LWS bytes, line folds included.
#[inline]
pub(crate) fn is_ws(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

/// True for a byte of an RFC 3261 `token`.
#[inline]
pub fn is_token_byte(b: u8) -> bool {
    TOKEN[b as usize]
}

/// Bytes that mean something in a comma list.
static IN_LIST: [bool; 256] = {
    let mut table = [false; 256];
    table[b',' as usize] = true;
    table[b'"' as usize] = true;
    table[b'<' as usize] = true;
    table[b'(' as usize] = true;
    table
};

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = in_token(b as u8);
        b += 1;
    }
    table
};

const fn in_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        )
}

/// Bytes without white space (and folds) at both ends.
pub fn trim(s: &[u8]) -> &[u8] {
    trim_span(s, 0, s.len()).of(s)
}

/// ASCII case-insensitive equality.
#[inline]
pub fn eq_ignore_case(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

#[inline]
pub(crate) fn trim_span(buf: &[u8], mut start: usize, mut end: usize) -> Span {
    end = end.min(buf.len());
    while start < end && is_ws(buf[start]) {
        start += 1;
    }
    while end > start && is_ws(buf[end - 1]) {
        end -= 1;
    }
    Span::new(start, end)
}

/// First offset in `[at, end)` that is not white space, or `end`.
#[inline]
pub(crate) fn skip_ws(buf: &[u8], mut at: usize, end: usize) -> usize {
    while at < end && buf.get(at).is_some_and(|b| is_ws(*b)) {
        at += 1;
    }
    at
}

/// First offset in `[at, end)` where `stop` holds, or `end`.
#[inline]
pub(crate) fn find(buf: &[u8], at: usize, end: usize, stop: impl Fn(u8) -> bool) -> usize {
    // A slice is looked through without a check of bounds for each byte.
    match buf.get(at..end.min(buf.len())) {
        Some(part) => part
            .iter()
            .position(|b| stop(*b))
            .map_or(at + part.len(), |n| at + n),
        None => at,
    }
}

/// With `buf[at] == '"'`: the offset after the closing quote, or `None` where it never closes.
#[inline]
pub(crate) fn skip_quoted(buf: &[u8], at: usize, end: usize) -> Option<usize> {
    let end = end.min(buf.len());
    let mut i = at + 1;
    while i < end {
        match buf[i] {
            b'\\' => i += 2,
            b'"' => return Some(i + 1),
            _ => i += 1,
        }
    }
    None
}

/// A decimal number that fits; `None` for an empty, signed, overlong or non-digit text.
#[inline]
pub(crate) fn number(s: &[u8]) -> Option<u32> {
    if s.is_empty() {
        return None;
    }
    let mut n: u32 = 0;
    for b in s {
        if !b.is_ascii_digit() {
            return None;
        }
        n = n.checked_mul(10)?.checked_add(u32::from(b - b'0'))?;
    }
    Some(n)
}

/// As [`number`], but digits that overflow give `u32::MAX` (RFC 3261 §20.19 for delta-seconds).
pub(crate) fn number_saturating(s: &[u8]) -> Option<u32> {
    if s.is_empty() || !s.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(number(s).unwrap_or(u32::MAX))
}

/// Digits of `n` appended to `out`.
pub fn push_number(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(decimal(n, &mut [0; 20]));
}

/// The digits of `n`, in the caller's room.
pub(crate) fn decimal(mut n: u64, room: &mut [u8; 20]) -> &[u8] {
    let mut at = room.len();
    loop {
        at -= 1;
        room[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &room[at..];
        }
    }
}

/// The values of a comma list, trimmed, quotes, `<>` and comments respected; empty ones skipped.
#[derive(Clone, Debug)]
pub struct Commas<'a> {
    buf: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Commas<'a> {
    pub(crate) fn new(buf: &'a [u8], span: Span) -> Commas<'a> {
        Commas {
            buf,
            at: span.at(),
            end: span.to().min(buf.len()),
        }
    }
}

impl Iterator for Commas<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        while self.at < self.end {
            let start = self.at;
            let stop = value_end(self.buf, start, self.end);
            self.at = stop + 1;
            let span = trim_span(self.buf, start, stop);
            if !span.is_empty() {
                return Some(span);
            }
        }
        None
    }
}

/// Offset of the comma that ends the value starting at `at`, or `end`.
fn value_end(buf: &[u8], mut at: usize, end: usize) -> usize {
    let end = end.min(buf.len());
    while at < end {
        at = find(buf, at, end, |b| IN_LIST[b as usize]);
        if at >= end {
            break;
        }
        match buf[at] {
            b',' => return at,
            b'"' => match skip_quoted(buf, at, end) {
                Some(next) => at = next,
                None => return end,
            },
            b'<' => match memchr::memchr(b'>', &buf[at..end]) {
                Some(n) => at += n + 1,
                None => return end,
            },
            b'(' => match memchr::memchr(b')', &buf[at..end]) {
                Some(n) => at += n + 1,
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comma_lists_respect_quotes_brackets_and_comments() {
        let text = br#"  "a,b" <sip:c,d@e>;x=1 , , SIP/2.0/UDP h (x, y) ,last"#;
        let got: Vec<&[u8]> = Commas::new(text, Span::all(text))
            .map(|s| s.of(text))
            .collect();
        assert_eq!(
            got,
            vec![
                br#""a,b" <sip:c,d@e>;x=1"#.as_slice(),
                b"SIP/2.0/UDP h (x, y)",
                b"last"
            ]
        );
    }

    #[test]
    fn numbers_do_not_overflow() {
        assert_eq!(number(b"4294967295"), Some(u32::MAX));
        assert_eq!(number(b"4294967296"), None);
        assert_eq!(number_saturating(b"4294967296"), Some(u32::MAX));
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b""), None);
    }
}
