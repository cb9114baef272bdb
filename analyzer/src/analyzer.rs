//! The whole analysis behind one owner: spans in, closed transactions and incident changes out.
//! The daemon and `analyze` drive it with arrival time, so that a recording replays to the same result.

use std::sync::Arc;

use collector_table::{LogRow, LogTable, SpanTable, TraceId};

use crate::detect::{Detector, DetectorLimits, IncidentChange, LongMemory, Unfit};
use crate::expect::{Declared, Expectations, Learner, NeverCame};
use crate::hazards::{HazardReport, Register};
use crate::incident::Incident;
use crate::paths::{PathTotals, TypePath};
use crate::progress::progress;
use crate::stitch::{Stitcher, StitcherLimits};
use crate::summary::{JoinSummary, Summary};
use crate::transaction::Transaction;

/// Open transactions that the summary lists.
const OPEN_LISTED: usize = 50;
/// Arrival time after which the report of hazards is made anew: it is about the last hour, and looks at every hop.
const HAZARDS_EVERY_NS: i64 = 10 * 1_000_000_000;

/// Bounds of the whole analysis.
#[derive(Debug, Clone, Default)]
pub struct AnalyzerLimits {
    /// Bounds of stitching.
    pub stitcher: StitcherLimits,
    /// Bounds and settings of detection.
    pub detector: DetectorLimits,
    /// Sagas that the operator declared.
    pub sagas: Vec<Declared>,
}

/// What one step of the analysis gave.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Transactions that stopped waiting for spans.
    pub transactions: Vec<Transaction>,
    /// Incidents that opened, changed or were resolved.
    pub changes: Vec<IncidentChange>,
    /// Stages that transactions which were given out waited for, and for which it is too late now.
    pub missing: Vec<NeverCame>,
}

/// Owns the state of stitching and detection.
pub struct Analyzer {
    stitcher: Stitcher,
    detector: Detector,
    paths: PathTotals,
    learner: Learner,
    hazards: Register,
    hazards_told: Arc<HazardReport>,
    hazards_told_ns: i64,
    /// Last end of a closed transaction's root, never ahead of its arrival: the clock by which blocks are judged.
    clock_ns: i64,
    /// Arrival time up to which everything was moved on.
    now_ns: i64,
    /// Arrival time at which the clock was last moved.
    clock_set_ns: i64,
}

impl Analyzer {
    /// Returns an analysis that has seen nothing.
    pub fn new(limits: AnalyzerLimits) -> Self {
        Self {
            stitcher: Stitcher::new(limits.stitcher),
            detector: Detector::new(limits.detector),
            paths: PathTotals::default(),
            learner: Learner::new(limits.sagas),
            hazards: Register::default(),
            hazards_told: Arc::default(),
            hazards_told_ns: i64::MIN,
            clock_ns: i64::MIN,
            now_ns: 0,
            clock_set_ns: i64::MIN,
        }
    }

    /// Takes over incidents from before a restart; see [`Detector::restore`].
    pub fn restore(&mut self, incidents: Vec<Incident>, next_number: u64, judged_ns: i64) {
        self.detector.restore(incidents, next_number, judged_ns);
    }

    /// Returns what is usual over days, to be kept; see [`Detector::remember`].
    pub fn remember(&self) -> Option<LongMemory> {
        self.detector.remember()
    }

    /// Takes over what was kept before a restart; see [`Detector::recall`].
    ///
    /// # Errors
    /// When it is of no use, and why; then it is learned anew.
    pub fn recall(&mut self, memory: &LongMemory, last_ns: i64) -> Result<(), Unfit> {
        self.detector.recall(memory, last_ns)
    }

    /// Takes in spans that arrived at `now_ns` and moves everything on to then.
    pub fn push(&mut self, table: &SpanTable, now_ns: i64) -> Outcome {
        self.detector.read(table, now_ns);
        let closed = self.stitcher.push(table, now_ns);
        self.step(closed, now_ns)
    }

    /// Takes in log records that arrived at `now_ns`: the business keys that they carry may join their traces, and what
    /// they say may be evidence.
    pub fn push_logs(&mut self, table: &LogTable, now_ns: i64) {
        self.stitcher.push_logs(table, now_ns);
        self.detector.read_logs(table, now_ns);
    }

    /// States that log records written before `until_ns` may not have been pushed, as when reading back ended early: until
    /// there was time to watch since then, nothing is taken for new.
    pub fn miss_logs(&mut self, until_ns: i64) {
        self.detector.miss_logs(until_ns);
    }

    /// Returns the transactions that a log record belongs to; see [`Stitcher::transactions_of_log`].
    pub fn transactions_of_log(&mut self, row: &LogRow<'_>) -> Vec<TraceId> {
        self.stitcher.transactions_of_log(row)
    }

    /// Returns the transactions that a trace is part of; see [`Stitcher::transactions_of`].
    pub fn transactions_of(&mut self, id: TraceId) -> Vec<TraceId> {
        self.stitcher.transactions_of(id)
    }

    /// Returns where the time of each transaction type goes, added up since the start.
    pub fn paths(&self) -> Vec<TypePath> {
        self.paths.list()
    }

    /// Returns what pages show of joins.
    pub fn joins(&self) -> JoinSummary {
        JoinSummary {
            stats: self.stitcher.stats().joins,
            proposals: self.stitcher.proposals(),
            refused: self.stitcher.refused(),
        }
    }

    /// Returns what is expected of transactions, as learned so far.
    pub fn expectations(&self) -> Expectations {
        self.learner.snapshot()
    }

