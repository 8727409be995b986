//! What a reload of the configuration may change, and what it may not.
//!
//! Route blocks, defines and includes are one generation. What was used to start the server
//! (sockets, modules, their parameters, processes) can't change while it runs: a file where that
//! differs is refused, and all differences are listed. Of parameters that `cfg.set` can change, a
//! new value in the file is set once all processes route by it ([`adopted`]).

use crate::{OPTIONS, parsed, source};
use olelo_cfg::Parsed;
use olelo_cfg::ast::{Config, ModParamValue, ParamValue, RouteKind};
use olelo_cfg::diagnostic::Severity;
use olelo_core::cfgvars;
use olelo_core::route::engine::Source;
use std::collections::BTreeMap;

/// Reads the configuration anew. The error says what is wrong, or what can't change.
pub fn reread(running: &Source) -> Result<Source, String> {
    let options = OPTIONS.get().cloned().unwrap_or_default();
    let new = olelo_cfg::parse_file(running.path(), &options);
    if !new.ok() {
        let bad = new.diagnostics.iter();
        let bad: Vec<String> = bad
            .filter(|d| d.severity == Severity::Error)
            .map(|d| d.render(&new.sources, false))
            .collect();
        return Err(bad.join("\n"));
    }
    let differences = differences(&parsed(running), &new);
    if differences.is_empty() {
        return Ok(source(&new));
    }
    Err(format!(
        "this can't change while the server runs:\n  {}",
        differences.join("\n  ")
    ))
}

/// Sets the parameters whose value in the file has changed.
pub fn adopted(before: &Source, now: &Source) {
    let (old, new) = (
        dynamic(&parsed(before).config),
        dynamic(&parsed(now).config),
    );
    for ((group, name), value) in &new {
        if old.get(&(group.clone(), name.clone())) == Some(value) {
            continue;
        }
        let Some(v) = cfgvars::find(group, name) else {
            continue;
        };
        let done = match value {
            ModParamValue::Int(i) if v.set(*i) => Ok(()),
            ModParamValue::Int(i) => v.set_text(&i.to_string()),
            ModParamValue::Str(s) => v.set_text(s),
        };
        match done {
            Ok(()) => olelo_core::info!("app_native", "{group}.{name} is now {}", shown(value)),
            Err(e) => olelo_core::error!("app_native", "{group}.{name}: {e}"),
        }
    }
}

/// Parameters that can change while the server runs, by group and name.
fn dynamic(c: &Config) -> BTreeMap<(String, String), ModParamValue> {
    let of_modules = c.modparams.iter().flat_map(|m| {
        let pair = |module: &String| ((module.clone(), m.name.clone()), m.value.clone());
        m.modules.iter().map(pair)
    });
    let own = c.globals.iter();
    let own = own.map(|g| ((g.group.clone(), g.name.clone()), g.value.clone()));
    of_modules
        .chain(own)
        .filter(|((group, name), _)| cfgvars::find(group, name).is_some())
        .collect()
}

/// What differs apart from route blocks.
fn differences(old: &Parsed, new: &Parsed) -> Vec<String> {
    let (before, after) = (settings(&old.config), settings(&new.config));
    let mut out = Vec::new();
    let serves = |p: &Parsed| {
        let mut routes = p.config.routes.iter();
        routes.any(|r| r.kind == RouteKind::Request && r.name.is_none())
    };
    if serves(old) && !serves(new) {
        out.push("no request_route in it: requests would be refused".into());
    }
    for (name, value) in &after {
        match before.get(name) {
            Some(v) if v == value => {}
            Some(v) => out.push(format!("{name}: {v} is now {value}")),
            None => out.push(format!("{name}: {value} is new")),
        }
    }
    for (name, value) in &before {
        if !after.contains_key(name) {
            out.push(format!("{name}: {value} is gone"));
        }
    }
    out
}

/// All settings by a name that people know.
fn settings(c: &Config) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    let mut put = |name: String, value: String| {
        out.entry(name)
            .and_modify(|v| *v = format!("{v}, {value}"))
            .or_insert(value);
    };
    for p in &c.params {
        let value = match &p.value {
            ParamValue::Int(i) => i.to_string(),
            ParamValue::Bool(b) => b.to_string(),
            ParamValue::Str(s) | ParamValue::Id(s) => s.clone(),
        };
        put(p.name.clone(), value);
    }
    for l in &c.listens {
        let proto = l.proto.map_or("", |p| p.as_str());
        let port = l.port.map_or(String::new(), |p| format!(":{p}"));
        let mut text = format!("{proto}:{}{port}", l.hosts.join(","));
        if let Some(a) = &l.advertise {
            text.push_str(&format!(" advertise {}:{}", a.host, a.port.unwrap_or(0)));
        }
        put("listen".into(), text);
    }
    for a in &c.aliases {
        let port = a.port.map_or(String::new(), |p| format!(":{p}"));
        put("alias".into(), format!("{}{port}", a.host));
    }
    for m in &c.modules {
        put("loadmodule".into(), m.short_name().to_string());
    }
    let fixed = |group: &str, name: &str| cfgvars::find(group, name).is_none();
    for m in &c.modparams {
        if !m.modules.iter().any(|module| fixed(module, &m.name)) {
            continue;
        }
        put(
            format!("modparam {} {}", m.pattern, m.name),
            shown(&m.value),
        );
    }
    for g in c.globals.iter().filter(|g| fixed(&g.group, &g.name)) {
        put(format!("{}.{}", g.group, g.name), shown(&g.value));
    }
    if let Some((e, _)) = &c.engine {
        put("cfgengine".into(), e.clone());
    }
    out
}

fn shown(v: &ModParamValue) -> String {
    match v {
        ModParamValue::Int(i) => i.to_string(),
        ModParamValue::Str(s) => format!("\"{s}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_routes_may_differ() {
        let read = |text: &str| olelo_cfg::parse_str("k.cfg", text, &olelo_cfg::Options::default());
        let old = read(
            "children=2\nlisten=udp:127.0.0.1:5060\nloadmodule \"tm.so\"\nmodparam(\"tm\", \"fr_timer\", 5000)\nrequest_route { exit; }",
        );
        assert!(old.ok());
        let same = read(
            "#!define X 1\nchildren=2\nlisten=udp:127.0.0.1:5060\nloadmodule \"tm.so\"\nmodparam(\"tm\", \"fr_timer\", 5000)\nrequest_route { drop; }",
        );
        assert!(differences(&old, &same).is_empty());
        let other = read(
            "children=4\nlisten=udp:127.0.0.1:5070\nloadmodule \"tm.so\"\nloadmodule \"sl.so\"\nmodparam(\"tm\", \"fr_timer\", 6000)\nrequest_route { exit; }",
        );
        assert_eq!(
            differences(&old, &other),
            [
                "children: 2 is now 4",
                "listen: udp:127.0.0.1:5060 is now udp:127.0.0.1:5070",
                "loadmodule: tm is now tm, sl",
                "modparam tm fr_timer: 5000 is now 6000",
            ]
        );
    }
}
