//! The daemon's own voice: log lines, traces when the environment asks for them, and the one place where an error and its
//! causes become text.
//! Called by the command line before anything runs, and wherever an error stops.
//! Must never print a secret: what is logged is written by others, who mask.

use std::error::Error;
use std::fmt::Write as _;
use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use traces::Traces;

mod traces;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged when `RUST_LOG` does not say: our own progress, and only the trouble of others.
const FILTER_DEFAULT: &str = "warn,throughline=info";

/// Causes printed at most, so that a cycle of sources cannot print for ever.
const CAUSES_MAX: usize = 16;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` is not a filter.
    #[error("reading the filter RUST_LOG")]
    Filter(#[source] Box<dyn Error + Send + Sync>),
    /// What the `OTEL_…` variables ask for cannot be done.
    #[error("setting up the daemon's own traces")]
    Traces(#[source] Box<dyn Error + Send + Sync>),
    /// It was set up before.
    #[error("installing the log subscriber")]
    Install(#[source] Box<dyn Error + Send + Sync>),
}

/// What is held while the daemon runs; traces that wait are sent when it is dropped.
#[must_use = "traces end when it is dropped"]
pub struct Telemetry {
    _traces: Option<Traces>,
}

/// Sends log lines to standard error from now on, filtered by `RUST_LOG`, and traces as `OTEL_…` variables say.
///
/// # Errors
/// When `RUST_LOG` is not a filter, the variables ask for what is not offered, or logging was set up before.
pub fn init(format: LogFormat) -> Result<Telemetry, TelemetryError> {
    let written = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = EnvFilter::builder()
        .parse(if written.is_empty() { FILTER_DEFAULT } else { &written })
        .map_err(|cause| TelemetryError::Filter(cause.into()))?;
    // Spans are for traces. When nobody wants those either, a span costs no more than a look at a flag.
    let filter = traces::TARGETS.iter().fold(filter, |filter, target| {
        filter.add_directive(format!("{target}=off").parse().expect("a target and a level are a directive"))
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let traces = Traces::from_env(|name| std::env::var(name).ok()).map_err(TelemetryError::Traces)?;
    let layer = traces.as_ref().map(Traces::layer);
    let installed = tracing_subscriber::registry().with(lines).with(layer).try_init();
    installed.map_err(|cause| TelemetryError::Install(cause.into()))?;
    Ok(Telemetry { _traces: traces })
}

/// Returns an error and everything that caused it, outermost first, joined by `: `.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(next) = cause else { break };
        let _ = write!(text, ": {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("opening the store")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = Outer(std::io::Error::other("disk is gone"));
        assert_eq!(error_chain(&error), "opening the store: disk is gone");
    }
}
