//! Serial forking by preference: `t_load_contacts`, `t_next_contacts`, `t_next_contact_flow`.
//!
//! The destination set moves into an XAVP, one value per contact in the order of trying, and comes
//! back group by group. AVPs live with the transaction, so failure routes find the rest there.

use crate::params;
use olelo_core::net::ConnId;
use olelo_core::route::avp::{Avp, AvpVal};
use olelo_core::route::ctx::{Branch, Ctx};
use olelo_core::route::function::{EVENT, FAILURE, Function, REQUEST, function};
use rand_index::weighted;

/// All functions.
pub fn functions() -> Vec<Function> {
    vec![
        function("t_load_contacts", |c: &mut Ctx, mode: Option<i64>| load(c, mode.unwrap_or(0))).cfg("t_load_contacts").args(["mode"]).routes(REQUEST | FAILURE).doc("Moves the destination set away, ordered by preference; mode 1 orders by weighted chance."),
        function("ki_t_load_contacts_mode", |c: &mut Ctx, mode: i64| load(c, mode)).args(["mode"]).routes(REQUEST | FAILURE).doc("As t_load_contacts with a mode."),
        function("t_next_contacts", next).cfg("t_next_contacts").routes(REQUEST | FAILURE).doc("Makes the contacts of the next preference the destination set; -2 where none is left."),
        function("t_next_contact_flow", next_flow).cfg("t_next_contact_flow").routes(REQUEST | EVENT).doc("Makes the next flow to the failed instance the destination; -2 where none is left."),
    ]
}

fn load(ctx: &mut Ctx, mode: i64) -> i64 {
    let Some(name) = params::CONTACTS_AVP.get() else {
        olelo_core::error!(
            "tm",
            "t_load_contacts: the parameter contacts_avp is not set"
        );
        return -1;
    };
    if ctx.branches.is_empty() {
        return 1;
    }
    let first = Branch {
        uri: ctx.ruri().to_vec(),
        dst_uri: ctx.dst_uri.clone().unwrap_or_default(),
        path: ctx.path.clone().unwrap_or_default(),
        q: ctx.ruri_q,
        flags: ctx.bflags,
        socket: ctx.send_socket,
        conn: ctx.dst_conn,
        ..ctx.contact.clone()
    };
    let mut all: Vec<Branch> = std::iter::once(first)
        .chain(std::mem::take(&mut ctx.branches))
        .collect();
    if mode == 1 {
        all = weighted(all);
    } else {
        all.sort_by_key(|b| std::cmp::Reverse(b.q));
    }
    // The newest value of an XAVP is read first.
    for (i, b) in all.iter().enumerate().rev() {
        let ends_group = mode == 1 || all.get(i + 1).is_none_or(|n| n.q != b.q);
        ctx.avps
            .xavp
            .push(name.as_bytes(), AvpVal::Fields(fields(b, ends_group)));
    }
    1
}

fn next(ctx: &mut Ctx) -> i64 {
    let (Some(name), flows) = (params::CONTACTS_AVP.get(), params::FLOWS_AVP.get()) else {
        olelo_core::error!(
            "tm",
            "t_next_contacts: the parameter contacts_avp is not set"
        );
        return -1;
    };
    let (mut group, mut instances): (Vec<Branch>, Vec<Vec<u8>>) = Default::default();
    while let Some(AvpVal::Fields(f)) = ctx.avps.xavp.get(name.as_bytes(), 0).cloned() {
        ctx.avps.xavp.remove(name.as_bytes(), Some(0));
        let b = branch(&f);
        let another_flow = !b.instance.is_empty() && instances.contains(&b.instance);
        match flows.filter(|_| another_flow) {
            Some(flows) => ctx
                .avps
                .xavp
                .push(flows.as_bytes(), AvpVal::Fields(f.clone())),
            None => {
                instances.push(b.instance.clone());
                group.push(b);
            }
        }
        if int(&f, b"q_flag") != 0 {
            break;
        }
    }
    if group.is_empty() {
        return -2;
    }
    ctx.branches.clear();
    let rest = group.split_off(1);
    group.into_iter().for_each(|b| take(ctx, b));
    ctx.branches = rest;
    1
}

fn next_flow(ctx: &mut Ctx) -> i64 {
    let Some(name) = params::FLOWS_AVP.get() else {
        olelo_core::error!(
            "tm",
            "t_next_contact_flow: the parameter contact_flows_avp is not set"
        );
        return -1;
    };
    let failed = ctx.contact.instance.clone();
    let found = ctx
        .avps
        .xavp
        .all(name.as_bytes())
        .enumerate()
        .find_map(|(i, v)| match v {
            AvpVal::Fields(f) => Some((i, branch(f))).filter(|(_, b)| b.instance == failed),
            _ => None,
        });
    let Some((at, b)) = found else {
        return -2;
    };
    ctx.avps.xavp.remove(name.as_bytes(), Some(at));
    take(ctx, b);
    1
}

