//! `$ulc(profile=>attribute)`: contacts that a script fetched, or the one that has just expired.

use olelo_core::pv::{Index, PvKey};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;
use olelo_core::server::server;
use olelo_usrloc::contact::Record;
use olelo_usrloc::store::aor_hash;
use olelo_usrloc::{Contact, Table, now};

/// The profiles of a message.
#[derive(Default)]
pub struct Profiles(Vec<Profile>);

struct Profile {
    name: Vec<u8>,
    table: &'static Table,
    record: Record,
    all: bool,
}

/// Keeps what is stored for `aor` under `profile`; -1 if nothing is.
pub fn fetch(ctx: &mut Ctx, table: &'static Table, aor: &[u8], profile: &[u8]) -> i64 {
    free(ctx, profile);
    let record = table.read(aor);
    if record.valid(now()).next().is_none() {
        return -1;
    }
    keep(ctx, table, record, profile, false);
    1
}

/// Keeps a record under `profile`; `all`: those contacts too that have ended.
pub fn keep(ctx: &mut Ctx, table: &'static Table, record: Record, profile: &[u8], all: bool) {
    free(ctx, profile);
    ctx.ext::<Profiles>().0.push(Profile {
        name: profile.to_vec(),
        table,
        record,
        all,
    });
}

/// Forgets a profile.
pub fn free(ctx: &mut Ctx, profile: &[u8]) {
    ctx.ext::<Profiles>().0.retain(|p| p.name != profile);
}

/// `$ulc(profile=>attribute)`.
pub fn get<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let name = key.name();
    let Some(at) = name.windows(2).position(|w| w == b"=>") else {
        return Val::Null;
    };
    let (profile, attribute) = (
        olelo_sip::trim(&name[..at]),
        olelo_sip::trim(&name[at + 2..]),
    );
    let index = match key.index {
        Index::At(i) => i,
        _ => 0,
    };
    value(ctx, profile, attribute, index)
}

/// Checks the inner name of `$ulc` when the script is loaded.
pub fn check(name: &str) -> Result<(), String> {
    let known = name
        .split_once("=>")
        .is_some_and(|(_, a)| RECORD.iter().chain(CONTACT).any(|k| *k == a.trim()));
    if known || name.contains('$') {
        return Ok(());
    }
    Err(format!(
        "\"{name}\" should be profile=>attribute, the attribute one of {}",
        [RECORD, CONTACT].concat().join(", ")
    ))
}

/// One attribute: of the record, or of contact number `index`.
pub fn value(ctx: &Ctx, profile: &[u8], attribute: &[u8], index: i64) -> Val<'static> {
    let Some(p) = ctx
        .ext_ref::<Profiles>()
        .and_then(|all| all.0.iter().find(|p| p.name == profile))
    else {
        return Val::Null;
    };
    let now = now();
    let mut contacts = p.record.contacts().filter(|c| p.all || c.is_valid(now));
    match attribute {
        b"aor" => Val::owned(p.record.aor()),
        b"domain" => Val::owned(p.table.name()),
        b"aorhash" => Val::Int(i64::from(aor_hash(p.record.aor()))),
        b"count" => Val::Int(contacts.count() as i64),
        _ => usize::try_from(index)
            .ok()
            .and_then(|i| contacts.nth(i))
            .map_or(Val::Null, |c| of_contact(&c, attribute)),
    }
}

const RECORD: &[&str] = &["aor", "domain", "aorhash", "count"];
const CONTACT: &[&str] = &[
    "addr",
    "path",
    "received",
    "expires",
    "callid",
    "q",
    "cseq",
    "flags",
    "cflags",
    "user_agent",
    "socket",
    "modified",
    "methods",
    "ruid",
    "regid",
    "instance",
    "conid",
    "server_id",
];

fn of_contact(c: &Contact<'_>, attribute: &[u8]) -> Val<'static> {
    let text = |t: &[u8]| Val::owned(t);
    let int = |n: u32| Val::Int(i64::from(n));
    match attribute {
        b"addr" => text(c.uri),
        b"path" => text(c.path),
        b"received" => text(c.received),
        b"expires" => Val::Int(c.expires),
        b"callid" => text(c.call_id),
        b"q" => Val::Int(i64::from(c.q)),
        b"cseq" => int(c.cseq),
        b"flags" => int(c.flags),
        b"cflags" => int(c.cflags),
        b"user_agent" => text(c.user_agent),
        b"socket" => c
            .socket
            .and_then(|s| server().sockets.get(s))
            .map_or(Val::Null, |l| Val::owned(l.text())),
        b"modified" => Val::Int(c.modified),
        b"methods" => int(c.methods),
        b"ruid" => text(c.ruid),
        b"regid" => int(c.reg_id),
        b"instance" if c.instance.is_empty() => Val::Null,
        b"instance" => text(c.instance),
        b"conid" => c.conn.map_or(Val::Null, |id| int(id.number)),
        b"server_id" => int(c.server_id),
        _ => Val::Null,
    }
}
