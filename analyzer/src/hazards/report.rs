//! What the register tells: one entry a hop, and one a transaction type. Made by the register; shown by pages, the API
//! and SQL, so names of fields are a contract.

use serde::Serialize;

use super::breaker::BreakerKind;
use super::retry::Backoff;

/// The whole register at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HazardReport {
    /// Event time of the last transaction, unix nanoseconds; 0 before the first.
    #[serde(skip)]
    pub as_of_ns: i64,
    /// Start of the time that counts are about, unix nanoseconds.
    #[serde(skip)]
    pub since_ns: i64,
    /// Hops, those that endanger most first.
    pub hops: Vec<HopHazards>,
    /// Transaction types, those with the most transactions first.
    pub chains: Vec<Chain>,
    /// Calls, executions and transactions that were left out at bounds.
    pub left_out: u64,
}

/// One hop and what protects it.
#[derive(Debug, Clone, Serialize)]
pub struct HopHazards {
    /// Hash of the names; stays the same over restarts.
    pub id: String,
    /// Service that calls.
    pub caller_service: String,
    /// Operation of that service within which it calls.
    pub caller_operation: String,
    /// Name of the call itself: the client or producer span.
    pub call: String,
    /// Service that is called, or the peer's address or system.
    pub callee_service: String,
    /// Operation that is called, or the call's name again.
    pub callee_operation: String,
    /// `call`, `database` or `message`.
    pub kind: &'static str,
    /// Whether the called one sends telemetry.
    pub instrumented: bool,
    /// Logical calls: attempts of one are one.
    pub calls: u32,
    /// Logical calls a minute.
    pub per_minute: f64,
    /// Whether there are too few calls to tell anything.
    #[serde(rename = "too_few_calls")]
    pub is_too_few: bool,
    /// When it was seen last, unix nanoseconds; RFC 3339 as JSON.
    #[serde(rename = "last_seen", serialize_with = "as_time")]
    pub last_seen_ns: i64,
    /// Timeout in force.
    pub timeout: TimeoutSeen,
    /// How calls are tried again.
    pub retries: RetriesSeen,
    /// Times in which the caller kept from calling.
    pub breaker: BreakerSeen,
    /// What becomes of the caller when the hop fails.
    pub fallback: FallbackSeen,
    /// What tells a repetition.
    pub idempotency: IdempotencySeen,
    /// How many synchronous hops stand above and below.
    pub depth: Depth,
    /// How many calls succeed.
    pub availability: Availability,
    /// What is dangerous about it, the worst first.
    pub findings: Vec<Finding>,
    /// Calls a minute that the worst finding endangers.
    pub endangered_per_minute: f64,
    /// Traces that show it.
    pub examples: Vec<Example>,
}

/// What is known of a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutState {
    /// Calls are cut off after the same time.
    CutOff,
    /// Nothing was cut off.
    NoneSeen,
    /// Too few calls to tell.
    TooFewCalls,
    /// Nobody waits for a message.
    NotApplicable,
}

/// The timeout in force.
#[derive(Debug, Clone, Serialize)]
pub struct TimeoutSeen {
    /// What is known.
    pub state: TimeoutState,
    /// Where calls are cut off, milliseconds.
    pub value_ms: Option<f64>,
    /// Calls cut off, of the latest failures.
    pub cut_off: u32,
    /// Whether the other side confirms it; otherwise durations alone tell.
    #[serde(rename = "sure")]
    pub is_sure: bool,
    /// Longest attempt, milliseconds.
    pub longest_ms: Option<f64>,
    /// Median of attempts that succeeded, milliseconds.
    pub usual_ms: Option<f64>,
    /// Attempts that were looked at.
    pub attempts: u64,
    /// Calls on which the called one worked on after the caller had given up.
    pub worked_on: u32,
}

/// How calls are tried again.
#[derive(Debug, Clone, Serialize)]
pub struct RetriesSeen {
    /// Logical calls that were tried again.
    pub retried: u32,
    /// Of those, the ones that succeeded in the end.
    pub succeeded: u32,
    /// Attempts of one logical call at most.
    pub attempts_max: u32,
    /// Attempts a logical call.
    pub attempts_mean: f64,
    /// What the pauses follow.
    pub backoff: Backoff,
    /// Whether chance varies the pauses.
    #[serde(rename = "jittered")]
    pub is_jittered: bool,
    /// Factor from pause to pause.
    pub growth: Option<f64>,
    /// Median of each pause, milliseconds.
    pub pauses_ms: Vec<f64>,
}

/// Times in which the caller kept from calling after failures.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BreakerSeen {
    /// The latest, oldest first.
    pub periods: Vec<BreakerPeriod>,
}

