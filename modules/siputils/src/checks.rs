//! Questions that are answered with yes or no.

use crate::{E164_MAX_LEN, yes};
use olelo_core::net::own;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{EVENT, Function, REQUEST, function};
use olelo_sip::{HeaderName, Uri, name_of};

pub(crate) fn functions() -> Vec<Function> {
    let mut v = message();
    v.extend(texts());
    v
}

fn message() -> Vec<Function> {
    vec![
        function("has_totag", |c: &mut Ctx| yes(c.msg.to_tag().is_some_and(|t| !t.is_empty()))).cfg("has_totag").doc("Whether To has a tag: the request is inside a dialog."),
        function("is_request", |c: &mut Ctx| yes(c.msg.is_request())).cfg("is_request").doc("Whether the message is a request."),
        function("is_reply", |c: &mut Ctx| yes(!c.msg.is_request())).cfg("is_reply").doc("Whether the message is a reply."),
        function("is_sip", |c: &mut Ctx| yes(c.msg.version().get(..4).is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/")))).cfg("is_sip").doc("Whether the message is SIP."),
        function("is_http", |c: &mut Ctx| yes(c.msg.version().get(..5).is_some_and(|v| v.eq_ignore_ascii_case(b"HTTP/")))).cfg("is_http").doc("Whether the message is HTTP."),
        function("is_first_hop", |c: &mut Ctx| yes(is_first_hop(c))).doc("Whether no other proxy stands between the sender and us."),
        function("is_first_hop_mode", |c: &mut Ctx, _m: i64| yes(is_first_hop(c))).args(["mode"]).doc("As is_first_hop."),
        function("is_first_hop_any", |c: &mut Ctx, _m: Option<i64>| yes(is_first_hop(c))).native_only().cfg("is_first_hop").args(["mode"]).doc("Whether no other proxy stands between the sender and us."),
        function("is_user", is_user).cfg("is_user").args(["user"]).routes(REQUEST | EVENT).doc("Whether the user in the credentials is this one."),
        function("is_gruu", |c: &mut Ctx| is_gruu(c.ruri())).doc("Whether the request URI is a GRUU: 1 public, 2 temporary."),
        function("is_gruu_any", |c: &mut Ctx, u: Option<&[u8]>| is_gruu(u.unwrap_or_else(|| c.ruri()))).native_only().cfg("is_gruu").args(["uri"]).doc("Whether a URI is a GRUU: 1 public, 2 temporary."),
        function("is_supported", |c: &mut Ctx, o: &[u8]| yes(c.msg.has_option_tag(HeaderName::Supported, o))).native_only().cfg("is_supported").args(["option"]).doc("Whether Supported has an option tag."),
        function("hdr_date_check", hdr_date_check).cfg("hdr_date_check").args(["seconds"]).doc("Whether Date is no more than this old: -2 for none, -3 for one that can't be read, -4 for too old."),
        function("sip_parse_headers", |c: &mut Ctx| yes(!c.msg.headers().is_empty())).cfg("sip_parse_headers").doc("Whether the headers can be read; they always are when the message arrives."),
    ]
}

fn texts() -> Vec<Function> {
    vec![
        function("is_tel_number", |_: &mut Ctx, t: &[u8]| {
            yes(is_tel_number(t))
        })
        .cfg("is_tel_number")
        .args(["text"])
        .doc("Whether a text is digits, with + before them or not."),
        function("is_numeric", |_: &mut Ctx, t: &[u8]| {
            yes(!t.is_empty() && t.iter().all(u8::is_ascii_digit))
        })
        .cfg("is_numeric")
        .args(["text"])
        .doc("Whether a text is digits."),
        function("is_alphanum", |_: &mut Ctx, t: &[u8]| {
            yes(!t.is_empty() && t.iter().all(u8::is_ascii_alphanumeric))
        })
        .cfg("is_alphanum")
        .args(["text"])
        .doc("Whether a text is letters and digits."),
        function("is_alphanumex", |_: &mut Ctx, t: &[u8], x: &[u8]| {
            yes(!t.is_empty() && t.iter().all(|b| b.is_ascii_alphanumeric() || x.contains(b)))
        })
        .cfg("is_alphanumex")
        .args(["text", "extra"])
        .doc("Whether a text is letters, digits and some more characters."),
        function("is_uri", |_: &mut Ctx, t: &[u8]| yes(Uri::parse(t).is_ok()))
            .cfg("is_uri")
            .args(["text"])
            .doc("Whether a text is a URI."),
        function("is_e164", |_: &mut Ctx, t: &[u8]| yes(is_e164(t)))
            .native_only()
            .cfg("is_e164")
            .args(["text"])
            .doc("Whether a text is an E.164 number: + and digits."),
        function("is_uri_user_e164", |_: &mut Ctx, t: &[u8]| {
            yes(Uri::parse(t)
                .ok()
                .and_then(|u| u.user_name())
                .is_some_and(is_e164))
        })
        .native_only()
        .cfg("is_uri_user_e164")
        .args(["uri"])
        .doc("Whether a URI's user is an E.164 number."),
        function("cmp_uri", |_: &mut Ctx, a: &[u8], b: &[u8]| {
            yes(cmp_uri(a, b))
        })
        .cfg("cmp_uri")
        .args(["one", "other"])
        .doc("Whether two URIs are equal (RFC 3261 §19.1.4)."),
        function("cmp_aor", |_: &mut Ctx, a: &[u8], b: &[u8]| {
            yes(cmp_aor(a, b))
        })
        .cfg("cmp_aor")
        .args(["one", "other"])
        .doc("Whether two URIs have the same user and host."),
        function("cmp_hdr_name", |_: &mut Ctx, a: &[u8], b: &[u8]| {
            yes(cmp_hdr_name(a, b))
        })
        .cfg("cmp_hdr_name")
        .args(["one", "other"])
        .doc("Whether two names are the same header, compact forms included."),
    ]
}

/// + and digits, or digits.
pub(crate) fn is_tel_number(t: &[u8]) -> bool {
    let digits = t.strip_prefix(b"+").unwrap_or(t);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// + and at least two digits.
pub(crate) fn is_e164(t: &[u8]) -> bool {
    let most = usize::try_from(E164_MAX_LEN.get()).unwrap_or(16);
    t.len() <= most
        && t.strip_prefix(b"+")
            .is_some_and(|d| d.len() >= 2 && d.iter().all(u8::is_ascii_digit))
}

fn cmp_uri(a: &[u8], b: &[u8]) -> bool {
    match (Uri::parse(a), Uri::parse(b)) {
        (Ok(a), Ok(b)) => a.equals(&b),
        _ => false,
    }
}

/// Same user and host, and port where both have one.
fn cmp_aor(a: &[u8], b: &[u8]) -> bool {
    match (Uri::parse(a), Uri::parse(b)) {
        (Ok(a), Ok(b)) => {
            a.user_name() == b.user_name()
                && a.host.eq_ignore_ascii_case(b.host)
                && a.effective_port() == b.effective_port()
        }
        _ => false,
    }
}

fn cmp_hdr_name(a: &[u8], b: &[u8]) -> bool {
    match (name_of(a), name_of(b)) {
        (HeaderName::Other, HeaderName::Other) => a.eq_ignore_ascii_case(b),
        (a, b) => a == b,
    }
}

/// A request that came straight from its sender has one Via; a reply that goes straight to the
/// sender's side has our Record-Route on top.
fn is_first_hop(ctx: &Ctx) -> bool {
    if ctx.msg.is_request() {
        return ctx.msg.vias().is_ok_and(|v| v.len() == 1);
    }
    match ctx.msg.record_routes() {
        Ok([]) => true,
        Ok([top, ..]) => {
            let uri = top.uri(ctx.msg.buf());
            uri.is_ok_and(|u| own::is_myself(u.host, u.port.unwrap_or(0), None))
        }
        Err(_) => false,
    }
}

fn is_user(ctx: &mut Ctx, user: &[u8]) -> i64 {
    let lists = [ctx.msg.authorizations(), ctx.msg.proxy_authorizations()];
    let found = lists.into_iter().flatten().flatten().find(|c| c.is_digest);
    yes(found.is_some_and(|c| c.username_parts(ctx.msg.buf()).0 == user))
}

fn is_gruu(uri: &[u8]) -> i64 {
    match Uri::parse(uri).ok().and_then(|u| u.gr()) {
        None => -1,
        Some([]) => 2,
        Some(_) => 1,
    }
}

fn hdr_date_check(ctx: &mut Ctx, seconds: i64) -> i64 {
    let Some(date) = ctx.msg.header_body(HeaderName::Date) else {
        return -2;
    };
    let text = String::from_utf8_lossy(date);
    let Ok(then) = chrono::DateTime::parse_from_rfc2822(&text.replace("GMT", "+0000")) else {
        return -3;
    };
    if olelo_core::timer::wall_s().saturating_sub(then.timestamp()) > seconds {
        -4
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_apart() {
        for (t, tel, e164) in [
            ("+4912345", true, true),
            ("12345", true, false),
            ("+", false, false),
            ("", false, false),
            ("12a", false, false),
            ("+1234567890123456789", true, false),
        ] {
            assert_eq!(is_tel_number(t.as_bytes()), tel, "{t}");
            assert_eq!(is_e164(t.as_bytes()), e164, "{t}");
        }
    }

    #[test]
    fn addresses_and_names_compare() {
        for (a, b, want) in [
            ("sip:a@H", "sip:a@h:5060;x=1", true),
            ("sip:a@h", "sip:b@h", false),
            ("sip:a@h", "sip:a@h:5070", false),
            ("x", "sip:a@h", false),
        ] {
            assert_eq!(cmp_aor(a.as_bytes(), b.as_bytes()), want, "{a} {b}");
        }
        assert!(cmp_hdr_name(b"f", b"FROM"));
        assert!(cmp_hdr_name(b"X-a", b"x-A"));
        assert!(!cmp_hdr_name(b"From", b"To"));
    }

    #[test]
    fn gruu_kinds() {
        assert_eq!(is_gruu(b"sip:a@h;gr=urn:uuid:1"), 1);
        assert_eq!(is_gruu(b"sip:a@h;gr"), 2);
        assert_eq!(is_gruu(b"sip:a@h"), -1);
    }

    #[test]
    fn a_tag_is_looked_for_in_to() {
        for (to, want) in [
            ("<sip:a@h>;tag=1", 1),
            ("<sip:a@h;tag=1>", -1),
            ("<sip:a@h>;tag=", -1),
        ] {
            let mut c = Ctx::new();
            c.msg
                .buf_mut()
                .extend_from_slice(format!("BYE sip:a@h SIP/2.0\r\nTo: {to}\r\n\r\n").as_bytes());
            c.msg.parse().unwrap();
            assert_eq!(
                yes(c.msg.to_tag().is_some_and(|t| !t.is_empty())),
                want,
                "{to}"
            );
        }
    }
}
