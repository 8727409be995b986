//! BINRPC version 1: the binary protocol that `kamcmd` and other existing tools speak.
//!
//! A packet is a header and a sequence of records.
//!
//! | bytes | header |
//! |---|---|
//! | 1 | magic `0xA` and version 1, a nibble each |
//! | 1 | type (0 request, 1 reply, 3 fault), then two bits each: size of the length and of the cookie, less one |
//! | 1–4 | length of what follows the header |
//! | 1–4 | cookie: the reply carries the request's |
//!
//! A record begins with a byte of flag, size (3 bits), type (4 bits). With the flag clear, `size`
//! bytes of value follow; with it set, `size` bytes that are the value's length, then the value.
//! Types: 0 integer, 1 text (ends with NUL), 2 decimal number (times 1000), 3 structure and 4 array
//! (an opening record, then the content, then the same with the flag set), 5 member name, 6 bytes.
//!
//! Integers are 32 bits to existing tools: what does not fit is sent as text, so that an operator
//! reads the right number. Decoding is for bytes from anywhere: sizes and nesting are bounded, and
//! nothing panics. Written from observed packets.

use crate::value::Value;

/// A packet, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// Chosen by the client, repeated by the server.
    pub cookie: u32,
    /// What it says.
    pub body: Body,
}

/// The content of a packet.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A command with its arguments.
    Request(String, Vec<Value>),
    /// The values a command answered with.
    Reply(Vec<Value>),
    /// A failure: code (as of SIP) and reason.
    Fault(i64, String),
}

/// Why bytes are no BINRPC packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BinrpcError {
    /// The first byte is not `0xA1`.
    #[error("not BINRPC version 1: the packet begins with {0:#04x} instead of 0xa1")]
    NotBinrpc(u8),
    /// An unknown packet type.
    #[error("BINRPC packet type {0} is unknown")]
    PacketType(u8),
    /// Longer than the limit given.
    #[error("BINRPC packet of {size} bytes; at most {limit} are taken")]
    TooLong {
        /// Its length, bytes.
        size: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// A record that does not fit its packet, or is out of place.
    #[error("bad BINRPC record at byte {0} of the packet's body")]
    BadRecord(usize),
    /// Structures in structures, too many.
    #[error("BINRPC structures nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// The largest request a server should take, bytes.
pub const MAX_REQUEST: usize = 64 << 10;

/// Decodes the packet at the front of `bytes` and says how long it was; `None` when more bytes are
/// needed (a stream). A datagram must be one whole packet.
pub fn decode(bytes: &[u8], limit: usize) -> Result<Option<(Packet, usize)>, BinrpcError> {
    let [magic, rest @ ..] = bytes else {
        return Ok(None);
    };
    if *magic != MAGIC {
        return Err(BinrpcError::NotBinrpc(*magic));
    }
    let [flags, rest @ ..] = rest else {
        return Ok(None);
    };
    let (len_size, cookie_size) = (usize::from(flags >> 2 & 3) + 1, usize::from(flags & 3) + 1);
    let Some((len, rest)) = rest.split_at_checked(len_size) else {
        return Ok(None);
    };
    let len = unsigned(len) as usize;
    if len > limit {
        return Err(BinrpcError::TooLong { size: len, limit });
    }
    let Some((cookie, rest)) = rest.split_at_checked(cookie_size) else {
        return Ok(None);
    };
    let Some(content) = rest.get(..len) else {
        return Ok(None);
    };
    let mut values = Reader {
        bytes: content,
        at: 0,
    }
    .values()?
    .into_iter();
    let body = match flags >> 4 {
        REQUEST => match values.next() {
            Some(Value::Str(method)) => Body::Request(method, values.collect()),
            _ => return Err(BinrpcError::BadRecord(0)),
        },
        REPLY => Body::Reply(values.collect()),
        // A code beyond 32 bits was written as text.
        FAULT => match (values.next().and_then(|c| c.as_int()), values.next()) {
            (Some(code), Some(Value::Str(reason))) => Body::Fault(code, reason),
            _ => return Err(BinrpcError::BadRecord(0)),
        },
        other => return Err(BinrpcError::PacketType(other)),
    };
    let packet = Packet {
        cookie: unsigned(cookie) as u32,
        body,
    };
    Ok(Some((packet, 2 + len_size + cookie_size + len)))
}

/// Encodes a packet.
pub fn encode(packet: &Packet) -> Vec<u8> {
    let mut content = Vec::new();
    let kind = match &packet.body {
        Body::Request(method, args) => {
            put_bytes(&mut content, STR, method.as_bytes(), true);
            args.iter().for_each(|value| put(&mut content, value));
            REQUEST
        }
        Body::Reply(values) => {
            values.iter().for_each(|value| put(&mut content, value));
            REPLY
        }
        Body::Fault(code, reason) => {
            put(&mut content, &Value::Int(*code));
            put_bytes(&mut content, STR, reason.as_bytes(), true);
            FAULT
        }
    };
    let len = minimal(content.len() as u64);
    let len = if len.is_empty() { vec![0] } else { len };
    let mut out = vec![MAGIC, kind << 4 | ((len.len() - 1) as u8) << 2 | 3];
    out.extend(len);
    out.extend(packet.cookie.to_be_bytes());
    out.append(&mut content);
    out
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Int(number) => match i32::try_from(*number) {
            Ok(number) if number >= 0 => put_inline(out, INT, &minimal(number as u64)),
            Ok(number) => put_inline(out, INT, &number.to_be_bytes()),
            Err(_) => put_bytes(out, STR, number.to_string().as_bytes(), true),
        },
        Value::Double(number) => put_double(out, *number),
        Value::Str(text) => put_bytes(out, STR, text.as_bytes(), true),
        Value::Array(values) => {
            out.push(ARRAY);
            values.iter().for_each(|value| put(out, value));
            out.push(END | ARRAY);
        }
        Value::Struct(members) => {
            out.push(STRUCT);
            for (name, value) in members {
                if !name.is_empty() {
                    put_bytes(out, NAME, name.as_bytes(), true);
                }
                put(out, value);
            }
            out.push(END | STRUCT);
        }
    }
}

