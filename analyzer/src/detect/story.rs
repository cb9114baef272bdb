//! An incident in numbers and words: title, summary, ranked causes, who is hurt, evidence, exemplars, what to do.
//! Everything said is computed from the signals; nothing is guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::blame::Suspect;
use super::changes::{self, Changes};
use super::instances::Outlier;
use super::life::ONSET_BLOCKS;
use super::recent::{Brief, Recent};
use super::series::{BLOCK_S, MINUTE_BLOCKS, Verdict};
use super::signals::{Scope, Signals};
use super::traits::{TraitId, Traits};
use super::types::{TypeId, Types};
use super::who::{self, Over};
use super::{Thresholds, block_start_ns, slow};
use crate::incident::{
    Affected, Change, Evidence, ID_PREFIX, Impact, Incident, IncidentKind, IncidentStatus, RootCause, Severity, Spread,
    TransactionRef,
};
use crate::time::{in_words, parse_rfc3339, rfc3339};
use crate::transaction::Cause;

/// Transactions that must be hurt before there is something to tell.
const HURT_MIN: usize = 4;
/// Candidates that are listed.
pub(super) const CAUSES_MAX: usize = 5;
/// Affected operations that are listed.
pub(super) const AFFECTED_MAX: usize = 20;
/// A candidate with less than this share of the extra time is not listed.
const SHARE_MIN: f64 = 0.02;
/// Multiple of the usual traffic from which on it is told.
const LOAD_FACTOR: f64 = 1.5;
/// Multiple of the usual time up to which a transaction is as usual.
const AS_USUAL_FACTOR: f64 = 1.15;
/// From here on an operation counts as slower.
const AFFECTED_Z: f64 = 4.0;
const AFFECTED_SHIFT: f64 = 0.2;

/// What a story is told from.
pub(super) struct Facts<'a> {
    /// What kind of slow failure it is.
    pub(super) kind: IncidentKind,
    pub(super) traits: &'a Traits,
    pub(super) signals: &'a Signals,
    pub(super) types: &'a Types,
    pub(super) recent: &'a Recent,
    pub(super) changes: &'a Changes,
    /// Extra milliseconds since the onset of everyone, also of those who are not believed to be to blame.
    pub(super) extra_total_ms: f64,
    pub(super) thresholds: &'a Thresholds,
    pub(super) suspects: &'a [Suspect],
    pub(super) verdict: &'a Verdict,
    pub(super) onset: i64,
    pub(super) block: i64,
}

