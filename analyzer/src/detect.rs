//! Detection of slow failures: from closed transactions to incidents. The analyzer's owner feeds it; it keeps signals
//! and incidents, all bounded. It judges whole blocks of event time and never sees a clock.
//!
//! There are two engines. A signal of time stands out when its last minute is far from the half hour before, measured
//! against how its own minutes differ (`series`), by a size that matters to the whole transaction, with enough traffic, for
//! several ticks in a row. A rate stands out when something goes wrong on a larger share of occasions (`rates`), and what
//! that means is said by its kind (`kinds`). What stands out together and touches is one incident (`life`); who owns extra
//! time is ranked by `blame`.

mod anomaly;
mod baseline;
mod blame;
mod changes;
mod chatty;
mod dismiss;
mod fanout;
mod graph;
mod instances;
mod kinds;
mod life;
mod logs;
mod memory;
mod rate_story;
mod rates;
mod recent;
mod reopen;
mod season;
mod series;
mod shape_story;
mod shapes;
mod signals;
mod sketch;
mod slots;
mod slow;
mod steps;
mod story;
mod tail;
mod told;
mod traits;
mod trend;
mod types;
mod who;

pub use memory::{LongMemory, Unfit, Usual};
pub use series::BLOCK_S;
pub use sketch::Sketch;

use std::collections::VecDeque;

use collector_table::{LogTable, SpanTable};

use self::changes::Changes;
use self::graph::Graph;
use self::life::OpenIncident;
use self::logs::Logs;
use self::rates::Rates;
use self::recent::{Brief, Recent};
use self::season::Season;
use self::series::Verdict;
use self::signals::{Scope, Signal, Signals};
use self::traits::Traits;
use self::types::{TransactionType, TypeName, Types};
use crate::incident::{Incident, IncidentEvent};
use crate::stitch::{Taken, Worked};
use crate::summary::{TypeState, TypeSummary};
use crate::transaction::Transaction;

const SECOND_NS: i64 = 1_000_000_000;

/// Settings and bounds of detection.
#[derive(Debug, Clone)]
pub struct DetectorLimits {
    /// False incidents a week that are tolerated over all signals together; thresholds follow from it.
    pub false_alarms_per_week: f64,
    /// Steps for which a baseline is kept; more are not judged and counted.
    pub steps_max: usize,
    /// Signals that are watched; more are not watched and counted.
    pub signals_max: usize,
    /// Occasions on which it is counted what goes wrong; more are not watched and counted.
    pub occasions_max: usize,
    /// Transaction types that are tallied; more are folded into "(others)" and counted.
    pub types_max: usize,
    /// Resolved incidents that are kept in memory.
    pub resolved_max: usize,
}

impl Default for DetectorLimits {
    fn default() -> Self {
        Self {
            false_alarms_per_week: 1.0,
            steps_max: 20_000,
            signals_max: 20_000,
            occasions_max: 20_000,
            types_max: 1_000,
            resolved_max: 100,
        }
    }
}

/// What a signal must reach to stand out.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// Standard score.
    pub z: f64,
    /// Shift of the mean log ratio: 0.5 is 65 % longer.
    pub shift: f64,
    /// Share of transactions that take long, beyond the usual share.
    pub tail_share: f64,
    /// Extra milliseconds of a transaction.
    pub extra_ms: f64,
    /// Extra time as a share of the whole transaction.
    pub extra_share: f64,
    /// Transactions in the window.
    pub n: f64,
    /// Transactions in the reference.
    pub reference_n: f64,
    /// Minutes in the reference.
    pub reference_windows: usize,
}

impl Thresholds {
    /// Returns what is needed with so many false incidents a week.
    ///
    /// Scores of 6 gave no incident in the certified-quiet time of the recordings that were at hand; each factor of
    /// e in the budget moves it by half. The scores' tails are those of the signal's own minutes, not a normal's.
    pub fn of_budget(false_alarms_per_week: f64) -> Self {
        let z = (6.0 - 0.5 * false_alarms_per_week.max(1e-3).ln()).clamp(4.5, 9.0);
        Self {
            z,
            shift: 0.5,
            tail_share: 0.02,
            extra_ms: 5.0,
            extra_share: 0.1,
            n: 4.0,
            reference_n: 30.0,
            reference_windows: 8,
        }
    }

