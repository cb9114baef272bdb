//! What was received and refused, as plain data that the daemon fills in from the receiver's ledger,
//! and the page that answers "why do I see nothing?".

use askama::Template;
use axum::extract::Query;
use serde::{Deserialize, Serialize};

use crate::format;
use crate::incidents::Badge;
use crate::page::{Frame, PageResult, Shared, render};
use crate::state::Endpoints;

mod remedy;

/// What arrived since the start. Times are unix nanoseconds of receipt.
#[derive(Debug, Clone, Default, Serialize)]
pub struct IngestView {
    /// One entry for spans, logs and metrics each.
    pub signals: Vec<SignalView>,
    /// Who sent, most spans first; bounded by the ledger.
    pub senders: Vec<SenderView>,
    /// What was refused, rejected or cut, by sender and cause; most recent first, bounded by the ledger.
    pub refusals: Vec<Refusal>,
    /// Senders and refusals that are no longer told apart, because there were too many.
    pub forgotten: u64,
    /// How the store does.
    pub store: StoreView,
}

/// One signal's counts.
#[derive(Debug, Clone, Default, Serialize)]
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
#[derive(Debug, Clone, Default, Serialize)]
pub struct SenderView {
    /// `service.name`, or empty when unknown.
    pub service: String,
    /// How it sends: the exporter's user agent, or protocol and encoding.
    pub exporter: String,
    /// Spans accepted.
    pub spans: u64,
    /// Log records accepted.
    pub logs: u64,
    /// Metric points accepted.
    pub metrics: u64,
    /// When the last one arrived.
    pub last_ns: Option<i64>,
}

/// One cause of refusal, of one sender.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Refusal {
    /// One word, such as `content_type`: the receiver's reason for a request, or decoding's for a record.
    pub cause: String,
    /// Who sent it: the exporter's user agent; empty when it did not say.
    pub exporter: String,
    /// From which address.
    pub address: String,
    /// A service in the last such request, if it could be read.
    pub service: Option<String>,
    /// `grpc` or `http`.
    pub protocol: String,
    /// How many were refused for it.
    pub count: u64,
    /// What is counted: `requests`, `spans`, `attributes`, …
    pub unit: String,
    /// When it last happened.
    pub last_ns: Option<i64>,
    /// What the sender was told last. Never what it had sent.
    pub message: String,
}

/// How the store does.
#[derive(Debug, Clone, Default, Serialize)]
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

impl IngestView {
    /// Returns whether no sender was ever heard, not even one that was refused.
    pub(crate) fn is_empty(&self) -> bool {
        self.refusals.is_empty() && self.signals.iter().all(|signal| signal.accepted == 0 && signal.rejected == 0)
    }
}

/// Lines to copy into the environment of a program that exports.
pub(crate) struct Setup {
    pub(crate) choices: Vec<SetupChoice>,
}

/// Lines for one protocol.
pub(crate) struct SetupChoice {
    pub(crate) label: String,
    pub(crate) lines: String,
}

impl Setup {
    /// Makes the lines for those receivers that are switched on.
    pub(crate) fn new(endpoints: &Endpoints) -> Self {
        let choice = |label: &str, endpoint: &str, protocol: &str| SetupChoice {
            label: label.to_owned(),
            lines: format!(
                "export OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}\nexport OTEL_EXPORTER_OTLP_PROTOCOL={protocol}\n\
                 export OTEL_SERVICE_NAME=my-service"
            ),
        };
        let grpc = endpoints.grpc.as_deref().map(|endpoint| choice("OTLP over gRPC", endpoint, "grpc"));
        let http = endpoints.http.as_deref().map(|endpoint| choice("OTLP over HTTP", endpoint, "http/protobuf"));
        Self { choices: grpc.into_iter().chain(http).collect() }
    }
}

