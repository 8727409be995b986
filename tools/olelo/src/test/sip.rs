//! Messages as case files and their reports have them: lines of text that can be looked up, changed and
//! compared. Lenient: what the server sent is shown as it is, whatever it is.

use olelo_core::sip::{HeaderName, header::name_of};

/// A message as text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sip {
    /// Request or status line.
    pub first: String,
    /// Names and values as written, unfolded.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: String,
}

impl Sip {
    /// Reads bytes; line ends may be LF alone.
    pub fn read(bytes: &[u8]) -> Sip {
        let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let mut sip = Sip {
            first: lines.next().unwrap_or_default().into(),
            headers: Vec::new(),
            body: body.into(),
        };
        lines.for_each(|l| sip.line(l));
        sip
    }

    /// Takes lines of a block: headers, and after an empty line the body.
    pub fn take(&mut self, block: &[String]) {
        let end = block
            .iter()
            .position(String::is_empty)
            .unwrap_or(block.len());
        block[..end].iter().for_each(|l| self.line(l));
        if let Some(body) = block.get(end + 1..) {
            self.body = body.iter().map(|l| format!("{l}\n")).collect();
        }
    }

    /// Takes one line of a header, or of its continuation.
    pub fn line(&mut self, line: &str) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, v)) = self.headers.last_mut() {
                v.push(' ');
                v.push_str(line.trim());
            }
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        self.headers.push((name.trim().into(), value.trim().into()));
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        !self.first.starts_with("SIP/2.0 ")
    }

    /// Word `n` of the first line.
    pub fn word(&self, n: usize) -> &str {
        self.first.split(' ').nth(n).unwrap_or_default()
    }

    /// Status; 0 of a request.
    pub fn status(&self) -> u16 {
        if self.is_request() {
            0
        } else {
            self.word(1).parse().unwrap_or(0)
        }
    }

    /// Method, of a reply that of its CSeq.
    pub fn method(&self) -> &str {
        if self.is_request() {
            return self.word(0);
        }
        self.get("CSeq")
            .and_then(|c| c.split_whitespace().nth(1))
            .unwrap_or_default()
    }

    /// The number in CSeq.
    pub fn cseq(&self) -> u32 {
        self.get("CSeq")
            .and_then(|c| c.split_whitespace().next()?.parse().ok())
            .unwrap_or(1)
    }

    /// The first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| same_name(n, name))
            .map(|(_, v)| v.as_str())
    }

    /// All values of this name, lists taken apart.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| same_name(n, name))
            .flat_map(|(_, v)| values(name, v))
            .collect()
    }

    /// Replaces all headers of this name; adds it where there is none.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let at = self.headers.iter().position(|(n, _)| same_name(n, name));
        self.headers.retain(|(n, _)| !same_name(n, name));
        let at = at.unwrap_or(self.headers.len());
        self.headers.insert(at, (name.into(), value.into()));
    }

    /// Adds a header where there is none of this name.
    pub fn fill(&mut self, name: &str, value: impl FnOnce() -> String) {
        if self.get(name).is_none() {
            self.headers.push((name.into(), value()));
        }
    }

    /// What others have said goes over what is there: each name once replaced, then added to. `-` is
    /// a header that is to be left out.
    pub fn overlay(&mut self, other: Sip) {
        let mut done: Vec<&str> = Vec::new();
        for (name, _) in &other.headers {
            if !done.iter().any(|d| same_name(d, name)) {
                let at = self.headers.iter().position(|(n, _)| same_name(n, name));
                self.headers.retain(|(n, _)| !same_name(n, name));
                let at = at.unwrap_or(self.headers.len());
                let of_name = other.headers.iter().filter(|(n, _)| same_name(n, name));
                let new: Vec<_> = of_name.filter(|(_, v)| v != "-").cloned().collect();
                self.headers.splice(at..at, new);
                done.push(name);
            }
        }
        if !other.body.is_empty() {
            self.body = other.body;
        }
    }

    /// Content-Type and Content-Length of the body, unless they are given or refused (`given`).
    pub fn finish(&mut self, given: &Sip) {
        if !self.body.is_empty() && given.get("Content-Type").is_none() {
            self.fill("Content-Type", || "application/sdp".into());
        }
        if given.get("Content-Length").is_none() {
            let length = self.crlf_body().len();
            self.headers
                .retain(|(n, _)| !same_name(n, "Content-Length"));
            self.headers
                .push(("Content-Length".into(), length.to_string()));
        }
    }

    fn crlf_body(&self) -> String {
        self.body.replace('\n', "\r\n")
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.first);
        for (n, v) in &self.headers {
            out += &format!("{n}: {v}\r\n");
        }
        (out + "\r\n" + &self.crlf_body()).into_bytes()
    }

    /// Its lines, to be shown.
    pub fn lines(&self) -> Vec<String> {
        let mut out = vec![self.first.clone()];
        out.extend(self.headers.iter().map(|(n, v)| format!("{n}: {v}")));
        if !self.body.is_empty() {
            out.push(String::new());
            out.extend(self.body.lines().map(str::to_string));
        }
        out
    }
}

