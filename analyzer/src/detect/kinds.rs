//! Kinds of trouble that rates tell of: each has a module that says whether a rate that stands out is trouble of its kind,
//! who is charged with it, and in which words. Called by the life of incidents; knows no names of services, only how what
//! is counted hangs together.

mod behind;
mod context;
mod degraded;
mod errors;
mod lost;
mod messages;
mod retries;
mod undoing;
mod wasted;

use std::sync::Arc;

use super::changes::Changes;
use super::rates::{Example, Name, Occasion, Of, RateScope, RateVerdict, Rates, Wrong};
use crate::incident::IncidentKind;

/// A rate that stands out, and who is charged with it.
#[derive(Debug, Clone)]
pub(super) struct Charge {
    pub(super) scope: RateScope,
    pub(super) kind: IncidentKind,
    pub(super) verdict: RateVerdict,
    /// Largest excess so far.
    pub(super) peak: f64,
    /// Who is to blame: a service, or a peer that sends no telemetry.
    pub(super) service: Arc<str>,
    pub(super) operation: Option<Arc<str>>,
    /// Instance and version, when it goes wrong with one of several only.
    pub(super) instance: Option<Arc<str>>,
    pub(super) version: Option<Arc<str>>,
    /// Why, in a word, as root causes have it.
    pub(super) cause: &'static str,
    /// Numbers of the kind beyond those that all rates have, each a clause.
    pub(super) notes: Vec<String>,
}

impl Charge {
    /// Returns a charge against who acts on the occasion.
    fn of(scope: &RateScope, verdict: &RateVerdict, (service, operation): Name, cause: &'static str) -> Self {
        Self {
            scope: scope.clone(),
            kind: scope.wrong.kind(),
            verdict: *verdict,
            peak: verdict.excess(),
            service,
            operation: Some(operation),
            instance: None,
            version: None,
            cause,
            notes: Vec::new(),
        }
    }

    /// Returns, as text, who acts on the occasion, and toward whom; where that is not said, toward the one that is charged.
    fn ends(&self) -> (String, String) {
        let Occasion { by, to, .. } = &self.scope.occasion;
        (text(by), to.as_ref().map_or_else(|| self.service.to_string(), text))
    }

    /// Returns the services that it is about.
    pub(super) fn services(&self) -> Vec<Arc<str>> {
        let mut services = self.scope.occasion.services();
        if !services.contains(&self.service) {
            services.push(self.service.clone());
        }
        services
    }

    /// Returns how specific it is: of what is found in one incident the most specific names it.
    pub(super) fn specificity(&self) -> u8 {
        match self.scope.wrong {
            // That a caller gave up follows from slowness, which says more.
            Wrong::CutOff => 0,
            // How long messages wait says more, where it is known.
            Wrong::Behind => specificity(self.kind) - 1,
            // Requests come again when callers try again, which says why.
            Wrong::Twice if self.scope.occasion.of == Of::Request => specificity(IncidentKind::DegradedResponse),
            _ => specificity(self.kind),
        }
    }
}

/// Returns how specific a kind is: of what is found in one incident the most specific names it. Retries, errors and
/// slowness follow from each other; what says how comes first.
pub(super) fn specificity(kind: IncidentKind) -> u8 {
    match kind {
        IncidentKind::LatencyShift => 1,
        IncidentKind::ErrorBurst => 2,
        IncidentKind::FacadeCreep => 3,
        IncidentKind::Cascade => 4,
        IncidentKind::ChattyCalls => 5,
        IncidentKind::QueueLag => 6,
        IncidentKind::Straggler => 7,
        IncidentKind::DegradedResponse => 8,
        IncidentKind::WastedWork => 9,
        IncidentKind::RetryStorm => 10,
        IncidentKind::BrokenContext => 11,
        IncidentKind::OutOfOrder => 12,
        IncidentKind::DuplicateProcessing => 13,
        IncidentKind::LostMessage => 14,
        IncidentKind::IncompleteCompensation => 15,
    }
}

/// What a kind looks at.
pub(super) struct Court<'a> {
    rates: &'a Rates,
    changes: &'a Changes,
    /// All rates that stand out.
    hot: &'a [(RateScope, RateVerdict)],
    block: i64,
}

