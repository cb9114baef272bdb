//! The critical path in a few lines: who owns how much of the transaction's time, and why.

use std::collections::HashMap;
use std::sync::Arc;

use analyzer::Transaction;
use analyzer::transaction::{Cause, Segment};

use super::bars::is_waiting;
use crate::colour::Colours;
use crate::search::StripPart;
use crate::{chart, format};

/// Owners listed.
const OWNERS_MAX: usize = 6;
/// Parts of the strip; narrower ones are left out first.
const STRIP_PARTS_MAX: usize = 300;

/// One owner of time on the critical path.
pub(super) struct Owner {
    pub(super) class: String,
    pub(super) place: String,
    pub(super) cause: &'static str,
    pub(super) duration: String,
    pub(super) share: String,
    pub(super) bar: String,
    share_of_one: f64,
}

/// A step on a critical path: who owned the time, and why it passed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Step {
    pub(crate) service: Arc<str>,
    /// Operation, or the address of a peer that sends no telemetry.
    name: Arc<str>,
    is_peer: bool,
    pub(crate) cause: Cause,
}

impl Step {
    fn of(transaction: &Transaction, segment: &Segment) -> Self {
        let span = &transaction.spans[segment.span];
        let peer = span.site.peer.as_ref().filter(|_| segment.cause == Cause::UninstrumentedPeer);
        let name = peer.unwrap_or(&span.site.operation);
        let (service, name) = (Arc::clone(&span.site.service), Arc::clone(name));
        Self { service, name, is_peer: peer.is_some(), cause: segment.cause }
    }

    /// Returns where the time was spent.
    pub(crate) fn place(&self) -> String {
        if self.is_peer {
            return format!("{}, called by {}", self.name, self.service);
        }
        format!("{} {}", self.service, self.name)
    }
}

/// Returns each step's nanoseconds on the critical path; they sum to the transaction's duration.
pub(crate) fn steps(transaction: &Transaction) -> HashMap<Step, i64> {
    let mut steps: HashMap<Step, i64> = HashMap::new();
    for segment in &transaction.critical_path {
        *steps.entry(Step::of(transaction, segment)).or_default() += length(segment);
    }
    steps
}

/// Returns the owners of most time, most first; what they leave is one line.
pub(super) fn owners(transaction: &Transaction, colours: &mut Colours) -> Vec<Owner> {
    let mut totals: Vec<(Step, i64)> = steps(transaction).into_iter().filter(|(_, ns)| *ns > 0).collect();
    totals.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(&right.0)));
    let rest: i64 = totals.iter().skip(OWNERS_MAX).map(|(_, ns)| ns).sum();
    let rest_count = totals.len().saturating_sub(OWNERS_MAX);
    let mut owners: Vec<Owner> = totals
        .into_iter()
        .take(OWNERS_MAX)
        .map(|(step, ns)| {
            let class = if is_waiting(step.cause) { "wait".to_owned() } else { colours.class(&step.service) };
            owner(transaction, class, step.place(), cause_words(step.cause), ns)
        })
        .collect();
    if rest_count > 0 {
        let place = format::counted(rest_count, "other", "others");
        owners.push(owner(transaction, "rest".to_owned(), place, "", rest));
    }
    owners
}

fn owner(transaction: &Transaction, class: String, place: String, cause: &'static str, ns: i64) -> Owner {
    let scale = chart::Scale::linear(0.0, format::to_millis(transaction.duration_ns));
    let percent = scale.percent(format::to_millis(ns));
    Owner {
        class,
        place,
        cause,
        duration: format::nanos(ns),
        share: format::share(percent / 100.0),
        bar: chart::percentage(percent),
        share_of_one: percent / 100.0,
    }
}

fn length(segment: &Segment) -> i64 {
    segment.end_ns - segment.start_ns
}

/// Returns what a cause means, in a few words.
pub(crate) fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::SelfTime => "its own time",
        Cause::NetworkGap => "network or connection",
        Cause::QueueWait => "waiting in a queue",
        Cause::RetryGap => "pausing before another attempt",
        Cause::Straggler => "waiting for the last of several",
        Cause::UninstrumentedPeer => "a peer that sends no telemetry",
        Cause::Unexplained => "no span covers it",
    }
}

/// Returns where most of the time went, as a sentence.
pub(super) fn lead(transaction: &Transaction, owners: &[Owner]) -> String {
    let Some(first) = owners.first() else {
        return "This transaction took no time that could be measured.".to_owned();
    };
    let total = format::nanos(transaction.duration_ns);
    if first.share_of_one < 0.25 {
        return format!("No step stands out: the longest is {}, with {} of {total}.", first.place, first.duration);
    }
    format!("{} of {total} went to {} ({}).", first.duration, first.place, first.cause)
}

/// Returns the critical path over time, in the colours of its owners.
pub(super) fn strip(transaction: &Transaction, colours: &mut Colours) -> Vec<StripPart> {
    let scale = chart::Scale::linear(0.0, format::to_millis(transaction.duration_ns));
    let percent = |ns: i64| scale.percent(format::to_millis(ns - transaction.started_ns));
    let mut parts = Vec::new();
    for segment in &transaction.critical_path {
        let (from, to) = (percent(segment.start_ns), percent(segment.end_ns));
        if to - from < 0.1 || parts.len() == STRIP_PARTS_MAX {
            continue;
        }
        let span = &transaction.spans[segment.span];
        parts.push(StripPart {
            x: chart::percentage(from),
            width: chart::percentage(to - from),
            class: if is_waiting(segment.cause) { "wait".to_owned() } else { colours.class(span.service()) },
            title: format!(
                "{}: {}, {}",
                Step::of(transaction, segment).place(),
                format::nanos(length(segment)),
                cause_words(segment.cause)
            ),
        });
    }
    parts
}
