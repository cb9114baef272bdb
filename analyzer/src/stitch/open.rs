//! Transactions that still wait for spans. Driven by the analyzer's owner with spans and time of arrival.
//! Every way to stop waiting has a name ([`CloseReason`]); every bound is a field of [`StitcherLimits`].

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use collector_table::{LogRow, LogTable, SpanTable, TraceId};

use super::closed::{Archive, Closed};
use super::facts::{Carried, Found};
use super::joining::{Closing, HeldBack, Joiner, REVISIONS_MAX, Reopened, Step};
use super::keys::KeyBook;
use super::limits::{JoinStats, StitcherLimits, StitcherStats};
use super::read::Reader;
use super::taken::{TAKEN_MAX, Taken};
use super::tree::{Header, Trees};
use super::waiting::Waiting;
use super::worked::{Worked, Works};
use crate::hash::{Map, Set};
use crate::join::{Proposal, Refused};
use crate::span::Span;
use crate::told::Told;
use crate::transaction::{CloseReason, Transaction};

/// Latest arrivals that are remembered for lists of open transactions.
const LATEST_MAX: usize = 1_000;
/// Nanoseconds of arrival between two looks for names and sites that nothing uses.
const FREE_EVERY_NS: i64 = 60_000_000_000;
/// Spans for which a transaction has room at first.
const ROOM_FIRST_MAX: usize = 16;

/// A transaction that still waits for spans, for lists.
#[derive(Debug, Clone)]
pub struct OpenTransaction {
    /// Trace id.
    pub id: TraceId,
    /// Service and operation of the first span by start.
    pub service: String,
    /// See `service`.
    pub operation: String,
    /// Unix nanoseconds of the first start.
    pub started_ns: i64,
    /// Nanoseconds to the last end so far.
    pub duration_ns: i64,
    /// Spans so far.
    pub spans: usize,
}

/// A transaction that still waits for spans, with them.
#[derive(Debug)]
pub(crate) struct Unclosed<'a> {
    pub(crate) id: TraceId,
    pub(crate) spans: &'a [Span],
}

struct Open {
    spans: Vec<Span>,
    /// Values of business keys that spans carry, as [`Works`] bounds them.
    carried: Vec<Carried>,
    /// As it was given out, if it was.
    before: Option<Arc<[Span]>>,
    /// Copies that were left out when it was closed before.
    duplicates: usize,
    revision: u32,
    opened_ns: i64,
    arrived_ns: i64,
}

impl Open {
    /// Room grows by half and not by double: rooms, not spans, are what memory is spent on.
    fn push(&mut self, span: Span) {
        const ROOM_MIN: usize = 4;
        if self.spans.len() == self.spans.capacity() {
            self.spans.reserve_exact((self.spans.len() / 2).max(ROOM_MIN));
        }
        self.spans.push(span);
    }
}

/// Collects spans and gives transactions.
pub struct Stitcher {
    reader: Reader,
    held: Held,
    freed_ns: i64,
}

/// All that is held of spans.
struct Held {
    limits: StitcherLimits,
    trees: Trees,
    open: Map<TraceId, Open>,
    open_spans: usize,
    waiting: Waiting,
    archive: Archive,
    joiner: Joiner,
    /// What spans took in, until it is asked for.
    taken: Vec<Taken>,
    /// Executions that worked for values of business keys, until they are asked for.
    works: Works,
    /// Whom the latest spans reached, latest last; ids may repeat.
    latest: VecDeque<TraceId>,
    stats: StitcherStats,
}

impl Stitcher {
    /// Returns a stitcher that holds nothing.
    pub fn new(limits: StitcherLimits) -> Self {
        let book = KeyBook::new(&limits.join_keys, limits.discovers_keys);
        let mut joiner = Joiner::default();
        joiner.graph.discovery.sync(&book);
        let held = Held {
            trees: Trees::new(limits.corrects_skew),
            limits,
            open: Map::default(),
            open_spans: 0,
            waiting: Waiting::default(),
            archive: Archive::default(),
            joiner,
            taken: Vec::new(),
            works: Works::default(),
            latest: VecDeque::new(),
            stats: StitcherStats::default(),
        };
        Self { reader: Reader::new(book), held, freed_ns: i64::MIN }
    }

