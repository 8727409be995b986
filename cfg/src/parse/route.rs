//! Route blocks and their statements.

use super::{Parser, Res, call, describe, expr};
use crate::ast::{
    AssignOp, Block, Case, CaseLabel, Expr, Item, RouteBlock, RouteKind, Stmt, StmtKind,
};
use crate::diagnostic::{Diagnostic, nearest};
use crate::lexer::Tok;
use crate::source::Span;

/// The words that start a route block.
pub(super) const ROUTE_WORDS: [&str; 8] = [
    "route",
    "request_route",
    "reply_route",
    "onreply_route",
    "branch_route",
    "failure_route",
    "onsend_route",
    "event_route",
];

/// Words that start a statement, for "did you mean".
const STATEMENT_WORDS: [&str; 10] = [
    "if", "else", "while", "switch", "case", "default", "break", "return", "exit", "drop",
];

/// Whether a word starts a route block.
pub(super) fn is_route_word(word: &str) -> bool {
    ROUTE_WORDS.contains(&word)
}

impl Parser {
    /// `route[name] { … }` and its kin.
    pub(super) fn route_block(&mut self, word: &str) -> Res<()> {
        let start = self.bump().span;
        let kind = match word {
            "route" | "request_route" => RouteKind::Request,
            "reply_route" | "onreply_route" => RouteKind::Reply,
            "branch_route" => RouteKind::Branch,
            "failure_route" => RouteKind::Failure,
            "onsend_route" => RouteKind::OnSend,
            _ => RouteKind::Event,
        };
        if self.is("(") && word == "route" {
            let span = start.to(self.peek().span);
            let fault = Diagnostic::error(
                "syntax",
                "route blocks cannot be called outside of a route block",
                span,
            )
            .with_help("to define a block write `route[name] { … }`");
            return Err(self.report(fault));
        }
        let name = self.block_name(word, start)?;
        let head_span = start.to(self.last_span());
        let first = self
            .config
            .routes
            .iter()
            .position(|r| r.kind == kind && r.name == name);
        if let Some(first) = first {
            let at = self.config.routes[first].head_span;
            let fault = match &name {
                Some(n) => {
                    let said = format!("{word}[{n}] is there already");
                    Diagnostic::error("double-route", said, head_span)
                }
                None => {
                    let said = format!("{word} is there already: this runs behind the first");
                    Diagnostic::warning("double-route", said, head_span)
                }
            };
            self.report(fault.with_note(at, "the first one"));
        }
        if !self.is("{") {
            return self.expect("{").map(|_| ());
        }
        let body = self.block()?;
        let span = start.to(self.last_span());
        if let (Some(first), None) = (first, &name) {
            self.config.routes[first].body.stmts.extend(body.stmts);
            return Ok(());
        }
        self.config
            .items
            .push(Item::Route(self.config.routes.len()));
        self.config.routes.push(RouteBlock {
            kind,
            name,
            body,
            span,
            head_span,
        });
        Ok(())
    }

    /// `[name]` after the keyword, where the keyword takes one.
    fn block_name(&mut self, word: &str, start: Span) -> Res<Option<String>> {
        if !self.is("[") {
            if word == "event_route" {
                let fault = Diagnostic::error(
                    "syntax",
                    "an event_route needs the name of its event",
                    start,
                )
                .with_help("for example `event_route[tm:local-request]`");
                return Err(self.report(fault));
            }
            return Ok(None);
        }
        let open = self.bump().span;
        if word == "request_route" {
            let fault = Diagnostic::error("syntax", "request_route has no name", open)
                .with_help("a named block is `route[name]`");
            return Err(self.report(fault));
        }
        let name = self.route_name("]");
        if name.is_empty() {
            return self.unexpected(&["the name of the block"]);
        }
        self.expect_close("]", open)?;
        let unnamed = word == "onsend_route" || (word == "route" && name == "0");
        Ok((!unnamed).then_some(name))
    }

    /// `{ … }`. A fault in a statement costs that statement only.
    pub(super) fn block(&mut self) -> Res<Block> {
        let open = self.expect("{")?;
        self.enter()?;
        let mut stmts = Vec::new();
        while !self.is("}") {
            if self.never_closed(open) {
                self.leave();
                return Ok(Block {
                    stmts,
                    span: open.to(self.last_span()),
                });
            }
            self.statement_into(&mut stmts);
        }
        self.leave();
        let close = self.bump().span;
        Ok(Block {
            stmts,
            span: open.to(close),
        })
    }

    /// Whether the text shows that a block's `}` is missing; said once for blocks inside each other.
    fn never_closed(&mut self, open: Span) -> bool {
        let over =
            self.at_end() || self.starts_route() || (self.peek().first && self.starts_directive());
        if over && self.unclosed_at != Some(self.pos) {
            self.unclosed_at = Some(self.pos);
            let found = describe(self.tok());
            let fault = Diagnostic::error("open-block", "this block is never closed", open)
                .with_help("add a `}` where it should end")
                .with_note(self.peek().span, format!("still open before {found}"));
            // Where the depth bound ended the reading, that has been said.
            if self.depth < super::MAX_DEPTH {
                self.report(fault);
            }
        }
        over
    }

