//! Options that print and end.

use crate::cli::Print;
use crate::{docs, stubs};
use olelo_core::route::module::Module;
use olelo_core::route::registry::Registry;

/// Every module that this build has, loaded.
pub fn everything() -> Registry {
    let modules: Vec<Module> = std::iter::once(olelo_core::exports::module())
        .chain(olelo_modules::ALL.iter().map(|(_, m)| m()))
        .chain([olelo_modules::native::module()])
        .collect();
    Registry::new(modules)
}

/// Prints and returns the exit code.
pub fn run(what: &Print) -> u8 {
    match what {
        Print::Version => println!(
            "version: olelo {} ({}/linux)",
            olelo_core::server::VERSION,
            std::env::consts::ARCH
        ),
        Print::Internals => {
            println!("olelo {}", olelo_core::server::VERSION);
            println!(
                "modules: {}",
                olelo_modules::ALL
                    .iter()
                    .map(|(n, _)| *n)
                    .collect::<Vec<_>>()
                    .join(" ")
            );
        }
        Print::Exports => exports(),
        Print::Stubs(language) => match stubs::text(language, &everything()) {
            Ok(t) => print!("{t}"),
            Err(e) => {
                eprintln!("olelo: {e}");
                return 1;
            }
        },
        Print::Docs(dir) => {
            if let Err(e) = docs::write(dir, &everything()) {
                eprintln!("olelo: can't write the reference to {}: {e}", dir.display());
                return 1;
            }
        }
    }
    0
}

/// What the configuration takes beside parameters with a value of their own.
const DIRECTIVES: [&str; 4] = ["mpath", "loadpath", "cfgengine", "domain"];

/// One name per line: kind, name, module.
fn exports() {
    let r = everything();
    let mut lines = Vec::new();
    for (_, f, m) in r.functions() {
        if f.kemi {
            lines.push(format!("kemi\t{}\t{}", f.full_name(), m.name));
        }
        lines.extend(f.cfg.iter().map(|n| format!("cfg\t{n}\t{}", m.name)));
    }
    for m in r.modules() {
        lines.extend(
            m.params
                .iter()
                .map(|p| format!("modparam\t{}\t{}", p.name, m.name)),
        );
        lines.extend(m.pvs.iter().map(|p| format!("pv\t{}\t{}", p.name, m.name)));
        lines.extend(
            m.transformations
                .iter()
                .map(|t| format!("transformation\t{}.{}\t{}", t.class, t.name, m.name)),
        );
        lines.extend(
            m.rpcs
                .iter()
                .map(|c| format!("rpc\t{}\t{}", c.name, m.name)),
        );
        lines.extend(
            m.events
                .iter()
                .map(|(e, _)| format!("event_route\t{e}\t{}", m.name)),
        );
        lines.extend(
            m.stats
                .iter()
                .map(|s| format!("stat\t{}\t{}", s.full_name(), m.name)),
        );
    }
    // Words of the native language itself.
    let words = olelo_modules::native::WORDS.iter();
    lines.extend(words.map(|w| format!("cfg\t{w}\tcore")));
    lines.extend(DIRECTIVES.iter().map(|d| format!("core_param\t{d}")));
    lines.extend(
        olelo_cfg::params::CORE_PARAMS
            .iter()
            .map(|p| format!("core_param\t{}", p.name)),
    );
    lines.sort();
    lines.dedup();
    for l in lines {
        println!("{l}");
    }
}
