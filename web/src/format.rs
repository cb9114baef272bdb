//! Numbers and times as people read them. Pages call these when they fill in their structs; templates never format.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns a duration with two or three digits that matter: `850 µs`, `4.2 ms`, `842 ms`, `1.14 s`, `3 min 20 s`.
pub(crate) fn millis(ms: f64) -> String {
    if !ms.is_finite() {
        return "–".to_owned();
    }
    if ms < 0.0 {
        return format!("−{}", millis(-ms));
    }
    let seconds = ms / 1e3;
    match ms {
        0.0 => "0 ms".to_owned(),
        _ if ms < 0.000_999_5 => format!("{:.0} ns", ms * 1e6),
        _ if ms < 0.999_5 => format!("{:.0} µs", ms * 1e3),
        _ if ms < 9.95 => format!("{ms:.1} ms"),
        _ if ms < 999.5 => format!("{ms:.0} ms"),
        _ if seconds < 9.995 => format!("{seconds:.2} s"),
        _ if seconds < 59.95 => format!("{seconds:.1} s"),
        _ => long(whole(seconds)),
    }
}

/// Returns a duration that is round, without digits that say nothing: `20 s`, `500 ms`.
pub(crate) fn round_millis(ms: f64) -> String {
    let text = millis(ms);
    match text.split_once(' ') {
        Some((amount, unit)) if amount.contains('.') => {
            format!("{} {unit}", amount.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// Returns a duration given in nanoseconds, as [`millis`].
pub(crate) fn nanos(ns: i64) -> String {
    millis(to_millis(ns))
}

/// Returns nanoseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(crate) fn to_millis(ns: i64) -> f64 {
    ns as f64 / 1e6
}

#[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

fn long(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match () {
        () if days > 0 => format!("{days} d {hours} h"),
        () if hours > 0 => format!("{hours} h {minutes} min"),
        () if seconds % 60 == 0 => format!("{minutes} min"),
        () => format!("{minutes} min {} s", seconds % 60),
    }
}

/// Returns a difference of two durations with its sign: `+800 ms`.
pub(crate) fn difference(ms: f64) -> String {
    if ms > 0.0 { format!("+{}", millis(ms)) } else { millis(ms) }
}

/// Returns an amount a minute or a second: `0`, `0.2`, `4.2`, `148`, `4,210`.
pub(crate) fn rate(value: f64) -> String {
    match value {
        _ if !value.is_finite() || value <= 0.0 => "0".to_owned(),
        _ if value < 0.05 => "<0.1".to_owned(),
        _ if value < 9.95 => format!("{value:.1}"),
        _ => grouped(whole(value)),
    }
}

/// Returns a share of one in percent: `0%`, `0.4%`, `48%`, `100%`.
pub(crate) fn share(value: f64) -> String {
    let percent = value * 100.0;
    match percent {
        _ if !percent.is_finite() => "–".to_owned(),
        0.0 => "0%".to_owned(),
        _ if percent.abs() < 0.1 => "<0.1%".to_owned(),
        _ if percent.abs() < 0.95 => format!("{percent:.1}%"),
        // Only what is all of it reads 100%.
        _ if (99.5..100.0).contains(&percent) => ">99%".to_owned(),
        _ => format!("{percent:.0}%"),
    }
}

/// Returns a count with thousands separated: `12,345`.
pub(crate) fn count(value: u64) -> String {
    grouped(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Returns a count of a length.
pub(crate) fn len(value: usize) -> String {
    count(u64::try_from(value).unwrap_or(u64::MAX))
}

/// Returns a count and its noun: `1 span`, `2 spans`.
pub(crate) fn counted(value: usize, one: &str, many: &str) -> String {
    format!("{} {}", len(value), if value == 1 { one } else { many })
}

fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0 {
        text.push('−');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns bytes in decimal units: `512 B`, `4.1 GB`.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(crate) fn bytes(value: u64) -> String {
    let mut amount = value as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if amount < 999.5 {
            return if amount < 9.95 && unit != "B" {
                format!("{amount:.1} {unit}")
            } else {
                format!("{amount:.0} {unit}")
            };
        }
        amount /= 1e3;
    }
    format!("{amount:.1} TB")
}

fn zoned(ns: i64, pattern: &str) -> String {
    match Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(at) => at.to_zoned(TimeZone::UTC).strftime(pattern).to_string(),
        Err(_) => ns.to_string(),
    }
}

/// Returns a moment to the second: `2026-11-21 12:03:04 UTC`.
pub(crate) fn moment(ns: i64) -> String {
    zoned(ns, "%Y-%m-%d %H:%M:%S UTC")
}

/// Returns a moment to the millisecond: `2026-11-21 12:03:04.120 UTC`.
pub(crate) fn precise(ns: i64) -> String {
    zoned(ns, "%Y-%m-%d %H:%M:%S%.3f UTC")
}

/// Returns the time of day to the second: `12:03:04`, for columns whose head names the zone.
pub(crate) fn clock(ns: i64) -> String {
    zoned(ns, "%H:%M:%S")
}

/// Returns month and day and time of day: `11-21 12:03:04.120`, for lists that span days.
pub(crate) fn day_clock(ns: i64) -> String {
    zoned(ns, "%m-%d %H:%M:%S%.3f")
}

/// Returns RFC 3339 for a `<time datetime>`.
pub(crate) fn machine(ns: i64) -> String {
    analyzer::time::rfc3339(ns)
}

/// Returns how long ago something was, in one unit: `6 min ago`; `just now` also for what lies ahead.
pub(crate) fn ago(now_ns: i64, then_ns: i64) -> String {
    let seconds = now_ns.saturating_sub(then_ns) / 1_000_000_000;
    match seconds {
        ..=1 => "just now".to_owned(),
        2..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Returns an RFC 3339 time as time of day if it is on the day of another, or else as [`moment`]. The reader is told
/// the zone beside.
pub(crate) fn stated_near(text: &str, near: &str) -> String {
    let is_same_day = text.get(..10).is_some_and(|day| near.get(..10) == Some(day));
    match analyzer::time::parse_rfc3339(text) {
        Some(ns) if is_same_day => clock(ns),
        Some(ns) => moment(ns),
        None => text.to_owned(),
    }
}

/// Returns an RFC 3339 time as [`moment`]; other text as it is.
pub(crate) fn stated_moment(text: &str) -> String {
    analyzer::time::parse_rfc3339(text).map_or_else(|| text.to_owned(), moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_the_digits_that_matter() {
        let shown: Vec<String> = [
            0.0,
            0.000_4,
            0.85,
            4.23,
            62.0,
            842.4,
            999.6,
            1_142.0,
            42_300.0,
            60_000.0,
            200_000.0,
            7_500_000.0,
            180_000_000.0,
            -3.0,
        ]
        .into_iter()
        .map(millis)
        .collect();
        let wanted = [
            "0 ms",
            "400 ns",
            "850 µs",
            "4.2 ms",
            "62 ms",
            "842 ms",
            "1.00 s",
            "1.14 s",
            "42.3 s",
            "1 min",
            "3 min 20 s",
            "2 h 5 min",
            "2 d 2 h",
            "−3.0 ms",
        ];
        assert_eq!(shown, wanted);
        assert_eq!(millis(f64::NAN), "–");
        assert_eq!(
            [20_000.0, 500.0, 1_500.0, 1_000.0, 200.0].map(round_millis),
            ["20 s", "500 ms", "1.5 s", "1 s", "200 ms"]
        );
    }

    #[test]
    fn rates_shares_counts_and_bytes_are_short() {
        assert_eq!([0.0, 0.01, 0.2, 4.23, 148.4, 4_210.0].map(rate), ["0", "<0.1", "0.2", "4.2", "148", "4,210"]);
        assert_eq!([0.0, 0.0004, 0.004, 0.48, 0.997, 1.0].map(share), ["0%", "<0.1%", "0.4%", "48%", ">99%", "100%"]);
        assert_eq!([0, 999, 1_000, 12_345_678].map(count), ["0", "999", "1,000", "12,345,678"]);
        assert_eq!([512, 4_100, 41_000_000_000].map(bytes), ["512 B", "4.1 kB", "41 GB"]);
    }

    #[test]
    fn times_show_their_zone() {
        let at = analyzer::time::parse_rfc3339("2026-11-21T12:03:04.120456Z").unwrap();
        assert_eq!(moment(at), "2026-11-21 12:03:04 UTC");
        assert_eq!(precise(at), "2026-11-21 12:03:04.120 UTC");
        assert_eq!(day_clock(at), "11-21 12:03:04.120");
        assert_eq!(stated_moment("2026-11-21T12:03:04Z"), "2026-11-21 12:03:04 UTC");
        assert_eq!(stated_moment("soon"), "soon");
        assert_eq!(stated_near("2026-11-21T12:03:04Z", "2026-11-21T09:00:00Z"), "12:03:04");
        assert_eq!(stated_near("2026-11-20T12:03:04Z", "2026-11-21T09:00:00Z"), "2026-11-20 12:03:04 UTC");
    }

    #[test]
    fn ages_use_one_unit() {
        let second = 1_000_000_000;
        assert_eq!(ago(400 * second, 0), "6 min ago");
        assert_eq!(ago(0, 400 * second), "just now");
        assert_eq!(ago(200_000 * second, 0), "2 days ago");
    }
}
