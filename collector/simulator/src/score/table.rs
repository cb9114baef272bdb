//! Verdicts as a table for people: one row for each kind and strength, the worst figures as easy to see as the best.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Verdict;
use crate::fault::Strength;

/// What became of the faults of one kind and strength.
#[derive(Debug, Clone)]
pub struct Row {
    /// Kind.
    pub kind: &'static str,
    /// Strength.
    pub strength: Strength,
    /// Faults.
    pub faults: usize,
    /// Share that was found.
    pub recall: f64,
    /// Share of those found whose kind is right.
    pub kind_right: f64,
    /// Share of those found whose service is named first.
    pub service_first: f64,
    /// Share of those found whose operation is named first.
    pub operation_first: f64,
    /// Share of those found of which those who suffer most are hurt.
    pub hurt_right: f64,
    /// Share of those found, of the faults of one instance, whose instance is named; none if there are none.
    pub instance_right: Option<f64>,
    /// Median of the onset's error without its sign, seconds.
    pub onset_error_s: f64,
    /// Median of the time until it was told, seconds.
    pub delay_s: f64,
    /// Incidents for each fault that was found.
    pub incidents_per_fault: f64,
    /// Incidents that are about nothing.
    pub false_incidents: usize,
}

/// Returns one row for each kind and strength.
pub fn table(verdicts: &[Verdict]) -> Vec<Row> {
    let mut groups: BTreeMap<(&'static str, Strength), Vec<&Verdict>> = BTreeMap::new();
    for verdict in verdicts {
        groups.entry((verdict.kind, verdict.strength)).or_default().push(verdict);
    }
    groups.into_iter().map(|((kind, strength), verdicts)| row(kind, strength, &verdicts)).collect()
}

fn row(kind: &'static str, strength: Strength, verdicts: &[&Verdict]) -> Row {
    let found: Vec<&&Verdict> = verdicts.iter().filter(|verdict| verdict.is_found()).collect();
    let share = |is: &dyn Fn(&Verdict) -> bool| ratio(found.iter().filter(|verdict| is(verdict)).count(), found.len());
    let instances: Vec<bool> = found.iter().filter_map(|verdict| verdict.is_instance_right).collect();
    Row {
        kind,
        strength,
        faults: verdicts.len(),
        recall: ratio(found.len(), verdicts.len()),
        kind_right: share(&|verdict| verdict.is_kind_right),
        service_first: share(&|verdict| verdict.is_service_right),
        operation_first: share(&|verdict| verdict.is_operation_right),
        hurt_right: share(&|verdict| verdict.is_hurt_right),
        instance_right: (!instances.is_empty())
            .then(|| ratio(instances.iter().filter(|right| **right).count(), instances.len())),
        onset_error_s: median(found.iter().map(|verdict| verdict.onset_error_s.abs()).collect()),
        delay_s: median(found.iter().map(|verdict| verdict.delay_s).collect()),
        incidents_per_fault: ratio(found.iter().map(|verdict| verdict.incidents).sum(), found.len()),
        false_incidents: verdicts.iter().map(|verdict| verdict.false_incidents).sum(),
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { f64::NAN } else { part as f64 / whole as f64 }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Row {
    /// Returns the names of the columns.
    pub fn heading() -> String {
        let columns =
            ["recall", "kind", "service", "operation", "hurt", "instance", "onset", "delay", "incidents", "false"];
        let mut text = format!("{:<24} {:<9} {:>3}", "kind", "strength", "n");
        columns.iter().for_each(|column| text.push_str(&format!(" {column:>9}")));
        text
    }

    /// Returns the row as text, beneath the heading.
    pub fn text(&self) -> String {
        let mut text = format!("{:<24} {:<9} {:>3}", self.kind, self.strength.as_str(), self.faults);
        let found = [self.recall, self.kind_right, self.service_first, self.operation_first, self.hurt_right];
        found.iter().for_each(|share| text.push_str(&format!(" {share:>9.2}")));
        let instance = self.instance_right.map_or("-".to_owned(), |share| format!("{share:.2}"));
        let times = (self.onset_error_s, self.delay_s);
        let counts = (self.incidents_per_fault, self.false_incidents);
        let _ = write!(text, " {instance:>9} {:>8.0}s {:>8.0}s {:>9.2} {:>9}", times.0, times.1, counts.0, counts.1);
        text.replace("NaN", "  -")
    }
}
