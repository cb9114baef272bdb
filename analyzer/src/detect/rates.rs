//! The second engine of detection: rates, which are shares of occasions on which something goes wrong. Fed by the detector
//! with what is counted at most once: traces as they close, transactions as they are given out, messages as they are taken
//! in; read once a block. Everything counts for the block in which it becomes known, so that what is known late, as that
//! nothing came, and what it is a share of are counted alike. Bounded; what is beyond the bound is counted and not watched.

mod judge;
mod marks;
mod occasion;
mod odds;
mod remembered;
mod sends;
mod takings;
mod turns;
mod undoing;
mod works;

use std::sync::Arc;

use collector_table::{SpanId, TraceId};

pub(super) use judge::{RateVerdict, needed};
pub(super) use occasion::{Example, Name, Occasion, Occasions, Of, Place, Wrong};
pub(super) use odds::log10_binomial_tail;
pub(super) use works::ONCE_AGAIN_MAX;

use crate::hash::{Map, Set};
use crate::span::Site;
use marks::{Callees, Pass, Side};
use sends::Sends;
use takings::Takings;
use turns::Turns;
use undoing::Undoings;
use works::Works;

/// Identifies a span.
type SpanOf = (TraceId, SpanId);

/// What goes wrong on which occasions: the identity of a rate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RateScope {
    pub(super) occasion: Occasion,
    pub(super) wrong: Wrong,
}

/// All rates of one detector.
#[derive(Debug)]
pub(super) struct Rates {
    pub(super) occasions: Occasions,
    /// Short cuts past names: occasions of operations by site, of calls by who makes them. Dropped when places are freed.
    operations: Map<u64, usize>,
    sides: Map<Side, Callees>,
    taking_places: Map<(Of, u64), usize>,
    /// Services that send each other messages, the smaller name first; made anew when places are freed.
    pairs: Set<(Arc<str>, Arc<str>)>,
    pass: Pass,
    takings: Takings,
    works: Works,
    turns: Turns,
    sends: Sends,
    undoings: Undoings,
    needed: f64,
    false_alarms_per_week: f64,
}

/// Short cuts that are kept; beyond it all are dropped and found again.
const SHORT_CUTS_MAX: usize = 200_000;

impl Rates {
    pub(super) fn new(occasions_max: usize, false_alarms_per_week: f64) -> Self {
        Self {
            occasions: Occasions::new(occasions_max),
            operations: Map::default(),
            sides: Map::default(),
            taking_places: Map::default(),
            pairs: Set::default(),
            pass: Pass::default(),
            takings: Takings::default(),
            works: Works::default(),
            turns: Turns::default(),
            sends: Sends::default(),
            undoings: Undoings::default(),
            needed: needed(false_alarms_per_week, 0),
            false_alarms_per_week,
        }
    }

    /// Judges every rate in the windows that end with `block`; returns those that stand out for long enough, the most
    /// surprising first.
    pub(super) fn watch(&mut self, block: i64, is_judging: bool) -> Vec<(RateScope, RateVerdict)> {
        self.needed = needed(self.false_alarms_per_week, self.occasions.slots.len());
        let hot = self.occasions.watch(block, self.needed, is_judging);
        hot.into_iter().map(|(occasion, wrong, verdict)| (RateScope { occasion, wrong }, verdict)).collect()
    }

    /// Returns a place by its occasion.
    pub(super) fn place(&self, occasion: &Occasion) -> Option<&Place> {
        self.occasions.slots.get(self.occasions.slots.find(occasion)?)
    }

    /// Returns whether messages pass between two services.
    pub(super) fn are_adjacent(&self, a: &Arc<str>, b: &Arc<str>) -> bool {
        self.pairs.contains(&in_order(a, b))
    }

    /// Notes that messages pass between two services. Bounded as occasions are, of which each pair has one.
    fn note_pair(&mut self, a: &Arc<str>, b: &Arc<str>) {
        self.pairs.insert(in_order(a, b));
    }

    /// Returns examples of what goes wrong, oldest first.
    pub(super) fn examples(&self, scope: &RateScope) -> impl Iterator<Item = &Example> {
        let rate = self.place(&scope.occasion).and_then(|place| place.rate(scope.wrong));
        rate.into_iter().flat_map(|rate| &rate.examples)
    }

