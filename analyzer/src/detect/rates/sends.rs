//! Messages that were sent, until it is known whether they were taken in. Fed by the detector with transactions as they are
//! given out; a later revision may bring the taker. How long takers usually need to show is learned of each pair of sender
//! and taker. Bounded by messages that are waited for; beyond it the oldest are let go undecided, and counted.
//!
//! A message is lost when it is not taken in within the usual time *and* one that was sent after it was: where all are
//! late, as in a queue that grows, none is lost.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use collector_table::{SpanId, SpanKind, TraceId};

use super::occasion::{Example, Occasion, Of, Wrong};
use super::{Rates, name};
use crate::detect::sketch::Sketch;
use crate::hash::{FNV_SEED, Map, fnv};
use crate::span::{Site, Span};
use crate::transaction::{HopKind, NO_PARENT, Transaction};

/// Messages that are waited for, about 150 bytes each.
const WAITING_MAX: usize = 50_000;
/// Senders of which takers are learned, and takers of each.
const SENDERS_MAX: usize = 5_000;
const TAKERS_MAX: usize = 16;
/// Delays after which those before are let go of.
const DELAYS_MAX: u64 = 2_000;
/// Delays from which on it is known how long taking in usually takes.
const DELAYS_MIN: u64 = 20;
/// Quantile of the delays, how many times that is waited for, and what is added: takers may have become slower, and are
/// seen when they are done.
const DELAY_QUANTILE: f64 = 0.99;
const DELAY_TIMES: f64 = 2.0;
const DELAY_MORE_MS: f64 = 15_000.0;
/// Latest delays that are looked at for whether takers have become slower, and how many of them must be longer.
const LATEST: usize = 32;
const LATEST_LONGER: usize = 3;
/// Messages that are remembered to have been lost: some may come after all.
const LOST_MAX: usize = 5_000;
/// Time for which is waited while too little is known.
const UNKNOWN_NS: i64 = 60_000_000_000;
/// Time after which a message is lost although none that was sent after it was taken in.
const LONGEST_NS: i64 = 300_000_000_000;
/// Time after which it is looked again whether one was.
const AGAIN_NS: i64 = 10_000_000_000;
/// Time by which one must have been sent later to count as such: clocks and batches blur what is nearer.
const LATER_NS: i64 = 1_000_000_000;

/// Identifies the span that sent a message.
type SentBy = (TraceId, SpanId);

/// A message that was sent.
#[derive(Debug)]
struct Sent {
    sender: u64,
    sent_ns: i64,
    seen_ns: i64,
    transaction: TraceId,
    root: Arc<Site>,
    site: Arc<Site>,
    /// Takers that came, by the shape of what they do, and whether they failed.
    came: Vec<(u64, bool)>,
}

impl Sent {
    fn has_come(&self, shape: u64) -> bool {
        self.came.iter().any(|(came, _)| *came == shape)
    }
}

/// Somebody who takes in what a sender sends.
#[derive(Debug)]
struct Taker {
    shape: u64,
    place: usize,
    delays: [Sketch; 2],
    /// Delays of those that came last, milliseconds.
    latest_ms: VecDeque<f64>,
    /// When the latest message was sent that came.
    latest_ns: i64,
}

impl Taker {
    fn note(&mut self, delay_ns: i64, sent_ns: i64) {
        if self.delays[0].count() >= DELAYS_MAX {
            self.delays[1] = std::mem::take(&mut self.delays[0]);
        }
        let delay_ms = delay_ns.max(0) as f64 / 1e6;
        self.delays[0].add(delay_ms);
        if self.latest_ms.len() >= LATEST {
            self.latest_ms.pop_front();
        }
        self.latest_ms.push_back(delay_ms);
        self.latest_ns = self.latest_ns.max(sent_ns);
    }

    /// Returns for how long is waited.
    fn patience_ns(&self) -> i64 {
        let known = self.delays.iter().filter(|delays| delays.count() >= DELAYS_MIN);
        let usual_ms = known.filter_map(|delays| delays.quantile(DELAY_QUANTILE)).reduce(f64::max);
        // Where several of the latest took longer, nobody knows how long the next takes.
        let is_longer =
            |usual_ms: f64| self.latest_ms.iter().filter(|ms| **ms > usual_ms * 1.2).count() >= LATEST_LONGER;
        if usual_ms.is_some_and(is_longer) {
            return LONGEST_NS;
        }
        // Milliseconds that were clamped before: far below 2^53.
        #[allow(clippy::cast_possible_truncation)]
        let patience_ns = usual_ms.map(|ms| ((ms * DELAY_TIMES + DELAY_MORE_MS).min(300_000.0) * 1e6) as i64);
        patience_ns.unwrap_or(UNKNOWN_NS)
    }
}

/// All messages that are waited for.
#[derive(Debug, Default)]
pub(super) struct Sends {
    waiting: Map<SentBy, Sent>,
    due: BinaryHeap<Reverse<(i64, SentBy)>>,
    takers: Map<u64, Vec<Taker>>,
    /// Messages that were taken to be lost, and the places where that was counted.
    lost: Map<SentBy, Vec<usize>>,
    lost_order: VecDeque<SentBy>,
    pub(super) left_out: u64,
}

