//! Where messages begin and end: Content-Length framing on streams (RFC 3261 §18.3), keep-alives
//! (RFC 5626 §4.4), and telling SIP from STUN and HTTP by first bytes.
//!
//! [`Framer`] looks at a growing buffer it does not own and remembers how far it looked, so each
//! byte is scanned once however it is fragmented.

use crate::header::{HeaderName, name_of};
use crate::scan::{number, trim};

/// What stands at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// More bytes are needed.
    Incomplete,
    /// A keep-alive (CRLF CRLF) of that many bytes: drain them, answer CRLF.
    KeepAlive(usize),
    /// A message of that many bytes, leading CRLFs included: take and drain them.
    Message(usize),
    /// A message would be larger than the bound: close the connection.
    TooLarge,
    /// No SIP, no Content-Length or a malformed one: close the connection.
    Bad,
}

/// Finds the frames of one stream.
#[derive(Clone, Debug)]
pub struct Framer {
    max: usize,
    optional_length: bool,
    scanned: usize,
    /// Length of the whole frame, once its header section was seen.
    need: Option<usize>,
}

impl Framer {
    /// A framer that bounds messages to `max` bytes.
    pub fn new(max: usize) -> Framer {
        Framer {
            max,
            optional_length: false,
            scanned: 0,
            need: None,
        }
    }

    /// Takes messages without Content-Length as having no body, instead of refusing them.
    pub fn accept_no_content_length(mut self, accept: bool) -> Framer {
        self.optional_length = accept;
        self
    }

    /// Looks at `buf`, which begins where the last frame ended. After `Message(n)` or
    /// `KeepAlive(n)` the caller drains `n` bytes before the next call.
    pub fn next(&mut self, buf: &[u8]) -> Frame {
        if let Some(need) = self.need {
            return self.complete(buf, need);
        }
        if buf.starts_with(b"\r\n\r\n") {
            self.scanned = 0;
            return Frame::KeepAlive(4);
        }
        let start = match buf.iter().position(|b| !matches!(b, b'\r' | b'\n')) {
            // Line ends before a message are bounded, however they are cut.
            Some(n) if n <= 4 => n,
            None if buf.len() <= 4 => return Frame::Incomplete,
            _ => return Frame::Bad,
        };
        if !crate::scan::is_token_byte(buf[start]) {
            return Frame::Bad;
        }
        match find_headers_end(buf, self.scanned.max(start)) {
            Some(end) if end > self.max => Frame::TooLarge,
            Some(end) => match body_length(&buf[start..end]) {
                Length::Is(n) => self.complete(buf, end.saturating_add(n)),
                Length::Missing if self.optional_length => self.complete(buf, end),
                Length::Missing | Length::Malformed => Frame::Bad,
            },
            None if buf.len() >= self.max => Frame::TooLarge,
            None => {
                // A line end may be cut anywhere within \n\r\n: look at the last two again.
                self.scanned = buf.len().saturating_sub(2);
                Frame::Incomplete
            }
        }
    }

    /// Whether the header section of a message has been seen and its body has not, as of the last
    /// [`Framer::next`].
    pub fn in_body(&self) -> bool {
        self.need.is_some()
    }

    fn complete(&mut self, buf: &[u8], need: usize) -> Frame {
        if need > self.max {
            return Frame::TooLarge;
        }
        if buf.len() < need {
            self.need = Some(need);
            return Frame::Incomplete;
        }
        self.need = None;
        self.scanned = 0;
        Frame::Message(need)
    }
}

/// True for a STUN packet: the two top bits are 0 and the magic cookie is there (RFC 5389 §6).
pub fn is_stun(packet: &[u8]) -> bool {
    packet.len() >= 20 && packet[0] & 0xc0 == 0 && packet[4..8] == [0x21, 0x12, 0xa4, 0x42]
}

/// True for what clients send over UDP to keep a binding open: CRLFs, NULs, or up to four bytes of
/// nothing.
pub fn is_udp_keepalive(packet: &[u8]) -> bool {
    packet.len() <= 4 && packet.iter().all(|b| matches!(b, b'\r' | b'\n' | 0 | b' '))
}

/// True where the first line ends with an HTTP version, or begins with one.
pub fn is_http(bytes: &[u8]) -> bool {
    let line = &bytes[..memchr::memchr(b'\n', bytes).unwrap_or(bytes.len())];
    let line = trim(line);
    line.starts_with(b"HTTP/1.")
        || memchr::memrchr(b' ', line).is_some_and(|n| line[n + 1..].starts_with(b"HTTP/1."))
}

