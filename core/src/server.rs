//! What every process of the server knows and none changes: configuration, exports, sockets.
//!
//! Built once in main, leaked, and read after the fork at the same address without a lock. State
//! that changes lives in `mem` (shared) or in the process itself (interpreters, connections).

use crate::config::CoreConfig;
use crate::net::socket::Sockets;
use crate::route::registry::Registry;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The version of this server.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// See the file's essay.
pub struct Server {
    /// Core parameters.
    pub config: CoreConfig,
    /// Exports of the loaded modules.
    pub registry: Registry,
    /// Listening sockets.
    pub sockets: Sockets,
    /// It serves: it has opened its addresses to others. It does not where it only checks its
    /// configuration or rehearses.
    pub serves: bool,
    /// When the server started: seconds of the wall clock.
    pub started_at: i64,
}

static SERVER: OnceLock<&'static Server> = OnceLock::new();
static STARTED: AtomicBool = AtomicBool::new(false);

/// The server of this process. Only code that runs before [`install`] may not call it.
pub fn server() -> &'static Server {
    SERVER
        .get()
        .expect("the server is installed before any module runs")
}

/// The server, if it is installed.
pub fn try_server() -> Option<&'static Server> {
    SERVER.get().copied()
}

/// Installs the server; once, in main.
pub fn install(s: Server) -> &'static Server {
    SERVER.get_or_init(|| Box::leak(Box::new(s)))
}

/// Whether modules are initialised and parameters can no longer change.
pub(crate) fn started() -> bool {
    STARTED.load(Ordering::Relaxed)
}

/// Says that modules are initialised.
pub(crate) fn set_started() {
    STARTED.store(true, Ordering::Relaxed);
}

/// A server with these modules and no sockets, on a small arena: for unit tests of modules.
pub fn for_tests(modules: Vec<crate::route::module::Module>) -> &'static Server {
    olelo_mem::arena::init_for_tests();
    install(Server {
        config: CoreConfig::default(),
        registry: Registry::new(modules),
        sockets: Sockets::default(),
        serves: false,
        started_at: 0,
    })
}
