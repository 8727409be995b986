//! Authentication as a table: request, password, what scripts see.

use super::*;
use olelo_sip::digest::{ResponseInput, response};
use std::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::new(());

/// Parameters are statics: tests that set them take turns.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    let guard = TURN.lock().unwrap_or_else(|e| e.into_inner());
    olelo_core::server::for_tests(vec![module()]);
    let _ = nonce::init();
    guard
}

fn request(method: &str, headers: &str) -> Ctx {
    let mut ctx = Ctx::new();
    ctx.msg.buf_mut().extend_from_slice(
        format!(
            "{method} sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:alice@example.org>;tag=1\r\nTo: <sip:alice@example.org>\r\nCall-ID: c\r\n\
             CSeq: 1 {method}\r\n{headers}\r\n"
        )
        .as_bytes(),
    );
    ctx.msg.parse().unwrap();
    ctx
}

fn answer(method: &str, user: &str, password: &str, nonce: &str, algorithm: Algorithm) -> String {
    let secret = ha1(
        algorithm,
        user.as_bytes(),
        b"example.org",
        password.as_bytes(),
    );
    let r = response(&ResponseInput {
        algorithm,
        ha1: &secret,
        nonce: nonce.as_bytes(),
        nc: b"00000001",
        cnonce: b"abc",
        qop: olelo_sip::Qop::Auth,
        method: method.as_bytes(),
        uri: b"sip:example.org",
        body: b"",
    });
    format!(
        "Digest username=\"{user}\", realm=\"example.org\", nonce=\"{nonce}\", uri=\"sip:example.org\", \
         response=\"{r}\", algorithm={}, qop=auth, cnonce=\"abc\", nc=00000001",
        algorithm.as_str()
    )
}

#[test]
fn passwords_are_checked() {
    let _turn = turn();
    let nonce = nonce::make(&request("REGISTER", ""));
    let right = answer("REGISTER", "alice", "secret", &nonce, Algorithm::Md5);
    let other = answer("REGISTER", "bob", "secret", &nonce, Algorithm::Md5);
    let forged = answer("REGISTER", "alice", "secret", "AAAA", Algorithm::Md5);
    let sha = answer("REGISTER", "alice", "secret", &nonce, Algorithm::Sha256);
    for (what, value, password, want) in [
        ("right", &right, "secret", 1),
        ("wrong password", &right, "other", -2),
        ("no credentials", &String::new(), "secret", -5),
        ("a nonce that is not ours", &forged, "secret", -4),
        ("another user", &other, "secret", -8),
        ("an algorithm not asked for", &sha, "secret", -1),
        (
            "incomplete",
            &"Digest realm=\"example.org\", nonce=\"x\"".to_string(),
            "secret",
            -1,
        ),
    ] {
        let header = match value.is_empty() {
            true => String::new(),
            false => format!("Authorization: {value}\r\n"),
        };
        let mut ctx = request("REGISTER", &header);
        let code = pv_auth_check(&mut ctx, b"example.org", password.as_bytes(), 0, 1);
        assert_eq!(code, want, "{what}");
    }
    let secret = ha1(Algorithm::Md5, b"alice", b"example.org", b"secret");
    let mut ctx = request("REGISTER", &format!("Authorization: {right}\r\n"));
    assert_eq!(
        authenticate(
            &mut ctx,
            Kind::Www,
            b"example.org",
            secret.as_bytes(),
            1,
            None
        ),
        1
    );
    assert_eq!(consume(&mut ctx), 1);
    let mut out = Vec::new();
    ctx.edits.apply(&ctx.msg, &mut out);
    assert!(!String::from_utf8(out).unwrap().contains("Authorization"));
    let mut ctx = request("REGISTER", &format!("Authorization: {sha}\r\n"));
    set_algorithm(&mut ctx, b"SHA-256");
    assert_eq!(
        authenticate(&mut ctx, Kind::Www, b"example.org", b"secret", 0, None),
        1
    );
}

#[test]
fn what_cannot_be_challenged_passes() {
    let _turn = turn();
    let mut ctx = request("ACK", "");
    assert_eq!(pv_auth_check(&mut ctx, b"example.org", b"x", 0, 1), 1);
    assert_eq!(pv_auth_check(&mut ctx, b"", b"x", 0, 1), -1);
}

#[test]
fn challenges_say_what_is_asked_for() {
    let _turn = turn();
    let mut ctx = request("INVITE", "");
    let text = |v: Vec<u8>| String::from_utf8(v).unwrap();
    let plain = text(challenge_value(&ctx, b"r\"x", None, false));
    assert!(
        plain.starts_with("Digest realm=\"rx\", nonce=\"") && !plain.contains("qop"),
        "{plain}"
    );
    let full = text(challenge_value(&ctx, b"r", Some("auth"), true));
    assert!(full.ends_with("\", qop=\"auth\", stale=true"), "{full}");
    set_algorithm(&mut ctx, b"sha-256");
    assert!(text(challenge_value(&ctx, b"r", None, false)).ends_with(", algorithm=SHA-256"));
    assert_eq!(set_algorithm(&mut ctx, b"rot13"), -1);
    assert_eq!(authenticate(&mut ctx, Kind::Proxy, b"r", b"p", 4, None), -5);
    let avp = ctx.avps.avp.get(b"digest_challenge", 0);
    assert!(matches!(avp, Some(AvpVal::Str(s)) if s.starts_with(b"Proxy-Authenticate: Digest ")));
}
