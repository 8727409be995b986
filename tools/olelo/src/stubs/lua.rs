//! Annotations of EmmyLua and LuaLS.

use super::{exports, safe};
use olelo_core::route::function::{Function, Kind};
use olelo_core::route::registry::Registry;
use std::fmt::Write;

pub(super) fn text(r: &Registry) -> String {
    let mut out =
        String::from("---@meta\n-- Printed by `olelo --stubs lua`.\n\n---@class KSR\nKSR = {}\n");
    for (prefix, functions) in exports(r) {
        let table = match prefix {
            "" => "KSR".to_string(),
            p => format!("KSR.{p}"),
        };
        if !prefix.is_empty() {
            let _ = write!(out, "\n---@class KSR.{prefix}\n{table} = {{}}\n");
        }
        for f in functions.values().flatten() {
            declare(&mut out, &table, f);
        }
    }
    out
}

fn declare(out: &mut String, table: &str, f: &Function) {
    let _ = write!(out, "\n---{}\n", f.doc);
    for p in &f.params {
        let mark = if p.optional { "?" } else { "" };
        let name = safe(&p.name, WORDS);
        let _ = writeln!(out, "---@param {name}{mark} {}", type_of(p.kind));
    }
    if f.returns != Kind::None {
        let _ = writeln!(out, "---@return {}", type_of(f.returns));
    }
    let names: Vec<String> = f.params.iter().map(|p| safe(&p.name, WORDS)).collect();
    let names = names.join(", ");
    let _ = match WORDS.contains(&f.name) {
        true => writeln!(out, "{table}[\"{}\"] = function({names}) end", f.name),
        false => writeln!(out, "function {table}.{}({names}) end", f.name),
    };
}

fn type_of(k: Kind) -> &'static str {
    match k {
        Kind::Int => "integer",
        Kind::Str => "string",
        Kind::Bool => "boolean",
        Kind::None => "nil",
        Kind::Any => "any",
    }
}

const WORDS: &[&str] = &[
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
    "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

#[cfg(test)]
mod tests {
    #[test]
    fn stubs_are_lua_that_loads() {
        let text = super::text(&crate::print::everything());
        assert!(text.contains("function KSR.tm.t_relay("));
        assert!(text.contains("---@param limit integer\n---@return integer\nfunction KSR.maxfwd.process_maxfwd(limit) end"), "types");
        // Every declaration is one line that a Lua parser takes; names must be identifiers.
        for l in text.lines().filter(|l| l.starts_with("function ")) {
            let name = l
                .trim_start_matches("function ")
                .split('(')
                .next()
                .unwrap_or("");
            assert!(
                name.split('.')
                    .all(|p| !p.is_empty()
                        && p.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')),
                "{l}"
            );
        }
    }
}
