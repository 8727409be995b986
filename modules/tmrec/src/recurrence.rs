//! Recurring times (RFC 2445 §4.8.5.4 and §4.3.6, as RFC 3880 §4.4 uses them in calls).
//!
//! `start|duration|frequency|until|interval|byday|bymonthday|byyearday|byweekno|bymonth`. A time
//! matches if an occurrence that began at or before it still lasts. Each day on which one may have
//! begun is asked whether it is in the recurrence: rules are filters of days, with what the rules
//! leave open taken from the start. So nothing is ever listed, and a rule costs the same in any year.
//! Values of a rule that make no sense are passed over.

use chrono::{
    DateTime, Datelike, Days, Duration, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Timelike,
    Weekday,
};

/// Days that are looked back for the begin of an occurrence.
const FARTHEST: i64 = 4000;
/// Longest duration, days: some 270 years.
const LONGEST: i64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// `+1MO`: ordinal (0 for every) and day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ByDay {
    ordinal: i32,
    day: Weekday,
}

/// A recurrence, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recurrence {
    start: NaiveDateTime,
    /// `None`: for ever.
    lasts: Option<Duration>,
    every: Option<Frequency>,
    until: Option<NaiveDateTime>,
    interval: i64,
    by_day: Vec<ByDay>,
    by_month_day: Vec<i32>,
    by_year_day: Vec<i32>,
    by_week: Vec<i32>,
    by_month: Vec<i32>,
}

impl Recurrence {
    /// Reads a text; the error says what is wrong. Times that end in `Z` are moved to the zone.
    pub(crate) fn parse<T: TimeZone>(
        text: &str,
        separator: char,
        zone: &T,
    ) -> Result<Recurrence, String> {
        let wrong = |what: &str| format!("the recurrence \"{text}\" {what}");
        let mut fields = text.split(separator).map(str::trim);
        let mut next = || fields.next().unwrap_or("");
        let start = next();
        let start = date_time(start, NaiveTime::MIN, zone)
            .ok_or_else(|| wrong("begins with no date such as 20120101T083000"))?;
        let lasts = match next() {
            "" => None,
            d => Some(duration(d).ok_or_else(|| {
                wrong(&format!("has \"{d}\", which is no duration such as PT8H"))
            })?)
            .filter(|d| !d.is_zero()),
        };
        let every = match next().to_ascii_lowercase().as_str() {
            "" => None,
            "daily" => Some(Frequency::Daily),
            "weekly" => Some(Frequency::Weekly),
            "monthly" => Some(Frequency::Monthly),
            "yearly" => Some(Frequency::Yearly),
            f => {
                return Err(wrong(&format!(
                    "is \"{f}\"; one of daily, weekly, monthly, yearly"
                )));
            }
        };
        let until = match next() {
            "" => None,
            u => {
                let end_of_day = NaiveTime::from_hms_opt(23, 59, 59).unwrap_or_default();
                Some(
                    date_time(u, end_of_day, zone)
                        .ok_or_else(|| wrong(&format!("has \"{u}\", which is no date")))?,
                )
            }
        };
        Ok(Recurrence {
            start,
            lasts,
            every,
            until,
            interval: next().parse().ok().filter(|n| *n > 0).unwrap_or(1),
            by_day: next().split(',').filter_map(by_day).collect(),
            by_month_day: numbers(next(), 31),
            by_year_day: numbers(next(), 366),
            by_week: numbers(next(), 53),
            by_month: numbers(next(), 12).into_iter().filter(|m| *m > 0).collect(),
        })
    }

    /// Whether a time is in it. `week_start`: days from Monday to the first day of a week.
    pub(crate) fn matches<T: TimeZone>(&self, at: &DateTime<T>, week_start: u32) -> bool {
        let zone = at.timezone();
        let Some(first) = instant(&zone, self.start) else {
            return false;
        };
        if *at < first {
            return false;
        }
        let Some(lasts) = self.lasts else { return true };
        let Some(every) = self.every else {
            return at.clone().signed_duration_since(first) <= lasts;
        };
        let today = at.naive_local().date();
        let back = (lasts.num_days() + 1).min(FARTHEST) as u64;
        (0..=back)
            .filter_map(|n| today.checked_sub_days(Days::new(n)))
            .take_while(|day| *day >= self.start.date())
            .any(|day| self.covers(day, at, lasts) && self.recurs(every, day, week_start))
    }

