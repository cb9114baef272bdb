//! The daemon's own voice: log lines, and the one place where an error and its causes become text.
//! Called by the command line before anything runs, and wherever an error stops.
//! Must never print a secret: what is logged is written by others, who mask.

use std::error::Error;
use std::fmt::Write as _;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

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
    /// It was set up before.
    #[error("installing the log subscriber")]
    Install(#[source] Box<dyn Error + Send + Sync>),
}

/// Sends log lines to standard error from now on, filtered by `RUST_LOG`.
///
/// # Errors
/// When `RUST_LOG` is not a filter, or logging was set up before.
pub fn init(format: LogFormat) -> Result<(), TelemetryError> {
    let written = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = EnvFilter::builder()
        .parse(if written.is_empty() { FILTER_DEFAULT } else { &written })
        .map_err(|cause| TelemetryError::Filter(cause.into()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(TelemetryError::Install)
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
