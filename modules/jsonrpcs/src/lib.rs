//! The `jsonrpcs` module: control commands as JSON-RPC 2.0, over a FIFO (`kamctl`), a datagram socket
//! (`kamcli`) and from scripts.

#![forbid(unsafe_code)]

mod transports;

use olelo_core::pv::{PvKey, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::function;
use olelo_core::route::module::{IntParam, Module, StrParam, param_ignored, param_int, param_str};
use olelo_core::route::value::Val;
use olelo_core::rpc::{self, Params, rpc};
use olelo_ipc::jsonrpc;

static PRETTY: IntParam = IntParam::new(1);
static TRANSPORT: IntParam = IntParam::new(6);
static FIFO_NAME: StrParam = StrParam::unset();
static FIFO_MODE: IntParam = IntParam::new(0o660);
static FIFO_USER: StrParam = StrParam::unset();
static FIFO_GROUP: StrParam = StrParam::unset();
static FIFO_REPLY_DIR: StrParam = StrParam::new("/tmp/");
static DGRAM_SOCKET: StrParam = StrParam::unset();
static DGRAM_WORKERS: IntParam = IntParam::new(1);
static DGRAM_MODE: IntParam = IntParam::new(0o660);
static DGRAM_USER: StrParam = StrParam::unset();
static DGRAM_GROUP: StrParam = StrParam::unset();

/// The module.
pub fn module() -> Module {
    Module::new("jsonrpcs")
        .doc("Control commands as JSON-RPC 2.0: FIFO for kamctl, datagram socket for kamcli, and from scripts.")
        .param(param_int("pretty_format", &PRETTY).doc("Whether answers are indented."))
        .param(param_int("transport", &TRANSPORT).doc("What is opened: 1 HTTP (by the script), 2 FIFO, 4 datagram; added up. 0: all."))
        .param(param_str("fifo_name", &FIFO_NAME).doc("Path of the FIFO; not opened unless set."))
        .param(param_int("fifo_mode", &FIFO_MODE).doc("Permissions of the FIFO."))
        .param(param_str("fifo_user", &FIFO_USER).doc("Owner of the FIFO."))
        .param(param_str("fifo_group", &FIFO_GROUP).doc("Group of the FIFO."))
        .param(param_str("fifo_reply_dir", &FIFO_REPLY_DIR).doc("Directory of the FIFOs that answers go to."))
        .param(param_str("dgram_socket", &DGRAM_SOCKET).doc("Path of the unix datagram socket, or udp:HOST:PORT; not opened unless set."))
        .param(param_int("dgram_workers", &DGRAM_WORKERS).doc("Processes that serve the datagram socket."))
        .param(param_ignored("dgram_timeout", false, "An answer that can't be sent at once is dropped."))
        .param(param_int("dgram_mode", &DGRAM_MODE).doc("Permissions of the datagram socket."))
        .param(param_str("dgram_user", &DGRAM_USER).doc("Owner of the datagram socket."))
        .param(param_str("dgram_group", &DGRAM_GROUP).doc("Group of the datagram socket."))
        .param(param_ignored("tcp_socket", true, "Use the ctl module for commands over TCP."))
        .stat(&transports::LOST)
        .init(transports::init)
        .processes(transports::processes)
        .destroy(transports::remove)
        .rpc(rpc("jsonrpc.echo", |p| Ok(p.0.clone())).args("*values").array().doc("Answers with its parameters."))
        .function(function("exec", exec).cfg("jsonrpc_exec").args(["call"]).doc("Runs a command given as JSON-RPC; the answer is in $jsonrpl."))
        .function(function("execx", exec).args(["call"]).doc("Runs a command given as JSON-RPC; the answer is in $jsonrpl."))
        .function(function("dispatch", dispatch).cfg("jsonrpc_dispatch").doc("Answers an HTTP request whose body is a JSON-RPC call."))
        .function(function("response", |c: &mut Ctx| c.ext_ref::<Last>().map_or(Val::Null, |l| Val::owned(l.body.clone()))).doc("The last answer as text."))
        .pv(pv_named("jsonrpl", jsonrpl).doc("The last answer to jsonrpc_exec: body, code, text."))
}

/// The last answer.
#[derive(Default)]
struct Last {
    code: i64,
    text: String,
    body: String,
}

fn jsonrpl<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let Some(l) = ctx.ext_ref::<Last>() else {
        return match key.name() {
            b"code" => Val::Int(0),
            _ => Val::Null,
        };
    };
    match key.name() {
        b"body" => Val::text(&l.body),
        b"code" => Val::Int(l.code),
        b"text" => Val::text(&l.text),
        _ => Val::Null,
    }
}

fn exec(ctx: &mut Ctx, call: &str) -> i64 {
    let (code, text, body) = match answer(call.as_bytes()) {
        Some((ok, body)) => (
            if ok { 200 } else { 500 },
            if ok { "OK" } else { "Internal error" },
            body,
        ),
        None => (200, "OK", String::new()),
    };
    *ctx.ext::<Last>() = Last {
        code,
        text: text.into(),
        body,
    };
    1
}

fn dispatch(ctx: &mut Ctx) -> i64 {
    let body = ctx.msg.body().to_vec();
    let answered = answer(&body);
    if olelo_xhttp::is_http(ctx) {
        // A notification gets no JSON, but HTTP wants an answer.
        let (code, reason, text) = match &answered {
            Some((true, text)) => (200, "OK", text.as_str()),
            Some((false, text)) => (500, "Internal Error", text.as_str()),
            None => (200, "OK", ""),
        };
        let reason = reason.as_bytes();
        let sent = olelo_xhttp::reply(ctx, code, reason, b"application/json", text.as_bytes());
        return if sent { 1 } else { -1 };
    }
    let Some((_, text)) = answered else {
        return -1;
    };
    let sent = olelo_core::net::reply::stateless(
        ctx,
        200,
        "OK",
        Some((b"application/json", text.as_bytes())),
    );
    if sent { 1 } else { -1 }
}

/// Runs one call. Whether it succeeded and the answer's text; `None` for a notification.
fn answer(call: &[u8]) -> Option<(bool, String)> {
    let (ok, json) = match jsonrpc::parse(call) {
        Err(e) => (false, jsonrpc::fault(&e.id, e.code, &e.message)),
        Ok(request) => {
            let ran = rpc::run(&request.method, &Params(request.params.into_values()));
            let id = request.id?;
            match ran {
                Ok(values) => {
                    let array = olelo_core::server()
                        .registry
                        .rpc(&request.method)
                        .is_some_and(|r| r.array);
                    let mut reply = jsonrpc::reply(&id, &values);
                    if array && values.len() < 2 {
                        reply["result"] = values.iter().map(|v| v.to_json()).collect();
                    }
                    (true, reply)
                }
                Err(f) => {
                    let code = if f.code == 404 {
                        -32601
                    } else {
                        i64::from(f.code)
                    };
                    (false, jsonrpc::fault(&id, code, &f.message))
                }
            }
        }
    };
    let text = if PRETTY.is_on() {
        serde_json::to_string_pretty(&json)
    } else {
        serde_json::to_string(&json)
    };
    Some((ok, text.unwrap_or_default() + "\n"))
}
