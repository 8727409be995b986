//! Core parameters as the server uses them, and the shared words of those that change at run time.
//!
//! The syntax tree keeps every parameter as written; here are the few that the core itself reads on
//! a hot path, parsed to their types, and look-ups by name for the rest.

use olelo_cfg::ast::{Config, ParamValue};
use olelo_mem::words::Words;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Core parameters. Times in the unit that the name says.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// UDP workers per socket (`children`, `-n`).
    pub children: usize,
    /// TCP workers (`tcp_children`, `-N`).
    pub tcp_children: usize,
    /// Without TCP (`disable_tcp`, `-T`).
    pub disable_tcp: bool,
    /// Seconds after which an idle connection is closed (`tcp_connection_lifetime`).
    pub tcp_connection_lifetime: u64,
    /// Seconds to wait for a connection to open (`tcp_connect_timeout`).
    pub tcp_connect_timeout: u64,
    /// Seconds that unsent bytes may wait (`tcp_send_timeout`).
    pub tcp_send_timeout: u64,
    /// Most connections (`tcp_max_connections`).
    pub tcp_max_connections: usize,
    /// Most bytes that wait to be sent on one connection (`tcp_conn_wq_max`).
    pub tcp_conn_wq_max: usize,
    /// Most bytes that wait to be sent on all connections (`tcp_wq_max`).
    pub tcp_wq_max: usize,
    /// Most connections accepted from one address, 0 for any number (`tcp_accept_iplimit`).
    pub tcp_accept_iplimit: usize,
    /// Seconds that the header section of a message may take to arrive (`tcp_msg_read_timeout`).
    pub tcp_msg_read_timeout: u64,
    /// Seconds that its body may take (`tcp_msg_data_timeout`).
    pub tcp_msg_data_timeout: u64,
    /// Accept a stream message without Content-Length (`tcp_accept_no_cl`).
    pub tcp_accept_no_cl: bool,
    /// Answer CRLF keep-alives on streams (`tcp_crlf_ping`).
    pub tcp_crlf_ping: bool,
    /// Open no connections (`tcp_no_connect`).
    pub tcp_no_connect: bool,
    /// Honour `;alias` in Via (`tcp_accept_aliases`).
    pub tcp_accept_aliases: bool,
    /// Largest message accepted, in bytes (`msg_recv_max_size`).
    pub msg_recv_max_size: usize,
    /// Own names: `alias` and `domain`.
    pub aliases: Vec<olelo_cfg::ast::Alias>,
    /// Names of the listening addresses count as own (`auto_aliases`).
    pub auto_aliases: bool,
    /// Address for Via and Record-Route (`advertised_address`, `advertised_port`).
    pub advertised: (Option<String>, Option<u16>),
    /// The `Server:` header of replies, whole line; none where `server_signature=no`.
    pub server_header: Option<String>,
    /// The `User-Agent:` header of requests made here, whole line.
    pub user_agent_header: Option<String>,
    /// Most branches of a request (`max_branches`).
    pub max_branches: usize,
    /// Resolve names over DNS where the address is a name (`dns`: for Via, `rev_dns`).
    pub force_rport: bool,
    /// Choose the sending socket by the route to the destination (`mhomed`).
    pub mhomed: bool,
    /// `log_prefix`.
    pub log_prefix: Option<String>,
    /// `log_prefix_mode`: evaluate anew at each line (1) or once per message (0).
    pub log_prefix_mode: i64,
    /// `latency_cfg_log`: level at which the time in the main route is logged.
    pub latency_cfg_log: i64,
    /// Call `onsend_route` for replies as well (`onsend_route_reply`).
    pub onsend_route_reply: bool,
    /// `server_id`.
    pub server_id: i64,
    /// Routing language (`cfgengine`).
    pub engine: String,
    /// Seconds to end all (`exit_timeout`).
    pub exit_timeout: u64,
    /// Milliseconds a worker may work on one message (`watchdog_time`); 0 for any time.
    pub watchdog_ms: u64,
    /// Type of service of sent packets (`tos`).
    pub tos: Option<u32>,
    /// Shared memory in bytes (`-m`).
    pub shm_bytes: usize,
    /// The file given with `-f`.
    pub file: String,
    /// The command line.
    pub argv: Vec<String>,
    /// Largest request sent over UDP, in bytes; 0 for any (`udp_mtu`).
    pub udp_mtu: usize,
    /// Protocol for larger ones (`udp_mtu_try_proto`).
    pub udp_mtu_try_proto: Option<crate::net::Proto>,
    /// Names of flags and their numbers (`flags NAME:number`, `avpflags`).
    pub flag_names: HashMap<String, u32>,
    /// All parameters by canonical name, as text.
    pub all: HashMap<String, String>,
    /// Custom parameters: `group.name = value`.
    pub globals: Vec<olelo_cfg::ast::Global>,
}

