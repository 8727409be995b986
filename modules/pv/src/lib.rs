//! The `pv` module: pseudo-variables, their transformations, and `KSR.pv.*`.
//!
//! One file per noun: what is read where. A class is one line in a table; reading borrows from the
//! message where it can. State of its own: `$var` (this process), `$shv` (shared memory, [`shv`]);
//! AVPs belong to the message and live in its [`Ctx`](olelo_core::route::ctx::Ctx).

#![forbid(unsafe_code)]

mod address;
mod auth;
mod avp;
mod branch;
mod constants;
mod explode;
mod functions;
mod headers;
mod kemi;
mod message;
mod pvx;
mod request;
mod select;
mod shv;
#[cfg(test)]
mod tests;
mod time;
mod tr;
mod var;
mod via;
mod xavp;

use olelo_core::pv::PvClass;
use olelo_core::route::module::Module;

/// All `$var` of this process.
pub fn variables() -> Vec<(Vec<u8>, olelo_core::route::value::Val<'static>)> {
    var::every()
}

/// The module.
pub fn module() -> Module {
    let classes: [Vec<PvClass>; 13] = [
        request::classes(),
        headers::classes(),
        address::classes(),
        message::classes(),
        via::classes(),
        auth::classes(),
        time::classes(),
        constants::classes(),
        var::classes(),
        avp::classes(),
        xavp::classes(),
        branch::classes(),
        shv::classes(),
    ];
    let m = Module::new("pv")
        .doc("Pseudo-variables, transformations, and the functions on them.")
        .param(
            olelo_core::route::module::param_call("shvset", shv::param_shvset)
                .doc("Sets a shared variable at start: name=s:text or name=i:number."),
        )
        .param(
            olelo_core::route::module::param_call("varset", var::param_varset)
                .doc("Sets a script variable at start: name=s:text or name=i:number."),
        )
        .param(
            olelo_core::route::module::param_call("avp_aliases", avp::param_aliases)
                .doc("Other names for AVPs: alias=name;alias=name."),
        )
        .init(shv::init);
    let m = classes.into_iter().flatten().fold(m, Module::pv);
    let m = tr::all().into_iter().fold(m, Module::transformation);
    let m = [kemi::functions(), pvx::functions(), functions::functions()]
        .into_iter()
        .flatten()
        .fold(m, Module::function);
    shv::rpcs().into_iter().fold(m, Module::rpc)
}
