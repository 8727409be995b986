//! From options to a running server: read the configuration, say what is wrong with it, boot.

use crate::cli::Options;
use crate::daemon;
use olelo_cfg::ast::Config;
use olelo_cfg::diagnostic::{Diagnostic, Severity};
use olelo_cfg::{Parsed, parse_file, parse_str};
use olelo_core::config::CoreConfig;
use olelo_core::proc::{boot, main_loop};
use olelo_core::route::registry::Registry;
use std::io::Write;

/// A configuration that was read, with the modules it loads.
pub struct Loaded {
    /// The tree, and what was found wrong.
    pub parsed: Parsed,
    /// Core parameters.
    pub config: CoreConfig,
    /// What the modules export.
    pub registry: Registry,
}

/// Runs the server (or the check) and returns the exit code.
pub fn run(o: &Options, argv: Vec<String>) -> u8 {
    let options = parse_options(o);
    let parsed = parse_file(&o.file, &options);
    let Some(mut l) = load(o, argv, parsed, options) else {
        return 1;
    };
    if o.check {
        return check(o, &mut l.parsed, l.config, l.registry);
    }
    show(o, &l.parsed);
    serve(o, &l.parsed, l.config, l.registry)
}

/// Loads the modules of a configuration and gives them their parameters; says what is wrong.
pub fn load(
    o: &Options,
    argv: Vec<String>,
    mut parsed: Parsed,
    options: olelo_cfg::Options,
) -> Option<Loaded> {
    if !o.lines.is_empty() {
        // Options stand before the file, so that its modules may be given parameters.
        let extra = parse_str("command line", &o.lines.join("\n"), &options);
        if !extra.ok() {
            eprint!("{}", extra.render(o.colour));
            return None;
        }
        prepend(&mut parsed.config, extra.config);
    }
    let faulty = !parsed.ok();
    // Even where the text is faulty, what can be read is checked further: one run shows it all.
    let core = vec![olelo_core::exports::module()];
    let last = vec![olelo_modules::native::module()];
    let loaded = boot::load_modules(&parsed.config, core, last, olelo_modules::ALL);
    let registry = match loaded {
        Ok(r) => Some(r),
        Err(errors) => {
            for e in errors {
                report(&mut parsed, e);
            }
            None
        }
    };
    let (Some(registry), false) = (registry, faulty) else {
        show(o, &parsed);
        return None;
    };
    let mut config = CoreConfig::from_tree(&parsed.config);
    config.file = o.file.display().to_string();
    config.argv = argv;
    for (name, value) in &parsed.defines {
        config
            .all
            .insert(format!("define:{name}"), value.clone().unwrap_or_default());
    }
    if let Some(mb) = o.shm_mb {
        config.shm_bytes = mb.clamp(8, 1 << 16) << 20;
    }
    if let Some(dir) = &o.rundir {
        config
            .all
            .insert("rundir".into(), dir.display().to_string());
    }
    setup_log(o, &config);
    let _ = olelo_modules::native::call::CATALOGUE.set(olelo_modules::provider);
    olelo_modules::native::give(parsed.clone(), options);
    Some(Loaded {
        parsed,
        config,
        registry,
    })
}

/// Prepares the server for a rehearsal; says what is wrong.
pub fn rehearse(o: &Options, l: Loaded) -> bool {
    let prepared = boot::prepare(
        &l.parsed.config,
        l.config,
        l.registry,
        boot::Purpose::Rehearse,
    );
    let mut found = Parsed {
        sources: l.parsed.sources.clone(),
        ..Parsed::default()
    };
    let code = explain(&mut found, prepared.err());
    show(o, &found);
    code == 0
}

/// What the configuration is read with.
pub fn parse_options(o: &Options) -> olelo_cfg::Options {
    let mut predefined: Vec<(String, Option<String>)> = olelo_modules::ALL
        .iter()
        .map(|(n, _)| (format!("MOD_{n}"), None))
        .collect();
    // Scripts ask for the version of the language they were written for.
    for name in [
        "KAMAILIO",
        "KAMAILIO_5",
        "KAMAILIO_5_6",
        "KAMAILIO_5_6_3",
        "OLELO",
        "OS_LINUX",
    ] {
        predefined.push((name.to_string(), None));
    }
    predefined.push(("KAMAILIO_VERSION".into(), Some("5006003".into())));
    olelo_cfg::Options {
        defines: o.defines.clone(),
        predefined,
        substs: o.substs.clone(),
        ..olelo_cfg::Options::default()
    }
}

