//! What is shown of a run: to people, to a CI, to programs.

use super::case::File;
use super::options::Options;
use olelo_core::log::Level;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// A case that was played.
pub struct Outcome {
    /// Number of the file.
    pub file: usize,
    /// Number in the file.
    pub case: usize,
    /// How long it took, milliseconds.
    pub ms: f64,
    /// What the stage said of it.
    pub said: Value,
}

impl Outcome {
    /// Whether all was as expected.
    pub fn good(&self) -> bool {
        self.failures().is_empty()
    }

    fn failures(&self) -> &[Value] {
        self.said["failures"].as_array().map_or(&[], |v| v)
    }
}

/// Colours, or none.
struct Paint(bool);

impl Paint {
    fn on(&self, code: &str, text: &str) -> String {
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }
}

/// One case for people.
pub fn case(o: &Options, file: &File, outcome: &Outcome) -> String {
    let p = Paint(o.colour);
    let c = &file.cases[outcome.case];
    let mut out = match outcome.good() {
        true => format!(
            "{}  {}: {} ({:.1} ms)\n",
            p.on("32", "ok"),
            file.path.display(),
            c.name,
            outcome.ms
        ),
        false => format!(
            "{}  {}:{}: {}\n",
            p.on("1;31", "FAIL"),
            file.path.display(),
            c.line,
            c.name
        ),
    };
    for f in outcome.failures() {
        out += &indented(&failure(file, f, &p), "  ");
    }
    if o.verbose || !outcome.good() {
        out += &trace(&outcome.said["trace"], &p, o.verbose);
    }
    out
}

fn failure(file: &File, f: &Value, p: &Paint) -> String {
    let text = f["what"].as_str().unwrap_or_default();
    let mut out = format!("{}:{}: {}\n", file.path.display(), f["line"], text);
    for l in f["diff"].as_array().into_iter().flatten() {
        let (sign, text) = (
            l[0].as_str().unwrap_or(" "),
            l[1].as_str().unwrap_or_default(),
        );
        for one in text.split('\n') {
            let line = format!("  {sign} {one}");
            let line = match sign {
                "-" => p.on("31", &line),
                "+" => p.on("32", &line),
                _ => line,
            };
            out += line.trim_end();
            out.push('\n');
        }
    }
    out
}

/// Most events that are shown beside a failure: the last ones.
const MOST_EVENTS: usize = 40;

/// What happened: all of it, or first lines and what the log warns of.
fn trace(trace: &Value, p: &Paint, all: bool) -> String {
    let mut out = String::new();
    let events = trace.as_array().map_or(&[][..], |v| v);
    let skip = if all {
        0
    } else {
        events.len().saturating_sub(MOST_EVENTS)
    };
    if skip > 0 {
        out += "  | ...\n";
    }
    for e in &events[skip..] {
        let lines: Vec<&str> = e["lines"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let first = lines.first().unwrap_or(&"");
        let line = if let Some(from) = e["in"].as_str() {
            p.on("36", &format!("> {first}  from {from}"))
        } else if let Some(to) = e["out"].as_str() {
            p.on("35", &format!("< {first}  to {to}"))
        } else if let Some(ms) = e["after"].as_u64() {
            format!("- after {:?}", Duration::from_millis(ms))
        } else {
            let most = if all { Level::Info } else { Level::Warn };
            if e["log"].as_i64().is_none_or(|l| l > most as i64) {
                continue;
            }
            format!(
                "  {}: {}",
                e["label"].as_str().unwrap_or_default(),
                e["text"].as_str().unwrap_or_default()
            )
        };
        out += &indented(&line, "  | ");
        if all {
            out += &indented(&lines.get(1..).unwrap_or_default().join("\n"), "  |     ");
        }
    }
    out
}

fn indented(text: &str, by: &str) -> String {
    text.lines()
        .map(|l| format!("{by}{l}").trim_end().to_string() + "\n")
        .collect()
}

/// The last line.
pub fn sum(o: &Options, all: &[Outcome], took: Duration) -> String {
    let bad = all.iter().filter(|c| !c.good()).count();
    let text = format!(
        "{} cases, {bad} failed, {:.2} s",
        all.len(),
        took.as_secs_f64()
    );
    Paint(o.colour).on(if bad == 0 { "32" } else { "1;31" }, &text)
}

/// One case for programs.
pub fn json(file: &File, outcome: &Outcome) -> Value {
    let c = &file.cases[outcome.case];
    json!({
        "file": file.path.display().to_string(),
        "line": c.line,
        "case": c.name,
        "ok": outcome.good(),
        "ms": outcome.ms,
        "failures": outcome.said["failures"],
        "trace": outcome.said["trace"],
    })
}

/// All for a CI, in JUnit's format.
pub fn junit(files: &[File], all: &[Outcome]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failed = |of: &[&Outcome]| of.iter().filter(|c| !c.good()).count();
    let seconds = |of: &[&Outcome]| of.iter().map(|c| c.ms).sum::<f64>() / 1000.0;
    let every: Vec<&Outcome> = all.iter().collect();
    let _ = writeln!(
        out,
        "<testsuites tests=\"{}\" failures=\"{}\" time=\"{:.3}\">",
        all.len(),
        failed(&every),
        seconds(&every)
    );
    for (number, file) in files.iter().enumerate() {
        let of: Vec<&Outcome> = all.iter().filter(|c| c.file == number).collect();
        if of.is_empty() {
            continue;
        }
        let path = escaped(&file.path.display().to_string());
        let _ = writeln!(
            out,
            "  <testsuite name=\"{path}\" tests=\"{}\" failures=\"{}\" time=\"{:.3}\">",
            of.len(),
            failed(&of),
            seconds(&of)
        );
        for c in of {
            let case = &file.cases[c.case];
            let _ = write!(
                out,
                "    <testcase classname=\"{path}\" name=\"{}\" file=\"{path}\" line=\"{}\" time=\"{:.3}\"",
                escaped(&case.name),
                case.line,
                c.ms / 1000.0
            );
            if c.good() {
                out += "/>\n";
                continue;
            }
            out += ">\n";
            for f in c.failures() {
                let what = escaped(f["what"].as_str().unwrap_or_default());
                let text = escaped(&failure(file, f, &Paint(false)));
                let _ = writeln!(out, "      <failure message=\"{what}\">{text}</failure>");
            }
            let text = escaped(&trace(&c.said["trace"], &Paint(false), true));
            let _ = writeln!(
                out,
                "      <system-out>{text}</system-out>\n    </testcase>"
            );
        }
        out += "  </testsuite>\n";
    }
    out + "</testsuites>\n"
}

/// Text for XML: marked characters replaced, those that XML has none of left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(c),
            c if c < ' ' || ('\u{fffe}'..='\u{ffff}').contains(&c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(
            escaped("<a b=\"c\">&\u{1}\n"),
            "&lt;a b=&quot;c&quot;&gt;&amp;\u{fffd}\n"
        );
    }
}
