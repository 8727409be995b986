//! Flags: of the message (and its transaction), of branches, of the script run.
//!
//! A flag is a number 0…31, or a name that the configuration declares with `flags NAME:number`.

use crate::route::ctx::Ctx;
use crate::route::function::{Arg, Function, Kind, ScriptError, function};
use crate::route::value::Val;

pub(super) fn functions() -> Vec<Function> {
    vec![
        function("setflag", |c: &mut Ctx, f: Flag| {
            change(&mut c.flags, f, true)
        })
        .cfg("setflag")
        .args(["flag"])
        .doc("Sets a flag of the message, 0…31."),
        function("resetflag", |c: &mut Ctx, f: Flag| {
            change(&mut c.flags, f, false)
        })
        .cfg("resetflag")
        .args(["flag"])
        .doc("Clears a flag of the message."),
        function("isflagset", |c: &mut Ctx, f: Flag| test(c.flags, f))
            .cfg("isflagset")
            .args(["flag"])
            .doc("Whether a flag of the message is set."),
        function("setsflag", |c: &mut Ctx, f: Flag| {
            change(&mut c.sflags, f, true)
        })
        .args(["flag"])
        .doc("Sets a flag of the script run."),
        function("resetsflag", |c: &mut Ctx, f: Flag| {
            change(&mut c.sflags, f, false)
        })
        .args(["flag"])
        .doc("Clears a flag of the script run."),
        function("issflagset", |c: &mut Ctx, f: Flag| test(c.sflags, f))
            .args(["flag"])
            .doc("Whether a flag of the script run is set."),
        function("setbflag", |c: &mut Ctx, f: Flag, b: Option<i64>| {
            branch(c, b.unwrap_or(0), f, Some(true))
        })
        .args(["flag", "branch"])
        .doc("Sets a flag of a branch; of the request URI where none is named."),
        function("resetbflag", |c: &mut Ctx, f: Flag, b: Option<i64>| {
            branch(c, b.unwrap_or(0), f, Some(false))
        })
        .args(["flag", "branch"])
        .doc("Clears a flag of a branch."),
        function("isbflagset", |c: &mut Ctx, f: Flag, b: Option<i64>| {
            branch(c, b.unwrap_or(0), f, None)
        })
        .args(["flag", "branch"])
        .doc("Whether a flag of a branch is set."),
        function("setbiflag", |c: &mut Ctx, f: Flag, b: i64| {
            branch(c, b, f, Some(true))
        })
        .args(["flag", "branch"])
        .doc("Sets a flag of branch number `branch`."),
        function("resetbiflag", |c: &mut Ctx, f: Flag, b: i64| {
            branch(c, b, f, Some(false))
        })
        .args(["flag", "branch"])
        .doc("Clears a flag of branch number `branch`."),
        function("isbiflagset", |c: &mut Ctx, f: Flag, b: i64| {
            branch(c, b, f, None)
        })
        .args(["flag", "branch"])
        .doc("Whether a flag of branch number `branch` is set."),
    ]
}

/// The native names of these that belong to the module `kex`.
pub(super) fn of_kex() -> Vec<Function> {
    let names = [
        "setsflag",
        "resetsflag",
        "issflagset",
        "setbflag",
        "resetbflag",
        "isbflagset",
    ];
    functions()
        .into_iter()
        .filter(|f| names.contains(&f.name))
        .map(|f| {
            let name = f.name;
            f.native_only().cfg(name)
        })
        .collect()
}

/// A flag as scripts name it: its number or its declared name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag(u8);

impl Flag {
    /// The one with this number, 0…31.
    pub fn from_number(n: i64) -> Option<Flag> {
        u8::try_from(n).ok().filter(|n| *n < 32).map(Flag)
    }

    /// The flag's bit in a word of flags.
    pub fn bit(self) -> u32 {
        1 << self.0
    }
}

impl Arg for Flag {
    type Item<'a> = Flag;
    const KIND: Kind = Kind::Int;
    fn convert(v: Option<&Val<'_>>) -> Result<Flag, String> {
        let v = v.ok_or("expected a flag, got nothing")?;
        if let Some(n) = v.as_int() {
            return Flag::from_number(n).ok_or(format!("no flag {n}; flags are 0 to 31"));
        }
        let name = v.as_bytes().ok_or("expected a flag")?;
        let name = String::from_utf8_lossy(&name);
        crate::server::try_server()
            .and_then(|s| s.config.flag_names.get(name.trim()).copied())
            .and_then(|n| Flag::from_number(i64::from(n)))
            .ok_or_else(|| {
                format!(
                    "expected an integer, got string \"{name}\", which `flags` does not declare either"
                )
            })
    }
}

fn change(flags: &mut u32, flag: Flag, on: bool) -> bool {
    let b = flag.bit();
    *flags = if on { *flags | b } else { *flags & !b };
    true
}

fn test(flags: u32, flag: Flag) -> bool {
    flags & flag.bit() != 0
}

/// Branch 0 is the request URI; the others are those added to it.
fn branch(ctx: &mut Ctx, number: i64, flag: Flag, set: Option<bool>) -> Result<bool, ScriptError> {
    let flags = match usize::try_from(number) {
        Ok(0) => &mut ctx.bflags,
        Ok(n) => match ctx.branches.get_mut(n - 1) {
            Some(b) => &mut b.flags,
            None => return Ok(false),
        },
        Err(_) => return Err(ScriptError(format!("no branch {number}"))),
    };
    match set {
        Some(on) => Ok(change(flags, flag, on)),
        None => Ok(test(*flags, flag)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_a_number_below_32() {
        assert_eq!(
            Flag::convert(Some(&Val::Int(31))).map(Flag::bit),
            Ok(1 << 31)
        );
        assert_eq!(Flag::convert(Some(&Val::text("4"))).map(Flag::bit), Ok(16));
        assert!(Flag::convert(Some(&Val::Int(32))).is_err());
        assert!(Flag::convert(Some(&Val::Int(-1))).is_err());
        assert!(Flag::convert(None).is_err());
    }

    #[test]
    fn flags_of_branches_are_their_own() {
        let mut ctx = Ctx::new();
        ctx.branches.push(Default::default());
        let all = of_kex();
        let call = |c: &mut Ctx, n: &str, args: &[Val<'_>]| {
            let f = all.iter().find(|f| f.cfg == [n]).unwrap();
            f.call(c, args).unwrap()
        };
        let yes = Val::Bool(true);
        assert_eq!(call(&mut ctx, "setbflag", &[Val::Int(3), Val::Int(1)]), yes);
        assert_eq!(ctx.branches[0].flags, 8);
        assert_eq!(
            call(&mut ctx, "isbflagset", &[Val::Int(3)]),
            Val::Bool(false)
        );
        assert_eq!(call(&mut ctx, "setbflag", &[Val::Int(2)]), yes);
        assert_eq!((ctx.bflags, ctx.branches[0].flags), (4, 8));
        assert_eq!(
            call(&mut ctx, "setbflag", &[Val::Int(2), Val::Int(9)]),
            Val::Bool(false)
        );
    }
}
