//! The syntax tree of a kamailio.cfg: what was written, with where, and nothing of what it means.
//!
//! Defines and includes are already gone; names of core parameters are canonical (aliases resolved).
//! Format strings keep their pseudo-variables as text: compiling those is the server's work.
//! [`Config`] owns its parts in one vector per kind; [`Config::items`] gives their order in the file.

use crate::pv::PvSpec;
use crate::source::Span;
use std::net::IpAddr;

/// A whole configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Every top-level item in the order written.
    pub items: Vec<Item>,
    /// `name = value` of core parameters, other than the ones that have their own vector below.
    pub params: Vec<Param>,
    /// `listen = …` and `socket = { … }`, one per address.
    pub listens: Vec<Listen>,
    /// `alias = …` / `domain = …`, one per name.
    pub aliases: Vec<Alias>,
    /// `loadmodule` / `loadmodulex`.
    pub modules: Vec<LoadModule>,
    /// `loadpath` / `mpath`; each may hold several directories separated by `:`.
    pub loadpaths: Vec<LoadPath>,
    /// `modparam` / `modparamx`.
    pub modparams: Vec<ModParam>,
    /// `group.name = value`.
    pub globals: Vec<Global>,
    /// Names declared by `flags`.
    pub flags: Vec<FlagDecl>,
    /// Names declared by `avpflags`.
    pub avpflags: Vec<FlagDecl>,
    /// `cfgengine "name"`.
    pub engine: Option<(String, Span)>,
    /// Every route block.
    pub routes: Vec<RouteBlock>,
}

impl Config {
    /// The last value given to a core parameter, by canonical name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().rev().find(|p| p.name == name)
    }

    /// The block of this kind and name.
    pub fn route(&self, kind: RouteKind, name: Option<&str>) -> Option<&RouteBlock> {
        self.routes
            .iter()
            .find(|r| r.kind == kind && r.name.as_deref() == name)
    }
}

/// One top-level item: an index into the vector of [`Config`] that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// Index into [`Config::params`].
    Param(usize),
    /// Index into [`Config::listens`].
    Listen(usize),
    /// Index into [`Config::aliases`].
    Alias(usize),
    /// Index into [`Config::modules`].
    LoadModule(usize),
    /// Index into [`Config::loadpaths`].
    LoadPath(usize),
    /// Index into [`Config::modparams`].
    ModParam(usize),
    /// Index into [`Config::globals`].
    Global(usize),
    /// Index into [`Config::flags`].
    Flag(usize),
    /// Index into [`Config::avpflags`].
    AvpFlag(usize),
    /// [`Config::engine`].
    Engine,
    /// Index into [`Config::routes`].
    Route(usize),
}

/// A core parameter and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Canonical name, as in [`crate::params::CORE_PARAMS`]; `coreparam[x]` for `coreparam[x]=…`.
    pub name: String,
    /// Value.
    pub value: ParamValue,
    /// The whole assignment.
    pub span: Span,
    /// The name as written.
    pub name_span: Span,
}

/// The value of a core parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamValue {
    /// A number.
    Int(i64),
    /// `yes`, `on`, `true`, `enable` or their opposites.
    Bool(bool),
    /// A quoted string.
    Str(String),
    /// A bare word, an address or a host name.
    Id(String),
}

impl ParamValue {
    /// As a number: booleans are 1 and 0.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            ParamValue::Int(n) => Some(*n),
            ParamValue::Bool(b) => Some(i64::from(*b)),
            ParamValue::Str(_) | ParamValue::Id(_) => None,
        }
    }

    /// As a truth: any number but 0.
    pub fn as_bool(&self) -> Option<bool> {
        self.as_int().map(|n| n != 0)
    }

    /// As text: a string or a bare word.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            ParamValue::Str(s) | ParamValue::Id(s) => Some(s),
            ParamValue::Int(_) | ParamValue::Bool(_) => None,
        }
    }
}

/// A transport protocol as the language names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proto {
    /// `udp`
    Udp,
    /// `tcp`
    Tcp,
    /// `tls`
    Tls,
    /// `sctp`
    Sctp,
    /// `ws`
    Ws,
    /// `wss`
    Wss,
}

impl Proto {
    /// Reads a protocol name, in either case.
    pub fn parse(word: &str) -> Option<Proto> {
        let all = [
            Proto::Udp,
            Proto::Tcp,
            Proto::Tls,
            Proto::Sctp,
            Proto::Ws,
            Proto::Wss,
        ];
        all.into_iter()
            .find(|p| p.as_str().eq_ignore_ascii_case(word))
    }

