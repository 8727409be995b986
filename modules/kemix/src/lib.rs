//! The `kemix` module: `KSR.kx.*`, quick readers of what scripts read most.
//!
//! The same values as the pseudo-variables, without a text to be compiled. `get_` gives nil where
//! there is nothing, `gete_` the empty string, `getw_` `<null>`.

#![forbid(unsafe_code)]

use olelo_core::net::socket::{Listen, sip_uri, socket_text};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, function};
use olelo_core::route::module::Module;
use olelo_core::route::value::Val;
use olelo_sip::{HeaderName, NameAddr, Uri};

/// The module.
pub fn module() -> Module {
    let m = Module::new("kemix")
        .prefix("kx")
        .doc("Quick readers of the message for KEMI scripts.");
    let groups = [uris(), addresses(), message(), config()];
    groups.into_iter().flatten().fold(m, Module::function)
}

/// A reader: its value in the message, or none.
type Reader = for<'c> fn(&'c Ctx) -> Option<&'c [u8]>;

fn get(name: &'static str, f: Reader, doc: &'static str) -> Function {
    function(name, move |c: &mut Ctx| f(c).map(<[u8]>::to_vec)).doc(doc)
}

fn gete(name: &'static str, f: Reader, doc: &'static str) -> Function {
    function(name, move |c: &mut Ctx| f(c).unwrap_or_default().to_vec()).doc(doc)
}

fn getw(name: &'static str, f: Reader, doc: &'static str) -> Function {
    function(name, move |c: &mut Ctx| f(c).unwrap_or(b"<null>").to_vec()).doc(doc)
}