    /// Returns whether a window stands out: by its mean or by its tail, by a size that matters to whole transactions,
    /// and by more than the traffic explains.
    fn are_passed(&self, verdict: &Verdict) -> bool {
        let by_mean =
            verdict.z >= self.z && verdict.shift >= self.shift && verdict.makers >= MAKERS_MIN && !verdict.is_load();
        let tail = &verdict.tail;
        let by_tail = tail.z >= self.z && tail.excess() >= self.tail_share && !verdict.is_load();
        (by_mean || by_tail) && verdict.extra_ms >= self.extra_ms && verdict.extra_share >= self.extra_share
    }
}

/// Transactions that must make a shift: one, however long it took, is no trend.
const MAKERS_MIN: f64 = 2.5;
/// Ticks in a row for which a signal must stand out: a pause of one block is no incident.
pub const PERSISTENCE_TICKS: u32 = 2;
/// Share of the largest score of the signal's own past that a score must reach, whatever the threshold.
const PAST_Z_FACTOR: f64 = 0.8;
/// Factors on the thresholds of signals finer than a service.
const FINE_Z_FACTOR: f64 = 1.5;
const FINE_SHIFT_FACTOR: f64 = 2.0;
/// Ticks before a score counts as past.
const PAST_Z_DELAY: usize = 30;
/// Factor by which the largest past score fades each tick: half in four hours.
const PAST_Z_FADE: f64 = 0.9995;
/// Blocks between renewals of what is usual.
const RENEW_BLOCKS: i64 = 3;
/// Blocks between two looks for what is unused: ten minutes.
const FREE_BLOCKS: i64 = 60;

/// Judges transactions and keeps incidents.
pub struct Detector {
    limits: DetectorLimits,
    thresholds: Thresholds,
    signals: Signals,
    /// Who waits for whom, as of the last block in which something stood out.
    graph: Graph,
    rates: Rates,
    types: Types,
    recent: Recent,
    changes: Changes,
    traits: Traits,
    logs: Logs,
    /// Last block that was judged.
    judged: Option<i64>,
    /// Nothing opens before this event time: it was judged before a restart.
    opens_from_ns: i64,
    open: Vec<OpenIncident>,
    resolved: VecDeque<Incident>,
    next_number: u64,
}

/// A change in the life of an incident.
#[derive(Debug, Clone)]
pub struct IncidentChange {
    /// What happened.
    pub event: IncidentEvent,
    /// The incident as it is now.
    pub incident: Incident,
}

impl Detector {
    /// Returns a detector that knows nothing.
    pub fn new(limits: DetectorLimits) -> Self {
        Self {
            thresholds: Thresholds::of_budget(limits.false_alarms_per_week),
            signals: Signals::new(limits.steps_max, limits.signals_max),
            graph: Graph::default(),
            rates: Rates::new(limits.occasions_max, limits.false_alarms_per_week),
            types: Types::new(limits.types_max),
            recent: Recent::default(),
            changes: Changes::default(),
            traits: Traits::default(),
            logs: Logs::default(),
            judged: None,
            opens_from_ns: i64::MIN,
            open: Vec::new(),
            resolved: VecDeque::new(),
            next_number: 1,
            limits,
        }
    }

    /// Takes over incidents from before a restart. Until event time `judged_ns`, which was judged then, transactions
    /// only teach what is usual.
    pub fn restore(&mut self, incidents: Vec<Incident>, next_number: u64, judged_ns: i64) {
        self.next_number = next_number.max(1);
        self.opens_from_ns = judged_ns;
        // Newest first, as they are shown; the oldest are let go.
        for incident in incidents.into_iter().rev() {
            match incident.status {
                crate::incident::IncidentStatus::Open => self.open.extend(OpenIncident::restored(incident)),
                crate::incident::IncidentStatus::Resolved => self.keep_resolved(incident),
            }
        }
    }

