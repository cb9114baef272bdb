//! Runs the analysis on what a simulation sends, second by second, and says what it found in the words of the score.
//! Used by the score and by the tests that hold it to a few seeds.

use std::collections::BTreeMap;
use std::fmt;

use analyzer::incident::IncidentKind;
use analyzer::{Analyzer, AnalyzerLimits, Incident, Transaction};
use collector_simulator::score::stitching::{Mistakes, Score, Stitched, Truth};
use collector_simulator::score::{Found, Verdict, judge};
use collector_simulator::{Change, Fault, System, World};
use serde::Serialize;

const SECOND_NS: i64 = 1_000_000_000;
/// Seconds for which a system is watched after a fault.
pub(crate) const AFTER_S: f64 = 300.0;
/// Seconds of telemetry that is still on its way at the end.
const LATE_S: usize = 30;

/// What a play gave.
pub(crate) struct Played {
    pub(crate) found: Vec<Found>,
    /// Name of the instance that was asked for.
    instance: Option<String>,
}

/// Plays a system for so many seconds and returns the incidents that were told, each as it was told last; `at_s` is when
/// the name of an instance is asked for.
pub(crate) fn incidents(
    system: &System,
    seed: u64,
    changes: Vec<Change>,
    seconds: f64,
    instance: Option<(f64, usize, usize)>,
) -> Played {
    let mut world = World::new(system, seed, changes);
    let mut analyzer = Analyzer::new(AnalyzerLimits::default());
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut name = None;
    let begin_ns = world.begin_ns();
    for second in 0..seconds as usize {
        if let Some((at_s, service, ordinal)) = instance
            && second == at_s as usize + 2
        {
            name = world.instance_name(service, ordinal).map(str::to_owned);
        }
        let chunk = world.next_chunk();
        analyzer.push_logs(&chunk.logs, chunk.arrival_ns);
        let outcome = analyzer.push(&chunk.spans, chunk.arrival_ns);
        for change in outcome.changes {
            let opened_s = (chunk.arrival_ns - begin_ns) as f64 / 1e9;
            let known = found.entry(change.incident.id.clone()).or_default();
            let opened_s = if known.kind.is_empty() { opened_s } else { known.opened_s };
            *known = found_of(&change.incident, opened_s, begin_ns);
        }
    }
    Played { found: found.into_values().collect(), instance: name }
}

/// A kind as the word that JSON has for it.
struct Word(IncidentKind);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}

fn found_of(incident: &Incident, opened_s: f64, begin_ns: i64) -> Found {
    let started_ns = analyzer::time::parse_rfc3339(&incident.started_at).unwrap_or(begin_ns);
    let root = incident.root_cause.first();
    let mut services: Vec<String> = incident.root_cause.iter().map(|cause| cause.service.clone()).collect();
    services.extend(incident.affected.iter().map(|affected| affected.service.clone()));
    services.push(incident.transaction.service.clone());
    Found {
        kind: Word(incident.kind).to_string(),
        opened_s,
        started_s: (started_ns - begin_ns) as f64 / 1e9,
        root_service: root.map(|root| root.service.clone()).unwrap_or_default(),
        root_operation: root.and_then(|root| root.operation.clone()).unwrap_or_default(),
        root_instance: root.and_then(|root| root.instance.clone()),
        services,
        transaction: (incident.transaction.service.clone(), incident.transaction.operation.clone()),
    }
}

/// Plays a system with a fault and returns what became of it, and what was found.
pub(crate) fn verdict(system: &System, fault: &Fault, seed: u64) -> (Verdict, Vec<Found>) {
    let service = system.services.iter().position(|service| fault.services.first() == Some(&service.name.to_string()));
    let instance = service.zip(fault.scope.instance).map(|(service, ordinal)| (fault.from_s, service, ordinal));
    let played = incidents(system, seed, fault.changes.clone(), fault.to_s + AFTER_S, instance);
    (judge(fault, played.instance.as_deref(), &played.found), played.found)
}

/// Plays a system for so many seconds and scores which spans were said to belong together, and the owners of critical
/// paths; owners that were mistaken are returned by name, with how often.
pub(crate) fn stitching(system: &System, seed: u64, seconds: usize) -> (Score, Vec<(String, usize)>) {
    let mut world = World::new(system, seed, Vec::new()).with_truth();
    let mut analyzer = Analyzer::new(AnalyzerLimits::default());
    let mut truth = Truth::default();
    let mut last: BTreeMap<_, Transaction> = BTreeMap::new();
    let mut note = |transactions: Vec<Transaction>| {
        for one in transactions {
            if last.get(&one.id).is_none_or(|known| known.revision < one.revision) {
                last.insert(one.id, one);
            }
        }
    };
    let mut now_ns = 0;
    for _ in 0..seconds + LATE_S {
        let chunk = world.next_chunk();
        truth.add(&chunk.span_truths, &chunk.work_truths);
        now_ns = chunk.arrival_ns;
        analyzer.push_logs(&chunk.logs, now_ns);
        note(analyzer.push(&chunk.spans, now_ns).transactions);
    }
    note(analyzer.finish(now_ns + SECOND_NS).transactions);
    let stitched: Vec<Stitched> = last.values().filter(|one| one.superseded_by.is_none()).map(stitched).collect();
    let mut mistakes = Mistakes::new();
    let score = truth.score(&stitched, &mut mistakes);
    let name = |site: Option<u32>| site.map_or("nobody".to_owned(), |site| world.site_name(site));
    let mut named: Vec<(String, usize)> = mistakes
        .into_iter()
        .map(|((true_site, said), count)| (format!("{} and not {}", world.site_name(true_site), name(said)), count))
        .collect();
    named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    (score, named)
}

fn stitched(transaction: &Transaction) -> Stitched {
    let path = transaction.critical_path.iter();
    Stitched {
        spans: transaction.spans.iter().map(|span| span.span_id).collect(),
        critical_path: path
            .map(|segment| (transaction.spans[segment.span].span_id, segment.end_ns - segment.start_ns))
            .collect(),
    }
}
