//! What stands out, of either engine: a signal of time with its verdict, a rate with who is charged with it, or a shape.
//! Made once a block by the detector, read by the life of incidents.

use std::sync::Arc;

use super::Detector;
use super::kinds::Charge;
use super::life::ONSET_BLOCKS;
use super::rates::RateScope;
use super::series::Verdict;
use super::shapes::{Shape, ShapeWatch};
use super::signals::Scope;

/// What is watched: the identity of a signal of either engine.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Watch {
    /// A signal of time.
    Time(Scope),
    /// A rate.
    Rate(RateScope),
    /// A shape.
    Shape(ShapeWatch),
}

/// How it stands out.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// It takes longer.
    Time(Verdict),
    /// It goes wrong more often.
    Rate(Charge),
    /// It looks different.
    Shape(Shape),
}

/// A signal that stands out.
#[derive(Debug, Clone)]
pub(super) struct Anomaly {
    pub(super) watch: Watch,
    pub(super) found: Found,
    /// Services that it is about.
    pub(super) services: Vec<Arc<str>>,
}

impl Anomaly {
    /// Returns whether it is about slow growth, which is a story of its own.
    pub(super) fn is_slow_growth(&self) -> bool {
        matches!(self.found, Found::Shape(Shape::Creeping(_)))
    }
}

/// Below this score, or below this shift or share of the incident's largest shift, a signal of time is back.
const CALM_Z: f64 = 3.0;
const CALM_SHIFT: f64 = 0.25;
const CALM_PEAK_SHARE: f64 = 0.2;

impl Detector {
    /// Judges all signals in the windows that end with `block`; returns what stands out.
    pub(super) fn anomalies(&mut self, block: i64, is_judging: bool) -> Vec<Anomaly> {
        let thresholds = self.thresholds;
        let mut hot = Vec::new();
        for (scope, signal) in self.signals.list.iter_mut() {
            hot.extend(signal.watch(scope, block, &thresholds, is_judging).map(|verdict| (scope.clone(), verdict)));
        }
        let by_time = hot.into_iter().map(|(scope, verdict)| Anomaly {
            services: self.signals.services(&scope),
            watch: Watch::Time(scope),
            found: Found::Time(verdict),
        });
        let mut anomalies: Vec<Anomaly> = by_time.collect();
        let mut shapes = self.signals.shapes(block, &thresholds, is_judging);
        // Versions that came meanwhile are a reason; without any, growth has to speak for itself.
        shapes.retain(|shape| match shape {
            Shape::Creeping(creeping) => {
                let versions =
                    self.changes.between(creeping.creep.since, block, |service| *service == *creeping.service);
                versions.len() > 1 || creeping.creep.speaks_for_itself(block)
            }
            Shape::Straggle(_) | Shape::Chatter(..) => true,
        });
        anomalies.extend(shapes.into_iter().map(|shape| Anomaly {
            services: self.signals.services_of_shape(&shape),
            watch: Watch::Shape(shape.watch()),
            found: Found::Shape(shape),
        }));
        let hot = self.rates.watch(block, is_judging);
        anomalies.extend(super::kinds::charges(&self.rates, &self.changes, &hot, block).into_iter().map(|charge| {
            Anomaly {
                services: charge.services(),
                watch: Watch::Rate(charge.scope.clone()),
                found: Found::Rate(charge),
            }
        }));
        anomalies
    }

    /// Estimates the block in which an anomaly began.
    pub(super) fn onset_of(&self, anomaly: &Anomaly, block: i64) -> i64 {
        match (&anomaly.watch, &anomaly.found) {
            (Watch::Time(scope), _) => self.signals.onset(scope, block, ONSET_BLOCKS),
            (Watch::Rate(scope), Found::Rate(charge)) => {
                self.rates.occasions.onset(&scope.occasion, scope.wrong, block, &charge.verdict)
            }
            (_, Found::Shape(shape)) => self.signals.shape_onset(shape, block),
            (Watch::Rate(_) | Watch::Shape(_), _) => block,
        }
    }

    /// Returns whether a signal is back at what it was before an incident, or nothing if too little happened to tell.
    /// The peak is the incident's largest shift, or the rate's largest excess; for a signal of time also the largest excess
    /// of long ones.
    pub(super) fn is_back(&self, watch: &Watch, block: i64, peak: f64, tail_peak: f64) -> Option<bool> {
        match watch {
            Watch::Time(scope) => {
                let verdict = self.signals.judge_held(scope, block, self.thresholds.n)?;
                let calm_shift = CALM_SHIFT.max(CALM_PEAK_SHARE * peak);
                let tail = &verdict.tail;
                let calm_tail = self.thresholds.tail_share.max(CALM_PEAK_SHARE * tail_peak);
                let is_tail_calm = tail.z < CALM_Z || tail.excess() < calm_tail;
                Some((verdict.z < CALM_Z || verdict.shift < calm_shift) && is_tail_calm)
            }
            // A shape knows more than its identity; see the caller.
            Watch::Shape(_) => None,
            Watch::Rate(scope) => self.rates.occasions.is_calm(&scope.occasion, scope.wrong, block, peak),
        }
    }
}
