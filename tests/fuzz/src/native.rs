//! Route blocks compiled against all modules: each fault found points into the text, and finding
//! them twice finds the same.

use olelo_core::route::module::Module;
use olelo_core::server::{Server, for_tests};
use std::sync::OnceLock;

/// See the file's essay.
pub fn target(bytes: &[u8]) {
    let parsed = crate::cfg::parse(bytes);
    if !parsed.ok() {
        return;
    }
    let registry = &server().registry;
    let (_, found) = olelo_modules::native::compile::compile(&parsed, registry);
    for d in &found {
        let _ = d.render(&parsed.sources, false);
    }
    let (_, again) = olelo_modules::native::compile::compile(&parsed, registry);
    assert_eq!(found, again);
}

/// A server with all modules, none of them initialised.
fn server() -> &'static Server {
    static SERVER: OnceLock<&'static Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let modules: Vec<Module> = std::iter::once(olelo_core::exports::module())
            .chain(olelo_modules::ALL.iter().map(|(_, make)| make()))
            .chain([olelo_modules::native::module()])
            .collect();
        for_tests(modules)
    })
}
