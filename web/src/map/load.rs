//! The map of a period, beside what is usual: what was counted in the hours before it, or, when nothing was, in the first
//! two thirds of what there is. Asked for by the page and the API.

use super::Params;
use super::graph::Map;
use super::view::Focus;
use crate::State;
use crate::error::PageError;
use crate::page::Period;
use crate::source::SourceError;

const MINUTE_NS: i64 = 60_000_000_000;
/// How long before the period lies what is usual, at most, or as long as the period if that is longer. A whole day would
/// take seconds to read where there are many operations and instances.
const USUAL_NS: i64 = 6 * 60 * MINUTE_NS;
/// Minutes below which a period is not divided.
const DIVIDED_MINUTES_MIN: i64 = 3;
/// The period when none is given.
const DEFAULT_PERIOD: &str = "15m";
/// Steps around a focus, when not said, and at most.
const HOPS_DEFAULT: usize = 2;
pub(super) const HOPS_MAX: usize = 6;

/// Minutes for which something was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Unix nanoseconds, inclusive.
    pub(super) from_ns: i64,
    /// Unix nanoseconds, exclusive.
    pub(super) to_ns: i64,
}

impl Stretch {
    /// Returns its length in minutes, at least one.
    #[expect(clippy::cast_precision_loss, reason = "rates are shown with three digits")]
    pub(super) fn minutes(self) -> f64 {
        self.to_ns.saturating_sub(self.from_ns).max(MINUTE_NS) as f64 / MINUTE_NS as f64
    }
}

/// A map and the time it is about.
pub(super) struct Loaded {
    pub(super) map: Map,
    pub(super) period: Period,
    pub(super) now: Stretch,
    /// None when nothing was counted that could be usual.
    pub(super) usual: Option<Stretch>,
    /// Of the map, when one was asked for.
    pub(super) focus: Option<Focus>,
}

/// Reads the map that the parameters ask for.
pub(super) async fn load(state: &State, params: &Params) -> Result<Loaded, PageError> {
    let now_ns = (state.now_ns)();
    let relative = if params.t.is_empty() { DEFAULT_PERIOD } else { &params.t };
    let period = Period::read(now_ns, relative, &params.from, &params.to)?;
    let hops = hops(&params.hops)?;
    let (now, usual, map) = counted(state, &period, now_ns).await?;
    let focus = match params.focus.as_str() {
        "" => None,
        text => Some(Focus { node: map.find(text).ok_or_else(|| unknown(text))?, hops }),
    };
    Ok(Loaded { map, period, now, usual, focus })
}

/// Returns the counts of a period with the stretches that they are of.
async fn counted(state: &State, period: &Period, now_ns: i64) -> Result<(Stretch, Option<Stretch>, Map), SourceError> {
    // Minutes are counted as a whole, and the one that runs is not over.
    let until_ns = period.to_ns.min(now_ns).max(period.from_ns);
    let mut now = Stretch { from_ns: minute(period.from_ns), to_ns: until_ns };
    let mut rows = state.source.edges(now.from_ns, period.to_ns).await?;
    let before_ns = USUAL_NS.max(until_ns.saturating_sub(period.from_ns));
    let mut before = Stretch { from_ns: now.from_ns.saturating_sub(before_ns), to_ns: now.from_ns };
    let mut usual = state.source.edges(before.from_ns, before.to_ns).await?;
    if let Some(first_ns) = rows.iter().map(|row| row.numbers.first_ns).min() {
        now.from_ns = now.from_ns.max(first_ns);
        let minutes = now.to_ns.saturating_sub(now.from_ns) / MINUTE_NS;
        if usual.is_empty() && minutes >= DIVIDED_MINUTES_MIN {
            let divided_ns = now.from_ns + minutes * 2 / 3 * MINUTE_NS;
            before = Stretch { from_ns: now.from_ns, to_ns: divided_ns };
            now.from_ns = divided_ns;
            usual = state.source.edges(before.from_ns, before.to_ns).await?;
            rows = state.source.edges(now.from_ns, period.to_ns).await?;
        }
    }
    if let Some(first_ns) = usual.iter().map(|row| row.numbers.first_ns).min() {
        before.from_ns = before.from_ns.max(first_ns);
    }
    let from_ns = if usual.is_empty() { now.from_ns } else { before.from_ns };
    let processes = state.source.processes(now.from_ns, period.to_ns).await?;
    let services = state.source.services(from_ns, period.to_ns).await?;
    let map = Map::of(&rows, &usual, &processes, services);
    Ok((now, (!usual.is_empty()).then_some(before), map))
}

fn minute(ns: i64) -> i64 {
    ns.saturating_sub(ns.rem_euclid(MINUTE_NS))
}

fn hops(text: &str) -> Result<usize, PageError> {
    match text {
        "" => Ok(HOPS_DEFAULT),
        text => text.parse().ok().filter(|hops| (1..=HOPS_MAX).contains(hops)).ok_or_else(|| {
            PageError::BadRequest(format!("“{text}” is not a number of steps: use hops=1 to hops={HOPS_MAX}"))
        }),
    }
}

fn unknown(focus: &str) -> PageError {
    PageError::NotFound {
        what: format!("Nothing called “{focus}” was seen in this period"),
        hint: "Services, queues, databases and peers without telemetry can be looked at; /map shows all of them. \
               Widen the time with t=24h if it was seen earlier."
            .to_owned(),
    }
}
