//! Who owns the extra time: every step's extra time on critical paths since the onset, gaps between two services
//! shared between their ends as the other gaps of both suggest.
//!
//! A gap alone cannot say which end is slow. All gaps together can: the shift of each is the sum of what its caller
//! adds on the way out and what its callee adds on the way in, fitted by non-negative least squares with a small
//! ridge, weighted by the root of the calls. Where nothing decides, both ends get half.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::signals::{Scope, Signals};
use super::steps::{Step, StepId, What};
use crate::transaction::Cause;

/// A candidate for the root cause.
#[derive(Debug, Clone)]
pub(super) struct Suspect {
    /// Service, or a peer that sends no telemetry.
    pub(super) service: Arc<str>,
    /// Service that owns the step: the caller's, for a gap, a wait or a silent peer.
    pub(super) caller: Arc<str>,
    /// Operation that owns most of it.
    pub(super) operation: Option<Arc<str>>,
    /// Cause of most of it.
    pub(super) cause: Cause,
    /// Extra milliseconds on critical paths since the onset, over all transactions.
    pub(super) extra_ms: f64,
    /// Of it what is its own work, and what passes between its callers' view and its own.
    pub(super) own_ms: f64,
    /// See `own_ms`.
    pub(super) door_ms: f64,
    /// Usual and present mean milliseconds of the step that owns most of it.
    pub(super) usual_ms: f64,
    /// See `usual_ms`.
    pub(super) now_ms: f64,
    /// Calls of that step since the onset.
    pub(super) calls: f64,
    /// That step.
    pub(super) step: StepId,
}

/// Extra time of one step since the onset.
struct Shift<'a> {
    id: StepId,
    step: &'a Step,
    calls: f64,
    usual_ms: f64,
    now_ms: f64,
    /// Share of the step's time that is on critical paths.
    path_share: f64,
}

impl Shift<'_> {
    fn extra_ms(&self) -> f64 {
        self.calls * (self.now_ms - self.usual_ms) * self.path_share
    }
}

/// Share of the growth of own time by which the whole must grow, too.
const FELT_SHARE_MIN: f64 = 0.3;
/// From here on, a service can be blamed.
const CREDIBLE_Z: f64 = 3.0;
const CREDIBLE_SHIFT: f64 = 0.25;
/// Rounds of the fit; a few dozen settle a graph of services.
const ROUNDS: usize = 100;
/// Ridge, in roots of calls: a node with fewer calls than this is pulled towards innocence.
const RIDGE_CALLS: f64 = 1.0;

/// Ranks who owns the extra time in blocks `from..=to`, most first.
pub(super) fn suspects(signals: &Signals, from: i64, to: i64) -> Vec<Suspect> {
    let shifts: Vec<Shift<'_>> = (0..signals.steps.slots.end()).filter_map(|id| shift(signals, id, from, to)).collect();
    let ends = share_gaps(&shifts);
    let mut found: BTreeMap<Arc<str>, Vec<(f64, usize)>> = BTreeMap::new();
    for (index, shift) in shifts.iter().enumerate() {
        let extra_ms = shift.extra_ms();
        let step = shift.step;
        match (step.far_end(), step.cause()) {
            (Some(far), _) => {
                let (caller, callee) = (ends.out_ms(&step.service), ends.in_ms(far));
                let both = caller + callee;
                let caller_share = if both > 0.0 { caller / both } else { 0.5 };
                // A message waits for its consumer, whatever the producer sends; only what the producer's other hops
                // speak for is its own.
                let is_wait = step.cause() == Some(Cause::QueueWait);
                let caller_share = if is_wait { (2.0 * caller_share - 1.0).max(0.0) } else { caller_share };
                found.entry(step.service.clone()).or_default().push((extra_ms * caller_share, index));
                found.entry(far.clone()).or_default().push((extra_ms * (1.0 - caller_share), index));
            }
            (None, Some(Cause::UninstrumentedPeer)) => {
                let peer = step.other.clone().unwrap_or_else(|| step.service.clone());
                found.entry(peer).or_default().push((extra_ms, index));
            }
            (None, _) => found.entry(step.service.clone()).or_default().push((extra_ms, index)),
        }
    }
    let mut suspects: Vec<Suspect> =
        found.into_iter().filter_map(|(service, parts)| suspect(service, &parts, &shifts)).collect();
    suspects.sort_by(|a, b| b.extra_ms.total_cmp(&a.extra_ms).then_with(|| a.service.cmp(&b.service)));
    suspects
}

/// Returns whether a suspect is off its own baseline, by less than it takes to open an incident.
pub(super) fn is_off(signals: &Signals, suspect: &Suspect, block: i64) -> bool {
    let as_peer = Scope::Hop(suspect.caller.clone(), suspect.service.clone());
    let scopes = [Scope::Service(suspect.service.clone()), as_peer];
    let mut verdicts = scopes.iter().filter_map(|scope| signals.judge(scope, block));
    verdicts.any(|verdict| verdict.z >= CREDIBLE_Z && verdict.shift >= CREDIBLE_SHIFT || verdict.tail.z >= CREDIBLE_Z)
}

