//! The critical path in a few lines: who owns how much of the transaction's time, and why.

use std::collections::HashMap;

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

/// Returns the owners of most time, most first; what they leave is one line.
pub(super) fn owners(transaction: &Transaction, colours: &mut Colours) -> Vec<Owner> {
    let mut totals: HashMap<(&str, &str, Cause), i64> = HashMap::new();
    for segment in &transaction.critical_path {
        let span = &transaction.spans[segment.span];
        *totals.entry((&span.service, owner_name(transaction, segment), segment.cause)).or_default() += length(segment);
    }
    let mut totals: Vec<_> = totals.into_iter().filter(|(_, ns)| *ns > 0).collect();
    totals.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(&right.0)));
    let rest: i64 = totals.iter().skip(OWNERS_MAX).map(|(_, ns)| ns).sum();
    let rest_count = totals.len().saturating_sub(OWNERS_MAX);
    let mut owners: Vec<Owner> = totals
        .into_iter()
        .take(OWNERS_MAX)
        .map(|((service, name, cause), ns)| {
            let class = if is_waiting(cause) { "wait".to_owned() } else { colours.class(service) };
            let place = match cause {
                Cause::UninstrumentedPeer => format!("{name}, called by {service}"),
                _ => format!("{service} {name}"),
            };
            owner(transaction, class, place, cause_words(cause), ns)
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

/// An uninstrumented peer is named by its address: the time is its own.
fn owner_name<'a>(transaction: &'a Transaction, segment: &Segment) -> &'a str {
    let span = &transaction.spans[segment.span];
    match (segment.cause, &span.peer) {
        (Cause::UninstrumentedPeer, Some(peer)) => peer,
        _ => &span.operation,
    }
}

fn length(segment: &Segment) -> i64 {
    segment.end_ns - segment.start_ns
}

/// Returns what a cause means, in a few words.
pub(super) fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::SelfTime => "its own time",
        Cause::NetworkGap => "network or connection",
        Cause::QueueWait => "waiting in a queue",
        Cause::UninstrumentedPeer => "sends no telemetry",
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
            class: if is_waiting(segment.cause) { "wait".to_owned() } else { colours.class(&span.service) },
            title: format!(
                "{} {}: {}, {}",
                span.service,
                owner_name(transaction, segment),
                format::nanos(length(segment)),
                cause_words(segment.cause)
            ),
        });
    }
    parts
}