    /// The name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Proto::Udp => "udp",
            Proto::Tcp => "tcp",
            Proto::Tls => "tls",
            Proto::Sctp => "sctp",
            Proto::Ws => "ws",
            Proto::Wss => "wss",
        }
    }
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Listen {
    /// Protocol; none means every protocol that is enabled.
    pub proto: Option<Proto>,
    /// Host names, addresses or interfaces; more than one only for `sctp:(a, b)`. IPv6 without brackets.
    pub hosts: Vec<String>,
    /// Port; none means the default of the protocol.
    pub port: Option<u16>,
    /// `advertise host:port`.
    pub advertise: Option<Advertise>,
    /// `name "x"`: the socket's name.
    pub name: Option<String>,
    /// `agname "x"`: the async worker group that handles its traffic.
    pub agname: Option<String>,
    /// `virtual`: an address that may move to this host later.
    pub is_virtual: bool,
    /// `workers = n` of a `socket` block.
    pub workers: Option<i64>,
    /// `vrf = "x"` of a `socket` block.
    pub vrf: Option<String>,
    /// The whole item.
    pub span: Span,
}

/// The address written in Via and Record-Route in place of the one listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
}

/// A host name that is this server.
#[derive(Debug, Clone, PartialEq)]
pub struct Alias {
    /// Protocol; none means any.
    pub proto: Option<Proto>,
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port; none (or `*`) means any.
    pub port: Option<u16>,
    /// The whole name.
    pub span: Span,
}

/// `loadmodule "name" ["opts"]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadModule {
    /// As written: `tm`, `tm.so` or a path.
    pub name: String,
    /// Options (only `g` and `n` are known to Kamailio).
    pub opts: Option<String>,
    /// `loadmodulex`: pseudo-variables in the name are to be evaluated.
    pub evaluate: bool,
    /// The whole directive.
    pub span: Span,
}

impl LoadModule {
    /// The bare module name: `/usr/lib/x/tm.so` is `tm`.
    pub fn short_name(&self) -> &str {
        let base = self.name.rsplit('/').next().unwrap_or(&self.name);
        base.strip_suffix(".so").unwrap_or(base)
    }
}

/// `loadpath "a:b"`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadPath {
    /// Directories separated by `:`.
    pub path: String,
    /// The whole directive.
    pub span: Span,
}

/// `modparam("module", "name", value)`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModParam {
    /// The first argument as written; Kamailio matches it as a regular expression.
    pub pattern: String,
    /// The pattern split at `|`.
    pub modules: Vec<String>,
    /// Parameter name.
    pub name: String,
    /// Value.
    pub value: ModParamValue,
    /// `modparamx`: pseudo-variables in the value are to be evaluated.
    pub evaluate: bool,
    /// The whole directive.
    pub span: Span,
    /// The module argument.
    pub module_span: Span,
    /// The name argument.
    pub name_span: Span,
    /// The value argument.
    pub value_span: Span,
}

/// The value of a module parameter or of a custom global.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModParamValue {
    /// A number (or yes/no).
    Int(i64),
    /// A string.
    Str(String),
}

/// `group.name = value ["desc" text]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Global {
    /// Group.
    pub group: String,
    /// Name.
    pub name: String,
    /// Default value.
    pub value: ModParamValue,
    /// Description.
    pub desc: Option<String>,
    /// The whole assignment.
    pub span: Span,
}

/// A name declared by `flags` or `avpflags`.
#[derive(Debug, Clone, PartialEq)]
pub struct FlagDecl {
    /// Name.
    pub name: String,
    /// Number, where one was asked for.
    pub number: Option<i64>,
    /// The name and number.
    pub span: Span,
}

/// What starts a route block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// `request_route {}` or `route {}` without a name; `route[x] {}` with one.
    Request,
    /// `reply_route {}` / `onreply_route {}` without a name; `onreply_route[x] {}` with one.
    Reply,
    /// `branch_route[x] {}`.
    Branch,
    /// `failure_route[x] {}`.
    Failure,
    /// `onsend_route {}`.
    OnSend,
    /// `event_route[module:event] {}`.
    Event,
}

impl RouteKind {
    /// The keyword that starts a named block of this kind.
    pub fn keyword(self) -> &'static str {
        match self {
            RouteKind::Request => "route",
            RouteKind::Reply => "onreply_route",
            RouteKind::Branch => "branch_route",
            RouteKind::Failure => "failure_route",
            RouteKind::OnSend => "onsend_route",
            RouteKind::Event => "event_route",
        }
    }
}

