//! What stands out beside the time that steps take: a member of a fan-out that is last too often, an operation that makes
//! too many calls, one that grows slowly. Judged once a block by the detector; told by `shape_story`.

use std::collections::VecDeque;
use std::sync::Arc;

use collector_table::TraceId;

use super::chatty::{Chatter, PairKey};
use super::fanout::{FanOutId, Straggle};
use super::kinds::specificity;
use super::signals::{RATIO_FLOOR_MS, Scope, Signals};
use super::steps::StepId;
use super::trend::Creep;
use super::{PERSISTENCE_TICKS, Thresholds};
use crate::incident::IncidentKind;
use crate::span::Site;
use crate::transaction::Transaction;

/// A transaction in which a shape was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Its id.
    pub(super) id: TraceId,
    /// Its root.
    pub(super) root: Arc<Site>,
    /// How long it took, milliseconds.
    pub(super) duration_ms: f64,
}

/// Transactions remembered of each shape, the latest.
const SEEN_MAX: usize = 3;

impl Seen {
    /// Keeps a transaction as the latest of a few.
    pub(super) fn keep(seen: &mut VecDeque<Self>, transaction: &Transaction) {
        if seen.len() >= SEEN_MAX {
            seen.pop_front();
        }
        let (id, root) = (transaction.id, transaction.root_span().site.clone());
        seen.push_back(Self { id, root, duration_ms: transaction.duration_ns as f64 / 1e6 });
    }
}

/// Something that stands out.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// A member of a fan-out is last too often.
    Straggle(Straggle),
    /// An operation makes too many calls.
    Chatter(PairKey, Chatter),
    /// An operation's own time, or its calls, grew slowly.
    Creeping(Creeping),
}

/// What is watched: the identity of a shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ShapeWatch {
    /// A member of a fan-out.
    Member(FanOutId, Arc<str>, Option<Arc<str>>),
    /// Calls of an operation.
    Calls(PairKey),
    /// What may grow slowly.
    Growth(Grows),
}

/// What grows slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grows {
    /// Own time of an operation, both ends of its calls included.
    Time(StepId),
    /// Calls that it makes.
    Calls(PairKey),
}

/// An operation that grew slowly.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Creeping {
    /// What grows.
    pub(super) grows: Grows,
    /// Who grows.
    pub(super) service: Arc<str>,
    /// See `service`.
    pub(super) operation: Arc<str>,
    /// Milliseconds, or calls, at the beginning and now.
    pub(super) from: f64,
    /// See `from`.
    pub(super) to: f64,
    /// Whether it stands before others: what it does is mostly to call them.
    pub(super) is_facade: bool,
    /// Its trend.
    pub(super) creep: Creep,
}

impl Shape {
    /// Returns the kind of incident that it makes.
    pub(super) fn kind(&self) -> IncidentKind {
        match self {
            Self::Straggle(_) => IncidentKind::Straggler,
            Self::Chatter(..) => IncidentKind::ChattyCalls,
            Self::Creeping(creeping) if creeping.is_facade => IncidentKind::FacadeCreep,
            Self::Creeping(_) => IncidentKind::LatencyShift,
        }
    }

    /// Returns the service that it is the fault of.
    pub(super) fn service(&self) -> &Arc<str> {
        match self {
            Self::Straggle(straggle) => &straggle.service,
            Self::Chatter(_, chatter) => &chatter.ends.service,
            Self::Creeping(creeping) => &creeping.service,
        }
    }

    /// Returns the standard score.
    pub(super) fn z(&self) -> f64 {
        match self {
            Self::Straggle(straggle) => straggle.z,
            Self::Chatter(_, chatter) => chatter.z,
            Self::Creeping(creeping) => creeping.creep.z,
        }
    }

    /// Returns by how much it stands out: a share beyond the usual, or how much of a whole was added.
    pub(super) fn excess(&self) -> f64 {
        match self {
            Self::Straggle(straggle) => straggle.share - straggle.usual_share,
            Self::Chatter(_, chatter) => chatter.share,
            Self::Creeping(creeping) => creeping.creep.to - creeping.creep.from,
        }
    }

    /// Returns its identity.
    pub(super) fn watch(&self) -> ShapeWatch {
        match self {
            Self::Straggle(one) => ShapeWatch::Member(one.group, one.service.clone(), one.instance.clone()),
            Self::Chatter(key, _) => ShapeWatch::Calls(*key),
            Self::Creeping(creeping) => ShapeWatch::Growth(creeping.grows),
        }
    }
}

/// Returns the shape that names an incident: the most specific, of equals the one that stands out most.
pub(super) fn lead(shapes: &[Shape]) -> Option<&Shape> {
    shapes.iter().max_by(|a, b| {
        let key = |shape: &Shape| specificity(shape.kind());
        key(a).cmp(&key(b)).then(a.z().total_cmp(&b.z()))
    })
}

impl Signals {
    /// Judges all shapes in the minute that ends with `block`; returns what stands out. What crept up is asked for once a
    /// bucket, and so not while nothing is told.
    pub(super) fn shapes(&mut self, block: i64, thresholds: &Thresholds, is_judging: bool) -> Vec<Shape> {
        let straggles = self.fan_outs.judge(block, thresholds, PERSISTENCE_TICKS);
        let mut shapes: Vec<Shape> = straggles.into_iter().map(Shape::Straggle).collect();
        let chatters = self.chatty.judge(block, thresholds, PERSISTENCE_TICKS);
        shapes.extend(chatters.into_iter().map(|(key, chatter)| Shape::Chatter(key, chatter)));
        if is_judging {
            shapes.extend(self.creeping(block, thresholds).into_iter().map(Shape::Creeping));
        }
        shapes
    }

