//! The grammar of pseudo-variables.
//!
//! ```text
//! spec   = "$" name [ "(" inner ")" ]
//!        | "$(" name [ "(" inner ")" ] [ "[" index "]" ] *( "{" class "." name *( "," arg ) "}" ) ")"
//! inner  = text, in which pseudo-variables are replaced when it is read
//! ```

use super::{
    Args, Format, Index, IndexText, Inner, InnerText, ParseFault, PvClass, Spec, Step, TransArg,
    Transformation,
};
use crate::route::value::{Val, parse_int};
use crate::rpc::nearest;
use std::ops::Range;

/// Deepest nesting of pseudo-variables in pseudo-variables.
const MAX_DEPTH: usize = 12;

/// Compiles the pseudo-variable at the start of `text`, which is nested `depth` deep and begins
/// `base` bytes into the whole; also returns how many bytes it took.
pub(super) fn spec(text: &[u8], depth: usize, base: usize) -> Result<(Spec, usize), ParseFault> {
    Parser {
        text,
        at: 0,
        depth,
        base,
    }
    .run()
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    base: usize,
}

impl<'a> Parser<'a> {
    fn run(mut self) -> Result<(Spec, usize), ParseFault> {
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
                transforms: transforms.into(),
            },
            self.at,
        ))
    }

    fn class(&mut self) -> Result<&'static PvClass, ParseFault> {
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
        let help = match near {
            Some(n) => format!("did you mean ${n}?"),
            None => "is the module that has it loaded?".into(),
        };
        Err(self
            .fault_at(start, format!("has no known name ${name}"))
            .with_help(Some(help)))
    }

    fn inner(&mut self, class: &'static PvClass) -> Result<InnerText, ParseFault> {
        if class.inner == Inner::No || self.peek() != Some(b'(') {
            return match class.inner {
                Inner::Required | Inner::Verbatim => {
                    Err(self.fault(format!("needs a name in brackets: ${}(name)", class.name)))
                }
                _ => Ok(InnerText::None),
            };
        }
        let (body, at) = self.balanced(b'(', b')')?;
        if body.contains(&b'$') && class.inner != Inner::Verbatim {
            let format = Format::compile_at(body, self.depth + 1, self.base + at)?;
            return Ok(InnerText::Dynamic(Box::new(format)));
        }
        if let Some(check) = class.check {
            check(&String::from_utf8_lossy(body)).map_err(|e| self.fault_at(at, e))?;
        }
        Ok(InnerText::Static(body.into()))
    }

    fn index(&mut self) -> Result<IndexText, ParseFault> {
        if self.peek() != Some(b'[') {
            return Ok(IndexText::Static(Index::None));
        }
        let (body, at) = self.balanced(b'[', b']')?;
        if body == b"*" {
            return Ok(IndexText::Static(Index::All));
        }
        if body.first() == Some(&b'$') {
            let (s, used) = spec(body, self.depth + 1, self.base + at)?;
            if used == body.len() {
                return Ok(IndexText::Dynamic(Box::new(s)));
            }
        }
        match parse_int(body) {
            Some(i) => Ok(IndexText::Static(Index::At(i))),
            None => Err(self.fault_at(
                at,
                "has an index that is neither a number, * nor a pseudo-variable",
            )),
        }
    }

    fn transformation(&mut self) -> Result<Step, ParseFault> {
        let (body, at) = self.balanced(b'{', b'}')?;
        let mut parts = split_args(body).into_iter();
        let name = body.get(parts.next().unwrap_or(0..0)).unwrap_or_default();
        let name = String::from_utf8_lossy(name.trim_ascii()).into_owned();
        let registry = &crate::server().registry;
        let Some(what) = registry.transformation(&name) else {
            let all: Vec<String> = registry
                .transformations()
                .map(|t| format!("{}.{}", t.class, t.name))
                .collect();
            let near = nearest(&name, all.iter().map(String::as_str));
            return Err(self
                .fault_at(at, format!("uses the unknown transformation {{{name}}}"))
                .with_help(near.map(|n| format!("did you mean {{{n}}}?"))));
        };
        let args = parts
            .map(|r| self.argument(what, body.get(r.clone()).unwrap_or_default(), at + r.start))
            .collect::<Result<Vec<_>, _>>()?;
        let (least, most) = what.arity;
        if args.len() < least || args.len() > most {
            let takes = match least == most {
                true => least.to_string(),
                false => format!("{least} to {most}"),
            };
            let given = args.len();
            return Err(self.fault_at(
                at,
                format!("gives {{{name}}} {given} arguments, it takes {takes}"),
            ));
        }
        let fixed = |a: &TransArg| match a {
            TransArg::Fixed(v) => Some(v.clone()),
            TransArg::Spec(_) => None,
        };
        let args = match args.iter().map(fixed).collect::<Option<Vec<_>>>() {
            Some(all) => Args::Fixed(all.into()),
            None => Args::Read(args.into()),
        };
        Ok(Step { what, args })
    }

    /// An argument: a pseudo-variable, `$$` for a dollar, a number, else text as it stands.
    fn argument(&self, t: &Transformation, text: &[u8], at: usize) -> Result<TransArg, ParseFault> {
        if text == b"$$" {
            return Ok(TransArg::Fixed(Val::text("$")));
        }
        if text.first() == Some(&b'$') {
            let (s, used) = spec(text, self.depth + 1, self.base + at)?;
            if used == text.len() {
                return Ok(TransArg::Spec(Box::new(s)));
            }
        }
        // Only what prints as it was written becomes a number: `01` may be meant as text.
        let number = match t.class {
            "re" => None,
            _ => parse_int(text).filter(|i| i.to_string().as_bytes() == text),
        };
        Ok(TransArg::Fixed(match number {
            Some(i) => Val::Int(i),
            None => Val::owned(text),
        }))
    }

    /// The text between a bracket and its partner, without blanks around it, and where it begins;
    /// steps behind it. Blanks in a transformation may be arguments, so there they stay.
    fn balanced(&mut self, open: u8, close: u8) -> Result<(&'a [u8], usize), ParseFault> {
        let start = self.at + 1;
        let mut depth = 0usize;
        while let Some(c) = self.peek() {
            self.at += 1;
            if c == open {
                depth += 1;
            } else if c == close {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let body = self.text.get(start..self.at - 1).unwrap_or_default();
                    if open == b'{' {
                        return Ok((body, start));
                    }
                    let blanks = body.len() - body.trim_ascii_start().len();
                    return Ok((body.trim_ascii(), start + blanks));
                }
            }
        }
        Err(self.fault_at(start - 1, format!("lacks a closing {}", close as char)))
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, c: u8) -> bool {
        let hit = self.peek() == Some(c);
        self.at += usize::from(hit);
        hit
    }

    fn fault(&self, what: impl Into<String>) -> ParseFault {
        self.fault_at(self.at, what)
    }

    fn fault_at(&self, at: usize, what: impl Into<String>) -> ParseFault {
        ParseFault::new(self.base + at, what)
    }
}

/// Where the parts between commas stand; commas in brackets belong to a pseudo-variable.
fn split_args(body: &[u8]) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0i32);
    for (i, c) in body.iter().enumerate() {
        match c {
            b'(' | b'{' | b'[' => depth += 1,
            b')' | b'}' | b']' => depth -= 1,
            b',' if depth <= 0 => {
                parts.push(start..i);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(start..body.len());
    parts
}
