//! From a syntax tree to a running server: modules, parameters, memory, sockets, forks.
//!
//! Everything an operator can get wrong is reported before the first fork, with the place in the
//! configuration where one is to blame.

use super::{crashes, job, quarantine, rank};
use crate::config::CoreConfig;
use crate::net::Proto;
use crate::net::socket::Sockets;
use crate::route::module::{Module, ParamValue};
use crate::route::registry::Registry;
use crate::rpc::nearest;
use crate::server::{self, Server};
use olelo_cfg::ast::{self, Config, ModParamValue};
use olelo_cfg::source::Span;
use olelo_mem::arena::{self, ArenaConfig};

/// Something wrong in the configuration.
#[derive(Debug)]
pub struct BootError {
    /// The place, where there is one.
    pub span: Option<Span>,
    /// What was attempted and what is wrong.
    pub message: String,
    /// The likely fix.
    pub help: Option<String>,
}

impl BootError {
    fn new(message: impl Into<String>) -> Self {
        BootError {
            span: None,
            message: message.into(),
            help: None,
        }
    }

    fn at(span: Span, message: impl Into<String>) -> Self {
        BootError {
            span: Some(span),
            message: message.into(),
            help: None,
        }
    }

    fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

/// A module that this build has: its name and declaration.
pub type Available = (&'static str, fn() -> Module);

/// Brings the modules of the configuration to life and gives them their parameters. `core` are
/// always there, before all others; so are `last`, behind them. All faults of
/// all lines are returned, not only the first.
pub fn load_modules(
    tree: &Config,
    core: Vec<Module>,
    last: Vec<Module>,
    available: &[Available],
) -> Result<Registry, Vec<BootError>> {
    let mut errors = Vec::new();
    let mut modules = core;
    for l in &tree.modules {
        let name = l.short_name();
        if modules.iter().any(|m| m.answers_to(name)) {
            continue;
        }
        let by_alias = || available.iter().find(|(_, make)| make().answers_to(name));
        match available.iter().find(|(n, _)| *n == name).or_else(by_alias) {
            Some((_, make)) => modules.push(make()),
            None => errors.push(missing(l, available)),
        }
    }
    for m in &modules {
        for d in &m.depends {
            if !modules.iter().any(|o| o.name == *d) {
                let span = tree
                    .modules
                    .iter()
                    .find(|l| l.short_name() == m.name)
                    .map(|l| l.span);
                let e = BootError {
                    span,
                    message: format!("module \"{}\" needs \"{d}\"", m.name),
                    help: None,
                };
                errors.push(e.help(Some(format!("add loadmodule \"{d}.so\" before it"))));
            }
        }
    }
    sort_by_dependency(&mut modules);
    modules.extend(last);
    for p in &tree.modparams {
        // A module that can't be loaded is reported where it is loaded, not once per parameter.
        let reported = |n: &String| {
            tree.modules.iter().any(|l| l.short_name() == n.as_str())
                && !modules.iter().any(|m| m.answers_to(n))
        };
        if !p.modules.iter().any(reported) {
            set_param(p, &modules, available, &mut errors);
        }
    }
    if errors.is_empty() {
        Ok(Registry::new(modules))
    } else {
        Err(errors)
    }
}

/// What to say of a module that this build doesn't have.
fn missing(l: &ast::LoadModule, available: &[Available]) -> BootError {
    let name = l.short_name();
    let e = BootError::at(l.span, format!("no module \"{name}\" in this build"));
    if name.starts_with("db_") || OF_DATABASES.contains(&name) {
        return e.help(Some(
            "databases are not supported yet: start without the option that loads it (WITH_MYSQL, WITH_AUTH, …)".into(),
        ));
    }
    let near = nearest(name, available.iter().map(|(n, _)| *n));
    e.help(near.map(|n| format!("did you mean \"{n}.so\"?")))
}

/// Modules of the stock configuration that work on a database.
const OF_DATABASES: [&str; 12] = [
    "acc_db",
    "alias_db",
    "auth_db",
    "dialog",
    "domain",
    "permissions",
    "presence",
    "presence_xml",
    "speeddial",
    "sqlops",
    "uri_db",
    "usrloc_db",
];

/// Puts a module behind those it needs, otherwise keeping the order of the configuration.
fn sort_by_dependency(modules: &mut Vec<Module>) {
    let mut sorted: Vec<Module> = Vec::with_capacity(modules.len());
    while !modules.is_empty() {
        let ready = modules.iter().position(|m| {
            m.depends.iter().all(|d| {
                sorted.iter().any(|s| s.name == *d) || !modules.iter().any(|o| o.name == *d)
            })
        });
        sorted.push(modules.remove(ready.unwrap_or(0)));
    }
    *modules = sorted;
}

fn set_param(
    p: &ast::ModParam,
    modules: &[Module],
    available: &[Available],
    errors: &mut Vec<BootError>,
) {
    let value = match &p.value {
        ModParamValue::Int(i) => ParamValue::Int(*i),
        ModParamValue::Str(s) => ParamValue::Str(s.clone()),
    };
    let mut matched = false;
    for name in &p.modules {
        let Some(m) = modules.iter().find(|m| m.answers_to(name)) else {
            continue;
        };
        matched = true;
        let Some(param) = m.params.iter().find(|q| q.name == p.name) else {
            errors.push(
                BootError::at(
                    p.name_span,
                    format!("module \"{name}\" has no parameter \"{}\"", p.name),
                )
                .help(
                    nearest(&p.name, m.params.iter().map(|q| q.name))
                        .map(|n| format!("did you mean \"{n}\"?")),
                ),
            );
            continue;
        };
        if let Err(e) = param.set(&value) {
            errors.push(BootError::at(
                p.value_span,
                format!("modparam \"{name}\", \"{}\": {e}", p.name),
            ));
        }
    }
    if !matched {
        let known = p.modules.iter().any(|n| {
            available
                .iter()
                .any(|(a, make)| a == n || make().answers_to(n))
        });
        let help = if known {
            Some(format!(
                "add loadmodule \"{}.so\" above",
                p.modules.join("|")
            ))
        } else {
            p.modules
                .first()
                .and_then(|n| nearest(n, modules.iter().map(|m| m.name)))
                .map(|n| format!("did you mean \"{n}\"?"))
        };
        errors.push(
            BootError::at(
                p.module_span,
                format!("no module \"{}\" is loaded", p.pattern),
            )
            .help(help),
        );
    }
}

/// What a server is prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve.
    Serve,
    /// To see whether it could.
    Check,
    /// To route in [`super::rehearsal`]: it has its addresses, but nobody can reach them.
    Rehearse,
}

/// Maps the arena, opens the sockets where it is to serve, and initialises the modules.
pub fn prepare(
    tree: &Config,
    config: CoreConfig,
    registry: Registry,
    purpose: Purpose,
) -> Result<&'static Server, BootError> {
    let mut listens = tree.listens.clone();
    if listens.is_empty() {
        // As operators expect who name no address: all of this machine's.
        let v6 = config.int("auto_bind_ipv6", 0) != 0;
        let all = crate::net::socket::everywhere(v6).into_iter();
        listens = all
            .map(|a| ast::Listen {
                hosts: vec![a],
                ..ast::Listen::default()
            })
            .collect();
    }
    let slots =
        64 + 2 * (config.children * (listens.len().max(4) * 2) + config.tcp_children) as u16;
    let size = match purpose {
        Purpose::Serve => config.shm_bytes,
        _ => config.shm_bytes.min(64 << 20),
    };
    arena::init(ArenaConfig {
        size,
        populate: false,
        max_slots: slots,
    })
    .map_err(|e| {
        BootError::new(format!(
            "can't set up {} MB of shared memory: {e}",
            size >> 20
        ))
        .help(Some("choose the size with -m MB".into()))
    })?;
    let memory = |e: arena::ArenaError| {
        BootError::new(format!("shared memory: {e}")).help(Some("give more with -m MB".into()))
    };
    crate::config::create_shared().map_err(memory)?;
    olelo_ipc::process::create(slots).map_err(memory)?;
    olelo_ipc::wake::create(slots)
        .map_err(|e| BootError::new(format!("can't make wake-ups: {e}")))?;
    olelo_ipc::process::table().reserve(rank::MAIN, false, "main process - attendant");
    crate::route::canary::reserve();
    crashes::create().map_err(BootError::new)?;
    quarantine::create().map_err(BootError::new)?;
    let stats: Vec<_> = registry
        .modules()
        .iter()
        .flat_map(|m| m.stats.iter().copied())
        .collect();
    crate::stats::freeze(&stats).map_err(memory)?;
    let names: Vec<&'static str> = registry.modules().iter().map(|m| m.name).collect();
    if let Some(w) = crate::config::take_shared(1) {
        crate::log::DEBUG.share(w);
    }
    if let Some(first) = crate::config::take_shared(names.len() + 1) {
        crate::log::share_module_levels(&names, first);
    }
    crate::cfgvars::create(&config, &registry);
    let port = tree
        .param("port")
        .and_then(|p| p.value.as_int())
        .and_then(|p| u16::try_from(p).ok())
        .unwrap_or(5060);
    let tcp = !config.disable_tcp;
    let sockets = match purpose {
        Purpose::Check => Ok(Sockets::default()),
        Purpose::Rehearse => Sockets::unbound(&listens, port, tcp),
        Purpose::Serve => Sockets::open(&listens, port, tcp, config.tos),
    }
    .map_err(BootError::new)?;
    let server = server::install(Server {
        config,
        registry,
        sockets,
        serves: purpose == Purpose::Serve,
        started_at: crate::timer::wall_s(),
    });
    // Every process that may send on TCP must know the workers' queues, so their slots are reserved
    // before modules are initialised.
    job::plan_tcp(server).map_err(BootError::new)?;
    for m in server.registry.modules() {
        if let Some(init) = m.init {
            init().map_err(|e| BootError::new(format!("module \"{}\": {e}", m.name)))?;
        }
    }
    server::set_started();
    crate::route::generation::publish_first().map_err(BootError::new)?;
    let engine = crate::route::engine::find(&server.config.engine);
    if !engine.is_some_and(|k| crate::route::generation::installed(k.name)) {
        return Err(no_routing(server));
    }
    Ok(server)
}

fn no_routing(server: &Server) -> BootError {
    match server.config.engine.as_str() {
        "native" | "default" => BootError::new("nothing to route with: the configuration has no request_route")
            .help(Some("write request_route { … }, or name a script's language with cfgengine".into())),
        e => BootError::new(format!("cfgengine \"{e}\" has no script loaded"))
            .help(Some(format!("load the module that has it (app_{e}.so) and name the script with its \"load\" parameter"))),
    }
}

/// TCP workers that the configuration asks for: none without a TCP socket.
pub(super) fn tcp_workers(server: &Server) -> usize {
    let any = server.sockets.0.iter().any(|l| l.proto == Proto::Tcp);
    if any { server.config.tcp_children } else { 0 }
}