    /// Reads who sends, for whom, and where, from spans that arrive at `now_ns`.
    pub fn read(&mut self, table: &SpanTable, now_ns: i64) {
        self.traits.read(table, now_ns);
    }

    /// Mines the templates of log records that arrived at `now_ns`; they become evidence, and never an incident.
    pub fn read_logs(&mut self, table: &LogTable, now_ns: i64) {
        self.logs.read(table, now_ns);
    }

    /// States that log records written before `until_ns` may be missing, so that what is new is not known from them.
    pub(crate) fn miss_logs(&mut self, until_ns: i64) {
        self.logs.miss(until_ns);
    }

    /// Takes in a closed transaction whose root ended at `ended_ns`; not later than it arrived, or a sender whose clock
    /// runs ahead would push what is usual out of the reference.
    pub fn observe(&mut self, transaction: &Transaction, ended_ns: i64) {
        // A later revision or a late part would count the same work twice.
        if transaction.revision != 1 {
            return;
        }
        let block = block_of(ended_ns);
        let type_id = self.types.add(transaction, ended_ns, block);
        self.rates.add(transaction, self.known_block(block));
        let deviation = self.signals.add(transaction, block, |site| self.changes.note(site, block));
        let said = self.traits.take(transaction.id);
        self.recent.push(Brief { said, ..Brief::new(transaction, block, type_id, deviation) });
    }

    /// Takes in what is known of a transaction of several traces only when it is given out, at event time `known_ns`: how
    /// long its messages waited. It counts for the block in which it becomes known.
    pub fn observe_joined(&mut self, transaction: &Transaction, known_ns: i64) {
        let block = self.known_block(block_of(known_ns));
        let Some(deviation) = self.signals.add_joined(transaction, block) else { return };
        let site = &transaction.root_span().site;
        // Its traces were tallied each by itself.
        let Some(type_id) = self.types.slots.find(&(site.service.clone(), site.operation.clone())) else { return };
        self.recent.push(Brief { is_joined: true, ..Brief::new(transaction, block, type_id, deviation) });
    }

    /// Takes in a transaction that is given out at `now_ns`, whole as far as is known: what its messages and its saga say.
    pub fn observe_whole(&mut self, transaction: &Transaction, ended_ns: i64, now_ns: i64) {
        let block = self.known_block(block_of(ended_ns));
        self.rates.send(transaction, block, now_ns);
        self.rates.undo(transaction, block, now_ns);
    }

    /// Takes in what executions worked for, of traces that closed by `now_ns`.
    pub(crate) fn observe_worked(&mut self, worked: &[Worked], clock_ns: i64, now_ns: i64) {
        let block = self.known_block(block_of(clock_ns));
        self.rates.work(worked, block, now_ns);
    }

    /// Takes in what spans that arrived at `now_ns` took in, and moves on what waits for messages.
    pub(crate) fn observe_taken(&mut self, taken: &[Taken], clock_ns: i64, now_ns: i64) {
        let block = self.known_block(block_of(clock_ns));
        self.rates.take_in(taken, block, now_ns);
        self.rates.settle_sends(block, now_ns);
        self.rates.settle_undoings(block, now_ns);
    }

    /// Returns the block for which something counts that is known now: a block that was judged is not counted again.
    fn known_block(&self, block: i64) -> i64 {
        self.judged.map_or(block, |judged| block.max(judged + 1))
    }

    /// Judges every block that ended by event time `clock_ns`; changes are detected at `now_ns`.
    pub fn advance(&mut self, clock_ns: i64, now_ns: i64) -> Vec<IncidentChange> {
        let last = block_of(clock_ns) - 1;
        let Some(judged) = self.judged else {
            self.judged = Some(last);
            return Vec::new();
        };
        // After a long silence there is nothing to judge in between.
        let first = (judged + 1).max(last - series::WINDOW_BLOCKS);
        let mut changes = Vec::new();
        for block in first..=last {
            self.tick(block, now_ns, &mut changes);
        }
        self.judged = Some(judged.max(last));
        changes
    }