/// The three readers of one value.
fn three(names: [&'static str; 3], f: Reader, doc: &'static str) -> [Function; 3] {
    [
        get(names[0], f, doc),
        gete(names[1], f, doc),
        getw(names[2], f, doc),
    ]
}

macro_rules! names {
    ($n:literal) => {
        [
            concat!("get_", $n),
            concat!("gete_", $n),
            concat!("getw_", $n),
        ]
    };
}

fn uris() -> Vec<Function> {
    let mut v = vec![
        get(
            "get_ruri",
            |c| request(c, c.ruri()),
            "The request URI as routing has it now.",
        ),
        get(
            "get_ouri",
            |c| request(c, c.msg.ruri()),
            "The request URI as received.",
        ),
        get("get_furi", |c| uri_of(c, c.msg.from()), "URI of From."),
        get("get_turi", |c| uri_of(c, c.msg.to()), "URI of To."),
        get(
            "get_nhuri",
            |c| request(c, c.next_hop()),
            "The next hop's URI.",
        ),
    ];
    v.extend(three(
        names!("ruser"),
        |c| user(c.ruri()),
        "User of the request URI.",
    ));
    v.extend(three(
        names!("rhost"),
        |c| host(c.ruri()),
        "Host of the request URI.",
    ));
    v.extend(three(
        names!("fuser"),
        |c| user(uri_of(c, c.msg.from())?),
        "User of From.",
    ));
    v.extend(three(
        names!("fhost"),
        |c| host(uri_of(c, c.msg.from())?),
        "Host of From.",
    ));
    v.extend(three(
        names!("tuser"),
        |c| user(uri_of(c, c.msg.to())?),
        "User of To.",
    ));
    v.extend(three(
        names!("thost"),
        |c| host(uri_of(c, c.msg.to())?),
        "Host of To.",
    ));
    v.extend(three(
        names!("duri"),
        |c| c.dst_uri.as_deref().filter(|d| !d.is_empty()),
        "The destination URI.",
    ));
    v.extend(three(
        names!("cturi"),
        contact_uri,
        "URI of the first Contact.",
    ));
    v
}

fn addresses() -> Vec<Function> {
    let rcv = |c: &Ctx| olelo_core::server().sockets.get(c.rcv.socket);
    let snd = |c: &Ctx| {
        c.send_socket
            .and_then(|s| olelo_core::server().sockets.get(s))
    };
    vec![
        function("get_srcuri", |c: &mut Ctx| {
            sip_uri(c.rcv.src, c.rcv.proto, false)
        })
        .doc("The source as a URI."),
        function("get_srcaddr_sock", |c: &mut Ctx| {
            socket_text(c.rcv.src, c.rcv.proto)
        })
        .doc("The source as a socket: proto:address:port."),
        function("get_srcip", |c: &mut Ctx| c.rcv.src.ip().to_string()).doc("The source address."),
        function("get_srcport", |c: &mut Ctx| {
            Val::Int(i64::from(c.rcv.src.port()))
        })
        .doc("The source port."),
        function("get_rcvip", |c: &mut Ctx| c.rcv.dst.ip().to_string())
            .doc("Our address that it came to."),
        function("get_rcvport", |c: &mut Ctx| {
            Val::Int(i64::from(c.rcv.dst.port()))
        })
        .doc("Our port that it came to."),
        function("get_rcvaddr_sock", |c: &mut Ctx| {
            socket_text(c.rcv.dst, c.rcv.proto)
        })
        .doc("Our socket that it came to: proto:address:port."),
        function("get_rcv_sock_name", move |c: &mut Ctx| name(rcv(c)))
            .doc("Name of the socket that it came to."),
        function("get_rcvadvip", move |c: &mut Ctx| {
            rcv(c).map(|l| l.public().0.as_bytes().to_vec())
        })
        .doc("Our advertised address."),
        function("get_rcvadvport", move |c: &mut Ctx| {
            rcv(c).map_or(Val::Null, |l| Val::Int(i64::from(l.public().1)))
        })
        .doc("Our advertised port."),
        function("get_send_sock", move |c: &mut Ctx| {
            snd(c).map(|l| l.text().into_bytes())
        })
        .doc("The socket that the request leaves by, where one is forced."),
        function("get_send_sock_name", move |c: &mut Ctx| name(snd(c)))
            .doc("Name of the socket that the request leaves by."),
        function("get_send_sock_port", move |c: &mut Ctx| {
            snd(c).map_or(0, |l| i64::from(l.addr.port()))
        })
        .doc("Port of the socket that the request leaves by."),
        function("get_proto", |c: &mut Ctx| c.rcv.proto.name().to_string())
            .doc("The transport it came over."),
        function("get_protoid", |c: &mut Ctx| c.rcv.proto as i64).doc("The transport as a number."),
        function("get_conid", |c: &mut Ctx| {
            c.rcv.conn.map_or(0, |n| n.to_bits() as i64)
        })
        .doc("The connection it came over, 0 for none."),
    ]
}

fn message() -> Vec<Function> {
    let mut v = vec![
        get(
            "get_method",
            |c| Some(c.msg.method_text()),
            "The method; a reply's is that of its CSeq.",
        ),
        function("get_status", |c: &mut Ctx| match c.msg.status() {
            0 => -1,
            s => i64::from(s),
        })
        .doc("The reply's status code; -1 for a request."),
        function("gets_status", |c: &mut Ctx| match c.msg.status() {
            0 => Val::Null,
            s => Val::from(s.to_string()),
        })
        .doc("The reply's status code as text."),
        function("get_bodylen", |c: &mut Ctx| c.msg.body().len() as i64).doc("Length of the body."),
        function("get_timestamp", |_: &mut Ctx| olelo_core::timer::wall_s())
            .doc("Now, in seconds."),
        get("get_callid", |c| c.msg.call_id(), "Call-ID."),
        get(
            "get_msgbuf",
            |c| Some(c.msg.buf()),
            "The message as received.",
        ),
        function("get_msglen", |c: &mut Ctx| c.msg.buf().len() as i64)
            .doc("Length of the message."),
        function(
            "get_msgtype",
            |c: &mut Ctx| if c.msg.is_request() { 1i64 } else { 2 },
        )
        .doc("1 for a request, 2 for a reply."),
    ];
    v.extend(three(
        names!("ua"),
        |c| c.msg.header_body(HeaderName::UserAgent),
        "User-Agent.",
    ));
    v.extend(three(names!("au"), auth_user, "User in the credentials."));
    v.extend(three(
        names!("body"),
        |c| Some(c.msg.body()).filter(|b| !b.is_empty()),
        "The body.",
    ));
    v
}

fn config() -> Vec<Function> {
    let number = |t: &str| t.trim().parse::<i64>().unwrap_or(0);
    vec![
        function("get_def", |_: &mut Ctx, n: &str| {
            define(n).map(|t| t.as_bytes().to_vec())
        })
        .args(["name"])
        .doc("A define of the configuration."),
        function("get_defn", move |_: &mut Ctx, n: &str| {
            define(n).map_or(0, number)
        })
        .args(["name"])
        .doc("A define of the configuration as an integer, 0 where it is none."),
        function("ifdef", |_: &mut Ctx, n: &str| define(n).is_some())
            .args(["name"])
            .doc("Whether the configuration defines a name."),
        function("ifndef", |_: &mut Ctx, n: &str| define(n).is_none())
            .args(["name"])
            .doc("Whether the configuration does not define a name."),
        function("get_env", |_: &mut Ctx, n: &str| {
            env(n).map(String::into_bytes)
        })
        .args(["name"])
        .doc("A variable of the environment."),
        function("get_envn", move |_: &mut Ctx, n: &str| {
            env(n).map_or(0, |t| number(&t))
        })
        .args(["name"])
        .doc("A variable of the environment as an integer, 0 where it is none."),
    ]
}

fn request<'c>(ctx: &Ctx, v: &'c [u8]) -> Option<&'c [u8]> {
    (ctx.msg.is_request() && !v.is_empty()).then_some(v)
}