/// Thousandths; a fourth byte's top bit is the sign, so large positive ones take five bytes.
fn put_double(out: &mut Vec<u8>, number: f64) {
    let thousandths = (number * 1000.0).round();
    if thousandths < 0.0 {
        put_inline(
            out,
            DOUBLE,
            &(thousandths.max(f64::from(i32::MIN)) as i32).to_be_bytes(),
        );
        return;
    }
    let mut bytes = minimal(thousandths.min((1_u64 << 52) as f64) as u64);
    if bytes.len() == 4 && bytes[0] & 0x80 != 0 {
        bytes.insert(0, 0);
    }
    put_inline(out, DOUBLE, &bytes);
}

fn put_inline(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.push((value.len() as u8) << 4 | kind);
    out.extend(value);
}

/// NULs inside would end the text early for C readers; they are left out.
fn put_bytes(out: &mut Vec<u8>, kind: u8, text: &[u8], terminate: bool) {
    let mut text: Vec<u8> = text.iter().copied().filter(|&byte| byte != 0).collect();
    if terminate {
        text.push(0);
    }
    if text.len() < 8 {
        return put_inline(out, kind, &text);
    }
    let len = minimal(text.len() as u64);
    out.push(LONG | (len.len() as u8) << 4 | kind);
    out.extend(len);
    out.append(&mut text);
}

/// Big-endian without leading zeros; nothing for zero.
fn minimal(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    bytes[number.leading_zeros() as usize / 8..].to_vec()
}

