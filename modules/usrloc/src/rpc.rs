//! `ul.*`: what operators' tools read and change; names, order and spelling of fields are theirs.

use crate::contact::{Contact, Record};
use crate::store::{self, Table};
use crate::{DESC_TIME_ORDER, USE_DOMAIN};
use olelo_core::net::SocketId;
use olelo_core::rpc::{Answer, Fault, Params, Value};
use olelo_core::server::server;

/// `ul.dump [brief]`.
pub(crate) fn dump(p: &Params) -> Answer {
    let brief = p.opt_text(0).is_some_and(|t| t == "brief");
    let domains = store::tables()
        .into_iter()
        .map(|t| named("Domain", dumped(t, brief)))
        .collect();
    Ok(vec![Value::Struct(vec![named(
        "Domains",
        Value::Struct(domains),
    )])])
}

/// `ul.lookup table aor`.
pub(crate) fn lookup(p: &Params) -> Answer {
    let t = table_of(p)?;
    let record = t.read(&aor_of(p, 1)?);
    if record.is_empty() {
        return Err(not_found(t));
    }
    Ok(vec![shown(&record, false)])
}

/// `ul.rm table aor`.
pub(crate) fn rm(p: &Params) -> Answer {
    let t = table_of(p)?;
    match t.remove(&aor_of(p, 1)?, |_| true) {
        Ok(0) => Err(not_found(t)),
        Ok(_) => Ok(Vec::new()),
        Err(e) => Err(Fault::new(500, e.to_string())),
    }
}

/// `ul.rm_contact table aor contact`.
pub(crate) fn rm_contact(p: &Params) -> Answer {
    let t = table_of(p)?;
    let aor = aor_of(p, 1)?;
    let contact = p.text(2, "contact")?;
    if t.read(&aor).is_empty() {
        return Err(Fault::new(404, "AOR not found"));
    }
    match t.remove(&aor, |c| c.uri == contact.as_bytes()) {
        Ok(0) => Err(Fault::new(404, "Contact not found")),
        Ok(_) => Ok(Vec::new()),
        Err(e) => Err(Fault::new(500, e.to_string())),
    }
}

/// `ul.flush`: there is no database to write to, so nothing is left to do.
pub(crate) fn flush(_: &Params) -> Answer {
    Ok(Vec::new())
}

/// `ul.add table aor contact expires q path flags cflags methods [user-agent [socket]]`.
pub(crate) fn add(p: &Params) -> Answer {
    let t = table_of(p)?;
    let aor = aor_of(p, 1)?;
    let uri = p.text(2, "contact")?;
    let expires = p.int(3, "expires")?;
    let q = match p.0.get(4) {
        Some(Value::Double(q)) => (*q * 1000.0).round() as i16,
        Some(Value::Int(q)) => (*q * 1000) as i16,
        Some(Value::Str(q)) => olelo_sip::contact::parse_q(q.as_bytes()).map_or(-1, |q| q as i16),
        _ => -1,
    };
    let path = p.opt_text(5).filter(|s| s != "0").unwrap_or_default();
    let bits = |i: usize| p.opt_int(i).unwrap_or(0) as u32;
    let agent = p.opt_text(9).unwrap_or_else(|| "olelo".into());
    let ruid = store::new_ruid();
    let socket: Option<SocketId> = p
        .opt_text(10)
        .and_then(|s| server().sockets.find(&s))
        .map(|l| l.id);
    let now = store::now();
    let contact = Contact {
        uri: uri.as_bytes(),
        path: path.as_bytes(),
        user_agent: agent.as_bytes(),
        call_id: b"ul-add@olelo",
        ruid: ruid.as_bytes(),
        expires: if expires > 0 { now + expires } else { 0 },
        modified: now,
        q: q.clamp(-1, 1000),
        cseq: 1,
        flags: bits(6),
        cflags: bits(7),
        methods: match bits(8) {
            0 => u32::MAX,
            m => m,
        },
        socket,
        ..Contact::default()
    };
    t.commit_added(&aor, contact)
        .map_err(|e| Fault::new(500, e.to_string()))?;
    Ok(Vec::new())
}

/// `ul.db_users table` and its like: there is no database in this build.
pub(crate) fn no_database(_: &Params) -> Answer {
    Err(Fault::new(
        500,
        "contacts are kept in memory only; there is no database to ask",
    ))
}

impl Table {
    /// Adds or replaces the contact with the same address; its unique id is kept.
    pub(crate) fn commit_added(
        &'static self,
        aor: &[u8],
        contact: Contact<'_>,
    ) -> Result<(), store::StoreError> {
        loop {
            let old = self.read(aor);
            let mut contact = contact.clone();
            let mut list: Vec<Contact<'_>> = Vec::new();
            for c in old.contacts() {
                if c.uri == contact.uri {
                    contact.ruid = c.ruid;
                } else {
                    list.push(c);
                }
            }
            store::insert_ordered(&mut list, contact, DESC_TIME_ORDER.is_on());
            if self.commit(aor, &old, &list)? {
                return Ok(());
            }
        }
    }
}