fn uri_of<'c>(ctx: &'c Ctx, a: Option<&NameAddr>) -> Option<&'c [u8]> {
    a.map(|a| ctx.msg.slice(a.uri))
}

fn user(uri: &[u8]) -> Option<&[u8]> {
    Uri::parse(uri).ok()?.user_name().filter(|u| !u.is_empty())
}

fn host(uri: &[u8]) -> Option<&[u8]> {
    Some(Uri::parse(uri).ok()?.host).filter(|h| !h.is_empty())
}

fn contact_uri(ctx: &Ctx) -> Option<&[u8]> {
    let contacts = ctx.msg.contacts().ok()?;
    let first = contacts.list().first()?;
    Some(first.addr.uri_text(ctx.msg.buf()))
}

fn auth_user(ctx: &Ctx) -> Option<&[u8]> {
    let lists = [ctx.msg.proxy_authorizations(), ctx.msg.authorizations()];
    let found = lists
        .into_iter()
        .flatten()
        .flatten()
        .find(|c| c.is_digest)?;
    Some(found.username_parts(ctx.msg.buf()).0).filter(|u| !u.is_empty())
}

fn name(l: Option<&Listen>) -> Option<Vec<u8>> {
    l.and_then(|l| l.name.as_ref())
        .map(|n| n.as_bytes().to_vec())
}

/// A define's value; the core keeps each as the parameter `define:NAME`.
fn define(name: &str) -> Option<&'static str> {
    olelo_core::server().config.text(&format!("define:{name}"))
}

fn env(name: &str) -> Option<String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(ctx: &mut Ctx, name: &str, args: &[Val<'_>]) -> Val<'static> {
        let server = olelo_core::server::for_tests(vec![module()]);
        let (_, f, _) = server
            .registry
            .functions()
            .find(|(_, f, _)| f.name == name)
            .unwrap_or_else(|| panic!("{name}"));
        f.call(ctx, args).unwrap()
    }

    #[test]
    fn readers_of_a_request() {
        let mut ctx = Ctx::new();
        ctx.msg.buf_mut().extend_from_slice(
            b"INVITE sip:bob@h:5062 SIP/2.0\r\nFrom: <sip:al@d>;tag=1\r\nTo: <sip:h2>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n\
            Contact: <sip:al@1.2.3.4>\r\nUser-Agent: x y\r\nContent-Length: 2\r\n\r\nhi",
        );
        ctx.msg.parse().unwrap();
        for (name, want) in [
            ("get_ruri", Val::text("sip:bob@h:5062")),
            ("get_ruser", Val::text("bob")),
            ("gete_rhost", Val::text("h")),
            ("get_furi", Val::text("sip:al@d")),
            ("get_tuser", Val::Null),
            ("gete_tuser", Val::text("")),
            ("getw_tuser", Val::text("<null>")),
            ("get_cturi", Val::text("sip:al@1.2.3.4")),
            ("gete_ua", Val::text("x y")),
            ("get_method", Val::text("INVITE")),
            ("get_status", Val::Int(-1)),
            ("get_body", Val::text("hi")),
            ("get_bodylen", Val::Int(2)),
            ("get_callid", Val::text("c1")),
            ("get_duri", Val::Null),
            ("get_msgtype", Val::Int(1)),
            ("get_proto", Val::text("udp")),
            ("get_au", Val::Null),
        ] {
            assert_eq!(call(&mut ctx, name, &[]), want, "{name}");
        }
        assert_eq!(
            call(&mut ctx, "ifndef", &[Val::text("NO")]),
            Val::Bool(true)
        );
    }
}
