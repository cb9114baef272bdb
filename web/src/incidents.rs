//! `/incidents`: what happened, newest first; and the card by which other pages show an incident.

use analyzer::Incident;
use analyzer::incident::{IncidentStatus, RootCause, Severity};
use askama::Template;
use axum::extract::Query;
use serde::Deserialize;

use crate::format;
use crate::page::{Frame, PageResult, Shared, render};

/// An incident in a few lines.
pub(crate) struct IncidentCard {
    pub(crate) label: String,
    pub(crate) url: String,
    pub(crate) title: String,
    pub(crate) badge: Badge,
    /// RFC 3339.
    pub(crate) started_at: String,
    pub(crate) since: String,
    /// How long it lasted, or how long ago it began.
    pub(crate) age: String,
    /// Kind in words.
    pub(crate) kind: String,
    pub(crate) cause: String,
    pub(crate) hurt: String,
    /// What is compared with usual, and both values.
    pub(crate) compared: &'static str,
    pub(crate) usual: String,
    pub(crate) now: String,
}

/// A state by shape and word; the class colours both.
#[derive(Clone, Copy)]
pub(crate) struct Badge {
    pub(crate) shape: &'static str,
    pub(crate) word: &'static str,
    pub(crate) class: &'static str,
}

impl Badge {
    /// Returns how an incident is marked.
    pub(crate) fn of(incident: &Incident) -> Self {
        match (incident.status, incident.severity) {
            (IncidentStatus::Resolved, _) => Self { shape: "✓", word: "resolved", class: "good" },
            (_, Severity::Critical) => Self { shape: "▲", word: "critical", class: "bad" },
            (_, Severity::Warning) => Self { shape: "▲", word: "warning", class: "warn" },
            (_, Severity::Info) => Self { shape: "△", word: "info", class: "note" },
        }
    }
}

impl IncidentCard {
    /// Makes the card.
    pub(crate) fn new(incident: &Incident, now_ns: i64) -> Self {
        let transaction = format!("{} {}", incident.transaction.service, incident.transaction.operation);
        let (compared, usual, now) = match &incident.evidence.rate {
            Some(rate) => ("goes wrong", format::share(rate.usual_share), format::share(rate.now_share)),
            None => {
                let (before, after) = (&incident.evidence.before, &incident.evidence.after);
                ("p95", format::millis(before.p95_ms), format::millis(after.p95_ms))
            }
        };
        Self {
            label: format!("#{}", incident.number),
            url: format!("/incidents/{}", incident.number),
            title: incident.title.clone(),
            badge: Badge::of(incident),
            since: format::stated_moment(&incident.started_at),
            age: age(incident, now_ns),
            started_at: incident.started_at.clone(),
            kind: kind_words(incident),
            cause: incident.root_cause.first().map(cause_phrase).unwrap_or_default(),
            hurt: format!("{} of {transaction}", format::share(incident.impact.share)),
            compared,
            usual,
            now,
        }
    }
}

/// Returns how long ago an incident began, or how long it lasted.
pub(crate) fn age(incident: &Incident, now_ns: i64) -> String {
    let started = analyzer::time::parse_rfc3339(&incident.started_at);
    let resolved = incident.resolved_at.as_deref().and_then(analyzer::time::parse_rfc3339);
    match (started, resolved) {
        (Some(started), Some(resolved)) => format!("lasted {}", format::nanos(resolved.saturating_sub(started))),
        (Some(started), None) => format::ago(now_ns, started),
        _ => String::new(),
    }
}

/// Returns the kind of an incident, in words.
pub(crate) fn kind_words(incident: &Incident) -> String {
    incident.kind.as_str().replace('_', " ")
}

/// Returns who is the cause, in a few words.
pub(crate) fn cause_phrase(cause: &RootCause) -> String {
    let place = cause_place(cause);
    match cause.cause.as_str() {
        "network_gap" => format!("the network or connections to {place}"),
        "queue_wait" => format!("waiting in the queue to {place}"),
        "uninstrumented_peer" => format!("waiting for {place}, which sends no telemetry"),
        "unexplained" => format!("time in {place} that no span covers"),
        "retry" => format!("{place}, which callers try again and again"),
        "straggler" => format!("waiting for {place}, which is the last of several"),
        "calls" => format!("the number of calls that {place} makes"),
        _ => format!("{place} itself"),
    }
}

/// Returns service, operation and instance of a candidate.
pub(crate) fn cause_place(cause: &RootCause) -> String {
    let mut place = cause.service.clone();
    if let Some(operation) = &cause.operation {
        place.push(' ');
        place.push_str(operation);
    }
    if let Some(instance) = &cause.instance {
        place.push_str(" on ");
        place.push_str(instance);
    }
    place
}

/// The list of incidents.
#[derive(Template)]
#[template(path = "incidents.html")]
struct IncidentsPage {
    frame: Frame,
    heading: String,
    filters: Vec<Filter>,
    incidents: Vec<IncidentCard>,
}

/// A link that narrows the list.
struct Filter {
    url: String,
    label: String,
    is_current: bool,
}

/// Parameters of the list.
#[derive(Deserialize)]
pub(crate) struct Params {
    #[serde(default)]
    status: String,
    live: Option<String>,
}

/// `GET /incidents`.
pub(crate) async fn incidents(state: Shared, Query(params): Query<Params>) -> PageResult {
    let summary = state.summary.borrow().clone();
    let now_ns = (state.now_ns)();
    let wanted = match params.status.as_str() {
        "open" => Some(IncidentStatus::Open),
        "resolved" => Some(IncidentStatus::Resolved),
        _ => None,
    };
    let count = |status: IncidentStatus| summary.incidents.iter().filter(|found| found.status == status).count();
    let filter = |label: &str, url: &str, count: usize, status: Option<IncidentStatus>| Filter {
        url: url.to_owned(),
        label: format!("{label} {}", format::len(count)),
        is_current: wanted == status,
    };
    let open = count(IncidentStatus::Open);
    let here = if wanted.is_some() { format!("/incidents?status={}", params.status) } else { "/incidents".to_owned() };
    let page = IncidentsPage {
        frame: Frame::new("Incidents", "/incidents").live(&here, params.live.as_deref()),
        heading: format!("{}, {} open", format::counted(summary.incidents.len(), "incident", "incidents"), open),
        filters: vec![
            filter("all", "/incidents", summary.incidents.len(), None),
            filter("open", "/incidents?status=open", open, Some(IncidentStatus::Open)),
            filter(
                "resolved",
                "/incidents?status=resolved",
                count(IncidentStatus::Resolved),
                Some(IncidentStatus::Resolved),
            ),
        ],
        incidents: summary
            .incidents
            .iter()
            .filter(|incident| wanted.is_none_or(|status| incident.status == status))
            .map(|incident| IncidentCard::new(incident, now_ns))
            .collect(),
    };
    Ok(render(&page))
}
