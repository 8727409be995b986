//! `nathelper`: clients behind NATs: recognised, their addresses corrected, kept reachable.
//!
//! [`address`] knows private networks and aliases, [`sdp`] corrects session descriptions, [`ping`]
//! is the keepalive process; this file has what works on headers.

#![forbid(unsafe_code)]

mod address;
mod ping;
mod sdp;

use olelo_core::hooks;
use olelo_core::net::Proto;
use olelo_core::net::socket::host_text;
use olelo_core::pv::{Spec, pv};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{
    ANY, BRANCH, EVENT, FAILURE, ONREPLY, REQUEST, ScriptError, function,
};
use olelo_core::route::module::{IntParam, Module, StrParam, param_int, param_str};
use olelo_core::route::value::Val;
use olelo_core::rpc::rpc;
use olelo_sip::sdp::Sdp;
use olelo_sip::{Contact, HeaderName, Rport, Span, Uri, UriBuf};

static NATPING_INTERVAL: IntParam = IntParam::new(0);
static PING_NATED_ONLY: IntParam = IntParam::new(0);
static NATPING_PROCESSES: IntParam = IntParam::new(1);
static NATPING_SOCKET: StrParam = StrParam::unset();
static NATPING_DISABLE_BFLAG: IntParam = IntParam::new(-1);
static SIPPING_BFLAG: IntParam = IntParam::new(-1);
static SIPPING_FROM: StrParam = StrParam::unset();
static SIPPING_METHOD: StrParam = StrParam::new("OPTIONS");
static KEEPALIVE_TIMEOUT: IntParam = IntParam::new(0);
static UDPPING_FROM_PATH: IntParam = IntParam::new(0);
static IGNORE_PATH: IntParam = IntParam::new(0);
static FILTER_SERVER_ID: IntParam = IntParam::new(0);
static FORCE_SOCKET: StrParam = StrParam::unset();
static RECEIVED_AVP: StrParam = StrParam::unset();
static NORTPPROXY_STR: StrParam = StrParam::new("a=nortpproxy:yes");
static APPEND_SDP_OLDMEDIAIP: IntParam = IntParam::new(1);
static NAT_ADDR_MODE: IntParam = IntParam::new(1);
static ALIAS_NAME: StrParam = StrParam::new("alias");

