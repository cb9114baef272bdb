//! The register's numbers as short words, for the table and for one hop. Called by the page; knows no markup.

use analyzer::hazards::{Backoff, BreakerKind, BreakerPeriod, Chain, FindingKind, HopHazards, Reliance, TimeoutState};
use analyzer::time::parse_rfc3339;

use crate::format;

/// A cell: what counts, and what it rests on.
pub(super) struct Cell {
    pub(super) main: String,
    pub(super) rest: String,
    pub(super) class: &'static str,
}

/// A time in which the caller kept from calling.
pub(super) struct PeriodLine {
    pub(super) from: String,
    pub(super) machine: String,
    pub(super) text: String,
}

fn cell(main: impl Into<String>, rest: impl Into<String>) -> Cell {
    Cell { main: main.into(), rest: rest.into(), class: "" }
}

fn unseen(rest: impl Into<String>) -> Cell {
    Cell { main: "none seen".to_owned(), rest: rest.into(), class: "quiet" }
}

/// Returns a finding's name.
pub(super) fn finding(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::NoTimeout => "no timeout",
        FindingKind::WorksOn => "works on for nobody",
        FindingKind::OutwaitsCaller => "waits longer than its caller",
        FindingKind::RetriesWithoutKey => "retries without idempotency key",
        FindingKind::RetriesAtSeveralLayers => "retries at several layers",
        FindingKind::ImmediateRetries => "retries without pause",
        FindingKind::DeepChain => "deep synchronous chain",
        FindingKind::NoFallback => "no fallback",
    }
}

/// Returns what an example shows.
pub(super) fn role(role: &str) -> &'static str {
    match role {
        "cut_off" => "cut off",
        "worked_on" => "worked on after its caller gave up",
        "retried" => "tried again",
        "answered_anyway" => "failed, and the caller answered",
        _ => "failed",
    }
}

/// Returns the cells of a row, by head.
pub(super) fn cells(hop: &HopHazards) -> Vec<(&'static str, Cell)> {
    vec![
        ("succeeds", succeeds(hop)),
        ("timeout", timeout(hop)),
        ("retries", retries(hop)),
        ("breaker", breaker(hop)),
        ("without it", fallback(hop)),
        ("key", key(hop)),
        ("depth", depth(hop)),
    ]
}

/// Returns a share with as many digits as availability is told with; only what is all of it is 100%.
pub(super) fn availability(share: f64) -> String {
    let percent = (share * 100.0).clamp(0.0, 100.0);
    match percent {
        _ if percent >= 100.0 => "100%".to_owned(),
        _ if percent >= 99.0 => format!("{:.2}%", (percent * 100.0).floor() / 100.0),
        _ => format!("{percent:.1}%"),
    }
}

fn succeeds(hop: &HopHazards) -> Cell {
    let known = &hop.availability;
    match known.share {
        None => cell("–", "no call lately"),
        Some(share) => {
            let bounds = format!("{} to {}", availability(known.low), availability(known.high));
            Cell { main: availability(share), rest: bounds, class: if share < 0.99 { "warn" } else { "" } }
        }
    }
}

fn timeout(hop: &HopHazards) -> Cell {
    let seen = &hop.timeout;
    let attempts = format::counted(usize::try_from(seen.attempts).unwrap_or(usize::MAX), "attempt", "attempts");
    match (seen.state, seen.value_ms) {
        (TimeoutState::CutOff, Some(value_ms)) => {
            let cut = format::counted(seen.cut_off as usize, "call", "calls");
            let sure = if seen.is_sure { "sure" } else { "likely" };
            cell(format::round_millis(value_ms), format!("cut {cut} off, {sure}"))
        }
        (TimeoutState::NotApplicable, _) => cell("–", "nobody waits"),
        (TimeoutState::TooFewCalls, _) => Cell { class: "quiet", ..cell("too few", attempts) },
        _ => unseen(match seen.longest_ms {
            Some(longest_ms) => format!("longest {} of {attempts}", format::millis(longest_ms)),
            None => attempts,
        }),
    }
}

fn retries(hop: &HopHazards) -> Cell {
    let seen = &hop.retries;
    if seen.retried == 0 {
        return unseen("");
    }
    let helped = format!("{} of {} retried succeeded", format::count(seen.succeeded.into()), seen.retried);
    cell(format!("{} attempts, {}", seen.attempts_max, pauses(hop)), helped)
}

/// Returns what the pauses follow.
fn pauses(hop: &HopHazards) -> String {
    let seen = &hop.retries;
    let first = seen.pauses_ms.first().map(|ms| format::millis(*ms)).unwrap_or_default();
    let plain = match seen.backoff {
        Backoff::Unknown => return "too few to tell the pauses".to_owned(),
        Backoff::Immediate => return "no pause".to_owned(),
        Backoff::OnePause => format!("pause {first}"),
        Backoff::Constant => format!("pauses {first}"),
        Backoff::Exponential => format!("exponential from {first}"),
        Backoff::Growing => format!("growing from {first}"),
    };
    if seen.is_jittered { format!("{plain}, jittered") } else { plain }
}

