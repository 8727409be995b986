//! Control commands of the core itself.

use super::{Answer, Fault, Params, Rpc, Value, fields, rpc, text};
use olelo_ipc::process;

/// The commands.
pub fn all() -> Vec<Rpc> {
    let mut v = own();
    v.extend(super::health_cmds::all());
    v.extend(super::tune_cmds::all());
    v
}

fn own() -> Vec<Rpc> {
    vec![
        rpc("system.listMethods", list_methods)
            .array()
            .doc("Lists all commands."),
        rpc("system.methodHelp", method_help)
            .args("command")
            .doc("Says what a command does."),
        rpc("system.methodSignature", method_signature)
            .args("command")
            .doc("Shows the parameters of a command."),
        rpc("core.echo", |p| Ok(p.0.clone()))
            .args("*values")
            .array()
            .doc("Answers with its parameters."),
        rpc("core.prints", |p| Ok(p.0.clone()))
            .args("*values")
            .array()
            .doc("Answers with its parameters."),
        rpc("core.printi", |p| Ok(p.0.clone()))
            .args("*values")
            .array()
            .doc("Answers with its parameters."),
        rpc("core.version", version).doc("The version of the server."),
        rpc("core.uptime", uptime).doc("Since when the server runs."),
        rpc("core.ps", ps)
            .array()
            .doc("Processes: pid and description in turn."),
        rpc("core.psx", psx)
            .array()
            .doc("Processes: index, pid, description, status, rank."),
        rpc("core.pwd", |_| {
            Ok(vec![text(
                std::env::current_dir()
                    .unwrap_or_default()
                    .display()
                    .to_string(),
            )])
        })
        .doc("The working directory."),
        rpc("core.arg", |_| {
            Ok(crate::server()
                .config
                .argv
                .iter()
                .map(|a| text(a.clone()))
                .collect())
        })
        .array()
        .doc("The command line."),
        rpc("core.kill", kill)
            .args("signal")
            .doc("Sends a signal to main: 15 ends the server."),
        rpc("core.shmmem", shmmem)
            .args("[unit: b k m g]")
            .doc("Shared memory: total, free, used, with overhead, most used, fragments."),
        rpc("core.tcp_info", tcp_info).doc("TCP: readers, most connections, open connections."),
        rpc("core.tcp_list", tcp_list)
            .array()
            .doc("Open TCP connections."),
        rpc("core.sockets_list", sockets_list)
            .array()
            .doc("Listening sockets."),
        rpc("corex.list_sockets", sockets_list)
            .array()
            .doc("Listening sockets."),
        rpc("core.aliases_list", aliases_list).doc("Names that are this server."),
        rpc("core.modules", |_| {
            Ok(crate::server()
                .registry
                .modules()
                .iter()
                .map(|m| text(m.name))
                .collect())
        })
        .array()
        .doc("Loaded modules."),
        rpc("core.flags", |_| Ok(vec![text("")])).doc("Build flags."),
        rpc("core.info", info).doc("Version and build."),
        rpc("core.runinfo", runinfo).doc("Version, processes, sockets and uptime in one."),
        rpc("core.psa", psx).array().doc("As core.psx."),
        rpc("core.ppdefines", defines)
            .array()
            .doc("Names defined in the configuration."),
        rpc("core.ppdefines_full", defines)
            .array()
            .doc("Names defined in the configuration, with their values."),
        rpc("modparam.list", modparams)
            .args("[module]")
            .array()
            .doc("Parameters of modules with their values now."),
        rpc("cfg.rollback", rollback)
            .args("[generation]")
            .doc("Makes an older generation of the routing serve again."),
        rpc("cfg.generations", generations)
            .doc("The routing's generations: which serves, which are kept."),
    ]
}

fn list_methods(_: &Params) -> Answer {
    Ok(crate::server()
        .registry
        .rpcs()
        .map(|r| text(r.name))
        .collect())
}

fn find(p: &Params) -> Result<&'static Rpc, Fault> {
    let name = p.text(0, "command")?;
    crate::server()
        .registry
        .rpc(&name)
        .ok_or_else(|| Fault::new(404, format!("no command {name}")))
}

fn method_help(p: &Params) -> Answer {
    Ok(vec![text(find(p)?.doc)])
}

fn method_signature(p: &Params) -> Answer {
    let r = find(p)?;
    Ok(vec![text(format!("{} {}", r.name, r.args).trim())])
}