/// The module.
pub fn module() -> Module {
    let any = EVENT | REQUEST | ONREPLY | BRANCH | FAILURE;
    with_params(Module::new("nathelper"))
        .doc("Clients behind NATs: recognised, their addresses corrected, kept reachable.")
        .init(init)
        .processes(ping::processes)
        .function(function("nat_uac_test", |c: &mut Ctx, f: i64| if nat_uac_test(c, f) { 1i64 } else { -1 }).cfg("nat_uac_test").args(["flags"]).routes(any).doc(
            "Whether the sender is behind a NAT: 1 private Contact, 2 Via is not the source address, 4 private \
             Via, 8 private SDP, 16 Via port is not the source port, 32 private source, 64 WebSocket, \
             128 Contact port is not the source port, 256 SDP address is not the source, 512 target differs.",
        ))
        .function(function("fix_nated_contact", fix_nated_contact).cfg("fix_nated_contact").routes(any).doc("Puts the source address into Contact."))
        .function(function("add_contact_alias", add_contact_alias).routes(any).doc("Adds ;alias=address~port~transport to Contact where the source differs from it. 2: not needed."))
        .function(function("add_contact_alias_addr", |c: &mut Ctx, a: &str, p: &str, t: &str| add_contact_alias_addr(c, a, p, t)).args(["address", "port", "proto"]).routes(any).doc("Adds ;alias with this address to Contact."))
        .function(function("add_contact_alias_cfg", add_contact_alias_cfg).native_only().cfg("add_contact_alias").args(["address", "port", "proto"]).routes(any).doc("As KSR.nathelper.add_contact_alias and add_contact_alias_addr."))
        .function(function("set_contact_alias", |c: &mut Ctx| set_contact_alias(c, false)).routes(any).doc("Adds ;alias with the source address to Contact."))
        .function(function("set_contact_alias_trim", |c: &mut Ctx| set_contact_alias(c, true)).routes(any).doc("The same, in place of an alias that is there."))
        .function(function("set_contact_alias_cfg", |c: &mut Ctx, t: Option<i64>| set_contact_alias(c, t == Some(1))).native_only().cfg("set_contact_alias").args(["trim"]).routes(any).doc("As KSR.nathelper.set_contact_alias."))
        .function(function("handle_ruri_alias", |c: &mut Ctx| handle_ruri_alias(c, 0)).routes(REQUEST | BRANCH | EVENT).doc("Takes ;alias out of the request URI and sends there. 2: there is none."))
        .function(function("handle_ruri_alias_mode", handle_ruri_alias).args(["mode"]).routes(REQUEST | BRANCH | EVENT).doc("The same; mode 1 takes the last alias."))
        .function(function("handle_ruri_alias_cfg", |c: &mut Ctx, m: Option<i64>| handle_ruri_alias(c, m.unwrap_or(0))).native_only().cfg("handle_ruri_alias").args(["mode"]).routes(REQUEST | BRANCH | EVENT).doc("As KSR.nathelper.handle_ruri_alias."))
        .function(function("set_alias_to_pv", set_alias_to_pv).cfg("set_alias_to_pv").args(["pv"]).raw(&["pv"]).routes(ANY).doc("Puts the URI that Contact's alias stands for into a pseudo-variable."))
        .function(function("is_rfc1918", |_: &mut Ctx, a: &[u8]| if address::is_private(a) { 1i64 } else { -1 }).cfg("is_rfc1918").args(["address"]).routes(ANY).doc("Whether an address is of a private network."))
        .function(function("fix_nated_register", fix_nated_register).cfg("fix_nated_register").routes(REQUEST).doc("Keeps the source address as a URI in received_avp, for save."))
        .function(function("add_rcv_param", |c: &mut Ctx, f: i64| add_rcv_param(c, f)).args(["in_uri"]).routes(REQUEST).doc("Adds ;received=URI of the source to Contact, or (1) to its URI."))
        .function(function("add_rcv_param_cfg", |c: &mut Ctx, f: Option<i64>| add_rcv_param(c, f.unwrap_or(0))).native_only().cfg("add_rcv_param").args(["in_uri"]).routes(REQUEST).doc("As KSR.nathelper.add_rcv_param."))
        .function(function("fix_nated_sdp", |c: &mut Ctx, f: i64| sdp::fix(c, f, None)).args(["flags"]).routes(any).doc("Corrects the SDP: 1 adds direction:active, 2 media address, 4 adds nortpproxy, 8 origin. 2: nothing to replace."))
        .function(function("fix_nated_sdp_ip", |c: &mut Ctx, f: i64, ip: &str| sdp::fix(c, f, Some(ip))).args(["flags", "address"]).routes(any).doc("The same with this address."))
        .function(function("fix_nated_sdp_cfg", |c: &mut Ctx, f: i64, ip: Option<&str>| sdp::fix(c, f, ip)).native_only().cfg("fix_nated_sdp").args(["flags", "address"]).routes(any).doc("As KSR.nathelper.fix_nated_sdp."))
        .pv(pv("rr_count", |c, _| Val::Int(rr_count(c))).doc("How many Record-Route values there are."))
        .pv(pv("rr_top_count", |c, _| Val::Int(rr_top_count(c))).doc("2 for a double topmost Record-Route, 1 for a single one."))
        .rpc(rpc("nathelper.enable_ping", |p| {
            ping::enable(p.int(0, "on")? != 0);
            Ok(Vec::new())
        }).args("0|1").doc("Switches keepalives."))
}

