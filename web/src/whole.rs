//! A transaction as a whole: which traces it consists of, their spans and logs, stitched as the analysis stitches them.
//! Called by the timeline, the comparison and the API. Bounded: what is left out is said.

use std::collections::BTreeSet;
use std::sync::Arc;

use analyzer::stitch::{StitcherLimits, assemble_with_logs};
use analyzer::{JoinSummary, Refusal, Refused, Rule, Transaction};
use collector_table::{SpanTable, TraceId};

use crate::State;
use crate::source::{SourceError, StoredTrace, TransactionTraces};

/// Traces read for one transaction.
const TRACES_MAX: usize = 128;
/// Spans after which no further trace is read.
const SPANS_MAX: usize = 100_000;

/// What is stored of a transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoredWhole {
    /// Id that was asked for.
    id: TraceId,
    /// Spans and log records of all its traces.
    pub(crate) stored: StoredTrace,
    /// The transaction and its traces, as they were kept; those that the asked trace is part of, the earliest first.
    kept: Vec<TransactionTraces>,
    /// Its traces that were not read.
    pub(crate) unread: usize,
}

/// A transaction, stitched.
pub(crate) struct Whole {
    pub(crate) transaction: Transaction,
    /// Traces that were part of it when it was kept, and that nothing read now joins to it.
    pub(crate) apart: Vec<TraceId>,
    /// Other transactions that the asked trace is part of.
    pub(crate) further: Vec<TraceId>,
}

impl StoredWhole {
    /// Returns whether nothing of it is stored.
    pub(crate) fn is_empty(&self) -> bool {
        self.stored.spans.iter().all(SpanTable::is_empty)
    }
}

/// Reads all that is stored of the transaction that an id names: its own, or that of one of its traces.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn load(state: &State, id: TraceId) -> Result<StoredWhole, SourceError> {
    let stored = state.source.trace(id).await?;
    let Some(started_ns) = started_ns(&stored) else { return Ok(StoredWhole { id, stored, ..StoredWhole::default() }) };
    let kept = state.source.transactions_of(id, started_ns).await?;
    let mut whole = StoredWhole { id, stored, kept, unread: 0 };
    let others: Vec<TraceId> = match whole.kept.first() {
        Some(first) => first.traces.iter().copied().filter(|trace| *trace != id).collect(),
        None => Vec::new(),
    };
    for (number, trace) in others.iter().enumerate() {
        let spans_count: usize = whole.stored.spans.iter().map(SpanTable::len).sum();
        if number + 1 >= TRACES_MAX || spans_count >= SPANS_MAX {
            whole.unread = others.len() - number;
            break;
        }
        let found = state.source.trace(*trace).await?;
        whole.stored.spans.extend(found.spans);
        whole.stored.logs.extend(found.logs);
        whole.stored.is_cut |= found.is_cut;
    }
    Ok(whole)
}

/// Returns the traces of the transaction that a trace is part of, itself among them; itself alone when it is part of none
/// that is kept, or of several, none of which is meant more than the others.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn traces_of(state: &State, id: TraceId) -> Result<Vec<TraceId>, SourceError> {
    let Some(started_ns) = started_ns(&state.source.trace(id).await?) else { return Ok(vec![id]) };
    let kept = state.source.transactions_of(id, started_ns).await?;
    let [TransactionTraces { traces, .. }] = &kept[..] else { return Ok(vec![id]) };
    let others = traces.iter().copied().filter(|trace| *trace != id);
    Ok(std::iter::once(id).chain(others).take(TRACES_MAX).collect())
}

fn started_ns(stored: &StoredTrace) -> Option<i64> {
    stored.spans.iter().filter_map(|table| table.columns().starts_ns.iter().min().copied()).min()
}

