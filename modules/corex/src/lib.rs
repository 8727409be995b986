//! The `corex` module: more ways to look at and to send messages.

#![forbid(unsafe_code)]

mod marks;
mod names;
mod send;

use olelo_core::cfgvars;
use olelo_core::net::Proto;
use olelo_core::net::own;
use olelo_core::pv::{PvKey, pv_named, transformation};
use olelo_core::route::ctx::{Branch, Ctx};
use olelo_core::route::function::{FAILURE, REQUEST, ScriptError, function};
use olelo_core::route::module::{
    IntParam, Module, ParamValue, StrParam, param_call, param_ignored, param_int, param_str,
};
use olelo_core::route::value::Val;
use olelo_core::rpc::{Answer, Fault, Params, Value, fields, rpc, text};
use olelo_sip::Uri;
use std::sync::RwLock;

static SUBDOMAINS: RwLock<Vec<String>> = RwLock::new(Vec::new());
static NIO_INTERCEPT: IntParam = IntParam::new(0);
static REPLY_OUT: StrParam = StrParam::unset();

/// The module.
pub fn module() -> Module {
    let m = Module::new("corex")
        .doc("More ways to look at and to send messages.")
        .param(
            param_call("alias_subdomains", add_subdomain)
                .doc("A domain whose subdomains are own names too; [proto:]domain[:port]."),
        )
        .param(
            param_call("dns_cache", names::add)
                .doc("A record for the DNS cache: type=A|AAAA|SRV;name=…;addr=…;ttl=…;flags=…, for SRV priority, weight, port."),
        )
        .param(param_call("dns_file", names::add_file).doc("A file of such records, one a line."))
        .param(
            param_int("nio_intercept", &NIO_INTERCEPT)
                .doc("Whether network:msg runs for every packet."),
        )
        .param(param_ignored(
            "nio_min_msg_len",
            false,
            "every packet that is no keep-alive is a message",
        ))
        .param(param_ignored(
            "nio_msg_avp",
            true,
            "the packet is the message in $mb",
        ))
        .param(
            param_str("evcb_reply_out", &REPLY_OUT)
                .doc("Script function for the event corex:reply-out."),
        )
        .init(|| {
            own::add_check(is_subdomain);
            names::init()
        })
        .function(
            function(
                "has_ruri_user",
                |c: &mut Ctx| if ruri_has_user(c) { 1i64 } else { -1 },
            )
            .doc("1 where the request URI has a user, else -1."),
        )
        .function(
            function("has_user_agent", |c: &mut Ctx| {
                if c.msg.user_agent().is_some_and(|u| !u.is_empty()) {
                    1i64
                } else {
                    -1
                }
            })
            .doc("1 where there is a User-Agent header with something in it, else -1."),
        )
        .function(
            function("append_branch", |c: &mut Ctx| append(c, None, -1))
                .cfg("append_branch")
                .routes(REQUEST | FAILURE)
                .doc("Makes the current request URI another branch."),
        )
        .function(
            function("append_branch_uri", |c: &mut Ctx, u: &[u8]| {
                append(c, Some(u), -1)
            })
            .cfg("append_branch")
            .args(["uri"])
            .routes(REQUEST | FAILURE)
            .doc("Adds a branch to a URI."),
        )
        .function(
            function("append_branch_uri_q", |c: &mut Ctx, u: &[u8], q: &str| {
                append(c, Some(u), read_q(q))
            })
            .cfg("append_branch")
            .args(["uri", "q"])
            .routes(REQUEST | FAILURE)
            .doc("Adds a branch to a URI with a preference 0…1."),
        )
        .function(
            function("file_read", file_read)
                .args(["path"])
                .doc("The content of a file, or nil."),
        )
        .function(
            function("file_read", file_read_into)
                .native_only()
                .cfg("file_read")
                .args(["path", "variable"])
                .raw(&["variable"])
                .doc("Reads a file into a variable."),
        )
        .function(
            function("file_write", file_write)
                .cfg("file_write")
                .args(["path", "text"])
                .doc("Writes a file."),
        )
        .function(
            function(
                "is_faked_msg",
                |c: &mut Ctx| if c.local { 1i64 } else { -1 },
            )
            .cfg("is_faked_msg")
            .doc("1 where the message was made here, not received."),
        )
        .function(
            function(
                "is_incoming",
                |c: &mut Ctx| if c.outgoing.is_none() { 1i64 } else { -1 },
            )
            .native_only()
            .cfg("is_incoming")
            .doc("Whether the message is being received, not sent."),
        )
        .function(
            function("setxflag", |c: &mut Ctx, f: i64| xflag(c, f, Some(true)))
                .cfg("setxflag")
                .args(["flag"])
                .doc("Sets an extended flag, 0…63."),
        )
        .function(
            function("resetxflag", |c: &mut Ctx, f: i64| xflag(c, f, Some(false)))
                .cfg("resetxflag")
                .args(["flag"])
                .doc("Clears an extended flag."),
        )
        .function(
            function("isxflagset", |c: &mut Ctx, f: i64| xflag(c, f, None))
                .cfg("isxflagset")
                .args(["flag"])
                .doc("1 where an extended flag is set, else -1."),
        )
        .pv(pv_named("cfg", cfg_value)
            .doc("Where routing is: $cfg(line), $cfg(file), $cfg(route); or a parameter declared as group.name = value: $cfg(group.name)."))
        // Tasks run in the worker that has made them, so there is never a group to tell of.
        .pv(pv_named("atkv", |_, _| Val::Null)
            .doc("Of the group of async workers that runs the task: null outside of one."))
        .pv(pv_named("lsock", lsock)
            .doc("A listening socket: $lsock(name/protocol/sockname), by name or index."))
        .transformation(
            transformation("sock", "host", 0..=0, |_, v, _| sock_part(v, 1))
                .doc("The host of proto:host:port."),
        )
        .transformation(
            transformation("sock", "port", 0..=0, |_, v, _| sock_part(v, 2))
                .doc("The port of proto:host:port."),
        )
        .transformation(
            transformation("sock", "proto", 0..=0, |_, v, _| sock_part(v, 0))
                .doc("The protocol of proto:host:port."),
        )
        .transformation(
            transformation("sock", "touri", 0..=0, |_, v, _| sock_uri(v))
                .doc("proto:host:port as a SIP URI."),
        )
        .event(
            "corex:reply-out",
            "a reply without state is about to be sent",
        )
        .event("network:msg", "a packet has been received")
        .rpc(rpc("corex.list_aliases", aliases).doc("Domains given by alias_subdomains."))
        .rpc(
            rpc("corex.shm_status", |_| {
                log_shared();
                Ok(vec![])
            })
            .doc("Writes the use of shared memory to the log."),
        )
        .rpc(
            rpc("corex.shm_summary", |_| {
                log_shared();
                Ok(vec![])
            })
            .doc("Writes the use of shared memory to the log."),
        )
        .rpc(
            rpc("corex.pkg_summary", |_| Ok(vec![text("see pkg.stats")]))
                .doc("Memory of processes: see pkg.stats."),
        )
        .rpc(
            rpc("corex.debug", debug)
                .args("[level]")
                .doc("Reads or sets the level of the log."),
        )
        .rpc(
            rpc("shm.info", |_| {
                Ok(vec![fields([("name", text("olelo-mem"))])])
            })
            .doc("The allocator of shared memory."),
        )
        .rpc(
            rpc("shm.stats", |p| olelo_core::rpc::run("core.shmmem", p))
                .doc("Shared memory: total, free, used."),
        )
        .rpc(
            rpc("shm.rprint", shm_rprint)
                .args("module [how]")
                .doc("Shared memory of one module, or of all."),
        )
        .rpc(
            rpc("shm.report", |p| olelo_core::rpc::run("mem.top", p))
                .array()
                .doc("Shared memory by module."),
        );
    send::functions()
        .into_iter()
        .chain(marks::functions())
        .fold(m, Module::function)
}

