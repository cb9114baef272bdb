//! An incident that a shape tells of, in numbers and words: who is last too often, who makes too many calls, what grew
//! slowly. Called by the life of incidents; what signals of time told before stays as what else is known.

use super::changes::Changes;
use super::recent::{EXEMPLARS_MAX, Recent};
use super::shapes::{Creeping, Grows, Seen, Shape};
use super::signals::Signals;
use super::story::{CAUSES_MAX, clip, millis, percent, version_suggestion, whole};
use super::types::Types;
use super::{Thresholds, block_start_ns, series::BLOCK_S};
use crate::incident::{Affected, Change, Evidence, Exemplar, Impact, Incident, RootCause, Severity, TransactionRef};
use crate::time::{in_words, parse_rfc3339, rfc3339};

/// Share of the transactions' time from which on it is a warning, and critical.
const WARNING_SHARE: f64 = 0.33;
const CRITICAL_SHARE: f64 = 0.66;

/// What a story is told from.
pub(super) struct ShapeFacts<'a> {
    pub(super) signals: &'a Signals,
    pub(super) types: &'a Types,
    pub(super) recent: &'a Recent,
    pub(super) changes: &'a Changes,
    pub(super) thresholds: &'a Thresholds,
    pub(super) onset: i64,
    pub(super) block: i64,
    /// Whether signals of time told of the incident, too.
    pub(super) is_told_by_time: bool,
}

/// What a shape is told in.
struct Words {
    title: String,
    /// A sentence.
    what: String,
    /// Cause, as root causes have it.
    cause: &'static str,
    operation: String,
    evidence: String,
    test: &'static str,
    suggestion: String,
}

/// Fills in the story of a shape.
pub(super) fn tell(incident: &mut Incident, shape: &Shape, facts: &ShapeFacts<'_>) {
    let words = words(shape, facts.signals);
    let examples = facts.signals.examples(shape);
    let since = rfc3339(block_start_ns(facts.onset));
    incident.kind = shape.kind();
    if let Some(example) = examples.first().filter(|_| !facts.is_told_by_time) {
        let (service, operation) = (example.root.service.to_string(), example.root.operation.to_string());
        incident.transaction = TransactionRef { service, operation };
    } else if incident.transaction.service.is_empty() {
        let (service, operation) = (shape.service().to_string(), words.operation.clone());
        incident.transaction = TransactionRef { service, operation };
    }
    incident.root_cause = root_causes(incident, shape, &words, &since);
    let own = Affected { service: shape.service().to_string(), operation: words.operation.clone(), since };
    if !incident.affected.iter().any(|one| (&one.service, &one.operation) == (&own.service, &own.operation)) {
        incident.affected.insert(0, own);
    }
    incident.changes = changes(shape, facts);
    if !facts.is_told_by_time {
        incident.impact = impact(incident, shape);
        incident.severity = incident.severity.max(severity(shape));
        incident.exemplars = exemplars(incident, &examples, facts);
    }
    incident.evidence = evidence(incident, shape, &words, facts);
    incident.title = clip(&words.title, 120);
    incident.summary = clip(&summary(incident, &words), 1000);
    incident.suggestions = vec![words.suggestion];
    incident.suggestions.extend(version_suggestion(incident));
}

fn words(shape: &Shape, signals: &Signals) -> Words {
    match shape {
        Shape::Straggle(straggle) => {
            let group = signals.fan_outs.groups.key(straggle.group);
            let (caller, called) = group.map_or((String::new(), String::new()), |group| {
                (format!("{} {}", group.service, group.operation), group.called.to_string())
            });
            let member = match &straggle.instance {
                Some(instance) => format!("{} ({instance})", straggle.service),
                None => straggle.service.to_string(),
            };
            let (share, usual) = (percent(straggle.share), percent(straggle.usual_share));
            let cost = millis(straggle.cost_ms);
            Words {
                title: format!("{caller} waits for one of several: {member} is last in {share}, by chance {usual}"),
                what: format!(
                    "of the like calls that {caller} makes beside each other, {member} is the last in {share}, by chance it \
                     would be in {usual}; waiting for it alone adds {cost} to each",
                ),
                cause: "straggler",
                operation: called,
                evidence: format!("last in {share} of fan-outs, by chance in {usual}; adds {cost} to each"),
                test: "how often each of several like calls is the last, against once in n times by chance; signed root of \
                       the deviance of a count",
                suggestion: format!(
                    "Take {member} out of service or look at its host: its peers do the same work quicker."
                ),
            }
        }
        Shape::Chatter(_, chatter) => {
            let ends = &chatter.ends;
            let (now, usual) = (calls(chatter.calls), calls(chatter.usual_calls));
            Words {
                title: format!("{} makes {now} calls to {}, usually {usual}", ends.operation, ends.callee),
                what: format!(
                    "an execution of {} {} calls {} {} {now} times, usually {usual} times; {} of them call it more often \
                     than nearly all used to, which adds {} to each",
                    ends.service,
                    ends.operation,
                    ends.callee,
                    ends.called,
                    percent(chatter.share),
                    millis(chatter.extra_ms),
                ),
                cause: "calls",
                operation: ends.operation.to_string(),
                evidence: format!("{now} calls of {} an execution, usually {usual}", ends.called),
                test: "share of executions that make more calls than 99 % of them used to; signed root of the deviance of a \
                       count",
                suggestion: format!(
                    "Look at what changed in how {} asks for its data: one query for each item instead of one for all looks \
                     like this.",
                    ends.operation
                ),
            }
        }
        Shape::Creeping(creeping) => creep_words(creeping),
    }
}

