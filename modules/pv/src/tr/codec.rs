//! `{s.encode.…}`, `{s.escape.…}`, hashes, `{urlencode}`: text to text by rule.

use super::{Row, arg, class, int, number, text};
use base64::Engine;
use base64::engine::general_purpose::{
    GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD,
};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use md5::{Digest, Md5};
use olelo_core::pv::Transformation;
use olelo_core::route::value::Val;
use olelo_sip::uri::{escape_param, escape_user, unescape};

pub(crate) fn all() -> Vec<Transformation> {
    let mut v = class("s", hashes());
    v.extend(class("s", codes()));
    v.extend(class("s", escapes()));
    v
}

fn hashes() -> Vec<Row> {
    vec![
        (
            "md5",
            0,
            0,
            |_, v, _| text(&v, |b| hex(&Md5::digest(b))),
            "MD5 in hexadecimal.",
        ),
        (
            "sha1",
            0,
            0,
            |_, v, _| text(&v, |b| hex(&sha1::Sha1::digest(b))),
            "SHA-1 in hexadecimal.",
        ),
        (
            "sha256",
            0,
            0,
            |_, v, _| text(&v, |b| hex(&sha2::Sha256::digest(b))),
            "SHA-256 in hexadecimal.",
        ),
        (
            "sha384",
            0,
            0,
            |_, v, _| text(&v, |b| hex(&sha2::Sha384::digest(b))),
            "SHA-384 in hexadecimal.",
        ),
        (
            "sha512",
            0,
            0,
            |_, v, _| text(&v, |b| hex(&sha2::Sha512::digest(b))),
            "SHA-512 in hexadecimal.",
        ),
        (
            "crc32",
            0,
            0,
            |_, v, _| number(&v, |b| i64::from(crc32(b))),
            "CRC-32.",
        ),
        (
            "corehash",
            0,
            1,
            |_, v, a| {
                text(&v, |b| {
                    let size = int(a, 0).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
                    let h = core_hash(b);
                    let h = if size > 0 { h & (size - 1) } else { h };
                    h.to_string().into_bytes()
                })
            },
            "`size`: the hash that tables use, below size, a power of two, where given.",
        ),
    ]
}

fn codes() -> Vec<Row> {
    vec![
        (
            "encode.hexa",
            0,
            0,
            |_, v, _| text(&v, hex),
            "In hexadecimal.",
        ),
        (
            "decode.hexa",
            0,
            0,
            |_, v, _| decoded(&v, unhex),
            "From hexadecimal.",
        ),
        (
            "encode.7bit",
            0,
            0,
            |_, v, _| text(&v, |b| hex_upper(&pack7(b))),
            "Packed to seven bits a character, in hexadecimal.",
        ),
        (
            "decode.7bit",
            0,
            0,
            |_, v, _| decoded(&v, |b| unhex(b).map(|b| unpack7(&b))),
            "Unpacked from seven bits a character.",
        ),
        (
            "encode.base58",
            0,
            0,
            |_, v, _| text(&v, base58),
            "In base 58.",
        ),
        (
            "decode.base58",
            0,
            0,
            |_, v, _| decoded(&v, unbase58),
            "From base 58.",
        ),
        (
            "encode.base64",
            0,
            0,
            |_, v, _| text(&v, |b| STANDARD.encode(b).into_bytes()),
            "In base 64.",
        ),
        (
            "decode.base64",
            0,
            0,
            |_, v, _| {
                decoded(&v, |b| {
                    let padded = b.len() % 4 == 0;
                    padded.then(|| any(&base64::alphabet::STANDARD).decode(b).ok())?
                })
            },
            "From base 64.",
        ),
        (
            "encode.base64t",
            0,
            0,
            |_, v, _| text(&v, |b| STANDARD_NO_PAD.encode(b).into_bytes()),
            "In base 64 without padding.",
        ),
        (
            "decode.base64t",
            0,
            0,
            |_, v, _| decoded(&v, |b| any(&base64::alphabet::STANDARD).decode(b).ok()),
            "From base 64 without padding.",
        ),
        (
            "encode.base64url",
            0,
            0,
            |_, v, _| text(&v, |b| URL_SAFE.encode(b).into_bytes()),
            "In base 64 for URLs.",
        ),
        (
            "decode.base64url",
            0,
            0,
            |_, v, _| decoded(&v, unbase64url),
            "From base 64 for URLs.",
        ),
        (
            "encode.base64urlt",
            0,
            0,
            |_, v, _| text(&v, |b| URL_SAFE_NO_PAD.encode(b).into_bytes()),
            "In base 64 for URLs without padding.",
        ),
        (
            "decode.base64urlt",
            0,
            0,
            |_, v, _| decoded(&v, unbase64url),
            "From base 64 for URLs without padding.",
        ),
    ]
}