fn table_of(p: &Params) -> Result<&'static Table, Fault> {
    let name = p.text(0, "table")?;
    store::tables()
        .into_iter()
        .find(|t| t.name() == name)
        .ok_or_else(|| Fault::new(500, "Domain not found"))
}

/// The address of record as it is stored: without its domain unless `use_domain` is set.
fn aor_of(p: &Params, i: usize) -> Result<Vec<u8>, Fault> {
    let text = p.text(i, "aor")?;
    let bare = text.strip_prefix("sip:").unwrap_or(&text);
    let kept = if USE_DOMAIN.is_on() {
        bare
    } else {
        bare.split('@').next().unwrap_or(bare)
    };
    Ok(kept.to_ascii_lowercase().into_bytes())
}

fn not_found(t: &Table) -> Fault {
    Fault::new(500, format!("AOR not found in {} table", t.name()))
}

fn dumped(t: &'static Table, brief: bool) -> Value {
    let mut aors = Vec::new();
    let mut longest = 0;
    for bucket in 0..store::bucket_count() {
        let mut here = 0;
        store::for_bucket(bucket, Some(t), &mut |record: &Record| {
            here += 1;
            aors.push(if brief {
                named("AoR", text(record.aor()))
            } else {
                named("Info", shown(record, true))
            });
        });
        longest = longest.max(here);
    }
    let records = aors.len() as i64;
    Value::Struct(vec![
        named("Domain", Value::Str(t.name().into())),
        named("Size", Value::Int(i64::from(store::bucket_count()))),
        named("AoRs", Value::Struct(aors)),
        named(
            "Stats",
            Value::Struct(vec![
                named("Records", Value::Int(records)),
                named("Max-Slots", Value::Int(longest)),
            ]),
        ),
    ])
}

fn shown(record: &Record, with_hash: bool) -> Value {
    let now = store::now();
    let contacts = record
        .contacts()
        .map(|c| named("Contact", contact(&c, now)))
        .collect();
    let mut members = vec![named("AoR", text(record.aor()))];
    if with_hash {
        let hash = store::aor_hash(record.aor());
        members.push(named("HashID", Value::Int(i64::from(hash))));
    }
    members.push(named("Contacts", Value::Struct(contacts)));
    Value::Struct(members)
}

fn contact(c: &Contact<'_>, now: i64) -> Value {
    let or = |t: &[u8], none: &str| match t {
        [] => Value::Str(none.into()),
        t => text(t),
    };
    let expires = match c.expires {
        0 => Value::Str("permanent".into()),
        e if e <= now => Value::Str("expired".into()),
        e => Value::Int(e - now),
    };
    let socket = c
        .socket
        .and_then(|s| server().sockets.get(s))
        .map_or("[not set]".to_string(), |l| l.text());
    let bits = |n: u32| Value::Int(i64::from(n));
    Value::Struct(vec![
        named("Address", text(c.uri)),
        named("Expires", expires),
        named(
            "Q",
            match c.q {
                -1 => Value::Int(-1),
                q => Value::Double(f64::from(q) / 1000.0),
            },
        ),
        named("Call-ID", text(c.call_id)),
        named("CSeq", bits(c.cseq)),
        named("User-Agent", or(c.user_agent, "n/a")),
        named("Received", or(c.received, "[not set]")),
        named("Path", or(c.path, "[not set]")),
        named("State", Value::Str("CS_NEW".into())),
        named("Flags", bits(c.flags)),
        named("CFlags", bits(c.cflags)),
        named("Socket", Value::Str(socket)),
        named("Methods", Value::Int(i64::from(c.methods as i32))),
        named("Ruid", text(c.ruid)),
        named("Instance", or(c.instance, "[not set]")),
        named("Reg-Id", bits(c.reg_id)),
        named("Server-Id", bits(c.server_id)),
        named(
            "Tcpconn-Id",
            Value::Int(c.conn.map_or(-1, |id| i64::from(id.number))),
        ),
        named("Keepalive", Value::Int(i64::from(c.last_keepalive > 0))),
        named(
            "Last-Keepalive",
            Value::Int(c.last_keepalive.max(c.modified)),
        ),
        named("KA-Roundtrip", bits(c.roundtrip)),
        named("Last-Modified", Value::Int(c.modified)),
    ])
}

fn named(name: &str, value: Value) -> (String, Value) {
    (name.into(), value)
}

fn text(t: &[u8]) -> Value {
    Value::Str(String::from_utf8_lossy(t).into_owned())
}
