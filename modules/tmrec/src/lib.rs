//! The `tmrec` module: whether a time is in a recurrence (RFC 2445) or in a period.
//!
//! [`recurrence`] are rules such as "Monday to Friday, from 8:30, ten hours", [`period`] the same in
//! the manner of Perl's Time::Period. Times are those of the server's zone.
//!
//! What differs from the original: where it does otherwise than its documentation and the RFC say,
//! those are followed (the tests list where); a period with an error in it is -2, not a match.

#![forbid(unsafe_code)]

mod period;
mod recurrence;

use chrono::{DateTime, Datelike, Local};
use olelo_core::error;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::function::function;
use olelo_core::route::module::{IntParam, Module, StrParam, param_int, param_str};
use olelo_core::timer::wall_s;
use recurrence::Recurrence;

static SEPARATOR: StrParam = StrParam::new("|");
static WDAY: IntParam = IntParam::new(0);

/// The module.
pub fn module() -> Module {
    Module::new("tmrec")
        .doc("Whether a time is in a recurrence (RFC 2445) or in a period.")
        .init(init)
        .param(param_str("separator", &SEPARATOR).doc("Character between the fields of a recurrence."))
        .param(param_int("wday", &WDAY).doc("First day of a week, 0 for Monday to 6 for Sunday."))
        .function(
            function("match", |_: &mut Ctx, r: &str| recurs(r, wall_s()))
                .args(["recurrence"])
                .doc("Whether now is in a recurrence: start|duration|frequency|until|interval|byday|bymonthday|byyearday|byweekno|bymonth."),
        )
        .function(
            function("match_timestamp", |_: &mut Ctx, r: &str, t: i64| recurs(r, t))
                .args(["recurrence", "time"])
                .doc("Whether a time (seconds since 1970) is in a recurrence."),
        )
        .function(
            function("match_native", |_: &mut Ctx, r: &str, t: Option<i64>| recurs(r, t.unwrap_or_else(wall_s)))
                .native_only()
                .cfg("tmrec_match")
                .args(["recurrence", "time"])
                .doc("Whether a time, or now, is in a recurrence."),
        )
        .function(function("is_leap_year_now", |_: &mut Ctx| leap(this_year())).doc("Whether this year has 366 days."))
        .function(
            function("is_leap_year", |_: &mut Ctx, y: i64| leap(y))
                .args(["year"])
                .doc("Whether a year has 366 days."),
        )
        .function(
            function("is_leap_year_native", |_: &mut Ctx, y: Option<i64>| leap(y.unwrap_or_else(this_year)))
                .native_only()
                .cfg("is_leap_year")
                .args(["year"])
                .doc("Whether a year, or this one, has 366 days."),
        )
        .function(
            function("time_period_match", |_: &mut Ctx, p: &str| in_period(p, wall_s()))
                .args(["period"])
                .doc("Whether now is in a period such as wd{mo-fr} hr{8-16}; -2 where it is none."),
        )
        .function(
            function("time_period_match_timestamp", |_: &mut Ctx, p: &str, t: i64| in_period(p, t))
                .args(["period", "time"])
                .doc("Whether a time (seconds since 1970) is in a period."),
        )
        .function(
            function("time_period_match_native", |_: &mut Ctx, p: &str, t: Option<i64>| in_period(p, t.unwrap_or_else(wall_s)))
                .native_only()
                .cfg("time_period_match")
                .args(["period", "time"])
                .doc("Whether a time, or now, is in a period."),
        )
}

fn init() -> Result<(), String> {
    if SEPARATOR.text().chars().count() != 1 {
        return Err(format!(
            "separator is \"{}\"; it is one character",
            SEPARATOR.text()
        ));
    }
    match WDAY.get() {
        0..=6 => Ok(()),
        n => Err(format!("wday is {n}; 0 is Monday, 6 is Sunday")),
    }
}

fn yes(b: bool) -> i64 {
    if b { 1 } else { -1 }
}

fn local(time: i64) -> Option<DateTime<Local>> {
    let t = DateTime::from_timestamp(time, 0).map(|t| t.with_timezone(&Local));
    if t.is_none() {
        error!("tmrec", "{time} is no time in seconds since 1970");
    }
    t
}

fn recurs(rule: &str, time: i64) -> i64 {
    let Some(at) = local(time) else { return -1 };
    let separator = SEPARATOR.text().chars().next().unwrap_or('|');
    match Recurrence::parse(rule, separator, &Local) {
        Ok(r) => yes(r.matches(&at, WDAY.get().rem_euclid(7) as u32)),
        Err(e) => {
            error!("tmrec", "{e}");
            -1
        }
    }
}

fn in_period(text: &str, time: i64) -> i64 {
    let Some(at) = local(time) else { return -2 };
    match period::matches(text, &at) {
        Ok(found) => yes(found),
        Err(e) => {
            error!("tmrec", "{e}");
            -2
        }
    }
}

fn this_year() -> i64 {
    i64::from(Local::now().year())
}

fn leap(year: i64) -> i64 {
    yes(recurrence::is_leap_year(year))
}

#[cfg(test)]
mod tests {
    use super::*;
    use olelo_core::route::value::Val;

    #[test]
    fn scripts_get_the_codes_of_the_original() {
        let m = module();
        let call = |name: &str, args: &[Val<'_>]| {
            let f = m.functions.iter().find(|f| f.name == name).unwrap();
            f.call(&mut Ctx::new(), args).unwrap()
        };
        let s = Val::text;
        for (name, args, want) in [
            ("match", vec![s("20120101T000000|P1D|daily")], 1),
            ("match", vec![s("nonsense")], -1),
            (
                "match_timestamp",
                vec![s("20120101T000000|P1D|daily"), Val::Int(0)],
                -1,
            ),
            (
                "match_timestamp",
                vec![s("20120101T000000|P1D|daily"), Val::Int(i64::MAX)],
                -1,
            ),
            ("match_native", vec![s("20120101T000000|P1D|daily")], 1),
            ("is_leap_year", vec![Val::Int(2012)], 1),
            ("is_leap_year_native", vec![s("2010")], -1),
            ("is_leap_year_now", vec![], leap(this_year())),
            ("time_period_match", vec![s("")], 1),
            ("time_period_match", vec![s("x{1}")], -2),
            (
                "time_period_match_timestamp",
                vec![s("yr{1985}"), Val::Int(500_000_000)],
                1,
            ),
            ("time_period_match_native", vec![s("yr{1985}")], -1),
        ] {
            assert_eq!(call(name, &args), Val::Int(want), "{name} {args:?}");
        }
        assert_eq!(init(), Ok(()));
    }
}
