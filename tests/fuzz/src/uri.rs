//! URIs: the parts lie in the text, in order, and setting a part to what it is changes nothing.
//! The input is one URI a line, at most two; comparing them must not depend on which comes first.

use crate::{place, show};
use olelo_sip::uri::{escape_param, escape_user, unescape};
use olelo_sip::{Scheme, Uri, UriBuf};

/// See the file's essay.
pub fn target(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |b| *b == b'\n');
    let (first, second) = (lines.next().unwrap_or_default(), lines.next());
    for text in [escape_user(bytes), escape_param(bytes)] {
        assert_eq!(unescape(&text), bytes, "escaping is undone by unescaping");
    }
    let Ok(a) = Uri::parse(first) else {
        assert!(
            UriBuf::parse(first).is_err(),
            "both read the same texts: {}",
            show(first)
        );
        return;
    };
    parts(first, &a);
    setters(first, &a);
    if let Some(Ok(b)) = second.map(Uri::parse) {
        assert_eq!(
            a.equals(&b),
            b.equals(&a),
            "{} and {}",
            show(first),
            show(b.text)
        );
    }
}

fn parts(text: &[u8], u: &Uri<'_>) {
    assert_eq!(u.text, text);
    let mut at = 0;
    let in_order = [
        u.user.unwrap_or_default(),
        u.password.unwrap_or_default(),
        u.host,
        u.params,
        u.headers,
    ];
    for part in in_order.into_iter().filter(|p| !p.is_empty()) {
        let p = place(text, part);
        assert!(at <= p.start, "parts overlap in {}", show(text));
        at = p.end;
    }
    assert!(u.equals(u), "{} equals itself", show(text));
    for (name, value) in u.headers() {
        place(text, name);
        place(text, value);
    }
    for p in u.params().iter().chain(u.user_params().iter()) {
        place(text, p.name);
    }
    if let Some(ip) = u.host_ip() {
        assert_ne!(
            u.host_kind(),
            olelo_sip::HostKind::Name,
            "{ip} of {}",
            show(text)
        );
    }
    let (loose, strict) = (u.aor(true), u.aor(false));
    assert!(loose.eq_ignore_ascii_case(&strict), "{}", show(text));
    let _ = (
        u.lr(),
        u.ob(),
        u.gr(),
        u.maddr(),
        u.r2(),
        u.effective_port(),
    );
}

/// Each setter writes what it was given, and leaves the rest.
fn setters(text: &[u8], u: &Uri<'_>) {
    let fresh = || UriBuf::parse(text).expect("it has just been read");
    if let Some(user) = u.user {
        let mut same = fresh();
        if same.set_user(user).is_ok() {
            let now = same.uri().expect("what a setter leaves reads");
            assert_eq!((now.user, now.host), (u.user, u.host), "{}", show(text));
        }
    }
    if !matches!(u.scheme, Scheme::Sip | Scheme::Sips) {
        // The others have no host, port or parameters that could be told from the rest.
        return;
    }
    let mut with = fresh();
    if with.set_param(b"x-fuzz", Some(b"1")).is_ok() {
        let now = with.uri().expect("what a setter leaves reads");
        assert_eq!(
            now.param(b"x-fuzz"),
            Some(&b"1"[..]),
            "{}",
            show(with.as_bytes())
        );
        assert_eq!((now.user, now.host, now.port), (u.user, u.host, u.port));
        assert_eq!(now.headers, u.headers, "{}", show(with.as_bytes()));
        with.remove_param(b"x-fuzz")
            .expect("a parameter that is there goes");
        let now = with.uri().expect("what a setter leaves reads");
        assert_eq!(now.param(b"x-fuzz"), None, "{}", show(with.as_bytes()));
    }
    let mut moved = fresh();
    if moved.set_port(Some(5099)).is_ok() {
        let now = moved.uri().expect("what a setter leaves reads");
        assert_eq!((now.port, now.host), (Some(5099), u.host), "{}", show(text));
    }
    for n in [0, 1, u.user.map_or(0, <[u8]>::len)] {
        let mut short = fresh();
        if short.strip(n).is_ok() {
            let _ = short.uri().expect("what a setter leaves reads");
        }
        let mut short = fresh();
        if short.strip_tail(n).is_ok() {
            let _ = short.uri().expect("what a setter leaves reads");
        }
    }
}
