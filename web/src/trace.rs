//! `/trace/{id}`: where did this one's time go? The critical path first, then every span with its logs and events in
//! place. Also as `.txt` (text waterfall) and `.json` (OTLP/JSON). Large traces are paged, never cut.

use std::sync::Arc;

use analyzer::Transaction;
use analyzer::summary::TypeSummary;
use askama::Template;
use axum::Json;
use axum::extract::{Path, Query};
use axum::response::IntoResponse;
use collector_table::{LogTable, SpanTable, TraceId};
use serde::Deserialize;

use crate::State;
use crate::colour::Colours;
use crate::error::PageError;
use crate::page::{Frame, PageResult, Shared, on_blocking_thread, plain, render};
use crate::search::StripPart;
use crate::source::StoredTrace;
use crate::whole::{self, StoredWhole, Whole};
use crate::{chart, format, text};

mod bars;
mod choice;
pub(crate) mod critical;
mod details;
mod expected;
pub(crate) mod joins;
mod rows;
mod waterfall;

use choice::Choice;
use critical::Owner;
use details::Details;
use rows::Row;

/// Traces as they are stored, and what stitching makes of them.
struct Loaded {
    transaction: Transaction,
    /// Traces that were part of it when it was kept, and that nothing joins to it now.
    apart: Vec<TraceId>,
    /// Other transactions that the asked trace is part of.
    further: Vec<TraceId>,
    /// Its traces that were not read.
    unread: usize,
    spans: Vec<SpanTable>,
    logs: Vec<LogTable>,
    /// Whether more spans are stored than were read.
    is_cut: bool,
}

/// The page.
#[derive(Template)]
#[template(path = "trace.html")]
struct TracePage {
    frame: Frame,
    service: String,
    operation: String,
    id: String,
    facts: Vec<String>,
    lead: String,
    incident: Option<(String, String)>,
    type_url: String,
    owners: Vec<Owner>,
    strip: Vec<StripPart>,
    notes: Vec<String>,
    saga: Option<expected::SagaView>,
    refused: Vec<String>,
    others: Vec<OtherTrace>,
    ticks: Vec<chart::Tick>,
    find: String,
    view: Vec<ViewLink>,
    skew_link: Option<ViewLink>,
    logs_link: ViewLink,
    matches: Option<String>,
    context: Vec<Row>,
    context_left_out: Option<String>,
    rows: Vec<Row>,
    range: String,
    previous_url: Option<String>,
    next_url: Option<String>,
    details: Option<Details>,
    logs_url: String,
}

/// A link to a trace or transaction that is not drawn here.
struct OtherTrace {
    url: String,
    id: String,
    what: &'static str,
}

/// A link to another view of the same trace.
struct ViewLink {
    url: String,
    label: &'static str,
    key: &'static str,
    is_current: bool,
}

/// Parameters of the page.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Params {
    /// Text to find in spans.
    find: String,
    /// `critical` or `error`.
    only: String,
    /// `off` hides logs and events.
    logs: String,
    /// `off` corrects no clock.
    skew: String,
    /// Span whose details are shown.
    span: String,
    /// Page, from 0.
    p: Option<usize>,
}

/// `GET /trace/{id}`, `.txt` and `.json`.
pub(crate) async fn trace(state: Shared, Path(name): Path<String>, Query(params): Query<Params>) -> PageResult {
    let (id, form) = match name.rsplit_once('.') {
        Some((id, form @ ("json" | "txt"))) => (id, form),
        _ => (name.as_str(), ""),
    };
    let id: TraceId = id.trim().to_lowercase().parse().map_err(|_| PageError::NotFound {
        what: "This is not a trace id".to_owned(),
        hint: "A trace id has 32 hexadecimal digits; a transaction's id is the id of the trace in which it began."
            .to_owned(),
    })?;
    let stored = whole::load(&state, id).await?;
    if stored.is_empty() {
        return Err(PageError::NotFound {
            what: format!("No span of trace {id} is stored"),
            hint:
                "Spans may still be on their way (exporters send every few seconds), or may have been sampled away by \
                   the sender."
                    .to_owned(),
        });
    }
    let (shared, form) = (Arc::clone(&state.0), form.to_owned());
    on_blocking_thread(move || answer(&shared, stored, &form, &params)).await
}

