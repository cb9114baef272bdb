//! An incident: one story, one root-cause ranking, one alert. The serialised form is the contract shared by the
//! HTTP API, `analyze` and webhook bodies; fields are only ever added. Made by `detect`, kept and told by the daemon.

use serde::{Deserialize, Serialize};

use crate::time::parse_rfc3339;

/// An id begins with this and 16 hexadecimal digits: when the incident began for the first time, unix nanoseconds.
pub(crate) const ID_PREFIX: &str = "inc-";

/// What kind of slow failure an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// An operation or a hop takes longer than it used to.
    LatencyShift,
    /// Several services are slow because one that they wait for is.
    Cascade,
    /// One of like ones that run beside each other is the last too often.
    Straggler,
    /// Messages wait longer before they are taken in.
    QueueLag,
    /// What a facade adds grows slowly, over versions or days.
    FacadeCreep,
    /// One transaction makes more calls of a kind than it used to.
    ChattyCalls,
    /// Calls are tried again so often that it adds to the load.
    RetryStorm,
    /// Servers work on what nobody waits for any more.
    WastedWork,
    /// What is to be done once is done twice.
    DuplicateProcessing,
    /// Messages are not taken in.
    LostMessage,
    /// Messages are taken in before earlier ones.
    OutOfOrder,
    /// What was done is not undone although a later stage failed.
    IncompleteCompensation,
    /// Transactions are told in pieces: a service does not pass on to which one its work belongs.
    BrokenContext,
    /// Answers lack what is usually part of them.
    DegradedResponse,
    /// An operation fails more often than it used to.
    ErrorBurst,
}

impl IncidentKind {
    /// Every kind, in the order of its declaration.
    pub const ALL: [Self; 15] = [
        Self::LatencyShift,
        Self::Cascade,
        Self::Straggler,
        Self::QueueLag,
        Self::FacadeCreep,
        Self::ChattyCalls,
        Self::RetryStorm,
        Self::WastedWork,
        Self::DuplicateProcessing,
        Self::LostMessage,
        Self::OutOfOrder,
        Self::IncompleteCompensation,
        Self::BrokenContext,
        Self::DegradedResponse,
        Self::ErrorBurst,
    ];

    /// Returns the word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LatencyShift => "latency_shift",
            Self::Cascade => "cascade",
            Self::Straggler => "straggler",
            Self::QueueLag => "queue_lag",
            Self::FacadeCreep => "facade_creep",
            Self::ChattyCalls => "chatty_calls",
            Self::RetryStorm => "retry_storm",
            Self::WastedWork => "wasted_work",
            Self::DuplicateProcessing => "duplicate_processing",
            Self::LostMessage => "lost_message",
            Self::OutOfOrder => "out_of_order",
            Self::IncompleteCompensation => "incomplete_compensation",
            Self::BrokenContext => "broken_context",
            Self::DegradedResponse => "degraded_response",
            Self::ErrorBurst => "error_burst",
        }
    }
}

/// Where an incident is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStatus {
    /// Still going on.
    Open,
    /// Back to usual.
    Resolved,
}

/// How much it hurts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Noticeable.
    Info,
    /// Transactions are clearly slower.
    Warning,
    /// Transactions take a multiple of their usual time.
    Critical,
}