    /// Takes in spans that arrived at `now_ns`; returns what had to be closed at a bound.
    pub fn push(&mut self, table: &SpanTable, now_ns: i64) -> Vec<Transaction> {
        let mut done = Vec::new();
        self.reader.read_keys(&table.columns().attributes);
        self.held.joiner.graph.discovery.sync(&self.reader.book);
        self.reader.read(table, |id, span, found| self.held.push(id, span, found, now_ns, &mut done));
        self.held.settle(now_ns, &mut done);
        self.drop_keys();
        done
    }

    /// Returns the traces, each as a transaction, that closed for the first time since this was last asked, and were not
    /// given out as they were: it is still to be known what they belong to, or they belong to another.
    pub fn take_first_seen(&mut self) -> Vec<Transaction> {
        self.held.joiner.take_first_seen()
    }

    /// Returns what spans took in since this was last asked, in order of arrival.
    pub(crate) fn take_taken(&mut self) -> Vec<Taken> {
        std::mem::take(&mut self.held.taken)
    }

    /// Returns the executions that worked for values of business keys in traces that closed since this was last asked.
    pub(crate) fn take_worked(&mut self) -> Vec<Worked> {
        self.held.works.take()
    }

    /// Takes in log records: what they carry of business keys counts as what their spans carry.
    pub fn push_logs(&mut self, table: &LogTable, now_ns: i64) {
        for row in table.rows() {
            let Some(id) = row.trace_id else { continue };
            self.reader.read_log(&row);
            if !self.reader.found.is_empty() {
                self.held.joiner.graph.discovery.sync(&self.reader.book);
                self.held.note_log(id, &self.reader.found, now_ns);
            }
        }
        self.drop_keys();
    }

    /// Returns the transactions that a log record belongs to, as far as their traces are still held: by its trace, or
    /// else by a business key that it carries.
    pub fn transactions_of_log(&mut self, row: &LogRow<'_>) -> Vec<TraceId> {
        let limits = &self.held.limits;
        let by_trace = row.trace_id.map(|id| self.held.joiner.transactions_of(limits, id)).unwrap_or_default();
        if !by_trace.is_empty() {
            return by_trace;
        }
        self.reader.read_log(row);
        let tokens: Vec<u64> = self.reader.found.facts.iter().map(|fact| fact.token).collect();
        self.held.joiner.transactions_with(limits, &tokens)
    }

    /// Returns the transactions that a trace is part of, as far as it is still held for joins.
    pub fn transactions_of(&mut self, id: TraceId) -> Vec<TraceId> {
        self.held.joiner.transactions_of(&self.held.limits, id)
    }

    /// Returns the attribute keys that join traces, or may, with the numbers that speak for them; the best first.
    pub fn proposals(&self) -> Vec<Proposal> {
        self.held.joiner.graph.discovery.proposals()
    }

    /// Returns the joins that were refused, by rule, key and reason.
    pub fn refused(&self) -> Vec<Refused> {
        self.held.joiner.graph.refusals.list(&self.held.joiner.graph.discovery)
    }

    fn drop_keys(&mut self) {
        for (key, to) in self.held.joiner.graph.discovery.take_dropped() {
            self.reader.put_key_to(key, to);
        }
    }

    /// Closes what has waited long enough at `now_ns`.
    pub fn advance(&mut self, now_ns: i64) -> Vec<Transaction> {
        let done = self.held.advance(now_ns);
        if now_ns.saturating_sub(self.freed_ns) >= FREE_EVERY_NS {
            self.freed_ns = now_ns;
            self.reader.free_unused();
        }
        done
    }

    /// Closes all that is open: the input ended.
    pub fn finish(&mut self, now_ns: i64) -> Vec<Transaction> {
        let mut ids: Vec<TraceId> = self.held.open.keys().copied().collect();
        ids.sort_unstable();
        self.held.joiner.begin_end();
        let mut done: Vec<Transaction> =
            ids.into_iter().filter_map(|id| self.held.close(id, CloseReason::EndOfInput, now_ns)).collect();
        self.held.with_step(now_ns, &mut done, Joiner::finish);
        done
    }

