//! Host names, addresses, and the items made of them: `listen`, `alias`, `socket`.
//!
//! The lexer gives an address in pieces (`1` `.` `2` …); here pieces without white space between them are
//! put together again, which also lets a define stand for any part of one.

use super::{Parser, Res, route};
use crate::ast::{Advertise, Alias, IpNet, Item, Listen, Proto};
use crate::diagnostic::Diagnostic;
use crate::lexer::Tok;
use crate::params;
use crate::source::Span;
use std::net::{IpAddr, Ipv4Addr};

impl Parser {
    /// A host name, an IPv4 or IPv6 address (brackets dropped) or a string, without a port.
    pub(super) fn host(&mut self) -> Res<String> {
        if let Tok::Str(text) = self.tok() {
            let text = text.clone();
            self.bump();
            return Ok(text
                .strip_prefix('[')
                .and_then(|t| t.strip_suffix(']'))
                .map(str::to_owned)
                .unwrap_or(text));
        }
        if self.peek().first && self.starts_item() {
            let span = self.last_span().after();
            return self.fail("syntax", "a host name or an address is missing", span);
        }
        if self.is("*") {
            self.bump();
            return Ok("*".into());
        }
        if self.is("[") {
            let open = self.bump().span;
            let text = self.pieces(true);
            self.expect_close("]", open)?;
            return self.address_v6(text, open);
        }
        let start = self.peek().span;
        let text = if self.bare_v6() {
            self.pieces(true)
        } else {
            self.pieces(false)
        };
        if text.is_empty() {
            return self.unexpected(&["a host name", "an address"]);
        }
        if text.contains(':') {
            return self.address_v6(text, start);
        }
        let numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if numeric && text.contains('.') && text.parse::<Ipv4Addr>().is_err() {
            return self.fail(
                "bad-address",
                format!("`{text}` is no IPv4 address"),
                start.to(self.last_span()),
            );
        }
        Ok(text)
    }

