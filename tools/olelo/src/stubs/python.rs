//! A `KSR.pyi`: what `import KSR` gives, for mypy, pyright and editors.
//!
//! Prefixes are classes of static methods: an editor completes them, and a type checker knows them
//! without a package of many files. Arguments go by their place.

use super::{Overloads, ends, exports, safe};
use olelo_core::route::function::{Function, Kind};
use olelo_core::route::registry::Registry;
use std::fmt::Write;

pub(super) fn text(r: &Registry) -> String {
    let mut out = String::from(
        "# Printed by `olelo --stubs python`, to be saved as KSR.pyi beside the script.\n\nfrom typing import Any, NoReturn, Optional, Union, overload\n",
    );
    for (prefix, functions) in exports(r) {
        let mut by = "";
        if !prefix.is_empty() {
            let own = safe(prefix, WORDS);
            out.push('\n');
            if own != prefix {
                let _ = writeln!(out, "# A word of Python: write getattr(KSR, \"{prefix}\")");
            }
            let _ = writeln!(out, "class {own}:");
            by = "    ";
        }
        for (name, forms) in &functions {
            declare(&mut out, by, name, forms);
        }
    }
    out
}

/// One name with all its forms.
fn declare(out: &mut String, by: &str, name: &str, forms: &Overloads<'_>) {
    let own = safe(name, WORDS);
    for f in forms {
        if own != name {
            let _ = writeln!(out, "{by}# A word of Python: write getattr(…, \"{name}\")");
        }
        if forms.len() > 1 {
            let _ = writeln!(out, "{by}@overload");
        }
        if !by.is_empty() {
            let _ = writeln!(out, "{by}@staticmethod");
        }
        let _ = writeln!(out, "{by}def {own}({}) -> {}:", params(f), returns(f));
        let _ = writeln!(out, "{by}    \"\"\"{}\"\"\"", comment(f.doc));
    }
}

/// Arguments; one that must be given can't follow one that may be left out.
fn params(f: &Function) -> String {
    let last_needed = f.params.iter().rposition(|p| !p.optional);
    let mut all: Vec<String> = Vec::new();
    for (i, p) in f.params.iter().enumerate() {
        let name = safe(&p.name, WORDS);
        let kind = match p.kind {
            Kind::Any => "Union[int, str, bool, None]",
            k => type_of(k),
        };
        all.push(match (p.optional, last_needed.is_some_and(|l| i < l)) {
            (false, _) => format!("{name}: {kind}"),
            (true, true) => format!("{name}: Optional[{kind}]"),
            (true, false) => format!("{name}: {kind} = ..."),
        });
    }
    if !all.is_empty() {
        all.push("/".into());
    }
    all.join(", ")
}

fn returns(f: &Function) -> &'static str {
    if ends(f) {
        "NoReturn"
    } else {
        type_of(f.returns)
    }
}

fn type_of(k: Kind) -> &'static str {
    match k {
        Kind::Int => "int",
        Kind::Str => "str",
        Kind::Bool => "bool",
        Kind::None => "None",
        Kind::Any => "Any",
    }
}

fn comment(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace("\"\"\"", "'''");
    match text.ends_with('"') {
        true => format!("{text} "),
        false => text,
    }
}

const WORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Python's own parser, where there is one.
    #[test]
    fn python_reads_it() {
        let text = super::text(&crate::print::everything());
        assert!(
            text.contains(
                "    def process_maxfwd(limit: int, /) -> int:\n        \"\"\"Decrements"
            )
        );
        let python = Command::new("python3")
            .args(["-c", "import ast, sys; ast.parse(sys.stdin.read())"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut python) = python else {
            eprintln!("no python3 here: not parsed");
            return;
        };
        let mut stdin = python.stdin.take().expect("a pipe");
        stdin.write_all(text.as_bytes()).expect("written");
        drop(stdin);
        let said = python.wait_with_output().expect("python3 ends");
        assert!(
            said.status.success(),
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
}
