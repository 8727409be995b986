//! Typed declarations of `KSR` for editors, printed from the registry.

use olelo_core::route::function::{Function, Kind};
use olelo_core::route::registry::Registry;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The declarations in this language, or which languages there are.
pub fn text(language: &str, r: &Registry) -> Result<String, String> {
    match language {
        "lua" => Ok(lua(r)),
        "native" => Ok(native(r)),
        other => Err(format!(
            "no stubs for \"{other}\"; this build has: lua, native"
        )),
    }
}

/// One line per function of the native language: its call, where it may stand, what it does.
fn native(r: &Registry) -> String {
    let mut lines = Vec::new();
    for (_, f, m) in r.functions() {
        let args: Vec<String> = f
            .params
            .iter()
            .map(|p| {
                let mark = if p.optional { "?" } else { "" };
                format!("{}{mark}: {}", p.name, p.kind.name())
            })
            .collect();
        for name in &f.cfg {
            lines.push(format!(
                "{name}({})\t{}\t{}\t{}\n",
                args.join(", "),
                m.name,
                f.routes.names(),
                f.doc
            ));
        }
    }
    lines.sort();
    lines.concat()
}

/// EmmyLua/LuaLS annotations.
fn lua(r: &Registry) -> String {
    let mut by_prefix: BTreeMap<&str, Vec<&Function>> = BTreeMap::new();
    for (_, f, _) in r.functions().filter(|(_, f, _)| f.kemi) {
        by_prefix.entry(f.prefix.unwrap_or("")).or_default().push(f);
    }
    let mut out =
        String::from("---@meta\n-- Printed by `olelo --stubs lua`.\n\n---@class KSR\nKSR = {}\n");
    for (prefix, mut functions) in by_prefix {
        functions.sort_by_key(|f| f.name);
        let table = if prefix.is_empty() {
            "KSR".to_string()
        } else {
            format!("KSR.{prefix}")
        };
        if !prefix.is_empty() {
            let _ = write!(out, "\n---@class KSR.{prefix}\n{table} = {{}}\n");
        }
        for f in functions {
            let _ = write!(out, "\n---{}\n", f.doc);
            for p in &f.params {
                let _ = writeln!(
                    out,
                    "---@param {}{} {}",
                    lua_name(&p.name),
                    if p.optional { "?" } else { "" },
                    lua_type(p.kind)
                );
            }
            if f.returns != Kind::None {
                let _ = writeln!(out, "---@return {}", lua_type(f.returns));
            }
            let names: Vec<String> = f.params.iter().map(|p| lua_name(&p.name)).collect();
            let _ = writeln!(out, "function {table}.{}({}) end", f.name, names.join(", "));
        }
    }
    out
}

fn lua_type(k: Kind) -> &'static str {
    match k {
        Kind::Int => "integer",
        Kind::Str => "string",
        Kind::Bool => "boolean",
        Kind::None => "nil",
        Kind::Any => "any",
    }
}

/// A parameter's name that isn't a word of the language.
fn lua_name(n: &str) -> String {
    const WORDS: [&str; 6] = ["end", "function", "local", "not", "repeat", "until"];
    if WORDS.contains(&n) {
        format!("{n}_")
    } else {
        n.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_are_lua_that_loads() {
        let r = crate::print::everything();
        let text = text("lua", &r).expect("stubs");
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
        assert!(super::text("cobol", &r).is_err());
    }
}
