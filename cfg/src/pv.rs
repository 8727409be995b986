//! The shape of a pseudo-variable: `$name`, `$name(inner)`, `$(name(inner)[index]{trans}{trans})`.
//!
//! Only the shape: which names exist, and what is inside the parentheses, belongs to the server.
//! The same scanner serves format strings: it says how many bytes a pseudo-variable takes.

/// A pseudo-variable in parts, each as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PvSpec {
    /// `ru`, `avp`, `hdr`, `$` for `$$` …
    pub name: String,
    /// What stands in parentheses after the name.
    pub inner: Option<String>,
    /// What stands in brackets: `0`, `-1`, `*`, or a pseudo-variable.
    pub index: Option<String>,
    /// What stands in each pair of braces: `s.len`, `uri.param,x` …
    pub transformations: Vec<String>,
}

impl PvSpec {
    /// Reads the pseudo-variable at the start of `text` (which begins with `$`); returns it and the
    /// number of bytes it takes. `Err` says what is wrong, for people.
    pub fn parse(text: &str) -> Result<(PvSpec, usize), &'static str> {
        let bytes = text.as_bytes();
        if bytes.first() != Some(&b'$') {
            return Err("a pseudo-variable starts with `$`");
        }
        if bytes.get(1) == Some(&b'(') {
            let end = matching(bytes, 1).ok_or("this `$(` is never closed")?;
            let inside = text.get(2..end).ok_or("not readable as text")?;
            return Ok((wrapped(inside)?, end + 1));
        }
        let (name, mut at) = name_at(text, 1)?;
        let mut spec = PvSpec {
            name: name.to_owned(),
            ..PvSpec::default()
        };
        if name != "$" && bytes.get(at) == Some(&b'(') {
            let end = matching(bytes, at)
                .ok_or("the parenthesis of this pseudo-variable is never closed")?;
            spec.inner = Some(
                text.get(at + 1..end)
                    .ok_or("not readable as text")?
                    .to_owned(),
            );
            at = end + 1;
        }
        Ok((spec, at))
    }
}

/// The inside of `$( … )`: name, then any of `(inner)`, `[index]`, `{transformation}`.
fn wrapped(inside: &str) -> Result<PvSpec, &'static str> {
    let text = inside.trim();
    let bytes = text.as_bytes();
    let (name, mut at) = name_at(text, 0)?;
    let mut spec = PvSpec {
        name: name.to_owned(),
        ..PvSpec::default()
    };
    while let Some(open) = bytes.get(at) {
        if open.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let end = matching(bytes, at).ok_or("a bracket of this pseudo-variable is never closed")?;
        let part = text
            .get(at + 1..end)
            .ok_or("not readable as text")?
            .to_owned();
        match open {
            b'(' if spec.inner.is_none() => spec.inner = Some(part),
            b'[' if spec.index.is_none() => spec.index = Some(part),
            b'{' => spec.transformations.push(part),
            _ => return Err("expected `(`, `[`, `{` or `)` here in the pseudo-variable"),
        }
        at = end + 1;
    }
    Ok(spec)
}

/// The name at byte `at` and the offset after it.
fn name_at(text: &str, at: usize) -> Result<(&str, usize), &'static str> {
    let rest = text.get(at..).unwrap_or("");
    let len = rest
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
        .count();
    let len = match rest.bytes().next() {
        Some(b'$' | b'?') if len == 0 => 1,
        _ => len,
    };
    match rest.get(..len) {
        Some(name) if len > 0 => Ok((name, at + len)),
        _ => Err("a name must follow `$`"),
    }
}

/// The offset of the bracket that closes the one at `open`; brackets of the other kinds inside are
/// text to Kamailio, so only the same kind is counted.
fn matching(bytes: &[u8], open: usize) -> Option<usize> {
    let opener = *bytes.get(open)?;
    let closer = match opener {
        b'(' => b')',
        b'[' => b']',
        b'{' => b'}',
        _ => return None,
    };
    let mut depth = 0usize;
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        if *byte == opener {
            depth += 1;
        } else if *byte == closer {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, Option<String>, Option<String>, Vec<String>, usize) {
        let (s, n) = PvSpec::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        (s.name, s.inner, s.index, s.transformations, n)
    }

    #[test]
    fn shapes() {
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(parts("$ru"), ("ru".into(), None, None, vec![], 3));
        assert_eq!(parts("$$x"), ("$".into(), None, None, vec![], 2));
        assert_eq!(
            parts("$var(a)=1"),
            ("var".into(), some("a"), None, vec![], 7)
        );
        assert_eq!(
            parts("$_s(sip:$rU@$(rd{s.len}))x").1,
            some("sip:$rU@$(rd{s.len})")
        );
        assert_eq!(
            parts("$(hdr(Via)[-1]{param.value,branch}{s.len})"),
            (
                "hdr".into(),
                some("Via"),
                some("-1"),
                vec!["param.value,branch".into(), "s.len".into()],
                42
            )
        );
        assert_eq!(parts("$(avp(x)[*])").2, some("*"));
        assert_eq!(
            parts("$(ru{s.substr,0,$var(n)})").3,
            vec!["s.substr,0,$var(n)".to_owned()]
        );
    }

    #[test]
    fn faults() {
        for text in [
            "", "x", "$", "$ ", "$(", "$()", "$var(", "$(var(a)", "$(ru x)", "$(ru{a)",
        ] {
            assert!(PvSpec::parse(text).is_err(), "{text}");
        }
    }
}
