//! The `mtree` module: numbers to values, by their longest prefixes, in trees that all processes
//! share.
//!
//! | file | what it is |
//! |---|---|
//! | `tree` | one tree as bytes, and the search |
//! | `load` | where trees come from, and the shared table they lie in |
//! | `text_db` | tables in text files |
//!
//! There is no database in this build yet. Trees are loaded from tables in text files as `db_text`
//! has them (`db_url` `text:///directory`), and from `modparam("mtree", "item",
//! "name=mytree;prefix=49;value=x")`; any other `db_url` leaves them empty, with a warning.

#![forbid(unsafe_code)]

mod load;
mod text_db;
mod tree;

use load::{DEFINED, Definition};
use olelo_core::error;
use olelo_core::pv::Spec;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{BRANCH, FAILURE, ONREPLY, REQUEST, ScriptError, function};
use olelo_core::route::module::{
    IntParam, Module, ParamValue, StrParam, param_call, param_ignored, param_int, param_str,
};
use olelo_core::route::value::Val;
use olelo_core::rpc::{Answer, Fault, Params, Value, fields, rpc, text};
use tree::{Item, Kind, Tree};

static DB_URL: StrParam = StrParam::new("mysql://kamailio:kamailiorw@localhost/kamailio");
static DB_TABLE: StrParam = StrParam::new("");
static TNAME_COLUMN: StrParam = StrParam::new("tname");
static TPREFIX_COLUMN: StrParam = StrParam::new("tprefix");
static TVALUE_COLUMN: StrParam = StrParam::new("tvalue");
static CHAR_LIST: StrParam = StrParam::new("0123456789");
static PV_VALUE: StrParam = StrParam::new("$avp(s:tvalue)");
static PV_VALUES: StrParam = StrParam::new("$avp(s:tvalues)");
static PV_DSTID: StrParam = StrParam::new("$avp(s:tdstid)");
static PV_WEIGHT: StrParam = StrParam::new("$avp(s:tweight)");
static PV_COUNT: StrParam = StrParam::new("$avp(s:tcount)");
static MT_TREE_TYPE: IntParam = IntParam::new(0);
static MT_IGNORE_DUPLICATES: IntParam = IntParam::new(0);
static MT_ALLOW_DUPLICATES: IntParam = IntParam::new(0);

/// The module.
pub fn module() -> Module {
    let m =
        Module::new("mtree")
            .doc("Numbers to values, by their longest prefixes, in trees that all processes share.")
            .init(init)
            .param(param_str("db_url", &DB_URL).doc(
                "Where tables are: text:///directory; there is no other database in this build.",
            ))
            .param(
                param_str("db_table", &DB_TABLE)
                    .doc("Table that has many trees, where no tree is defined by mtree."),
            )
            .param(
                param_call("mtree", |v| define(&string(v)))
                    .doc("A tree: name=mytree;dbtable=routes;type=0;multi=0;cols='prefix,a,b'."),
            )
            .param(
                param_call("item", |v| add_item(&string(v)))
                    .doc("An item of a tree: name=mytree;prefix=49;value=x."),
            )
            .param(param_str("tname_column", &TNAME_COLUMN).doc("Column of the tree's name."))
            .param(param_str("tprefix_column", &TPREFIX_COLUMN).doc("Column of the prefix."))
            .param(param_str("tvalue_column", &TVALUE_COLUMN).doc("Column of the value."))
            .param(param_str("char_list", &CHAR_LIST).doc("Characters that a prefix may have."))
            .param(param_ignored(
                "fetch_rows",
                false,
                "tables in text files are read at once",
            ))
            .param(param_ignored(
                "connect_mode",
                false,
                "there is no database to connect to in this build",
            ));
    with_rpc(with_match(m))
}

fn with_match(m: Module) -> Module {
    m.param(param_str("pv_value", &PV_VALUE).doc("Where mt_match() puts the value of the longest prefix."))
        .param(param_str("pv_values", &PV_VALUES).doc("Where mt_match() puts all values with mode 2, the longest prefix first."))
        .param(param_str("pv_dstid", &PV_DSTID).doc("Where mt_match() puts the first integers of a tree of type 1."))
        .param(param_str("pv_weight", &PV_WEIGHT).doc("Where mt_match() puts the second integers of a tree of type 1."))
        .param(param_str("pv_count", &PV_COUNT).doc("Where mt_match() puts their number."))
        .param(param_int("mt_tree_type", &MT_TREE_TYPE).doc("Type of the trees of db_table: 0 strings, 1 d:w, 2 integers."))
        .param(param_int("mt_ignore_duplicates", &MT_IGNORE_DUPLICATES).doc("Pass over a prefix that comes again."))
        .param(param_int("mt_allow_duplicates", &MT_ALLOW_DUPLICATES).doc("A prefix may have several values."))
        .function(
            function("mt_match", mt_match)
                .cfg("mt_match")
                .args(["mtree", "value", "mode"])
                .routes(REQUEST | FAILURE | BRANCH | ONREPLY)
                .doc("Finds the longest prefix of a number in a tree and sets pv_value; all prefixes with mode 2."),
        )
}