    /// Returns what was counted.
    pub fn stats(&self) -> StitcherStats {
        let joins = JoinStats { keys_left_out: self.reader.book.left_out(), ..self.held.joiner.stats() };
        let (folded, values_left_out) = (self.reader.folded(), self.held.works.left_out);
        StitcherStats { folded, values_left_out, joins, ..self.held.stats }
    }

    /// Returns how many transactions wait for spans.
    pub fn open_count(&self) -> usize {
        self.held.open.len()
    }

    /// Returns the open transactions that a span reached last, at most `max` of them, among the last thousand reached.
    pub fn open_transactions(&self, max: usize) -> Vec<OpenTransaction> {
        let mut seen: Set<TraceId> = Set::default();
        let latest = self.held.latest.iter().rev().copied().filter(|&id| seen.insert(id));
        let mut open: Vec<(TraceId, &Open)> =
            latest.filter_map(|id| Some((id, self.held.open.get(&id)?))).take(max).collect();
        open.sort_by_key(|(id, open)| (Reverse(open.arrived_ns), *id));
        open.into_iter().filter_map(|(id, open)| open_transaction(id, &open.spans)).collect()
    }
}

impl Stitcher {
    /// Returns the transactions that have been open for longest, at most `max` of them.
    pub(crate) fn unclosed(&self, max: usize) -> Vec<Unclosed<'_>> {
        let mut open: Vec<(i64, TraceId)> = self.held.open.iter().map(|(id, open)| (open.opened_ns, *id)).collect();
        if open.len() > max {
            open.select_nth_unstable(max);
            open.truncate(max);
        }
        let found =
            open.into_iter().filter_map(|(_, id)| Some(Unclosed { id, spans: &self.held.open.get(&id)?.spans }));
        found.collect()
    }

    /// Returns closed transactions that are not given out yet because they wait for others, at most `max` of them.
    pub(crate) fn held(&self, max: usize) -> Vec<HeldBack<'_>> {
        self.held.joiner.held_back(max)
    }
}

impl Held {
    fn push(&mut self, id: TraceId, span: Span, found: &Found, now_ns: i64, done: &mut Vec<Transaction>) {
        self.stats.spans += 1;
        if !found.is_empty() {
            self.joiner.note(&self.limits, id, found, now_ns);
        }
        if let Some(taking) = found.taking.filter(|_| self.taken.len() < TAKEN_MAX) {
            let taken =
                Taken { taking, trace: id, span_id: span.span_id, start_ns: span.start_ns, site: span.site.clone() };
            taken.each(found, |one| self.taken.push(one));
        }
        let open = match self.open.get_mut(&id) {
            Some(open) => open,
            None => {
                self.open(id, now_ns);
                let Some(open) = self.open.get_mut(&id) else { return };
                open
            }
        };
        if open.arrived_ns != now_ns || open.spans.is_empty() {
            note_latest(&mut self.latest, id);
        }
        open.push(span);
        self.works.carry(&mut open.carried, &found.carried);
        open.arrived_ns = now_ns;
        self.open_spans += 1;
        if open.spans.len() >= self.limits.spans_per_transaction_max {
            self.stats.at_span_limit += 1;
            done.extend(self.close(id, CloseReason::SpanLimit, now_ns));
        }
        self.make_room(now_ns, done);
    }

    /// Opens a transaction: the closed one with this id again, or a new one.
    fn open(&mut self, id: TraceId, now_ns: i64) {
        // Room for as many as a trace has on average, so that few are copied as more come.
        let usual = usize::try_from(self.stats.spans / self.stats.closed.max(1)).unwrap_or(ROOM_FIRST_MAX);
        let (spans, before) = (Vec::with_capacity(usual.min(ROOM_FIRST_MAX)), None);
        let (duplicates, carried) = (0, Vec::new());
        let mut open = Open { spans, carried, before, duplicates, revision: 0, opened_ns: now_ns, arrived_ns: now_ns };
        if let Some(Reopened { spans, duplicates, opened_ns }) = self.joiner.reopen(id) {
            self.stats.reopened += 1;
            let revision = self.joiner.revision(id);
            open = Open { spans: spans.to_vec(), before: Some(spans), duplicates, revision, opened_ns, ..open };
        } else if let Some(closed) = self.archive.take(id) {
            self.stats.reopened += 1;
            let Closed { spans, duplicates, revision, opened_ns, .. } = closed;
            open = Open { spans: spans.to_vec(), before: Some(spans), duplicates, revision, opened_ns, ..open };
        } else {
            self.stats.too_late += u64::from(self.archive.is_forgotten(id));
        }
        self.open_spans += open.spans.len();
        self.open.insert(id, open);
        self.waiting.settle((now_ns.saturating_add(self.limits.settle_ns), id));
    }

