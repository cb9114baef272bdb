//! Geometry of charts: values in, SVG attributes out. Pages place the results in their templates; nothing here knows
//! markup or colours. Horizontal positions are percentages, so that charts fill their column without script.

use analyzer::incident::Distribution;

use crate::format;

/// Maps values to 0..100.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    from: f64,
    to: f64,
    is_log: bool,
}

impl Scale {
    /// A linear scale; an empty range is widened.
    pub(crate) fn linear(from: f64, to: f64) -> Self {
        Self { from, to: if to > from { to } else { from + 1.0 }, is_log: false }
    }

    /// A logarithmic scale for positive values; an empty range is widened.
    pub(crate) fn log(from: f64, to: f64) -> Self {
        let from = if from.is_finite() && from > 0.0 { from } else { 1e-3 };
        Self { from, to: if to.is_finite() && to > from { to } else { from * 10.0 }, is_log: true }
    }

    /// Returns where the value lies, within 0..=100.
    pub(crate) fn percent(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        if share.is_finite() { share.clamp(0.0, 1.0) * 100.0 } else { 0.0 }
    }

    /// Returns at most `ticks_max` round values within the scale.
    pub(crate) fn ticks(&self, ticks_max: usize) -> Vec<f64> {
        let candidates = if self.is_log { self.log_ticks(ticks_max) } else { self.linear_ticks(ticks_max) };
        candidates.into_iter().filter(|tick| (self.from..=self.to).contains(tick)).collect()
    }

    fn log_ticks(&self, ticks_max: usize) -> Vec<f64> {
        let (low, high) = (exponent(self.from), exponent(self.to));
        let decades = |steps: &[f64]| -> Vec<f64> {
            (low..=high).flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade))).collect()
        };
        for steps in [[1.0, 2.0, 5.0].as_slice(), &[1.0, 3.0], &[1.0]] {
            let ticks = decades(steps);
            if ticks.iter().filter(|tick| (self.from..=self.to).contains(*tick)).count() <= ticks_max {
                return ticks;
            }
        }
        let every = usize::try_from(high - low).unwrap_or(1) / ticks_max.max(1) + 1;
        decades(&[1.0]).into_iter().step_by(every).collect()
    }

    fn linear_ticks(&self, ticks_max: usize) -> Vec<f64> {
        let raw = (self.to - self.from) / f64::from(u32::try_from(ticks_max.max(1)).unwrap_or(1));
        let decade = 10_f64.powi(exponent(raw));
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * decade).find(|step| *step >= raw);
        let step = step.unwrap_or(raw);
        let first = (self.from / step).ceil();
        (0..=ticks_max).map(|index| (first + f64::from(u32::try_from(index).unwrap_or(0))) * step).collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "exponents of doubles lie within ±324")]
fn exponent(value: f64) -> i32 {
    value.abs().max(f64::MIN_POSITIVE).log10().floor() as i32
}

/// Returns a coordinate with two decimals.
pub(crate) fn coordinate(value: f64) -> String {
    format!("{value:.2}")
}

/// Returns a percentage for an SVG attribute.
pub(crate) fn percentage(value: f64) -> String {
    format!("{value:.2}%")
}

/// A labelled place on an axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    /// Percentage along the axis.
    pub(crate) at: String,
    /// What it says.
    pub(crate) label: String,
}

/// Quantiles of the last minutes as lines in a 100 × 100 box.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Minutes {
    /// Points of each unbroken stretch of 95th percentiles.
    pub(crate) p95: Vec<String>,
    /// Points of each unbroken stretch of medians.
    pub(crate) p50: Vec<String>,
    /// Upper edge of the usual band.
    pub(crate) usual_top: Option<String>,
    /// Height of the usual band.
    pub(crate) usual_height: Option<String>,
    /// Where the onset lies, if within the chart.
    pub(crate) onset: Option<Onset>,
    /// Durations, from the bottom.
    pub(crate) y_ticks: Vec<Tick>,
    /// Times.
    pub(crate) x_ticks: Vec<Tick>,
}

/// A moment marked in a chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Onset {
    /// Percentage from the left.
    pub(crate) at: String,
    /// `text-anchor` and `dx` of its label, which must not leave the chart.
    pub(crate) anchor: &'static str,
    pub(crate) shift: &'static str,
}

impl Onset {
    fn at(percent: f64) -> Self {
        let (anchor, shift) = if percent > 80.0 { ("end", "-4") } else { ("start", "4") };
        Self { at: percentage(percent), anchor, shift }
    }
}

/// What a minutes chart shows.
pub(crate) struct MinutesInput<'a> {
    /// Median and 95th percentile by minute, oldest first, milliseconds.
    pub(crate) minutes: &'a [Option<(f64, f64)>],
    /// Usual median and 99th percentile, milliseconds.
    pub(crate) usual: Option<(f64, f64)>,
    /// End of the last minute, unix nanoseconds.
    pub(crate) until_ns: i64,
    /// Onset of an incident, unix nanoseconds.
    pub(crate) onset_ns: Option<i64>,
}