fn creep_words(creeping: &Creeping) -> Words {
    let Creeping { service, operation, .. } = creeping;
    let (from, to, what) = match creeping.grows {
        Grows::Time(_) => (millis(creeping.from), millis(creeping.to), "itself takes"),
        Grows::Calls(_) => (calls(creeping.from), calls(creeping.to), "makes calls:"),
    };
    let is_time = matches!(creeping.grows, Grows::Time(_));
    Words {
        title: format!("{service} {operation} grows slowly: it {what} {to}, at first {from}"),
        what: format!(
            "{service} {operation} {what} {to} now and {what} {from} at first; it grew over {} stretches of time, none of \
             which stands out alone, and not with the traffic",
            creeping.creep.buckets
        ),
        cause: if is_time { "self" } else { "calls" },
        operation: operation.to_string(),
        evidence: format!("{what} {to}, at first {from}"),
        test: "Mann and Kendall's test for a trend, over all the time that the operation is known",
        suggestion: format!("Compare what {service} does in {operation} now with the first version of that time."),
    }
}

/// Returns a mean of calls with digits that matter.
fn calls(mean: f64) -> String {
    if mean >= 10.0 { format!("{mean:.0}") } else { format!("{mean:.1}") }
}

/// The shape's own comes first, then who owns extra time.
fn root_causes(incident: &Incident, shape: &Shape, words: &Words, since: &str) -> Vec<RootCause> {
    let service = shape.service().to_string();
    let (instance, usual_ms, now_ms, share) = match shape {
        Shape::Straggle(straggle) => (straggle.instance.clone(), None, None, straggle.cost_share),
        Shape::Chatter(_, chatter) => (None, None, None, chatter.extra_share),
        Shape::Creeping(creeping) => match creeping.grows {
            Grows::Time(_) => (None, Some(creeping.from), Some(creeping.to), 1.0),
            Grows::Calls(_) => (None, None, None, 1.0),
        },
    };
    let first = RootCause {
        service: service.clone(),
        operation: Some(words.operation.clone()),
        instance: instance.map(|instance| instance.to_string()),
        cause: words.cause.to_owned(),
        score: 1.0,
        usual_ms,
        now_ms,
        share: Some(share.clamp(0.0, 1.0)),
        onset: Some(since.to_owned()),
        evidence: words.evidence.clone(),
    };
    let others = incident.root_cause.iter().filter(|cause| cause.service != service).cloned();
    let others = others.map(|cause| RootCause { score: cause.score * 0.5, ..cause });
    std::iter::once(first).chain(others).take(CAUSES_MAX).collect()
}

/// Lists what changed near the onset; of what grew slowly, the versions since then.
fn changes(shape: &Shape, facts: &ShapeFacts<'_>) -> Vec<Change> {
    let is_concerned = |service: &str| *service == **shape.service();
    match shape {
        Shape::Creeping(_) => facts.changes.between(facts.onset, facts.block, is_concerned),
        Shape::Straggle(_) | Shape::Chatter(..) => facts.changes.near(facts.onset, is_concerned),
    }
}

