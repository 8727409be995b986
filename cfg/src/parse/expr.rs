//! Expressions, by precedence climbing.
//!
//! The order, weakest first, is Kamailio's own and not C's: `||`, `&&`, `|`, `&`, `^`, `<<`, `>>`,
//! `== != =~ eq ne ieq ine`, `< <= > >=`, `+ -`, `* / mod`, then the prefix operators.

use super::{Parser, Res, toplevel::boolean};
use crate::ast::{BinaryOp, CastTo, Expr, ExprKind, Field, Proto, Pv, Select, SelectPart, UnaryOp};
use crate::diagnostic::Diagnostic;
use crate::lexer::Tok;
use crate::pv::PvSpec;
use crate::source::Span;

/// Every operator with its level (higher binds tighter) and its meaning.
const OPERATORS: [(&str, u8, BinaryOp); 27] = [
    ("||", 1, BinaryOp::Or),
    ("or", 1, BinaryOp::Or),
    ("&&", 2, BinaryOp::And),
    ("and", 2, BinaryOp::And),
    ("|", 3, BinaryOp::BitOr),
    ("&", 4, BinaryOp::BitAnd),
    ("^", 5, BinaryOp::BitXor),
    ("<<", 6, BinaryOp::Shl),
    (">>", 7, BinaryOp::Shr),
    ("==", 8, BinaryOp::Eq),
    ("!=", 8, BinaryOp::Ne),
    ("=~", 8, BinaryOp::Match),
    ("!~", 8, BinaryOp::NotMatch),
    ("eq", 8, BinaryOp::StrEq),
    ("ne", 8, BinaryOp::StrNe),
    ("ieq", 8, BinaryOp::IntEq),
    ("ine", 8, BinaryOp::IntNe),
    ("<", 9, BinaryOp::Lt),
    ("<=", 9, BinaryOp::Le),
    (">", 9, BinaryOp::Gt),
    (">=", 9, BinaryOp::Ge),
    ("+", 10, BinaryOp::Add),
    ("-", 10, BinaryOp::Sub),
    ("*", 11, BinaryOp::Mul),
    ("/", 11, BinaryOp::Div),
    ("%", 11, BinaryOp::Mod),
    ("mod", 11, BinaryOp::Mod),
];

/// The level of a binary operator, for printing.
pub(crate) fn level(op: BinaryOp) -> u8 {
    OPERATORS
        .iter()
        .find(|(_, _, o)| *o == op)
        .map_or(0, |(_, level, _)| *level)
}

/// The first spelling of a binary operator.
pub(crate) fn spelling(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Mod => "mod",
        _ => OPERATORS
            .iter()
            .find(|(_, _, o)| *o == op)
            .map_or("", |(word, _, _)| word),
    }
}

impl Parser {
    /// A whole expression.
    pub(super) fn expr(&mut self) -> Res<Expr> {
        self.binary(1)
    }

    fn binary(&mut self, lowest: u8) -> Res<Expr> {
        self.enter()?;
        let mut left = self.unary()?;
        while let Some((level, op)) = self.operator() {
            if level < lowest {
                break;
            }
            self.operators += 1;
            if self.operators > super::MAX_OPERATORS {
                let most = super::MAX_OPERATORS;
                let span = self.peek().span;
                return self.fail(
                    "too-deep",
                    format!("more than {most} operators in one statement"),
                    span,
                );
            }
            self.bump();
            let right = self.binary(level + 1)?;
            let span = left.span.to(right.span);
            left = Expr {
                kind: ExprKind::Binary(op, Box::new(left), Box::new(right)),
                span,
            };
        }
        self.leave();
        Ok(left)
    }

    fn operator(&self) -> Option<(u8, BinaryOp)> {
        let text = match self.tok() {
            Tok::P(p) => *p,
            Tok::Ident(word) => word,
            _ => return None,
        };
        OPERATORS
            .iter()
            .find(|(word, _, _)| *word == text)
            .map(|(_, level, op)| (*level, *op))
    }

    fn unary(&mut self) -> Res<Expr> {
        let start = self.peek().span;
        let op = match self.tok() {
            Tok::P("!") => UnaryOp::Not,
            Tok::Ident(word) if word == "not" => UnaryOp::Not,
            Tok::P("-") => UnaryOp::Neg,
            Tok::P("~") => UnaryOp::BitNot,
            Tok::P("+") => {
                self.bump();
                return self.nested_unary();
            }
            Tok::P("(") if self.cast().is_some() => {
                let to = self.cast().unwrap_or(CastTo::Int);
                self.pos += 3;
                let inner = self.nested_unary()?;
                let span = start.to(inner.span);
                return Ok(Expr {
                    kind: ExprKind::Cast(to, Box::new(inner)),
                    span,
                });
            }
            Tok::Ident(word) if word == "defined" => {
                self.bump();
                let inner = self.nested_unary()?;
                let span = start.to(inner.span);
                return Ok(Expr {
                    kind: ExprKind::Defined(Box::new(inner)),
                    span,
                });
            }
            _ => return self.primary(),
        };
        self.bump();
        let inner = self.nested_unary()?;
        let span = start.to(inner.span);
        // A negative number is a number.
        if let (UnaryOp::Neg, ExprKind::Int(n)) = (op, &inner.kind) {
            return Ok(Expr {
                kind: ExprKind::Int(n.wrapping_neg()),
                span,
            });
        }
        Ok(Expr {
            kind: ExprKind::Unary(op, Box::new(inner)),
            span,
        })
    }

