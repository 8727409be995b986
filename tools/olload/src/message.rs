//! Just enough of a SIP message for phones that made most of it themselves.
//!
//! It knows the first line, and header lines by name; it unfolds nothing and checks nothing.

/// A received message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    head: &'a str,
}

/// Its first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// Method.
    Request(&'a str),
    /// Status.
    Reply(u16),
}

impl<'a> Message<'a> {
    /// Reads a datagram.
    pub fn new(bytes: &'a [u8]) -> Option<Message<'a>> {
        let text = std::str::from_utf8(bytes).ok()?;
        let head = text.split_once("\r\n\r\n").map_or(text, |(h, _)| h);
        head.contains("SIP/2.0").then_some(Message { head })
    }

    /// Its first line.
    pub fn start(&self) -> Option<Start<'a>> {
        let line = self.head.lines().next()?;
        match line.strip_prefix("SIP/2.0 ") {
            Some(rest) => rest.get(..3)?.parse().ok().map(Start::Reply),
            None => line.split(' ').next().map(Start::Request),
        }
    }

    /// Header lines of this name, whole.
    pub fn lines(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.head.lines().skip(1).filter(move |l| {
            let field = l.split(':').next().unwrap_or("").trim_end();
            field.eq_ignore_ascii_case(name)
        })
    }

    /// The value of the first header of this name.
    pub fn value(&self, name: &'static str) -> Option<&'a str> {
        let line = self.lines(name).next()?;
        Some(line.split_once(':')?.1.trim())
    }

    /// The number of the call: Call-IDs here are `NUMBER@ANYTHING`.
    pub fn call(&self) -> Option<u64> {
        self.value("Call-ID")?.split('@').next()?.parse().ok()
    }

    /// The method in CSeq.
    pub fn method(&self) -> Option<&'a str> {
        self.value("CSeq")?.split_whitespace().nth(1)
    }

    /// The URI of the contact.
    pub fn contact(&self) -> Option<&'a str> {
        let value = self.value("Contact")?;
        Some(value.split_once('<')?.1.split_once('>')?.0)
    }

    /// Each Record-Route as its value, in order.
    pub fn record_routes(&self) -> impl Iterator<Item = &'a str> {
        self.lines("Record-Route")
            .filter_map(|l| l.split_once(':'))
            .flat_map(|(_, v)| v.split(','))
            .map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read() {
        let m = Message::new(b"SIP/2.0 200 OK\r\nVia: a\r\nRecord-Route: <sip:1>, <sip:2>\r\nrecord-route: <sip:3>\r\nCall-ID: 17@x\r\nCSeq: 2 INVITE\r\nContact: \"A\" <sip:b@c>;q=1\r\n\r\nbody").unwrap();
        assert_eq!(m.start(), Some(Start::Reply(200)));
        assert_eq!(
            m.record_routes().collect::<Vec<_>>(),
            ["<sip:1>", "<sip:2>", "<sip:3>"]
        );
        assert_eq!(
            (m.call(), m.method(), m.contact()),
            (Some(17), Some("INVITE"), Some("sip:b@c"))
        );
        assert!(Message::new(b"\0\0\0\0").is_none());
    }
}
