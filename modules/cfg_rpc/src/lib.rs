//! The `cfg_rpc` module: reads and changes parameters while the server runs.
//!
//! A change by `cfg.set_delayed_int` waits in this process until `cfg.commit`.

#![forbid(unsafe_code)]

use olelo_core::cfgvars::{self, CfgVar};
use olelo_core::route::module::Module;
use olelo_core::route::value::Val;
use olelo_core::rpc::{Answer, Fault, Params, Value, fields, nearest, rpc, text};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The module.
pub fn module() -> Module {
    Module::new("cfg_rpc")
        .doc("Reads and changes parameters while the server runs.")
        .rpc(
            rpc("cfg.list", list)
                .args("[group]")
                .array()
                .doc("Parameters that can be read or changed."),
        )
        .rpc(
            rpc("cfg.get", get)
                .args("group name")
                .doc("The value of a parameter, or of a whole group."),
        )
        .rpc(
            rpc("cfg.help", help)
                .args("group name")
                .doc("What a parameter is for."),
        )
        .rpc(
            rpc("cfg.seti", set_number)
                .args("group name value")
                .doc("Changes a number."),
        )
        .rpc(
            rpc("cfg.set", set)
                .args("group name value")
                .doc("Changes a number or a text."),
        )
        .rpc(
            rpc("cfg.set_now_int", set_number)
                .args("group name value")
                .doc("Changes a number."),
        )
        .rpc(
            rpc("cfg.sets", set_text)
                .args("group name value")
                .doc("Changes a text."),
        )
        .rpc(
            rpc("cfg.set_now_string", set_text)
                .args("group name value")
                .doc("Changes a text."),
        )
        .rpc(
            rpc("cfg.reset", reset)
                .args("group")
                .doc("Puts the values of the start back."),
        )
        .rpc(
            rpc("cfg.set_delayed", delay)
                .args("group name value")
                .doc("Changes a number at the next cfg.commit."),
        )
        .rpc(
            rpc("cfg.set_delayed_int", delay)
                .args("group name value")
                .doc("Changes a number at the next cfg.commit."),
        )
        .rpc(
            rpc("cfg.set_delayed_string", delay)
                .args("group name value")
                .doc("Changes a text at the next cfg.commit."),
        )
        .rpc(rpc("cfg.commit", commit).doc("Makes the delayed changes."))
        .rpc(rpc("cfg.diff", diff).array().doc("The delayed changes."))
        .rpc(
            rpc("cfg.del", no_instances)
                .args("group name")
                .doc("Removes an instance's value: there are no instances of groups here."),
        )
        .rpc(
            rpc("cfg.del_delayed", no_instances)
                .args("group name")
                .doc("See cfg.del."),
        )
        .rpc(
            rpc("cfg.add_group_inst", no_instances)
                .args("group")
                .doc("See cfg.del."),
        )
        .rpc(
            rpc("cfg.del_group_inst", no_instances)
                .args("group")
                .doc("See cfg.del."),
        )
        .answered("cfg.add_group_inst", "there are no instances of groups")
}

thread_local!(static DELAYED: RefCell<Vec<(&'static CfgVar, String)>> = const { RefCell::new(Vec::new()) });

fn find(p: &Params) -> Result<&'static CfgVar, Fault> {
    let (group, name) = (p.text(0, "group")?, p.text(1, "name")?);
    cfgvars::find(&group, &name).ok_or_else(|| {
        let near = nearest(
            &name,
            cfgvars::all()
                .iter()
                .filter(|v| v.group == group)
                .map(|v| v.name.as_str()),
        );
        Fault::new(
            400,
            match near {
                Some(n) => format!("no parameter {group}.{name}; did you mean {group}.{n}?"),
                None => format!("no parameter {group}.{name}; cfg.list shows all"),
            },
        )
    })
}

fn shown(v: &CfgVar) -> Value {
    match v.get() {
        Val::Int(i) => Value::Int(i),
        other => text(
            other
                .as_bytes()
                .map(|b| String::from_utf8_lossy(&b).into_owned())
                .unwrap_or_default(),
        ),
    }
}

fn list(p: &Params) -> Answer {
    let only = p.opt_text(0);
    let all = cfgvars::all()
        .iter()
        .filter(|v| only.as_ref().is_none_or(|g| *g == v.group));
    Ok(all
        .map(|v| text(format!("{}: {}", v.group, v.name)))
        .collect())
}

fn get(p: &Params) -> Answer {
    if p.len() == 1 {
        let group = p.text(0, "group")?;
        let of: Vec<_> = cfgvars::all()
            .iter()
            .filter(|v| v.group == group)
            .map(|v| (v.name.clone(), shown(v)))
            .collect();
        if of.is_empty() {
            let groups: BTreeSet<&str> = cfgvars::all().iter().map(|v| v.group.as_str()).collect();
            let groups: Vec<_> = groups.into_iter().collect();
            return Err(Fault::new(
                400,
                format!("no group {group}; there are {}", groups.join(", ")),
            ));
        }
        return Ok(vec![Value::Struct(of)]);
    }
    Ok(vec![shown(find(p)?)])
}

fn help(p: &Params) -> Answer {
    let v = find(p)?;
    let kind = if v.is_number() {
        "parameter type: integer"
    } else {
        "parameter type: string"
    };
    Ok(vec![text(v.doc.clone()), text(kind)])
}

fn set(p: &Params) -> Answer {
    let v = find(p)?;
    change(v, &p.opt_text(2).unwrap_or_default())
}

fn set_number(p: &Params) -> Answer {
    let v = find(p)?;
    if v.set(p.int(2, "value")?) {
        return Ok(vec![]);
    }
    let what = format!("{}.{} is a text: set it with cfg.sets", v.group, v.name);
    Err(Fault::new(400, what))
}

fn set_text(p: &Params) -> Answer {
    let v = find(p)?;
    change(v, &p.text(2, "value")?)
}

/// Sets a number or a text, whichever it is.
fn change(v: &CfgVar, value: &str) -> Answer {
    if !v.is_number() {
        v.set_text(value).map_err(|e| Fault::new(500, e))?;
        return Ok(vec![]);
    }
    let n = value.trim().parse().map_err(|_| {
        let what = format!("{}.{} is a number, not \"{value}\"", v.group, v.name);
        Fault::new(400, what)
    })?;
    v.set(n);
    Ok(vec![])
}

fn reset(p: &Params) -> Answer {
    let group = p.text(0, "group")?;
    for v in cfgvars::all().iter().filter(|v| v.group == group) {
        v.reset();
    }
    Ok(vec![])
}

fn delay(p: &Params) -> Answer {
    let (v, n) = (find(p)?, p.text(2, "value")?);
    DELAYED.with_borrow_mut(|d| {
        d.retain(|(o, _)| !std::ptr::eq(*o, v));
        d.push((v, n));
    });
    Ok(vec![])
}

fn commit(_: &Params) -> Answer {
    for (v, n) in DELAYED.take() {
        change(v, &n)?;
    }
    Ok(vec![])
}

fn diff(_: &Params) -> Answer {
    let row = |(v, n): &(&CfgVar, String)| {
        fields([
            ("group name", text(v.group.clone())),
            ("variable name", text(v.name.clone())),
            ("old value", shown(v)),
            ("new value", text(n.clone())),
        ])
    };
    Ok(DELAYED.with_borrow(|d| d.iter().map(row).collect()))
}

fn no_instances(_: &Params) -> Answer {
    Err(Fault::new(
        500,
        "there are no instances of parameter groups here: use cfg.seti",
    ))
}
