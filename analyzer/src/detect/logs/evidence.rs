//! What the logs of an incident's services say near its onset. Called whenever an incident is told, so that lines which come
//! after it opened are part of it a block later. Must never decide whether something is told: it only adds to what is.

use std::collections::BTreeSet;

use collector_table::TraceId;

use super::judge::{Finding, MARGIN_BLOCKS, NOW_BLOCKS, Stand};
use super::template::Example;
use crate::detect::life::OpenIncident;
use crate::detect::series::BLOCK_S;
use crate::detect::signals::Scope;
use crate::detect::story::clip;
use crate::detect::{Detector, block_start_ns};
use crate::incident::{Incident, LogEvidence, LogExample};
use crate::time::rfc3339;

/// Templates that are told of one incident.
const TOLD_MAX: usize = 6;
/// Lines that are told of one template, and characters of each and of the template.
const EXAMPLES_MAX: usize = 3;
const TEXT_CHARS_MAX: usize = 300;
/// Blocks after which the lines of an incident's first minutes are all there.
const LATE_BLOCKS: i64 = 6;

impl Detector {
    /// Renews what logs say of an open incident. What was told stays where it can no longer be told, as after a restart.
    pub(in crate::detect) fn attach_logs(&mut self, index: usize, block: i64) {
        let open = &self.open[index];
        let onset = open.onset;
        if block > onset.max(open.opened) + NOW_BLOCKS + LATE_BLOCKS {
            return;
        }
        let services = services(open);
        let watched: Vec<(usize, usize)> = services
            .iter()
            .enumerate()
            .filter_map(|(rank, name)| Some((rank, self.logs.watched(name, onset, block)?)))
            .collect();
        if watched.is_empty() {
            return;
        }
        let tested = watched.iter().map(|(_, templates)| templates).sum();
        let mut findings: Vec<(usize, Finding<'_>)> = Vec::new();
        for (rank, _) in watched {
            let traffic = |from, to| self.traffic(&services[rank], from, to);
            let found = self.logs.findings(&services[rank], (onset, block), tested, traffic);
            findings.extend(found.into_iter().map(|finding| (rank, finding)));
        }
        findings.sort_by(|(a_rank, a), (b_rank, b)| {
            let worst_first = b.template.severity.cmp(&a.template.severity);
            let ranked = a_rank.cmp(b_rank).then(worst_first).then(b.surprise.total_cmp(&a.surprise));
            ranked.then_with(|| a.template.text().cmp(&b.template.text()))
        });
        findings.truncate(TOLD_MAX);
        let hurt = self.hurt(open, &findings);
        let told = &open.incident.evidence.logs;
        let logs = findings.iter().map(|(rank, one)| evidence(&services[*rank], one, onset, told, &hurt)).collect();
        self.open[index].incident.evidence.logs = logs;
    }

    /// Returns how many transactions a block went through a service, over those blocks that are kept.
    fn traffic(&self, service: &str, from: i64, to: i64) -> Option<f64> {
        let signal = self.signals.list.get(self.signals.list.find(&Scope::Service(service.into()))?)?;
        let first = signal.series.since(i64::MIN).next().map(|(block, _)| block)?.max(from);
        let n: f64 = signal.series.since(first).take_while(|(block, _)| *block < to).map(|(_, sums)| sums.n).sum();
        (to > first).then(|| n / (to - first) as f64)
    }

    /// Returns those traces of the lines at hand that are hurt.
    fn hurt(&self, open: &OpenIncident, findings: &[(usize, Finding<'_>)]) -> BTreeSet<TraceId> {
        let lines = findings.iter().flat_map(|(_, finding)| finding.template.examples());
        let earlier = open.incident.evidence.logs.iter().flat_map(|log| &log.examples);
        let earlier = earlier.filter_map(|line| line.trace_id.as_ref()?.parse().ok());
        let traces: BTreeSet<TraceId> = lines.filter_map(|line| line.trace_id).chain(earlier).collect();
        let told = open.incident.exemplars.iter().filter(|one| one.role == "affected");
        let told = told.filter_map(|one| one.trace_id.parse().ok());
        let briefs = self.recent.since(open.onset).filter(|brief| traces.contains(&brief.id));
        told.chain(briefs.filter(|brief| brief.is_hurt(|_| true)).map(|brief| brief.id)).collect()
    }
}

/// Returns the services of an incident: who is blamed, most first, then who is affected.
fn services(open: &OpenIncident) -> Vec<String> {
    let Incident { root_cause, affected, .. } = &open.incident;
    let blamed = root_cause.iter().map(|cause| &cause.service);
    let mut services: Vec<String> = Vec::new();
    for service in blamed.chain(affected.iter().map(|one| &one.service)) {
        if !services.contains(service) {
            services.push(service.clone());
        }
    }
    services
}

fn evidence(
    service: &str,
    finding: &Finding<'_>,
    onset: i64,
    told: &[LogEvidence],
    hurt: &BTreeSet<TraceId>,
) -> LogEvidence {
    let template = finding.template;
    let per_minute = |count: u64, blocks: i64| count as f64 * 60.0 / (blocks * BLOCK_S) as f64;
    let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let mut evidence = LogEvidence {
        service: service.to_owned(),
        severity: template.severity.as_str().to_owned(),
        template: clip(&template.text(), TEXT_CHARS_MAX),
        event: some(&template.event),
        exception: some(&template.exception),
        change: match finding.stand {
            Stand::New => "new",
            Stand::Surging => "surging",
            Stand::Silent => "silent",
        }
        .to_owned(),
        before: finding.before,
        before_s: finding.before_blocks * BLOCK_S,
        before_per_minute: per_minute(finding.before, finding.before_blocks),
        now: finding.now,
        now_s: finding.now_blocks * BLOCK_S,
        now_per_minute: per_minute(finding.now, finding.now_blocks),
        factor: finding.factor,
        surprise: finding.surprise,
        first_seen: rfc3339(template.first_ns),
        examples: Vec::new(),
    };
    // Lines that were told stay, so that a page does not change with each look at it.
    let earlier = told.iter().find(|one| one.is_about(&evidence)).map_or(&[][..], |one| &one.examples);
    evidence.examples = examples(finding, onset, earlier, hurt);
    evidence
}

/// Returns lines to look at: those of hurt transactions first, then those of any. What fell silent has its last ones.
fn examples(finding: &Finding<'_>, onset: i64, told: &[LogExample], hurt: &BTreeSet<TraceId>) -> Vec<LogExample> {
    let from_ns = block_start_ns(onset - MARGIN_BLOCKS);
    let fits = |line: &&Example| finding.stand == Stand::Silent || line.time_ns >= from_ns;
    let lines = finding.template.examples().iter().filter(fits).map(|line| LogExample {
        at: rfc3339(line.time_ns),
        text: clip(&line.text, TEXT_CHARS_MAX),
        trace_id: line.trace_id.map(|id| id.to_string()),
        span_id: line.span_id.map(|id| id.to_string()),
        instance: line.instance.clone(),
    });
    let mut examples: Vec<LogExample> = told.to_vec();
    for line in lines {
        if !examples.contains(&line) {
            examples.push(line);
        }
    }
    let is_hurt =
        |line: &LogExample| line.trace_id.as_ref().and_then(|id| id.parse().ok()).map(|id| hurt.contains(&id));
    examples.sort_by_key(|line| match is_hurt(line) {
        Some(true) => 0,
        Some(false) => 1,
        None => 2,
    });
    examples.truncate(EXAMPLES_MAX);
    examples
}
