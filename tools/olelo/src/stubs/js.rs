//! TypeScript declarations: for TypeScript, and for JavaScript with `// @ts-check`.

use super::{Overloads, ends, exports, safe};
use olelo_core::route::function::{Function, Kind};
use olelo_core::route::registry::Registry;
use std::fmt::Write;

pub(super) fn text(r: &Registry) -> String {
    let mut out = String::from(
        "// Printed by `olelo --stubs js`. In a script: /// <reference path=\"KSR.d.ts\" />\n\ndeclare namespace KSR {\n",
    );
    for (prefix, functions) in exports(r) {
        if prefix.is_empty() {
            functions
                .iter()
                .for_each(|(n, f)| declare(&mut out, "  ", n, f));
            continue;
        }
        let _ = write!(out, "\n  export namespace {} {{\n", safe(prefix, WORDS));
        functions
            .iter()
            .for_each(|(n, f)| declare(&mut out, "    ", n, f));
        out.push_str("  }\n");
        rename(&mut out, "  ", prefix);
    }
    out.push_str("}\n");
    out
}

/// One name with all its forms.
fn declare(out: &mut String, by: &str, name: &str, forms: &Overloads<'_>) {
    let own = safe(name, WORDS);
    // A word of the language can be no name here, but it can be what others see.
    let export = if own == name { "export " } else { "" };
    for f in forms {
        let _ = writeln!(out, "{by}/**\n{by} * {}", comment(f.doc));
        for p in &f.params {
            let _ = writeln!(out, "{by} * @param {}", safe(&p.name, WORDS));
        }
        let _ = writeln!(out, "{by} */");
        let _ = writeln!(
            out,
            "{by}{export}function {own}({}): {};",
            params(f),
            returns(f)
        );
    }
    rename(out, by, name);
}

fn rename(out: &mut String, by: &str, name: &str) {
    let own = safe(name, WORDS);
    if own != name {
        let _ = writeln!(out, "{by}export {{ {own} as {name} }};");
    }
}

/// Arguments; one that must be given can't follow one that may be left out.
fn params(f: &Function) -> String {
    let last_needed = f.params.iter().rposition(|p| !p.optional);
    let all = f.params.iter().enumerate().map(|(i, p)| {
        let name = safe(&p.name, WORDS);
        let kind = match p.kind {
            Kind::Any => "number | string | boolean | null",
            k => type_of(k),
        };
        match (p.optional, last_needed.is_some_and(|l| i < l)) {
            (false, _) => format!("{name}: {kind}"),
            (true, true) => format!("{name}: {kind} | undefined"),
            (true, false) => format!("{name}?: {kind}"),
        }
    });
    all.collect::<Vec<_>>().join(", ")
}

fn returns(f: &Function) -> &'static str {
    if ends(f) { "never" } else { type_of(f.returns) }
}

fn type_of(k: Kind) -> &'static str {
    match k {
        Kind::Int => "number",
        Kind::Str => "string",
        Kind::Bool => "boolean",
        Kind::None => "void",
        Kind::Any => "any",
    }
}

fn comment(text: &str) -> String {
    text.replace("*/", "*\\/").replace('\n', " ")
}

const WORDS: &[&str] = &[
    "arguments",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "eval",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "let",
    "new",
    "null",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "var",
    "void",
    "while",
    "with",
    "yield",
];

#[cfg(test)]
mod tests {
    #[test]
    fn every_declaration_is_typed() {
        let text = super::text(&crate::print::everything());
        assert!(text.contains("  export namespace tm {\n"));
        assert!(text.contains("    export function process_maxfwd(limit: number): number;"));
        let code = text
            .lines()
            .filter(|l| !l.trim_start().starts_with(['*', '/']));
        for l in code.filter(|l| l.contains("function ")) {
            assert!(l.ends_with(';') && l.contains("): "), "{l}");
            let name = l.split("function ").nth(1).unwrap_or_default();
            let name = name.split('(').next().unwrap_or_default();
            assert!(
                !name.is_empty()
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && !super::WORDS.contains(&name),
                "{l}"
            );
        }
    }
}
