//! `registrar`: REGISTER requests (RFC 3261 §10) and lookups of where users are.
//!
//! [`request`] reads and checks a REGISTER, [`save`] stores and answers, [`lookup`] turns an address
//! of record into destinations, [`ulc`] shows contacts to scripts. What is stored lives in `usrloc`.

#![forbid(unsafe_code)]

mod lookup;
#[expect(
    missing_docs,
    reason = "each is documented where it is exported, in `module`"
)]
pub mod params;
pub mod request;
mod save;
mod ulc;

use lookup::{Into, Match};
use olelo_core::pv::pv_named;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::engine::Outcome;
use olelo_core::route::function::{ANY, FAILURE, ONREPLY, REQUEST, ScriptError, function};
use olelo_core::route::module::{Module, param_int, param_str};
use olelo_core::route::run;
use olelo_core::route::value::{Val, parse_int};
use olelo_core::stats::Stat;
use olelo_usrloc::{Contact, EXPIRED, Table};
use params::*;

pub(crate) static ACCEPTED: Stat =
    Stat::counter("registrar", "accepted_regs", "registrations accepted");
pub(crate) static REJECTED: Stat =
    Stat::counter("registrar", "rejected_regs", "registrations refused");
static STAT_MAX_EXPIRES: Stat = Stat::computed("registrar", "max_expires", "the parameter", || {
    MAX_EXPIRES.get()
});
static STAT_MAX_CONTACTS: Stat =
    Stat::computed("registrar", "max_contacts", "the parameter", || {
        MAX_CONTACTS.get()
    });
static STAT_DEFAULT_EXPIRE: Stat = Stat::computed(
    "registrar",
    "default_expire",
    "the parameter default_expires",
    || DEFAULT_EXPIRES.get(),
);
static STAT_DEFAULT_RANGE: Stat = Stat::computed(
    "registrar",
    "default_expires_range",
    "the parameter",
    || DEFAULT_EXPIRES_RANGE.get(),
);
static STAT_RANGE: Stat = Stat::computed("registrar", "expires_range", "the parameter", || {
    EXPIRES_RANGE.get()
});

/// The event of an expired contact.
const EXPIRED_EVENT: &str = "usrloc:contact-expired";

/// The module.
pub fn module() -> Module {
    let m = Module::new("registrar")
        .doc("REGISTER requests (RFC 3261 §10), and lookups of where users are.")
        .depends("usrloc")
        .init(init)
        .event(
            EXPIRED_EVENT,
            "a contact has expired; $ulc(exp=>…) shows it",
        )
        .pv(pv_named("ulc", ulc::get)
            .check(ulc::check)
            .doc("Contacts fetched with reg_fetch_contacts."))
        .stat(&ACCEPTED)
        .stat(&REJECTED)
        .stat(&STAT_MAX_EXPIRES)
        .stat(&STAT_MAX_CONTACTS)
        .stat(&STAT_DEFAULT_EXPIRE)
        .stat(&STAT_DEFAULT_RANGE)
        .stat(&STAT_RANGE);
    with_params(with_functions(m)).dynamic(&[
        "default_expires",
        "default_expires_range",
        "expires_range",
        "min_expires",
        "max_expires",
        "max_contacts",
        "retry_after",
        "case_sensitive",
        "default_q",
        "append_branches",
    ])
}

