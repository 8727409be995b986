//! `auth`: digest authentication of requests (RFC 3261 §22, RFC 7616, RFC 8760).
//!
//! This file has challenges and checks with a password that the script gives; [`nonce`] makes and
//! checks nonces. Modules that know passwords elsewhere use [`find`], [`check_response`] and
//! [`authorized`].

#![forbid(unsafe_code)]

pub mod nonce;

use nonce::Check;
use olelo_core::net::reply::ReplyHeaders;
use olelo_core::pv::Spec;
use olelo_core::route::avp::AvpVal;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{FAILURE, ONREPLY, REQUEST, ScriptError, function};
use olelo_core::route::module::{IntParam, Module, StrParam, param_int, param_str};
use olelo_core::route::value::Val;
use olelo_sip::digest::ha1;
use olelo_sip::{Algorithm, Credentials, HeaderName, Method, Span};

static AUTH_CHECKS_REGISTER: IntParam = IntParam::new(0);
static AUTH_CHECKS_NO_DLG: IntParam = IntParam::new(0);
static AUTH_CHECKS_IN_DLG: IntParam = IntParam::new(0);
static QOP: StrParam = StrParam::unset();
static NONCE_COUNT: IntParam = IntParam::new(0);
static ONE_TIME_NONCE: IntParam = IntParam::new(0);
static NID_POOL_NO: IntParam = IntParam::new(0);
static NC_ARRAY_SIZE: IntParam = IntParam::new(0);
static NC_ARRAY_ORDER: IntParam = IntParam::new(0);
static OTN_IN_FLIGHT_NO: IntParam = IntParam::new(0);
static OTN_IN_FLIGHT_ORDER: IntParam = IntParam::new(0);
static SECRET: StrParam = StrParam::unset();
static NONCE_EXPIRE: IntParam = IntParam::new(300);
static NONCE_AUTH_MAX_DRIFT: IntParam = IntParam::new(3);
static FORCE_STATELESS_REPLY: IntParam = IntParam::new(0);
static REALM_PREFIX: StrParam = StrParam::unset();
static USE_DOMAIN: IntParam = IntParam::new(0);
static ALGORITHM: StrParam = StrParam::unset();
static ADD_AUTHINFO_HDR: IntParam = IntParam::new(0);
static PROTECT_CONTACTS: IntParam = IntParam::new(0);
static CHALLENGE_ATTR: StrParam = StrParam::new("$digest_challenge");
static WWW_HEADER: StrParam = StrParam::new("WWW-Authenticate");
static PROXY_HEADER: StrParam = StrParam::new("Proxy-Authenticate");

/// How an authentication ended; the number is what scripts see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The credentials are right.
    Ok = 1,
    /// Something is wrong with the request or the server.
    Error = -1,
    /// The response is wrong.
    WrongPassword = -2,
    /// There is no such user.
    UnknownUser = -3,
    /// The nonce is too old: challenge again.
    StaleNonce = -4,
    /// There are no credentials for the realm.
    NoCredentials = -5,
    /// The nonce was used before.
    ReusedNonce = -6,
    /// The user of the credentials is not that of From or To.
    UserMismatch = -8,
}

/// Which of the two kinds of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Authorization and 401.
    Www,
    /// Proxy-Authorization and 407.
    Proxy,
}

impl Kind {
    /// REGISTER is authenticated as by a server, other requests as by a proxy.
    pub fn of_request(ctx: &Ctx) -> Kind {
        if ctx.msg.method() == Method::Register {
            Kind::Www
        } else {
            Kind::Proxy
        }
    }

    fn header(self) -> HeaderName {
        match self {
            Kind::Www => HeaderName::Authorization,
            Kind::Proxy => HeaderName::ProxyAuthorization,
        }
    }
}

/// What is known of the authentication of a message.
#[derive(Default)]
struct State {
    /// The header line of the credentials that were right.
    authorized: Option<Span>,
    stale: bool,
}