    /// Stops learning for everything that touches one of the services, at the onset of an incident in `block`.
    pub(super) fn hold(&mut self, is_touched: impl Fn(&str) -> bool, block: i64) {
        let touched: Vec<usize> = self
            .occasions
            .slots
            .iter()
            .filter(|(_, occasion, place)| place.held_from.is_none() && touches(occasion, &is_touched))
            .map(|(id, ..)| id)
            .collect();
        for id in touched {
            let Some(place) = self.occasions.slots.get_mut(id) else { continue };
            place.held_from = Some(block);
            let wrongs: Vec<Wrong> = place.rates.iter().map(|rate| rate.wrong).collect();
            wrongs.into_iter().for_each(|wrong| self.occasions.hold_rate(id, wrong, block));
        }
    }

    /// Learns again everywhere but where `is_touched` still says no; blocks `from..=to` are left out of references.
    pub(super) fn release(&mut self, is_touched: impl Fn(&str) -> bool, from: i64, to: i64) {
        for (occasion, place) in self.occasions.slots.iter_mut() {
            if place.held_from.is_some() && !touches(occasion, &is_touched) {
                place.held_from = None;
                place.excluded.push_back((from, to));
                place.rates.iter_mut().for_each(|rate| rate.held = None);
            }
        }
    }

    /// Learns anew what is usual of everything that touches one of the services: only blocks from `from` on tell.
    pub(super) fn relearn(&mut self, is_touched: impl Fn(&str) -> bool, from: i64) {
        for (occasion, place) in self.occasions.slots.iter_mut() {
            if touches(occasion, &is_touched) {
                place.relearn(from);
            }
        }
    }

    /// Frees places that are unused for long and in no incident.
    pub(super) fn free_unused(&mut self, block: i64) {
        let before = self.occasions.slots.unused_before(block);
        if self.occasions.slots.free_unused(before, |place| place.held_from.is_some()) {
            self.drop_short_cuts();
            // A caller's place that is given anew must not be taken for the caller of what called before.
            let Occasions { slots, .. } = &mut self.occasions;
            let gone: Vec<bool> = (0..slots.end()).map(|id| slots.key(id).is_none()).collect();
            let is_gone = |id: usize| gone.get(id).copied().unwrap_or(true);
            for (_, place) in slots.iter_mut() {
                place.within = place.within.filter(|within| !is_gone(*within));
            }
            let messages = slots.iter().filter(|(_, occasion, _)| occasion.of == Of::Message);
            let pairs = messages.filter_map(|(_, one, _)| Some(in_order(&one.by.0, &one.to.as_ref()?.0)));
            self.pairs = pairs.collect();
            self.takings.forget_places();
            self.sends.forget_places(is_gone);
            self.works.forget_places(is_gone);
            self.turns.forget_places();
        }
    }

    fn drop_short_cuts(&mut self) {
        self.operations.clear();
        self.sides.clear();
        self.taking_places.clear();
    }

    /// Returns what was left out at bounds: occasions, messages that were waited for or of senders that are not watched,
    /// partitions, operations that work for values of business keys, and what was forgotten of messages and values before
    /// its time.
    pub(super) fn at_bounds(&self) -> [(&'static str, u64); 5] {
        [
            ("occasions_not_watched", self.occasions.slots.left_out),
            ("messages_not_waited_for", self.sends.left_out),
            ("messages_of_further_partitions", self.takings.partitions_left_out),
            ("works_of_further_operations", self.works.left_out),
            ("messages_and_works_forgotten", self.takings.let_go() + self.works.let_go() + self.turns.let_go()),
        ]
    }
}

fn in_order(a: &Arc<str>, b: &Arc<str>) -> (Arc<str>, Arc<str>) {
    if a <= b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}

fn touches(occasion: &Occasion, is_touched: impl Fn(&str) -> bool) -> bool {
    is_touched(&occasion.by.0) || occasion.to.as_ref().is_some_and(|to| is_touched(&to.0))
}

/// Returns service and operation of a site.
pub(super) fn name(site: &Site) -> Name {
    (site.service.clone(), site.operation.clone())
}

/// Returns whom a site's calls are for, when no span of the called one is there.
fn peer_name(site: &Site) -> Name {
    let peer = site.peer.clone().unwrap_or_else(|| Arc::from(UNKNOWN_PEER));
    (peer, site.operation.clone())
}

/// Stands for a peer that its caller does not name.
const UNKNOWN_PEER: &str = "(unknown)";