fn with_rpc(m: Module) -> Module {
    m.rpc(
        rpc("mtree.summary", rpc_summary)
            .args("[mtree]")
            .doc("How large the trees are, and when they were loaded.")
            .array(),
    )
    .rpc(
        rpc("mtree.list", rpc_list)
            .args("[mtree]")
            .doc("All prefixes with their values.")
            .array(),
    )
    .rpc(
        rpc("mtree.match", rpc_match)
            .args("mtree prefix mode")
            .doc("What a number finds in a tree."),
    )
    .rpc(
        rpc("mtree.reload", rpc_reload)
            .args("[mtree]")
            .doc("Loads the trees anew; what can't be read changes nothing."),
    )
}

fn string(v: &ParamValue) -> String {
    match v {
        ParamValue::Str(s) => s.clone(),
        ParamValue::Int(i) => i.to_string(),
    }
}

fn define(text: &str) -> Result<(), String> {
    let d = Definition::parse(text)?;
    let mut all = DEFINED.write().map_err(|_| "the list of trees is broken")?;
    if all.trees.iter().any(|o| o.name == d.name) {
        return Err(format!("there is a tree \"{}\" already", d.name));
    }
    all.trees.push(d);
    Ok(())
}

fn add_item(text: &str) -> Result<(), String> {
    let item = load::parse_item(text)?;
    let mut all = DEFINED.write().map_err(|_| "the list of trees is broken")?;
    all.items.push(item);
    Ok(())
}

fn init() -> Result<(), String> {
    load::init()?;
    if load::each(None, |_| ()).is_empty() {
        return Ok(());
    }
    for (name, p) in [
        ("pv_value", &PV_VALUE),
        ("pv_values", &PV_VALUES),
        ("pv_dstid", &PV_DSTID),
        ("pv_weight", &PV_WEIGHT),
        ("pv_count", &PV_COUNT),
    ] {
        Spec::parse(p.text().as_bytes())
            .map_err(|e| format!("{name}: {e}; is the module pv loaded before?"))?;
    }
    Ok(())
}

/// What a number finds: the tree's kind, and the items from the shortest prefix to the longest.
fn find(tree: &[u8], number: &[u8]) -> Option<(Kind, Vec<Item>)> {
    load::with(tree, |t| {
        (t.kind, t.matches(number, CHAR_LIST.text().as_bytes()))
    })
}

fn mt_match(ctx: &mut Ctx, tree: &[u8], number: &[u8], mode: i64) -> Result<i64, ScriptError> {
    let Some((kind, found)) = find(tree, number) else {
        error!(
            "mtree",
            "there is no tree \"{}\"",
            String::from_utf8_lossy(tree)
        );
        return Ok(-1);
    };
    if found.is_empty() {
        return Ok(-1);
    }
    match (kind, mode) {
        (Kind::Weighted, _) => {
            let all = destinations(&found);
            let of = |f: fn(&(i64, i64)) -> i64| all.iter().map(|d| Val::Int(f(d))).collect();
            put_all(ctx, &PV_DSTID, of(|d| d.0))?;
            put_all(ctx, &PV_WEIGHT, of(|d| d.1))?;
            put(ctx, &PV_COUNT, Val::Int(all.len() as i64))?;
        }
        (_, 2) => put_all(
            ctx,
            &PV_VALUES,
            longest_first(&found).map(|i| value(kind, i)).collect(),
        )?,
        _ => {
            if let Some(i) = longest_first(&found).next() {
                put(ctx, &PV_VALUE, value(kind, i))?;
            }
        }
    }
    Ok(1)
}

/// The items from the longest prefix to the shortest, those of one prefix in their order.
fn longest_first(found: &[Item]) -> impl Iterator<Item = &Item> {
    let mut all: Vec<&Item> = found.iter().collect();
    all.sort_by_key(|i| std::cmp::Reverse(i.prefix.len()));
    all.into_iter()
}

fn value(kind: Kind, i: &Item) -> Val<'_> {
    match kind {
        Kind::Int => tree::integer(&i.value).map_or(Val::Null, Val::Int),
        _ => Val::bytes(&i.value),
    }
}

