//! Functions that only the native language has and that fit nowhere else: `log`, `error`, `exec`,
//! flags of AVPs, and the choice among instances of a parameter group.

use super::flags::Flag;
use crate::log::{Level, write_raw};
use crate::pv::Spec;
use crate::route::ctx::Ctx;
use crate::route::function::{AnyVal, Function, ScriptError, function};
use crate::route::value::Val;
use crate::timer::monotonic_ms;
use olelo_ipc::process;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time a command of `exec` may run. A worker serves nobody meanwhile.
const EXEC_LIMIT: Duration = Duration::from_secs(5);

pub(super) fn functions() -> Vec<Function> {
    vec![
        function("log", log)
            .native_only()
            .cfg("log")
            .args(["level", "text"])
            .doc("Writes a line to the log; log(text) at level debug."),
        function("error", |_: &mut Ctx, code: &[u8], text: &[u8]| {
            let line = [b"error ", code, b": ", text].concat();
            write_raw(Level::Err, "core", &line);
            1i64
        })
        .native_only()
        .cfg("error")
        .args(["code", "text"])
        .doc("Writes a code and a text to the log at level error."),
        function("exec", exec)
            .native_only()
            .cfg("exec")
            .args(["command"])
            .raw(&["command"])
            .doc("Runs a fixed shell command, at most 5 s long; true where it ends with 0. The worker waits for it."),
        function("setavpflag", |c: &mut Ctx, a: &[u8], f: Flag| avp_flag(c, a, f, Some(true)))
            .native_only()
            .cfg("setavpflag")
            .args(["avp", "flag"])
            .raw(&["avp"])
            .doc("Sets a flag of an AVP; false where there is no such AVP."),
        function("resetavpflag", |c: &mut Ctx, a: &[u8], f: Flag| avp_flag(c, a, f, Some(false)))
            .native_only()
            .cfg("resetavpflag")
            .args(["avp", "flag"])
            .raw(&["avp"])
            .doc("Clears a flag of an AVP; false where there is no such AVP."),
        function("isavpflagset", |c: &mut Ctx, a: &[u8], f: Flag| avp_flag(c, a, f, None))
            .native_only()
            .cfg("isavpflagset")
            .args(["avp", "flag"])
            .raw(&["avp"])
            .doc("Whether a flag of an AVP is set."),
        function("cfg_select", |_: &mut Ctx, group: &str, id: i64| {
            crate::error!("core", "cfg_select: the group {group} has no instance {id}; groups have one set of values here");
            -1i64
        })
        .native_only()
        .cfg("cfg_select")
        .args(["group", "id"])
        .doc("Always false: a group of parameters has one instance here."),
        function("cfg_reset", |_: &mut Ctx, group: &str| {
            if crate::cfgvars::all().iter().any(|v| v.group == group) { 1i64 } else { -1 }
        })
        .native_only()
        .cfg("cfg_reset")
        .args(["group"])
        .doc("Goes back to the group's only instance: true where the group exists."),
    ]
}

fn log(_: &mut Ctx, first: AnyVal<'_>, text: Option<&[u8]>) -> Result<i64, ScriptError> {
    match text {
        Some(t) => {
            let level = first
                .0
                .as_int()
                .ok_or_else(|| ScriptError("the level is a number, -5 to 3".into()))?;
            write_raw(Level::from_int(level), "core", t);
        }
        None => {
            let t = first.0.as_bytes().unwrap_or_default();
            write_raw(Level::Dbg, "core", &t);
        }
    }
    Ok(1)
}

fn exec(_: &mut Ctx, command: &str) -> Result<bool, ScriptError> {
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|e| ScriptError(format!("can't run /bin/sh -c \"{command}\": {e}")))?;
    let until = Instant::now() + EXEC_LIMIT;
    process::wait_until(monotonic_ms() + EXEC_LIMIT.as_millis() as u64);
    let done = wait_for(&mut child, command, until);
    process::wait_until(monotonic_ms());
    done
}

fn wait_for(child: &mut Child, command: &str, until: Instant) -> Result<bool, ScriptError> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                crate::error!(
                    "core",
                    "exec: \"{command}\" ran longer than 5 s and was ended"
                );
                let _ = child.kill();
                let _ = child.wait();
                return Ok(false);
            }
            Err(e) => return Err(ScriptError(format!("waiting for \"{command}\": {e}"))),
        }
    }
}

/// Flags of AVPs by the name as scripts write it. They belong to the name, so they last until the
/// message does or its AVP is gone.
#[derive(Default)]
struct AvpFlags(Vec<(Vec<u8>, u32)>);

fn avp_flag(ctx: &mut Ctx, avp: &[u8], flag: Flag, set: Option<bool>) -> Result<bool, ScriptError> {
    let name = avp.trim_ascii();
    if Spec::parse_cached(name)?.get(ctx) == Val::Null {
        return Ok(false);
    }
    let all = &mut ctx.ext::<AvpFlags>().0;
    let at = match all.iter().position(|(n, _)| n == name) {
        Some(at) => at,
        None => {
            all.push((name.to_vec(), 0));
            all.len() - 1
        }
    };
    let flags = &mut all[at].1;
    match set {
        Some(true) => *flags |= flag.bit(),
        Some(false) => *flags &= !flag.bit(),
        None => return Ok(*flags & flag.bit() != 0),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, args: &[Val<'_>]) -> Result<Val<'static>, ScriptError> {
        let all = functions();
        let f = all.iter().find(|f| f.cfg.contains(&name)).expect(name);
        f.call(&mut Ctx::new(), args)
    }

    #[test]
    fn a_command_says_how_it_ended() {
        assert_eq!(call("exec", &[Val::text("exit 0")]), Ok(Val::Bool(true)));
        assert_eq!(call("exec", &[Val::text("exit 3")]), Ok(Val::Bool(false)));
    }

    #[test]
    fn log_takes_one_or_two_arguments() {
        assert_eq!(call("log", &[Val::text("x")]), Ok(Val::Int(1)));
        assert_eq!(call("log", &[Val::Int(1), Val::text("x")]), Ok(Val::Int(1)));
        assert!(call("log", &[Val::text("no level"), Val::text("x")]).is_err());
    }
}
