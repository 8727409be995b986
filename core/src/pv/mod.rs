//! Pseudo-variables and transformations: `$ru`, `$(hdr(X-Foo)[0]{s.len})`, `"text with $ci"`.
//!
//! The text is compiled once to a [`Spec`] or [`Format`] and evaluated for each message. Modules
//! declare classes ([`PvClass`]) and transformations ([`Transformation`]); this folder knows none of
//! them. Values borrow from the message where they can.

pub mod format;
mod parse;

pub use format::Format;

use crate::route::ctx::Ctx;
use crate::route::function::ScriptError;
use crate::route::value::Val;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

/// Reads a value. `key` holds what stands in the brackets.
pub type Getter = for<'c> fn(&'c Ctx, &PvKey<'_>) -> Val<'c>;
/// Writes a value; `Null` removes.
pub type Setter = fn(&mut Ctx, &PvKey<'_>, Val<'_>) -> Result<(), ScriptError>;
/// Transforms a value.
pub type Transform = for<'c> fn(&'c Ctx, Val<'c>, &[Val<'c>]) -> Val<'c>;

/// Says what is wrong with an inner name.
pub type NameCheck = fn(&str) -> Result<(), String>;

/// Which of several values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Index {
    /// Not said: the first.
    #[default]
    None,
    /// This one; negative counts from the end.
    At(i64),
    /// All, joined with commas.
    All,
}

/// What stands in the brackets of a pseudo-variable, evaluated.
#[derive(Debug, Clone, Copy, Default)]
pub struct PvKey<'a> {
    /// The inner name: `X-Foo` of `$hdr(X-Foo)`.
    pub inner: Option<&'a [u8]>,
    /// The index.
    pub index: Index,
}

impl<'a> PvKey<'a> {
    /// The inner name, or nothing.
    pub fn name(&self) -> &'a [u8] {
        self.inner.unwrap_or(b"")
    }
}

/// What may stand in the brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inner {
    /// Nothing.
    No,
    /// A name is required.
    Required,
    /// A name may be given.
    Optional,
    /// A text that is handed over as it stands, pseudo-variables in it not replaced: they are for
    /// another message (`$T_req($ru)`).
    Verbatim,
}

/// A class of pseudo-variables.
#[derive(Clone)]
pub struct PvClass {
    /// Name without the dollar.
    pub name: &'static str,
    /// Reads.
    pub get: Getter,
    /// Writes, where that is possible.
    pub set: Option<Setter>,
    /// What stands in the brackets.
    pub inner: Inner,
    /// Checks the inner name when the script is loaded.
    pub check: Option<NameCheck>,
    /// What it is.
    pub doc: &'static str,
}

/// Declares a class without brackets.
pub fn pv(name: &'static str, get: Getter) -> PvClass {
    PvClass {
        name,
        get,
        set: None,
        inner: Inner::No,
        check: None,
        doc: "",
    }
}

/// Declares a class with a name in brackets.
pub fn pv_named(name: &'static str, get: Getter) -> PvClass {
    PvClass {
        inner: Inner::Required,
        ..pv(name, get)
    }
}

impl PvClass {
    /// Makes it writable.
    pub fn set(mut self, set: Setter) -> Self {
        self.set = Some(set);
        self
    }

    /// The name in brackets may be left out.
    pub fn optional(mut self) -> Self {
        self.inner = Inner::Optional;
        self
    }

    /// What stands in the brackets is handed over as it stands.
    pub fn verbatim(mut self) -> Self {
        self.inner = Inner::Verbatim;
        self
    }

    /// Checks the inner name at load.
    pub fn check(mut self, f: NameCheck) -> Self {
        self.check = Some(f);
        self
    }

    /// Says what it is.
    pub fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}