/// Stitches and draws: for a large trace a core's work for a while.
fn answer(state: &State, stored: StoredWhole, form: &str, params: &Params) -> PageResult {
    let stitched = whole::stitch(state, &stored, params.skew != "off");
    if form == "json" {
        let mut written = as_otlp(state, &stored.stored);
        // What is cut has another critical path than what it was cut from.
        let whole = stitched.filter(|_| !stored.stored.is_cut && stored.unread == 0);
        if let (Some(fields), Some(whole)) = (written.as_object_mut(), whole) {
            fields.insert("transaction".to_owned(), serde_json::json!(whole.transaction.to_json()));
        }
        return Ok(Json(written).into_response());
    }
    let Whole { transaction, apart, further } = stitched.ok_or(PageError::Unavailable)?;
    let StoredWhole { stored: StoredTrace { spans, logs, is_cut }, unread, .. } = stored;
    if form == "txt" {
        let note = if is_cut { cut_note(&transaction) + "\n\n" } else { String::new() };
        return Ok(plain(note + &waterfall::draw(&transaction)));
    }
    let loaded = Loaded { transaction, apart, further, unread, spans, logs, is_cut };
    Ok(render(&page(state, &loaded, params)))
}

/// Returns the spans as OTLP/JSON, which has no field for it when some are missing: we add one. So does the page's twin
/// for what stitching makes of them; readers of OTLP/JSON pass over fields that they do not know.
pub(crate) fn as_otlp(state: &State, trace: &StoredTrace) -> serde_json::Value {
    let mut written = (state.otlp_json)(&trace.spans);
    if let Some(fields) = written.as_object_mut().filter(|_| trace.is_cut) {
        fields.insert("truncated".to_owned(), true.into());
    }
    written
}

fn page(state: &State, loaded: &Loaded, params: &Params) -> TracePage {
    let transaction = &loaded.transaction;
    let root = transaction.root_span();
    let summary = state.summary.borrow().clone();
    let is_type = |line: &&TypeSummary| line.service == root.service() && line.operation == root.operation();
    let known = summary.types.iter().find(is_type);
    let mut colours = Colours::default();
    let owners = critical::owners(transaction, &mut colours);
    let choice = Choice::make(loaded, params);
    let shown = rows::shown(loaded, &choice, params, &mut colours);
    let frame = Frame::new(&format!("{} {}", root.service(), root.operation()), "/search");
    TracePage {
        frame: frame.with_query(&transaction.id.to_string()),
        service: root.service().to_owned(),
        operation: root.operation().to_owned(),
        id: transaction.id.to_string(),
        facts: facts(loaded, known),
        lead: critical::lead(transaction, &owners),
        incident: known
            .and_then(|line| line.incident)
            .map(|number| (format!("/incidents/{number}"), format!("#{number}"))),
        type_url: text::type_url(root.service(), root.operation()),
        strip: critical::strip(transaction, &mut colours),
        owners,
        notes: notes(loaded),
        saga: expected::saga(transaction),
        refused: transaction.refused.iter().map(joins::refused_words).collect(),
        others: others(loaded),
        ticks: ticks(transaction),
        find: params.find.clone(),
        view: view_links(transaction, params),
        skew_link: skew_link(transaction, params),
        logs_link: ViewLink {
            url: choice.url(transaction.id, |params| {
                params.logs = if params.logs == "off" { String::new() } else { "off".to_owned() };
            }),
            label: if params.logs == "off" { "show logs and events" } else { "hide logs and events" },
            key: "l",
            is_current: false,
        },
        matches: choice.matches(),
        context: shown.context,
        context_left_out: shown.context_left_out,
        rows: shown.rows,
        range: choice.range(),
        previous_url: choice.previous_url(transaction.id),
        next_url: choice.next_url(transaction.id),
        details: details::of(loaded, params),
        logs_url: format!("/logs?trace={}", transaction.id),
    }
}

fn facts(loaded: &Loaded, known: Option<&TypeSummary>) -> Vec<String> {
    let transaction = &loaded.transaction;
    let services: std::collections::BTreeSet<&str> = transaction.spans.iter().map(|span| span.service()).collect();
    let errors = transaction.spans.iter().filter(|span| span.has_error()).count();
    let logs: usize = loaded.logs.iter().map(LogTable::len).sum();
    let mut facts = vec![format::nanos(transaction.duration_ns)];
    if let Some((p50, p99)) = known.and_then(crate::tx::usual) {
        facts.push(format!("usual {} to {}", format::millis(p50), format::millis(p99)));
    }
    facts.push(format::precise(transaction.started_ns));
    facts.push(format::counted(services.len(), "service", "services"));
    facts.push(format::counted(transaction.spans.len(), "span", "spans"));
    if transaction.traces.len() > 1 {
        facts.push(format::counted(transaction.traces.len(), "trace", "traces"));
    }
    facts.push(joins::flow_words(transaction).to_owned());
    if logs > 0 {
        facts.push(format::counted(logs, "log record", "log records"));
    }
    facts.push(if errors == 0 {
        "no errors".to_owned()
    } else {
        format::counted(errors, "span with an error", "spans with an error")
    });
    facts
}