fn escapes() -> Vec<Row> {
    vec![
        (
            "escape.common",
            0,
            0,
            |_, v, _| {
                text(&v, |b| {
                    escaped(b, |c| matches!(c, b'\'' | b'"' | b'\\' | 0))
                })
            },
            "Backslash before quotes and backslashes.",
        ),
        (
            "unescape.common",
            0,
            0,
            |_, v, _| text(&v, unescaped),
            "Without those backslashes.",
        ),
        (
            "escape.crlf",
            0,
            0,
            |_, v, _| {
                text(&v, |b| {
                    b.iter()
                        .flat_map(|c| match c {
                            b'\r' => b"\\r".to_vec(),
                            b'\n' => b"\\n".to_vec(),
                            c => vec![*c],
                        })
                        .collect()
                })
            },
            "Line ends as \\r and \\n.",
        ),
        (
            "unescape.crlf",
            0,
            0,
            |_, v, _| text(&v, uncrlf),
            "From \\r and \\n to line ends.",
        ),
        (
            "escape.user",
            0,
            0,
            |_, v, _| {
                decoded(&v, |b| {
                    escaped_for(b, |c| c != b'/' && escape_user(&[c]).len() == 1)
                })
            },
            "As the user of a URI.",
        ),
        (
            "unescape.user",
            0,
            0,
            |_, v, _| decoded(&v, unescaped_strictly),
            "From the user of a URI.",
        ),
        (
            "escape.param",
            0,
            0,
            |_, v, _| decoded(&v, |b| escaped_for(b, |c| escape_param(&[c]).len() == 1)),
            "As a parameter of a URI.",
        ),
        (
            "unescape.param",
            0,
            0,
            |_, v, _| decoded(&v, unescaped_strictly),
            "From a parameter of a URI.",
        ),
        (
            "escape.csv",
            0,
            0,
            |_, v, _| {
                text(&v, |b| {
                    [b"\"", replaced_quotes(b).as_slice(), b"\""].concat()
                })
            },
            "As a field of CSV.",
        ),
        (
            "urlencode.param",
            0,
            0,
            |_, v, _| text(&v, urlencode),
            "As a parameter of a URL.",
        ),
        (
            "urldecode.param",
            0,
            0,
            |_, v, _| {
                text(&v, |b| {
                    unescape(
                        &b.iter()
                            .map(|c| if *c == b'+' { b' ' } else { *c })
                            .collect::<Vec<_>>(),
                    )
                    .into_owned()
                })
            },
            "From a parameter of a URL.",
        ),
        (
            "sha3",
            0,
            1,
            |_, v, a| sha3(&v, &arg(a, 0), 0x06),
            "`size`: SHA-3 in hexadecimal, of 224, 256, 384 or 512 bits.",
        ),
        (
            "keccak",
            0,
            1,
            |_, v, a| sha3(&v, &arg(a, 0), 0x01),
            "`size`: Keccak in hexadecimal, of 224, 256, 384 or 512 bits.",
        ),
    ]
}

fn decoded<'c>(v: &Val<'c>, f: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Val<'c> {
    v.as_bytes()
        .and_then(|b| f(&b))
        .map_or(Val::Null, Val::owned)
}

/// A last character that is too little for a byte is left out.
fn unbase64url(b: &[u8]) -> Option<Vec<u8>> {
    let whole = if b.len() % 4 == 1 {
        b.len() - 1
    } else {
        b.len()
    };
    let out = any(&base64::alphabet::URL_SAFE).decode(&b[..whole]).ok()?;
    (!out.is_empty()).then_some(out)
}

fn any(alphabet: &base64::alphabet::Alphabet) -> GeneralPurpose {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, lenient)
}

fn hex(b: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    b.iter()
        .flat_map(|c| [DIGITS[usize::from(c >> 4)], DIGITS[usize::from(c & 15)]])
        .collect()
}

fn hex_upper(b: &[u8]) -> Vec<u8> {
    hex(b).to_ascii_uppercase()
}

