//! Headers: `$hdr(…)` and the ones with names of their own: `$ci` `$cs` `$ct` `$fu` `$tt` `$ua` …

use crate::request::{host, nonempty, uri, user};
use olelo_core::pv::{Index, PvClass, PvKey, pick, pv, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::ScriptError;
use olelo_core::route::value::Val;
use olelo_sip::{HeaderName, NameAddr, Span, UriBuf, name_of};

pub(crate) fn classes() -> Vec<PvClass> {
    let mut v = vec![
        pv_named("hdr", hdr).doc(
            "The body of a header: `$hdr(Name)`, `$(hdr(Name)[1])`, `[-1]` the last, `[*]` all.",
        ),
        pv_named("hdrc", |c, k| {
            Val::Int(c.msg.headers_by_text(k.name()).count() as i64)
        })
        .doc("How many headers of a name there are."),
        pv_named("hfl", hfl).doc("As $hdr; a header that is a list gives its values one by one."),
        pv_named("hflc", |c, k| Val::Int(values(c, k.name()).len() as i64))
            .doc("How many values the headers of a name have."),
        pv("ci", |c, _| Val::opt(c.msg.call_id())).doc("Call-ID."),
        pv("cs", |c, _| {
            c.msg
                .cseq()
                .map_or(Val::Null, |s| Val::bytes(c.msg.slice(s.number_text)))
        })
        .doc("The number in CSeq."),
        pv("csb", |c, _| body(c, HeaderName::CSeq)).doc("CSeq."),
        pv("ct", |c, _| body(c, HeaderName::Contact)).doc("Contact."),
        pv("ctu", |c, _| first_uri(c, HeaderName::Contact)).doc("URI of the first Contact."),
        pv("cts", contact_star).doc("1 where Contact is `*`, else 0."),
        pv("cT", |c, _| body(c, HeaderName::ContentType)).doc("Content-Type."),
        pv("cl", |c, _| {
            c.msg
                .content_length()
                .map_or(Val::Null, |n| Val::Int(i64::from(n)))
        })
        .doc("Content-Length."),
        pv("ua", |c, _| body(c, HeaderName::UserAgent)).doc("User-Agent."),
        pv("re", |c, _| first_uri(c, HeaderName::RemotePartyId)).doc("URI of Remote-Party-ID."),
        pv("rt", |c, _| first_uri(c, HeaderName::ReferTo)).doc("URI of Refer-To."),
        pv("di", |c, _| first_uri(c, HeaderName::Diversion)).doc("URI of Diversion."),
        pv("dir", |c, _| diversion(c, b"reason")).doc("Reason of Diversion."),
        pv("dip", |c, _| diversion(c, b"privacy")).doc("Privacy of Diversion."),
        pv("dic", |c, _| diversion(c, b"counter")).doc("Counter of Diversion."),
        pv("ai", |c, k| {
            nth_uri(c, HeaderName::PAssertedIdentity, k.index)
        })
        .doc("URI of P-Asserted-Identity."),
        pv("pu", |c, k| {
            nth_uri(c, HeaderName::PPreferredIdentity, k.index)
        })
        .doc("URI of P-Preferred-Identity."),
        pv("pU", |c, k| {
            nth(c, HeaderName::PPreferredIdentity, k.index)
                .map_or(Val::Null, |a| uri(c.msg.slice(a.uri), user))
        })
        .doc("User of P-Preferred-Identity."),
        pv("pd", |c, k| {
            nth(c, HeaderName::PPreferredIdentity, k.index)
                .map_or(Val::Null, |a| uri(c.msg.slice(a.uri), host))
        })
        .doc("Host of P-Preferred-Identity."),
        pv("pn", |c, k| {
            nth(c, HeaderName::PPreferredIdentity, k.index).map_or(Val::Null, |a| display(c, &a))
        })
        .doc("Display name of P-Preferred-Identity."),
        pv_named("expires", expires)
            .doc("Smallest (`min`) or largest (`max`) lifetime that the contacts ask for."),
    ];
    v.extend(from_and_to());
    v
}

fn from_and_to() -> Vec<PvClass> {
    let fu = |n| {
        pv(n, |c, _| {
            from(c).map_or(Val::Null, |a| nonempty(c.msg.slice(a.uri)))
        })
        .set(|c, _, v| set_uri(c, true, v))
        .doc("URI of From.")
    };
    let fuser = |n| {
        pv(n, |c, _| {
            from(c).map_or(Val::Null, |a| uri(c.msg.slice(a.uri), user))
        })
        .set(|c, _, v| set_user(c, true, v))
        .doc("User of From.")
    };
    let fdom = |n| {
        pv(n, |c, _| {
            from(c).map_or(Val::Null, |a| uri(c.msg.slice(a.uri), host))
        })
        .set(|c, _, v| set_host(c, true, v))
        .doc("Host of From.")
    };
    let tu = |n| {
        pv(n, |c, _| {
            to(c).map_or(Val::Null, |a| nonempty(c.msg.slice(a.uri)))
        })
        .set(|c, _, v| set_uri(c, false, v))
        .doc("URI of To.")
    };
    let tuser = |n| {
        pv(n, |c, _| {
            to(c).map_or(Val::Null, |a| uri(c.msg.slice(a.uri), user))
        })
        .set(|c, _, v| set_user(c, false, v))
        .doc("User of To.")
    };
    let tdom = |n| {
        pv(n, |c, _| {
            to(c).map_or(Val::Null, |a| uri(c.msg.slice(a.uri), host))
        })
        .set(|c, _, v| set_host(c, false, v))
        .doc("Host of To.")
    };
    vec![
        fu("fu"),
        fu("from"),
        fuser("fU"),
        fuser("from.user"),
        fdom("fd"),
        fdom("from.domain"),
        pv("fn", |c, _| from(c).map_or(Val::Null, |a| display(c, a)))
            .set(|c, _, v| set_display(c, true, v))
            .doc("Display name of From."),
        pv("ft", |c, _| Val::opt(c.msg.from_tag())).doc("Tag of From."),
        pv("ful", |c, _| {
            from(c).map_or(Val::Null, |a| Val::Int(a.uri.len() as i64))
        })
        .doc("Length of the URI of From."),
        pv("fUl", |c, _| from(c).map_or(Val::Null, |a| user_len(c, a)))
            .doc("Length of the user of From."),
        tu("tu"),
        tu("to"),
        tuser("tU"),
        tuser("to.user"),
        tdom("td"),
        tdom("to.domain"),
        pv("tn", |c, _| to(c).map_or(Val::Null, |a| display(c, a)))
            .set(|c, _, v| set_display(c, false, v))
            .doc("Display name of To."),
        pv("tt", |c, _| c.msg.to_tag().map_or(Val::Null, nonempty)).doc("Tag of To."),
        pv("tts", |c, _| {
            Val::Int(i64::from(c.msg.to_tag().is_some_and(|t| !t.is_empty())))
        })
        .doc("1 where To has a tag, else 0."),
        pv("tUl", |c, _| to(c).map_or(Val::Null, |a| user_len(c, a)))
            .doc("Length of the user of To."),
        pv("tul", |c, _| {
            to(c).map_or(Val::Null, |a| Val::Int(a.uri.len() as i64))
        })
        .doc("Length of the URI of To."),
    ]
}

fn from(ctx: &Ctx) -> Option<&NameAddr> {
    ctx.msg.from()
}

fn to(ctx: &Ctx) -> Option<&NameAddr> {
    ctx.msg.to()
}

pub(crate) fn body(ctx: &Ctx, name: HeaderName) -> Val<'_> {
    Val::opt(ctx.msg.header_body(name))
}

