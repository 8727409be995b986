//! Periods in the manner of Perl's Time::Period: `wd{mo-fr} hr{8-16}, wd{sat} hr{9 10 11}`.
//!
//! Sub-periods are separated by commas; a time is in the period if it is in one of them, or if there
//! are none. A sub-period has scales with values or ranges in braces; all scales must fit. Ranges
//! may wrap around, but for years. An error in a sub-period counts once it is come to.

use chrono::{DateTime, Datelike, TimeZone, Timelike};

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Year,
    Month,
    Week,
    YearDay,
    MonthDay,
    WeekDay,
    Hour,
    Minute,
    Second,
}

impl Scale {
    fn named(name: &str) -> Option<Scale> {
        Some(match name.to_ascii_lowercase().as_str() {
            "year" | "yr" => Scale::Year,
            "month" | "mo" => Scale::Month,
            "week" | "wk" => Scale::Week,
            "yday" | "yd" => Scale::YearDay,
            "mday" | "md" => Scale::MonthDay,
            "wday" | "wd" => Scale::WeekDay,
            "hour" | "hr" => Scale::Hour,
            "minute" | "min" => Scale::Minute,
            "second" | "sec" => Scale::Second,
            _ => return None,
        })
    }

    fn limits(self) -> (i64, i64) {
        match self {
            Scale::Year => (0, 9999),
            Scale::Month => (1, 12),
            Scale::Week => (1, 6),
            Scale::YearDay => (1, 366),
            Scale::MonthDay => (1, 31),
            Scale::WeekDay => (1, 7),
            Scale::Hour => (0, 23),
            Scale::Minute => (0, 59),
            Scale::Second => (0, 60),
        }
    }

    /// The time on this scale.
    fn of<T: TimeZone>(self, t: &DateTime<T>) -> i64 {
        match self {
            Scale::Year => i64::from(t.year()),
            Scale::Month => i64::from(t.month()),
            Scale::Week => {
                // The weekday of the first of the month, Sunday being 0.
                let first = (i64::from(t.weekday().num_days_from_sunday()) - i64::from(t.day0()))
                    .rem_euclid(7);
                (i64::from(t.day0()) + first) / 7 + 1
            }
            Scale::YearDay => i64::from(t.ordinal()),
            Scale::MonthDay => i64::from(t.day()),
            Scale::WeekDay => i64::from(t.weekday().number_from_sunday()),
            Scale::Hour => i64::from(t.hour()),
            Scale::Minute => i64::from(t.minute()),
            Scale::Second => i64::from(t.second()),
        }
    }

    /// A value as written, a name or a number.
    fn value(self, text: &str, century: i64) -> Result<i64, String> {
        let (low, high) = self.limits();
        let named = |names: &[&str], least: usize| {
            let t = text.to_ascii_lowercase();
            let at = names
                .iter()
                .position(|n| t.len() >= least && n.starts_with(&t));
            at.map(|i| i as i64 + 1)
        };
        let value = match text.parse::<i64>() {
            Ok(n @ 0..=99) if self == Scale::Year && text.len() <= 2 => Some(century + n),
            Ok(n) => Some(n),
            Err(_) if self == Scale::Month => named(&MONTHS, 3),
            Err(_) if self == Scale::WeekDay => named(&DAYS, 2),
            Err(_) => None,
        };
        value
            .filter(|v| (low..=high).contains(v))
            .ok_or_else(|| format!("\"{text}\" is no value of {self:?}, {low} to {high}"))
    }
}

/// Whether a time is in a period; the error says what is wrong with it.
pub(crate) fn matches<T: TimeZone>(period: &str, at: &DateTime<T>) -> Result<bool, String> {
    let mut any = false;
    for sub in period.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        any = true;
        if in_sub_period(sub, at).map_err(|e| format!("the period \"{period}\": {e}"))? {
            return Ok(true);
        }
    }
    Ok(!any)
}

fn in_sub_period<T: TimeZone>(text: &str, at: &DateTime<T>) -> Result<bool, String> {
    // A scale that comes again adds to what it had.
    let mut scales: Vec<(Scale, bool)> = Vec::new();
    let mut rest = text;
    while !rest.trim().is_empty() {
        let (name, behind) = rest
            .split_once('{')
            .ok_or_else(|| format!("\"{}\" has no brace", rest.trim()))?;
        let (values, behind) = behind
            .split_once('}')
            .ok_or_else(|| format!("the brace behind \"{}\" does not end", name.trim()))?;
        let scale =
            Scale::named(name.trim()).ok_or_else(|| format!("\"{}\" is no scale", name.trim()))?;
        let fits = in_values(scale, values, at)?;
        match scales.iter_mut().find(|(s, _)| *s == scale) {
            Some((_, before)) => *before |= fits,
            None => scales.push((scale, fits)),
        }
        rest = behind;
    }
    Ok(scales.iter().all(|(_, fits)| *fits))
}