/// Destinations with their weights, the lowest weight first; of one destination that with the
/// longest prefix.
fn destinations(found: &[Item]) -> Vec<(i64, i64)> {
    let mut all: Vec<(i64, i64)> = Vec::new();
    for (d, w) in longest_first(found).filter_map(|i| tree::weighted(&i.value)) {
        if !all.iter().any(|(seen, _)| *seen == d) {
            all.push((d, w));
        }
    }
    all.sort_by_key(|(_, w)| *w);
    all
}

fn put(ctx: &mut Ctx, to: &StrParam, v: Val<'_>) -> Result<(), ScriptError> {
    Spec::parse_cached(to.text().as_bytes())?.set(ctx, v)
}

/// Replaces the values of an AVP, so that the first is at index 0.
fn put_all(ctx: &mut Ctx, to: &StrParam, all: Vec<Val<'_>>) -> Result<(), ScriptError> {
    let text = to.text();
    if let Some(name) = text.strip_prefix("$avp(") {
        Spec::parse_cached(format!("$(avp({name}[*])").as_bytes())?.set(ctx, Val::Null)?;
    }
    let spec = Spec::parse_cached(text.as_bytes())?;
    all.into_iter().rev().try_for_each(|v| spec.set(ctx, v))
}

fn shown(b: &[u8]) -> Value {
    text(String::from_utf8_lossy(b).into_owned())
}

/// Values without names, as the original has them.
fn nameless(values: Vec<Value>) -> Value {
    Value::Struct(values.into_iter().map(|v| (String::new(), v)).collect())
}

fn rpc_summary(p: &Params) -> Answer {
    let one = |t: &Tree<'_>| {
        let bytes: usize = t.items().map(|(p, v)| p.len() + v.len() + 7).sum();
        let item = fields([
            ("ttype", Value::Int(t.kind as i64)),
            ("memsize", Value::Int(bytes as i64)),
            ("nrnodes", Value::Int(t.nodes() as i64)),
            ("nritems", Value::Int(t.len() as i64)),
            ("reload_count", Value::Int(i64::from(t.reloads))),
            ("reload_time", Value::Int(t.loaded_at)),
        ]);
        fields([("table", shown(t.name)), ("item", item)])
    };
    Ok(load::each(p.opt_text(0).as_deref(), one))
}

fn rpc_list(p: &Params) -> Answer {
    let all = load::each(p.opt_text(0).as_deref(), |t| {
        let mut entries: Vec<(Vec<u8>, Vec<Value>)> = Vec::new();
        for (prefix, value) in t.items() {
            match entries.last_mut() {
                Some((p, values)) if p == prefix => values.push(shown(value)),
                _ => entries.push((prefix.to_vec(), vec![shown(value)])),
            }
        }
        let name = shown(t.name);
        entries
            .into_iter()
            .map(|(p, values)| {
                fields([
                    ("tname", name.clone()),
                    ("tprefix", shown(&p)),
                    ("tvalue", nameless(values)),
                ])
            })
            .collect::<Vec<_>>()
    });
    Ok(all.into_iter().flatten().collect())
}

fn rpc_match(p: &Params) -> Answer {
    let (tree, number) = (p.text(0, "mtree")?, p.text(1, "prefix")?);
    let mode = p.int(2, "mode")?;
    let (kind, found) = find(tree.as_bytes(), number.as_bytes())
        .ok_or_else(|| Fault::new(404, "Can not find specified Mtree"))?;
    let from = match found.len() {
        0 => return Err(Fault::new(404, "No prefix of the number is in the tree")),
        // The first of the longest prefix.
        _ if mode != 2 && kind != Kind::Weighted => {
            let longest = found.iter().map(|i| i.prefix.len()).max();
            let at = found
                .iter()
                .position(|i| Some(i.prefix.len()) == longest)
                .unwrap_or(0);
            at..at + 1
        }
        n => 0..n,
    };
    let items = found[from]
        .iter()
        .map(|i| fields([("PREFIX", shown(&i.prefix)), ("TVALUE", shown(&i.value))]));
    Ok(std::iter::once(text(tree)).chain(items).collect())
}

fn rpc_reload(p: &Params) -> Answer {
    let name = p.opt_text(0).filter(|n| !n.is_empty());
    match load::load(name.as_deref()) {
        Ok(found) if found || name.is_none() => Ok(vec![text("Ok. Mtree reloaded.")]),
        Ok(_) => Err(Fault::new(500, "Can not find specified Mtree")),
        Err(e) => {
            error!("mtree", "not reloaded: {e}");
            Err(Fault::new(500, format!("Mtree not reloaded: {e}")))
        }
    }
}

#[cfg(test)]
mod tests;
