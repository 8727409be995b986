//! Reads case files: a step begins at the margin, lines below it that are indented are its block.

use super::case::{Case, Expect, File, Message, Operator, Phone, Receive, Reply, Step, Text, What};
use std::path::{Path, PathBuf};

/// What is wrong with a case file.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {what}", path.display())]
pub struct BadCase {
    path: PathBuf,
    line: usize,
    what: String,
}

impl File {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<File, BadCase> {
        let text = std::fs::read(path).map_err(|e| BadCase {
            path: path.to_path_buf(),
            line: 0,
            what: format!("can't read it: {e}"),
        })?;
        File::parse(path, &String::from_utf8_lossy(&text))
    }

    /// Parses the text of a file.
    pub fn parse(path: &Path, text: &str) -> Result<File, BadCase> {
        let mut file = File {
            path: path.to_path_buf(),
            text: text.to_string(),
            ..File::default()
        };
        let fault = |line, what| BadCase {
            path: path.to_path_buf(),
            line,
            what,
        };
        let mut shared = Vec::new();
        let lines: Vec<&str> = text.lines().map(|l| l.trim_end_matches('\r')).collect();
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            let number = at + 1;
            at += 1;
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                return Err(fault(number, "an indented line belongs to no step".into()));
            }
            if let Some(name) = line.strip_prefix("==") {
                let name = name.trim().trim_end_matches('=').trim().to_string();
                if let Some(c) = file.cases.iter().find(|c| c.name == name) {
                    let said = format!("a case of this name is in line {} already", c.line);
                    return Err(fault(number, said));
                }
                file.cases.push(Case {
                    name,
                    line: number,
                    steps: shared.clone(),
                });
                continue;
            }
            let block = block(&lines, &mut at);
            if let Some(d) = line.strip_prefix("define ") {
                if !file.cases.is_empty() {
                    return Err(fault(number, "defines stand before the first case".into()));
                }
                let (name, value) = d.trim().split_once('=').map_or((d.trim(), None), |(n, v)| {
                    (n.trim(), Some(v.trim().to_string()))
                });
                file.defines.push((name.to_string(), value));
                continue;
            }
            let what = step(line, block).map_err(|e| fault(number, e))?;
            let declares = matches!(
                what,
                What::Hosts(_)
                    | What::Phone(_)
                    | What::Ignore(_)
                    | What::Clock(_)
                    | What::Set(..)
                    | What::Contact(..)
                    | What::Rpc(_)
            );
            let step = Step {
                line: number,
                end: at + 1,
                what,
            };
            match file.cases.last_mut() {
                Some(c) => c.steps.push(step),
                None if declares => shared.push(step),
                None => {
                    return Err(fault(
                        number,
                        "a step before the first case: begin one with `== its name`".into(),
                    ));
                }
            }
        }
        Ok(file)
    }
}

/// The indented lines from `at` on, without their indentation. Empty lines between them belong to it.
fn block(lines: &[&str], at: &mut usize) -> Vec<String> {
    let mut end = *at;
    for (i, l) in lines.iter().enumerate().skip(*at) {
        if l.starts_with([' ', '\t']) && !l.trim().is_empty() {
            end = i + 1;
        } else if !l.trim().is_empty() {
            break;
        }
    }
    let own = &lines[*at..end];
    *at = end;
    let depth = |l: &&&str| l.len() - l.trim_start().len();
    let least = own
        .iter()
        .filter(|l| !l.trim().is_empty())
        .map(|l| depth(&l))
        .min()
        .unwrap_or(0);
    own.iter()
        .map(|l| l.get(least..).unwrap_or("").trim_end().to_string())
        .collect()
}

