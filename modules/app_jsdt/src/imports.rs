//! Where `import` and `require` find a module: a path beside the one that asks, a name in the
//! `loaddir` or beside the script. What the generation holds comes before what the disk has.

use olelo_core::route::engine::Source;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{Ctx, Error, Exception, Module, Result};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// Endings that a name may leave out.
const ENDINGS: [&str; 5] = ["", ".js", ".mjs", ".json", "/index.js"];

/// Finds and reads modules.
pub struct Finder {
    source: Source,
    /// Where names without a path are looked for.
    dirs: Vec<PathBuf>,
}

impl Finder {
    /// One for this source.
    pub fn new(source: &Source, loaddir: &str) -> Finder {
        let beside = source
            .files
            .iter()
            .filter_map(|f| Path::new(&f.path).parent());
        let given = (!loaddir.is_empty()).then(|| PathBuf::from(loaddir));
        Finder {
            dirs: given.into_iter().chain(beside.map(PathBuf::from)).collect(),
            source: source.clone(),
        }
    }

    /// The path of the module `name`, as the module (or script) at the path `base` asks for it.
    pub fn find(&self, base: &str, name: &str) -> Option<String> {
        let here = Path::new(base).parent().map(Path::to_path_buf);
        let dirs = if name.starts_with("./") || name.starts_with("../") {
            here.into_iter().collect()
        } else if name.starts_with('/') {
            vec![PathBuf::new()]
        } else {
            self.dirs.clone()
        };
        let candidates: Vec<String> = dirs
            .iter()
            .flat_map(|d| ENDINGS.map(|e| plain(&d.join(format!("{name}{e}")))))
            .collect();
        let held = candidates.iter().find(|c| self.source.holds(c));
        held.or_else(|| candidates.iter().find(|c| Path::new(c).is_file()))
            .cloned()
    }

    /// The text of the module at this path.
    pub fn read(&self, path: &str) -> std::result::Result<Vec<u8>, String> {
        self.source.import(path)
    }
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> String {
    let mut out = PathBuf::new();
    for c in path.components() {
        match c {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            c => out.push(c),
        }
    }
    out.display().to_string()
}

/// The finder as the interpreter wants it for `import`.
pub struct EsModules(pub Rc<Finder>);

impl Resolver for EsModules {
    fn resolve<'js>(
        &mut self,
        _: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<String> {
        self.0
            .find(base, name)
            .ok_or_else(|| Error::new_resolving(base, name))
    }
}

impl Loader for EsModules {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        path: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        let text = self
            .0
            .read(path)
            .map_err(|e| Exception::throw_reference(ctx, &e))?;
        if path.ends_with(".json") {
            let text = String::from_utf8_lossy(&text).into_owned();
            return Module::declare(ctx.clone(), path, format!("export default ({text}\n);"));
        }
        Module::declare(ctx.clone(), path, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use olelo_core::route::engine::File;

    #[test]
    fn names_are_looked_for_where_node_and_kamailio_look() {
        let file = |path: &str| File {
            path: path.into(),
            text: Vec::new(),
        };
        let source = Source {
            files: vec![file("/etc/s/main.js")],
            imports: [
                "/etc/s/a.js",
                "/etc/s/lib/index.js",
                "/opt/b.mjs",
                "/etc/c.json",
            ]
            .map(file)
            .into(),
        };
        let finder = Finder::new(&source, "/opt");
        for (base, name, want) in [
            ("/etc/s/main.js", "./a", Some("/etc/s/a.js")),
            ("/etc/s/main.js", "a.js", Some("/etc/s/a.js")),
            ("/etc/s/main.js", "./lib", Some("/etc/s/lib/index.js")),
            ("/etc/s/lib/index.js", "../a", Some("/etc/s/a.js")),
            ("/etc/s/main.js", "b", Some("/opt/b.mjs")),
            ("/etc/s/main.js", "../c", Some("/etc/c.json")),
            ("/etc/s/main.js", "/etc/c.json", Some("/etc/c.json")),
            ("/etc/s/main.js", "./b", None),
        ] {
            assert_eq!(finder.find(base, name).as_deref(), want, "{base} {name}");
        }
    }
}
