//! Where trees come from: `modparam` definitions and items, and tables in text files.
//!
//! Trees lie in one shared table, one record each, replaced as a whole; a match locks the tree's
//! bucket for a few binary searches. A reload builds everything aside: what can't be read changes
//! nothing.

use crate::text_db;
use crate::tree::{Item, Kind, Rules, Tree, build};
use crate::{
    CHAR_LIST, DB_TABLE, DB_URL, MT_ALLOW_DUPLICATES, MT_IGNORE_DUPLICATES, MT_TREE_TYPE,
    TNAME_COLUMN, TPREFIX_COLUMN, TVALUE_COLUMN,
};
use olelo_core::{timer, warn};
use olelo_mem::heap::Tag;
use olelo_mem::table::{BucketGuard, NodeId, Table};
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::{OnceLock, RwLock};

/// A tree as `modparam("mtree", "mtree", …)` defines it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) table: String,
    pub(crate) kind: Kind,
    /// The table has more than this tree.
    pub(crate) multi: bool,
    /// Columns: prefix, then values.
    pub(crate) columns: Vec<String>,
}

/// Trees and items of `modparam`.
#[derive(Debug, Default)]
pub(crate) struct Defined {
    pub(crate) trees: Vec<Definition>,
    pub(crate) items: Vec<(String, Item)>,
}

pub(crate) static DEFINED: RwLock<Defined> = RwLock::new(Defined {
    trees: Vec::new(),
    items: Vec::new(),
});
static TREES: OnceLock<Table> = OnceLock::new();

/// `key=value;key='a,b'`.
fn attributes(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';')
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .map(|p| {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            (k.trim(), v.trim().trim_matches(['"', '\'']))
        })
}

impl Definition {
    /// Reads `name=mytree;dbtable=routes;type=0;multi=1;cols='prefix,a,b'`.
    pub(crate) fn parse(text: &str) -> Result<Definition, String> {
        let mut d = Definition::default();
        for (key, value) in attributes(text) {
            let number = || {
                value
                    .parse::<i64>()
                    .map_err(|_| format!("{key}=\"{value}\" in \"{text}\" is no number"))
            };
            match key {
                "name" => d.name = value.into(),
                "dbtable" => d.table = value.into(),
                "type" => d.kind = Kind::from_int(number()?)?,
                "multi" => d.multi = number()? != 0,
                "cols" => d.columns = value.split(',').map(|c| c.trim().to_string()).collect(),
                _ => {
                    return Err(format!(
                        "\"{key}\" in \"{text}\" is no attribute of a tree; there are name, dbtable, type, multi, cols"
                    ));
                }
            }
        }
        if d.name.is_empty() {
            return Err(format!(
                "\"{text}\" names no tree; write \"name=mytree;dbtable=mytable\""
            ));
        }
        if d.columns.len() == 1 {
            return Err(format!(
                "cols in \"{text}\" has one column; a prefix and at least one value are needed"
            ));
        }
        if d.columns.len() > 2 && d.kind != Kind::Text {
            return Err(format!("\"{text}\": several columns make strings, type=0"));
        }
        Ok(d)
    }
}

/// Reads `name=mytree;prefix=49;value=x`.
pub(crate) fn parse_item(text: &str) -> Result<(String, Item), String> {
    let (mut name, mut prefix, mut value) = (None, None, None);
    for (key, v) in attributes(text) {
        match key {
            "name" | "tname" | "mtree" => name = Some(v.to_string()),
            "prefix" | "tprefix" => prefix = Some(v.as_bytes().to_vec()),
            "value" | "tvalue" => value = Some(v.as_bytes().to_vec()),
            _ => {
                return Err(format!(
                    "\"{key}\" in \"{text}\" is no attribute of an item; there are name, prefix, value"
                ));
            }
        }
    }
    match (name, prefix, value) {
        (Some(n), Some(prefix), Some(value)) => Ok((n, Item { prefix, value })),
        _ => Err(format!(
            "\"{text}\" is no item; write \"name=mytree;prefix=49;value=x\""
        )),
    }
}

/// Makes the shared table and loads all trees; main, before the forks.
pub(crate) fn init() -> Result<(), String> {
    let t = Table::create("mtree", 64, Tag::register("mtree"))
        .map_err(|e| format!("can't make the table of trees: {e}"))?;
    let _ = TREES.set(t);
    load(None).map(drop)
}

/// Loads all trees, or the one of that name. Whether there is one.
pub(crate) fn load(only: Option<&str>) -> Result<bool, String> {
    let all = sources()?;
    let rules = Rules {
        chars: CHAR_LIST.text().as_bytes(),
        allow_duplicates: MT_ALLOW_DUPLICATES.is_on(),
        ignore_duplicates: MT_IGNORE_DUPLICATES.is_on(),
    };
    let now = timer::wall_s();
    let mut built = Vec::new();
    for (name, kind, items) in all
        .into_iter()
        .filter(|(n, ..)| only.is_none_or(|o| o == n))
    {
        let reloads = with(name.as_bytes(), |t| t.reloads).unwrap_or(0) + 1;
        let bytes = build(&name, kind, items, &rules, reloads, now)?;
        built.push((name, bytes));
    }
    let found = !built.is_empty();
    for (name, bytes) in built {
        put(name.as_bytes(), &bytes)?;
    }
    Ok(found)
}

type Source = (String, Kind, Vec<Item>);

