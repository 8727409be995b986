//! Our Via: the value put on top of requests, and what scripts want in it and in that of replies.

use super::{Dst, Proto};
use crate::route::avp::AvpVal;
use crate::route::ctx::Ctx;

/// What the script wants in Vias of this message, beyond what must be there (`via_add_srvid` …).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ViaWishes {
    /// `;srvid=` with the core parameter `server_id`.
    pub srvid: bool,
    /// Fields of the xavp that `xavp_via_params` names, as parameters.
    pub xavp_params: bool,
    /// `address`, `port` and `proto` from the xavp that `xavp_via_fields` names.
    pub xavp_fields: bool,
    /// Fields of the xavp that `xavp_via_reply_params` names, in the sender's Via of replies.
    pub reply_params: bool,
}

/// The value of our Via for a request that goes to `dst` with this branch.
pub fn value(ctx: &Ctx, dst: &Dst, branch: &str) -> Vec<u8> {
    let listen = crate::server().sockets.get(dst.socket);
    let (host, port) = match (&ctx.advertised, listen.map(|l| l.public())) {
        ((Some(h), p), Some((_, own))) => (h.as_str(), p.unwrap_or(own)),
        ((None, p), Some((h, own))) => match (
            &crate::server().config.advertised,
            listen.and_then(|l| l.advertise.as_ref()),
        ) {
            ((Some(a), ap), None) => (a.as_str(), p.or(*ap).unwrap_or(own)),
            _ => (h, p.unwrap_or(own)),
        },
        _ => ("127.0.0.1", 5060),
    };
    let wishes: ViaWishes = ctx.ext_ref().copied().unwrap_or_default();
    let fields = Fields::of(ctx, &wishes);
    let host = fields.address.as_deref().unwrap_or(host);
    let port = fields.port.unwrap_or(port);
    let mut v = Vec::with_capacity(48 + host.len() + branch.len());
    let mut put = |text: &str| v.extend_from_slice(text.as_bytes());
    put("SIP/2.0/");
    put(fields.proto.as_deref().unwrap_or(dst.proto.via_name()));
    put(" ");
    put(host);
    if port != dst.proto.default_port() {
        v.push(b':');
        olelo_sip::push_number(&mut v, u64::from(port));
    }
    let mut put = |text: &str| v.extend_from_slice(text.as_bytes());
    put(";branch=");
    put(branch);
    if ctx.add_local_rport {
        put(";rport");
    }
    match ctx.tcp_alias {
        Some(0) if dst.proto != Proto::Udp => put(";alias"),
        Some(p) if dst.proto != Proto::Udp => put(&format!(";alias={p}")),
        _ => {}
    }
    let id = crate::server().config.server_id;
    if wishes.srvid && id != 0 {
        put(&format!(";srvid={id}"));
    }
    if wishes.xavp_params {
        v.extend(params_of(ctx, "xavp_via_params"));
    }
    v
}

/// Parameters for the sender's Via in replies to the message in `ctx`.
pub(super) fn reply_params(ctx: &Ctx) -> Vec<u8> {
    match ctx.ext_ref::<ViaWishes>() {
        Some(w) if w.reply_params => params_of(ctx, "xavp_via_reply_params"),
        _ => Vec::new(),
    }
}

/// What takes the place of the socket's address in our Via.
#[derive(Default)]
struct Fields {
    address: Option<String>,
    port: Option<u16>,
    proto: Option<String>,
}

impl Fields {
    fn of(ctx: &Ctx, wishes: &ViaWishes) -> Fields {
        let mut out = Fields::default();
        let Some(name) = config_text("xavp_via_fields").filter(|_| wishes.xavp_fields) else {
            return out;
        };
        for (field, text) in xavp_fields(ctx, name) {
            let text = String::from_utf8_lossy(&text).into_owned();
            match field {
                b"address" if is_safe(text.as_bytes()) => out.address = Some(text),
                b"port" => out.port = text.parse().ok(),
                b"proto" if is_safe(text.as_bytes()) => out.proto = Some(text.to_uppercase()),
                _ => {}
            }
        }
        out
    }
}

fn config_text(name: &str) -> Option<&'static str> {
    crate::server::try_server()?
        .config
        .text(name)
        .filter(|s| !s.is_empty())
}

/// `;name=value` for each field of the xavp that the core parameter names.
fn params_of(ctx: &Ctx, core_param: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(name) = config_text(core_param) else {
        return out;
    };
    // The newest field comes first in the list and last in the Via.
    for (field, text) in xavp_fields(ctx, name).into_iter().rev() {
        if is_safe(field) && is_safe(&text) {
            out.push(b';');
            out.extend_from_slice(field);
            if !text.is_empty() {
                out.push(b'=');
                out.extend(text);
            }
        }
    }
    out
}

fn xavp_fields<'c>(ctx: &'c Ctx, name: &str) -> Vec<(&'c [u8], Vec<u8>)> {
    let Some(AvpVal::Fields(list)) = ctx.avps.xavp.get(name.as_bytes(), 0) else {
        return Vec::new();
    };
    list.iter()
        .filter_map(|a| match &a.val {
            AvpVal::Int(i) => Some((a.name.as_slice(), i.to_string().into_bytes())),
            AvpVal::Str(s) => Some((a.name.as_slice(), s.to_vec())),
            _ => None,
        })
        .collect()
}

/// Whether a text from a script may stand in a Via without breaking it.
fn is_safe(text: &[u8]) -> bool {
    text.iter()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b';' | b','))
}
