//! What all pages share: the frame around them, rendering, and the period of time that they are about.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::assets::{URLS, Urls};
use crate::error::PageError;
use crate::source::SourceError;
use crate::{State, text};

/// The daemon's state, as handlers receive it.
pub(crate) type Shared = axum::extract::State<Arc<State>>;

/// Answer of a page's handler.
pub(crate) type PageResult = Result<Response, PageError>;

/// One entry of the navigation.
pub(crate) struct NavEntry {
    pub(crate) url: &'static str,
    pub(crate) label: &'static str,
    pub(crate) is_current: bool,
}

const NAV: [(&str, &str); 12] = [
    ("/", "Overview"),
    ("/incidents", "Incidents"),
    ("/rules", "Rules"),
    ("/tx", "Types"),
    ("/search", "Search"),
    ("/map", "Map"),
    ("/hazards", "Hazards"),
    ("/logs", "Logs"),
    ("/sql", "SQL"),
    ("/ingest", "Ingest"),
    ("/webhooks", "Webhooks"),
    ("/settings", "Settings"),
];

/// What stands around every page.
pub(crate) struct Frame {
    pub(crate) title: String,
    pub(crate) nav: Vec<NavEntry>,
    pub(crate) urls: &'static Urls,
    /// Text in the search box.
    pub(crate) query: String,
    /// Seconds between refreshes of a page that is live; the script and, without it, the browser do it.
    pub(crate) live_seconds: Option<u32>,
    /// Address of the same page with the refresh switched off or on; empty when it is not a live page.
    pub(crate) live_switch_url: String,
}

/// Seconds between refreshes of live pages.
const LIVE_SECONDS: u32 = 5;

impl Frame {
    /// Makes the frame of a page; `current` is the navigation entry it belongs to.
    pub(crate) fn new(title: &str, current: &str) -> Self {
        Self {
            title: title.to_owned(),
            nav: NAV.map(|(url, label)| NavEntry { url, label, is_current: url == current }).into(),
            urls: &URLS,
            query: String::new(),
            live_seconds: None,
            live_switch_url: String::new(),
        }
    }

    /// Makes the page refresh itself unless its address says `live=0`.
    pub(crate) fn live(mut self, path: &str, live: Option<&str>) -> Self {
        let is_live = live != Some("0");
        self.live_seconds = is_live.then_some(LIVE_SECONDS);
        self.live_switch_url = text::url_with(path, &[("live", if is_live { "0" } else { "1" })]);
        self
    }

    /// Puts text into the search box.
    pub(crate) fn with_query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }
}

/// Renders a template as a page.
pub(crate) fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a template could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Runs what keeps a core busy away from the threads that receive spans.
pub(crate) async fn on_blocking_thread<E: From<SourceError> + Send + 'static>(
    work: impl FnOnce() -> Result<Response, E> + Send + 'static,
) -> Result<Response, E> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(SourceError::Unavailable(Box::new(error)).into()))
}

/// Returns plain text, for pages' `.txt` twins.
pub(crate) fn plain(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// Returns CSV as a download.
pub(crate) fn csv(text: impl Into<Body>, name: &str) -> Response {
    let disposition = format!("attachment; filename=\"{name}.csv\"");
    let headers =
        [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    (headers, text.into()).into_response()
}

/// Returns JSON that is already written.
pub(crate) fn json(text: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// A span of time that a list is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Period {
    /// Unix nanoseconds, inclusive.
    pub(crate) from_ns: i64,
    /// Unix nanoseconds, exclusive.
    pub(crate) to_ns: i64,
    /// The relative form, such as `1h`; empty when from and to were given.
    pub(crate) relative: String,
}

/// Periods that the select offers.
pub(crate) const PERIODS: [(&str, &str); 6] = [
    ("15m", "last 15 minutes"),
    ("1h", "last hour"),
    ("6h", "last 6 hours"),
    ("24h", "last 24 hours"),
    ("7d", "last 7 days"),
    ("30d", "last 30 days"),
];

impl Period {
    /// Reads `t=1h`, or `from=` and `to=` in RFC 3339. Nothing given is the last hour; records a little ahead of our
    /// clock are included.
    pub(crate) fn read(now_ns: i64, relative: &str, from: &str, to: &str) -> Result<Self, PageError> {
        let bad = |value: &str| {
            PageError::BadRequest(format!("“{value}” is not a time: use t=1h, or from and to as 2026-11-21T12:00:00Z"))
        };
        let time = |value: &str| analyzer::time::parse_rfc3339(value).ok_or_else(|| bad(value));
        if !from.is_empty() || !to.is_empty() {
            let to_ns = if to.is_empty() { ahead(now_ns) } else { time(to)? };
            let from_ns = if from.is_empty() { 0 } else { time(from)? };
            return Ok(Self { from_ns, to_ns, relative: String::new() });
        }
        let relative = if relative.is_empty() { "1h" } else { relative };
        let length_ns = relative_ns(relative).ok_or_else(|| bad(relative))?;
        Ok(Self { from_ns: now_ns.saturating_sub(length_ns), to_ns: ahead(now_ns), relative: relative.to_owned() })
    }
}

/// Senders' clocks may run this far ahead of ours, nanoseconds.
const CLOCK_AHEAD_NS: i64 = 60_000_000_000;

fn ahead(now_ns: i64) -> i64 {
    now_ns.saturating_add(CLOCK_AHEAD_NS)
}

fn relative_ns(text: &str) -> Option<i64> {
    let digits_end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let amount: i64 = text[..digits_end].parse().ok()?;
    let seconds = match &text[digits_end..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    amount.checked_mul(seconds)?.checked_mul(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000_000;

    #[test]
    fn a_period_is_relative_or_between_two_times() {
        let hour = Period::read(NOW, "", "", "").unwrap();
        assert_eq!((NOW - hour.from_ns, hour.relative.as_str()), (3_600_000_000_000, "1h"));
        let fixed = Period::read(NOW, "1h", "2023-11-14T22:00:00Z", "2023-11-14T22:10:00Z").unwrap();
        assert_eq!(fixed.to_ns - fixed.from_ns, 600_000_000_000);
        for wrong in ["1", "h", "1y", "-1h", "99999999999999999999d", "9999999999d", "é"] {
            assert!(Period::read(NOW, wrong, "", "").is_err(), "{wrong}");
        }
        assert!(Period::read(NOW, "", "yesterday", "").is_err());
    }
}
