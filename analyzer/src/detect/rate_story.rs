//! An incident that rates tell of, in numbers and words: what goes wrong, on how many occasions, against how many usually.
//! Called by the life of incidents. Everything said is computed from counts; nothing is guessed.

use std::collections::{BTreeMap, BTreeSet};

use super::blame::Suspect;
use super::changes::Changes;
use super::kinds::{self, Charge, Words};
use super::rates::{Example, Name, Of, Rates, Wrong};
use super::recent::{EXEMPLARS_MAX, Recent};
use super::story::{AFFECTED_MAX, CAUSES_MAX, clip, millis, pace, percent, version_suggestion, whole};
use super::types::{TypeId, Types};
use super::{
    block_start_ns,
    series::{BLOCK_S, MINUTE_BLOCKS},
};
use crate::incident::{
    Affected, Distribution, Evidence, Exemplar, Impact, Incident, IncidentKind, RateEvidence, RootCause, Severity,
    TransactionRef,
};
use crate::time::{in_words, parse_rfc3339, rfc3339};

/// Charges that are told beside the first.
const CHARGES_TOLD_MAX: usize = 8;
/// Shares from which on it is a warning, and critical.
const WARNING_SHARE: f64 = 0.05;
const CRITICAL_SHARE: f64 = 0.5;

/// What a story is told from.
pub(super) struct RateFacts<'a> {
    pub(super) rates: &'a Rates,
    pub(super) types: &'a Types,
    pub(super) recent: &'a Recent,
    pub(super) changes: &'a Changes,
    pub(super) charges: &'a [Charge],
    pub(super) onset: i64,
    pub(super) block: i64,
}

/// Fills in the story of the charge that leads. What signals of time told before stays as what else is known.
pub(super) fn tell(incident: &mut Incident, lead: &Charge, facts: &RateFacts<'_>) {
    let words = kinds::words(lead);
    let examples = kinds::examples(facts.rates, lead);
    incident.kind = lead.kind;
    if let Some(kind) = most_hurt(&examples) {
        incident.transaction = kind;
    } else if incident.transaction.service.is_empty() {
        let (service, operation) = &lead.scope.occasion.by;
        incident.transaction = TransactionRef { service: service.to_string(), operation: operation.to_string() };
    }
    incident.affected = affected(incident, facts);
    incident.root_cause = root_causes(incident, lead, facts);
    incident.changes = facts.changes.near(facts.onset, |service| {
        *service == *lead.service || incident.affected.iter().any(|affected| affected.service == service)
    });
    incident.impact = impact(incident, lead, facts);
    incident.severity = incident.severity.max(severity(lead));
    incident.evidence = evidence(incident, lead, &words, facts);
    let exemplars = exemplars(&examples, facts, &incident.transaction);
    if !exemplars.is_empty() && (incident.exemplars.is_empty() || examples.len() >= EXEMPLARS_MAX) {
        incident.exemplars = exemplars;
    }
    incident.spread.trend = trend(lead, facts).to_owned();
    incident.title = clip(&words.title, 120);
    incident.summary = clip(&summary(incident, lead, &words, facts), 1000);
    incident.suggestions = words.suggestions;
    incident.suggestions.extend(version_suggestion(incident));
}

