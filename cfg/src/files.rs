//! Where configuration files are read from: the disk, or a set of bytes held in memory.
//!
//! A reload records every byte it read ([`crate::Parsed::files`]) and can be run again from that
//! record alone, on a machine state where the disk has moved on.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A source of files.
pub trait FileProvider: Send + Sync {
    /// The bytes of a file. Errors as the disk would give; `NotFound` is what `import_file` forgives.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The files a pattern with `*`, `?` or `[` matches, sorted.
    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>>;
}

/// The disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

/// Larger files than this are refused: nobody writes such a configuration by hand.
const MAX_FILE: u64 = 64 << 20;

impl FileProvider for DiskFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let meta = std::fs::metadata(path)?;
        if meta.len() > MAX_FILE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "larger than 64 MB",
            ));
        }
        if meta.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "is a directory",
            ));
        }
        std::fs::read(path)
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let paths =
            glob::glob(pattern).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        Ok(paths
            .filter_map(Result::ok)
            .filter(|p| p.is_file())
            .collect())
    }
}

/// Files held in memory, by path.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(pub BTreeMap<PathBuf, Vec<u8>>);

impl FileProvider for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let pattern = glob::Pattern::new(pattern)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        Ok(self
            .0
            .keys()
            .filter(|p| pattern.matches_path(p))
            .cloned()
            .collect())
    }
}

impl FromIterator<(PathBuf, Vec<u8>)> for MemoryFiles {
    fn from_iter<T: IntoIterator<Item = (PathBuf, Vec<u8>)>>(iter: T) -> Self {
        Self(iter.into_iter().collect())
    }
}
