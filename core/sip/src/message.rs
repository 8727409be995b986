//! The message: its buffer, the index of its headers, and the caches of what was parsed.
//!
//! `parse` makes one pass over the header section (memchr for line ends) and stores positions only.
//! Accessors for the content of headers are in [`crate::nouns`]; they parse on first use and keep
//! the result here until [`Message::reset`]. All vectors are kept between messages, so a worker
//! that reuses one `Message` does not allocate in the common path.

use crate::header::{Header, HeaderName, NAME_COUNT, name_of};
use crate::method::Method;
use crate::nouns::Cache;
use crate::scan::{Commas, is_token_byte, is_ws, trim_span};
use crate::span::{ParseError, Span};

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstLine {
    /// `METHOD uri SIP/2.0`
    Request {
        /// The method.
        method: Method,
        /// Its text.
        method_text: Span,
        /// The Request-URI.
        uri: Span,
        /// The version, `SIP/2.0`.
        version: Span,
    },
    /// `SIP/2.0 200 OK`
    Reply {
        /// The version.
        version: Span,
        /// The status code, 100 to 999.
        status: u16,
        /// Its three digits.
        status_text: Span,
        /// The reason phrase, maybe empty.
        reason: Span,
    },
}

/// Positions of all headers of one buffer: what one pass finds.
#[derive(Clone, Debug)]
pub struct Index {
    first_line: FirstLine,
    first_line_start: u32,
    headers: Vec<Header>,
    /// Per name, the index of its first header plus one.
    first: [u16; NAME_COUNT + 1],
    headers_end: u32,
    body_start: u32,
}

/// A message and what is known of it.
#[derive(Debug, Default)]
pub struct Message {
    buf: Vec<u8>,
    index: Index,
    pub(crate) cache: Cache,
}

impl Message {
    /// An empty message with room for a usual datagram.
    pub fn new() -> Message {
        Message {
            buf: Vec::with_capacity(4096),
            index: Index::default(),
            cache: Cache::default(),
        }
    }