fn step(line: &str, block: Vec<String>) -> Result<What, String> {
    let words = Words::of(line)?;
    let mut w = words.iter();
    let verb = w.next().unwrap_or_default();
    if !line.starts_with(verb) {
        return Err(format!("a step begins with a word: {line}"));
    }
    let takes_block = matches!(verb, "receive" | "reply" | "expect");
    if !block.is_empty() && !takes_block {
        return Err(format!("`{verb}` takes no indented lines"));
    }
    match verb {
        "hosts" => Ok(What::Hosts(w.rest(2, "an address and names")?)),
        "phone" => {
            let (name, uri) = (w.need("a name")?, w.need("a SIP URI")?);
            w.word("at")?;
            let phone = Phone {
                name: name.into(),
                uri: uri.into(),
                address: w.need("an address such as udp:192.0.2.10:5060")?.into(),
            };
            w.end().map(|()| What::Phone(phone))
        }
        "ignore" => {
            let what = w.need("a status or a method")?.to_string();
            w.end().map(|()| What::Ignore(what))
        }
        "clock" => Ok(What::Clock(w.rest(2, "a date and a time")?.join(" "))),
        "rpc" => Ok(What::Rpc(w.rest(1, "a command")?)),
        "given" => given(line, w),
        "receive" => receive(w, block).map(What::Receive),
        "reply" => reply(w, block).map(What::Reply),
        "after" => {
            let span = w.need("a time such as 32s")?;
            let ms =
                milliseconds(span).ok_or(format!("no time: {span}; write 500ms, 32s, 5m, 2h"))?;
            w.end().map(|()| What::After(ms))
        }
        "expect" => expect(line, w, block).map(What::Expect),
        _ => {
            let near = olelo_core::rpc::nearest(verb, VERBS.into_iter());
            let hint = near.map_or(String::new(), |n| format!("; did you mean {n}?"));
            Err(format!("no step `{verb}`{hint}"))
        }
    }
}

const VERBS: [&str; 11] = [
    "hosts", "phone", "ignore", "clock", "rpc", "given", "receive", "reply", "after", "expect",
    "define",
];

fn given(line: &str, mut w: Iter<'_>) -> Result<What, String> {
    match w.need("$name = value, or contact …")? {
        "contact" => {
            let aor = w.need("a phone or an address of record")?.to_string();
            let uri = w.next().map(str::to_string);
            w.end().map(|()| What::Contact(aor, uri))
        }
        pv if pv.starts_with('$') => {
            let rest = line.trim_start()["given".len()..].trim();
            let at = outside(rest, "=", 0).ok_or("`given $name = value`")?;
            let value = rest[at + 1..].trim();
            Ok(What::Set(rest[..at].trim().into(), value.into()))
        }
        other => Err(format!(
            "given {other}: wants a pseudo-variable or `contact`"
        )),
    }
}

fn receive(mut w: Iter<'_>, block: Vec<String>) -> Result<Receive, String> {
    let mut r = Receive {
        block,
        ..Receive::default()
    };
    while let Some(word) = w.next() {
        match word {
            "raw" => r.raw = true,
            "again" => r.again = true,
            "from" => r.from = Some(w.need("a phone or an address")?.into()),
            "at" => r.at = Some(w.need("an address")?.into()),
            "with" => r.with = Some(w.need("user:password")?.into()),
            n if n.bytes().all(|b| b.is_ascii_digit()) => {
                w.word("times")?;
                r.times = n.parse().ok();
            }
            "in" => {
                w.word("dialog")?;
                r.in_dialog = true;
            }
            m if r.method.is_none() && !r.again => r.method = Some(m.into()),
            u if r.uri.is_none() && !r.again => r.uri = Some(u.into()),
            other => return Err(format!("receive: what is `{other}`?")),
        }
    }
    let whole = r.method.is_none() && !r.again;
    if whole && r.block.is_empty() {
        return Err(
            "receive: which message? `receive METHOD URI`, or the message below, indented".into(),
        );
    }
    if r.raw && !whole {
        return Err("receive raw: the whole message stands below, indented".into());
    }
    Ok(r)
}

fn reply(mut w: Iter<'_>, block: Vec<String>) -> Result<Reply, String> {
    let status = w.need("a status")?;
    let mut r = Reply {
        status: status
            .parse()
            .map_err(|_| format!("reply: `{status}` is no status"))?,
        block,
        ..Reply::default()
    };
    let mut reason = Vec::new();
    while let Some(word) = w.next() {
        match word {
            "from" => r.from = Some(w.need("a phone or an address")?.into()),
            "to" => r.to = Some(w.need("the name that `as` gave")?.into()),
            word => reason.push(word),
        }
    }
    r.reason = reason.join(" ");
    Ok(r)
}

