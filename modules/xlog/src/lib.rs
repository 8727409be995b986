//! The `xlog` module: log lines with pseudo-variables in them.
//!
//! Formats are compiled once per process and evaluated only where the level is written at all, so
//! that a quiet level costs a comparison.

#![forbid(unsafe_code)]

use olelo_core::log::{self, Level};
use olelo_core::pv::{PvKey, format, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, ScriptError, function};
use olelo_core::route::module::{
    IntParam, Module, ParamValue, StrParam, param_call, param_ignored, param_int, param_str,
};
use olelo_core::route::value::Val;

static BUF_SIZE: IntParam = IntParam::new(4096);
static FORCE_COLOR: IntParam = IntParam::new(0);
static LONG_FORMAT: IntParam = IntParam::new(0);
static PREFIX: StrParam = StrParam::new("<script>: ");
static PREFIX_MODE: IntParam = IntParam::new(0);
static METHODS_FILTER: IntParam = IntParam::new(-1);
static AUTO_NEWLINE: IntParam = IntParam::new(0);

/// The module.
pub fn module() -> Module {
    let m = Module::new("xlog")
        .doc("Log lines with pseudo-variables in them.")
        .param(param_int("buf_size", &BUF_SIZE).doc("Longest text of a line, in bytes."))
        .param(
            param_int("force_color", &FORCE_COLOR)
                .doc("1 writes $C's colours also where the log is no terminal's."),
        )
        .param(
            param_int("long_format", &LONG_FORMAT)
                .doc("1 names the file beside the line in xlogl and xdbgl."),
        )
        .param(param_str("prefix", &PREFIX).doc("Stands before every text."))
        .param(param_int("prefix_mode", &PREFIX_MODE).doc("1 evaluates the prefix as a format."))
        .param(
            param_int("methods_filter", &METHODS_FILTER)
                .doc("Methods for which xlogm is silent, as a sum of bits; -1 is all."),
        )
        .param(
            param_int("auto_newline", &AUTO_NEWLINE).doc(
                "1 ends a text with a line break where it has none; lines are whole in any case.",
            ),
        )
        .param(param_call("log_facility", set_facility).doc("Syslog facility."))
        .param(param_ignored(
            "log_colors",
            true,
            "colours of levels are the terminal's matter",
        ))
        .pv(pv_named("C", color)
            .doc("Switches the terminal's colours: foreground and background letter."));
    functions().into_iter().fold(m, Module::function)
}

fn functions() -> Vec<Function> {
    let at = |level: Level| move |c: &mut Ctx, t: &[u8]| write(c, level, t);
    let one = |name: &'static str, level, doc| {
        function(name, at(level))
            .cfg(name)
            .args(["format"])
            .raw(&["format"])
            .doc(doc)
    };
    vec![
        one("xdbg", Level::Dbg, "Writes a line at level debug."),
        one("xinfo", Level::Info, "Writes a line at level info."),
        one("xnotice", Level::Notice, "Writes a line at level notice."),
        one("xwarn", Level::Warn, "Writes a line at level warning."),
        one("xerr", Level::Err, "Writes a line at level error."),
        one("xalert", Level::Alert, "Writes a line at level alert."),
        one("xcrit", Level::Crit, "Writes a line at level critical."),
        one("xbug", Level::Bug, "Writes a line at level bug.").native_only(),
        function("xdbgl", |c: &mut Ctx, t: &[u8]| {
            let text = placed(c, t);
            write(c, Level::Dbg, &text)
        })
        .native_only()
        .cfg("xdbgl")
        .args(["format"])
        .raw(&["format"])
        .doc("As xdbg, with the line of the configuration."),
        function("xlogl", xlogl)
            .native_only()
            .cfg("xlogl")
            .args(["first", "second", "third"])
            .raw(&["first", "second", "third"])
            .doc("As xlog, with the line of the configuration."),
        function("xlog", |c: &mut Ctx, l: &[u8], t: &[u8]| xlog(c, &[l, t]))
            .args(["level", "format"])
            .doc("Writes a line at a level: L_ALERT, L_BUG, L_CRIT, L_ERR, L_WARN, L_NOTICE, L_INFO, L_DBG, or its number."),
        function("xlog_facility", |c: &mut Ctx, f: &[u8], l: &[u8], t: &[u8]| xlog(c, &[f, l, t]))
            .args(["facility", "level", "format"])
            .doc("Writes a line at a level, for a syslog facility."),
        function("xlog_any", any)
            .native_only()
            .cfg("xlog")
            .args(["first", "second", "third"]).raw(&["first", "second", "third"])
            .doc("xlog([[facility,] level,] format): writes a line, at level error unless told."),
        function("xlogm", xlogm)
            .native_only()
            .cfg("xlogm")
            .args(["level", "format"]).raw(&["format"])
            .doc("Writes a line unless `methods_filter` has the message's method."),
    ]
}

