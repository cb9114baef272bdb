//! The life of incidents: what stands out joins an open incident that it touches or opens one; an incident is updated
//! when something that matters changes, and resolved when all that stood out is back for two minutes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::blame::{self, Suspect};
use super::series::Verdict;
use super::signals::Scope;
use super::story::{self, Facts};
use super::{Detector, IncidentChange, block_of, block_start_ns};
use crate::incident::{Incident, IncidentEvent, IncidentStatus, Severity};
use crate::time::{parse_rfc3339, rfc3339};

/// Ticks for which everything must be back before an incident is resolved.
const CALM_TICKS: u32 = 12;
/// Ticks without traffic after which an incident is closed, unjudged: half an hour.
const SILENT_TICKS_MAX: u32 = 180;
/// Blocks after which what was slow is taken as usual: a day.
const LIFE_BLOCKS_MAX: i64 = 8_640;
/// Below this score, or below this shift or share of the incident's largest shift, a signal is back.
const CALM_Z: f64 = 3.0;
const CALM_SHIFT: f64 = 0.25;
const CALM_PEAK_SHARE: f64 = 0.2;
/// From here on, a service can be blamed.
const CREDIBLE_Z: f64 = 3.0;
const CREDIBLE_SHIFT: f64 = 0.25;
/// Blocks to look back for the onset.
pub(super) const ONSET_BLOCKS: i64 = 30;
/// Blocks between two updates for which more hurt transactions, or another first cause, are reason enough.
const UPDATE_BLOCKS: i64 = 30;
/// Incidents that can be open at once; more of what stands out joins the one opened last.
const OPEN_MAX: usize = 50;

/// An incident that goes on.
#[derive(Debug, Clone)]
pub(super) struct OpenIncident {
    pub(super) incident: Incident,
    /// Services that it touches.
    services: BTreeSet<Arc<str>>,
    /// Signals that stood out.
    scopes: Vec<Scope>,
    /// Those of them that opened it.
    opened_by: Vec<Scope>,
    pub(super) onset: i64,
    /// Services and peers that were seen to be off their baseline themselves; only they can be blamed.
    credible: BTreeSet<Arc<str>>,
    /// Strongest verdict.
    verdict: Option<Verdict>,
    is_held: bool,
    calm_ticks: u32,
    silent_ticks: u32,
    told: Told,
}

/// What was last told about an incident.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    block: i64,
    severity: Severity,
    cause: Option<String>,
    affected: usize,
    hurt: u64,
}

impl Told {
    fn of(incident: &Incident, block: i64) -> Self {
        let services: BTreeSet<&str> = incident.affected.iter().map(|affected| affected.service.as_str()).collect();
        Self {
            block,
            severity: incident.severity,
            cause: incident.root_cause.first().map(|cause| cause.service.clone()),
            affected: services.len(),
            hurt: incident.impact.transactions,
        }
    }

    /// Returns whether the difference to an earlier telling matters.
    fn is_news_after(&self, earlier: &Self) -> bool {
        let has_waited = self.block - earlier.block >= UPDATE_BLOCKS;
        let is_worse = self.hurt >= 2 * earlier.hurt.max(1) || self.cause != earlier.cause;
        self.severity > earlier.severity || self.affected > earlier.affected || (has_waited && is_worse)
    }
}

impl OpenIncident {
    /// Returns an incident from before a restart, or nothing if its onset cannot be read.
    pub(super) fn restored(incident: Incident) -> Option<Self> {
        let onset = block_of(parse_rfc3339(&incident.started_at)?);
        let mut services: BTreeSet<Arc<str>> =
            incident.affected.iter().map(|affected| affected.service.as_str().into()).collect();
        services.extend(incident.root_cause.first().map(|cause| Arc::from(cause.service.as_str())));
        let scopes: Vec<Scope> = services.iter().cloned().map(Scope::Service).collect();
        let opened_by = scopes.clone();
        let told = Told::of(&incident, onset);
        let credible = services.clone();
        Some(Self {
            incident,
            services,
            scopes,
            opened_by,
            onset,
            credible,
            verdict: None,
            is_held: false,
            calm_ticks: 0,
            silent_ticks: 0,
            told,
        })
    }

    /// Returns the service that is blamed most.
    fn culprit(&self) -> Option<&str> {
        self.incident.root_cause.first().map(|cause| cause.service.as_str())
    }

    fn touches(&self, service: &str) -> bool {
        self.services.contains(service)
    }
}

impl Detector {
    /// Moves every incident on by one block.
    pub(super) fn live(
        &mut self,
        block: i64,
        now_ns: i64,
        hot: &[(Scope, Verdict)],
        changes: &mut Vec<IncidentChange>,
    ) {
        let mut groups: Vec<Vec<(Scope, Verdict)>> = Vec::new();
        for (scope, verdict) in hot {
            let services = self.signals.services(scope);
            if let Some(open) = self.open.iter().position(|open| self.belongs_to(&services, open)) {
                self.join(open, scope, *verdict);
            } else {
                self.gather(&mut groups, scope, *verdict);
            }
        }
        for group in groups {
            changes.extend(self.open_incident(block, now_ns, &group));
        }
        for index in (0..self.open.len()).rev() {
            self.hold(index, block);
            changes.extend(self.renew(index, block));
            changes.extend(self.resolve_if_calm(index, block));
        }
    }