fn expect(line: &str, mut w: Iter<'_>, block: Vec<String>) -> Result<Expect, String> {
    let what = w.need("what is expected")?;
    let rest = line["expect".len()..].trim();
    if !block.is_empty() && (matches!(what, "nothing" | "log" | "error") || what.starts_with('$')) {
        return Err(format!("`expect {what}` takes no indented lines"));
    }
    match what {
        "nothing" => w.end().map(|()| Expect::Nothing),
        "log" => {
            let rest = rest["log".len()..].trim();
            let quoted = rest.starts_with(['"', '/']);
            let (level, rest) = match rest.split_once(' ').filter(|_| !quoted) {
                Some((l, r)) => {
                    olelo_core::log::Level::from_name(l).ok_or(format!("no level `{l}`"))?;
                    (Some(l.to_string()), r)
                }
                None => (None, rest),
            };
            Ok(Expect::Log(level, Text::parse(rest)?))
        }
        "error" => Ok(Expect::Error(Text::parse(&rest["error".len()..])?)),
        pv if pv.starts_with('$') => {
            let found = [
                ("==", Operator::Is),
                ("!=", Operator::IsNot),
                ("=~", Operator::Matches),
            ]
            .into_iter()
            .filter_map(|(t, o)| outside(rest, t, 0).map(|at| (at, o)))
            .min_by_key(|(at, _)| *at);
            let (at, operator) = found.ok_or("`expect $name == value`, or != or =~")?;
            let value = Text::parse(&rest[at + 2..])?;
            if operator == Operator::Matches && !matches!(value, Text::Pattern(_)) {
                return Err("=~ wants a pattern: /…/".into());
            }
            Ok(Expect::Value(rest[..at].trim().into(), operator, value))
        }
        first => {
            let mut m = Message {
                first: first.into(),
                block,
                ..Message::default()
            };
            let is_status = first.bytes().all(|b| b.is_ascii_digit());
            if is_status && first.len() != 3 || !is_status && first != first.to_ascii_uppercase() {
                return Err(format!(
                    "expect `{first}`? a status, a METHOD, nothing, log, error or a $pseudo-variable"
                ));
            }
            let mut words = Vec::new();
            while let Some(word) = w.next() {
                match word {
                    "to" => m.to = Some(w.need("a phone or an address")?.into()),
                    "as" => m.name = Some(w.need("a name")?.into()),
                    word => words.push(word),
                }
            }
            m.rest = (!words.is_empty()).then(|| words.join(" "));
            Ok(Expect::Message(m))
        }
    }
}

impl Text {
    fn parse(text: &str) -> Result<Text, String> {
        let text = text.trim();
        if let Some(inner) = text.strip_prefix('/') {
            let inner = inner.strip_suffix('/').ok_or("a pattern ends with /")?;
            regex::Regex::new(inner).map_err(|e| format!("the pattern /{inner}/: {e}"))?;
            return Ok(Text::Pattern(inner.into()));
        }
        if matches!(text, "null" | "$null") {
            return Ok(Text::Null);
        }
        unquoted(text).map(Text::Plain)
    }
}

/// `"…"` without its quotes, escapes resolved; other text as it is.
pub fn unquoted(text: &str) -> Result<String, String> {
    let Some(inner) = text.strip_prefix('"') else {
        return match text {
            "" => Err("a value is missing".into()),
            t => Ok(t.into()),
        };
    };
    let inner = inner.strip_suffix('"').ok_or("a quote never closes")?;
    let (mut out, mut escaped) = (String::new(), false);
    for c in inner.chars() {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (true, 'n') => (out.push('\n'), escaped = false).1,
            (true, 'r') => (out.push('\r'), escaped = false).1,
            (true, 't') => (out.push('\t'), escaped = false).1,
            (_, c) => (out.push(c), escaped = false).1,
        }
    }
    Ok(out)
}

/// The longest time that may go by: ten years.
const LONGEST_MS: f64 = 10.0 * 365.0 * 86_400_000.0;

/// `500ms`, `32s`, `5m`, `2h` in milliseconds.
fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    let ms = number.parse::<f64>().ok()? * factor;
    (ms <= LONGEST_MS).then_some(ms as u64)
}

/// Where `mark` stands in `text` outside of quotes, parentheses and slashes. `=` of `=>` is none.
fn outside(text: &str, mark: &str, from: usize) -> Option<usize> {
    let (mut depth, mut quoted) = (0, false);
    for (i, c) in text.char_indices().skip_while(|(i, _)| *i < from) {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ if !quoted && depth == 0 && text[i..].starts_with(mark) => return Some(i),
            _ => {}
        }
    }
    None
}

/// The words of a line; one in quotes may have blanks.
struct Words(Vec<String>);

impl Words {
    fn of(line: &str) -> Result<Words, String> {
        let mut words = vec![];
        let mut rest = line.trim();
        while !rest.is_empty() {
            let end = match rest.strip_prefix('"') {
                Some(inner) => inner.find('"').ok_or("a quote never closes")? + 2,
                None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
            };
            let (word, tail) = rest.split_at(end);
            words.push(word.trim_matches('"').to_string());
            rest = tail.trim_start();
        }
        Ok(Words(words))
    }

    fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }
}

struct Iter<'a>(std::slice::Iter<'a, String>);