/// Returns the rates that are trouble, with who is charged.
pub(super) fn charges(rates: &Rates, changes: &Changes, hot: &[(RateScope, RateVerdict)], block: i64) -> Vec<Charge> {
    let court = Court { rates, changes, hot, block };
    let charge = |(scope, verdict): &(RateScope, RateVerdict)| match scope.wrong {
        Wrong::Fails | Wrong::CutOff => Some(errors::charge(&court, scope, verdict)),
        Wrong::Retried => retries::charge(&court, scope, verdict),
        Wrong::WorkedOn => wasted::charge(&court, scope, verdict),
        Wrong::LeftOut => degraded::charge(&court, scope, verdict),
        Wrong::Unreached => context::charge(&court, scope, verdict),
        Wrong::Lost => lost::charge(&court, scope, verdict),
        Wrong::Behind => behind::charge(&court, scope, verdict),
        Wrong::Twice | Wrong::Disordered => Some(messages::charge(&court, scope, verdict)),
        Wrong::NotUndone => Some(undoing::charge(&court, scope, verdict)),
        // These are asked for by others, and say nothing alone.
        Wrong::Absorbed | Wrong::Begins | Wrong::Uncaused | Wrong::RetriedErrors => None,
    };
    let mut charges: Vec<Charge> = hot.iter().filter_map(charge).collect();
    charges.iter_mut().for_each(|charge| charge.locate(rates));
    charges
}

/// Share of what goes wrong that is one instance's or version's, and share of all that is, at most, for it to be blamed.
const ONE_SHARE_MIN: f64 = 0.9;
const ONE_USUAL_MAX: f64 = 0.7;
/// Examples from which on that can be told.
const ONE_EXAMPLES_MIN: usize = 8;

impl Charge {
    /// Finds the one instance, or version, with which it goes wrong, if there are others with which it does not.
    fn locate(&mut self, rates: &Rates) {
        let Some(place) = rates.place(&self.scope.occasion) else { return };
        let wrong: Vec<_> = rates.examples(&self.scope).filter_map(|example| example.site.clone()).collect();
        let usual: Vec<_> = place.sites.iter().cloned().collect();
        if wrong.len() < ONE_EXAMPLES_MIN || usual.len() < ONE_EXAMPLES_MIN {
            return;
        }
        // What shows at the other end says nothing of the instances of the one that is charged.
        let is_own = |site: &&Arc<crate::span::Site>| *site.service == *self.service;
        let one = |value: &dyn Fn(&crate::span::Site) -> Option<Arc<str>>| {
            let first = value(wrong.iter().find(is_own)?)?;
            let share = |sites: &[Arc<crate::span::Site>]| {
                let own: Vec<_> = sites.iter().filter(is_own).collect();
                let same = own.iter().filter(|site| value(site).as_ref() == Some(&first)).count();
                (same as f64 / own.len().max(1) as f64, own.len())
            };
            let ((wrong_share, _), (usual_share, usual_len)) = (share(&wrong), share(&usual));
            (wrong_share >= ONE_SHARE_MIN && usual_share <= ONE_USUAL_MAX && usual_len >= ONE_EXAMPLES_MIN)
                .then_some(first)
        };
        self.instance = one(&|site| site.instance.clone());
        self.version = self.version.take().or_else(|| one(&|site| site.version.clone()));
    }
}

/// Share of the usual traffic up to which fewer traces may be kept, and how the share of messages that still come may compare
/// with that.
const SAMPLED_TRAFFIC_MAX: f64 = 0.6;
const SAMPLED_FACTORS: std::ops::RangeInclusive<f64> = 0.4..=1.6;
/// Blocks that are looked at for that, beside the window, which may reach back to before.
const SAMPLED_BLOCKS: [i64; 3] = [3, 6, 60];

