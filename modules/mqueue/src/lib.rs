//! The `mqueue` module: queues of (key, value) pairs between the processes of the server.
//!
//! Typical is a route that adds (`mq_add`) and a timer's route that takes (`mq_fetch`) until nothing
//! is left. The queues are in [`queue`]; what a message took last is kept with the message, for
//! `$mqk` and `$mqv`.
//!
//! What differs from the original: a queue without a size holds 65536 pairs, not as many as memory
//! has; there is no database in this build, so that queues end with the server.

#![forbid(unsafe_code)]

mod queue;

use olelo_core::pv::{PvKey, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::function;
use olelo_core::route::module::{
    IntParam, Module, ParamValue, param_call, param_ignored, param_int,
};
use olelo_core::route::value::Val;
use olelo_core::rpc::{Answer, Fault, Params, Value, fields, rpc, text};
use olelo_core::{error, warn};
use queue::{AddMode, Definition, MQueue, Pair};
use std::sync::{OnceLock, RwLock};

static MQUEUE_SIZE: IntParam = IntParam::new(0);
static MQUEUE_ADDMODE: IntParam = IntParam::new(0);
static DEFINED: RwLock<Vec<Definition>> = RwLock::new(Vec::new());
static QUEUES: OnceLock<Vec<MQueue>> = OnceLock::new();

/// What a message took last from each queue.
#[derive(Default)]
struct Taken(Vec<(Vec<u8>, Pair)>);

/// The module.
pub fn module() -> Module {
    let m = Module::new("mqueue")
        .doc("Queues of (key, value) pairs between the processes of the server.")
        .init(init)
        .param(param_ignored("db_url", true, "there is no database in this build"))
        .param(param_call("mqueue", |v| define(Definition::parse(&string(v))?)).doc("A queue: name=myq;size=20;addmode=0;dbmode=0."))
        .param(param_call("mqueue_name", define_by_name).doc("A queue of the size and addmode that stand before."))
        .param(param_int("mqueue_size", &MQUEUE_SIZE).doc("Size of the queues that mqueue_name defines after it."))
        .param(param_int("mqueue_addmode", &MQUEUE_ADDMODE).doc("Mode of the queues that mqueue_name defines after it: 1 keeps the oldest of a key, 2 the newest."))
        .pv(pv_named("mqk", |c, k| last(c, k.name()).map_or(Val::Null, |(key, _)| Val::bytes(key))).doc("The key taken last from a queue."))
        .pv(pv_named("mqv", |c, k| last(c, k.name()).map_or(Val::Null, |(_, v)| Val::bytes(v))).doc("The value taken last from a queue."))
        .pv(pv_named("mq_size", pv_size).doc("How many pairs wait in a queue."))
        .rpc(rpc("mqueue.get_size", rpc_size).args("name").doc("How many pairs wait in a queue."))
        .rpc(rpc("mqueue.get_sizes", |_| Ok(queues().rev().map(shown).collect())).doc("How many pairs wait in each queue.").array())
        .rpc(rpc("mqueue.fetch", rpc_fetch).args("name").doc("Takes the oldest pair of a queue."));
    reading(changing(m))
}

fn changing(m: Module) -> Module {
    m.function(
        function(
            "mq_add",
            |_: &mut Ctx, q: &[u8], k: &[u8], v: &[u8]| match find(q) {
                Some(q) if q.add(k, v) => 1i64,
                Some(_) => -1,
                None => unknown(q),
            },
        )
        .cfg("mq_add")
        .args(["queue", "key", "value"])
        .doc("Adds a pair; a full queue loses its oldest."),
    )
    .function(
        function("mq_fetch", fetch)
            .cfg("mq_fetch")
            .args(["queue"])
            .doc("Takes the oldest pair for $mqk and $mqv; -2 where there is none."),
    )
    .function(
        function("mq_size", |_: &mut Ctx, q: &[u8]| {
            match find(q).map(MQueue::len) {
                Some(0) => -1i64,
                Some(n) => n as i64,
                None => {
                    unknown(q);
                    -2
                }
            }
        })
        .cfg("mq_size")
        .args(["queue"])
        .doc("How many pairs wait; -1 for none, -2 where there is no such queue."),
    )
    .function(
        function("mq_pv_free", |c: &mut Ctx, q: &[u8]| {
            c.ext::<Taken>().0.retain(|(n, _)| n != q);
            1i64
        })
        .cfg("mq_pv_free")
        .args(["queue"])
        .doc("Forgets what was taken last."),
    )
}

fn reading(m: Module) -> Module {
    fn key(c: &Ctx, q: &[u8], none: Val<'static>) -> Val<'static> {
        last(c, q).map_or(none, |(k, _)| Val::owned(k.clone()))
    }
    fn value(c: &Ctx, q: &[u8], none: Val<'static>) -> Val<'static> {
        last(c, q).map_or(none, |(_, v)| Val::owned(v.clone()))
    }
    m.function(
        function("mqk_get", |c: &mut Ctx, q: &[u8]| -> Val<'static> {
            key(c, q, Val::Null)
        })
        .args(["queue"])
        .doc("The key taken last; null if there is none."),
    )
    .function(
        function("mqk_gete", |c: &mut Ctx, q: &[u8]| -> Val<'static> {
            key(c, q, Val::text(""))
        })
        .args(["queue"])
        .doc("The key taken last; an empty string if there is none."),
    )
    .function(
        function("mqk_getw", |c: &mut Ctx, q: &[u8]| -> Val<'static> {
            key(c, q, Val::text("<null>"))
        })
        .args(["queue"])
        .doc("The key taken last; `<null>` if there is none."),
    )
    .function(
        function("mqv_get", |c: &mut Ctx, q: &[u8]| -> Val<'static> {
            value(c, q, Val::Null)
        })
        .args(["queue"])
        .doc("The value taken last; null if there is none."),
    )
    .function(
        function("mqv_gete", |c: &mut Ctx, q: &[u8]| -> Val<'static> {
            value(c, q, Val::text(""))
        })
        .args(["queue"])
        .doc("The value taken last; an empty string if there is none."),
    )
    .function(
        function("mqv_getw", |c: &mut Ctx, q: &[u8]| -> Val<'static> {
            value(c, q, Val::text("<null>"))
        })
        .args(["queue"])
        .doc("The value taken last; `<null>` if there is none."),
    )
}

