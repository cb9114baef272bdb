//! `/sql`: ask the tables directly. The query is in the address, so a finding can be shared as a link.

use std::ops::ControlFlow;

use arrow::error::ArrowError;
use askama::Template;
use axum::extract::Query;
use collector_store::QueryResult;
use serde::Deserialize;

use crate::error::PageError;
use crate::page::{Frame, PageResult, Shared, csv, json, on_blocking_thread, render};
use crate::source::SourceError;
use crate::{format, table, text};

/// Rows shown; downloads have all that the limits on queries and on text allow.
const ROWS_MAX: usize = 1_000;
/// Longest value shown, characters.
const CELL_CHARS_MAX: usize = 400;

/// The page.
#[derive(Template)]
#[template(path = "sql.html")]
struct SqlPage {
    frame: Frame,
    heading: String,
    query: String,
    columns: Vec<table::Column>,
    rows: Vec<Vec<Cell>>,
    error: Option<String>,
    csv_url: String,
    json_url: String,
    examples: Vec<Example>,
}

struct Cell {
    text: String,
    is_number: bool,
    /// Where the value leads, if it is an id of a trace.
    url: Option<String>,
}

struct Example {
    url: String,
    what: &'static str,
}

const EXAMPLES: [(&str, &str); 5] = [
    ("tables", "SHOW TABLES"),
    (
        "slowest transactions",
        "SELECT started_at, type, duration_ns / 1e6 AS ms, transaction_id FROM transactions \
         ORDER BY duration_ns DESC LIMIT 20",
    ),
    (
        "operations by time spent",
        "SELECT service_name, operation, sum(count) AS spans, sum(duration_sum_ns) / 1e9 AS seconds FROM red \
         GROUP BY service_name, operation ORDER BY seconds DESC LIMIT 20",
    ),
    (
        "hops by gap",
        "SELECT caller_service, callee_service, sum(count) AS hops, sum(gap_sum_ns) / sum(gap_count) / 1e6 AS gap_ms \
         FROM dependencies WHERE gap_count > 0 GROUP BY caller_service, callee_service ORDER BY gap_ms DESC LIMIT 20",
    ),
    ("incidents", "SELECT * FROM incidents"),
];

/// Parameters of the page.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(crate) struct Params {
    q: String,
    format: String,
}

/// `GET /sql`.
pub(crate) async fn sql(state: Shared, Query(params): Query<Params>) -> PageResult {
    let mut page = empty(&params.q);
    if params.q.trim().is_empty() {
        return Ok(render(&page));
    }
    let result = match state.source.sql(params.q.clone()).await {
        Ok(result) => result,
        Err(SourceError::Question(error)) if params.format.is_empty() => {
            "This query has no answer".clone_into(&mut page.heading);
            page.error = Some(error);
            return Ok(render(&page));
        }
        Err(error) => return Err(error.into()),
    };
    on_blocking_thread(move || answer(page, &result, &params.format)).await
}

/// Writes the result in the form that was asked for.
fn answer(mut page: SqlPage, result: &QueryResult, format: &str) -> PageResult {
    let unreadable = |error: ArrowError| PageError::BadRequest(error.to_string());
    match format {
        "csv" => {
            let written = table::csv(result, table::TEXT_BYTES_MAX).map_err(unreadable)?;
            // CSV has no place to say it: the file's name does.
            return Ok(csv(written.text, if written.is_cut { "result-truncated" } else { "result" }));
        }
        "json" => return Ok(json(table::json(result, table::TEXT_BYTES_MAX).map_err(unreadable)?.text)),
        _ => {}
    }
    let all: usize = result.batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
    page.columns = table::columns(result);
    table::each_row(result, |row| {
        if page.rows.len() == ROWS_MAX {
            return ControlFlow::Break(());
        }
        page.rows.push(cells(row, &page.columns));
        ControlFlow::Continue(())
    })
    .map_err(unreadable)?;
    page.heading = format::counted(all, "row", "rows");
    if result.truncated {
        page.heading.push_str(", cut at the store's limit");
    } else if all > ROWS_MAX {
        page.heading = format!("{}, the first {} shown", page.heading, format::len(ROWS_MAX));
    }
    Ok(render(&page))
}

fn empty(query: &str) -> SqlPage {
    SqlPage {
        frame: Frame::new("SQL", "/sql"),
        heading: "Ask the tables".to_owned(),
        query: query.to_owned(),
        columns: Vec::new(),
        rows: Vec::new(),
        error: None,
        csv_url: text::url_with("/sql", &[("q", query), ("format", "csv")]),
        json_url: text::url_with("/sql", &[("q", query), ("format", "json")]),
        examples: EXAMPLES.map(|(what, query)| Example { url: text::url_with("/sql", &[("q", query)]), what }).into(),
    }
}

fn cells(row: Vec<String>, columns: &[table::Column]) -> Vec<Cell> {
    let cells = row.into_iter().zip(columns).map(|(value, column)| {
        let is_trace = matches!(column.name.as_str(), "trace_id" | "transaction_id") && value.len() == 32;
        Cell {
            url: is_trace.then(|| format!("/trace/{}", text::url_part(&value))),
            text: text::shortened(&value, CELL_CHARS_MAX),
            is_number: column.is_number,
        }
    });
    cells.collect()
}
