//! What an open incident says: which of what stood out names it, who is to blame, and in which words. Called by the life of
//! incidents when one opens and whenever it is renewed.

use std::sync::Arc;

use super::OpenIncident;
use crate::detect::blame::{self, Suspect};
use crate::detect::kinds::Charge;
use crate::detect::rate_story::{self, RateFacts};
use crate::detect::series::Verdict;
use crate::detect::shape_story::{self, ShapeFacts};
use crate::detect::shapes::{self, Shape};
use crate::detect::story::{self, Facts};
use crate::detect::{Detector, kinds, reopen, slow};
use crate::incident::IncidentKind;

/// Factor by which a suspect's mean must have grown: less is what chance leaves where nobody is to blame.
const GROWTH_MIN: f64 = 1.1;
/// Blocks for which an origin is remembered: while it goes back, what it led to may stand out for longer.
const ORIGIN_BLOCKS: i64 = 30;

impl Detector {
    /// Renews the incident's numbers and words, and what logs say; returns whether there is someone to blame and someone hurt.
    pub(super) fn tell(&mut self, index: usize, block: i64) -> bool {
        let logs = self.open[index].incident.evidence.logs.clone();
        let is_told = self.tell_story(index, block);
        // Stories begin their evidence anew.
        self.open[index].incident.evidence.logs = logs;
        self.attach_logs(index, block);
        is_told
    }

    /// What is more specific names it: a rate, or the signals of time.
    fn tell_story(&mut self, index: usize, block: i64) -> bool {
        let by_time = match self.open[index].verdict {
            Some(verdict) => self.tell_by_time(index, block, verdict),
            // What was opened before a restart keeps its words until something is seen of it.
            None => self.open[index].charges.is_empty() && self.open[index].shapes.is_empty(),
        };
        let open = &self.open[index];
        // Who waits for what fails is slow, or behind, by that.
        let is_waiting = matches!(open.incident.kind, IncidentKind::QueueLag | IncidentKind::Cascade);
        let follows = is_waiting && open.culprit().is_some_and(|culprit| self.fails_below(culprit, open));
        let by_itself = if follows { IncidentKind::LatencyShift } else { open.incident.kind };
        let of_time = open.verdict.filter(|_| by_time).map_or(0, |_| kinds::specificity(by_itself));
        let lead = kinds::lead(&open.charges, &self.graph);
        let of_rate = lead.map_or(0, |(_, specificity)| specificity);
        let shape = shapes::lead(&open.shapes);
        let of_shape = shape.map_or(0, |shape| kinds::specificity(shape.kind()));
        let is_origin = shape.zip(lead).is_some_and(|(shape, (lead, _))| self.leads_to(shape, lead));
        if let Some(shape) = shape.filter(|_| (of_shape >= of_rate || is_origin) && of_shape >= of_time) {
            let facts = ShapeFacts {
                signals: &self.signals,
                types: &self.types,
                recent: &self.recent,
                changes: &self.changes,
                thresholds: &self.thresholds,
                onset: open.onset,
                block,
                is_told_by_time: by_time && open.verdict.is_some(),
            };
            let mut incident = open.incident.clone();
            shape_story::tell(&mut incident, shape, &facts);
            self.open[index].incident = incident;
        } else if !self.tell_by_rate(index, block, of_time) {
            return by_time;
        }
        self.touch_culprit(index);
        true
    }

    /// Returns whether what a charge says may follow from a shape: who makes more calls takes longer, and who waits for it
    /// gives up and tries again.
    fn leads_to(&self, shape: &Shape, charge: &Charge) -> bool {
        let is_below = || self.graph.below(&charge.service).contains(shape.service());
        matches!(shape, Shape::Chatter(..))
            && slow::may_follow(charge.kind)
            && (charge.service == *shape.service() || is_below())
    }

    fn fails_below(&self, service: &str, open: &OpenIncident) -> bool {
        kinds::fails_below(service, &open.charges, &self.graph)
    }

