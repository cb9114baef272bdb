//! `/compare?a=&b=`: how does one transaction differ from another, step by step? Steps are those of both critical
//! paths, which sum to the durations, so the differences sum to the difference of the two.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use analyzer::Transaction;
use askama::Template;
use axum::extract::Query;
use collector_table::TraceId;
use serde::Deserialize;

use crate::State;
use crate::error::PageError;
use crate::page::{Frame, PageResult, Shared, on_blocking_thread, render};
use crate::trace::critical::{Step, cause_words, steps};
use crate::whole::{self, StoredWhole};
use crate::{chart, format};

/// Steps shown; what the others differ is one line.
const STEPS_MAX: usize = 40;

/// The page.
#[derive(Template)]
#[template(path = "compare.html")]
struct ComparePage {
    frame: Frame,
    heading: String,
    left: Side,
    right: Side,
    difference: String,
    steps: Vec<StepLine>,
    rest: Option<(String, String)>,
}

/// One of the two transactions.
struct Side {
    url: String,
    id: String,
    name: String,
    started: String,
    duration: String,
}

/// One step in both.
struct StepLine {
    place: String,
    cause: &'static str,
    left: String,
    right: String,
    difference: String,
    is_longer: bool,
    bar: String,
}

/// Parameters of the page.
#[derive(Deserialize)]
pub(crate) struct Params {
    #[serde(default)]
    a: String,
    #[serde(default)]
    b: String,
}

/// `GET /compare`.
pub(crate) async fn compare(state: Shared, Query(params): Query<Params>) -> PageResult {
    let left = load(&state, &params.a).await?;
    let right = load(&state, &params.b).await?;
    on_blocking_thread(move || {
        let (left, right) = (stitched(&state, &left)?, stitched(&state, &right)?);
        Ok(render(&page(&left, &right)))
    })
    .await
}

async fn load(state: &Arc<State>, id: &str) -> Result<StoredWhole, PageError> {
    let wrong = |_| PageError::BadRequest("Give two trace ids: /compare?a=…&b=…".to_owned());
    let id: TraceId = id.trim().to_lowercase().parse().map_err(wrong)?;
    let stored = whole::load(state, id).await?;
    if stored.stored.is_cut || stored.unread > 0 {
        let text = format!("Trace {id} has more spans than one query may return: it cannot be compared.");
        return Err(PageError::BadRequest(text));
    }
    Ok(stored)
}

fn stitched(state: &State, stored: &StoredWhole) -> Result<Transaction, PageError> {
    let missing = || PageError::NotFound {
        what: "One of the two traces is not stored".to_owned(),
        hint: "It may still be on its way, or have been sampled away by the sender.".to_owned(),
    };
    Ok(whole::stitch(state, stored, true).ok_or_else(missing)?.transaction)
}

fn page(left: &Transaction, right: &Transaction) -> ComparePage {
    let (in_left, in_right) = (steps(left), steps(right));
    let mut differing: Vec<(&Step, i64)> = in_left
        .keys()
        .chain(in_right.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|step| (step, of(&in_left, step) - of(&in_right, step)))
        .collect();
    differing.sort_by_key(|(_, ns)| std::cmp::Reverse(ns.abs()));
    let largest = differing.first().map_or(0, |(_, ns)| ns.abs());
    let scale = chart::Scale::linear(0.0, format::to_millis(largest));
    let rest = differing.get(STEPS_MAX..).unwrap_or_default();
    let rest_ns: i64 = rest.iter().map(|(_, ns)| ns).sum();
    let difference_ns = left.duration_ns - right.duration_ns;
    let words = if difference_ns >= 0 { "longer" } else { "shorter" };
    ComparePage {
        frame: Frame::new("Compare", "/search"),
        heading: format!("{} {words} than the other", format::nanos(difference_ns.abs())),
        left: side(left),
        right: side(right),
        difference: difference(difference_ns),
        rest: (!rest.is_empty())
            .then(|| (format::counted(rest.len(), "other step", "other steps"), difference(rest_ns))),
        steps: differing
            .iter()
            .take(STEPS_MAX)
            .map(|(step, ns)| StepLine {
                place: step.place(),
                cause: cause_words(step.cause),
                left: duration(&in_left, step),
                right: duration(&in_right, step),
                difference: difference(*ns),
                is_longer: *ns > 0,
                bar: chart::percentage(scale.percent(format::to_millis(ns.abs()))),
            })
            .collect(),
    }
}

fn of(steps: &HashMap<Step, i64>, step: &Step) -> i64 {
    steps.get(step).copied().unwrap_or(0)
}

fn duration(steps: &HashMap<Step, i64>, step: &Step) -> String {
    steps.get(step).map_or_else(|| "–".to_owned(), |ns| format::nanos(*ns))
}

fn difference(ns: i64) -> String {
    format::difference(format::to_millis(ns))
}

fn side(transaction: &Transaction) -> Side {
    let root = transaction.root_span();
    Side {
        url: format!("/trace/{}", transaction.id),
        id: transaction.id.to_string(),
        name: format!("{} {}", root.service(), root.operation()),
        started: format::precise(transaction.started_ns),
        duration: format::nanos(transaction.duration_ns),
    }
}