    /// A parsed copy of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Message, ParseError> {
        let mut msg = Message {
            buf: bytes.to_vec(),
            index: Index::default(),
            cache: Cache::default(),
        };
        msg.parse()?;
        Ok(msg)
    }

    /// The buffer to fill before [`Message::parse`]. Forgets what was known of its content.
    pub fn buf_mut(&mut self) -> &mut Vec<u8> {
        self.index.clear();
        self.cache.clear();
        &mut self.buf
    }

    /// The buffer as received.
    pub fn buf(&self) -> &[u8] {
        &self.buf
    }

    /// Empties it for the next message, keeping its memory.
    pub fn reset(&mut self) {
        self.buf.clear();
        self.index.clear();
        self.cache.clear();
    }

    /// Indexes the buffer. Tolerant: leading CRLFs, bare LF, folds, unknown and compact headers,
    /// a missing body are all accepted. On an error what was indexed so far stays readable.
    pub fn parse(&mut self) -> Result<(), ParseError> {
        self.cache.clear();
        self.index.fill(&self.buf)
    }

    /// The bytes of a span.
    #[inline]
    pub fn slice(&self, span: Span) -> &[u8] {
        span.of(&self.buf)
    }

    /// The index alone.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The first line.
    pub fn first_line(&self) -> FirstLine {
        self.index.first_line
    }

    /// True for a request.
    pub fn is_request(&self) -> bool {
        matches!(self.index.first_line, FirstLine::Request { .. })
    }

    /// The method; a reply's is that of its CSeq.
    pub fn method(&self) -> Method {
        match self.index.first_line {
            FirstLine::Request { method, .. } => method,
            FirstLine::Reply { .. } => self.cseq().map_or(Method::Other, |c| c.method),
        }
    }

    /// The method's text; a reply's is that of its CSeq.
    pub fn method_text(&self) -> &[u8] {
        match self.index.first_line {
            FirstLine::Request { method_text, .. } => self.slice(method_text),
            FirstLine::Reply { .. } => self
                .cseq()
                .map_or(&b""[..], |c| c.method_text.of(&self.buf)),
        }
    }

    /// The status code; 0 for a request.
    pub fn status(&self) -> u16 {
        match self.index.first_line {
            FirstLine::Reply { status, .. } => status,
            FirstLine::Request { .. } => 0,
        }
    }

    /// The reason phrase; empty for a request.
    pub fn reason(&self) -> &[u8] {
        match self.index.first_line {
            FirstLine::Reply { reason, .. } => self.slice(reason),
            FirstLine::Request { .. } => b"",
        }
    }

    /// The Request-URI as received; empty for a reply.
    pub fn ruri(&self) -> &[u8] {
        match self.index.first_line {
            FirstLine::Request { uri, .. } => self.slice(uri),
            FirstLine::Reply { .. } => b"",
        }
    }

    /// The version of the first line, `SIP/2.0`.
    pub fn version(&self) -> &[u8] {
        match self.index.first_line {
            FirstLine::Request { version, .. } | FirstLine::Reply { version, .. } => {
                self.slice(version)
            }
        }
    }

    /// All headers in order.
    pub fn headers(&self) -> &[Header] {
        &self.index.headers
    }

    /// The first header of that name.
    #[inline]
    pub fn header(&self, name: HeaderName) -> Option<&Header> {
        self.index.header(name)
    }

    /// The value of the first header of that name, trimmed.
    pub fn header_body(&self, name: HeaderName) -> Option<&[u8]> {
        self.header(name).map(|h| h.body.of(&self.buf))
    }

    /// All headers of that name in order.
    pub fn headers_named(&self, name: HeaderName) -> impl Iterator<Item = &Header> {
        self.index.headers_named(name)
    }

    /// All headers whose name is `text` in any case, compact and long forms alike.
    pub fn headers_by_text<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a Header> {
        let text = text.strip_suffix(b":").unwrap_or(text);
        let name = name_of(text);
        self.index.headers.iter().filter(move |h| {
            h.name == name
                && (name != HeaderName::Other
                    || h.name_text.of(&self.buf).eq_ignore_ascii_case(text))
        })
    }

    /// All values of all headers of that name: list headers are split at their commas, respecting
    /// quotes and `<>`; others give one value a line.
    pub fn header_bodies(&self, name: HeaderName) -> impl Iterator<Item = Span> {
        self.headers_named(name).flat_map(move |h| {
            let list = name.is_list();
            let commas = list.then(|| Commas::new(&self.buf, h.body));
            commas
                .into_iter()
                .flatten()
                .chain((!list).then_some(h.body))
        })
    }

    /// Offset of the first line: after leading CRLFs.
    pub fn first_line_start(&self) -> usize {
        self.index.first_line_start as usize
    }

    /// Offset where the first header begins, or the end of headers.
    pub fn headers_start(&self) -> usize {
        self.index.headers_start()
    }

    /// Offset of the empty line: after the last header.
    pub fn headers_end(&self) -> usize {
        self.index.headers_end as usize
    }

    /// Offset of the body.
    pub fn body_start(&self) -> usize {
        self.index.body_start as usize
    }

    /// The body: what Content-Length says, or all that follows where it says too much or nothing.
    pub fn body(&self) -> &[u8] {
        self.body_span().of(&self.buf)
    }

    /// Where the body is.
    pub fn body_span(&self) -> Span {
        let start = self.body_start();
        let have = self.buf.len().saturating_sub(start);
        let len = self
            .content_length()
            .map_or(have, |n| (n as usize).min(have));
        Span::new(start, start + len)
    }
}

impl Default for Index {
    fn default() -> Index {
        Index {
            first_line: NO_FIRST_LINE,
            first_line_start: 0,
            headers: Vec::with_capacity(32),
            first: [0; NAME_COUNT + 1],
            headers_end: 0,
            body_start: 0,
        }
    }
}

impl Index {
    /// The index of a buffer that stays elsewhere.
    pub fn of(buf: &[u8]) -> Result<Index, ParseError> {
        let mut index = Index::default();
        index.fill(buf)?;
        Ok(index)
    }

    /// The first line.
    pub fn first_line(&self) -> FirstLine {
        self.first_line
    }

    /// All headers.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The first header of that name.
    #[inline]
    pub fn header(&self, name: HeaderName) -> Option<&Header> {
        let at = usize::from(self.first[name as usize]);
        self.headers.get(at.wrapping_sub(1))
    }

    /// All headers of that name.
    pub fn headers_named(&self, name: HeaderName) -> impl Iterator<Item = &Header> {
        let at = match self.first[name as usize] {
            0 => self.headers.len(),
            n => usize::from(n) - 1,
        };
        self.headers
            .get(at..)
            .unwrap_or_default()
            .iter()
            .filter(move |h| h.name == name)
    }