/// The first line of an HTTP request: (method, target, version).
pub fn http_request_line(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let line = trim(&bytes[..memchr::memchr(b'\n', bytes)?]);
    let mut words = line.split(|b| *b == b' ');
    let parts = (words.next()?, words.next()?, words.next()?);
    (words.next().is_none() && parts.2.starts_with(b"HTTP/")).then_some(parts)
}

enum Length {
    Is(usize),
    Missing,
    Malformed,
}

/// Offset after the empty line, looking from `from` on.
fn find_headers_end(buf: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(n) = memchr::memchr(b'\n', buf.get(at..)?) {
        at += n + 1;
        match (buf.get(at), buf.get(at + 1)) {
            (Some(b'\n'), _) => return Some(at + 1),
            (Some(b'\r'), Some(b'\n')) => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// What the header section says of the body. Two lengths that differ are malformed.
fn body_length(headers: &[u8]) -> Length {
    let mut found = None;
    for line in headers.split(|b| *b == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        if matches!(line[0], b' ' | b'\t')
            || name_of(trim(&line[..colon])) != HeaderName::ContentLength
        {
            continue;
        }
        match number(trim(&line[colon + 1..])) {
            Some(n) if found.is_none_or(|f| f == n) => found = Some(n),
            _ => return Length::Malformed,
        }
    }
    match found {
        Some(n) => Length::Is(n as usize),
        None if is_http(headers) => Length::Is(0),
        None => Length::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nX: 1\r\nl : 5\r\n\r\nhello";
    const B: &[u8] = b"\r\nSIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";

    fn frames(stream: &[u8], step: usize, max: usize) -> Vec<Frame> {
        let mut framer = Framer::new(max);
        let (mut buf, mut got) = (Vec::new(), Vec::new());
        for chunk in stream.chunks(step) {
            buf.extend_from_slice(chunk);
            loop {
                let frame = framer.next(&buf);
                match frame {
                    Frame::Incomplete => break,
                    Frame::KeepAlive(n) | Frame::Message(n) => {
                        got.push(frame);
                        buf.drain(..n);
                    }
                    Frame::TooLarge | Frame::Bad => {
                        got.push(frame);
                        return got;
                    }
                }
            }
        }
        got
    }

    #[test]
    fn same_frames_however_fragmented() {
        let stream = [A, b"\r\n\r\n", A, B, A].concat();
        let want = [
            Frame::Message(A.len()),
            Frame::KeepAlive(4),
            Frame::Message(A.len()),
            Frame::Message(B.len()),
            Frame::Message(A.len()),
        ];
        for step in 1..=stream.len() {
            assert_eq!(frames(&stream, step, 4096), want, "in steps of {step}");
        }
    }

    #[test]
    fn refused() {
        let rows: &[(&[u8], Frame)] = &[
            (b"OPTIONS sip:a SIP/2.0\r\nX: 1\r\n\r\n", Frame::Bad),
            (b"OPTIONS sip:a SIP/2.0\r\nl: -1\r\n\r\n", Frame::Bad),
            (
                b"OPTIONS sip:a SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\n",
                Frame::Bad,
            ),
            (b"OPTIONS sip:a SIP/2.0\r\nl: 999\r\n\r\n", Frame::TooLarge),
            (
                b"OPTIONS sip:a SIP/2.0\r\nl: 4294967295\r\n\r\n",
                Frame::TooLarge,
            ),
            (b"\x16\x03\x01", Frame::Bad),
        ];
        for (stream, want) in rows {
            assert_eq!(frames(stream, 7, 200), [*want]);
        }
        assert_eq!(frames(&[b'a'; 300], 7, 200), [Frame::TooLarge]);
        assert_eq!(
            frames(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 3, 200),
            [Frame::Message(27)]
        );
    }

    #[test]
    fn first_bytes() {
        let stun = [
            0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert!(is_stun(&stun) && !is_stun(A));
        assert!(is_udp_keepalive(b"\r\n\r\n") && is_udp_keepalive(b"\0") && !is_udp_keepalive(A));
        assert!(is_http(b"GET /x HTTP/1.1\r\n") && !is_http(A));
        assert_eq!(http_request_line(b"GET /x HTTP/1.1\r\n").unwrap().1, b"/x");
    }
}
