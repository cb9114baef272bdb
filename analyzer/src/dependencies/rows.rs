//! Counts of pairs of sites as rows: by minute and by the names on both sides, which several sites share.
//! Called by `dependencies` when it is asked for its rows; holds nothing.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use collector_table::{DependencyFields, DependencyTableBuilder, DependencyTally};

use super::{Count, MINUTE_NS, Step};
use crate::hops::called;
use crate::span::Site;
use crate::transaction::HopKind;

/// Instances with rows of their own under one pair of operations and minute; what further ones do is one row, so that
/// a service of thousands does not make thousands of rows a minute.
const INSTANCES_MAX: usize = 32;
/// Stands for the further instances.
const OTHERS: &str = "(others)";
/// Stands for callers that send no telemetry.
const CLIENT: &str = "(client)";
/// Stands for a queue that nobody names.
const UNKNOWN_QUEUE: &str = "(unknown)";

/// What a row is about. The instance is last, so that those of one pair follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    minute: i64,
    kind: &'a str,
    caller: (&'a str, &'a str, &'a str),
    callee: (&'a str, &'a str, &'a str),
    system: Option<&'a str>,
    namespace: Option<&'a str>,
    versions: (Option<&'a str>, Option<&'a str>),
    instance: Option<&'a str>,
}

/// Returns the rows of counts, given with their minute; nothing if there are none.
pub(super) fn of<'a>(counts: impl Iterator<Item = (i64, Step, &'a Count)>) -> Option<RecordBatch> {
    let mut by_key: BTreeMap<Key<'a>, DependencyTally> = BTreeMap::new();
    for (minute, step, count) in counts {
        by_key.entry(key(minute, step, count)).or_default().merge(&count.tally);
    }
    let mut rows = DependencyTableBuilder::default();
    let mut others: Option<(Key<'a>, DependencyTally)> = None;
    let (mut pair, mut instances) = (None, 0);
    for (key, tally) in &by_key {
        let of_pair = Key { instance: None, ..*key };
        if pair != Some(of_pair) {
            others.take().iter().for_each(|(key, tally)| append(&mut rows, key, tally));
            (pair, instances) = (Some(of_pair), 0);
        }
        instances += 1;
        if instances > INSTANCES_MAX {
            let further = || (Key { instance: Some(OTHERS), ..of_pair }, DependencyTally::default());
            others.get_or_insert_with(further).1.merge(tally);
        } else {
            append(&mut rows, key, tally);
        }
    }
    others.iter().for_each(|(key, tally)| append(&mut rows, key, tally));
    (!rows.is_empty()).then(|| rows.finish())
}

fn append(rows: &mut DependencyTableBuilder, key: &Key<'_>, tally: &DependencyTally) {
    let is_service = key.callee.0 == "service";
    let fields = DependencyFields {
        minute_ns: key.minute.saturating_mul(MINUTE_NS),
        caller_kind: key.caller.0,
        caller_service: key.caller.1,
        caller_operation: key.caller.2,
        callee_kind: key.callee.0,
        callee_service: key.callee.1,
        callee_operation: key.callee.2,
        kind: key.kind,
        system: key.system,
        namespace: key.namespace,
        caller_version: key.versions.0,
        callee_version: key.versions.1,
        caller_instance: key.instance.filter(|_| !is_service),
        callee_instance: key.instance.filter(|_| is_service),
        is_instrumented: is_service,
    };
    rows.append(&fields, tally);
}

fn key(minute: i64, step: Step, count: &Count) -> Key<'_> {
    let (caller, callee) = (count.caller.as_deref(), count.callee.as_deref());
    let of_caller = caller.map_or(("client", CLIENT, ""), |site| ("service", &*site.service, &*site.operation));
    let of_callee = callee.map_or(("", "", ""), |site| ("service", &*site.service, &*site.operation));
    let mut key = Key {
        minute,
        kind: "call",
        caller: of_caller,
        callee: of_callee,
        system: None,
        namespace: None,
        versions: (caller.and_then(|site| site.version.as_deref()), callee.and_then(|site| site.version.as_deref())),
        instance: callee.or(caller).and_then(|site| site.instance.as_deref()),
    };
    match step {
        Step::Direct(kind) => {
            key.kind = kind.as_str();
            if let (Some(caller), None) = (caller, callee) {
                peer(&mut key, caller, kind);
            }
        }
        Step::Send => {
            (key.kind, key.system) = ("message", caller.and_then(|site| site.system.as_deref()));
            key.callee = ("queue", queue(caller, callee), of_caller.2);
            (key.versions.1, key.instance) = (None, caller.and_then(|site| site.instance.as_deref()));
        }
        Step::Receive => {
            (key.kind, key.system) = ("message", callee.and_then(|site| site.system.as_deref()));
            key.caller = ("queue", queue(caller, callee), of_callee.2);
            key.versions.0 = None;
        }
        Step::Enter => key.caller = ("client", CLIENT, ""),
    }
    key
}

/// Fills in a callee that sends no telemetry.
fn peer<'a>(key: &mut Key<'a>, caller: &'a Site, kind: HopKind) {
    let (name, operation) = called(caller, None);
    key.callee = match kind {
        HopKind::Database => ("database", name, operation),
        HopKind::Message => ("queue", name, operation),
        // A client that polls a broker, or sends to one without a span for the message, speaks to the queue.
        HopKind::Call => match caller.target.as_deref() {
            Some(queue) => ("queue", queue, operation),
            None => ("peer", name, operation),
        },
    };
    if key.callee.0 != "peer" {
        key.system = caller.system.as_deref();
    }
    key.namespace = caller.target.as_deref().filter(|_| kind == HopKind::Database);
}

/// Returns the name of the queue between two sides: what the producer calls it, or else the consumer; or else what is
/// known of the broker.
fn queue<'a>(producer: Option<&'a Site>, consumer: Option<&'a Site>) -> &'a str {
    let known = |name: fn(&'a Site) -> Option<&'a str>| producer.and_then(name).or_else(|| consumer.and_then(name));
    let named = known(|site| site.target.as_deref());
    named.or_else(|| known(|site| site.peer.as_deref().or(site.system.as_deref()))).unwrap_or(UNKNOWN_QUEUE)
}