fn in_values<T: TimeZone>(scale: Scale, text: &str, at: &DateTime<T>) -> Result<bool, String> {
    let now = scale.of(at);
    let century = i64::from(at.year()) / 100 * 100;
    let spaced = text.replace('-', " - ");
    let mut words = spaced.split_whitespace().peekable();
    let mut fits = false;
    while let Some(word) = words.next() {
        let low = scale.value(word, century)?;
        if words.next_if_eq(&"-").is_none() {
            fits |= now == low;
            continue;
        }
        let high = words
            .next()
            .ok_or_else(|| format!("the range from {word} has no end"))?;
        let high = scale.value(high, century)?;
        fits |= match low <= high || scale == Scale::Year {
            true => (low..=high).contains(&now),
            false => now >= low || now <= high,
        };
    }
    Ok(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDateTime;
    use proptest::prelude::*;

    #[test]
    fn periods_match_as_in_the_original() {
        for (period, at, want) in [
            (
                "wd{2-6} hr{8-16}, wd{2-6} hr{17} min{0-29}",
                "2026-11-23 17:15:00",
                Some(true),
            ),
            (
                "wd{2-6} hr{8-16}, wd{2-6} hr{17} min{0-29}",
                "2026-11-23 17:30:00",
                Some(false),
            ),
            (
                "wd{2-6} hr{8-16}, wd{2-6} hr{17} min{0-29}",
                "2026-11-22 12:15:00",
                Some(false),
            ),
            (
                "wday { sat sun }, wday {mo-fr} hr {17-8},wd{mo-wed}hr{15 16 9}",
                "2026-11-21 12:00:00",
                Some(true),
            ),
            (
                "wday { sat sun }, wday {mo-fr} hr {17-8},wd{mo-wed}hr{15 16 9}",
                "2026-11-23 12:00:00",
                Some(false),
            ),
            (
                "wday { sat sun }, wday {mo-fr} hr {17-8},wd{mo-wed}hr{15 16 9}",
                "2026-11-23 16:00:00",
                Some(true),
            ),
            (
                "wday { sat sun }, wday {mo-fr} hr {17-8},wd{mo-wed}hr{15 16 9}",
                "2026-11-26 16:00:00",
                Some(false),
            ),
            (
                "wday { sat sun }, wday {mo-fr} hr {17-8},wd{mo-wed}hr{15 16 9}",
                "2026-11-26 03:00:00",
                Some(true),
            ),
            ("", "2026-11-26 03:00:00", Some(true)),
            (",", "2026-11-26 03:00:00", Some(true)),
            (" yr{2026}", "2026-11-26 03:00:00", Some(true)),
            ("year{2027}", "2026-11-26 03:00:00", Some(false)),
            ("yr{2025-2024}", "2026-11-26 03:00:00", Some(false)),
            ("mo{nov}", "2026-11-26 03:00:00", Some(true)),
            ("month{november-january}", "2026-11-26 03:00:00", Some(true)),
            ("mo{1-10}", "2026-11-26 03:00:00", Some(false)),
            ("wk{4}", "2026-11-26 03:00:00", Some(true)),
            ("wk{5}", "2026-11-26 03:00:00", Some(false)),
            ("week{1}", "2026-11-01 03:00:00", Some(true)),
            ("wk{1}", "2026-11-07 03:00:00", Some(true)),
            ("wk{2}", "2026-11-08 03:00:00", Some(true)),
            ("yd{330}", "2026-11-26 03:00:00", Some(true)),
            ("yd{329}", "2026-11-26 03:00:00", Some(false)),
            ("md{26}", "2026-11-26 03:00:00", Some(true)),
            ("mday{20-25}", "2026-11-26 03:00:00", Some(false)),
            ("wd{5}", "2026-11-26 03:00:00", Some(true)),
            ("wd{THU}", "2026-11-26 03:00:00", Some(true)),
            ("wd{fri-tue}", "2026-11-26 03:00:00", Some(false)),
            ("wd{fri-tue}", "2026-11-22 03:00:00", Some(true)),
            ("HR{3}", "2026-11-26 03:00:00", Some(true)),
            ("hr { 2 - 4 }", "2026-11-26 03:00:00", Some(true)),
            ("hr{3} hr{4}", "2026-11-26 04:00:00", Some(true)),
            ("hr{}", "2026-11-26 03:00:00", Some(false)),
            ("min{0}", "2026-11-26 03:00:00", Some(true)),
            ("second{0}", "2026-11-26 03:00:00", Some(true)),
            ("hr{9},min{0}", "2026-11-26 03:00:00", Some(true)),
            ("hr{3},bad{1}", "2026-11-26 03:00:00", Some(true)),
            // As documented; 5.6.3 takes a year of two digits for the year 26, and what is wrong for
            // a match.
            ("yr{26}", "2026-11-26 03:00:00", Some(true)),
            ("yr{20-30}", "2026-11-26 03:00:00", Some(true)),
            ("hr{9},", "2026-11-26 03:00:00", Some(false)),
            ("mo{no}", "2026-11-26 03:00:00", None),
            ("wd{t}", "2026-11-26 03:00:00", None),
            ("hour{24}", "2026-11-26 03:00:00", None),
            ("sec{61}", "2026-11-26 03:00:00", None),
            ("md{0}", "2026-11-26 03:00:00", None),
            ("bad{1}", "2026-11-26 03:00:00", None),
            ("bad{1},hr{3}", "2026-11-26 03:00:00", None),
            ("hr{", "2026-11-26 03:00:00", None),
            ("hr", "2026-11-26 03:00:00", None),
            ("hr{3-}", "2026-11-26 03:00:00", None),
            ("hr{5,3}", "2026-11-26 03:00:00", None),
            ("hr{x}", "2026-11-26 03:00:00", None),
        ] {
            let at = NaiveDateTime::parse_from_str(at, "%Y-%m-%d %H:%M:%S")
                .unwrap()
                .and_utc();
            assert_eq!(matches(period, &at).ok(), want, "{period} at {at}");
        }
    }

    proptest! {
        #[test]
        fn any_text_ends_well(text in "[a-z0-9{}, -]{0,60}", at in any::<i32>()) {
            let at = DateTime::from_timestamp(i64::from(at), 0).unwrap();
            let _ = matches(&text, &at);
        }
    }
}
