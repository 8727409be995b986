//! The expressions of `#!ifexp` and `#!defexp`, evaluated while reading.
//!
//! Numbers, strings and names. A defined name is its value (1 without one), an undefined one is 0.

use crate::lexer::{Lexer, Tok};
use crate::source::FileId;
use std::fmt;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Val {
    Int(i64),
    Str(String),
}

impl Val {
    /// Neither 0 nor empty.
    pub fn truth(&self) -> bool {
        match self {
            Val::Int(n) => *n != 0,
            Val::Str(s) => !s.is_empty(),
        }
    }

    fn int(&self) -> Option<i64> {
        match self {
            Val::Int(n) => Some(*n),
            Val::Str(s) => s.trim().parse().ok(),
        }
    }
}

impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Val::Int(n) => n.fmt(f),
            Val::Str(s) => f.write_str(s),
        }
    }
}

/// What a name is defined as: outer `None` not at all, inner `None` without a value.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<Option<String>>;

/// Evaluates an expression; `Err` says what is wrong, for people.
pub(crate) fn evaluate(text: &str, lookup: Lookup<'_>) -> Result<Val, String> {
    let mut lexer = Lexer::new(text, FileId(0));
    let mut toks = Vec::new();
    loop {
        match lexer.token().tok {
            Tok::Eof => break,
            tok => toks.push(tok),
        }
    }
    if let Some(fault) = lexer.diagnostics.first() {
        return Err(fault.message.clone());
    }
    let mut eval = Eval {
        toks,
        pos: 0,
        lookup,
        depth: 0,
    };
    let value = eval.binary(0)?;
    match eval.toks.get(eval.pos) {
        None => Ok(value),
        Some(_) => Err("something is left over at its end".into()),
    }
}

struct Eval<'a> {
    toks: Vec<Tok>,
    pos: usize,
    lookup: Lookup<'a>,
    depth: usize,
}

