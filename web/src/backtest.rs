//! What another budget would have told: the question, the answers that the daemon has for it, and which of the incidents
//! that would have opened is which of those that did. Read by the page `/rules` and by the API, which say the same.
//! Must never replay anything: the daemon does, elsewhere and one at a time.

use std::sync::Arc;

use analyzer::Incident;
use analyzer::incident::IncidentStatus;
use analyzer::time::parse_rfc3339;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::format;

/// Highest budget that is asked for; it is far beyond the one from which thresholds fall no more.
const BUDGET_MAX: f64 = 1_000.0;
/// Longest window, nanoseconds: a week.
const WINDOW_MAX_NS: i64 = 7 * 24 * 3_600 * 1_000_000_000;
/// Incidents that are this far apart may be one: an onset is an estimate, and differs with what is known before.
const APART_MAX_NS: i64 = 5 * 60 * 1_000_000_000;

/// Which budget, and which time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BacktestQuestion {
    /// False incidents a week that are tolerated.
    pub false_alarms_per_week: f64,
    /// Unix nanoseconds.
    pub from_ns: i64,
    /// Unix nanoseconds.
    pub until_ns: i64,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BacktestProgress {
    /// Minutes of stored time that were replayed.
    pub minutes: u64,
    /// Minutes to replay, with those before the window.
    pub minutes_total: u64,
    /// Spans that were replayed.
    pub spans: u64,
}

/// What the daemon says to a question.
#[derive(Debug, Clone)]
pub enum BacktestAnswer {
    /// It is being computed, since now or before.
    Running(BacktestProgress),
    /// Another question is being computed; only one is at a time.
    Busy(BacktestQuestion, BacktestProgress),
    /// It is known.
    Done(Arc<BacktestResult>),
    /// It could not be computed; why. After a while it may be asked again.
    Failed(String),
}

/// Answers a question, or begins to compute it; must not block.
pub type Backtest = Arc<dyn Fn(BacktestQuestion) -> BacktestAnswer + Send + Sync>;

/// What a replay found.
#[derive(Debug, Clone)]
pub struct BacktestResult {
    /// What was asked.
    pub question: BacktestQuestion,
    /// From when on stored spans were replayed, unix nanoseconds: before the window, to know what is usual.
    pub learned_from_ns: i64,
    /// Earliest stored span of that time; none when there is none.
    pub first_span_ns: Option<i64>,
    /// Up to when it was replayed: the window's end, unless it was cut short.
    pub replayed_until_ns: i64,
    /// Why it was cut short.
    pub cut_short: Option<String>,
    /// Spans that were replayed.
    pub spans: u64,
    /// Log records that were replayed.
    pub logs: u64,
    /// Stretches of time that held more than one query returns.
    pub truncated: u64,
    /// Incidents that would have been open in the window, as they were known at its end.
    pub would_open: Vec<Incident>,
    /// Incidents that would have been open and are left out: too many.
    pub left_out: u64,
    /// Incidents that were open in the window.
    pub opened: Vec<Incident>,
}

/// Parameters of the page and of the API.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Params {
    pub(crate) budget: String,
    pub(crate) from: String,
    pub(crate) until: String,
    /// A window that ends now, such as `6h`; the page turns it into the other two.
    pub(crate) t: String,
}

impl Params {
    /// Returns whether nothing is asked.
    pub(crate) fn are_empty(&self) -> bool {
        [&self.budget, &self.from, &self.until, &self.t].iter().all(|text| text.is_empty())
    }

    /// Returns the budget that is asked for, or else the one in force; or what is wrong, for who asked.
    pub(crate) fn budget(&self, in_force: f64) -> Result<f64, String> {
        let text = self.budget.trim();
        if text.is_empty() {
            return Ok(in_force);
        }
        let budget = text.parse().ok().filter(|budget: &f64| *budget > 0.0 && *budget <= BUDGET_MAX);
        budget.ok_or_else(|| {
            format!("“{text}” is no budget: use a number of false alarms a week, above 0 and at most {BUDGET_MAX}")
        })
    }

    /// Returns the question, or what is wrong with it.
    pub(crate) fn question(&self, in_force: f64, now_ns: i64) -> Result<BacktestQuestion, String> {
        let time = |name: &str, text: &str| {
            parse_rfc3339(text.trim())
                .ok_or_else(|| format!("{name} is “{text}”, which is no time: write it as 2026-11-21T12:00:00Z"))
        };
        let false_alarms_per_week = self.budget(in_force)?;
        let (from_ns, until_ns) = (time("from", &self.from)?, time("until", &self.until)?);
        if from_ns >= until_ns {
            return Err("from must be before until".to_owned());
        }
        if until_ns > now_ns {
            return Err("until lies in the future: only what is stored can be replayed".to_owned());
        }
        if until_ns.saturating_sub(from_ns) > WINDOW_MAX_NS {
            return Err(format!(
                "at most {} are replayed here; throughline analyze --stored has no such limit",
                format::nanos(WINDOW_MAX_NS)
            ));
        }
        Ok(BacktestQuestion { false_alarms_per_week, from_ns, until_ns })
    }
}

