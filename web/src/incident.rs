//! `/incidents/{number}`: where, since when, who, what changed, is it spreading, what to do; and the evidence for it.
//! Also as `.json` (the contract) and `.txt` (for an incident channel).

mod logs;

use std::fmt::Write;

use analyzer::incident::{Evidence, RateEvidence, RootCause};
use analyzer::summary::TypeSummary;
use analyzer::{Incident, Summary};
use askama::Template;
use axum::Json;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use crate::chart::{BeforeAfter, Minutes, MinutesInput};
use crate::error::PageError;
use crate::incidents::{Badge, age, cause_phrase, cause_place, kind_words};
use crate::page::{Frame, PageResult, Shared, plain, render};
use crate::webhooks::{DeliveryLine, DeliveryQuery};
use crate::{Dismissal, format, text, tx};

/// Deliveries shown on the page.
const DELIVERIES_MAX: usize = 20;

/// The page of an incident.
#[derive(Template)]
#[template(path = "incident.html")]
struct IncidentPage {
    frame: Frame,
    label: String,
    title: String,
    badge: Badge,
    kind: String,
    age: String,
    summary: String,
    path: String,
    type_url: String,
    type_name: String,
    since: String,
    uncertainty: String,
    detected: String,
    resolved: Option<String>,
    reopened: bool,
    dismissed: bool,
    minutes: Option<Minutes>,
    impact: Vec<(&'static str, String)>,
    who: Vec<String>,
    changes: Vec<Line>,
    rate: Option<RateLines>,
    causes: Vec<CauseLine>,
    unexplained: Option<String>,
    affected: Vec<Line>,
    trend: String,
    before_after: Option<BeforeAfter>,
    quantiles: Vec<QuantileLine>,
    evidence: Vec<(&'static str, String)>,
    exemplars: Vec<ExemplarLine>,
    logs: Vec<logs::LogLines>,
    compare_url: Option<String>,
    suggestions: Vec<String>,
    deliveries: Vec<DeliveryLine>,
}

/// A time and what was the matter.
struct Line {
    at: String,
    text: String,
    kind: String,
}

/// One candidate for the root cause.
struct CauseLine {
    rank: usize,
    place: String,
    cause: String,
    usual: String,
    now: String,
    added: String,
    share: String,
    /// Width of the share's bar.
    share_bar: String,
    onset: String,
    evidence: String,
}

/// How often something goes wrong, of an incident that is about that.
struct RateLines {
    what: String,
    /// What is counted, and in which time.
    counted: String,
    now: RateLine,
    usual: RateLine,
    notes: Vec<String>,
}

/// One of both, with a bar of the share.
struct RateLine {
    counts: String,
    share: String,
    bar: String,
}

/// A quantile before and after.
struct QuantileLine {
    name: &'static str,
    before: String,
    after: String,
    factor: String,
}

/// A transaction to look at.
struct ExemplarLine {
    url: String,
    short_id: String,
    role: String,
    duration: String,
    width: String,
    is_affected: bool,
}

/// Parameters of the page.
#[derive(Deserialize)]
pub(crate) struct Params {
    live: Option<String>,
}

/// `GET /incidents/{number}`, `.json` and `.txt`.
pub(crate) async fn incident(state: Shared, Path(name): Path<String>, Query(params): Query<Params>) -> PageResult {
    let summary = state.summary.borrow().clone();
    let (wanted, form) = match name.rsplit_once('.') {
        Some((wanted, form @ ("json" | "txt"))) => (wanted, form),
        _ => (name.as_str(), ""),
    };
    let incident = find(&summary, wanted).ok_or_else(|| unknown(wanted))?;
    match form {
        "json" => return Ok(Json(incident).into_response()),
        "txt" => return Ok(plain(as_text(incident))),
        _ => {}
    }
    let query = DeliveryQuery { target: None, incident: Some(incident.number), limit: DELIVERIES_MAX };
    let deliveries = state.webhooks.deliveries(query).await;
    let path = format!("/incidents/{}", incident.number);
    let frame = Frame::new(&format!("#{} {}", incident.number, incident.title), "/incidents");
    let frame = frame.live(&path, params.live.as_deref());
    let now_ns = (state.now_ns)();
    let deliveries = deliveries.iter().map(|delivery| DeliveryLine::new(delivery, now_ns)).collect();
    Ok(render(&page(frame, incident, &summary, deliveries, now_ns)))
}

/// `POST /incidents/{number}/dismiss`: closes it as no problem and shows it.
pub(crate) async fn dismiss(state: Shared, Path(name): Path<String>) -> PageResult {
    let number = find(&state.summary.borrow(), &name).map(|incident| incident.number);
    let number = number.ok_or_else(|| unknown(&name))?;
    match (state.dismiss)(number).await {
        // Somebody else may have closed it a moment ago: the page shows how it is.
        Dismissal::Closed(_) | Dismissal::NotOpen => Ok(Redirect::to(&format!("/incidents/{number}")).into_response()),
        Dismissal::Unavailable => Err(PageError::Unavailable),
    }
}

fn unknown(wanted: &str) -> PageError {
    PageError::NotFound {
        what: format!("There is no incident {wanted}"),
        hint: "Open incidents and the latest resolved ones can be shown.".to_owned(),
    }
}

/// Returns the incident with this number or id.
pub(crate) fn find<'a>(summary: &'a Summary, wanted: &str) -> Option<&'a Incident> {
    let number: Option<u64> = wanted.parse().ok();
    summary.incidents.iter().find(|incident| Some(incident.number) == number || incident.id == wanted)
}

