//! One backtest: stored spans and log records of the window, and of some time before it, through an analysis of their own.
//! Called on the backtest's thread. Holds that analysis and one slice.

use std::collections::BTreeMap;

use analyzer::Analyzer;
use analyzer::detect::IncidentChange;
use analyzer::incident::{Incident, IncidentEvent};
use analyzer::time::parse_rfc3339;
use anyhow::{Context as _, ensure};
use tokio::time::Instant;
use web::{BacktestProgress, BacktestQuestion, BacktestResult};

use super::Means;
use crate::slices::{Arrival, ROWS_FEW, Slices};

const MINUTE_NS: i64 = 60 * 1_000_000_000;
/// Time before the window that is replayed to know what is usual: the half hour that is compared with, and some.
const LEARNED_NS: i64 = 45 * MINUTE_NS;
/// Incidents of an answer; further ones are counted.
const INCIDENTS_MAX: usize = 100;
/// Incidents that really opened and are looked through, the newest.
const OPENED_MAX: usize = 1_000;
/// Where it is not known any more when an incident was noticed, it is taken to be this long after it began.
const NOTICED_AFTER_NS: i64 = 2 * MINUTE_NS;
/// Of the memory that the daemon may use, what may be in use while a backtest runs: short of where senders are refused.
const MEMORY_TENTHS: u64 = 9;

/// Replays what the question is about. Minute by minute, says how far it is.
///
/// # Errors
/// When stored data or the state cannot be read, the daemon stops, or memory runs short.
pub(super) async fn replay(
    means: &Means,
    question: BacktestQuestion,
    tell: impl Fn(BacktestProgress),
) -> anyhow::Result<BacktestResult> {
    let began = Instant::now();
    let BacktestQuestion { from_ns, until_ns, .. } = question;
    let learned_from_ns = learned_from_ns(&question);
    let mut slices = Slices::new(means.reader.clone(), learned_from_ns..until_ns, ROWS_FEW);
    let mut found = Found::new(means, question);
    let mut result = BacktestResult {
        question,
        learned_from_ns,
        first_span_ns: None,
        replayed_until_ns: until_ns,
        cut_short: None,
        spans: 0,
        logs: 0,
        truncated: 0,
        would_open: Vec::new(),
        left_out: 0,
        opened: Vec::new(),
    };
    loop {
        check(means)?;
        tell(progress(&question, slices.read_until_ns(), result.spans));
        result.cut_short = cut_short(means, result.spans, began);
        if result.cut_short.is_some() {
            result.replayed_until_ns = slices.read_until_ns();
            break;
        }
        let Some(slice) = slices.next().await? else { break };
        if slice.lacks_logs {
            found.analyzer.miss_logs(slice.started_ns.end);
        }
        for arrival in slice.arrivals {
            found.take(&arrival, &mut result);
        }
    }
    found.advance(result.replayed_until_ns);
    result.truncated = slices.truncated();
    (result.would_open, result.left_out) = found.incidents(result.replayed_until_ns);
    let opened = means.state.load_incidents(OPENED_MAX).await.context("loading incidents")?;
    let was_open = |incident: &Incident| is_open_between(incident, from_ns, result.replayed_until_ns);
    result.opened = opened.into_iter().filter(was_open).take(INCIDENTS_MAX).collect();
    Ok(result)
}

/// Returns how far a replay is.
pub(super) fn progress(question: &BacktestQuestion, read_until_ns: i64, spans: u64) -> BacktestProgress {
    let from_ns = learned_from_ns(question);
    let minutes = |until_ns: i64| u64::try_from(until_ns.saturating_sub(from_ns) / MINUTE_NS).unwrap_or(0);
    BacktestProgress { minutes: minutes(read_until_ns), minutes_total: minutes(question.until_ns), spans }
}

fn learned_from_ns(question: &BacktestQuestion) -> i64 {
    question.from_ns.saturating_sub(LEARNED_NS)
}