/// Makes one contact the request URI.
fn take(ctx: &mut Ctx, b: Branch) {
    let opt = |v: &Vec<u8>| (!v.is_empty()).then(|| v.clone());
    ctx.set_ruri(&b.uri);
    ctx.dst_uri = opt(&b.dst_uri);
    ctx.path = opt(&b.path);
    ctx.ruri_q = b.q;
    ctx.bflags = b.flags;
    ctx.send_socket = b.socket;
    ctx.dst_conn = b.conn;
    ctx.contact = b;
}

fn fields(b: &Branch, ends_group: bool) -> Vec<Avp> {
    let text = |name: &str, v: &[u8]| Avp {
        name: name.into(),
        val: AvpVal::Str(v.to_vec()),
    };
    let number = |name: &str, v: i64| Avp {
        name: name.into(),
        val: AvpVal::Int(v),
    };
    vec![
        text("uri", &b.uri),
        text("dst_uri", &b.dst_uri),
        text("path", &b.path),
        text("instance", &b.instance),
        text("ruid", &b.ruid),
        text("location_ua", &b.user_agent),
        number("q", i64::from(b.q)),
        number("flags", i64::from(b.flags)),
        number("sock", b.socket.map_or(-1, |s| i64::from(s.0))),
        number("conn", b.conn.map_or(0, |c| c.to_bits() as i64)),
        number("reg_id", i64::from(b.reg_id)),
        number("q_flag", i64::from(ends_group)),
    ]
}

fn branch(f: &[Avp]) -> Branch {
    let text = |name: &[u8]| match value(f, name) {
        Some(AvpVal::Str(s)) => s.clone(),
        _ => Vec::new(),
    };
    Branch {
        uri: text(b"uri"),
        dst_uri: text(b"dst_uri"),
        path: text(b"path"),
        instance: text(b"instance"),
        ruid: text(b"ruid"),
        user_agent: text(b"location_ua"),
        q: int(f, b"q") as i16,
        flags: int(f, b"flags") as u32,
        socket: u16::try_from(int(f, b"sock"))
            .ok()
            .map(olelo_core::net::SocketId),
        conn: ConnId::from_bits(int(f, b"conn") as u64),
        reg_id: int(f, b"reg_id") as u32,
    }
}

fn value<'a>(f: &'a [Avp], name: &[u8]) -> Option<&'a AvpVal> {
    f.iter().find(|a| a.name == name).map(|a| &a.val)
}

fn int(f: &[Avp], name: &[u8]) -> i64 {
    match value(f, name) {
        Some(AvpVal::Int(i)) => *i,
        _ => 0,
    }
}

/// Order by chance, weighted by preference.
mod rand_index {
    use super::Branch;
    use std::hash::{BuildHasher, Hasher};

    /// The contacts in a random order in which a higher q is likelier to be early; those without
    /// preference come last.
    pub fn weighted(mut from: Vec<Branch>) -> Vec<Branch> {
        let (mut out, mut last) = (Vec::with_capacity(from.len()), Vec::new());
        from.retain(|b| {
            let has = b.q > 0;
            if !has {
                last.push(b.clone());
            }
            has
        });
        while !from.is_empty() {
            let sum: u64 = from.iter().map(|b| b.q as u64).sum();
            let mut pick = random() % sum.max(1);
            let at = from
                .iter()
                .position(|b| {
                    let here = pick < b.q as u64;
                    pick = pick.saturating_sub(b.q as u64);
                    here
                })
                .unwrap_or(0);
            out.push(from.remove(at));
        }
        out.extend(last);
        out
    }

    fn random() -> u64 {
        std::hash::RandomState::new().build_hasher().finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b(uri: &str, q: i16, instance: &str) -> Branch {
        Branch {
            uri: uri.into(),
            q,
            instance: instance.into(),
            ..Branch::default()
        }
    }

    #[test]
    fn contacts_come_back_by_preference_one_flow_per_instance() {
        params::CONTACTS_AVP.set("tm_contacts");
        params::FLOWS_AVP.set("tm_flows");
        let mut ctx = Ctx::new();
        ctx.set_ruri(b"sip:a@h");
        ctx.ruri_q = -1;
        ctx.branches = vec![
            b("sip:b@h", 500, "i1"),
            b("sip:c@h", 500, "i1"),
            b("sip:d@h", 1000, ""),
        ];
        assert_eq!(load(&mut ctx, 0), 1);
        assert!(ctx.branches.is_empty());
        let mut seen = Vec::new();
        while next(&mut ctx) == 1 {
            seen.push((
                String::from_utf8(ctx.ruri().to_vec()).unwrap(),
                ctx.branches.len(),
            ));
        }
        assert_eq!(
            seen,
            [
                ("sip:d@h".into(), 0),
                ("sip:b@h".into(), 0),
                ("sip:a@h".to_string(), 0)
            ]
        );
        ctx.contact.instance = b"i1".to_vec();
        assert_eq!(next_flow(&mut ctx), 1);
        assert_eq!(ctx.ruri(), b"sip:c@h");
        assert_eq!(next_flow(&mut ctx), -2);
    }

    #[test]
    fn chance_loses_nobody_and_keeps_the_backup_last() {
        for _ in 0..20 {
            let all = weighted(vec![b("x", 0, ""), b("y", 100, ""), b("z", 900, "")]);
            assert_eq!(all.len(), 3);
            assert_eq!(all[2].uri, b"x");
        }
    }
}