/// The module.
pub fn module() -> Module {
    let challenging = REQUEST | FAILURE | ONREPLY;
    with_params(Module::new("auth"))
        .doc("Digest authentication of requests.")
        .depends("sl")
        .init(init)
        .function(function("consume_credentials", consume).cfg("consume_credentials").routes(REQUEST).doc("Removes the credentials that were accepted."))
        .function(function("has_credentials", |c: &mut Ctx, r: &[u8]| if has(c, r) { 1i64 } else { -1 }).cfg("has_credentials").args(["realm"]).routes(REQUEST).doc("Whether there are credentials for the realm."))
        .function(function("www_challenge", |c: &mut Ctx, r: &[u8], f: i64| challenge(c, Kind::Www, r, f)).args(["realm", "flags"]).routes(challenging).doc("Replies 401 with a challenge. Flags: 1 qop=auth, 2 qop=auth-int, 4 no 500 on errors, 16 stale."))
        .function(function("proxy_challenge", |c: &mut Ctx, r: &[u8], f: i64| challenge(c, Kind::Proxy, r, f)).args(["realm", "flags"]).routes(challenging).doc("Replies 407 with a challenge; flags as www_challenge."))
        .function(function("auth_challenge", |c: &mut Ctx, r: &[u8], f: i64| challenge(c, Kind::of_request(c), r, f)).args(["realm", "flags"]).routes(challenging).doc("www_challenge for REGISTER, proxy_challenge for others."))
        .function(function("www_challenge_cfg", |c: &mut Ctx, r: &[u8], f: i64, a: Option<&[u8]>| challenge_as(c, Kind::Www, r, f, a)).native_only().cfg("www_challenge").args(["realm", "flags", "algorithm"]).routes(challenging).doc("As KSR.auth.www_challenge."))
        .function(function("proxy_challenge_cfg", |c: &mut Ctx, r: &[u8], f: i64, a: Option<&[u8]>| challenge_as(c, Kind::Proxy, r, f, a)).native_only().cfg("proxy_challenge").args(["realm", "flags", "algorithm"]).routes(challenging).doc("As KSR.auth.proxy_challenge."))
        .function(function("auth_challenge_cfg", |c: &mut Ctx, r: &[u8], f: i64, a: Option<&[u8]>| challenge_as(c, Kind::of_request(c), r, f, a)).native_only().cfg("auth_challenge").args(["realm", "flags", "algorithm"]).routes(challenging).doc("As KSR.auth.auth_challenge."))
        .function(function("pv_www_authenticate", |c: &mut Ctx, r: &[u8], p: &[u8], f: i64| authenticate(c, Kind::Www, r, p, f, None)).cfg("pv_www_authorize").args(["realm", "password", "flags"]).routes(REQUEST).doc("Checks Authorization against a password. Flags: 1 the password is HA1, 2, 4, 8 put a challenge into the AVP (no qop, auth, auth-int), 16 stale. -2 wrong password, -4 nonce expired, -5 no credentials, -6 nonce reused."))
        .function(function("pv_www_authenticate_method", |c: &mut Ctx, r: &[u8], p: &[u8], f: i64, m: &[u8]| authenticate(c, Kind::Www, r, p, f, Some(m))).args(["realm", "password", "flags", "method"]).routes(REQUEST).doc("As pv_www_authenticate, for another method."))
        .function(function("pv_www_authenticate_cfg", |c: &mut Ctx, r: &[u8], p: &[u8], f: i64, m: Option<&[u8]>| authenticate(c, Kind::Www, r, p, f, m)).native_only().cfg("pv_www_authenticate").args(["realm", "password", "flags", "method"]).routes(REQUEST).doc("As KSR.auth.pv_www_authenticate."))
        .function(function("pv_proxy_authenticate", |c: &mut Ctx, r: &[u8], p: &[u8], f: i64| authenticate(c, Kind::Proxy, r, p, f, None)).cfg("pv_proxy_authenticate").cfg("pv_proxy_authorize").args(["realm", "password", "flags"]).routes(REQUEST).doc("As pv_www_authenticate, with Proxy-Authorization."))
        .function(function("pv_auth_check", pv_auth_check).cfg("pv_auth_check").args(["realm", "password", "flags", "checks"]).routes(REQUEST).doc("As pv_www_authenticate for REGISTER, pv_proxy_authenticate for others; checks 1: the user must be that of To or From (-8)."))
        .function(function("auth_get_www_authenticate", get_www).cfg("auth_get_www_authenticate").args(["realm", "flags", "pv"]).raw(&["pv"]).doc("Puts a challenge into a pseudo-variable."))
        .function(function("auth_algorithm", set_algorithm).cfg("auth_algorithm").args(["algorithm"]).routes(REQUEST).doc("Challenges and checks of this message use MD5 or SHA-256."))
}

