//! The life of incidents: what stands out joins an open incident that it touches or opens one; an incident is updated
//! when something that matters changes, and resolved when all that stood out is back for two minutes.

mod telling;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::anomaly::{Anomaly, Found, Watch};
use super::blame::Suspect;
use super::graph::Graph;
use super::kinds::{self, Charge};
use super::series::Verdict;
use super::shapes::Shape;
use super::signals::{Scope, Signals};
use super::story;
use super::told::Told;
use super::{Detector, IncidentChange, block_of, block_start_ns};
use crate::incident::{Incident, IncidentEvent, IncidentKind, IncidentStatus};
use crate::time::{parse_rfc3339, rfc3339};

/// Ticks for which everything must be back before an incident is resolved.
const CALM_TICKS: u32 = 12;
/// Ticks without traffic after which an incident is closed, unjudged: half an hour.
const SILENT_TICKS_MAX: u32 = 180;
/// Blocks after which what was slow is taken as usual: a day.
const LIFE_BLOCKS_MAX: i64 = 8_640;
/// Blocks to look back for the onset.
pub(super) const ONSET_BLOCKS: i64 = 30;
/// Blocks after its opening for which what stands out further up belongs to an incident.
const SPREAD_BLOCKS: i64 = 30;
/// Incidents that can be open at once; more of what stands out joins the one opened last.
const OPEN_MAX: usize = 50;

/// An incident that goes on.
#[derive(Debug, Clone)]
pub(super) struct OpenIncident {
    pub(super) incident: Incident,
    /// Services that it touches.
    services: BTreeSet<Arc<str>>,
    /// Signals that stood out.
    watched: Vec<Watch>,
    /// Those of them that opened it.
    opened_by: Vec<Watch>,
    pub(super) onset: i64,
    /// Block in which it was opened; what grew slowly began long before.
    pub(super) opened: i64,
    /// Services and peers that were seen to be off their baseline themselves; only they can be blamed.
    credible: BTreeSet<Arc<str>>,
    /// Strongest verdict on a signal of time, and the largest shift and excess of long ones of all.
    verdict: Option<Verdict>,
    peaks: (f64, f64),
    /// What was found to be slow below the one that leads, and when last.
    origin: Option<(i64, Suspect)>,
    /// Rates that stood out, as they did last. Bounded by [`CHARGES_MAX`].
    charges: Vec<Charge>,
    /// Shapes that stood out, as they did most. Bounded by [`SHAPES_MAX`].
    shapes: Vec<Shape>,
    is_held: bool,
    calm_ticks: u32,
    silent_ticks: u32,
    told: Told,
}

/// Rates and signals that are kept of one incident; further ones belong to it and are not told.
const CHARGES_MAX: usize = 64;
const SHAPES_MAX: usize = 16;
const WATCHED_MAX: usize = 1_000;
/// Part of a rate's largest excess from which on its numbers are told anew.
const TOLD_EXCESS: f64 = 0.5;

impl OpenIncident {
    /// Returns an incident from before a restart, or nothing if its onset cannot be read.
    pub(super) fn restored(incident: Incident) -> Option<Self> {
        let onset = block_of(parse_rfc3339(&incident.started_at)?);
        let mut services: BTreeSet<Arc<str>> =
            incident.affected.iter().map(|affected| affected.service.as_str().into()).collect();
        services.extend(incident.root_cause.first().map(|cause| Arc::from(cause.service.as_str())));
        let watched: Vec<Watch> =
            services.iter().cloned().map(|service| Watch::Time(Scope::Service(service))).collect();
        let credible = services.clone();
        Some(Self { credible, ..Self::new(incident, services, watched, onset, onset) })
    }

    fn new(incident: Incident, services: BTreeSet<Arc<str>>, watched: Vec<Watch>, onset: i64, block: i64) -> Self {
        let told = Told::of(&incident, block);
        Self {
            incident,
            services,
            opened_by: watched.clone(),
            watched,
            onset,
            opened: block,
            credible: BTreeSet::new(),
            verdict: None,
            peaks: (0.0, 0.0),
            origin: None,
            charges: Vec::new(),
            shapes: Vec::new(),
            is_held: false,
            calm_ticks: 0,
            silent_ticks: 0,
            told,
        }
    }