fn with_params(m: Module) -> Module {
    m.param(
        param_int("natping_interval", &NATPING_INTERVAL)
            .doc("Seconds between keepalives of one contact; 0 for none."),
    )
    .param(
        param_int("ping_nated_only", &PING_NATED_ONLY)
            .doc("Only to contacts with usrloc's nat_bflag."),
    )
    .param(param_int("natping_processes", &NATPING_PROCESSES).doc("Processes that send them."))
    .param(param_str("natping_socket", &NATPING_SOCKET).doc("Socket to send from."))
    .param(
        param_int("natping_disable_bflag", &NATPING_DISABLE_BFLAG)
            .doc("Branch flag of contacts that get none."),
    )
    .param(
        param_int("sipping_bflag", &SIPPING_BFLAG)
            .doc("Branch flag of contacts that get SIP requests."),
    )
    .param(param_str("sipping_from", &SIPPING_FROM).doc("From of those requests; needed for them."))
    .param(param_str("sipping_method", &SIPPING_METHOD).doc("Their method."))
    .param(
        param_int("keepalive_timeout", &KEEPALIVE_TIMEOUT)
            .doc("Seconds without a reply after which a contact is removed."),
    )
    .param(
        param_int("udpping_from_path", &UDPPING_FROM_PATH)
            .doc("Accepted; keepalives are sent from the socket of the registration."),
    )
    .param(
        param_int("ignore_path", &IGNORE_PATH)
            .doc("Keepalives go to the contact, not along its Path."),
    )
    .param(
        param_int("filter_server_id", &FILTER_SERVER_ID)
            .doc("Only to contacts registered at this server."),
    )
    .param(
        param_str("force_socket", &FORCE_SOCKET)
            .doc("Socket to send from, whatever the contact's is."),
    )
    .param(
        param_str("received_avp", &RECEIVED_AVP)
            .doc("Pseudo-variable for the source address; the same as registrar's."),
    )
    .param(
        param_str("nortpproxy_str", &NORTPPROXY_STR)
            .doc("SDP line that marks corrected descriptions."),
    )
    .param(
        param_int("append_sdp_oldmediaip", &APPEND_SDP_OLDMEDIAIP)
            .doc("Add a=oldmediaip with the address replaced."),
    )
    .param(param_int("nat_addr_mode", &NAT_ADDR_MODE).doc("1: 192.0.0.0/24 counts as private too."))
    .param(param_str("alias_name", &ALIAS_NAME).doc("Name of the alias parameter."))
}

fn init() -> Result<(), String> {
    ping::init()?;
    hooks::REPLY.add(ping::on_reply);
    Ok(())
}

/// The contacts of the message; none for `*` or what cannot be read.
fn contacts(ctx: &Ctx) -> &[Contact] {
    ctx.msg.contacts().map_or(&[], |c| c.list())
}

fn nat_uac_test(ctx: &Ctx, flags: i64) -> bool {
    let on = |bit: i64| flags & bit != 0;
    let buf = ctx.msg.buf();
    let (src, via) = (ctx.rcv.src, ctx.msg.via(0));
    let uris = || contacts(ctx).iter().filter_map(|c| c.addr.uri(buf).ok());
    let media = || {
        let sdp = Sdp::parse(buf, ctx.msg.body_span());
        let all: Vec<Vec<u8>> = sdp
            .iter()
            .flat_map(|s| s.connections().map(|a| a.address.of(buf).to_vec()))
            .collect();
        all
    };
    on(1) && uris().any(|u| address::is_private(u.host))
        || on(2) && via.is_some_and(|v| olelo_sip::uri::host_ip(v.host.of(buf)) != Some(src.ip()))
        || on(4) && via.is_some_and(|v| address::is_private(v.host.of(buf)))
        || on(8) && media().iter().any(|a| address::is_private(a))
        || on(16) && via.is_some_and(|v| v.port.unwrap_or(5060) != src.port())
        || on(32) && address::is_private_ip(src.ip())
        || on(64) && matches!(ctx.rcv.proto, Proto::Ws | Proto::Wss)
        || on(128) && uris().any(|u| u.effective_port() != src.port())
        || on(256)
            && media()
                .iter()
                .any(|a| olelo_sip::uri::host_ip(a).is_some_and(|ip| ip != src.ip()))
        || on(512) && target_differs(ctx)
}

/// Request: `$du` leads elsewhere than the request URI. Reply: the second Via was corrected.
fn target_differs(ctx: &Ctx) -> bool {
    let buf = ctx.msg.buf();
    if !ctx.msg.is_request() {
        return ctx.msg.via(1).is_some_and(|v| {
            let host = v.received.is_some_and(|r| r.of(buf) != v.host.of(buf));
            let port = matches!(v.rport, Rport::Port(p) if p != v.port.unwrap_or(5060));
            host || port
                || v.transport_text.of(buf).eq_ignore_ascii_case(b"WS")
                || v.transport_text.of(buf).eq_ignore_ascii_case(b"WSS")
        });
    }
    let Some(du) = ctx.dst_uri.as_deref().filter(|d| !d.is_empty()) else {
        return false;
    };
    match (Uri::parse(ctx.ruri()), Uri::parse(du)) {
        (Ok(r), Ok(d)) => {
            !r.host.eq_ignore_ascii_case(d.host)
                || r.effective_port() != d.effective_port()
                || d.transport().is_some_and(|t| t.as_str().starts_with("ws"))
        }
        _ => false,
    }
}