fn impact(incident: &Incident, shape: &Shape) -> Impact {
    let (n, share, extra_ms) = match shape {
        Shape::Straggle(straggle) => (straggle.n, straggle.share, straggle.cost_ms),
        Shape::Chatter(_, chatter) => (chatter.n, chatter.share, chatter.extra_ms),
        Shape::Creeping(creeping) => match creeping.grows {
            Grows::Time(_) => (creeping.creep.n / creeping.creep.buckets as f64, 1.0, creeping.to - creeping.from),
            Grows::Calls(_) => (creeping.creep.n / creeping.creep.buckets as f64, 1.0, 0.0),
        },
    };
    Impact {
        transactions: whole(n * share).max(incident.impact.transactions),
        share: share.clamp(0.0, 1.0),
        per_minute: n * share,
        extra_seconds: (n * extra_ms / 1e3).max(incident.impact.extra_seconds),
        ..incident.impact.clone()
    }
}

fn severity(shape: &Shape) -> Severity {
    let share = match shape {
        Shape::Straggle(straggle) => straggle.cost_share,
        Shape::Chatter(_, chatter) => chatter.extra_share,
        Shape::Creeping(_) => 0.0,
    };
    match share {
        _ if share >= CRITICAL_SHARE => Severity::Critical,
        _ if share >= WARNING_SHARE => Severity::Warning,
        _ => Severity::Info,
    }
}

fn evidence(incident: &Incident, shape: &Shape, words: &Words, facts: &ShapeFacts<'_>) -> Evidence {
    let (n, usual_n, reference) = match shape {
        Shape::Straggle(straggle) => {
            (straggle.n, straggle.usual_n, "fan-outs of the last hour, older ones counting less")
        }
        Shape::Chatter(_, chatter) => (chatter.n, chatter.usual_n, "executions of the 40 minutes before"),
        Shape::Creeping(creeping) => (creeping.creep.n, creeping.creep.n, "all the time that the operation is known"),
    };
    let minute = |block: i64| block_start_ns(block).div_euclid(60_000_000_000);
    let key = (incident.transaction.service.as_str().into(), incident.transaction.operation.as_str().into());
    let kind = facts.types.slots.find(&key).and_then(|id| facts.types.slots.get(id));
    let tally = |from, to| kind.map(|kind| kind.tally(from, to).distribution()).unwrap_or_default();
    let before = tally(minute(facts.onset) - 60, minute(facts.onset));
    let is_better = before.count > incident.evidence.before.count;
    Evidence {
        test: words.test.to_owned(),
        statistic: shape.z(),
        threshold: facts.thresholds.z,
        samples: whole(n),
        reference_samples: whole(usual_n),
        reference: reference.to_owned(),
        before: if is_better { before } else { incident.evidence.before.clone() },
        after: tally(minute(facts.onset), minute(facts.block) + 1),
        ..incident.evidence.clone()
    }
}

/// Shows transactions in which it was seen, and usual ones of the same type from before.
fn exemplars(incident: &Incident, examples: &[&Seen], facts: &ShapeFacts<'_>) -> Vec<Exemplar> {
    let affected = examples.iter().take(EXEMPLARS_MAX).map(|example| Exemplar {
        trace_id: example.id.to_string(),
        role: "affected".to_owned(),
        duration_ms: example.duration_ms,
    });
    let mut shown: Vec<Exemplar> = affected.collect();
    let key = (incident.transaction.service.as_str().into(), incident.transaction.operation.as_str().into());
    let type_id = facts.types.slots.find(&key);
    let usual = facts.recent.before(facts.onset - 1).filter(|brief| Some(brief.type_id) == type_id);
    shown.extend(usual.take(EXEMPLARS_MAX).map(|brief| Exemplar {
        trace_id: brief.id.to_string(),
        role: "usual".to_owned(),
        duration_ms: brief.duration_ms,
    }));
    if shown.is_empty() { incident.exemplars.clone() } else { shown }
}

fn summary(incident: &Incident, words: &Words) -> String {
    let started = parse_rfc3339(&incident.started_at).map_or_else(|| incident.started_at.clone(), in_words);
    let (before, after) = (&incident.evidence.before, &incident.evidence.after);
    let mut text = format!("Since {started} (±{} s), {}.", 2 * BLOCK_S, words.what);
    if before.count > 0 && after.count > 0 {
        text.push_str(&format!(
            " {} {}: median {} before, {} since; 95th percentile {} before, {} since.",
            incident.transaction.service,
            incident.transaction.operation,
            millis(before.p50_ms),
            millis(after.p50_ms),
            millis(before.p95_ms),
            millis(after.p95_ms),
        ));
    }
    let versions: Vec<&str> = incident.changes.iter().map(|change| change.text.as_str()).take(4).collect();
    if !versions.is_empty() {
        text.push_str(&format!(" Changed meanwhile: {}.", versions.join("; ")));
    }
    text
}