fn string(v: &ParamValue) -> String {
    match v {
        ParamValue::Str(s) => s.clone(),
        ParamValue::Int(i) => i.to_string(),
    }
}

fn define_by_name(v: &ParamValue) -> Result<(), String> {
    let name = string(v).trim().to_string();
    if name.is_empty() {
        return Err("mqueue_name is empty".into());
    }
    define(Definition {
        name,
        size: queue::size(MQUEUE_SIZE.get())?,
        mode: AddMode::from_int(MQUEUE_ADDMODE.get())?,
        dbmode: 0,
    })
}

fn define(d: Definition) -> Result<(), String> {
    let mut all = DEFINED
        .write()
        .map_err(|_| "the list of queues is broken")?;
    if all.iter().any(|o| o.name == d.name) {
        return Err(format!("there is a queue \"{}\" already", d.name));
    }
    if d.dbmode != 0 {
        warn!(
            "mqueue",
            "the queue \"{}\" begins empty and ends with the server: there is no database in this build",
            d.name
        );
    }
    all.push(d);
    Ok(())
}

fn init() -> Result<(), String> {
    let defined = DEFINED.read().map(|d| d.clone()).unwrap_or_default();
    let made: Result<Vec<_>, _> = defined.into_iter().map(MQueue::create).collect();
    let _ = QUEUES.set(made?);
    Ok(())
}

fn queues() -> std::slice::Iter<'static, MQueue> {
    QUEUES.get().map_or([].iter(), |q| q.iter())
}

fn find(name: &[u8]) -> Option<&'static MQueue> {
    queues().find(|q| q.def.name.as_bytes() == name)
}

fn unknown(name: &[u8]) -> i64 {
    error!(
        "mqueue",
        "there is no queue \"{}\"; define it with modparam(\"mqueue\", \"mqueue\", \"name=...\")",
        String::from_utf8_lossy(name)
    );
    -1
}

fn fetch(ctx: &mut Ctx, name: &[u8]) -> i64 {
    let Some(q) = find(name) else {
        return unknown(name);
    };
    let taken = &mut ctx.ext::<Taken>().0;
    taken.retain(|(n, _)| n != name);
    match q.take() {
        Some(pair) => {
            taken.push((name.to_vec(), pair));
            1
        }
        None => -2,
    }
}

fn last<'c>(ctx: &'c Ctx, queue: &[u8]) -> Option<&'c Pair> {
    let taken = ctx.ext_ref::<Taken>()?;
    taken.0.iter().find(|(n, _)| n == queue).map(|(_, p)| p)
}

fn pv_size<'c>(_: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    match find(key.name()) {
        Some(q) => Val::Int(q.len() as i64),
        None => {
            unknown(key.name());
            Val::Null
        }
    }
}

fn shown(q: &MQueue) -> Value {
    fields([
        ("name", text(q.def.name.clone())),
        ("size", Value::Int(q.len() as i64)),
    ])
}

fn rpc_size(p: &Params) -> Answer {
    let name = p.text(0, "name")?;
    match find(name.as_bytes()) {
        Some(q) => Ok(vec![shown(q)]),
        None => Err(Fault::new(404, "No such queue")),
    }
}

