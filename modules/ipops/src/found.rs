//! Answers of name servers as scripts read them: `$dns(id=>addr[0])`, `$srvquery(id=>port[1])`.
//!
//! An answer lives with the message, under the id that the script gave it. With
//! `dns_set_local_ttl` a process also remembers answers for as many seconds, besides the core's cache,
//! which all processes share.

use olelo_core::dns::{self, Kind, Record, lookup};
use olelo_core::pv::PvKey;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;
use olelo_core::warn;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most answers that a message keeps, and a process.
const MOST_PER_MESSAGE: usize = 64;
const MOST_KEPT: usize = 1024;

/// Answers of a message: which query, its id, what came.
#[derive(Default)]
struct Answers {
    addresses: Vec<(Vec<u8>, Vec<IpAddr>)>,
    records: Vec<(Kind, Vec<u8>, Vec<Record>)>,
}

thread_local! {
    static TTL: Cell<u64> = const { Cell::new(0) };
    static KEPT: RefCell<Kept> = RefCell::default();
}
type Kept = HashMap<(Kind, String), (Instant, Vec<Record>)>;

/// `dns_set_local_ttl(seconds)`; 0 to forget.
pub(crate) fn set_ttl(seconds: i64) {
    TTL.set(u64::try_from(seconds).unwrap_or(0).min(86_400));
    if seconds <= 0 {
        KEPT.with_borrow_mut(HashMap::clear);
    }
}

/// `dns_query(host, id)`.
pub(crate) fn addresses(ctx: &mut Ctx, host: &str, id: &[u8]) -> i64 {
    let found = match host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => lookup(host),
    };
    let all = &mut ctx.ext::<Answers>().addresses;
    all.retain(|(i, _)| i != id);
    if found.is_empty() {
        warn!("ipops", "dns_query: {host} has no address");
        return -4;
    }
    if all.len() >= MOST_PER_MESSAGE {
        all.remove(0);
    }
    all.push((id.to_vec(), found));
    1
}

/// `srv_query`, `naptr_query` and `ptr_query`.
pub(crate) fn records(ctx: &mut Ctx, name: &str, id: &[u8], kind: Kind) -> i64 {
    let all = &mut ctx.ext::<Answers>().records;
    all.retain(|(k, i, _)| !(*k == kind && i == id));
    let mut found = match asked(name, kind) {
        Ok(found) => found,
        Err(e) => {
            warn!("ipops", "{e}");
            return -1;
        }
    };
    dns::sort(&mut found, |most| rand::random_range(0..most.max(1)));
    if all.len() >= MOST_PER_MESSAGE {
        all.remove(0);
    }
    all.push((kind, id.to_vec(), found));
    1
}

fn asked(name: &str, kind: Kind) -> Result<Vec<Record>, String> {
    let ttl = TTL.get();
    let key = (kind, name.to_ascii_lowercase());
    let now = Instant::now();
    if ttl > 0 {
        let kept = KEPT.with_borrow(|k| k.get(&key).filter(|(until, _)| *until > now).cloned());
        if let Some((_, found)) = kept {
            return Ok(found);
        }
    }
    let found = dns::records(name, kind).map_err(|e| e.to_string())?;
    if ttl > 0 {
        KEPT.with_borrow_mut(|k| {
            if k.len() >= MOST_KEPT {
                k.clear();
            }
            k.insert(key, (now + Duration::from_secs(ttl), found.clone()));
        });
    }
    Ok(found)
}

/// `ID=>FIELD[INDEX]`, read; the index is 0 where none is said, negative from the end.
fn place<'a>(key: &PvKey<'a>) -> Option<(&'a [u8], &'a str, i64)> {
    let text = key.name();
    let at = text.windows(2).position(|w| w == b"=>")?;
    let field = std::str::from_utf8(&text[at + 2..]).ok()?.trim();
    let (field, index) = match field.strip_suffix(']').and_then(|f| f.split_once('[')) {
        Some((f, i)) => (f.trim(), i.trim().parse().ok()?),
        None => (field, 0),
    };
    Some((text[..at].trim_ascii(), field, index))
}

fn nth<T>(list: &[T], index: i64) -> Option<&T> {
    match usize::try_from(index) {
        Ok(i) => list.get(i),
        Err(_) => list
            .len()
            .checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
            .and_then(|i| list.get(i)),
    }
}

/// `$dns(id=>count|ipv4|ipv6|addr[i]|type[i])`.
pub(crate) fn address<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let read = || {
        let (id, field, index) = place(key)?;
        let answers = &ctx.ext_ref::<Answers>()?.addresses;
        let (_, found) = answers.iter().find(|(i, _)| i == id)?;
        Some(match field {
            "count" => Val::Int(found.len() as i64),
            "ipv4" => Val::Int(found.iter().any(IpAddr::is_ipv4).into()),
            "ipv6" => Val::Int(found.iter().any(IpAddr::is_ipv6).into()),
            "addr" => Val::from(nth(found, index)?.to_string()),
            "type" => Val::Int(if nth(found, index)?.is_ipv4() { 4 } else { 6 }),
            _ => return None,
        })
    };
    read().unwrap_or(Val::Null)
}

/// `$srvquery(id=>…)`, `$naptrquery(id=>…)`, `$ptrquery(id=>…)`.
pub(crate) fn record<'c>(ctx: &'c Ctx, key: &PvKey<'_>, kind: Kind) -> Val<'c> {
    let read = || {
        let (id, field, index) = place(key)?;
        let answers = &ctx.ext_ref::<Answers>()?.records;
        let (.., found) = answers.iter().find(|(k, i, _)| *k == kind && i == id)?;
        if field == "count" {
            return Some(Val::Int(found.len() as i64));
        }
        field_of(nth(found, index)?, field)
    };
    read().unwrap_or(Val::Null)
}

fn field_of<'c>(r: &'c Record, field: &str) -> Option<Val<'c>> {
    let int = |n: u16| Val::Int(i64::from(n));
    Some(match (r, field) {
        (Record::Srv { port, .. }, "port") => int(*port),
        (Record::Srv { priority, .. }, "priority") => int(*priority),
        (Record::Srv { weight, .. }, "weight") => int(*weight),
        (Record::Srv { target, .. }, "target") => Val::text(target),
        (Record::Naptr { order, .. }, "order") => int(*order),
        (Record::Naptr { preference, .. }, "pref") => int(*preference),
        (Record::Naptr { flags, .. }, "flags") => Val::text(flags),
        (Record::Naptr { services, .. }, "services") => Val::text(services),
        (Record::Naptr { regexp, .. }, "regex") => Val::text(regexp),
        (Record::Naptr { replacement, .. }, "replace") => Val::text(replacement),
        (Record::Ptr(name), "hostname") => Val::text(name),
        _ => return None,
    })
}

/// What name servers have said, for tests.
#[cfg(test)]
pub(crate) fn remember(ctx: &mut Ctx, id: &[u8], kind: Kind, found: Vec<Record>) {
    ctx.ext::<Answers>()
        .records
        .push((kind, id.to_vec(), found));
}
