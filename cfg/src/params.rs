//! The core's parameters: one line each, with type, other names, default and meaning.
//!
//! The parser refuses what is not here; documentation and editors list it from here.

use ParamKind::{
    Alias, Bool, CoreParam as CoreParamMap, Host, Int, IntOrId, IntOrStr, Listen, Proto, Socket,
    Str, StrOrId,
};

use crate::ast::ParamValue;

/// One parameter of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreParam {
    /// Canonical name.
    pub name: &'static str,
    /// What its value may be.
    pub kind: ParamKind,
    /// Other names of it.
    pub aliases: &'static [&'static str],
    /// The value without one being set, in words where it is not fixed.
    pub default: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// What the value of a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// A number (yes/no count as 1/0).
    Int,
    /// yes or no (numbers count too).
    Bool,
    /// A string in quotes.
    Str,
    /// A string or a bare word.
    StrOrId,
    /// A number or a string.
    IntOrStr,
    /// A number or a bare word.
    IntOrId,
    /// A host name or an address, quoted or not.
    Host,
    /// A protocol.
    Proto,
    /// Addresses to listen on.
    Listen,
    /// Host names.
    Alias,
    /// A block of attributes.
    Socket,
    /// `coreparam[name]`: a number or a string.
    CoreParam,
}

impl ParamKind {
    /// The kind in words.
    pub fn wanted(self) -> &'static str {
        match self {
            Int => "a number",
            Bool => "yes or no",
            Str => "a string in quotes",
            StrOrId => "a word or a string",
            IntOrStr | CoreParamMap => "a number or a string",
            IntOrId => "a number or a name",
            Host => "a host name or an address",
            Proto => "a protocol (udp, tcp, tls, sctp)",
            Listen => "an address to listen on",
            Alias => "a host name",
            Socket => "a block in braces",
        }
    }

    /// Whether a value is of this kind.
    pub fn accepts(self, value: &ParamValue) -> bool {
        match (self, value) {
            (Int | Bool | IntOrStr | IntOrId, ParamValue::Int(_) | ParamValue::Bool(_)) => true,
            (Str | StrOrId | IntOrStr | IntOrId | Host, ParamValue::Str(_)) => true,
            (StrOrId | IntOrId | Host, ParamValue::Id(_)) => true,
            // `group = on`: a bare word that happens to mean yes.
            (StrOrId, ParamValue::Bool(_) | ParamValue::Int(_)) => true,
            (Proto, ParamValue::Id(word) | ParamValue::Str(word)) => {
                crate::ast::Proto::parse(word).is_some()
            }
            (Proto, ParamValue::Int(_)) => true,
            _ => false,
        }
    }
}

/// A parameter by any of its names.
pub fn find(name: &str) -> Option<&'static CoreParam> {
    CORE_PARAMS
        .iter()
        .find(|p| p.name == name || p.aliases.contains(&name))
}

/// Every name of every parameter.
pub fn names() -> impl Iterator<Item = &'static str> {
    CORE_PARAMS
        .iter()
        .flat_map(|p| std::iter::once(p.name).chain(p.aliases.iter().copied()))
}

const fn p(
    name: &'static str,
    kind: ParamKind,
    aliases: &'static [&'static str],
    default: &'static str,
    doc: &'static str,
) -> CoreParam {
    CoreParam {
        name,
        kind,
        aliases,
        default,
        doc,
    }
}

