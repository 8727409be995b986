//! Listening sockets: opened in main from `listen=…`, inherited by every worker.

use super::{Proto, SocketId};
use olelo_cfg::ast;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

/// One address listened on.
#[derive(Clone)]
pub struct Listen {
    /// Number.
    pub id: SocketId,
    /// Transport.
    pub proto: Proto,
    /// Address bound.
    pub addr: SocketAddr,
    /// Host as Via shows it: the address, IPv6 in brackets.
    pub host: String,
    /// Hosts as the configuration names them; they are own names.
    pub given: Vec<String>,
    /// Address for Via and Record-Route, where it differs.
    pub advertise: Option<(String, u16)>,
    /// Name given with `name "…"`.
    pub name: Option<String>,
    /// Workers of this socket, where `socket` says.
    pub workers: Option<usize>,
    /// The socket.
    pub fd: Arc<Socket>,
}

impl Listen {
    /// Host and port for Via, Record-Route and Contact.
    pub fn public(&self) -> (&str, u16) {
        match &self.advertise {
            Some((h, p)) => (h, *p),
            None => (&self.host, self.addr.port()),
        }
    }

    /// `udp:127.0.0.1:5060`.
    pub fn text(&self) -> String {
        format!("{}:{}:{}", self.proto.name(), self.host, self.addr.port())
    }
}

/// All listening sockets.
#[derive(Default, Clone)]
pub struct Sockets(pub Vec<Listen>);

impl Sockets {
    /// The socket of this number.
    pub fn get(&self, id: SocketId) -> Option<&Listen> {
        self.0.get(usize::from(id.0))
    }

    /// The first socket of a transport and address family: what requests are sent from unless the
    /// script or the destination says otherwise.
    pub fn first(&self, proto: Proto, v6: bool) -> Option<&Listen> {
        self.0
            .iter()
            .find(|l| l.proto == proto && l.addr.is_ipv6() == v6)
    }

    /// The socket with this name, or written `[proto:]host[:port]`.
    pub fn find(&self, text: &str) -> Option<&Listen> {
        if let Some(l) = self.0.iter().find(|l| l.name.as_deref() == Some(text)) {
            return Some(l);
        }
        let (proto, rest) = match text.split_once(':') {
            Some((p, r)) if Proto::from_name(p.as_bytes()).is_some() => {
                (Proto::from_name(p.as_bytes()), r)
            }
            _ => (None, text),
        };
        let (host, port) = split_host_port(rest)?;
        self.0.iter().find(|l| {
            proto.is_none_or(|p| p == l.proto)
                && port.is_none_or(|p| p == l.addr.port())
                && (l.host.trim_matches(['[', ']']).eq_ignore_ascii_case(host)
                    || l.advertise
                        .as_ref()
                        .is_some_and(|(h, _)| h.eq_ignore_ascii_case(host)))
        })
    }

    /// Opens every address of the configuration. The error names the address and the likely fix.
    pub fn open(
        listens: &[ast::Listen],
        default_port: u16,
        tcp: bool,
        tos: Option<u32>,
    ) -> Result<Sockets, String> {
        Sockets::each(listens, default_port, tcp, |proto, addr| {
            bind(proto, addr, tos)
        })
    }

    /// Every address of the configuration with a socket that nobody can reach: for a rehearsal. Port
    /// 0 becomes the default one.
    pub fn unbound(
        listens: &[ast::Listen],
        default_port: u16,
        tcp: bool,
    ) -> Result<Sockets, String> {
        Sockets::each(listens, default_port, tcp, |proto, addr| {
            let addr = match addr.port() {
                0 => SocketAddr::new(addr.ip(), default_port),
                _ => addr,
            };
            let (domain, ty, p) = kind(proto, addr);
            let s = Socket::new(domain, ty, Some(p));
            Ok((s.map_err(|e| format!("can't make a socket: {e}"))?, addr))
        })
    }

    fn each(
        listens: &[ast::Listen],
        default_port: u16,
        tcp: bool,
        open: impl Fn(Proto, SocketAddr) -> Result<(Socket, SocketAddr), String>,
    ) -> Result<Sockets, String> {
        let mut all = Sockets::default();
        for l in listens {
            let protos = match l.proto {
                Some(ast::Proto::Udp) => vec![Proto::Udp],
                Some(ast::Proto::Tcp) if !tcp => continue,
                Some(ast::Proto::Tcp) => vec![Proto::Tcp],
                Some(p) => {
                    return Err(format!(
                        "listen={}:…: this build has no {0} transport yet; use udp or tcp",
                        p.as_str()
                    ));
                }
                None if tcp => vec![Proto::Udp, Proto::Tcp],
                None => vec![Proto::Udp],
            };
            for proto in protos {
                let port = l.port.unwrap_or(default_port);
                for addr in addresses(&l.hosts, port)? {
                    if all.0.iter().any(|o| o.proto == proto && o.addr == addr) {
                        continue;
                    }
                    let (fd, addr) = open(proto, addr)?;
                    all.0.push(Listen {
                        id: SocketId(all.0.len() as u16),
                        proto,
                        addr,
                        host: host_text(addr.ip()),
                        given: l.hosts.clone(),
                        advertise: l
                            .advertise
                            .as_ref()
                            .map(|a| (bracketed(&a.host), a.port.unwrap_or(addr.port()))),
                        name: l.name.clone(),
                        workers: l
                            .workers
                            .and_then(|w| usize::try_from(w).ok())
                            .filter(|w| *w > 0),
                        fd: Arc::new(fd),
                    });
                }
            }
        }
        Ok(all)
    }
}

