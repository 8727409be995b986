//! SIP as the endpoints of the simulation see it: a reader and writers of their own, so that a fault
//! in the server's parser or builder is seen and not shared.

use std::fmt::Write;

/// A message, taken apart as far as the endpoints and the checks need.
#[derive(Debug, Clone, Default)]
pub struct Sip {
    /// The bytes.
    pub raw: Vec<u8>,
    /// Method of a request; empty in a reply.
    pub method: String,
    /// Request URI.
    pub ruri: String,
    /// Status of a reply; 0 in a request.
    pub status: u16,
    /// Values of Via, the topmost first.
    pub vias: Vec<String>,
    /// From, whole.
    pub from: String,
    /// To, whole.
    pub to: String,
    /// To-tag; empty for none.
    pub to_tag: String,
    /// Call-ID.
    pub call_id: String,
    /// CSeq number.
    pub cseq: u32,
    /// CSeq method.
    pub cseq_method: String,
    /// URI of Contact.
    pub contact: String,
}

impl Sip {
    /// Reads a message; panics where it is none, for the server has sent it.
    pub fn read(raw: &[u8]) -> Sip {
        let text = String::from_utf8_lossy(raw);
        let mut lines = text.split("\r\n");
        let mut sip = Sip {
            raw: raw.to_vec(),
            ..Sip::default()
        };
        let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
        let (a, b) = (first.next().unwrap_or(""), first.next().unwrap_or(""));
        if a == "SIP/2.0" {
            sip.status = b.parse().unwrap_or(0);
        } else {
            (sip.method, sip.ruri) = (a.into(), b.into());
        }
        for line in lines.take_while(|l| !l.is_empty()) {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim().to_string();
            match name.trim().to_ascii_lowercase().as_str() {
                "via" => sip.vias.push(value),
                "from" => sip.from = value,
                "to" => {
                    sip.to_tag = param(&value, "tag").unwrap_or_default();
                    sip.to = value;
                }
                "call-id" => sip.call_id = value,
                "contact" => sip.contact = value.trim_matches(['<', '>']).into(),
                "cseq" => {
                    let (n, m) = value.split_once(' ').unwrap_or_default();
                    (sip.cseq, sip.cseq_method) = (n.parse().unwrap_or(0), m.into());
                }
                _ => {}
            }
        }
        sip
    }

    /// Branch of the topmost Via.
    pub fn branch(&self) -> String {
        let top = self.vias.first().map_or("", String::as_str);
        param(top, "branch").unwrap_or_default()
    }

    /// Branch of the Via below.
    pub fn branch_below(&self) -> String {
        let below = self.vias.get(1).map_or("", String::as_str);
        param(below, "branch").unwrap_or_default()
    }

    /// The call's number, which endpoints put into the Call-ID.
    pub fn call(&self) -> Option<usize> {
        self.call_id
            .strip_prefix('c')?
            .split('@')
            .next()?
            .parse()
            .ok()
    }

    /// In a line: what a trace shows.
    pub fn brief(&self) -> String {
        let branch = self.branch();
        let short = branch.strip_prefix("z9hG4bK").unwrap_or(&branch);
        if self.status == 0 {
            format!("{} {} [{short}] {}", self.method, self.ruri, self.call_id)
        } else {
            let tag = &self.to_tag;
            format!(
                "{} {} [{short}] {} tag={tag}",
                self.status, self.cseq_method, self.call_id
            )
        }
    }

    /// A reply to this request, as an endpoint makes it.
    pub fn reply(&self, status: u16, tag: &str, contact: &str) -> Vec<u8> {
        let mut t = format!("SIP/2.0 {status} Simulated\r\n");
        for v in &self.vias {
            let _ = write!(t, "Via: {v}\r\n");
        }
        let tag = match (self.to_tag.is_empty(), status) {
            (true, 101..) => format!(";tag={tag}"),
            _ => String::new(),
        };
        let _ = write!(t, "From: {}\r\nTo: {}{tag}\r\n", self.from, self.to);
        let _ = write!(
            t,
            "Call-ID: {}\r\nCSeq: {} {}\r\n",
            self.call_id, self.cseq, self.method
        );
        if !contact.is_empty() {
            let _ = write!(t, "Contact: <{contact}>\r\n");
        }
        t.push_str("Content-Length: 0\r\n\r\n");
        t.into_bytes()
    }
}

/// A request of an endpoint.
pub struct Request<'a> {
    pub method: &'a str,
    pub ruri: &'a str,
    pub via: &'a str,
    pub call: usize,
    pub cseq: u32,
    pub to_tag: &'a str,
    pub contact: &'a str,
}

impl Request<'_> {
    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let tag = match self.to_tag {
            "" => String::new(),
            t => format!(";tag={t}"),
        };
        let (call, method) = (self.call, self.method);
        format!(
            "{method} {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: <sip:a{call}@sim>;tag=f{call}\r\nTo: <sip:call{call}@sim>{tag}\r\nCall-ID: c{call}@sim\r\nCSeq: {} {method}\r\nContact: <{}>\r\nContent-Length: 0\r\n\r\n",
            self.ruri, self.via, self.cseq, self.contact
        )
        .into_bytes()
    }
}

fn param(value: &str, name: &str) -> Option<String> {
    value.split(';').skip(1).find_map(|p| {
        let (n, v) = p.split_once('=')?;
        (n.trim() == name).then(|| v.trim().to_string())
    })
}
