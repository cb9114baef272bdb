//! The register of integration points: for each hop what protects it, inferred from how calls went. Fed by the analyzer
//! with every closed transaction once; told as a [`HazardReport`]. Never looks at names to judge: two systems that behave
//! alike are told alike. Bounded by hops, operations and types; what is beyond is left out, and counted.

mod breaker;
mod chain;
mod findings;
mod record;
mod report;
mod retry;
mod tally;
mod tell;
mod timeout;
mod walk;

pub use breaker::BreakerKind;
pub(crate) use record::has_worked_on;
pub use report::{
    Availability, BreakerPeriod, BreakerSeen, Chain, ChainHop, Depth, Example, FallbackSeen, Finding, FindingKind,
    HazardReport, HopHazards, IdempotencySeen, Reliance, RetriesSeen, TimeoutSeen, TimeoutState,
};
pub use retry::Backoff;

use std::sync::Arc;

use crate::hash::Map;
use crate::hops::Ends;
use crate::span::Site;
use crate::transaction::{Hop, HopKind, Transaction};
use chain::Chains;
use record::{Logical, Place, Record};
use tally::Windowed;
use walk::Walk;

/// Hops in the register; calls of further ones are left out, and counted.
const HOPS_MAX: usize = 4_000;
/// Operations within which hops are made.
const PLACES_MAX: usize = 4_000;
/// Called ones that are told apart of one call's name and peer.
const CALLEES_MAX: usize = 16;
/// Event time after which a hop that is not seen any more is forgotten.
const FORGOTTEN_NS: i64 = 24 * 60 * 60 * 1_000_000_000;
/// Event time between two looks for what is to be forgotten.
const SWEEP_NS: i64 = 10 * 60 * 1_000_000_000;
/// Steps from a failed call up to the one that it made fail; in deeper trees both count as failing by themselves.
const BLAME_STEPS_MAX: usize = 200;

/// What the caller's side of a hop is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Side {
    place: usize,
    call: u64,
    target: u64,
}

/// Hops with one caller's side.
#[derive(Debug, Default)]
struct Callees {
    /// By the called one's shape.
    known: Vec<(u64, usize)>,
    /// Calls that reached no span, while it is not known whom they were for.
    unreached: Option<usize>,
}

/// A hop that a call is one of.
struct Found {
    record: usize,
    /// Whether no call of it had reached anybody before.
    is_reached_first: bool,
}

impl Callees {
    /// Returns the hop with a called one, or with whatever a call was for that reached nobody. Such a call is one of the
    /// calls of the same name and peer, if all of those that reached somebody reached the same.
    fn find(&mut self, callee: Option<u64>) -> Option<Found> {
        let Some(callee) = callee else {
            let only = match self.known[..] {
                [(_, record)] => Some(record),
                _ => None,
            };
            return only.or(self.unreached).map(|record| Found { record, is_reached_first: false });
        };
        if let Some((_, record)) = self.known.iter().find(|(shape, _)| *shape == callee) {
            return Some(Found { record: *record, is_reached_first: false });
        }
        let record = self.unreached.take_if(|_| self.known.is_empty())?;
        self.known.push((callee, record));
        Some(Found { record, is_reached_first: true })
    }
}

/// A logical call that failed in the end.
#[derive(Debug, Clone, Copy)]
struct FailedCall {
    caller: usize,
    record: usize,
}

/// All hops. Fed with transactions in any order of time; all that it tells is a [`HazardReport`].
#[derive(Debug, Default)]
pub struct Register {
    place_of: Map<u64, usize>,
    places: Vec<Place>,
    sides: Map<Side, Callees>,
    records: Vec<Record>,
    chains: Chains,
    /// Event time of the first transaction.
    first_ns: i64,
    now_ns: i64,
    swept_ns: i64,
    left_out: u64,
    walk: Walk,
    /// By span: its operation, and which of its executions, if it began one.
    executions: Vec<Option<(usize, u64)>>,
    failed: Vec<FailedCall>,
}

impl Register {
    /// Adds a transaction that ended at `ended_ns`. Later revisions, and parts that came too late, would count the same
    /// work twice.
    pub fn add(&mut self, transaction: &Transaction, ended_ns: i64) {
        if transaction.revision != 1 {
            return;
        }
        if self.now_ns == 0 {
            (self.first_ns, self.swept_ns) = (ended_ns, ended_ns);
        }
        self.now_ns = self.now_ns.max(ended_ns);
        self.sweep();
        self.walk.fill(transaction);
        self.note_executions(transaction, ended_ns);
        self.failed.clear();
        self.chains.begin(transaction.root_span());
        for hop in &transaction.hops {
            self.note(transaction, hop, ended_ns);
        }
        self.settle_blame(transaction, ended_ns);
        self.chains.end(transaction.has_error(), !self.failed.is_empty(), ended_ns);
    }

    /// Returns how many calls, executions and transactions were left out at bounds.
    pub fn left_out(&self) -> u64 {
        self.left_out + self.chains.left_out()
    }

    fn note_executions(&mut self, transaction: &Transaction, at_ns: i64) {
        self.executions.clear();
        self.executions.resize(transaction.spans.len(), None);
        for index in 0..transaction.spans.len() {
            if !self.walk.is_execution(index) {
                continue;
            }
            let Some(place) = self.place(&transaction.spans[index].site, at_ns) else { continue };
            let known = &mut self.places[place];
            known.executions += 1;
            *known.counted.at(at_ns) += 1;
            known.last_ns = known.last_ns.max(at_ns);
            self.executions[index] = Some((place, known.executions));
        }
    }

