//! Methods: RFC 3261 and the extensions a proxy meets, each one bit, so that a set is one word.
//!
//! Method names on the wire are case-sensitive (RFC 3261 §7.1); sets written by operators
//! (`is_method("INVITE|ack")`) are read in any case.

macro_rules! methods {
    ($($variant:ident = $bit:literal, $text:literal;)*) => {
        /// A request method.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Method {
            $(#[doc = concat!("`", $text, "`")] $variant = $bit,)*
            /// Any other token; its text is in the first line or CSeq.
            Other = 31,
        }

        impl Method {
            /// The method of an exact token; `Other` for unknown ones.
            pub fn parse(text: &[u8]) -> Method {
                $(if text == $text.as_bytes() { return Method::$variant; })*
                Method::Other
            }

            /// As [`Method::parse`], in any case.
            pub fn parse_ignore_case(text: &[u8]) -> Method {
                $(if text.eq_ignore_ascii_case($text.as_bytes()) { return Method::$variant; })*
                Method::Other
            }

            /// The name on the wire; `OTHER` for unknown ones.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Method::$variant => $text,)*
                    Method::Other => "OTHER",
                }
            }
        }
    };
}

methods! {
    Invite = 0, "INVITE";
    Cancel = 1, "CANCEL";
    Ack = 2, "ACK";
    Bye = 3, "BYE";
    Info = 4, "INFO";
    Register = 5, "REGISTER";
    Subscribe = 6, "SUBSCRIBE";
    Notify = 7, "NOTIFY";
    Message = 8, "MESSAGE";
    Options = 9, "OPTIONS";
    Prack = 10, "PRACK";
    Update = 11, "UPDATE";
    Refer = 12, "REFER";
    Publish = 13, "PUBLISH";
    Kdmq = 14, "KDMQ";
    Get = 15, "GET";
    Post = 16, "POST";
    Put = 17, "PUT";
    Delete = 18, "DELETE";
}

impl Method {
    /// Its bit in a [`MethodSet`].
    #[inline]
    pub fn bit(self) -> u32 {
        1 << (self as u8)
    }

    /// The name as bytes.
    pub fn as_bytes(self) -> &'static [u8] {
        self.as_str().as_bytes()
    }

    /// True for requests that may create a dialog (INVITE, SUBSCRIBE, REFER, NOTIFY).
    pub fn forms_dialog(self) -> bool {
        matches!(
            self,
            Method::Invite | Method::Subscribe | Method::Refer | Method::Notify
        )
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of methods: one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MethodSet(pub u32);

impl MethodSet {
    /// Reads `A|B|C` (also commas and spaces between); `None` where a name is unknown.
    pub fn parse(text: &[u8]) -> Option<MethodSet> {
        let mut set = MethodSet::default();
        for name in text
            .split(|b| matches!(b, b'|' | b',' | b' ' | b'\t' | b'\r' | b'\n'))
            .filter(|n| !n.is_empty())
        {
            match Method::parse_ignore_case(name) {
                Method::Other => return None,
                m => set.insert(m),
            }
        }
        Some(set)
    }

    /// Adds one.
    pub fn insert(&mut self, method: Method) {
        self.0 |= method.bit();
    }

    /// True where `method` is in the set.
    #[inline]
    pub fn contains(self, method: Method) -> bool {
        self.0 & method.bit() != 0
    }

    /// True for the empty set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_sets_match() {
        for m in [
            Method::Invite,
            Method::Kdmq,
            Method::Delete,
            Method::Publish,
        ] {
            assert_eq!(Method::parse(m.as_bytes()), m);
        }
        assert_eq!(Method::parse(b"invite"), Method::Other);
        let set = MethodSet::parse(b"INVITE|ack | Bye").unwrap();
        assert!(set.contains(Method::Ack) && set.contains(Method::Bye));
        assert!(!set.contains(Method::Cancel));
        assert_eq!(MethodSet::parse(b"INVITE|FOO"), None);
    }
}