    /// Takes in what stands out: the strongest of time, the latest of each rate.
    fn take(&mut self, found: &Found) {
        match found {
            Found::Time(verdict) => {
                let (shift, tail) = self.peaks;
                self.peaks = (shift.max(verdict.shift), tail.max(verdict.tail.excess()));
                if self.verdict.is_none_or(|strongest| verdict.strongest_z() > strongest.strongest_z()) {
                    self.verdict = Some(*verdict);
                }
            }
            Found::Rate(charge) => {
                if let Some(known) = self.charges.iter_mut().find(|known| known.scope == charge.scope) {
                    let peak = known.peak.max(charge.peak);
                    // While it goes back, what it was at its worst is worth more than what is left in the window.
                    if charge.verdict.excess() >= TOLD_EXCESS * peak {
                        *known = charge.clone();
                    }
                    known.peak = peak;
                } else if self.charges.len() < CHARGES_MAX {
                    self.charges.push(charge.clone());
                }
            }
            Found::Shape(shape) => {
                if let Some(known) = self.shapes.iter_mut().find(|known| known.watch() == shape.watch()) {
                    if shape.excess() >= known.excess() {
                        *known = shape.clone();
                    }
                } else if self.shapes.len() < SHAPES_MAX {
                    self.shapes.push(shape.clone());
                }
            }
        }
    }

    /// Returns the service that is blamed most.
    fn culprit(&self) -> Option<&str> {
        self.incident.root_cause.first().map(|cause| cause.service.as_str())
    }

    pub(super) fn touches(&self, service: &str) -> bool {
        self.services.contains(service) && !self.is_slow_growth()
    }

    /// Has the shapes that stood out taken as usual from now on.
    pub(super) fn take_shapes_as_usual(&self, signals: &mut Signals) {
        self.shapes.iter().for_each(|shape| signals.take_as_usual(shape));
    }

    /// Returns whether it is about slow growth and nothing else: it may be open for a day, and what happens meanwhile is
    /// another story.
    fn is_slow_growth(&self) -> bool {
        let is_growth = |shape: &Shape| matches!(shape, Shape::Creeping(_));
        // One from before a restart is what it was told to be until its shapes are seen again.
        let is_told_so = self.incident.kind == IncidentKind::FacadeCreep;
        self.verdict.is_none()
            && self.charges.is_empty()
            && (is_told_so || !self.shapes.is_empty())
            && self.shapes.iter().all(is_growth)
    }
}

impl Detector {
    /// Moves every incident on by one block.
    pub(super) fn live(&mut self, block: i64, now_ns: i64, hot: Vec<Anomaly>, changes: &mut Vec<IncidentChange>) {
        if !hot.is_empty() || !self.open.is_empty() {
            self.graph = Graph::of(&self.signals, &self.rates);
        }
        let rest = self.join_all(hot, |this, anomaly, open| {
            let charges = &this.open[open].charges;
            let leads_on = |charge: &Charge| {
                kinds::is_layer_above(charge, charges) || charges.iter().any(|other| kinds::is_same_saga(charge, other))
            };
            matches!(&anomaly.found, Found::Rate(charge) if leads_on(charge))
                || this.belongs_to(&anomaly.services, &this.open[open])
        });
        for index in (0..self.open.len()).rev() {
            self.hold(index, block);
            changes.extend(self.renew(index, block));
        }
        // By now it may be known better who is to blame, and who waits for that one.
        let spreads: Vec<BTreeSet<Arc<str>>> = self.open.iter().map(|open| self.spread(open, &rest, block)).collect();
        let rest = self.join_all(rest, |this, anomaly, open| {
            anomaly.services.iter().any(|service| spreads[open].contains(service))
                || this.belongs_to(&anomaly.services, &this.open[open])
        });
        let mut groups: Vec<Vec<Anomaly>> = Vec::new();
        rest.into_iter().for_each(|anomaly| self.gather(&mut groups, anomaly));
        for group in groups {
            changes.extend(self.open_incident(block, now_ns, &group));
        }
        for index in (0..self.open.len()).rev() {
            changes.extend(self.resolve_if_calm(index, block));
        }
    }

    /// Joins what stands out to the first open incident that takes it; returns what is left.
    fn join_all(&mut self, hot: Vec<Anomaly>, takes: impl Fn(&Self, &Anomaly, usize) -> bool) -> Vec<Anomaly> {
        let mut rest = Vec::new();
        for anomaly in hot {
            let is_alike = |open: &usize| self.open[*open].is_slow_growth() == anomaly.is_slow_growth();
            match (0..self.open.len()).filter(is_alike).find(|open| takes(self, &anomaly, *open)) {
                Some(open) => self.join(open, &anomaly),
                None => rest.push(anomaly),
            }
        }
        rest
    }