    /// Stops learning from what incidents touch, while a time is read back that was judged before.
    pub(super) fn hold_all(&mut self, block: i64) {
        for index in 0..self.open.len() {
            self.hold(index, block);
        }
    }

    /// Returns whether what stands out about the services belongs to an open incident: it is about the culprit or a
    /// direct neighbour of it. Neighbours of neighbours do not count, or one busy gateway would join everything.
    fn belongs_to(&self, services: &[Arc<str>], open: &OpenIncident) -> bool {
        match open.culprit() {
            Some(culprit) => self.is_near(services, &BTreeSet::from([Arc::from(culprit)])),
            None => self.is_near(services, &open.services),
        }
    }

    /// Returns whether one of the services is among the others or exchanges calls or messages with one of them.
    fn is_near(&self, services: &[Arc<str>], others: &BTreeSet<Arc<str>>) -> bool {
        let is_near = |a: &Arc<str>, b: &Arc<str>| a == b || self.signals.are_adjacent(a, b);
        services.iter().any(|a| others.iter().any(|b| is_near(a, b)))
    }

    fn join(&mut self, open: usize, scope: &Scope, verdict: Verdict) {
        let services = self.signals.services(scope);
        let open = &mut self.open[open];
        if !open.scopes.contains(scope) {
            open.scopes.push(scope.clone());
            open.is_held &= services.iter().all(|service| open.services.contains(service));
            open.services.extend(services);
        }
        if open.verdict.is_none_or(|strongest| verdict.z > strongest.z) {
            open.verdict = Some(verdict);
        }
    }

    /// Puts a signal to the first group that it touches, or into a new one.
    fn gather(&self, groups: &mut Vec<Vec<(Scope, Verdict)>>, scope: &Scope, verdict: Verdict) {
        let services = self.signals.services(scope);
        let touched = groups.iter_mut().find(|group| {
            let members: BTreeSet<Arc<str>> =
                group.iter().flat_map(|(member, _)| self.signals.services(member)).collect();
            self.is_near(&services, &members)
        });
        match touched {
            Some(group) => group.push((scope.clone(), verdict)),
            None => groups.push(vec![(scope.clone(), verdict)]),
        }
    }

    fn open_incident(&mut self, block: i64, now_ns: i64, group: &[(Scope, Verdict)]) -> Option<IncidentChange> {
        let (strongest, verdict) = group.iter().max_by(|a, b| a.1.z.total_cmp(&b.1.z)).cloned()?;
        if self.open.len() >= OPEN_MAX {
            let newest = self.open.len() - 1;
            self.join(newest, &strongest, verdict);
            return None;
        }
        let mut onsets: Vec<i64> =
            group.iter().map(|(scope, _)| self.signals.onset(scope, block, ONSET_BLOCKS)).collect();
        onsets.sort_unstable();
        let onset = onsets[onsets.len() / 2];
        let services: BTreeSet<Arc<str>> = group.iter().flat_map(|(scope, _)| self.signals.services(scope)).collect();
        let number = self.next_number;
        let incident = story::begin(number, &services, block_start_ns(onset), now_ns);
        let told = Told::of(&incident, block);
        let scopes: Vec<Scope> = group.iter().map(|(scope, _)| scope.clone()).collect();
        let opened_by = scopes.clone();
        let verdict = Some(verdict);
        self.open.push(OpenIncident {
            incident,
            services,
            scopes,
            opened_by,
            onset,
            credible: BTreeSet::new(),
            verdict,
            is_held: false,
            calm_ticks: 0,
            silent_ticks: 0,
            told,
        });
        let index = self.open.len() - 1;
        self.hold(index, block);
        let is_told = self.tell(index, block);
        let culprit: Vec<Arc<str>> = self.open[index].culprit().map(Arc::from).into_iter().collect();
        let earlier = self.open[..index].iter().position(|earlier| self.belongs_to(&culprit, earlier));
        if !is_told || earlier.is_some() {
            self.open.pop();
            self.let_go(onset, block);
            for (scope, verdict) in group {
                earlier.into_iter().for_each(|earlier| self.join(earlier, scope, *verdict));
            }
            return None;
        }
        self.next_number += 1;
        let open = &mut self.open[index];
        open.told = Told::of(&open.incident, block);
        Some(IncidentChange { event: IncidentEvent::Opened, incident: open.incident.clone() })
    }

    /// Stops learning from what an incident touches, from its onset on.
    fn hold(&mut self, index: usize, block: i64) {
        let open = &mut self.open[index];
        if open.is_held || block < open.onset {
            return;
        }
        open.is_held = true;
        let open = &self.open[index];
        self.signals.hold(|service| open.touches(service), open.onset);
    }