fn breaker(hop: &HopHazards) -> Cell {
    match hop.breaker.periods.last() {
        None => unseen(""),
        Some(last) => {
            let times = format::counted(hop.breaker.periods.len(), "time", "times");
            let state = if last.to.is_none() { "open since" } else { "last for" };
            cell(times, format!("{state} {}", format::millis(last.seconds * 1e3)))
        }
    }
}

fn fallback(hop: &HopHazards) -> Cell {
    let seen = &hop.fallback;
    let failed = format::count(seen.failed.into());
    let with_it = seen.failed.saturating_sub(seen.answered_anyway);
    match seen.reliance {
        Reliance::Unknown if seen.failed == 0 => Cell { class: "quiet", ..cell("–", "no failure to learn from") },
        Reliance::Unknown => Cell { class: "quiet", ..cell("too few", format!("{failed} failures")) },
        Reliance::Critical => cell("caller fails", format!("{} of {failed} failures", format::count(with_it.into()))),
        Reliance::Partly => {
            cell("caller may answer", format!("{} of {failed} failures", format::count(seen.answered_anyway.into())))
        }
        Reliance::Optional => {
            cell("caller answers", format!("{} of {failed} failures", format::count(seen.answered_anyway.into())))
        }
    }
}

fn key(hop: &HopHazards) -> Cell {
    let seen = &hop.idempotency;
    match &seen.attribute {
        Some(attribute) => cell(format::share(seen.share), attribute.clone()),
        None => unseen(""),
    }
}

fn depth(hop: &HopHazards) -> Cell {
    let depth = &hop.depth;
    let most = if depth.max > depth.usual { format!("at most {}, ", depth.max) } else { String::new() };
    cell(depth.usual.to_string(), format!("{most}{} below", depth.below))
}

/// Returns the evidence of one hop: what, value, and what it rests on.
pub(super) fn rows(hop: &HopHazards) -> Vec<(&'static str, String, String)> {
    let mut rows: Vec<(&'static str, String, String)> =
        cells(hop).into_iter().map(|(name, cell)| (name, cell.main, cell.rest)).collect();
    let (timeout, retries, keys) = (&hop.timeout, &hop.retries, &hop.idempotency);
    if let Some(by_itself) = hop.availability.by_itself {
        rows.insert(
            1,
            ("by itself", availability(by_itself), "calls below which another failed count as well".to_owned()),
        );
    }
    if let (Some(usual_ms), Some(longest_ms)) = (timeout.usual_ms, timeout.longest_ms) {
        rows.push(("usual attempt", format::millis(usual_ms), format!("longest {}", format::millis(longest_ms))));
    }
    if hop.instrumented {
        rows.push(("worked on", format::count(timeout.worked_on.into()), "calls after the caller gave up".to_owned()));
    }
    if !retries.pauses_ms.is_empty() {
        let all: Vec<String> = retries.pauses_ms.iter().map(|ms| format::millis(*ms)).collect();
        let growth = retries.growth.map(|growth| format!("factor {growth:.1}")).unwrap_or_default();
        rows.push(("median pauses", all.join(", "), growth));
    }
    if keys.unsafe_retried > 0 {
        let keyed = format!("{} with a key", format::count(keys.unsafe_retried_with_key.into()));
        rows.push(("unsafe retries", format::count(keys.unsafe_retried.into()), keyed));
    }
    rows
}

/// Returns one period in words.
pub(super) fn period(period: &BreakerPeriod) -> PeriodLine {
    let missed = format::count(period.missed);
    let what = match period.kind {
        BreakerKind::CallsStop => format!("the caller worked {missed} times without calling"),
        BreakerKind::FastRejections => format!("{missed} calls failed at once and reached nobody"),
    };
    let lasted = format::millis(period.seconds * 1e3);
    let text = if period.to.is_some() { format!("for {lasted} {what}") } else { format!("open for {lasted}: {what}") };
    let from = parse_rfc3339(&period.from).map_or_else(|| period.from.clone(), format::moment);
    PeriodLine { from, machine: period.from.clone(), text }
}

/// Returns what a chain's availabilities make together, beside what is observed.
pub(super) fn chain(chain: &Chain) -> String {
    format!(
        "{} if every hop is needed and nothing helps; observed {} ({} to {}) of {}. Up to {} deep.",
        availability(chain.product),
        availability(chain.observed),
        availability(chain.observed_low),
        availability(chain.observed_high),
        format::counted(chain.transactions as usize, "transaction", "transactions"),
        format::counted(chain.depth as usize, "synchronous hop", "synchronous hops"),
    )
}
