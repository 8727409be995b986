//! Function calls: modules' functions take expressions; some of the core's own take bare words too.
//!
//! `forward(uri:host, uri:port)`, `force_send_socket(udp:1.2.3.4:5060)`, `setflag(NAME)`, `route(NAME)`
//! and a few names that need no parentheses (`force_rport;`) are older than the expression syntax.

use super::{Parser, Res};
use crate::ast::{Call, Expr, ExprKind, Field, Proto};
use crate::lexer::Tok;

/// How an argument of a core function reads.
#[derive(Clone, Copy, PartialEq)]
enum Arg {
    /// A host, an address, or `uri:host`.
    Host,
    /// A port or `uri:port`.
    Port,
    /// `proto:host:port`.
    Socket,
    /// A flag's name or number.
    Flag,
    /// A protocol.
    Proto,
    /// A route block's name.
    Route,
    /// Any expression.
    Any,
}

/// Core functions whose arguments are not plain expressions.
const SPECIAL: [(&str, &[Arg]); 22] = [
    ("route", &[Arg::Route]),
    ("forward", &[Arg::Host, Arg::Port]),
    ("forward_udp", &[Arg::Host, Arg::Port]),
    ("forward_tcp", &[Arg::Host, Arg::Port]),
    ("forward_tls", &[Arg::Host, Arg::Port]),
    ("forward_sctp", &[Arg::Host, Arg::Port]),
    ("send", &[Arg::Host, Arg::Port]),
    ("send_udp", &[Arg::Host, Arg::Port]),
    ("send_tcp", &[Arg::Host, Arg::Port]),
    ("set_advertised_address", &[Arg::Host]),
    ("set_advertised_port", &[Arg::Port]),
    ("force_send_socket", &[Arg::Socket]),
    ("setflag", &[Arg::Flag]),
    ("resetflag", &[Arg::Flag]),
    ("isflagset", &[Arg::Flag]),
    ("setavpflag", &[Arg::Any, Arg::Flag]),
    ("resetavpflag", &[Arg::Any, Arg::Flag]),
    ("isavpflagset", &[Arg::Any, Arg::Flag]),
    ("udp_mtu_try_proto", &[Arg::Proto]),
    ("add_tcp_alias", &[Arg::Port]),
    ("force_tcp_alias", &[Arg::Port]),
    ("remove_branch", &[Arg::Any]),
];

/// Functions that may stand without parentheses.
const BARE: [&str; 10] = [
    "revert_uri",
    "force_rport",
    "add_rport",
    "add_local_rport",
    "force_tcp_alias",
    "add_tcp_alias",
    "set_forward_no_connect",
    "set_reply_no_connect",
    "set_forward_close",
    "set_reply_close",
];

/// Whether a function needs no parentheses.
pub(super) fn may_be_bare(name: &str) -> bool {
    BARE.contains(&name)
}

impl Parser {
    /// `name(…)`, or a bare name that needs no parentheses.
    pub(super) fn call(&mut self) -> Res<Call> {
        let name_span = self.peek().span;
        let name = self.word().unwrap_or_default().to_owned();
        self.bump();
        if !self.is("(") {
            return Ok(Call {
                name,
                args: Vec::new(),
                span: name_span,
                name_span,
            });
        }
        let open = self.bump().span;
        let kinds = SPECIAL
            .iter()
            .find(|(n, _)| *n == name)
            .map_or(&[][..], |(_, kinds)| kinds);
        let mut args = Vec::new();
        if !self.is(")") {
            loop {
                let kind = kinds.get(args.len()).copied().unwrap_or(Arg::Any);
                args.push(self.argument(kind)?);
                if !self.eat(",") {
                    break;
                }
            }
        }
        let close = self.expect_close(")", open)?;
        Ok(Call {
            name,
            args,
            span: name_span.to(close),
            name_span,
        })
    }

    fn argument(&mut self, kind: Arg) -> Res<Expr> {
        let start = self.peek().span;
        if kind == Arg::Any || matches!(self.tok(), Tok::Pv(_) | Tok::Select(_) | Tok::P("(")) {
            return self.expr();
        }
        let text = |this: &Parser, text: String| Expr {
            kind: ExprKind::Str(text),
            span: start.to(this.last_span()),
        };
        match kind {
            Arg::Route => {
                if matches!(self.tok(), Tok::Str(_))
                    || self.word().is_some() && self.is_ahead(1, "(")
                {
                    return self.expr();
                }
                let name = self.route_name(")");
                if name.is_empty() {
                    return self.unexpected(&["the name of a route block"]);
                }
                Ok(text(self, name))
            }
            Arg::Host | Arg::Port => {
                if let Some((field @ (Field::UriHost | Field::UriPort), width)) = self.field() {
                    self.pos += width;
                    return Ok(Expr {
                        kind: ExprKind::Field(field),
                        span: start.to(self.last_span()),
                    });
                }
                if kind == Arg::Port || matches!(self.tok(), Tok::Str(_)) {
                    return self.expr();
                }
                let host = self.host()?;
                Ok(text(self, host))
            }
            Arg::Socket => {
                if matches!(self.tok(), Tok::Str(_)) {
                    return self.expr();
                }
                let proto = self
                    .proto_prefix()
                    .map(|p| format!("{}:", p.as_str()))
                    .unwrap_or_default();
                let host = self.host()?;
                let host = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host
                };
                let port = if self.eat(":") {
                    format!(":{}", self.expect_int()?)
                } else {
                    String::new()
                };
                Ok(text(self, format!("{proto}{host}{port}")))
            }
            Arg::Flag => match self.tok().clone() {
                Tok::Ident(name) if !self.is_ahead(1, "(") => {
                    self.bump();
                    Ok(text(self, name))
                }
                _ => self.expr(),
            },
            Arg::Proto => match self.word().and_then(Proto::parse) {
                Some(proto) => {
                    self.bump();
                    Ok(Expr {
                        kind: ExprKind::Proto(proto),
                        span: start,
                    })
                }
                None => self.unexpected(&["a protocol"]),
            },
            Arg::Any => self.expr(),
        }
    }

    /// The text up to a closing bracket, where it is a name: words, numbers, `-`, `:`, `.` and `/` without
    /// white space. Empty where it is none.
    pub(super) fn route_name(&mut self, close: &str) -> String {
        let mut name = String::new();
        let from = self.pos;
        while !self.is(close) {
            let token = self.peek();
            if !name.is_empty() && !token.glued {
                break;
            }
            match &token.tok {
                Tok::Ident(word) | Tok::Str(word) => name.push_str(word),
                Tok::Int(_, raw) => name.push_str(raw),
                Tok::P(p @ ("-" | ":" | "." | "/")) if !name.is_empty() => name.push_str(p),
                _ => break,
            }
            self.pos += 1;
        }
        if !self.is(close) {
            self.pos = from;
            name.clear();
        }
        name
    }
}
