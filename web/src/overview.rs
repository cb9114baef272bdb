//! `/`: is anything wrong now? Open incidents first, then every transaction type beside its usual, then the pipe.

use analyzer::incident::IncidentStatus;
use analyzer::progress::{InProgress, ProgressState};
use analyzer::stitch::OpenTransaction;
use analyzer::summary::TypeState;
use analyzer::{Incident, Summary};
use askama::Template;
use axum::extract::Query;
use serde::Deserialize;

use crate::incidents::IncidentCard;
use crate::ingest::{IngestView, Setup};
use crate::page::{Frame, PageResult, Shared, render};
use crate::progress::{self, ProgressLine};
use crate::tx::TypeLine;
use crate::{State, format};

/// Resolved incidents shown below the types.
const RESOLVED_MAX: usize = 5;
/// Transactions that are still arriving, shown until types fill the page.
const ARRIVING_MAX: usize = 8;
/// A refusal within this time asks for a look, nanoseconds.
const RECENT_NS: i64 = 15 * 60 * 1_000_000_000;
/// Transaction types shown; the rest is a link away.
const TYPES_MAX: usize = 50;

/// The overview.
#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    heading: String,
    facts: Vec<String>,
    setup: Option<Setup>,
    open: Vec<IncidentCard>,
    types: Vec<TypeLine>,
    types_left_out: Option<String>,
    arriving: Vec<ArrivingLine>,
    progress_heading: String,
    lines: Vec<ProgressLine>,
    resolved: Vec<IncidentCard>,
    pipe: Pipe,
}

/// A transaction that still waits for spans.
struct ArrivingLine {
    url: String,
    service: String,
    operation: String,
    so_far: String,
}

/// Health of receiving and keeping, in one line.
struct Pipe {
    is_well: bool,
    text: String,
}

/// Parameters of the overview.
#[derive(Deserialize)]
pub(crate) struct Params {
    live: Option<String>,
}

/// `GET /`.
pub(crate) async fn overview(state: Shared, Query(params): Query<Params>) -> PageResult {
    let summary = state.summary.borrow().clone();
    let ingest = (state.ingest)();
    let now_ns = (state.now_ns)();
    let frame = Frame::new("Overview", "/").live("/", params.live.as_deref());
    Ok(render(&page(frame, &state, &summary, &ingest, now_ns)))
}

fn page(frame: Frame, state: &State, summary: &Summary, ingest: &IngestView, now_ns: i64) -> OverviewPage {
    let by_status = |status: IncidentStatus| summary.incidents.iter().filter(move |incident| incident.status == status);
    let open: Vec<&Incident> = by_status(IncidentStatus::Open).collect();
    let has_nothing = ingest.is_empty() && summary.spans == 0;
    let mut types: Vec<_> = summary.types.iter().collect();
    // What is off its usual comes first; within a state the order by traffic stays.
    types.sort_by_key(|line| line.state != TypeState::Slow);
    let left_out = types.len().saturating_sub(TYPES_MAX);
    OverviewPage {
        frame,
        heading: heading(open.len(), has_nothing, summary),
        facts: if has_nothing { Vec::new() } else { facts(summary) },
        setup: has_nothing.then(|| Setup::new(&state.endpoints)),
        open: open.into_iter().map(|incident| IncidentCard::new(incident, now_ns)).collect(),
        types: types.into_iter().take(TYPES_MAX).map(|line| TypeLine::new(line, summary.as_of_ns)).collect(),
        progress_heading: progress::heading(&summary.progress),
        lines: summary.progress.list.iter().filter(|one| is_off(one)).take(ARRIVING_MAX).map(progress::line).collect(),
        arriving: summary.arriving.iter().take(ARRIVING_MAX).map(arriving_line).collect(),
        types_left_out: (left_out > 0).then(|| format!("{} more", format::len(left_out))),
        resolved: by_status(IncidentStatus::Resolved)
            .take(RESOLVED_MAX)
            .map(|incident| IncidentCard::new(incident, now_ns))
            .collect(),
        pipe: pipe(ingest, now_ns),
    }
}

/// Returns whether a transaction that is not over should be looked at.
fn is_off(one: &InProgress) -> bool {
    one.state != ProgressState::InProgress
}

fn arriving_line(open: &OpenTransaction) -> ArrivingLine {
    ArrivingLine {
        url: format!("/trace/{}", open.id),
        service: open.service.clone(),
        operation: open.operation.clone(),
        so_far: format!("{}, {} so far", format::counted(open.spans, "span", "spans"), format::nanos(open.duration_ns)),
    }
}

fn heading(open: usize, has_nothing: bool, summary: &Summary) -> String {
    let slow = summary.types.iter().filter(|line| line.state == TypeState::Slow).count();
    let is_learning = summary.types.iter().all(|line| line.state == TypeState::Learning);
    match open {
        _ if has_nothing => "Nothing received yet".to_owned(),
        0 if summary.types.is_empty() => "Waiting for the first complete transactions".to_owned(),
        0 if is_learning => "Learning what is usual".to_owned(),
        0 if slow == 0 => "Everything is as usual".to_owned(),
        0 => format!("{} slower than usual", format::counted(slow, "transaction type is", "transaction types are")),
        1 => "1 incident is open".to_owned(),
        _ => format!("{} incidents are open", format::len(open)),
    }
}

fn facts(summary: &Summary) -> Vec<String> {
    let count = |state: TypeState| summary.types.iter().filter(|line| line.state == state).count();
    let mut facts = vec![
        format!("{} watched", format::counted(summary.types.len(), "transaction type", "transaction types")),
        format!("{} as usual", format::len(count(TypeState::Usual))),
    ];
    if count(TypeState::Learning) > 0 {
        facts.push(format!("{} learning", format::len(count(TypeState::Learning))));
    }
    if summary.as_of_ns > 0 {
        facts.push(format!("judged up to {}", format::moment(summary.as_of_ns)));
    }
    facts
}

fn pipe(ingest: &IngestView, now_ns: i64) -> Pipe {
    // Items whose attributes were cut are kept.
    let refusals = || ingest.refusals.iter().filter(|refusal| refusal.unit != "attributes");
    let refused: u64 = refusals().map(|refusal| refusal.count).sum();
    let last_ns = refusals().filter_map(|refusal| refusal.last_ns).max();
    let is_recent = last_ns.is_some_and(|at| now_ns.saturating_sub(at) < RECENT_NS);
    let mut parts: Vec<String> = ingest
        .signals
        .iter()
        .filter(|signal| signal.accepted > 0)
        .map(|signal| format!("{} {}/s", format::rate(signal.per_second), signal.signal))
        .collect();
    if parts.is_empty() {
        parts.push("nothing received".to_owned());
    }
    if let Some(problem) = &ingest.store.problem {
        parts.push(problem.clone());
    }
    parts.push(match last_ns {
        Some(at) => format!("{} refused, last {}", format::count(refused), format::ago(now_ns, at)),
        None if refused > 0 => format!("{} refused", format::count(refused)),
        None => "nothing refused".to_owned(),
    });
    Pipe { is_well: ingest.store.problem.is_none() && !is_recent, text: parts.join(", ") }
}
