//! The reference: one page per module, printed from the registry.

use olelo_core::route::module::Module;
use olelo_core::route::registry::Registry;
use std::fmt::Write;
use std::io;
use std::path::Path;

/// Writes `index.md` and `MODULE.md` for each module to `dir`.
pub fn write(dir: &Path, r: &Registry) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut index =
        String::from("# Reference\n\nPrinted by `olelo --docs doc`; a test keeps it current.\n\n");
    for m in r.modules() {
        let _ = writeln!(index, "- [{0}]({0}.md): {1}", m.name, m.doc);
        std::fs::write(dir.join(format!("{}.md", m.name)), page(m, r))?;
    }
    std::fs::write(dir.join("index.md"), index)
}

fn page(m: &Module, r: &Registry) -> String {
    let mut out = format!("# {}\n\n{}\n", m.name, m.doc);
    if !m.depends.is_empty() {
        let _ = write!(out, "\nNeeds: {}.\n", m.depends.join(", "));
    }
    let functions: Vec<_> = r
        .functions()
        .filter(|(_, _, o)| o.name == m.name)
        .map(|(_, f, _)| f)
        .collect();
    let kemi = functions.iter().filter(|f| f.kemi).map(|f| {
        vec![
            format!("`{}`", f.signature()),
            native(&f.cfg),
            f.routes.names(),
            f.doc.into(),
        ]
    });
    table(
        &mut out,
        "Functions",
        &["KEMI", "native", "routes", "what it does"],
        kemi.collect(),
    );
    let own = functions.iter().filter(|f| !f.kemi).map(|f| {
        let args: Vec<&str> = f.params.iter().map(|p| p.name.as_ref()).collect();
        vec![
            format!("{}({})", native(&f.cfg), args.join(", ")),
            f.routes.names(),
            f.doc.into(),
        ]
    });
    table(
        &mut out,
        "Functions of the native language only",
        &["name", "routes", "what it does"],
        own.collect(),
    );
    let params = m.params.iter().map(|p| {
        vec![
            format!("`{}`", p.name),
            p.type_name().into(),
            code(&p.default),
            p.doc.into(),
        ]
    });
    table(
        &mut out,
        "Parameters",
        &["name", "type", "default", "what it does"],
        params.collect(),
    );
    let pvs = m.pvs.iter().map(|p| {
        vec![
            format!("`${}`", p.name),
            if p.set.is_some() { "yes" } else { "no" }.into(),
            p.doc.into(),
        ]
    });
    table(
        &mut out,
        "Pseudo-variables",
        &["name", "writable", "what it is"],
        pvs.collect(),
    );
    let trs = m
        .transformations
        .iter()
        .map(|t| vec![format!("`{{{}.{}}}`", t.class, t.name), t.doc.into()]);
    table(
        &mut out,
        "Transformations",
        &["name", "what it does"],
        trs.collect(),
    );
    let rpcs = m.rpcs.iter().map(|c| {
        vec![
            format!("`{} {}`", c.name, c.args).replace(" `", "`"),
            c.doc.into(),
        ]
    });
    table(
        &mut out,
        "Control commands",
        &["command", "what it does"],
        rpcs.collect(),
    );
    let events = m
        .events
        .iter()
        .map(|(n, d)| vec![format!("`{n}`"), (*d).into()]);
    table(
        &mut out,
        "Event routes",
        &["name", "when it runs"],
        events.collect(),
    );
    let stats = m
        .stats
        .iter()
        .map(|s| vec![format!("`{}`", s.full_name()), s.doc.into()]);
    table(
        &mut out,
        "Statistics",
        &["name", "what it counts"],
        stats.collect(),
    );
    let answered = m
        .answered
        .iter()
        .map(|(n, w)| vec![format!("`{n}`"), (*w).into()]);
    table(
        &mut out,
        "Without meaning here",
        &["name", "why"],
        answered.collect(),
    );
    out
}

fn native(names: &[&str]) -> String {
    names
        .iter()
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn code(s: &str) -> String {
    if s.is_empty() {
        String::new()
    } else {
        format!("`{s}`")
    }
}

fn table(out: &mut String, title: &str, head: &[&str], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "\n## {title}\n\n| {} |\n|{}\n",
        head.join(" | "),
        "---|".repeat(head.len())
    );
    for r in rows {
        let cells: Vec<String> = r.iter().map(|c| c.replace('|', "\\|")).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_the_tree_is_current() {
        let fresh = std::env::temp_dir().join(format!("olelo-doc-{}", std::process::id()));
        write(&fresh, &crate::print::everything()).expect("written");
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../doc");
        let mut stale = Vec::new();
        for e in std::fs::read_dir(&fresh).expect("a directory").flatten() {
            let new = std::fs::read_to_string(e.path()).expect("a page");
            if std::fs::read_to_string(kept.join(e.file_name())).ok() != Some(new) {
                stale.push(e.file_name());
            }
        }
        let _ = std::fs::remove_dir_all(&fresh);
        assert!(stale.is_empty(), "run `make doc`: {stale:?}");
    }

    #[test]
    fn every_export_says_what_it_does() {
        let r = crate::print::everything();
        let silent: Vec<String> = r
            .functions()
            .filter(|(_, f, _)| f.doc.is_empty())
            .map(|(_, f, m)| format!("{}.{}", m.name, f.name))
            .collect();
        assert!(silent.is_empty(), "functions without a word: {silent:?}");
        let silent: Vec<&str> = r
            .rpcs()
            .filter(|c| c.doc.is_empty())
            .map(|c| c.name)
            .collect();
        assert!(silent.is_empty(), "commands without a word: {silent:?}");
    }
}
