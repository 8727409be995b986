//! P-Charging-Vector (RFC 7315 §4.6): `sip_p_charging_vector` and `$pcv(…)`.

use olelo_core::pv::{PvClass, PvKey, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::{Function, ScriptError, function};
use olelo_core::route::value::Val;
use olelo_sip::{HeaderName, Params};

pub(crate) fn functions() -> Vec<Function> {
    vec![function("sip_p_charging_vector", charging_vector).native_only().cfg("sip_p_charging_vector").args(["flags"]).doc("Manages P-Charging-Vector: r removes, g generates where missing, f generates anew.")]
}

pub(crate) fn class() -> PvClass {
    pv_named("pcv", pcv).doc("P-Charging-Vector: all, value (icid), genaddr, orig, term.")
}

fn charging_vector(ctx: &mut Ctx, flags: &str) -> Result<i64, ScriptError> {
    let old = ctx.msg.header(HeaderName::PChargingVector).map(|h| h.whole);
    let (remove, make) = match flags.bytes().next().map(|b| b.to_ascii_lowercase()) {
        Some(b'r') => (true, false),
        Some(b'g') => (false, old.is_none()),
        Some(b'f') => (true, true),
        _ => {
            return Err(ScriptError(format!(
                "\"{flags}\" is no flag; one of r, g, f"
            )));
        }
    };
    if remove && let Some(old) = old {
        ctx.edits.remove(old);
    }
    if make {
        let host = ctx.rcv.dst.ip();
        let id = format!(
            "{:016x}{:08x}",
            olelo_core::proc::secret() ^ ctx.id,
            olelo_core::timer::wall_s()
        );
        let value = format!("icid-value={id};icid-generated-at={host}");
        ctx.edits
            .append_header(format!("P-Charging-Vector: {value}\r\n").as_bytes());
        ctx.ext::<Made>().0 = Some(value.into_bytes());
    }
    Ok(1)
}

/// The vector made for this message.
#[derive(Default)]
struct Made(Option<Vec<u8>>);

fn pcv<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let made = ctx.ext_ref::<Made>().and_then(|m| m.0.as_deref());
    let Some(all) = made.or_else(|| ctx.msg.header_body(HeaderName::PChargingVector)) else {
        return Val::Null;
    };
    let param = |n: &[u8]| Val::opt(Params(all).value(n));
    match key.name() {
        b"all" => Val::bytes(all),
        b"value" => param(b"icid-value"),
        b"genaddr" => param(b"icid-generated-at"),
        b"orig" => param(b"orig-ioi"),
        b"term" => param(b"term-ioi"),
        _ => Val::Null,
    }
}
