//! Messages that were sent, until it is known whether they were taken in. Fed by the detector with transactions as they are
//! given out; a later revision may bring the taker. How long takers usually need to show is learned of each pair of sender
//! and taker. Bounded by messages that are waited for; beyond it the oldest are let go undecided, and counted.
//!
//! A message is lost when it is not taken in within the usual time *and* what was sent after it was. Where that is late,
//! too, the queue is behind: its takers have stopped, or take less than what comes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use collector_table::{SpanKind, TraceId};

use super::occasion::{Example, Occasion, Of, Wrong};
use super::{Rates, SpanOf, name};
use crate::detect::sketch::Sketch;
use crate::detect::slots::item_of;
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
/// Time for which is waited at most for a message, whatever became of those that were sent after it.
const LONGEST_NS: i64 = 300_000_000_000;
/// Time after which it is looked again whether one was.
const AGAIN_NS: i64 = 10_000_000_000;
/// Time by which one must have been sent later to count as such: clocks and batches blur what is nearer.
const LATER_NS: i64 = 1_000_000_000;
/// Length of the bins in which messages are counted by when they were sent, and how many are kept.
const BIN_NS: i64 = 5_000_000_000;
const BINS_MAX: usize = 64;
/// Messages sent later by which one can tell whether a queue is behind, and the share of them, of the usual share, that has
/// come where it is not. Where most are lost some still come.
const LATER_MIN: f64 = 8.0;
const LATER_CAME: f64 = 0.2;
/// The same of fewer messages.
const FEW_LATER_CAME: f64 = 0.5;

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
    /// Places of takers that are behind, where that was counted.
    behind: Vec<usize>,
}

impl Sent {
    fn example(&self) -> Example {
        let (root, site) = (Some(self.root.clone()), Some(self.site.clone()));
        Example { id: self.transaction, root, duration_ms: 0.0, site }
    }

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
    /// Messages that came, by when they were sent.
    came: Bins,
}

/// Counts by when messages were sent. Bounded by [`BINS_MAX`]; older ones are only summed.
#[derive(Debug, Default)]
struct Bins {
    bins: VecDeque<(i64, f64)>,
    all: f64,
}

impl Bins {
    fn add(&mut self, sent_ns: i64) {
        self.all += 1.0;
        *item_of(&mut self.bins, bin_of(sent_ns)) += 1.0;
        if self.bins.len() > BINS_MAX {
            self.bins.pop_front();
        }
    }

    fn of(&self, bin: i64) -> f64 {
        let at = self.bins.partition_point(|(known, _)| *known < bin);
        self.bins.get(at).filter(|(known, _)| *known == bin).map_or(0.0, |(_, count)| *count)
    }
}

/// What is known of a sender.
#[derive(Debug, Default)]
struct Sender {
    sent: Bins,
    takers: Vec<Taker>,
}

impl Sender {
    /// Returns whether what was sent after a message has come to a taker: of the last of what should have by now, more than
    /// a little. What a taker was about to take when it stopped had come, so that earlier ones say nothing. Nothing if
    /// nothing was sent that should have come.
    fn is_overtaken(&self, taker: &Taker, sent_ns: i64, now_ns: i64) -> Option<bool> {
        let until = bin_of(now_ns.saturating_sub(taker.usual_ms().map_or(0, clamped_ns)));
        let (mut sent, mut came) = (0.0, 0.0);
        for (number, count) in self.sent.bins.iter().rev().skip_while(|(number, _)| *number >= until) {
            if *number <= bin_of(sent_ns) || sent >= LATER_MIN {
                break;
            }
            sent += count;
            came += taker.came.of(*number);
        }
        if sent < 1.0 {
            return (taker.latest_ns >= sent_ns.saturating_add(LATER_NS)).then_some(true);
        }
        let usual_share = (taker.came.all / self.sent.all.max(1.0)).min(1.0);
        let needed = if sent < LATER_MIN { FEW_LATER_CAME } else { LATER_CAME };
        Some(came >= needed * usual_share * sent)
    }
}