    /// Returns who waits for the one that is blamed, directly or not, while an incident is young: what they show is what it
    /// leads to.
    fn spread(&self, open: &OpenIncident, rest: &[Anomaly], block: i64) -> BTreeSet<Arc<str>> {
        let culprit = open.culprit().filter(|_| !rest.is_empty() && block - open.opened < SPREAD_BLOCKS);
        culprit.map(|culprit| self.graph.above(culprit)).unwrap_or_default()
    }

    /// Stops learning from what incidents touch, while a time is read back that was judged before.
    pub(super) fn hold_all(&mut self, block: i64) {
        for index in 0..self.open.len() {
            self.hold(index, block);
        }
    }

    /// Returns whether what stands out about the services belongs to an open incident: it is about the culprit or a
    /// direct neighbour of it. Neighbours of neighbours do not count, or one busy gateway would join everything.
    fn belongs_to(&self, services: &[Arc<str>], open: &OpenIncident) -> bool {
        match open.culprit() {
            Some(culprit) => self.is_near(services, &BTreeSet::from([Arc::from(culprit)])),
            None => self.is_near(services, &open.services),
        }
    }

    /// Returns whether one of the services is among the others or exchanges calls or messages with one of them.
    fn is_near(&self, services: &[Arc<str>], others: &BTreeSet<Arc<str>>) -> bool {
        let is_near =
            |a: &Arc<str>, b: &Arc<str>| a == b || self.signals.are_adjacent(a, b) || self.rates.are_adjacent(a, b);
        services.iter().any(|a| others.iter().any(|b| is_near(a, b)))
    }

    fn join(&mut self, open: usize, anomaly: &Anomaly) {
        let open = &mut self.open[open];
        if !open.watched.contains(&anomaly.watch) && open.watched.len() < WATCHED_MAX {
            open.watched.push(anomaly.watch.clone());
            open.is_held &= anomaly.services.iter().all(|service| open.services.contains(service));
            open.services.extend(anomaly.services.iter().cloned());
        }
        open.take(&anomaly.found);
    }

    /// Puts an anomaly to the first group that it touches, or into a new one.
    fn gather(&self, groups: &mut Vec<Vec<Anomaly>>, anomaly: Anomaly) {
        let is_same_saga = |member: &Anomaly| match (&member.found, &anomaly.found) {
            (Found::Rate(charge), Found::Rate(other)) => kinds::is_same_saga(charge, other),
            _ => false,
        };
        let touched = groups.iter_mut().find(|group| {
            let members: BTreeSet<Arc<str>> = group.iter().flat_map(|member| member.services.iter().cloned()).collect();
            group.iter().all(|member| member.is_slow_growth() == anomaly.is_slow_growth())
                && (self.is_near(&anomaly.services, &members) || group.iter().any(is_same_saga))
        });
        match touched {
            Some(group) => group.push(anomaly),
            None => groups.push(vec![anomaly]),
        }
    }

    fn open_incident(&mut self, block: i64, now_ns: i64, group: &[Anomaly]) -> Option<IncidentChange> {
        if self.open.len() >= OPEN_MAX {
            let newest = self.open.len() - 1;
            group.iter().for_each(|anomaly| self.join(newest, anomaly));
            return None;
        }
        let mut onsets: Vec<i64> = group.iter().map(|anomaly| self.onset_of(anomaly, block)).collect();
        onsets.sort_unstable();
        let onset = onsets[onsets.len() / 2];
        let services: BTreeSet<Arc<str>> = group.iter().flat_map(|anomaly| anomaly.services.iter().cloned()).collect();
        let incident = story::begin(self.next_number, &services, block_start_ns(onset), now_ns);
        let watched: Vec<Watch> = group.iter().map(|anomaly| anomaly.watch.clone()).collect();
        let mut open = OpenIncident::new(incident, services, watched, onset, block);
        group.iter().for_each(|anomaly| open.take(&anomaly.found));
        self.open.push(open);
        let index = self.open.len() - 1;
        self.hold(index, block);
        let is_told = self.tell(index, block);
        let culprit: Vec<Arc<str>> = self.open[index].culprit().map(Arc::from).into_iter().collect();
        let is_slow_growth = self.open[index].is_slow_growth();
        let is_same =
            |earlier: &OpenIncident| earlier.is_slow_growth() == is_slow_growth && self.belongs_to(&culprit, earlier);
        let earlier = self.open[..index].iter().position(is_same);
        if !is_told || earlier.is_some() {
            self.open.pop();
            self.let_go(onset, block);
            for anomaly in group {
                earlier.into_iter().for_each(|earlier| self.join(earlier, anomaly));
            }
            return None;
        }
        self.reopen_or_number(index, block);
        let open = &mut self.open[index];
        open.told = Told::of(&open.incident, block);
        Some(IncidentChange { event: IncidentEvent::Opened, incident: open.incident.clone() })
    }

