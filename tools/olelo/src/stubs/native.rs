//! The functions of the configuration: one line per function, its call, where it may stand, what it
//! does.

use olelo_core::route::registry::Registry;

pub(super) fn text(r: &Registry) -> String {
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
