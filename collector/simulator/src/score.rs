//! How well somebody judged what was played: incidents against faults, and transactions against pieces of work. Used by
//! whoever runs an analysis on a simulation. Must never know the analysis: it is told what was found as plain values.

pub mod stitching;
mod table;

pub use table::{Row, table};

use crate::fault::{Fault, Strength};

/// Seconds after the end of a fault in which an incident about it may still open: what waits has to be worked off.
const AFTER_S: f64 = 240.0;
/// Seconds before the onset that are forgiven: blocks of time begin earlier than what is in them.
const BEFORE_S: f64 = 15.0;

/// An incident, as far as it is judged. Seconds are since the beginning of the simulation.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Its word.
    pub kind: String,
    /// When it was told.
    pub opened_s: f64,
    /// When it says that it began.
    pub started_s: f64,
    /// Service that is named first as its cause.
    pub root_service: String,
    /// Operation that is named first as its cause.
    pub root_operation: String,
    /// Instance that is named first as its cause.
    pub root_instance: Option<String>,
    /// All services and queues that it names.
    pub services: Vec<String>,
    /// Service and operation of the transactions that it says suffer most.
    pub transaction: (String, String),
}

/// What became of one fault.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Kind of the fault.
    pub kind: &'static str,
    /// Its strength.
    pub strength: Strength,
    /// Incidents that are about it.
    pub incidents: usize,
    /// Whether the first of them has a right kind.
    pub is_kind_right: bool,
    /// Whether the first of them names the right service first.
    pub is_service_right: bool,
    /// Whether it names the right operation of it first.
    pub is_operation_right: bool,
    /// Whether the transactions that it says suffer most are hurt.
    pub is_hurt_right: bool,
    /// Whether it names the instance; none where the fault is not one instance's.
    pub is_instance_right: Option<bool>,
    /// Seconds between the onset and when it says that it began.
    pub onset_error_s: f64,
    /// Seconds between the onset and when it was told.
    pub delay_s: f64,
    /// Incidents that are about nothing.
    pub false_incidents: usize,
}

impl Verdict {
    /// Returns whether the fault was found.
    pub fn is_found(&self) -> bool {
        self.incidents > 0
    }
}

/// Judges what was found while a fault was played; `instance` is the name of the instance that it touched alone.
pub fn judge(fault: &Fault, instance: Option<&str>, found: &[Found]) -> Verdict {
    let is_about = |incident: &&Found| {
        let is_in_time = incident.opened_s >= fault.from_s - BEFORE_S && incident.opened_s <= fault.to_s + AFTER_S;
        is_in_time && incident.services.iter().any(|service| fault.near.contains(service))
    };
    let about: Vec<&Found> = found.iter().filter(is_about).collect();
    let first = about.iter().min_by(|a, b| a.opened_s.total_cmp(&b.opened_s));
    Verdict {
        kind: fault.kind,
        strength: fault.strength,
        incidents: about.len(),
        is_kind_right: first.is_some_and(|first| fault.kinds.contains(&first.kind.as_str())),
        is_service_right: first.is_some_and(|first| fault.services.contains(&first.root_service)),
        is_operation_right: first.is_some_and(|first| {
            fault.services.contains(&first.root_service) && fault.operations.contains(&first.root_operation)
        }),
        is_hurt_right: first.is_some_and(|first| fault.hurt.contains(&first.transaction)),
        is_instance_right: instance.map(|name| first.is_some_and(|first| first.root_instance.as_deref() == Some(name))),
        onset_error_s: first.map_or(f64::NAN, |first| first.started_s - fault.from_s),
        delay_s: first.map_or(f64::NAN, |first| first.opened_s - fault.from_s),
        false_incidents: found.len() - about.len(),
    }
}

#[cfg(test)]
mod tests;