fn add_subdomain(v: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(s) = v else {
        return Err("wants a domain".into());
    };
    if let Ok(mut d) = SUBDOMAINS.write() {
        d.push(s.to_ascii_lowercase());
    }
    Ok(())
}

fn is_subdomain(host: &str, port: u16, proto: Option<olelo_core::net::Proto>) -> bool {
    let host = host.to_ascii_lowercase();
    SUBDOMAINS.read().is_ok_and(|all| {
        all.iter().any(|d| {
            let (p, rest) = match d.split_once(':') {
                Some((p, r)) if olelo_core::net::Proto::from_name(p.as_bytes()).is_some() => {
                    (Some(p), r)
                }
                _ => (None, d.as_str()),
            };
            let (domain, dport) = rest
                .split_once(':')
                .map_or((rest, None), |(h, n)| (h, n.parse::<u16>().ok()));
            let fits =
                host == domain || host.strip_suffix(domain).is_some_and(|h| h.ends_with('.'));
            fits && dport.is_none_or(|n| n == port)
                && (p.is_none() || proto.is_none() || p == proto.map(|x| x.name()))
        })
    })
}

fn ruri_has_user(ctx: &Ctx) -> bool {
    Uri::parse(ctx.ruri())
        .ok()
        .and_then(|u| u.user)
        .is_some_and(|u| !u.is_empty())
}

