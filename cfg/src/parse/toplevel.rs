//! Items of the top level that are not route blocks: parameters, modules, globals, flags.

use super::{Parser, Res, describe, route};
use crate::ast::{
    FlagDecl, Global, Item, LoadModule, LoadPath, ModParam, ModParamValue, Param, ParamValue,
};
use crate::diagnostic::{Diagnostic, nearest};
use crate::lexer::Tok;
use crate::params::{self, CoreParam, ParamKind};
use crate::source::Span;

impl Parser {
    /// One item of the top level.
    pub(super) fn item(&mut self) -> Res<()> {
        if self.eat(";") {
            return Ok(());
        }
        if self.is("}") {
            let span = self.bump().span;
            let fault = Diagnostic::error("stray-brace", "this `}` closes nothing", span)
                .with_help("a block above it may have one `}` too many");
            self.report(fault);
            return Ok(());
        }
        let Some(word) = self.word().map(str::to_owned) else {
            let found = describe(self.tok());
            let span = self.peek().span;
            return self.fail(
                "syntax",
                format!(
                    "unexpected {found}: a parameter, a module or a route block starts with a word"
                ),
                span,
            );
        };
        if route::is_route_word(&word) && !self.is_ahead(1, "=") {
            return self.route_block(&word);
        }
        match word.as_str() {
            "loadmodule" | "loadmodulex" => self.load_module(word == "loadmodulex"),
            "loadpath" | "mpath" => self.load_path(),
            "modparam" | "modparamx" => self.mod_param(word == "modparamx"),
            "cfgengine" => self.engine(),
            "flags" | "bool" if !self.is_ahead(1, "=") => self.flags(false),
            "avpflags" => self.flags(true),
            _ if self.is_ahead(1, ".") => self.global(),
            _ => self.param(&word),
        }
    }

    fn param(&mut self, word: &str) -> Res<()> {
        let name_span = self.peek().span;
        let Some(known) = params::find(word) else {
            return self.unknown(word, name_span);
        };
        self.bump();
        if known.kind == ParamKind::CoreParam {
            return self.coreparam(name_span);
        }
        self.expect("=")?;
        if self.at_end() || self.is(";") || (self.peek().first && self.starts_item()) {
            let span = self.last_span().after();
            let fault =
                Diagnostic::error("syntax", format!("the value of `{word}` is missing"), span)
                    .with_expected([known.kind.wanted()]);
            return Err(self.report(fault));
        }
        match known.kind {
            ParamKind::Listen => return self.listens(name_span),
            ParamKind::Alias => return self.aliases(name_span),
            ParamKind::Socket => return self.socket_block(name_span),
            _ => {}
        }
        let value = self.param_value(known)?;
        let span = name_span.to(self.last_span());
        self.config
            .items
            .push(Item::Param(self.config.params.len()));
        self.config.params.push(Param {
            name: known.name.to_owned(),
            value,
            span,
            name_span,
        });
        Ok(())
    }

    /// A word that is no parameter: what was it meant to be?
    fn unknown(&mut self, word: &str, span: Span) -> Res<()> {
        let words = [
            "loadmodule",
            "modparam",
            "loadpath",
            "mpath",
            "cfgengine",
            "flags",
            "avpflags",
            "import_file",
            "include_file",
        ];
        let known = params::names().chain(words).chain(route::ROUTE_WORDS);
        let assigned = self.is_ahead(1, "=");
        let (code, message) = match (assigned, self.is_ahead(1, "(")) {
            (true, _) => (
                "unknown-parameter",
                format!("no core parameter is named `{word}`"),
            ),
            (_, true) => (
                "syntax",
                format!("`{word}(…)` cannot be called outside of a route block"),
            ),
            _ => (
                "syntax",
                format!("`{word}` starts nothing that is known here"),
            ),
        };
        let mut fault = Diagnostic::error(code, message, span);
        if let Some(name) = nearest(word, known) {
            fault = fault.with_help(format!("did you mean `{name}`?"));
        } else if assigned {
            fault = fault.with_help("a global of your own needs a group: `group.name = value`");
        }
        Err(self.report(fault))
    }