    fn place(&mut self, site: &Arc<Site>, at_ns: i64) -> Option<usize> {
        if let Some(&place) = self.place_of.get(&site.shape) {
            return Some(place);
        }
        if self.places.len() >= PLACES_MAX {
            self.left_out += 1;
            return None;
        }
        self.place_of.insert(site.shape, self.places.len());
        self.places.push(Place { site: site.clone(), executions: 0, counted: Windowed::default(), last_ns: at_ns });
        Some(self.places.len() - 1)
    }

    fn note(&mut self, transaction: &Transaction, hop: &Hop, at_ns: i64) {
        let Some((place, execution)) = self.executions[self.walk.execution(hop.caller)] else { return };
        let Some(record) = self.record(place, transaction, hop, at_ns) else { return };
        let call = Logical { transaction, hop, execution, at_ns };
        let has_failed = self.records[record].note(call, &self.walk, &self.places[place]);
        if hop.kind != HopKind::Message {
            self.chains.note(record, at_ns);
            if has_failed {
                self.failed.push(FailedCall { caller: hop.caller, record });
            }
        }
    }

    /// Returns the record of a hop.
    fn record(&mut self, place: usize, transaction: &Transaction, hop: &Hop, at_ns: i64) -> Option<usize> {
        let caller = &transaction.spans[hop.caller].site;
        let callee = hop.tries().find_map(|attempt| Ends::of(transaction, attempt).callee).map(|span| &span.site);
        let side = Side { place, call: caller.shape, target: caller.peer_hash };
        if let Some(callees) = self.sides.get_mut(&side) {
            let found = callees.find(callee.map(|callee| callee.shape));
            if let Some(Found { record, is_reached_first }) = found {
                if is_reached_first {
                    let known = &mut self.records[record];
                    (known.callee, known.kind) = (callee.cloned(), hop.kind);
                }
                return Some(record);
            }
        }
        let is_full = self.sides.get(&side).is_some_and(|callees| callees.known.len() >= CALLEES_MAX);
        if is_full || self.records.len() >= HOPS_MAX {
            self.left_out += 1;
            return None;
        }
        let record = self.records.len();
        self.records.push(Record::new(place, hop.kind, (caller.clone(), callee.cloned()), at_ns));
        let callees = self.sides.entry(side).or_default();
        match callee {
            Some(callee) => callees.known.push((callee.shape, record)),
            None => callees.unreached = Some(record),
        }
        Some(record)
    }

    /// Finds out which failed calls another failed call made fail: the nearest above it.
    fn settle_blame(&mut self, transaction: &Transaction, at_ns: i64) {
        if self.failed.len() < 2 {
            return;
        }
        self.failed.sort_unstable_by_key(|failed| failed.caller);
        let mut blamed = vec![false; self.failed.len()];
        for below in &self.failed {
            let mut at = transaction.parent(below.caller);
            for _ in 0..BLAME_STEPS_MAX {
                let Some(span) = at else { break };
                if let Ok(found) = self.failed.binary_search_by_key(&span, |failed| failed.caller) {
                    blamed[found] = true;
                    break;
                }
                at = transaction.parent(span);
            }
        }
        for (failed, _) in self.failed.iter().zip(blamed).filter(|(_, is_blamed)| *is_blamed) {
            self.records[failed.record].was_made_to_fail(at_ns);
        }
    }

    /// Forgets what was not seen for long.
    fn sweep(&mut self) {
        if self.now_ns - self.swept_ns < SWEEP_NS {
            return;
        }
        self.swept_ns = self.now_ns;
        let oldest_ns = self.now_ns - FORGOTTEN_NS;
        self.records.iter_mut().for_each(|record| record.breaker.forget(oldest_ns));
        let is_old = |last_ns: i64| last_ns < oldest_ns;
        if !self.places.iter().any(|place| is_old(place.last_ns))
            && !self.records.iter().any(|record| is_old(record.last_ns))
        {
            return;
        }
        let places = moved(self.places.iter().map(|place| !is_old(place.last_ns)));
        self.places.retain(|place| !is_old(place.last_ns));
        self.place_of = self.places.iter().enumerate().map(|(at, place)| (place.site.shape, at)).collect();
        let stays = |record: &Record| !is_old(record.last_ns) && places[record.place].is_some();
        let records = moved(self.records.iter().map(stays));
        self.records.retain(stays);
        for record in &mut self.records {
            record.place = places[record.place].unwrap_or(record.place);
        }
        let sides = std::mem::take(&mut self.sides);
        for (side, mut callees) in sides {
            let Some(place) = places[side.place] else { continue };
            callees.known.retain_mut(|(_, record)| records[*record].map(|to| *record = to).is_some());
            callees.unreached = callees.unreached.and_then(|record| records[record]);
            if !callees.known.is_empty() || callees.unreached.is_some() {
                self.sides.insert(Side { place, ..side }, callees);
            }
        }
        self.chains.forget(oldest_ns, &records);
    }
}

/// Returns the new place of each of a list, of which some stay.
fn moved(stay: impl Iterator<Item = bool>) -> Vec<Option<usize>> {
    let mut count = 0;
    stay.map(|stays| {
        count += usize::from(stays);
        stays.then(|| count - 1)
    })
    .collect()
}

#[cfg(test)]
mod tests;
