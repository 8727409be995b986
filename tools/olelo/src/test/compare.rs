//! What was sent against what was expected: header by header, by their parts where their order means
//! nothing, with a diff.

use super::sip::{Sip, param, same_name, split, uri_of, values};
use olelo_core::sip::{HeaderName, header::name_of};
use regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Names that a case has given to parts of messages.
pub type Names = BTreeMap<String, String>;

/// A line of a difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// ` ` as expected, `-` expected, `+` got.
    pub sign: char,
    /// The line.
    pub text: String,
}

impl Line {
    fn new(sign: char, text: impl Into<String>) -> Line {
        Line {
            sign,
            text: text.into(),
        }
    }

    /// For the report.
    pub fn to_json(&self) -> Value {
        json!([self.sign.to_string(), self.text])
    }
}

/// A comparison under way.
#[derive(Debug, Default)]
pub struct Diff {
    /// Its lines.
    pub lines: Vec<Line>,
    /// Something differs.
    pub differs: bool,
}

impl Diff {
    /// A line that is as expected.
    pub fn same(&mut self, text: impl Into<String>) {
        self.lines.push(Line::new(' ', text));
    }

    /// A difference.
    pub fn differ(&mut self, wanted: impl Into<String>, got: impl Into<String>) {
        self.differs = true;
        self.lines.push(Line::new('-', wanted));
        self.lines.push(Line::new('+', got));
    }

    /// Compares one text; `show` is how both are shown.
    pub fn text(
        &mut self,
        wanted: &str,
        got: &str,
        names: &mut Names,
        show: impl Fn(&str) -> String,
    ) {
        if fits(wanted, got, names) {
            self.same(show(got));
        } else {
            self.differ(show(&filled(wanted, names)), show(got));
        }
    }
}

