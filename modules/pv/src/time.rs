//! Time: `$Ts` `$Tf` `$TV(…)` of the message's arrival, `$TS` `$TF` of now, `$time(…)` by field.

use chrono::{DateTime, Datelike, Local, TimeZone, Timelike, Utc};
use olelo_core::pv::{PvClass, PvKey, pv, pv_named};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::OnceLock;
use tz::TimeZone as TimeZoneRules;

pub(crate) fn classes() -> Vec<PvClass> {
    vec![
        pv("Tb", |_, _| Val::Int(olelo_core::server().started_at)).doc("When the server started, in seconds."),
        pv("Ts", |c, _| Val::Int(arrival(c).0)).doc("When the message arrived, in seconds."),
        pv("Tf", |c, _| Val::from(ctime(arrival(c).0))).doc("When the message arrived, as text."),
        pv("TS", |_, _| Val::Int(now().0)).doc("Now, in seconds."),
        pv("TF", |_, _| Val::from(ctime(now().0))).doc("Now, as text."),
        pv_named("TV", value).doc("Seconds and microseconds: s, u, Sm of the arrival; sn, un, Sn of now; text `seconds.micros` with S."),
        pv_named("time", |c, k| match k.name() {
            b"isdst" => Val::Int(i64::from(zone_at(arrival(c).0).1)),
            _ => field(&local(arrival(c).0), k),
        }).doc("Local time of the arrival: sec, min, hour, mday, mon, year, wday, yday, isdst."),
        pv_named("utime", |c, k| field(&utc(arrival(c).0), k)).doc("UTC of the arrival, by field."),
        pv_named("timef", |c, k| ftime(arrival(c).0, k.name())).doc("Local time of the arrival in a format of strftime."),
        pv_named("utimef", |c, k| format(&utc(arrival(c).0), k.name(), "GMT")).doc("UTC of the arrival in a format of strftime."),
    ]
}

/// Seconds and microseconds of now.
fn now() -> (i64, u32) {
    let d = olelo_core::timer::wall();
    (d.as_secs() as i64, d.subsec_micros())
}

/// When the message arrived; now where none did.
fn arrival(ctx: &Ctx) -> (i64, u32) {
    if ctx.received_at.0 != 0 {
        ctx.received_at
    } else {
        now()
    }
}

fn local(s: i64) -> DateTime<Local> {
    Local.timestamp_opt(s, 0).single().unwrap_or_default()
}

fn utc(s: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(s, 0).single().unwrap_or_default()
}

fn ctime(s: i64) -> String {
    local(s).format("%a %b %e %H:%M:%S %Y").to_string()
}

fn value<'c>(ctx: &'c Ctx, key: &PvKey<'_>) -> Val<'c> {
    let text = |(s, u): (i64, u32)| Val::from(format!("{s}.{u:06}"));
    match key.name() {
        b"s" => Val::Int(arrival(ctx).0),
        b"u" => Val::Int(i64::from(arrival(ctx).1)),
        b"sn" => Val::Int(now().0),
        b"un" => Val::Int(i64::from(now().1)),
        b"S" | b"Sm" => text(arrival(ctx)),
        b"Sn" => text(now()),
        _ => Val::Null,
    }
}

fn field<Z: TimeZone>(t: &DateTime<Z>, key: &PvKey<'_>) -> Val<'static> {
    let n = match key.name() {
        b"sec" => t.second(),
        b"min" => t.minute(),
        b"hour" => t.hour(),
        b"mday" => t.day(),
        b"mon" => t.month(),
        b"year" => return Val::Int(i64::from(t.year())),
        b"wday" => t.weekday().num_days_from_sunday() + 1,
        b"yday" => t.ordinal(),
        b"isdst" => 0,
        _ => return Val::Null,
    };
    Val::Int(i64::from(n))
}

/// Name of the local time zone at a time (`CET`), and whether it is summer time there.
fn zone_at(s: i64) -> (&'static str, bool) {
    static ZONE: OnceLock<Option<TimeZoneRules>> = OnceLock::new();
    let zone = ZONE.get_or_init(|| match std::env::var("TZ") {
        Ok(name) if !name.is_empty() => TimeZoneRules::from_posix_tz(&name).ok(),
        _ => TimeZoneRules::local().ok(),
    });
    let at = zone.as_ref().and_then(|z| z.find_local_time_type(s).ok());
    at.map_or(("UTC", false), |t| (t.time_zone_designation(), t.is_dst()))
}

/// Time in a format of strftime, `zone` being what `%Z` stands for; null for a format that is none.
fn format<Z: TimeZone>(t: &DateTime<Z>, format: &[u8], zone: &str) -> Val<'static>
where
    Z::Offset: std::fmt::Display,
{
    let Ok(format) = std::str::from_utf8(format) else {
        return Val::Null;
    };
    let format = named_zone(format, zone);
    let mut out = String::new();
    match write!(out, "{}", t.format(&format)) {
        Ok(()) => Val::from(out),
        Err(_) => Val::Null,
    }
}

/// Writes the zone's name for `%Z`: times know their offset only.
fn named_zone<'f>(format: &'f str, zone: &str) -> Cow<'f, str> {
    if !format.contains("%Z") {
        return Cow::Borrowed(format);
    }
    let mut out = String::with_capacity(format.len() + 4);
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let end = rest[at..]
            .char_indices()
            .nth(2)
            .map_or(rest.len(), |(i, _)| at + i);
        match &rest[at..end] {
            "%Z" => out.push_str(zone),
            other => out.push_str(other),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// `{s.ftime,format}`: local time of a number of seconds.
pub(crate) fn ftime(seconds: i64, text: &[u8]) -> Val<'static> {
    format(&local(seconds), text, zone_at(seconds).0)
}
