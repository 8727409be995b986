//! `fix_nated_sdp`: the addresses of a session description, replaced by where the message came from.

use crate::{APPEND_SDP_OLDMEDIAIP, NORTPPROXY_STR};
use olelo_core::route::ctx::Ctx;
use olelo_sip::sdp::{Address, Sdp};
use std::net::IpAddr;

const DIRECTION: i64 = 0x01;
const MEDIA: i64 = 0x02;
const NORTPPROXY: i64 = 0x04;
const ORIGIN: i64 = 0x08;

/// 1 where an address was replaced, 2 where none was, -1 without a description.
pub fn fix(ctx: &mut Ctx, flags: i64, ip: Option<&str>) -> i64 {
    let ip: IpAddr = match ip.map(|t| t.trim_matches(['[', ']']).parse()) {
        None => ctx.rcv.src.ip(),
        Some(Ok(ip)) => ip,
        Some(Err(_)) => {
            olelo_core::error!(
                "nathelper",
                "fix_nated_sdp: \"{}\" is no IP address",
                ip.unwrap_or_default()
            );
            return -1;
        }
    };
    let body = ctx.msg.body_span();
    let Some(sdp) = Sdp::parse(ctx.msg.buf(), body) else {
        return -1;
    };
    let (kind, text) = (if ip.is_ipv6() { "IP6" } else { "IP4" }, ip.to_string());
    let mut tail = Vec::new();
    let mut changed = 2;
    let mut replaced = Vec::new();
    if flags & MEDIA != 0 {
        replaced.extend(sdp.connections());
        replaced.extend(rtcp_addresses(ctx, &sdp));
    }
    if flags & ORIGIN != 0 {
        replaced.extend(sdp.origin());
    }
    for a in replaced {
        let old = a.address.of(ctx.msg.buf()).to_vec();
        // An address of nothing means "on hold" (RFC 2543): that must stay.
        if old == b"0.0.0.0" || old == text.as_bytes() {
            continue;
        }
        ctx.edits.replace(a.kind, kind.as_bytes());
        ctx.edits.replace(a.address, text.as_bytes());
        changed = 1;
        if flags & MEDIA != 0 && APPEND_SDP_OLDMEDIAIP.is_on() && tail.is_empty() {
            tail.extend_from_slice(b"a=oldmediaip:");
            tail.extend_from_slice(&old);
            tail.extend_from_slice(b"\r\n");
        }
    }
    if flags & DIRECTION != 0 {
        tail.extend_from_slice(b"a=direction:active\r\n");
    }
    if flags & NORTPPROXY != 0 && !NORTPPROXY_STR.text().is_empty() {
        tail.extend_from_slice(NORTPPROXY_STR.text().trim_end().as_bytes());
        tail.extend_from_slice(b"\r\n");
    }
    if !tail.is_empty() {
        if !ctx.msg.body().ends_with(b"\n") {
            tail.splice(0..0, *b"\r\n");
        }
        ctx.edits
            .insert_after(body.to(), &tail, olelo_sip::HeaderName::Other);
    }
    changed
}

/// Addresses of `a=rtcp:port IN IP4 address` (RFC 3605).
fn rtcp_addresses(ctx: &Ctx, sdp: &Sdp) -> Vec<Address> {
    let buf = ctx.msg.buf();
    sdp.lines()
        .iter()
        .filter(|l| l.kind == b'a' && l.value.of(buf).starts_with(b"rtcp:"))
        .filter_map(|l| {
            let mut words = Vec::new();
            let mut start = l.value.at();
            for (i, b) in l.value.of(buf).iter().enumerate() {
                if *b == b' ' {
                    words.push((start, l.value.at() + i));
                    start = l.value.at() + i + 1;
                }
            }
            words.push((start, l.value.to()));
            let (&kind, &address) = (words.get(2)?, words.get(3)?);
            Some(Address {
                kind: olelo_sip::Span::new(kind.0, kind.1),
                address: olelo_sip::Span::new(address.0, address.1),
            })
        })
        .collect()
}