/// Where a part of the URI that begins at `start` lies in the message.
fn place(start: usize, whole: &[u8], part: &[u8]) -> Span {
    let at = part.as_ptr() as usize - whole.as_ptr() as usize;
    Span::new(start + at, start + at + part.len())
}

fn fix_nated_contact(ctx: &mut Ctx) -> i64 {
    let src = ctx.rcv.src;
    let here = format!("{}:{}", host_text(src.ip()), src.port());
    let buf = ctx.msg.buf();
    let mut places = Vec::new();
    for c in contacts(ctx) {
        let text = c.addr.uri_text(buf);
        let Ok(uri) = Uri::parse(text) else {
            return -1;
        };
        let mut span = place(c.addr.uri.at(), text, uri.host);
        // The port: digits after a colon.
        let rest = &buf[span.to().min(buf.len())..c.addr.uri.to().min(buf.len())];
        if rest.first() == Some(&b':') {
            let digits = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
            span = Span::new(span.at(), span.to() + 1 + digits);
        }
        places.push(span);
    }
    if places.is_empty() {
        return -1;
    }
    places
        .into_iter()
        .for_each(|p| ctx.edits.replace(p, here.as_bytes()));
    1
}

fn alias_name() -> &'static [u8] {
    ALIAS_NAME.get().unwrap_or("alias").as_bytes()
}

/// Adds the alias to each contact's URI.
fn add_alias(ctx: &mut Ctx, value: &str, trim: bool) -> i64 {
    let buf = ctx.msg.buf();
    let mut changes = Vec::new();
    for c in contacts(ctx) {
        let Ok(mut uri) = UriBuf::parse(c.addr.uri_text(buf)) else {
            return -1;
        };
        if trim {
            let _ = uri.remove_param(alias_name());
        }
        let name = String::from_utf8_lossy(alias_name()).into_owned();
        // Headers of the URI come behind its parameters.
        let text = uri.as_bytes().to_vec();
        let cut = text.iter().position(|b| *b == b'?').unwrap_or(text.len());
        let mut new = text[..cut].to_vec();
        new.extend_from_slice(format!(";{name}={value}").as_bytes());
        new.extend_from_slice(&text[cut..]);
        if !c.addr.bracketed {
            new = [b"<", new.as_slice(), b">"].concat();
        }
        changes.push((c.addr.uri, new));
    }
    if changes.is_empty() {
        return -1;
    }
    for (span, new) in changes {
        ctx.edits.replace(span, &new);
    }
    1
}

fn add_contact_alias(ctx: &mut Ctx) -> i64 {
    let (src, proto) = (ctx.rcv.src, ctx.rcv.proto);
    let Some(c) = contacts(ctx).first() else {
        return 2;
    };
    let Ok(uri) = c.addr.uri(ctx.msg.buf()) else {
        return -1;
    };
    let same = uri.host_ip() == Some(src.ip())
        && uri.effective_port() == src.port()
        && uri.effective_transport().as_str() == proto.name();
    if same {
        return 2;
    }
    let value = address::alias(&host_text(src.ip()), src.port(), proto);
    add_alias(ctx, &value, false)
}

fn add_contact_alias_addr(ctx: &mut Ctx, ip: &str, port: &str, proto: &str) -> i64 {
    let address = olelo_sip::uri::host_ip(ip.as_bytes());
    let (Some(ip), Ok(port), Some(proto)) =
        (address, port.parse(), Proto::from_name(proto.as_bytes()))
    else {
        olelo_core::error!(
            "nathelper",
            "add_contact_alias: \"{ip}\", \"{port}\", \"{proto}\" is no address, port and transport"
        );
        return -1;
    };
    add_alias(ctx, &address::alias(&host_text(ip), port, proto), false)
}

