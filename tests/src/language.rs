//! The languages that route by scripts, as configurations name them.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Language {
    /// As in `cfgengine`.
    pub engine: &'static str,
    /// The module that brings it, also the prefix of its functions.
    pub module: &'static str,
    /// The prefix of its control commands.
    pub rpc: &'static str,
    /// Ending of its files.
    pub ending: &'static str,
}

/// Lua.
pub const LUA: Language = Language {
    engine: "lua",
    module: "app_lua",
    rpc: "app_lua",
    ending: "lua",
};

/// JavaScript.
pub const JAVASCRIPT: Language = Language {
    engine: "jsdt",
    module: "app_jsdt",
    rpc: "app_jsdt",
    ending: "js",
};

/// Python.
pub const PYTHON: Language = Language {
    engine: "python",
    module: "app_python3",
    rpc: "app_python",
    ending: "py",
};

/// Squirrel.
pub const SQUIRREL: Language = Language {
    engine: "sqlang",
    module: "app_sqlang",
    rpc: "app_sqlang",
    ending: "sq",
};

impl Language {
    /// The name of its script in a server's scratch directory.
    pub fn file(&self) -> String {
        format!("route.{}", self.ending)
    }

    /// The control command that loads the script anew.
    pub fn reload(&self) -> String {
        format!("{}.reload", self.rpc)
    }
}