    /// Closes transactions until the bounds on what is open are kept: whole ones first, the quietest first.
    fn make_room(&mut self, now_ns: i64, done: &mut Vec<Transaction>) {
        while self.open_spans > self.limits.open_spans_max || self.open.len() > self.limits.open_transactions_max {
            if let Some(whole) = self.pop_whole() {
                self.stats.early += 1;
                done.extend(self.close(whole, CloseReason::Early, now_ns));
            } else if let Some((at, id)) = self.waiting.pop_idling() {
                let Some(open) = self.open.get(&id) else { continue };
                if open.arrived_ns.saturating_add(self.limits.idle_ns) > at {
                    // Spans came since it was looked at; it may be whole by now.
                    self.waiting.settle((open.arrived_ns.saturating_add(self.limits.settle_ns), id));
                    continue;
                }
                self.stats.evicted += 1;
                done.extend(self.close(id, CloseReason::Evicted, now_ns));
            } else {
                break;
            }
        }
    }

    /// Takes the quietest whole transaction out of those that settle; those that lack something idle from here on.
    fn pop_whole(&mut self) -> Option<TraceId> {
        while let Some((at, id)) = self.waiting.pop_settling() {
            let Some(open) = self.open.get(&id) else { continue };
            let settled_at = self.settled_at(open);
            if settled_at > at {
                self.waiting.settle((settled_at, id));
            } else if self.trees.is_whole(&open.spans) {
                return Some(id);
            } else {
                self.waiting.idle((open.arrived_ns.saturating_add(self.limits.idle_ns), id));
            }
        }
        None
    }

    /// Returns when to look at a transaction that may be whole.
    fn settled_at(&self, open: &Open) -> i64 {
        let aged_at = open.opened_ns.saturating_add(self.limits.age_max_ns);
        open.arrived_ns.saturating_add(self.limits.settle_ns).min(aged_at)
    }

    fn advance(&mut self, now_ns: i64) -> Vec<Transaction> {
        let mut done = Vec::new();
        while let Some(id) = self.waiting.pop_due(now_ns) {
            if let Some(reason) = self.reason_to_close(id, now_ns) {
                done.extend(self.close(id, reason, now_ns));
            }
        }
        self.archive.forget(now_ns.saturating_sub(self.limits.reopen_ns), self.limits.closed_spans_max);
        self.settle(now_ns, &mut done);
        done
    }

    /// Gives out the transactions of several traces that became whole.
    fn settle(&mut self, now_ns: i64, done: &mut Vec<Transaction>) {
        self.with_step(now_ns, done, Joiner::settle);
        for id in self.joiner.take_let_go() {
            self.archive.remember(id);
        }
    }