fn with_functions(m: Module) -> Module {
    let saving = REQUEST | FAILURE | ONREPLY;
    let routing = REQUEST | FAILURE;
    m.function(function("save", save_kemi).args(["table", "flags"]).routes(saving).doc(
        "Processes a REGISTER: stores its contacts and replies. Flags: 1 memory only, 2 no reply, 4 only \
         this contact, 8 expiry as asked, 16 headers for a reply sent later. 1 inserted, 2 updated, \
         3 deleted, 4 listed; -2 too many contacts, -1 refused.",
    ))
    .function(function("save_uri", save_kemi_uri).args(["table", "flags", "uri"]).routes(saving).doc("As save, for the address of record in `uri`."))
    .function(function("save_cfg", save_native).native_only().cfg("save").args(["table", "flags", "uri"]).routes(saving).doc("As KSR.registrar.save and save_uri."))
    .function(function("lookup", |c: &mut Ctx, t: &str| lookup_as(c, t, None, Into::Request)).args(["table"]).routes(routing).doc(
        "Puts the best contact of the request URI's user into the request URI and the others into \
         branches. -1 none, -2 none that knows the method, -3 error.",
    ))
    .function(function("lookup_uri", |c: &mut Ctx, t: &str, u: &[u8]| lookup_as(c, t, Some(u), Into::Request)).args(["table", "uri"]).routes(routing).doc("As lookup, for another URI."))
    .function(function("lookup_cfg", |c: &mut Ctx, t: &str, u: Option<&[u8]>| lookup_as(c, t, u, Into::Request)).native_only().cfg("lookup").args(["table", "uri"]).routes(routing).doc("As KSR.registrar.lookup and lookup_uri."))
    .function(function("lookup_to_dset", |c: &mut Ctx, t: &str, u: Option<&[u8]>| lookup_as(c, t, u, Into::Branches)).cfg("lookup_to_dset").args(["table", "uri"]).routes(routing).doc("As lookup, but all contacts become branches."))
    .function(function("lookup_branches", |c: &mut Ctx, t: &str| with_table(t, -3, |t| lookup::lookup_branches(c, t))).cfg("lookup_branches").args(["table"]).routes(routing).doc("Looks up the request URI and each plain branch."))
    .function(function("lookup_xavp", lookup_xavp).cfg("lookup_xavp").args(["table", "uri", "root", "record"]).routes(ANY).doc("Puts the contacts of `uri` into $xavp(root[0]=>record[i]=>…)."))
    .function(function("registered", |c: &mut Ctx, t: &str| registered(c, t, None, 0, 0)).args(["table"]).routes(ANY).doc("Whether the request URI's user is registered."))
    .function(function("registered_uri", |c: &mut Ctx, t: &str, u: &[u8]| registered(c, t, Some(u), 0, 0)).args(["table", "uri"]).routes(ANY).doc("Whether the user of `uri` is registered."))
    .function(function("registered_flags", |c: &mut Ctx, t: &str, u: &[u8], f: i64| registered(c, t, Some(u), f, 0)).args(["table", "uri", "match"]).routes(ANY).doc("As registered_uri; match: 1 Call-ID, 2 received, 4 contact, of $xavp(cfg=>match_…)."))
    .function(function("registered_action", |c: &mut Ctx, t: &str, u: &[u8], f: i64, a: i64| registered(c, t, Some(u), f, a)).args(["table", "uri", "match", "action"]).routes(ANY).doc("As registered_flags; action 2: do not fill xavp_rcd."))
    .function(function("registered_cfg", |c: &mut Ctx, t: &str, u: Option<&[u8]>, f: Option<i64>, a: Option<i64>| registered(c, t, u, f.unwrap_or(0), a.unwrap_or(0))).native_only().cfg("registered").args(["table", "uri", "match", "action"]).routes(ANY).doc("As KSR.registrar.registered."))
    .function(function("set_q_override", set_q_override).args(["q"]).routes(routing).doc("Sets the q (0…1 or 0…1000) of the contacts that the next save stores; needs xavp_cfg."))
    .function(function("add_sock_hdr", add_sock_hdr).cfg("add_sock_hdr").args(["name"]).routes(REQUEST).doc("Adds a header with the socket the request came by."))
    .function(function("unregister", |c: &mut Ctx, t: &str, u: &[u8]| unregister(c, t, u, None)).args(["table", "uri"]).routes(ANY).doc("Removes all contacts of `uri`. -3: there are none."))
    .function(function("unregister_ruid", |c: &mut Ctx, t: &str, u: &[u8], r: &[u8]| unregister(c, t, u, Some(r))).args(["table", "uri", "ruid"]).routes(ANY).doc("Removes one contact of `uri` by its unique id."))
    .function(function("unregister_cfg", unregister).native_only().cfg("unregister").args(["table", "uri", "ruid"]).routes(ANY).doc("As KSR.registrar.unregister and unregister_ruid."))
    .function(function("reg_fetch_contacts", fetch).cfg("reg_fetch_contacts").args(["table", "uri", "profile"]).routes(routing).doc("Fetches the contacts of `uri` for $ulc(profile=>…). -1: none."))
    .function(function("reg_free_contacts", free).cfg("reg_free_contacts").args(["profile"]).routes(routing).doc("Forgets what was fetched."))
    .function(function("reg_from_user", from_user).cfg("reg_from_user").args(["table", "uri", "flags"]).routes(ANY).doc("Whether the request comes from a contact of `uri` (its received address or address)."))
    .function(function("reg_send_reply", save::send_kept).cfg("reg_send_reply").routes(routing).doc("Sends the reply that save kept back (flag 2)."))
    .function(function("ulc_rget", |c: &mut Ctx, p: &[u8], a: &[u8]| -> Val<'static> { ulc::value(c, p, a, 0) }).args(["profile", "attribute"]).doc("An attribute of a fetched record: aor, domain, aorhash, count."))
    .function(function("ulc_cget", |c: &mut Ctx, p: &[u8], a: &[u8], i: i64| -> Val<'static> { ulc::value(c, p, a, i) }).args(["profile", "attribute", "index"]).doc("An attribute of fetched contact number `index`."))
}

fn with_params(m: Module) -> Module {
    m.param(
        param_int("default_expires", &DEFAULT_EXPIRES).doc("Seconds, where the client names none."),
    )
    .param(
        param_int("default_expires_range", &DEFAULT_EXPIRES_RANGE)
            .doc("Up to this percentage less, at random."),
    )
    .param(
        param_int("expires_range", &EXPIRES_RANGE)
            .doc("Up to this percentage less than asked, at random."),
    )
    .param(param_int("min_expires", &MIN_EXPIRES).doc("Fewest seconds."))
    .param(
        param_int("min_expires_mode", &MIN_EXPIRES_MODE)
            .doc("0: raise to the minimum; 1: refuse with 423."),
    )
    .param(param_int("max_expires", &MAX_EXPIRES).doc("Most seconds; 0 for no limit."))
    .param(
        param_int("default_q", &DEFAULT_Q)
            .doc("q in thousandths, where the client names none; -1 for unset."),
    )
    .param(
        param_int("append_branches", &APPEND_BRANCHES)
            .doc("lookup adds all contacts, not only the best."),
    )
    .param(param_int("case_sensitive", &CASE_SENSITIVE).doc("Users are told apart by case."))
    .param(
        param_str("realm_prefix", &REALM_PREFIX).doc("Cut off the domain of addresses of record."),
    )
    .param(
        param_str("received_param", &RECEIVED_PARAM)
            .doc("Name of the Contact parameter with the source address in replies."),
    )
    .param(
        param_str("received_avp", &RECEIVED_AVP)
            .doc("Pseudo-variable with the source address as a URI."),
    )
    .param(
        param_int("max_contacts", &MAX_CONTACTS)
            .doc("Most contacts of one address of record; 0 for no limit."),
    )
    .param(
        param_int("retry_after", &RETRY_AFTER).doc("Seconds for Retry-After in 503; 0 for none."),
    )
    .param(param_int("sock_flag", &SOCK_FLAG).doc("Message flag: take the socket from a header."))
    .param(param_str("sock_hdr_name", &SOCK_HDR_NAME).doc("That header."))
    .param(
        param_int("sock_mode", &SOCK_MODE)
            .doc("Accepted; contacts keep the socket itself, shown by its bound address."),
    )
    .param(
        param_int("method_filtering", &METHOD_FILTERING)
            .doc("lookup leaves out contacts that do not know the method."),
    )
    .param(param_int("use_path", &USE_PATH).doc("Path is stored and used (RFC 3327)."))
    .param(
        param_int("path_mode", &PATH_MODE).doc(
            "0: not in the reply; 1: only if supported; 2: refused with 420 if not supported.",
        ),
    )
    .param(
        param_int("path_use_received", &PATH_USE_RECEIVED)
            .doc("The `received` of the first Path is the contact's."),
    )
    .param(
        param_int("path_check_local", &PATH_CHECK_LOCAL)
            .doc("lookup skips the first hop of a Path if that is this server."),
    )
    .param(param_str("xavp_cfg", &XAVP_CFG).doc("xavp with settings for one message."))
    .param(param_str("xavp_rcd", &XAVP_RCD).doc("xavp that lookup fills with what it found."))
    .param(
        param_int("xavp_rcd_mask", &XAVP_RCD_MASK)
            .doc("What to leave out: 1 ruid, 2 contact, 4 expires, 8 received, 16 path."),
    )
    .param(param_int("gruu_enabled", &GRUU_ENABLED).doc("GRUUs (RFC 5627)."))
    .param(
        param_int("outbound_mode", &OUTBOUND_MODE)
            .doc("Outbound (RFC 5626): 0 no, 1 if the client does, 2 required."),
    )
    .param(param_int("regid_mode", &REGID_MODE).doc("1: `reg-id` counts without outbound."))
    .param(
        param_int("flow_timer", &FLOW_TIMER).doc("Seconds for Flow-Timer in replies; 0 for none."),
    )
    .param(param_int("contact_max_size", &CONTACT_MAX_SIZE).doc("Longest contact address, bytes."))
    .param(param_str("event_callback", &EVENT_CALLBACK).doc("Script function for events."))
    .param(
        param_int("lookup_filter_mode", &LOOKUP_FILTER_MODE)
            .doc("1: by branch flags; 2: only with a live connection."),
    )
    .param(
        param_int("use_expired_contacts", &USE_EXPIRED_CONTACTS)
            .doc("lookup takes contacts that have ended."),
    )
}

fn init() -> Result<(), String> {
    if FLOW_TIMER.get() > 0 && OUTBOUND_MODE.get() == 0 {
        return Err(
            "registrar: flow_timer needs outbound_mode 1 or 2; set it, or flow_timer to 0".into(),
        );
    }
    EXPIRED.add(on_expired);
    Ok(())
}

/// `server_id` of this server.
pub(crate) fn server_id() -> u32 {
    olelo_core::server().config.server_id as u32
}

fn on_expired(table: &'static Table, aor: &[u8], c: &Contact<'_>) {
    let native = format!("event_route[{EXPIRED_EVENT}]");
    let callback = EVENT_CALLBACK.get();
    if callback.is_none() && !run::has(&native) {
        return;
    }
    let mut ctx = Ctx::new();
    let record = olelo_usrloc::contact::Record::of(aor, std::slice::from_ref(c));
    ulc::keep(&mut ctx, table, record, b"exp", true);
    let outcome = match callback {
        Some(f) => run::event(&mut ctx, f, EXPIRED_EVENT),
        None => run::call(&mut ctx, &native, None, olelo_core::route::function::EVENT),
    };
    if outcome == Outcome::Missing {
        olelo_core::error!(
            "registrar",
            "event_callback names the function \"{}\", which the script does not have",
            callback.unwrap_or_default()
        );
    }
}

fn with_table(name: &str, otherwise: i64, f: impl FnOnce(&'static Table) -> i64) -> i64 {
    match olelo_usrloc::table(name) {
        Some(t) => f(t),
        None => {
            olelo_core::error!(
                "registrar",
                "there can be no more location tables, so none \"{name}\""
            );
            otherwise
        }
    }
}

fn save_table(ctx: &mut Ctx, table: &str, flags: i64, uri: Option<&[u8]>) -> i64 {
    if !save::is_register(ctx) {
        olelo_core::error!("registrar", "save() on a message that is no REGISTER");
        return -1;
    }
    with_table(table, -1, |t| save::save(ctx, t, flags, uri))
}

fn save_kemi(ctx: &mut Ctx, table: &str, flags: i64) -> i64 {
    save_table(ctx, table, flags, None)
}

fn save_kemi_uri(ctx: &mut Ctx, table: &str, flags: i64, uri: &[u8]) -> i64 {
    save_table(ctx, table, flags, Some(uri).filter(|u| !u.is_empty()))
}

fn save_native(
    ctx: &mut Ctx,
    table: &str,
    flags: Option<&[u8]>,
    uri: Option<&[u8]>,
) -> Result<i64, ScriptError> {
    let flags = match flags {
        None => 0,
        Some(f) => {
            parse_int(f).ok_or_else(|| ScriptError::new("the flags of save are no number"))?
        }
    };
    Ok(save_table(ctx, table, flags, uri.filter(|u| !u.is_empty())))
}

fn lookup_as(ctx: &mut Ctx, table: &str, uri: Option<&[u8]>, into: Into) -> i64 {
    with_table(table, -3, |t| {
        lookup::lookup(ctx, t, uri.filter(|u| !u.is_empty()), into)
    })
}

fn lookup_xavp(ctx: &mut Ctx, table: &str, uri: &[u8], root: &[u8], record: &[u8]) -> i64 {
    with_table(table, -3, |t| {
        lookup::lookup_xavp(ctx, t, uri, root, record)
    })
}

fn registered(ctx: &mut Ctx, table: &str, uri: Option<&[u8]>, flags: i64, action: i64) -> i64 {
    with_table(table, -1, |t| {
        lookup::registered(ctx, t, uri.filter(|u| !u.is_empty()), Match(flags), action)
    })
}

fn set_q_override(ctx: &mut Ctx, q: &[u8]) -> i64 {
    use olelo_core::route::avp::{Avp, AvpVal};
    let Some(class) = XAVP_CFG.get() else {
        olelo_core::error!(
            "registrar",
            "set_q_override needs modparam(\"registrar\", \"xavp_cfg\", …)"
        );
        return -1;
    };
    let value = match (olelo_sip::contact::parse_q(q), parse_int(q)) {
        (Some(q), _) => i64::from(q),
        (None, Some(n)) if (0..=1000).contains(&n) => n,
        _ => return -1,
    };
    let fields = vec![Avp {
        name: b"q".to_vec(),
        val: AvpVal::Int(value),
    }];
    match ctx.avps.xavp.get_mut(class.as_bytes(), 0) {
        Some(AvpVal::Fields(f)) => f.extend(fields),
        _ => ctx.avps.xavp.push(class.as_bytes(), AvpVal::Fields(fields)),
    }
    1
}

fn add_sock_hdr(ctx: &mut Ctx, name: &[u8]) -> i64 {
    let Some(l) = olelo_core::server().sockets.get(ctx.rcv.socket) else {
        return -1;
    };
    let text = if SOCK_MODE.is_on() {
        let (host, port) = l.public();
        format!("{}:{host}:{port}", l.proto.name())
    } else {
        l.text()
    };
    let line = [name, b": ", text.as_bytes(), b"\r\n"].concat();
    ctx.edits.append_header(&line);
    1
}

fn unregister(_ctx: &mut Ctx, table: &str, uri: &[u8], ruid: Option<&[u8]>) -> i64 {
    with_table(table, -2, |t| {
        let ruid = ruid.filter(|r| !r.is_empty());
        let aor = match (request::aor(uri), ruid) {
            (Some(aor), _) => aor,
            // Without an address of record the whole table is searched for the unique id.
            (None, Some(ruid)) if uri.is_empty() => {
                let mut found = None;
                olelo_usrloc::store::for_each(Some(t), |r| {
                    if r.contacts().any(|c| c.ruid == ruid) {
                        found = Some(r.aor().to_vec());
                    }
                });
                match found {
                    Some(aor) => aor,
                    None => return -3,
                }
            }
            _ => return -1,
        };
        match t.remove(&aor, |c| ruid.is_none_or(|r| c.ruid == r)) {
            Ok(0) => -3,
            // The original returns 0 here, which natively ends the route: scripts written for it
            // test for a negative value only.
            Ok(_) => 1,
            Err(e) => {
                olelo_core::error!("registrar", "not unregistered: {e}");
                -2
            }
        }
    })
}

fn fetch(ctx: &mut Ctx, table: &str, uri: &[u8], profile: &[u8]) -> i64 {
    with_table(table, -1, |t| match request::aor(uri) {
        Some(aor) => ulc::fetch(ctx, t, &aor, profile),
        None => -1,
    })
}

fn free(ctx: &mut Ctx, profile: &[u8]) -> i64 {
    ulc::free(ctx, profile);
    1
}

/// Bit 1 of `flags`: the port counts too.
fn from_user(ctx: &mut Ctx, table: &str, uri: &[u8], flags: i64) -> i64 {
    with_table(table, -1, |t| {
        let Some(aor) = request::aor(uri) else {
            return -1;
        };
        let src = ctx.rcv.src;
        let record = t.read(&aor);
        let here = record.valid(olelo_usrloc::now()).any(|c| {
            olelo_sip::Uri::parse(c.target()).is_ok_and(|u| {
                u.host_ip() == Some(src.ip())
                    && (flags & 1 == 0 || u.effective_port() == src.port())
            })
        });
        if here { 1 } else { -1 }
    })
}

#[cfg(test)]
mod tests;