fn read_q(q: &str) -> i16 {
    q.trim()
        .parse::<f64>()
        .map_or(-1, |v| (v.clamp(0.0, 1.0) * 1000.0) as i16)
}

fn append(ctx: &mut Ctx, uri: Option<&[u8]>, q: i16) -> i64 {
    let b = match uri.filter(|u| !u.is_empty()) {
        Some(u) => Branch {
            uri: u.to_vec(),
            q,
            ..Branch::default()
        },
        None => Branch {
            uri: ctx.ruri().to_vec(),
            dst_uri: ctx.dst_uri.clone().unwrap_or_default(),
            path: ctx.path.clone().unwrap_or_default(),
            q: if q >= 0 { q } else { ctx.ruri_q },
            flags: ctx.bflags,
            socket: ctx.send_socket,
            conn: ctx.dst_conn,
            ..ctx.contact.clone()
        },
    };
    if ctx.add_branch(b) { 1 } else { -1 }
}

fn file_read(_: &mut Ctx, path: &str) -> Val<'static> {
    match std::fs::read(path) {
        Ok(b) => Val::owned(b),
        Err(e) => {
            olelo_core::error!("corex", "can't read {path}: {e}");
            Val::Null
        }
    }
}

fn file_read_into(ctx: &mut Ctx, path: &str, variable: &[u8]) -> Result<i64, ScriptError> {
    let spec = olelo_core::pv::Spec::parse_cached(variable.trim_ascii())?;
    match file_read(ctx, path) {
        Val::Null => Ok(-1),
        text => spec.set(ctx, text).map(|()| 1),
    }
}

fn file_write(_: &mut Ctx, path: &str, body: &[u8]) -> i64 {
    match std::fs::write(path, body) {
        Ok(()) => 1,
        Err(e) => {
            olelo_core::error!("corex", "can't write {path}: {e}");
            -1
        }
    }
}

/// Extended flags of the message.
#[derive(Default)]
struct XFlags(u64);

fn xflag(ctx: &mut Ctx, flag: i64, set: Option<bool>) -> Result<i64, ScriptError> {
    let bit = u32::try_from(flag).ok().and_then(|f| 1u64.checked_shl(f));
    let bit =
        bit.ok_or_else(|| ScriptError(format!("no flag {flag}; extended flags are 0 to 63")))?;
    let flags = &mut ctx.ext::<XFlags>().0;
    match set {
        Some(true) => *flags |= bit,
        Some(false) => *flags &= !bit,
        None if *flags & bit == 0 => return Ok(-1),
        None => {}
    }
    Ok(1)
}

fn cfg_value<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let name = String::from_utf8_lossy(key.name());
    match &*name {
        "line" => return Val::Int(ctx.place.line.into()),
        "name" | "file" => return ctx.place.file().map_or(Val::Null, Val::text),
        "route" => {
            return ctx
                .place
                .route()
                .map_or(Val::Null, |r| Val::text(block_name(r)));
        }
        _ => {}
    }
    name.split_once('.')
        .and_then(|(g, n)| cfgvars::find(g, n))
        .map_or(Val::Null, |v| v.get())
}

/// `RELAY` of `route[RELAY]`; a main block has the name that traces give it.
fn block_name(head: &str) -> &str {
    let inner = head.split_once('[').and_then(|(_, n)| n.strip_suffix(']'));
    inner.unwrap_or("DEFAULT_ROUTE")
}

