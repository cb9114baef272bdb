//! Which of several like calls that run beside each other is the last, and what waiting for it costs. If nobody is slow,
//! each of n members is last once in n times, whatever the load and the latency: that is all that is assumed, and
//! members that usually are last more often are compared with themselves. Fed by `signals` with every transaction;
//! judged every block by `detect`. Bounded by groups and by members of each.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Thresholds;
use super::series::WINDOW_BLOCKS;
use super::shapes::Seen;
use super::slots::{Slots, item_of};
use super::tail::deviance_z;
use crate::hash::Map;
use crate::span::{Site, Span};
use crate::transaction::Transaction;

/// Groups that are watched.
const GROUPS_MAX: usize = 2_000;
/// Members told apart in a group; calls to further ones do not count.
const MEMBERS_MAX: usize = 64;
/// Like siblings from which on they are a fan-out.
const SIBLINGS_MIN: usize = 3;
/// Short cuts that are kept; beyond it all are dropped and found again.
const SHORT_CUTS_MAX: usize = 50_000;
/// Blocks until a fan-out counts as usual: two minutes, longer than it takes to notice an onset.
const RIPE_BLOCKS: i64 = 12;
/// Factor by which what is usual fades each block: half in half an hour.
const FADE: f64 = 0.996_16;
/// Fan-outs that a member must have been part of before it is known how often it is last.
const USUAL_MIN: f64 = 60.0;
/// Multiple of the usual share of being last, from which on it is too often.
const TOO_OFTEN_FACTOR: f64 = 1.8;
/// Blocks of the window in which it must be too often: a pause of a few seconds is no straggler.
const TOO_OFTEN_BLOCKS: usize = 4;
/// Fan-outs by which one can tell whether a member is back, and below which score, or share of the peak, it is.
const CALM_N: f64 = 4.0;
const CALM_Z: f64 = 3.0;
const CALM_PEAK_SHARE: f64 = 0.2;

/// Who fans out what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FanOut {
    /// Service and operation that makes the calls.
    pub(super) service: Arc<str>,
    /// See `service`.
    pub(super) operation: Arc<str>,
    /// Operation that is called.
    pub(super) called: Arc<str>,
}

/// Identifies a group within one detector.
pub(super) type FanOutId = usize;

/// How often a member was last.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// Times that it would have been last by chance.
    fair: f64,
    last: f64,
    /// Milliseconds for which only it was waited for.
    cost_ms: f64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.fair += other.fair;
        self.last += other.last;
        self.cost_ms += other.cost_ms;
    }

    fn fade(&mut self, factor: f64) {
        self.fair *= factor;
        self.last *= factor;
        self.cost_ms *= factor;
    }
}

/// One of those that are called.
#[derive(Debug)]
struct Member {
    identity: u64,
    service: Arc<str>,
    instance: Option<Arc<str>>,
    recent: VecDeque<(i64, Counts)>,
    usual: Counts,
    /// Transactions in which it was last.
    seen: VecDeque<Seen>,
}

/// Fan-outs of one block: how many, and milliseconds of their transactions.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    n: f64,
    total_ms: f64,
}

/// What is kept of one group.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: Vec<Member>,
    totals: VecDeque<(i64, Totals)>,
    usual_n: f64,
    ripened: i64,
    is_held: bool,
    /// Ticks in a row in which a member stood out.
    hot_ticks: u32,
}

/// A member that is last too often.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Straggle {
    /// Which group.
    pub(super) group: FanOutId,
    /// Service of the member; of one that sends no telemetry, its address.
    pub(super) service: Arc<str>,
    /// Its instance.
    pub(super) instance: Option<Arc<str>>,
    /// Signed root of the deviance of how often it is last.
    pub(super) z: f64,
    /// Share of fan-outs in which it is last, and in which it would be usually.
    pub(super) share: f64,
    /// See `share`.
    pub(super) usual_share: f64,
    /// Milliseconds that waiting for it adds to a fan-out, beyond the usual.
    pub(super) cost_ms: f64,
    /// The same as a share of the whole transaction.
    pub(super) cost_share: f64,
    /// Fan-outs in the window, and in the reference.
    pub(super) n: f64,
    /// See `n`.
    pub(super) usual_n: f64,
}