/// What every tree is to have.
fn sources() -> Result<Vec<Source>, String> {
    let defined = DEFINED.read().map_err(|_| "the list of trees is broken")?;
    let directory = text_directory();
    let mut all: Vec<Source> = Vec::new();
    for d in &defined.trees {
        let mut items = Vec::new();
        if !d.table.is_empty() {
            match &directory {
                Some(dir) => items = rows_of(d, &text_db::Table::read(dir, &d.table)?)?,
                None => no_database(&d.name),
            }
        }
        all.push((d.name.clone(), d.kind, items));
    }
    if defined.trees.is_empty() && !DB_TABLE.text().is_empty() {
        match &directory {
            Some(dir) => all = named_trees(&text_db::Table::read(dir, DB_TABLE.text())?)?,
            None => no_database(DB_TABLE.text()),
        }
    }
    for (tree, item) in &defined.items {
        match all.iter_mut().find(|(n, ..)| n == tree) {
            Some((.., items)) => items.push(item.clone()),
            None => all.push((
                tree.clone(),
                Kind::from_int(MT_TREE_TYPE.get())?,
                vec![item.clone()],
            )),
        }
    }
    Ok(all)
}

/// The directory of `db_url`, where it names one: `text:///etc/kamailio/tables`.
fn text_directory() -> Option<PathBuf> {
    let path = DB_URL.text().strip_prefix("text:")?;
    Some(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
}

fn no_database(what: &str) {
    warn!(
        "mtree",
        "\"{what}\" is not loaded: this build has no database but tables in text files (db_url \"text:///directory\") and modparam(\"mtree\", \"item\", ...)"
    );
}

/// The items of one tree; several value columns are joined with commas.
fn rows_of(d: &Definition, t: &text_db::Table) -> Result<Vec<Item>, String> {
    let wrong = |e| format!("table {}: {e}", d.table);
    let names: Vec<&str> = if d.columns.is_empty() {
        vec![TPREFIX_COLUMN.text(), TVALUE_COLUMN.text()]
    } else {
        d.columns.iter().map(String::as_str).collect()
    };
    let columns: Result<Vec<usize>, String> = names.iter().map(|c| t.column(c)).collect();
    let columns = columns.map_err(wrong)?;
    let tree = match d.multi {
        true => Some(t.column(TNAME_COLUMN.text()).map_err(wrong)?),
        false => None,
    };
    let mine = |row: &&Vec<Vec<u8>>| tree.is_none_or(|c| row[c] == d.name.as_bytes());
    let item = |row: &Vec<Vec<u8>>| Item {
        prefix: row[columns[0]].clone(),
        value: columns[1..]
            .iter()
            .map(|c| row[*c].as_slice())
            .collect::<Vec<_>>()
            .join(&b','),
    };
    Ok(t.rows.iter().filter(mine).map(item).collect())
}

/// The trees of a table that names them itself.
fn named_trees(t: &text_db::Table) -> Result<Vec<Source>, String> {
    let column = t.column(TNAME_COLUMN.text())?;
    let kind = Kind::from_int(MT_TREE_TYPE.get())?;
    let mut names: Vec<String> = Vec::new();
    for row in &t.rows {
        let name = String::from_utf8_lossy(&row[column]).into_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
        .into_iter()
        .map(|name| {
            let d = Definition {
                name: name.clone(),
                table: DB_TABLE.text().into(),
                multi: true,
                ..Definition::default()
            };
            Ok((name, kind, rows_of(&d, t)?))
        })
        .collect()
}

fn hash(name: &[u8]) -> u32 {
    let mut h = DefaultHasher::new();
    h.write(name);
    h.finish() as u32
}

fn place(guard: &BucketGuard, name: &[u8]) -> Option<NodeId> {
    guard
        .iter()
        .find(|r| Tree::read(r.bytes()).is_some_and(|t| t.name == name))
        .map(|r| r.id())
}

fn put(name: &[u8], bytes: &[u8]) -> Result<(), String> {
    let table = TREES.get().ok_or("there is no table of trees")?;
    let mut guard = table.lock(hash(name));
    let done = match place(&guard, name) {
        Some(id) => guard
            .replace(id, &[bytes], Vec::new())
            .map_err(|e| e.to_string()),
        None => guard
            .insert(&[bytes], Vec::new(), &[])
            .map(drop)
            .map_err(|e| e.to_string()),
    };
    done.map_err(|e| {
        format!(
            "no room for the tree \"{}\" ({} bytes): {e}; start the server with more memory (-m)",
            String::from_utf8_lossy(name),
            bytes.len()
        )
    })
}

/// Looks into a tree, under its lock; `None` where there is none of that name.
pub(crate) fn with<R>(name: &[u8], look: impl FnOnce(&Tree<'_>) -> R) -> Option<R> {
    let guard = TREES.get()?.lock(hash(name));
    let record = guard.get(place(&guard, name)?)?;
    Tree::read(record.bytes()).map(|t| look(&t))
}

/// Looks into every tree, or the one named, in the order of their names.
pub(crate) fn each<R>(only: Option<&str>, mut look: impl FnMut(&Tree<'_>) -> R) -> Vec<R> {
    let mut names = Vec::new();
    if let Some(t) = TREES.get() {
        t.for_each_bucket(|g| {
            names.extend(
                g.iter()
                    .filter_map(|r| Tree::read(r.bytes()).map(|t| t.name.to_vec())),
            )
        });
    }
    names.sort();
    names
        .iter()
        .filter(|n| only.is_none_or(|o| o.as_bytes() == n.as_slice()))
        .filter_map(|n| with(n, &mut look))
        .collect()
}