/// Every parameter of the core. `kemi.*` are written as globals of the group `kemi`.
#[rustfmt::skip]
pub const CORE_PARAMS: &[CoreParam] = &[
    p("debug", Int, &[], "0 (L_WARN)", "Level of the log: messages above it are dropped (-1 errors only … 3 debug)."),
    p("fork", Bool, &[], "yes", "Run in the background with worker processes."),
    p("fork_delay", Int, &[], "0", "Microseconds to wait before starting each process."),
    p("modinit_delay", Int, &[], "0", "Microseconds to wait after initialising each module."),
    p("log_stderror", Bool, &[], "no", "Write the log to standard error instead of syslog."),
    p("log_facility", StrOrId, &[], "LOG_DAEMON", "Syslog facility."),
    p("log_name", Str, &[], "process name", "Name under which syslog shows this server."),
    p("log_color", Bool, &[], "no", "Colour the log on standard error."),
    p("log_prefix", Str, &[], "unset", "Text with pseudo-variables put before each log line while a message is handled."),
    p("log_prefix_mode", Int, &[], "0", "0: the prefix is evaluated once per message, 1: for every line."),
    p("log_engine_type", Str, &[], "unset", "Format of the log, for example `json`."),
    p("log_engine_data", Str, &[], "unset", "Options of the log format."),
    p("xavp_via_params", Str, &[], "unset", "Extended variable whose fields become parameters of the added Via."),
    p("xavp_via_fields", Str, &[], "unset", "Extended variable whose fields replace parts of the added Via."),
    p("xavp_via_reply_params", Str, &[], "unset", "Extended variable that receives the parameters of the Via of replies."),
    p("dns", Bool, &[], "no", "Resolve the host of the top Via to compare it with the source address."),
    p("rev_dns", Bool, &["dns_rev_via"], "no", "Look up the name of the source address to compare it with the top Via."),
    p("dns_try_ipv6", Bool, &[], "yes", "Also ask for AAAA records where there is no A record."),
    p("dns_try_naptr", Bool, &[], "no", "Ask for NAPTR records as RFC 3263 says."),
    p("dns_srv_lb", Bool, &["dns_srv_loadbalancing"], "no", "Spread requests over SRV records by weight (RFC 2782)."),
    p("dns_udp_pref", Int, &["dns_udp_preference"], "30", "Preference of UDP among NAPTR records; the higher wins."),
    p("dns_tcp_pref", Int, &["dns_tcp_preference"], "20", "Preference of TCP among NAPTR records."),
    p("dns_tls_pref", Int, &["dns_tls_preference"], "10", "Preference of TLS among NAPTR records."),
    p("dns_sctp_pref", Int, &["dns_sctp_preference"], "20", "Preference of SCTP among NAPTR records."),
    p("dns_retr_time", Int, &[], "-1", "Seconds before a DNS question is asked again."),
    p("dns_slow_query_ms", Int, &[], "0", "Log DNS questions that take longer than this many milliseconds."),
    p("dns_retr_no", Int, &[], "-1", "How often a DNS question is asked again."),
    p("dns_servers_no", Int, &[], "-1", "How many of the servers in resolv.conf are used."),
    p("dns_use_search_list", Bool, &[], "yes", "Try the search domains of resolv.conf."),
    p("dns_search_full_match", Bool, &[], "yes", "Check that a name found by the search list is the one asked for."),
    p("dns_naptr_ignore_rfc", Bool, &[], "yes", "Let local preferences win over the order of NAPTR records."),
    p("dns_cache_init", Bool, &[], "yes", "Set up the DNS cache at start."),
    p("use_dns_cache", Bool, &["dns_use_cache"], "yes", "Use the DNS cache."),
    p("use_dns_failover", Bool, &["dns_use_failover"], "no", "Try the next address when sending to one fails."),
    p("dns_cache_flags", Int, &[], "0", "1 only A, 2 only AAAA, 4 AAAA first."),
    p("dns_cache_negative_ttl", Int, &[], "60", "Seconds a failed lookup is remembered."),
    p("dns_cache_max_ttl", Int, &[], "4294967295", "Most seconds a record is remembered."),
    p("dns_cache_min_ttl", Int, &[], "0", "Fewest seconds a record is remembered."),
    p("dns_cache_mem", Int, &[], "500", "Kilobytes the DNS cache may take."),
    p("dns_cache_gc_interval", Int, &[], "120", "Seconds between removals of expired records."),
    p("dns_cache_del_nonexp", Bool, &["dns_cache_delete_nonexpired"], "no", "Remove records that have not expired when the cache is full."),
    p("dns_cache_rec_pref", Int, &[], "0", "Which of old and new records wins (0 to 3)."),
    p("auto_bind_ipv6", Bool, &[], "no", "Also listen on IPv6 addresses when no address is given."),
    p("ipv6_hex_style", Str, &[], "\"c\"", "How IPv6 addresses are written: `a` `A` in full, `c` compressed."),
    p("bind_ipv6_link_local", Int, &[], "0", "1: allow listening on link-local IPv6 addresses."),
    p("dst_blocklist_init", Bool, &[], "yes", "Set up the list of unreachable destinations at start."),
    p("use_dst_blocklist", Bool, &[], "no", "Do not send to destinations that failed lately."),
    p("dst_blocklist_mem", Int, &[], "250", "Kilobytes the list of unreachable destinations may take."),
    p("dst_blocklist_expire", Int, &["dst_blocklist_ttl"], "60", "Seconds a destination stays on the list."),
    p("dst_blocklist_gc_interval", Int, &[], "60", "Seconds between removals of expired destinations."),
    p("dst_blocklist_udp_imask", Int, &[], "0", "Reasons that are ignored for UDP, as a bit mask."),
    p("dst_blocklist_tcp_imask", Int, &[], "0", "Reasons that are ignored for TCP, as a bit mask."),
    p("dst_blocklist_tls_imask", Int, &[], "0", "Reasons that are ignored for TLS, as a bit mask."),
    p("dst_blocklist_sctp_imask", Int, &[], "0", "Reasons that are ignored for SCTP, as a bit mask."),
    p("ip_free_bind", Int, &["ipfreebind", "ip_nonlocal_bind"], "0", "1: listen on addresses this host does not have yet."),
    p("port", Int, &[], "5060", "Port of addresses that are given without one."),
    p("maxbuffer", Int, &[], "262144", "Most bytes of the receive buffer the kernel is asked for."),
    p("maxsndbuffer", Int, &[], "262144", "Most bytes of the send buffer the kernel is asked for."),
    p("sql_buffer_size", Int, &[], "65535", "Bytes of the buffer SQL statements are built in."),
    p("msg_clone_extra_size", Int, &[], "0", "Bytes kept free behind each message that is copied."),
    p("msg_apply_changes_mode", Bool, &[], "no", "How changes of a message are applied by script."),
    p("msg_recv_max_size", Int, &[], "32767", "Most bytes of a received message."),
    p("tcp_msg_read_timeout", Int, &[], "20", "Seconds a message may take to arrive over TCP."),
    p("tcp_msg_data_timeout", Int, &[], "20", "Seconds the body of a message may take to arrive over TCP."),
    p("tcp_accept_iplimit", Int, &[], "1024", "Most TCP connections from one address."),
    p("tcp_main_threads", Int, &[], "0", "Threads of the process that manages TCP connections."),
    p("tcp_check_timer", Int, &[], "-1", "Seconds between checks of TCP connections."),
    p("children", Int, &[], "8", "Worker processes per UDP socket."),
    p("stats_name_separator", Str, &[], "\"_\"", "What stands between the parts of a statistic's name."),
    p("socket", Socket, &[], "", "An address to listen on, as a block of attributes."),
    p("socket_workers", Int, &[], "0 (use children)", "Worker processes of the next `listen`."),
    p("async_workers", Int, &[], "0", "Processes that run asynchronous tasks."),
    p("async_usleep", Int, &[], "0", "Microseconds an async worker sleeps after each task."),
    p("async_nonblock", Int, &[], "0", "1: the sockets of async workers do not block."),
    p("async_workers_group", Str, &[], "unset", "A named group of async workers: `name=x;workers=n`."),
    p("async_tkv_gname", Str, &[], "unset", "Group of async workers that handle key-value events."),
    p("async_tkv_evcb", Str, &[], "unset", "Event route or callback of key-value events."),
    p("check_via", Bool, &[], "no", "Check that the top Via of replies is ours."),
    p("phone2tel", Bool, &[], "yes", "Treat a SIP URI with user=phone as a tel URI."),
    p("memlog", Int, &["mem_log"], "4", "Log level of the memory report."),
    p("memdbg", Int, &["mem_dbg"], "4", "Log level of memory debugging."),
    p("mem_summary", Int, &[], "12", "What the memory report shows at exit, as a bit mask."),
    p("mem_safety", Int, &[], "1", "1: freeing memory twice is logged instead of fatal."),
    p("mem_add_size", Int, &[], "0", "Bytes added to each block of memory."),
    p("mem_join", Int, &[], "1", "1: neighbouring free blocks are joined."),
    p("mem_status_mode", Int, &[], "0", "1: the memory report lists free blocks too."),
    p("sip_parser_log_oneline", Int, &[], "0", "1: faults of SIP messages are logged on one line."),
    p("sip_parser_log", Int, &[], "-1", "Log level of faults in SIP messages."),
    p("sip_parser_mode", Int, &[], "1", "1: refuse messages that break the grammar of RFC 3261."),
    p("corelog", Int, &["core_log"], "-1", "Log level of the core's own faults."),
    p("sip_warning", Bool, &[], "no", "Add a Warning header to replies made by the server."),
    p("version_table", Str, &[], "\"version\"", "Table that holds the versions of the database tables."),
    p("user", StrOrId, &["uid"], "unset", "User to run as."),
    p("group", StrOrId, &["gid"], "unset", "Group to run as."),
    p("chroot", StrOrId, &[], "unset", "Directory to make the root directory."),
    p("workdir", StrOrId, &["wdir"], "/", "Directory to work in."),
    p("rundir", StrOrId, &["run_dir"], "compile-time RUN_DIR (/var/run/kamailio)", "Directory of sockets and other files of the running server."),
    p("mhomed", Bool, &[], "no", "Choose the sending address by the route to the destination."),
    p("disable_tcp", Bool, &[], "no", "Do not use TCP."),
    p("tcp_accept_aliases", Bool, &[], "no", "Reuse connections that ask for it by `alias` in Via (RFC 5923)."),
    p("tcp_accept_unique", Int, &[], "0", "1: refuse a second connection from the same address and port."),
    p("tcp_connection_match", Int, &[], "0", "1: match connections by local port too."),
    p("tcp_children", Int, &[], "equal to children", "Worker processes for TCP."),
    p("tcp_connect_timeout", Int, &[], "10 (s)", "Seconds to wait for a TCP connection."),
    p("tcp_send_timeout", Int, &[], "10 (s)", "Seconds to wait until a TCP connection takes data."),
    p("tcp_connection_lifetime", Int, &[], "120 (s)", "Seconds an idle TCP connection is kept."),
    p("tcp_poll_method", StrOrId, &[], "best available", "How file descriptors are watched: `epoll_lt`, `poll` …"),
    p("tcp_max_connections", Int, &[], "2048", "Most TCP connections."),
    p("tls_max_connections", Int, &[], "2048", "Most TLS connections."),
    p("tcp_no_connect", Bool, &[], "no", "Never open TCP connections."),
    p("tcp_source_ipv4", Host, &[], "unset", "IPv4 address outgoing TCP connections come from."),
    p("tcp_source_ipv6", Host, &[], "unset", "IPv6 address outgoing TCP connections come from."),
    p("tcp_fd_cache", Bool, &[], "yes", "Keep file descriptors of TCP connections in workers."),
    p("tcp_buf_write", Bool, &["tcp_async"], "yes", "Queue what a TCP connection does not take at once."),
    p("tcp_conn_wq_max", Int, &[], "32768", "Most bytes queued for one TCP connection."),
    p("tcp_wq_max", Int, &[], "10485760", "Most bytes queued for all TCP connections."),
    p("tcp_rd_buf_size", Int, &[], "16384", "Bytes of the read buffer of a TCP connection."),
    p("tcp_wq_blk_size", Int, &[], "2100", "Bytes of one block of the write queue."),
    p("tcp_defer_accept", Bool, &[], "no", "Wake up for a connection only when data has come."),
    p("tcp_delayed_ack", Bool, &[], "yes", "Let the kernel delay the first acknowledgement."),
    p("tcp_syncnt", Int, &[], "0", "How often the kernel repeats the opening of a connection."),
    p("tcp_linger2", Int, &[], "0", "Seconds a half-closed connection stays in the kernel."),
    p("tcp_keepalive", Bool, &[], "yes", "Let the kernel probe idle connections."),
    p("tcp_keepidle", Int, &[], "0", "Seconds of silence before the kernel probes."),
    p("tcp_keepintvl", Int, &[], "0", "Seconds between probes."),
    p("tcp_keepcnt", Int, &[], "0", "Probes without answer before a connection is dropped."),
    p("tcp_crlf_ping", Bool, &[], "yes", "Answer CRLF pings over TCP (RFC 5626)."),
    p("tcp_listen_backlog", Int, &[], "1024", "Connections the kernel keeps waiting to be accepted."),
    p("tcp_accept_no_cl", Bool, &[], "no", "Accept messages without Content-Length over TCP."),
    p("tcp_accept_hep3", Bool, &[], "no", "Accept HEPv3 over TCP."),
    p("tcp_accept_haproxy", Bool, &[], "no", "Expect the PROXY protocol on TCP connections."),
    p("tcp_accept_protocols", IntOrStr, &["tcp_accept_protos"], "92 (bits 4,8,16,64)", "Protocols accepted on TCP sockets, as a bit mask or names."),
    p("tcp_close_rst", Int, &[], "0", "1: connections are closed with a reset."),
    p("tcp_clone_rcvbuf", Int, &[], "0", "1: messages are copied out of the receive buffer before they are handled."),
    p("tcp_reuse_port", Bool, &[], "no", "Use one local port for connections to several destinations."),
    p("tcp_wait_data", Int, &[], "5000 (ms)", "Milliseconds to wait for data on a connection being opened."),
    p("tcp_script_mode", Int, &[], "0", "What happens to a connection when the script fails on its message."),
    p("tls_connection_match_domain", Bool, &[], "no", "Match TLS connections by server name and id too."),
    p("disable_tls", Bool, &["tls_disable"], "yes", "Do not use TLS."),
    p("enable_tls", Bool, &["tls_enable"], "no", "Use TLS."),
    p("tls_threads_mode", Int, &[], "2", "How OpenSSL's thread state is guarded (0 to 2)."),
    p("tls_port_no", Int, &[], "5061", "Port of TLS addresses that are given without one."),
    p("tls_method", StrOrId, &[], "", "Obsolete: set by the tls module."),
    p("tls_verify", Bool, &[], "", "Obsolete: set by the tls module."),
    p("tls_require_certificate", Bool, &[], "", "Obsolete: set by the tls module."),
    p("tls_certificate", Str, &[], "", "Obsolete: set by the tls module."),
    p("tls_private_key", Str, &[], "", "Obsolete: set by the tls module."),
    p("tls_ca_list", Str, &[], "", "Obsolete: set by the tls module."),
    p("tls_handshake_timeout", Int, &[], "", "Obsolete: set by the tls module."),
    p("tls_send_timeout", Int, &[], "", "Obsolete: set by the tls module."),
    p("disable_sctp", Bool, &[], "auto (2)", "Do not use SCTP."),
    p("enable_sctp", Bool, &[], "auto (2)", "Use SCTP (2: where the kernel can)."),
    p("sctp_children", Int, &[], "equal to children", "Worker processes for SCTP."),
    p("server_signature", Bool, &[], "yes", "Add a Server or User-Agent header to messages made by the server."),
    p("server_header", Str, &[], "\"Server: kamailio (<version> (<arch>/<os>))\"", "The whole Server header of replies made by the server."),
    p("user_agent_header", Str, &[], "\"User-Agent: kamailio (<version> (<arch>/<os>))\"", "The whole User-Agent header of requests made by the server."),
    p("uri_host_extra_chars", Str, &[], "unset", "Characters also allowed in the host of a URI."),
    p("hdr_name_extra_chars", Str, &[], "unset", "Characters also allowed in the name of a header."),
    p("reply_to_via", Bool, &[], "no", "Send replies to the address in Via instead of the source of the request."),
    p("listen", Listen, &[], "all interfaces", "Addresses to listen on."),
    p("alias", Alias, &["domain"], "auto-discovered", "Host names that are this server."),
    p("auto_aliases", Bool, &[], "yes", "Look up the names of the addresses listened on and take them for this server's."),
    p("auto_domains", Bool, &[], "yes", "As auto_aliases, for names found by reverse lookup."),
    p("advertised_address", Host, &[], "unset", "Address written in Via instead of the one sent from."),
    p("advertised_port", IntOrStr, &[], "unset", "Port written in Via instead of the one sent from."),
    p("disable_core_dump", Bool, &[], "no", "Do not write a core file on a crash."),
    p("open_files_limit", Int, &[], "-1", "Most open files."),
    p("shm", Int, &["shm_mem", "shm_mem_size"], "64 (MB)", "Megabytes of shared memory."),
    p("shm_force_alloc", Bool, &[], "no", "Touch all shared memory at start."),
    p("mlock_pages", Bool, &[], "no", "Keep the server's memory from being swapped out."),
    p("real_time", Bool, &[], "no", "Use real-time scheduling, as a bit mask of processes."),
    p("rt_prio", Int, &[], "0", "Real-time priority of all processes."),
    p("rt_policy", Int, &[], "0", "Real-time policy of all processes."),
    p("rt_timer1_prio", Int, &["rt_fast_timer_prio", "rt_ftimer_prio"], "0", "Real-time priority of the fast timer."),
    p("rt_timer1_policy", Int, &["rt_ftimer_policy"], "0", "Real-time policy of the fast timer."),
    p("rt_timer2_prio", Int, &["rt_stimer_prio"], "0", "Real-time priority of the slow timer."),
    p("rt_timer2_policy", Int, &["rt_stimer_policy"], "0", "Real-time policy of the slow timer."),
    p("mcast_loopback", Bool, &[], "no", "Receive one's own multicast packets."),
    p("mcast_ttl", Int, &[], "-1", "Time to live of multicast packets."),
    p("mcast", StrOrId, &[], "unset", "Interface to join multicast groups on."),
    p("tos", IntOrId, &[], "IPTOS_LOWDELAY (0x10)", "Type of service of sent packets: a number or a name such as IPTOS_LOWDELAY."),
    p("pmtu_discovery", Int, &[], "0", "1: do not fragment UDP packets."),
    p("exit_timeout", Int, &["ser_kill_timeout"], "60", "Seconds the end of the server may take."),
    p("watchdog_time", Int, &[], "10", "Seconds a worker may work on one message; then it is interrupted, and killed two seconds later (0: never)."),
    p("max_while_loops", Int, &[], "100", "Most rounds of a `while` (0: no bound)."),
    p("pv_buffer_size", Int, &[], "8192", "Bytes of the buffer pseudo-variables are printed into."),
    p("pv_buffer_slots", Int, &[], "10", "Number of those buffers."),
    p("pv_cache_limit", Int, &[], "2048", "Pseudo-variables kept parsed before a warning."),
    p("pv_cache_action", Int, &[], "0", "What is done beyond that limit."),
    p("http_reply_hack", Bool, &["http_reply_parse"], "no", "Accept HTTP replies as SIP replies."),
    p("verbose_startup", Bool, &[], "no", "Print details while starting."),
    p("route_locks_size", Int, &[], "0", "Locks that let messages of one call be routed one at a time."),
    p("wait_worker1_mode", Int, &[], "0", "1: other processes wait until the first worker is ready."),
    p("wait_worker1_time", Int, &[], "4000000", "Most microseconds of that wait."),
    p("wait_worker1_usleep", Int, &[], "100000", "Microseconds between checks of that wait."),
    p("server_id", Int, &[], "0", "Number of this server among several."),
    p("return_mode", Int, &[], "0", "How the value of `return` is used as a condition."),
    p("received_route_mode", Int, &[], "0", "1: run event_route[core:msg-received] for every message."),
    p("max_recursive_level", Int, &[], "", "Deepest nesting of route blocks."),
    p("max_branches", Int, &[], "12", "Most branches of a request."),
    p("latency_log", Int, &[], "-1 (L_ERR)", "Log level of slow actions."),
    p("latency_cfg_log", Int, &[], "3 (L_DBG)", "Log level of the time each route block takes."),
    p("latency_limit_db", Int, &[], "0", "Milliseconds a database action may take before it is logged."),
    p("latency_limit_action", Int, &[], "0", "Milliseconds an action may take before it is logged."),
    p("latency_limit_cfg", Int, &[], "0", "Milliseconds the script may take for a message before it is logged."),
    p("rpc_exec_delta", Int, &[], "0", "Seconds between two runs of certain RPC commands."),
    p("rpc_exec_locks", Int, &[], "0", "Number of locks of RPC commands."),
    p("rpc_exec_locks_mode", Int, &[], "0", "How RPC commands are kept apart."),
    p("msg_time", Int, &[], "1", "1: note the time each message arrived."),
    p("onsend_route_reply", Int, &[], "0", "1: run onsend_route for replies too."),
    p("udp_mtu", Int, &[], "0", "Requests larger than this many bytes do not use UDP (RFC 3261 18.1.1)."),
    p("udp_receiver_mode", Int, &[], "0", "How UDP is received: 0 a process per socket and child, 1 threads."),
    p("udp_accept_proxy", Int, &[], "0", "1: expect the PROXY protocol on UDP."),
    p("force_rport", Bool, &["add_rport"], "no", "Answer every request to its source port (RFC 3581)."),
    p("local_rport", Bool, &[], "no", "Add rport to the Via of sent requests (RFC 3581)."),
    p("udp_mtu_try_proto", Proto, &[], "0 (off); cookbook says UDP", "Protocol for requests too large for UDP."),
    p("udp4_raw", Int, &[], "0", "1: send UDP over raw sockets."),
    p("udp4_raw_mtu", Int, &[], "1500", "MTU of raw sockets."),
    p("udp4_raw_ttl", Int, &[], "-1 (auto)", "Time to live on raw sockets."),
    p("coreparam", CoreParamMap, &[], "", "Parameters of parts of the core: `coreparam[name] = value`."),
    p("kemi.request_route_callback", Str, &[], "ksr_request_route (engine default)", "Script function for requests."),
    p("kemi.onsend_route_callback", Str, &[], "ksr_onsend_route (engine default)", "Script function for messages being sent."),
    p("kemi.reply_route_callback", Str, &[], "ksr_reply_route (engine default)", "Script function for replies."),
    p("kemi.event_route_callback", Str, &[], "unset", "Script function for events."),
    p("kemi.received_route_callback", Str, &[], "unset", "Script function for every received message."),
    p("kemi.pre_routing_callback", Str, &[], "unset", "Script function called before routing."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_documented() {
        let mut seen = HashSet::new();
        for name in names() {
            assert!(seen.insert(name), "{name} is listed twice");
        }
        for param in CORE_PARAMS {
            assert!(
                param.doc.ends_with(['.', '…', '`']),
                "{}: {}",
                param.name,
                param.doc
            );
        }
        assert_eq!(find("shm_mem_size").map(|p| p.name), Some("shm"));
    }
}
