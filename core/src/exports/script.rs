//! `KSR.x`: what a script asks of its interpreter. The same in each language.

use crate::route::ctx::{Ctx, End};
use crate::route::function::{Function, ScriptError, function};
use crate::route::value::Val;

/// The functions.
pub fn functions() -> Vec<Function> {
    vec![
        function("exit", |c: &mut Ctx| c.end = End::Exit)
            .prefix("x")
            .doc("Ends the routing of this message."),
        function("drop", |c: &mut Ctx| c.end = End::Drop)
            .prefix("x")
            .doc("Ends the routing; a reply or branch is not forwarded."),
        function("modf", modf)
            .prefix("x")
            .args(["name", "a", "b", "c", "d", "e"])
            .doc("Calls a function of the native language by its name there, all arguments as strings."),
        function("probe", |_: &mut Ctx| ())
            .prefix("x")
            .doc("Does nothing: tells whether KSR works."),
    ]
}

fn modf(
    ctx: &mut Ctx,
    name: &str,
    a: Option<&[u8]>,
    b: Option<&[u8]>,
    c: Option<&[u8]>,
    d: Option<&[u8]>,
    e: Option<&[u8]>,
) -> Result<i64, ScriptError> {
    let args: Vec<Val<'_>> = [a, b, c, d, e]
        .into_iter()
        .map_while(|x| x.map(Val::bytes))
        .collect();
    let registry = &crate::server().registry;
    let fits = registry
        .native(name)
        .iter()
        .map(|id| registry.function(*id))
        .find(|f| (f.least..=f.params.len()).contains(&args.len()));
    match fits {
        Some(f) => Ok(f.call(ctx, &args)?.as_int().unwrap_or(1)),
        None => Err(ScriptError::new(format!(
            "no native function {name} with {} arguments",
            args.len()
        ))),
    }
}
