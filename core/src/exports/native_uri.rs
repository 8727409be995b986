//! Functions of the native language that rewrite the request URI and the set of branches, under the
//! names that scripts have used for twenty years: `strip`, `prefix`, `rewritehostport`, `sethp` …
//!
//! The KEMI functions for the same are in `message.rs`, or are pseudo-variables there.

use super::message::edit_uri;
use crate::route::ctx::Ctx;
use crate::route::function::{AnyVal, Function, ScriptError, function};

pub(super) fn functions() -> Vec<Function> {
    let mut v = rewriting();
    v.extend(branches());
    v
}

/// A function with several names, of which the first is also its name in errors.
fn names(f: Function, names: &[&'static str]) -> Function {
    names.iter().fold(f.native_only(), |f, n| f.cfg(n))
}

fn rewriting() -> Vec<Function> {
    vec![
        names(
            function("strip", |c: &mut Ctx, n: i64| {
                let n = usize::try_from(n).unwrap_or(0);
                edit_uri(c, |b| b.strip(n))
            })
            .args(["n"]),
            &["strip"],
        )
        .doc("Removes the first `n` characters of the request URI's user."),
        names(
            function("strip_tail", |c: &mut Ctx, n: i64| {
                let n = usize::try_from(n).unwrap_or(0);
                edit_uri(c, |b| b.strip_tail(n))
            })
            .args(["n"]),
            &["strip_tail"],
        )
        .doc("Removes the last `n` characters of the request URI's user."),
        names(
            function("prefix", |c: &mut Ctx, p: &[u8]| {
                edit_uri(c, |b| b.prefix(p))
            })
            .args(["text"]),
            &["prefix"],
        )
        .doc("Puts a text before the request URI's user."),
        names(
            function("userphone", |c: &mut Ctx| {
                edit_uri(c, |b| b.set_param(b"user", Some(b"phone")))
            }),
            &["userphone"],
        )
        .doc("Adds `user=phone` to the request URI."),
        names(
            function("sethost", |c: &mut Ctx, h: &[u8]| {
                edit_uri(c, |b| b.set_host(h))
            })
            .args(["host"]),
            &["seth"],
        )
        .doc("Sets the host of the request URI."),
        names(
            function("setuser", |c: &mut Ctx, u: &[u8]| {
                edit_uri(c, |b| b.set_user(u))
            })
            .args(["user"]),
            &["setu"],
        )
        .doc("Sets the user of the request URI."),
        names(
            function("setuserpass", set_user_password).args(["userinfo"]),
            &["rewriteuserpass", "setuserpass", "setup"],
        )
        .doc("Sets user and password of the request URI: user[:password]."),
        names(
            function("sethostport", |c: &mut Ctx, h: &[u8]| {
                edit_uri(c, |b| b.set_host_port(h))
            })
            .args(["hostport"]),
            &["rewritehostport", "sethostport", "sethp"],
        )
        .doc("Sets host and port of the request URI; without a port there is none after."),
        names(
            function("sethostporttrans", set_host_port_transport).args(["hostport"]),
            &["rewritehostporttrans", "sethostporttrans", "sethpt"],
        )
        .doc("Sets host, port and transport of the request URI: host:port;transport=tcp."),
        names(
            function("setport", set_port).args(["port"]),
            &["rewriteport", "setport", "setp"],
        )
        .doc("Sets the port of the request URI."),
        names(
            function("revert_uri", |c: &mut Ctx| {
                c.new_uri = None;
                true
            }),
            &["revert_uri"],
        )
        .doc("Takes the request URI back to the one received."),
    ]
}

fn branches() -> Vec<Function> {
    vec![
        names(
            function("remove_branch", |c: &mut Ctx, n: Option<i64>| {
                let n = usize::try_from(n.unwrap_or(0)).unwrap_or(usize::MAX);
                let there = n < c.branches.len();
                if there {
                    c.branches.remove(n);
                }
                there
            })
            .args(["number"]),
            &["remove_branch"],
        )
        .doc("Removes an added branch, the first where no number is given."),
        names(
            function("clear_branches", |c: &mut Ctx| {
                c.branches.clear();
                true
            }),
            &["clear_branches"],
        )
        .doc("Removes all added branches."),
    ]
}

/// `user[:password]`, all that stands before the `@`.
fn set_user_password(ctx: &mut Ctx, text: &[u8]) -> bool {
    let cut = text.iter().position(|b| *b == b':');
    let (user, password) = match cut {
        Some(n) => (&text[..n], Some(&text[n + 1..])),
        None => (text, None),
    };
    edit_uri(ctx, |b| {
        b.set_password(None)?;
        b.set_user(user)?;
        match password {
            Some(p) => b.set_password(Some(p)),
            None => Ok(()),
        }
    })
}

/// `host[:port][;transport=x]`; what the text does not name the URI does not have after.
fn set_host_port_transport(ctx: &mut Ctx, text: &[u8]) -> bool {
    let cut = text.iter().position(|b| *b == b';').unwrap_or(text.len());
    let (place, params) = text.split_at(cut);
    let transport = params
        .split(|b| *b == b';')
        .find_map(|p| p.strip_prefix(b"transport="));
    edit_uri(ctx, |b| {
        b.set_host_port(place)?;
        match transport {
            Some(t) => b.set_param(b"transport", Some(t)),
            None => b.remove_param(b"transport").map(|_| ()),
        }
    })
}

fn set_port(ctx: &mut Ctx, port: AnyVal<'_>) -> Result<bool, ScriptError> {
    let n = port.0.as_int().and_then(|n| u16::try_from(n).ok());
    let empty = port.0.as_bytes().is_some_and(|b| b.is_empty());
    if n.is_none() && !empty {
        return Err(ScriptError("a port is a number up to 65535".into()));
    }
    Ok(edit_uri(ctx, |b| b.set_port(n)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::value::Val;

    fn run(name: &str, args: &[Val<'_>], uri: &str) -> (Val<'static>, String) {
        let mut ctx = Ctx::new();
        ctx.set_ruri(uri.as_bytes());
        let all = functions();
        let f = all.iter().find(|f| f.cfg.contains(&name)).expect(name);
        let r = f.call(&mut ctx, args).unwrap();
        (r, String::from_utf8_lossy(ctx.ruri()).into_owned())
    }

    #[test]
    fn every_function_rewrites_its_part() {
        let cases: [(&str, &[Val<'_>], &str, &str); 17] = [
            ("strip", &[Val::Int(2)], "sip:0049@h", "sip:49@h"),
            ("strip_tail", &[Val::Int(1)], "sip:0049@h", "sip:004@h"),
            (
                "prefix",
                &[Val::text("+")],
                "sip:49@h:5080",
                "sip:+49@h:5080",
            ),
            ("userphone", &[], "sip:49@h", "sip:49@h;user=phone"),
            ("seth", &[Val::text("o")], "sip:a@h:5080", "sip:a@o:5080"),
            ("setu", &[Val::text("b")], "sip:a@h", "sip:b@h"),
            ("setup", &[Val::text("b:pw")], "sip:a@h", "sip:b:pw@h"),
            ("setuserpass", &[Val::text("b")], "sip:a:x@h", "sip:b@h"),
            ("strip", &[Val::Int(9)], "sip:alice@h", "sip:h"),
            (
                "sethp",
                &[Val::text("o:99")],
                "sip:a@h:5080;x",
                "sip:a@o:99;x",
            ),
            (
                "rewritehostport",
                &[Val::text("o")],
                "sip:a@h:5080",
                "sip:a@o",
            ),
            (
                "sethpt",
                &[Val::text("o:98;transport=tcp")],
                "sip:a@h;transport=udp",
                "sip:a@o:98;transport=tcp",
            ),
            (
                "sethpt",
                &[Val::text("o")],
                "sip:a@h:1;transport=tcp",
                "sip:a@o",
            ),
            ("setp", &[Val::text("77")], "sip:a@h", "sip:a@h:77"),
            ("rewriteport", &[Val::Int(78)], "sip:a@h:1", "sip:a@h:78"),
            ("setport", &[Val::text("")], "sip:a@h:1", "sip:a@h"),
            (
                "sethostport",
                &[Val::text("[2001:db8::1]:7")],
                "sip:a@h",
                "sip:a@[2001:db8::1]:7",
            ),
        ];
        for (name, args, before, after) in cases {
            let (r, uri) = run(name, args, before);
            assert_eq!((r, uri.as_str()), (Val::Bool(true), after), "{name}");
        }
    }

    #[test]
    fn a_uri_that_is_none_is_left_alone() {
        let (r, uri) = run("strip", &[Val::Int(1)], "nonsense");
        assert_eq!((r, uri.as_str()), (Val::Bool(false), "nonsense"));
    }

    #[test]
    fn branches_are_removed_by_number() {
        let mut ctx = Ctx::new();
        for u in ["sip:a", "sip:b", "sip:c"] {
            ctx.branches.push(crate::route::ctx::Branch {
                uri: u.into(),
                ..Default::default()
            });
        }
        let all = functions();
        let f = |n: &str| all.iter().find(|f| f.cfg.contains(&n)).unwrap();
        let remove = f("remove_branch");
        assert_eq!(remove.call(&mut ctx, &[Val::Int(1)]), Ok(Val::Bool(true)));
        assert_eq!(remove.call(&mut ctx, &[Val::Int(7)]), Ok(Val::Bool(false)));
        assert_eq!(remove.call(&mut ctx, &[]), Ok(Val::Bool(true)));
        assert_eq!(ctx.branches.len(), 1);
        assert_eq!(ctx.branches[0].uri, b"sip:c");
        f("clear_branches").call(&mut ctx, &[]).unwrap();
        assert!(ctx.branches.is_empty());
    }
}
