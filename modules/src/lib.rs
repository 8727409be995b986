//! All modules that this build of Olelo has. `loadmodule "NAME.so"` brings one to life.

#![forbid(unsafe_code)]

/// The native language; always there.
pub use olelo_app_native as native;

use olelo_core::proc::boot::Available;
use olelo_core::route::module::Module;

/// Name and declaration of each.
pub const ALL: &[Available] = &[
    ("acc", olelo_acc::module),
    ("app_jsdt", olelo_app_jsdt::module),
    ("app_lua", olelo_app_lua::module),
    ("app_python3", olelo_app_python3::module),
    ("app_sqlang", olelo_app_sqlang::module),
    ("auth", olelo_auth::module),
    ("cfg_rpc", olelo_cfg_rpc::module),
    ("cfgutils", olelo_cfgutils::module),
    ("corex", olelo_corex::module),
    ("counters", olelo_counters::module),
    ("ctl", olelo_ctl::module),
    ("debugger", olelo_debugger::module),
    ("htable", olelo_htable::module),
    ("ipops", olelo_ipops::module),
    ("jsonrpcs", olelo_jsonrpcs::module),
    ("kemix", olelo_kemix::module),
    ("kex", olelo_kex::module),
    ("maxfwd", olelo_maxfwd::module),
    ("mqueue", olelo_mqueue::module),
    ("mtree", olelo_mtree::module),
    ("nathelper", olelo_nathelper::module),
    ("pike", olelo_pike::module),
    ("pv", olelo_pv::module),
    ("regex", olelo_regex::module),
    ("registrar", olelo_registrar::module),
    ("rr", olelo_rr::module),
    ("rtpengine", olelo_rtpengine::module),
    ("rtpproxy", olelo_rtpproxy::module),
    ("sanity", olelo_sanity::module),
    ("siputils", olelo_siputils::module),
    ("sl", olelo_sl::module),
    ("textops", olelo_textops::module),
    ("textopsx", olelo_textopsx::module),
    ("tm", olelo_tm::module),
    ("tmrec", olelo_tmrec::module),
    ("tmx", olelo_tmx::module),
    ("usrloc", olelo_usrloc::module),
    ("xhttp", olelo_xhttp::module),
    ("xlog", olelo_xlog::module),
];

/// The module that has this function of the native language.
pub fn provider(function: &str) -> Option<&'static str> {
    let has = |m: &Module| m.functions.iter().any(|f| f.cfg.contains(&function));
    ALL.iter().find(|(_, make)| has(&make())).map(|(n, _)| *n)
}
