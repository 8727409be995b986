//! Control commands that show and change settings: `modparam.*`, `core.tcp_options` and its like; and
//! answers for commands about things that do not exist here.

use super::{Answer, Fault, Params, Rpc, Value, fields, rpc, text};
use crate::route::module::{IntParam, ParamTarget};

/// The commands.
pub(super) fn all() -> Vec<Rpc> {
    vec![
        rpc("modparam.getn", get_number)
            .args("module name")
            .doc("A parameter of a module that is a number."),
        rpc("modparam.gets", get_text)
            .args("module name")
            .doc("A parameter of a module that is a text."),
        rpc("modparam.setn", set_number)
            .args("module name value")
            .doc("Changes a parameter for all processes; only those that cfg.list shows can be changed."),
        rpc("core.tcp_options", tcp_options).doc("How TCP connections are handled."),
        rpc("core.udp4_raw_info", |_| {
            Ok(vec![fields([
                ("udp4_raw", Value::Int(0)),
                ("udp4_raw_mtu", Value::Int(1500)),
                ("udp4_raw_ttl", Value::Int(64)),
            ])])
        })
        .doc("Raw sockets are not used: udp4_raw is 0."),
        rpc("core.sfmalloc", |_| {
            Err(Fault::new(
                400,
                "this allocator has no statistics of its own; see mem.top and mem.check",
            ))
        })
        .args("size")
        .doc("Always an error: the allocator is another one; see mem.top."),
        rpc("core.echo_delta", |p| Ok(p.0.clone()))
            .args("*values")
            .array()
            .doc("Answers with its parameters."),
        rpc("udp.proxy.dump", |_| Ok(vec![]))
            .array()
            .doc("Always empty: UDP goes out of the listening sockets."),
        rpc("udp.proxy.stats", |_| {
            Ok(vec![fields([("proxies", Value::Int(0))])])
        })
        .doc("Always 0: UDP goes out of the listening sockets."),
        rpc("udp.proxy.clean", |_| Ok(vec![])).doc("Has nothing to do: there are no UDP proxies."),
        rpc("udp.proxy.flush", |_| Ok(vec![])).doc("Has nothing to do: there are no UDP proxies."),
    ]
}

/// The parameter that the first two arguments name.
fn target(p: &Params) -> Result<(String, String, ParamTarget), Fault> {
    let (module, name) = (p.text(0, "module")?, p.text(1, "name")?);
    let modules = crate::server().registry.modules();
    let m = modules
        .iter()
        .find(|m| m.name == module)
        .ok_or_else(|| Fault::new(404, format!("the module {module} is not loaded")))?;
    let found =
        m.params.iter().find(|q| q.name == name).ok_or_else(|| {
            Fault::new(404, format!("the module {module} has no parameter {name}"))
        })?;
    Ok((module, name, found.target))
}

fn number(p: &Params) -> Result<(String, String, &'static IntParam), Fault> {
    match target(p)? {
        (module, name, ParamTarget::Int(i)) => Ok((module, name, i)),
        (module, name, _) => Err(Fault::new(
            400,
            format!("{name} of {module} is no number; modparam.gets shows texts"),
        )),
    }
}

fn get_number(p: &Params) -> Answer {
    Ok(vec![Value::Int(number(p)?.2.get())])
}

fn get_text(p: &Params) -> Answer {
    match target(p)? {
        (_, _, ParamTarget::Str(s)) => Ok(vec![text(s.text())]),
        (_, _, ParamTarget::Int(i)) => Ok(vec![text(i.get().to_string())]),
        (module, name, _) => Err(Fault::new(
            400,
            format!(
                "{name} of {module} may be given several times; modparam.list shows what can be shown"
            ),
        )),
    }
}

fn set_number(p: &Params) -> Answer {
    let (module, name, _) = number(p)?;
    let value = p.int(2, "value")?;
    // Only a shared word reaches the other processes.
    match crate::cfgvars::find(&module, &name) {
        Some(v) if v.set(value) => Ok(vec![Value::Int(value)]),
        _ => Err(Fault::new(
            400,
            format!("{name} of {module} is fixed at start; cfg.list shows what can be changed"),
        )),
    }
}

fn tcp_options(_: &Params) -> Answer {
    let c = &crate::server().config;
    let int = |n: &str, default: i64| Value::Int(c.int(n, default));
    Ok(vec![fields([
        ("connect_timeout", Value::Int(c.tcp_connect_timeout as i64)),
        ("send_timeout", Value::Int(c.tcp_send_timeout as i64)),
        (
            "connection_lifetime",
            Value::Int(c.tcp_connection_lifetime as i64),
        ),
        (
            "max_connections(soft)",
            Value::Int(c.tcp_max_connections as i64),
        ),
        (
            "max_tls_connections(soft)",
            int("tls_max_connections", c.tcp_max_connections as i64),
        ),
        ("no_connect", Value::Int(c.tcp_no_connect.into())),
        ("fd_cache", Value::Int(0)),
        ("async", Value::Int(1)),
        ("connect_wait", Value::Int(1)),
        ("conn_wq_max", Value::Int(c.tcp_conn_wq_max as i64)),
        ("wq_max", int("tcp_wq_max", 10 << 20)),
        ("defer_accept", int("tcp_defer_accept", 0)),
        ("delayed_ack", int("tcp_delayed_ack", 0)),
        ("syncnt", int("tcp_syncnt", 0)),
        ("linger2", int("tcp_linger2", 0)),
        ("keepalive", int("tcp_keepalive", 0)),
        ("keepidle", int("tcp_keepidle", 0)),
        ("keepintvl", int("tcp_keepintvl", 0)),
        ("keepcnt", int("tcp_keepcnt", 0)),
        ("crlf_ping", Value::Int(c.tcp_crlf_ping.into())),
        ("accept_aliases", Value::Int(c.tcp_accept_aliases.into())),
        ("alias_flags", int("tcp_connection_alias_flags", 0)),
        ("new_conn_alias_flags", int("tcp_new_conn_alias_flags", 0)),
    ])])
}