/// The page.
#[derive(Template)]
#[template(path = "ingest.html")]
struct IngestPage {
    frame: Frame,
    heading: String,
    setup: Setup,
    signals: Vec<SignalLine>,
    senders: Vec<SenderLine>,
    senders_left_out: Option<String>,
    refusals: Vec<RefusalLine>,
    refusals_left_out: Option<String>,
    forgotten: Option<String>,
    store: Vec<(&'static str, String)>,
    problem: Option<String>,
    at_bounds: Vec<(String, String)>,
}

struct SignalLine {
    name: String,
    badge: Badge,
    accepted: String,
    per_second: String,
    rejected: String,
    has_rejected: bool,
    last: String,
}

struct SenderLine {
    service: String,
    exporter: String,
    spans: String,
    logs: String,
    metrics: String,
    last: String,
}

struct RefusalLine {
    sender: String,
    address: String,
    service: Option<String>,
    cause: String,
    protocol: String,
    count: String,
    last: String,
    message: String,
    meaning: &'static str,
    remedy: &'static str,
}

/// Parameters of the page.
#[derive(Deserialize)]
pub(crate) struct Params {
    live: Option<String>,
}

/// Senders shown.
const SENDERS_SHOWN_MAX: usize = 200;
/// Refusals shown.
const REFUSALS_SHOWN_MAX: usize = 100;

/// `GET /ingest`.
pub(crate) async fn ingest(state: Shared, Query(params): Query<Params>) -> PageResult {
    let view = (state.ingest)();
    let summary = state.summary.borrow().clone();
    let now_ns = (state.now_ns)();
    let left_out = view.senders.len().saturating_sub(SENDERS_SHOWN_MAX);
    let refused_left_out = view.refusals.len().saturating_sub(REFUSALS_SHOWN_MAX);
    let at_bounds = summary.at_bounds.iter().filter(|(_, count)| *count > 0);
    Ok(render(&IngestPage {
        frame: Frame::new("Ingest", "/ingest").live("/ingest", params.live.as_deref()),
        heading: heading(&view),
        setup: Setup::new(&state.endpoints),
        signals: view.signals.iter().map(|signal| signal_line(signal, now_ns)).collect(),
        senders: view.senders.iter().take(SENDERS_SHOWN_MAX).map(|sender| sender_line(sender, now_ns)).collect(),
        senders_left_out: (left_out > 0).then(|| format::counted(left_out, "more sender", "more senders")),
        refusals: view.refusals.iter().take(REFUSALS_SHOWN_MAX).map(|one| refusal_line(one, now_ns)).collect(),
        refusals_left_out: (refused_left_out > 0).then(|| format::counted(refused_left_out, "more", "more")),
        forgotten: (view.forgotten > 0)
            .then(|| format!("{} earlier ones were forgotten: there were too many", format::count(view.forgotten))),
        store: store_facts(&view.store, &summary),
        problem: view.store.problem,
        at_bounds: at_bounds.map(|(name, count)| (name.replace('_', " "), format::count(*count))).collect(),
    }))
}

fn heading(view: &IngestView) -> String {
    let is_receiving = view.signals.iter().any(|signal| signal.per_second > 0.0);
    let services = view.senders.len();
    match () {
        () if view.is_empty() => "Nothing received yet".to_owned(),
        () if view.store.problem.is_some() => "Receiving is held up".to_owned(),
        () if view.signals.iter().all(|signal| signal.accepted == 0) => "Everything sent so far was refused".to_owned(),
        () if is_receiving => format!("Receiving from {}", format::counted(services, "sender", "senders")),
        () => "Nothing is arriving now".to_owned(),
    }
}

fn last(last_ns: Option<i64>, now_ns: i64) -> String {
    last_ns.map_or_else(|| "never".to_owned(), |at| format::ago(now_ns, at))
}

fn signal_line(signal: &SignalView, now_ns: i64) -> SignalLine {
    let badge = match signal.accepted {
        0 => Badge { shape: "○", word: "none yet", class: "quiet" },
        _ if signal.per_second > 0.0 => Badge { shape: "●", word: "arriving", class: "good" },
        _ => Badge { shape: "◌", word: "paused", class: "warn" },
    };
    SignalLine {
        name: signal.signal.clone(),
        badge,
        accepted: format::count(signal.accepted),
        per_second: format::rate(signal.per_second),
        rejected: format::count(signal.rejected),
        has_rejected: signal.rejected > 0,
        last: last(signal.last_ns, now_ns),
    }
}

fn sender_line(sender: &SenderView, now_ns: i64) -> SenderLine {
    SenderLine {
        service: if sender.service.is_empty() { "(no service.name)".to_owned() } else { sender.service.clone() },
        exporter: sender.exporter.clone(),
        spans: format::count(sender.spans),
        logs: format::count(sender.logs),
        metrics: format::count(sender.metrics),
        last: last(sender.last_ns, now_ns),
    }
}

fn refusal_line(refusal: &Refusal, now_ns: i64) -> RefusalLine {
    let (meaning, remedy) = remedy::of(&refusal.cause);
    let sender = if refusal.exporter.is_empty() { "(no user agent)" } else { &refusal.exporter };
    RefusalLine {
        sender: sender.to_owned(),
        address: refusal.address.clone(),
        service: refusal.service.clone(),
        cause: refusal.cause.replace('_', " "),
        protocol: refusal.protocol.clone(),
        count: format!("{} {}", format::count(refusal.count), refusal.unit),
        last: last(refusal.last_ns, now_ns),
        message: refusal.message.clone(),
        meaning,
        remedy,
    }
}

fn store_facts(store: &StoreView, summary: &analyzer::Summary) -> Vec<(&'static str, String)> {
    let mut facts = vec![(
        "on disk",
        match store.bytes_max {
            Some(max) => format!("{} of {}", format::bytes(store.bytes), format::bytes(max)),
            None => format::bytes(store.bytes),
        },
    )];
    facts.extend(store.oldest_ns.map(|oldest| ("oldest record", format::moment(oldest))));
    facts.push(("queue in use", format::share(store.queue_share)));
    facts.push(("spans analysed", format::count(summary.spans)));
    facts.push(("transactions closed", format::count(summary.transactions)));
    facts.push(("waiting for spans", format::len(summary.open_transactions)));
    facts
}
