//! Transactions that are not over: late and stuck ones first, with what each waits for. Shown on the overview and by
//! `/search?state=open`, and told by the API.

use analyzer::progress::{InProgress, Progress, ProgressState, WaitsFor};
use askama::Template;
use axum::response::Response;
use serde_json::{Value, json};

use crate::page::{Frame, render};
use crate::{State, format, text};

/// The list as a page.
#[derive(Template)]
#[template(path = "progress.html")]
struct ProgressPage {
    frame: Frame,
    heading: String,
    lines: Vec<ProgressLine>,
}

/// A transaction that is not over.
pub(crate) struct ProgressLine {
    pub(crate) url: String,
    pub(crate) type_url: String,
    pub(crate) service: String,
    pub(crate) operation: String,
    pub(crate) is_guess: bool,
    pub(crate) state: &'static str,
    pub(crate) shape: &'static str,
    pub(crate) class: &'static str,
    pub(crate) age: String,
    pub(crate) usual: String,
    pub(crate) spans: String,
    pub(crate) waits_for: String,
}

/// Returns the page of `/search?state=open`.
pub(crate) fn page(state: &State) -> Response {
    let summary = state.summary.borrow().clone();
    render(&ProgressPage {
        frame: Frame::new("In progress", "/search"),
        heading: heading(&summary.progress),
        lines: summary.progress.list.iter().map(line).collect(),
    })
}

/// Returns how many are stuck and late, in words.
pub(crate) fn heading(progress: &Progress) -> String {
    let (stuck, late) = (progress.stuck, progress.late);
    let rest = format::counted(progress.in_progress, "transaction is in progress", "transactions are in progress");
    let rest = if progress.in_progress > 0 || stuck + late == 0 { format!("; {rest}") } else { String::new() };
    match (stuck, late) {
        (0, 0) => rest.trim_start_matches("; ").to_owned(),
        (0, _) => format!("{} late{rest}", format::counted(late, "transaction is", "transactions are")),
        (_, 0) => format!("{} stuck{rest}", format::counted(stuck, "transaction is", "transactions are")),
        _ => format!(
            "{} stuck, {} late{rest}",
            format::counted(stuck, "transaction is", "transactions are"),
            format::len(late)
        ),
    }
}

pub(crate) fn line(one: &InProgress) -> ProgressLine {
    let (state, shape, class) = match one.state {
        ProgressState::Stuck => ("stuck", "■", "bad"),
        ProgressState::Late => ("late", "▲", "warn"),
        ProgressState::InProgress => ("in progress", "●", "quiet"),
    };
    let usual = |(p50, p99): (i64, i64)| format!("{} to {}", format::nanos(p50), format::nanos(p99));
    ProgressLine {
        url: format!("/trace/{}", one.id),
        type_url: text::type_url(&one.service, &one.operation),
        service: one.service.to_string(),
        operation: one.operation.to_string(),
        is_guess: one.is_guess,
        state,
        shape,
        class,
        age: format::nanos(one.age_ns),
        usual: one.usual_ns.map(usual).unwrap_or_else(|| "not known yet".to_owned()),
        spans: format::len(one.spans),
        waits_for: waits_for(&one.waits_for),
    }
}

fn waits_for(waits: &WaitsFor) -> String {
    match waits {
        WaitsFor::End { of: Some((service, operation)) } => format!("the end of {service} {operation}"),
        WaitsFor::End { of: None } => "the end of a caller whose span has not come".to_owned(),
        WaitsFor::Stage { service, operation } => format!("{service} {operation}"),
        WaitsFor::Message { service, operation } => format!("whoever takes in {operation} of {service}"),
        WaitsFor::Spans => "nothing it is known to lack".to_owned(),
    }
}

/// Returns the list for programs.
pub(crate) fn as_json(progress: &Progress) -> Value {
    let list: Vec<Value> = progress.list.iter().map(one_as_json).collect();
    json!({
        "stuck": progress.stuck,
        "late": progress.late,
        "in_progress": progress.in_progress,
        "transactions": list,
    })
}

fn one_as_json(one: &InProgress) -> Value {
    let (service, operation) = (&*one.service, &*one.operation);
    let place = |service: &str, operation: &str| json!({ "service": service, "operation": operation });
    let (waits_for, place) = match &one.waits_for {
        WaitsFor::End { of: Some((service, operation)) } => ("end", place(service, operation)),
        WaitsFor::End { of: None } => ("end", Value::Null),
        WaitsFor::Stage { service, operation } => ("stage", place(service, operation)),
        WaitsFor::Message { service, operation } => ("message", place(service, operation)),
        WaitsFor::Spans => ("spans", Value::Null),
    };
    json!({
        "transaction_id": one.id.to_string(),
        "type": format!("{service} {operation}"),
        "is_guess": one.is_guess,
        "state": one.state.as_str(),
        "started_at": format::machine(one.started_ns),
        "age_ms": format::to_millis(one.age_ns),
        "usual_p50_ms": one.usual_ns.map(|(p50, _)| format::to_millis(p50)),
        "usual_p99_ms": one.usual_ns.map(|(_, p99)| format::to_millis(p99)),
        "spans": one.spans,
        "waits_for": { "what": waits_for, "of": place },
    })
}
