//! Where text came from: files, byte ranges in them, and the trail of includes between them.
//!
//! A [`Span`] is three `u32`s and copies freely; only the [`SourceMap`] can turn one into
//! `file:line:column`. Text is kept as UTF-8: bytes that are not become U+FFFD here, while the exact
//! bytes stay in [`crate::Parsed::files`]. Nothing here reads the disk.

use std::path::{Path, PathBuf};

/// Which file of a [`SourceMap`] a span lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FileId(pub u32);

/// A byte range of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// Byte offset of the first byte.
    pub start: u32,
    /// Byte offset just past the last byte.
    pub end: u32,
}

impl Span {
    /// The range `start..end` of `file`.
    pub fn new(file: FileId, start: usize, end: usize) -> Self {
        Self {
            file,
            start: clamp(start),
            end: clamp(end),
        }
    }

    /// The smallest span covering both; `self` where they lie in different files.
    pub fn to(self, other: Span) -> Span {
        if self.file != other.file {
            return self;
        }
        Span {
            file: self.file,
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// The empty span just after this one.
    pub fn after(self) -> Span {
        Span {
            start: self.end,
            ..self
        }
    }
}

/// One text that was read.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The name shown to people.
    pub name: String,
    /// The path it was read from; `None` for text given by the caller or made by a command line.
    pub path: Option<PathBuf>,
    /// Its text.
    pub text: String,
    /// The `include_file` that brought it in.
    pub included_at: Option<Span>,
    /// Byte offset of the start of each line.
    lines: Vec<u32>,
}

/// A place as people count: from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file's name.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Every text of one parse, in the order they were read.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a text and returns its id.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        path: Option<&Path>,
        text: String,
        included_at: Option<Span>,
    ) -> FileId {
        let id = FileId(clamp(self.files.len()));
        let lines = std::iter::once(0)
            .chain(
                text.bytes()
                    .enumerate()
                    .filter(|(_, b)| *b == b'\n')
                    .map(|(i, _)| clamp(i + 1)),
            )
            .collect();
        self.files.push(SourceFile {
            name: name.into(),
            path: path.map(Path::to_path_buf),
            text,
            included_at,
            lines,
        });
        id
    }

    /// The file behind an id.
    pub fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// All files in the order they were read.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The text a span covers; empty where the span is not of this map.
    pub fn text(&self, span: Span) -> &str {
        self.file(span.file)
            .and_then(|f| f.text.get(span.start as usize..span.end as usize))
            .unwrap_or("")
    }

    /// Where a span begins.
    pub fn locate(&self, span: Span) -> Location {
        let Some(file) = self.file(span.file) else {
            return Location {
                file: "<unknown>".into(),
                line: 1,
                column: 1,
            };
        };
        let index = file.line_index(span.start);
        let start = file.lines[index] as usize;
        let column = file
            .text
            .get(start..span.start as usize)
            .map_or(1, |before| before.chars().count() + 1);
        Location {
            file: file.name.clone(),
            line: clamp(index + 1),
            column: clamp(column),
        }
    }

    /// The includes that led to a span, nearest first.
    pub fn trail(&self, span: Span) -> Vec<Span> {
        let mut trail = Vec::new();
        let mut file = span.file;
        // A file is always included by an earlier one, so the walk ends; the bound guards a bad map.
        while let Some(at) = self.file(file).and_then(|f| f.included_at) {
            if trail.len() >= self.files.len() {
                break;
            }
            trail.push(at);
            file = at.file;
        }
        trail
    }

    /// The whole line a span begins in, without its line end.
    pub fn line_text(&self, span: Span) -> &str {
        let Some(file) = self.file(span.file) else {
            return "";
        };
        let index = file.line_index(span.start);
        let start = file.lines[index] as usize;
        let end = file
            .lines
            .get(index + 1)
            .map_or(file.text.len(), |next| *next as usize);
        file.text
            .get(start..end)
            .unwrap_or("")
            .trim_end_matches(['\n', '\r'])
    }
}

impl SourceFile {
    fn line_index(&self, offset: u32) -> usize {
        self.lines
            .partition_point(|start| *start <= offset)
            .saturating_sub(1)
    }
}

fn clamp(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_from_one_and_in_characters() {
        let mut map = SourceMap::default();
        let id = map.add("a.cfg", None, "x\nhé = 1\n".into(), None);
        let at = |start| map.locate(Span::new(id, start, start + 1)).to_string();
        assert_eq!(at(0), "a.cfg:1:1");
        assert_eq!(at(2), "a.cfg:2:1");
        assert_eq!(at(6), "a.cfg:2:4");
        assert_eq!(map.line_text(Span::new(id, 6, 7)), "hé = 1");
    }

    #[test]
    fn the_trail_names_the_nearest_include_first() {
        let mut map = SourceMap::default();
        let a = map.add("a", None, "include b".into(), None);
        let b = map.add("b", None, "include c".into(), Some(Span::new(a, 0, 7)));
        let c = map.add("c", None, "x".into(), Some(Span::new(b, 0, 7)));
        let trail = map.trail(Span::new(c, 0, 1));
        assert_eq!(trail.iter().map(|s| s.file).collect::<Vec<_>>(), vec![b, a]);
    }
}