impl BacktestQuestion {
    /// Returns the parameters that ask this.
    pub(crate) fn params(&self) -> [(&'static str, String); 3] {
        let Self { false_alarms_per_week, from_ns, until_ns } = *self;
        let [from, until] = [from_ns, until_ns].map(format::machine);
        [("budget", false_alarms_per_week.to_string()), ("from", from), ("until", until)]
    }
}

/// How an incident of the window would have fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It did not open, and would have.
    OnlyWithThisBudget,
    /// It opened, and would not have.
    NoLonger,
    /// It opened, and would have.
    BothWays,
}

impl Verdict {
    /// Returns the word used in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::OnlyWithThisBudget => "only_with_this_budget",
            Self::NoLonger => "no_longer",
            Self::BothWays => "both_ways",
        }
    }
}

/// The same incident on both sides, or one that is on one side only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) would_open: Option<&'a Incident>,
    pub(crate) opened: Option<&'a Incident>,
}

impl<'a> Pair<'a> {
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.would_open, self.opened) {
            (Some(_), Some(_)) => Verdict::BothWays,
            (Some(_), None) => Verdict::OnlyWithThisBudget,
            (None, _) => Verdict::NoLonger,
        }
    }

    /// Returns the side that has more to tell: what opened has a page.
    pub(crate) fn shown(&self) -> Option<&'a Incident> {
        self.opened.or(self.would_open)
    }
}

/// Pairs incidents: those of one kind and cause that overlap in time first, then those of one cause, because with more
/// or fewer anomalies an incident may go by another kind. What differs comes before what does not, the newest first.
pub(crate) fn pairs(result: &BacktestResult) -> Vec<Pair<'_>> {
    let mut opened: Vec<Option<&Incident>> = result.opened.iter().map(Some).collect();
    let mut would: Vec<(&Incident, Option<&Incident>)> = result.would_open.iter().map(|one| (one, None)).collect();
    for is_alike in [is_same as fn(&Incident, &Incident) -> bool, is_of_one_cause] {
        for (one, other) in would.iter_mut().filter(|(_, other)| other.is_none()) {
            *other = opened.iter_mut().find_map(|other| other.take_if(|other| is_alike(one, other)));
        }
    }
    let matched = would.into_iter().map(|(one, other)| Pair { would_open: Some(one), opened: other });
    let no_longer = opened.into_iter().flatten().map(|one| Pair { would_open: None, opened: Some(one) });
    let mut pairs: Vec<Pair<'_>> = matched.chain(no_longer).collect();
    let began = |pair: &Pair<'_>| pair.shown().map_or(0, |one| times_ns(one).0);
    pairs.sort_by_key(|pair| (pair.verdict(), std::cmp::Reverse(began(pair))));
    pairs
}

fn is_same(one: &Incident, other: &Incident) -> bool {
    one.kind == other.kind && is_of_one_cause(one, other)
}

fn is_of_one_cause(one: &Incident, other: &Incident) -> bool {
    let ((began, ended), (other_began, other_ended)) = (times_ns(one), times_ns(other));
    let is_near =
        began <= other_ended.saturating_add(APART_MAX_NS) && other_began <= ended.saturating_add(APART_MAX_NS);
    is_near && root_service(one) == root_service(other)
}

fn root_service(incident: &Incident) -> &str {
    incident.root_cause.first().map_or(&incident.transaction.service, |cause| &cause.service)
}

/// Returns when an incident began, for the first time, and ended; one that is open never did.
fn times_ns(incident: &Incident) -> (i64, i64) {
    let ended = incident.resolved_at.as_deref().filter(|_| incident.status == IncidentStatus::Resolved);
    (incident.began_ns().unwrap_or(0), ended.and_then(parse_rfc3339).unwrap_or(i64::MAX))
}

/// Returns a result as the API shows it.
pub(crate) fn result_json(result: &BacktestResult) -> Value {
    let BacktestResult { question, spans, logs, truncated, left_out, .. } = result;
    let incidents: Vec<Value> = pairs(result)
        .iter()
        .map(|pair| json!({ "verdict": pair.verdict().as_str(), "would_open": pair.would_open, "opened": pair.opened }))
        .collect();
    json!({
        "state": "done",
        "false_alarms_per_week": question.false_alarms_per_week,
        "from": format::machine(question.from_ns),
        "until": format::machine(question.until_ns),
        "learned_from": format::machine(result.learned_from_ns),
        "first_span": result.first_span_ns.map(format::machine),
        "replayed_until": format::machine(result.replayed_until_ns),
        "cut_short": result.cut_short,
        "spans": spans,
        "logs": logs,
        "truncated": truncated,
        "left_out": left_out,
        "incidents": incidents,
    })
}

/// Returns how far a replay is as the API shows it.
pub(crate) fn progress_json(question: &BacktestQuestion, progress: BacktestProgress) -> Value {
    json!({
        "state": "running",
        "false_alarms_per_week": question.false_alarms_per_week,
        "from": format::machine(question.from_ns),
        "until": format::machine(question.until_ns),
        "minutes": progress.minutes,
        "minutes_total": progress.minutes_total,
        "spans": progress.spans,
    })
}

/// Returns a sentence about another question that is being computed.
pub(crate) fn busy_words(question: &BacktestQuestion, progress: BacktestProgress) -> String {
    format!(
        "Another one is being computed, of {} false alarms a week from {} to {}: {} of {} minutes are replayed. One runs at \
         a time; ask again when it is done.",
        question.false_alarms_per_week,
        format::moment(question.from_ns),
        format::moment(question.until_ns),
        format::count(progress.minutes),
        format::count(progress.minutes_total)
    )
}

#[cfg(test)]
mod tests;