fn unsigned(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Four and eight bytes are two's complement, fewer are unsigned.
fn integer(bytes: &[u8]) -> i64 {
    match bytes.len() {
        4 => i64::from(unsigned(bytes) as i32),
        _ => unsigned(bytes) as i64,
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

enum Record {
    Value(Value),
    Name(String),
    OpenStruct,
    OpenArray,
    CloseStruct,
    CloseArray,
}

impl Reader<'_> {
    fn values(&mut self) -> Result<Vec<Value>, BinrpcError> {
        let mut values = Vec::new();
        while self.at < self.bytes.len() {
            let start = self.at;
            let record = self.record()?;
            values.push(self.value(record, start, 0)?);
        }
        Ok(values)
    }

    fn value(&mut self, record: Record, start: usize, depth: usize) -> Result<Value, BinrpcError> {
        if depth >= MAX_DEPTH {
            return Err(BinrpcError::TooDeep);
        }
        match record {
            Record::Value(value) => Ok(value),
            Record::OpenArray => {
                let mut values = Vec::new();
                loop {
                    let at = self.at;
                    match self.record()? {
                        Record::CloseArray => return Ok(Value::Array(values)),
                        other => values.push(self.value(other, at, depth + 1)?),
                    }
                }
            }
            Record::OpenStruct => {
                let mut members = Vec::new();
                loop {
                    let at = self.at;
                    match self.record()? {
                        Record::CloseStruct => return Ok(Value::Struct(members)),
                        Record::Name(name) => {
                            let at = self.at;
                            let record = self.record()?;
                            members.push((name, self.value(record, at, depth + 1)?));
                        }
                        // Servers nest structures without a name (`htable.dump`).
                        other => members.push((String::new(), self.value(other, at, depth + 1)?)),
                    }
                }
            }
            _ => Err(BinrpcError::BadRecord(start)),
        }
    }

    fn record(&mut self) -> Result<Record, BinrpcError> {
        let start = self.at;
        let bad = BinrpcError::BadRecord(start);
        let first = *self.bytes.get(start).ok_or(bad)?;
        self.at += 1;
        let (long, size, kind) = (first & LONG != 0, usize::from(first >> 4 & 7), first & 15);
        match (kind, long, size) {
            (STRUCT, false, _) => return Ok(Record::OpenStruct),
            (ARRAY, false, _) => return Ok(Record::OpenArray),
            (STRUCT, true, _) => return Ok(Record::CloseStruct),
            (ARRAY, true, _) => return Ok(Record::CloseArray),
            _ => {}
        }
        let size = if long {
            unsigned(self.take(size).ok_or(bad)?) as usize
        } else {
            size
        };
        let value = self.take(size).ok_or(bad)?;
        match kind {
            INT if size <= 8 => Ok(Record::Value(Value::Int(integer(value)))),
            DOUBLE if size <= 8 => Ok(Record::Value(Value::Double(integer(value) as f64 / 1000.0))),
            STR | BYTES => Ok(Record::Value(Value::Str(text(value)))),
            NAME => Ok(Record::Name(text(value))),
            _ => Err(bad),
        }
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

const MAGIC: u8 = 0xa1;
const REQUEST: u8 = 0;
const REPLY: u8 = 1;
const FAULT: u8 = 3;
const INT: u8 = 0;
const STR: u8 = 1;
const DOUBLE: u8 = 2;
const STRUCT: u8 = 3;
const ARRAY: u8 = 4;
const NAME: u8 = 5;
const BYTES: u8 = 6;
const LONG: u8 = 0x80;
const END: u8 = 0x80;
const MAX_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    fn members(members: &[(&str, Value)]) -> Value {
        Value::Struct(
            members
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        )
    }

    fn packet(cookie: u32, body: Body) -> Packet {
        Packet { cookie, body }
    }

    /// As existing tools and servers put them on the wire.
    #[test]
    fn packets_as_seen_on_the_wire() {
        let table = [
            (
                "a1 03 0f 76 e3 a2 dd 91 0d 63 6f 72 65 2e 76 65 72 73 69 6f 6e 00",
                packet(0x76e3_a2dd, Body::Request("core.version".into(), vec![])),
            ),
            (
                "a1 03 16 13 00 79 a7 91 0c 68 74 61 62 6c 65 2e 73 65 74 69 00 21 61 00 21 6e 00 10 05",
                packet(
                    0x1300_79a7,
                    Body::Request(
                        "htable.seti".into(),
                        vec!["a".into(), "n".into(), Value::Int(5)],
                    ),
                ),
            ),
            (
                "a1 13 4f 2f 59 f0 ee 03 65 74 6f 74 61 6c 00 40 01 00 00 00 55 66 72 65 65 00 30 f6 82 e0 \
                 55 75 73 65 64 00 30 05 d1 70 95 0a 72 65 61 6c 5f 75 73 65 64 00 30 09 7d 20 95 09 6d 61 78 5f \
                 75 73 65 64 00 30 09 7d 20 95 0a 66 72 61 67 6d 65 6e 74 73 00 10 01 83",
                packet(
                    0x2f59_f0ee,
                    Body::Reply(vec![members(&[
                        ("total", Value::Int(16_777_216)),
                        ("free", Value::Int(16_155_360)),
                        ("used", Value::Int(381_296)),
                        ("real_used", Value::Int(621_856)),
                        ("max_used", Value::Int(621_856)),
                        ("fragments", Value::Int(1)),
                    ])]),
                ),
            ),
            (
                "a1 33 19 42 59 bc d7 20 01 f4 91 14 4e 6f 74 20 49 6d 70 6c 65 6d 65 6e 74 65 64 20 59 65 74 00",
                packet(0x4259_bcd7, Body::Fault(500, "Not Implemented Yet".into())),
            ),
        ];
        for (wire, packet) in table {
            let wire = hex(wire);
            assert_eq!(
                decode(&wire, MAX_REQUEST).unwrap().unwrap(),
                (packet.clone(), wire.len())
            );
            assert_eq!(encode(&packet), wire);
        }
    }

    #[test]
    fn long_and_far_packets() {
        let table = [
            Value::Int(i64::from(i32::MIN)),
            Value::Int(-7),
            Value::Int(i64::from(i32::MAX)),
            Value::Double(-1.25),
            Value::Double(3_000_000.5),
            Value::Str("x".repeat(70_000)),
        ];
        for value in table {
            let packet = Packet {
                cookie: 1,
                body: Body::Reply(vec![value]),
            };
            let wire = encode(&packet);
            assert_eq!(
                decode(&wire, 1 << 20).unwrap().unwrap(),
                (packet, wire.len())
            );
        }
        let large = encode(&Packet {
            cookie: 1,
            body: Body::Reply(vec![Value::Int(1 << 40)]),
        });
        let (decoded, _) = decode(&large, 100).unwrap().unwrap();
        assert_eq!(decoded.body, Body::Reply(vec!["1099511627776".into()]));
        let mut deep = vec![MAGIC, REPLY << 4 | 3, 200, 0, 0, 0, 0];
        deep.extend([ARRAY; 200]);
        assert_eq!(decode(&deep, 1000), Err(BinrpcError::TooDeep));
        assert!(matches!(
            decode(&deep, 100),
            Err(BinrpcError::TooLong {
                size: 200,
                limit: 100
            })
        ));
        assert_eq!(decode(b"GET /", 100), Err(BinrpcError::NotBinrpc(b'G')));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(|number| Value::Int(number.into())),
            (-2_000_000_i32..2_000_000).prop_map(|number| Value::Double(f64::from(number) / 8.0)),
            "[a-zA-Z0-9 äß@:;=]{0,40}".prop_map(Value::Str),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                proptest::collection::vec(("[a-z_]{0,12}", inner), 0..6).prop_map(Value::Struct),
            ]
        })
    }

    fn body() -> impl Strategy<Value = Body> {
        let values = || proptest::collection::vec(value(), 0..5);
        prop_oneof![
            ("[a-z.]{1,20}", values()).prop_map(|(method, args)| Body::Request(method, args)),
            values().prop_map(Body::Reply),
            (100_i64..700, "[a-z ]{0,30}").prop_map(|(code, reason)| Body::Fault(code, reason)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(cookie: u32, body in body()) {
            let packet = Packet { cookie, body };
            let mut wire = encode(&packet);
            for cut in 0..wire.len().min(12) {
                prop_assert_eq!(decode(&wire[..cut], 1 << 20), Ok(None));
            }
            let len = wire.len();
            wire.push(MAGIC);
            prop_assert_eq!(decode(&wire, 1 << 20), Ok(Some((packet, len))));
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes, MAX_REQUEST);
            let len = bytes.len();
            if len > 8 {
                bytes[..3].copy_from_slice(&[MAGIC, REPLY << 4 | 3, (len - 7) as u8]);
                let _ = decode(&bytes, MAX_REQUEST);
            }
        }
    }
}
