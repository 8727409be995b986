//! Edits: the ordered list of changes made to a message, applied once when it is sent.
//!
//! Offsets are those of the received buffer and stay valid whatever was edited before. The bytes to
//! insert live in one arena inside the list, so that an edit costs no allocation of its own. What is
//! not touched is copied in runs. Removals may overlap; what was inserted inside a removed part is
//! still written. A later replacement of exactly the same part takes the place of an earlier one.
//! Where the body's length changes, Content-Length is rewritten (or added).

use crate::header::HeaderName;
use crate::message::Message;
use crate::scan::decimal;
use crate::span::Span;
use smallvec::SmallVec;

/// An ordered list of edits to one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    bytes: Vec<u8>,
    ops: Vec<Op>,
}

/// A place to roll back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    bytes: usize,
    ops: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Op {
    place: Place,
    data: Span,
    kind: HeaderName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before(u32),
    After(u32),
    Remove(Span),
    Replace(Span),
    Prepend,
    Append,
    Body,
}

impl Edits {
    /// No edits.
    pub fn new() -> Edits {
        Edits::default()
    }

    /// Inserts `bytes` at `offset`, before what [`Edits::insert_after`] puts there. `kind` says
    /// which header it is, for [`Edits::has_kind`]; `Other` where that does not matter.
    pub fn insert_before(&mut self, offset: usize, bytes: &[u8], kind: HeaderName) {
        self.push(Place::Before(offset as u32), bytes, kind);
    }

    /// Inserts `bytes` at `offset`, behind what was inserted before at it.
    pub fn insert_after(&mut self, offset: usize, bytes: &[u8], kind: HeaderName) {
        self.push(Place::After(offset as u32), bytes, kind);
    }

    /// Removes a part.
    pub fn remove(&mut self, span: Span) {
        self.push(Place::Remove(span), b"", HeaderName::Other);
    }

    /// Replaces a part.
    pub fn replace(&mut self, span: Span, bytes: &[u8]) {
        self.push(Place::Replace(span), bytes, HeaderName::Other);
    }

    /// Adds whole header lines (with their line ends) after the last header.
    pub fn append_header(&mut self, bytes: &[u8]) {
        self.push(Place::Append, bytes, line_kind(bytes));
    }

    /// Adds whole header lines before the first header.
    pub fn prepend_header(&mut self, bytes: &[u8]) {
        self.push(Place::Prepend, bytes, line_kind(bytes));
    }

    /// Replaces the whole body; the last call wins over earlier ones and over edits inside the body.
    pub fn set_body(&mut self, bytes: &[u8]) {
        self.push(Place::Body, bytes, HeaderName::Other);
    }

