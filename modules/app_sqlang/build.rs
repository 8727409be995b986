//! Compiles Squirrel's sources and the shim with the C++ compiler that is there; its runtime library
//! is not linked, because nothing throws.

use std::path::Path;

fn main() {
    let mut files = vec!["src/ffi/shim.cpp".into()];
    for dir in ["squirrel/squirrel", "squirrel/sqstdlib"] {
        println!("cargo:rerun-if-changed={dir}");
        let entries = Path::new(dir)
            .read_dir()
            .expect("Squirrel's sources are in the tree");
        files.extend(
            entries
                .filter_map(|e| Some(e.ok()?.path()))
                .filter(|p| p.extension().is_some_and(|x| x == "cpp")),
        );
    }
    files.sort();
    for f in ["src/ffi/shim.cpp", "src/ffi/heap.h", "squirrel/include"] {
        println!("cargo:rerun-if-changed={f}");
    }
    cc::Build::new()
        .cpp(true)
        .cpp_link_stdlib(None)
        .std("c++11")
        .include("squirrel/include")
        .include("squirrel/squirrel")
        .files(files)
        .define("_SQ64", None)
        .define("SQUSEDOUBLE", None)
        .define("SQ_EXCLUDE_DEFAULT_MEMFUNCTIONS", None)
        .define("NDEBUG", None)
        .flag("-fno-exceptions")
        .flag("-fno-rtti")
        .flag("-fwrapv")
        .flag("-fno-strict-aliasing")
        .opt_level(2)
        .warnings(false)
        .compile("olelo_squirrel");
}