    /// Whether an occurrence that began on this day would last until `at`.
    fn covers<T: TimeZone>(&self, day: NaiveDate, at: &DateTime<T>, lasts: Duration) -> bool {
        let begin = day.and_time(self.start.time());
        let Some(from) = instant(&at.timezone(), begin) else {
            return false;
        };
        let since = at.clone().signed_duration_since(from);
        since >= Duration::zero() && since < lasts && self.until.is_none_or(|u| begin <= u)
    }

    /// Whether an occurrence begins on this day.
    fn recurs(&self, every: Frequency, day: NaiveDate, week_start: u32) -> bool {
        self.in_interval(every, day, week_start)
            && (self.by_month.is_empty() || self.by_month.contains(&(day.month() as i32)))
            && among(
                &self.by_week,
                day.iso_week().week() as i32,
                weeks_of(day.iso_week().year()),
            )
            && among(
                &self.by_year_day,
                day.ordinal() as i32,
                days_of_year(day.year()),
            )
            && among(&self.by_month_day, day.day() as i32, days_of_month(day))
            && (self.by_day.is_empty() || self.by_day.iter().any(|b| self.is_day(every, *b, day)))
            && self.as_the_start(every, day)
    }

    fn in_interval(&self, every: Frequency, day: NaiveDate, week_start: u32) -> bool {
        let start = self.start.date();
        let week = |d: NaiveDate| {
            (i64::from(d.num_days_from_ce()) - 1 - i64::from(week_start)).div_euclid(7)
        };
        let month = |d: NaiveDate| i64::from(d.year()) * 12 + i64::from(d.month0());
        let apart = match every {
            Frequency::Daily => (day - start).num_days(),
            Frequency::Weekly => week(day) - week(start),
            Frequency::Monthly => month(day) - month(start),
            Frequency::Yearly => i64::from(day.year() - start.year()),
        };
        apart % self.interval == 0
    }

    /// The ordinal counts in the month, in a yearly rule without months in the year; it means
    /// nothing in daily and weekly rules.
    fn is_day(&self, every: Frequency, by: ByDay, day: NaiveDate) -> bool {
        if day.weekday() != by.day {
            return false;
        }
        let in_year = every == Frequency::Yearly && self.by_month.is_empty();
        let (nth, days) = match in_year {
            true => (day.ordinal() as i32, days_of_year(day.year())),
            false => (day.day() as i32, days_of_month(day)),
        };
        match by.ordinal {
            0 => true,
            _ if matches!(every, Frequency::Daily | Frequency::Weekly) => true,
            n if n > 0 => (nth - 1) / 7 + 1 == n,
            n => (days - nth) / 7 + 1 == -n,
        }
    }

    /// What the rules leave open is as it was at the start: the day of the week, of the month, the
    /// month.
    fn as_the_start(&self, every: Frequency, day: NaiveDate) -> bool {
        let start = self.start.date();
        let no_day =
            self.by_day.is_empty() && self.by_month_day.is_empty() && self.by_year_day.is_empty();
        match every {
            Frequency::Daily => true,
            _ if !no_day => true,
            Frequency::Weekly => day.weekday() == start.weekday(),
            _ if !self.by_week.is_empty() => day.weekday() == start.weekday(),
            Frequency::Monthly => day.day() == start.day(),
            Frequency::Yearly => {
                day.day() == start.day()
                    && (!self.by_month.is_empty() || day.month() == start.month())
            }
        }
    }
}

/// A local time as an instant; one that the clocks leave out counts as the one an hour later.
fn instant<T: TimeZone>(zone: &T, local: NaiveDateTime) -> Option<DateTime<T>> {
    zone.from_local_datetime(&local).earliest().or_else(|| {
        zone.from_local_datetime(&(local + Duration::hours(1)))
            .earliest()
    })
}

/// Whether `n`, counted from 1 or from -1 backwards, is in the list; an empty list has all.
fn among(list: &[i32], n: i32, of: i32) -> bool {
    list.is_empty() || list.contains(&n) || list.contains(&(n - of - 1))
}

