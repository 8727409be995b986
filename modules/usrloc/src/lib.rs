//! `usrloc`: where registered users are, in shared memory.
//!
//! Other modules use [`table`], [`Table`], [`Record`] and [`Contact`]; scripts use `registrar`.
//! Contacts live in memory only: this build has no database behind it. [`store`] says how records
//! are changed without a lock being held while anything else runs.

#![forbid(unsafe_code)]

pub mod contact;
mod rpc;
pub mod store;

pub use contact::{Contact, Record};
pub use store::{CHANGED, Change, EXPIRED, StoreError, Table, now, table, tables};

use olelo_core::net::tcp;
use olelo_core::route::module::{
    IntParam, Module, ParamValue, StrParam, param_call, param_ignored, param_int, param_str,
};
use olelo_core::stats::Stat;
use olelo_core::timer::{self, Pace};
use std::collections::HashSet;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Branch flag that marks a contact behind a NAT; -1 for none.
pub static NAT_BFLAG: IntParam = IntParam::new(-1);
/// Addresses of record have their domain.
pub static USE_DOMAIN: IntParam = IntParam::new(0);
/// Contacts are ordered by time, the newest first, instead of by q.
pub static DESC_TIME_ORDER: IntParam = IntParam::new(0);
/// How contacts of one address of record are told apart; see [`same_contact`].
pub static MATCHING_MODE: IntParam = IntParam::new(0);
/// Seconds in which a repeated CSeq counts as a retransmission.
pub static CSEQ_DELAY: IntParam = IntParam::new(20);
static HASH_SIZE: IntParam = IntParam::new(10);
static TIMER_INTERVAL: IntParam = IntParam::new(60);
static TIMER_PROCS: IntParam = IntParam::new(0);
static DB_MODE: IntParam = IntParam::new(0);
static HANDLE_LOST_TCP: IntParam = IntParam::new(0);
static CLOSE_EXPIRED_TCP: IntParam = IntParam::new(0);
static XAVP_CONTACT: StrParam = StrParam::unset();
static PRELOAD: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Periods of the internal keepalive, read by `nathelper`'s pinger.
pub static KA_MODE: IntParam = IntParam::new(0);
/// `From` of the internal keepalive.
pub static KA_FROM: StrParam = StrParam::new("sip:server@kamailio.org");
/// Domain of `To` in the internal keepalive, where addresses of record have none.
pub static KA_DOMAIN: StrParam = StrParam::new("kamailio.org");
/// Method of the internal keepalive.
pub static KA_METHOD: StrParam = StrParam::new("OPTIONS");
/// Seconds after which a contact that answers no keepalive is removed; 0 for never.
pub static KA_TIMEOUT: IntParam = IntParam::new(0);
/// Seconds between keepalives of one contact.
pub static KA_INTERVAL: IntParam = IntParam::new(40);
static KA_FILTER: IntParam = IntParam::new(0);
static KA_RANDOMIZE: IntParam = IntParam::new(20);
static KA_LOGLEVEL: IntParam = IntParam::new(255);
static KA_LOGMSG: StrParam = StrParam::new(" to-uri: [$tu] remote-addr: [$sas]");

static REGISTERED_USERS: Stat = Stat::computed(
    "usrloc",
    "registered_users",
    "addresses of record with a contact, over all tables",
    || tables().iter().map(|t| t.users()).sum(),
);
static USERS: Stat = Stat::computed(
    "usrloc",
    "location-users",
    "addresses of record in the table location",
    || table("location").map_or(0, Table::users),
);
static CONTACTS: Stat = Stat::computed(
    "usrloc",
    "location-contacts",
    "contacts in the table location",
    || table("location").map_or(0, Table::contacts),
);
static EXPIRES: Stat = Stat::computed(
    "usrloc",
    "location-expires",
    "contacts of the table location that expired",
    || table("location").map_or(0, Table::expired),
);

/// Whether `new` is a registration of the contact `old` again: the same flow of an instance where
/// both have one (RFC 5626 §6), else by `matching_mode`: address (0), address and Call-ID (1),
/// address and Path (2), host and port only (3).
pub fn same_contact(old: &Contact<'_>, new: &Contact<'_>) -> bool {
    if new.reg_id > 0 && !new.instance.is_empty() {
        return old.reg_id == new.reg_id && old.instance == new.instance;
    }
    match MATCHING_MODE.get() {
        1 => same_uri(old.uri, new.uri) && old.call_id == new.call_id,
        2 => same_uri(old.uri, new.uri) && old.path == new.path,
        3 => {
            let place = |u| {
                olelo_sip::Uri::parse(u)
                    .ok()
                    .map(|u| (u.host.to_ascii_lowercase(), u.effective_port()))
            };
            place(old.uri) == place(new.uri)
        }
        _ => same_uri(old.uri, new.uri),
    }
}