/// Stitches what was read; nothing if there is no span. For a large transaction a core's work for a while.
pub(crate) fn stitch(state: &State, whole: &StoredWhole, corrects_skew: bool) -> Option<Whole> {
    let summary = state.summary.borrow().clone();
    let limits = limits(state, &summary.joins, corrects_skew);
    let kept = whole.kept.first();
    let kept_traces = kept.map(|kept| kept.traces.as_slice()).unwrap_or_default();
    // Of the traces that share a value, only those of this transaction were read: too many never seem to share it. So
    // keys of which that was said join only what nothing else does.
    let doubted = doubted_keys(&summary.joins);
    let sure = StitcherLimits {
        join_keys: limits.join_keys.iter().filter(|key| !doubted.contains(*key)).cloned().collect(),
        ..limits.clone()
    };
    let is_whole = |stitched: &Vec<Transaction>| {
        stitched.iter().any(|one| kept_traces.iter().all(|trace| one.traces.contains(trace)))
    };
    let stitched_by = |limits| assemble_with_logs(limits, &whole.stored.spans, &whole.stored.logs);
    let sure = Some(stitched_by(sure)).filter(|stitched| doubted.is_empty() || is_whole(stitched));
    let mut stitched = sure.unwrap_or_else(|| stitched_by(limits));
    let found = position(&stitched, whole, kept.map_or(whole.id, |kept| kept.id))?;
    let mut transaction = stitched.swap_remove(found);
    rename(&summary.joins, &mut transaction);
    let is_open = summary.arriving.iter().any(|open| transaction.traces.contains(&open.id));
    summary.expectations.judge(&mut transaction, (state.now_ns)(), is_open);
    transaction.refused.extend(refused_of(&summary.joins, whole, &transaction, &doubted));
    let apart = kept_traces.iter().filter(|trace| !transaction.traces.contains(*trace));
    let apart = apart.filter(|trace| stitched.iter().any(|one| one.traces.contains(*trace))).copied().collect();
    let shown = [Some(transaction.id), kept.map(|kept| kept.id)];
    let further = whole.kept.iter().map(|kept| kept.id).filter(|id| !shown.contains(&Some(*id))).collect();
    Some(Whole { apart, further, transaction })
}

/// Returns where the transaction is; where its traces no longer join, that of the trace that was asked for.
fn position(stitched: &[Transaction], whole: &StoredWhole, origin: TraceId) -> Option<usize> {
    let of = |fits: &dyn Fn(&Transaction) -> bool| stitched.iter().position(fits);
    of(&|one| one.id == origin && one.traces.contains(&whole.id))
        .or_else(|| of(&|one| one.id == whole.id))
        .or_else(|| of(&|one| one.traces.contains(&whole.id)))
        .or_else(|| of(&|_| true))
}

/// One transaction alone is too little to discover keys by: those that the analysis uses now are named instead.
fn limits(state: &State, joins: &JoinSummary, corrects_skew: bool) -> StitcherLimits {
    let mut limits = state.stitching.clone();
    let used = joins.proposals.iter().filter(|proposal| proposal.is_used && !proposal.is_named);
    limits.join_keys.extend(used.map(|proposal| proposal.key.clone()));
    limits.discovers_keys = false;
    limits.corrects_skew &= corrects_skew;
    limits
}

/// Returns keys by which some join was refused because too many traces share a value.
fn doubted_keys(joins: &JoinSummary) -> BTreeSet<String> {
    let crowded = joins.refused.iter().filter(|refused| refused.why == Refusal::FanIn);
    crowded.filter_map(|refused| Some(refused.key.as_deref()?.to_owned())).collect()
}

/// Returns what the analysis refused that concerns these traces: told of one of them last, or by a key that they carry.
fn refused_of(
    joins: &JoinSummary,
    whole: &StoredWhole,
    transaction: &Transaction,
    doubted: &BTreeSet<String>,
) -> Vec<Refused> {
    let mut carried: BTreeSet<&str> = BTreeSet::new();
    if !doubted.is_empty() {
        for row in whole.stored.spans.iter().flat_map(SpanTable::rows) {
            let keys = row.attributes.iter().filter_map(|(key, ..)| doubted.get(key));
            carried.extend(keys.map(String::as_str));
        }
    }
    let joining = |key: &str| transaction.joins.iter().any(|join| join.key.as_deref() == Some(key));
    let concerns = |refused: &&Refused| {
        let by_key = refused.key.as_deref().is_some_and(|key| carried.contains(key) && !joining(key));
        by_key || transaction.traces.contains(&refused.trace_id)
    };
    let is_told = |refused: &&Refused| {
        transaction
            .refused
            .iter()
            .any(|told| (told.rule, &told.key, told.why) == (refused.rule, &refused.key, refused.why))
    };
    joins.refused.iter().filter(concerns).filter(|refused| !is_told(refused)).cloned().collect()
}

/// Tells joins by keys that were discovered from those by keys that the operator named.
fn rename(joins: &JoinSummary, transaction: &mut Transaction) {
    let is_discovered = |key: &Option<Arc<str>>| {
        let Some(key) = key.as_deref() else { return false };
        joins.proposals.iter().any(|proposal| !proposal.is_named && proposal.key == key)
    };
    for join in transaction.joins.iter_mut().filter(|join| join.rule == Rule::NamedKey && is_discovered(&join.key)) {
        join.rule = Rule::DiscoveredKey;
        join.confidence = Rule::DiscoveredKey.confidence();
    }
    for refused in &mut transaction.refused {
        if refused.rule == Rule::NamedKey && is_discovered(&refused.key) {
            refused.rule = Rule::DiscoveredKey;
        }
    }
}
