//! The grammar of pseudo-variables.
//!
//! ```text
//! spec   = "$" name [ "(" inner ")" ]
//!        | "$(" name [ "(" inner ")" ] [ "[" index "]" ] *( "{" class "." name *( "," arg ) "}" ) ")"
//! inner  = text, in which pseudo-variables are replaced when it is read
//! ```

use super::{Format, Index, IndexText, Inner, InnerText, PvClass, Spec, TransArg, Transformation};
use crate::route::function::ScriptError;
use crate::rpc::nearest;

/// Deepest nesting of pseudo-variables in pseudo-variables.
const MAX_DEPTH: usize = 12;

/// Compiles the pseudo-variable at the start of `text`; also returns how many bytes it took.
pub(super) fn spec(text: &[u8]) -> Result<(Spec, usize), ScriptError> {
    Parser {
        text,
        at: 0,
        depth: 0,
    }
    .run()
}

/// As [`spec`], nested `depth` deep.
pub(super) fn spec_at_depth(text: &[u8], depth: usize) -> Result<(Spec, usize), ScriptError> {
    Parser { text, at: 0, depth }.run()
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn run(mut self) -> Result<(Spec, usize), ScriptError> {
        if self.depth > MAX_DEPTH {
            return Err(self.fault("is nested too deep"));
        }
        if !self.eat(b'$') {
            return Err(self.fault("doesn't start with $"));
        }
        let long = self.eat(b'(');
        let class = self.class()?;
        let inner = self.inner(class)?;
        let mut index = IndexText::Static(Index::None);
        let mut transforms = Vec::new();
        if long {
            index = self.index()?;
            while self.peek() == Some(b'{') {
                transforms.push(self.transformation()?);
            }
            if !self.eat(b')') {
                return Err(self.fault("lacks its closing )"));
            }
        }
        Ok((
            Spec {
                class,
                inner,
                index,
                transforms,
            },
            self.at,
        ))
    }

    fn class(&mut self) -> Result<&'static PvClass, ScriptError> {
        let start = self.at;
        // `$?` is the only name that isn't a word.
        if !self.eat(b'?') {
            while self
                .peek()
                .is_some_and(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'.')
            {
                self.at += 1;
            }
        }
        let name = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
        let registry = &crate::server().registry;
        // A name may be followed by text of a format: `$ru.` is `$ru` and a dot.
        let mut known = name.as_str();
        loop {
            if let Some(c) = registry.pv(known) {
                self.at = start + known.len();
                return Ok(c);
            }
            match known.rsplit_once('.') {
                Some((head, _)) => known = head,
                None => break,
            }
        }
        let near = nearest(&name, registry.pvs().map(|p| p.name));
        Err(self.fault(&match near {
            Some(n) => format!("has no known name; did you mean ${n}?"),
            None => format!("has no known name ${name}; is the module that has it loaded?"),
        }))
    }

    fn inner(&mut self, class: &'static PvClass) -> Result<InnerText, ScriptError> {
        if class.inner == Inner::No || self.peek() != Some(b'(') {
            return match class.inner {
                Inner::Required | Inner::Verbatim => {
                    Err(self.fault(&format!("needs a name in brackets: ${}(name)", class.name)))
                }
                _ => Ok(InnerText::None),
            };
        }
        let body = self.balanced(b'(', b')')?.trim_ascii().to_vec();
        if body.contains(&b'$') && class.inner != Inner::Verbatim {
            return Ok(InnerText::Dynamic(Box::new(Format::parse_at_depth(
                &body,
                self.depth + 1,
            )?)));
        }
        if let Some(check) = class.check {
            check(&String::from_utf8_lossy(&body)).map_err(|e| self.fault(&e))?;
        }
        Ok(InnerText::Static(body.into()))
    }

    fn index(&mut self) -> Result<IndexText, ScriptError> {
        if self.peek() != Some(b'[') {
            return Ok(IndexText::Static(Index::None));
        }
        let body = self.balanced(b'[', b']')?.trim_ascii().to_vec();
        if body == b"*" {
            return Ok(IndexText::Static(Index::All));
        }
        if body.first() == Some(&b'$') {
            let (s, _) = spec_at_depth(&body, self.depth + 1)?;
            return Ok(IndexText::Dynamic(Box::new(s)));
        }
        match crate::route::value::parse_int(&body) {
            Some(i) => Ok(IndexText::Static(Index::At(i))),
            None => {
                Err(self.fault("has an index that is neither a number, * nor a pseudo-variable"))
            }
        }
    }

    fn transformation(&mut self) -> Result<(&'static Transformation, Vec<TransArg>), ScriptError> {
        let body = self.balanced(b'{', b'}')?.to_vec();
        let mut parts = split_args(&body).into_iter();
        let name =
            String::from_utf8_lossy(parts.next().unwrap_or_default().trim_ascii()).into_owned();
        let registry = &crate::server().registry;
        let Some(t) = registry.transformation(&name) else {
            let all: Vec<String> = registry
                .transformations()
                .map(|t| format!("{}.{}", t.class, t.name))
                .collect();
            return Err(
                self.fault(&match nearest(&name, all.iter().map(String::as_str)) {
                    Some(n) => {
                        format!("uses the unknown transformation {{{name}}}; did you mean {{{n}}}?")
                    }
                    None => format!("uses the unknown transformation {{{name}}}"),
                }),
            );
        };
        let mut args = Vec::new();
        for p in parts {
            args.push(if p.first() == Some(&b'$') {
                let (s, used) = spec_at_depth(p, self.depth + 1)?;
                if used == p.len() {
                    TransArg::Spec(Box::new(s))
                } else {
                    TransArg::Str(p.into())
                }
            } else {
                match crate::route::value::parse_int(p) {
                    Some(i) if t.class != "re" && !p.is_empty() => TransArg::Int(i),
                    _ => TransArg::Str(p.into()),
                }
            });
        }
        if args.len() < t.arity.0 || args.len() > t.arity.1 {
            return Err(self.fault(&format!(
                "gives {{{name}}} {} arguments, it takes {}",
                args.len(),
                t.arity.0
            )));
        }
        Ok((t, args))
    }

    /// The text between a bracket and its partner; steps behind it.
    fn balanced(&mut self, open: u8, close: u8) -> Result<&[u8], ScriptError> {
        let start = self.at + 1;
        let mut depth = 0usize;
        while let Some(c) = self.peek() {
            self.at += 1;
            if c == open {
                depth += 1;
            } else if c == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(&self.text[start..self.at - 1]);
                }
            }
        }
        Err(self.fault(&format!("lacks a closing {}", close as char)))
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, c: u8) -> bool {
        let hit = self.peek() == Some(c);
        self.at += usize::from(hit);
        hit
    }

    fn fault(&self, what: &str) -> ScriptError {
        ScriptError::new(format!(
            "the pseudo-variable \"{}\" {what}",
            String::from_utf8_lossy(self.text)
        ))
    }
}

/// Splits at commas outside of brackets: an argument may be a pseudo-variable with its own.
fn split_args(body: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0i32);
    for (i, c) in body.iter().enumerate() {
        match c {
            b'(' | b'{' | b'[' => depth += 1,
            b')' | b'}' | b']' => depth -= 1,
            b',' if depth <= 0 => {
                parts.push(&body[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&body[start..]);
    parts
}
