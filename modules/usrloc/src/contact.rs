//! A registered contact, and the record of an address of record as it lies in shared memory.
//!
//! A record is one run of bytes: number of the location table, earliest expiry, address of record,
//! number of contacts, contacts. Integers are variable-length (LEB128), strings have their length in front; a contact
//! that uses nothing special costs some 20 bytes beside its text. Nothing here locks: a [`Record`]
//! is a copy that its process owns, and contacts borrow from it or from a message.

use olelo_core::net::{ConnId, SocketId};

/// One contact (RFC 3261 §10), borrowing its texts from a [`Record`] or a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact<'a> {
    /// Address.
    pub uri: &'a [u8],
    /// Where the registration came from, as a URI (`received`); empty if that is the address.
    pub received: &'a [u8],
    /// Value of Path (RFC 3327); empty for none.
    pub path: &'a [u8],
    /// Call-ID of the registration.
    pub call_id: &'a [u8],
    /// User-Agent of the registration.
    pub user_agent: &'a [u8],
    /// `+sip.instance` with its `<>`; empty for none.
    pub instance: &'a [u8],
    /// Unique id of this contact's record.
    pub ruid: &'a [u8],
    /// When it ends: seconds of the wall clock; 0 for never.
    pub expires: i64,
    /// When it was last registered: seconds of the wall clock.
    pub modified: i64,
    /// Preference, 0…1000; -1 for none given.
    pub q: i16,
    /// CSeq of the registration.
    pub cseq: u32,
    /// Methods supported, one bit each; all bits where it did not say.
    pub methods: u32,
    /// Message flags kept.
    pub flags: u32,
    /// Branch flags at the time of the registration.
    pub cflags: u32,
    /// Socket it came by.
    pub socket: Option<SocketId>,
    /// Connection it came by.
    pub conn: Option<ConnId>,
    /// `reg-id` (RFC 5626); 0 for none.
    pub reg_id: u32,
    /// `server_id` of the server it registered at.
    pub server_id: u32,
    /// When it last answered a keepalive: seconds of the wall clock; 0 for never.
    pub last_keepalive: i64,
    /// Round trip of the last keepalive, microseconds.
    pub roundtrip: u32,
}

impl Default for Contact<'_> {
    fn default() -> Self {
        Contact {
            uri: b"",
            received: b"",
            path: b"",
            call_id: b"",
            user_agent: b"",
            instance: b"",
            ruid: b"",
            expires: 0,
            modified: 0,
            q: -1,
            cseq: 0,
            methods: u32::MAX,
            flags: 0,
            cflags: 0,
            socket: None,
            conn: None,
            reg_id: 0,
            server_id: 0,
            last_keepalive: 0,
            roundtrip: 0,
        }
    }
}

impl<'a> Contact<'a> {
    /// Whether it has not ended at `now` (seconds of the wall clock).
    pub fn is_valid(&self, now: i64) -> bool {
        self.expires == 0 || self.expires > now
    }

    /// Where a request for it is sent: `received`, else its address.
    pub fn target(&self) -> &'a [u8] {
        if self.received.is_empty() {
            self.uri
        } else {
            self.received
        }
    }

    /// Appends its bytes.
    fn encode(&self, out: &mut Vec<u8>) {
        for text in [
            self.uri,
            self.received,
            self.path,
            self.call_id,
            self.user_agent,
            self.instance,
            self.ruid,
        ] {
            put(out, text.len() as u64);
            out.extend_from_slice(text);
        }
        for n in [
            self.expires.max(0) as u64,
            self.modified.max(0) as u64,
            (i64::from(self.q) + 1).max(0) as u64,
            u64::from(self.cseq),
            // "All" is the usual value: wrapped to 0 it takes one byte.
            u64::from(self.methods.wrapping_add(1)),
            u64::from(self.flags),
            u64::from(self.cflags),
            self.socket.map_or(0, |s| u64::from(s.0) + 1),
            self.conn.map_or(0, ConnId::to_bits),
            u64::from(self.reg_id),
            u64::from(self.server_id),
            self.last_keepalive.max(0) as u64,
            u64::from(self.roundtrip),
        ] {
            put(out, n);
        }
    }

    fn decode(r: &mut &'a [u8]) -> Option<Contact<'a>> {
        Some(Contact {
            uri: text(r)?,
            received: text(r)?,
            path: text(r)?,
            call_id: text(r)?,
            user_agent: text(r)?,
            instance: text(r)?,
            ruid: text(r)?,
            expires: get(r)? as i64,
            modified: get(r)? as i64,
            q: (get(r)? as i64 - 1) as i16,
            cseq: get(r)? as u32,
            methods: (get(r)? as u32).wrapping_sub(1),
            flags: get(r)? as u32,
            cflags: get(r)? as u32,
            socket: get(r)?.checked_sub(1).map(|n| SocketId(n as u16)),
            conn: ConnId::from_bits(get(r)?),
            reg_id: get(r)? as u32,
            server_id: get(r)? as u32,
            last_keepalive: get(r)? as i64,
            roundtrip: get(r)? as u32,
        })
    }
}

