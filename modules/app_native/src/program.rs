//! What route blocks become: a compact program that a worker builds for itself and only reads.
//!
//! Names are resolved, constants folded into values, pseudo-variables and texts compiled. Nothing
//! here runs anything ([`crate::run`]) or knows the syntax tree ([`crate::compile`]).

use olelo_cfg::ast::{Field, IpNet, RouteKind};
use olelo_core::net::Proto;
use olelo_core::pv::{Format, Spec};
use olelo_core::route::ctx::PlaceNames;
use olelo_core::route::function::Function;
use olelo_core::route::value::Val;
use regex::bytes::Regex;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// The route blocks of one generation.
#[derive(Default)]
pub struct Program {
    /// Every block; [`PlaceNames::routes`] has its name at the same index.
    pub blocks: Vec<Code>,
    /// Where a block is, by kind and name; the main block of a kind has the empty name.
    pub index: FxHashMap<RouteKind, FxHashMap<String, usize>>,
    /// Names of the files that [`At`] points into, and of the blocks.
    pub names: Rc<PlaceNames>,
    /// Most rounds of a `while` (`max_while_loops`); 0 for any number.
    pub max_loops: i64,
    /// Deepest nesting of routes (`max_recursive_level`).
    pub max_depth: usize,
}

impl Program {
    /// The block of this kind and name.
    pub fn find(&self, kind: RouteKind, name: &str) -> Option<usize> {
        self.index.get(&kind)?.get(name).copied()
    }

    /// `file:line` of a place.
    pub fn place(&self, at: At) -> String {
        let files = &self.names.files;
        let file = files.get(at.file as usize).map_or("?", String::as_str);
        format!("{file}:{}", at.line)
    }

    /// A block's name as written: `route[RELAY]`, `request_route`.
    pub fn name(&self, block: usize) -> &str {
        self.names.routes.get(block).map_or("", String::as_str)
    }
}

/// A place in the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct At {
    /// Index into [`Program::files`].
    pub file: u32,
    /// Line, from 1.
    pub line: u32,
}

/// Statements, one after the other.
pub type Code = Box<[Step]>;

/// A statement.
pub struct Step {
    /// Where.
    pub at: At,
    /// What.
    pub op: Op,
}

/// What a statement does.
pub enum Op {
    /// `if`
    If(Expr, Code, Code),
    /// `while`
    While(Expr, Code),
    /// `switch`
    Switch(Box<Switch>),
    /// `break`
    Break,
    /// `return`
    Return(Option<Expr>),
    /// `exit`
    Exit,
    /// `drop`
    Drop,
    /// `$x = value`
    Assign(Box<Assign>),
    /// An expression whose value is its return code: a call.
    Do(Expr),
}

/// An assignment.
pub struct Assign {
    /// What is set.
    pub target: Spec,
    /// As written.
    pub text: Box<str>,
    /// To what.
    pub value: Expr,
}

/// A `switch` with all its cases laid out in one piece of code, entered where the label matches.
pub struct Switch {
    /// What is compared.
    pub value: Expr,
    /// Whether labels are all numbers.
    pub numeric: bool,
    /// Labels in order, each with the statement it enters at.
    pub labels: Vec<(Label, usize)>,
    /// Where `default:` enters.
    pub default: Option<usize>,
    /// The statements of all cases.
    pub code: Code,
}

/// A label of a case.
pub enum Label {
    /// A number.
    Int(i64),
    /// A string.
    Str(Box<[u8]>),
    /// A regular expression.
    Regex(Rc<Regex>),
}

/// A function's call.
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Args,
}

/// Arguments of a call.
pub enum Args {
    /// The same for every message.
    Fixed(Box<[Val<'static>]>),
    /// Some depend on the message.
    Mixed(Box<[Arg]>),
}

/// One argument of a call.
pub enum Arg {
    /// The same for every message.
    Fixed(Val<'static>),
    /// A text with pseudo-variables.
    Text(Format),
    /// An expression.
    Value(Expr),
    /// An expression for a function that wants a string, and the text that null becomes.
    String(Expr, &'static [u8]),
}

/// `==` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Equal, by the type of the left side.
    Eq,
    /// Equal as strings.
    StrEq,
    /// Equal as numbers.
    IntEq,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

/// Operators on numbers, and `+`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arith {
    /// Sum, or one string after the other.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// Remainder.
    Mod,
    /// Bits in either.
    Or,
    /// Bits in both.
    And,
    /// Bits in one.
    Xor,
    /// Bits moved left.
    Shl,
    /// Bits moved right.
    Shr,
}

/// An expression.
pub enum Expr {
    /// The same for every message.
    Fixed(Val<'static>),
    /// A pseudo-variable (or a select).
    Pv(Box<Spec>),
    /// A condition keyword of the core, as a value.
    Field(Field),
    /// A question about an address or a transport.
    Test(Box<Test>),
    /// A function's return code.
    Call(Box<Call>),
    /// A route block's return code.
    Route(usize),
    /// The return code of the route block with this name.
    RouteNamed(Box<Expr>),
    /// `!`
    Not(Box<Expr>),
    /// `-`
    Neg(Box<Expr>),
    /// `~`
    BitNot(Box<Expr>),
    /// `&&`
    And(Box<[Expr; 2]>),
    /// `||`
    Or(Box<[Expr; 2]>),
    /// `==` and its like; `true` for the opposite.
    Compare(Relation, bool, Box<[Expr; 2]>),
    /// `=~`; `true` for the opposite.
    Match(Box<(Expr, Pattern)>, bool),
    /// Arithmetic.
    Arith(Arith, Box<[Expr; 2]>),
    /// `(int)`
    ToInt(Box<Expr>),
    /// `(str)`
    ToStr(Box<Expr>),
    /// `defined`
    Defined(Box<Expr>),
    /// `strlen`
    StrLen(Box<Expr>),
    /// `strempty`
    StrEmpty(Box<Expr>),
    /// `selval`
    SelVal(Box<[Expr; 3]>),
    /// `($x = value)`
    Assign(Box<Assign>),
}

/// The right side of `=~`.
pub enum Pattern {
    /// Compiled once.
    Fixed(Rc<Regex>),
    /// From the message.
    Value(Expr),
}

/// A question about an address or a transport.
pub enum Test {
    /// An address is in a network.
    Net(Field, IpNet),
    /// An address, or the host of a URI, is this server's.
    Myself(Field),
    /// A transport.
    Proto(Field, Proto),
    /// An address is of version 6, or not.
    V6(Field, bool),
    /// The opposite.
    Not(Box<Test>),
}

impl Op {
    /// What it is, in a word: a keyword, or the name of the function called.
    pub fn name(&self) -> &'static str {
        match self {
            Op::If(..) => "if",
            Op::While(..) => "while",
            Op::Switch(_) => "switch",
            Op::Break => "break",
            Op::Return(_) => "return",
            Op::Exit => "exit",
            Op::Drop => "drop",
            Op::Assign(_) => "assign",
            Op::Do(Expr::Call(c)) => c.function.cfg.first().copied().unwrap_or(c.function.name),
            Op::Do(Expr::Route(_) | Expr::RouteNamed(_)) => "route",
            Op::Do(_) => "expression",
        }
    }
}
