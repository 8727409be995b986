//! Flags: of the message (and its transaction), of branches, of the script run.

use crate::route::ctx::Ctx;
use crate::route::function::{Function, ScriptError, function};

pub(super) fn functions() -> Vec<Function> {
    vec![
        function("setflag", |c: &mut Ctx, f: i64| {
            change(&mut c.flags, f, true)
        })
        .cfg("setflag")
        .args(["flag"])
        .doc("Sets a flag of the message, 0…31."),
        function("resetflag", |c: &mut Ctx, f: i64| {
            change(&mut c.flags, f, false)
        })
        .cfg("resetflag")
        .args(["flag"])
        .doc("Clears a flag of the message."),
        function("isflagset", |c: &mut Ctx, f: i64| test(c.flags, f))
            .cfg("isflagset")
            .args(["flag"])
            .doc("Whether a flag of the message is set."),
        function("setsflag", |c: &mut Ctx, f: i64| {
            change(&mut c.sflags, f, true)
        })
        .cfg("setsflag")
        .args(["flag"])
        .doc("Sets a flag of the script run."),
        function("resetsflag", |c: &mut Ctx, f: i64| {
            change(&mut c.sflags, f, false)
        })
        .cfg("resetsflag")
        .args(["flag"])
        .doc("Clears a flag of the script run."),
        function("issflagset", |c: &mut Ctx, f: i64| test(c.sflags, f))
            .cfg("issflagset")
            .args(["flag"])
            .doc("Whether a flag of the script run is set."),
        function("setbflag", |c: &mut Ctx, f: i64, b: Option<i64>| {
            branch(c, b.unwrap_or(0), f, Some(true))
        })
        .cfg("setbflag")
        .args(["flag", "branch"])
        .doc("Sets a flag of a branch; of the request URI where none is named."),
        function("resetbflag", |c: &mut Ctx, f: i64, b: Option<i64>| {
            branch(c, b.unwrap_or(0), f, Some(false))
        })
        .cfg("resetbflag")
        .args(["flag", "branch"])
        .doc("Clears a flag of a branch."),
        function("isbflagset", |c: &mut Ctx, f: i64, b: Option<i64>| {
            branch(c, b.unwrap_or(0), f, None)
        })
        .cfg("isbflagset")
        .args(["flag", "branch"])
        .doc("Whether a flag of a branch is set."),
        function("setbiflag", |c: &mut Ctx, f: i64, b: i64| {
            branch(c, b, f, Some(true))
        })
        .args(["flag", "branch"])
        .doc("Sets a flag of branch number `branch`."),
        function("resetbiflag", |c: &mut Ctx, f: i64, b: i64| {
            branch(c, b, f, Some(false))
        })
        .args(["flag", "branch"])
        .doc("Clears a flag of branch number `branch`."),
        function("isbiflagset", |c: &mut Ctx, f: i64, b: i64| {
            branch(c, b, f, None)
        })
        .args(["flag", "branch"])
        .doc("Whether a flag of branch number `branch` is set."),
    ]
}

fn bit(flag: i64) -> Result<u32, ScriptError> {
    match u32::try_from(flag) {
        Ok(n) if n < 32 => Ok(1 << n),
        _ => Err(ScriptError(format!("no flag {flag}; flags are 0 to 31"))),
    }
}

fn change(flags: &mut u32, flag: i64, on: bool) -> Result<bool, ScriptError> {
    let b = bit(flag)?;
    *flags = if on { *flags | b } else { *flags & !b };
    Ok(true)
}

fn test(flags: u32, flag: i64) -> Result<bool, ScriptError> {
    Ok(flags & bit(flag)? != 0)
}

/// Branch 0 is the request URI; the others are those added to it.
fn branch(ctx: &mut Ctx, number: i64, flag: i64, set: Option<bool>) -> Result<bool, ScriptError> {
    let flags = match usize::try_from(number) {
        Ok(0) => &mut ctx.bflags,
        Ok(n) => match ctx.branches.get_mut(n - 1) {
            Some(b) => &mut b.flags,
            None => return Ok(false),
        },
        Err(_) => return Err(ScriptError(format!("no branch {number}"))),
    };
    match set {
        Some(on) => change(flags, flag, on),
        None => test(*flags, flag),
    }
}
