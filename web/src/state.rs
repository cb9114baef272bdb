//! Everything the pages need from the daemon, in one value. Filled in once, before the port is bound.

use std::sync::Arc;

use analyzer::stitch::StitcherLimits;
use analyzer::{Incident, Summary};
use collector_table::SpanTable;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::{Backtest, IngestView, Source, Webhooks};

/// Writes spans as OTLP/JSON.
pub type OtlpJson = Arc<dyn Fn(&[SpanTable]) -> serde_json::Value + Send + Sync>;

/// What became of an incident that was called no problem.
#[derive(Debug)]
pub enum Dismissal {
    /// It is closed; how it is now.
    Closed(Box<Incident>),
    /// It was not open any more.
    NotOpen,
    /// The analysis does not answer now.
    Unavailable,
}

/// Closes an open incident, by number, as no problem.
pub type Dismiss = Arc<dyn Fn(u64) -> BoxFuture<'static, Dismissal> + Send + Sync>;

/// What the daemon hands to [`crate::router`].
pub struct State {
    /// Stored spans, logs and transactions.
    pub source: Arc<dyn Source>,
    /// Latest snapshot of what is watched.
    pub summary: watch::Receiver<Arc<Summary>>,
    /// Returns what was received and refused so far; called once a page, must not block.
    pub ingest: Arc<dyn Fn() -> IngestView + Send + Sync>,
    /// Closes incidents that are no problem.
    pub dismiss: Dismiss,
    /// False incidents a week that are tolerated.
    pub false_alarms_per_week: f64,
    /// Says what another such budget would have told.
    pub backtest: Backtest,
    /// Webhook targets and their deliveries.
    pub webhooks: Arc<dyn Webhooks>,
    /// Returns the daemon's own metrics in the Prometheus text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Returns nothing when requests can be served, or why they cannot.
    pub ready: Arc<dyn Fn() -> Result<(), Vec<String>> + Send + Sync>,
    /// Writes spans as an OTLP/JSON `ExportTraceServiceRequest`.
    pub otlp_json: OtlpJson,
    /// How traces are joined: a page stitches one transaction as the analysis does.
    pub stitching: StitcherLimits,
    /// Returns the time in unix nanoseconds: only the daemon reads the clock.
    pub now_ns: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Effective configuration, secrets already masked.
    pub settings: Vec<Setting>,
    /// Where exporters and browsers reach the daemon.
    pub endpoints: Endpoints,
    /// Names, without a port, by which these pages may be reached besides `localhost` and addresses. Without this check
    /// a foreign page could point its own name at the daemon (DNS rebinding) and read everything.
    pub allowed_hosts: Vec<String>,
}

/// One configured value.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Key with dots, such as `receivers.otlp.protocols.grpc.endpoint`.
    pub key: String,
    /// Value as text; secrets are `set` or `not set`.
    pub value: String,
    /// Where it came from: `default`, a file and line, a variable, or a flag.
    pub origin: String,
}

/// Addresses as other programs should use them.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Such as `http://127.0.0.1:4317`; none when the receiver is switched off.
    pub grpc: Option<String>,
    /// Such as `http://127.0.0.1:4318`; none when the receiver is switched off.
    pub http: Option<String>,
    /// Such as `http://127.0.0.1:8317`, without a slash at the end.
    pub public_url: String,
}
