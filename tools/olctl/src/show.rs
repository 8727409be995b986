//! Answers for people: a list of alike structures is a table, anything else an indented listing.

use comfy_table::{ContentArrangement, Table, presets};
use olelo_ipc::Value;

/// As JSON: one value alone, or a list.
pub fn json(answer: &[Value]) {
    let v = match answer {
        [one] => one.to_json(),
        many => many.iter().map(Value::to_json).collect(),
    };
    println!("{}", serde_json::to_string_pretty(&v).unwrap_or_default());
}

/// As tables.
pub fn tables(answer: &[Value]) {
    if let Some(t) = table(answer) {
        println!("{t}");
        return;
    }
    for v in answer {
        listing(v, 0);
    }
}

/// A table, if all values are structures of plain fields.
pub fn table(rows: &[Value]) -> Option<Table> {
    let fields = |v: &Value| match v {
        Value::Struct(f) if f.iter().all(|(_, v)| is_plain(v)) => Some(f.clone()),
        _ => None,
    };
    let all: Vec<Vec<(String, Value)>> = rows.iter().map(fields).collect::<Option<_>>()?;
    if all.len() < 2 {
        return None;
    }
    let mut head: Vec<String> = Vec::new();
    for (name, _) in all.iter().flatten() {
        if !head.contains(name) {
            head.push(name.clone());
        }
    }
    let mut t = Table::new();
    t.load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    t.set_header(&head);
    for r in all {
        t.add_row(head.iter().map(|h| {
            r.iter()
                .find(|(n, _)| n == h)
                .map(|(_, v)| plain(v))
                .unwrap_or_default()
        }));
    }
    Some(t)
}

fn is_plain(v: &Value) -> bool {
    matches!(v, Value::Int(_) | Value::Double(_) | Value::Str(_))
}

fn plain(v: &Value) -> String {
    match v {
        Value::Int(i) => i.to_string(),
        Value::Double(d) => d.to_string(),
        Value::Str(s) => s.clone(),
        _ => String::new(),
    }
}

fn listing(v: &Value, depth: usize) {
    let pad = "  ".repeat(depth);
    match v {
        Value::Struct(f) => {
            let width = f
                .iter()
                .filter(|(_, v)| is_plain(v))
                .map(|(n, _)| n.len())
                .max()
                .unwrap_or(0);
            for (name, v) in f {
                if is_plain(v) {
                    println!("{pad}{name:width$}  {}", plain(v));
                } else {
                    println!("{pad}{name}");
                    listing(v, depth + 1);
                }
            }
        }
        Value::Array(items) => match table(items) {
            Some(t) => println!("{t}"),
            None => items.iter().for_each(|i| listing(i, depth)),
        },
        v => println!("{pad}{}", plain(v)),
    }
}