    fn param_value(&mut self, known: &CoreParam) -> Res<ParamValue> {
        let span = self.peek().span;
        let value = match self.tok().clone() {
            Tok::Str(text) => {
                self.bump();
                ParamValue::Str(text)
            }
            Tok::P("-") => {
                self.bump();
                ParamValue::Int(self.expect_int()?.wrapping_neg())
            }
            Tok::Int(value, _) if !self.dotted() => {
                self.bump();
                ParamValue::Int(value)
            }
            Tok::Ident(word) => match boolean(&word) {
                Some(value) => {
                    self.bump();
                    ParamValue::Bool(value)
                }
                None if self.is_ahead(1, "=") && params::find(&word).is_some() => {
                    return self.unexpected(&[known.kind.wanted()]);
                }
                None => ParamValue::Id(self.host()?),
            },
            Tok::Int(..) | Tok::P("[" | "*" | ":") => ParamValue::Id(self.host()?),
            _ => return self.unexpected(&[known.kind.wanted()]),
        };
        if known.kind.accepts(&value) {
            return Ok(value);
        }
        let wanted = known.kind.wanted();
        let message = format!("`{}` takes {wanted}", known.name);
        let mut fault = Diagnostic::error("parameter-type", message, span.to(self.last_span()))
            .with_expected([wanted]);
        match &value {
            ParamValue::Id(word) => fault = fault.with_help(self.value_help(known.kind, word)),
            ParamValue::Str(text) if text.trim().parse::<i64>().is_ok() => {
                fault = fault.with_help(format!("a number has no quotes: {}", text.trim()));
            }
            ParamValue::Str(text) if boolean(text).is_some() => {
                fault = fault.with_help(format!("write it without quotes: {text}"));
            }
            _ => {}
        }
        // The value was read whole: nothing to step over.
        self.report(fault);
        Ok(value)
    }

    fn value_help(&self, kind: ParamKind, word: &str) -> String {
        if matches!(kind, ParamKind::Int | ParamKind::Bool)
            && let Some(name) = nearest(
                word,
                [
                    "yes", "no", "on", "off", "true", "false", "enable", "disable",
                ],
            )
        {
            return format!("did you mean `{name}`?");
        }
        self.quote_help(word)
    }

    /// Whether a number here is the start of an address.
    fn dotted(&self) -> bool {
        let next = self.ahead(1);
        next.glued && matches!(next.tok, Tok::P("." | ":"))
    }

    pub(super) fn expect_int(&mut self) -> Res<i64> {
        match self.tok() {
            Tok::Int(value, _) => {
                let value = *value;
                self.bump();
                Ok(value)
            }
            _ => self.unexpected(&["a number"]),
        }
    }

    /// `coreparam[name] = value` (also with the name in quotes).
    fn coreparam(&mut self, name_span: Span) -> Res<()> {
        let open = self.expect("[")?;
        let name = match self.tok().clone() {
            Tok::Ident(name) | Tok::Str(name) => name,
            _ => return self.unexpected(&["a name"]),
        };
        self.bump();
        self.expect_close("]", open)?;
        self.expect("=")?;
        let value = match self.value("a number or a string")? {
            ModParamValue::Int(n) => ParamValue::Int(n),
            ModParamValue::Str(s) => ParamValue::Str(s),
        };
        let span = name_span.to(self.last_span());
        self.config
            .items
            .push(Item::Param(self.config.params.len()));
        self.config.params.push(Param {
            name: format!("coreparam[{name}]"),
            value,
            span,
            name_span,
        });
        Ok(())
    }

    fn load_module(&mut self, evaluate: bool) -> Res<()> {
        let start = self.bump().span;
        let open = self.is("(").then(|| self.bump().span);
        let (name, _) = self.expect_string("the module's name")?;
        let opts = if self.eat(",") {
            Some(self.expect_string("the options")?.0)
        } else {
            None
        };
        if let Some(open) = open {
            self.expect_close(")", open)?;
        }
        let span = start.to(self.last_span());
        self.config
            .items
            .push(Item::LoadModule(self.config.modules.len()));
        self.config.modules.push(LoadModule {
            name,
            opts,
            evaluate,
            span,
        });
        Ok(())
    }

    fn load_path(&mut self) -> Res<()> {
        let start = self.bump().span;
        self.eat("=");
        let (path, end) = self.expect_string("the path")?;
        self.config
            .items
            .push(Item::LoadPath(self.config.loadpaths.len()));
        self.config.loadpaths.push(LoadPath {
            path,
            span: start.to(end),
        });
        Ok(())
    }

