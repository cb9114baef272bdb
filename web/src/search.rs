//! `/search`: show me those transactions that … Every filter is a parameter; a trace id goes straight to its trace.
//! Also as `format=csv` and `format=json`.

use askama::Template;
use axum::Json;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect};
use collector_table::TraceId;

use crate::colour::Colours;
use crate::page::{Frame, PERIODS, PageResult, Period, Shared, csv, render};
use crate::source::{TransactionQuery, TransactionRow, TransactionSegment};
use crate::{chart, format, progress, text};

mod filter;

pub(crate) use filter::Filter;

/// Rows on one page.
pub(crate) const ROWS_MAX: usize = 100;
/// Rows of a CSV or JSON twin.
const EXPORT_ROWS_MAX: usize = 10_000;

/// The page.
#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    heading: String,
    filter: Filter,
    periods: Vec<PeriodChoice>,
    statuses: Vec<PeriodChoice>,
    sorts: Vec<PeriodChoice>,
    services: Vec<String>,
    list: TransactionList,
    range: String,
    previous_url: Option<String>,
    next_url: Option<String>,
    csv_url: String,
    json_url: String,
    is_filtered: bool,
}

/// One entry of a select.
pub(crate) struct PeriodChoice {
    pub(crate) value: &'static str,
    pub(crate) label: &'static str,
    pub(crate) is_current: bool,
}

/// What the table of transactions shows.
struct TransactionList {
    rows: Vec<TransactionLine>,
}

/// A transaction in one row.
pub(crate) struct TransactionLine {
    pub(crate) url: String,
    pub(crate) started: String,
    pub(crate) started_machine: String,
    pub(crate) service: String,
    pub(crate) operation: String,
    pub(crate) duration: String,
    pub(crate) has_error: bool,
    pub(crate) is_complete: bool,
    pub(crate) spans: String,
    pub(crate) services: String,
    /// Critical path, in order of time.
    pub(crate) strip: Vec<StripPart>,
    /// Who owns most of it.
    pub(crate) owner: String,
}

/// A part of a strip of colours.
pub(crate) struct StripPart {
    pub(crate) x: String,
    pub(crate) width: String,
    pub(crate) class: String,
    pub(crate) title: String,
}

/// Parts of a strip; the rest is left out, being too narrow to see.
const STRIP_PARTS_MAX: usize = 60;

impl TransactionLine {
    /// Makes the row; strips are drawn against the longest transaction of the list.
    pub(crate) fn new(row: &TransactionRow, longest_ns: i64, colours: &mut Colours) -> Self {
        Self {
            url: format!("/trace/{}", row.id),
            started: format::day_clock(row.started_ns),
            started_machine: format::machine(row.started_ns),
            service: row.service.clone(),
            operation: row.operation.clone(),
            duration: format::nanos(row.duration_ns),
            has_error: row.has_error,
            is_complete: row.is_complete,
            spans: format::count(u64::from(row.spans_count)),
            services: format::len(row.services.len()),
            strip: strip(row, longest_ns, colours),
            owner: owner(row),
        }
    }
}

fn strip(row: &TransactionRow, longest_ns: i64, colours: &mut Colours) -> Vec<StripPart> {
    let scale = chart::Scale::linear(0.0, format::to_millis(longest_ns));
    let mut parts = Vec::new();
    let mut at_ns = 0;
    for segment in &row.critical_path {
        let from = scale.percent(format::to_millis(at_ns));
        at_ns += segment.self_ns;
        let width = scale.percent(format::to_millis(at_ns)) - from;
        if width < 0.2 || parts.len() == STRIP_PARTS_MAX {
            continue;
        }
        parts.push(StripPart {
            x: chart::percentage(from),
            width: chart::percentage(width),
            class: segment_class(&segment.service, &segment.cause, colours),
            title: format!("{}: {}", named(segment), format::nanos(segment.self_ns)),
        });
    }
    parts
}

/// Returns the class of a segment: its service's colour, or that of waiting.
fn segment_class(service: &str, cause: &str, colours: &mut Colours) -> String {
    match cause {
        "network_gap" | "queue_wait" | "unexplained" | "other" => "wait".to_owned(),
        _ => colours.class(service),
    }
}

/// Returns who owns the longest stretch, in words.
fn owner(row: &TransactionRow) -> String {
    let longest = row.critical_path.iter().max_by_key(|segment| segment.self_ns);
    longest.map_or_else(String::new, |segment| format!("{} {}", named(segment), format::nanos(segment.self_ns)))
}

fn named(segment: &TransactionSegment) -> String {
    match segment.service.as_str() {
        "" => "others".to_owned(),
        service => format!("{service} {}", segment.operation),
    }
}