fn any(ctx: &mut Ctx, a: &[u8], b: Option<&[u8]>, c: Option<&[u8]>) -> Result<i64, ScriptError> {
    let all: Vec<&[u8]> = [Some(a), b, c].into_iter().flatten().collect();
    xlog(ctx, &all)
}

fn xlogl(ctx: &mut Ctx, a: &[u8], b: Option<&[u8]>, c: Option<&[u8]>) -> Result<i64, ScriptError> {
    let mut all: Vec<&[u8]> = [Some(a), b, c].into_iter().flatten().collect();
    let text = placed(ctx, all.pop().unwrap_or_default());
    all.push(&text);
    xlog(ctx, &all)
}

/// The text behind the place that routing has come to: `12:` or, with `long_format`, `file:12:`.
fn placed(ctx: &Ctx, text: &[u8]) -> Vec<u8> {
    let file = match LONG_FORMAT.is_on() {
        true => format!("{}:", ctx.place.file().unwrap_or("?")),
        false => String::new(),
    };
    let mut out = format!("{file}{}:", ctx.place.line).into_bytes();
    out.extend_from_slice(text);
    out
}

/// `[[facility,] level,] format`.
fn xlog(ctx: &mut Ctx, args: &[&[u8]]) -> Result<i64, ScriptError> {
    match args {
        [text] => write(ctx, Level::Err, text),
        [level, text] => {
            let level = level_of(ctx, level)?;
            write(ctx, level, text)
        }
        [_facility, level, text] => {
            let level = level_of(ctx, level)?;
            write(ctx, level, text)
        }
        _ => Ok(-1),
    }
}

fn xlogm(ctx: &mut Ctx, level: &[u8], text: &[u8]) -> Result<i64, ScriptError> {
    if METHODS_FILTER.get() & i64::from(ctx.msg.method().bit()) != 0 {
        return Ok(1);
    }
    xlog(ctx, &[level, text])
}

/// A level by name, number, or pseudo-variable. Of a name the third letter decides, as `L_WARN`'s W.
fn level_of(ctx: &Ctx, text: &[u8]) -> Result<Level, ScriptError> {
    let text = format::expand(ctx, text)?;
    let text = String::from_utf8_lossy(&text);
    if let Some(l) = Level::from_name(&text) {
        return Ok(l);
    }
    match text.trim().as_bytes().get(2).map(u8::to_ascii_uppercase) {
        Some(b'A') => Ok(Level::Alert),
        Some(b'B') => Ok(Level::Bug),
        Some(b'C') => Ok(Level::Crit),
        Some(b'E') => Ok(Level::Err),
        Some(b'W') => Ok(Level::Warn),
        Some(b'N') => Ok(Level::Notice),
        Some(b'I') => Ok(Level::Info),
        Some(b'D') => Ok(Level::Dbg),
        _ => Err(ScriptError(format!(
            "\"{text}\" is no log level; one of L_ALERT, L_BUG, L_CRIT, L_ERR, L_WARN, L_NOTICE, L_INFO, L_DBG"
        ))),
    }
}

