//! Parameters that can be read and changed while the server runs: `cfg.get`, `cfg.set`,
//! `$sel(cfg_get.group.name)`.
//!
//! They are the dynamic parameters of modules, the core's log level, and what the operator declared
//! as `group.name = value`. A number is one shared word; a text is fixed at start.

use crate::config::{CoreConfig, take_shared};
use crate::route::module::{IntParam, ParamTarget};
use crate::route::registry::Registry;
use crate::route::value::Val;
use olelo_cfg::ast::ModParamValue;
use std::sync::OnceLock;

/// One of them.
pub struct CfgVar {
    /// Group: `core`, a module, or the operator's.
    pub group: String,
    /// Name in the group.
    pub name: String,
    /// What it is for.
    pub doc: String,
    /// Where a number lives.
    number: Option<&'static IntParam>,
    /// A text.
    text: Option<String>,
    /// The value at start.
    first: i64,
}

static ALL: OnceLock<Vec<CfgVar>> = OnceLock::new();

/// Collects them and moves numbers to shared words; main, before the forks.
pub(crate) fn create(config: &CoreConfig, registry: &Registry) {
    let mut all = vec![number(
        "core",
        "debug",
        "level of the log",
        &crate::log::DEBUG,
    )];
    for m in registry.modules() {
        for p in m.params.iter().filter(|p| p.dynamic) {
            if let ParamTarget::Int(i) = p.target {
                share(i);
                all.push(number(m.name, p.name, p.doc, i));
            }
        }
    }
    for g in &config.globals {
        let doc = g.desc.clone().unwrap_or_default();
        match &g.value {
            ModParamValue::Int(v) => {
                let p: &'static IntParam = Box::leak(Box::new(IntParam::new(*v)));
                share(p);
                all.push(number(&g.group, &g.name, &doc, p));
            }
            ModParamValue::Str(s) => all.push(CfgVar {
                group: g.group.clone(),
                name: g.name.clone(),
                doc,
                number: None,
                text: Some(s.clone()),
                first: 0,
            }),
        }
    }
    let _ = ALL.set(all);
}

fn share(p: &IntParam) {
    if let Some(w) = take_shared(1) {
        p.share(w);
    }
}

fn number(group: &str, name: &str, doc: &str, p: &'static IntParam) -> CfgVar {
    CfgVar {
        group: group.into(),
        name: name.into(),
        doc: doc.into(),
        number: Some(p),
        text: None,
        first: p.get(),
    }
}

/// All of them.
pub fn all() -> &'static [CfgVar] {
    ALL.get().map_or(&[], Vec::as_slice)
}

/// The one of this group and name.
pub fn find(group: &str, name: &str) -> Option<&'static CfgVar> {
    all().iter().find(|v| v.group == group && v.name == name)
}

impl CfgVar {
    /// The value now.
    pub fn get(&self) -> Val<'static> {
        match (self.number, &self.text) {
            (Some(p), _) => Val::Int(p.get()),
            (None, Some(t)) => Val::owned(t.as_bytes()),
            _ => Val::Null,
        }
    }

    /// Whether it is a number, and so can be changed.
    pub fn is_number(&self) -> bool {
        self.number.is_some()
    }

    /// Changes a number for all processes at once; false for a text.
    pub fn set(&self, v: i64) -> bool {
        self.number.inspect(|p| p.set(v)).is_some()
    }

    /// Puts the value of the start back.
    pub fn reset(&self) {
        self.set(self.first);
    }
}