fn add_contact_alias_cfg(
    ctx: &mut Ctx,
    ip: Option<&str>,
    port: Option<&str>,
    proto: Option<&str>,
) -> Result<i64, ScriptError> {
    match (ip, port, proto) {
        (None, None, None) => Ok(add_contact_alias(ctx)),
        (Some(ip), Some(port), Some(proto)) => Ok(add_contact_alias_addr(ctx, ip, port, proto)),
        _ => Err(ScriptError::new(
            "add_contact_alias takes no argument or three: address, port, transport",
        )),
    }
}

fn set_contact_alias(ctx: &mut Ctx, trim: bool) -> i64 {
    let value = address::alias(
        &host_text(ctx.rcv.src.ip()),
        ctx.rcv.src.port(),
        ctx.rcv.proto,
    );
    add_alias(ctx, &value, trim)
}

fn handle_ruri_alias(ctx: &mut Ctx, mode: i64) -> i64 {
    let ruri = ctx.ruri().to_vec();
    let Ok(uri) = Uri::parse(&ruri) else {
        return -1;
    };
    let name = alias_name();
    let aliases: Vec<_> = uri
        .params()
        .iter()
        .filter(|p| p.name.eq_ignore_ascii_case(name))
        .collect();
    let chosen = if mode == 0 {
        aliases.first()
    } else {
        aliases.last()
    };
    let Some(value) = chosen.and_then(|p| p.value) else {
        return 2;
    };
    let Some(to) = address::alias_uri(value) else {
        olelo_core::error!(
            "nathelper",
            "the alias \"{}\" of the request URI is no address",
            String::from_utf8_lossy(value)
        );
        return -1;
    };
    // Cut `;alias=value` out, the one that was chosen.
    let at = place(0, &ruri, value);
    let start = at.at().saturating_sub(name.len() + 2);
    let rest = [&ruri[..start], &ruri[at.to().min(ruri.len())..]].concat();
    ctx.set_ruri(&rest);
    ctx.dst_uri = Some(to.into_bytes());
    1
}

fn set_alias_to_pv(ctx: &mut Ctx, to: &[u8]) -> Result<i64, ScriptError> {
    let buf = ctx.msg.buf();
    let found = contacts(ctx).iter().find_map(|c| {
        let uri = c.addr.uri(buf).ok()?;
        address::alias_uri(uri.param(alias_name())?)
    });
    match found {
        Some(uri) => {
            Spec::parse_cached(to)?.set(ctx, Val::from(uri))?;
            Ok(1)
        }
        None => Ok(-1),
    }
}

fn fix_nated_register(ctx: &mut Ctx) -> Result<i64, ScriptError> {
    let Some(avp) = RECEIVED_AVP.get() else {
        return Err(ScriptError::new(
            "fix_nated_register needs modparam(\"nathelper\", \"received_avp\", \"$avp(RECEIVED)\"), and the same for registrar",
        ));
    };
    let uri = address::uri(ctx.rcv.src, ctx.rcv.proto);
    Spec::parse_cached(avp.as_bytes())?.set(ctx, Val::from(uri))?;
    Ok(1)
}

fn add_rcv_param(ctx: &mut Ctx, in_uri: i64) -> i64 {
    let uri = address::uri(ctx.rcv.src, ctx.rcv.proto);
    let mut changes = Vec::new();
    for c in contacts(ctx) {
        if in_uri != 0 {
            let escaped = olelo_sip::uri::escape_param(uri.as_bytes()).into_owned();
            changes.push((
                c.addr.uri.to(),
                [b";received=", escaped.as_slice()].concat(),
            ));
        } else {
            changes.push((
                c.addr.span.to(),
                format!(";received=\"{uri}\"").into_bytes(),
            ));
        }
    }
    if changes.is_empty() {
        return -1;
    }
    for (at, text) in changes {
        ctx.edits.insert_after(at, &text, HeaderName::Other);
    }
    1
}

fn rr_count(ctx: &Ctx) -> i64 {
    ctx.msg.record_routes().map_or(0, |r| r.len() as i64)
}

fn rr_top_count(ctx: &Ctx) -> i64 {
    let buf = ctx.msg.buf();
    match ctx.msg.record_routes().ok().and_then(|r| r.first()) {
        None => 0,
        Some(r) if r.uri(buf).is_ok_and(|u| u.r2().is_some()) => 2,
        Some(_) => 1,
    }
}

#[cfg(test)]
mod tests;
