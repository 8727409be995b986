//! The `debugger` module: watching routing step by step, and holding it.
//!
//! [`trace`] writes a line for each statement of the native language: of all messages, of one
//! process, or of those that a filter names, so that one call can be watched on a busy server.
//! [`hold`] stops a process at every statement until it is told to go on. [`dump`] writes what
//! a message and its variables look like. Levels per module are the core's; here are the commands.

#![forbid(unsafe_code)]

mod dump;
mod hold;
mod trace;

use olelo_core::log;
use olelo_core::route::function::{ANY, ONREPLY, REQUEST, function};
use olelo_core::route::module::{
    IntParam, Module, ParamValue, StrParam, param_call, param_ignored, param_int, param_str,
};
use olelo_core::rpc::{Answer, Fault, Params, Value, fields, rpc, text};
use std::sync::Mutex;

static CFGTRACE: IntParam = IntParam::new(0);
static CFGTRACE_FORMAT: IntParam = IntParam::new(0);
static BREAKPOINT: IntParam = IntParam::new(0);
static LOG_LEVEL: IntParam = IntParam::new(-1);
static LOG_PREFIX: StrParam = StrParam::new("*** cfgtrace:");
static LOG_ASSIGN: IntParam = IntParam::new(0);
static STEP_USLEEP: IntParam = IntParam::new(100_000);
static STEP_LOOPS: IntParam = IntParam::new(200);
static MOD_HASH_SIZE: IntParam = IntParam::new(0);
static MOD_LEVEL_MODE: IntParam = IntParam::new(0);
static MOD_FACILITY_MODE: IntParam = IntParam::new(0);
static RESET_MSGID: IntParam = IntParam::new(0);
/// `module=level` of the configuration, until modules are initialised.
static LEVELS: Mutex<Vec<(String, i64)>> = Mutex::new(Vec::new());
/// `module=facility`: remembered and shown; all lines go to the server's one facility.
static FACILITIES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// The module.
pub fn module() -> Module {
    let m = Module::new("debugger")
        .doc("Watching routing step by step, and holding it; levels of log lines per module.")
        .param(param_int("cfgtrace", &CFGTRACE).doc("1 writes a line per statement, from the start."))
        .param(param_int("cfgtrace_format", &CFGTRACE_FORMAT).doc("1 leaves the file out of these lines."))
        .param(param_int("breakpoint", &BREAKPOINT).doc("1 holds every process at every statement, from the start."))
        .param(param_int("log_level", &LOG_LEVEL).doc("Level of the lines."))
        .param(param_ignored("log_level_name", true, "lines carry the name of their level"))
        .param(param_ignored("log_facility", true, "all lines go to the server's facility"))
        .param(param_str("log_prefix", &LOG_PREFIX).doc("Begins each line."))
        .param(param_int("log_assign", &LOG_ASSIGN).doc("1 writes what assignments have set, too."))
        .param(param_int("step_usleep", &STEP_USLEEP).doc("Microseconds between looks for a command while held."))
        .param(param_int("step_loops", &STEP_LOOPS).doc("How often a command looks for its answer, step_usleep apart."))
        .param(param_int("mod_hash_size", &MOD_HASH_SIZE).doc("Above 0: levels per module are wanted. There is always room for them."))
        .param(param_int("mod_level_mode", &MOD_LEVEL_MODE).doc("1 makes the levels of mod_level count."))
        .param(param_call("mod_level", add_level).doc("module=level: lines of this module are written from this level on."))
        .param(param_int("mod_facility_mode", &MOD_FACILITY_MODE).doc("Accepted; all lines go to the server's facility."))
        .param(param_call("mod_facility", add_facility).doc("module=facility: shown by dbg.get_mod_facility; all lines go to the server's facility."))
        .param(param_int("reset_msgid", &RESET_MSGID).doc("1 allows dbg.reset_msgid."))
        .param(param_ignored("cfgpkgcheck", false, "there is no private memory pool to check"))
        .param(param_ignored("cfgtest", false, "there is no module cfgt here"))
        .init(init);
    commands(functions(m))
}

fn functions(m: Module) -> Module {
    m.function(
        function("dbg_pv_dump", |c: &mut olelo_core::route::ctx::Ctx| dump::variables(c, 31, None))
            .cfg("dbg_pv_dump")
            .routes(ANY)
            .doc("Writes all variables as JSON, at level debug."),
    )
    .function(
        function("dbg_pv_dump_ex", |c: &mut olelo_core::route::ctx::Ctx, mask: i64, level: i64| {
            dump::variables(c, mask, Some(&level.to_string()))
        })
        .args(["mask", "level"])
        .doc("Writes variables as JSON. mask: 1 nulls, 2 avps, 4 script variables, 8 xavps, 16 others."),
    )
    .function(
        function("dbg_pv_dump_at", |c: &mut olelo_core::route::ctx::Ctx, mask: i64, level: Option<&str>| {
            dump::variables(c, mask, level)
        })
        .native_only()
        .cfg("dbg_pv_dump")
        .args(["mask", "level"])
        .doc("Writes variables as JSON. mask: 1 nulls, 2 avps, 4 script variables, 8 xavps, 16 others."),
    )
    .function(
        function("dbg_sip_msg", |c: &mut olelo_core::route::ctx::Ctx, level: Option<&str>, _: Option<&str>| {
            dump::message(c, level)
        })
        .native_only()
        .cfg("dbg_sip_msg")
        .args(["level", "facility"])
        .routes(REQUEST | ONREPLY)
        .doc("Writes the message as it would be sent now, with what differs from the received one."),
    )
    .function(
        function("dbg_breakpoint", |c: &mut olelo_core::route::ctx::Ctx, mode: i64| {
            if mode != 0 {
                hold::here(c);
            }
            true
        })
        .native_only()
        .cfg("dbg_breakpoint")
        .args(["mode"])
        .doc("With 1: holds the process here until dbg.bp tells it to go on."),
    )
}