fn version(_: &Params) -> Answer {
    Ok(vec![text(format!(
        "olelo {} ({}/linux)",
        crate::server::VERSION,
        std::env::consts::ARCH
    ))])
}

fn info(_: &Params) -> Answer {
    Ok(vec![fields([
        ("name", text("olelo")),
        ("version", text(crate::server::VERSION)),
        ("arch", text(std::env::consts::ARCH)),
        ("compiler", text("rustc")),
    ])])
}

fn runinfo(_: &Params) -> Answer {
    let s = crate::server();
    Ok(vec![fields([
        ("version", text(crate::server::VERSION)),
        (
            "processes",
            Value::Int(process::table().iter().count() as i64),
        ),
        ("sockets", Value::Int(s.sockets.0.len() as i64)),
        ("uptime", Value::Int(crate::timer::wall_s() - s.started_at)),
    ])])
}

fn defines(_: &Params) -> Answer {
    let all = &crate::server().config.all;
    let mut names: Vec<String> = all
        .iter()
        .filter_map(|(k, v)| {
            k.strip_prefix("define:").map(|n| {
                if v.is_empty() {
                    n.to_string()
                } else {
                    format!("{n}={v}")
                }
            })
        })
        .collect();
    names.sort();
    Ok(names.into_iter().map(text).collect())
}

fn modparams(p: &Params) -> Answer {
    use crate::route::module::ParamTarget;
    let only = p.opt_text(0);
    let modules = crate::server()
        .registry
        .modules()
        .iter()
        .filter(|m| only.as_ref().is_none_or(|o| o == m.name));
    Ok(modules
        .flat_map(|m| {
            m.params.iter().filter_map(|q| {
                let value = match q.target {
                    ParamTarget::Int(i) => Value::Int(i.get()),
                    ParamTarget::Str(s) => text(s.text()),
                    _ => return None,
                };
                Some(fields([
                    ("module", text(m.name)),
                    ("name", text(q.name)),
                    ("value", value),
                ]))
            })
        })
        .collect())
}

fn uptime(_: &Params) -> Answer {
    let now = crate::timer::wall_s();
    let started = crate::server().started_at;
    let shown = |t: i64| text(ctime(t));
    Ok(vec![fields([
        ("now", shown(now)),
        ("up_since", shown(started)),
        ("uptime", Value::Int(now - started)),
    ])])
}

/// A time as C's `ctime` prints it, in UTC offset of the host.
pub fn ctime(t: i64) -> String {
    use chrono::TimeZone;
    chrono::Local
        .timestamp_opt(t, 0)
        .single()
        .map(|d| d.format("%a %b %e %H:%M:%S %Y").to_string())
        .unwrap_or_default()
}

fn ps(_: &Params) -> Answer {
    Ok(running()
        .flat_map(|s| [Value::Int(s.pid().into()), text(s.description())])
        .collect())
}

/// Processes that are listed only while they run.
const NOW_AND_THEN: [&str; 2] = [
    crate::proc::main_loop::RELOADER_NAME,
    crate::route::canary::NAME,
];

fn running() -> impl Iterator<Item = process::Slot> {
    process::table()
        .iter()
        .filter(|s| s.pid() != 0 || !NOW_AND_THEN.contains(&s.description().as_str()))
}

fn psx(_: &Params) -> Answer {
    Ok(running()
        .map(|s| {
            fields([
                ("IDX", Value::Int(s.slot().into())),
                ("PID", Value::Int(s.pid().into())),
                ("DSC", text(s.description())),
                ("STATUS", Value::Int(i64::from(s.pid() != 0))),
                ("RANK", Value::Int(s.rank().into())),
                ("MESSAGES", Value::Int(s.messages() as i64)),
                ("DEATHS", Value::Int(s.deaths() as i64)),
                ("GENERATION", Value::Int(s.generation().into())),
            ])
        })
        .collect())
}

fn kill(p: &Params) -> Answer {
    let n = p.opt_int(0).unwrap_or(15);
    let signal = nix::sys::signal::Signal::try_from(n as i32)
        .map_err(|_| Fault::new(400, format!("no signal {n}")))?;
    if let Some(main) = process::table().get(0) {
        olelo_ipc::signals::kill(main.pid(), signal);
    }
    Ok(vec![])
}