fn rpc_fetch(p: &Params) -> Answer {
    let name = p.text(0, "name")?;
    let q = find(name.as_bytes()).ok_or_else(|| Fault::new(500, "No such queue"))?;
    let (key, value) = q.take().ok_or_else(|| Fault::new(404, "Empty queue"))?;
    let shown = |b: Vec<u8>| text(String::from_utf8_lossy(&b).into_owned());
    Ok(vec![fields([("key", shown(key)), ("val", shown(value))])])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(c: &mut Ctx, name: &str, args: &[&str]) -> Val<'static> {
        let m = module();
        let f = m.functions.iter().find(|f| f.name == name).unwrap();
        let args: Vec<Val<'_>> = args.iter().map(|a| Val::text(a)).collect();
        f.call(c, &args).unwrap()
    }

    fn ask(name: &str, arg: &str) -> Answer {
        let m = module();
        let r = m.rpcs.iter().find(|r| r.name == name).unwrap();
        (r.run)(&Params(vec![text(arg)]))
    }

    // One test: the queues are this process's.
    #[test]
    fn scripts_and_operators_see_what_the_original_shows() {
        olelo_core::server::for_tests(vec![module()]);
        let set = |name: &str, v: ParamValue| {
            let m = module();
            m.params.iter().find(|p| p.name == name).unwrap().set(&v)
        };
        let s = |t: &str| ParamValue::Str(t.into());
        set("mqueue", s("name=q;size=3")).unwrap();
        assert!(set("mqueue", s("name=q")).unwrap_err().contains("already"));
        set("mqueue_size", ParamValue::Int(2)).unwrap();
        set("mqueue_addmode", ParamValue::Int(1)).unwrap();
        set("mqueue_name", s("nm")).unwrap();
        init().unwrap();
        let nm = find(b"nm").unwrap();
        assert_eq!((nm.def.size, nm.def.mode), (2, AddMode::KeepOldest));

        let mut c = Ctx::new();
        let int = Val::Int;
        for (f, args, want) in [
            ("mq_fetch", &["q"][..], int(-2)),
            ("mq_size", &["q"], int(-1)),
            ("mq_size", &["zz"], int(-2)),
            ("mq_add", &["q", "a", "1"], int(1)),
            ("mq_add", &["q", "b", "2"], int(1)),
            ("mq_add", &["q", "c", "3"], int(1)),
            ("mq_add", &["q", "d", "4"], int(1)),
            ("mq_size", &["q"], int(3)),
            ("mqk_get", &["q"], Val::Null),
            ("mqk_gete", &["q"], Val::text("")),
            ("mqv_getw", &["q"], Val::text("<null>")),
            ("mq_fetch", &["q"], int(1)),
            ("mqk_get", &["q"], Val::text("b")),
            ("mqv_gete", &["q"], Val::text("2")),
            ("mqk_getw", &["q"], Val::text("b")),
            ("mqv_get", &["q"], Val::text("2")),
            ("mq_fetch", &["zz"], int(-1)),
            ("mq_add", &["zz", "a", "b"], int(-1)),
            ("mq_pv_free", &["zz"], int(1)),
        ] {
            assert_eq!(call(&mut c, f, args), want, "{f} {args:?}");
        }
        assert_eq!(
            (c.pv("$mqk(q)"), c.pv("$mqv(q)"), c.pv("$mq_size(q)")),
            (Val::text("b"), Val::text("2"), int(2))
        );
        call(&mut c, "mq_pv_free", &["q"]);
        assert_eq!(
            (c.pv("$mqk(q)"), c.pv("$mq_size(zz)")),
            (Val::Null, Val::Null)
        );

        let pair = |k, v| Ok(vec![fields([("key", text(k)), ("val", text(v))])]);
        let sized = |n, s| fields([("name", text(n)), ("size", Value::Int(s))]);
        assert_eq!(ask("mqueue.get_size", "q"), Ok(vec![sized("q", 2)]));
        assert_eq!(
            ask("mqueue.get_sizes", ""),
            Ok(vec![sized("nm", 0), sized("q", 2)])
        );
        assert_eq!(ask("mqueue.fetch", "q"), pair("c", "3"));
        assert_eq!(ask("mqueue.fetch", "q"), pair("d", "4"));
        assert_eq!(
            ask("mqueue.fetch", "q"),
            Err(Fault::new(404, "Empty queue"))
        );
        assert_eq!(
            ask("mqueue.fetch", "zz"),
            Err(Fault::new(500, "No such queue"))
        );
        assert_eq!(
            ask("mqueue.get_size", "zz"),
            Err(Fault::new(404, "No such queue"))
        );
    }
}
