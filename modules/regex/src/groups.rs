//! The file of groups: expressions, one a line, below lines in brackets.
//!
//! The expressions of a group become one, `((first)|(second))`. Groups count from 0 in the order of
//! the file, whatever stands in the brackets. The text is published in shared memory; each process
//! compiles it when it first sees a generation.

use crate::pcre::{Options, Pcre};
use olelo_mem::published::Published;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;

static PUBLISHED: OnceLock<Published> = OnceLock::new();

/// Limits of the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) groups: usize,
    pub(crate) group_bytes: usize,
}

/// Makes the place for the groups; main, before the forks.
pub(crate) fn init() -> Result<(), String> {
    let p = Published::create("regex_groups")
        .map_err(|e| format!("can't make the place for regex groups: {e}"))?;
    let _ = PUBLISHED.set(p);
    Ok(())
}

/// Reads the file and makes its groups the current ones. Nothing changes where it is broken: the
/// error says what is wrong where. How many groups there are.
pub(crate) fn load(file: &str, limits: Limits, o: Options) -> Result<usize, String> {
    let text =
        std::fs::read(file).map_err(|e| format!("can't read the regex groups in {file}: {e}"))?;
    let groups = read(&text, limits).map_err(|e| format!("{file}: {e}"))?;
    for (n, g) in groups.iter().enumerate() {
        Pcre::compile(g, o).map_err(|e| format!("{file}: group {n}: {e}"))?;
    }
    let published = PUBLISHED
        .get()
        .ok_or("there is no place for regex groups")?;
    // A pattern is one line: it has no line end inside.
    published
        .publish(&groups.join(&b'\n'))
        .map_err(|e| format!("can't publish the regex groups: {e}"))?;
    Ok(groups.len())
}

/// Whether a text matches a group; the error says why that was not found out.
pub(crate) fn matches(text: &[u8], group: usize, o: Options) -> Result<bool, String> {
    let groups = current(o)?;
    match groups.get(group) {
        Some(p) => p.is_match(text),
        None => Err(format!(
            "there is no group {group}; there are {}",
            groups.len()
        )),
    }
}

/// The groups of the current generation, compiled by this process.
fn current(o: Options) -> Result<Rc<Vec<Pcre>>, String> {
    thread_local!(static COMPILED: RefCell<(u32, Rc<Vec<Pcre>>)> = RefCell::default());
    let published = PUBLISHED.get().filter(|p| p.generation() != 0);
    let published =
        published.ok_or("no groups are loaded; set modparam(\"regex\", \"file\", ...)")?;
    COMPILED.with_borrow_mut(|(generation, compiled)| {
        if *generation != published.generation()
            && let Some((now, view)) = published.current()
        {
            let all: Result<Vec<Pcre>, String> = match &*view {
                [] => Ok(Vec::new()),
                text => text
                    .split(|b| *b == b'\n')
                    .map(|g| Pcre::compile(g, o))
                    .collect(),
            };
            *compiled = Rc::new(all?);
            *generation = now;
        }
        Ok(compiled.clone())
    })
}

/// The expression of each group.
fn read(text: &[u8], limits: Limits) -> Result<Vec<Vec<u8>>, String> {
    let mut groups: Vec<Vec<Vec<u8>>> = Vec::new();
    for (n, line) in text.split(|b| *b == b'\n').enumerate() {
        let n = n + 1;
        match line.first() {
            None | Some(b' ' | b'\t' | b'\r' | b'#') => {}
            Some(b'[') => {
                if groups.len() >= limits.groups {
                    return Err(format!(
                        "line {n}: there are more than {} groups (max_groups)",
                        limits.groups
                    ));
                }
                groups.push(Vec::new());
            }
            Some(_) => {
                let group = groups.last_mut().ok_or_else(|| {
                    format!("line {n}: an expression stands before the first group; begin with a line \"[0]\"")
                })?;
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let bytes: usize = group.iter().map(Vec::len).sum();
                if bytes + line.len() + 4 > limits.group_bytes {
                    return Err(format!(
                        "line {n}: the group is larger than {} bytes (group_max_size)",
                        limits.group_bytes
                    ));
                }
                group.push([b"(", line, b")"].concat());
            }
        }
    }
    if let Some(empty) = groups.iter().position(Vec::is_empty) {
        return Err(format!("group {empty} has no expressions"));
    }
    Ok(groups
        .iter()
        .map(|g| [b"(", &g.join(&b'|')[..], b")"].concat())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        groups: 2,
        group_bytes: 64,
    };

    #[test]
    fn the_file_is_read_or_refused() {
        let text = b"### a list\n[0]\n\n# soft\n^Twinkle/1\r\n^X-Lite\n  ignored\n[7]\n^1\\d{3}$\n";
        let want: [&[u8]; 2] = [b"((^Twinkle/1)|(^X-Lite))", b"((^1\\d{3}$))"];
        assert_eq!(read(text, LIMITS).unwrap(), want);
        assert_eq!(read(b"# nothing\n", LIMITS).unwrap().len(), 0);
        for (bad, part) in [
            ("a\n[0]\n", "before the first group"),
            ("[0]\na\n[1]\nb\n[2]\nc\n", "line 5: there are more than 2"),
            ("[0]\n[1]\na\n", "group 0 has no expressions"),
        ] {
            let e = read(bad.as_bytes(), LIMITS).unwrap_err();
            assert!(e.contains(part), "{bad:?}: {e}");
        }
        let long = format!("[0]\n{}\n", "a".repeat(64));
        assert!(
            read(long.as_bytes(), LIMITS)
                .unwrap_err()
                .contains("group_max_size")
        );
    }

    #[test]
    fn a_broken_file_leaves_the_groups_as_they_were() {
        olelo_core::server::for_tests(vec![crate::module()]);
        let o = Options::default();
        init().unwrap();
        assert!(matches(b"a", 0, o).unwrap_err().contains("no groups"));
        let path = std::env::temp_dir().join(format!("olelo-regex-{}", std::process::id()));
        let file = path.display().to_string();
        let write = |t: &str| std::fs::write(&path, t).unwrap();
        write("[0]\n^a\n[1]\n^b\n");
        assert_eq!(load(&file, LIMITS, o), Ok(2));
        assert_eq!(matches(b"abc", 0, o), Ok(true));
        assert_eq!(matches(b"abc", 1, o), Ok(false));
        assert!(matches(b"abc", 2, o).unwrap_err().contains("there are 2"));
        write("[0]\n^c\n[1]\n(\n");
        assert!(load(&file, LIMITS, o).unwrap_err().contains("group 1"));
        assert_eq!(matches(b"abc", 0, o), Ok(true), "as before");
        write("[0]\n^c\n");
        assert_eq!(load(&file, LIMITS, o), Ok(1));
        assert_eq!(matches(b"abc", 0, o), Ok(false));
        assert_eq!(matches(b"cab", 0, o), Ok(true));
        std::fs::remove_file(&path).unwrap();
        assert!(load(&file, LIMITS, o).unwrap_err().contains(&file));
    }
}
