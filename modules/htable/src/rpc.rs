//! `htable.*`: names, order and spelling of answers are those that operators' tools know.

use crate::table::{Entry, HTable, Value};
use crate::{find, tables};
use olelo_core::rpc::{Answer, Fault, Params, Value as Rpc};

/// `htable.get table key`.
pub(crate) fn get(p: &Params) -> Answer {
    let t = table(p)?;
    let key = p.text(1, "key")?;
    let e = t
        .entry(key.as_bytes())
        .ok_or_else(|| Fault::new(500, "Key name doesn't exist in htable."))?;
    let expire = match e.ends {
        0 => "0".to_string(),
        end => local_time(end),
    };
    let item = Rpc::Struct(vec![
        named("name", text(&e.key)),
        named("value", value(&e.value)),
        named("flags", Rpc::Int(flags(&e))),
        named("expire", Rpc::Str(expire)),
    ]);
    Ok(vec![Rpc::Struct(vec![named("item", item)])])
}

/// `htable.delete table key`.
pub(crate) fn delete(p: &Params) -> Answer {
    if table(p)?.remove(p.text(1, "key")?.as_bytes()) {
        Ok(vec![Rpc::Str("Ok. Key deleted.".into())])
    } else {
        Err(Fault::new(404, "Key not found in htable."))
    }
}

/// `htable.sets table key text`.
pub(crate) fn sets(p: &Params) -> Answer {
    set(p, Value::Str(p.text(2, "value")?.into_bytes()), None)
}

/// `htable.seti table key number`.
pub(crate) fn seti(p: &Params) -> Answer {
    set(p, Value::Int(p.int(2, "value")?), None)
}

/// `htable.setxs table key text seconds`.
pub(crate) fn setxs(p: &Params) -> Answer {
    set(
        p,
        Value::Str(p.text(2, "value")?.into_bytes()),
        Some(p.int(3, "expire")?),
    )
}

/// `htable.setxi table key number seconds`.
pub(crate) fn setxi(p: &Params) -> Answer {
    set(p, Value::Int(p.int(2, "value")?), Some(p.int(3, "expire")?))
}

/// `htable.setex table key seconds`.
pub(crate) fn setex(p: &Params) -> Answer {
    table(p)?.set_expire(p.text(1, "key")?.as_bytes(), p.int(2, "expire")?);
    Ok(vec![Rpc::Str("Ok".into())])
}

/// `htable.flush table`.
pub(crate) fn flush(p: &Params) -> Answer {
    table(p)?.clear();
    Ok(vec![Rpc::Str("Ok. Htable flushed.".into())])
}

/// `htable.dump table`: one structure a bucket.
pub(crate) fn dump(p: &Params) -> Answer {
    let t = table(p)?;
    let slots = (0..t.bucket_count()).filter_map(|number| {
        let entries = t.bucket(number);
        if entries.is_empty() {
            return None;
        }
        let items = entries
            .iter()
            .map(|e| {
                let kind = match e.value {
                    Value::Int(_) => "int",
                    Value::Str(_) => "str",
                };
                let item = Rpc::Struct(vec![
                    named("name", text(&e.key)),
                    named("value", value(&e.value)),
                    named("type", Rpc::Str(kind.into())),
                ]);
                named("", item)
            })
            .collect();
        Some(Rpc::Struct(vec![
            named("entry", Rpc::Int(i64::from(number))),
            named("size", Rpc::Int(entries.len() as i64)),
            named("slot", Rpc::Struct(items)),
        ]))
    });
    Ok(slots.collect())
}

/// `htable.listTables`.
pub(crate) fn list(_: &Params) -> Answer {
    let shown = |t: &&'static HTable| {
        Rpc::Struct(vec![
            named("name", Rpc::Str(t.def.name.clone())),
            named("dbtable", Rpc::Str(String::new())),
            named("dbmode", Rpc::Int(0)),
            named("expire", Rpc::Int(t.def.autoexpire)),
            named("updateexpire", Rpc::Int(i64::from(t.def.updateexpire))),
            named("size", Rpc::Int(i64::from(t.bucket_count()))),
            named("dmqreplicate", Rpc::Int(0)),
        ])
    };
    Ok(tables().iter().map(shown).collect())
}

/// `htable.stats`.
pub(crate) fn stats(_: &Params) -> Answer {
    let shown = |t: &&'static HTable| {
        let sizes: Vec<i64> = (0..t.bucket_count())
            .map(|b| t.bucket(b).len() as i64)
            .collect();
        Rpc::Struct(vec![
            named("name", Rpc::Str(t.def.name.clone())),
            named("slots", Rpc::Int(i64::from(t.bucket_count()))),
            named("all", Rpc::Int(sizes.iter().sum())),
            named("min", Rpc::Int(sizes.iter().copied().min().unwrap_or(0))),
            named("max", Rpc::Int(sizes.iter().copied().max().unwrap_or(0))),
        ])
    };
    Ok(tables().iter().map(shown).collect())
}

/// `htable.reload` and `htable.store`.
pub(crate) fn no_database(p: &Params) -> Answer {
    table(p)?;
    Err(Fault::new(500, "No htable db_url"))
}

/// `htable.dmqsync` and `htable.dmqresync`.
pub(crate) fn no_dmq(_: &Params) -> Answer {
    Err(Fault::new(500, "dmq not enabled"))
}

fn set(p: &Params, value: Value, seconds: Option<i64>) -> Answer {
    if table(p)?.set(p.text(1, "key")?.as_bytes(), &value, seconds) {
        Ok(vec![Rpc::Str("Ok. Key set to new value.".into())])
    } else {
        Err(Fault::new(500, "Failed to set the item"))
    }
}

fn table(p: &Params) -> Result<&'static HTable, Fault> {
    find(p.text(0, "htable")?.as_bytes()).ok_or_else(|| Fault::new(500, "No such htable"))
}

fn flags(e: &Entry) -> i64 {
    match e.value {
        Value::Int(_) => 0,
        Value::Str(_) => 2,
    }
}

fn value(v: &Value) -> Rpc {
    match v {
        Value::Int(n) => Rpc::Int(*n),
        Value::Str(s) => text(s),
    }
}

fn local_time(at: i64) -> String {
    use chrono::TimeZone;
    match chrono::Local.timestamp_opt(at, 0).single() {
        Some(t) => t.format("%Y-%m-%d %H:%M:%S").to_string(),
        None => at.to_string(),
    }
}

fn named(name: &str, value: Rpc) -> (String, Rpc) {
    (name.into(), value)
}

fn text(t: &[u8]) -> Rpc {
    Rpc::Str(String::from_utf8_lossy(t).into_owned())
}
