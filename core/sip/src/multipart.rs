//! Multipart bodies (RFC 2046 §5.1): split at the boundary, parts found by content type.
//!
//! Parts are spans of the buffer given, so that one can be removed or replaced by an edit.

use crate::header::{HeaderName, name_of};
use crate::message::Message;
use crate::nouns::ContentType;
use crate::scan::trim_span;
use crate::span::Span;

/// One part of a multipart body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From its delimiter line to the next delimiter: what to remove.
    pub whole: Span,
    /// Its header lines.
    pub headers: Span,
    /// Its body, without the CRLF that belongs to the next delimiter.
    pub body: Span,
    /// Its content type, where it names one that can be read.
    pub content_type: Option<ContentType>,
}

impl Part {
    /// The value of one of its headers.
    pub fn header<'a>(&self, buf: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
        header_value(buf, self.headers, |n| n.eq_ignore_ascii_case(name)).map(|s| s.of(buf))
    }
}

/// The boundary named by a Content-Type value; `None` where it is no multipart.
pub fn boundary_of<'a>(buf: &'a [u8], content_type: &ContentType) -> Option<&'a [u8]> {
    if !content_type.kind.of(buf).eq_ignore_ascii_case(b"multipart") {
        return None;
    }
    content_type
        .params(buf)
        .value(b"boundary")
        .filter(|b| !b.is_empty())
}

/// The parts of the body at `span`. What stands before the first delimiter and after the last is
/// left out; a missing last delimiter ends the last part with the body.
pub fn split<'a>(buf: &'a [u8], span: Span, boundary: &'a [u8]) -> Parts<'a> {
    let end = span.to().min(buf.len());
    Parts {
        buf,
        end,
        boundary,
        next: delimiter(buf, span.at(), span.at(), end, boundary),
    }
}

/// The first part of that type (`application/sdp`), in any case.
pub fn find_part(buf: &[u8], span: Span, boundary: &[u8], media: &[u8]) -> Option<Part> {
    split(buf, span, boundary).find(|p| is_media(buf, p.content_type.as_ref(), media))
}

impl Message {
    /// The body of that type: the whole body where the message is of it, or the first such part of
    /// its multipart.
    pub fn body_of_type(&self, media: &[u8]) -> Option<Span> {
        let content_type = self.content_type()?;
        let body = self.body_span();
        if body.is_empty() {
            return None;
        }
        if is_media(self.buf(), Some(&content_type), media) {
            return Some(body);
        }
        let boundary = boundary_of(self.buf(), &content_type)?;
        find_part(self.buf(), body, boundary, media).map(|p| p.body)
    }

    /// The session description: [`Message::body_of_type`] of `application/sdp`.
    pub fn sdp_span(&self) -> Option<Span> {
        self.body_of_type(b"application/sdp")
    }
}

