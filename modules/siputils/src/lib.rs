//! The `siputils` module: questions about messages and URIs, and small changes to them.

#![forbid(unsafe_code)]

mod charging;
mod checks;
mod contact;
mod options;
mod rpid;
mod uris;

use olelo_core::route::module::{IntParam, Module, StrParam, param_int, param_str};

pub(crate) static OPTIONS_ACCEPT: StrParam = StrParam::new("*/*");
pub(crate) static OPTIONS_ACCEPT_ENCODING: StrParam = StrParam::unset();
pub(crate) static OPTIONS_ACCEPT_LANGUAGE: StrParam = StrParam::new("en");
pub(crate) static OPTIONS_SUPPORT: StrParam = StrParam::unset();
pub(crate) static SEPARATOR: StrParam = StrParam::new("*");
pub(crate) static RPID_PREFIX: StrParam = StrParam::unset();
pub(crate) static RPID_SUFFIX: StrParam =
    StrParam::new(";party=calling;id-type=subscriber;screen=yes");
pub(crate) static RPID_AVP: StrParam = StrParam::new("$avp(s:rpid)");
pub(crate) static E164_MAX_LEN: IntParam = IntParam::new(16);

/// The module.
pub fn module() -> Module {
    let m = Module::new("siputils")
        .doc("Questions about messages and URIs, and small changes to them.")
        .param(param_str("options_accept", &OPTIONS_ACCEPT).doc("Accept of the reply to OPTIONS."))
        .param(
            param_str("options_accept_encoding", &OPTIONS_ACCEPT_ENCODING)
                .doc("Accept-Encoding of the reply to OPTIONS."),
        )
        .param(
            param_str("options_accept_language", &OPTIONS_ACCEPT_LANGUAGE)
                .doc("Accept-Language of the reply to OPTIONS."),
        )
        .param(
            param_str("options_support", &OPTIONS_SUPPORT)
                .doc("Supported of the reply to OPTIONS."),
        )
        .param(
            param_str("contact_flds_separator", &SEPARATOR)
                .doc("Its first character separates the fields of an encoded contact."),
        )
        .param(
            param_str("rpid_prefix", &RPID_PREFIX).doc("Stands before the URI in Remote-Party-ID."),
        )
        .param(
            param_str("rpid_suffix", &RPID_SUFFIX).doc("Stands behind the URI in Remote-Party-ID."),
        )
        .param(param_str("rpid_avp", &RPID_AVP).doc("AVP that holds the URI for Remote-Party-ID."))
        .param(
            param_int("e164_max_len", &E164_MAX_LEN).doc("Longest E.164 number, its + included."),
        )
        .pv(charging::class());
    [
        checks::functions(),
        uris::functions(),
        contact::functions(),
        rpid::functions(),
        options::functions(),
        charging::functions(),
    ]
    .into_iter()
    .flatten()
    .fold(m, Module::function)
}

/// What scripts take for true and false.
pub(crate) fn yes(b: bool) -> i64 {
    if b { 1 } else { -1 }
}