fn with_params(m: Module) -> Module {
    m.param(param_int("auth_checks_register", &AUTH_CHECKS_REGISTER).doc("Parts of a REGISTER its nonce is bound to: 1 URI, 2 Call-ID, 4 From tag, 8 source address."))
        .param(param_int("auth_checks_no_dlg", &AUTH_CHECKS_NO_DLG).doc("The same for requests outside of dialogs."))
        .param(param_int("auth_checks_in_dlg", &AUTH_CHECKS_IN_DLG).doc("The same for requests in dialogs."))
        .param(param_str("qop", &QOP).doc("qop of challenges: auth, auth-int, or none."))
        .param(param_int("nonce_count", &NONCE_COUNT).doc("Check that nc goes up."))
        .param(param_int("one_time_nonce", &ONE_TIME_NONCE).doc("Each nonce is good once."))
        .param(param_int("nid_pool_no", &NID_POOL_NO).doc("Accepted; one lock-free array serves all processes."))
        .param(param_int("nc_array_size", &NC_ARRAY_SIZE).doc("Nonces counted at a time; 4 bytes each."))
        .param(param_int("nc_array_order", &NC_ARRAY_ORDER).doc("The same as a power of two."))
        .param(param_int("otn_in_flight_no", &OTN_IN_FLIGHT_NO).doc("One-time nonces remembered at a time."))
        .param(param_int("otn_in_flight_order", &OTN_IN_FLIGHT_ORDER).doc("The same as a power of two."))
        .param(param_str("secret", &SECRET).doc("Signs nonces; random unless set."))
        .param(param_int("nonce_expire", &NONCE_EXPIRE).doc("Seconds a nonce is good."))
        .param(param_int("nonce_auth_max_drift", &NONCE_AUTH_MAX_DRIFT).doc("Seconds a nonce may come from the future."))
        .param(param_int("force_stateless_reply", &FORCE_STATELESS_REPLY).doc("Challenge without state, also within a transaction."))
        .param(param_str("realm_prefix", &REALM_PREFIX).doc("Cut off realms before they are compared."))
        .param(param_int("use_domain", &USE_DOMAIN).doc("pv_auth_check compares domains too."))
        .param(param_str("algorithm", &ALGORITHM).doc("MD5 or SHA-256."))
        .param(param_int("add_authinfo_hdr", &ADD_AUTHINFO_HDR).doc("Add Authentication-Info to replies made here."))
        .param(param_int("protect_contacts", &PROTECT_CONTACTS).doc("Accepted; contacts are not part of what nonces are bound to."))
        .param(param_str("challenge_attr", &CHALLENGE_ATTR).doc("AVP for challenges."))
        .param(param_str("www_challenge_header", &WWW_HEADER).doc("Header of 401."))
        .param(param_str("proxy_challenge_header", &PROXY_HEADER).doc("Header of 407."))
}

fn init() -> Result<(), String> {
    if let Some(a) = ALGORITHM.get()
        && known_algorithm(a.as_bytes()).is_none()
    {
        return Err(format!(
            "auth: algorithm \"{a}\" is not there; use MD5 or SHA-256"
        ));
    }
    if let Some(q) = QOP.get()
        && !["auth", "auth-int"].contains(&q)
    {
        return Err(format!(
            "auth: qop \"{q}\" is not there; use auth or auth-int"
        ));
    }
    nonce::init()
}

