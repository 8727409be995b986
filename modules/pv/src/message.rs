//! The message as a whole: `$mb` `$ml` `$mt` `$rb` `$msg(…)` `$rpl(…)`, its flags, and what the
//! process knows beside it: `$pp` `$rc` `$stat(…)` `$ccp(…)` …

use crate::select;
use olelo_core::net::reply;
use olelo_core::pv::{PvClass, PvKey, Spec, pv, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::ScriptError;
use olelo_core::route::value::Val;

pub(crate) fn classes() -> Vec<PvClass> {
    let mut v = whole();
    v.extend(flags());
    v.extend(process());
    v
}

fn whole() -> Vec<PvClass> {
    vec![
        pv("mb", |c, _| Val::bytes(c.msg.buf())).doc("The message as received."),
        pv("mbu", |c, _| Val::from(updated(c))).doc("The message with the changes made so far."),
        pv("ml", |c, _| Val::Int(c.msg.buf().len() as i64)).doc("Length of the message as received."),
        pv("mt", |c, _| Val::Int(if c.msg.is_request() { 1 } else { 2 })).doc("1 for a request, 2 for a reply."),
        pv("mts", |c, _| Val::text(if c.msg.is_request() { "rq" } else { "rp" })).doc("`rq` for a request, `rp` for a reply."),
        pv("mi", |c, _| Val::Int(c.id as i64)).doc("Number of the message in this process."),
        pv("rb", |c, _| Val::bytes(c.msg.body())).doc("The body; empty where there is none."),
        pv("bs", |c, _| Val::Int(c.msg.body().len() as i64)).doc("Length of the body."),
        pv_named("msg", part).doc("Parts of the message: buf, len, body, body_len, hdrs, fline, fpart, lpart, id, pid, id_pid."),
        pv_named("msgbuf", byte).set(set_byte).doc("One byte of the message, by its number."),
        pv_named("rpl", reply_to).doc("Where a reply would be sent: duri."),
    ]
}

/// Flags as `$mf` shows them, and where they are.
type Flags = fn(&mut Ctx) -> &mut u32;

fn flags() -> Vec<PvClass> {
    fn dec<'c>(f: u32) -> Val<'c> {
        Val::Int(i64::from(f))
    }
    fn hex<'c>(f: u32) -> Val<'c> {
        Val::from(format!("{f:08X}"))
    }
    fn one<'c>(f: u32, k: &PvKey<'_>) -> Val<'c> {
        bit(k).map_or(Val::Null, |b| Val::Int(i64::from(f & b != 0)))
    }
    vec![
        pv("mf", |c, _| dec(c.flags))
            .set(|c, _, v| set_all(c, |c| &mut c.flags, &v))
            .doc("Flags of the message, decimal."),
        pv("mF", |c, _| hex(c.flags))
            .set(|c, _, v| set_all(c, |c| &mut c.flags, &v))
            .doc("Flags of the message, hexadecimal."),
        pv_named("Mf", |c, k| one(c.flags, k))
            .set(|c, k, v| set_one(c, |c| &mut c.flags, k, &v))
            .doc("One flag of the message."),
        pv("bf", |c, _| dec(c.bflags))
            .set(|c, _, v| set_all(c, |c| &mut c.bflags, &v))
            .doc("Flags of the branch, decimal."),
        pv("bF", |c, _| hex(c.bflags))
            .set(|c, _, v| set_all(c, |c| &mut c.bflags, &v))
            .doc("Flags of the branch, hexadecimal."),
        pv_named("Bf", |c, k| one(c.bflags, k))
            .set(|c, k, v| set_one(c, |c| &mut c.bflags, k, &v))
            .doc("One flag of the branch."),
        pv("sf", |c, _| dec(c.sflags))
            .set(|c, _, v| set_all(c, |c| &mut c.sflags, &v))
            .doc("Flags of the script run, decimal."),
        pv("sF", |c, _| hex(c.sflags))
            .set(|c, _, v| set_all(c, |c| &mut c.sflags, &v))
            .doc("Flags of the script run, hexadecimal."),
        pv_named("Sf", |c, k| one(c.sflags, k))
            .set(|c, k, v| set_one(c, |c| &mut c.sflags, k, &v))
            .doc("One flag of the script run."),
    ]
}