    fn statement_into(&mut self, stmts: &mut Vec<Stmt>) {
        let from = self.pos;
        let depth = self.depth;
        self.operators = 0;
        match self.statement() {
            Ok(stmt) => stmts.extend(stmt),
            Err(_) => {
                self.depth = depth;
                self.recover_stmt(from);
            }
        }
    }

    /// One statement; `None` for an empty one.
    fn statement(&mut self) -> Res<Option<Stmt>> {
        let start = self.peek().span;
        let kind = match self.tok().clone() {
            Tok::P(";") => {
                self.bump();
                return Ok(None);
            }
            Tok::P("{") => StmtKind::Block(self.block()?),
            Tok::Pv(_) => self.assignment()?,
            Tok::Ident(word) => match word.as_str() {
                "if" => self.if_statement()?,
                "while" => self.while_statement()?,
                "switch" => self.switch_statement()?,
                "break" => {
                    self.bump();
                    self.semicolon()?;
                    StmtKind::Break
                }
                "return" => StmtKind::Return(self.leaving()?),
                "exit" => StmtKind::Exit(self.leaving()?),
                "drop" => StmtKind::Drop(self.leaving()?),
                "else" => return self.stray_else(),
                _ => return self.call_statement(&word).map(Some),
            },
            Tok::Select(_) => {
                let fault = Diagnostic::error("read-only", "a select can only be read", start)
                    .with_help("assign to a pseudo-variable");
                return Err(self.report(fault));
            }
            _ => return self.unexpected(&["a statement"]),
        };
        Ok(Some(Stmt {
            kind,
            span: start.to(self.last_span()),
        }))
    }

    fn call_statement(&mut self, word: &str) -> Res<Stmt> {
        let start = self.peek().span;
        if self.is_ahead(1, "(") || call::may_be_bare(word) {
            let call = self.call()?;
            self.semicolon()?;
            return Ok(Stmt {
                kind: StmtKind::Call(call),
                span: start.to(self.last_span()),
            });
        }
        let fault = Diagnostic::error("syntax", format!("`{word}` starts no statement"), start);
        let assigned = self.is_ahead(1, "=") || self.is_ahead(1, ".");
        let fault = match nearest(word, STATEMENT_WORDS) {
            Some(name) if !assigned => fault.with_help(format!("did you mean `{name}`?")),
            _ if matches!(word, "case" | "default") => {
                fault.with_help("it belongs into a `switch`")
            }
            _ if assigned => fault.with_help(
                "parameters are set outside of route blocks; a variable is `$var(name)`",
            ),
            _ => fault.with_help(format!("a call needs parentheses: `{word}();`")),
        };
        Err(self.report(fault))
    }

    /// An `else` that no `if` is open for: said, and its block read as one of its own.
    fn stray_else(&mut self) -> Res<Option<Stmt>> {
        let after_semicolon = self.pos > 0
            && matches!(
                self.tokens.get(self.pos - 1).map(|t| &t.tok),
                Some(Tok::P(";"))
            );
        let span = self.bump().span;
        let mut fault = Diagnostic::error("stray-else", "this `else` belongs to no `if`", span);
        if after_semicolon {
            fault = fault.with_help("remove the `;` before it");
        }
        self.report(fault);
        Ok(None)
    }

    fn assignment(&mut self) -> Res<StmtKind> {
        let token = self.bump();
        let Tok::Pv(text) = token.tok else {
            return self.unexpected(&["a pseudo-variable"]);
        };
        let op = match self.tok() {
            Tok::P("=") => AssignOp::Set,
            Tok::P("+=") => AssignOp::Add,
            Tok::P("-=") => AssignOp::Sub,
            Tok::P("*=") => AssignOp::Mul,
            Tok::P("/=") => AssignOp::Div,
            Tok::P("==") => {
                let span = self.bump().span;
                let fault = Diagnostic::error("syntax", "a comparison is no statement", span)
                    .with_help("did you mean `=`?");
                return Err(self.report(fault));
            }
            _ => return self.unexpected(&["`=`"]),
        };
        self.bump();
        let value = self.expr()?;
        self.semicolon()?;
        Ok(StmtKind::Assign {
            target: expr::pv(text, token.span),
            op,
            value,
        })
    }

