//! What was received and refused, as plain data that the daemon fills in from the receiver's ledger,
//! and the page that answers "why do I see nothing?".

/// What arrived since the start. Times are unix nanoseconds of receipt.
#[derive(Debug, Clone, Default)]
pub struct IngestView {
    /// One entry for spans, logs and metrics each.
    pub signals: Vec<SignalView>,
    /// Who sent, most spans first; bounded by the ledger.
    pub senders: Vec<SenderView>,
    /// What was refused or dropped, by cause; most recent first.
    pub refusals: Vec<Refusal>,
    /// How the store does.
    pub store: StoreView,
}

/// One signal's counts.
#[derive(Debug, Clone, Default)]
pub struct SignalView {
    /// `spans`, `logs` or `metrics`.
    pub signal: String,
    /// Records accepted since the start.
    pub accepted: u64,
    /// Records rejected since the start.
    pub rejected: u64,
    /// Records accepted a second, lately.
    pub per_second: f64,
    /// When the last one arrived.
    pub last_ns: Option<i64>,
}

/// One sender.
#[derive(Debug, Clone, Default)]
pub struct SenderView {
    /// `service.name`, or empty when unknown.
    pub service: String,
    /// `service.version`.
    pub version: Option<String>,
    /// SDK's language and version.
    pub sdk: Option<String>,
    /// Such as `gRPC gzip` or `HTTP json`.
    pub protocol: String,
    /// Spans accepted.
    pub spans: u64,
    /// Log records accepted.
    pub logs: u64,
    /// Metric points accepted.
    pub metrics: u64,
    /// When the last one arrived.
    pub last_ns: Option<i64>,
}

/// One cause of refusal.
#[derive(Debug, Clone, Default)]
pub struct Refusal {
    /// One word, such as `unsupported_content_type`.
    pub cause: String,
    /// Such as `gRPC` or `HTTP`.
    pub protocol: String,
    /// Requests or records refused for it.
    pub count: u64,
    /// When it last happened.
    pub last_ns: Option<i64>,
    /// One example in words: who, what was wrong with it.
    pub example: Option<String>,
}

/// How the store does.
#[derive(Debug, Clone, Default)]
pub struct StoreView {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes it may use.
    pub bytes_max: Option<u64>,
    /// Event time of the oldest row.
    pub oldest_ns: Option<i64>,
    /// Share of the receiving queue in use, 0 to 1.
    pub queue_share: f64,
    /// What is wrong with it now, in words; empty when all is well.
    pub problem: Option<String>,
}