fn lsock<'c>(_: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let text = String::from_utf8_lossy(key.name()).into_owned();
    let (which, what) = text.split_once('/').unwrap_or((text.as_str(), "sockname"));
    let sockets = &olelo_core::server().sockets;
    let found = which
        .parse::<usize>()
        .ok()
        .and_then(|i| sockets.0.get(i))
        .or_else(|| sockets.find(which));
    found.map_or(Val::Null, |l| match what {
        "proto" | "protocol" => Val::text(l.proto.name()),
        "host" | "address" => Val::owned(l.host.as_bytes()),
        "port" => Val::Int(l.addr.port().into()),
        "name" => Val::owned(l.name.clone().unwrap_or_default()),
        _ => Val::owned(l.text()),
    })
}

/// Protocol, host and port of `[proto:]host[:port]`; nothing for what is no socket.
fn socket_parts(text: &str) -> Option<(&str, &str, Option<u16>)> {
    let known = text
        .split_once(':')
        .filter(|(p, _)| Proto::from_name(p.as_bytes()).is_some());
    let (proto, rest) = known.unwrap_or(("", text));
    let (host, port) = olelo_core::net::socket::split_host_port(rest)?;
    let v6 = rest.starts_with('[');
    (!host.is_empty() && (v6 || !host.contains(':'))).then_some((proto, host, port))
}

/// Part 0 protocol, 1 host, 2 port of `proto:host:port`.
fn sock_part<'c>(v: Val<'c>, part: usize) -> Val<'c> {
    let b = v.as_bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&b);
    match (part, socket_parts(&text)) {
        (0, Some((proto, ..))) => Val::owned(proto),
        (1, Some((_, host, _))) => Val::from(bracketed(host)),
        (_, Some((.., Some(port)))) => Val::from(port.to_string()),
        _ => Val::Null,
    }
}

fn sock_uri<'c>(v: Val<'c>) -> Val<'c> {
    let b = v.as_bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&b);
    let Some((proto, host, port)) = socket_parts(&text) else {
        return Val::Null;
    };
    let mut uri = format!("sip:{}", bracketed(host));
    if let Some(p) = port {
        uri.push_str(&format!(":{p}"));
    }
    if !proto.is_empty() {
        uri.push_str(&format!(";transport={proto}"));
    }
    Val::from(uri)
}

/// IPv6 addresses stand in brackets.
fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_string()
    }
}

fn aliases(_: &Params) -> Answer {
    let all = SUBDOMAINS
        .read()
        .map(|d| d.iter().map(|s| text(s.clone())).collect())
        .unwrap_or_default();
    Ok(vec![fields([("domains", Value::Array(all))])])
}

fn shm_rprint(p: &Params) -> Answer {
    let only = p.opt_text(0).filter(|m| m != "all");
    let used = olelo_core::mem::heap::usage();
    let found: Vec<Value> = used
        .into_iter()
        .filter(|u| only.as_ref().is_none_or(|o| *o == u.name))
        .map(|u| {
            fields([
                ("module", text(u.name)),
                ("bytes", Value::Int(u.bytes as i64)),
                ("blocks", Value::Int(u.blocks as i64)),
            ])
        })
        .collect();
    match (found.is_empty(), only) {
        (true, Some(m)) => Err(Fault::new(
            404,
            format!("{m} has no shared memory; mem.top lists who has"),
        )),
        _ => Ok(found),
    }
}

fn log_shared() {
    for u in olelo_core::mem::heap::usage() {
        olelo_core::notice!(
            "corex",
            "shared memory: {} holds {} bytes in {} blocks",
            u.name,
            u.bytes,
            u.blocks
        );
    }
}

fn debug(p: &Params) -> Answer {
    let before = olelo_core::log::DEBUG.get();
    if let Some(text) = p.opt_text(0) {
        let level = text
            .parse()
            .map_err(|_| Fault::new(400, format!("\"{text}\" is no level; -5 to 3")))?;
        olelo_core::log::DEBUG.set(level);
        return Ok(vec![fields([
            ("old", Value::Int(before)),
            ("new", Value::Int(level)),
        ])]);
    }
    Ok(vec![fields([("debug", Value::Int(before))])])
}
