//! Parameters of the registrar, and what scripts may set per message in their place (`xavp_cfg`).

use olelo_core::route::avp::AvpVal;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::module::{IntParam, StrParam};
use olelo_core::route::value::parse_int;

pub static DEFAULT_EXPIRES: IntParam = IntParam::new(3600);
pub static DEFAULT_EXPIRES_RANGE: IntParam = IntParam::new(0);
pub static EXPIRES_RANGE: IntParam = IntParam::new(0);
pub static MIN_EXPIRES: IntParam = IntParam::new(60);
pub static MIN_EXPIRES_MODE: IntParam = IntParam::new(0);
pub static MAX_EXPIRES: IntParam = IntParam::new(0);
pub static DEFAULT_Q: IntParam = IntParam::new(-1);
pub static APPEND_BRANCHES: IntParam = IntParam::new(1);
pub static CASE_SENSITIVE: IntParam = IntParam::new(0);
pub static REALM_PREFIX: StrParam = StrParam::unset();
pub static RECEIVED_PARAM: StrParam = StrParam::new("received");
pub static RECEIVED_AVP: StrParam = StrParam::unset();
pub static MAX_CONTACTS: IntParam = IntParam::new(0);
pub static RETRY_AFTER: IntParam = IntParam::new(0);
pub static SOCK_FLAG: IntParam = IntParam::new(-1);
pub static SOCK_MODE: IntParam = IntParam::new(0);
pub static SOCK_HDR_NAME: StrParam = StrParam::unset();
pub static METHOD_FILTERING: IntParam = IntParam::new(0);
pub static USE_PATH: IntParam = IntParam::new(0);
pub static PATH_MODE: IntParam = IntParam::new(2);
pub static PATH_USE_RECEIVED: IntParam = IntParam::new(0);
pub static PATH_CHECK_LOCAL: IntParam = IntParam::new(0);
pub static XAVP_CFG: StrParam = StrParam::unset();
pub static XAVP_RCD: StrParam = StrParam::unset();
pub static XAVP_RCD_MASK: IntParam = IntParam::new(0);
pub static GRUU_ENABLED: IntParam = IntParam::new(1);
pub static OUTBOUND_MODE: IntParam = IntParam::new(0);
pub static REGID_MODE: IntParam = IntParam::new(0);
pub static FLOW_TIMER: IntParam = IntParam::new(0);
pub static CONTACT_MAX_SIZE: IntParam = IntParam::new(512);
pub static EVENT_CALLBACK: StrParam = StrParam::unset();
pub static LOOKUP_FILTER_MODE: IntParam = IntParam::new(0);
pub static USE_EXPIRED_CONTACTS: IntParam = IntParam::new(0);

/// What the script set for this message: `$xavp(cfg=>name)` as text.
pub fn cfg_text(ctx: &Ctx, name: &[u8]) -> Option<Vec<u8>> {
    let class = XAVP_CFG.get()?;
    let AvpVal::Fields(fields) = ctx.avps.xavp.get(class.as_bytes(), 0)? else {
        return None;
    };
    match &fields.iter().rev().find(|f| f.name == name)?.val {
        AvpVal::Str(s) => Some(s.clone()),
        AvpVal::Int(i) => Some(i.to_string().into_bytes()),
        _ => None,
    }
}

/// The same as an integer.
pub fn cfg_int(ctx: &Ctx, name: &[u8]) -> Option<i64> {
    parse_int(&cfg_text(ctx, name)?)
}