/// Says that somebody below the one that is charged makes it slow: what was told of that one is what follows.
pub(super) fn tell_origin(incident: &mut Incident, lead: &Charge, origin: &Suspect) {
    incident.kind = IncidentKind::Cascade;
    let (now, usual) = (millis(origin.now_ms), millis(origin.usual_ms));
    let service = origin.service.to_string();
    incident.root_cause.retain(|cause| cause.service != service);
    incident.root_cause.iter_mut().for_each(|cause| cause.score *= 0.5);
    let cause = RootCause {
        service: service.clone(),
        operation: origin.operation.as_ref().map(ToString::to_string),
        instance: None,
        cause: origin.cause.as_str().to_owned(),
        score: 1.0,
        usual_ms: Some(origin.usual_ms),
        now_ms: Some(origin.now_ms),
        share: None,
        onset: Some(incident.started_at.clone()),
        evidence: format!("{}; its callers wait for it", pace(origin)),
    };
    incident.root_cause.insert(0, cause);
    incident.root_cause.truncate(CAUSES_MAX);
    let follows = match lead.kind {
        IncidentKind::RetryStorm => "is called again and again",
        IncidentKind::IncompleteCompensation => "does not undo what failed",
        _ => "works on for callers that gave up",
    };
    let title = format!("{service} takes {now}, usually {usual}, and {} {follows}", lead.service);
    incident.title = clip(&title, 120);
    incident.summary = clip(&format!("{title}. {}", incident.summary), 1000);
    incident.suggestions.insert(0, format!("Look at {service} first: what waits for it gives up."));
}