/// A transformation `{class.name,arguments}`.
#[derive(Clone)]
pub struct Transformation {
    /// Class: `s` of `{s.len}`.
    pub class: &'static str,
    /// Name: `len` of `{s.len}`.
    pub name: &'static str,
    /// The code.
    pub run: Transform,
    /// Fewest and most arguments.
    pub arity: (usize, usize),
    /// What it does.
    pub doc: &'static str,
}

/// Declares a transformation with this number of arguments.
pub fn transformation(
    class: &'static str,
    name: &'static str,
    arity: std::ops::RangeInclusive<usize>,
    run: Transform,
) -> Transformation {
    Transformation {
        class,
        name,
        run,
        arity: (*arity.start(), *arity.end()),
        doc: "",
    }
}

impl Transformation {
    /// Says what it does.
    pub fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}

/// A compiled pseudo-variable with its index and transformations.
#[derive(Debug, Clone)]
pub struct Spec {
    class: &'static PvClass,
    inner: InnerText,
    index: IndexText,
    transforms: Box<[Step]>,
}

/// A transformation with its arguments.
#[derive(Debug, Clone)]
struct Step {
    what: &'static Transformation,
    args: Args,
}

/// Arguments of a transformation.
#[derive(Debug, Clone)]
enum Args {
    /// Known when the text is compiled: evaluating them costs nothing.
    Fixed(Box<[Val<'static>]>),
    /// Some are pseudo-variables.
    Read(Box<[TransArg]>),
}

impl std::fmt::Debug for PvClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "${}", self.name)
    }
}

impl std::fmt::Debug for Transformation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{{}.{}}}", self.class, self.name)
    }
}

#[derive(Debug, Clone)]
enum InnerText {
    None,
    Static(Box<[u8]>),
    Dynamic(Box<Format>),
}

#[derive(Debug, Clone)]
enum IndexText {
    Static(Index),
    Dynamic(Box<Spec>),
}

#[derive(Debug, Clone)]
enum TransArg {
    Fixed(Val<'static>),
    Spec(Box<Spec>),
}

/// What is wrong with a text that was to be compiled, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseFault {
    /// Bytes from the beginning of the text.
    pub at: usize,
    /// What is wrong there, to be read after the text: "has no known name".
    pub text: String,
    /// The likely fix, if there is one: "did you mean $ru?".
    pub help: Option<String>,
}