    fn address_v6(&mut self, text: String, start: Span) -> Res<String> {
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Ok(text);
        }
        self.fail(
            "bad-address",
            format!("`{text}` is no IPv6 address"),
            start.to(self.last_span()),
        )
    }

    /// The text of the glued pieces from here on; with `colons` for IPv6.
    fn pieces(&mut self, colons: bool) -> String {
        let mut text = String::new();
        loop {
            let token = self.peek();
            if !text.is_empty() && !token.glued {
                break;
            }
            match &token.tok {
                Tok::Ident(word) => text.push_str(word),
                Tok::Int(_, raw) => text.push_str(raw),
                Tok::P(p @ ("." | "-")) if !text.is_empty() => text.push_str(p),
                Tok::P(":") if colons => text.push(':'),
                _ => break,
            }
            self.pos += 1;
        }
        text
    }

    /// Whether an IPv6 address without brackets starts here: two colons in it, hexadecimal otherwise.
    fn bare_v6(&self) -> bool {
        let (mut colons, mut at) = (0, 0);
        loop {
            let token = self.ahead(at);
            if at > 0 && !token.glued {
                break;
            }
            match &token.tok {
                Tok::P(":") => colons += 1,
                Tok::Int(_, raw) if raw.len() <= 4 => {}
                Tok::Ident(word)
                    if word.len() <= 4 && word.bytes().all(|b| b.is_ascii_hexdigit()) => {}
                Tok::P(".") if colons > 0 => {}
                _ => break,
            }
            at += 1;
        }
        colons >= 2
    }

    /// `proto:` if it stands here.
    pub(super) fn proto_prefix(&mut self) -> Option<Proto> {
        let proto = Proto::parse(self.word()?)?;
        if !self.is_ahead(1, ":") {
            return None;
        }
        self.pos += 2;
        Some(proto)
    }

    /// `:port` if it stands here; `*` is any.
    fn port_suffix(&mut self) -> Res<Option<u16>> {
        if !self.is(":") {
            return Ok(None);
        }
        self.bump();
        if self.eat("*") {
            return Ok(None);
        }
        let span = self.peek().span;
        match self.tok().clone() {
            Tok::Int(value, raw) => {
                self.bump();
                match u16::try_from(value) {
                    Ok(port) => Ok(Some(port)),
                    Err(_) => self.fail("bad-port", format!("{raw} is no port: 0 to 65535"), span),
                }
            }
            Tok::Str(text) if text.parse::<u16>().is_ok() => {
                self.bump();
                Ok(text.parse().ok())
            }
            Tok::Ident(word) => {
                let fault = Diagnostic::error("bad-port", format!("`{word}` is no port"), span)
                    .with_help(self.quote_help(&word));
                Err(self.report(fault))
            }
            _ => self.unexpected(&["a port"]),
        }
    }

    /// `listen = [proto:]host[:port] [advertise …] [name "…"] …`, any number of them.
    pub(super) fn listens(&mut self, name_span: Span) -> Res<()> {
        let mut start = name_span;
        loop {
            let mut listen = Listen {
                proto: self.proto_prefix(),
                ..Listen::default()
            };
            listen.hosts = self.hosts()?;
            listen.port = self.port_suffix()?;
            self.listen_options(&mut listen)?;
            listen.span = start.to(self.last_span());
            self.push_listen(listen);
            self.eat(",");
            if !self.starts_address() {
                return Ok(());
            }
            start = self.peek().span;
        }
    }

    fn push_listen(&mut self, mut listen: Listen) {
        // "udp:1.2.3.4:5060" in one string.
        if let ([host], None, None) = (listen.hosts.as_slice(), listen.proto, listen.port) {
            let (proto, bare, port) = split_socket(host);
            (listen.proto, listen.port) = (proto, port);
            listen.hosts = vec![bare];
        }
        self.config
            .items
            .push(Item::Listen(self.config.listens.len()));
        self.config.listens.push(listen);
    }

    fn hosts(&mut self) -> Res<Vec<String>> {
        if !self.is("(") {
            return Ok(vec![self.host()?]);
        }
        let open = self.bump().span;
        let mut hosts = vec![self.host()?];
        while self.eat(",") {
            hosts.push(self.host()?);
        }
        self.expect_close(")", open)?;
        Ok(hosts)
    }

    fn listen_options(&mut self, listen: &mut Listen) -> Res<()> {
        loop {
            // `name = …` on the next line is no option of this address.
            if self.is_ahead(1, "=") {
                return Ok(());
            }
            match self.word() {
                Some("advertise" | "advertised_address") => {
                    self.bump();
                    listen.advertise = Some(self.advertise()?);
                }
                Some("name") => {
                    self.bump();
                    listen.name = Some(self.expect_string("the socket's name")?.0);
                }
                Some("agname") => {
                    self.bump();
                    listen.agname = Some(self.expect_string("the group's name")?.0);
                }
                Some("virtual") => {
                    self.bump();
                    listen.is_virtual = true;
                }
                _ => return Ok(()),
            }
        }
    }

    fn advertise(&mut self) -> Res<Advertise> {
        let host = self.host()?;
        let port = self.port_suffix()?;
        if port.is_some() {
            return Ok(Advertise { host, port });
        }
        let (_, host, port) = split_socket(&host);
        Ok(Advertise { host, port })
    }

    /// `alias = [proto:]host[:port]`, any number of them.
    pub(super) fn aliases(&mut self, name_span: Span) -> Res<()> {
        let mut start = name_span;
        loop {
            let mut proto = self.proto_prefix();
            let mut host = self.host()?;
            let mut port = self.port_suffix()?;
            if proto.is_none() && port.is_none() {
                (proto, host, port) = split_socket(&host);
            }
            let alias = Alias {
                proto,
                host,
                port,
                span: start.to(self.last_span()),
            };
            self.config
                .items
                .push(Item::Alias(self.config.aliases.len()));
            self.config.aliases.push(alias);
            self.eat(",");
            if !self.starts_address() {
                return Ok(());
            }
            start = self.peek().span;
        }
    }

    /// Whether the next token goes on with a list of addresses rather than starting the next item.
    fn starts_address(&self) -> bool {
        match self.tok() {
            Tok::Str(_) | Tok::Int(..) => true,
            Tok::P("[" | "(" | "*") => true,
            Tok::P(":") => self.is_ahead(1, ":"),
            Tok::Ident(word) => {
                let custom =
                    self.is_ahead(1, ".") && self.word_ahead(2).is_some() && self.is_ahead(3, "=");
                let item = params::find(word).is_some()
                    || route::is_route_word(word)
                    || self.starts_directive()
                    || matches!(
                        word.as_str(),
                        "flags" | "avpflags" | "loadmodule" | "modparam"
                    )
                    || (self.is_ahead(1, "=") || custom);
                // A call such as `modparm(` is a misspelt item, not a host.
                !item && !self.is_ahead(1, "(") && !self.is_ahead(1, "{")
            }
            _ => false,
        }
    }

    /// `socket = { bind = …; advertise = …; … }`
    pub(super) fn socket_block(&mut self, name_span: Span) -> Res<()> {
        let open = self.expect("{")?;
        let mut listen = Listen::default();
        while !self.is("}") {
            if self.eat(";") {
                continue;
            }
            let key_span = self.peek().span;
            let Some(key) = self.word().map(str::to_owned) else {
                return self.unexpected(&["`bind`", "`advertise`", "`name`", "`}`"]);
            };
            self.bump();
            self.expect("=")?;
            match key.as_str() {
                "bind" => {
                    listen.proto = self.proto_prefix();
                    listen.hosts = self.hosts()?;
                    listen.port = self.port_suffix()?;
                }
                "advertise" => {
                    self.proto_prefix();
                    listen.advertise = Some(self.advertise()?);
                }
                "name" => listen.name = Some(self.expect_string("the socket's name")?.0),
                "agname" => listen.agname = Some(self.expect_string("the group's name")?.0),
                "vrf" => listen.vrf = Some(self.expect_string("the device's name")?.0),
                "workers" => listen.workers = Some(self.expect_int()?),
                "virtual" => {
                    let value = self.value("yes or no")?;
                    listen.is_virtual = value == crate::ast::ModParamValue::Int(1);
                }
                _ => {
                    let known = [
                        "bind",
                        "advertise",
                        "name",
                        "agname",
                        "vrf",
                        "workers",
                        "virtual",
                    ];
                    let mut fault = Diagnostic::error(
                        "unknown-attribute",
                        format!("a socket has no `{key}`"),
                        key_span,
                    );
                    fault = match crate::diagnostic::nearest(&key, known) {
                        Some(name) => fault.with_help(format!("did you mean `{name}`?")),
                        None => fault.with_expected(known),
                    };
                    return Err(self.report(fault));
                }
            }
        }
        let end = self.expect_close("}", open)?;
        listen.span = name_span.to(end);
        if listen.hosts.is_empty() {
            let fault = Diagnostic::error("no-bind", "this socket has no `bind`", listen.span)
                .with_help("add `bind = udp:127.0.0.1:5060;`");
            self.report(fault);
            return Ok(());
        }
        self.push_listen(listen);
        Ok(())
    }

    /// An address or network, `1.2.3.0/24` or `1.2.3.0/255.255.255.0`; `None` for a host name (in `Err`).
    pub(super) fn net_or_host(&mut self) -> Res<Result<IpNet, String>> {
        let start = self.peek().span;
        let host = self.host()?;
        let Ok(addr) = host.parse::<IpAddr>() else {
            return Ok(Err(host));
        };
        let most = if addr.is_ipv4() { 32 } else { 128 };
        if !self.eat("/") {
            return Ok(Ok(IpNet { addr, prefix: most }));
        }
        let text = if self.is("[") {
            self.host()?
        } else {
            self.pieces(false)
        };
        match prefix_len(&text, addr) {
            Some(prefix) => Ok(Ok(IpNet { addr, prefix })),
            None => self.fail(
                "bad-network",
                format!("`{text}` is no network mask"),
                start.to(self.last_span()),
            ),
        }
    }
}

