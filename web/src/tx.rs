//! `/tx`: every transaction type now and usually; and the line by which the overview shows a type.

use analyzer::summary::{TypeState, TypeSummary};
use askama::Template;
use axum::extract::Query;
use serde::Deserialize;

use crate::chart::{Minutes, MinutesInput};
use crate::incidents::Badge;
use crate::page::{Frame, PageResult, Shared, render};
use crate::{format, text};

/// A transaction type in one table row.
pub(crate) struct TypeLine {
    pub(crate) service: String,
    pub(crate) operation: String,
    pub(crate) url: String,
    pub(crate) per_minute: String,
    pub(crate) errors: String,
    pub(crate) has_errors: bool,
    pub(crate) usual_p50: String,
    pub(crate) usual_p99: String,
    pub(crate) p50: String,
    pub(crate) p99: String,
    pub(crate) minutes: Minutes,
    pub(crate) badge: Badge,
    /// Page and number of the open incident.
    pub(crate) incident: Option<(String, String)>,
}

impl TypeLine {
    /// Makes the line; minutes end at `as_of_ns`.
    pub(crate) fn new(line: &TypeSummary, as_of_ns: i64) -> Self {
        Self {
            service: line.service.clone(),
            operation: line.operation.clone(),
            url: text::type_url(&line.service, &line.operation),
            per_minute: format::rate(line.per_minute),
            errors: format::share(line.error_share),
            has_errors: line.error_share > 0.0,
            usual_p50: line.usual_p50_ms.map_or_else(|| "–".to_owned(), format::millis),
            usual_p99: line.usual_p99_ms.map_or_else(|| "–".to_owned(), format::millis),
            p50: format::millis(line.p50_ms),
            p99: format::millis(line.p99_ms),
            minutes: Minutes::draw(&MinutesInput {
                minutes: &line.minutes,
                usual: usual(line),
                until_ns: as_of_ns,
                onset_ns: None,
            }),
            badge: badge(line.state),
            incident: line.incident.map(|number| (format!("/incidents/{number}"), format!("#{number}"))),
        }
    }
}

/// Returns the usual median and 99th percentile, once known.
pub(crate) fn usual(line: &TypeSummary) -> Option<(f64, f64)> {
    line.usual_p50_ms.zip(line.usual_p99_ms)
}

/// Returns how a type's state is marked.
pub(crate) fn badge(state: TypeState) -> Badge {
    match state {
        TypeState::Slow => Badge { shape: "▲", word: "slow", class: "bad" },
        TypeState::Usual => Badge { shape: "●", word: "as usual", class: "good" },
        TypeState::Learning => Badge { shape: "○", word: "learning", class: "quiet" },
    }
}

/// The list of types.
#[derive(Template)]
#[template(path = "tx.html")]
struct TypesPage {
    frame: Frame,
    heading: String,
    query: String,
    types: Vec<TypeLine>,
}

/// Parameters of the list.
#[derive(Deserialize)]
pub(crate) struct Params {
    #[serde(default)]
    q: String,
}

/// `GET /tx`.
pub(crate) async fn types(state: Shared, Query(params): Query<Params>) -> PageResult {
    let summary = state.summary.borrow().clone();
    let wanted = params.q.to_lowercase();
    let fits = |line: &&TypeSummary| format!("{} {}", line.service, line.operation).to_lowercase().contains(&wanted);
    let types: Vec<TypeLine> =
        summary.types.iter().filter(fits).map(|line| TypeLine::new(line, summary.as_of_ns)).collect();
    Ok(render(&TypesPage {
        frame: Frame::new("Transaction types", "/tx"),
        heading: format::counted(types.len(), "transaction type", "transaction types"),
        query: params.q,
        types,
    }))
}
