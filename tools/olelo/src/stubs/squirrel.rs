//! Declarations for Squirrel: a script that compiles, with comments that editors index. Squirrel has
//! neither types nor overloads, so a name has its longest form, and all forms are in the comment.

use super::{Overloads, exports, safe};
use olelo_core::route::function::{Function, Kind};
use olelo_core::route::registry::Registry;
use std::fmt::Write;

pub(super) fn text(r: &Registry) -> String {
    let mut out = String::from(
        "// Printed by `olelo --stubs squirrel`; for editors, not to be loaded.\n\nKSR <- {}\n",
    );
    for (prefix, functions) in exports(r) {
        if prefix.is_empty() {
            for (name, forms) in &functions {
                comment(&mut out, "", forms);
                let _ = writeln!(out, "KSR[\"{name}\"] <- function({}) {{}}", params(forms));
            }
            continue;
        }
        let _ = writeln!(out, "\nKSR[\"{prefix}\"] <- {{");
        for (name, forms) in &functions {
            comment(&mut out, "\t", forms);
            let _ = match WORDS.contains(name) {
                true => writeln!(out, "\t[\"{name}\"] = function({}) {{}}", params(forms)),
                false => writeln!(out, "\tfunction {name}({}) {{}}", params(forms)),
            };
        }
        out.push_str("}\n");
    }
    out
}

fn comment(out: &mut String, by: &str, forms: &Overloads<'_>) {
    let _ = writeln!(out, "{by}/**");
    for f in forms {
        let _ = writeln!(out, "{by} * {}", f.signature().replace("*/", "*\\/"));
        let _ = writeln!(out, "{by} * {}", f.doc.replace("*/", "*\\/"));
        for p in &f.params {
            let mark = if p.optional { ", may be left out" } else { "" };
            let name = safe(&p.name, WORDS);
            let _ = writeln!(out, "{by} * @param {{{}}} {name}{mark}", type_of(p.kind));
        }
        let _ = writeln!(out, "{by} * @return {{{}}}", type_of(f.returns));
    }
    let _ = writeln!(out, "{by} */");
}

/// The arguments of the longest form. Those that may be left out are null then.
fn params(forms: &Overloads<'_>) -> String {
    let Some(longest) = forms.iter().max_by_key(|f| f.params.len()) else {
        return String::new();
    };
    let least = forms.iter().map(|f| needed(f)).min().unwrap_or(0);
    let all = longest.params.iter().enumerate().map(|(i, p)| {
        let name = safe(&p.name, WORDS);
        match forms.len() == 1 && i >= least {
            true => format!("{name} = null"),
            false => name,
        }
    });
    all.collect::<Vec<_>>().join(", ")
}

fn needed(f: &Function) -> usize {
    f.params
        .iter()
        .rposition(|p| !p.optional)
        .map_or(0, |l| l + 1)
}

fn type_of(k: Kind) -> &'static str {
    match k {
        Kind::Int => "integer",
        Kind::Str => "string",
        Kind::Bool => "bool",
        Kind::None => "null",
        Kind::Any => "any",
    }
}

const WORDS: &[&str] = &[
    "base",
    "break",
    "case",
    "catch",
    "class",
    "clone",
    "const",
    "constructor",
    "continue",
    "default",
    "delete",
    "else",
    "enum",
    "extends",
    "false",
    "for",
    "foreach",
    "function",
    "if",
    "in",
    "instanceof",
    "local",
    "null",
    "rawcall",
    "resume",
    "return",
    "static",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "while",
    "yield",
];

#[cfg(test)]
mod tests {
    #[test]
    fn every_function_is_declared_with_its_comment() {
        let r = crate::print::everything();
        let text = super::text(&r);
        let names: usize = super::exports(&r).values().map(|f| f.len()).sum();
        let declared = text.lines().filter(|l| l.ends_with(") {}")).count();
        assert_eq!(declared, names);
        assert_eq!(text.matches("/**").count(), names);
        assert!(text.contains(" * @param {integer} limit\n"));
        assert!(text.contains("\tfunction process_maxfwd(limit) {}\n"));
    }
}