/// Returns whether it looks as if fewer traces are kept than before: as much less is sent as comes of what is sent. Where
/// sender and taker are of different traces, as many takers are not kept as senders.
fn is_sampled(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> bool {
    let Some(place) = court.rates.place(&scope.occasion) else { return false };
    let reference = &verdict.reference;
    let usual_of = reference.count.of / reference.minutes.max(1) as f64 / 6.0;
    let is_sampled_in = |blocks: i64| {
        let (from, to) = (court.block - blocks + 1, court.block);
        let of = f64::from(place.between(from, to).of);
        // Whether what does not come looks lost or late is by chance then.
        let missing = |wrong: Wrong| place.rate(wrong).map_or(0.0, |rate| f64::from(rate.between(from, to).count));
        let comes = 1.0 - (missing(Wrong::Lost) + missing(Wrong::Behind)) / of.max(1.0);
        let traffic = of / (usual_of * blocks as f64).max(f64::MIN_POSITIVE);
        let factor = comes / (1.0 - verdict.usual()).max(f64::MIN_POSITIVE) / traffic.max(f64::MIN_POSITIVE);
        traffic <= SAMPLED_TRAFFIC_MAX && SAMPLED_FACTORS.contains(&factor)
    };
    SAMPLED_BLOCKS.into_iter().chain([verdict.blocks]).any(is_sampled_in)
}

/// Returns the charge that names an incident, and how specific it is: the most specific, of equals the one that is deepest,
/// which its kind says, and of those the most frequent.
pub(super) fn lead(charges: &[Charge]) -> Option<(&Charge, u8)> {
    let specificity = |charge: &Charge| if follows(charge, charges) { 0 } else { charge.specificity() };
    let key = |charge: &Charge| {
        (specificity(charge), !follows(charge, charges), u8::from(!is_above_another(charge, charges)))
    };
    let lead =
        charges.iter().max_by(|a, b| key(a).cmp(&key(b)).then(a.verdict.now.wrong.total_cmp(&b.verdict.now.wrong)))?;
    Some((lead, specificity(lead)))
}

/// Returns whether the one that is charged is itself a caller in another charge of the kind: then the other is deeper.
fn is_above_another(charge: &Charge, charges: &[Charge]) -> bool {
    let is_deeper = |other: &&Charge| {
        other.kind == charge.kind && other.service != charge.service && other.scope.occasion.by.0 == charge.service
    };
    charges.iter().any(|other| is_deeper(&other))
}

/// Returns whether a charge follows from another one: a storm, if the one that is called again and again is itself a caller
/// that fails, or gives up, at something below it; messages that are lost, if more of the same wait because their taker is
/// behind with all of them.
fn follows(charge: &Charge, charges: &[Charge]) -> bool {
    let is_below = |other: &Charge| {
        let is_wrong = matches!(other.scope.wrong, Wrong::WorkedOn | Wrong::CutOff | Wrong::Fails | Wrong::LeftOut);
        is_wrong && other.scope.occasion.of == Of::Call && other.scope.occasion.by.0 == charge.service
    };
    let is_backlog = |other: &Charge| {
        other.scope.wrong == Wrong::Behind
            && other.scope.occasion == charge.scope.occasion
            && other.verdict.now.wrong >= charge.verdict.now.wrong
    };
    match charge.scope.wrong {
        Wrong::Retried => charges.iter().any(is_below),
        Wrong::Lost => charges.iter().any(is_backlog),
        _ => false,
    }
}

/// Returns whether a charge is what others lead to, one layer up: who is called in it is the caller in one of them.
pub(super) fn is_layer_above(charge: &Charge, charges: &[Charge]) -> bool {
    let is_of_call = |one: &Charge| one.scope.occasion.of == Of::Call;
    let called = charge.scope.occasion.to.as_ref().filter(|_| is_of_call(charge)).map(|(service, _)| service);
    called.is_some_and(|called| charges.iter().any(|one| is_of_call(one) && one.scope.occasion.by.0 == *called))
}

/// What a charge is told in.
pub(super) struct Words {
    /// One line.
    pub(super) title: String,
    /// What goes wrong, as a clause after "on which".
    pub(super) what: String,
    /// Name of what is counted, in the plural.
    pub(super) occasions: String,
    /// What to do first.
    pub(super) suggestions: Vec<String>,
}

/// Returns the words for a charge.
pub(super) fn words(charge: &Charge) -> Words {
    match charge.kind {
        IncidentKind::RetryStorm => retries::words(charge),
        IncidentKind::WastedWork => wasted::words(charge),
        IncidentKind::DegradedResponse => degraded::words(charge),
        IncidentKind::BrokenContext => context::words(charge),
        IncidentKind::LostMessage => lost::words(charge),
        IncidentKind::QueueLag => behind::words(charge),
        IncidentKind::DuplicateProcessing | IncidentKind::OutOfOrder => messages::words(charge),
        IncidentKind::IncompleteCompensation => undoing::words(charge),
        _ => errors::words(charge),
    }
}

/// Returns the most recent examples of what a charge is about, the latest first.
pub(super) fn examples<'a>(rates: &'a Rates, charge: &Charge) -> Vec<&'a Example> {
    let mut examples: Vec<&Example> = rates.examples(&charge.scope).collect();
    examples.reverse();
    examples
}

/// Returns service and operation as one text.
fn text((service, operation): &Name) -> String {
    format!("{service} {operation}")
}

fn percent(share: f64) -> String {
    match share {
        _ if share > 0.0 && share < 0.01 => format!("{:.1}%", share * 100.0),
        _ => format!("{:.0}%", share * 100.0),
    }
}

#[cfg(test)]
mod tests;
