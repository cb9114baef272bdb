//! How many calls of one kind an execution of an operation makes: N+1 queries and their like. What counts is how many
//! executions make more calls than nearly all of them usually do, so neither traffic nor another mix of small and large
//! requests changes anything. Attempts of one call are one call. Fed by `signals` with every transaction; judged every
//! block by `detect`. Bounded by pairs of operations.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Thresholds;
use super::series::WINDOW_BLOCKS;
use super::shapes::Seen;
use super::sketch::{RollingSketch, Sketch};
use super::slots::{Slots, item_of};
use super::tail::deviance_z;
use super::trend::Trend;
use crate::transaction::Transaction;
use collector_table::SpanKind;

/// Pairs of operations that are watched.
const PAIRS_MAX: usize = 10_000;
/// Blocks until an execution counts as usual: two minutes, longer than it takes to notice an onset.
const RIPE_BLOCKS: i64 = 12;
/// Blocks in a period of what is usual, and periods kept: 40 minutes.
const PERIOD_BLOCKS: i64 = 30;
const PERIODS_MAX: usize = 8;
/// Executions before it is known how many calls are usual.
const USUAL_MIN: u64 = 40;
/// Calls beyond what nearly all executions make, from which on an execution makes too many: a share of it, and one more.
const TOO_MANY_QUANTILE: f64 = 0.99;
const TOO_MANY_FACTOR: f64 = 1.25;
const TOO_MANY_CALLS: f64 = 1.0;
/// Share of executions that usually make too many, at least.
const USUAL_SHARE_MIN: f64 = 0.01;
/// Share of executions that must make too many, and blocks of the window in which some must.
const SHARE_MIN: f64 = 0.1;
const BLOCKS_MIN: usize = 4;
/// Multiple of the usual mean of calls.
const CALLS_FACTOR: f64 = 1.5;
/// Share of the whole transaction that the further calls must take.
const FELT_SHARE: f64 = 0.05;
/// Executions by which one can tell whether a pair is back, and below which share of the peak it is.
const CALM_N: f64 = 4.0;
const CALM_PEAK_SHARE: f64 = 0.2;
/// Multiple of the median that nearly all executions make at most, beyond which they are taken to depend on a batch's size.
const WIDE_FACTOR: f64 = 1.5;

/// Executions of one block.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    n: f64,
    calls: f64,
    too_many: f64,
    /// Milliseconds from the first call's start to the last one's end.
    ms: f64,
    /// Milliseconds of their transactions.
    total_ms: f64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.calls += other.calls;
        self.too_many += other.too_many;
        self.ms += other.ms;
        self.total_ms += other.total_ms;
    }
}

/// Who calls what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ends {
    /// Service and operation that is executed.
    pub(super) service: Arc<str>,
    /// See `service`.
    pub(super) operation: Arc<str>,
    /// Service that is called, or the address of a peer that sends no telemetry; and what is called.
    pub(super) callee: Arc<str>,
    /// See `callee`.
    pub(super) called: Arc<str>,
}

/// What is known of the usual executions.
#[derive(Debug, Clone, Copy)]
struct Usual {
    /// Executions.
    n: f64,
    calls: f64,
    /// More calls than this are too many.
    limit: f64,
    /// Whether executions differ much, as batches do.
    is_wide: bool,
}

/// What is kept of one pair.
#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) ends: Option<Ends>,
    sketch: RollingSketch,
    unripe: VecDeque<(i64, Sketch)>,
    recent: VecDeque<(i64, Sums)>,
    /// Milliseconds of a usual execution's calls: sums that fade.
    usual_ms: (f64, f64),
    usual: Option<Usual>,
    /// Calls of an execution over all the time that it is known.
    pub(super) trend: Trend,
    /// Whether executions take messages: with a batch, and the calls made for it, longer queues make longer batches.
    takes_messages: bool,
    /// Transactions in which it made too many.
    pub(super) seen: VecDeque<Seen>,
    hot_ticks: u32,
    is_held: bool,
}

/// An operation that makes too many calls.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chatter {
    /// Who calls what.
    pub(super) ends: Ends,
    /// Signed root of the deviance of how many executions make too many.
    pub(super) z: f64,
    /// Share of executions that make too many.
    pub(super) share: f64,
    /// Mean calls of an execution, usually and now.
    pub(super) usual_calls: f64,
    /// See `usual_calls`.
    pub(super) calls: f64,
    /// Milliseconds that the further calls add to an execution, and as a share of the whole transaction.
    pub(super) extra_ms: f64,
    /// See `extra_ms`.
    pub(super) extra_share: f64,
    /// Executions in the window, and in the reference.
    pub(super) n: f64,
    /// See `n`.
    pub(super) usual_n: f64,
}