fn process() -> Vec<PvClass> {
    let rc = |n| pv(n, |c, _| Val::Int(c.rc)).doc("What the last function or route returned.");
    vec![
        rc("?"),
        rc("rc"),
        rc("retcode"),
        pv("pp", |_, _| Val::Int(i64::from(std::process::id()))).doc("Id of the process."),
        pv("iuid", |c, _| {
            Val::from(format!(
                "{}-{}-{}",
                olelo_core::proc::secret() as u32,
                std::process::id(),
                c.id
            ))
        })
        .doc("An id that no other message has."),
        pv_named("stat", |_, k| stat(k)).doc("Value of a statistic."),
        pv_named("ccp", parameter)
            .set(|_, k, v| set_parameter(k, &v))
            .doc("A parameter of the server or a module: `core.debug`, `tm.fr_timer`."),
        pv_named("ksr", |_, k| ksr(k)).doc("Of the server: name, version, pid."),
        pv_named("version", |_, k| version(k)).doc("The server's version: num, full, hash."),
        pv_named("_s", |_, k| Val::owned(k.name()))
            .doc("The text in the brackets, its pseudo-variables replaced."),
        pv_named("sel", |c, k| select::read(c, k.name()))
            .doc("A select: `$sel(cfg_get.core.debug)`, `$sel(@via[0].host)`."),
        pv_named("cnt", count)
            .verbatim()
            .doc("How many values a pseudo-variable has."),
        // A message that can't be parsed never comes to a script, so there is no error to tell of.
        pv("err.class", |_, _| Val::Null).doc("Class of the parse error."),
        pv("err.level", |_, _| Val::Null).doc("Level of the parse error."),
        pv("err.info", |_, _| Val::Null).doc("What the parse error was."),
        pv("err.rcode", |_, _| Val::Null).doc("Status code for the parse error."),
        pv("err.rreason", |_, _| Val::Null).doc("Reason phrase for the parse error."),
    ]
}

/// The message with the changes made so far.
pub(crate) fn updated(ctx: &Ctx) -> Vec<u8> {
    let mut out = Vec::with_capacity(ctx.msg.buf().len() + 256);
    ctx.edits.apply(&ctx.msg, &mut out);
    let old = ctx.msg.ruri();
    if ctx.msg.is_request() && ctx.ruri() != old {
        let at = ctx.msg.method_text().len() + 1;
        if out.get(at..at + old.len()) == Some(old) {
            out.splice(at..at + old.len(), ctx.ruri().iter().copied());
        }
    }
    out
}

fn part<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let (m, buf) = (&ctx.msg, ctx.msg.buf());
    let from_to = |a: usize, b: usize| Val::opt(buf.get(a..b));
    match key.name() {
        b"buf" => Val::bytes(buf),
        b"len" => Val::Int(buf.len() as i64),
        b"body" => Val::bytes(m.body()),
        b"body_len" => Val::Int(m.body().len() as i64),
        b"hdrs" => Val::bytes(headers(m)),
        b"hdrs_len" => Val::Int(m.headers_end().saturating_sub(m.headers_start()) as i64),
        b"fline" => Val::opt(
            buf.get(m.first_line_start()..m.headers_start())
                .map(<[u8]>::trim_ascii_end),
        ),
        b"fpart" => from_to(m.first_line_start(), m.headers_end()),
        b"lpart" => from_to(m.headers_start(), buf.len()),
        b"id" => Val::Int(ctx.id as i64),
        b"pid" => Val::Int(i64::from(std::process::id())),
        b"id_pid" => Val::from(format!("{}_{}", ctx.id, std::process::id())),
        _ => Val::Null,
    }
}

/// The headers without the last one's line end.
fn headers(m: &olelo_sip::Message) -> &[u8] {
    let all = m.buf().get(m.headers_start()..m.headers_end());
    let all = all.unwrap_or_default();
    all.strip_suffix(b"\r\n").unwrap_or(all)
}

fn byte<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let at = Val::bytes(key.name())
        .as_int()
        .and_then(|i| usize::try_from(i).ok());
    let buf = ctx.msg.buf();
    at.and_then(|i| buf.get(i..i + 1))
        .map_or(Val::Null, Val::bytes)
}

fn set_byte(ctx: &mut Ctx, key: &PvKey<'_>, v: Val<'_>) -> Result<(), ScriptError> {
    let at = Val::bytes(key.name())
        .as_int()
        .and_then(|i| usize::try_from(i).ok());
    let at = at.filter(|i| *i < ctx.msg.buf().len());
    let (Some(at), Some(text)) = (at, v.as_bytes()) else {
        return Err(ScriptError::new(
            "$msgbuf(n) wants a place in the message and a byte",
        ));
    };
    let first = text.get(..1).unwrap_or_default();
    ctx.edits.replace(olelo_sip::Span::new(at, at + 1), first);
    Ok(())
}

fn reply_to<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let dst = if ctx.msg.is_request() {
        reply::destination(ctx)
    } else {
        reply::next_destination(ctx)
    };
    match (key.name(), dst) {
        (b"duri", Some(d)) => Val::from(olelo_core::net::socket::sip_uri(d.addr, d.proto, true)),
        _ => Val::Null,
    }
}

fn bit(key: &PvKey<'_>) -> Option<u32> {
    let n = Val::bytes(key.name()).as_int()?;
    u32::try_from(n).ok().filter(|n| *n < 32).map(|n| 1 << n)
}

fn set_all(ctx: &mut Ctx, of: Flags, v: &Val<'_>) -> Result<(), ScriptError> {
    let n = v.as_int().or_else(|| v.is_null().then_some(0));
    *of(ctx) = n.ok_or_else(|| ScriptError::new("flags are set to an integer"))? as u32;
    Ok(())
}