/// The complete credentials for `realm`, and their header line.
pub fn find(ctx: &Ctx, kind: Kind, realm: &[u8]) -> Result<(Credentials, Span), Outcome> {
    let buf = ctx.msg.buf();
    let all = match kind {
        Kind::Www => ctx.msg.authorizations(),
        Kind::Proxy => ctx.msg.proxy_authorizations(),
    };
    let all = all.map_err(|_| Outcome::Error)?;
    let realm = bare_realm(realm);
    let c = all
        .iter()
        .find(|c| c.is_digest && (realm.is_empty() || bare_realm(c.realm.of(buf)) == realm))
        .ok_or(Outcome::NoCredentials)?;
    if !c.is_complete() {
        return Err(Outcome::Error);
    }
    let line = ctx
        .msg
        .headers_named(kind.header())
        .map(|h| h.whole)
        .find(|l| l.contains(c.scheme))
        .ok_or(Outcome::Error)?;
    Ok((*c, line))
}

/// Checks the nonce and the response of `credentials` against the account's HA1 (lower-case hex).
pub fn check_response(
    ctx: &mut Ctx,
    credentials: &Credentials,
    ha1: &str,
    method: Option<&[u8]>,
) -> Outcome {
    if credentials.algorithm != algorithm(ctx) {
        return Outcome::Error;
    }
    let first = nonce::check(ctx, credentials);
    if first != Check::Good {
        return not_good(ctx, first);
    }
    let buf = ctx.msg.buf();
    let method = method.unwrap_or_else(|| ctx.msg.method_text());
    let expected = credentials.expected_response(buf, ha1, method, ctx.msg.body());
    let given = credentials.response.of(buf).to_ascii_lowercase();
    if expected.is_empty() || !nonce::same(expected.as_bytes(), &given) {
        return Outcome::WrongPassword;
    }
    // Only a right response uses up a count: nobody else can spend a client's nonce.
    match nonce::check_and_count(ctx, credentials) {
        Check::Good => Outcome::Ok,
        other => not_good(ctx, other),
    }
}

/// The client may know the password: it is challenged again with `stale=true`.
fn not_good(ctx: &mut Ctx, why: Check) -> Outcome {
    ctx.ext::<State>().stale = true;
    match why {
        Check::Reused => Outcome::ReusedNonce,
        _ => Outcome::StaleNonce,
    }
}

/// Remembers the header line of credentials that were right, for `consume_credentials`.
pub fn authorized(ctx: &mut Ctx, line: Span) {
    ctx.ext::<State>().authorized = Some(line);
}

/// Requests that cannot be challenged are let pass (RFC 3261 §22.1).
pub fn needs_none(ctx: &Ctx) -> bool {
    matches!(
        ctx.msg.method(),
        Method::Ack | Method::Cancel | Method::Prack
    )
}

/// The value of a challenge.
pub fn challenge_value(ctx: &Ctx, realm: &[u8], qop: Option<&str>, stale: bool) -> Vec<u8> {
    let realm = String::from_utf8_lossy(realm).replace(['"', '\\', '\r', '\n'], "");
    let mut out = format!("Digest realm=\"{realm}\", nonce=\"{}\"", nonce::make(ctx));
    if let Some(q) = qop {
        out.push_str(&format!(", qop=\"{q}\""));
    }
    if stale {
        out.push_str(", stale=true");
    }
    let named = ctx.ext_ref::<Chosen>().and_then(|c| c.0);
    if named.is_some() || ALGORITHM.get().is_some() {
        out.push_str(&format!(", algorithm={}", algorithm(ctx).as_str()));
    }
    out.into_bytes()
}

/// The algorithm that a script chose for this message.
#[derive(Default)]
struct Chosen(Option<Algorithm>);

fn algorithm(ctx: &Ctx) -> Algorithm {
    ctx.ext_ref::<Chosen>()
        .and_then(|c| c.0)
        .or_else(|| known_algorithm(ALGORITHM.text().as_bytes()))
        .unwrap_or(Algorithm::Md5)
}

fn known_algorithm(text: &[u8]) -> Option<Algorithm> {
    match Algorithm::parse(text) {
        a @ (Algorithm::Md5 | Algorithm::Sha256 | Algorithm::Sha512_256) => Some(a),
        _ => None,
    }
}

fn set_algorithm(ctx: &mut Ctx, name: &[u8]) -> i64 {
    match known_algorithm(name) {
        Some(a) => {
            ctx.ext::<Chosen>().0 = Some(a);
            1
        }
        None => {
            olelo_core::error!(
                "auth",
                "algorithm \"{}\" is not there; use MD5 or SHA-256",
                String::from_utf8_lossy(name)
            );
            -1
        }
    }
}

