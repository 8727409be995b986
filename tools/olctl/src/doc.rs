//! What a name means, from the registry that the server is built from.

use olelo_core::route::module::Module;
use olelo_core::route::registry::Registry;
use olelo_core::rpc::nearest;

fn registry() -> Registry {
    let core = std::iter::once(olelo_core::exports::module());
    Registry::new(
        core.chain(olelo_modules::ALL.iter().map(|(_, m)| m()))
            .collect::<Vec<Module>>(),
    )
}

/// Names of all commands.
pub fn command_names() -> Vec<String> {
    registry().rpcs().map(|r| r.name.to_string()).collect()
}

/// Prints all commands with what they do.
pub fn commands() {
    let r = registry();
    let width = r
        .rpcs()
        .map(|c| c.name.len() + c.args.len() + 1)
        .max()
        .unwrap_or(0);
    for c in r.rpcs() {
        println!("{:width$}  {}", format!("{} {}", c.name, c.args), c.doc);
    }
}

/// Prints what `name` is: `KSR.tm.t_relay`, `t_relay`, `fr_timer`, `$ru`, `{s.len}`, `ul.dump`.
pub fn print(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("say what: olctl doc KSR.tm.t_relay, olctl doc fr_timer, olctl doc '$ru', olctl doc ul.dump".into());
    }
    let r = registry();
    let bare = name.trim_start_matches('$').trim_matches(['{', '}']);
    let mut found = false;
    let mut say = |head: String, kind: &str, doc: &str| {
        found = true;
        println!("{head}\n    {kind}\n    {doc}\n");
    };
    for (_, f, m) in r.functions() {
        if f.full_name() == name || f.name == name || f.cfg.contains(&name) {
            let native = if f.cfg.is_empty() {
                String::new()
            } else {
                format!(", native {}", f.cfg.join(", "))
            };
            say(
                f.signature(),
                &format!("function of {}{native}; in {}", m.name, f.routes.names()),
                f.doc,
            );
        }
    }
    for m in r.modules() {
        if m.name == name {
            say(m.name.to_string(), "module", m.doc);
        }
        for p in m
            .params
            .iter()
            .filter(|p| p.name == name || format!("{}.{}", m.name, p.name) == name)
        {
            say(
                format!(
                    "modparam(\"{}\", \"{}\", {})",
                    m.name,
                    p.name,
                    p.type_name()
                ),
                &format!("parameter, default {:?}", p.default),
                p.doc,
            );
        }
        for p in m.pvs.iter().filter(|p| p.name == bare) {
            let kind = if p.set.is_some() {
                "pseudo-variable, writable"
            } else {
                "pseudo-variable"
            };
            say(
                format!("${}", p.name),
                &format!("{kind}, of {}", m.name),
                p.doc,
            );
        }
        for t in m
            .transformations
            .iter()
            .filter(|t| format!("{}.{}", t.class, t.name) == bare)
        {
            say(
                format!("{{{bare}}}"),
                &format!("transformation of {}", m.name),
                t.doc,
            );
        }
        for s in m
            .stats
            .iter()
            .filter(|s| s.full_name() == name || s.name == name)
        {
            say(s.full_name(), "statistic", s.doc);
        }
    }
    if let Some(c) = r.rpc(name) {
        say(format!("{} {}", c.name, c.args), "command", c.doc);
    }
    if found {
        return Ok(());
    }
    let mut names: Vec<String> = r
        .functions()
        .flat_map(|(_, f, _)| [f.full_name(), f.name.to_string()])
        .collect();
    names.extend(r.rpcs().map(|c| c.name.to_string()));
    Err(match nearest(name, names.iter().map(String::as_str)) {
        Some(n) => format!("nothing is called {name}; did you mean {n}?"),
        None => format!("nothing is called {name}"),
    })
}
