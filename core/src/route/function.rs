//! Exported functions: one declaration serves every routing language.
//!
//! A function is a plain Rust function whose argument types say how the script's values are
//! converted, in the style of axum's handlers:
//!
//! ```ignore
//! function("process_maxfwd", process_maxfwd) // KSR.maxfwd.process_maxfwd(limit)
//!     .cfg("mf_process_maxfwd_header")       // the native name
//!     .args(["limit"]).routes(REQUEST)
//!     .doc("Decrements Max-Forwards; adds the header with `limit` where it is missing.")
//! ```
//!
//! From it come the KEMI function of every engine, the native function, arity and type errors that
//! name the signature, the reference page, the editor stubs and `olctl doc`. Nothing here knows an
//! interpreter.

use super::ctx::Ctx;
use super::value::Val;
use std::borrow::Cow;

/// Why a script's call failed. The engine adds file:line and raises it as an error of its language.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct ScriptError(pub String);

impl ScriptError {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        ScriptError(text.into())
    }
}

/// What the interpreters call.
pub type Handler =
    Box<dyn Fn(&mut Ctx, &[Val<'_>]) -> Result<Val<'static>, ScriptError> + Send + Sync>;

/// Which route blocks a function may be called from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routes(pub u16);

/// `request_route` and what it calls.
pub const REQUEST: Routes = Routes(1);
/// `failure_route`.
pub const FAILURE: Routes = Routes(2);
/// Reply routes of a transaction.
pub const TM_ONREPLY: Routes = Routes(4);
/// `branch_route`.
pub const BRANCH: Routes = Routes(8);
/// `onsend_route`.
pub const ONSEND: Routes = Routes(16);
/// The stateless `reply_route`.
pub const CORE_ONREPLY: Routes = Routes(32);
/// `event_route`.
pub const EVENT: Routes = Routes(64);
/// Both kinds of reply route.
pub const ONREPLY: Routes = Routes(4 | 32);
/// Every route block.
pub const ANY: Routes = Routes(127);

impl std::ops::BitOr for Routes {
    type Output = Routes;
    fn bitor(self, other: Routes) -> Routes {
        Routes(self.0 | other.0)
    }
}

impl Routes {
    /// Whether `one` is among these.
    pub fn contains(self, one: Routes) -> bool {
        self.0 & one.0 == one.0
    }

    /// The names, for documentation: `REQUEST|FAILURE`.
    pub fn names(self) -> String {
        if self == ANY {
            return "ANY".into();
        }
        [
            (1, "REQUEST"),
            (2, "FAILURE"),
            (4, "TM_ONREPLY"),
            (8, "BRANCH"),
            (16, "ONSEND"),
            (32, "CORE_ONREPLY"),
            (64, "EVENT"),
        ]
        .iter()
        .filter(|(bit, _)| self.0 & bit != 0)
        .map(|(_, n)| *n)
        .collect::<Vec<_>>()
        .join("|")
    }
}

/// The type of an argument or a return value, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Integer.
    Int,
    /// String.
    Str,
    /// Boolean.
    Bool,
    /// Nothing.
    None,
    /// Integer, string or null.
    Any,
}

impl Kind {
    /// As written in signatures and error messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Int => "int",
            Kind::Str => "str",
            Kind::Bool => "bool",
            Kind::None => "none",
            Kind::Any => "any",
        }
    }
}

/// One argument of a function.
#[derive(Debug, Clone)]
pub struct Param {
    /// Name, for documentation and stubs.
    pub name: Cow<'static, str>,
    /// Type.
    pub kind: Kind,
    /// May be left out.
    pub optional: bool,
    /// The native language hands the text over as written, see [`Function::raw`].
    pub raw: bool,
}

/// One exported function.
pub struct Function {
    /// Name under its KEMI prefix.
    pub name: &'static str,
    /// KEMI prefix (`tm` in `KSR.tm.t_relay`; empty for `KSR.info`); `None` until the module sets it.
    pub prefix: Option<&'static str>,
    /// Whether KEMI scripts see it.
    pub kemi: bool,
    /// Names in the native language.
    pub cfg: Vec<&'static str>,
    /// Arguments in order.
    pub params: Vec<Param>,
    /// How many arguments must be given.
    pub least: usize,
    /// Type of the value returned.
    pub returns: Kind,
    /// Where it may be called.
    pub routes: Routes,
    /// What it does.
    pub doc: &'static str,
    /// The code.
    pub handler: Handler,
}