    /// Forgets all edits, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ops.clear();
    }

    /// True where nothing was edited.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many edits there are.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// True where a header of that kind was inserted.
    pub fn has_kind(&self, kind: HeaderName) -> bool {
        self.ops
            .iter()
            .any(|op| op.kind == kind && !op.data.is_empty())
    }

    /// True where some removal or replacement covers all of `span`.
    pub fn removes(&self, span: Span) -> bool {
        self.ops.iter().any(|op| match op.place {
            Place::Remove(s) | Place::Replace(s) => s.start <= span.start && span.end <= s.end,
            _ => false,
        })
    }

    /// The body set by [`Edits::set_body`].
    pub fn new_body(&self) -> Option<&[u8]> {
        let op = self.ops.iter().rev().find(|op| op.place == Place::Body)?;
        Some(op.data.of(&self.bytes))
    }

    /// What [`Edits::replace`] put last in the place of exactly this part.
    pub fn replacement(&self, span: Span) -> Option<&[u8]> {
        let place = Place::Replace(span);
        let op = self.ops.iter().rev().find(|op| op.place == place)?;
        Some(op.data.of(&self.bytes))
    }

    /// Where we are, to come back to (as before the edits of one branch).
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            bytes: self.bytes.len(),
            ops: self.ops.len(),
        }
    }

    /// Forgets what was edited since `to`.
    pub fn rollback(&mut self, to: Checkpoint) {
        self.bytes.truncate(to.bytes);
        self.ops.truncate(to.ops);
    }

    /// Adds all edits of another list made for the same message.
    pub fn extend(&mut self, other: &Edits) {
        let by = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&other.bytes);
        self.ops.extend(other.ops.iter().map(|op| Op {
            data: op.data.shifted(by),
            ..*op
        }));
    }

    /// Writes the edited message onto the end of `out`.
    pub fn apply(&self, msg: &Message, out: &mut Vec<u8>) {
        render(msg, self, &[], false, out);
    }

    /// Writes the list to bytes that [`Edits::decode`] reads: to keep the edits with the message they
    /// were made for.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for op in &self.ops {
            let (tag, at, to) = match op.place {
                Place::Before(at) => (0, at, 0),
                Place::After(at) => (1, at, 0),
                Place::Remove(s) => (2, s.start, s.end),
                Place::Replace(s) => (3, s.start, s.end),
                Place::Prepend => (4, 0, 0),
                Place::Append => (5, 0, 0),
                Place::Body => (6, 0, 0),
            };
            out.push(tag);
            let data = op.data.of(&self.bytes);
            for n in [at, to, data.len() as u32] {
                out.extend_from_slice(&n.to_le_bytes());
            }
            out.extend_from_slice(data);
        }
    }

    /// Reads what [`Edits::encode`] wrote; `None` for anything else.
    pub fn decode(mut bytes: &[u8]) -> Option<Edits> {
        let mut edits = Edits::default();
        while let Some((tag, rest)) = bytes.split_first() {
            let (numbers, rest) = rest.split_at_checked(12)?;
            let mut n = numbers
                .chunks_exact(4)
                .map(|c| c.try_into().map(u32::from_le_bytes).unwrap_or_default());
            let (at, to, len) = (n.next()?, n.next()?, n.next()?);
            let (data, rest) = rest.split_at_checked(len as usize)?;
            let span = Span { start: at, end: to };
            let place = match tag {
                0 => Place::Before(at),
                1 => Place::After(at),
                2 if at <= to => Place::Remove(span),
                3 if at <= to => Place::Replace(span),
                4 => Place::Prepend,
                5 => Place::Append,
                6 => Place::Body,
                _ => return None,
            };
            edits.push(place, data, line_kind(data));
            bytes = rest;
        }
        Some(edits)
    }

    fn push(&mut self, place: Place, bytes: &[u8], kind: HeaderName) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.ops.push(Op {
            place,
            data: Span::new(start, self.bytes.len()),
            kind,
        });
    }
}

/// One change with its place resolved: skip `[at, end)`, write `data`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    at: u32,
    end: u32,
    /// Order among changes at one offset.
    class: u8,
    data: &'a [u8],
}

/// The changes of a usual message need no place on the heap.
pub(crate) type Changes<'a> = SmallVec<[Change<'a>; 16]>;