/// A route block.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteBlock {
    /// Kind.
    pub kind: RouteKind,
    /// Name; none for the main block of its kind. Numbers are names too (`route[1]` is `"1"`).
    pub name: Option<String>,
    /// Statements.
    pub body: Block,
    /// The whole block.
    pub span: Span,
    /// From the keyword to the closing bracket of the name.
    pub head_span: Span,
}

/// Statements in braces (or a single one without).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Block {
    /// Statements; empty ones (`;`) are dropped.
    pub stmts: Vec<Stmt>,
    /// With its braces.
    pub span: Span,
}

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Stmt {
    /// What it is.
    pub kind: StmtKind,
    /// With its `;`.
    pub span: Span,
}

/// The kinds of statements.
#[derive(Debug, Clone, PartialEq)]
pub enum StmtKind {
    /// `if (cond) then [else otherwise]`.
    If {
        /// Condition.
        cond: Expr,
        /// Taken when true.
        then: Block,
        /// Taken when false; `else if` is a block of one `if`.
        otherwise: Option<Block>,
    },
    /// `while (cond) body`.
    While {
        /// Condition.
        cond: Expr,
        /// Body.
        body: Block,
    },
    /// `switch (value) { … }`.
    Switch {
        /// The value compared.
        value: Expr,
        /// Cases in the order written; control falls through to the next without `break`.
        cases: Vec<Case>,
    },
    /// `break;`
    Break,
    /// `return [expr];`
    Return(Option<Expr>),
    /// `exit [expr];`
    Exit(Option<Expr>),
    /// `drop [expr];`
    Drop(Option<Expr>),
    /// `$x = expr;`
    Assign {
        /// The pseudo-variable assigned to.
        target: Pv,
        /// `=` or a compound form.
        op: AssignOp,
        /// Value.
        value: Expr,
    },
    /// A function call.
    Call(Call),
    /// `{ … }`.
    Block(Block),
}

/// `=` and the compound forms (which Kamailio does not have; `$x += 1` is `$x = $x + 1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignOp {
    /// `=`
    Set,
    /// `+=`
    Add,
    /// `-=`
    Sub,
    /// `*=`
    Mul,
    /// `/=`
    Div,
}

/// One `case` of a `switch`.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Label.
    pub label: CaseLabel,
    /// Statements up to the next label.
    pub body: Vec<Stmt>,
    /// Label and statements.
    pub span: Span,
}

/// The label of a `case`.
#[derive(Debug, Clone, PartialEq)]
pub enum CaseLabel {
    /// `case expr:`, a constant expression.
    Value(Expr),
    /// `case /"regex":` or `case /regex/:`.
    Regex(String),
    /// `default:`
    Default,
}

/// A function call, of a module's function or of the core's. `route(X)` is one too, named `route`:
/// its argument is a [`ExprKind::Str`] where the name is fixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Function name as written.
    pub name: String,
    /// Arguments. Bare words, hosts and sockets of core functions are [`ExprKind::Str`].
    pub args: Vec<Expr>,
    /// The whole call.
    pub span: Span,
    /// The name.
    pub name_span: Span,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number, or `yes`/`no` as 1/0.
    Int(i64),
    /// A string, escapes resolved and neighbours joined.
    Str(String),
    /// A pseudo-variable.
    Pv(Pv),
    /// `@select.path`.
    Select(Select),
    /// A condition keyword: `method`, `src_ip`, `msg:len` …
    Field(Field),
    /// `myself`.
    Myself,
    /// An address or network: only beside an address field (`src_ip == 10.0.0.0/8`).
    Net(IpNet),
    /// `UDP`, `tcp` … beside `proto`.
    Proto(Proto),
    /// `INET`/`IPv4` (false) or `INET6`/`IPv6` (true) beside `af`.
    Af {
        /// Whether version 6 was meant.
        v6: bool,
    },
    /// A call used for its return code.
    Call(Call),
    /// `op expr`.
    Unary(UnaryOp, Box<Expr>),
    /// `lhs op rhs`.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `(int) expr` or `(str) expr`.
    Cast(CastTo, Box<Expr>),
    /// `defined expr`.
    Defined(Box<Expr>),
    /// `strlen(expr)`.
    StrLen(Box<Expr>),
    /// `strempty(expr)`.
    StrEmpty(Box<Expr>),
    /// `selval(cond, a, b)`.
    SelVal(Box<[Expr; 3]>),
    /// `($x = expr)` inside an expression: assigns; its own value is 1.
    Assign(Box<(Pv, Expr)>),
    /// What could not be read; a diagnostic says why. Never in a tree without errors.
    Error,
}

