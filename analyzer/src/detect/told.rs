//! What was last told about an incident, and whether what is known by now is news. Called by the life of incidents.

use std::collections::BTreeSet;

use crate::incident::{Incident, IncidentKind, Severity};

/// Blocks between two updates for which more hurt transactions, or another first cause, are reason enough.
const UPDATE_BLOCKS: i64 = 30;

/// What was last told about an incident.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) block: i64,
    kind: IncidentKind,
    severity: Severity,
    cause: Option<String>,
    affected: usize,
    hurt: u64,
}

impl Told {
    pub(super) fn of(incident: &Incident, block: i64) -> Self {
        let services: BTreeSet<&str> = incident.affected.iter().map(|affected| affected.service.as_str()).collect();
        Self {
            block,
            kind: incident.kind,
            severity: incident.severity,
            cause: incident.root_cause.first().map(|cause| cause.service.clone()),
            affected: services.len(),
            hurt: incident.impact.transactions,
        }
    }

    /// Returns whether the difference to an earlier telling matters.
    pub(super) fn is_news_after(&self, earlier: &Self) -> bool {
        let has_waited = self.block - earlier.block >= UPDATE_BLOCKS;
        let is_worse = self.hurt >= 2 * earlier.hurt.max(1) || self.cause != earlier.cause;
        let is_other = self.kind != earlier.kind || self.severity > earlier.severity;
        is_other || self.affected > earlier.affected || (has_waited && is_worse)
    }
}