    fn mod_param(&mut self, evaluate: bool) -> Res<()> {
        let start = self.bump().span;
        let open = self.expect("(")?;
        let (pattern, module_span) = self.expect_string("the module's name")?;
        self.expect(",")?;
        let (name, name_span) = self.expect_string("the parameter's name")?;
        self.expect(",")?;
        let value_start = self.peek().span;
        let value = self.value("a number or a string")?;
        let value_span = value_start.to(self.last_span());
        let end = self.expect_close(")", open)?;
        let modules = pattern
            .split('|')
            .map(|m| m.trim().to_owned())
            .filter(|m| !m.is_empty())
            .collect();
        self.config
            .items
            .push(Item::ModParam(self.config.modparams.len()));
        self.config.modparams.push(ModParam {
            pattern,
            modules,
            name,
            value,
            evaluate,
            span: start.to(end),
            module_span,
            name_span,
            value_span,
        });
        Ok(())
    }

    /// A number, yes/no or a string.
    pub(super) fn value(&mut self, what: &str) -> Res<ModParamValue> {
        match self.tok().clone() {
            Tok::Str(text) => {
                self.bump();
                Ok(ModParamValue::Str(text))
            }
            Tok::Int(value, _) => {
                self.bump();
                Ok(ModParamValue::Int(value))
            }
            Tok::P("-") => {
                self.bump();
                Ok(ModParamValue::Int(self.expect_int()?.wrapping_neg()))
            }
            Tok::Ident(word) => match boolean(&word) {
                Some(value) => {
                    self.bump();
                    Ok(ModParamValue::Int(i64::from(value)))
                }
                None => self
                    .expect_string("the value")
                    .map(|(text, _)| ModParamValue::Str(text)),
            },
            _ => self.unexpected(&[what]),
        }
    }

    fn engine(&mut self) -> Res<()> {
        let start = self.bump().span;
        self.eat("=");
        let (name, end) = self.expect_string("the engine's name")?;
        self.config.items.push(Item::Engine);
        self.config.engine = Some((name, start.to(end)));
        Ok(())
    }

    /// `flags A:1, B;`
    fn flags(&mut self, avp: bool) -> Res<()> {
        self.bump();
        loop {
            let start = self.peek().span;
            let name = match self.tok().clone() {
                Tok::Ident(name) | Tok::Str(name) => name,
                _ => return self.unexpected(&["a flag's name"]),
            };
            self.bump();
            let number = if self.eat(":") {
                Some(self.expect_int()?)
            } else {
                None
            };
            let flag = FlagDecl {
                name,
                number,
                span: start.to(self.last_span()),
            };
            let (list, item) = if avp {
                (
                    &mut self.config.avpflags,
                    Item::AvpFlag as fn(usize) -> Item,
                )
            } else {
                (&mut self.config.flags, Item::Flag as fn(usize) -> Item)
            };
            self.config.items.push(item(list.len()));
            list.push(flag);
            if !self.eat(",") {
                return Ok(());
            }
        }
    }

    /// `group.name = value desc "text"`
    fn global(&mut self) -> Res<()> {
        let start = self.peek().span;
        let group = self.word().unwrap_or_default().to_owned();
        self.bump();
        self.expect(".")?;
        let Some(name) = self.word().map(str::to_owned) else {
            return self.unexpected(&["a name"]);
        };
        self.bump();
        self.expect("=")?;
        let value = self.value("a number or a string")?;
        let described = matches!(self.word(), Some("desc" | "descr" | "description"));
        let desc = if described {
            self.bump();
            Some(self.expect_string("the description")?.0)
        } else {
            None
        };
        let span = start.to(self.last_span());
        self.config
            .items
            .push(Item::Global(self.config.globals.len()));
        self.config.globals.push(Global {
            group,
            name,
            value,
            desc,
            span,
        });
        Ok(())
    }
}

/// The words for true and false.
pub(super) fn boolean(word: &str) -> Option<bool> {
    match word {
        "yes" | "true" | "on" | "enable" | "enabled" => Some(true),
        "no" | "false" | "off" | "disable" | "disabled" => Some(false),
        _ => None,
    }
}
