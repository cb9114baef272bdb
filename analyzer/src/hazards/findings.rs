//! From what is known of each hop to what is dangerous about it: few sentences, each with the numbers that prove it, and
//! each with the calls a minute that it endangers. Called when the register is told.

use super::report::{Finding, FindingKind, HopHazards, Reliance, TimeoutState};
use super::retry::Backoff;
use crate::hash::Map;

/// Calls from which one can tell anything of a hop.
pub(super) const CALLS_MIN: u32 = 20;
/// Retried calls from which a policy shows.
const RETRIED_MIN: u32 = 3;
/// How much longer than usual a call ran, and how long, when one can say that nothing cuts calls off.
const RAN_ON_FACTOR: f64 = 20.0;
const RAN_ON_MIN_MS: f64 = 1_000.0;
/// Calls on which the called one worked on.
const WORKED_ON_MIN: u32 = 3;
/// Synchronous hops below each other that are many.
const DEEP_MIN: u32 = 5;
/// Layers of calls along which retries are multiplied.
const LAYERS_MAX: usize = 8;

/// How a hop hangs together with others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The operation that calls.
    pub(super) within: u64,
    /// The operation that is called, if it is seen.
    pub(super) callee: Option<u64>,
}

/// Finds what is dangerous about every hop; `places` are theirs, in the same order.
pub(super) fn find(hops: &mut [HopHazards], places: &[Place]) {
    let mut below: Map<u64, Vec<usize>> = Map::default();
    for (at, place) in places.iter().enumerate() {
        below.entry(place.within).or_default().push(at);
    }
    let layers = Layers::of(hops, places);
    let waits = outwaiting(hops, places, &below);
    for at in 0..hops.len() {
        let hop = &hops[at];
        let mut findings: Vec<Finding> = Vec::new();
        if !hop.is_too_few {
            findings.extend(alone(hop));
            findings.extend(layers.finding(hops, at));
            findings.extend(waits[at].map(|caller| outwaits(&hops[caller], hop)));
        }
        findings.sort_by(|a, b| b.endangered_per_minute.total_cmp(&a.endangered_per_minute).then(a.kind.cmp(&b.kind)));
        let hop = &mut hops[at];
        hop.endangered_per_minute = findings.first().map_or(0.0, |finding| finding.endangered_per_minute);
        hop.findings = findings;
    }
}

/// Returns what a hop's own numbers tell.
fn alone(hop: &HopHazards) -> Vec<Finding> {
    let share_of_calls = |count: u32| hop.per_minute * f64::from(count) / f64::from(hop.calls.max(1));
    let found = |kind, endangered_per_minute, text| Some(Finding { kind, text, endangered_per_minute });
    let (timeout, retries, keys) = (&hop.timeout, &hop.retries, &hop.idempotency);
    let no_timeout = || {
        let (longest_ms, usual_ms) = (timeout.longest_ms?, timeout.usual_ms?);
        let ran_on = longest_ms >= RAN_ON_MIN_MS && longest_ms >= usual_ms * RAN_ON_FACTOR;
        let text = format!(
            "The longest of {} attempts took {}, usual are {}, and nothing cut it off.",
            timeout.attempts,
            time(longest_ms),
            time(usual_ms)
        );
        (timeout.state == TimeoutState::NoneSeen && ran_on)
            .then(|| found(FindingKind::NoTimeout, hop.per_minute, text))?
    };
    let works_on = || {
        let text = format!("The called one worked on in {} calls whose caller had given up.", timeout.worked_on);
        (timeout.worked_on >= WORKED_ON_MIN)
            .then(|| found(FindingKind::WorksOn, share_of_calls(timeout.worked_on), text))?
    };
    let without_key = || {
        let bare = keys.unsafe_retried - keys.unsafe_retried_with_key.min(keys.unsafe_retried);
        let text = format!(
            "{bare} of {} calls that were tried again may do the work twice, and no attribute shows a key.",
            retries.retried
        );
        (bare >= RETRIED_MIN).then(|| found(FindingKind::RetriesWithoutKey, share_of_calls(bare), text))?
    };
    let immediate = || {
        let text = format!(
            "Up to {} attempts follow each other without a pause; {} calls were tried again.",
            retries.attempts_max, retries.retried
        );
        let is_so = retries.backoff == Backoff::Immediate && retries.attempts_max > 2 && retries.retried >= RETRIED_MIN;
        is_so.then(|| found(FindingKind::ImmediateRetries, share_of_calls(retries.retried), text))?
    };
    let deep = || {
        let hops = hop.depth.usual + hop.depth.below;
        let text = format!("{hops} synchronous hops wait for one another, {} of them below this one.", hop.depth.below);
        // Said once, where the chain begins.
        (hop.depth.usual == 1 && hops >= DEEP_MIN).then(|| found(FindingKind::DeepChain, hop.per_minute, text))?
    };
    let no_fallback = || {
        let fallback = &hop.fallback;
        let with_it = fallback.failed - fallback.answered_anyway.min(fallback.failed);
        let text = format!("{with_it} of {} failed calls made {} fail.", fallback.failed, hop.caller_operation);
        let share = f64::from(with_it) / f64::from(fallback.failed.max(1));
        (fallback.reliance == Reliance::Critical)
            .then(|| found(FindingKind::NoFallback, hop.per_minute * share, text))?
    };
    [no_timeout(), works_on(), without_key(), immediate(), deep(), no_fallback()].into_iter().flatten().collect()
}