    /// Offset where the first header begins.
    pub fn headers_start(&self) -> usize {
        self.headers
            .first()
            .map_or(self.headers_end, |h| h.whole.start) as usize
    }

    /// Offset of the empty line.
    pub fn headers_end(&self) -> usize {
        self.headers_end as usize
    }

    fn clear(&mut self) {
        self.first_line = NO_FIRST_LINE;
        self.first_line_start = 0;
        // Cheaper than the whole table: only the names this message had.
        for h in self.headers.drain(..) {
            self.first[h.name as usize] = 0;
        }
        self.headers_end = 0;
        self.body_start = 0;
    }

    fn fill(&mut self, buf: &[u8]) -> Result<(), ParseError> {
        self.clear();
        if buf.len() > MAX_MESSAGE {
            return Err(ParseError::new("a message is too large", MAX_MESSAGE));
        }
        let mut at = 0;
        while at < buf.len() && matches!(buf[at], b'\r' | b'\n') {
            at += 1;
        }
        self.first_line_start = at as u32;
        let line_end = memchr::memchr(b'\n', &buf[at..])
            .map(|n| at + n)
            .ok_or(ParseError::new("the first line does not end", at))?;
        self.first_line = first_line(buf, at, text_end(buf, at, line_end))?;
        at = line_end + 1;
        loop {
            self.headers_end = at as u32;
            self.body_start = at as u32;
            match buf.get(at) {
                // A datagram cut after its last header line: no empty line, no body.
                None => return Ok(()),
                Some(b'\n') => {
                    self.body_start = at as u32 + 1;
                    return Ok(());
                }
                Some(b'\r') if buf.get(at + 1) == Some(&b'\n') => {
                    self.body_start = at as u32 + 2;
                    return Ok(());
                }
                Some(_) => at = self.header_line(buf, at)?,
            }
        }
    }