impl fmt::Display for ParseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.help {
            Some(h) => write!(f, "{}; {h}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl std::error::Error for ParseFault {}

impl ParseFault {
    fn new(at: usize, text: impl Into<String>) -> ParseFault {
        ParseFault {
            at,
            text: text.into(),
            help: None,
        }
    }

    fn with_help(mut self, help: Option<String>) -> ParseFault {
        self.help = help;
        self
    }

    /// The error as scripts get it, naming the whole text.
    fn in_text(self, text: &[u8]) -> ScriptError {
        let text = String::from_utf8_lossy(text);
        ScriptError::new(format!("the pseudo-variable \"{text}\" {self}"))
    }
}

impl Spec {
    /// Compiles `$name`, `$name(inner)`, `$(name(inner)[index]{transformation})`. The whole of
    /// `text` must be one pseudo-variable.
    pub fn parse(text: &[u8]) -> Result<Spec, ScriptError> {
        Spec::compile(text).map_err(|f| f.in_text(text))
    }

    /// As [`Spec::parse`], telling where in the text a fault is.
    pub fn compile(text: &[u8]) -> Result<Spec, ParseFault> {
        let (spec, used) = parse::spec(text, 0, 0)?;
        if used < text.len() {
            return Err(ParseFault::new(used, "goes on after its end"));
        }
        Ok(spec)
    }

    /// Compiles the pseudo-variable at the start of `text`; also returns how many bytes it took.
    pub fn compile_prefix(text: &[u8]) -> Result<(Spec, usize), ParseFault> {
        parse::spec(text, 0, 0)
    }

    /// Whether [`Spec::set`] can change it: the class is writable and no transformation follows.
    pub fn is_writable(&self) -> bool {
        self.class.set.is_some() && self.transforms.is_empty()
    }

    /// As [`Spec::parse`], remembering the result: scripts give the same few texts over and over.
    pub fn parse_cached(text: &[u8]) -> Result<Rc<Spec>, ScriptError> {
        thread_local!(static SPECS: RefCell<HashMap<Box<[u8]>, Rc<Spec>>> = RefCell::default());
        SPECS.with_borrow_mut(|cache| {
            if let Some(s) = cache.get(text) {
                return Ok(s.clone());
            }
            let spec = Rc::new(Spec::parse(text)?);
            // A script that builds names from messages must not grow the worker without bound.
            if cache.len() >= CACHED_TEXTS {
                cache.clear();
            }
            cache.insert(text.into(), spec.clone());
            Ok(spec)
        })
    }

    /// The class.
    pub fn class(&self) -> &'static PvClass {
        self.class
    }

    /// The value for this message.
    pub fn get<'c>(&self, ctx: &'c Ctx) -> Val<'c> {
        let index = self.index(ctx);
        let value = match &self.inner {
            InnerText::None => (self.class.get)(ctx, &PvKey { inner: None, index }),
            InnerText::Static(s) => (self.class.get)(
                ctx,
                &PvKey {
                    inner: Some(s),
                    index,
                },
            ),
            InnerText::Dynamic(f) => {
                let name = f.eval(ctx);
                (self.class.get)(
                    ctx,
                    &PvKey {
                        inner: Some(&name),
                        index,
                    },
                )
            }
        };
        self.transforms.iter().fold(value, |v, step| {
            let run = step.what.run;
            match &step.args {
                Args::Fixed(args) => run(ctx, v, args),
                Args::Read(args) => {
                    let args: Vec<Val<'c>> = args
                        .iter()
                        .map(|a| match a {
                            TransArg::Fixed(v) => v.clone(),
                            TransArg::Spec(s) => s.get(ctx),
                        })
                        .collect();
                    run(ctx, v, &args)
                }
            }
        })
    }

    /// Sets the value.
    pub fn set(&self, ctx: &mut Ctx, value: Val<'_>) -> Result<(), ScriptError> {
        let (Some(set), true) = (self.class.set, self.is_writable()) else {
            let name = self.class.name;
            return Err(ScriptError::new(match self.class.set {
                Some(_) => format!("${name} can't be changed through a transformation"),
                None => format!("${name} can't be changed"),
            }));
        };
        let index = self.index(ctx);
        match &self.inner {
            InnerText::None => set(ctx, &PvKey { inner: None, index }, value),
            InnerText::Static(s) => set(
                ctx,
                &PvKey {
                    inner: Some(s),
                    index,
                },
                value,
            ),
            InnerText::Dynamic(f) => {
                let name = f.eval(ctx);
                set(
                    ctx,
                    &PvKey {
                        inner: Some(&name),
                        index,
                    },
                    value,
                )
            }
        }
    }

    fn index(&self, ctx: &Ctx) -> Index {
        match &self.index {
            IndexText::Static(i) => *i,
            IndexText::Dynamic(s) => s.get(ctx).as_int().map_or(Index::None, Index::At),
        }
    }
}

/// How many texts a worker remembers compiled.
pub(crate) const CACHED_TEXTS: usize = 4096;

/// Value number `index` of a list that is read front to back; `All` joins with commas.
pub fn pick<'c>(items: impl DoubleEndedIterator<Item = &'c [u8]> + Clone, index: Index) -> Val<'c> {
    let mut items = items;
    match index {
        Index::None => Val::opt(items.next()),
        Index::At(i) if i >= 0 => Val::opt(items.nth(i as usize)),
        Index::At(i) => Val::opt(items.nth_back(i.unsigned_abs() as usize - 1)),
        Index::All => {
            let all: Vec<&[u8]> = items.collect();
            if all.is_empty() {
                Val::Null
            } else {
                Val::owned(all.join(&b","[..]))
            }
        }
    }
}
