//! Marks on a message: what is to stand in its Vias, and the flags that other functions leave.

use olelo_core::net::via::ViaWishes;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, ScriptError, function};

/// Sets one of the wishes for Vias.
type SetWish = fn(&mut ViaWishes, bool);

/// Internal flags by name.
const IFLAGS: [&str; 3] = ["USE_UAC_FROM", "USE_UAC_TO", "UAC_AUTH"];

/// The functions.
pub fn functions() -> Vec<Function> {
    let mut v = Vec::new();
    let wishes: [(&'static str, SetWish, &'static str); 4] = [
        (
            "via_add_srvid",
            |w, on| w.srvid = on,
            "Whether our Via has srvid= with the core parameter server_id, if that is not 0.",
        ),
        (
            "via_add_xavp_params",
            |w, on| w.xavp_params = on,
            "Whether our Via has the fields of the xavp named by xavp_via_params as parameters.",
        ),
        (
            "via_use_xavp_fields",
            |w, on| w.xavp_fields = on,
            "Whether our Via has address and port from the xavp named by xavp_via_fields.",
        ),
        (
            "via_reply_add_xavp_params",
            |w, on| w.reply_params = on,
            "Whether the sender's Via in replies has the fields of the xavp named by xavp_via_reply_params.",
        ),
    ];
    for (name, set, doc) in wishes {
        v.push(
            function(name, move |c: &mut Ctx, flags: i64| {
                set(c.ext::<ViaWishes>(), flags & 1 != 0);
                1i64
            })
            .cfg(name)
            .args(["flags"])
            .doc(doc),
        );
    }
    let iflags: [(&'static str, Option<bool>, &'static str); 3] = [
        (
            "msg_iflag_set",
            Some(true),
            "Sets an internal flag: USE_UAC_FROM, USE_UAC_TO or UAC_AUTH.",
        ),
        ("msg_iflag_reset", Some(false), "Clears an internal flag."),
        ("msg_iflag_is_set", None, "Whether an internal flag is set."),
    ];
    for (name, to, doc) in iflags {
        v.push(
            function(name, move |c: &mut Ctx, flag: &str| iflag(c, flag, to))
                .native_only()
                .cfg(name)
                .args(["flag"])
                .doc(doc),
        );
    }
    let vbflags: [(&'static str, Option<bool>, &'static str); 3] = [
        (
            "msg_vbflag_set",
            Some(true),
            "Sets a flag of this message that belongs to its values, by number 0 to 31 or name.",
        ),
        ("msg_vbflag_reset", Some(false), "Clears such a flag."),
        ("msg_vbflag_is_set", None, "Whether such a flag is set."),
    ];
    for (name, to, doc) in vbflags {
        v.push(
            function(name, move |c: &mut Ctx, flag: &str| vbflag(c, flag, to))
                .native_only()
                .cfg(name)
                .args(["flag"])
                .doc(doc),
        );
    }
    v.push(
        function("msg_vbflag_parse", |c: &mut Ctx, list: &str| {
            for name in list.split([',', '|', ' ']).filter(|n| !n.is_empty()) {
                vbflag(c, name, Some(true))?;
            }
            Ok::<i64, ScriptError>(1)
        })
        .native_only()
        .cfg("msg_vbflag_parse")
        .args(["flags"])
        .doc("Sets several such flags, given as a list with commas."),
    );
    v.push(
        function("add_tcp_alias", |c: &mut Ctx, port: i64| {
            olelo_core::exports::add_tcp_alias(c, u16::try_from(port).ok());
            1i64
        })
        .native_only()
        .cfg("add_tcp_alias")
        .args(["port"])
        .doc("Lets this connection be used for requests to the sender's address and this port."),
    );
    v
}

/// Flags that `uac` functions leave in Kamailio; here scripts only read back what they set.
#[derive(Default)]
struct InternalFlags(u32);

/// Flags under free names.
#[derive(Default)]
struct ValueFlags(Vec<String>);

/// Most flags under free names.
const MOST: usize = 32;

fn iflag(ctx: &mut Ctx, name: &str, to: Option<bool>) -> Result<i64, ScriptError> {
    let n = IFLAGS
        .iter()
        .position(|f| f.eq_ignore_ascii_case(name))
        .ok_or_else(|| ScriptError(format!("no internal flag {name}; {}", IFLAGS.join(", "))))?;
    let flags = &mut ctx.ext::<InternalFlags>().0;
    let bit = 1 << n;
    match to {
        Some(true) => *flags |= bit,
        Some(false) => *flags &= !bit,
        None if *flags & bit == 0 => return Ok(-1),
        None => {}
    }
    Ok(1)
}

fn vbflag(ctx: &mut Ctx, name: &str, to: Option<bool>) -> Result<i64, ScriptError> {
    let flags = &mut ctx.ext::<ValueFlags>().0;
    let at = flags.iter().position(|f| f.eq_ignore_ascii_case(name));
    match (to, at) {
        (Some(true), None) if flags.len() == MOST => {
            return Err(ScriptError(format!(
                "more than {MOST} flags on one message"
            )));
        }
        (Some(true), None) => flags.push(name.to_string()),
        (Some(false), Some(at)) => {
            flags.swap_remove(at);
        }
        (None, None) => return Ok(-1),
        _ => {}
    }
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use olelo_core::route::value::Val;

    fn call(ctx: &mut Ctx, name: &str, arg: Val<'_>) -> Result<Val<'static>, ScriptError> {
        let all = functions();
        let f = all.iter().find(|f| f.cfg.contains(&name)).expect(name);
        f.call(ctx, &[arg])
    }

    #[test]
    fn internal_flags_have_names() {
        let mut c = Ctx::new();
        let uac = || Val::text("UAC_AUTH");
        assert_eq!(call(&mut c, "msg_iflag_is_set", uac()), Ok(Val::Int(-1)));
        assert_eq!(call(&mut c, "msg_iflag_set", uac()), Ok(Val::Int(1)));
        assert_eq!(call(&mut c, "msg_iflag_is_set", uac()), Ok(Val::Int(1)));
        assert_eq!(call(&mut c, "msg_iflag_reset", uac()), Ok(Val::Int(1)));
        assert_eq!(call(&mut c, "msg_iflag_is_set", uac()), Ok(Val::Int(-1)));
        assert!(call(&mut c, "msg_iflag_set", Val::text("OTHER")).is_err());
    }

    #[test]
    fn a_list_sets_several_flags() {
        let mut c = Ctx::new();
        call(&mut c, "msg_vbflag_parse", Val::text("a,b")).unwrap();
        assert_eq!(
            call(&mut c, "msg_vbflag_is_set", Val::text("B")),
            Ok(Val::Int(1))
        );
        call(&mut c, "msg_vbflag_reset", Val::text("b")).unwrap();
        assert_eq!(
            call(&mut c, "msg_vbflag_is_set", Val::text("b")),
            Ok(Val::Int(-1))
        );
        assert_eq!(
            call(&mut c, "msg_vbflag_is_set", Val::text("a")),
            Ok(Val::Int(1))
        );
    }

    #[test]
    fn the_via_gets_what_the_script_wants() {
        let mut c = Ctx::new();
        call(&mut c, "via_add_srvid", Val::text("1")).unwrap();
        assert!(c.ext::<ViaWishes>().srvid);
        call(&mut c, "via_add_srvid", Val::Int(0)).unwrap();
        assert_eq!(*c.ext::<ViaWishes>(), ViaWishes::default());
    }
}
