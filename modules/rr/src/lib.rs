//! The `rr` module: Record-Route and Route (RFC 3261 §16.4, §16.6 step 4 and 6, §16.12; RFC 5658).
//!
//! [`record`] writes our address into the dialog's route set, [`loose`] follows the route set of a
//! request inside a dialog. What the two agree on are the parameters of our URI: `lr`, `ftag` (the
//! caller's tag, which tells the direction of later requests), `r2=on` (two of ours follow each
//! other because the request leaves by another socket than it came), and what scripts add.
//!
//! The Record-Route lines live in the message's edits and nowhere else, at one fixed place, so that
//! rolling back a branch's edits also rolls back what its branch route added.

#![forbid(unsafe_code)]

pub mod loose;
pub mod record;
#[cfg(test)]
mod tests;

pub use loose::{Direction, is_direction, loose_route, on_loose_route, routed_params};
pub use record::{add_rr_param, before_send, record_route};

use olelo_core::hooks;
use olelo_core::pv::{PvKey, format, pv, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{
    BRANCH, FAILURE, Function, REQUEST, Routes, ScriptError, function,
};
use olelo_core::route::module::{IntParam, Module, StrParam, param_int, param_str};
use olelo_core::route::value::Val;

pub(crate) static ENABLE_FULL_LR: IntParam = IntParam::new(0);
pub(crate) static APPEND_FROMTAG: IntParam = IntParam::new(1);
pub(crate) static ENABLE_DOUBLE_RR: IntParam = IntParam::new(1);
pub(crate) static ADD_USERNAME: IntParam = IntParam::new(0);
pub(crate) static MISMATCH_WARNING: IntParam = IntParam::new(1);
pub(crate) static CUSTOM_USER_AVP: StrParam = StrParam::unset();
pub(crate) static FORCE_SEND_SOCKET: IntParam = IntParam::new(0);
pub(crate) static IGNORE_SIPS: IntParam = IntParam::new(0);
pub(crate) static SOCKNAME_MODE: IntParam = IntParam::new(0);
pub(crate) static LOOSE_ROUTE_MODE: IntParam = IntParam::new(0);

/// The module.
pub fn module() -> Module {
    let m = Module::new("rr")
        .doc("Record-Route and Route: staying in the path of a dialog.")
        .param(param_int("enable_full_lr", &ENABLE_FULL_LR).doc("1 writes lr=on, for user agents that lose a bare lr."))
        .param(param_int("append_fromtag", &APPEND_FROMTAG).doc("1 adds ftag, by which is_direction() works."))
        .param(param_int("enable_double_rr", &ENABLE_DOUBLE_RR).doc("1 adds two Record-Routes where the request leaves by another socket than it came; 2 always."))
        .param(param_int("add_username", &ADD_USERNAME).doc("1 puts the request URI's user into our URI."))
        .param(param_int("enable_socket_mismatch_warning", &MISMATCH_WARNING).doc("1 warns where a preset Record-Route names no socket of ours."))
        .param(param_str("custom_user_avp", &CUSTOM_USER_AVP).doc("AVP that holds the user for our URI."))
        .param(param_int("force_send_socket", &FORCE_SEND_SOCKET).doc("1 sends from the socket that a single Route of ours names."))
        .param(param_int("ignore_sips", &IGNORE_SIPS).doc("1 writes sip: also for a sips: request."))
        .param(param_int("sockname_mode", &SOCKNAME_MODE).doc("1 adds the socket's name as sn and finds the socket by it."))
        .param(param_int("loose_route_mode", &LOOSE_ROUTE_MODE).doc("1 never takes a request for a strict router's."))
        .pv(pv("route_uri", route_uri).doc("URI of the first Route that is left to follow."))
        .pv(pv("fti", |c, _| loose::initial_tag(c, true)).doc("The From tag of the request that began the dialog."))
        .pv(pv("tti", |c, _| loose::initial_tag(c, false)).doc("The To tag of the request that began the dialog."))
        .pv(pv_named("rdir", rdir).doc("Direction in the dialog: `id` is 1 downstream or 2 upstream, `name` its name."))
        .init(|| {
            hooks::FORWARD.add(before_send);
            Ok(())
        });
    routing_functions()
        .into_iter()
        .chain(recording_functions())
        .fold(m, Module::function)
}

const RECORD: Routes = Routes(REQUEST.0 | BRANCH.0 | FAILURE.0);

fn routing_functions() -> Vec<Function> {
    vec![
        function("loose_route", |c: &mut Ctx| loose_route(c, LOOSE_ROUTE_MODE.get()))
            .cfg("loose_route")
            .routes(REQUEST)
            .doc("Follows the route set. 1: done, -1: no route set, or only ours in an initial request, -3: followed a route set given in an initial request."),
        function("loose_route_preloaded", |c: &mut Ctx| if loose_route(c, LOOSE_ROUTE_MODE.get()) == loose::PRELOADED { 1i64 } else { -1 })
            .cfg("loose_route_preloaded")
            .routes(REQUEST)
            .doc("As loose_route, true only for a route set given in an initial request."),
        function("loose_route_mode", |c: &mut Ctx, m: i64| loose_route(c, m))
            .cfg("loose_route_mode")
            .args(["mode"])
            .routes(REQUEST)
            .doc("As loose_route; mode 1 never takes the request for a strict router's."),
        function("check_route_param", loose::check_route_param)
            .cfg("check_route_param")
            .args(["regex"])
            .routes(REQUEST)
            .doc("Whether the parameters of our Route match; after loose_route."),
        function("is_direction", loose::is_direction_named)
            .cfg("is_direction")
            .args(["direction"])
            .routes(REQUEST)
            .doc("Whether the request goes `downstream` (as the dialog's first) or `upstream`."),
        function("next_hop_route", |c: &mut Ctx| if loose::next_route(c).is_some() { 1i64 } else { -1 })
            .cfg("rr_next_hop_route")
            .doc("Whether a Route is left to follow after loose_route."),
    ]
}

fn recording_functions() -> Vec<Function> {
    let formatted = |f: fn(&mut Ctx, &[u8]) -> i64| {
        move |c: &mut Ctx, t: &[u8]| -> Result<i64, ScriptError> {
            let text = format::expand(c, t)?;
            Ok(f(c, &text))
        }
    };
    vec![
        function("record_route", |c: &mut Ctx| record_route(c, b""))
            .routes(RECORD)
            .doc("Adds Record-Route: later requests of the dialog come through here."),
        function("record_route_params", formatted(record_route))
            .args(["params"])
            .routes(RECORD)
            .doc("As record_route, with URI parameters `;name=value`."),
        function("record_route_any", |c: &mut Ctx, p: Option<&[u8]>| record_route(c, p.unwrap_or_default()))
            .native_only()
            .cfg("record_route")
            .args(["params"])
            .routes(RECORD)
            .doc("Adds Record-Route, with URI parameters where given."),
        function("record_route_preset_one", |c: &mut Ctx, a: &[u8]| record::preset(c, a, None))
            .args(["address"])
            .routes(RECORD)
            .doc("Adds Record-Route with this address and parameters."),
        function("record_route_preset", |c: &mut Ctx, a: &[u8], b: Option<&[u8]>| record::preset(c, a, b))
            .cfg("record_route_preset")
            .args(["outbound", "inbound"]).raw(&["outbound", "inbound"])
            .routes(RECORD)
            .doc("Adds Record-Routes with these addresses and parameters: where it leaves, where it came."),
        function("record_route_advertised_address", formatted(record::advertised))
            .cfg("record_route_advertised_address")
            .args(["address"]).raw(&["address"])
            .routes(RECORD)
            .doc("As record_route, with this address in place of the socket's."),
        function("add_rr_param", formatted(add_rr_param))
            .cfg("add_rr_param")
            .args(["param"]).raw(&["param"])
            .routes(RECORD)
            .doc("Adds a parameter `;name=value` to our Record-Route URI, before or after it is made."),
        function("remove_record_route", record::remove)
            .cfg("remove_record_route")
            .routes(REQUEST | FAILURE)
            .doc("Takes back the Record-Route added here."),
    ]
}

fn route_uri<'c>(ctx: &'c Ctx, _: &PvKey<'_>) -> Val<'c> {
    loose::next_route(ctx).map_or(Val::Null, Val::owned)
}

fn rdir<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let (id, name) = match loose::direction(ctx) {
        Direction::Downstream => (1, "downstream"),
        Direction::Upstream => (2, "upstream"),
    };
    match key.name() {
        b"id" => Val::Int(id),
        b"name" => Val::text(name),
        _ => Val::Null,
    }
}