/// Identifies a pair: shapes of the operation that is executed and of what it calls.
pub(super) type PairKey = (u64, u64);

/// All pairs.
#[derive(Debug)]
pub(super) struct Chatty {
    pub(super) pairs: Slots<PairKey, Pair>,
    /// Calls of the transaction at hand: execution, shape of what is called, hop. Its room is kept.
    calls: Vec<(u32, u64, u32)>,
}

impl Default for Chatty {
    fn default() -> Self {
        Self { pairs: Slots::new(PAIRS_MAX), calls: Vec::new() }
    }
}

impl Chatty {
    /// Adds the calls of a transaction; `entries` says within which execution each span is.
    pub(super) fn add(&mut self, transaction: &Transaction, entries: &[u32], block: i64) {
        let mut calls = std::mem::take(&mut self.calls);
        calls.clear();
        for (number, hop) in transaction.hops.iter().enumerate() {
            let shape = transaction.spans[hop.callee.unwrap_or(hop.caller)].site.shape;
            if let (Some(entry), Ok(number)) = (entries.get(hop.caller), u32::try_from(number)) {
                calls.push((*entry, shape, number));
            }
        }
        calls.sort_unstable();
        for like in calls.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            self.add_execution(transaction, like, block);
        }
        self.calls = calls;
    }

    fn add_execution(&mut self, transaction: &Transaction, like: &[(u32, u64, u32)], block: i64) {
        let entry = &transaction.spans[like[0].0 as usize];
        let Some(id) = self.pairs.id((entry.site.shape, like[0].1), block) else { return };
        let Some((_, pair)) = self.pairs.used(id, block) else { return };
        if pair.ends.is_none() {
            let hop = &transaction.hops[like[0].2 as usize];
            let (caller, callee) =
                (&transaction.spans[hop.caller].site, hop.callee.map(|callee| &transaction.spans[callee].site));
            let (callee, called) = crate::hops::called(caller, callee.map(|callee| &**callee));
            let (service, operation) = (entry.site.service.clone(), entry.site.operation.clone());
            pair.takes_messages = entry.kind() == SpanKind::Consumer;
            pair.ends = Some(Ends { service, operation, callee: callee.into(), called: called.into() });
        }
        let callers = || like.iter().map(|(_, _, hop)| &transaction.spans[transaction.hops[*hop as usize].caller]);
        let first_ns = callers().map(|span| span.start_ns).min().unwrap_or(0);
        let last_ns = callers().map(|span| span.end_ns).max().unwrap_or(0);
        let total_ms = transaction.duration_ns as f64 / 1e6;
        if pair.usual.is_some_and(|usual| like.len() as f64 > usual.limit) {
            Seen::keep(&mut pair.seen, transaction);
        }
        pair.add(like.len() as f64, (last_ns - first_ns).max(0) as f64 / 1e6, total_ms, block);
    }

    /// Renews what is usual for every pair; reads whole histograms.
    pub(super) fn renew(&mut self) {
        self.pairs.iter_mut().for_each(|(_, pair)| pair.renew());
    }

    /// Judges every pair in the minute that ends with `block`; returns those that made too many calls for `ticks`
    /// blocks in a row.
    pub(super) fn judge(&mut self, block: i64, thresholds: &Thresholds, ticks: u32) -> Vec<(PairKey, Chatter)> {
        let mut found = Vec::new();
        for (key, pair) in self.pairs.iter_mut() {
            let one = pair.chatter(block).filter(|one| {
                one.z >= thresholds.z
                    && one.share >= SHARE_MIN
                    && one.calls >= CALLS_FACTOR * one.usual_calls
                    && one.extra_ms >= thresholds.extra_ms
                    && one.extra_share >= FELT_SHARE
            });
            pair.hot_ticks = if one.is_some() { pair.hot_ticks + 1 } else { 0 };
            if pair.hot_ticks >= ticks {
                found.extend(one.map(|one| (*key, one)));
            }
        }
        found
    }

    /// Estimates the block in which a pair began to make too many calls: the first of the last ones in which some did.
    pub(super) fn onset(&self, key: PairKey, block: i64) -> i64 {
        let Some(pair) = self.pairs.find(&key).and_then(|id| self.pairs.get(id)) else { return block };
        let mut onset = block;
        for (number, sums) in pair.recent.iter().rev().filter(|(number, _)| *number <= block) {
            if sums.too_many < USUAL_SHARE_MIN.max(SHARE_MIN / 2.0) * sums.n {
                break;
            }
            onset = *number;
        }
        onset
    }

    /// Returns whether a pair makes as many calls as usual again, after an incident in which a share of `peak` made too
    /// many; nothing if too little happened to tell.
    pub(super) fn is_back(&self, key: PairKey, block: i64, peak: f64) -> Option<bool> {
        let pair = self.pairs.get(self.pairs.find(&key)?)?;
        let now = pair.now(block).0;
        (now.n >= CALM_N).then(|| now.too_many / now.n < USUAL_SHARE_MIN.max(CALM_PEAK_SHARE * peak))
    }

    /// Stops learning of the pairs of which the calling service is touched, from `onset` on.
    pub(super) fn hold(&mut self, is_touched: impl Fn(&str) -> bool, onset: i64) {
        for (_, pair) in self.pairs.iter_mut() {
            if !pair.is_held && pair.touches(&is_touched) {
                pair.is_held = true;
                pair.unripe.retain(|(number, _)| *number < onset);
            }
        }
    }

    /// Learns again everywhere but where `is_touched` still says no.
    pub(super) fn release(&mut self, is_touched: impl Fn(&str) -> bool) {
        for (_, pair) in self.pairs.iter_mut() {
            pair.is_held &= pair.touches(&is_touched);
        }
    }

    /// Frees pairs that are unused for long.
    pub(super) fn free_unused(&mut self, block: i64) {
        let before = self.pairs.unused_before(block);
        self.pairs.free_unused(before, |pair| pair.is_held);
    }
}

