//! `KSR.info("…")` and its like. The text is written as given: pseudo-variables are `xlog`'s matter.

use crate::log::{Level, write_raw};
use crate::route::ctx::Ctx;
use crate::route::function::{Function, function};

pub(super) fn functions() -> Vec<Function> {
    let at = |level: Level| move |_: &mut Ctx, text: &[u8]| write_raw(level, "core", text);
    let one = |name, level, doc| function(name, at(level)).args(["text"]).doc(doc);
    vec![
        one(
            "dbg",
            Level::Dbg,
            "Writes a line to the log at level debug.",
        ),
        one(
            "info",
            Level::Info,
            "Writes a line to the log at level info.",
        ),
        one(
            "notice",
            Level::Notice,
            "Writes a line to the log at level notice.",
        ),
        one(
            "warn",
            Level::Warn,
            "Writes a line to the log at level warning.",
        ),
        one(
            "err",
            Level::Err,
            "Writes a line to the log at level error.",
        ),
        one(
            "crit",
            Level::Crit,
            "Writes a line to the log at level critical.",
        ),
        function("log", log)
            .args(["level", "text"])
            .doc("Writes a line to the log; level is dbg, info, notice, warn, err or crit."),
        function("get_debug", |_: &mut Ctx| crate::log::DEBUG.get()).doc("The level of the log."),
    ]
}

fn log(_: &mut Ctx, level: &str, text: &[u8]) {
    write_raw(Level::from_name(level).unwrap_or(Level::Err), "core", text);
}
