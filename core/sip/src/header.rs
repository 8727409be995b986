//! Header names: every usual one with its compact form, found by a small hash made at compile time.
//!
//! An unknown name is `HeaderName::Other` and is matched by its text. This file knows names only;
//! what is inside a header is the business of the other files.

use crate::span::Span;

/// One header line of a message: where its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which header, compact forms resolved.
    pub name: HeaderName,
    /// The name as written, without colon and white space.
    pub name_text: Span,
    /// The value, trimmed; may contain folds.
    pub body: Span,
    /// The whole line with its folds and line end.
    pub whole: Span,
}

macro_rules! headers {
    ($($variant:ident, $text:literal $(, $compact:literal)?;)*) => {
        /// A header's name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HeaderName {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// Any other; match it by its text.
            Other,
        }

        const NAMES: &[(&str, HeaderName)] = &[$(($text, HeaderName::$variant),)*];

        /// The name of one compact letter (RFC 3261 §7.3.3 and extensions).
        fn compact(letter: u8) -> HeaderName {
            match letter.to_ascii_lowercase() {
                $($($compact => HeaderName::$variant,)?)*
                _ => HeaderName::Other,
            }
        }

        impl HeaderName {
            /// The usual long spelling; `Other` for unknown ones.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(HeaderName::$variant => $text,)*
                    HeaderName::Other => "Other",
                }
            }

            /// The compact letter, where there is one.
            pub fn compact(self) -> Option<u8> {
                match self {
                    $($(HeaderName::$variant => Some($compact),)?)*
                    _ => None,
                }
            }
        }
    };
}

headers! {
    Via, "Via", b'v';
    From, "From", b'f';
    To, "To", b't';
    CallId, "Call-ID", b'i';
    CSeq, "CSeq";
    Contact, "Contact", b'm';
    MaxForwards, "Max-Forwards";
    Route, "Route";
    RecordRoute, "Record-Route";
    Path, "Path";
    ServiceRoute, "Service-Route";
    ContentType, "Content-Type", b'c';
    ContentLength, "Content-Length", b'l';
    ContentEncoding, "Content-Encoding", b'e';
    ContentDisposition, "Content-Disposition";
    ContentLanguage, "Content-Language";
    Authorization, "Authorization";
    ProxyAuthorization, "Proxy-Authorization";
    WwwAuthenticate, "WWW-Authenticate";
    ProxyAuthenticate, "Proxy-Authenticate";
    AuthenticationInfo, "Authentication-Info";
    Expires, "Expires";
    MinExpires, "Min-Expires";
    Event, "Event", b'o';
    AllowEvents, "Allow-Events", b'u';
    SubscriptionState, "Subscription-State";
    Accept, "Accept";
    AcceptContact, "Accept-Contact", b'a';
    AcceptEncoding, "Accept-Encoding";
    AcceptLanguage, "Accept-Language";
    AcceptDisposition, "Accept-Disposition";
    AlertInfo, "Alert-Info";
    Allow, "Allow";
    CallInfo, "Call-Info";
    Date, "Date";
    ErrorInfo, "Error-Info";
    InReplyTo, "In-Reply-To";
    MimeVersion, "MIME-Version";
    Organization, "Organization";
    Priority, "Priority";
    ProxyRequire, "Proxy-Require";
    Require, "Require";
    Supported, "Supported", b'k';
    Unsupported, "Unsupported";
    ReplyTo, "Reply-To";
    RetryAfter, "Retry-After";
    Server, "Server";
    Subject, "Subject", b's';
    Timestamp, "Timestamp";
    UserAgent, "User-Agent";
    Warning, "Warning";
    RAck, "RAck";
    RSeq, "RSeq";
    ReferTo, "Refer-To", b'r';
    ReferredBy, "Referred-By", b'b';
    ReferSub, "Refer-Sub";
    Replaces, "Replaces";
    Join, "Join";
    RequestDisposition, "Request-Disposition", b'd';
    RejectContact, "Reject-Contact", b'j';
    Diversion, "Diversion";
    HistoryInfo, "History-Info";
    PAssertedIdentity, "P-Asserted-Identity";
    PPreferredIdentity, "P-Preferred-Identity";
    PAccessNetworkInfo, "P-Access-Network-Info";
    PChargingVector, "P-Charging-Vector";
    PVisitedNetworkId, "P-Visited-Network-ID";
    PAssociatedUri, "P-Associated-URI";
    PCalledPartyId, "P-Called-Party-ID";
    RemotePartyId, "Remote-Party-ID";
    Privacy, "Privacy";
    Reason, "Reason";
    SessionExpires, "Session-Expires", b'x';
    MinSe, "Min-SE";
    SipEtag, "SIP-ETag";
    SipIfMatch, "SIP-If-Match";
    Identity, "Identity", b'y';
    IdentityInfo, "Identity-Info", b'n';
    SecurityClient, "Security-Client";
    SecurityServer, "Security-Server";
    SecurityVerify, "Security-Verify";
    FlowTimer, "Flow-Timer";
    PermissionMissing, "Permission-Missing";
    Host, "Host";
    Upgrade, "Upgrade";
    Connection, "Connection";
    Origin, "Origin";
    SecWebSocketKey, "Sec-WebSocket-Key";
    SecWebSocketProtocol, "Sec-WebSocket-Protocol";
    SecWebSocketVersion, "Sec-WebSocket-Version";
    MaxBreadth, "Max-Breadth";
    ForceSendSocket, "Force-Send-Socket";
    UserToUser, "User-to-User";
    Geolocation, "Geolocation";
}

