//! The `regex` module: regular expressions in the manner of Perl, given by scripts or kept in a file.
//!
//! [`pcre`] is one expression, [`groups`] the file. `regex.reload` reads the file anew; a broken one
//! is refused and the groups stay as they were.

#![forbid(unsafe_code)]

mod groups;
mod pcre;

use groups::Limits;
use olelo_core::error;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{BRANCH, EVENT, FAILURE, ONREPLY, REQUEST, function};
use olelo_core::route::module::{IntParam, Module, StrParam, param_int, param_str};
use olelo_core::rpc::{Answer, Fault, Params, rpc};
use pcre::{Options, Pcre};

static FILE: StrParam = StrParam::unset();
static MAX_GROUPS: IntParam = IntParam::new(20);
static GROUP_MAX_SIZE: IntParam = IntParam::new(8192);
static CASELESS: IntParam = IntParam::new(0);
static MULTILINE: IntParam = IntParam::new(0);
static DOTALL: IntParam = IntParam::new(0);
static EXTENDED: IntParam = IntParam::new(0);

/// The module.
pub fn module() -> Module {
    let anywhere = EVENT | REQUEST | FAILURE | ONREPLY | BRANCH;
    Module::new("regex")
        .doc("Regular expressions in the manner of Perl, given by scripts or kept in a file.")
        .init(init)
        .param(param_str("file", &FILE).doc("File with groups of expressions."))
        .param(param_int("max_groups", &MAX_GROUPS).doc("Most groups in the file."))
        .param(
            param_int("group_max_size", &GROUP_MAX_SIZE).doc("Most bytes of a group in the file."),
        )
        .param(param_int("pcre_caseless", &CASELESS).doc("Match without regard to case, as (?i)."))
        .param(param_int("pcre_multiline", &MULTILINE).doc("^ and $ match at lines, as (?m)."))
        .param(param_int("pcre_dotall", &DOTALL).doc("A dot matches line feeds too, as (?s)."))
        .param(
            param_int("pcre_extended", &EXTENDED)
                .doc("Blanks and comments in expressions don't count, as (?x)."),
        )
        .function(
            function("pcre_match", |_: &mut Ctx, t: &[u8], re: &[u8]| {
                pcre_match(t, re)
            })
            .cfg("pcre_match")
            .args(["text", "regex"])
            .routes(anywhere)
            .doc("Whether a text matches; -1 if not, -4 where the expression is none."),
        )
        .function(
            function("pcre_match_group", |_: &mut Ctx, t: &[u8], g: i64| {
                match_group(t, g)
            })
            .args(["text", "group"])
            .routes(anywhere)
            .doc("Whether a text matches a group of the file; groups count from 0."),
        )
        .function(
            function(
                "pcre_match_group_native",
                |_: &mut Ctx, t: &[u8], g: Option<i64>| match_group(t, g.unwrap_or(0)),
            )
            .native_only()
            .cfg("pcre_match_group")
            .args(["text", "group"])
            .routes(anywhere)
            .doc("Whether a text matches a group of the file, the first where none is named."),
        )
        .rpc(
            rpc("regex.reload", reload)
                .doc("Reads the file of groups anew; a broken one is refused."),
        )
}

fn options() -> Options {
    Options {
        caseless: CASELESS.is_on(),
        multiline: MULTILINE.is_on(),
        dotall: DOTALL.is_on(),
        extended: EXTENDED.is_on(),
    }
}

fn load(file: &str) -> Result<usize, String> {
    let positive = |p: &IntParam| usize::try_from(p.get()).unwrap_or(0);
    let limits = Limits {
        groups: positive(&MAX_GROUPS),
        group_bytes: positive(&GROUP_MAX_SIZE),
    };
    groups::load(file, limits, options())
}

fn init() -> Result<(), String> {
    groups::init()?;
    FILE.get().map_or(Ok(()), |f| load(f).map(drop))
}

fn answer(found: Result<bool, String>) -> i64 {
    match found {
        Ok(true) => 1,
        Ok(false) => -1,
        Err(e) => {
            error!("regex", "{e}");
            -4
        }
    }
}

fn pcre_match(text: &[u8], re: &[u8]) -> i64 {
    answer(Pcre::cached(re, options()).and_then(|p| p.is_match(text)))
}

fn match_group(text: &[u8], group: i64) -> i64 {
    let group = usize::try_from(group).map_err(|_| format!("there is no group {group}"));
    answer(group.and_then(|g| groups::matches(text, g, options())))
}

fn reload(_: &Params) -> Answer {
    let file = FILE
        .get()
        .ok_or_else(|| Fault::new(500, "No group definitions: the parameter file is not set"))?;
    load(file).map(|_| Vec::new()).map_err(|e| {
        error!("regex", "not reloaded: {e}");
        Fault::new(500, format!("Failed to reload: {e}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use olelo_core::route::value::Val;

    #[test]
    fn scripts_get_the_codes_of_the_original() {
        let m = module();
        let call = |name: &str, args: &[Val<'_>]| {
            let f = m.functions.iter().find(|f| f.name == name).unwrap();
            f.call(&mut Ctx::new(), args).unwrap()
        };
        for (text, re, want) in [("abc", "^a.c$", 1), ("ABC", "abc", -1), ("x", "(", -4)] {
            assert_eq!(
                call("pcre_match", &[Val::text(text), Val::text(re)]),
                Val::Int(want),
                "{re}"
            );
        }
        assert_eq!(
            call("pcre_match_group", &[Val::text("x"), Val::Int(-1)]),
            Val::Int(-4)
        );
        assert_eq!(reload(&Params::default()).unwrap_err().code, 500);
    }
}