impl Default for CoreConfig {
    fn default() -> Self {
        CoreConfig::from_tree(&Config::default())
    }
}

impl CoreConfig {
    /// Reads the parameters of a syntax tree.
    pub fn from_tree(tree: &Config) -> CoreConfig {
        let int = |n: &str, d: i64| tree.param(n).and_then(|p| p.value.as_int()).unwrap_or(d);
        let on = |n: &str, d: bool| tree.param(n).and_then(|p| p.value.as_bool()).unwrap_or(d);
        let text = |n: &str| {
            tree.param(n)
                .and_then(|p| p.value.as_str())
                .map(str::to_string)
        };
        let size = |n: &str, d: i64| usize::try_from(int(n, d)).unwrap_or(d as usize);
        let version = format!(
            "olelo ({} ({}/linux))",
            crate::server::VERSION,
            std::env::consts::ARCH
        );
        let children = size("children", 8).clamp(1, 512);
        let mut all: HashMap<String, String> = tree
            .params
            .iter()
            .map(|p| (p.name.clone(), printed(&p.value)))
            .collect();
        // `kemi.request_route_callback` and its like look like the operator's own parameters.
        for g in tree.globals.iter().filter(|g| g.group == "kemi") {
            let value = match &g.value {
                olelo_cfg::ast::ModParamValue::Int(i) => i.to_string(),
                olelo_cfg::ast::ModParamValue::Str(s) => s.clone(),
            };
            all.insert(format!("kemi.{}", g.name), value);
        }
        CoreConfig {
            children,
            tcp_children: size("tcp_children", children as i64).clamp(1, 512),
            disable_tcp: on("disable_tcp", false),
            tcp_connection_lifetime: int("tcp_connection_lifetime", 120).max(1) as u64,
            tcp_connect_timeout: int("tcp_connect_timeout", 10).max(1) as u64,
            tcp_send_timeout: int("tcp_send_timeout", 10).max(1) as u64,
            tcp_max_connections: size("tcp_max_connections", 2048),
            tcp_conn_wq_max: size("tcp_conn_wq_max", 32768).max(4096),
            tcp_wq_max: size("tcp_wq_max", 10_485_760).max(65_536),
            tcp_accept_iplimit: size("tcp_accept_iplimit", 1024),
            tcp_msg_read_timeout: int("tcp_msg_read_timeout", 20).max(1) as u64,
            tcp_msg_data_timeout: int("tcp_msg_data_timeout", 20).max(1) as u64,
            tcp_accept_no_cl: on("tcp_accept_no_cl", false),
            tcp_crlf_ping: on("tcp_crlf_ping", true),
            tcp_no_connect: on("tcp_no_connect", false),
            tcp_accept_aliases: on("tcp_accept_aliases", false),
            msg_recv_max_size: size("msg_recv_max_size", 65535).clamp(1024, 1 << 20),
            aliases: tree.aliases.clone(),
            auto_aliases: on("auto_aliases", true),
            advertised: (
                text("advertised_address"),
                tree.param("advertised_port")
                    .and_then(|p| printed(&p.value).parse().ok()),
            ),
            server_header: on("server_signature", true)
                .then(|| text("server_header").unwrap_or_else(|| format!("Server: {version}"))),
            user_agent_header: on("server_signature", true).then(|| {
                text("user_agent_header").unwrap_or_else(|| format!("User-Agent: {version}"))
            }),
            max_branches: size("max_branches", 12).clamp(1, crate::route::ctx::MAX_BRANCHES + 1),
            force_rport: on("force_rport", false),
            mhomed: on("mhomed", false),
            log_prefix: text("log_prefix").filter(|s| !s.is_empty()),
            log_prefix_mode: int("log_prefix_mode", 0),
            latency_cfg_log: int("latency_cfg_log", 3),
            onsend_route_reply: on("onsend_route_reply", false),
            server_id: int("server_id", 0),
            engine: tree
                .engine
                .as_ref()
                .map_or("native", |(e, _)| e.as_str())
                .to_ascii_lowercase(),
            exit_timeout: int("exit_timeout", 60).max(0) as u64,
            watchdog_ms: int("watchdog_time", 10).clamp(0, 86_400) as u64 * 1000,
            tos: tree
                .param("tos")
                .and_then(|p| p.value.as_int())
                .map(|t| t as u32),
            shm_bytes: size("shm", 64).clamp(8, 1 << 16) << 20,
            udp_mtu: size("udp_mtu", 0),
            udp_mtu_try_proto: tree
                .param("udp_mtu_try_proto")
                .and_then(|p| crate::net::Proto::from_name(printed(&p.value).as_bytes())),
            flag_names: flag_names(tree),
            file: String::new(),
            argv: Vec::new(),
            all,
            globals: tree.globals.clone(),
        }
    }

