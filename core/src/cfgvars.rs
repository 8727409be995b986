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
use olelo_mem::published::Published;
use std::cell::RefCell;
use std::rc::Rc;
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
    /// The value at start of a text, and its index among texts.
    text: Option<(String, usize)>,
    /// The value at start of a number.
    first: i64,
}

/// The texts as they are now.
static TEXTS: OnceLock<Published> = OnceLock::new();

thread_local! {
    /// The texts and the generation they were decoded from.
    static READ: RefCell<(u32, Rc<Vec<Vec<u8>>>)> = RefCell::default();
}

static ALL: OnceLock<Vec<CfgVar>> = OnceLock::new();

/// Collects them and moves numbers to shared words; main, before the forks.
pub(crate) fn create(config: &CoreConfig, registry: &Registry) {
    let mut texts = Vec::new();
    let mut all = vec![number(
        "core",
        "debug",
        "level of the log",
        &crate::log::DEBUG,
    )];
    crate::dns::params::apply(config);
    for s in crate::dns::params::ALL.iter().filter(|s| s.dynamic) {
        share(s.value);
        all.push(number("core", s.name, s.doc, s.value));
    }
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
            ModParamValue::Str(s) => {
                all.push(CfgVar {
                    group: g.group.clone(),
                    name: g.name.clone(),
                    doc,
                    number: None,
                    text: Some((s.clone(), texts.len())),
                    first: 0,
                });
                texts.push(s.clone().into_bytes());
            }
        }
    }
    if let (false, Ok(store)) = (texts.is_empty(), Published::create("cfg texts"))
        && store.publish(&encode(&texts)).is_ok()
    {
        let _ = TEXTS.set(store);
    }
    let _ = ALL.set(all);
}

/// Each text with its length before it.
fn encode(texts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for t in texts {
        out.extend((t.len() as u32).to_le_bytes());
        out.extend(t);
    }
    out
}

fn decode(mut blob: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let Some((len, rest)) = blob.split_first_chunk() {
        let Some((text, rest)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else {
            break;
        };
        out.push(text.to_vec());
        blob = rest;
    }
    out
}

/// The texts now.
fn texts() -> Rc<Vec<Vec<u8>>> {
    let generation = TEXTS.get().map_or(0, Published::generation);
    READ.with_borrow_mut(|(read, texts)| {
        if *read != generation
            && let Some((_, view)) = TEXTS.get().and_then(Published::current)
        {
            *texts = Rc::new(decode(&view));
            *read = generation;
        }
        texts.clone()
    })
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
            (None, Some((first, i))) => match texts().get(*i) {
                Some(t) => Val::owned(t.as_slice()),
                None => Val::owned(first.as_bytes()),
            },
            _ => Val::Null,
        }
    }

    /// Whether it is a number, not a text.
    pub fn is_number(&self) -> bool {
        self.number.is_some()
    }

    /// Changes a number for all processes at once; false for a text.
    pub fn set(&self, v: i64) -> bool {
        self.number.inspect(|p| p.set(v)).is_some()
    }

    /// Changes a text for all processes at once. Fails for a number, and where memory is short.
    pub fn set_text(&self, v: &str) -> Result<(), String> {
        let (Some((_, i)), Some(store)) = (&self.text, TEXTS.get()) else {
            return Err(format!("{}.{} is a number", self.group, self.name));
        };
        // Another process may change another text at the same time.
        for _ in 0..16 {
            let (generation, view) = store.current().ok_or("no texts are published")?;
            let mut all = decode(&view);
            if let Some(t) = all.get_mut(*i) {
                *t = v.as_bytes().to_vec();
            }
            if store.publish_if(generation, &encode(&all)).is_ok() {
                return Ok(());
            }
        }
        Err("can't publish: shared memory is short, or texts change all the time".into())
    }

    /// Puts the value of the start back.
    pub fn reset(&self) {
        match &self.text {
            Some((first, _)) => {
                if let Err(e) = self.set_text(first) {
                    crate::error!("core", "{}.{}: {e}", self.group, self.name);
                }
            }
            None => drop(self.set(self.first)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let texts = vec![b"a".to_vec(), Vec::new(), b"sip:x".to_vec()];
        let blob = encode(&texts);
        assert_eq!(decode(&blob), texts);
        assert_eq!(decode(&blob[..blob.len() - 1]), texts[..2]);
    }
}
