//! A delivery: one event on its way to one target, as it is queued, attempted and shown.
//! Made by the outbox, worked off by `notify`, shown on the pages. Plain data.

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waits for its first or next attempt.
    Pending,
    /// The receiver said 2xx.
    Delivered,
    /// Given up.
    Dead,
}

/// The next delivery for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueDelivery {
    /// Position in the outbox.
    pub seq: i64,
    /// The event's id, the same at every attempt.
    pub event_id: String,
    /// What is sent.
    pub body: String,
    /// Attempts so far.
    pub attempts: u32,
    /// Whether it is tried again after a failure.
    pub may_retry: bool,
    /// When the event was made, Unix milliseconds.
    pub created_ms: i64,
    /// Not to be sent before, Unix milliseconds.
    pub next_attempt_ms: i64,
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// It arrived.
    Delivered,
    /// Try again.
    RetryAt {
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// Not worth another attempt.
    GiveUp,
    /// The receiver wants nothing any more (410).
    DisableTarget,
}

/// One attempt and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// When it began, Unix milliseconds.
    pub at_ms: i64,
    /// How long it took, milliseconds.
    pub duration_ms: f64,
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// Beginning of the answer's body; hostile.
    pub answer: Option<String>,
    /// What follows.
    pub next: NextStep,
}

/// Which deliveries are wanted.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Target's name.
    pub target: Option<String>,
    /// Incident's number.
    pub incident: Option<u64>,
    /// The event's id.
    pub event_id: Option<String>,
    /// Rows at most; never more than 1000.
    pub limit: usize,
}

/// A delivery as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryRow {
    /// The event's id.
    pub event_id: String,
    /// Such as `incident.opened`.
    pub event_type: String,
    /// Incident's number; none for tests.
    pub incident: Option<u64>,
    /// Target's name.
    pub target: String,
    /// How far it is.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: u32,
    /// When the event was made, Unix milliseconds.
    pub created_ms: i64,
    /// Begin of the last attempt, Unix milliseconds.
    pub last_attempt_ms: Option<i64>,
    /// Time of the next attempt, Unix milliseconds.
    pub next_attempt_ms: Option<i64>,
    /// Status of the last answer.
    pub status: Option<u16>,
    /// Milliseconds that the last attempt took.
    pub duration_ms: Option<f64>,
    /// What went wrong at the last attempt.
    pub error: Option<String>,
    /// Beginning of the last answer's body; hostile.
    pub answer: Option<String>,
}

/// A test of one target.
#[derive(Debug, Clone)]
pub struct TestEvent {
    /// Target's name.
    pub target: String,
    /// The same key is the same event.
    pub key: String,
    /// Whether failures are retried as for a real event.
    pub may_retry: bool,
    /// What is sent.
    pub body: String,
}