const MINUTE_NS: i64 = 60_000_000_000;
/// Minutes that a chart shows at least, if there are as many.
const MINUTES_MIN: usize = 15;
/// Room above the highest value, as a factor.
const HEADROOM: f64 = 1.12;
/// Height of a chart at least, in usual 99th percentiles: what is usual looks calm.
const USUAL_ROOM: f64 = 1.6;

impl Minutes {
    /// Draws the minutes.
    pub(crate) fn draw(input: &MinutesInput<'_>) -> Self {
        let minutes = without_empty_start(input.minutes);
        let highest = minutes.iter().flatten().map(|(_, p95)| *p95).fold(0.0, f64::max);
        let highest = highest.max(input.usual.map_or(0.0, |(_, p99)| p99 * USUAL_ROOM));
        let y = Scale::linear(0.0, highest * HEADROOM);
        let count = i64::try_from(minutes.len()).unwrap_or(0);
        let from_ns = input.until_ns - count * MINUTE_NS;
        let x = Scale::linear(0.0, format::to_millis(count * MINUTE_NS));
        let place = |ns: i64| x.percent(format::to_millis(ns - from_ns));
        let onset = input.onset_ns.filter(|onset| (from_ns..input.until_ns).contains(onset));
        let band = input.usual.map(|(p50, p99)| (100.0 - y.percent(p99), 100.0 - y.percent(p50)));
        Self {
            p95: stretches(minutes, |minute| minute.1, &y),
            p50: stretches(minutes, |minute| minute.0, &y),
            usual_top: band.map(|(top, _)| coordinate(top)),
            usual_height: band.map(|(top, bottom)| coordinate((bottom - top).max(1.0))),
            onset: onset.map(|onset| Onset::at(place(onset))),
            y_ticks: y
                .ticks(4)
                .into_iter()
                .filter(|tick| *tick > 0.0)
                .map(|tick| Tick { at: percentage(100.0 - y.percent(tick)), label: format::round_millis(tick) })
                .collect(),
            x_ticks: time_ticks(from_ns, input.until_ns)
                .into_iter()
                .map(|ns| Tick { at: percentage(place(ns)), label: format::clock(ns)[..5].to_owned() })
                .collect(),
        }
    }
}

/// Returns the minutes from the first with traffic on, and no fewer than a quarter of an hour.
fn without_empty_start(minutes: &[Option<(f64, f64)>]) -> &[Option<(f64, f64)>] {
    let empty = minutes.iter().take_while(|minute| minute.is_none()).count();
    &minutes[empty.min(minutes.len().saturating_sub(MINUTES_MIN))..]
}

/// Returns at most six whole minutes between the two times.
fn time_ticks(from_ns: i64, to_ns: i64) -> Vec<i64> {
    let minutes = (to_ns - from_ns) / MINUTE_NS;
    let step = [1, 2, 5, 10, 15, 30, 60, 120, 360].into_iter().find(|step| minutes / step <= 6).unwrap_or(720);
    let step_ns = step * MINUTE_NS;
    let first = from_ns.div_euclid(step_ns) * step_ns + step_ns;
    (0..6).map(|index| first + index * step_ns).filter(|ns| *ns < to_ns).collect()
}

fn stretches(minutes: &[Option<(f64, f64)>], value: impl Fn(&(f64, f64)) -> f64, y: &Scale) -> Vec<String> {
    let slots = f64::from(u32::try_from(minutes.len().max(1)).unwrap_or(u32::MAX));
    let mut lines: Vec<String> = Vec::new();
    let mut is_open = false;
    for (index, minute) in minutes.iter().enumerate() {
        let Some(minute) = minute else {
            is_open = false;
            continue;
        };
        let left = f64::from(u32::try_from(index).unwrap_or(0)) / slots * 100.0;
        let right = left + 100.0 / slots;
        let height = coordinate(100.0 - y.percent(value(minute)));
        // A minute is a step, so that a single one is visible too.
        let points = format!("{},{height} {},{height}", coordinate(left), coordinate(right));
        match lines.last_mut().filter(|_| is_open) {
            Some(line) => line.extend([" ", &points]),
            None => lines.push(points),
        }
        is_open = true;
    }
    lines
}

/// One bar of a histogram; its place and height in a 100 × 100 box.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) width: String,
    pub(crate) height: String,
    /// Range and share, in words.
    pub(crate) title: String,
}

/// Two histograms over one logarithmic axis of milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct BeforeAfter {
    pub(crate) before: Vec<Bar>,
    pub(crate) after: Vec<Bar>,
    pub(crate) ticks: Vec<Tick>,
    /// Where the medians lie.
    pub(crate) before_median: String,
    pub(crate) after_median: String,
}

/// Columns of a histogram.
const COLUMNS: usize = 44;