/// Ends the replay where it would be in the way.
fn check(means: &Means) -> anyhow::Result<()> {
    ensure!(!*means.stopped.borrow(), "the daemon is stopping");
    let memory = &means.memory;
    let is_short = memory.resident_bytes() > memory.limit_bytes() / 10 * MEMORY_TENTHS;
    ensure!(!is_short, "the daemon uses nearly all of limits.memory, and what arrives goes first");
    Ok(())
}

fn cut_short(means: &Means, spans: u64, began: Instant) -> Option<String> {
    let bounds = means.bounds;
    if spans >= bounds.spans_max {
        return Some(format!("at most {} spans are replayed", bounds.spans_max));
    }
    let seconds = bounds.takes_max.as_secs();
    (began.elapsed() >= bounds.takes_max).then(|| format!("a replay may take {seconds} s"))
}

/// The analysis, and what it told of the window.
struct Found {
    analyzer: Analyzer,
    from_ns: i64,
    /// By number, as they are known now.
    incidents: BTreeMap<u64, Incident>,
    left_out: u64,
}

impl Found {
    fn new(means: &Means, question: BacktestQuestion) -> Self {
        let mut limits = means.limits.clone();
        limits.detector.false_alarms_per_week = question.false_alarms_per_week;
        let (analyzer, from_ns) = (Analyzer::new(limits), question.from_ns);
        Self { analyzer, from_ns, incidents: BTreeMap::new(), left_out: 0 }
    }

    fn take(&mut self, arrival: &Arrival, result: &mut BacktestResult) {
        if let Some(logs) = &arrival.logs {
            result.logs += logs.len() as u64;
            self.analyzer.push_logs(logs, arrival.now_ns);
        }
        if let Some(spans) = &arrival.spans {
            result.spans += spans.len() as u64;
            result.first_span_ns = result.first_span_ns.or_else(|| spans.columns().starts_ns.iter().min().copied());
            let outcome = self.analyzer.push(spans, arrival.now_ns);
            self.note(outcome.changes);
        }
    }

    /// The window ends, and traffic goes on after it: what is open then stays open.
    fn advance(&mut self, now_ns: i64) {
        let outcome = self.analyzer.advance(now_ns);
        self.note(outcome.changes);
    }

    fn note(&mut self, changes: Vec<IncidentChange>) {
        for IncidentChange { event, incident } in changes {
            let number = incident.number;
            if !is_open_between(&incident, self.from_ns, i64::MAX) {
                self.incidents.remove(&number);
            } else if self.incidents.len() < INCIDENTS_MAX || self.incidents.contains_key(&number) {
                self.incidents.insert(number, incident);
            } else {
                self.left_out += u64::from(event == IncidentEvent::Opened);
            }
        }
    }

    fn incidents(self, until_ns: i64) -> (Vec<Incident>, u64) {
        let was_open = |incident: &Incident| is_open_between(incident, self.from_ns, until_ns);
        (self.incidents.into_values().filter(was_open).collect(), self.left_out)
    }
}

/// Returns whether an incident was open at any moment between two others. Of one that came back only the last time is
/// told, but its id says when it began at first.
fn is_open_between(incident: &Incident, from_ns: i64, until_ns: i64) -> bool {
    let ended_ns = incident.resolved_at.as_deref().and_then(parse_rfc3339).unwrap_or(i64::MAX);
    let began_ns = incident.began_ns().unwrap_or(i64::MIN);
    let noticed_ns = parse_rfc3339(&incident.detected_at).unwrap_or(began_ns);
    // What arrived long after its time was noticed when it arrived.
    let is_known_later = incident.reopened || noticed_ns > ended_ns;
    let opened_ns = if is_known_later { began_ns.saturating_add(NOTICED_AFTER_NS) } else { noticed_ns };
    opened_ns < until_ns && ended_ns >= from_ns
}