    fn nested_unary(&mut self) -> Res<Expr> {
        self.enter()?;
        let inner = self.unary()?;
        self.leave();
        Ok(inner)
    }

    /// `(int)` or `(str)` in front of something.
    fn cast(&self) -> Option<CastTo> {
        if !self.is_ahead(2, ")") || matches!(self.ahead(3).tok, Tok::P(")" | ";")) {
            return None;
        }
        match self.word_ahead(1) {
            Some("int") => Some(CastTo::Int),
            Some("str") => Some(CastTo::Str),
            _ => None,
        }
    }

    fn primary(&mut self) -> Res<Expr> {
        let span = self.peek().span;
        let kind = match self.tok().clone() {
            Tok::Int(value, _) => ExprKind::Int(value),
            Tok::Str(text) => ExprKind::Str(text),
            Tok::Pv(text) => ExprKind::Pv(pv(text, span)),
            Tok::Select(text) => return self.select(text, span),
            Tok::P("(") => return self.parenthesis(),
            Tok::Ident(word) => return self.word_expr(&word, span),
            _ => return self.unexpected(&["an expression"]),
        };
        self.bump();
        Ok(Expr { kind, span })
    }

    fn parenthesis(&mut self) -> Res<Expr> {
        let open = self.bump().span;
        let mut inner = self.expr()?;
        if self.is("=") {
            let span = self.bump().span;
            let right = self.expr()?;
            let whole = inner.span.to(right.span);
            inner = Expr {
                kind: self.assigned(inner.kind, span, right),
                span: whole,
            };
        }
        let close = self.expect_close(")", open)?;
        Ok(Expr {
            span: open.to(close),
            ..inner
        })
    }

    /// `($x = value)`, whose value is 1 whatever was assigned: mostly `==` was meant.
    fn assigned(&mut self, left: ExprKind, span: Span, right: Expr) -> ExprKind {
        let help = "did you mean `==`?";
        match left {
            ExprKind::Pv(target) => {
                let said = format!("this assigns to {}, and is always true", target.text);
                self.report(Diagnostic::warning("assign-in-condition", said, span).with_help(help));
                ExprKind::Assign(Box::new((target, right)))
            }
            _ => {
                let said = "only a pseudo-variable can be assigned to";
                self.report(Diagnostic::error("assign-in-condition", said, span).with_help(help));
                ExprKind::Error
            }
        }
    }

    fn select(&mut self, text: String, span: Span) -> Res<Expr> {
        self.bump();
        match select_parts(&text) {
            Some(parts) => Ok(Expr {
                kind: ExprKind::Select(Select { text, parts }),
                span,
            }),
            None => self.fail("bad-select", format!("`{text}` is no select"), span),
        }
    }

    fn word_expr(&mut self, word: &str, span: Span) -> Res<Expr> {
        if let Some(value) = boolean(word) {
            self.bump();
            return Ok(Expr {
                kind: ExprKind::Int(i64::from(value)),
                span,
            });
        }
        match word {
            "myself" => {
                self.bump();
                return Ok(Expr {
                    kind: ExprKind::Myself,
                    span,
                });
            }
            "strlen" | "strempty" | "selval" if self.is_ahead(1, "(") => {
                return self.builtin(word, span);
            }
            _ => {}
        }
        if let Some((field, width)) = self.field() {
            self.pos += width;
            let span = span.to(self.last_span());
            return self.compared(
                field,
                Expr {
                    kind: ExprKind::Field(field),
                    span,
                },
            );
        }
        if self.is_ahead(1, "(") || super::call::may_be_bare(word) {
            let call = self.call()?;
            let span = call.span;
            return Ok(Expr {
                kind: ExprKind::Call(call),
                span,
            });
        }
        let fault = Diagnostic::error("bare-word", format!("`{word}` is no value"), span)
            .with_help(self.quote_help(word));
        Err(self.report(fault))
    }