fn bare_realm(realm: &[u8]) -> &[u8] {
    realm
        .strip_prefix(REALM_PREFIX.text().as_bytes())
        .unwrap_or(realm)
}

fn has(ctx: &Ctx, realm: &[u8]) -> bool {
    [Kind::Www, Kind::Proxy]
        .iter()
        .any(|k| find(ctx, *k, realm).is_ok())
}

fn consume(ctx: &mut Ctx) -> i64 {
    match ctx.ext::<State>().authorized.take() {
        Some(line) => {
            ctx.edits.remove(line);
            1
        }
        // ACK and CANCEL pass without having been checked: take what there is.
        None if needs_none(ctx) => {
            let lines: Vec<Span> = [Kind::Www, Kind::Proxy]
                .iter()
                .flat_map(|k| ctx.msg.headers_named(k.header()))
                .map(|h| h.whole)
                .collect();
            lines.into_iter().for_each(|l| ctx.edits.remove(l));
            1
        }
        None => {
            olelo_core::error!(
                "auth",
                "no credentials were accepted, so there are none to remove"
            );
            -1
        }
    }
}

fn challenge_as(
    ctx: &mut Ctx,
    kind: Kind,
    realm: &[u8],
    flags: i64,
    algorithm: Option<&[u8]>,
) -> i64 {
    if let Some(a) = algorithm.filter(|a| !a.is_empty())
        && set_algorithm(ctx, a) < 0
    {
        return -1;
    }
    challenge(ctx, kind, realm, flags)
}

fn challenge(ctx: &mut Ctx, kind: Kind, realm: &[u8], flags: i64) -> i64 {
    if realm.is_empty() {
        olelo_core::error!("auth", "a challenge needs a realm, got an empty one");
        if flags & 4 == 0 {
            reply(ctx, 500, "Internal Server Error");
        }
        return -1;
    }
    let qop = match flags & 3 {
        0 => QOP.get(),
        1 => Some("auth"),
        2 => Some("auth-int"),
        _ => Some("auth,auth-int"),
    };
    let stale = flags & 16 != 0 || ctx.ext::<State>().stale;
    let value = challenge_value(ctx, realm, qop, stale);
    let (header, code, reason) = match kind {
        Kind::Www => (WWW_HEADER.text(), 401, "Unauthorized"),
        Kind::Proxy => (PROXY_HEADER.text(), 407, "Proxy Authentication Required"),
    };
    let line = [header.as_bytes(), b": ", &value, b"\r\n"].concat();
    ctx.ext::<ReplyHeaders>().0.extend_from_slice(&line);
    if reply(ctx, code, reason) > 0 { 1 } else { -1 }
}

fn reply(ctx: &mut Ctx, code: u16, reason: &str) -> i64 {
    if FORCE_STATELESS_REPLY.is_on() {
        olelo_sl::reply_stateless(ctx, code, reason)
    } else {
        olelo_sl::reply(ctx, code, reason)
    }
}

fn authenticate(
    ctx: &mut Ctx,
    kind: Kind,
    realm: &[u8],
    password: &[u8],
    flags: i64,
    method: Option<&[u8]>,
) -> i64 {
    let outcome = checked(
        ctx,
        kind,
        realm,
        password,
        flags,
        method.filter(|m| !m.is_empty()),
    );
    if outcome != Outcome::Ok && flags & 14 != 0 {
        let qop = match flags & 14 {
            f if f & 8 != 0 => Some("auth-int"),
            f if f & 4 != 0 => Some("auth"),
            _ => None,
        };
        let stale = flags & 16 != 0 || ctx.ext::<State>().stale;
        let value = challenge_value(ctx, realm, qop, stale);
        let header = match kind {
            Kind::Www => WWW_HEADER.text(),
            Kind::Proxy => PROXY_HEADER.text(),
        };
        let line = [header.as_bytes(), b": ", &value, b"\r\n"].concat();
        let name = CHALLENGE_ATTR.text().trim_start_matches('$');
        ctx.avps.avp.set(name.as_bytes(), 0, AvpVal::Str(line));
    }
    outcome as i64
}