/// All fan-outs.
#[derive(Debug)]
pub(super) struct FanOuts {
    pub(super) groups: Slots<FanOut, Group>,
    short_cuts: Map<(u64, u64), FanOutId>,
    /// Siblings of the transaction at hand, by parent and shape; its room is kept.
    siblings: Vec<(u32, u64, u32)>,
}

impl Default for FanOuts {
    fn default() -> Self {
        Self { groups: Slots::new(GROUPS_MAX), short_cuts: Map::default(), siblings: Vec::new() }
    }
}

impl FanOuts {
    /// Adds the fan-outs of a transaction; `callees` says which span each span calls.
    pub(super) fn add(&mut self, transaction: &Transaction, callees: &[Option<usize>], block: i64) {
        let spans = &transaction.spans;
        if spans.len() <= SIBLINGS_MIN {
            return;
        }
        let mut siblings = std::mem::take(&mut self.siblings);
        siblings.clear();
        for (index, span) in spans.iter().enumerate() {
            let Some(parent) = transaction.parent(index) else { continue };
            let is_call = span.is_outgoing() || span.is_entry() && !spans[parent].is_outgoing();
            if is_call && let (Ok(parent), Ok(index)) = (u32::try_from(parent), u32::try_from(index)) {
                siblings.push((parent, span.site.shape, index));
            }
        }
        if siblings.len() >= SIBLINGS_MIN {
            siblings.sort_unstable();
            for like in siblings.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).filter(|like| like.len() >= SIBLINGS_MIN) {
                self.add_one(transaction, callees, like, block);
            }
        }
        self.siblings = siblings;
    }

    /// Adds like siblings, if they run beside each other.
    fn add_one(&mut self, transaction: &Transaction, callees: &[Option<usize>], like: &[(u32, u64, u32)], block: i64) {
        let spans = &transaction.spans;
        let parent = &spans[like[0].0 as usize];
        let spans_of = || like.iter().map(|(_, _, index)| &spans[*index as usize]);
        let last_start = spans_of().map(|span| span.start_ns).max().unwrap_or(0);
        let first_end = spans_of().map(|span| span.end_ns).min().unwrap_or(0);
        // One after the other is no fan-out: the last is last because it was called last.
        if last_start > first_end {
            return;
        }
        let mut ends: [(i64, u32); 2] = [(i64::MIN, 0); 2];
        for (_, _, index) in like {
            let end = (spans[*index as usize].end_ns, *index);
            if end.0 > ends[0].0 {
                ends = [end, ends[0]];
            } else if end.0 > ends[1].0 {
                ends[1] = end;
            }
        }
        let [(last_end, last), (second_end, _)] = ends;
        // Nobody waits for what ends after the caller.
        let cost_ms = (last_end.min(parent.end_ns) - second_end).max(0) as f64 / 1e6;
        let Some(id) = self.group(parent, &spans[like[0].2 as usize], block) else { return };
        let Some((_, group)) = self.groups.used(id, block) else { return };
        group.ripen(block);
        let total_ms = transaction.duration_ns as f64 / 1e6;
        let totals = item_of(&mut group.totals, block);
        (totals.n, totals.total_ms) = (totals.n + 1.0, totals.total_ms + total_ms);
        let fair = 1.0 / like.len() as f64;
        for (_, _, index) in like {
            let site = callees[*index as usize].map_or(&spans[*index as usize].site, |callee| &spans[callee].site);
            let Some(member) = group.member(site) else { continue };
            let is_last = *index == last;
            let counts =
                Counts { fair, last: f64::from(u8::from(is_last)), cost_ms: if is_last { cost_ms } else { 0.0 } };
            item_of(&mut member.recent, block).add(&counts);
            if is_last && cost_ms > 0.0 {
                Seen::keep(&mut member.seen, transaction);
            }
        }
    }

    fn group(&mut self, parent: &Span, child: &Span, block: i64) -> Option<FanOutId> {
        let key = (parent.site.number, child.site.shape);
        if let Some(&id) = self.short_cuts.get(&key) {
            return Some(id);
        }
        let name = FanOut {
            service: parent.site.service.clone(),
            operation: parent.site.operation.clone(),
            called: child.site.operation.clone(),
        };
        let id = self.groups.id(name, block)?;
        if self.short_cuts.len() >= SHORT_CUTS_MAX {
            self.short_cuts.clear();
        }
        self.short_cuts.insert(key, id);
        Some(id)
    }

    /// Judges every group in the minute that ends with `block`; returns the members that were last too often for
    /// `ticks` blocks in a row.
    pub(super) fn judge(&mut self, block: i64, thresholds: &Thresholds, ticks: u32) -> Vec<Straggle> {
        let mut found = Vec::new();
        for id in 0..self.groups.end() {
            let Some(group) = self.groups.get_mut(id) else { continue };
            group.ripen(block);
            let one = group.straggle(id, block).filter(|one| {
                one.z >= thresholds.z
                    && one.share >= TOO_OFTEN_FACTOR * one.usual_share
                    && one.cost_ms >= thresholds.extra_ms
                    && one.cost_share >= thresholds.extra_share
            });
            group.hot_ticks = if one.is_some() { group.hot_ticks + 1 } else { 0 };
            found.extend(one.filter(|_| group.hot_ticks >= ticks));
        }
        found
    }

    /// Returns transactions in which a member was last.
    pub(super) fn seen(&self, straggle: &Straggle) -> Option<&VecDeque<Seen>> {
        let mut members = self.groups.get(straggle.group)?.members.iter();
        let is_it = |member: &&Member| member.service == straggle.service && member.instance == straggle.instance;
        Some(&members.find(is_it)?.seen)
    }

    /// Estimates the block in which a member began to be last too often: the first of those in a row in which it was.
    pub(super) fn onset(&self, straggle: &Straggle, block: i64) -> i64 {
        let Some(group) = self.groups.get(straggle.group) else { return block };
        let is_it = |member: &&Member| member.service == straggle.service && member.instance == straggle.instance;
        let Some(member) = group.members.iter().find(is_it) else { return block };
        let share = f64::midpoint(straggle.share, straggle.usual_share);
        // Page's CUSUM, read backwards; how often it is last of those that it is part of.
        let usual_fair = straggle.usual_share.max(f64::MIN_POSITIVE);
        let (mut sum, mut least, mut onset) = (0.0, 0.0, block);
        for (number, counts) in member.recent.iter().filter(|(number, _)| *number <= block) {
            sum += counts.last - counts.fair * share / usual_fair;
            if sum <= least {
                (least, onset) = (sum, number + 1);
            }
        }
        if least < 0.0 { onset.min(block) } else { member.recent.front().map_or(block, |(number, _)| *number) }
    }

    /// Returns whether a member is no longer last too often, after an incident in which it was by a share of `peak`
    /// beyond the usual; nothing if too little happened to tell.
    pub(super) fn is_back(&self, before: &Straggle, block: i64, peak: f64) -> Option<bool> {
        let group = self.groups.get(before.group)?;
        let totals = group.totals_now(block);
        if totals.n < CALM_N {
            return None;
        }
        let member =
            group.members.iter().find(|member| member.service == before.service && member.instance == before.instance);
        let now = member.and_then(|member| member.straggle(before.group, &totals, group.usual_n, block));
        Some(now.is_none_or(|now| now.z < CALM_Z || now.share - now.usual_share < CALM_PEAK_SHARE * peak))
    }

    /// Stops learning of the groups of which the calling service, or a member, is touched.
    pub(super) fn hold(&mut self, is_touched: impl Fn(&str) -> bool) {
        for (name, group) in self.groups.iter_mut() {
            group.is_held |= group.touches(name, &is_touched);
        }
    }

    /// Learns again everywhere but where `is_touched` still says no.
    pub(super) fn release(&mut self, is_touched: impl Fn(&str) -> bool) {
        for (name, group) in self.groups.iter_mut() {
            if group.is_held && !group.touches(name, &is_touched) {
                group.is_held = false;
                // What came during an incident is not usual.
                group.members.iter_mut().for_each(|member| member.recent.clear());
                group.totals.clear();
            }
        }
    }

    /// Frees groups that are unused for long.
    pub(super) fn free_unused(&mut self, block: i64) {
        let before = self.groups.unused_before(block);
        if self.groups.free_unused(before, |group| group.is_held) {
            self.short_cuts.clear();
        }
    }
}

