//! Text with pseudo-variables in it, compiled: `"call $ci from $si"`. `$$` is a dollar.

use super::{CACHED_TEXTS, ParseFault, Spec, parse};
use crate::route::ctx::Ctx;
use crate::route::function::ScriptError;
use crate::route::value::Val;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write;
use std::rc::Rc;

/// A compiled text.
#[derive(Debug, Clone)]
pub struct Format(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(Box<[u8]>),
    Value(Spec),
}

impl Format {
    /// Compiles `text`.
    pub fn parse(text: &[u8]) -> Result<Format, ScriptError> {
        Format::compile(text).map_err(|f| f.in_text(text))
    }

    /// As [`Format::parse`], telling where in the text a fault is.
    pub fn compile(text: &[u8]) -> Result<Format, ParseFault> {
        Format::compile_at(text, 0, 0)
    }

    /// Compiles a text that is nested `depth` deep and begins `base` bytes into the whole.
    pub(super) fn compile_at(text: &[u8], depth: usize, base: usize) -> Result<Format, ParseFault> {
        let (mut pieces, mut plain, mut at) = (Vec::new(), Vec::new(), 0);
        while let Some(&c) = text.get(at) {
            let next = text.get(at + 1).copied();
            if c == b'$' && next == Some(b'$') {
                plain.push(b'$');
                at += 2;
            } else if c == b'$'
                && next
                    .is_some_and(|n| n.is_ascii_alphabetic() || n == b'_' || n == b'(' || n == b'?')
            {
                let (spec, used) = parse::spec(&text[at..], depth, base + at)?;
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
                }
                pieces.push(Piece::Value(spec));
                at += used;
            } else {
                plain.push(c);
                at += 1;
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Ok(Format(pieces))
    }

    /// As [`Format::parse`], remembering the result.
    pub fn parse_cached(text: &[u8]) -> Result<Rc<Format>, ScriptError> {
        thread_local!(static FORMATS: RefCell<HashMap<Box<[u8]>, Rc<Format>>> = RefCell::default());
        FORMATS.with_borrow_mut(|cache| {
            if let Some(f) = cache.get(text) {
                return Ok(f.clone());
            }
            let f = Rc::new(Format::parse(text)?);
            if cache.len() >= CACHED_TEXTS {
                cache.clear();
            }
            cache.insert(text.into(), f.clone());
            Ok(f)
        })
    }

    /// The text for this message. A value that is null prints as `<null>`, as operators know it.
    pub fn eval(&self, ctx: &Ctx) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.eval_into(ctx, &mut out);
        out
    }

    /// As [`Format::eval`], at the end of a buffer that the caller keeps.
    pub fn eval_into(&self, ctx: &Ctx, out: &mut Vec<u8>) {
        for p in &self.0 {
            match p {
                Piece::Text(t) => out.extend_from_slice(t),
                Piece::Value(s) => match s.get(ctx) {
                    Val::Str(b) => out.extend_from_slice(&b),
                    // Writing to a Vec can't fail.
                    Val::Int(i) => drop(write!(out, "{i}")),
                    v => out.extend_from_slice(&v.into_bytes().unwrap_or(b"<null>".into())),
                },
            }
        }
    }

    /// The single pseudo-variable that this is, if it is nothing else.
    pub fn single(&self) -> Option<&Spec> {
        match self.0.as_slice() {
            [Piece::Value(s)] => Some(s),
            _ => None,
        }
    }

    /// The text, if no pseudo-variable is in it.
    pub fn literal(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [] => Some(b""),
            [Piece::Text(t)] => Some(t),
            _ => None,
        }
    }
}

/// Replaces the pseudo-variables in `text`; a text without a dollar is returned as it is.
pub fn expand(ctx: &Ctx, text: &[u8]) -> Result<Vec<u8>, ScriptError> {
    if !text.contains(&b'$') {
        return Ok(text.to_vec());
    }
    Ok(Format::parse_cached(text)?.eval(ctx))
}