    /// Renews the incident's numbers and words; returns whether there is someone to blame and someone hurt.
    fn tell(&mut self, index: usize, block: i64) -> bool {
        let open = &self.open[index];
        let Some(verdict) = open.verdict else { return true };
        let mut suspects: Vec<Suspect> = blame::suspects(&self.signals, open.onset, block);
        let newly_credible: Vec<Arc<str>> = suspects
            .iter()
            .filter(|suspect| self.is_off(suspect, block))
            .map(|suspect| suspect.service.clone())
            .collect();
        suspects.retain(|suspect| self.is_near(&[suspect.service.clone(), suspect.caller.clone()], &open.services));
        let extra_total_ms = suspects.iter().map(|suspect| suspect.extra_ms).sum();
        let open = &mut self.open[index];
        open.credible.extend(newly_credible);
        suspects.retain(|suspect| open.credible.contains(&suspect.service));
        let open = &self.open[index];
        let facts = Facts {
            signals: &self.signals,
            types: &self.types,
            recent: &self.recent,
            changes: &self.changes,
            extra_total_ms,
            thresholds: &self.thresholds,
            suspects: &suspects,
            verdict: &verdict,
            onset: open.onset,
            block,
        };
        let mut incident = open.incident.clone();
        let is_told = story::tell(&mut incident, &facts);
        let open = &mut self.open[index];
        open.incident = incident;
        if let Some(culprit) = open.culprit().map(Arc::from) {
            open.is_held &= !open.services.insert(culprit);
        }
        is_told
    }

    /// Returns whether a suspect is off its own baseline, by less than it takes to open an incident.
    fn is_off(&self, suspect: &Suspect, block: i64) -> bool {
        let as_peer = Scope::Hop(suspect.caller.clone(), suspect.service.clone());
        let scopes = [Scope::Service(suspect.service.clone()), as_peer];
        let verdicts = scopes.iter().filter_map(|scope| self.signals.judge(scope, block));
        verdicts.into_iter().any(|verdict| verdict.z >= CREDIBLE_Z && verdict.shift >= CREDIBLE_SHIFT)
    }

    fn renew(&mut self, index: usize, block: i64) -> Option<IncidentChange> {
        if self.open[index].calm_ticks > 0 || self.open[index].told.block == block || !self.tell(index, block) {
            return None;
        }
        let open = &mut self.open[index];
        let told = Told::of(&open.incident, block);
        if !told.is_news_after(&open.told) {
            return None;
        }
        open.told = told;
        Some(IncidentChange { event: IncidentEvent::Updated, incident: open.incident.clone() })
    }

    fn resolve_if_calm(&mut self, index: usize, block: i64) -> Option<IncidentChange> {
        let condition = self.condition(&self.open[index], block);
        let open = &mut self.open[index];
        match condition {
            Some(true) => open.calm_ticks += 1,
            Some(false) => (open.calm_ticks, open.silent_ticks) = (0, 0),
            // A dependency that hangs for good looks like this: silence is no recovery.
            None => open.silent_ticks += 1,
        }
        let reason = match () {
            () if open.calm_ticks >= CALM_TICKS => None,
            () if open.silent_ticks >= SILENT_TICKS_MAX => {
                Some("Closed without being back: nothing to judge by for half an hour.")
            }
            () if block - open.onset >= LIFE_BLOCKS_MAX => {
                Some("Closed after a day: this is taken as usual from now on.")
            }
            () => return None,
        };
        let OpenIncident { mut incident, onset, .. } = self.open.remove(index);
        incident.status = IncidentStatus::Resolved;
        incident.resolved_at = Some(rfc3339(block_start_ns(block + 1)));
        if let Some(reason) = reason {
            incident.summary = format!("{reason} {}", incident.summary);
        }
        self.let_go(onset, block);
        self.keep_resolved(incident.clone());
        Some(IncidentChange { event: IncidentEvent::Resolved, incident })
    }

    /// Returns whether all that stood out is back, or nothing if too little happened to tell.
    fn condition(&self, open: &OpenIncident, block: i64) -> Option<bool> {
        let culprit = open.culprit().map(|culprit| Scope::Service(culprit.into()));
        let peak_shift = open.verdict.map_or(0.0, |strongest| strongest.shift);
        let calm_shift = CALM_SHIFT.max(CALM_PEAK_SHARE * peak_shift);
        let is_calm = |verdict: Verdict| verdict.z < CALM_Z || verdict.shift < calm_shift;
        let scopes = open.opened_by.iter().chain(&culprit);
        let verdicts = scopes.filter_map(|scope| self.signals.judge_held(scope, block));
        verdicts.filter(|verdict| verdict.n >= self.thresholds.n).map(is_calm).reduce(|all, one| all && one)
    }

    /// Learns again from everything that no open incident touches.
    fn let_go(&mut self, from: i64, to: i64) {
        let open = &self.open;
        self.signals.release(|service| open.iter().any(|open| open.touches(service)), from, to);
    }
}