    fn tick(&mut self, block: i64, now_ns: i64, changes: &mut Vec<IncidentChange>) {
        if block % RENEW_BLOCKS == 0 {
            self.signals.renew_expectations();
        }
        if block % FREE_BLOCKS == 0 {
            self.free_unused(block);
        }
        let is_judging = block_start_ns(block) >= self.opens_from_ns;
        let hot = self.anomalies(block, is_judging);
        if is_judging {
            self.live(block, now_ns, hot, changes);
        } else {
            self.hold_all(block);
        }
    }

    /// Frees the places of what is unused for long, and lets go of what refers to them.
    fn free_unused(&mut self, block: i64) {
        self.signals.free_unused(block);
        self.rates.free_unused(block);
        let before = self.types.slots.unused_before(block);
        self.types.slots.free_unused(before, |_| false);
        self.recent.forget(before);
    }

    fn keep_resolved(&mut self, incident: Incident) {
        self.resolved.push_front(incident);
        self.resolved.truncate(self.limits.resolved_max);
    }

    /// Returns open incidents, then resolved ones, newest first.
    pub fn incidents(&self) -> Vec<Incident> {
        let mut incidents: Vec<Incident> = self.open.iter().map(|open| open.incident.clone()).collect();
        incidents.sort_by_key(|incident| std::cmp::Reverse(incident.number));
        incidents.extend(self.resolved.iter().cloned());
        incidents
    }

    /// Returns event time up to which was judged, unix nanoseconds; 0 before the first block.
    pub fn judged_ns(&self) -> i64 {
        self.judged.map_or(0, |block| block_start_ns(block + 1))
    }

    /// Returns every transaction type, most traffic first.
    pub fn type_summaries(&mut self) -> Vec<TypeSummary> {
        let judged_ns = self.judged_ns();
        let (open, reference_n) = (&self.open, self.thresholds.reference_n);
        let summary = |(name, kind)| type_summary(name, kind, open, judged_ns, reference_n);
        let mut summaries: Vec<TypeSummary> = self.types.slots.iter_mut().map(summary).collect();
        summaries.sort_by(|a, b| {
            b.per_minute
                .total_cmp(&a.per_minute)
                .then_with(|| (&a.service, &a.operation).cmp(&(&b.service, &b.operation)))
        });
        summaries
    }

    /// Returns what happened at bounds, by name.
    pub fn at_bounds(&self) -> Vec<(&'static str, u64)> {
        let mut at_bounds = vec![
            ("steps_not_judged", self.signals.steps.slots.left_out),
            ("signals_not_watched", self.signals.list.left_out),
            ("instances_not_compared", self.signals.steps.instances.left_out()),
            ("fan_outs_not_watched", self.signals.fan_outs.groups.left_out),
            ("calls_not_counted", self.signals.chatty.pairs.left_out),
            ("transactions_of_folded_types", self.types.slots.left_out),
        ];
        at_bounds.extend(self.rates.at_bounds());
        at_bounds.extend(self.logs.at_bounds());
        at_bounds
    }
}