fn set_one(ctx: &mut Ctx, of: Flags, key: &PvKey<'_>, v: &Val<'_>) -> Result<(), ScriptError> {
    let b = bit(key).ok_or_else(|| ScriptError::new("flags are 0 to 31"))?;
    let flags = of(ctx);
    *flags = if v.as_int().unwrap_or(0) != 0 {
        *flags | b
    } else {
        *flags & !b
    };
    Ok(())
}

fn stat(key: &PvKey<'_>) -> Val<'static> {
    let name = String::from_utf8_lossy(key.name());
    olelo_core::stats::find(&name).map_or(Val::Null, |s| Val::Int(s.get()))
}

/// A parameter of a module or of the core, as `$ccp` and `@cfg_get` name it.
pub(crate) fn parameter<'c>(_: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let text = String::from_utf8_lossy(key.name());
    let Some((group, name)) = text.split_once('.') else {
        return Val::Null;
    };
    parameter_value(group, name)
}

/// The value of one parameter.
pub(crate) fn parameter_value(group: &str, name: &str) -> Val<'static> {
    use olelo_core::route::module::ParamTarget;
    let server = olelo_core::server();
    if group == "core" {
        if name == "debug" {
            return Val::Int(olelo_core::log::DEBUG.get());
        }
        let text = server.config.text(name);
        return text.map_or(Val::Null, |t| {
            t.parse().map_or_else(|_| Val::owned(t), Val::Int)
        });
    }
    if let Some(v) = olelo_core::cfgvars::find(group, name) {
        return v.get();
    }
    let modules = server.registry.modules().iter().filter(|m| m.name == group);
    let param = modules.flat_map(|m| &m.params).find(|p| p.name == name);
    match param.map(|p| p.target) {
        Some(ParamTarget::Int(p)) => Val::Int(p.get()),
        Some(ParamTarget::Str(p)) => p.get().map_or(Val::Null, Val::text),
        _ => Val::Null,
    }
}

fn set_parameter(key: &PvKey<'_>, v: &Val<'_>) -> Result<(), ScriptError> {
    use olelo_core::route::module::ParamTarget;
    let text = String::from_utf8_lossy(key.name());
    let value = v
        .as_int()
        .ok_or_else(|| ScriptError::new("$ccp takes integers only"))?;
    let modules = olelo_core::server().registry.modules().iter();
    let found = text.split_once('.').and_then(|(group, name)| {
        if (group, name) == ("core", "debug") {
            return Some(&olelo_core::log::DEBUG);
        }
        modules
            .filter(|m| m.name == group)
            .flat_map(|m| &m.params)
            .find_map(|p| match p.target {
                ParamTarget::Int(i) if p.name == name => Some(i),
                _ => None,
            })
    });
    match found {
        Some(p) => {
            p.set(value);
            Ok(())
        }
        None => Err(ScriptError(format!("no integer parameter {text} to set"))),
    }
}

fn ksr(key: &PvKey<'_>) -> Val<'static> {
    match key.name() {
        b"name" | b"attr_name" => Val::text("olelo"),
        b"ver" | b"version" => Val::text(olelo_core::server::VERSION),
        b"pid" => Val::Int(i64::from(std::process::id())),
        _ => Val::Null,
    }
}

fn version(key: &PvKey<'_>) -> Val<'static> {
    match key.name() {
        b"num" => Val::text(olelo_core::server::VERSION),
        b"full" => Val::from(format!(
            "olelo {} ({}/linux)",
            olelo_core::server::VERSION,
            std::env::consts::ARCH
        )),
        b"hash" => Val::text("unknown"),
        _ => Val::Null,
    }
}

/// `$cnt($avp(x))`: the name in the brackets comes unevaluated where it is quoted by a script, or as
/// the class's own text.
fn count<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let name = key.name();
    let text = if name.first() == Some(&b'$') {
        name.to_vec()
    } else {
        [b"$", name].concat()
    };
    let body = text
        .strip_prefix(b"$avp(")
        .and_then(|t| t.strip_suffix(b")"));
    if let Some(inner) = body {
        return Val::Int(crate::avp::count(ctx, inner) as i64);
    }
    if let Some(inner) = text
        .strip_prefix(b"$xavp(")
        .and_then(|t| t.strip_suffix(b")"))
    {
        return Val::Int(ctx.avps.xavp.all(inner).count() as i64);
    }
    if let Some(inner) = text
        .strip_prefix(b"$hdr(")
        .and_then(|t| t.strip_suffix(b")"))
    {
        return Val::Int(ctx.msg.headers_by_text(inner).count() as i64);
    }
    let v = Spec::parse_cached(&text).map(|s| s.get(ctx).into_owned());
    Val::Int(i64::from(v.is_ok_and(|v| !v.is_null())))
}