    /// Reads the header at `at`, folds included; the offset after it.
    #[inline]
    fn header_line(&mut self, buf: &[u8], at: usize) -> Result<usize, ParseError> {
        let mut name_end = at;
        while name_end < buf.len() && is_name_byte(buf[name_end]) {
            name_end += 1;
        }
        let mut colon = name_end;
        while colon < buf.len() && matches!(buf[colon], b' ' | b'\t') {
            colon += 1;
        }
        if name_end == at || buf.get(colon) != Some(&b':') {
            return Err(ParseError::new("a header line has no name and colon", at));
        }
        let mut end = colon + 1;
        loop {
            end = match memchr::memchr(b'\n', &buf[end..]) {
                Some(n) => end + n + 1,
                None => return Err(ParseError::new("a header line does not end", at)),
            };
            if !matches!(buf.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let name_text = Span::new(at, name_end);
        let name = name_of(name_text.of(buf));
        if self.headers.len() >= MAX_HEADERS {
            return Err(ParseError::new("a message has too many headers", at));
        }
        let mut body = trim_span(buf, colon + 1, end);
        if body.is_empty() {
            // On the line, so that an edit may fill it.
            body = Span::new(colon + 1, colon + 1);
        }
        self.headers.push(Header {
            name,
            name_text,
            body,
            whole: Span::new(at, end),
        });
        let first = &mut self.first[name as usize];
        if *first == 0 {
            *first = self.headers.len() as u16;
        }
        Ok(end)
    }
}

/// Bytes of a header name: a token, and what careless senders put there.
#[inline]
fn is_name_byte(b: u8) -> bool {
    is_token_byte(b)
}

/// The end of a line's text: before its CR, if any.
fn text_end(buf: &[u8], at: usize, line_end: usize) -> usize {
    if line_end > at && buf[line_end - 1] == b'\r' {
        line_end - 1
    } else {
        line_end
    }
}

fn first_line(buf: &[u8], at: usize, end: usize) -> Result<FirstLine, ParseError> {
    let line = &buf[at..end];
    let space = memchr::memchr(b' ', line)
        .filter(|n| *n > 0)
        .ok_or(ParseError::new("the first line has one word", at))?;
    let first = Span::new(at, at + space);
    let next = at + space + 1;
    if is_version(first.of(buf)) {
        return reply_line(buf, first, next, end);
    }
    if let Some(bad) = line[..space].iter().position(|b| !is_token_byte(*b)) {
        return Err(ParseError::new("the method is no token", at + bad));
    }
    let stop = memchr::memchr(b' ', &buf[next..end])
        .filter(|n| *n > 0)
        .map(|n| next + n)
        .ok_or(ParseError::new(
            "the first line is no request and no reply",
            next,
        ))?;
    let version = Span::new(stop + 1, end);
    let text = version.of(buf);
    if !is_version(text) || text.iter().any(|b| is_ws(*b)) {
        return Err(ParseError::new(
            "the request line has no version at its end",
            stop + 1,
        ));
    }
    Ok(FirstLine::Request {
        method: Method::parse(first.of(buf)),
        method_text: first,
        uri: Span::new(next, stop),
        version,
    })
}

fn reply_line(buf: &[u8], version: Span, at: usize, end: usize) -> Result<FirstLine, ParseError> {
    let stop = (at + 3).min(end);
    let digits = Span::new(at, stop);
    let status = crate::scan::number(digits.of(buf))
        .filter(|n| (100..=999).contains(n))
        .filter(|_| stop == end || buf[stop] == b' ')
        .ok_or(ParseError::new("the status code is not three digits", at))?;
    Ok(FirstLine::Reply {
        version,
        status: status as u16,
        status_text: digits,
        reason: trim_span(buf, stop, end),
    })
}

/// `SIP/x` or `HTTP/x`.
fn is_version(text: &[u8]) -> bool {
    let name = |n: &[u8]| text.len() > n.len() && text[..n.len()].eq_ignore_ascii_case(n);
    name(b"SIP/") || name(b"HTTP/")
}

const NO_FIRST_LINE: FirstLine = FirstLine::Request {
    method: Method::Other,
    method_text: Span { start: 0, end: 0 },
    uri: Span { start: 0, end: 0 },
    version: Span { start: 0, end: 0 },
};

/// Largest message indexed, bytes: spans are 32 bits wide.
const MAX_MESSAGE: usize = 1 << 30;
/// Most header lines in a message.
const MAX_HEADERS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerant_index() {
        let text =
            b"\r\n\r\nINVITE sip:a@b SIP/2.0\nv: SIP/2.0/UDP h\nX-Foo : 1\r\n  2\r\nl:3\n\nabcdef";
        let m = Message::from_bytes(text).unwrap();
        assert!(m.is_request());
        assert_eq!(m.method(), Method::Invite);
        assert_eq!(m.ruri(), b"sip:a@b");
        assert_eq!(m.version(), b"SIP/2.0");
        assert_eq!(m.headers().len(), 3);
        assert_eq!(m.header_body(HeaderName::Via), Some(&b"SIP/2.0/UDP h"[..]));
        assert_eq!(m.headers_by_text(b"x-foo").count(), 1);
        assert_eq!(
            m.slice(m.headers_by_text(b"X-FOO").next().unwrap().body),
            b"1\r\n  2"
        );
        assert_eq!(m.headers_by_text(b"Content-Length").count(), 1);
        assert_eq!(m.body(), b"abc");
        assert_eq!(m.header(HeaderName::To), None);
    }

    #[test]
    fn first_lines() {
        let ok = |t: &str| Message::from_bytes(format!("{t}\r\n\r\n").as_bytes());
        assert_eq!(ok("SIP/2.0 200 OK").unwrap().status(), 200);
        assert_eq!(ok("SIP/2.0 100 ").unwrap().reason(), b"");
        assert_eq!(ok("SIP/2.0 100").unwrap().status(), 100);
        assert_eq!(ok("GET /x HTTP/1.1").unwrap().method(), Method::Get);
        for bad in [
            "",
            "INVITE",
            "INVITE sip:a@b",
            "INVITE  sip:a@b SIP/2.0",
            "INVITE sip:a@b SIP/2.0 ",
            "INVITE sip:a@b; lr SIP/2.0",
            "SIP/2.0 4294967301 x",
            "SIP/2.0 20",
            "SIP/2.0 abc",
            "IN<V sip:a SIP/2.0",
        ] {
            assert!(ok(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reuse_forgets() {
        let mut m = Message::new();
        m.buf_mut()
            .extend_from_slice(b"OPTIONS sip:a SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n");
        m.parse().unwrap();
        assert_eq!(m.cseq().unwrap().number, 1);
        m.reset();
        m.buf_mut()
            .extend_from_slice(b"OPTIONS sip:a SIP/2.0\r\nCSeq: 2 OPTIONS\r\n\r\n");
        m.parse().unwrap();
        assert_eq!(m.cseq().unwrap().number, 2);
    }
}