/// A digit left over at the end is left out.
fn unhex(b: &[u8]) -> Option<Vec<u8>> {
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    b.chunks_exact(2)
        .map(|p| Some(digit(*p.first()?)? << 4 | digit(*p.get(1)?)?))
        .collect()
}

fn crc32(b: &[u8]) -> u32 {
    !b.iter().fold(!0u32, |crc, c| {
        (0..8).fold(crc ^ u32::from(*c), |c, _| {
            if c & 1 != 0 {
                (c >> 1) ^ 0xEDB8_8320
            } else {
                c >> 1
            }
        })
    })
}

/// The hash that scripts spread by; the same in every process and on every server, Kamailio's too.
/// The text is summed in words of four bytes, each mixed with itself shifted.
fn core_hash(b: &[u8]) -> u32 {
    let word = |w: &[u8]| {
        // Bytes count with their sign.
        let n = w
            .iter()
            .fold(0u32, |n, c| (n << 8).wrapping_add(*c as i8 as u32));
        n ^ n >> 3
    };
    let h = b.chunks(4).map(word).fold(0u32, u32::wrapping_add);
    h.wrapping_add(h >> 11)
        .wrapping_add(h >> 13)
        .wrapping_add(h >> 23)
}

/// GSM 03.38 packing: septets from the lowest bit on.
fn pack7(b: &[u8]) -> Vec<u8> {
    let (mut out, mut acc, mut bits) = (Vec::new(), 0u32, 0);
    for c in b {
        acc |= u32::from(*c) << bits;
        bits += 7;
        while bits >= 8 {
            out.push(acc as u8);
            acc >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        out.push(acc as u8);
    }
    out
}

fn unpack7(b: &[u8]) -> Vec<u8> {
    let (mut out, mut acc, mut bits) = (Vec::new(), 0u32, 0);
    for c in b {
        acc |= u32::from(*c) << bits;
        bits += 8;
        while bits >= 7 {
            out.push((acc & 0x7f) as u8);
            acc >>= 7;
            bits -= 7;
        }
    }
    out
}

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Base conversion costs the square of the length.
const BASE58_LONGEST: usize = 1024;

fn base58(b: &[u8]) -> Vec<u8> {
    let b = &b[..b.len().min(BASE58_LONGEST)];
    let zeros = b.iter().take_while(|c| **c == 0).count();
    let digits = rebase(&b[zeros..], 256, 58);
    let mut out = vec![BASE58[0]; zeros];
    out.extend(digits.iter().map(|d| BASE58[usize::from(*d)]));
    out
}

fn unbase58(b: &[u8]) -> Option<Vec<u8>> {
    if b.len() > 2 * BASE58_LONGEST {
        return None;
    }
    let zeros = b.iter().take_while(|c| **c == BASE58[0]).count();
    let digits: Option<Vec<u8>> = b[zeros..]
        .iter()
        .map(|c| BASE58.iter().position(|x| x == c).map(|p| p as u8))
        .collect();
    let mut out = vec![0; zeros];
    out.extend(rebase(&digits?, 58, 256));
    Some(out)
}

/// A number's digits in another base, most significant first.
fn rebase(digits: &[u8], from: u32, to: u32) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for d in digits {
        let mut carry = u32::from(*d);
        for o in &mut out {
            carry += u32::from(*o) * from;
            *o = (carry % to) as u8;
            carry /= to;
        }
        while carry > 0 {
            out.push((carry % to) as u8);
            carry /= to;
        }
    }
    out.reverse();
    out
}

fn escaped(b: &[u8], special: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(b.len() + 4);
    for c in b {
        if special(*c) {
            out.push(b'\\');
        }
        out.push(if *c == 0 { b'0' } else { *c });
    }
    out
}

fn unescaped(b: &[u8]) -> Vec<u8> {
    let (mut out, mut i) = (Vec::with_capacity(b.len()), 0);
    while i < b.len() {
        match (&b[i], b.get(i + 1)) {
            (b'\\', Some(b'0')) => {
                out.push(0);
                i += 2;
            }
            (b'\\', Some(c @ (b'\'' | b'"' | b'\\'))) => {
                out.push(*c);
                i += 2;
            }
            (c, _) => {
                out.push(*c);
                i += 1;
            }
        }
    }
    out
}