/// Compares the headers and the body that matter (`block`) with those of `got`.
pub fn block(diff: &mut Diff, block: &[String], got: &Sip, names: &mut Names) {
    let end = block
        .iter()
        .position(String::is_empty)
        .unwrap_or(block.len());
    let mut wanted: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in &block[..end] {
        let Some((name, value)) = line.split_once(':') else {
            diff.differ(line.as_str(), "(this expectation is no header)");
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        match wanted.iter_mut().find(|(n, _)| same_name(n, name)) {
            Some((_, all)) => all.push(value),
            None => wanted.push((name, vec![value])),
        }
    }
    for (name, lines) in wanted {
        header(diff, name, &lines, got, names);
    }
    if let Some(wanted) = block.get(end + 1..) {
        body(diff, wanted, &got.body, names);
    }
}

fn header(diff: &mut Diff, name: &str, lines: &[&str], got: &Sip, names: &mut Names) {
    let there = got.all(name);
    let show = |v: &str| format!("{name}: {v}");
    let shown = || match there.is_empty() {
        true => format!("(no {name})"),
        false => there.iter().map(|v| show(v)).collect::<Vec<_>>().join("\n"),
    };
    if let [one] = lines {
        let times = one
            .strip_suffix(" times")
            .and_then(|n| n.trim().parse::<usize>().ok());
        match (*one, times) {
            ("-", _) if there.is_empty() => return diff.same(format!("(no {name})")),
            ("-", _) => return diff.differ(format!("(no {name})"), shown()),
            ("*", _) if !there.is_empty() => return diff.same(shown()),
            ("*", _) => return diff.differ(show("*"), shown()),
            (_, Some(n)) if n == there.len() => return diff.same(shown()),
            (_, Some(_)) => return diff.differ(show(one), shown()),
            _ => {}
        }
    }
    let mut wanted: Vec<&str> = lines
        .iter()
        .flat_map(|l| {
            if is_pattern(l) {
                vec![*l]
            } else {
                values(name, l)
            }
        })
        .collect();
    let open = wanted.last() == Some(&"...");
    if open {
        wanted.pop();
    }
    if is_set(name)
        && there.len() == wanted.len()
        && wanted
            .iter()
            .all(|w| there.iter().any(|g| w.eq_ignore_ascii_case(g)))
    {
        return diff.same(shown());
    }
    for (i, w) in wanted.iter().enumerate() {
        match there.get(i) {
            Some(g) if value_fits(name, w, g, names) => diff.same(show(g)),
            Some(g) => diff.differ(show(&filled(w, names)), show(g)),
            None => diff.differ(
                show(&filled(w, names)),
                format!("(no {}{name})", if i > 0 { "more " } else { "" }),
            ),
        }
    }
    if !open {
        for extra in there.iter().skip(wanted.len()) {
            diff.differs = true;
            diff.lines.push(Line::new('+', show(extra)));
        }
    }
}

fn body(diff: &mut Diff, wanted: &[String], got: &str, names: &mut Names) {
    diff.same("");
    if let [one] = wanted
        && is_pattern(one)
    {
        return diff.text(one, got.trim_end(), names, str::to_string);
    }
    let got: Vec<&str> = got.lines().collect();
    for i in 0..wanted.len().max(got.len()) {
        match (wanted.get(i), got.get(i)) {
            (Some(w), Some(g)) => diff.text(w, g, names, str::to_string),
            (Some(w), None) => diff.differ(w.as_str(), "(end of the body)"),
            (None, Some(g)) => {
                diff.differs = true;
                diff.lines.push(Line::new('+', *g));
            }
            (None, None) => {}
        }
    }
}

fn value_fits(name: &str, wanted: &str, got: &str, names: &mut Names) -> bool {
    if is_pattern(wanted) || unknown(wanted, names) {
        return fits(wanted, got, names);
    }
    let wanted = filled(wanted, names);
    parts(name, &wanted, &wanted) == parts(name, got, &wanted)
}

/// Whether `got` is `wanted`: a pattern, or a text in which `{name}` stands for what it was before, or
/// gets its meaning now.
pub fn fits(wanted: &str, got: &str, names: &mut Names) -> bool {
    let Some(pattern) = pattern(wanted, names) else {
        return tight(&filled(wanted, names)) == tight(got);
    };
    let Ok(re) = Regex::new(&pattern) else {
        return false;
    };
    let Some(found) = re.captures(got) else {
        return false;
    };
    for name in re.capture_names().flatten() {
        if let Some(m) = found.name(name) {
            names.insert(name.into(), m.as_str().into());
        }
    }
    true
}

fn is_pattern(text: &str) -> bool {
    text.len() > 1 && text.starts_with('/') && text.ends_with('/')
}

/// The expression for a pattern, or for a text with names that have no meaning yet.
fn pattern(wanted: &str, names: &Names) -> Option<String> {
    if is_pattern(wanted) {
        return Some(filled(&wanted[1..wanted.len() - 1], names));
    }
    if !unknown(wanted, names) {
        return None;
    }
    let mut out = String::from("^");
    let mut met: Vec<String> = Vec::new();
    pieces(wanted, |text, name| {
        out += &regex::escape(text);
        match name {
            Some(n) if names.contains_key(n) => out += &regex::escape(&names[n]),
            Some(n) if !met.iter().any(|m| m == n) => {
                out += &format!("(?P<{n}>.+?)");
                met.push(n.to_string());
            }
            Some(_) => out += ".+?",
            None => {}
        }
    });
    Some(out + "$")
}

fn unknown(text: &str, names: &Names) -> bool {
    let mut any = false;
    pieces(text, |_, name| {
        any |= name.is_some_and(|n| !names.contains_key(n))
    });
    any
}

/// `text` with every `{name}` that has a meaning replaced.
pub fn filled(text: &str, names: &Names) -> String {
    let mut out = String::new();
    pieces(text, |text, name| {
        out += text;
        if let Some(n) = name {
            match names.get(n) {
                Some(v) => out += v,
                None => out += &format!("{{{n}}}"),
            }
        }
    });
    out
}

/// The first name in `text` that has no meaning.
pub fn first_unknown(text: &str, names: &Names) -> Option<String> {
    let mut first = None;
    pieces(text, |_, name| {
        if let Some(n) = name.filter(|n| !names.contains_key(*n)) {
            first.get_or_insert(n.to_string());
        }
    });
    first
}

/// Takes `text` apart: plain text, and the `{name}` that follows it.
fn pieces(text: &str, mut each: impl FnMut(&str, Option<&str>)) {
    let mut rest = text;
    let mut from = 0;
    while let Some(open) = rest[from..].find('{').map(|o| o + from) {
        let inner = rest[open + 1..].split('}').next().unwrap_or_default();
        let is_name = rest[open + 1 + inner.len()..].starts_with('}')
            && inner.starts_with(|c: char| c.is_ascii_lowercase())
            && inner.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_name {
            each(&rest[..open], Some(inner));
            rest = &rest[open + inner.len() + 2..];
            from = 0;
        } else {
            from = open + 1;
        }
    }
    each(rest, None);
}

fn tight(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Headers whose values are a set.
fn is_set(name: &str) -> bool {
    use HeaderName::*;
    matches!(
        name_of(name.as_bytes()),
        Allow | Supported | Require | Unsupported | ProxyRequire | Accept | AllowEvents
    )
}

/// A value in parts that can be compared: order of parameters and case of names mean nothing. Tags
/// and what servers write into a Via count only where `wanted` has them.
fn parts(name: &str, value: &str, wanted: &str) -> Vec<String> {
    use HeaderName::*;
    let made_here: &[&str] = match name_of(name.as_bytes()) {
        From | To => &["tag"],
        Via => &["branch", "received", "rport", "i"],
        WwwAuthenticate | ProxyAuthenticate => {
            let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
            let mut all: Vec<String> = split(rest, ',').into_iter().map(parameter).collect();
            all.sort();
            all.insert(0, scheme.to_ascii_lowercase());
            return all;
        }
        Contact | Route | RecordRoute | Path | ServiceRoute | ReferTo | PAssertedIdentity
        | PPreferredIdentity | Diversion => &[],
        _ if value.contains('<') => &[],
        _ => return vec![tight(value)],
    };
    let (head, rest) = match value.rfind('>') {
        Some(at) => value.split_at(at + 1),
        None => value.split_at(value.find(';').unwrap_or(value.len())),
    };
    let mut all: Vec<String> = split(rest, ';')
        .into_iter()
        .skip(1)
        .map(parameter)
        .filter(|p| {
            let n = p.split('=').next().unwrap_or(p);
            !made_here.contains(&n) || param(wanted, n).is_some()
        })
        .collect();
    all.sort();
    let display = match head.split_once('<') {
        Some((d, _)) => d.trim().trim_matches('"'),
        None => "",
    };
    let address = match name_of(name.as_bytes()) {
        Via => tight(head).to_ascii_lowercase(),
        _ => uri(uri_of(head)),
    };
    all.insert(0, format!("{display}<{address}>"));
    all
}

fn parameter(p: &str) -> String {
    match p.split_once('=') {
        Some((n, v)) => format!("{}={}", n.trim().to_ascii_lowercase(), v.trim()),
        None => p.trim().to_ascii_lowercase(),
    }
}

/// A URI in one spelling.
pub fn uri(text: &str) -> String {
    let (head, headers) = text.split_once('?').unwrap_or((text, ""));
    let mut parts = head.split(';');
    let base = parts.next().unwrap_or_default();
    let base = match base.split_once('@') {
        Some((user, host)) => {
            let (scheme, user) = user.split_once(':').unwrap_or(("", user));
            format!(
                "{}:{user}@{}",
                scheme.to_ascii_lowercase(),
                host.to_ascii_lowercase()
            )
        }
        None => base.to_ascii_lowercase(),
    };
    let mut rest: Vec<String> = parts.map(parameter).collect();
    rest.sort();
    let headers = if headers.is_empty() {
        String::new()
    } else {
        format!("?{headers}")
    };
    std::iter::once(base)
        .chain(rest)
        .collect::<Vec<_>>()
        .join(";")
        + &headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(wanted: &[&str], got: &str, names: &mut Names) -> bool {
        let wanted: Vec<String> = wanted.iter().map(|w| w.to_string()).collect();
        let mut d = Diff::default();
        block(&mut d, &wanted, &Sip::read(got.as_bytes()), names);
        !d.differs
    }

    const GOT: &str = "INVITE sip:b@h SIP/2.0\nv: SIP/2.0/UDP 192.0.2.1;branch=z9;rport=5\nVia: SIP/2.0/TCP a\nf: \"A\" <sip:a@H;x=1;lr>;tag=7\nTo: sip:b@h\nAllow: INVITE, ACK\nX-A: one  two\nWWW-Authenticate: Digest realm=\"a,b\", nonce=\"1\"\n\nv=0\nc=x\n";

    #[test]
    fn headers_are_compared_by_their_parts() {
        for wanted in [
            "From: A <sip:a@h;lr;x=1>",
            "From: \"A\" <sip:a@h;lr;x=1>;TAG=7",
            "to: <sip:b@h>",
            "Via: SIP/2.0/UDP 192.0.2.1, SIP/2.0/TCP a",
            "Via: SIP/2.0/udp 192.0.2.1, ...",
            "Via: 2 times",
            "Via: *",
            "Allow: ack,invite",
            "X-a: one two",
            "X-B: -",
            "X-A: /^one/",
            "WWW-Authenticate: Digest nonce=\"1\", realm=\"a,b\"",
        ] {
            assert!(compare(&[wanted], GOT, &mut Names::new()), "{wanted}");
        }
        for wanted in [
            "From: A <sip:a@h;lr>",
            "From: <sip:a@h;lr;x=1>",
            "From: A <sip:a@h;lr;x=1>;tag=8",
            "To: <sip:B@h>",
            "Via: SIP/2.0/UDP 192.0.2.1",
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z8, ...",
            "Via: 1 times",
            "Via: -",
            "X-B: *",
            "X-A: two",
            "X-A: /^two/",
            "Allow: INVITE",
            "no header",
        ] {
            assert!(!compare(&[wanted], GOT, &mut Names::new()), "{wanted}");
        }
    }

    #[test]
    fn a_name_is_taken_first_and_compared_then() {
        let mut names = Names::new();
        assert!(compare(&["From: {who};tag={tag}"], GOT, &mut names));
        assert_eq!(names["tag"], "7");
        assert!(compare(&["From: {who};tag={tag}"], GOT, &mut names));
        names.insert("tag".into(), "8".into());
        assert!(!compare(&["From: {who};tag={tag}"], GOT, &mut names));
        assert!(compare(&["X-A: /(?P<last>\\w+)$/"], GOT, &mut names));
        assert_eq!(
            (
                names["last"].as_str(),
                filled("{last}{none}{ x}", &names).as_str()
            ),
            ("two", "two{none}{ x}")
        );
        assert_eq!(
            first_unknown("a{last}{none}", &names).as_deref(),
            Some("none")
        );
    }

    #[test]
    fn bodies_are_compared_line_by_line() {
        let mut n = Names::new();
        assert!(compare(&["", "v=0", "c={c}"], GOT, &mut n));
        assert!(compare(&["", "/c=x$/"], GOT, &mut n));
        assert!(!compare(&["", "v=0"], GOT, &mut n));
        assert!(!compare(&["", "v=0", "c=x", "y"], GOT, &mut n));
    }
}