/// The bits of a mask, given as a number or as an address of ones followed by zeros.
pub(super) fn prefix_len(text: &str, addr: IpAddr) -> Option<u8> {
    let most = if addr.is_ipv4() { 32 } else { 128 };
    if let Ok(bits) = text.parse::<u8>() {
        return (bits <= most).then_some(bits);
    }
    let (ones, zeros) = match (text.parse::<IpAddr>().ok()?, addr) {
        (IpAddr::V4(m), IpAddr::V4(_)) => {
            (u32::from(m).leading_ones(), u32::from(m).trailing_zeros())
        }
        (IpAddr::V6(m), IpAddr::V6(_)) => {
            (u128::from(m).leading_ones(), u128::from(m).trailing_zeros())
        }
        _ => return None,
    };
    let whole = ones + zeros >= u32::from(most);
    whole.then_some(u8::try_from(ones).ok()?)
}

/// `[proto:]host[:port]` in one string; what does not read as that stays whole as the host.
fn split_socket(text: &str) -> (Option<Proto>, String, Option<u16>) {
    let whole = || (None, text.to_owned(), None);
    if text.parse::<IpAddr>().is_ok() {
        return whole();
    }
    let (proto, rest) = match text.split_once(':') {
        Some((word, rest)) if Proto::parse(word).is_some() => (Proto::parse(word), rest),
        _ => (None, text),
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && (host.ends_with(']') || !host.contains(':')) => {
            match port.parse::<u16>() {
                Ok(port) => (host, Some(port)),
                Err(_) if port == "*" => (host, None),
                Err(_) => return whole(),
            }
        }
        _ => (rest, None),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    (proto, host.to_owned(), port)
}