fn write(ctx: &mut Ctx, level: Level, text: &[u8]) -> Result<i64, ScriptError> {
    if !log::enabled(level, "xlog") {
        return Ok(1);
    }
    log::write_raw(level, "xlog", &line(ctx, text)?);
    Ok(1)
}

/// Prefix and text for this message, cut to `buf_size`.
fn line(ctx: &Ctx, text: &[u8]) -> Result<Vec<u8>, ScriptError> {
    let prefix = PREFIX.text().as_bytes();
    let mut out = match PREFIX_MODE.is_on() {
        true => format::expand(ctx, prefix)?,
        false => prefix.to_vec(),
    };
    out.extend(format::expand(ctx, text)?);
    out.truncate(usize::try_from(BUF_SIZE.get()).unwrap_or(4096).max(64));
    Ok(out)
}

fn set_facility(v: &ParamValue) -> Result<(), String> {
    match v {
        ParamValue::Str(s) => log::set_facility(s),
        ParamValue::Int(i) => Err(format!(
            "log_facility wants a name such as LOG_LOCAL0, got {i}"
        )),
    }
}

/// `$C(xy)`: the escape sequence for foreground `x` and background `y`.
fn color<'c>(_: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let code = |letter: u8| match letter.to_ascii_lowercase() {
        b's' => Some(0),
        b'r' => Some(1),
        b'g' => Some(2),
        b'y' => Some(3),
        b'b' => Some(4),
        b'p' => Some(5),
        b'c' => Some(6),
        b'w' => Some(7),
        _ => None,
    };
    let [fg, bg] = *key.name() else {
        return Val::Null;
    };
    let mut seq = String::from("\x1b[");
    match (fg, code(fg)) {
        (b'x' | b'X', _) => seq.push_str("0;39;"),
        (l, Some(n)) if l.is_ascii_uppercase() => seq.push_str(&format!("1;3{n};")),
        (_, Some(n)) => seq.push_str(&format!("0;3{n};")),
        _ => return Val::Null,
    }
    match (bg, code(bg)) {
        (b'x' | b'X', _) => seq.push_str("49m"),
        (_, Some(n)) => seq.push_str(&format!("4{n}m")),
        _ => return Val::Null,
    }
    Val::from(seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_by_name_number_and_third_letter() {
        olelo_core::server::for_tests(vec![module()]);
        let ctx = Ctx::new();
        for (text, want) in [
            ("L_ERR", Level::Err),
            ("L_WARN", Level::Warn),
            ("L_INFORMATION", Level::Info),
            ("-5", Level::Alert),
            ("3", Level::Dbg),
        ] {
            assert_eq!(level_of(&ctx, text.as_bytes()), Ok(want), "{text}");
        }
        assert!(level_of(&ctx, b"x").is_err());
    }

    #[test]
    fn a_line_has_the_prefix_and_evaluated_text() {
        olelo_core::server::for_tests(vec![module()]);
        let ctx = Ctx::new();
        assert_eq!(
            line(&ctx, b"a $$ $C(rx)b").unwrap(),
            b"<script>: a $ \x1b[0;31;49mb"
        );
    }

    #[test]
    fn colours_are_two_letters() {
        olelo_core::server::for_tests(vec![module()]);
        let ctx = Ctx::new();
        for (name, want) in [
            ("xx", Some("\x1b[0;39;49m")),
            ("Rg", Some("\x1b[1;31;42m")),
            ("q", None),
            ("zz", None),
        ] {
            let key = PvKey {
                inner: Some(name.as_bytes()),
                ..PvKey::default()
            };
            assert_eq!(
                color(&ctx, &key).as_bytes().as_deref(),
                want.map(str::as_bytes),
                "{name}"
            );
        }
    }
}