fn page(
    frame: Frame,
    incident: &Incident,
    summary: &Summary,
    deliveries: Vec<DeliveryLine>,
    now_ns: i64,
) -> IncidentPage {
    let transaction = &incident.transaction;
    let is_type = |line: &&TypeSummary| {
        line.service == transaction.service && line.operation == transaction.operation && !line.minutes.is_empty()
    };
    IncidentPage {
        frame,
        label: format!("#{}", incident.number),
        title: incident.title.clone(),
        badge: Badge::of(incident),
        kind: kind_words(incident),
        age: age(incident, now_ns),
        summary: incident.summary.clone(),
        path: format!("/incidents/{}", incident.number),
        type_url: text::type_url(&transaction.service, &transaction.operation),
        type_name: format!("{} {}", transaction.service, transaction.operation),
        since: format::stated_moment(&incident.started_at),
        uncertainty: format::round_millis(incident.started_at_uncertainty_s * 1e3),
        detected: format::stated_moment(&incident.detected_at),
        resolved: incident.resolved_at.as_deref().map(format::stated_moment),
        reopened: incident.reopened,
        dismissed: incident.dismissed,
        minutes: summary.types.iter().find(is_type).map(|line| minutes(line, summary.as_of_ns, incident)),
        impact: impact(incident),
        who: incident.impact.who.clone(),
        changes: incident
            .changes
            .iter()
            .map(|change| Line {
                at: format::stated_near(&change.at, &incident.started_at),
                text: change.text.clone(),
                kind: change.kind.clone(),
            })
            .collect(),
        rate: incident.evidence.rate.as_ref().map(rate_lines),
        causes: incident
            .root_cause
            .iter()
            .enumerate()
            .map(|(index, cause)| cause_line(index, cause, &incident.started_at))
            .collect(),
        unexplained: tells_of_time(incident).then(|| format::difference(incident.evidence.unexplained_ms)),
        affected: incident
            .affected
            .iter()
            .map(|affected| Line {
                at: format::stated_near(&affected.since, &incident.started_at),
                text: affected.operation.clone(),
                kind: affected.service.clone(),
            })
            .collect(),
        trend: incident.spread.trend.clone(),
        before_after: BeforeAfter::draw(&incident.evidence.before, &incident.evidence.after),
        quantiles: quantiles(&incident.evidence),
        evidence: evidence(&incident.evidence),
        exemplars: exemplars(incident),
        logs: incident.evidence.logs.iter().map(|log| logs::LogLines::new(log, &incident.started_at)).collect(),
        compare_url: compare_url(incident),
        suggestions: incident.suggestions.clone(),
        deliveries,
    }
}

fn minutes(line: &TypeSummary, as_of_ns: i64, incident: &Incident) -> Minutes {
    Minutes::draw(&MinutesInput {
        minutes: &line.minutes,
        usual: tx::usual(line),
        until_ns: as_of_ns,
        onset_ns: analyzer::time::parse_rfc3339(&incident.started_at),
    })
}

fn impact(incident: &Incident) -> Vec<(&'static str, String)> {
    let impact = &incident.impact;
    vec![
        ("transactions", format::count(impact.transactions)),
        ("share of the type", format::share(impact.share)),
        ("per minute now", format::rate(impact.per_minute)),
        ("waited longer, in all", format::millis(impact.extra_seconds * 1e3)),
    ]
}

fn cause_line(index: usize, cause: &RootCause, near: &str) -> CauseLine {
    let added = cause.now_ms.zip(cause.usual_ms).map(|(now, usual)| now - usual);
    let unknown = || "–".to_owned();
    CauseLine {
        rank: index + 1,
        place: cause_place(cause),
        cause: cause.cause.replace('_', " "),
        usual: cause.usual_ms.map_or_else(unknown, format::millis),
        now: cause.now_ms.map_or_else(unknown, format::millis),
        added: added.map_or_else(unknown, format::difference),
        share: cause.share.map_or_else(unknown, format::share),
        share_bar: crate::chart::percentage(cause.share.unwrap_or(0.0).clamp(0.0, 1.0) * 100.0),
        onset: cause.onset.as_deref().map_or_else(unknown, |onset| format::stated_near(onset, near)),
        evidence: cause.evidence.clone(),
    }
}

/// Returns whether extra time was found, and so whether some of it may be left unexplained.
fn tells_of_time(incident: &Incident) -> bool {
    incident.root_cause.iter().any(|cause| cause.share.is_some())
}

