//! Typed declarations of `KSR` for editors, printed from the registry: one file per language.

mod js;
mod lua;
mod native;
mod python;
mod squirrel;

use olelo_core::route::function::Function;
use olelo_core::route::registry::Registry;
use std::collections::BTreeMap;

/// A language: its name, other names, what prints it.
type Language = (
    &'static str,
    &'static [&'static str],
    fn(&Registry) -> String,
);

const LANGUAGES: &[Language] = &[
    ("lua", &[], lua::text),
    ("js", &["ts", "javascript", "typescript"], js::text),
    ("python", &["py"], python::text),
    ("squirrel", &["sq", "nut"], squirrel::text),
    ("native", &[], native::text),
];

/// The declarations in this language, or which languages there are.
pub fn text(language: &str, r: &Registry) -> Result<String, String> {
    let found = LANGUAGES
        .iter()
        .find(|(name, others, _)| *name == language || others.contains(&language));
    match found {
        Some((.., text)) => Ok(text(r)),
        None => {
            let names: Vec<&str> = LANGUAGES.iter().map(|(n, ..)| *n).collect();
            Err(format!(
                "no stubs for \"{language}\"; this build has: {}",
                names.join(", ")
            ))
        }
    }
}

/// The functions of one name under a prefix: more than one where they differ in their arguments.
type Overloads<'r> = Vec<&'r Function>;

/// All that scripts can call: by prefix (empty for `KSR` itself), then by name. What several modules
/// export alike is there once.
fn exports(r: &Registry) -> BTreeMap<&str, BTreeMap<&str, Overloads<'_>>> {
    let mut all: BTreeMap<&str, BTreeMap<&str, Overloads<'_>>> = BTreeMap::new();
    for (_, f, _) in r.functions().filter(|(_, f, _)| f.kemi) {
        let of_prefix = all.entry(f.prefix.unwrap_or("")).or_default();
        let same_name = of_prefix.entry(f.name).or_default();
        if !same_name.iter().any(|o| takes(o) == takes(f)) {
            same_name.push(f);
        }
    }
    all
}

fn takes(f: &Function) -> Vec<(&'static str, bool)> {
    f.params
        .iter()
        .map(|p| (p.kind.name(), p.optional))
        .collect()
}

/// Whether it ends the routing of the message: nothing after it runs.
fn ends(f: &Function) -> bool {
    f.prefix == Some("x") && matches!(f.name, "exit" | "drop")
}

/// A name that is none of the language's words.
fn safe(name: &str, words: &[&str]) -> String {
    if words.contains(&name) {
        format!("{name}_")
    } else {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Declarations stay whole whatever modules export: brackets close, comments end.
    #[test]
    fn all_are_balanced() {
        let r = crate::print::everything();
        for (language, ..) in LANGUAGES.iter().filter(|(n, ..)| *n != "native") {
            let text = text(language, &r).expect("stubs");
            let code: String = text
                .lines()
                .filter(|l| !l.trim_start().starts_with(['#', '*', '-', '/']))
                .filter(|l| !l.contains("\"\"\""))
                .map(|l| format!("{l}\n"))
                .collect();
            for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
                let count = |c| code.matches(c).count();
                assert_eq!(count(open), count(close), "{open}{close} in {language}");
            }
            assert_eq!(
                text.matches("/**").count(),
                text.matches("*/").count(),
                "comments in {language}"
            );
        }
        assert!(super::text("cobol", &r).is_err());
    }

    #[test]
    fn what_several_modules_export_is_there_once() {
        use olelo_core::route::ctx::Ctx;
        use olelo_core::route::function::function;
        use olelo_core::route::module::Module;
        let module = |name| {
            Module::new(name)
                .prefix("x")
                .function(function("delete", |_: &mut Ctx, _: i64| 1).args(["in"]))
                .function(function("exit", |_: &mut Ctx| 1))
        };
        let more = Module::new("c")
            .prefix("x")
            .function(function("delete", |_: &mut Ctx, _: i64, _: &str| 1).args(["in", "class"]));
        let r = Registry::new(vec![module("a"), module("b"), more]);
        let all = exports(&r);
        assert_eq!(all["x"]["delete"].len(), 2);
        assert_eq!(all["x"]["exit"].len(), 1);
        for (language, wanted) in [
            (
                "js",
                "function delete_(in_: number, class_: string): number;",
            ),
            ("js", "export { delete_ as delete };"),
            ("js", "function exit(): never;"),
            ("python", "def delete(in_: int, class_: str, /) -> int:"),
            ("python", "def exit() -> NoReturn:"),
            ("squirrel", "[\"delete\"] = function(in_, class_) {}"),
            ("lua", "function KSR.x.delete(in_, class)"),
        ] {
            let text = text(language, &r).expect("stubs");
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
    }
}