/// Declares a function; see the module's essay.
pub fn function<M>(name: &'static str, f: impl IntoHandler<M>) -> Function {
    let (params, returns, handler) = f.into_handler();
    let least = params.iter().filter(|p| !p.optional).count();
    Function {
        name,
        prefix: None,
        kemi: true,
        cfg: Vec::new(),
        params,
        least,
        returns,
        routes: ANY,
        doc: "",
        handler,
    }
}

impl Function {
    /// Adds a name in the native language.
    pub fn cfg(mut self, name: &'static str) -> Self {
        self.cfg.push(name);
        self
    }

    /// Names the arguments.
    pub fn args<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        debug_assert_eq!(
            N,
            self.params.len(),
            "names of the arguments of {}",
            self.name
        );
        for (p, n) in self.params.iter_mut().zip(names) {
            p.name = Cow::Borrowed(n);
        }
        self
    }

    /// In the native language, hands these string arguments over as written. All others are
    /// evaluated first: `"$ru"` becomes the URI. For names of pseudo-variables that the function
    /// reads or writes, and for texts that it evaluates itself. Comes after [`Function::args`].
    pub fn raw(mut self, names: &[&str]) -> Self {
        debug_assert!(
            names
                .iter()
                .all(|n| self.params.iter().any(|p| p.name == *n)),
            "raw arguments of {}",
            self.name
        );
        for p in &mut self.params {
            p.raw |= names.contains(&p.name.as_ref());
        }
        self
    }

    /// Says where it may be called; everywhere unless told.
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// Says what it does, in a sentence or two.
    pub fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// Puts it under another KEMI prefix than its module's.
    pub fn prefix(mut self, prefix: &'static str) -> Self {
        self.prefix = Some(prefix);
        self
    }

    /// Hides it from KEMI: only the native language has it.
    pub fn native_only(mut self) -> Self {
        self.kemi = false;
        self
    }

    /// `KSR.tm.t_relay`.
    pub fn full_name(&self) -> String {
        match self.prefix {
            Some("") | None => format!("KSR.{}", self.name),
            Some(p) => format!("KSR.{p}.{}", self.name),
        }
    }

    /// `KSR.maxfwd.process_maxfwd(limit: int) -> int`.
    pub fn signature(&self) -> String {
        let args: Vec<String> = self
            .params
            .iter()
            .map(|p| {
                format!(
                    "{}{}: {}",
                    p.name,
                    if p.optional { "?" } else { "" },
                    p.kind.name()
                )
            })
            .collect();
        format!(
            "{}({}) -> {}",
            self.full_name(),
            args.join(", "),
            self.returns.name()
        )
    }

    /// Whether this argument, counted from 0, may be text: a number with a fraction is then to be
    /// printed as the language does, since values are whole numbers.
    pub fn takes_text(&self, argument: usize) -> bool {
        let param = self.params.get(argument);
        param.is_some_and(|p| matches!(p.kind, Kind::Str | Kind::Any))
    }

    /// Checks the number of arguments, then calls. Errors name the signature.
    pub fn call(&self, ctx: &mut Ctx, args: &[Val<'_>]) -> Result<Val<'static>, ScriptError> {
        if args.len() < self.least || args.len() > self.params.len() {
            return Err(ScriptError(format!(
                "{} given {} argument{} to {}",
                self.full_name(),
                args.len(),
                if args.len() == 1 { "" } else { "s" },
                self.signature()
            )));
        }
        super::run::refresh_log_prefix(ctx);
        let number_for_text =
            |(p, a): (&Param, &Val<'_>)| p.kind == Kind::Str && matches!(a, Val::Int(_));
        let done = if self.params.iter().zip(args).any(number_for_text) {
            (self.handler)(ctx, &self.printed(args))
        } else {
            (self.handler)(ctx, args)
        };
        done.map_err(|e| ScriptError(format!("{}: {}", self.signature(), e.0)))
    }

    /// The arguments with numbers printed where text is wanted: scripts count on that, since the
    /// original does so in most languages.
    #[cold]
    fn printed<'a>(&self, args: &'a [Val<'_>]) -> Vec<Val<'a>> {
        let all = args.iter().zip(&self.params);
        all.map(|(a, p)| match (p.kind, a) {
            (Kind::Str, Val::Int(i)) => Val::from(i.to_string()),
            (_, Val::Int(i)) => Val::Int(*i),
            (_, Val::Bool(b)) => Val::Bool(*b),
            (_, Val::Str(s)) => Val::bytes(s),
            (_, other) => other.clone().into_owned(),
        })
        .collect()
    }
}

/// A type that a script's value converts to.
pub trait Arg {
    /// The type as the function sees it, for a call's lifetime.
    type Item<'a>;
    /// The type as scripts see it.
    const KIND: Kind;
    /// May be left out.
    const OPTIONAL: bool = false;
    /// Converts; the error says what was expected.
    fn convert<'a>(v: Option<&'a Val<'_>>) -> Result<Self::Item<'a>, String>;
}

impl Arg for i64 {
    type Item<'a> = i64;
    const KIND: Kind = Kind::Int;
    fn convert(v: Option<&Val<'_>>) -> Result<i64, String> {
        match v {
            Some(v) => v
                .as_int()
                .ok_or_else(|| format!("expected an integer, got {}", shown(v))),
            None => Err("expected an integer, got nothing".into()),
        }
    }
}

impl Arg for &[u8] {
    type Item<'a> = &'a [u8];
    const KIND: Kind = Kind::Str;
    fn convert<'a>(v: Option<&'a Val<'_>>) -> Result<&'a [u8], String> {
        match v {
            Some(Val::Str(s)) => Ok(s),
            Some(v) => Err(format!("expected a string, got {}", shown(v))),
            None => Err("expected a string, got nothing".into()),
        }
    }
}

impl Arg for &str {
    type Item<'a> = &'a str;
    const KIND: Kind = Kind::Str;
    fn convert<'a>(v: Option<&'a Val<'_>>) -> Result<&'a str, String> {
        std::str::from_utf8(<&[u8]>::convert(v)?).map_err(|_| "expected text in UTF-8".into())
    }
}

/// Any value at all, null included.
pub struct AnyVal<'a>(pub &'a Val<'a>);

impl Arg for AnyVal<'_> {
    type Item<'a> = AnyVal<'a>;
    const KIND: Kind = Kind::Any;
    fn convert<'a>(v: Option<&'a Val<'_>>) -> Result<AnyVal<'a>, String> {
        v.map(AnyVal).ok_or_else(|| "expected a value".into())
    }
}

impl<T: Arg> Arg for Option<T> {
    type Item<'a> = Option<T::Item<'a>>;
    const KIND: Kind = T::KIND;
    const OPTIONAL: bool = true;
    fn convert<'a>(v: Option<&'a Val<'_>>) -> Result<Self::Item<'a>, String> {
        match v {
            None | Some(Val::Null) => Ok(None),
            v => T::convert(v).map(Some),
        }
    }
}

/// A type that converts to a script's value.
pub trait Returned {
    /// The type as scripts see it.
    const KIND: Kind;
    /// Converts.
    fn into_val(self) -> Result<Val<'static>, ScriptError>;
}

macro_rules! returned {
    ($($t:ty, $kind:ident, $v:ident => $e:expr;)*) => {$(
        impl Returned for $t {
            const KIND: Kind = Kind::$kind;
            fn into_val(self) -> Result<Val<'static>, ScriptError> { let $v = self; Ok($e) }
        }
    )*};
}
returned! {
    (), None, _v => Val::Null;
    i64, Int, v => Val::Int(v);
    bool, Bool, v => Val::Bool(v);
    Vec<u8>, Str, v => Val::from(v);
    String, Str, v => Val::from(v);
    Val<'static>, Any, v => v;
    Option<Vec<u8>>, Str, v => v.map_or(Val::Null, Val::from);
}

impl<T: Returned> Returned for Result<T, ScriptError> {
    const KIND: Kind = T::KIND;
    fn into_val(self) -> Result<Val<'static>, ScriptError> {
        self?.into_val()
    }
}

/// Rust functions that can be exported. `M` only tells the implementations apart.
pub trait IntoHandler<M> {
    /// Arguments, return type, and the code that converts and calls.
    fn into_handler(self) -> (Vec<Param>, Kind, Handler);
}

macro_rules! into_handler {
    ($($a:ident $i:tt),*) => {
        impl<F, R, $($a,)*> IntoHandler<(R, $($a,)*)> for F
        where
            R: Returned + 'static,
            $($a: Arg,)*
            F: Fn(&mut Ctx, $($a),*) -> R + for<'a> Fn(&mut Ctx, $($a::Item<'a>),*) -> R + Send + Sync + 'static,
        {
            fn into_handler(self) -> (Vec<Param>, Kind, Handler) {
                // Fixes the lifetime of the arguments to that of the call.
                #[allow(clippy::too_many_arguments, clippy::extra_unused_lifetimes)]
                fn call<'a, R, $($a: Arg,)*>(
                    f: impl Fn(&mut Ctx, $($a::Item<'a>),*) -> R, ctx: &mut Ctx, $($i: $a::Item<'a>),*
                ) -> R { f(ctx, $($i),*) }
                let params = vec![$(Param { name: Cow::Borrowed(stringify!($i)), kind: <$a as Arg>::KIND, optional: <$a as Arg>::OPTIONAL, raw: false }),*];
                let handler: Handler = Box::new(move |ctx, args| {
                    let mut _next = args.iter();
                    let mut _n = 0;
                    $(
                        _n += 1;
                        let $i = <$a as Arg>::convert(_next.next()).map_err(|e| ScriptError(format!("argument {_n}: {e}")))?;
                    )*
                    call::<R, $($a),*>(&self, ctx, $($i),*).into_val()
                });
                (params, R::KIND, handler)
            }
        }
    };
}
into_handler!();
into_handler!(A a);
into_handler!(A a, B b);
into_handler!(A a, B b, C c);
into_handler!(A a, B b, C c, D d);
into_handler!(A a, B b, C c, D d, E e);
into_handler!(A a, B b, C c, D d, E e, G g);