    /// Returns what protects each hop, as it was known a few seconds ago.
    fn hazards(&mut self) -> Arc<HazardReport> {
        if self.now_ns.saturating_sub(self.hazards_told_ns) >= HAZARDS_EVERY_NS {
            self.hazards_told = self.hazards.report();
            self.hazards_told_ns = self.now_ns;
        }
        self.hazards_told.clone()
    }

    /// Closes an incident that is no problem; see [`Detector::dismiss`].
    pub fn dismiss(&mut self, number: u64) -> Option<IncidentChange> {
        self.detector.dismiss(number)
    }

    /// Moves everything on to `now_ns`, without spans.
    pub fn advance(&mut self, now_ns: i64) -> Outcome {
        self.step(Vec::new(), now_ns)
    }

    /// Closes what is open: the input ended.
    pub fn finish(&mut self, now_ns: i64) -> Outcome {
        let closed = self.stitcher.finish(now_ns);
        self.step(closed, now_ns)
    }

    fn step(&mut self, mut transactions: Vec<Transaction>, now_ns: i64) -> Outcome {
        transactions.extend(self.stitcher.advance(now_ns));
        transactions.iter_mut().for_each(|transaction| self.learner.take(transaction, now_ns));
        let missing = self.learner.advance(now_ns);
        self.now_ns = self.now_ns.max(now_ns);
        // Each trace is judged as soon as it is closed, alone: what waits for others must neither be late for its time
        // nor make the time of those that do not wait pass.
        let first_seen = self.stitcher.take_first_seen();
        let given_at_once = transactions.iter().filter(|transaction| !transaction.was_seen);
        // A sender whose clock runs ahead must not make everyone else late.
        let ended_ns = |transaction: &Transaction| transaction.root_span().end_ns.min(now_ns);
        transactions.iter().for_each(|transaction| self.paths.add(transaction));
        // What was kept from calling shows by what came before.
        let mut in_order: Vec<&Transaction> = transactions.iter().collect();
        in_order.sort_by_key(|transaction| ended_ns(transaction));
        in_order.into_iter().for_each(|transaction| self.hazards.add(transaction, ended_ns(transaction)));
        let mut closed: Vec<&Transaction> = first_seen.iter().chain(given_at_once).collect();
        closed.sort_by_key(|transaction| ended_ns(transaction));
        let worked = self.stitcher.take_worked();
        if self.clock_ns != i64::MIN {
            self.detector.observe_worked(&worked, self.clock_ns, now_ns);
        }
        // What is known of whole transactions counts when it is known, before the blocks that end by then are judged.
        transactions.iter().for_each(|one| self.detector.observe_whole(one, self.clock_ns.max(ended_ns(one)), now_ns));
        let joined = transactions.iter().filter(|transaction| transaction.traces.len() > 1);
        for transaction in joined.filter(|transaction| transaction.may_tell_more()) {
            self.detector.observe_joined(transaction, self.clock_ns.max(ended_ns(transaction)));
        }
        let taken = self.stitcher.take_taken();
        if self.clock_ns != i64::MIN {
            self.detector.observe_taken(&taken, self.clock_ns, now_ns);
        }
        let mut changes = Vec::new();
        for transaction in closed {
            let ended_ns = ended_ns(transaction);
            self.detector.observe(transaction, ended_ns);
            if ended_ns > self.clock_ns {
                self.clock_ns = ended_ns;
                self.clock_set_ns = now_ns;
                changes.extend(self.detector.advance(ended_ns, now_ns));
            }
        }
        // Without traffic, event time goes on as arrival time does.
        if self.clock_ns != i64::MIN {
            let silent_ns = now_ns.saturating_sub(self.clock_set_ns).max(0);
            changes.extend(self.detector.advance(self.clock_ns.saturating_add(silent_ns), now_ns));
        }
        Outcome { transactions, changes, missing }
    }

    /// Returns the state that pages show.
    pub fn summary(&mut self) -> Summary {
        let stats = self.stitcher.stats();
        let mut at_bounds = vec![
            ("transactions_at_span_limit", stats.at_span_limit),
            ("transactions_at_age_limit", stats.at_age_limit),
            ("transactions_early", stats.early),
            ("transactions_evicted", stats.evicted),
            ("spans_folded", stats.folded),
            ("spans_too_late", stats.too_late),
            ("values_not_told", stats.values_left_out),
            ("joins_refused", stats.joins.refused),
            ("joins_at_revision_limit", stats.joins.at_revision_limit),
            ("join_facts_left_out", stats.joins.facts_left_out),
            ("join_keys_left_out", stats.joins.keys_left_out),
            ("joinable_traces_let_go", stats.joins.let_go_early),
            ("paths_of_further_types", self.paths.left_out()),
            ("hazards_left_out", self.hazards.left_out()),
        ];
        at_bounds.extend(self.learner.at_bounds());
        at_bounds.extend(self.detector.at_bounds());
        Summary {
            as_of_ns: self.detector.judged_ns(),
            types: self.detector.type_summaries(),
            incidents: self.detector.incidents(),
            arriving: self.stitcher.open_transactions(OPEN_LISTED),
            open_transactions: self.stitcher.open_count(),
            spans: stats.spans,
            transactions: stats.closed,
            at_bounds,
            joins: self.joins(),
            progress: progress(&self.stitcher, &self.learner, self.now_ns),
            expectations: self.expectations(),
            hazards: self.hazards(),
        }
    }
}