/// Retries that multiply along chains of hops.
struct Layers {
    /// By hop, how many calls one call may become at the end of the chain, and the next hop of that chain.
    calls: Vec<u64>,
    next: Vec<Option<usize>>,
    attempts: Vec<u64>,
}

impl Layers {
    fn of(hops: &[HopHazards], places: &[Place]) -> Self {
        let attempts = |hop: &HopHazards| {
            let is_policy = hop.retries.retried >= RETRIED_MIN;
            if is_policy { u64::from(hop.retries.attempts_max) } else { 1 }
        };
        let attempts: Vec<u64> = hops.iter().map(attempts).collect();
        let mut layers = Self { calls: attempts.clone(), next: vec![None; hops.len()], attempts };
        // Services may call each other in a circle, so that the number of layers is what ends this.
        for _ in 1..LAYERS_MAX {
            let before = layers.calls.clone();
            let most = most_of_each(&before, places);
            for (at, place) in places.iter().enumerate() {
                let further = place.callee.and_then(|callee| most.get(&callee)).copied().unwrap_or_default();
                if let Some(next) = further.into_iter().flatten().find(|next| *next != at && before[*next] > 1) {
                    layers.calls[at] = layers.attempts[at].saturating_mul(before[next]);
                    layers.next[at] = Some(next);
                }
            }
        }
        layers
    }

    fn finding(&self, hops: &[HopHazards], at: usize) -> Option<Finding> {
        let mut chain = vec![at];
        while let Some(next) = self.next[chain[chain.len() - 1]].filter(|next| !chain.contains(next)) {
            chain.push(next);
        }
        let layers: Vec<usize> = chain.into_iter().filter(|layer| self.attempts[*layer] > 1).collect();
        let is_several = layers.len() > 1 && layers[0] == at;
        let last = &hops[*layers.last().filter(|_| is_several)?];
        let attempts: Vec<u64> = layers.iter().map(|layer| self.attempts[*layer]).collect();
        let product = attempts.iter().fold(1u64, |product, attempts| product.saturating_mul(*attempts));
        let factors = attempts.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ");
        let text = format!(
            "Retries at {} layers: one call may become {factors} = {product} calls of {} {}.",
            layers.len(),
            last.callee_service,
            last.callee_operation
        );
        let endangered_per_minute = hops[at].per_minute;
        Some(Finding { kind: FindingKind::RetriesAtSeveralLayers, text, endangered_per_minute })
    }
}

/// Returns, by operation, the two of its hops of which one call becomes most: a hop does not follow itself.
fn most_of_each(calls: &[u64], places: &[Place]) -> Map<u64, [Option<usize>; 2]> {
    let mut most: Map<u64, [Option<usize>; 2]> = Map::default();
    for (at, place) in places.iter().enumerate() {
        let known = most.entry(place.within).or_default();
        let is_more = |other: Option<usize>| other.is_none_or(|other| calls[at] > calls[other]);
        if is_more(known[0]) {
            *known = [Some(at), known[0]];
        } else if is_more(known[1]) {
            known[1] = Some(at);
        }
    }
    most
}

/// Returns, by hop, a hop to its caller whose timeout is shorter than its own.
fn outwaiting(hops: &[HopHazards], places: &[Place], below: &Map<u64, Vec<usize>>) -> Vec<Option<usize>> {
    let mut waits = vec![None; hops.len()];
    for (caller, place) in places.iter().enumerate() {
        let Some(shorter_ms) = hops[caller].timeout.value_ms else { continue };
        for &called in place.callee.and_then(|callee| below.get(&callee)).into_iter().flatten() {
            if called != caller && hops[called].timeout.value_ms.is_some_and(|longer_ms| longer_ms > shorter_ms * 1.05)
            {
                waits[called] = Some(caller);
            }
        }
    }
    waits
}

fn outwaits(caller: &HopHazards, hop: &HopHazards) -> Finding {
    let value = |hop: &HopHazards| time(hop.timeout.value_ms.unwrap_or(0.0));
    let text = format!(
        "It waits for up to {}, but {} gives up on its caller after {}.",
        value(hop),
        caller.caller_service,
        value(caller)
    );
    Finding { kind: FindingKind::OutwaitsCaller, text, endangered_per_minute: hop.per_minute }
}

/// Returns milliseconds as people say them.
pub(super) fn time(ms: f64) -> String {
    match ms {
        _ if ms >= 10_000.0 => format!("{:.1} s", ms / 1_000.0),
        _ if ms >= 1_000.0 => format!("{:.2} s", ms / 1_000.0),
        _ if ms >= 10.0 => format!("{ms:.0} ms"),
        _ => format!("{ms:.1} ms"),
    }
}