fn days_of_year(year: i32) -> i32 {
    if is_leap_year(i64::from(year)) {
        366
    } else {
        365
    }
}

fn days_of_month(day: NaiveDate) -> i32 {
    let next = match day.month() {
        12 => NaiveDate::from_ymd_opt(day.year() + 1, 1, 1),
        m => NaiveDate::from_ymd_opt(day.year(), m + 1, 1),
    };
    next.and_then(|n| n.pred_opt())
        .map_or(31, |last| last.day() as i32)
}

/// Weeks of an ISO year: its last one has 28 December in it.
fn weeks_of(year: i32) -> i32 {
    NaiveDate::from_ymd_opt(year, 12, 28).map_or(52, |d| d.iso_week().week() as i32)
}

/// Whether a year has 366 days.
pub(crate) fn is_leap_year(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// `20120101T083000`, `20120101` with `time`, or with a `Z` at its end for UTC.
fn date_time<T: TimeZone>(text: &str, time: NaiveTime, zone: &T) -> Option<NaiveDateTime> {
    let (text, utc) = match text.strip_suffix(['Z', 'z']) {
        Some(t) => (t, true),
        None => (text, false),
    };
    let digits = |t: &str, n: usize| t.len() == n && t.bytes().all(|b| b.is_ascii_digit());
    let (date, clock) = match text.split_once(['T', 't']) {
        Some((d, t)) if digits(t, 6) => (d, NaiveTime::parse_from_str(t, "%H%M%S").ok()?),
        Some(_) => return None,
        None => (text, time),
    };
    if !digits(date, 8) {
        return None;
    }
    let local = NaiveDate::parse_from_str(date, "%Y%m%d")
        .ok()?
        .and_time(clock)
        .with_nanosecond(0)?;
    match utc {
        true => Some(zone.from_utc_datetime(&local).naive_local()),
        false => Some(local),
    }
}

/// `P1W`, `P1DT2H`, `PT8H30M` (RFC 2445 §4.3.6).
fn duration(text: &str) -> Option<Duration> {
    let rest = text
        .strip_prefix('+')
        .unwrap_or(text)
        .strip_prefix(['P', 'p'])?;
    let (mut total, mut number, mut in_time, mut units) = (0i64, String::new(), false, 0);
    for c in rest.chars() {
        let seconds = match (c.to_ascii_uppercase(), in_time) {
            ('0'..='9', _) => {
                number.push(c);
                continue;
            }
            ('T', false) if number.is_empty() => {
                in_time = true;
                continue;
            }
            ('W', false) => 7 * 86_400,
            ('D', false) => 86_400,
            ('H', true) => 3600,
            ('M', true) => 60,
            ('S', true) => 1,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(seconds)?)?;
        units += 1;
        number.clear();
    }
    (units > 0 && number.is_empty() && total <= LONGEST * 86_400).then(|| Duration::seconds(total))
}

/// A comma list of numbers from -`most` to `most`, others and 0 left out.
fn numbers(text: &str, most: i32) -> Vec<i32> {
    text.split(',')
        .filter_map(|n| n.trim().parse().ok())
        .filter(|n: &i32| *n != 0 && n.unsigned_abs() <= most.unsigned_abs())
        .collect()
}

fn by_day(text: &str) -> Option<ByDay> {
    let text = text.trim();
    let at = text
        .len()
        .checked_sub(2)
        .filter(|at| text.is_char_boundary(*at))?;
    let (ordinal, day) = text.split_at(at);
    let day = match day.to_ascii_uppercase().as_str() {
        "MO" => Weekday::Mon,
        "TU" => Weekday::Tue,
        "WE" => Weekday::Wed,
        "TH" => Weekday::Thu,
        "FR" => Weekday::Fri,
        "SA" => Weekday::Sat,
        "SU" => Weekday::Sun,
        _ => return None,
    };
    let ordinal = match ordinal.trim() {
        "" => 0,
        n => n.parse().ok().filter(|n| *n != 0)?,
    };
    Some(ByDay { ordinal, day })
}

#[cfg(test)]
mod tests;