/// Whether two names are of one header, compact forms resolved.
pub fn same_name(a: &str, b: &str) -> bool {
    match (name_of(a.as_bytes()), name_of(b.as_bytes())) {
        (HeaderName::Other, HeaderName::Other) => a.eq_ignore_ascii_case(b),
        (a, b) => a == b,
    }
}

/// The values in one line of this header.
pub fn values<'a>(name: &str, line: &'a str) -> Vec<&'a str> {
    if name_of(name.as_bytes()).is_list() {
        split(line, ',')
    } else {
        vec![line]
    }
}

/// The parts of `text` between `mark`s that stand in neither quotes nor `<>`.
pub fn split(text: &str, mark: char) -> Vec<&str> {
    let (mut out, mut from, mut quoted, mut inside) = (Vec::new(), 0, false, false);
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => inside = true,
            '>' if !quoted => inside = false,
            c if c == mark && !quoted && !inside => {
                out.push(text[from..i].trim());
                from = i + c.len_utf8();
            }
            _ => {}
        }
    }
    out.push(text[from..].trim());
    out
}

/// The URI of an address: what stands in `<>`, or before the parameters.
pub fn uri_of(address: &str) -> &str {
    match address.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => address.split(';').next().unwrap_or(address).trim(),
    }
}

/// The value of a header parameter.
pub fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let after = value.rsplit_once('>').map_or(value, |(_, p)| p);
    split(after, ';').into_iter().skip(1).find_map(|p| {
        let (n, v) = p.split_once('=').unwrap_or((p, ""));
        n.trim().eq_ignore_ascii_case(name).then_some(v.trim())
    })
}

/// User and host of a SIP URI.
pub fn user_host(uri: &str) -> (Option<&str>, &str) {
    let bare = uri.split_once(':').map_or(uri, |(_, r)| r);
    let bare = bare.split([';', '?']).next().unwrap_or(bare);
    match bare.split_once('@') {
        Some((u, h)) => (Some(u), h),
        None => (None, bare),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_changed_and_written() {
        let mut s = Sip::read(b"INVITE sip:b@a SIP/2.0\r\nv: SIP/2.0/UDP x\r\nTo: <sip:b@a>\r\nRoute: <sip:1;lr>,\r\n <sip:2;lr>\r\n\r\nv=0\r\n");
        assert_eq!(
            (s.method(), s.word(1), s.status()),
            ("INVITE", "sip:b@a", 0)
        );
        assert_eq!(s.all("route"), ["<sip:1;lr>", "<sip:2;lr>"]);
        assert_eq!(s.get("Via"), Some("SIP/2.0/UDP x"));
        let mut over = Sip::default();
        over.take(&[
            "Via: A".into(),
            "v: B".into(),
            "To: -".into(),
            "X: 1".into(),
        ]);
        s.overlay(over.clone());
        assert_eq!(s.all("Via"), ["A", "B"]);
        assert_eq!((s.get("To"), s.get("x")), (None, Some("1")));
        s.finish(&over);
        let text = String::from_utf8(s.bytes()).unwrap();
        assert!(text.ends_with("Content-Length: 5\r\n\r\nv=0\r\n"), "{text}");
    }

    #[test]
    fn parts_of_addresses() {
        let a = "\"a, <b;\" <sip:u@h:5;lr>;tag=1;x";
        assert_eq!(split(&format!("{a}, <sip:c>"), ','), [a, "<sip:c>"]);
        assert_eq!(
            (param(a, "TAG"), param(a, "lr"), param(a, "x")),
            (Some("1"), None, Some(""))
        );
        assert_eq!(uri_of("<sip:u@h>;tag=2"), "sip:u@h");
        assert_eq!(user_host("sip:u@h:5;lr"), (Some("u"), "h:5"));
        assert!(same_name("m", "CONTACT") && same_name("x-a", "X-A") && !same_name("X-A", "X-B"));
    }
}
