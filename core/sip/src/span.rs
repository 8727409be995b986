//! Spans: where something stands in a message buffer, and the error that names such a place.
//!
//! A `Span` is two 32-bit offsets and no lifetime, so parsed values can be cached inside the message
//! that owns the bytes. Resolving one against the wrong buffer yields other bytes or the empty
//! slice, never a panic.

use thiserror::Error;

/// A range of bytes `[start, end)` in a message buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// A span from two offsets in bytes.
    #[inline]
    pub fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end.max(start) as u32,
        }
    }

    /// The whole of `buf`.
    pub fn all(buf: &[u8]) -> Span {
        Span::new(0, buf.len())
    }

    /// Length in bytes.
    #[inline]
    pub fn len(self) -> usize {
        (self.end.saturating_sub(self.start)) as usize
    }

    /// True where it covers nothing.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The bytes it names in `buf`; empty where it does not fit.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// The first offset as `usize`.
    #[inline]
    pub fn at(self) -> usize {
        self.start as usize
    }

    /// The end offset as `usize`.
    #[inline]
    pub fn to(self) -> usize {
        self.end as usize
    }

    /// True where `inner` lies within it.
    #[inline]
    pub fn contains(self, inner: Span) -> bool {
        self.start <= inner.start && inner.end <= self.end
    }

    /// The same range moved `by` bytes to the right: from a part's offsets to the whole's.
    pub fn shifted(self, by: u32) -> Span {
        Span {
            start: self.start.saturating_add(by),
            end: self.end.saturating_add(by),
        }
    }
}

/// What could not be read, and where. The sender is usually to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("cannot read the message: {what}, at byte {at}")]
pub struct ParseError {
    /// What was expected or wrong, in words for the log.
    pub what: &'static str,
    /// Offset in the buffer.
    pub at: u32,
}

impl ParseError {
    /// An error at a byte offset.
    pub fn new(what: &'static str, at: usize) -> ParseError {
        ParseError {
            what,
            at: at as u32,
        }
    }
}