/// One incident, as JSON in `DESIGN`'s contract. Times are RFC 3339 in UTC, event time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Stable for the incident's whole life, across updates, reopening and restarts.
    pub id: String,
    /// Short number that people say aloud.
    pub number: u64,
    /// Kind of slow failure.
    pub kind: IncidentKind,
    /// Open or resolved.
    pub status: IncidentStatus,
    /// From impact.
    pub severity: Severity,
    /// One line, at most 120 characters.
    pub title: String,
    /// A few plain sentences made from the numbers.
    pub summary: String,
    /// Estimated onset.
    pub started_at: String,
    /// Half-width of the onset's interval, seconds.
    pub started_at_uncertainty_s: f64,
    /// When the evidence sufficed: time of arrival, which in a replay is event time.
    pub detected_at: String,
    /// When it was back to usual.
    pub resolved_at: Option<String>,
    /// Whether it was resolved less than half an hour before and came back, under the same id.
    pub reopened: bool,
    /// Whether somebody closed it as no problem: then it did not go back to usual by itself.
    #[serde(default)]
    pub dismissed: bool,
    /// Transaction type that suffers most.
    pub transaction: TransactionRef,
    /// Ranked, most likely first.
    pub root_cause: Vec<RootCause>,
    /// Services and operations that became slower, the cause included.
    pub affected: Vec<Affected>,
    /// State changes near the onset: candidates for the reason, never proof.
    pub changes: Vec<Change>,
    /// Who is hurt, and by how much.
    pub impact: Impact,
    /// Whether it reaches further.
    pub spread: Spread,
    /// What to do next.
    pub suggestions: Vec<String>,
    /// What proves it.
    pub evidence: Evidence,
    /// Transactions to look at.
    pub exemplars: Vec<Exemplar>,
    /// Free labels, for routing.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Page of this incident; filled in by the daemon, which knows its public address.
    pub url: String,
}

impl Incident {
    /// Returns when it began for the first time, unix nanoseconds: what came back keeps its id, which says so.
    pub fn began_ns(&self) -> Option<i64> {
        let digits = self.id.strip_prefix(ID_PREFIX).and_then(|rest| rest.get(..16));
        let first_ns = digits.and_then(|digits| i64::from_str_radix(digits, 16).ok());
        first_ns.or_else(|| parse_rfc3339(&self.started_at))
    }
}

/// A transaction type by its root operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransactionRef {
    /// Service of the root operation.
    pub service: String,
    /// Root operation.
    pub operation: String,
}

/// One candidate for the root cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootCause {
    /// Service, or an uninstrumented peer's address or system.
    pub service: String,
    /// Operation within it, when the data says so.
    pub operation: Option<String>,
    /// Instance, when the fault is one replica's.
    pub instance: Option<String>,
    /// `self`, `network_gap`, `queue_wait`, `retry`, `straggler`, `calls`, `uninstrumented_peer` or `unexplained`.
    pub cause: String,
    /// Relative weight in the ranking, 0 to 1.
    pub score: f64,
    /// Usual milliseconds.
    pub usual_ms: Option<f64>,
    /// Milliseconds now.
    pub now_ms: Option<f64>,
    /// Share of the extra time, 0 to 1.
    pub share: Option<f64>,
    /// When this candidate left its baseline.
    pub onset: Option<String>,
    /// Why this rank, in words.
    pub evidence: String,
}

/// A service and operation that became slower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Affected {
    /// Service.
    pub service: String,
    /// Operation.
    pub operation: String,
    /// Since when.
    pub since: String,
}

/// A state change near the onset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// `version`, `instance`, `traffic`, …
    pub kind: String,
    /// When.
    pub at: String,
    /// In words.
    pub text: String,
}

/// How many transactions are hurt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Impact {
    /// Transactions of all types that took at least a quarter longer than their steps usually do, because of the
    /// first candidate, since the onset.
    pub transactions: u64,
    /// Share of such transactions among those of the type that suffers most, 0 to 1.
    pub share: f64,
    /// Affected transactions a minute, now.
    pub per_minute: f64,
    /// Extra seconds that all of them waited together.
    pub extra_seconds: f64,
    /// Attribute values that are over-represented among those that are hurt, the surest first.
    pub who: Vec<String>,
}

/// Whether the incident reaches further.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spread {
    /// `steady`, `growing` or `shrinking`.
    pub trend: String,
}

/// What proves an incident.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// Test that was used, in words.
    pub test: String,
    /// Its statistic.
    pub statistic: f64,
    /// Value that the statistic had to pass.
    pub threshold: f64,
    /// Transactions in the window that was judged.
    pub samples: u64,
    /// Transactions in the reference.
    pub reference_samples: u64,
    /// Which reference was used, in words.
    pub reference: String,
    /// Durations of the affected type before the onset.
    pub before: Distribution,
    /// Durations of the affected type since the onset.
    pub after: Distribution,
    /// Milliseconds of extra time that no candidate explains.
    pub unexplained_ms: f64,
    /// Counts, of kinds that are about how often something goes wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateEvidence>,
    /// What the logs of its services say near the onset, the most telling first; never a reason to open it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogEvidence>,
}

