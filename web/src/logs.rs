//! `/logs`: log records around a moment, a text or a trace, traced or not.

use askama::Template;
use axum::extract::Query;
use collector_table::{LogRow, LogTable, TraceId};
use serde::Deserialize;

use crate::colour::Colours;
use crate::error::PageError;
use crate::page::{Frame, PERIODS, PageResult, Period, Shared, render};
use crate::search::PeriodChoice;
use crate::source::LogQuery;
use crate::{State, format, text, whole};

/// Rows on one page.
const ROWS_MAX: usize = 200;
/// Pages that can be asked for.
const PAGE_MAX: usize = 1_000;
/// Longest body in a row, characters.
const BODY_CHARS_MAX: usize = 2_000;

/// The page.
#[derive(Template)]
#[template(path = "logs.html")]
struct LogsPage {
    frame: Frame,
    heading: String,
    params: Params,
    periods: Vec<PeriodChoice>,
    severities: Vec<PeriodChoice>,
    rows: Vec<LogLine>,
    previous_url: Option<String>,
    next_url: Option<String>,
    scope: Option<Scope>,
}

/// Of which traces records are shown, where a trace is one of several of its transaction.
struct Scope {
    /// What is shown.
    words: String,
    /// Shows the other.
    other_url: String,
    other: &'static str,
}

/// A log record in one row.
struct LogLine {
    time: String,
    time_machine: String,
    severity: &'static str,
    class: &'static str,
    colour: String,
    service: String,
    body: String,
    /// Trace, at the span in which it was written.
    trace_url: Option<String>,
}

/// Parameters of the page. Empty fields do not restrict.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Params {
    q: String,
    service: String,
    trace: String,
    /// `trace` shows records of the trace alone, not of the whole transaction that it is part of.
    only: String,
    severity: String,
    t: String,
    from: String,
    to: String,
    p: usize,
}

impl Params {
    /// Returns what to ask the source; the trace stands for its whole transaction.
    ///
    /// # Errors
    /// When a parameter makes no sense, or the store does not answer.
    pub(crate) async fn whole_query(&self, state: &State) -> Result<LogQuery, PageError> {
        let mut query = self.query((state.now_ns)())?;
        if let (&[trace], false) = (&query.trace_ids[..], self.is_alone()) {
            query.trace_ids = whole::traces_of(state, trace).await?;
        }
        Ok(query)
    }

    fn is_alone(&self) -> bool {
        self.only == "trace"
    }

    fn query(&self, now_ns: i64) -> Result<LogQuery, PageError> {
        if self.p > PAGE_MAX {
            return Err(PageError::BadRequest(format!("There are no pages beyond {PAGE_MAX}; narrow the search.")));
        }
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let trace_id =
            match some(&self.trace) {
                Some(id) => Some(id.to_lowercase().parse::<TraceId>().map_err(|_| {
                    PageError::BadRequest(format!("“{id}” is not a trace id of 32 hexadecimal digits"))
                })?),
                None => None,
            };
        // A trace says when by itself: its records are found however old they are.
        let is_whole = trace_id.is_some() && self.t.is_empty() && self.from.is_empty() && self.to.is_empty();
        let period = match is_whole {
            true => Period { from_ns: 0, to_ns: i64::MAX, relative: String::new() },
            false => Period::read(now_ns, &self.t, &self.from, &self.to)?,
        };
        Ok(LogQuery {
            from_ns: period.from_ns,
            to_ns: period.to_ns,
            text: some(&self.q),
            service: some(&self.service),
            trace_ids: trace_id.into_iter().collect(),
            severity_min: self.severity.parse().ok(),
            offset: self.p * ROWS_MAX,
            limit: ROWS_MAX,
        })
    }

    /// Returns what is said of the traces of which records are shown, if there is a choice, or was one.
    fn scope(&self, traces: usize) -> Option<Scope> {
        let with = |only: &str| Self { only: only.to_owned(), ..self.clone() }.url(0);
        match (traces, self.is_alone()) {
            (1, true) => Some(Scope {
                words: "Records of this trace.".to_owned(),
                other_url: with(""),
                other: "Of its whole transaction",
            }),
            (2.., _) => Some(Scope {
                words: format!("Records of all {} traces of one transaction.", format::len(traces)),
                other_url: with("trace"),
                other: "Of this trace only",
            }),
            _ => None,
        }
    }

