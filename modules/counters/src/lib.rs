//! The `counters` module: counters of the operator's own, and commands that read all of them.

#![forbid(unsafe_code)]

use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{ScriptError, function};
use olelo_core::route::module::{Module, ParamValue, StrParam, param_call, param_str};
use olelo_core::rpc::{Answer, Fault, Params, Value, rpc, text};
use olelo_core::stats::{self, Stat};
use std::collections::BTreeSet;
use std::sync::RwLock;

static GROUP: StrParam = StrParam::new("script");
static ASKED: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// The module.
pub fn module() -> Module {
    Module::new("counters")
        .doc("Counters of the operator's own, and commands that read all of them.")
        .param(param_str("script_cnt_grp_name", &GROUP).doc("Group of the script's counters."))
        .param(
            param_call("script_counter", ask)
                .doc("Declares a counter: \"name\", \"group.name\", or \"name description\"."),
        )
        .init(init)
        .function(
            function("inc", |_: &mut Ctx, n: &str| add(n, 1))
                .cfg("cnt_inc")
                .args(["name"])
                .doc("Adds one to a counter."),
        )
        .function(
            function("add", |_: &mut Ctx, n: &str, v: i64| add(n, v))
                .cfg("cnt_add")
                .args(["name", "value"])
                .doc("Adds to a counter."),
        )
        .function(
            function("reset", |_: &mut Ctx, n: &str| {
                find(n)?.reset();
                Ok::<i64, ScriptError>(1)
            })
            .cfg("cnt_reset")
            .args(["name"])
            .doc("Sets a counter back to zero."),
        )
        .rpc(
            rpc("cnt.get", get)
                .args("group name")
                .doc("The value of a counter."),
        )
        .rpc(
            rpc("cnt.get_raw", get)
                .args("group name")
                .doc("The value of a counter."),
        )
        .rpc(
            rpc("cnt.reset", reset)
                .args("group name")
                .doc("Sets a counter back to zero."),
        )
        .rpc(
            rpc("cnt.list_groups", groups)
                .array()
                .doc("The groups of counters."),
        )
        .rpc(
            rpc("cnt.grps_list", groups)
                .array()
                .doc("The groups of counters."),
        )
        .rpc(
            rpc("cnt.list_vars", vars)
                .args("group")
                .array()
                .doc("The counters of a group."),
        )
        .rpc(
            rpc("cnt.var_list", vars)
                .args("group")
                .array()
                .doc("The counters of a group."),
        )
        .rpc(
            rpc("cnt.get_vars", values)
                .args("group")
                .doc("The counters of a group with their values."),
        )
        .rpc(
            rpc("cnt.grp_get_all", values)
                .args("group")
                .doc("The counters of a group with their values."),
        )
        .rpc(
            rpc("cnt.help", help)
                .args("group name")
                .doc("What a counter counts."),
        )
}

fn ask(v: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(s) = v else {
        return Err("wants the name of a counter".into());
    };
    if let Ok(mut a) = ASKED.write() {
        a.push(s.clone());
    }
    Ok(())
}

fn init() -> Result<(), String> {
    for asked in ASKED.read().map(|a| a.clone()).unwrap_or_default() {
        let name = asked.split_whitespace().next().unwrap_or("");
        let (group, name) = name.split_once(['.', ':']).unwrap_or((GROUP.text(), name));
        stats::declare(group, name)?;
    }
    Ok(())
}

fn find(name: &str) -> Result<&'static Stat, ScriptError> {
    let full = if name.contains(['.', ':']) {
        name.to_string()
    } else {
        format!("{}:{name}", GROUP.text())
    };
    stats::find(&full).ok_or_else(|| {
        ScriptError(format!(
            "no counter {name}; declare it: modparam(\"counters\", \"script_counter\", \"{name}\")"
        ))
    })
}

fn add(name: &str, v: i64) -> Result<i64, ScriptError> {
    find(name)?.add(v);
    Ok(1)
}

fn asked(p: &Params) -> Result<&'static Stat, Fault> {
    let (group, name) = (p.text(0, "group")?, p.text(1, "name")?);
    stats::all()
        .into_iter()
        .find(|s| s.group == group && s.name == name)
        .ok_or_else(|| Fault::new(400, format!("no counter {group}.{name}")))
}

fn get(p: &Params) -> Answer {
    Ok(vec![Value::Int(asked(p)?.get())])
}

fn reset(p: &Params) -> Answer {
    asked(p)?.reset();
    Ok(vec![])
}

fn groups(_: &Params) -> Answer {
    let all: BTreeSet<&str> = stats::all().into_iter().map(|s| s.group).collect();
    Ok(all.into_iter().map(text).collect())
}

fn of_group(p: &Params) -> Result<Vec<&'static Stat>, Fault> {
    let group = p.text(0, "group")?;
    let found: Vec<_> = stats::all()
        .into_iter()
        .filter(|s| s.group == group)
        .collect();
    if found.is_empty() {
        Err(Fault::new(400, format!("no group {group}")))
    } else {
        Ok(found)
    }
}

fn vars(p: &Params) -> Answer {
    Ok(of_group(p)?.into_iter().map(|s| text(s.name)).collect())
}

fn values(p: &Params) -> Answer {
    Ok(vec![Value::Struct(
        of_group(p)?
            .into_iter()
            .map(|s| (s.name.to_string(), Value::Int(s.get())))
            .collect(),
    )])
}

fn help(p: &Params) -> Answer {
    Ok(vec![text(asked(p)?.doc)])
}
