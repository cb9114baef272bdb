//! What happens to a system while it is played: changes of its mechanism, from when to when, where and how strongly.
//! Faults and harmless changes are lists of these. Read by `world` at every step that a change may touch.

use crate::system::{OperationId, QueueId, ServiceId};

/// One change of a system.
#[derive(Debug, Clone)]
pub struct Change {
    /// From when on, nanoseconds since the beginning.
    pub from_ns: i64,
    /// Until when; of what happens once, this says nothing.
    pub to_ns: i64,
    /// Time in which it grows from nothing to its full strength.
    pub ramp_ns: i64,
    /// Where it applies.
    pub scope: Scope,
    /// What it does.
    pub effect: Effect,
}

/// Which part of the traffic of a place a change touches; all of it by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Ordinal of one instance of the service.
    pub instance: Option<usize>,
    /// One version of the service.
    pub version: Option<String>,
    /// One tenant.
    pub tenant: Option<u64>,
}

/// What a change does.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The own work of an operation takes longer, in a share of its runs.
    Slower {
        /// Operation.
        operation: OperationId,
        /// Milliseconds added to each run, once.
        extra_ms: f64,
        /// Share of its runs.
        share: f64,
    },
    /// Everything that a service does takes a multiple of its time.
    SlowerService {
        /// Service.
        service: ServiceId,
        /// Multiple at full strength.
        factor: f64,
    },
    /// The instances of a service work on so many requests at once, not on more.
    FewerWorkers {
        /// Service.
        service: ServiceId,
        /// Workers of an instance that are left.
        workers: usize,
    },
    /// Requests to a service and its answers take longer on their way.
    SlowerNetwork {
        /// Service that is called.
        service: ServiceId,
        /// Milliseconds added to each request.
        extra_ms: f64,
    },
    /// An operation fails in a share of its runs, at once.
    Fails {
        /// Operation.
        operation: OperationId,
        /// Share of its runs.
        share: f64,
    },
    /// What an operation repeats, it repeats more often.
    RepeatsMore {
        /// Operation.
        operation: OperationId,
        /// Multiple at full strength.
        factor: f64,
    },
    /// Consumers pause before they take the next message.
    TakesSlower {
        /// Index of the group.
        group: usize,
        /// Milliseconds of the pause.
        pause_ms: f64,
    },
    /// A share of messages comes twice.
    Doubles {
        /// Index of the group.
        group: usize,
        /// Share of messages.
        share: f64,
    },
    /// A share of messages does not come.
    Loses {
        /// Queue.
        queue: QueueId,
        /// Share of messages.
        share: f64,
    },
    /// A share of messages is taken after those that came later.
    Disorders {
        /// Index of the group.
        group: usize,
        /// Share of messages.
        share: f64,
    },
    /// Sagas of an operation leave out what undoes a step.
    ForgetsToUndo {
        /// Operation.
        operation: OperationId,
        /// Share of the steps to be undone.
        share: f64,
    },
    /// A service no longer passes its context on.
    DropsContext {
        /// Service.
        service: ServiceId,
    },
    /// A source sends a multiple of its traffic; every source if none is named.
    Traffic {
        /// Index of the source.
        source: Option<usize>,
        /// Multiple at full strength.
        factor: f64,
    },
    /// Traffic swings with the time of day.
    Daily {
        /// Share by which it rises and falls.
        swing: f64,
        /// Length of a day.
        day_s: f64,
    },
    /// Another share of traces is kept.
    Samples {
        /// Share.
        share: f64,
    },
    /// Once: the clocks of a service's instances jump.
    ClockJump {
        /// Service.
        service: ServiceId,
        /// Milliseconds.
        by_ms: f64,
    },
    /// Once: new instances of a version replace so many of the old ones.
    Deploy {
        /// Service.
        service: ServiceId,
        /// Version.
        version: String,
        /// Share of its instances.
        share: f64,
    },
    /// Once: a service has so many instances from now on.
    Scale {
        /// Service.
        service: ServiceId,
        /// Instances.
        instances: usize,
    },
    /// Once: one run of an operation takes very long.
    Outlier {
        /// Operation.
        operation: OperationId,
        /// Milliseconds.
        ms: f64,
    },
    /// Once: what waits before a service's workers is refused.
    Sheds {
        /// Service.
        service: ServiceId,
    },
}

impl Change {
    /// Returns a change at full strength, everywhere, from a second to a second.
    pub fn between(from_s: f64, to_s: f64, effect: Effect) -> Self {
        let ns = |seconds: f64| (seconds * 1e9) as i64;
        Self { from_ns: ns(from_s), to_ns: ns(to_s), ramp_ns: 0, scope: Scope::default(), effect }
    }

    /// Returns a change that happens once, or stays.
    pub fn at(from_s: f64, effect: Effect) -> Self {
        Self { to_ns: i64::MAX, ..Self::between(from_s, 0.0, effect) }
    }

    /// Has it grow to its full strength in so many seconds.
    pub fn ramped(mut self, seconds: f64) -> Self {
        self.ramp_ns = (seconds * 1e9) as i64;
        self
    }

    /// Says what part of the traffic it touches.
    pub fn within(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Returns how strong it is at a moment: 0 if it is not, 1 at full strength.
    pub fn strength(&self, now_ns: i64) -> f64 {
        if now_ns < self.from_ns || now_ns >= self.to_ns {
            return 0.0;
        }
        let since_ns = now_ns - self.from_ns;
        if since_ns >= self.ramp_ns { 1.0 } else { since_ns as f64 / self.ramp_ns as f64 }
    }
}
