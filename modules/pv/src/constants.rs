//! Values that are always the same: `$null`, `$true`, characters that are hard to write in a script
//! (`$En` …), `$K(…)`, the environment, and the configuration's defines.

use olelo_core::net::Proto;
use olelo_core::pv::{PvClass, PvKey, pv, pv_named};
use olelo_core::route::value::Val;

pub(crate) fn classes() -> Vec<PvClass> {
    vec![
        pv("null", |_, _| Val::Null).doc("No value."),
        pv("true", |_, _| Val::Int(1)).doc("1."),
        pv("En", |_, _| Val::text("\n")).doc("A line feed."),
        pv("Er", |_, _| Val::text("\r")).doc("A carriage return."),
        pv("Es", |_, _| Val::text(" ")).doc("A blank."),
        pv("Et", |_, _| Val::text("\t")).doc("A tabulator."),
        pv("Ec", |_, _| Val::text(",")).doc("A comma."),
        pv("Eq", |_, _| Val::text("\"")).doc("A double quote."),
        pv("Ek", |_, _| Val::text("#")).doc("A number sign."),
        pv("Ei", |_, _| Val::text(":")).doc("A colon."),
        pv("Ej", |_, _| Val::text(";")).doc("A semicolon."),
        pv("Eb", |_, _| Val::text("`")).doc("A back quote."),
        pv("Ev", |_, _| Val::text("|")).doc("A bar."),
        pv_named("K", |_, k| number(k))
            .doc("A constant's number: IPv4, IPv6, UDP, TCP, TLS, SCTP, WS, WSS."),
        pv_named("env", |_, k| env(k).map_or(Val::Null, Val::from))
            .doc("A variable of the environment."),
        pv_named("envn", |_, k| {
            env(k).map_or(Val::Null, |t| Val::Int(t.trim().parse().unwrap_or(0)))
        })
        .doc("A variable of the environment as an integer."),
        pv_named("def", |_, k| define(k.name()).map_or(Val::Null, Val::text))
            .doc("A define of the configuration."),
        pv_named("defn", |_, k| {
            define(k.name()).map_or(Val::Null, |t| Val::Int(t.trim().parse().unwrap_or(0)))
        })
        .doc("A define of the configuration as an integer."),
        pv_named("defv", |_, k| define(k.name()).map_or(Val::Null, Val::text))
            .doc("A define of the configuration, its value without quotes.")
            .check(|_| Ok(())),
        pv_named("defs", |_, k| {
            Val::from(define(k.name()).unwrap_or_default().to_string())
        })
        .doc("A define of the configuration, the empty string where there is none."),
    ]
}

fn number(key: &PvKey<'_>) -> Val<'static> {
    // The families are those of the operating system's sockets.
    Val::Int(match key.name() {
        b"IPv4" => 2,
        b"IPv6" => 10,
        name => match Proto::from_name(name) {
            Some(p) => p as i64,
            None => return Val::Null,
        },
    })
}

fn env(key: &PvKey<'_>) -> Option<String> {
    let name = std::str::from_utf8(key.name()).ok()?;
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    std::env::var(name).ok()
}

/// A define's value; the core keeps each as the parameter `define:NAME`.
pub(crate) fn define(name: &[u8]) -> Option<&'static str> {
    let name = std::str::from_utf8(name).ok()?;
    olelo_core::server().config.text(&format!("define:{name}"))
}