/// A copy of what is stored for one address of record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    pub(crate) bytes: Vec<u8>,
}

impl Record {
    /// A record that is stored nowhere, for callbacks.
    pub fn of(aor: &[u8], contacts: &[Contact<'_>]) -> Record {
        let mut bytes = Vec::new();
        encode(0, aor, contacts, &mut bytes);
        Record { bytes }
    }

    /// The address of record.
    pub fn aor(&self) -> &[u8] {
        head(&self.bytes).map_or(b"", |h| h.aor)
    }

    /// Number of the location table.
    pub fn table(&self) -> u8 {
        head(&self.bytes).map_or(0, |h| h.table)
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many contacts there are, those that have ended included.
    pub fn count(&self) -> usize {
        head(&self.bytes).map_or(0, |h| h.count)
    }

    /// The contacts in order of preference, those that have ended included.
    pub fn contacts(&self) -> Contacts<'_> {
        Contacts(head(&self.bytes).map_or(&[], |h| h.contacts))
    }

    /// The contacts that have not ended at `now`.
    pub fn valid(&self, now: i64) -> impl Iterator<Item = Contact<'_>> {
        self.contacts().filter(move |c| c.is_valid(now))
    }
}

/// The contacts of a record.
#[derive(Debug, Clone)]
pub struct Contacts<'a>(&'a [u8]);

impl<'a> Iterator for Contacts<'a> {
    type Item = Contact<'a>;

    fn next(&mut self) -> Option<Contact<'a>> {
        Contact::decode(&mut self.0)
    }
}

/// The start of a record.
pub(crate) struct Head<'a> {
    pub table: u8,
    /// Earliest expiry of a contact, 0 for none.
    pub first_expiry: i64,
    pub aor: &'a [u8],
    /// How many contacts there are.
    pub count: usize,
    pub contacts: &'a [u8],
}

pub(crate) fn head(mut bytes: &[u8]) -> Option<Head<'_>> {
    let r = &mut bytes;
    let (&table, rest) = r.split_first()?;
    *r = rest;
    let first_expiry = get(r)? as i64;
    let aor = text(r)?;
    let count = get(r)? as usize;
    Some(Head {
        table,
        first_expiry,
        aor,
        count,
        contacts: r,
    })
}

/// The contacts of a record that is still locked.
pub(crate) fn contacts_of<'a>(h: &Head<'a>) -> Contacts<'a> {
    Contacts(h.contacts)
}

/// Writes a record.
pub(crate) fn encode(table: u8, aor: &[u8], contacts: &[Contact<'_>], out: &mut Vec<u8>) {
    out.push(table);
    let first = contacts
        .iter()
        .filter(|c| c.expires > 0)
        .map(|c| c.expires)
        .min();
    put(out, first.unwrap_or(0).max(0) as u64);
    put(out, aor.len() as u64);
    out.extend_from_slice(aor);
    put(out, contacts.len() as u64);
    contacts.iter().for_each(|c| c.encode(out));
}

fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[inline]
fn get(r: &mut &[u8]) -> Option<u64> {
    // Most numbers take one byte.
    if let Some((&b, rest)) = r.split_first()
        && b < 0x80
    {
        *r = rest;
        return Some(u64::from(b));
    }
    get_long(r)
}

fn get_long(r: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (&b, rest) = r.split_first()?;
        *r = rest;
        n |= u64::from(b & 0x7f) << shift;
        if b & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[inline]
fn text<'a>(r: &mut &'a [u8]) -> Option<&'a [u8]> {
    let n = get(r)? as usize;
    let (head, tail) = r.split_at_checked(n)?;
    *r = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_round_trips(
            aor in proptest::collection::vec(any::<u8>(), 0..40),
            uri in proptest::collection::vec(any::<u8>(), 0..300),
            numbers in (any::<u32>(), any::<u32>(), any::<u32>(), -1i16..=1000, any::<u16>()),
        ) {
            let (cseq, methods, flags, q, socket) = numbers;
            let one = Contact { uri: &uri, cseq, methods, flags, q, expires: 7, modified: 1 << 33,
                socket: (socket < u16::MAX).then_some(SocketId(socket)),
                conn: ConnId::from_bits(u64::from(cseq) << 8), ruid: b"r", ..Contact::default() };
            let two = Contact { path: &uri, expires: 5, ..Contact::default() };
            let mut bytes = Vec::new();
            encode(3, &aor, &[one.clone(), two.clone()], &mut bytes);
            let record = Record { bytes };
            prop_assert_eq!(record.aor(), aor.as_slice());
            prop_assert_eq!(record.table(), 3);
            prop_assert_eq!(head(&record.bytes).unwrap().first_expiry, 5);
            prop_assert_eq!(record.contacts().collect::<Vec<_>>(), vec![one, two]);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let record = Record { bytes };
            let _ = (record.aor().len(), record.contacts().count());
        }
    }
}
