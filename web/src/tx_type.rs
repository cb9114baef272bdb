//! `/tx/{service}/{operation}`: what is usual for one transaction type, and how is it now?

use analyzer::summary::TypeSummary;
use askama::Template;
use axum::extract::{Path, Query};
use serde::Deserialize;

use crate::chart::{Minutes, MinutesInput};
use crate::colour::Colours;
use crate::error::PageError;
use crate::incidents::{Badge, IncidentCard};
use crate::page::{Frame, PageResult, Period, Shared, render};
use crate::search::TransactionLine;
use crate::source::{TransactionQuery, TransactionRow};
use crate::tx_expected::ExpectedView;
use crate::{format, text, tx};

/// Transactions in each of the two lists.
const ROWS_MAX: usize = 15;

/// The page.
#[derive(Template)]
#[template(path = "tx_type.html")]
struct TypePage {
    frame: Frame,
    service: String,
    operation: String,
    badge: Option<Badge>,
    lead: String,
    numbers: Vec<(&'static str, String)>,
    minutes: Option<Minutes>,
    incidents: Vec<IncidentCard>,
    expected: Option<ExpectedView>,
    lists: Vec<TransactionList>,
}

/// A short list of transactions.
struct TransactionList {
    heading: &'static str,
    url: String,
    rows: Vec<TransactionLine>,
}

/// Parameters of the page.
#[derive(Deserialize)]
pub(crate) struct Params {
    #[serde(default)]
    t: String,
    live: Option<String>,
}

/// `GET /tx/{service}/{operation}`.
pub(crate) async fn tx_type(
    state: Shared,
    Path((service, operation)): Path<(String, String)>,
    Query(params): Query<Params>,
) -> PageResult {
    let summary = state.summary.borrow().clone();
    let known = summary.types.iter().find(|line| line.service == service && line.operation == operation);
    let now_ns = (state.now_ns)();
    let period = Period::read(now_ns, &params.t, "", "")?;
    let mut query = TransactionQuery {
        from_ns: period.from_ns,
        to_ns: period.to_ns,
        service: Some(service.clone()),
        operation: Some(operation.clone()),
        limit: ROWS_MAX,
        ..TransactionQuery::default()
    };
    let newest = state.source.transactions(query.clone()).await?;
    query.is_slowest_first = true;
    let slowest = state.source.transactions(query).await?;
    if known.is_none() && newest.is_empty() {
        return Err(PageError::NotFound {
            what: format!("No transaction of type {service} {operation} was seen lately"),
            hint: "Types are named by the service and operation of their root span.".to_owned(),
        });
    }
    let path = text::type_url(&service, &operation);
    let mut colours = Colours::default();
    let mut list = |heading, sort, rows: &[TransactionRow]| {
        transactions(heading, sort, rows, (&service, &operation), &mut colours)
    };
    let is_of_type = |incident: &&analyzer::Incident| {
        incident.transaction.service == service && incident.transaction.operation == operation
    };
    let lists = vec![list("Newest", "", &newest), list("Slowest", "slowest", &slowest)];
    Ok(render(&TypePage {
        frame: Frame::new(&format!("{service} {operation}"), "/tx").live(&path, params.live.as_deref()),
        badge: known.map(|line| tx::badge(line.state)),
        lead: known.map(lead).unwrap_or_default(),
        numbers: known.map(numbers).unwrap_or_default(),
        minutes: known.filter(|line| !line.minutes.is_empty()).map(|line| minutes(line, summary.as_of_ns)),
        incidents: summary.incidents.iter().filter(is_of_type).map(|found| IncidentCard::new(found, now_ns)).collect(),
        expected: summary.expectations.of(&service, &operation).as_ref().map(ExpectedView::new),
        lists,
        service,
        operation,
    }))
}

fn transactions(
    heading: &'static str,
    sort: &str,
    rows: &[TransactionRow],
    (service, operation): (&str, &str),
    colours: &mut Colours,
) -> TransactionList {
    let longest_ns = rows.iter().map(|row| row.duration_ns).max().unwrap_or(0);
    TransactionList {
        heading,
        url: text::url_with("/search", &[("service", service), ("operation", operation), ("sort", sort)]),
        rows: rows.iter().map(|row| TransactionLine::new(row, longest_ns, colours)).collect(),
    }
}

fn lead(line: &TypeSummary) -> String {
    match tx::usual(line) {
        Some((p50, p99)) => format!(
            "Usually half take up to {} and 99% up to {}. Now: {} and {}.",
            format::millis(p50),
            format::millis(p99),
            format::millis(line.p50_ms),
            format::millis(line.p99_ms)
        ),
        None => format!(
            "What is usual is not known yet: {} seen so far.",
            format::counted(usize::try_from(line.reference_count).unwrap_or(usize::MAX), "transaction", "transactions")
        ),
    }
}

fn numbers(line: &TypeSummary) -> Vec<(&'static str, String)> {
    vec![
        ("per minute", format::rate(line.per_minute)),
        ("with an error", format::share(line.error_share)),
        ("p50 now", format::millis(line.p50_ms)),
        ("p99 now", format::millis(line.p99_ms)),
        ("in the reference", format::count(line.reference_count)),
    ]
}

fn minutes(line: &TypeSummary, as_of_ns: i64) -> Minutes {
    Minutes::draw(&MinutesInput { minutes: &line.minutes, usual: tx::usual(line), until_ns: as_of_ns, onset_ns: None })
}