/// Returns the type of which most examples are.
fn most_hurt(examples: &[&Example]) -> Option<TransactionRef> {
    let mut counts: BTreeMap<Name, usize> = BTreeMap::new();
    for root in examples.iter().filter_map(|example| example.root.as_ref()) {
        *counts.entry((root.service.clone(), root.operation.clone())).or_default() += 1;
    }
    let ((service, operation), _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    Some(TransactionRef { service: service.to_string(), operation: operation.to_string() })
}

/// Lists who does it, whom it hurts, and what signals of time listed.
fn affected(incident: &Incident, facts: &RateFacts<'_>) -> Vec<Affected> {
    let mut found = incident.affected.clone();
    let since = rfc3339(block_start_ns(facts.onset));
    let names = facts.charges.iter().flat_map(|charge| {
        let occasion = &charge.scope.occasion;
        std::iter::once(&occasion.by).chain(occasion.to.as_ref().filter(|_| !occasion.is_by_key()))
    });
    for (service, operation) in names {
        if !found.iter().any(|one| *one.service == **service && *one.operation == **operation) {
            let (service, operation) = (service.to_string(), operation.to_string());
            found.push(Affected { service, operation, since: since.clone() });
        }
    }
    found.truncate(AFFECTED_MAX);
    found
}

/// The one that is charged comes first, then who else is, then who owns extra time.
fn root_causes(incident: &Incident, lead: &Charge, facts: &RateFacts<'_>) -> Vec<RootCause> {
    let others = facts.charges.iter().filter(|charge| charge.scope != lead.scope && charge.kind == lead.kind);
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut causes: Vec<RootCause> = Vec::new();
    for (place, charge) in std::iter::once(lead).chain(others).enumerate() {
        if seen.insert(charge.service.to_string()) {
            causes.push(root_cause(charge, if place == 0 { 1.0 } else { 0.5 }, facts));
        }
    }
    let by_time = incident.root_cause.iter().filter(|cause| cause.share.is_some());
    causes.extend(
        by_time
            .filter(|cause| seen.insert(cause.service.clone()))
            .cloned()
            .map(|cause| RootCause { score: cause.score * 0.5, ..cause }),
    );
    causes.truncate(CAUSES_MAX);
    causes
}

fn root_cause(charge: &Charge, score: f64, facts: &RateFacts<'_>) -> RootCause {
    let verdict = &charge.verdict;
    let mut evidence = format!(
        "{} of {} occasions, {}; usually {} of {}, {}",
        whole(verdict.now.wrong),
        whole(verdict.now.of),
        percent(verdict.share()),
        whole(verdict.reference.count.wrong),
        whole(verdict.reference.count.of),
        percent(verdict.usual()),
    );
    charge.version.iter().for_each(|version| evidence.push_str(&format!("; version {version}")));
    charge.notes.iter().for_each(|note| evidence.push_str(&format!("; {note}")));
    RootCause {
        service: charge.service.to_string(),
        operation: charge.operation.as_ref().map(ToString::to_string),
        instance: charge.instance.as_ref().map(ToString::to_string),
        cause: charge.cause.to_owned(),
        score,
        usual_ms: None,
        now_ms: None,
        share: None,
        onset: Some(rfc3339(block_start_ns(facts.onset))),
        evidence,
    }
}

fn impact(incident: &Incident, lead: &Charge, facts: &RateFacts<'_>) -> Impact {
    let between = |from| wrongs(lead, facts, from, facts.block);
    Impact {
        // What was counted stays counted when the blocks of long incidents are let go.
        transactions: (whole(between(facts.onset))).max(incident.impact.transactions),
        share: lead.verdict.share(),
        per_minute: between(facts.block - MINUTE_BLOCKS + 1),
        ..incident.impact.clone()
    }
}

/// Returns how often it went wrong in blocks `from..=to`.
fn wrongs(lead: &Charge, facts: &RateFacts<'_>, from: i64, to: i64) -> f64 {
    let scope = &lead.scope;
    let counts =
        facts.rates.place(&scope.occasion).map(|place| facts.rates.occasions.counts(place, scope.wrong, from, to));
    counts.into_iter().flatten().map(|(_, count)| count.wrong).sum()
}

/// What is lost, done twice or not undone stays so, however rare: it is worth a warning.
fn severity(lead: &Charge) -> Severity {
    let lasts = matches!(
        lead.kind,
        IncidentKind::LostMessage | IncidentKind::DuplicateProcessing | IncidentKind::IncompleteCompensation
    );
    match lead.verdict.share() {
        share if share >= CRITICAL_SHARE && lead.kind != IncidentKind::BrokenContext => Severity::Critical,
        share if share >= WARNING_SHARE || lasts => Severity::Warning,
        _ => Severity::Info,
    }
}

fn evidence(incident: &Incident, lead: &Charge, words: &Words, facts: &RateFacts<'_>) -> Evidence {
    let verdict = &lead.verdict;
    let reference = &verdict.reference;
    let also = facts.charges.iter().filter(|charge| charge.scope != lead.scope).take(CHARGES_TOLD_MAX);
    let (before, after) = distributions(incident, facts);
    Evidence {
        test: "share of occasions on which it went wrong, last minutes against the minutes before the onset; chance of so \
               many by a beta-binomial distribution, counts divided by how much the minutes differ"
            .to_owned(),
        statistic: verdict.surprise,
        threshold: verdict.needed,
        samples: whole(verdict.now.of),
        reference_samples: whole(reference.count.of),
        reference: format!("{} minutes with traffic before the onset", reference.minutes),
        rate: Some(RateEvidence {
            what: words.what.clone(),
            occasions: words.occasions.clone(),
            now: whole(verdict.now.wrong),
            now_of: whole(verdict.now.of),
            now_share: verdict.share(),
            usual: whole(reference.count.wrong),
            usual_of: whole(reference.count.of),
            usual_share: verdict.usual(),
            window_s: verdict.blocks * BLOCK_S,
            notes: lead.notes.clone(),
            also: also.map(also_told).collect(),
        }),
        before,
        after,
        ..incident.evidence.clone()
    }
}

/// Returns durations of the type that is hurt before the onset and since. What came before is known best at the opening.
fn distributions(incident: &Incident, facts: &RateFacts<'_>) -> (Distribution, Distribution) {
    let minute = |block: i64| block_start_ns(block).div_euclid(60_000_000_000);
    let kind = type_of(&incident.transaction, facts).and_then(|type_id| facts.types.slots.get(type_id));
    let tally = |from, to| kind.map(|kind| kind.tally(from, to).distribution()).unwrap_or_default();
    let onset_minute = minute(facts.onset);
    let before = tally(onset_minute - 60, onset_minute);
    let told = &incident.evidence.before;
    let before = if told.count > before.count { told.clone() } else { before };
    (before, tally(onset_minute, minute(facts.block) + 1))
}

fn type_of(hurt: &TransactionRef, facts: &RateFacts<'_>) -> Option<TypeId> {
    facts.types.slots.find(&(hurt.service.as_str().into(), hurt.operation.as_str().into()))
}

fn also_told(charge: &Charge) -> String {
    let verdict = &charge.verdict;
    let what = kinds::words(charge).what;
    format!("{what}: {} of the time, usually {}", percent(verdict.share()), percent(verdict.usual()))
}

/// Shows transactions in which it went wrong, and usual ones of the same type from before.
fn exemplars(examples: &[&Example], facts: &RateFacts<'_>, hurt: &TransactionRef) -> Vec<Exemplar> {
    let mut seen = BTreeSet::new();
    let mut shown: Vec<Exemplar> = Vec::new();
    for example in examples {
        let id = example.id.to_string();
        if shown.len() < EXEMPLARS_MAX && seen.insert(id.clone()) {
            let (role, duration_ms) = ("affected".to_owned(), example.duration_ms);
            shown.push(Exemplar { trace_id: id, role, duration_ms });
        }
    }
    let type_id = type_of(hurt, facts);
    let usual = facts.recent.all().filter(|brief| Some(brief.type_id) == type_id && brief.block < facts.onset - 1);
    let usual: Vec<Exemplar> = usual
        .map(|brief| (brief.id.to_string(), brief.duration_ms))
        .filter(|(id, _)| !seen.contains(id))
        .map(|(trace_id, duration_ms)| Exemplar { trace_id, role: "usual".to_owned(), duration_ms })
        .collect();
    let last = usual.len().saturating_sub(EXEMPLARS_MAX);
    shown.extend(usual.into_iter().skip(last));
    shown
}

/// Compares the last minute with the minute before.
fn trend(lead: &Charge, facts: &RateFacts<'_>) -> &'static str {
    let in_minute = |back: i64| {
        let to = facts.block - back * MINUTE_BLOCKS;
        wrongs(lead, facts, to - MINUTE_BLOCKS + 1, to)
    };
    let (now, before) = (in_minute(0), in_minute(1));
    match () {
        () if now > 1.5 * before + 2.0 => "growing",
        () if now < before / 1.5 - 2.0 => "shrinking",
        () => "steady",
    }
}

fn summary(incident: &Incident, lead: &Charge, words: &Words, facts: &RateFacts<'_>) -> String {
    let verdict = &lead.verdict;
    let mut text = format!(
        "Since {} (±{} s), {}: {} of {} {} in the last {} s, {}; usually {}.",
        parse_rfc3339(&incident.started_at).map_or_else(|| incident.started_at.clone(), in_words),
        incident.started_at_uncertainty_s,
        words.what,
        whole(verdict.now.wrong),
        whole(verdict.now.of),
        words.occasions,
        verdict.blocks * BLOCK_S,
        percent(verdict.share()),
        percent(verdict.usual()),
    );
    for note in &lead.notes {
        text.push_str(&format!(" {note}."));
    }
    match (&lead.instance, &lead.version) {
        (Some(instance), _) => text.push_str(&format!(" Nearly all of it with instance {instance}.")),
        (None, Some(version)) => text.push_str(&format!(" Nearly all of it with version {version}.")),
        (None, None) => {}
    }
    let others: Vec<String> = facts
        .charges
        .iter()
        .filter(|charge| charge.scope != lead.scope && charge.scope.wrong != Wrong::CutOff)
        .filter(|charge| charge.scope.occasion.of != Of::Call || charge.kind != lead.kind)
        .take(3)
        .map(also_told)
        .collect();
    if !others.is_empty() {
        text.push_str(&format!(" Also: {}.", others.join("; ")));
    }
    if let Some(change) = incident.changes.last() {
        text.push_str(&format!(" Changed near the onset: {}.", change.text));
    }
    text.push_str(&format!(" Spread: {}.", incident.spread.trend));
    text
}