    /// Stops learning from what an incident touches, from its onset on.
    fn hold(&mut self, index: usize, block: i64) {
        let open = &mut self.open[index];
        // What grew slowly is usual by now for all that is judged by the half hour before.
        if open.is_held || block < open.onset || open.is_slow_growth() {
            return;
        }
        open.is_held = true;
        let open = &self.open[index];
        self.signals.hold(|service| open.touches(service), open.onset);
        self.rates.hold(|service| open.touches(service), open.onset);
    }

    fn renew(&mut self, index: usize, block: i64) -> Option<IncidentChange> {
        if self.open[index].calm_ticks > 0 || self.open[index].told.block == block || !self.tell(index, block) {
            return None;
        }
        let open = &mut self.open[index];
        let told = Told::of(&open.incident, block);
        if !told.is_news_after(&open.told) {
            return None;
        }
        open.told = told;
        Some(IncidentChange { event: IncidentEvent::Updated, incident: open.incident.clone() })
    }

    fn resolve_if_calm(&mut self, index: usize, block: i64) -> Option<IncidentChange> {
        let condition = self.condition(&self.open[index], block);
        let open = &mut self.open[index];
        match condition {
            Some(true) => open.calm_ticks += 1,
            Some(false) => (open.calm_ticks, open.silent_ticks) = (0, 0),
            // A dependency that hangs for good looks like this: silence is no recovery.
            None => open.silent_ticks += 1,
        }
        let reason = match () {
            () if open.calm_ticks >= CALM_TICKS => None,
            () if open.silent_ticks >= SILENT_TICKS_MAX => {
                Some("Closed without being back: nothing to judge by for half an hour.")
            }
            () if block - open.opened >= LIFE_BLOCKS_MAX => {
                Some("Closed after a day: this is taken as usual from now on.")
            }
            () => return None,
        };
        let resolved = self.open.remove(index);
        resolved.take_shapes_as_usual(&mut self.signals);
        self.let_go(resolved.onset, block);
        Some(self.close(resolved.incident, block, reason))
    }

    /// Ends an incident that is open no more with a block; `reason` says why, if it is not that everything is back.
    pub(super) fn close(&mut self, mut incident: Incident, block: i64, reason: Option<&str>) -> IncidentChange {
        incident.status = IncidentStatus::Resolved;
        incident.resolved_at = Some(rfc3339(block_start_ns(block + 1)));
        if let Some(reason) = reason {
            incident.summary = format!("{reason} {}", incident.summary);
        }
        self.keep_resolved(incident.clone());
        IncidentChange { event: IncidentEvent::Resolved, incident }
    }

    /// Returns whether all that stood out is back, or nothing if too little happened to tell.
    fn condition(&self, open: &OpenIncident, block: i64) -> Option<bool> {
        let culprit = open.culprit().map(|culprit| Watch::Time(Scope::Service(culprit.into())));
        let lead = kinds::lead(&open.charges, &self.graph).map(|(lead, _)| Watch::Rate(lead.scope.clone()));
        let (peak_shift, peak_tail) = open.peaks;
        let peak = |watch: &Watch| match watch {
            Watch::Time(_) => peak_shift,
            Watch::Rate(scope) => open.charges.iter().find(|one| one.scope == *scope).map_or(0.0, |charge| charge.peak),
            Watch::Shape(_) => 0.0,
        };
        let watched = open.opened_by.iter().chain(&culprit).chain(&lead);
        let by_shape = open.shapes.iter().filter_map(|shape| self.signals.is_shape_back(shape, block, shape.excess()));
        let by_watch = watched.filter_map(|watch| self.is_back(watch, block, peak(watch), peak_tail));
        by_watch.chain(by_shape).reduce(|all, one| all && one)
    }

    /// Learns again from everything that no open incident touches.
    fn let_go(&mut self, from: i64, to: i64) {
        let open = &self.open;
        let is_touched = |service: &str| open.iter().any(|open| open.touches(service));
        self.signals.release(is_touched, from, to);
        self.rates.release(is_touched, from, to);
    }
}