impl Group {
    fn touches(&self, name: &FanOut, is_touched: impl Fn(&str) -> bool) -> bool {
        is_touched(&name.service) || self.members.iter().any(|member| is_touched(&member.service))
    }

    fn member(&mut self, site: &Site) -> Option<&mut Member> {
        // Instances that send no telemetry are told apart by their address.
        let identity = if site.peer_hash == 0 { site.process } else { site.peer_hash };
        if let Some(at) = self.members.iter().position(|member| member.identity == identity) {
            return self.members.get_mut(at);
        }
        if self.members.len() >= MEMBERS_MAX {
            return None;
        }
        let service = site.peer.clone().unwrap_or_else(|| site.service.clone());
        let instance = site.instance.clone().filter(|_| site.peer.is_none());
        let (recent, usual, seen) = (VecDeque::new(), Counts::default(), VecDeque::new());
        self.members.push(Member { identity, service, instance, recent, usual, seen });
        self.members.last_mut()
    }

    /// Takes what is older than two minutes as usual, and lets what is usual fade.
    fn ripen(&mut self, block: i64) {
        if block <= self.ripened {
            return;
        }
        let blocks = (block - std::mem::replace(&mut self.ripened, block)).min(100_000);
        let factor = if self.is_held { 1.0 } else { FADE.powf(blocks as f64) };
        let is_held = self.is_held;
        for member in &mut self.members {
            member.usual.fade(factor);
            while let Some((_, counts)) = member.recent.pop_front_if(|(number, _)| *number < block - RIPE_BLOCKS) {
                if !is_held {
                    member.usual.add(&counts);
                }
            }
        }
        self.usual_n *= factor;
        while let Some((_, totals)) = self.totals.pop_front_if(|(number, _)| *number < block - RIPE_BLOCKS) {
            if !is_held {
                self.usual_n += totals.n;
            }
        }
        // Members that are gone make room for new ones.
        self.members.retain(|member| !member.recent.is_empty() || member.usual.fair > 0.01);
    }