fn display<'c>(ctx: &'c Ctx, a: &NameAddr) -> Val<'c> {
    a.display.map_or(Val::Null, |d| nonempty(ctx.msg.slice(d)))
}

fn user_len(ctx: &Ctx, a: &NameAddr) -> Val<'static> {
    let u = a.uri(ctx.msg.buf());
    u.map_or(Val::Null, |u| {
        Val::Int(u.user_name().map_or(0, <[u8]>::len) as i64)
    })
}

fn nth(ctx: &Ctx, name: HeaderName, index: Index) -> Option<NameAddr> {
    let all: Vec<NameAddr> = ctx.msg.name_addrs(name).collect();
    let at = match index {
        Index::At(i) if i < 0 => all.len().checked_sub(i.unsigned_abs() as usize)?,
        Index::At(i) => i as usize,
        Index::None | Index::All => 0,
    };
    all.get(at).copied()
}

fn nth_uri(ctx: &Ctx, name: HeaderName, index: Index) -> Val<'_> {
    if index == Index::All {
        let all: Vec<&[u8]> = ctx
            .msg
            .name_addrs(name)
            .map(|a| ctx.msg.slice(a.uri))
            .collect();
        return pick(all.into_iter(), Index::All);
    }
    nth(ctx, name, index).map_or(Val::Null, |a| nonempty(ctx.msg.slice(a.uri)))
}

fn first_uri(ctx: &Ctx, name: HeaderName) -> Val<'_> {
    nth_uri(ctx, name, Index::None)
}

fn diversion<'c>(ctx: &'c Ctx, param: &[u8]) -> Val<'c> {
    let Some(a) = ctx.msg.diversion() else {
        return Val::Null;
    };
    Val::opt(a.params(ctx.msg.buf()).value(param))
}

fn contact_star<'c>(ctx: &'c Ctx, _: &PvKey<'_>) -> Val<'c> {
    match ctx.msg.contacts() {
        Ok(l) => Val::Int(i64::from(l.is_star())),
        Err(_) => Val::Int(0),
    }
}

fn hdr<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let mut bodies = ctx
        .msg
        .headers_by_text(key.name())
        .map(|h| ctx.msg.slice(h.body));
    // The first is what nearly all ask for; it needs no list.
    if key.index == Index::None {
        return Val::opt(bodies.next());
    }
    let all: Vec<&[u8]> = bodies.collect();
    pick(all.into_iter(), key.index)
}

fn hfl<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    pick(values(ctx, key.name()).into_iter(), key.index)
}