/// Operators by level, weakest first.
const LEVELS: [&[&str]; 6] = [
    &["||"],
    &["&&"],
    &["==", "!="],
    &["<", "<=", ">", ">="],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Eval<'_> {
    fn binary(&mut self, level: usize) -> Result<Val, String> {
        let Some(ops) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(Tok::P(op)) = self.toks.get(self.pos) {
            let op = *op;
            if !ops.contains(&op) {
                break;
            }
            self.pos += 1;
            let right = self.binary(level + 1)?;
            left = apply(op, &left, &right)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Val, String> {
        self.depth += 1;
        if self.depth > 100 {
            return Err("it is nested too deep".into());
        }
        let tok = self.toks.get(self.pos).cloned();
        self.pos += 1;
        let value = match tok {
            Some(Tok::Int(n, _)) => Val::Int(n),
            Some(Tok::Str(s)) => Val::Str(s),
            Some(Tok::P("!")) => Val::Int(i64::from(!self.unary()?.truth())),
            Some(Tok::P("-")) => Val::Int(
                self.unary()?
                    .int()
                    .ok_or("`-` needs a number")?
                    .wrapping_neg(),
            ),
            Some(Tok::P("(")) => {
                let value = self.binary(0)?;
                self.close()?;
                value
            }
            Some(Tok::Ident(word)) if word == "not" => Val::Int(i64::from(!self.unary()?.truth())),
            Some(Tok::Ident(word)) if word == "defined" => {
                let open = self.toks.get(self.pos) == Some(&Tok::P("("));
                self.pos += usize::from(open);
                let Some(Tok::Ident(name)) = self.toks.get(self.pos).cloned() else {
                    return Err("a name must follow `defined`".into());
                };
                self.pos += 1;
                if open {
                    self.close()?;
                }
                Val::Int(i64::from((self.lookup)(&name).is_some()))
            }
            Some(Tok::Ident(name)) => match (self.lookup)(&name) {
                None => Val::Int(0),
                Some(None) => Val::Int(1),
                Some(Some(value)) => self.value_of(&name, &value)?,
            },
            _ => return Err("a number, a string or a name is missing".into()),
        };
        self.depth -= 1;
        Ok(value)
    }

    /// A define's value: itself an expression where it reads as one, otherwise text.
    fn value_of(&self, name: &str, value: &str) -> Result<Val, String> {
        let mut lexer = Lexer::new(value, FileId(0));
        let first = lexer.token().tok;
        let negative = first == Tok::P("-");
        let tok = if negative { lexer.token().tok } else { first };
        match (tok, lexer.token().tok) {
            (Tok::Int(n, _), Tok::Eof) => Ok(Val::Int(if negative { n.wrapping_neg() } else { n })),
            (Tok::Str(s), Tok::Eof) => Ok(Val::Str(s)),
            (Tok::Ident(other), Tok::Eof) if other != name => match (self.lookup)(&other) {
                Some(Some(inner)) if inner != value => Ok(match inner.trim().parse() {
                    Ok(n) => Val::Int(n),
                    Err(_) => Val::Str(inner.trim_matches('"').to_owned()),
                }),
                _ => Ok(Val::Str(value.to_owned())),
            },
            _ => Ok(Val::Str(value.to_owned())),
        }
    }

    fn close(&mut self) -> Result<(), String> {
        if self.toks.get(self.pos) != Some(&Tok::P(")")) {
            return Err("a `)` is missing".into());
        }
        self.pos += 1;
        Ok(())
    }
}

/// Longest text that an expression makes: a define added to itself doubles at every line.
const LONGEST: usize = 16 << 10;

fn apply(op: &str, left: &Val, right: &Val) -> Result<Val, String> {
    let numbers = left.int().zip(right.int());
    let order = match numbers {
        Some((a, b)) => a.cmp(&b),
        None => left.to_string().cmp(&right.to_string()),
    };
    let truth = |b: bool| Ok(Val::Int(i64::from(b)));
    match op {
        "||" => return truth(left.truth() || right.truth()),
        "&&" => return truth(left.truth() && right.truth()),
        "==" => return truth(order.is_eq()),
        "!=" => return truth(order.is_ne()),
        "<" => return truth(order.is_lt()),
        "<=" => return truth(order.is_le()),
        ">" => return truth(order.is_gt()),
        ">=" => return truth(order.is_ge()),
        _ => {}
    }
    let Some((a, b)) = numbers else {
        return match op {
            "+" => {
                let both = format!("{left}{right}");
                match both.len() <= LONGEST {
                    true => Ok(Val::Str(both)),
                    false => Err(format!("its text has more than {LONGEST} bytes")),
                }
            }
            _ => Err(format!("`{op}` needs numbers")),
        };
    };
    let result = match op {
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "/" => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    result
        .map(Val::Int)
        .ok_or_else(|| format!("{a} {op} {b} has no value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let lookup = |name: &str| match name {
            "N" => Some(Some("4".to_owned())),
            "S" => Some(Some("\"abc\"".to_owned())),
            "W" => Some(None),
            _ => None,
        };
        let cases = [
            ("1", true),
            ("0", false),
            ("N == 4", true),
            ("N != 4", false),
            ("N > 3 && N <= 4", true),
            ("S == \"abc\"", true),
            ("W", true),
            ("!W", false),
            ("X", false),
            ("!X || 0", true),
            ("defined W && !defined(X)", true),
            ("(1 || 0) && 0", false),
            ("N + 1 == 5", true),
            ("N * 2 - 1 == 7", true),
            ("-1 < 0", true),
            ("not 0", true),
        ];
        for (text, want) in cases {
            assert_eq!(
                evaluate(text, &lookup).map(|v| v.truth()),
                Ok(want),
                "{text}"
            );
        }
        for bad in ["", "1 +", "(1", "1 2", "1 / 0", "&&", "defined"] {
            assert!(evaluate(bad, &lookup).is_err(), "{bad}");
        }
        assert!(evaluate(&"(".repeat(5000), &lookup).is_err());
    }
}