impl Pair {
    fn touches(&self, is_touched: impl Fn(&str) -> bool) -> bool {
        self.ends.as_ref().is_some_and(|ends| is_touched(&ends.service))
    }

    fn add(&mut self, calls: f64, ms: f64, total_ms: f64, block: i64) {
        let too_many = f64::from(u8::from(self.usual.is_some_and(|usual| calls > usual.limit)));
        self.trend.add(calls.ln(), block);
        item_of(&mut self.recent, block).add(&Sums { n: 1.0, calls, too_many, ms, total_ms });
        if !self.is_held {
            item_of(&mut self.unripe, block).add(calls);
        }
        while let Some((number, ripe)) = self.unripe.pop_front_if(|(number, _)| *number < block - RIPE_BLOCKS) {
            self.sketch.merge(&ripe, number.div_euclid(PERIOD_BLOCKS), PERIODS_MAX);
        }
        while let Some((_, sums)) = self.recent.pop_front_if(|(number, _)| *number < block - RIPE_BLOCKS) {
            if !self.is_held {
                // Half of it is forgotten after about a hundred blocks.
                self.usual_ms = (self.usual_ms.0 * 0.993 + sums.n, self.usual_ms.1 * 0.993 + sums.ms);
            }
        }
    }

    fn renew(&mut self) {
        if self.is_held {
            return;
        }
        let usual = self.sketch.merged();
        if usual.count() >= USUAL_MIN
            && let (Some(most), Some(calls)) = (usual.quantile(TOO_MANY_QUANTILE), usual.mean())
            && let Some(middle) = usual.quantile(0.5)
        {
            let limit = most * TOO_MANY_FACTOR + TOO_MANY_CALLS;
            self.usual = Some(Usual { n: usual.count() as f64, calls, limit, is_wide: most > WIDE_FACTOR * middle });
        }
    }

    /// Sums the minute that ends with `block`; says in how many blocks some made too many.
    fn now(&self, block: i64) -> (Sums, usize) {
        let (mut now, mut blocks) = (Sums::default(), 0);
        for (_, sums) in self.recent.iter().filter(|(number, _)| *number > block - WINDOW_BLOCKS && *number <= block) {
            now.add(sums);
            blocks += usize::from(sums.too_many > 0.0);
        }
        (now, blocks)
    }

    fn chatter(&self, block: i64) -> Option<Chatter> {
        let usual = self.usual.filter(|usual| !(self.takes_messages && usual.is_wide))?;
        let (now, blocks) = self.now(block);
        if now.n < 1.0 || blocks < BLOCKS_MIN {
            return None;
        }
        let extra_ms = now.ms / now.n - self.usual_ms.1 / self.usual_ms.0.max(1.0);
        Some(Chatter {
            ends: self.ends.clone()?,
            z: deviance_z(now.too_many, now.n * USUAL_SHARE_MIN),
            share: now.too_many / now.n,
            usual_calls: usual.calls,
            calls: now.calls / now.n,
            extra_ms,
            extra_share: extra_ms * now.n / now.total_ms.max(f64::MIN_POSITIVE),
            n: now.n,
            usual_n: usual.n,
        })
    }
}
