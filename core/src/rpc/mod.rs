//! Control commands: what `kamcmd`, `kamcli` and `olctl` call.
//!
//! A command is a plain function from its parameters to a list of values; the transports (BINRPC,
//! JSON-RPC) encode that list. A command runs in the process that received it, never in a worker
//! that routes messages, and must not hold a shared lock while it waits.

pub mod core_cmds;
mod health_cmds;
mod tune_cmds;

pub use olelo_ipc::value::Value;

/// Why a command failed, as its caller sees it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code} {message}")]
pub struct Fault {
    /// In the manner of HTTP and SIP: 400 bad parameters, 404 not found, 500 internal.
    pub code: i32,
    /// What was wrong with what.
    pub message: String,
}

impl Fault {
    /// A fault.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Fault {
            code,
            message: message.into(),
        }
    }
}

/// The answer: a list of values, as BINRPC has it.
pub type Answer = Result<Vec<Value>, Fault>;

/// The parameters of one call.
#[derive(Debug, Default, Clone)]
pub struct Params(pub Vec<Value>);

impl Params {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parameter `i` as text, required.
    pub fn text(&self, i: usize, name: &str) -> Result<String, Fault> {
        self.opt_text(i)
            .ok_or_else(|| Fault::new(400, format!("parameter {} ({name}) is missing", i + 1)))
    }

    /// Parameter `i` as text.
    pub fn opt_text(&self, i: usize) -> Option<String> {
        Some(match self.0.get(i)? {
            Value::Str(s) => s.clone(),
            Value::Int(n) => n.to_string(),
            Value::Double(d) => d.to_string(),
            _ => return None,
        })
    }

    /// Parameter `i` as an integer, required.
    pub fn int(&self, i: usize, name: &str) -> Result<i64, Fault> {
        match self.0.get(i) {
            None => Err(Fault::new(
                400,
                format!("parameter {} ({name}) is missing", i + 1),
            )),
            _ => self.opt_int(i).ok_or_else(|| {
                Fault::new(
                    400,
                    format!("parameter {} ({name}) is not an integer", i + 1),
                )
            }),
        }
    }

    /// Parameter `i` as an integer.
    pub fn opt_int(&self, i: usize) -> Option<i64> {
        match self.0.get(i)? {
            Value::Int(n) => Some(*n),
            Value::Double(d) => Some(*d as i64),
            Value::Str(s) => s.trim().parse().ok(),
            _ => None,
        }
    }
}

/// One control command.
#[derive(Clone)]
pub struct Rpc {
    /// `module.verb`.
    pub name: &'static str,
    /// The code.
    pub run: fn(&Params) -> Answer,
    /// Parameters as documentation shows them: `table aor`.
    pub args: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Always answers with a list, even of one value.
    pub array: bool,
}

/// Declares a control command.
pub fn rpc(name: &'static str, run: fn(&Params) -> Answer) -> Rpc {
    Rpc {
        name,
        run,
        args: "",
        doc: "",
        array: false,
    }
}

impl Rpc {
    /// Names the parameters.
    pub fn args(mut self, args: &'static str) -> Self {
        self.args = args;
        self
    }

    /// Says what it does.
    pub fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// Answers with a list, even of one value.
    pub fn array(mut self) -> Self {
        self.array = true;
        self
    }
}

/// Runs a command by name. An unknown one is a fault that suggests the nearest name.
pub fn run(name: &str, params: &Params) -> Answer {
    let registry = &crate::server().registry;
    let Some(cmd) = registry.rpc(name) else {
        let near = nearest(name, registry.rpcs().map(|r| r.name));
        return Err(Fault::new(
            404,
            match near {
                Some(n) => format!("no command {name}; did you mean {n}?"),
                None => format!("no command {name}; system.listMethods lists all"),
            },
        ));
    };
    // A command that panics costs its caller an answer, not the server a process.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (cmd.run)(params))).unwrap_or_else(
        |_| {
            Err(Fault::new(
                500,
                format!("{name} failed inside; see the log"),
            ))
        },
    )
}

/// Builds a struct value.
pub fn fields<const N: usize>(f: [(&str, Value); N]) -> Value {
    Value::Struct(f.into_iter().map(|(k, v)| (k.to_string(), v)).collect())
}

/// A text value.
pub fn text(s: impl Into<String>) -> Value {
    Value::Str(s.into())
}

/// The nearest of `names`, if one is near enough to be a slip of the finger.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|n| (strsim::damerau_levenshtein(name, n), n))
        .min()
        .filter(|(d, _)| *d <= 2.max(name.len() / 4))
        .map(|(_, n)| n)
}