    fn url(&self, page: usize) -> String {
        let page = if page == 0 { String::new() } else { page.to_string() };
        let params = [
            ("q", self.q.as_str()),
            ("service", &self.service),
            ("trace", &self.trace),
            ("only", &self.only),
            ("severity", &self.severity),
            ("t", &self.t),
            ("from", &self.from),
            ("to", &self.to),
            ("p", &page),
        ];
        text::url_with("/logs", &params)
    }
}

/// `GET /logs`.
pub(crate) async fn logs(state: Shared, Query(params): Query<Params>) -> PageResult {
    let mut query = params.whole_query(&state).await?;
    query.limit = ROWS_MAX + 1;
    let offset = query.offset;
    let scope = params.scope(query.trace_ids.len());
    let tables = state.source.logs(query).await?;
    let mut colours = Colours::default();
    let mut rows: Vec<LogLine> = tables.iter().flat_map(LogTable::rows).map(|row| line(&row, &mut colours)).collect();
    let has_more = rows.len() > ROWS_MAX;
    rows.truncate(ROWS_MAX);
    let choice = |value, label, current: &str| PeriodChoice { value, label, is_current: value == current };
    let heading = match rows.len() {
        0 => "No log record fits".to_owned(),
        shown => format!("Log records {} to {}", format::len(offset + 1), format::len(offset + shown)),
    };
    let period = if params.t.is_empty() && params.trace.is_empty() { "1h" } else { &params.t };
    Ok(render(&LogsPage {
        frame: Frame::new("Logs", "/logs"),
        heading,
        periods: [("", "any time")]
            .iter()
            .chain(&PERIODS)
            .filter(|(value, _)| !value.is_empty() || !params.trace.is_empty())
            .map(|(value, label)| choice(value, label, period))
            .collect(),
        severities: [("", "any"), ("5", "debug"), ("9", "info"), ("13", "warn"), ("17", "error")]
            .map(|(value, label)| choice(value, label, &params.severity))
            .into(),
        rows,
        previous_url: (params.p > 0).then(|| params.url(params.p - 1)),
        next_url: has_more.then(|| params.url(params.p + 1)),
        scope,
        params,
    }))
}

fn line(row: &LogRow<'_>, colours: &mut Colours) -> LogLine {
    let (severity, class) = severity(row.severity_number, row.severity_text);
    LogLine {
        time: format::day_clock(row.time_ns),
        time_machine: format::machine(row.time_ns),
        severity,
        class,
        colour: colours.class(row.service_name),
        service: row.service_name.to_owned(),
        body: text::shortened(row.body, BODY_CHARS_MAX),
        trace_url: row.trace_id.map(|trace_id| match row.span_id {
            Some(span_id) => format!("/trace/{trace_id}?span={span_id}#{span_id}"),
            None => format!("/trace/{trace_id}"),
        }),
    }
}

/// Returns word and class of a severity: by number (logs data model, "Severity fields"), or else by text.
pub(crate) fn severity(number: i32, text: Option<&str>) -> (&'static str, &'static str) {
    match number {
        1..=4 => ("trace", "quiet"),
        5..=8 => ("debug", "quiet"),
        9..=12 => ("info", "note"),
        13..=16 => ("warn", "warn"),
        17..=20 => ("error", "bad"),
        21..=24 => ("fatal", "bad"),
        _ => match text.unwrap_or("").to_ascii_lowercase().as_str() {
            "trace" => ("trace", "quiet"),
            "debug" => ("debug", "quiet"),
            "info" | "notice" => ("info", "note"),
            "warn" | "warning" => ("warn", "warn"),
            "error" | "err" => ("error", "bad"),
            "fatal" | "critical" | "crit" => ("fatal", "bad"),
            _ => ("", "quiet"),
        },
    }
}

/// Returns log records as the API does.
pub(crate) fn as_json(tables: &[LogTable]) -> serde_json::Value {
    let records: Vec<_> = tables
        .iter()
        .flat_map(LogTable::rows)
        .map(|row| {
            let attributes: serde_json::Map<String, serde_json::Value> =
                row.attributes.iter().map(|(key, value, _)| (key.to_owned(), value.into())).collect();
            serde_json::json!({
                "time": format::machine(row.time_ns),
                "severity_number": row.severity_number,
                "severity_text": row.severity_text,
                "service_name": row.service_name,
                "body": row.body,
                "trace_id": row.trace_id.map(|id| id.to_string()),
                "span_id": row.span_id.map(|id| id.to_string()),
                "attributes": attributes,
            })
        })
        .collect();
    serde_json::json!({ "logs": records })
}