/// Returns an incident with its identity, still without a story.
pub(super) fn begin(number: u64, services: &BTreeSet<Arc<str>>, started_ns: i64, detected_ns: i64) -> Incident {
    // Deterministic, so that a recording replays to the same ids; the number tells apart what began together.
    let mut id = 0xcbf2_9ce4_8422_2325u64;
    for byte in services.iter().flat_map(|service| service.bytes()) {
        id = (id ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    Incident {
        id: format!("{ID_PREFIX}{started_ns:016x}-{id:016x}-{number}"),
        number,
        kind: IncidentKind::LatencyShift,
        status: IncidentStatus::Open,
        severity: Severity::Info,
        title: String::new(),
        summary: String::new(),
        started_at: rfc3339(started_ns),
        // The onset is a block, found by a test that may be one block off.
        started_at_uncertainty_s: 2.0 * BLOCK_S as f64,
        detected_at: rfc3339(detected_ns),
        resolved_at: None,
        reopened: false,
        dismissed: false,
        transaction: TransactionRef { service: String::new(), operation: String::new() },
        root_cause: Vec::new(),
        affected: Vec::new(),
        changes: Vec::new(),
        impact: Impact::default(),
        spread: Spread { trend: "steady".to_owned() },
        suggestions: Vec::new(),
        evidence: Evidence::default(),
        exemplars: Vec::new(),
        labels: BTreeMap::new(),
        url: String::new(),
    }
}

/// Fills in the story. Returns whether there is someone to blame and someone hurt; if not, nothing changes.
pub(super) fn tell(incident: &mut Incident, facts: &Facts<'_>) -> bool {
    let Some(first) = facts.suspects.first() else { return false };
    let blamed: BTreeSet<Arc<str>> = blamed_services(first);
    let is_blamed = |service: &str| blamed.contains(service);
    let hurt: Vec<&Brief> = facts.recent.since(facts.onset).filter(|brief| brief.is_hurt(is_blamed)).collect();
    let Some(type_id) = most_hurt_type(&hurt, is_blamed).filter(|_| hurt.len() >= HURT_MIN) else { return false };
    let Some((service, operation)) = facts.types.slots.key(type_id) else { return false };
    incident.kind = facts.kind;
    incident.transaction = TransactionRef { service: service.to_string(), operation: operation.to_string() };
    let who = who(facts, type_id, &blamed);
    let outlier = outlier(facts, first);
    incident.root_cause = root_causes(facts, &incident.root_cause, outlier.as_ref(), &who);
    incident.affected = affected(facts);
    incident.changes = facts.changes.near(facts.onset, |service| {
        is_blamed(service) || incident.affected.iter().any(|affected| affected.service == service)
    });
    incident.changes.extend(new_values(facts, &who));
    incident.changes.extend(load_change(facts));
    incident.impact = impact(facts, incident, &hurt, type_id, is_blamed);
    incident.impact.who = who.into_iter().map(|over| over.text).collect();
    incident.severity = incident.severity.max(severity(&hurt, incident.impact.share));
    let counterfactual = counterfactual(&hurt, is_blamed);
    let before = std::mem::take(&mut incident.evidence.before);
    incident.evidence = evidence(facts, type_id, &hurt, &incident.root_cause);
    let exemplars = facts.recent.exemplars(facts.onset, is_blamed);
    // What came before is known best at the opening; later it is let go.
    if before.count > incident.evidence.before.count {
        incident.evidence.before = before;
    }
    if exemplars.iter().any(|exemplar| exemplar.role == "usual") || incident.exemplars.is_empty() {
        incident.exemplars = exemplars;
    }
    incident.spread.trend = trend(facts, &hurt).to_owned();
    incident.title = clip(&title(incident, first), 120);
    incident.summary = clip(&summary(incident, first, outlier.as_ref(), &counterfactual), 1000);
    incident.suggestions = suggestions(incident, first);
    true
}

/// Services whose extra time makes a transaction hurt: the first suspect, or the caller that waits for a silent peer.
fn blamed_services(first: &Suspect) -> BTreeSet<Arc<str>> {
    let mut blamed = BTreeSet::from([first.service.clone()]);
    if first.cause == Cause::UninstrumentedPeer {
        blamed.insert(first.caller.clone());
    }
    blamed
}

fn most_hurt_type(hurt: &[&Brief], is_blamed: impl Fn(&str) -> bool) -> Option<TypeId> {
    let mut extra: BTreeMap<TypeId, f64> = BTreeMap::new();
    for brief in hurt {
        *extra.entry(brief.type_id).or_default() += brief.extra_ms(&is_blamed);
    }
    extra.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(type_id, _)| type_id)
}

/// Lists the candidates. A candidate's onset is estimated while it is in sight, and kept from then on.
fn root_causes(facts: &Facts<'_>, told: &[RootCause], outlier: Option<&Outlier>, who: &[Over]) -> Vec<RootCause> {
    let total = facts.extra_total_ms;
    let listed = facts.suspects.iter().take(CAUSES_MAX).filter(|suspect| suspect.extra_ms >= SHARE_MIN * total);
    listed
        .enumerate()
        .map(|(place, suspect)| {
            let outlier = outlier.filter(|_| place == 0);
            let share = suspect.extra_ms / total;
            let known =
                told.iter().find(|cause| *cause.service == *suspect.service).and_then(|cause| cause.onset.clone());
            let onset = || facts.signals.onset(&Scope::Service(suspect.service.clone()), facts.block, ONSET_BLOCKS);
            RootCause {
                service: suspect.service.to_string(),
                operation: suspect.operation.as_ref().map(ToString::to_string),
                instance: outlier.and_then(|outlier| outlier.instance.as_ref()).map(ToString::to_string),
                cause: suspect.cause.as_str().to_owned(),
                // The origin of a cascade comes first, whatever its callers add.
                score: if place == 0 {
                    share.max(facts.suspects[1..].iter().map(|other| other.extra_ms / total).fold(0.0, f64::max))
                } else {
                    share
                },
                usual_ms: Some(suspect.usual_ms),
                now_ms: Some(suspect.now_ms),
                share: Some(share),
                onset: known.or_else(|| Some(rfc3339(block_start_ns(onset())))),
                evidence: evidence_of(suspect, share, outlier, who.iter().find(|over| place == 0 && over.is_only)),
            }
        })
        .collect()
}

fn evidence_of(suspect: &Suspect, share: f64, outlier: Option<&Outlier>, only: Option<&Over>) -> String {
    let mut text = format!("{} of the extra time on critical paths; {}", percent(share), pace(suspect));
    if let Some(outlier) = outlier {
        text.push_str(&format!("; {}", apart(outlier)));
    }
    if let Some(only) = only {
        text.push_str(&format!("; {}", only.text));
    }
    text
}

/// Says how long a call of a suspect takes.
pub(super) fn pace(suspect: &Suspect) -> String {
    let (now, usual) = (millis(suspect.now_ms), millis(suspect.usual_ms));
    format!("{now} a call, usually {usual}, over the last {} calls", suspect.calls)
}

/// Says in words which instance or version is slow while its peers are not.
fn apart(outlier: &Outlier) -> String {
    let name = match (&outlier.instance, &outlier.version) {
        (Some(instance), Some(version)) => format!("instance {instance} of version {version}"),
        (Some(instance), None) => format!("instance {instance}"),
        (None, version) => format!("version {}", version.as_deref().unwrap_or_default()),
    };
    format!(
        "only {name}: {} longer than usual a call over {} calls, its peers {} over {}",
        millis(outlier.extra_ms.0.max(0.0)),
        outlier.calls.0,
        millis(outlier.extra_ms.1.max(0.0)),
        outlier.calls.1
    )
}

/// Returns the instance or version of the first suspect that alone takes longer.
fn outlier(facts: &Facts<'_>, first: &Suspect) -> Option<Outlier> {
    let (service, side) = slow::side(first)?;
    facts.signals.steps.instances.outlier(service, side, facts.onset)
}

/// Returns the attribute values of those that are hurt most, against all of their type since the onset.
fn who(facts: &Facts<'_>, type_id: TypeId, blamed: &BTreeSet<Arc<str>>) -> Vec<Over> {
    let like = facts.recent.since(facts.onset).filter(|brief| brief.type_id == type_id && !brief.is_joined);
    let is_blamed = |service: &str| blamed.contains(service);
    who::over_represented(facts.traits, like, blamed, |brief| brief.is_hurt(is_blamed))
}

/// Returns values of those that are hurt which were said first near the onset.
fn new_values(facts: &Facts<'_>, who: &[Over]) -> Vec<Change> {
    let values: BTreeSet<TraitId> = who.iter().flat_map(|over| &over.values).copied().collect();
    let new_near = |found: TraitId| facts.traits.new_in(found).filter(|block| changes::is_near(facts.onset, *block));
    let mut new: Vec<(i64, TraitId)> = values.into_iter().filter_map(|found| Some((new_near(found)?, found))).collect();
    new.sort_unstable();
    let change = |(block, found)| {
        let (key, value) = facts.traits.name(found)?;
        let at = rfc3339(block_start_ns(block));
        Some(Change { kind: "value".to_owned(), at, text: format!("{key} = {value} first seen") })
    };
    new.into_iter().filter_map(change).collect()
}

/// Says that traffic grew, if it did: then load may be the reason.
fn load_change(facts: &Facts<'_>) -> Option<Change> {
    let load = facts.verdict.load();
    (load >= LOAD_FACTOR).then(|| Change {
        kind: "traffic".to_owned(),
        at: rfc3339(block_start_ns(facts.onset)),
        text: format!("traffic is {load:.1} times the usual"),
    })
}

/// Says whether those that are hurt would have taken their usual time without what the first suspect adds.
fn counterfactual(hurt: &[&Brief], is_blamed: impl Fn(&str) -> bool) -> String {
    let took: f64 = hurt.iter().map(|brief| brief.duration_ms).sum();
    let expected: f64 = hurt.iter().map(|brief| brief.expected_ms).sum();
    let extra: f64 = hurt.iter().map(|brief| brief.extra_ms(&is_blamed)).sum();
    let without = ((took - extra) / expected.max(f64::MIN_POSITIVE)).max(0.0);
    let n = hurt.len().max(1) as f64;
    format!(
        "Without it they would take {}, usually {}: {}.",
        millis((took - extra).max(0.0) / n),
        millis(expected / n),
        if without <= AS_USUAL_FACTOR { "nothing else is needed to explain them" } else { "it does not explain all" }
    )
}

fn affected(facts: &Facts<'_>) -> Vec<Affected> {
    let mut found: Vec<(f64, Affected)> = Vec::new();
    for (_, scope, signal) in facts.signals.list.iter() {
        let Scope::Whole(step) = scope else { continue };
        let Some(verdict) = signal.series.judge(facts.block) else { continue };
        if verdict.z >= AFFECTED_Z
            && verdict.shift >= AFFECTED_SHIFT
            && verdict.reference.n >= facts.thresholds.reference_n
        {
            let Some(step) = facts.signals.steps.slots.key(*step) else { continue };
            let since = signal.series.onset(facts.block, facts.block - facts.onset + 6);
            let affected = Affected {
                service: step.service.to_string(),
                operation: step.operation.to_string(),
                since: rfc3339(block_start_ns(since)),
            };
            found.push((verdict.shift * verdict.n, affected));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(AFFECTED_MAX);
    found.into_iter().map(|(_, affected)| affected).collect()
}

fn impact(
    facts: &Facts<'_>,
    incident: &Incident,
    hurt: &[&Brief],
    type_id: TypeId,
    is_blamed: impl Fn(&str) -> bool,
) -> Impact {
    // A transaction of several traces was counted by trace before: like is compared with like.
    let joined = hurt.iter().filter(|brief| brief.is_joined).count();
    let is_like = |brief: &&Brief| brief.type_id == type_id && (brief.is_joined == (2 * joined > hurt.len()));
    let of_type = facts.recent.since(facts.onset).filter(is_like).count();
    let hurt_of_type = hurt.iter().filter(|brief| brief.type_id == type_id).count();
    let minute = hurt.iter().filter(|brief| brief.block > facts.block - MINUTE_BLOCKS).count();
    let extra_ms: f64 = hurt.iter().map(|brief| brief.extra_ms(&is_blamed)).sum();
    Impact {
        // What was counted stays counted when the brief ones of long incidents are let go.
        transactions: (hurt.len() as u64).max(incident.impact.transactions),
        share: (hurt_of_type as f64 / of_type.max(1) as f64).min(1.0),
        per_minute: minute as f64,
        extra_seconds: (extra_ms / 1e3).max(incident.impact.extra_seconds),
        who: Vec::new(),
    }
}

fn severity(hurt: &[&Brief], share: f64) -> Severity {
    let expected: f64 = hurt.iter().map(|brief| brief.expected_ms).sum();
    let took: f64 = hurt.iter().map(|brief| brief.duration_ms).sum();
    let ratio = took / expected.max(f64::MIN_POSITIVE);
    match ratio {
        _ if ratio >= 3.0 && share >= 0.2 => Severity::Critical,
        _ if ratio >= 1.5 => Severity::Warning,
        _ => Severity::Info,
    }
}

fn evidence(facts: &Facts<'_>, type_id: TypeId, hurt: &[&Brief], causes: &[RootCause]) -> Evidence {
    let tally = |from, to| facts.types.slots.get(type_id).map(|kind| kind.tally(from, to).distribution());
    let onset_minute = block_start_ns(facts.onset).div_euclid(60_000_000_000);
    let minute = block_start_ns(facts.block).div_euclid(60_000_000_000);
    let extra_ms: f64 = hurt.iter().map(|brief| brief.duration_ms - brief.expected_ms).sum();
    let explained: f64 = causes.iter().filter_map(|cause| cause.share).sum();
    Evidence {
        test: "mean log ratio of observed to usual time, last minute against the minutes before the onset; \
               standard score by the spread between those minutes"
            .to_owned(),
        statistic: facts.verdict.z,
        threshold: facts.thresholds.z,
        samples: whole(facts.verdict.n),
        reference_samples: whole(facts.verdict.reference.n),
        reference: format!("{} minutes with traffic before the onset", facts.verdict.reference.windows),
        before: tally(onset_minute - 60, onset_minute).unwrap_or_default(),
        after: tally(onset_minute, minute + 1).unwrap_or_default(),
        unexplained_ms: (extra_ms / hurt.len().max(1) as f64 * (1.0 - explained)).max(0.0),
        rate: None,
        logs: Vec::new(),
    }
}

/// Compares the hurt of the last minute with the minute before.
fn trend(facts: &Facts<'_>, hurt: &[&Brief]) -> &'static str {
    let in_minute = |back: i64| {
        let to = facts.block - back * MINUTE_BLOCKS;
        hurt.iter().filter(|brief| brief.block <= to && brief.block > to - MINUTE_BLOCKS).count() as f64
    };
    let (now, before) = (in_minute(0), in_minute(1));
    match () {
        () if now > 1.5 * before + 2.0 => "growing",
        () if now < before / 1.5 - 2.0 => "shrinking",
        () => "steady",
    }
}

fn title(incident: &Incident, first: &Suspect) -> String {
    format!("{} is slow: {}", incident.transaction.operation, culprit(first))
}

/// Says in words what the first suspect does now and usually.
fn culprit(suspect: &Suspect) -> String {
    let (now, usual) = (millis(suspect.now_ms), millis(suspect.usual_ms));
    let service = &suspect.service;
    match (suspect.cause, &suspect.operation) {
        (Cause::UninstrumentedPeer, _) => format!("{} waits {now} for {service}, usually {usual}", suspect.caller),
        (Cause::NetworkGap, _) => format!("calls to or from {service} spend {now} on the way, usually {usual}"),
        (Cause::QueueWait, _) => format!("messages of {service} wait {now}, usually {usual}"),
        (_, Some(operation)) => format!("{service} {operation} itself takes {now}, usually {usual}"),
        (_, None) => format!("{service} itself takes {now}, usually {usual}"),
    }
}

fn summary(incident: &Incident, first: &Suspect, outlier: Option<&Outlier>, counterfactual: &str) -> String {
    let (before, after) = (&incident.evidence.before, &incident.evidence.after);
    let mut text = format!(
        "Since {} (±{} s), {} of {} {} take at least a quarter longer than their steps usually do; {} transactions a minute \
         are hit now, of all types. \
         Median {} before, {} since; 95th percentile {} before, {} since. {} of the extra time: {}.",
        parse_rfc3339(&incident.started_at).map_or_else(|| incident.started_at.clone(), in_words),
        incident.started_at_uncertainty_s,
        percent(incident.impact.share),
        incident.transaction.service,
        incident.transaction.operation,
        incident.impact.per_minute,
        millis(before.p50_ms),
        millis(after.p50_ms),
        millis(before.p95_ms),
        millis(after.p95_ms),
        percent(incident.root_cause.first().and_then(|cause| cause.share).unwrap_or(0.0)),
        culprit(first),
    );
    if let Some(outlier) = outlier {
        text.push_str(&format!(" It is {}.", apart(outlier)));
    }
    text.push_str(&format!(" {counterfactual}"));
    if let Some(who) = incident.impact.who.first() {
        text.push_str(&format!(" Over-represented: {who}."));
    }
    let others: BTreeSet<&str> = incident
        .affected
        .iter()
        .map(|affected| affected.service.as_str())
        .filter(|service| *service != &*first.service)
        .collect();
    if !others.is_empty() {
        let others: Vec<&str> = others.into_iter().take(6).collect();
        text.push_str(&format!(" Also slower, as callers or beside it: {}.", others.join(", ")));
    }
    if let Some(change) = incident.changes.last() {
        text.push_str(&format!(" Changed near the onset: {}.", change.text));
    }
    text.push_str(&format!(" Spread: {}.", incident.spread.trend));
    text
}

/// Returns what to do about the last version that came near the onset, if one did.
pub(super) fn version_suggestion(incident: &Incident) -> Option<String> {
    let change = incident.changes.iter().rev().find(|change| change.kind == "version")?;
    Some(format!("Compare the versions or roll back: {}.", change.text))
}

fn suggestions(incident: &Incident, first: &Suspect) -> Vec<String> {
    let service = &first.service;
    let look = match first.cause {
        Cause::UninstrumentedPeer => format!("Ask the owner of {service}: {} only waits for it.", first.caller),
        Cause::NetworkGap => {
            format!("Look at the network, connection pools and load of {service}: its own work is not what grew.")
        }
        Cause::QueueWait => format!("Look at the consumers of {service}: messages wait before they are worked on."),
        Cause::SelfTime | Cause::RetryGap | Cause::Straggler | Cause::Unexplained => format!(
            "Look at what {service} does inside {}: no child span covers the time.",
            first.operation.as_deref().unwrap_or("its work")
        ),
    };
    let mut suggestions = vec![look];
    suggestions.extend(version_suggestion(incident));
    if incident.exemplars.iter().any(|exemplar| exemplar.role == "usual") {
        suggestions.push("Compare an affected transaction with a usual one of the same path.".to_owned());
    }
    suggestions
}

/// Returns milliseconds with digits that matter.
pub(super) fn millis(ms: f64) -> String {
    match ms {
        _ if ms >= 10_000.0 => format!("{:.1} s", ms / 1e3),
        _ if ms >= 1_000.0 => format!("{:.2} s", ms / 1e3),
        _ if ms >= 10.0 => format!("{ms:.0} ms"),
        _ => format!("{ms:.1} ms"),
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// Returns a count that is kept as a float.
pub(super) fn whole(count: f64) -> u64 {
    // Counts are sums of ones, far below 2^53.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = count.max(0.0) as u64;
    count
}

pub(super) fn clip(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(chars_max - 1).collect();
    cut.push('…');
    cut
}