/// `GET /search`.
pub(crate) async fn search(state: Shared, Query(mut filter): Query<Filter>) -> PageResult {
    filter.q = filter.q.trim().to_owned();
    if let Ok(id) = filter.q.to_lowercase().parse::<TraceId>() {
        return Ok(Redirect::to(&format!("/trace/{id}")).into_response());
    }
    if filter.state == "open" {
        return Ok(progress::page(&state));
    }
    let period = Period::read((state.now_ns)(), &filter.t, &filter.from, &filter.to)?;
    let mut query = filter.query(&period)?;
    if !filter.format.is_empty() {
        query.limit = EXPORT_ROWS_MAX;
        query.offset = 0;
        let rows = state.source.transactions(query).await?;
        return Ok(if filter.format == "csv" {
            csv(as_csv(&rows), "transactions")
        } else {
            Json(as_json(&rows)).into_response()
        });
    }
    // One row more than shown tells whether there is a next page.
    query.limit = ROWS_MAX + 1;
    let services = state.source.services(period.from_ns, period.to_ns).await.unwrap_or_default();
    let rows = state.source.transactions(query.clone()).await?;
    Ok(render(&page(filter, &period, &query, rows, services)))
}

fn page(
    filter: Filter,
    period: &Period,
    query: &TransactionQuery,
    mut rows: Vec<TransactionRow>,
    services: Vec<String>,
) -> SearchPage {
    let has_more = rows.len() > ROWS_MAX;
    rows.truncate(ROWS_MAX);
    let longest_ns = rows.iter().map(|row| row.duration_ns).max().unwrap_or(0);
    let mut colours = Colours::default();
    let page_number = query.offset / ROWS_MAX;
    let choice = |value, label, current: &str| PeriodChoice { value, label, is_current: value == current };
    let first = query.offset + 1;
    let range = match rows.len() {
        0 => "No transaction fits".to_owned(),
        shown => format!("Transactions {} to {}", format::len(first), format::len(query.offset + shown)),
    };
    SearchPage {
        frame: Frame::new("Search", "/search").with_query(&filter.q),
        heading: if has_more { format!("{range}, and more") } else { range.clone() },
        periods: PERIODS.iter().map(|(value, label)| choice(value, label, &period.relative)).collect(),
        statuses: [("", "any status"), ("ok", "ok"), ("error", "error")]
            .map(|(value, label)| choice(value, label, &filter.status))
            .into(),
        sorts: [("", "newest first"), ("slowest", "slowest first")]
            .map(|(value, label)| choice(value, label, &filter.sort))
            .into(),
        services,
        list: TransactionList {
            rows: rows.iter().map(|row| TransactionLine::new(row, longest_ns, &mut colours)).collect(),
        },
        range,
        previous_url: (page_number > 0).then(|| filter.url(page_number - 1, "")),
        next_url: has_more.then(|| filter.url(page_number + 1, "")),
        csv_url: filter.url(0, "csv"),
        json_url: filter.url(0, "json"),
        is_filtered: filter.is_restricting(),
        filter,
    }
}

fn as_csv(rows: &[TransactionRow]) -> String {
    let mut out = "transaction_id,started_at,service,operation,duration_ns,status,complete,spans\n".to_owned();
    for row in rows {
        let fields = [
            row.id.to_string(),
            format::machine(row.started_ns),
            text::csv_field(&row.service),
            text::csv_field(&row.operation),
            row.duration_ns.to_string(),
            if row.has_error { "error" } else { "ok" }.to_owned(),
            row.is_complete.to_string(),
            row.spans_count.to_string(),
        ];
        out.push_str(&fields.join(","));
        out.push('\n');
    }
    out
}

/// Returns transactions as the API does.
pub(crate) fn as_json(rows: &[TransactionRow]) -> serde_json::Value {
    let transactions: Vec<_> = rows.iter().map(row_json).collect();
    serde_json::json!({ "transactions": transactions })
}

fn row_json(row: &TransactionRow) -> serde_json::Value {
    let segments: Vec<_> = row
        .critical_path
        .iter()
        .map(|segment| {
            serde_json::json!({
                "service": segment.service, "operation": segment.operation,
                "cause": segment.cause, "self_ns": segment.self_ns,
            })
        })
        .collect();
    serde_json::json!({
        "transaction_id": row.id.to_string(),
        "type": format!("{} {}", row.service, row.operation),
        "started_at": format::machine(row.started_ns),
        "duration_ns": row.duration_ns,
        "status": if row.has_error { "error" } else { "ok" },
        "complete": row.is_complete,
        "completeness": row.completeness,
        "saga": row.saga,
        "spans_count": row.spans_count,
        "services": row.services,
        "critical_path": segments,
    })
}