fn checked(
    ctx: &mut Ctx,
    kind: Kind,
    realm: &[u8],
    password: &[u8],
    flags: i64,
    method: Option<&[u8]>,
) -> Outcome {
    if realm.is_empty() || password.is_empty() {
        olelo_core::error!(
            "auth",
            "authentication needs a realm and a password; one is empty"
        );
        return Outcome::Error;
    }
    if needs_none(ctx) {
        return Outcome::Ok;
    }
    let (credentials, line) = match find(ctx, kind, realm) {
        Ok(found) => found,
        Err(outcome) => return outcome,
    };
    let secret = if flags & 1 != 0 {
        String::from_utf8_lossy(password).to_ascii_lowercase()
    } else {
        // The response names its realm; with `realm_prefix` it may differ from the one asked for.
        let buf = ctx.msg.buf();
        ha1(
            algorithm(ctx),
            credentials.username.of(buf),
            credentials.realm.of(buf),
            password,
        )
    };
    let outcome = check_response(ctx, &credentials, &secret, method);
    if outcome == Outcome::Ok {
        authorized(ctx, line);
        if ADD_AUTHINFO_HDR.is_on() {
            add_info(ctx, &credentials, &secret);
        }
    }
    outcome
}

/// Authentication-Info (RFC 7616 §3.5): proves that the server knows the password too.
fn add_info(ctx: &mut Ctx, c: &Credentials, ha1: &str) {
    let buf = ctx.msg.buf();
    let next = if ONE_TIME_NONCE.is_on() {
        nonce::make(ctx)
    } else {
        String::from_utf8_lossy(c.nonce.of(buf)).into_owned()
    };
    // The response to a "method" of no letters.
    let proof = c.expected_response(buf, ha1, b"", b"");
    let text = |s: Option<Span>| {
        s.map_or(String::new(), |s| {
            String::from_utf8_lossy(s.of(buf)).into_owned()
        })
    };
    let mut line = format!("Authentication-Info: nextnonce=\"{next}\"");
    if !c.qop.as_str().is_empty() {
        line.push_str(&format!(
            ", qop={}, rspauth=\"{proof}\", cnonce=\"{}\", nc={}",
            c.qop.as_str(),
            text(c.cnonce),
            text(c.nc)
        ));
    }
    line.push_str("\r\n");
    ctx.ext::<ReplyHeaders>()
        .0
        .extend_from_slice(line.as_bytes());
}

fn pv_auth_check(ctx: &mut Ctx, realm: &[u8], password: &[u8], flags: i64, checks: i64) -> i64 {
    let kind = Kind::of_request(ctx);
    let code = authenticate(ctx, kind, realm, password, flags, None);
    if code != Outcome::Ok as i64 || checks & 1 == 0 || needs_none(ctx) {
        return code;
    }
    if user_matches(ctx, kind, realm) {
        code
    } else {
        Outcome::UserMismatch as i64
    }
}

fn user_matches(ctx: &Ctx, kind: Kind, realm: &[u8]) -> bool {
    let buf = ctx.msg.buf();
    let Ok((c, _)) = find(ctx, kind, realm) else {
        return false;
    };
    let who = match kind {
        Kind::Www => ctx.msg.to(),
        Kind::Proxy => ctx.msg.from(),
    };
    let Some(uri) = who.and_then(|w| w.uri(buf).ok()) else {
        return false;
    };
    let (user, domain) = c.username_parts(buf);
    let domain = domain.unwrap_or_else(|| bare_realm(c.realm.of(buf)));
    uri.user_name() == Some(user) && (!USE_DOMAIN.is_on() || uri.host.eq_ignore_ascii_case(domain))
}

fn get_www(ctx: &mut Ctx, realm: &[u8], flags: i64, to: &[u8]) -> Result<i64, ScriptError> {
    let qop = match flags & 14 {
        0 => QOP.get(),
        f if f & 8 != 0 => Some("auth-int"),
        f if f & 4 != 0 => Some("auth"),
        _ => None,
    };
    let value = challenge_value(ctx, realm, qop, flags & 16 != 0);
    Spec::parse_cached(to)?.set(ctx, Val::from(value))?;
    Ok(1)
}

#[cfg(test)]
pub(crate) mod tests;