impl Signal {
    /// Judges the window that ends with `block`; returns the verdict if the signal has stood out for long enough.
    /// Scores of a time that was judged before a restart are not remembered: an incident may have been open then.
    fn watch(&mut self, scope: &Scope, block: i64, thresholds: &Thresholds, is_judging: bool) -> Option<Verdict> {
        let is_known = |verdict: &Verdict| {
            verdict.reference.windows >= thresholds.reference_windows
                && verdict.reference.n >= thresholds.reference_n
                && verdict.n >= thresholds.n
        };
        let verdict = self.series.judge(block).filter(is_known);
        self.remember(verdict.filter(|_| is_judging).map_or(0.0, |verdict| verdict.strongest_z()));
        let hour = Season::hour_of(block);
        let season = self.season.usual(hour);
        self.season.note(hour, verdict.as_ref());
        if matches!(scope, Scope::Whole(_)) {
            return None;
        }
        // There are many operations and hops and few services; a fine signal must stand out more to speak for itself.
        let (z_factor, shift_factor) = match scope {
            Scope::Service(_) => (1.0, 1.0),
            Scope::Operation(_) | Scope::Hop(..) | Scope::Whole(_) => (FINE_Z_FACTOR, FINE_SHIFT_FACTOR),
        };
        let z = thresholds.z.max(PAST_Z_FACTOR * self.past_z) * z_factor;
        let needed = Thresholds { z, shift: thresholds.shift * shift_factor, ..*thresholds };
        let stands_out = |verdict: &Verdict| needed.are_passed(verdict) && !season.explains(verdict);
        let patient = || self.series.judge_patiently(block).filter(is_known).filter(stands_out);
        let verdict = verdict.filter(stands_out).or_else(patient);
        self.hot_ticks = if verdict.is_some() { self.hot_ticks + 1 } else { 0 };
        verdict.filter(|_| self.hot_ticks >= PERSISTENCE_TICKS)
    }

    /// Keeps the largest score of the signal's past; what is seen now counts only later, and not during an incident.
    fn remember(&mut self, z: f64) {
        self.pending_z.push_back(if self.series.is_held() { 0.0 } else { z });
        if self.pending_z.len() > PAST_Z_DELAY {
            let old = self.pending_z.pop_front().unwrap_or(0.0);
            self.past_z = (self.past_z * PAST_Z_FADE).max(old);
        }
    }
}

/// Says how a type does at `judged_ns`; from `reference_n` transactions on, it is known what is usual.
fn type_summary(
    (service, operation): &TypeName,
    kind: &mut TransactionType,
    open: &[OpenIncident],
    judged_ns: i64,
    reference_n: f64,
) -> TypeSummary {
    const MINUTE_NS: i64 = 60 * SECOND_NS;
    let minute = judged_ns.div_euclid(MINUTE_NS);
    let now = kind.now(minute);
    // Full minutes, and what was judged of the present one.
    let present = judged_ns.rem_euclid(MINUTE_NS) as f64 / MINUTE_NS as f64;
    let minutes = types::MINUTES_NOW as f64 + present;
    let count = now.durations.count();
    let is_this = |open: &&OpenIncident| {
        let affected = &open.incident.transaction;
        affected.service == **service && affected.operation == **operation
    };
    let open = open.iter().find(is_this);
    let incident = open.map(|open| open.incident.number);
    let onset_minute = open.map_or(i64::MAX, |open| block_start_ns(open.onset).div_euclid(MINUTE_NS));
    let before = kind.before(minute.min(onset_minute.saturating_add(types::MINUTES_NOW)));
    let is_learned = before.count as f64 >= reference_n;
    TypeSummary {
        service: service.to_string(),
        operation: operation.to_string(),
        per_minute: count as f64 / minutes,
        error_share: if count == 0 { 0.0 } else { now.errors as f64 / count as f64 },
        p50_ms: now.durations.quantile(0.5).unwrap_or(0.0),
        p99_ms: now.durations.quantile(0.99).unwrap_or(0.0),
        usual_p50_ms: before.p50_ms.filter(|_| is_learned),
        usual_p99_ms: before.p99_ms.filter(|_| is_learned),
        minutes: kind.shown(minute),
        state: match (incident, is_learned) {
            (Some(_), _) => TypeState::Slow,
            (None, true) => TypeState::Usual,
            (None, false) => TypeState::Learning,
        },
        incident,
        reference_count: before.count,
    }
}

/// Returns the number of the block in which a moment lies.
fn block_of(unix_ns: i64) -> i64 {
    unix_ns.div_euclid(BLOCK_S * SECOND_NS)
}

/// Returns the moment at which a block begins.
fn block_start_ns(block: i64) -> i64 {
    block.saturating_mul(BLOCK_S * SECOND_NS)
}

#[cfg(test)]
mod tests;