fn commands(m: Module) -> Module {
    m.rpc(rpc("dbg.ls", hold::list).args("[pid]").array().doc("Processes: whether they are traced or held, and where."))
        .rpc(
            rpc("dbg.trace", trace::command)
                .args("on|off [pid | call_id=… | from=… | src=… …]")
                .doc("Writes a line per statement: of all messages, of one process, or of messages whose Call-ID is the given one, whose From has the given text, or that come from the given address. All that are given must fit. Filters are Olelo's own."),
        )
        .rpc(
            rpc("dbg.bp", hold::command)
                .args("on|off|keep|release|next|move|show|eval|log [pid] [pseudo-variable]")
                .doc("Holds processes at statements, lets them go on, shows where they are and what variables are there."),
        )
        .rpc(rpc("dbg.set_mod_level", set_level).args("module level").doc("Lines of this module are written from this level on."))
        .rpc(rpc("dbg.get_mod_level", get_level).args("module").doc("The level of this module's lines."))
        .rpc(rpc("dbg.set_mod_facility", set_facility).args("module facility").doc("Remembers a facility for a module; all lines go to the server's."))
        .rpc(rpc("dbg.get_mod_facility", get_facility).args("module").doc("The facility of this module's lines."))
        .rpc(rpc("dbg.reset_msgid", reset_msgid).doc("Lets each process number its messages ($mi) from 1 again."))
}

fn init() -> Result<(), String> {
    trace::create()?;
    hold::create()?;
    if MOD_LEVEL_MODE.is_on()
        && let Ok(levels) = LEVELS.lock()
    {
        for (module, level) in levels.iter() {
            if !log::set_module_level(module, Some(*level)) {
                olelo_core::warn!(
                    "debugger",
                    "mod_level names the module {module}, which is not loaded"
                );
            }
        }
    }
    Ok(())
}

/// `name=value`.
fn pair(v: &ParamValue) -> Result<(String, String), String> {
    let ParamValue::Str(s) = v else {
        return Err("wants module=value".into());
    };
    let (module, value) = s.split_once('=').ok_or("wants module=value")?;
    Ok((module.trim().into(), value.trim().into()))
}

fn add_level(v: &ParamValue) -> Result<(), String> {
    let (module, level) = pair(v)?;
    let level = level.parse().map_err(|_| format!("{level} is no level"))?;
    if let Ok(mut l) = LEVELS.lock() {
        l.push((module, level));
    }
    Ok(())
}

fn add_facility(v: &ParamValue) -> Result<(), String> {
    let (module, facility) = pair(v)?;
    keep_facility(module, facility);
    Ok(())
}

fn keep_facility(module: String, facility: String) {
    if let Ok(mut f) = FACILITIES.lock() {
        f.retain(|(m, _)| *m != module);
        f.push((module, facility));
    }
}

fn set_level(p: &Params) -> Answer {
    let module = p.text(0, "module")?;
    if log::set_module_level(&module, Some(p.int(1, "level")?)) {
        return Ok(vec![]);
    }
    Err(Fault::new(500, format!("no module {module} is loaded")))
}

fn get_level(p: &Params) -> Answer {
    let module = p.text(0, "module")?;
    let level = log::module_level(&module).unwrap_or_else(|| log::DEBUG.get());
    Ok(vec![Value::Int(level)])
}

fn set_facility(p: &Params) -> Answer {
    keep_facility(p.text(0, "module")?, p.text(1, "facility")?);
    Ok(vec![])
}

fn get_facility(p: &Params) -> Answer {
    let module = p.text(0, "module")?;
    let kept = FACILITIES.lock().ok();
    let own = kept.and_then(|f| f.iter().find(|(m, _)| *m == module).map(|(_, f)| f.clone()));
    let all = || {
        let server = olelo_core::server();
        server
            .config
            .text("log_facility")
            .unwrap_or("LOG_DAEMON")
            .to_string()
    };
    Ok(vec![text(own.unwrap_or_else(all))])
}

fn reset_msgid(_: &Params) -> Answer {
    if !RESET_MSGID.is_on() {
        return Err(Fault::new(
            500,
            "reset_msgid is off: modparam(\"debugger\", \"reset_msgid\", 1)",
        ));
    }
    trace::reset_ids();
    Ok(vec![fields([("reset", Value::Int(1))])])
}