/// How many known names there are, `Other` not counted.
pub const NAME_COUNT: usize = NAMES.len();

/// The header a name stands for, in any case, compact forms resolved.
#[inline]
pub fn name_of(text: &[u8]) -> HeaderName {
    match text {
        [] => return HeaderName::Other,
        [letter] => return compact(*letter),
        _ => {}
    }
    let mut slot = hash(text);
    loop {
        let entry = TABLE[slot];
        if entry == EMPTY {
            return HeaderName::Other;
        }
        let (name, value) = NAMES[entry as usize];
        // Mostly it is written as we would.
        if name.as_bytes() == text || name.as_bytes().eq_ignore_ascii_case(text) {
            return value;
        }
        slot = (slot + 1) & (SLOTS - 1);
    }
}

impl HeaderName {
    /// True where the header's value is a comma list that may also be spread over several lines.
    pub fn is_list(self) -> bool {
        use HeaderName::*;
        matches!(
            self,
            Via | Route
                | RecordRoute
                | Path
                | ServiceRoute
                | Contact
                | Accept
                | AcceptEncoding
                | AcceptLanguage
                | AlertInfo
                | Allow
                | AllowEvents
                | CallInfo
                | ContentEncoding
                | ContentLanguage
                | ErrorInfo
                | InReplyTo
                | ProxyRequire
                | Require
                | Supported
                | Unsupported
                | Warning
                | Diversion
                | HistoryInfo
                | PAssertedIdentity
                | PPreferredIdentity
                | PAssociatedUri
                | RemotePartyId
                | Reason
                | AcceptContact
                | RejectContact
                | RequestDisposition
                | SecurityClient
                | SecurityServer
                | SecurityVerify
        )
    }
}

const SLOTS: usize = 512;
const EMPTY: u8 = 0xff;
static TABLE: [u8; SLOTS] = make_table();

/// Length, first, middle and last letter, without case.
#[inline]
const fn hash(text: &[u8]) -> usize {
    let n = text.len();
    let first = (text[0] | 0x20) as usize;
    let middle = (text[n / 2] | 0x20) as usize;
    let last = (text[n - 1] | 0x20) as usize;
    (n.wrapping_mul(61) ^ first.wrapping_mul(37) ^ middle.wrapping_mul(11) ^ last.wrapping_mul(131))
        & (SLOTS - 1)
}

const fn make_table() -> [u8; SLOTS] {
    let mut table = [EMPTY; SLOTS];
    let mut i = 0;
    while i < NAMES.len() {
        let mut slot = hash(NAMES[i].0.as_bytes());
        while table[slot] != EMPTY {
            slot = (slot + 1) & (SLOTS - 1);
        }
        table[slot] = i as u8;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_compact() {
        for (text, name) in NAMES {
            assert_eq!(name_of(text.as_bytes()), *name);
            assert_eq!(name_of(text.to_uppercase().as_bytes()), *name);
            assert_eq!(name.as_str(), *text);
            if let Some(c) = name.compact() {
                assert_eq!(name_of(&[c]), *name);
                assert_eq!(name_of(&[c.to_ascii_uppercase()]), *name);
            }
        }
        assert_eq!(name_of(b"X-Foo"), HeaderName::Other);
        assert_eq!(name_of(b"Vi"), HeaderName::Other);
        assert_eq!(name_of(b""), HeaderName::Other);
    }
}