/// An address as SIP writes it: IPv6 in brackets.
pub fn host_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(a) => a.to_string(),
        IpAddr::V6(a) => format!("[{a}]"),
    }
}

/// `sip:address:port`, with the transport where it isn't UDP or where asked for.
pub fn sip_uri(a: SocketAddr, p: Proto, transport: bool) -> String {
    let base = format!("sip:{}:{}", host_text(a.ip()), a.port());
    if transport || p != Proto::Udp {
        format!("{base};transport={}", p.name())
    } else {
        base
    }
}

/// `udp:address:port`.
pub fn socket_text(a: SocketAddr, p: Proto) -> String {
    format!("{}:{}:{}", p.name(), host_text(a.ip()), a.port())
}

/// Splits `host[:port]`, `[v6]:port` or `v6`.
pub fn split_host_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(p) => Some((host, Some(p.parse().ok()?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.rsplit_once(':') {
        Some((h, _)) if h.contains(':') => Some((text, None)),
        Some((h, p)) => Some((h, Some(p.parse().ok()?))),
        None => Some((text, None)),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_string()
    }
}

/// Addresses of all interfaces that are up: where a server listens that is told no address.
pub fn everywhere(v6: bool) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for (_, ip) in interfaces().filter(|(_, ip)| ip.is_ipv4() || v6) {
        let text = ip.to_string();
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// Names and addresses of interfaces that are up, link-local ones left out: they mean nothing
/// without their interface.
fn interfaces() -> impl Iterator<Item = (String, IpAddr)> {
    let up = nix::net::if_::InterfaceFlags::IFF_UP;
    nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter(move |i| i.flags.contains(up))
        .filter_map(|i| {
            let a = i.address?;
            let v4 = a.as_sockaddr_in().map(|s| IpAddr::V4(s.ip()));
            let ip = v4.or_else(|| a.as_sockaddr_in6().map(|s| IpAddr::V6(s.ip())))?;
            let local = matches!(ip, IpAddr::V6(v) if (v.segments()[0] & 0xffc0) == 0xfe80);
            (!local).then_some((i.interface_name, ip))
        })
}

fn addresses(hosts: &[String], port: u16) -> Result<Vec<SocketAddr>, String> {
    let mut out = Vec::new();
    for h in hosts {
        let bare = h.trim_matches(['[', ']']);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            out.push(SocketAddr::new(ip, port));
            continue;
        }
        let of_interface: Vec<SocketAddr> = interfaces()
            .filter(|(name, _)| name == h)
            .map(|(_, ip)| SocketAddr::new(ip, port))
            .collect();
        if !of_interface.is_empty() {
            out.extend(of_interface);
            continue;
        }
        match (bare, port).to_socket_addrs() {
            Ok(found) => out.extend(found.take(1)),
            Err(e) => {
                return Err(format!(
                    "listen={h}: neither an address nor an interface, and the name doesn't resolve: {e}"
                ));
            }
        }
    }
    Ok(out)
}

fn kind(proto: Proto, addr: SocketAddr) -> (Domain, Type, Protocol) {
    let domain = if addr.is_ipv6() {
        Domain::IPV6
    } else {
        Domain::IPV4
    };
    match proto {
        Proto::Udp => (domain, Type::DGRAM, Protocol::UDP),
        _ => (domain, Type::STREAM, Protocol::TCP),
    }
}

/// Opens a socket; the address is the one it got.
fn bind(proto: Proto, addr: SocketAddr, tos: Option<u32>) -> Result<(Socket, SocketAddr), String> {
    let what = format!("{}:{addr}", proto.name());
    let fail = |step: &str, e: std::io::Error| {
        let hint = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                "; another program listens there (see `ss -lnup`), or an older instance still runs"
            }
            std::io::ErrorKind::AddrNotAvailable => "; the address isn't on this host",
            std::io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need root or CAP_NET_BIND_SERVICE"
            }
            _ => "",
        };
        format!("can't {step} {what}: {e}{hint}")
    };
    let (domain, ty, p) = kind(proto, addr);
    let s = Socket::new(domain, ty, Some(p)).map_err(|e| fail("make a socket for", e))?;
    if addr.is_ipv6() {
        s.set_only_v6(true)
            .map_err(|e| fail("restrict to IPv6", e))?;
    }
    if proto != Proto::Udp {
        s.set_reuse_address(true).map_err(|e| fail("reuse", e))?;
    }
    s.bind(&addr.into()).map_err(|e| fail("listen on", e))?;
    if let (Some(t), false) = (tos, addr.is_ipv6()) {
        let _ = s.set_tos_v4(t);
    }
    if proto == Proto::Udp {
        // Bursts wait in the kernel while all workers are busy. It caps the size by itself.
        let _ = s.set_recv_buffer_size(4 << 20);
        let _ = s.set_send_buffer_size(4 << 20);
    } else {
        s.set_nonblocking(true).map_err(|e| fail("unblock", e))?;
        s.listen(1024).map_err(|e| fail("listen on", e))?;
    }
    // Port 0 asks the kernel for a free one: the real one is what we tell others.
    let real = s.local_addr().ok().and_then(|a| a.as_socket());
    Ok((s, real.unwrap_or(addr)))
}
