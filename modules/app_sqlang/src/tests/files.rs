//! Files that scripts open, and files that they import.

use super::*;
use olelo_core::route::engine::{File, Source};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of its own for one test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let name = format!("olelo-sqlang-{test}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("a folder");
        Folder(dir)
    }

    /// Path of a file with this text.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How often this process has the file open.
fn open(path: &str) -> usize {
    fs::read_dir("/proc/self/fd")
        .expect("a list of open files")
        .filter_map(|e| fs::read_link(e.ok()?.path()).ok())
        .filter(|to| to == Path::new(path))
        .count()
}

#[test]
fn no_file_outlives_its_machine() {
    let dir = Folder::new("open");
    let path = dir.file("x", "text");
    let s = Script::limited(
        &format!(
            "files <- [];
             function closes() {{ local f = file(\"{path}\", \"r\"); local n = f.len(); f.close(); return n }}
             function keeps() {{ files.push(file(\"{path}\", \"r\")) }}
             function missing() {{ try {{ file(\"{path}.not\", \"r\") }} catch(e) {{ return 2 }} }}
             function dies() {{ local f = file(\"{path}\", \"r\"); array(1000000000) }}"
        ),
        PLENTY,
    );
    assert_eq!(s.call("closes"), Outcome::Return(4));
    assert_eq!(s.call("missing"), Outcome::Return(2));
    assert_eq!(open(&path), 0);
    for kept in 1..=3 {
        s.call("keeps");
        assert_eq!(open(&path), kept);
    }
    s.out_of_budget("dies");
    assert_eq!(open(&path), 4);
    drop(s);
    assert_eq!(open(&path), 0);
}

#[test]
fn imports_come_from_the_generation_first() {
    let dir = Folder::new("import");
    let main = dir.file("main.nut", "");
    let file = |path: &str, text: &str| File {
        path: path.into(),
        text: text.into(),
    };
    let mut source = Source::of(vec![file(&main, "")]);
    source.imports = vec![
        file("far.nut", "far of the generation"),
        file(
            &dir.0.join("near.nut").display().to_string(),
            "near of the generation",
        ),
    ];
    let import = crate::importer(&source);
    dir.file("far.nut", "new on the disk");
    dir.file("near.nut", "new on the disk");
    dir.file("late.nut", "late");
    assert_eq!(import("far.nut"), Ok(b"far of the generation".to_vec()));
    assert_eq!(import("near.nut"), Ok(b"near of the generation".to_vec()));
    assert_eq!(import("late.nut"), Ok(b"late".to_vec()));
}