impl Taker {
    fn note(&mut self, delay_ns: i64, sent_ns: i64) {
        self.came.add(sent_ns);
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

    /// Returns how long nearly all usually take, if that is known.
    fn usual_ms(&self) -> Option<f64> {
        let known = self.delays.iter().filter(|delays| delays.count() >= DELAYS_MIN);
        known.filter_map(|delays| delays.quantile(DELAY_QUANTILE)).reduce(f64::max)
    }

    /// Returns whether several of the latest took longer than usual: then nobody knows how long the next takes.
    fn is_slower(&self, usual_ms: f64) -> bool {
        self.latest_ms.iter().filter(|ms| **ms > usual_ms * 1.2).count() >= LATEST_LONGER
    }

    /// Returns for how long is waited.
    fn patience_ns(&self) -> i64 {
        match self.usual_ms() {
            Some(usual_ms) if self.is_slower(usual_ms) => LONGEST_NS,
            Some(usual_ms) => clamped_ns(usual_ms * DELAY_TIMES + DELAY_MORE_MS),
            None => UNKNOWN_NS,
        }
    }
}

/// Returns milliseconds as nanoseconds, at most as long as is waited for anything.
fn clamped_ns(ms: f64) -> i64 {
    // Clamped, and so far below 2^53.
    #[allow(clippy::cast_possible_truncation)]
    let ns = (ms * 1e6).min(LONGEST_NS as f64) as i64;
    ns
}

fn bin_of(sent_ns: i64) -> i64 {
    sent_ns.div_euclid(BIN_NS)
}

/// What is known of a message at one moment.
#[derive(Debug, Default)]
struct Outlook {
    /// Whether it is still waited for.
    is_open: bool,
    /// Places of takers that turn out to be behind.
    behind: Vec<usize>,
    /// Places of takers to which it is lost, if it is not waited for any more: it did not come, and what was sent later did,
    /// or nobody can say.
    lost: Vec<usize>,
}

/// All messages that are waited for.
#[derive(Debug, Default)]
pub(super) struct Sends {
    waiting: Map<SpanOf, Sent>,
    due: BinaryHeap<Reverse<(i64, SpanOf)>>,
    senders: Map<u64, Sender>,
    /// Messages that were taken to be lost, and the places where that was counted.
    lost: Map<SpanOf, Vec<usize>>,
    lost_order: VecDeque<SpanOf>,
    pub(super) left_out: u64,
}

impl Sends {
    /// Looks at a message that did not come to all who take from its sender.
    fn look_at(&self, sent: &Sent, now_ns: i64) -> Outlook {
        let mut outlook = Outlook::default();
        let Some(sender) = self.senders.get(&sent.sender) else { return outlook };
        let is_last_look = now_ns >= sent.seen_ns.saturating_add(LONGEST_NS);
        for taker in sender.takers.iter().filter(|taker| !sent.has_come(taker.shape)) {
            // How long is waited may be longer by now than when it was sent.
            let is_late = now_ns >= sent.sent_ns.saturating_add(taker.patience_ns());
            let is_overtaken = sender.is_overtaken(taker, sent.sent_ns, now_ns);
            outlook.is_open |= !(is_last_look || is_overtaken == Some(true) && is_late);
            // Where a queue is or was behind, what comes when it catches up overtakes what still waits.
            if sent.behind.contains(&taker.place) {
                continue;
            }
            if is_overtaken != Some(false) {
                let is_slower = taker.usual_ms().is_some_and(|usual_ms| taker.is_slower(usual_ms));
                outlook.lost.extend((!is_slower).then_some(taker.place));
            } else if is_late || is_last_look {
                outlook.behind.push(taker.place);
            }
        }
        outlook
    }

    fn takers(&self, sender: u64) -> &[Taker] {
        self.senders.get(&sender).map(|sender| sender.takers.as_slice()).unwrap_or_default()
    }

    fn remember_lost(&mut self, sent_by: SpanOf, places: Vec<usize>) {
        if places.is_empty() {
            return;
        }
        if self.lost_order.len() >= LOST_MAX
            && let Some(oldest) = self.lost_order.pop_front()
        {
            self.lost.remove(&oldest);
        }
        self.lost_order.push_back(sent_by);
        self.lost.insert(sent_by, places);
    }