/// Traces and transactions listed beside the timeline.
const OTHERS_MAX: usize = 20;
/// Below this, differences between clocks are what a network does.
const SKEW_SHOWN_NS: i64 = 1_000_000;

fn notes(loaded: &Loaded) -> Vec<String> {
    let transaction = &loaded.transaction;
    let mut notes = Vec::new();
    if loaded.is_cut {
        notes.push(cut_note(transaction));
    }
    if transaction.missing_parents > 0 {
        notes.push(format!(
            "{} a parent that never arrived: shown as roots. A service in between may not send telemetry, or its \
             spans were sampled away.",
            format::counted(transaction.missing_parents, "span states", "spans state")
        ));
    } else if !transaction.is_complete {
        notes.push("There is more than one root, or none: this may not be the whole transaction.".to_owned());
    }
    notes.extend(expected::note(transaction));
    if loaded.unread > 0 {
        let unread = format::counted(loaded.unread, "further trace", "further traces");
        notes.push(format!("{unread} of this transaction are not drawn: there are more than one page reads."));
    }
    if let Some(words) = joins::skew_words(transaction) {
        notes.push(words);
    } else if transaction.clock_skew_ns >= SKEW_SHOWN_NS {
        notes.push(format!(
            "Clocks differ by at least {}: some spans start before or end after the call that caused them. Times are \
             shown as they were sent.",
            format::nanos(transaction.clock_skew_ns)
        ));
    }
    if transaction.duplicates > 0 {
        let copies = format::counted(transaction.duplicates, "copy of a span was", "copies of spans were");
        notes.push(format!("{copies} left out."));
    }
    notes
}

fn others(loaded: &Loaded) -> Vec<OtherTrace> {
    let other = |what| move |id: &TraceId| OtherTrace { url: format!("/trace/{id}"), id: id.to_string(), what };
    let apart = "was part of it when it was kept; what joined it is not known any more";
    let further = "is another transaction that this trace is part of";
    loaded.apart.iter().map(other(apart)).chain(loaded.further.iter().map(other(further))).take(OTHERS_MAX).collect()
}

/// Returns the way to the same view with, or without, correction of clocks; nothing where clocks are not known to differ.
fn skew_link(transaction: &Transaction, params: &Params) -> Option<ViewLink> {
    let is_off = params.skew == "off";
    (is_off || !transaction.skews.is_empty()).then(|| ViewLink {
        url: choice::url(
            transaction.id,
            &Params { skew: if is_off { String::new() } else { "off".to_owned() }, ..params.clone() },
        ),
        label: if is_off { "correct clocks" } else { "do not correct clocks" },
        key: "k",
        is_current: false,
    })
}

fn cut_note(transaction: &Transaction) -> String {
    let read = format::len(transaction.spans.len());
    format!("Only {read} spans were read: the trace has more than one query may return.")
}

fn ticks(transaction: &Transaction) -> Vec<chart::Tick> {
    let scale = chart::Scale::linear(0.0, format::to_millis(transaction.duration_ns));
    let ticks = scale.ticks(5).into_iter().filter(|tick| scale.percent(*tick) < 92.0);
    ticks
        .map(|tick| chart::Tick {
            at: chart::percentage(scale.percent(tick)),
            label: if tick == 0.0 { "0".to_owned() } else { format::round_millis(tick) },
        })
        .collect()
}

fn view_links(transaction: &Transaction, params: &Params) -> Vec<ViewLink> {
    let choices = [("", "all spans", "a"), ("critical", "critical path", "c"), ("error", "errors", "e")];
    choices
        .map(|(only, label, key)| ViewLink {
            url: choice::url(transaction.id, &Params { only: only.to_owned(), p: None, ..params.clone() }),
            label,
            key,
            is_current: params.only == only,
        })
        .into()
}