fn rate_lines(rate: &RateEvidence) -> RateLines {
    let line = |wrong, of, share: f64| RateLine {
        counts: format!("{} of {}", format::count(wrong), format::count(of)),
        share: format::share(share),
        bar: crate::chart::percentage(share.clamp(0.0, 1.0) * 100.0),
    };
    let notes = rate.notes.iter().cloned();
    RateLines {
        what: rate.what.clone(),
        counted: format!("{}, in the last {} s", rate.occasions, rate.window_s),
        now: line(rate.now, rate.now_of, rate.now_share),
        usual: line(rate.usual, rate.usual_of, rate.usual_share),
        notes: notes.chain(rate.also.iter().map(|also| format!("Also {also}"))).collect(),
    }
}

fn quantiles(evidence: &Evidence) -> Vec<QuantileLine> {
    let line = |name, before: f64, after: f64| QuantileLine {
        name,
        before: format::millis(before),
        after: format::millis(after),
        factor: if before > 0.0 { format!("×{:.1}", after / before) } else { "–".to_owned() },
    };
    let (before, after) = (&evidence.before, &evidence.after);
    vec![
        line("p50", before.p50_ms, after.p50_ms),
        line("p95", before.p95_ms, after.p95_ms),
        line("p99", before.p99_ms, after.p99_ms),
        QuantileLine {
            name: "count",
            before: format::count(before.count),
            after: format::count(after.count),
            factor: String::new(),
        },
    ]
}

fn evidence(evidence: &Evidence) -> Vec<(&'static str, String)> {
    let unit = evidence.rate.as_ref().map_or("transactions", |rate| &rate.occasions);
    vec![
        ("test", evidence.test.clone()),
        ("statistic", format!("{:.2}, had to pass {:.2}", evidence.statistic, evidence.threshold)),
        ("judged", format!("{} {unit}", format::count(evidence.samples))),
        ("against", format!("{} {unit}", format::count(evidence.reference_samples))),
        ("reference", evidence.reference.clone()),
    ]
}

fn exemplars(incident: &Incident) -> Vec<ExemplarLine> {
    let longest = incident.exemplars.iter().map(|exemplar| exemplar.duration_ms).fold(0.0, f64::max);
    let scale = crate::chart::Scale::linear(0.0, longest);
    incident
        .exemplars
        .iter()
        .map(|exemplar| ExemplarLine {
            url: format!("/trace/{}", text::url_part(&exemplar.trace_id)),
            short_id: text::shortened(&exemplar.trace_id, 8),
            role: exemplar.role.clone(),
            duration: format::millis(exemplar.duration_ms),
            width: crate::chart::percentage(scale.percent(exemplar.duration_ms)),
            is_affected: exemplar.role == "affected",
        })
        .collect()
}

/// Returns the comparison of the first affected exemplar with the first usual one.
fn compare_url(incident: &Incident) -> Option<String> {
    let first = |role: &str| incident.exemplars.iter().find(|exemplar| exemplar.role == role);
    let (affected, usual) = (first("affected")?, first("usual")?);
    Some(text::url_with("/compare", &[("a", &affected.trace_id), ("b", &usual.trace_id)]))
}

/// Returns the incident as text for people, one fact a line.
fn as_text(incident: &Incident) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{}", text::one_line(&text)).expect("writing to a string cannot fail");
    let badge = Badge::of(incident);
    line(format!("#{} {} {}", incident.number, badge.word, incident.title));
    line(incident.summary.clone());
    line(String::new());
    line(format!("transaction   {} {}", incident.transaction.service, incident.transaction.operation));
    line(format!("since         {}", format::stated_moment(&incident.started_at)));
    line(format!(
        "affected      {} transactions, {} of the type, {} a minute",
        format::count(incident.impact.transactions),
        format::share(incident.impact.share),
        format::rate(incident.impact.per_minute)
    ));
    if let Some(rate) = incident.evidence.rate.as_ref().map(rate_lines) {
        line(format!("what          {}", rate.what));
        line(format!("counted       {}", rate.counted));
        line(format!("now           {}, {}", rate.now.counts, rate.now.share));
        line(format!("usually       {}, {}", rate.usual.counts, rate.usual.share));
    }
    for (index, cause) in incident.root_cause.iter().enumerate() {
        let row = cause_line(index, cause, &incident.started_at);
        let phrase = cause_phrase(cause);
        match cause.share {
            Some(_) => line(format!(
                "cause {}       {phrase}: {} → {} ({}, {})",
                row.rank, row.usual, row.now, row.added, row.share
            )),
            None => line(format!("cause {}       {phrase}", row.rank)),
        }
        line(format!("              {}", cause.evidence));
    }
    for log in &incident.evidence.logs {
        logs::as_text(log, &incident.started_at).into_iter().for_each(&mut line);
    }
    for change in &incident.changes {
        line(format!("changed       {} {}", format::stated_moment(&change.at), change.text));
    }
    for suggestion in &incident.suggestions {
        line(format!("next          {suggestion}"));
    }
    for exemplar in &incident.exemplars {
        line(format!("{:13} {} {}", exemplar.role, exemplar.trace_id, format::millis(exemplar.duration_ms)));
    }
    line(incident.url.clone());
    out
}