fn shmmem(p: &Params) -> Answer {
    let shift = match p.opt_text(0).as_deref() {
        None | Some("b") => 0,
        Some("k") => 10,
        Some("m") => 20,
        Some("g") => 30,
        Some(u) => return Err(Fault::new(400, format!("no unit \"{u}\"; one of b k m g"))),
    };
    let s = olelo_mem::heap::stats();
    let n = |v: usize| Value::Int((v >> shift) as i64);
    Ok(vec![fields([
        ("total", n(s.total)),
        ("free", n(s.free)),
        ("used", n(s.used)),
        ("real_used", n(s.real_used)),
        ("max_used", n(s.max_used)),
        ("fragments", Value::Int(s.fragments as i64)),
    ])])
}

fn tcp_info(_: &Params) -> Answer {
    let c = &crate::server().config;
    Ok(vec![fields([
        ("readers", Value::Int(c.tcp_children as i64)),
        ("max_connections", Value::Int(c.tcp_max_connections as i64)),
        ("max_tls_connections", Value::Int(0)),
        (
            "opened_connections",
            Value::Int(crate::net::tcp::connections() as i64),
        ),
        ("opened_tls_connections", Value::Int(0)),
        (
            "write_queued_bytes",
            Value::Int(crate::net::tcp::WRITE_QUEUED.get()),
        ),
    ])])
}

fn tcp_list(_: &Params) -> Answer {
    Ok(crate::net::tcp::list()
        .into_iter()
        .map(|(peer, id)| {
            fields([
                ("id", Value::Int(id.to_bits() as i64)),
                ("type", text("TCP")),
                ("src_ip", text(peer.ip().to_string())),
                ("src_port", Value::Int(peer.port().into())),
                ("worker", Value::Int(id.slot.into())),
            ])
        })
        .collect())
}

fn sockets_list(_: &Params) -> Answer {
    Ok(crate::server()
        .sockets
        .0
        .iter()
        .map(|l| {
            fields([
                ("PROTO", text(l.proto.name())),
                ("ADDRESS", text(l.host.clone())),
                ("PORT", text(l.addr.port().to_string())),
                ("NAME", text(l.name.clone().unwrap_or_default())),
                (
                    "ADVERTISE",
                    text(
                        l.advertise
                            .as_ref()
                            .map(|(h, p)| format!("{h}:{p}"))
                            .unwrap_or_default(),
                    ),
                ),
                ("MCAST", text("no")),
                (
                    "MHOMED",
                    text(if crate::server().config.mhomed {
                        "yes"
                    } else {
                        "no"
                    }),
                ),
            ])
        })
        .collect())
}

fn aliases_list(_: &Params) -> Answer {
    let any = || "*".to_string();
    let alias = |a: &olelo_cfg::ast::Alias| {
        fields([
            (
                "proto",
                text(a.proto.map_or_else(any, |p| p.as_str().to_string())),
            ),
            ("address", text(a.host.clone())),
            ("port", text(a.port.map_or_else(any, |p| p.to_string()))),
        ])
    };
    let all = crate::server()
        .config
        .aliases
        .iter()
        .map(|a| ("alias".to_string(), alias(a)));
    Ok(vec![fields([
        ("myself_callbacks", text("no")),
        ("aliases", Value::Struct(all.collect())),
    ])])
}

/// What a reload or rollback did, as its caller sees it.
pub fn reload_answer(
    r: Result<crate::route::generation::Report, crate::route::generation::ReloadError>,
) -> Answer {
    match r {
        Ok(r) => Ok(vec![fields([
            ("generation", Value::Int(r.generation.into())),
            ("digest", text(r.digest)),
            ("workers", Value::Int(r.workers as i64)),
            ("ms", Value::Int(r.took.as_millis() as i64)),
        ])]),
        Err(e) => Err(Fault::new(500, e.to_string())),
    }
}

fn rollback(p: &Params) -> Answer {
    let to = p.opt_int(0).map(|g| g as u32);
    reload_answer(crate::route::generation::rollback(to))
}

fn generations(_: &Params) -> Answer {
    use crate::route::generation as g;
    Ok(vec![fields([
        ("serves", Value::Int(g::number().into())),
        (
            "files",
            Value::Array(g::paths().into_iter().map(text).collect()),
        ),
        ("digest", text(g::digest().unwrap_or_default())),
        (
            "kept",
            Value::Array(
                g::kept()
                    .into_iter()
                    .map(|n| Value::Int(n.into()))
                    .collect(),
            ),
        ),
    ])])
}