impl<'a> Change<'a> {
    /// Inserts at `at`, after the script's own insertions.
    pub(crate) fn insert(at: usize, data: &'a [u8]) -> Change<'a> {
        Change {
            at: at as u32,
            end: at as u32,
            class: 3,
            data,
        }
    }

    /// Replaces (or with no data removes) a part.
    pub(crate) fn replace(span: Span, data: &'a [u8]) -> Change<'a> {
        Change {
            at: span.start,
            end: span.end,
            class: 4,
            data,
        }
    }

    /// Writes what stands from `from` up to the change, and the change; the offset after it.
    pub(crate) fn write(&self, buf: &[u8], from: usize, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(Span::new(from, self.at as usize).of(buf));
        out.extend_from_slice(self.data);
        (self.end as usize).max(from)
    }
}

/// Writes `msg` with the edits and the `extra` changes of the builder. With `need_length` a missing
/// Content-Length is added even where the body did not change.
pub(crate) fn render(
    msg: &Message,
    edits: &Edits,
    extra: &[Change<'_>],
    need_length: bool,
    out: &mut Vec<u8>,
) {
    let buf = msg.buf();
    let (headers_end, body) = (msg.headers_end(), msg.body_span());
    out.reserve(buf.len() + edits.bytes.len() + 256);
    if edits.is_empty() && extra.is_empty() && !need_length {
        out.extend_from_slice(&buf[msg.first_line_start().min(buf.len())..headers_end]);
        end_headers(msg, out);
        out.extend_from_slice(body.of(buf));
        return;
    }
    let mut line = SmallVec::<[u8; 40]>::new();
    let mut changes = resolve(msg, edits);
    changes.extend_from_slice(extra);
    sort(&mut changes);
    let split = changes.partition_point(|c| c.at as usize <= headers_end);
    let new_body = edits.new_body();
    let body_len = match new_body {
        Some(b) => b.len(),
        None => {
            let mut len = 0;
            walk(buf, body, &changes[split..], &mut |b| len += b.len());
            len
        }
    };
    let length_header = msg.header(HeaderName::ContentLength);
    let length_gone = length_header.is_some_and(|h| edits.removes(h.whole));
    let changed = body_len != body.len() || (new_body.is_some() && length_header.is_none());
    if (changed || need_length) && !edits.has_kind(HeaderName::ContentLength) {
        match length_header {
            Some(h) if !length_gone => {
                if msg.content_length() != Some(body_len as u32) {
                    line.extend_from_slice(decimal(body_len as u64, &mut [0; 20]));
                    changes.insert(split, Change::replace(h.body, &line));
                }
            }
            _ => {
                line.extend_from_slice(b"Content-Length: ");
                line.extend_from_slice(decimal(body_len as u64, &mut [0; 20]));
                line.extend_from_slice(b"\r\n");
                changes.insert(split, Change::insert(headers_end, &line));
            }
        }
        sort(&mut changes);
    }
    let split = changes.partition_point(|c| c.at as usize <= headers_end);
    let head = Span::new(msg.first_line_start(), headers_end);
    walk(buf, head, &changes[..split], &mut |b| {
        out.extend_from_slice(b)
    });
    end_headers(msg, out);
    match new_body {
        Some(b) => out.extend_from_slice(b),
        None => walk(buf, body, &changes[split..], &mut |b| {
            out.extend_from_slice(b)
        }),
    }
}

/// The kind of the first header line in `bytes`.
fn line_kind(bytes: &[u8]) -> HeaderName {
    let colon = memchr::memchr(b':', bytes).unwrap_or(0);
    crate::header::name_of(crate::scan::trim(&bytes[..colon]))
}

fn end_headers(msg: &Message, out: &mut Vec<u8>) {
    let blank = Span::new(msg.headers_end(), msg.body_start());
    if blank.is_empty() {
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(blank.of(msg.buf()));
    }
}

/// Stable: changes of one offset and class keep their order.
fn sort(changes: &mut [Change<'_>]) {
    changes.sort_by_key(|c| (c.at, c.class));
}

fn resolve<'a>(msg: &Message, edits: &'a Edits) -> Changes<'a> {
    let mut changes = Changes::new();
    let (headers_end, body_start) = (msg.headers_end() as u32, msg.body_start() as u32);
    let len = msg.buf().len() as u32;
    // What points into the empty line belongs to the end of the headers.
    let clamp = |at: u32| {
        let at = at.min(len).max(msg.first_line_start() as u32);
        if at > headers_end && at < body_start {
            headers_end
        } else {
            at
        }
    };
    for (n, op) in edits.ops.iter().enumerate() {
        let data = op.data.of(&edits.bytes);
        let (at, end, class) = match op.place {
            Place::Before(at) => (clamp(at), clamp(at), 0),
            Place::After(at) => (clamp(at), clamp(at), 1),
            Place::Prepend => (msg.headers_start() as u32, msg.headers_start() as u32, 0),
            Place::Append => (headers_end, headers_end, 2),
            Place::Remove(s) => (clamp(s.start), clamp(s.end), 4),
            Place::Replace(s) => {
                let later = |o: &Op| o.place == Place::Replace(s);
                if edits.ops[n + 1..].iter().any(later) {
                    continue;
                }
                (clamp(s.start), clamp(s.end), 4)
            }
            Place::Body => continue,
        };
        changes.push(Change {
            at,
            end: end.max(at),
            class,
            data,
        });
    }
    changes
}

/// Feeds `sink` the part of `buf` with its changes, which are sorted by offset.
fn walk<'a>(buf: &'a [u8], part: Span, changes: &[Change<'a>], sink: &mut impl FnMut(&'a [u8])) {
    let mut at = part.start;
    for c in changes {
        let stop = c.at.min(part.end);
        if stop > at {
            sink(
                Span {
                    start: at,
                    end: stop,
                }
                .of(buf),
            );
            at = stop;
        }
        sink(c.data);
        at = at.max(c.end.min(part.end));
    }
    if at < part.end {
        sink(
            Span {
                start: at,
                end: part.end,
            }
            .of(buf),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn msg() -> Message {
        Message::from_bytes(b"INFO sip:a SIP/2.0\r\nA: 1\r\nB: 2\r\nContent-Length: 3\r\n\r\nxyz")
            .unwrap()
    }

    fn applied(msg: &Message, edits: &Edits) -> String {
        let mut out = Vec::new();
        edits.apply(msg, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_changes_nothing() {
        let m = msg();
        assert_eq!(applied(&m, &Edits::new()).as_bytes(), m.buf());
    }

    #[test]
    fn order_is_kept_and_removals_merge() {
        let m = msg();
        let (a, b) = (m.headers()[0], m.headers()[1]);
        let mut e = Edits::new();
        e.insert_after(b.whole.at(), b"X3: 3\r\n", HeaderName::Other);
        e.insert_before(b.whole.at(), b"X1: 1\r\n", HeaderName::Other);
        e.insert_before(b.whole.at(), b"X2: 2\r\n", HeaderName::Other);
        e.prepend_header(b"P: 1\r\n");
        e.append_header(b"Z: 1\r\n");
        e.append_header(b"Z: 2\r\n");
        e.remove(a.whole);
        e.remove(Span::new(a.whole.at() + 2, b.whole.to()));
        assert_eq!(
            applied(&m, &e),
            "INFO sip:a SIP/2.0\r\nP: 1\r\nX1: 1\r\nX2: 2\r\nX3: 3\r\nContent-Length: 3\r\nZ: 1\r\nZ: 2\r\n\r\nxyz"
        );
        assert!(e.removes(a.body));
    }

    #[test]
    fn bodies_fix_content_length() {
        let m = msg();
        let mut e = Edits::new();
        e.set_body(b"hello world");
        assert!(applied(&m, &e).ends_with("Content-Length: 11\r\n\r\nhello world"));
        let mut e = Edits::new();
        e.replace(Span::new(m.body_start() + 1, m.body_start() + 2), b"--");
        assert!(applied(&m, &e).ends_with("Content-Length: 4\r\n\r\nx--z"));
        e.remove(m.headers()[2].whole);
        assert!(applied(&m, &e).ends_with("B: 2\r\nContent-Length: 4\r\n\r\nx--z"));
    }

    #[test]
    fn kept_edits_do_the_same_again() {
        let m = msg();
        let mut e = Edits::new();
        e.insert_before(m.headers()[1].whole.at(), b"Via: x\r\n", HeaderName::Via);
        e.remove(m.headers()[0].whole);
        e.append_header(b"Z: 1\r\n");
        e.set_body(b"hello");
        let mut kept = Vec::new();
        e.encode(&mut kept);
        let again = Edits::decode(&kept).unwrap();
        assert_eq!(applied(&m, &again), applied(&m, &e));
        assert!(again.has_kind(HeaderName::Via));
        assert_eq!(Edits::decode(&kept[..kept.len() - 1]), None);
        assert_eq!(Edits::decode(b"").unwrap(), Edits::new());
    }

    #[test]
    fn replace_again_and_rollback() {
        let m = msg();
        let mut e = Edits::new();
        e.replace(m.headers()[0].body, b"one");
        let c = e.checkpoint();
        e.replace(m.headers()[0].body, b"two");
        e.append_header(b"Via: x\r\n");
        assert!(e.has_kind(HeaderName::Via));
        assert!(applied(&m, &e).contains("A: two\r\n"));
        e.rollback(c);
        assert!(applied(&m, &e).contains("A: one\r\nB: 2\r\nContent-Length: 3\r\n\r\n"));
    }
}