    fn totals_now(&self, block: i64) -> Totals {
        let mut totals = Totals::default();
        for (_, one) in self.totals.iter().filter(|(number, _)| is_in_window(*number, block)) {
            (totals.n, totals.total_ms) = (totals.n + one.n, totals.total_ms + one.total_ms);
        }
        totals
    }

    fn straggle(&self, id: FanOutId, block: i64) -> Option<Straggle> {
        let totals = self.totals_now(block);
        // One member alone is never too slow for its peers.
        if totals.n < 1.0 || self.members.len() < 2 {
            return None;
        }
        let judged = self.members.iter().filter_map(|member| member.straggle(id, &totals, self.usual_n, block));
        judged.max_by(|a, b| a.z.total_cmp(&b.z))
    }
}

fn is_in_window(number: i64, block: i64) -> bool {
    number > block - WINDOW_BLOCKS && number <= block
}

impl Member {
    fn straggle(&self, group: FanOutId, totals: &Totals, usual_n: f64, block: i64) -> Option<Straggle> {
        let mut now = Counts::default();
        let mut too_often_blocks = 0;
        for (_, counts) in self.recent.iter().filter(|(number, _)| is_in_window(*number, block)) {
            now.add(counts);
            too_often_blocks += usize::from(counts.last > counts.fair);
        }
        let usual = &self.usual;
        if now.fair <= 0.0 || usual_n < USUAL_MIN || usual.fair <= 1.0 || too_often_blocks < TOO_OFTEN_BLOCKS {
            return None;
        }
        // Never less than by chance, and no less than what the past allows by chance.
        let upper = usual.last + 1.0 + 2.0 * (usual.last + 1.0).sqrt();
        let usual_rate = (usual.last / usual.fair).max(1.0);
        let expected = now.fair * (upper / usual.fair).clamp(1.0, 1.5 * usual_rate);
        let usual_cost_ms = usual.cost_ms / usual_n;
        let cost_ms = now.cost_ms / totals.n - usual_cost_ms;
        Some(Straggle {
            group,
            service: self.service.clone(),
            instance: self.instance.clone(),
            z: deviance_z(now.last, expected),
            share: now.last / totals.n,
            usual_share: now.fair * usual_rate / totals.n,
            cost_ms,
            cost_share: cost_ms * totals.n / totals.total_ms.max(f64::MIN_POSITIVE),
            n: totals.n,
            usual_n,
        })
    }
}
