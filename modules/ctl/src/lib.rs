//! The `ctl` module: control commands over BINRPC, for `kamcmd` and `olctl`.
//!
//! `modparam("ctl", "binrpc", "unix:/run/olelo/ctl")`, also `tcp:` and `udp:`; may be given several
//! times. The sockets are opened in main and served by one process, "ctl handler". A client that
//! doesn't read, or sends half a packet, costs its own connection only: see [`clients`].

#![forbid(unsafe_code)]

mod address;
mod clients;

use address::Address;
use olelo_core::route::module::{
    ExtraProcess, IntParam, Module, ParamValue, StrParam, param_call, param_ignored, param_int,
    param_str,
};
use olelo_core::rpc::{Answer, Params, Value, fields, rpc, text};
use std::sync::{OnceLock, RwLock};

static MODE: IntParam = IntParam::new(0o600);
static USER: StrParam = StrParam::unset();
static GROUP: StrParam = StrParam::unset();
static ASKED: RwLock<Vec<String>> = RwLock::new(Vec::new());
static OPEN: OnceLock<Vec<Address>> = OnceLock::new();

/// The module.
pub fn module() -> Module {
    Module::new("ctl")
        .doc("Control commands over BINRPC: `kamcmd` and `olctl` connect here.")
        .param(param_call("binrpc", ask).doc("Where to listen: unix:PATH, unixd:PATH, tcp:HOST:PORT, udp:HOST:PORT. May be repeated."))
        .param(param_int("mode", &MODE).doc("Permissions of unix sockets."))
        .param(param_str("user", &USER).doc("Owner of unix sockets."))
        .param(param_str("group", &GROUP).doc("Group of unix sockets."))
        .param(param_ignored("fifo", true, "The old FIFO protocol: use jsonrpcs's FIFO, which kamctl speaks."))
        .param(param_ignored("autoconversion", false, "Values are converted where a command wants another type."))
        .param(param_ignored("binrpc_buffer_size", false, "Buffers grow as needed."))
        .param(param_ignored("binrpc_max_body_size", false, "Answers are as large as they are."))
        .param(param_ignored("binrpc_struct_max_body_size", false, "Structures are as large as they are."))
        .stat(&clients::EVICTED)
        .stat(&clients::LOST)
        .init(init)
        .processes(|| vec![ExtraProcess { description: "ctl handler".into(), run: |_| clients::serve(OPEN.get().map_or(&[], |v| v)), index: 0, routes: false }])
        .destroy(|| OPEN.get().into_iter().flatten().for_each(Address::remove))
        .rpc(rpc("ctl.who", |_| Ok(clients::who())).array().doc("Clients connected now."))
        .rpc(rpc("ctl.connections", |_| Ok(vec![Value::Int(clients::who().len() as i64)])).doc("How many clients are connected."))
        .rpc(rpc("ctl.listen", listen).array().doc("Where commands are taken."))
}

fn ask(v: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(s) = v else {
        return Err("wants an address such as unix:/run/olelo/ctl".into());
    };
    address::parse(s)?;
    if let Ok(mut a) = ASKED.write() {
        a.push(s.clone());
    }
    Ok(())
}

fn init() -> Result<(), String> {
    let mut asked = ASKED.read().map(|a| a.clone()).unwrap_or_default();
    if asked.is_empty() {
        asked.push(format!(
            "unix:{}",
            olelo_core::proc::owner::run_path("kamailio_ctl").display()
        ));
    }
    // Only a server that serves is controlled.
    if !olelo_core::server().serves {
        return Ok(());
    }
    let open = asked
        .iter()
        .map(|a| address::open(a, MODE.get() as u32, USER.get(), GROUP.get()))
        .collect::<Result<Vec<_>, _>>()?;
    let _ = OPEN.set(open);
    Ok(())
}

fn listen(_: &Params) -> Answer {
    Ok(OPEN
        .get()
        .into_iter()
        .flatten()
        .map(|a| fields([("proto", text("binrpc")), ("address", text(a.text.clone()))]))
        .collect())
}
