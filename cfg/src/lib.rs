//! The kamailio.cfg language as text: preprocessor, lexer, parser, syntax tree with spans, diagnostics.
//!
//! ```
//! let parsed = olelo_cfg::parse_str("kamailio.cfg", "children = 4\nrequest_route { exit; }\n", &Default::default());
//! assert!(parsed.ok());
//! assert_eq!(parsed.config.param("children").and_then(|p| p.value.as_int()), Some(4));
//! ```
//!
//! The path of a text: [`files`] reads it, `preprocess` drives the lexer over it and resolves defines,
//! conditions and includes into one run of tokens, `parse` builds the tree of [`ast`]. Every step reports
//! into one list of [`Diagnostic`]s and goes on. This crate does not know which modules, functions or
//! pseudo-variables exist; it knows the core's parameters ([`params`]) because they are syntax.
#![forbid(unsafe_code)]

pub mod ast;
pub mod diagnostic;
pub mod files;
mod ifexp;
mod lexer;
pub mod params;
mod parse;
mod preprocess;
pub mod print;
pub mod pv;
pub mod source;
mod subst;

pub use ast::Config;
pub use diagnostic::{Diagnostic, Severity};
pub use files::{DiskFiles, FileProvider, MemoryFiles};
pub use source::{FileId, Location, SourceMap, Span};

use parse::Parser;
use preprocess::Preprocessor;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What surrounds a parse: the command line, the environment and the files.
#[derive(Clone)]
pub struct Options {
    /// `-A NAME[=VALUE]`, in order.
    pub defines: Vec<(String, Option<String>)>,
    /// Names the server itself defines (`KAMAILIO_5_6`, `MOD_tm` …).
    pub predefined: Vec<(String, Option<String>)>,
    /// `--subst`, `--substdef` and `--substdefs`, in order.
    pub substs: Vec<(SubstKind, String)>,
    /// What `#!defenv` reads.
    pub env: Env,
    /// Where files are read from.
    pub files: Arc<dyn FileProvider>,
    /// How deep includes may nest.
    pub max_include_depth: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            defines: Vec::new(),
            predefined: Vec::new(),
            substs: Vec::new(),
            env: Env::Process,
            files: Arc::new(DiskFiles),
            max_include_depth: 16,
        }
    }
}

/// The three substitution directives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubstKind {
    /// `#!subst`: within strings.
    Subst,
    /// `#!substdef`: within strings, and a define.
    SubstDef,
    /// `#!substdefs`: within strings, and a define of the value in quotes.
    SubstDefs,
}

/// Where environment variables come from.
#[derive(Debug, Clone)]
pub enum Env {
    /// This process.
    Process,
    /// A fixed set.
    Map(BTreeMap<String, String>),
}

impl Env {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<String> {
        match self {
            Env::Process => std::env::var(name).ok(),
            Env::Map(map) => map.get(name).cloned(),
        }
    }
}

/// The outcome of a parse.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// The tree; where there are errors, what could be read of it.
    pub config: Config,
    /// The texts the spans point into.
    pub sources: SourceMap,
    /// Everything found wrong, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The defines in force at the end.
    pub defines: BTreeMap<String, Option<String>>,
    /// Every file read, with its exact bytes.
    pub files: Vec<(PathBuf, Vec<u8>)>,
}

impl Parsed {
    /// Whether there is no error (warnings allowed).
    pub fn ok(&self) -> bool {
        self.diagnostics
            .iter()
            .all(|d| d.severity != Severity::Error)
    }

    /// All diagnostics drawn for a terminal.
    pub fn render(&self, color: bool) -> String {
        self.diagnostics
            .iter()
            .map(|d| d.render(&self.sources, color))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// All diagnostics for an editor: an array.
    pub fn to_json(&self) -> serde_json::Value {
        self.diagnostics
            .iter()
            .map(|d| d.to_json(&self.sources))
            .collect()
    }
}

/// Reads and parses a file and all it includes. A file that cannot be read is a diagnostic.
pub fn parse_file(path: impl AsRef<Path>, options: &Options) -> Parsed {
    let mut pre = Preprocessor::new(options);
    pre.main_file(path.as_ref());
    finish(pre)
}

/// Parses a text; relative includes are looked for beside `name`.
pub fn parse_str(name: &str, text: &str, options: &Options) -> Parsed {
    let mut pre = Preprocessor::new(options);
    pre.main_text(name, text);
    finish(pre)
}

/// Most diagnostics that are kept: each shows its line, and a long line may have as many as bytes.
const MOST_SHOWN: usize = 1000;

fn finish(pre: Preprocessor<'_>) -> Parsed {
    let Preprocessor {
        sources,
        mut diagnostics,
        files,
        defines,
        tokens,
        ..
    } = pre;
    let mut parser = Parser::new(tokens, defines.keys().cloned().collect());
    parser.run();
    diagnostics.append(&mut parser.diagnostics);
    // In the order of the text, and each place once: what breaks the lexer often breaks the parser too.
    diagnostics.sort_by_key(|d| (d.span.file, d.span.start));
    diagnostics.dedup_by(|b, a| a.span == b.span && (a.code == b.code || b.code == "syntax"));
    if diagnostics.len() > MOST_SHOWN {
        // Errors first: a configuration that has one must not look as if it had none.
        diagnostics.sort_by_key(|d| d.severity != Severity::Error);
        diagnostics.truncate(MOST_SHOWN);
        diagnostics.sort_by_key(|d| (d.span.file, d.span.start));
    }
    Parsed {
        config: parser.config,
        sources,
        diagnostics,
        defines: defines
            .into_iter()
            .map(|(name, d)| (name, d.value))
            .collect(),
        files,
    }
}