/// A value as error messages show it, cut to a readable length.
fn shown(v: &Val<'_>) -> String {
    match v {
        Val::Str(s) => {
            let t = String::from_utf8_lossy(s);
            let cut: String = t.chars().take(32).collect();
            format!(
                "string \"{cut}{}\"",
                if cut.len() < t.len() { "…" } else { "" }
            )
        }
        Val::Int(i) => format!("integer {i}"),
        v => v.type_name().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(_ctx: &mut Ctx, a: i64, b: Option<i64>) -> i64 {
        a + b.unwrap_or(10)
    }

    fn upper(_ctx: &mut Ctx, s: &[u8]) -> Vec<u8> {
        s.to_ascii_uppercase()
    }

    #[test]
    fn arguments_convert_by_their_types() {
        let mut ctx = Ctx::new();
        let f = function("add", add).prefix("t").args(["a", "b"]);
        assert_eq!(
            f.call(&mut ctx, &[Val::Int(1), Val::text("2")]),
            Ok(Val::Int(3))
        );
        assert_eq!(f.call(&mut ctx, &[Val::Int(1)]), Ok(Val::Int(11)));
        assert_eq!(f.signature(), "KSR.t.add(a: int, b?: int) -> int");
        let g = function("upper", upper);
        assert_eq!(g.call(&mut ctx, &[Val::text("ab")]), Ok(Val::owned("AB")));
        assert_eq!(g.call(&mut ctx, &[Val::Int(-5)]), Ok(Val::owned("-5")));
    }

    #[test]
    fn a_wrong_call_names_the_signature() {
        let mut ctx = Ctx::new();
        let f = function("add", add).prefix("t").args(["a", "b"]);
        let e = f.call(&mut ctx, &[]).unwrap_err().0;
        assert!(
            e.contains("KSR.t.add given 0 arguments to KSR.t.add(a: int, b?: int)"),
            "{e}"
        );
        let e = f.call(&mut ctx, &[Val::text("x")]).unwrap_err().0;
        assert!(
            e.contains("argument 1: expected an integer, got string \"x\""),
            "{e}"
        );
    }
}