    /// Forgets takers whose place is gone.
    pub(super) fn forget_places(&mut self, is_gone: impl Fn(usize) -> bool) {
        self.senders.retain(|_, sender| {
            sender.takers.retain(|taker| !is_gone(taker.place));
            !sender.takers.is_empty()
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
            // Where a key alone tells that it came, a trace that is not kept looks like a message that was not taken.
            let Some(callee) = hop.callee.filter(|callee| !transaction.is_joined_by_key(*callee)) else { continue };
            let is_told = transaction.told.hop(number);
            self.came(sent_by, sender, &transaction.spans[callee], (block, now_ns), is_told);
            if !is_told {
                self.take_turn(transaction, (hop.caller, callee), (block, now_ns));
            }
        }
    }

    fn wait_for(&mut self, sent_by: SpanOf, sender: &Span, transaction: &Transaction, now_ns: i64) {
        let key = sender_key(&sender.site);
        let mut patience_ns = None;
        if let Some(known) = self.sends.senders.get_mut(&key) {
            patience_ns = known.takers.iter().map(Taker::patience_ns).max();
            known.sent.add(sender.end_ns.min(now_ns));
        }
        let due_ns = sender.end_ns.saturating_add(patience_ns.unwrap_or(UNKNOWN_NS)).max(now_ns);
        let (came, behind) = (Vec::new(), Vec::new());
        let (sent_ns, site) = (sender.end_ns.min(now_ns), sender.site.clone());
        let (transaction, root) = (transaction.id, transaction.root_span().site.clone());
        let sent = Sent { sender: key, sent_ns, seen_ns: now_ns, transaction, root, site, came, behind };
        self.sends.waiting.insert(sent_by, sent);
        self.sends.due.push(Reverse((due_ns.min(now_ns.saturating_add(LONGEST_NS)), sent_by)));
        while self.sends.waiting.len() > WAITING_MAX {
            let Some(Reverse((_, oldest))) = self.sends.due.pop() else { break };
            self.sends.left_out += u64::from(self.sends.waiting.remove(&oldest).is_some());
        }
    }

    /// Notes that somebody took in a message.
    fn came(&mut self, sent_by: SpanOf, sender: &Span, callee: &Span, (block, now_ns): (i64, i64), is_told: bool) {
        let key = sender_key(&sender.site);
        let shape = callee.site.shape;
        let is_known = self.sends.takers(key).iter().any(|taker| taker.shape == shape);
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
        let takers = self.sends.senders.get_mut(&key).into_iter().flat_map(|sender| &mut sender.takers);
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
        let senders = self.sends.senders.len();
        let known = self.sends.senders.get(&key);
        let is_full = known.map_or(senders >= SENDERS_MAX, |known| known.takers.len() >= TAKERS_MAX);
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
            came: Bins::default(),
        };
        self.sends.senders.entry(key).or_default().takers.push(taker);
        true
    }

    /// Decides about messages for which is waited for long enough.
    pub(in crate::detect) fn settle_sends(&mut self, block: i64, now_ns: i64) {
        while let Some(&Reverse((at_ns, sent_by))) = self.sends.due.peek()
            && at_ns <= now_ns
        {
            self.sends.due.pop();
            let Some(sent) = self.sends.waiting.get(&sent_by) else { continue };
            let Outlook { is_open, behind, lost } = self.sends.look_at(sent, now_ns);
            self.note_behind(&sent_by, behind, block);
            if is_open {
                self.sends.due.push(Reverse((now_ns.saturating_add(AGAIN_NS), sent_by)));
                continue;
            }
            let Some(sent) = self.sends.waiting.remove(&sent_by) else { continue };
            self.occasions.begin();
            for taker in self.sends.takers(sent.sender) {
                if !sent.behind.contains(&taker.place) {
                    self.occasions.occurs(taker.place, block, 0, &sent.site);
                }
            }
            for &place in &lost {
                self.occasions.goes_wrong(place, (Wrong::Lost, 0.0), block, || sent.example());
            }
            self.sends.remember_lost(sent_by, lost);
        }
    }

    /// Counts a message that takers are late to take in, because they are behind with all that is sent.
    fn note_behind(&mut self, sent_by: &SpanOf, places: Vec<usize>, block: i64) {
        let Some(sent) = self.sends.waiting.get_mut(sent_by).filter(|_| !places.is_empty()) else { return };
        self.occasions.begin();
        for &place in &places {
            self.occasions.occurs(place, block, 0, &sent.site);
            self.occasions.goes_wrong(place, (Wrong::Behind, 0.0), block, || sent.example());
        }
        sent.behind.extend(places);
    }

    /// Takes back that a message was lost: it came after all.
    fn take_back(&mut self, sent_by: SpanOf, shape: u64, key: u64, block: i64) {
        let Some(taker) = self.sends.takers(key).iter().find(|taker| taker.shape == shape).map(|taker| taker.place)
        else {
            return;
        };
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

#[cfg(test)]
mod tests;