/// The module.
pub fn module() -> Module {
    let mut m = Module::new("usrloc")
        .doc("Where registered users are: contacts per address of record, in shared memory.")
        .param(param_int("nat_bflag", &NAT_BFLAG).doc("Branch flag that marks a contact behind a NAT."))
        .param(param_int("use_domain", &USE_DOMAIN).doc("Addresses of record have their domain."))
        .param(param_int("desc_time_order", &DESC_TIME_ORDER).doc("Newest contacts first, instead of by q."))
        .param(param_int("matching_mode", &MATCHING_MODE).doc("0 address, 1 with Call-ID, 2 with Path, 3 host and port."))
        .param(param_int("cseq_delay", &CSEQ_DELAY).doc("Seconds in which a repeated CSeq is a retransmission."))
        .param(param_int("hash_size", &HASH_SIZE).doc("2^n buckets; at least 2^16 are made, which cost memory only once used."))
        .param(param_int("timer_interval", &TIMER_INTERVAL).doc("Seconds in which all contacts are looked at once, for those that ended."))
        .param(param_int("timer_procs", &TIMER_PROCS).doc("Accepted; the slow timer process does the sweeps, a part each second."))
        .param(param_int("db_mode", &DB_MODE).doc("0: memory only. This build has no database."))
        .param(param_int("handle_lost_tcp", &HANDLE_LOST_TCP).doc("Remove contacts whose connection is gone."))
        .param(param_int("close_expired_tcp", &CLOSE_EXPIRED_TCP).doc("Close the connection of a contact that expires."))
        .param(param_str("xavp_contact", &XAVP_CONTACT).doc("Accepted; XAVPs are not kept with contacts."))
        .param(param_call("preload", preload).doc("A location table to make at start."))
        .param(param_int("ka_mode", &KA_MODE).doc("Keepalives: 1 to all, 2 to contacts behind NAT, 4 over UDP only; sent by nathelper's process."))
        .param(param_str("ka_from", &KA_FROM))
        .param(param_str("ka_domain", &KA_DOMAIN))
        .param(param_str("ka_method", &KA_METHOD))
        .param(param_int("ka_timeout", &KA_TIMEOUT))
        .param(param_int("ka_interval", &KA_INTERVAL))
        .param(param_int("ka_filter", &KA_FILTER))
        .param(param_int("ka_randomize", &KA_RANDOMIZE))
        .param(param_int("ka_loglevel", &KA_LOGLEVEL))
        .param(param_str("ka_logmsg", &KA_LOGMSG))
        .param(param_ignored("ka_reply_codes", true, "any reply to a keepalive counts"))
        .rpc(olelo_core::rpc::rpc("ul.dump", rpc::dump).args("[brief]").doc("All tables, addresses of record and contacts."))
        .rpc(olelo_core::rpc::rpc("ul.lookup", rpc::lookup).args("table aor").doc("The contacts of one address of record."))
        .rpc(olelo_core::rpc::rpc("ul.rm", rpc::rm).args("table aor").doc("Removes all contacts of one address of record."))
        .rpc(olelo_core::rpc::rpc("ul.rm_contact", rpc::rm_contact).args("table aor contact").doc("Removes one contact."))
        .rpc(olelo_core::rpc::rpc("ul.flush", rpc::flush).doc("Writes to the database, where there is one."))
        .rpc(olelo_core::rpc::rpc("ul.add", rpc::add).args("table aor contact expires q path flags cflags methods [user-agent [socket]]").doc("Adds a contact."))
        .rpc(olelo_core::rpc::rpc("ul.db_users", rpc::no_database).args("table").doc("Counts in the database: this build has none and says so."))
        .rpc(olelo_core::rpc::rpc("ul.db_contacts", rpc::no_database).args("table").doc("Counts in the database: this build has none and says so."))
        .rpc(olelo_core::rpc::rpc("ul.db_expired_contacts", rpc::no_database).args("table").doc("Counts in the database: this build has none and says so."))
        .stat(&REGISTERED_USERS)
        .stat(&USERS)
        .stat(&CONTACTS)
        .stat(&EXPIRES)
        .init(init);
    for (name, is_text) in DATABASE_ONLY {
        m = m.param(param_ignored(
            name,
            *is_text,
            "there is no database in this build",
        ));
    }
    m
}