impl<'a> Iter<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.0.next().map(String::as_str)
    }

    fn need(&mut self, what: &str) -> Result<&'a str, String> {
        self.next().ok_or_else(|| format!("{what} is missing"))
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        match self.next() {
            Some(w) if w == word => Ok(()),
            w => Err(format!(
                "`{word}` is expected, not `{}`",
                w.unwrap_or("the end")
            )),
        }
    }

    fn rest(self, least: usize, what: &str) -> Result<Vec<String>, String> {
        let all: Vec<String> = self.0.cloned().collect();
        match all.len() >= least {
            true => Ok(all),
            false => Err(format!("{what}: missing")),
        }
    }

    fn end(mut self) -> Result<(), String> {
        match self.next() {
            None => Ok(()),
            Some(w) => Err(format!("what is `{w}`?")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, String> {
        File::parse(Path::new("x.sip"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn steps_have_their_blocks_and_lines() {
        let f = parse(
            "# all\ndefine WITH_NAT\nphone alice sip:alice@a at udp:192.0.2.1:5060\n\n== one\nreceive INVITE sip:b@a from alice\n  X: 1\n\n  v=0\n   i\n\nexpect 404 Not Found to alice as x\n== two\nafter 1.5s\n",
        )
        .unwrap();
        assert_eq!(f.defines, [("WITH_NAT".into(), None)]);
        assert_eq!(f.cases.len(), 2);
        let steps = &f.cases[0].steps;
        assert_eq!(steps.len(), 3);
        assert!(matches!(&steps[1].what, What::Receive(r)
            if r.block == ["X: 1", "", "v=0", " i"] && r.uri.as_deref() == Some("sip:b@a")));
        assert_eq!((steps[1].line, steps[1].end), (6, 11));
        let What::Expect(Expect::Message(m)) = &steps[2].what else {
            panic!()
        };
        assert_eq!(m.rest.as_deref(), Some("Not Found"));
        assert_eq!(
            (m.to.as_deref(), m.name.as_deref()),
            (Some("alice"), Some("x"))
        );
        assert!(matches!(f.cases[1].steps[1].what, What::After(1500)));
    }

    #[test]
    fn values_logs_and_errors() {
        let f = parse(
            "== a\ngiven $sht(a=>b=c) = \"x y\"\nexpect $sht(a=>b) == \"c\"\nexpect $avp(s:x) =~ /^a.b$/\nexpect log ERROR /no/\nexpect log \"a b\"\nexpect error \"attempt\"\nexpect $avp(x) == null\nrpc htable.sets ipban \"a b\" 1",
        )
        .unwrap();
        let what: Vec<_> = f.cases[0].steps.iter().map(|s| s.what.clone()).collect();
        assert!(matches!(&what[0], What::Set(n, v) if n == "$sht(a=>b=c)" && v == "\"x y\""));
        assert!(
            matches!(&what[1], What::Expect(Expect::Value(n, Operator::Is, Text::Plain(v))) if n == "$sht(a=>b)" && v == "c")
        );
        assert!(matches!(
            &what[2],
            What::Expect(Expect::Value(_, Operator::Matches, Text::Pattern(_)))
        ));
        assert!(
            matches!(&what[3], What::Expect(Expect::Log(Some(l), Text::Pattern(_))) if l == "ERROR")
        );
        assert!(matches!(&what[4], What::Expect(Expect::Log(None, Text::Plain(t))) if t == "a b"));
        assert!(matches!(
            &what[6],
            What::Expect(Expect::Value(_, Operator::Is, Text::Null))
        ));
        assert!(matches!(&what[7], What::Rpc(w) if w[2] == "a b"));
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line, said) in [
            ("after 3s", 1, "before the first case"),
            ("== a\n\nexpectt 200", 3, "did you mean expect?"),
            ("== a\nafter soon", 2, "no time"),
            ("== a\nafter 99999d", 2, "no time"),
            ("== a\n\"expect\"\u{e9} 200", 2, "begins with a word"),
            ("== a\nexpect \"200", 2, "quote never closes"),
            ("== a\n== a", 2, "already"),
            ("== a\nreceive from x", 2, "which message"),
            ("== a\nexpect invite", 2, "METHOD"),
            ("== a\nexpect $x == ", 2, "missing"),
            ("== a\nexpect log /(/", 2, "pattern"),
            ("== a\nafter 3s\n  X: 1", 2, "no indented"),
            ("  X: 1", 1, "belongs to no step"),
            ("== a\ndefine X", 2, "before the first case"),
        ] {
            let e = parse(text).unwrap_err();
            assert!(
                e.starts_with(&format!("x.sip:{line}: ")) && e.contains(said),
                "{e}"
            );
        }
    }
}