    fn with_step(&mut self, now_ns: i64, done: &mut Vec<Transaction>, act: impl FnOnce(&mut Joiner, &mut Step<'_>)) {
        let Self { limits, trees, open, joiner, .. } = self;
        let is_open = |id: TraceId| open.contains_key(&id);
        act(joiner, &mut Step { limits, trees, is_open: &is_open, now_ns, done });
    }

    /// Notes what a log record of a trace carries; a trace that was given out as one that nothing joins is taken back in.
    fn note_log(&mut self, id: TraceId, found: &Found, now_ns: i64) {
        if let Some(open) = self.open.get_mut(&id) {
            self.works.carry(&mut open.carried, &found.carried);
        }
        if !self.joiner.wants(id) {
            self.adopt(id, now_ns);
        }
        self.joiner.note(&self.limits, id, found, now_ns);
        self.joiner.place_again(id, now_ns);
    }

    /// Has the joiner take over a closed trace that something may join after all.
    fn adopt(&mut self, id: TraceId, now_ns: i64) {
        let Some(Closed { spans, duplicates, revision, opened_ns, .. }) = self.archive.take(id) else { return };
        let header = Header { id, revision, close_reason: CloseReason::Settled, duplicates };
        if let Some(whole) = self.trees.transaction(spans.to_vec(), header) {
            self.joiner.adopt(now_ns, &Closing { whole, opened_ns, revision });
        }
    }

    /// Returns why an open transaction stops waiting now; if it does not, it is looked at again later.
    fn reason_to_close(&mut self, id: TraceId, now_ns: i64) -> Option<CloseReason> {
        let open = self.open.get(&id)?;
        if now_ns.saturating_sub(open.opened_ns) >= self.limits.age_max_ns {
            self.stats.at_age_limit += 1;
            return Some(CloseReason::AgeLimit);
        }
        let settled_at = self.settled_at(open);
        if settled_at > now_ns {
            self.waiting.settle((settled_at, id));
            return None;
        }
        if self.trees.is_whole(&open.spans) {
            return Some(CloseReason::Settled);
        }
        let idle_at = open.arrived_ns.saturating_add(self.limits.idle_ns);
        if idle_at > now_ns {
            self.waiting.idle((idle_at, id));
            return None;
        }
        Some(CloseReason::Idle)
    }

    fn close(&mut self, id: TraceId, reason: CloseReason, now_ns: i64) -> Option<Transaction> {
        let open = self.open.remove(&id)?;
        self.open_spans -= open.spans.len();
        self.stats.closed += 1;
        // A part that came too late keeps revision 0, below that of the whole.
        let is_late_part = open.revision == 0 && self.archive.is_forgotten(id);
        let revision = if is_late_part { 0 } else { open.revision + 1 };
        let header = Header { id, revision, close_reason: reason, duplicates: open.duplicates };
        let mut transaction = self.trees.transaction(open.spans, header)?;
        if let Some(before) = open.before.filter(|_| open.revision > 0) {
            transaction.told = Told::before(&before, &transaction.spans, &transaction.hops);
        }
        // Work that was told is not told again when more spans come.
        if revision == 1 {
            self.works.note(&transaction, &open.carried, &self.joiner.graph.discovery);
        }
        let is_cut = reason.is_cut();
        if is_late_part {
            if !self.joiner.is_sealed(id) {
                self.joiner.remove(id);
            }
        } else if self.joiner.wants(id) || Joiner::expects(&transaction) {
            if is_cut {
                self.archive.remember(id);
            }
            for linked in self.joiner.linked_from(id) {
                self.adopt(linked, now_ns);
            }
            let (opened_ns, revision) = (open.opened_ns, open.revision);
            let closing = Closing { whole: transaction, opened_ns, revision };
            self.with_step(now_ns, &mut Vec::new(), |joiner, step| joiner.ready(step, closing));
            return None;
        }
        // A trace that trickles on would be written again, whole, for ever.
        if is_cut || revision >= REVISIONS_MAX {
            self.archive.remember(id);
        } else {
            let (spans, duplicates) = (transaction.spans.clone(), transaction.duplicates);
            let closed = Closed { spans, duplicates, revision, opened_ns: open.opened_ns, closed_ns: now_ns };
            self.archive.keep(id, closed);
            self.archive.forget(i64::MIN, self.limits.closed_spans_max);
        }
        Some(transaction)
    }
}

fn note_latest(latest: &mut VecDeque<TraceId>, id: TraceId) {
    if latest.len() >= LATEST_MAX {
        latest.pop_front();
    }
    latest.push_back(id);
}

fn open_transaction(id: TraceId, spans: &[Span]) -> Option<OpenTransaction> {
    let first = spans.iter().min_by_key(|span| (span.parent_span_id().is_some(), span.start_ns))?;
    let started_ns = spans.iter().map(|span| span.start_ns).min()?;
    let ended_ns = spans.iter().map(|span| span.end_ns).max()?;
    Some(OpenTransaction {
        id,
        service: first.service().to_owned(),
        operation: first.operation().to_owned(),
        started_ns,
        duration_ns: ended_ns - started_ns,
        spans: spans.len(),
    })
}