impl Sends {
    /// Forgets takers whose place is gone.
    pub(super) fn forget_places(&mut self, is_gone: impl Fn(usize) -> bool) {
        self.takers.retain(|_, takers| {
            takers.retain(|taker| !is_gone(taker.place));
            !takers.is_empty()
        });
    }
}

impl Rates {
    /// Takes in the messages of a transaction that is given out at `now_ns`.
    pub(in crate::detect) fn send(&mut self, transaction: &Transaction, block: i64, now_ns: i64) {
        if transaction.superseded_by.is_some() {
            return;
        }
        self.note_uncaused(transaction, block);
        for (number, hop) in transaction.hops.iter().enumerate() {
            let sender = &transaction.spans[hop.caller];
            if hop.kind != HopKind::Message || sender.kind() != SpanKind::Producer {
                continue;
            }
            let sent_by = (transaction.trace_of(hop.caller), sender.span_id);
            let is_new = transaction.may_tell_more() && !transaction.told.span(hop.caller);
            if is_new && !self.sends.waiting.contains_key(&sent_by) {
                self.wait_for(sent_by, sender, transaction, now_ns);
            }
            let Some(callee) = hop.callee.map(|callee| &transaction.spans[callee]) else { continue };
            self.came(sent_by, sender, callee, (block, now_ns), transaction.told.hop(number));
        }
    }

    fn wait_for(&mut self, sent_by: SentBy, sender: &Span, transaction: &Transaction, now_ns: i64) {
        let key = sender_key(&sender.site);
        let patience_ns = self.sends.takers.get(&key).and_then(|takers| takers.iter().map(Taker::patience_ns).max());
        let due_ns = sender.end_ns.saturating_add(patience_ns.unwrap_or(UNKNOWN_NS)).max(now_ns);
        let came = Vec::new();
        let (sent_ns, site) = (sender.end_ns.min(now_ns), sender.site.clone());
        let (transaction, root) = (transaction.id, transaction.root_span().site.clone());
        let sent = Sent { sender: key, sent_ns, seen_ns: now_ns, transaction, root, site, came };
        self.sends.waiting.insert(sent_by, sent);
        self.sends.due.push(Reverse((due_ns.min(now_ns.saturating_add(LONGEST_NS)), sent_by)));
        while self.sends.waiting.len() > WAITING_MAX {
            let Some(Reverse((_, oldest))) = self.sends.due.pop() else { break };
            self.sends.left_out += u64::from(self.sends.waiting.remove(&oldest).is_some());
        }
    }

    /// Notes that somebody took in a message.
    fn came(&mut self, sent_by: SentBy, sender: &Span, callee: &Span, (block, now_ns): (i64, i64), is_told: bool) {
        let key = sender_key(&sender.site);
        let shape = callee.site.shape;
        let is_known = self.sends.takers.get(&key).is_some_and(|takers| takers.iter().any(|one| one.shape == shape));
        if !is_known && !self.add_taker(key, &sender.site, &callee.site, block) {
            return;
        }
        if is_told {
            return;
        }
        if let Some(sent) = self.sends.waiting.get_mut(&sent_by) {
            let before = sent.came.iter().rfind(|(came, _)| *came == shape).map(|(_, has_failed)| *has_failed);
            sent.came.push((shape, callee.has_error()));
            self.take_from_sender(callee, before, sent_by.0, block);
            if before.is_some() {
                return;
            }
        } else {
            self.take_back(sent_by, shape, key, block);
        }
        let takers = self.sends.takers.get_mut(&key).into_iter().flatten();
        for taker in takers.filter(|taker| taker.shape == shape) {
            taker.note(now_ns.saturating_sub(sender.end_ns), sender.end_ns.min(now_ns));
        }
    }

    /// Counts that a message was taken in which nothing but its sender names; `failed_before` says how, if it was before.
    fn take_from_sender(&mut self, callee: &Span, failed_before: Option<bool>, trace: TraceId, block: i64) {
        let is_named = self.taking_places.contains_key(&(Of::Taking, callee.site.number));
        let occasion = || Occasion { of: Of::Taking, by: name(&callee.site), to: None };
        let Some(place) = (!is_named).then(|| self.occasions.slots.id(occasion(), block)).flatten() else { return };
        self.occasions.begin();
        self.occasions.occurs(place, block, 0, &callee.site);
        if failed_before == Some(false) {
            let (id, site) = (trace, Some(callee.site.clone()));
            let example = || Example { id, root: None, duration_ms: callee.duration_ns() as f64 / 1e6, site };
            self.occasions.goes_wrong(place, (Wrong::Twice, 1.0), block, example);
        }
    }

