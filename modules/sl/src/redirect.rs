//! The Contact of a 3xx: the destination set that routing has made (RFC 3261 §8.1.3.4).

use olelo_core::route::ctx::{Branch, Ctx};

/// Branch flags go along.
const FLAGS: i64 = 1;
/// The path goes along.
const PATH: i64 = 2;

/// The `Contact:` line, or nothing where the destination set is empty. The request URI belongs to
/// the set where routing changed it. `rich` adds branch flags (1) and the path (2).
pub fn contacts(ctx: &Ctx, rich: i64) -> Vec<u8> {
    let own = ctx.new_uri.as_ref().map(|uri| Branch {
        uri: uri.clone(),
        q: ctx.ruri_q,
        flags: ctx.bflags,
        path: ctx.path.clone().unwrap_or_default(),
        ..Branch::default()
    });
    let mut line = Vec::new();
    for b in own.iter().chain(&ctx.branches) {
        line.extend_from_slice(if line.is_empty() { b"Contact: " } else { b", " });
        line.push(b'<');
        line.extend_from_slice(&b.uri);
        if rich & PATH != 0 && !b.path.is_empty() {
            line.extend_from_slice(b"?Route=");
            line.extend_from_slice(&olelo_sip::uri::escape_param(&b.path));
        }
        line.push(b'>');
        if b.q >= 0 {
            line.extend_from_slice(q_text(b.q).as_bytes());
        }
        if rich & FLAGS != 0 && b.flags != 0 {
            line.extend_from_slice(format!(";flags={}", b.flags).as_bytes());
        }
    }
    if !line.is_empty() {
        line.extend_from_slice(b"\r\n");
    }
    line
}

fn q_text(q: i16) -> String {
    if q >= 1000 {
        return ";q=1".into();
    }
    let digits = format!("{q:03}");
    let short = digits.trim_end_matches('0');
    match short {
        "" => ";q=0".into(),
        d => format!(";q=0.{d}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destination_set_becomes_contacts() {
        let mut ctx = Ctx::new();
        assert!(contacts(&ctx, 0).is_empty());
        ctx.new_uri = Some(b"sip:a@h".to_vec());
        ctx.branches.push(Branch {
            uri: b"sip:b@h".to_vec(),
            q: 500,
            flags: 5,
            ..Branch::default()
        });
        ctx.ruri_q = 1000;
        assert_eq!(
            String::from_utf8(contacts(&ctx, 1)).unwrap(),
            "Contact: <sip:a@h>;q=1, <sip:b@h>;q=0.5;flags=5\r\n"
        );
    }

    #[test]
    fn preferences_print_short() {
        for (q, text) in [
            (0, ";q=0"),
            (10, ";q=0.01"),
            (700, ";q=0.7"),
            (1000, ";q=1"),
        ] {
            assert_eq!(q_text(q), text);
        }
    }
}