impl BeforeAfter {
    /// Draws both distributions; nothing when neither has a bin.
    pub(crate) fn draw(before: &Distribution, after: &Distribution) -> Option<Self> {
        let bounds = || before.bins.iter().chain(&after.bins).map(|(bound, _)| *bound).filter(|bound| *bound > 0.0);
        let lowest = bounds().fold(f64::INFINITY, f64::min);
        let highest = bounds().fold(0.0, f64::max);
        if highest <= 0.0 {
            return None;
        }
        let scale = Scale::log(lowest / 1.3, highest * 1.05);
        let (before_columns, after_columns) = (columns(before, &scale), columns(after, &scale));
        let tallest = before_columns.iter().chain(&after_columns).copied().fold(0.0, f64::max);
        Some(Self {
            before: bars(&before_columns, tallest, &scale),
            after: bars(&after_columns, tallest, &scale),
            ticks: scale
                .ticks(7)
                .into_iter()
                .map(|tick| Tick { at: percentage(scale.percent(tick)), label: format::round_millis(tick) })
                .collect(),
            before_median: percentage(scale.percent(before.p50_ms)),
            after_median: percentage(scale.percent(after.p50_ms)),
        })
    }
}

/// Returns each column's share of the distribution.
#[expect(clippy::cast_precision_loss, reason = "shares are drawn, not computed with")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage fits")]
fn columns(distribution: &Distribution, scale: &Scale) -> [f64; COLUMNS] {
    let mut columns = [0.0; COLUMNS];
    let total: u64 = distribution.bins.iter().map(|(_, count)| *count).sum();
    for (bound, count) in &distribution.bins {
        let column = (scale.percent(*bound) / 100.0 * COLUMNS as f64) as usize;
        columns[column.min(COLUMNS - 1)] += *count as f64 / total.max(1) as f64;
    }
    columns
}

fn bars(columns: &[f64; COLUMNS], tallest: f64, scale: &Scale) -> Vec<Bar> {
    let width = 100.0 / f64::from(u32::try_from(COLUMNS).unwrap_or(1));
    let bound = |percent: f64| format::millis(scale.from * (scale.to / scale.from).powf(percent / 100.0));
    let mut bars = Vec::new();
    for (index, share) in columns.iter().enumerate().filter(|(_, share)| **share > 0.0) {
        let x = f64::from(u32::try_from(index).unwrap_or(0)) * width;
        // A bar of one transaction among thousands must not vanish.
        let height = (share / tallest * 100.0).max(1.5);
        bars.push(Bar {
            x: percentage(x),
            y: percentage(100.0 - height),
            width: percentage(width * 0.86),
            height: percentage(height),
            title: format!("{} to {}: {}", bound(x), bound(x + width), format::share(*share)),
        });
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_stay_within_the_chart_whatever_the_value() {
        for scale in [Scale::linear(0.0, 0.0), Scale::log(0.0, 0.0), Scale::log(f64::NAN, f64::INFINITY)] {
            for value in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
                assert!((0.0..=100.0).contains(&scale.percent(value)), "{scale:?} {value}");
            }
        }
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(Scale::log(8.0, 1_400.0).ticks(7), [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0]);
        assert_eq!(Scale::linear(0.0, 1_250.0).ticks(4), [0.0, 500.0, 1_000.0]);
        assert!(Scale::log(1e-6, 1e9).ticks(6).len() <= 6);
    }

    #[test]
    fn a_minute_without_traffic_breaks_the_line() {
        let drawn = Minutes::draw(&MinutesInput {
            minutes: &[Some((50.0, 100.0)), None, Some((50.0, 100.0))],
            usual: Some((40.0, 100.0)),
            until_ns: 10 * MINUTE_NS,
            onset_ns: Some(9 * MINUTE_NS),
        });
        assert_eq!(drawn.p95, ["0.00,44.20 33.33,44.20", "66.67,44.20 100.00,44.20"]);
        assert_eq!(drawn.usual_top.as_deref(), Some("44.20"));
        assert_eq!(drawn.onset, Some(Onset { at: "66.67%".to_owned(), anchor: "start", shift: "4" }));
        assert_eq!(drawn.x_ticks[0].label, "00:08");
    }

    #[test]
    fn a_young_chart_begins_with_its_first_traffic() {
        let mut minutes = vec![None; 60];
        assert_eq!(without_empty_start(&minutes).len(), MINUTES_MIN);
        minutes[30] = Some((1.0, 2.0));
        assert_eq!(without_empty_start(&minutes).len(), 30);
        assert_eq!(without_empty_start(&minutes[50..]).len(), 10);
    }

    #[test]
    fn before_and_after_share_their_axis() {
        let before = Distribution { bins: vec![(50.0, 90), (100.0, 10)], p50_ms: 50.0, ..Distribution::default() };
        let after = Distribution { bins: vec![(1_000.0, 4)], p50_ms: 1_000.0, ..Distribution::default() };
        let drawn = BeforeAfter::draw(&before, &after).unwrap();
        assert_eq!((drawn.before.len(), drawn.after.len()), (2, 1));
        assert_eq!(drawn.after[0].height, "100.00%");
        assert!(BeforeAfter::draw(&Distribution::default(), &Distribution::default()).is_none());
    }
}