fn shift(signals: &Signals, id: StepId, from: i64, to: i64) -> Option<Shift<'_>> {
    let step = signals.steps.slots.key(id)?;
    step.cause()?;
    let calls = signals.calls(id, from, to);
    let (_, usual_ms) = signals.usual_ms(id)?;
    if calls.n < 1.0 || calls.ms <= 0.0 {
        return None;
    }
    let path_share = (calls.path_ms / calls.ms).min(1.0);
    let mut now_ms = calls.ms / calls.n;
    if let Some(grown_ms) = whole_growth_ms(signals, step, from, to)
        && grown_ms < FELT_SHARE_MIN * (now_ms - usual_ms)
    {
        now_ms = usual_ms;
    }
    Some(Shift { id, step, calls: calls.n, usual_ms, now_ms, path_share })
}

/// Returns by how much the whole of an operation grew, of the own time of one. Own time that grows while the whole does
/// not was only moved there: spans below it were lost, or are no longer made.
fn whole_growth_ms(signals: &Signals, step: &Step, from: i64, to: i64) -> Option<f64> {
    if step.what != What::Own(Cause::SelfTime) {
        return None;
    }
    let (service, operation) = (step.service.clone(), step.operation.clone());
    let whole = signals.steps.slots.find(&Step { service, operation, what: What::Whole, other: None })?;
    let (_, usual_ms) = signals.usual_ms(whole)?;
    let calls = signals.calls(whole, from, to);
    (calls.n >= 1.0).then(|| calls.ms / calls.n - usual_ms)
}

fn suspect(service: Arc<str>, parts: &[(f64, usize)], shifts: &[Shift<'_>]) -> Option<Suspect> {
    let extra_ms: f64 = parts.iter().map(|(extra, _)| extra).sum();
    let of = |is_part: &dyn Fn(&Step) -> bool| {
        parts.iter().filter(|(_, index)| is_part(shifts[*index].step)).map(|(extra, _)| extra).sum()
    };
    let own_ms = of(&|step| step.service == service && step.far_end().is_none());
    let door_ms = of(&|step| step.cause() == Some(Cause::NetworkGap) && step.far_end() == Some(&service));
    let (_, most) = parts.iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let shift = &shifts[*most];
    let cause = shift.step.cause()?;
    // The operation of a gap is the callee's; the caller's end has none of its own.
    let is_near_end = shift.step.far_end().is_some() && shift.step.service == service;
    Some(Suspect {
        caller: shift.step.service.clone(),
        operation: (!is_near_end).then(|| shift.step.operation.clone()),
        cause,
        extra_ms,
        own_ms,
        door_ms,
        usual_ms: shift.usual_ms,
        now_ms: shift.now_ms,
        calls: shift.calls,
        step: shift.id,
        service,
    })
    .filter(|suspect| suspect.extra_ms > 0.0)
}

/// Milliseconds that each service adds to its gaps, on the way out and on the way in.
struct Ends {
    out_ms: BTreeMap<Arc<str>, f64>,
    in_ms: BTreeMap<Arc<str>, f64>,
}

impl Ends {
    fn out_ms(&self, service: &Arc<str>) -> f64 {
        self.out_ms.get(service).copied().unwrap_or(0.0)
    }

    fn in_ms(&self, service: &Arc<str>) -> f64 {
        self.in_ms.get(service).copied().unwrap_or(0.0)
    }
}

fn share_gaps(shifts: &[Shift<'_>]) -> Ends {
    let mut edges: BTreeMap<(Arc<str>, Arc<str>), (f64, f64)> = BTreeMap::new();
    for shift in shifts {
        if let Some(far) = shift.step.far_end() {
            let edge = edges.entry((shift.step.service.clone(), far.clone())).or_default();
            edge.0 += shift.calls;
            edge.1 += shift.calls * (shift.now_ms - shift.usual_ms);
        }
    }
    let edges: Vec<(Arc<str>, Arc<str>, f64, f64)> =
        edges.into_iter().map(|((from, to), (calls, extra))| (from, to, calls.sqrt(), extra / calls)).collect();
    let mut ends = Ends { out_ms: BTreeMap::new(), in_ms: BTreeMap::new() };
    for _ in 0..ROUNDS {
        let out_ms = half_step(&edges, &ends.out_ms, |edge| (&edge.0, ends.in_ms(&edge.1)));
        let in_ms = half_step(&edges, &ends.in_ms, |edge| (&edge.1, ends.out_ms(&edge.0)));
        ends = Ends { out_ms, in_ms };
    }
    ends
}

type Edge = (Arc<str>, Arc<str>, f64, f64);

/// Moves one side halfway to the weighted mean of what the other side leaves. Both sides move at once, so that an
/// edge which nothing else explains is shared equally.
fn half_step<'a>(
    edges: &'a [Edge],
    before: &BTreeMap<Arc<str>, f64>,
    explained: impl Fn(&'a Edge) -> (&'a Arc<str>, f64),
) -> BTreeMap<Arc<str>, f64> {
    let mut sums: BTreeMap<&Arc<str>, (f64, f64)> = BTreeMap::new();
    for edge in edges {
        let (node, explained_ms) = explained(edge);
        let sum = sums.entry(node).or_default();
        sum.0 += edge.2;
        sum.1 += edge.2 * (edge.3 - explained_ms);
    }
    let target = |(weight, rest): (f64, f64)| (rest / (weight + RIDGE_CALLS)).max(0.0);
    let halfway = |node: &Arc<str>, sum| f64::midpoint(before.get(node).copied().unwrap_or(0.0), target(sum));
    sums.into_iter().map(|(node, sum)| (node.clone(), halfway(node, sum))).collect()
}