/// A pseudo-variable as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Pv {
    /// The text, `$` included.
    pub text: String,
    /// Its parts.
    pub spec: PvSpec,
    /// Where.
    pub span: Span,
}

/// `@a.b[1]["x"]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    /// The text, `@` included.
    pub text: String,
    /// Its parts.
    pub parts: Vec<SelectPart>,
}

/// One step of a [`Select`].
#[derive(Debug, Clone, PartialEq)]
pub enum SelectPart {
    /// `.name`
    Name(String),
    /// `[1]`
    Index(i64),
    /// `["key"]`
    Key(String),
}

/// The condition keywords of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// `method`
    Method,
    /// `uri`
    Uri,
    /// `from_uri`
    FromUri,
    /// `to_uri`
    ToUri,
    /// `status`
    Status,
    /// `src_ip`
    SrcIp,
    /// `src_port`
    SrcPort,
    /// `dst_ip`
    DstIp,
    /// `dst_port`
    DstPort,
    /// `snd_ip` (onsend_route)
    SndIp,
    /// `snd_port` (onsend_route)
    SndPort,
    /// `snd_proto` (onsend_route)
    SndProto,
    /// `snd_af` (onsend_route)
    SndAf,
    /// `to_ip` (onsend_route)
    ToIp,
    /// `to_port` (onsend_route)
    ToPort,
    /// `to_proto` (onsend_route)
    ToProto,
    /// `to_af` (onsend_route)
    ToAf,
    /// `proto`
    Proto,
    /// `af`
    Af,
    /// `msg:len`
    MsgLen,
    /// `max_len`
    MaxLen,
    /// `uri:host`
    UriHost,
    /// `uri:port`
    UriPort,
}

impl Field {
    /// Every field with its keyword.
    pub const ALL: [(&'static str, Field); 23] = [
        ("method", Field::Method),
        ("uri", Field::Uri),
        ("from_uri", Field::FromUri),
        ("to_uri", Field::ToUri),
        ("status", Field::Status),
        ("src_ip", Field::SrcIp),
        ("src_port", Field::SrcPort),
        ("dst_ip", Field::DstIp),
        ("dst_port", Field::DstPort),
        ("snd_ip", Field::SndIp),
        ("snd_port", Field::SndPort),
        ("snd_proto", Field::SndProto),
        ("snd_af", Field::SndAf),
        ("to_ip", Field::ToIp),
        ("to_port", Field::ToPort),
        ("to_proto", Field::ToProto),
        ("to_af", Field::ToAf),
        ("proto", Field::Proto),
        ("af", Field::Af),
        ("msg:len", Field::MsgLen),
        ("max_len", Field::MaxLen),
        ("uri:host", Field::UriHost),
        ("uri:port", Field::UriPort),
    ];

    /// The field of a keyword.
    pub fn parse(word: &str) -> Option<Field> {
        Field::ALL.iter().find(|(w, _)| *w == word).map(|(_, f)| *f)
    }

    /// The keyword of a field.
    pub fn as_str(self) -> &'static str {
        Field::ALL
            .iter()
            .find(|(_, f)| *f == self)
            .map_or("", |(w, _)| w)
    }
}

/// An address with the length of its network part (32 or 128 for a single host).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNet {
    /// Address.
    pub addr: IpAddr,
    /// Bits of the network part.
    pub prefix: u8,
}

/// Operators with one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    /// `!` / `not`
    Not,
    /// `-`
    Neg,
    /// `~`
    BitNot,
}

/// Operators with two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    /// `||` / `or`
    Or,
    /// `&&` / `and`
    And,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
    /// `&`
    BitAnd,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `eq`: compared as strings
    StrEq,
    /// `ne`: compared as strings
    StrNe,
    /// `ieq`: compared as numbers
    IntEq,
    /// `ine`: compared as numbers
    IntNe,
    /// `=~`
    Match,
    /// `!~` (ours: Kamailio writes `!(a =~ b)`)
    NotMatch,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `<<`
    Shl,
    /// `>>`
    Shr,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `mod` (and, ours, `%`)
    Mod,
}

/// Target of a cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CastTo {
    /// `(int)`
    Int,
    /// `(str)`
    Str,
}