    /// What follows `return`, `exit` and `drop`.
    fn leaving(&mut self) -> Res<Option<Expr>> {
        self.bump();
        if self.is("(") && self.is_ahead(1, ")") {
            self.pos += 2;
            self.semicolon()?;
            return Ok(None);
        }
        if self.is(";")
            || self.is("}")
            || self.at_end()
            || self.peek().first
            || self.word() == Some("else")
        {
            self.semicolon()?;
            return Ok(None);
        }
        let value = self.expr()?;
        self.semicolon()?;
        Ok(Some(value))
    }

    /// The `;` that ends a statement. A missing one before a new line, `}` or `else` is only said.
    fn semicolon(&mut self) -> Res<()> {
        if self.eat(";") {
            return Ok(());
        }
        let next = self.peek();
        let clear =
            next.first || matches!(next.tok, Tok::P("}") | Tok::Eof) || self.word() == Some("else");
        let starts = matches!(next.tok, Tok::Pv(_)) || matches!(next.tok, Tok::Ident(_));
        if !clear && !starts {
            return self.unexpected(&["`;`"]);
        }
        let span = self.last_span().after();
        let fault = Diagnostic::error("missing-semicolon", "`;` is missing", span)
            .with_help("every statement ends with `;`");
        self.report(fault);
        Ok(())
    }

    fn if_statement(&mut self) -> Res<StmtKind> {
        self.bump();
        let cond = self.condition()?;
        let then = self.body()?;
        let otherwise = if self.eat_word("else") {
            Some(self.body()?)
        } else {
            None
        };
        Ok(StmtKind::If {
            cond,
            then,
            otherwise,
        })
    }

    fn while_statement(&mut self) -> Res<StmtKind> {
        self.bump();
        let cond = self.condition()?;
        let body = self.body()?;
        Ok(StmtKind::While { cond, body })
    }

    /// A condition. A broken one still has its body read, so that braces stay in step.
    fn condition(&mut self) -> Res<Expr> {
        let (from, start, depth) = (self.pos, self.peek().span, self.depth);
        match self.expr() {
            Ok(cond) => Ok(cond),
            Err(reported) => {
                self.depth = depth;
                self.pos = self.pos.max(from);
                while !self.at_end() && !self.is("{") {
                    if self.is(";") || self.is("}") || self.starts_route() {
                        return Err(reported);
                    }
                    self.pos += 1;
                }
                Ok(Expr {
                    kind: crate::ast::ExprKind::Error,
                    span: start,
                })
            }
        }
    }

    /// `{ … }` or one statement.
    fn body(&mut self) -> Res<Block> {
        if self.is("{") {
            return self.block();
        }
        self.enter()?;
        let start = self.peek().span;
        let stmt = self.statement()?;
        self.leave();
        Ok(Block {
            stmts: stmt.into_iter().collect(),
            span: start.to(self.last_span()),
        })
    }

    fn switch_statement(&mut self) -> Res<StmtKind> {
        self.bump();
        let value = self.condition()?;
        let open = self.expect("{")?;
        self.enter()?;
        let mut cases: Vec<Case> = Vec::new();
        while !self.is("}") {
            if self.never_closed(open) {
                self.leave();
                return Ok(StmtKind::Switch { value, cases });
            }
            let start = self.peek().span;
            match self.label() {
                Ok(Some(label)) => cases.push(Case {
                    label,
                    body: Vec::new(),
                    span: start.to(self.last_span()),
                }),
                Ok(None) => match cases.last_mut() {
                    Some(_) => {
                        let mut body = Vec::new();
                        self.statement_into(&mut body);
                        let end = self.last_span();
                        if let Some(case) = cases.last_mut() {
                            case.body.append(&mut body);
                            case.span = case.span.to(end);
                        }
                    }
                    None if self.eat(";") => {}
                    None => {
                        let from = self.pos;
                        let _: Res<()> = self.unexpected(&["`case`", "`default`"]);
                        self.recover_stmt(from);
                    }
                },
                Err(_) => self.skip_label(),
            }
        }
        self.leave();
        self.bump();
        Ok(StmtKind::Switch { value, cases })
    }

    /// `case …:` or `default:`, if one stands here.
    fn label(&mut self) -> Res<Option<CaseLabel>> {
        let label = match self.word() {
            Some("case") => {
                self.bump();
                match self.tok().clone() {
                    Tok::Regex(text) => {
                        self.bump();
                        CaseLabel::Regex(text)
                    }
                    Tok::P("/") => {
                        self.bump();
                        let (text, _) = self.expect_string("the regular expression")?;
                        self.eat("/");
                        CaseLabel::Regex(text)
                    }
                    _ => CaseLabel::Value(self.expr()?),
                }
            }
            Some("default") => {
                self.bump();
                CaseLabel::Default
            }
            _ => return Ok(None),
        };
        self.expect(":")?;
        Ok(Some(label))
    }

    fn skip_label(&mut self) {
        while !self.at_end() && !self.peek().first && !self.is("}") {
            if self.eat(":") || self.eat(";") {
                return;
            }
            self.pos += 1;
        }
    }
}