    fn add_taker(&mut self, key: u64, sender: &Site, callee: &Site, block: i64) -> bool {
        let takers = self.sends.takers.len();
        let is_full = self.sends.takers.get(&key).map_or(takers >= SENDERS_MAX, |known| known.len() >= TAKERS_MAX);
        let by = (sender.service.clone(), sending(sender));
        let occasion = Occasion { of: Of::Message, by, to: Some(name(callee)) };
        let place = if is_full { None } else { self.occasions.slots.id(occasion, block) };
        let Some(place) = place else {
            self.sends.left_out += 1;
            return false;
        };
        self.note_pair(&sender.service, &callee.service);
        let taker = Taker {
            shape: callee.shape,
            place,
            delays: Default::default(),
            latest_ms: VecDeque::new(),
            latest_ns: i64::MIN,
        };
        self.sends.takers.entry(key).or_default().push(taker);
        true
    }

    /// Decides about messages for which is waited for long enough.
    pub(in crate::detect) fn settle_sends(&mut self, block: i64, now_ns: i64) {
        while let Some(&Reverse((at_ns, sent_by))) = self.sends.due.peek()
            && at_ns <= now_ns
        {
            self.sends.due.pop();
            let Some(sent) = self.sends.waiting.get(&sent_by) else { continue };
            let takers = self.sends.takers.get(&sent.sender).map(Vec::as_slice).unwrap_or_default();
            // How long is waited may be longer by now than when it was sent.
            let is_open = |taker: &Taker| {
                let is_overtaken = taker.latest_ns >= sent.sent_ns.saturating_add(LATER_NS);
                let is_late = now_ns >= sent.sent_ns.saturating_add(taker.patience_ns());
                !sent.has_come(taker.shape) && !(is_overtaken && is_late)
            };
            if takers.iter().any(is_open) && now_ns < sent.seen_ns.saturating_add(LONGEST_NS) {
                self.sends.due.push(Reverse((now_ns.saturating_add(AGAIN_NS), sent_by)));
                continue;
            }
            let Some(sent) = self.sends.waiting.remove(&sent_by) else { continue };
            let places: Vec<(usize, bool)> =
                takers.iter().map(|taker| (taker.place, sent.has_come(taker.shape))).collect();
            self.occasions.begin();
            self.remember_lost(sent_by, &places);
            for (place, has_come) in places {
                self.occasions.occurs(place, block, 0, &sent.site);
                if !has_come {
                    let (id, root, site) = (sent.transaction, Some(sent.root.clone()), Some(sent.site.clone()));
                    let example = || Example { id, root, duration_ms: 0.0, site };
                    self.occasions.goes_wrong(place, (Wrong::Lost, 0.0), block, example);
                }
            }
        }
    }

    fn remember_lost(&mut self, sent_by: SentBy, places: &[(usize, bool)]) {
        let lost: Vec<usize> = places.iter().filter(|(_, has_come)| !has_come).map(|(place, _)| *place).collect();
        if lost.is_empty() {
            return;
        }
        if self.sends.lost_order.len() >= LOST_MAX
            && let Some(oldest) = self.sends.lost_order.pop_front()
        {
            self.sends.lost.remove(&oldest);
        }
        self.sends.lost_order.push_back(sent_by);
        self.sends.lost.insert(sent_by, lost);
    }

    /// Takes back that a message was lost: it came after all.
    fn take_back(&mut self, sent_by: SentBy, shape: u64, key: u64, block: i64) {
        let takers = self.sends.takers.get(&key).map(Vec::as_slice).unwrap_or_default();
        let Some(taker) = takers.iter().find(|taker| taker.shape == shape).map(|taker| taker.place) else { return };
        let Some(places) = self.sends.lost.get_mut(&sent_by) else { return };
        let before = places.len();
        places.retain(|place| *place != taker);
        if places.len() < before {
            self.occasions.goes_right(taker, Wrong::Lost, block);
        }
    }

    /// Counts messages that were taken in, and of which nobody was found to have sent them.
    fn note_uncaused(&mut self, transaction: &Transaction, block: i64) {
        if transaction.revision != 1 {
            return;
        }
        for (index, span) in transaction.spans.iter().enumerate() {
            if span.kind() != SpanKind::Consumer || transaction.nodes[index].parent != NO_PARENT {
                continue;
            }
            let Some(place) = self.operation(&span.site, block) else { continue };
            self.occasions.begin();
            let (id, site) = (transaction.id, Some(span.site.clone()));
            let example = || Example { id, root: None, duration_ms: span.duration_ns() as f64 / 1e6, site };
            self.occasions.goes_wrong(place, (Wrong::Uncaused, 0.0), block, example);
        }
    }
}

/// Tells senders apart: one operation may send to several queues.
fn sender_key(site: &Site) -> u64 {
    let target = site.target.as_deref().unwrap_or_default();
    fnv(fnv(FNV_SEED, &site.shape.to_le_bytes()), target.as_bytes())
}

/// Returns what a sender does, with the queue if its name does not say so.
fn sending(site: &Site) -> Arc<str> {
    match &site.target {
        Some(target) if !site.operation.contains(&**target) => format!("{} {target}", site.operation).into(),
        _ => site.operation.clone(),
    }
}
