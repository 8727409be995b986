//! Branches: `$branch(…)` of the destinations added to the request, `$sbranch(…)` of one kept aside,
//! `$br` `$bR` `$ds` of all, `$ruid` `$location_ua` of the contact found.

use olelo_core::pv::{Index, PvClass, PvKey, pv, pv_named};
use olelo_core::route::ctx::{Branch, Ctx};
use olelo_core::route::function::ScriptError;
use olelo_core::route::value::Val;

pub(crate) fn classes() -> Vec<PvClass> {
    const DOC: &str = "A branch: uri, dst_uri, path, q, send_socket, flags, ruid, ua, count.";
    vec![
        pv_named("branch", get).set(set).doc(DOC),
        pv_named("sbranch", |c, k| {
            c.ext_ref::<Aside>()
                .map_or(Val::Null, |a| field(&a.0, k.name()))
        })
        .set(set_aside)
        .doc("The branch kept aside: as $branch."),
        pv("br", |c, _| {
            c.branches.first().map_or(Val::Null, |b| Val::bytes(&b.uri))
        })
        .set(set_br)
        .doc("URI of the first branch."),
        pv("bR", |c, _| list(c)).doc("All branches as contacts."),
        pv("ds", |c, _| destinations(c)).doc("All destinations as a Contact header."),
        pv("ruid", |c, _| crate::request::nonempty(&c.contact.ruid))
            .doc("Id of the contact in the request URI."),
        pv("location_ua", |c, _| {
            crate::request::nonempty(&c.contact.user_agent)
        })
        .doc("User-Agent of the contact in the request URI."),
    ]
}

/// A branch kept aside.
#[derive(Default)]
pub(crate) struct Aside(pub(crate) Branch);

fn place(ctx: &Ctx, index: Index) -> Option<usize> {
    crate::avp::at(index, || ctx.branches.len())
}

fn get<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    if key.name() == b"count" {
        return match ctx.branches.len() {
            0 => Val::Null,
            n => Val::Int(n as i64),
        };
    }
    if key.index == Index::All {
        let all: Vec<Vec<u8>> = ctx
            .branches
            .iter()
            .filter_map(|b| {
                field(b, key.name())
                    .as_bytes()
                    .map(std::borrow::Cow::into_owned)
            })
            .collect();
        return Val::owned(all.join(&b","[..]));
    }
    place(ctx, key.index)
        .and_then(|i| ctx.branches.get(i))
        .map_or(Val::Null, |b| field(b, key.name()))
}

fn field<'c>(b: &'c Branch, name: &[u8]) -> Val<'c> {
    let text = crate::request::nonempty;
    match name {
        b"uri" => text(&b.uri),
        b"dst_uri" => text(&b.dst_uri),
        b"path" => text(&b.path),
        b"Q" | b"q" => {
            if b.q < 0 {
                Val::Null
            } else {
                Val::Int(i64::from(b.q))
            }
        }
        b"send_socket" => b
            .socket
            .and_then(|s| olelo_core::server().sockets.get(s))
            .map_or(Val::Null, |l| Val::from(l.text())),
        b"flags" => Val::Int(i64::from(b.flags)),
        b"ruid" => text(&b.ruid),
        b"ua" => text(&b.user_agent),
        _ => Val::Null,
    }
}

fn set(ctx: &mut Ctx, key: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    let at = place(ctx, key.index);
    if key.name() == b"uri" && v.is_null() {
        if let Some(i) = at.filter(|i| *i < ctx.branches.len()) {
            ctx.branches.remove(i);
        }
        return Ok(());
    }
    let Some(b) = at.and_then(|i| ctx.branches.get_mut(i)) else {
        return Err(ScriptError::new(
            "there is no branch of this number; append_branch() makes one",
        ));
    };
    change(b, key.name(), &v)
}

fn set_aside(ctx: &mut Ctx, key: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    change(&mut ctx.ext::<Aside>().0, key.name(), &v)
}

fn change(b: &mut Branch, name: &[u8], v: &Val<'_>) -> Result<(), ScriptError> {
    let text = || {
        v.as_bytes()
            .map(std::borrow::Cow::into_owned)
            .unwrap_or_default()
    };
    match name {
        b"uri" => b.uri = text(),
        b"dst_uri" => b.dst_uri = text(),
        b"path" => b.path = text(),
        b"ruid" => b.ruid = text(),
        b"ua" => b.user_agent = text(),
        b"Q" | b"q" => b.q = v.as_int().map_or(-1, |q| q.clamp(-1, 1000) as i16),
        b"flags" => b.flags = v.as_int().unwrap_or(0) as u32,
        b"send_socket" => {
            let name = text();
            let name = String::from_utf8_lossy(&name);
            b.socket = olelo_core::server().sockets.find(&name).map(|l| l.id);
            if b.socket.is_none() && !name.is_empty() {
                return Err(ScriptError(format!(
                    "\"{name}\" is no socket of this server"
                )));
            }
        }
        _ => {
            return Err(ScriptError(format!(
                "a branch has no {}",
                String::from_utf8_lossy(name)
            )));
        }
    }
    Ok(())
}

/// `<uri>;q=0.5`.
fn contact(b: &Branch) -> Vec<u8> {
    let mut out = [b"<", b.uri.as_slice(), b">"].concat();
    if b.q >= 0 {
        out.extend_from_slice(b";q=");
        out.extend_from_slice(olelo_sip::contact::format_q(b.q as u16).as_bytes());
    }
    out
}

fn set_br(ctx: &mut Ctx, _: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    match v.as_bytes() {
        None => ctx.branches.clear(),
        Some(uri) => {
            ctx.add_branch(Branch {
                uri: uri.into_owned(),
                q: -1,
                ..Branch::default()
            });
        }
    }
    Ok(())
}

fn list(ctx: &Ctx) -> Val<'_> {
    let one = |b: &Branch| if b.q < 0 { b.uri.clone() } else { contact(b) };
    let all: Vec<Vec<u8>> = ctx.branches.iter().map(one).collect();
    if all.is_empty() {
        Val::Null
    } else {
        Val::owned(all.join(&b", "[..]))
    }
}

fn destinations(ctx: &Ctx) -> Val<'_> {
    if !ctx.msg.is_request() || (ctx.new_uri.is_none() && ctx.branches.is_empty()) {
        return Val::Null;
    }
    let first = Branch {
        uri: ctx.ruri().to_vec(),
        q: ctx.ruri_q,
        ..Branch::default()
    };
    // A request URI that routing left alone is no destination yet.
    let first = ctx.new_uri.is_some().then_some(&first);
    let all: Vec<Vec<u8>> = first
        .into_iter()
        .chain(&ctx.branches)
        .map(contact)
        .collect();
    Val::owned([b"Contact: ", all.join(&b", "[..]).as_slice()].concat())
}
