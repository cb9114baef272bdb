//! What comes back soon after it was resolved is the same incident. Called when an incident opens.

use super::{Detector, block_start_ns};
use crate::incident::Incident;
use crate::time::parse_rfc3339;

/// Nanoseconds after which what comes back is another incident: half an hour.
const REOPEN_NS: i64 = 1_800_000_000_000;

impl Detector {
    /// Gives the incident that just opened the identity of one that was resolved a while ago and was about the same, or a
    /// number of its own.
    pub(super) fn reopen_or_number(&mut self, index: usize, block: i64) {
        let now_ns = block_start_ns(block + 1);
        let opened = &self.open[index].incident;
        let is_recent = |one: &Incident| {
            let resolved_ns = one.resolved_at.as_deref().and_then(parse_rfc3339);
            resolved_ns.is_some_and(|resolved_ns| now_ns.saturating_sub(resolved_ns) <= REOPEN_NS)
        };
        let Some(at) = self.resolved.iter().position(|one| is_recent(one) && is_same(one, opened)) else {
            self.next_number += 1;
            return;
        };
        let Some(before) = self.resolved.remove(at) else { return };
        let incident = &mut self.open[index].incident;
        (incident.id, incident.number, incident.reopened) = (before.id, before.number, true);
        mark(incident);
    }
}

/// Begins the summary of an incident that came back with that.
pub(super) fn mark(incident: &mut Incident) {
    const CAME_BACK: &str = "It came back after it was resolved.";
    if incident.reopened && !incident.summary.starts_with(CAME_BACK) {
        incident.summary = format!("{CAME_BACK} {}", incident.summary);
    }
}

/// Returns whether two incidents are of one kind and about the same cause.
fn is_same(before: &Incident, now: &Incident) -> bool {
    let causes = before.root_cause.first().zip(now.root_cause.first());
    before.kind == now.kind && causes.is_some_and(|(a, b)| a.service == b.service && a.instance == b.instance)
}
