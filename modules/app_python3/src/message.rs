//! What `msg` tells of the message: the argument of every route. Old scripts use it; new ones have
//! `KSR`. These functions are called as exports are, but under no name of `KSR`.

use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, ScriptError, function};
use std::sync::LazyLock;

/// The functions, each under the name that the bootstrap text knows.
pub fn functions() -> Vec<(&'static str, &'static Function)> {
    FUNCTIONS.iter().map(|f| (f.name, f)).collect()
}

static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(|| {
    vec![
        function("type", |c: &mut Ctx| {
            let kind = match c.msg.is_request() {
                true => "SIP_REQUEST",
                false => "SIP_REPLY",
            };
            kind.to_string()
        }),
        function("method", |c: &mut Ctx| c.msg.method_text().to_vec()),
        function("status", status),
        function("ruri", |c: &mut Ctx| c.ruri().to_vec()),
        function("src_ip", |c: &mut Ctx| c.rcv.src.ip().to_string()),
        function("src_port", |c: &mut Ctx| i64::from(c.rcv.src.port())),
        function("dst_ip", |c: &mut Ctx| c.rcv.dst.ip().to_string()),
        function("dst_port", |c: &mut Ctx| i64::from(c.rcv.dst.port())),
        function("header", header).args(["name"]),
    ]
    .into_iter()
    .map(|f| f.prefix("msg"))
    .collect()
});

fn status(ctx: &mut Ctx) -> Result<String, ScriptError> {
    match ctx.msg.is_request() {
        true => Err(ScriptError::new("a request has no status")),
        false => Ok(ctx.msg.status().to_string()),
    }
}

fn header(ctx: &mut Ctx, name: &[u8]) -> Option<Vec<u8>> {
    let h = ctx.msg.headers_by_text(name).next()?;
    Some(ctx.msg.slice(h.body).to_vec())
}
