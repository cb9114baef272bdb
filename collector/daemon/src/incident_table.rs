//! The `incidents` table for SQL: the incidents that are known, one row each, replaced as a whole when one changes.

use analyzer::incident::{Incident, IncidentStatus, RootCause, Severity};
use analyzer::time::parse_rfc3339;
use arrow::array::{ArrayRef, RecordBatch};

use crate::columns::{self, word};

/// Name in SQL.
pub(crate) const INCIDENTS: &str = "incidents";

/// Returns one row an incident, in the order given; `json` is the whole incident.
pub(crate) fn rows(incidents: &[Incident]) -> RecordBatch {
    let text = |of: &dyn Fn(&Incident) -> Option<String>| columns::text(incidents, of);
    let time = |of: &dyn Fn(&Incident) -> Option<i64>| columns::time(incidents, of);
    let cause = |of: fn(&RootCause) -> Option<String>| text(&move |incident| incident.root_cause.first().and_then(of));
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("number", columns::count(incidents, |incident| Some(incident.number)), false),
        ("id", text(&|incident| Some(incident.id.clone())), false),
        ("kind", text(&|incident| word(&incident.kind)), false),
        ("status", text(&|incident| Some(status(incident.status).to_owned())), false),
        ("severity", text(&|incident| Some(severity(incident.severity).to_owned())), false),
        ("title", text(&|incident| Some(incident.title.clone())), false),
        ("summary", text(&|incident| Some(incident.summary.clone())), false),
        ("started_at", time(&|incident| parse_rfc3339(&incident.started_at)), true),
        ("detected_at", time(&|incident| parse_rfc3339(&incident.detected_at)), true),
        ("resolved_at", time(&|incident| incident.resolved_at.as_deref().and_then(parse_rfc3339)), true),
        ("transaction_service", text(&|incident| Some(incident.transaction.service.clone())), false),
        ("transaction_operation", text(&|incident| Some(incident.transaction.operation.clone())), false),
        ("root_cause_service", cause(|cause| Some(cause.service.clone())), true),
        ("root_cause_operation", cause(|cause| cause.operation.clone()), true),
        ("root_cause", cause(|cause| Some(cause.cause.clone())), true),
        ("hurt_transactions", columns::count(incidents, |incident| Some(incident.impact.transactions)), false),
        ("hurt_share", columns::number(incidents, |incident| Some(incident.impact.share)), false),
        ("json", text(&|incident| serde_json::to_string(incident).ok()), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("every column has one value an incident")
}

fn status(status: IncidentStatus) -> &'static str {
    match status {
        IncidentStatus::Open => "open",
        IncidentStatus::Resolved => "resolved",
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