fn uncrlf(b: &[u8]) -> Vec<u8> {
    let (mut out, mut i) = (Vec::with_capacity(b.len()), 0);
    while i < b.len() {
        let (c, n) = match (&b[i], b.get(i + 1)) {
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            (c, _) => (*c, 1),
        };
        out.push(c);
        i += n;
    }
    out
}

/// Percent signs for all but the characters that may stand; null for what is no printable ASCII.
fn escaped_for(b: &[u8], may_stand: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(b.len() + 8);
    for c in b {
        match c {
            0..0x20 | 0x7f.. => return None,
            c if may_stand(*c) => out.push(*c),
            c => out.extend_from_slice(format!("%{c:02x}").as_bytes()),
        }
    }
    Some(out)
}

/// Undoes percent signs; null where one is followed by anything but two hexadecimal digits.
fn unescaped_strictly(b: &[u8]) -> Option<Vec<u8>> {
    let bad = b
        .iter()
        .enumerate()
        .filter(|(_, c)| **c == b'%')
        .any(|(i, _)| {
            let digits = b.get(i + 1..i + 3);
            !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit))
        });
    (!bad).then(|| unescape(b).into_owned())
}

fn replaced_quotes(b: &[u8]) -> Vec<u8> {
    b.iter()
        .flat_map(|c| {
            if *c == b'"' {
                b"\"\"".to_vec()
            } else {
                vec![*c]
            }
        })
        .collect()
}

fn urlencode(b: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(b.len() + 8);
    for c in b {
        match c {
            c if c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'~') => {
                out.push(*c)
            }
            c => out.extend_from_slice(format!("%{c:02x}").as_bytes()),
        }
    }
    out
}

/// The Keccak sponge (FIPS 202) with this padding, in hexadecimal.
fn sha3<'c>(v: &Val<'c>, size: &[u8], pad: u8) -> Val<'c> {
    let bits = match size {
        b"" | b"256" => 256,
        b"224" => 224,
        b"384" => 384,
        b"512" => 512,
        _ => return Val::Null,
    };
    text(v, |b| hex(&super::keccak::sponge(b, bits / 8, pad)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(name: &str, input: &str) -> String {
        let t = all()
            .into_iter()
            .find(|t| t.name == name)
            .unwrap_or_else(|| panic!("{name}"));
        let ctx = olelo_core::route::ctx::Ctx::new();
        let v = (t.run)(&ctx, Val::text(input), &[]);
        String::from_utf8_lossy(&v.as_bytes().unwrap_or_default()).into_owned()
    }

    #[test]
    fn known_answers() {
        for (name, input, want) in [
            ("md5", "abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("sha1", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                "sha256",
                "abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                "sha3",
                "abc",
                "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
            ),
            (
                "keccak",
                "abc",
                "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
            ),
            ("crc32", "123456789", "3421780262"),
            ("encode.base58", "hello world", "StV1DL6CwTryKyV"),
            ("encode.hexa", "Az", "417a"),
            ("escape.csv", "a\"b", "\"a\"\"b\""),
            ("urlencode.param", "a b&c", "a%20b%26c"),
            (
                "encode.7bit",
                "hello world, abc",
                "E8329BFD06DDDF723699050A8BC7",
            ),
        ] {
            assert_eq!(on(name, input), want, "{name}");
        }
    }

    #[test]
    fn decoding_undoes_encoding() {
        for (enc, dec) in [
            ("encode.hexa", "decode.hexa"),
            ("encode.7bit", "decode.7bit"),
            ("encode.base58", "decode.base58"),
            ("encode.base64", "decode.base64"),
            ("encode.base64t", "decode.base64t"),
            ("encode.base64url", "decode.base64url"),
            ("encode.base64urlt", "decode.base64urlt"),
            ("escape.common", "unescape.common"),
            ("escape.crlf", "unescape.crlf"),
            ("urlencode.param", "urldecode.param"),
        ] {
            let once = on(enc, "a\"b'c d\\+1\r\n");
            assert_eq!(on(dec, &once), "a\"b'c d\\+1\r\n", "{enc} gave {once}");
        }
        for (enc, dec) in [
            ("escape.user", "unescape.user"),
            ("escape.param", "unescape.param"),
        ] {
            let once = on(enc, "a\"b'c d\\+1/%");
            assert_eq!(on(dec, &once), "a\"b'c d\\+1/%", "{enc} gave {once}");
        }
    }
}
