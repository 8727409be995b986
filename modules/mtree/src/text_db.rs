//! Tables in text files, as `db_text` has them: one file a table in one directory.
//!
//! The first line names the columns with their types, `id(int,auto) tprefix(string) tvalue(string)`;
//! each other line is a row, its fields separated by colons; `\:`, `\\`, `\n`, `\r`, `\t` and `\0`
//! stand for themselves. An empty field of a column that may be null is an empty string here.

use std::path::Path;

/// A table as read.
#[derive(Debug, PartialEq)]
pub(crate) struct Table {
    columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Vec<u8>>>,
}

impl Table {
    /// Reads `directory/name`; the error names file and line.
    pub(crate) fn read(directory: &Path, name: &str) -> Result<Table, String> {
        let file = directory.join(name);
        let text = std::fs::read(&file)
            .map_err(|e| format!("can't read the table {}: {e}", file.display()))?;
        Table::parse(&text).map_err(|e| format!("{}: {e}", file.display()))
    }

    fn parse(text: &[u8]) -> Result<Table, String> {
        let mut lines = text
            .split(|b| *b == b'\n')
            .map(|l| l.strip_suffix(b"\r").unwrap_or(l));
        let head = String::from_utf8_lossy(lines.next().unwrap_or(b"")).into_owned();
        let columns: Vec<String> = head
            .split_whitespace()
            .map(|c| c.split('(').next().unwrap_or(c).to_string())
            .collect();
        if columns.is_empty() || !head.contains('(') {
            return Err("line 1 names no columns; write \"tprefix(string) tvalue(string)\"".into());
        }
        let mut rows = Vec::new();
        for (n, line) in lines
            .enumerate()
            .filter(|(_, l)| !l.trim_ascii().is_empty())
        {
            let row = fields(line);
            if row.len() != columns.len() {
                return Err(format!(
                    "line {} has {} fields, not {}",
                    n + 2,
                    row.len(),
                    columns.len()
                ));
            }
            rows.push(row);
        }
        Ok(Table { columns, rows })
    }

    /// The place of a column.
    pub(crate) fn column(&self, name: &str) -> Result<usize, String> {
        self.columns.iter().position(|c| c == name).ok_or_else(|| {
            format!(
                "there is no column \"{name}\"; there are {}",
                self.columns.join(", ")
            )
        })
    }
}

fn fields(line: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    let mut bytes = line.iter();
    while let Some(b) = bytes.next() {
        let add = match b {
            b':' => {
                all.push(Vec::new());
                continue;
            }
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                Some(c) => *c,
                None => b'\\',
            },
            c => *c,
        };
        if let Some(last) = all.last_mut() {
            last.push(add);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_or_refused() {
        let t = Table::parse(
            b"id(int,auto) tprefix(string) tvalue(string,null)\n1:12:a\\:b\r\n\n2:13:\n",
        )
        .unwrap();
        assert_eq!((t.column("id"), t.column("tvalue")), (Ok(0), Ok(2)));
        assert_eq!(
            t.rows,
            [
                [b"1".to_vec(), b"12".to_vec(), b"a:b".to_vec()],
                [b"2".to_vec(), b"13".to_vec(), vec![]]
            ]
        );
        assert!(
            t.column("nope")
                .unwrap_err()
                .contains("id, tprefix, tvalue")
        );
        assert!(Table::parse(b"").is_err());
        assert!(
            Table::parse(b"a(int)\n1:2\n")
                .unwrap_err()
                .contains("line 2 has 2 fields")
        );
        assert_eq!(fields(b"\\n\\\\\\t\\"), [b"\n\\\t\\".to_vec()]);
    }
}
