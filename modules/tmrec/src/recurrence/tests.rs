//! Times against rules. The first table is what the original (5.6.3) answers; in the second it does
//! otherwise, and the answers are those of its documentation and of RFC 2445: months and days of the
//! year count from 1, the last weekday of a month is the last, an occurrence lasts past midnight.

use super::*;
use chrono::{FixedOffset, Utc};
use proptest::prelude::*;

fn matches(rule: &str, at: &str) -> bool {
    let at = NaiveDateTime::parse_from_str(at, "%Y-%m-%d %H:%M:%S")
        .unwrap()
        .and_utc();
    Recurrence::parse(rule, '|', &Utc).is_ok_and(|r| r.matches(&at, 0))
}

#[test]
fn rules_match_as_in_the_original() {
    for (rule, at, want) in [
        (
            "20120101T000000|PT24H|weekly|||SA,SU",
            "2026-11-21 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|weekly|||SA,SU",
            "2026-11-23 12:00:00",
            false,
        ),
        (
            "20120101T083000|PT10H|weekly|||MO,TU,WE,TH,FR",
            "2026-11-23 12:00:00",
            true,
        ),
        (
            "20120101T083000|PT10H|weekly|||MO,TU,WE,TH,FR",
            "2026-11-23 08:29:59",
            false,
        ),
        (
            "20120101T083000|PT10H|weekly|||MO,TU,WE,TH,FR",
            "2026-11-23 08:30:00",
            true,
        ),
        (
            "20120101T083000|PT10H|weekly|||MO,TU,WE,TH,FR",
            "2026-11-23 18:30:00",
            false,
        ),
        (
            "20120101T083000|PT10H|weekly|||MO,TU,WE,TH,FR",
            "2026-11-23 18:29:59",
            true,
        ),
        (
            "20100101T093000|PT10H30M|yearly||4|SU||||3",
            "2015-03-01 10:00:00",
            false,
        ),
        (
            "20100101T093000|PT10H30M|yearly||4|SU||||3",
            "2014-03-03 10:00:00",
            false,
        ),
        (
            "20100101T093000|PT10H30M|yearly||4|SU||||3",
            "2014-03-02 20:00:00",
            false,
        ),
        ("20120101T000000|PT1H", "2012-01-01 00:30:00", true),
        ("20120101T000000|PT1H", "2012-01-01 01:00:00", true),
        ("20120101T000000|PT1H", "2012-01-02 00:30:00", false),
        ("20120101T000000|PT1H", "2011-12-31 00:30:00", false),
        ("20120101T000000|PT1H|daily", "2026-01-02 00:30:00", true),
        ("20120101T000000|PT1H|daily", "2026-01-02 01:30:00", false),
        (
            "20120101T000000|PT1H|DAILY|20120105T000000",
            "2012-01-04 00:30:00",
            true,
        ),
        (
            "20120101T000000|PT1H|daily|20120105T000000",
            "2012-01-05 00:30:00",
            true,
        ),
        (
            "20120101T000000|PT1H|daily|20120105T000000",
            "2012-01-06 00:30:00",
            false,
        ),
        ("20120101T000000|PT1H|daily||2", "2012-01-03 00:30:00", true),
        (
            "20120101T000000|PT1H|daily||2",
            "2012-01-02 00:30:00",
            false,
        ),
        (
            "20120101T000000|PT1H|weekly||2",
            "2012-01-15 00:30:00",
            true,
        ),
        (
            "20120101T000000|PT1H|weekly||2",
            "2012-01-08 00:30:00",
            false,
        ),
        ("20120101T000000|PT1H|weekly", "2012-01-08 00:30:00", true),
        ("20120101T000000|PT1H|weekly", "2012-01-09 00:30:00", false),
        ("20120115T000000|PT1H|monthly", "2012-03-15 00:30:00", true),
        ("20120115T000000|PT1H|monthly", "2012-03-16 00:30:00", false),
        (
            "20120115T000000|PT1H|monthly||2",
            "2012-03-15 00:30:00",
            true,
        ),
        (
            "20120115T000000|PT1H|monthly||2",
            "2012-04-15 00:30:00",
            false,
        ),
        (
            "20120101T000000|PT24H|monthly|||1MO",
            "2026-11-02 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|monthly|||+1MO",
            "2026-11-09 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|monthly||||-10",
            "2026-11-21 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|monthly||||1,15",
            "2026-11-15 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|monthly||||1,15",
            "2026-11-16 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|monthly||||-1",
            "2026-11-30 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|yearly|||||-1",
            "2026-12-31 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|yearly|||||-306",
            "2026-03-01 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|yearly||||||1",
            "2026-01-01 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|yearly||||||1",
            "2026-01-08 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|yearly|||MO|||20",
            "2026-05-18 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|yearly||||||-1",
            "2026-12-31 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|yearly|||||||8,9",
            "2026-09-01 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|yearly|||||||8,9",
            "2026-09-02 12:00:00",
            false,
        ),
        ("20120229T000000|PT24H|yearly", "2016-02-29 12:00:00", true),
        ("20120229T000000|PT24H|yearly", "2017-02-28 12:00:00", false),
        ("20120101T220000|PT8H|daily", "2026-01-02 23:00:00", true),
        ("20120101T220000|PT8H|daily", "2026-01-02 07:00:00", false),
        (
            "20120101T000000|P1D|weekly|||SU",
            "2026-11-22 23:00:00",
            true,
        ),
        ("bad|PT1H", "2026-11-22 23:00:00", false),
        ("20120101T000000|XX", "2026-11-22 23:00:00", false),
        ("20120101T000000|PT1H|hourly", "2026-11-22 23:00:00", false),
        (
            "20120101T000000|PT1H|weekly|||XX",
            "2026-11-22 00:30:00",
            true,
        ),
        ("", "2026-11-22 00:30:00", false),
        ("20120101T000000|PT1H|daily||0", "2026-11-22 00:30:00", true),
        ("20120101T000000|PT1H|daily||x", "2026-11-22 00:30:00", true),
        ("20260101T000000|PT1H", "2026-01-01 00:00:00", true),
        (
            "20120101T000000|PT24H|monthly||||30",
            "2026-02-28 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|daily|||MO",
            "2026-11-23 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|daily|||MO",
            "2026-11-24 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|daily||||23",
            "2026-11-23 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|weekly|||||||11",
            "2026-11-23 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|yearly|||1MO",
            "2026-01-05 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|yearly|||2MO",
            "2026-01-12 12:00:00",
            true,
        ),
        (
            "20120102T000000|PT24H|weekly||2|MO,FR",
            "2012-01-06 12:00:00",
            true,
        ),
        (
            "20120102T000000|PT24H|weekly||2|MO,FR",
            "2012-01-13 12:00:00",
            false,
        ),
        (
            "20120102T000000|PT24H|weekly||2|MO,SU",
            "2012-01-08 12:00:00",
            true,
        ),
    ] {
        assert_eq!(matches(rule, at), want, "{rule} at {at}");
    }
}