    /// A parameter by canonical name, as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all.get(name).map(String::as_str)
    }

    /// A parameter by canonical name, as a number.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.text(name)
            .and_then(|t| t.parse().ok())
            .unwrap_or(default)
    }
}

/// Flags by name; those declared without a number get the lowest that nobody asked for.
fn flag_names(tree: &Config) -> HashMap<String, u32> {
    let mut out = HashMap::new();
    for list in [&tree.flags, &tree.avpflags] {
        let asked = |n: u32| list.iter().any(|f| f.number == Some(i64::from(n)));
        let mut free = (0..32).filter(|n| !asked(*n));
        for f in list {
            let number = match f.number {
                Some(n) => u32::try_from(n).ok(),
                None => free.next(),
            };
            if let Some(n) = number {
                out.insert(f.name.clone(), n);
            }
        }
    }
    out
}

fn printed(v: &ParamValue) -> String {
    match v {
        ParamValue::Int(i) => i.to_string(),
        ParamValue::Bool(b) => i64::from(*b).to_string(),
        ParamValue::Str(s) | ParamValue::Id(s) => s.clone(),
    }
}

/// Room for parameters that change at run time.
const SHARED_WORDS: usize = 1024;
static WORDS: OnceLock<Words> = OnceLock::new();
static USED: AtomicU32 = AtomicU32::new(0);

/// Makes the shared words; main, after the arena and before modules are initialised.
pub(crate) fn create_shared() -> Result<(), olelo_mem::arena::ArenaError> {
    let words = Words::create("cfg", SHARED_WORDS)?;
    let _ = WORDS.set(words);
    Ok(())
}

/// Takes `n` shared words and returns the first; main, before the forks. `None`: no room or no arena.
pub fn take_shared(n: usize) -> Option<u32> {
    WORDS.get()?;
    let first = USED.fetch_add(n as u32, Ordering::Relaxed);
    ((first as usize + n) <= SHARED_WORDS).then_some(first)
}

/// Reads a shared word.
pub(crate) fn shared_value(index: u32) -> i64 {
    let word = WORDS.get().and_then(|w| w.get(index as usize));
    word.map_or(0, |w| w.load(Ordering::Relaxed) as i64)
}

/// Writes a shared word.
pub(crate) fn set_shared_value(index: u32, v: i64) {
    if let Some(w) = WORDS.get().and_then(|w| w.get(index as usize)) {
        w.store(v as u64, Ordering::Relaxed);
    }
}