    /// Returns who is slow below the one that a charge is against, so that what it says follows from that, and when that
    /// was last seen.
    fn origin(&self, open: &OpenIncident, lead: &Charge, block: i64) -> Option<(i64, Suspect)> {
        if !slow::may_follow(lead.kind) {
            return None;
        }
        let origin = slow::origin_below((&self.signals, &self.graph), &lead.service, open.onset, block);
        let origin = origin.filter(|origin| !self.fails_below(&origin.service, open));
        let remembered = || open.origin.clone().filter(|(seen, _)| block - seen < ORIGIN_BLOCKS);
        origin.map(|origin| (block, origin)).or_else(remembered)
    }

    /// Tells what rates say, unless what was told says more; returns whether there is a rate that says anything.
    fn tell_by_rate(&mut self, index: usize, block: i64, told: u8) -> bool {
        let open = &self.open[index];
        let Some((lead, specificity)) = kinds::lead(&open.charges, &self.graph) else { return false };
        if told <= specificity {
            let origin = self.origin(open, lead, block);
            let against = |(_, origin): &(i64, Suspect)| kinds::same_against(lead, &open.charges, &origin.service);
            let lead = origin.as_ref().and_then(against).unwrap_or(lead);
            let facts = RateFacts {
                rates: &self.rates,
                types: &self.types,
                recent: &self.recent,
                changes: &self.changes,
                charges: &open.charges,
                onset: open.onset,
                block,
            };
            let mut incident = open.incident.clone();
            rate_story::tell(&mut incident, lead, &facts);
            if let Some((_, origin)) = origin.as_ref().filter(|(_, origin)| origin.service != lead.service) {
                rate_story::tell_origin(&mut incident, lead, origin);
            }
            self.open[index].incident = incident;
            self.open[index].origin = origin.or(self.open[index].origin.take());
        }
        true
    }

    /// Has the one that is blamed most be touched by the incident.
    fn touch_culprit(&mut self, index: usize) {
        let open = &mut self.open[index];
        reopen::mark(&mut open.incident);
        if let Some(culprit) = open.culprit().map(Arc::from) {
            open.is_held &= !open.services.insert(culprit);
        }
    }

    /// Renews what signals of time tell; see [`Self::tell`].
    fn tell_by_time(&mut self, index: usize, block: i64, verdict: Verdict) -> bool {
        let open = &self.open[index];
        let mut suspects: Vec<Suspect> = blame::suspects(&self.signals, open.onset, block);
        let newly_credible: Vec<Arc<str>> = suspects
            .iter()
            .filter(|suspect| blame::is_off(&self.signals, suspect, block))
            .map(|suspect| suspect.service.clone())
            .collect();
        suspects.retain(|suspect| self.is_near(&[suspect.service.clone(), suspect.caller.clone()], &open.services));
        let extra_total_ms = suspects.iter().map(|suspect| suspect.extra_ms).sum();
        let open = &mut self.open[index];
        open.credible.extend(newly_credible);
        let has_grown = |suspect: &Suspect| suspect.now_ms >= GROWTH_MIN * suspect.usual_ms;
        suspects.retain(|suspect| open.credible.contains(&suspect.service) && has_grown(suspect));
        let onset = self.open[index].onset;
        if let Some(step) = slow::clock_step(&self.signals, &suspects, onset + 1, block) {
            self.signals.relearn_wait(step, onset);
            return false;
        }
        let kind = slow::rank(&self.graph, &mut suspects);
        let open = &self.open[index];
        let facts = Facts {
            kind,
            traits: &self.traits,
            signals: &self.signals,
            types: &self.types,
            recent: &self.recent,
            changes: &self.changes,
            extra_total_ms,
            thresholds: &self.thresholds,
            suspects: &suspects,
            verdict: &verdict,
            onset: open.onset,
            block,
        };
        let mut incident = open.incident.clone();
        let is_told = story::tell(&mut incident, &facts);
        self.open[index].incident = incident;
        self.touch_culprit(index);
        is_told
    }
}
