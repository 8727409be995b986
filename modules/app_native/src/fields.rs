//! The condition keywords of the core: `method`, `src_ip`, `uri == myself`.
//!
//! In `onsend_route`, `snd_*` is the socket that sends and `to_*` the receiver.

use crate::program::Test;
use olelo_cfg::ast::{Field, IpNet};
use olelo_core::net::{Proto, own};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;
use olelo_sip::Uri;
use std::net::{IpAddr, SocketAddr};

/// Largest message that a datagram can carry: `max_len`.
const MAX_LEN: i64 = 65535;

/// The keyword's value for this message.
pub fn value<'c>(f: Field, ctx: &'c Ctx) -> Val<'c> {
    match f {
        Field::Method => Val::opt(Some(ctx.msg.method_text()).filter(|m| !m.is_empty())),
        Field::Uri => Val::bytes(ctx.ruri()),
        Field::FromUri => Val::opt(ctx.msg.from().map(|a| a.uri_text(ctx.msg.buf()))),
        Field::ToUri => Val::opt(ctx.msg.to().map(|a| a.uri_text(ctx.msg.buf()))),
        Field::Status => match ctx.msg.is_request() {
            true => Val::Null,
            false => Val::Int(ctx.msg.status().into()),
        },
        Field::SrcIp | Field::DstIp | Field::SndIp | Field::ToIp => {
            ip(f, ctx).map_or(Val::Null, |ip| Val::from(ip.to_string()))
        }
        Field::SrcPort => Val::Int(ctx.rcv.src.port().into()),
        Field::DstPort => Val::Int(ctx.rcv.dst.port().into()),
        Field::SndPort => socket(ctx).map_or(Val::Null, |a| Val::Int(a.port().into())),
        Field::ToPort => to(ctx).map_or(Val::Null, |(a, _)| Val::Int(a.port().into())),
        Field::Proto | Field::SndProto | Field::ToProto => {
            proto(f, ctx).map_or(Val::Null, |p| Val::text(p.name()))
        }
        Field::Af | Field::SndAf | Field::ToAf => match ip(of_family(f), ctx) {
            Some(IpAddr::V4(_)) => Val::text("INET"),
            Some(IpAddr::V6(_)) => Val::text("INET6"),
            None => Val::Null,
        },
        Field::MsgLen => Val::Int(
            ctx.outgoing
                .as_ref()
                .map_or(ctx.msg.buf().len(), |o| o.0.len()) as i64,
        ),
        Field::MaxLen => Val::Int(MAX_LEN),
        Field::UriHost => Uri::parse(ctx.ruri()).map_or(Val::Null, |u| Val::bytes(u.host)),
        Field::UriPort => {
            Uri::parse(ctx.ruri()).map_or(Val::Null, |u| Val::Int(u.port.unwrap_or(0).into()))
        }
    }
}

/// Whether the answer is yes.
pub fn test(t: &Test, ctx: &Ctx) -> bool {
    match t {
        Test::Net(f, net) => ip(*f, ctx).is_some_and(|a| is_in(a, net)),
        Test::Myself(f) => is_myself(*f, ctx),
        Test::Proto(f, p) => proto(*f, ctx) == Some(*p),
        Test::V6(f, v6) => ip(of_family(*f), ctx).is_some_and(|a| a.is_ipv6() == *v6),
        Test::Not(t) => !test(t, ctx),
    }
}

/// Whether an address is in a network.
fn is_in(a: IpAddr, net: &IpNet) -> bool {
    match (a, net.addr) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(net.prefix.min(32)))
                .unwrap_or(0);
            u32::from(a) & mask == u32::from(n) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(net.prefix.min(128)))
                .unwrap_or(0);
            u128::from(a) & mask == u128::from(n) & mask
        }
        _ => false,
    }
}

fn is_myself(f: Field, ctx: &Ctx) -> bool {
    let uri = match f {
        Field::Uri => Some(ctx.ruri()),
        Field::FromUri => ctx.msg.from().map(|a| a.uri_text(ctx.msg.buf())),
        Field::ToUri => ctx.msg.to().map(|a| a.uri_text(ctx.msg.buf())),
        Field::SrcIp | Field::DstIp | Field::SndIp | Field::ToIp => {
            let sockets = &olelo_core::server().sockets.0;
            return ip(f, ctx).is_some_and(|a| {
                sockets.iter().any(|l| l.addr.ip() == a)
                    || own::is_myself(a.to_string().as_bytes(), 0, None)
            });
        }
        Field::UriHost => {
            return Uri::parse(ctx.ruri()).is_ok_and(|u| own::is_myself(u.host, 0, None));
        }
        _ => return false,
    };
    uri.and_then(|u| Uri::parse(u).ok())
        .is_some_and(|u| own::is_myself(u.host, u.port.unwrap_or(0), None))
}

/// The field with the address whose family a field asks for.
fn of_family(f: Field) -> Field {
    match f {
        Field::SndAf => Field::SndIp,
        Field::ToAf => Field::ToIp,
        _ => Field::SrcIp,
    }
}

fn ip(f: Field, ctx: &Ctx) -> Option<IpAddr> {
    match f {
        Field::SrcIp => Some(ctx.rcv.src.ip()),
        Field::DstIp => Some(ctx.rcv.dst.ip()),
        Field::SndIp => socket(ctx).map(|a| a.ip()),
        Field::ToIp => to(ctx).map(|(a, _)| a.ip()),
        _ => None,
    }
}

fn proto(f: Field, ctx: &Ctx) -> Option<Proto> {
    match f {
        Field::Proto => Some(ctx.rcv.proto),
        Field::SndProto | Field::ToProto => to(ctx).map(|(_, p)| p),
        _ => None,
    }
}

/// The receiver, while `onsend_route` runs.
fn to(ctx: &Ctx) -> Option<(SocketAddr, Proto)> {
    ctx.outgoing.as_ref().map(|(_, a, p)| (*a, *p))
}

/// The socket that sends, while `onsend_route` runs.
fn socket(ctx: &Ctx) -> Option<SocketAddr> {
    let (to, proto) = to(ctx)?;
    let sockets = &olelo_core::server().sockets;
    let chosen = ctx
        .send_socket
        .and_then(|id| sockets.get(id))
        .or_else(|| sockets.first(proto, to.is_ipv6()))?;
    Some(chosen.addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        for (a, net, bits, want) in [
            ("10.1.2.3", "10.0.0.0", 8, true),
            ("11.1.2.3", "10.0.0.0", 8, false),
            ("10.1.2.3", "10.1.2.3", 32, true),
            ("1.2.3.4", "0.0.0.0", 0, true),
            ("2001:db8::1", "2001:db8::", 32, true),
            ("2001:db9::1", "2001:db8::", 32, false),
            ("::1", "0.0.0.0", 0, false),
        ] {
            let net = IpNet {
                addr: net.parse().unwrap(),
                prefix: bits,
            };
            assert_eq!(is_in(a.parse().unwrap(), &net), want, "{a} in {net:?}");
        }
    }
}