#[test]
fn rules_match_as_documented() {
    for (rule, at, want) in [
        (
            "20100101T093000|PT10H30M|yearly||4|SU||||3",
            "2014-03-02 10:00:00",
            true,
        ),
        ("20120101T000000", "2030-01-02 00:30:00", true),
        ("20120101T000000|", "2030-01-02 00:30:00", true),
        (
            "20120101T000000|PT1H|daily|20120105",
            "2012-01-05 00:30:00",
            true,
        ),
        (
            "20120101T000000|PT24H|monthly|||-1MO",
            "2026-11-30 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|monthly|||-1MO",
            "2026-11-23 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|monthly|||MO",
            "2026-11-23 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|yearly|||||60",
            "2026-03-01 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|yearly|||||60",
            "2026-03-02 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|yearly|||MO|||20",
            "2026-05-11 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|daily|||||||3",
            "2026-03-05 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|daily|||||||3",
            "2026-04-05 12:00:00",
            false,
        ),
        ("20120101T220000|PT8H|daily", "2026-01-02 03:00:00", true),
        ("20120101T000000|P1W|monthly", "2026-11-03 23:00:00", true),
        ("20120101T000000|P1DT2H|weekly", "2026-11-23 01:00:00", true),
        ("20120101|PT1H|daily", "2026-11-22 00:30:00", true),
        ("20120101T000000Z|PT1H|daily", "2026-11-22 00:30:00", true),
        ("20120101T000000||weekly|||SU", "2026-11-22 13:00:00", true),
        ("20120101T000000||weekly|||SU", "2026-11-23 13:00:00", true),
        (
            "20120101T000000|PT24H|weekly|||||||11",
            "2026-11-22 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|yearly|||-1TH",
            "2026-12-31 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|yearly|||1MO||||5",
            "2026-05-04 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|yearly|||1MO||||5",
            "2026-05-11 12:00:00",
            false,
        ),
        (
            "20120101T000000|PT24H|yearly||||||-1",
            "2026-12-27 12:00:00",
            false,
        ),
        (
            "20120105T000000|PT24H|yearly||||||-1",
            "2026-12-31 12:00:00",
            true,
        ),
        (
            "20120101T000000|PT24H|yearly||||15",
            "2026-07-15 12:00:00",
            true,
        ),
    ] {
        assert_eq!(matches(rule, at), want, "{rule} at {at}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (rule, part) in [
        ("", "no date"),
        ("2012|PT1H", "no date"),
        ("20121301T000000|PT1H", "no date"),
        ("20120101T000000|XX", "\"XX\""),
        ("20120101T000000|-PT1H", "\"-PT1H\""),
        ("20120101T000000|P", "\"P\""),
        ("20120101T000000|P99999999999W", "no duration"),
        ("20120101T000000|PT1H|hourly", "\"hourly\""),
        ("20120101T000000|PT1H|daily|x", "\"x\""),
    ] {
        let e = Recurrence::parse(rule, '|', &Utc).unwrap_err();
        assert!(e.contains(part), "{rule}: {e}");
    }
    for (text, seconds) in [
        ("PT8H", 28_800),
        ("P1W", 604_800),
        ("P1DT2H3M4S", 93_784),
        ("PT0S", 0),
        ("pt1h", 3600),
    ] {
        assert_eq!(duration(text), Some(Duration::seconds(seconds)), "{text}");
    }
    for text in ["PT", "P1", "PT1D", "P1H", "1H", "PT1H2"] {
        assert_eq!(duration(text), None, "{text}");
    }
}

#[test]
fn times_are_those_of_the_zone() {
    let zone = FixedOffset::east_opt(2 * 3600).unwrap();
    let at = |h| zone.with_ymd_and_hms(2026, 11, 23, h, 0, 0).unwrap();
    let local = Recurrence::parse("20120101T080000|PT1H|daily", '|', &zone).unwrap();
    let utc = Recurrence::parse("20120101T080000Z;PT1H;daily", ';', &zone).unwrap();
    assert!(local.matches(&at(8), 0) && !local.matches(&at(10), 0));
    assert!(utc.matches(&at(10), 0) && !utc.matches(&at(8), 0));
}

#[test]
fn leap_years() {
    for (year, want) in [
        (2010, false),
        (2012, true),
        (2000, true),
        (1900, false),
        (0, true),
    ] {
        assert_eq!(is_leap_year(year), want, "{year}");
    }
}

proptest! {
    #[test]
    fn any_text_and_time_end_well(text in "[0-9TPMDHWSZ|,+ -]{0,60}", at in any::<i32>()) {
        let at = DateTime::from_timestamp(i64::from(at), 0).unwrap();
        if let Ok(r) = Recurrence::parse(&text, '|', &Utc) {
            r.matches(&at, 0);
        }
    }

    #[test]
    fn each_day_is_in_exactly_one_rule_of_its_month_day(days in 0i64..20_000, hour in 0i64..24) {
        let at = DateTime::from_timestamp(1_500_000_000 / 86_400 * 86_400 + days * 86_400 + hour * 3600, 0).unwrap();
        let hits = (1..=31).filter(|d| {
            let rule = format!("20100101T000000|P1D|monthly||||{d}");
            Recurrence::parse(&rule, '|', &Utc).unwrap().matches(&at, 0)
        });
        prop_assert_eq!(hits.collect::<Vec<_>>(), vec![at.day()]);
    }
}
