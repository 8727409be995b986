//! What the server is prepared with: the script as a whole configuration, or a bare script put into one.

use super::options::Options;
use crate::cli;
use olelo_cfg::ast::{Config, ModParamValue};
use olelo_cfg::{Parsed, parse_file, parse_str};
use std::path::{Path, PathBuf};

/// A language: endings of its files, its module, its name for `cfgengine`.
type Language = (&'static [&'static str], &'static str, &'static str);

const LANGUAGES: &[Language] = &[
    (&["lua"], "app_lua", "lua"),
    (&["js", "mjs"], "app_jsdt", "jsdt"),
    (&["py"], "app_python3", "python"),
    (&["sq", "nut"], "app_sqlang", "sqlang"),
];

/// The configuration of a bare script: the shipped one.
const SHIPPED: &str = include_str!("../../../../etc/olelo.cfg");

/// Reads the configuration. The path is the one that messages name.
pub fn read(o: &Options, options: &olelo_cfg::Options) -> Result<(PathBuf, Parsed), String> {
    // Beside a configuration of the operator's, the script is found from that one's folder.
    let whole = absolute(&o.script)?;
    let script = match &o.config {
        Some(_) => whole,
        None => o.script.clone(),
    };
    let ending = script
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let language = LANGUAGES
        .iter()
        .find(|(endings, ..)| endings.contains(&ending));
    if let Some((_, module, engine)) = language {
        let (path, mut parsed) = around(o, options)?;
        put(&mut parsed.config, module, engine, &script, options)?;
        return Ok((path, parsed));
    }
    let alone = parse_file(&script, options);
    if !is_bare(&alone.config) {
        return match &o.config {
            None => Ok((o.script.clone(), alone)),
            Some(_) => Err(format!(
                "{} is a whole configuration; -f is for a script without one",
                o.script.display()
            )),
        };
    }
    let include = format!(
        "include_file \"{}\"\ncfgengine \"native\"\n",
        script.display()
    );
    let (name, head) = match &o.config {
        Some(c) => {
            let c = absolute(c)?;
            (
                c.display().to_string(),
                format!("include_file \"{}\"\n", c.display()),
            )
        }
        None => (
            BUILT_IN.to_string(),
            SHIPPED
                .split("####### Routing")
                .next()
                .unwrap_or_default()
                .to_string(),
        ),
    };
    Ok((
        name.clone().into(),
        parse_str(&name, &(head + &include), options),
    ))
}

const BUILT_IN: &str = "built-in.cfg";

/// A file with routes and neither modules nor addresses.
fn is_bare(c: &Config) -> bool {
    c.modules.is_empty() && c.listens.is_empty() && !c.routes.is_empty()
}

/// The configuration around a script in another language.
fn around(o: &Options, options: &olelo_cfg::Options) -> Result<(PathBuf, Parsed), String> {
    match &o.config {
        Some(c) => Ok((c.clone(), parse_file(absolute(c)?, options))),
        None => Ok((BUILT_IN.into(), parse_str(BUILT_IN, SHIPPED, options))),
    }
}

/// Makes `script` what routes, in place of any other.
fn put(
    config: &mut Config,
    module: &str,
    engine: &str,
    script: &Path,
    options: &olelo_cfg::Options,
) -> Result<(), String> {
    if !olelo_modules::ALL.iter().any(|(n, _)| *n == module) {
        return Err(format!(
            "{}: this build has no module {module}",
            script.display()
        ));
    }
    let text = format!(
        "loadmodule \"{module}.so\"\nmodparam(\"{module}\", \"load\", \"{}\")\ncfgengine \"{engine}\"\n",
        script.display()
    );
    let own = parse_str("command line", &text, options).config;
    let is_language = |m: &str| LANGUAGES.iter().any(|(_, l, _)| *l == m);
    config.modparams.retain(|p| {
        !(p.name == "load"
            && p.modules.iter().all(|m| is_language(m))
            && matches!(p.value, ModParamValue::Str(_)))
    });
    let others = |m: &str| is_language(m) && m != module;
    config.modules.retain(|m| !others(m.short_name()));
    config
        .modparams
        .retain(|p| !p.modules.iter().all(|m| others(m)));
    config.modules.extend(own.modules);
    config.modparams.extend(own.modparams);
    config.engine = own.engine;
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::fs::canonicalize(path).map_err(|e| format!("can't read {}: {e}", path.display()))
}

/// The server's options that these cases ask for.
pub fn server_options(o: &Options, defines: &[(String, Option<String>)]) -> cli::Options {
    let mut server = cli::Options {
        file: o.script.clone(),
        defines: defines.to_vec(),
        substs: o.substs.clone(),
        lines: o.lines.clone(),
        colour: o.colour,
        log_stderr: true,
        debug: Some(3),
        ..cli::Options::default()
    };
    server.defines.extend(o.defines.iter().cloned());
    server
}