/// Iterates over the parts of a multipart body.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    buf: &'a [u8],
    end: usize,
    boundary: &'a [u8],
    next: Option<Delimiter>,
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let here = self.next.take().filter(|d| !d.last)?;
        let following = delimiter(self.buf, here.after, here.after, self.end, self.boundary);
        let stop = following.map_or(self.end, |d| d.start);
        self.next = following;
        let part = Span::new(here.after, stop);
        let (headers, body) = headers_and_body(self.buf, part);
        let content_type =
            header_value(self.buf, headers, |n| name_of(n) == HeaderName::ContentType)
                .and_then(|s| ContentType::parse(self.buf, s).ok());
        let body_end = following.map_or(stop, |d| d.text_end.max(body.at()));
        Some(Part {
            whole: Span::new(here.start, stop),
            headers,
            body: Span::new(body.at(), body_end),
            content_type,
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Delimiter {
    /// Offset of its `--`.
    start: usize,
    /// Offset where the text before it ends: before the line end that belongs to it.
    text_end: usize,
    /// Offset after its line.
    after: usize,
    /// True for the closing one.
    last: bool,
}

/// The next delimiter line at or after `at`; `from` is where the text before it begins.
fn delimiter(
    buf: &[u8],
    from: usize,
    mut at: usize,
    end: usize,
    boundary: &[u8],
) -> Option<Delimiter> {
    while at < end {
        let line_end = memchr::memchr(b'\n', &buf[at..end]).map_or(end, |n| at + n + 1);
        let line = &buf[at..line_end];
        if let Some(rest) = line
            .strip_prefix(b"--")
            .and_then(|l| l.strip_prefix(boundary))
        {
            let last = rest.starts_with(b"--");
            let rest = if last { &rest[2..] } else { rest };
            if rest.iter().all(u8::is_ascii_whitespace) {
                let mut text_end = at;
                if text_end > from && buf[text_end - 1] == b'\n' {
                    text_end -= 1;
                    if text_end > from && buf[text_end - 1] == b'\r' {
                        text_end -= 1;
                    }
                }
                return Some(Delimiter {
                    start: at,
                    text_end,
                    after: line_end,
                    last,
                });
            }
        }
        at = line_end;
    }
    None
}

/// Splits a part at its first empty line; without one all of it is headers.
fn headers_and_body(buf: &[u8], part: Span) -> (Span, Span) {
    let (mut at, end) = (part.at(), part.to());
    while at < end {
        let line_end = memchr::memchr(b'\n', &buf[at..end]).map_or(end, |n| at + n + 1);
        if buf[at..line_end].iter().all(|b| matches!(b, b'\r' | b'\n')) {
            return (Span::new(part.at(), at), Span::new(line_end, end));
        }
        at = line_end;
    }
    (part, Span::new(end, end))
}

fn header_value(buf: &[u8], headers: Span, wanted: impl Fn(&[u8]) -> bool) -> Option<Span> {
    let (mut at, end) = (headers.at(), headers.to());
    while at < end {
        let mut stop = at;
        loop {
            stop = memchr::memchr(b'\n', &buf[stop..end]).map_or(end, |n| stop + n + 1);
            if stop >= end || !matches!(buf[stop], b' ' | b'\t') {
                break;
            }
        }
        if let Some(colon) = memchr::memchr(b':', &buf[at..stop])
            && wanted(trim_span(buf, at, at + colon).of(buf))
        {
            return Some(trim_span(buf, at + colon + 1, stop));
        }
        at = stop;
    }
    None
}

fn is_media(buf: &[u8], content_type: Option<&ContentType>, media: &[u8]) -> bool {
    let Some(slash) = memchr::memchr(b'/', media) else {
        return false;
    };
    content_type.is_some_and(|t| t.is(buf, &media[..slash], &media[slash + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_and_find() {
        let text = b"INFO sip:a SIP/2.0\r\nContent-Type: multipart/mixed; boundary=\"b 1\"\r\n\r\npreamble\r\n--b 1\r\n\
            Content-Type: text/plain\r\n\r\nhello\r\n--b 1x\r\n--b 1\r\nc:\r\n application/SDP\r\nX-A: 1\r\n\r\nv=0\r\n\r\n--b 1--\r\nepilogue";
        let m = Message::from_bytes(text).unwrap();
        let b = m.buf();
        let t = m.content_type().unwrap();
        let parts: Vec<Part> = split(b, m.body_span(), boundary_of(b, &t).unwrap()).collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].body.of(b), b"hello\r\n--b 1x");
        assert_eq!(parts[1].body.of(b), b"v=0\r\n");
        assert_eq!(parts[1].header(b, b"x-a"), Some(&b"1"[..]));
        assert_eq!(m.sdp_span(), Some(parts[1].body));
        assert_eq!(m.body_of_type(b"text/html"), None);
    }

    #[test]
    fn odd_ends() {
        for (text, n) in [
            ("", 0),
            ("--b", 1),
            ("--b\r\n", 1),
            ("--b--", 0),
            ("--b\r\n\r\nx", 1),
            ("--b\n\n--b\n--b--", 2),
        ] {
            let parts: Vec<Part> =
                split(text.as_bytes(), Span::all(text.as_bytes()), b"b").collect();
            assert_eq!(parts.len(), n, "{text:?}");
        }
    }
}