/// Puts what options stand for in front. A parameter of the command line wins over the file's.
fn prepend(file: &mut Config, extra: Config) {
    let front = |a: &mut Vec<_>, b: Vec<_>| {
        let rest = std::mem::replace(a, b);
        a.extend(rest);
    };
    front(&mut file.modules, extra.modules);
    file.modparams.extend(extra.modparams);
    file.params.extend(extra.params);
    file.aliases.extend(extra.aliases);
    if !extra.listens.is_empty() {
        file.listens = extra.listens;
    }
}

fn setup_log(o: &Options, config: &CoreConfig) {
    use olelo_core::log;
    log::DEBUG.set(o.debug.unwrap_or_else(|| config.int("debug", 0)));
    log::panics_too();
    log::to_stderr(o.log_stderr || o.check || config.int("log_stderror", 0) != 0);
    if let Some(f) = config.text("log_facility")
        && let Err(e) = log::set_facility(f)
    {
        olelo_core::warn!("core", "log_facility: {e}");
    }
}

fn report(parsed: &mut Parsed, e: boot::BootError) {
    match e.span {
        Some(span) => {
            let mut d = Diagnostic::error("configuration", e.message, span);
            d.help = e.help;
            parsed.diagnostics.push(d);
        }
        None => complain(&e),
    }
}

fn complain(e: &boot::BootError) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "olelo: error: {}", e.message);
    if let Some(h) = &e.help {
        let _ = writeln!(err, "   = help: {h}");
    }
}

fn show(o: &Options, parsed: &Parsed) {
    if o.json {
        println!("{}", parsed.to_json());
    } else if !parsed.diagnostics.is_empty() {
        eprintln!("{}", parsed.render(o.colour));
    }
}

fn check(o: &Options, parsed: &mut Parsed, config: CoreConfig, registry: Registry) -> u8 {
    let done = boot::prepare(&parsed.config, config, registry, boot::Purpose::Check);
    let code = explain(parsed, done.err());
    show(o, parsed);
    if code == 0 && !o.json {
        eprintln!("config file ok, exiting...");
    }
    code
}

/// Adds what was found in the route blocks, and why the start failed if not for them. Returns the
/// exit code.
fn explain(parsed: &mut Parsed, failure: Option<boot::BootError>) -> u8 {
    let found = olelo_modules::native::diagnostics();
    let known = found.iter().any(|d| d.severity == Severity::Error);
    parsed.diagnostics.extend(found);
    match failure {
        Some(e) if !known => {
            report(parsed, e);
            1
        }
        Some(_) => 1,
        None => 0,
    }
}

fn serve(o: &Options, parsed: &Parsed, config: CoreConfig, registry: Registry) -> u8 {
    let foreground = o.foreground || config.int("fork", 1) == 0;
    let ready = match daemon::enter(o, foreground) {
        Ok(r) => r,
        Err(e) => {
            eprintln!("olelo: error: {e}");
            return 1;
        }
    };
    for x in &o.without_meaning {
        olelo_core::notice!("core", "the option {x} has no effect here");
    }
    let mut found = Parsed {
        sources: parsed.sources.clone(),
        ..Parsed::default()
    };
    let prepared = boot::prepare(&parsed.config, config, registry, boot::Purpose::Serve);
    let server = match prepared {
        Ok(s) => {
            explain(&mut found, None);
            show(o, &found);
            s
        }
        Err(e) => {
            explain(&mut found, Some(e));
            show(o, &found);
            return 1;
        }
    };
    if let Err(e) = daemon::become_user(o) {
        eprintln!("olelo: error: {e}");
        return 1;
    }
    if let Err(e) = daemon::write_pid(o) {
        eprintln!("olelo: error: {e}");
        return 1;
    }
    let keep_stderr = foreground || o.log_stderr || server.config.int("log_stderror", 0) != 0;
    let served = main_loop::run(server, move || ready.done(keep_stderr));
    daemon::remove_pid(o);
    match served {
        Ok(code) => code as u8,
        Err(e) => {
            olelo_core::crit!("core", "{e}");
            1
        }
    }
}
