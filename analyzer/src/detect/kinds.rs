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

use std::collections::BTreeSet;
use std::sync::Arc;

use super::changes::Changes;
use super::graph::Graph;
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

    /// Returns whether it is about work that is told apart by values of a business key.
    fn is_by_key(&self) -> bool {
        self.scope.occasion.is_by_key()
    }

    /// Returns how specific it is: of what is found in one incident the most specific names it.
    pub(super) fn specificity(&self) -> u8 {
        match self.scope.wrong {
            // That a caller gave up follows from slowness, which says more.
            Wrong::CutOff => 0,
            // How long messages wait says more, where it is known.
            Wrong::Behind => specificity(self.kind) - 1,
            // Requests come again when callers try again, or call more often, which says why.
            Wrong::Twice if self.scope.occasion.of == Of::Request && self.is_by_key() => {
                specificity(IncidentKind::ChattyCalls) - 1
            }
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
        Wrong::Twice | Wrong::Disordered => messages::charge(&court, scope, verdict),
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

/// Returns the charge that names an incident, and how specific it is: the most specific, of equals the one that is deepest,
/// which its kind says, and of those the most frequent.
pub(super) fn lead<'a>(charges: &'a [Charge], graph: &Graph) -> Option<(&'a Charge, u8)> {
    let key = |charge: &Charge| {
        let speaks = !follows(charge, charges, graph);
        let specificity = if speaks { charge.specificity() } else { 0 };
        (specificity, speaks, !is_above_another(charge, charges))
    };
    let keyed = charges.iter().map(|charge| (key(charge), charge));
    let ((specificity, ..), lead) =
        keyed.max_by(|a, b| a.0.cmp(&b.0).then(a.1.verdict.now.wrong.total_cmp(&b.1.verdict.now.wrong)))?;
    Some((lead, specificity))
}

/// Returns the charge of the same kind that is against a service, if there is one: of several the most frequent.
pub(super) fn same_against<'a>(lead: &Charge, charges: &'a [Charge], service: &str) -> Option<&'a Charge> {
    let against = charges.iter().filter(|charge| charge.kind == lead.kind && *charge.service == *service);
    against.max_by(|a, b| a.verdict.now.wrong.total_cmp(&b.verdict.now.wrong))
}

/// Returns whether the one that is charged is itself a caller in another charge of the kind: then the other is deeper.
fn is_above_another(charge: &Charge, charges: &[Charge]) -> bool {
    let is_deeper = |other: &&Charge| {
        other.kind == charge.kind && other.service != charge.service && other.scope.occasion.by.0 == charge.service
    };
    charges.iter().any(|other| is_deeper(&other))
}

/// Returns whether a charge follows from another one: a storm, if the one that is called again and again is itself a caller
/// that fails, or gives up, at something below it; work for nobody, and a backlog, if something below fails; messages that
/// are lost, if more of the same wait because their taker is behind with all of them, or if its calls go wrong; work for a
/// value that is done twice, if more is done twice by one above; what is not undone, if who undoes is given up on or gives
/// up, or needs what fails others, too.
fn follows(charge: &Charge, charges: &[Charge], graph: &Graph) -> bool {
    let is_backlog = |other: &Charge| {
        other.scope.wrong == Wrong::Behind
            && other.scope.occasion == charge.scope.occasion
            && other.verdict.now.wrong >= charge.verdict.now.wrong
    };
    let is_given_up_on = |other: &Charge| {
        let Occasion { by, to, .. } = &other.scope.occasion;
        let undoer = &charge.scope.occasion.by.0;
        matches!(other.scope.wrong, Wrong::CutOff | Wrong::WorkedOn)
            && (by.0 == *undoer || to.as_ref().is_some_and(|to| to.0 == *undoer))
    };
    let fails_others = |other: &Charge, below: &BTreeSet<Arc<str>>| {
        let Occasion { by, to, .. } = &other.scope.occasion;
        let is_other = by.0 != charge.scope.occasion.by.0 && to.as_ref().is_some_and(|to| below.contains(&to.0));
        other.scope.wrong == Wrong::Fails && is_other
    };
    // What is done twice has what it calls and sends done twice.
    let is_done_twice_above = |other: &Charge| {
        let (own, others) = (&charge.service, &other.service);
        other.scope.wrong == Wrong::Twice
            && own != others
            && graph.above(own).contains(others)
            && !graph.above(others).contains(own)
    };
    let below = |wrongs: &[Wrong]| goes_wrong_below(&charge.service, wrongs, charges, graph);
    match charge.scope.wrong {
        Wrong::Retried => below(&[Wrong::WorkedOn, Wrong::CutOff, Wrong::Fails, Wrong::LeftOut]),
        Wrong::WorkedOn | Wrong::Behind => below(&[Wrong::Fails]),
        Wrong::Lost => {
            charges.iter().any(is_backlog) || below(&[Wrong::Fails, Wrong::CutOff, Wrong::WorkedOn, Wrong::Retried])
        }
        Wrong::Twice if charge.is_by_key() => charges.iter().any(is_done_twice_above),
        Wrong::NotUndone => {
            let below = graph.below(&charge.scope.occasion.by.0);
            charges.iter().any(|other| is_given_up_on(other) || fails_others(other, &below))
        }
        _ => false,
    }
}

/// Returns whether calls of a service, or of one that it calls, fail by themselves: then it is slow, or behind, by that.
pub(super) fn fails_below(service: &str, charges: &[Charge], graph: &Graph) -> bool {
    goes_wrong_below(service, &[Wrong::Fails], charges, graph)
}

fn goes_wrong_below(service: &str, wrongs: &[Wrong], charges: &[Charge], graph: &Graph) -> bool {
    let mut wrong = charges.iter().filter(|charge| wrongs.contains(&charge.scope.wrong)).peekable();
    if wrong.peek().is_none() {
        return false;
    }
    let below = graph.below(service);
    wrong.any(|charge| {
        let Occasion { of, by, .. } = &charge.scope.occasion;
        *of == Of::Call && (*by.0 == *service || below.contains(&by.0))
    })
}

/// Returns whether a charge is what others lead to, one layer up: who is called in it is the caller in one of them.
pub(super) fn is_layer_above(charge: &Charge, charges: &[Charge]) -> bool {
    let Occasion { of, to, .. } = &charge.scope.occasion;
    let called = to.as_ref().filter(|_| *of == Of::Call);
    called.is_some_and(|(called, _)| of_calls_by(called, charges).next().is_some())
}

/// Returns whether two charges are about what is not undone after the same stage failed: one saga, whoever undoes.
pub(super) fn is_same_saga(charge: &Charge, other: &Charge) -> bool {
    let [a, b] = [&charge.scope.occasion, &other.scope.occasion];
    a.of == Of::Undoing && b.of == Of::Undoing && a.to == b.to
}

/// Returns the charges that are about calls of a service.
fn of_calls_by<'a>(caller: &'a str, charges: &'a [Charge]) -> impl Iterator<Item = &'a Charge> {
    charges.iter().filter(move |charge| {
        let Occasion { of, by, .. } = &charge.scope.occasion;
        *of == Of::Call && *by.0 == *caller
    })
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