/// One such time.
#[derive(Debug, Clone, Serialize)]
pub struct BreakerPeriod {
    /// How it kept from calling.
    pub kind: BreakerKind,
    /// RFC 3339.
    pub from: String,
    /// RFC 3339; none while it goes on.
    pub to: Option<String>,
    /// How long it took so far.
    pub seconds: f64,
    /// Executions without the call, or calls that were rejected.
    pub missed: u64,
}

/// What becomes of a caller whose call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reliance {
    /// Too few calls failed.
    Unknown,
    /// The caller fails with it.
    Critical,
    /// The caller succeeds now and then.
    Partly,
    /// The caller succeeds without it.
    Optional,
}

/// Fallbacks and partial answers.
#[derive(Debug, Clone, Serialize)]
pub struct FallbackSeen {
    /// What becomes of the caller.
    pub reliance: Reliance,
    /// Failed calls within work whose outcome is known.
    pub failed: u32,
    /// Of those, the ones after which the caller succeeded.
    pub answered_anyway: u32,
}

/// What tells a repetition from another call.
#[derive(Debug, Clone, Serialize)]
pub struct IdempotencySeen {
    /// Attribute that does.
    pub attribute: Option<String>,
    /// Share of calls that carry it, 0 to 1.
    pub share: f64,
    /// Calls whose method says that repeating them may do the work twice, and that were tried again.
    pub unsafe_retried: u32,
    /// Of those, the ones that carry it.
    pub unsafe_retried_with_key: u32,
}

/// Synchronous hops.
#[derive(Debug, Clone, Serialize)]
pub struct Depth {
    /// From the root to this one, this one included, mostly.
    pub usual: u32,
    /// At most.
    pub max: u32,
    /// Longest chain below this one, mostly.
    pub below: u32,
    /// At most.
    pub below_max: u32,
}

/// How many calls succeed.
#[derive(Debug, Clone, Serialize)]
pub struct Availability {
    /// Logical calls that failed.
    pub failed: u32,
    /// Share that succeeds; none without calls.
    pub share: Option<f64>,
    /// Bounds of what the share may be, 95 of 100 times (Wilson).
    pub low: f64,
    /// See `low`.
    pub high: f64,
    /// Share that does not fail by itself: calls that failed after another one below them are not counted as failed.
    pub by_itself: Option<f64>,
}

/// What is dangerous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A call ran on for long, and nothing cut it off.
    NoTimeout,
    /// The called one works for callers that gave up.
    WorksOn,
    /// It waits longer than its own caller waits for it.
    OutwaitsCaller,
    /// What must not be done twice is tried again, and nothing tells the repetition.
    RetriesWithoutKey,
    /// Retries multiply along a chain.
    RetriesAtSeveralLayers,
    /// Attempts follow each other without a pause.
    ImmediateRetries,
    /// Many services wait for one another.
    DeepChain,
    /// Its caller fails with it.
    NoFallback,
}

/// One thing that is dangerous, with the numbers that prove it.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Kind.
    pub kind: FindingKind,
    /// One sentence.
    pub text: String,
    /// Calls a minute that it endangers.
    pub endangered_per_minute: f64,
}

/// A trace that shows something.
#[derive(Debug, Clone, Serialize)]
pub struct Example {
    /// `cut_off`, `worked_on`, `retried`, `answered_anyway` or `failed`.
    pub role: &'static str,
    /// Id.
    pub trace_id: String,
}

/// The availability of all that a transaction type needs.
#[derive(Debug, Clone, Serialize)]
pub struct Chain {
    /// Service of the root.
    pub service: String,
    /// Operation of the root.
    pub operation: String,
    /// Transactions.
    pub transactions: u32,
    /// Share that succeeds if every hop is needed and none helps another: the product of the root's own share and of
    /// each hop's to the power of its calls.
    pub product: f64,
    /// Share that does succeed.
    pub observed: f64,
    /// Bounds of that, 95 of 100 times (Wilson).
    pub observed_low: f64,
    /// See `observed_low`.
    pub observed_high: f64,
    /// Share that does not fail by itself.
    pub by_itself: f64,
    /// Longest chain of synchronous hops, mostly.
    pub depth: u32,
    /// Its synchronous hops, those that cost most first.
    pub hops: Vec<ChainHop>,
}

/// A hop of a chain.
#[derive(Debug, Clone, Serialize)]
pub struct ChainHop {
    /// Id in the register.
    pub id: String,
    /// Service that calls.
    pub caller_service: String,
    /// Service that is called, or the peer.
    pub callee_service: String,
    /// Operation that is called.
    pub callee_operation: String,
    /// Calls a transaction.
    pub calls_per_transaction: f64,
    /// Share of its calls that do not fail by themselves.
    pub by_itself: f64,
    /// What it contributes to the product.
    pub factor: f64,
}

fn as_time<S: serde::Serializer>(ns: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::time::rfc3339(*ns))
}