/// A template of log lines that is new, surges or fell silent near the onset.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LogEvidence {
    /// Service that writes it.
    pub service: String,
    /// `fatal`, `error`, `warn`, `info`, `debug`, `trace` or `unknown`.
    pub severity: String,
    /// What like lines share, with `<*>` for each part that varies.
    pub template: String,
    /// Event name of the records.
    pub event: Option<String>,
    /// `exception.type` of the records.
    pub exception: Option<String>,
    /// `new`: never seen before; `surging`: more often than traffic explains; `silent`: not written any more.
    pub change: String,
    /// Lines before the onset.
    pub before: u64,
    /// Length of that time, seconds.
    pub before_s: i64,
    /// Lines a minute then.
    pub before_per_minute: f64,
    /// Lines since the onset, of what is new since a minute before it.
    pub now: u64,
    /// Length of that time, seconds.
    pub now_s: i64,
    /// Lines a minute in it.
    pub now_per_minute: f64,
    /// How many times as often as traffic explains; none if there were no lines before.
    pub factor: Option<f64>,
    /// Minus the decimal logarithm of the chance that nothing changed.
    pub surprise: f64,
    /// When the first line was written, as far back as was watched.
    pub first_seen: String,
    /// Lines as they were written, those of hurt transactions first.
    pub examples: Vec<LogExample>,
}

impl LogEvidence {
    /// Returns whether both are about the same template.
    pub(crate) fn is_about(&self, other: &Self) -> bool {
        let name = |one: &Self| (one.service.clone(), one.severity.clone(), one.event.clone(), one.exception.clone());
        self.template == other.template && name(self) == name(other)
    }
}

/// A log line.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LogExample {
    /// When it was written.
    pub at: String,
    /// Its beginning.
    pub text: String,
    /// Trace in which it was written, hex.
    pub trace_id: Option<String>,
    /// Span in which it was written, hex.
    pub span_id: Option<String>,
    /// Instance that wrote it.
    pub instance: Option<String>,
}

/// How often something goes wrong, now and usually.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RateEvidence {
    /// What goes wrong, in words.
    pub what: String,
    /// What it is counted among, in words.
    pub occasions: String,
    /// Occasions in the window on which it went wrong.
    pub now: u64,
    /// Occasions in the window.
    pub now_of: u64,
    /// Share now, 0 to 1.
    pub now_share: f64,
    /// Occasions before the onset on which it went wrong.
    pub usual: u64,
    /// Occasions before the onset.
    pub usual_of: u64,
    /// Usual share, 0 to 1.
    pub usual_share: f64,
    /// Length of the window, seconds.
    pub window_s: i64,
    /// Further numbers of the kind, in words.
    pub notes: Vec<String>,
    /// What else goes wrong more often than usual, in words.
    pub also: Vec<String>,
}

/// Durations of one transaction type.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Distribution {
    /// Transactions counted.
    pub count: u64,
    /// Median, milliseconds.
    pub p50_ms: f64,
    /// 95th percentile, milliseconds.
    pub p95_ms: f64,
    /// 99th percentile, milliseconds.
    pub p99_ms: f64,
    /// Counts by duration: upper bound in milliseconds and count, ascending, empty bins left out.
    pub bins: Vec<(f64, u64)>,
}

/// A transaction to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exemplar {
    /// Trace id, hex.
    pub trace_id: String,
    /// `affected` or `usual`.
    pub role: String,
    /// Milliseconds.
    pub duration_ms: f64,
}

/// Why an incident is told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentEvent {
    /// New, or reopened.
    Opened,
    /// Changed in a way that matters.
    Updated,
    /// Back to usual.
    Resolved,
}

impl IncidentEvent {
    /// Returns the webhook's event type, such as `incident.opened`.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Opened => "incident.opened",
            Self::Updated => "incident.updated",
            Self::Resolved => "incident.resolved",
        }
    }
}
