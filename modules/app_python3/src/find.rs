//! Which Python: the `library` parameter; else the one that `python3` is here, asked once by main;
//! else the libraries that distributions install.
//!
//! An active virtual environment (`VIRTUAL_ENV`) is asked first. The program's own path goes with
//! the library: Python derives from it where its standard library and its packages are, so that
//! `pip install` beside that program is what scripts can import.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A library that may be Python's.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Path, or name for the system's search.
    pub library: String,
    /// The interpreter that it belongs to, where that is known.
    pub program: Option<String>,
}

/// What is installed where no library can be used.
const ADVICE: &str = "install Python's shared library (Debian: apt-get install libpython3.11 python3; \
     built from source: configure --enable-shared), or name it: \
     modparam(\"app_python3\", \"library\", \"/path/libpython3.X.so.1.0\")";

/// Asks an interpreter for its path and where its library may be.
const QUESTION: &str = "\
import sys, sysconfig
v = sysconfig.get_config_var
print(sys.executable)
for directory in (v('LIBDIR'), v('LIBPL'), sys.base_prefix + '/lib'):
    for name in (v('INSTSONAME'), v('LDLIBRARY')):
        if directory and name and '.so' in name:
            print(directory + '/' + name)
";

/// Opens the first library that can be used and returns it. `named` is the `library` parameter: with
/// it nothing else is tried. The error lists what was tried, and says what to install.
pub fn first_usable(
    named: &str,
    mut open: impl FnMut(&str) -> Result<(), String>,
) -> Result<Candidate, String> {
    let mut tried = Vec::new();
    for found in candidates(named) {
        match found {
            Ok(c) => match open(&c.library) {
                Ok(()) => return Ok(c),
                Err(e) if e.starts_with(&c.library) => tried.push(e),
                Err(e) => tried.push(format!("{}: {e}", c.library)),
            },
            Err(e) => tried.push(e),
        }
    }
    tried.dedup();
    Err(format!(
        "no library of Python 3.8 to 3.14 can be used: {ADVICE}. Tried: {}",
        tried.join("; ")
    ))
}

fn candidates(named: &str) -> Vec<Result<Candidate, String>> {
    if !named.is_empty() {
        let program = beside(named);
        return vec![Ok(Candidate {
            library: named.to_string(),
            program,
        })];
    }
    let mut all = Vec::new();
    for program in programs() {
        match asked(&program) {
            Ok(found) => all.extend(found.into_iter().map(Ok)),
            Err(e) => all.push(Err(e)),
        }
    }
    // Without its program, Python looks for its files where it was built to be.
    all.extend((8..=14).rev().map(|minor| {
        Ok(Candidate {
            library: format!("libpython3.{minor}.so.1.0"),
            program: None,
        })
    }));
    all
}

/// The interpreters to ask.
fn programs() -> Vec<PathBuf> {
    let of_environment = std::env::var_os("VIRTUAL_ENV")
        .filter(|v| !v.is_empty())
        .map(|v| Path::new(&v).join("bin/python3"));
    of_environment
        .into_iter()
        .chain([PathBuf::from("python3")])
        .collect()
}

/// The interpreter installed beside a library: `PREFIX/bin/python3.X` for
/// `PREFIX/lib/libpython3.X.so.1.0`.
fn beside(library: &str) -> Option<String> {
    let path = Path::new(library);
    let version = path
        .file_name()?
        .to_str()?
        .strip_prefix("libpython")?
        .split(".so")
        .next()?;
    let program = path
        .ancestors()
        .skip(2)
        .take(2)
        .map(|prefix| prefix.join(format!("bin/python{version}")))
        .find(|p| p.is_file())?;
    Some(program.display().to_string())
}

fn asked(program: &Path) -> Result<Vec<Candidate>, String> {
    let name = program.display();
    let answer = Command::new(program)
        .args(["-c", QUESTION])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|e| format!("{name}: {e}"))?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let mut lines = text.lines();
    let own_path = lines
        .next()
        .filter(|_| answer.status.success())
        .ok_or_else(|| format!("{name}: does not answer"))?;
    let mut libraries: Vec<&str> = lines.filter(|l| Path::new(l).exists()).collect();
    libraries.dedup();
    if libraries.is_empty() {
        return Err(format!("{own_path}: has no shared library"));
    }
    Ok(libraries
        .into_iter()
        .map(|l| Candidate {
            library: l.to_string(),
            program: Some(own_path.to_string()),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_told_with_what_to_install() {
        let e = first_usable("/nonesuch/libpython3.11.so", |_| Err("not there".into()))
            .expect_err("nothing opens");
        for part in [
            "/nonesuch/libpython3.11.so: not there",
            "apt-get install libpython3",
            "\"library\"",
        ] {
            assert!(e.contains(part), "{e}");
        }
    }

    #[test]
    fn the_next_is_tried_where_one_is_not_usable() {
        let mut seen = Vec::new();
        let found = first_usable("", |library| {
            seen.push(library.to_string());
            if library == "libpython3.9.so.1.0" {
                Ok(())
            } else {
                Err("no".into())
            }
        })
        .expect("one opens");
        assert_eq!(found.library, "libpython3.9.so.1.0");
        assert_eq!(found.program, None);
        assert!(
            seen.contains(&"libpython3.14.so.1.0".to_string()),
            "{seen:?}"
        );
    }
}