    /// Returns what crept up, of the trends of which a bucket ended.
    fn creeping(&mut self, block: i64, thresholds: &Thresholds) -> Vec<Creeping> {
        let mut found = Vec::new();
        for (scope, signal) in self.list.iter_mut() {
            let Scope::Operation(step) = scope else { continue };
            let Some(creep) = signal.trend.judge(block) else { continue };
            let Some((step, verdict)) = self.steps.slots.key(*step).zip(signal.series.judge(block)) else { continue };
            let (from, to) = (creep.from.exp() - RATIO_FLOOR_MS, creep.to.exp() - RATIO_FLOOR_MS);
            let is_felt = to - from >= thresholds.extra_ms && to - from >= thresholds.extra_share * verdict.total_ms;
            if let (true, Scope::Operation(id)) = (is_felt, scope) {
                let (service, operation) = (step.service.clone(), step.operation.clone());
                found.push(Creeping { grows: Grows::Time(*id), service, operation, from, to, is_facade: false, creep });
            }
        }
        for (key, pair) in self.chatty.pairs.iter_mut() {
            let Some((creep, ends)) = pair.trend.judge(block).zip(pair.ends.as_ref()) else { continue };
            let (from, to) = (creep.from.exp(), creep.to.exp());
            if to - from >= CALLS_GROWTH_MIN {
                let (service, operation) = (ends.service.clone(), ends.operation.clone());
                found.push(Creeping {
                    grows: Grows::Calls(*key),
                    service,
                    operation,
                    from,
                    to,
                    is_facade: true,
                    creep,
                });
            }
        }
        for one in &mut found {
            one.is_facade |= self.calls_others(&one.service);
        }
        found
    }

    /// Returns the services that a shape is about.
    pub(super) fn services_of_shape(&self, shape: &Shape) -> Vec<Arc<str>> {
        let mut services = vec![shape.service().clone()];
        match shape {
            Shape::Straggle(straggle) => {
                services.extend(self.fan_outs.groups.key(straggle.group).map(|group| group.service.clone()));
            }
            Shape::Chatter(_, chatter) => services.push(chatter.ends.callee.clone()),
            Shape::Creeping(_) => {}
        }
        services
    }

    /// Returns whether a service makes calls to others.
    fn calls_others(&self, service: &str) -> bool {
        self.list.iter().any(|(_, scope, _)| matches!(scope, Scope::Hop(from, _) if **from == *service))
    }

    /// Estimates the block in which a shape left what is usual.
    pub(super) fn shape_onset(&self, shape: &Shape, block: i64) -> i64 {
        match shape {
            Shape::Straggle(straggle) => self.fan_outs.onset(straggle, block),
            Shape::Chatter(key, _) => self.chatty.onset(*key, block),
            Shape::Creeping(creeping) => creeping.creep.since,
        }
    }

    /// Returns whether a shape is back after an incident with an excess of `peak`; nothing if too little happened to tell.
    pub(super) fn is_shape_back(&self, shape: &Shape, block: i64, peak: f64) -> Option<bool> {
        match shape {
            Shape::Straggle(straggle) => self.fan_outs.is_back(straggle, block, peak),
            Shape::Chatter(key, _) => self.chatty.is_back(*key, block, peak),
            Shape::Creeping(creeping) => {
                let trend = match creeping.grows {
                    Grows::Time(step) => &self.list.get(self.list.find(&Scope::Operation(step))?)?.trend,
                    Grows::Calls(key) => &self.chatty.pairs.get(self.chatty.pairs.find(&key)?)?.trend,
                };
                let half = f64::midpoint(creeping.creep.from, creeping.creep.to);
                Some(trend.level(block)? < half)
            }
        }
    }

    /// Returns transactions in which a shape was seen, the latest first.
    pub(super) fn examples(&self, shape: &Shape) -> Vec<&Seen> {
        let pair = |key: &PairKey| self.chatty.pairs.get(self.chatty.pairs.find(key)?);
        let seen = match shape {
            Shape::Straggle(straggle) => self.fan_outs.seen(straggle),
            Shape::Chatter(key, _) => pair(key).map(|pair| &pair.seen),
            Shape::Creeping(_) => None,
        };
        seen.into_iter().flatten().rev().collect()
    }

    /// Takes what crept up as usual: its incident is over.
    pub(super) fn take_as_usual(&mut self, shape: &Shape) {
        let Shape::Creeping(creeping) = shape else { return };
        let trend = match creeping.grows {
            Grows::Time(step) => {
                let id = self.list.find(&Scope::Operation(step));
                id.and_then(|id| self.list.get_mut(id)).map(|signal| &mut signal.trend)
            }
            Grows::Calls(key) => {
                let id = self.chatty.pairs.find(&key);
                id.and_then(|id| self.chatty.pairs.get_mut(id)).map(|pair| &mut pair.trend)
            }
        };
        if let Some(trend) = trend {
            trend.forget();
        }
    }
}

/// Calls by which an execution's mean must grow.
const CALLS_GROWTH_MIN: f64 = 1.0;