/// The values of all headers of a name.
fn values<'c>(ctx: &'c Ctx, name: &[u8]) -> Vec<&'c [u8]> {
    match name_of(name) {
        HeaderName::Other => ctx
            .msg
            .headers_by_text(name)
            .map(|h| ctx.msg.slice(h.body))
            .collect(),
        known => ctx
            .msg
            .header_bodies(known)
            .map(|s| ctx.msg.slice(s))
            .collect(),
    }
}

fn expires<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let header = ctx.msg.expires();
    let list = match ctx.msg.contacts() {
        Ok(l) => l.list(),
        Err(_) => return Val::Null,
    };
    let each = list.iter().filter_map(|c| c.expires.or(header));
    let found = match key.name() {
        b"min" => each.min(),
        b"max" => each.max(),
        _ => return Val::Null,
    };
    found
        .or(header)
        .map_or(Val::Null, |e| Val::Int(i64::from(e)))
}

fn addr(ctx: &Ctx, of_from: bool) -> Result<NameAddr, ScriptError> {
    let a = if of_from {
        ctx.msg.from()
    } else {
        ctx.msg.to()
    };
    a.copied()
        .ok_or_else(|| ScriptError::new("the message has no readable From or To to change"))
}

/// Replaces the URI of From or To.
fn set_uri(ctx: &mut Ctx, of_from: bool, v: Val<'_>) -> Result<(), ScriptError> {
    let a = addr(ctx, of_from)?;
    let Some(new) = v.as_bytes().filter(|b| !b.is_empty()) else {
        return Err(ScriptError::new(
            "From and To need a URI: they can't be set to null",
        ));
    };
    replace_uri(ctx, &a, &new);
    Ok(())
}

fn replace_uri(ctx: &mut Ctx, a: &NameAddr, new: &[u8]) {
    // Without brackets a parameter would be the header's, not the URI's.
    if a.bracketed || !new.iter().any(|c| matches!(c, b';' | b',' | b'?')) {
        ctx.edits.replace(a.uri, new);
    } else {
        let whole = [b"<", new, b">"].concat();
        ctx.edits.replace(a.uri, &whole);
    }
}

fn edit(
    ctx: &mut Ctx,
    of_from: bool,
    f: impl FnOnce(&mut UriBuf) -> Result<(), olelo_sip::ParseError>,
) -> Result<(), ScriptError> {
    let a = addr(ctx, of_from)?;
    // A second change goes on from the first.
    let now = ctx.edits.replacement(a.uri).map(|b| {
        b.strip_prefix(b"<")
            .and_then(|b| b.strip_suffix(b">"))
            .unwrap_or(b)
            .to_vec()
    });
    let now = now.unwrap_or_else(|| ctx.msg.slice(a.uri).to_vec());
    let fault =
        |e: olelo_sip::ParseError| ScriptError(format!("can't change the URI of From or To: {e}"));
    let mut b = UriBuf::parse(&now).map_err(fault)?;
    f(&mut b).map_err(fault)?;
    replace_uri(ctx, &a, b.as_bytes());
    Ok(())
}

fn set_user(ctx: &mut Ctx, of_from: bool, v: Val<'_>) -> Result<(), ScriptError> {
    let mut user = v.as_bytes().unwrap_or_default().into_owned();
    // The user's own parameters (`;npdi`) stay.
    if let Ok(u) = addr(ctx, of_from)?.uri(ctx.msg.buf())
        && let (Some(all), Some(name), false) = (u.user, u.user_name(), user.is_empty())
    {
        user.extend_from_slice(all.get(name.len()..).unwrap_or_default());
    }
    edit(ctx, of_from, |b| b.set_user(&user))
}

fn set_host(ctx: &mut Ctx, of_from: bool, v: Val<'_>) -> Result<(), ScriptError> {
    let host = v.as_bytes().unwrap_or_default();
    edit(ctx, of_from, |b| b.set_host(&host))
}

fn set_display(ctx: &mut Ctx, of_from: bool, v: Val<'_>) -> Result<(), ScriptError> {
    let a = addr(ctx, of_from)?;
    let new = v.as_bytes().unwrap_or_default();
    // Up to the URI: the old name with the blank behind it, or the place where one goes.
    let start = a.span.at();
    let uri_start = a.uri.at() - usize::from(a.bracketed);
    let head = Span::new(start, uri_start);
    let mut text = new.to_vec();
    if !text.is_empty() {
        text.push(b' ');
    }
    if a.bracketed {
        ctx.edits.replace(head, &text);
    } else if !text.is_empty() {
        // A URI behind a name needs brackets. An earlier change of it stays.
        let now = ctx.edits.replacement(a.uri);
        let uri = now.unwrap_or_else(|| ctx.msg.slice(a.uri));
        let uri = uri
            .strip_prefix(b"<")
            .and_then(|u| u.strip_suffix(b">"))
            .unwrap_or(uri);
        let whole = [text.as_slice(), b"<", uri, b">"].concat();
        ctx.edits.replace(a.uri, &whole);
    }
    Ok(())
}