    /// A condition keyword belongs to its comparison before any prefix: `!src_ip == x` is `!(src_ip == x)`.
    fn compared(&mut self, field: Field, left: Expr) -> Res<Expr> {
        let Some((level @ 8..=9, op)) = self.operator() else {
            return Ok(left);
        };
        self.bump();
        let right = self.beside(field, level)?;
        let span = left.span.to(right.span);
        Ok(Expr {
            kind: ExprKind::Binary(op, Box::new(left), Box::new(right)),
            span,
        })
    }

    /// A condition keyword and the number of its tokens.
    pub(super) fn field(&self) -> Option<(Field, usize)> {
        let word = self.word()?;
        if self.is_ahead(1, ":")
            && let Some(second) = self.word_ahead(2)
            && let Some(field) = Field::parse(&format!("{word}:{second}"))
        {
            return Some((field, 3));
        }
        if self.is_ahead(1, "(") {
            return None;
        }
        Field::parse(word).map(|field| (field, 1))
    }

    fn builtin(&mut self, word: &str, start: Span) -> Res<Expr> {
        self.bump();
        let open = self.expect("(")?;
        let first = self.expr()?;
        let kind = match word {
            "strlen" => ExprKind::StrLen(Box::new(first)),
            "strempty" => ExprKind::StrEmpty(Box::new(first)),
            _ => {
                self.expect(",")?;
                let second = self.expr()?;
                self.expect(",")?;
                let third = self.expr()?;
                ExprKind::SelVal(Box::new([first, second, third]))
            }
        };
        let close = self.expect_close(")", open)?;
        Ok(Expr {
            kind,
            span: start.to(close),
        })
    }

    /// What stands beside a condition keyword: addresses, protocols and bare method names are values there.
    fn beside(&mut self, field: Field, level: u8) -> Res<Expr> {
        let start = self.peek().span;
        let word = self.word().map(str::to_owned);
        if word.as_deref() == Some("myself") {
            return self.binary(level + 1);
        }
        let called = self.is_ahead(1, "(");
        let kind = match (field, word) {
            (Field::SrcIp | Field::DstIp | Field::SndIp | Field::ToIp, word) => {
                let address = matches!(self.tok(), Tok::Int(..) | Tok::P("[" | ":"))
                    || word.is_some() && !called;
                if !address {
                    return self.binary(level + 1);
                }
                match self.net_or_host()? {
                    Ok(net) => ExprKind::Net(net),
                    Err(host) => ExprKind::Str(host),
                }
            }
            (Field::Proto | Field::SndProto | Field::ToProto, Some(word))
                if Proto::parse(&word).is_some() =>
            {
                self.bump();
                Proto::parse(&word).map_or(ExprKind::Error, ExprKind::Proto)
            }
            (Field::Af | Field::SndAf | Field::ToAf, Some(word)) if family(&word).is_some() => {
                self.bump();
                ExprKind::Af {
                    v6: family(&word) == Some(true),
                }
            }
            (Field::Method, Some(word))
                if !called && word.bytes().all(|b| b.is_ascii_uppercase()) =>
            {
                self.bump();
                ExprKind::Str(word)
            }
            (Field::MsgLen, Some(word)) if word == "max_len" => {
                self.bump();
                ExprKind::Field(Field::MaxLen)
            }
            _ => return self.binary(level + 1),
        };
        Ok(Expr {
            kind,
            span: start.to(self.last_span()),
        })
    }
}

/// A pseudo-variable token; the lexer has checked that it reads as one.
pub(super) fn pv(text: String, span: Span) -> Pv {
    let spec = PvSpec::parse(&text)
        .map(|(spec, _)| spec)
        .unwrap_or_default();
    Pv { text, spec, span }
}

fn family(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "inet" | "ipv4" => Some(false),
        "inet6" | "ipv6" => Some(true),
        _ => None,
    }
}

fn select_parts(text: &str) -> Option<Vec<SelectPart>> {
    let mut parts = Vec::new();
    let mut rest = text.strip_prefix('@')?;
    loop {
        if let Some(inside) = rest.strip_prefix('[') {
            let (part, after) = if let Some(key) = inside.strip_prefix('"') {
                let (key, after) = key.split_once('"')?;
                (SelectPart::Key(key.to_owned()), after)
            } else {
                let end = inside.find(']')?;
                let (number, after) = inside.split_at(end);
                (SelectPart::Index(number.trim().parse().ok()?), after)
            };
            parts.push(part);
            rest = after.strip_prefix(']')?;
        } else {
            let word = rest.strip_prefix('.').unwrap_or(rest);
            let len = word
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
                .count();
            if len == 0 {
                return None;
            }
            let (name, after) = word.split_at(len);
            parts.push(SelectPart::Name(name.to_owned()));
            rest = after;
        }
        if rest.is_empty() {
            return Some(parts);
        }
    }
}
