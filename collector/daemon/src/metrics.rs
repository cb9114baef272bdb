//! Turns the daemon's numbers into Prometheus text (exposition format 0.0.4), for `/metrics`.
//! Called by `views`, which collects the numbers from their owners. docs/metrics.md explains each of them.
//! Keeps no registry and no state: a number has one owner, and it is not here.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use analyzer::Summary;
use collector_receiver::LedgerSnapshot;
use collector_store::StoreStats;

use crate::analysis::TellingCounts;
use crate::memory::Memory;

mod analysis;
mod process;
mod receiver;
mod store;

/// `content-type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the daemon runs; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples carry the suffixes `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// A number with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Appended to the metric's name; empty unless the metric is a histogram.
    pub suffix: &'static str,
    /// Label names and values; values may be anything, also hostile.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

/// A metric and its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Such as `throughline_received_spans_total`.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// One for each combination of labels; none prints nothing.
    pub samples: Vec<Sample>,
}

impl Sample {
    /// Returns a sample without labels.
    pub fn of(value: f64) -> Self {
        Self { suffix: "", labels: Vec::new(), value }
    }

    /// Returns the sample with one more label.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((name, value.into()));
        self
    }
}

/// Everything that is shown, at one moment.
pub(crate) struct Numbers<'a> {
    pub(crate) ledger: LedgerSnapshot,
    pub(crate) store: StoreStats,
    pub(crate) summary: Arc<Summary>,
    /// Time from commit to analysis of what was analysed last.
    pub(crate) lag: Duration,
    pub(crate) telling: &'a TellingCounts,
    pub(crate) memory: &'a Memory,
    /// Deliveries of webhooks that wait; nothing while the state does not say.
    pub(crate) outbox_pending: Option<u64>,
    /// Bounds by name, bytes.
    pub(crate) limits: &'a [(&'static str, u64)],
}

/// Returns every metric there is.
pub(crate) fn all(numbers: &Numbers<'_>) -> Vec<Metric> {
    let mut metrics = receiver::metrics(&numbers.ledger);
    metrics.extend(store::metrics(&numbers.store));
    metrics.extend(analysis::metrics(&numbers.summary, numbers.lag, numbers.telling));
    metrics.extend(process::metrics(numbers));
    metrics
}

impl Metric {
    /// Returns a metric of one number without labels.
    pub fn single(kind: Kind, name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, kind, samples: vec![Sample::of(value)] }
    }

    fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::single(Kind::Counter, name, help, value as f64)
    }

    fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::single(Kind::Gauge, name, help, value as f64)
    }

    fn counters(name: &'static str, help: &'static str, samples: impl IntoIterator<Item = Sample>) -> Self {
        Self { name, help, kind: Kind::Counter, samples: samples.into_iter().collect() }
    }

    fn gauges(name: &'static str, help: &'static str, samples: impl IntoIterator<Item = Sample>) -> Self {
        Self { name, help, kind: Kind::Gauge, samples: samples.into_iter().collect() }
    }
}

/// Returns the metrics as Prometheus text, in the order given.
pub fn render(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for metric in metrics.iter().filter(|metric| !metric.samples.is_empty()) {
        let name = metric.name;
        let _ = writeln!(text, "# HELP {name} {}", escape_help(metric.help));
        let _ = writeln!(text, "# TYPE {name} {}", metric.kind.as_str());
        for sample in &metric.samples {
            let labels = render_labels(&sample.labels);
            let _ = writeln!(text, "{name}{}{labels} {}", sample.suffix, render_value(sample.value));
        }
    }
    text
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

fn render_labels(labels: &[(&'static str, String)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape_label(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

/// Prometheus spells the special numbers in its own way.
fn render_value(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

fn escape_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn escape_label(text: &str) -> String {
    escape_help(text).replace('"', "\\\"")
}

#[cfg(test)]
mod tests;