/// Parameters that describe a database.
const DATABASE_ONLY: &[(&str, bool)] = &[
    ("db_url", true),
    ("db_load", false),
    ("db_insert_update", false),
    ("db_update_as_insert", false),
    ("db_check_update", false),
    ("db_ops_ruid", false),
    ("db_raw_fetch_type", false),
    ("db_insert_null", false),
    ("db_timer_clean", false),
    ("db_clean_tcp", false),
    ("fetch_rows", false),
    ("expires_type", false),
    ("skip_remote_socket", false),
    ("server_id_filter", false),
    ("rm_expired_delay", false),
    ("version_table", false),
    ("load_rank", false),
    ("ruid_column", true),
    ("user_column", true),
    ("domain_column", true),
    ("contact_column", true),
    ("expires_column", true),
    ("q_column", true),
    ("callid_column", true),
    ("cseq_column", true),
    ("flags_column", true),
    ("cflags_column", true),
    ("user_agent_column", true),
    ("received_column", true),
    ("path_column", true),
    ("socket_column", true),
    ("methods_column", true),
    ("instance_column", true),
    ("reg_id_column", true),
    ("server_id_column", true),
    ("connection_id_column", true),
    ("keepalive_column", true),
    ("partition_column", true),
];

/// Fewest buckets, as a power of two: chains stay short whatever old configurations say.
const LEAST_BITS: i64 = 16;

fn init() -> Result<(), String> {
    if DB_MODE.get() != 0 {
        return Err(format!(
            "usrloc: db_mode {} keeps contacts in a database, and this build has none; set \
             modparam(\"usrloc\", \"db_mode\", 0) to keep them in memory (they are lost when the \
             server stops)",
            DB_MODE.get()
        ));
    }
    store::init(HASH_SIZE.get().clamp(LEAST_BITS, 24) as u32)?;
    table("location");
    if let Ok(names) = PRELOAD.read() {
        for name in names.iter() {
            table(name).ok_or_else(|| format!("usrloc: can't make the table \"{name}\""))?;
        }
    }
    EXPIRED.add(close_expired);
    timer::every("usrloc sweep", 1000, Pace::Slow, sweep);
    Ok(())
}

fn preload(v: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(name) = v else {
        return Err("wants the name of a location table".into());
    };
    if let Ok(mut names) = PRELOAD.write() {
        names.push(name.clone());
    }
    Ok(())
}

/// Looks at the share of the buckets that is due this second, so that all are seen once in
/// `timer_interval` and no second does more than its part.
fn sweep(_now_ms: u64) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let all = store::bucket_count();
    if all == 0 {
        return;
    }
    let share = all.div_ceil(TIMER_INTERVAL.get().clamp(1, 86_400) as u32);
    let first = NEXT.fetch_add(share, Ordering::Relaxed) % all;
    let now = now();
    for i in 0..share {
        store::expire_bucket((first + i) % all, now);
    }
    if HANDLE_LOST_TCP.is_on() {
        drop_lost_connections((first..first + share).map(|b| b % all));
    }
}

fn drop_lost_connections(buckets: impl Iterator<Item = u32>) {
    let alive: HashSet<_> = tcp::list().into_iter().map(|(_, conn)| conn).collect();
    let lost = |c: &Contact<'_>| c.conn.is_some_and(|conn| !alive.contains(&conn));
    for bucket in buckets {
        for t in tables() {
            store::for_bucket(bucket, Some(t), &mut |r| {
                if r.contacts().any(|c| lost(&c))
                    && let Err(e) = t.remove(r.aor(), lost)
                {
                    olelo_core::error!("usrloc", "contacts of a lost connection stay: {e}");
                }
            });
        }
    }
}

fn close_expired(_t: &'static Table, _aor: &[u8], c: &Contact<'_>) {
    if CLOSE_EXPIRED_TCP.is_on()
        && let Some(conn) = c.conn
    {
        tcp::set_lifetime(conn, 0);
    }
}

fn same_uri(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    match (olelo_sip::Uri::parse(a), olelo_sip::Uri::parse(b)) {
        (Ok(a), Ok(b)) => a.equals(&b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_told_apart_by_address_or_flow() {
        let c = |uri: &'static [u8], instance: &'static [u8], reg_id| Contact {
            uri,
            instance,
            reg_id,
            ..Contact::default()
        };
        let plain = c(b"sip:a@192.0.2.1;transport=tcp", b"", 0);
        for (other, same) in [
            (c(b"sip:a@192.0.2.1;transport=tcp", b"", 0), true),
            (c(b"sip:a@192.0.2.1;transport=TCP", b"", 0), true),
            (c(b"sip:a@192.0.2.1", b"", 0), false),
            (c(b"sip:A@192.0.2.1;transport=tcp", b"", 0), false),
            (c(b"sip:a@192.0.2.1;transport=tcp", b"<urn:x>", 0), true),
            (c(b"sip:a@192.0.2.1;transport=tcp", b"<urn:x>", 1), false),
        ] {
            assert_eq!(same_contact(&plain, &other), same, "{other:?}");
        }
        let flow = c(b"sip:a@192.0.2.1", b"<urn:x>", 1);
        assert!(same_contact(
            &flow,
            &c(b"sip:a@198.51.100.7", b"<urn:x>", 1)
        ));
        assert!(!same_contact(&flow, &c(b"sip:a@192.0.2.1", b"<urn:x>", 2)));
    }
}
