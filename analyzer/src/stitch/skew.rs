//! How far clocks of two processes are apart, told from the calls between them, and spans as if all had one clock.
//! Filled and asked by `tree` for every transaction. Bounded: of too many pairs all are forgotten and learned anew.

use collector_table::SpanKind;

use crate::hash::Map;
use crate::span::Span;
use crate::transaction::{Hop, HopKind, Skew};

/// Pairs of processes that are remembered; 200 bytes each.
const PAIRS_MAX: usize = 20_000;
/// Latest calls of a pair that are remembered; odd, so that one is in the middle.
const CALLS_MAX: usize = 11;
/// Calls of a pair from which on their clocks are told apart although for some of them there may be another reason: the
/// caller failed, and may have given up, or the callee did not even run meanwhile, and may have been called later.
const CALLS_MIN: usize = 5;
/// Of the calls of a pair that is known well, one in so many is looked at.
const LOOK_ONE_IN: u32 = 16;
/// Calls in a row that cannot be by what is known of a pair's clocks, after which that is forgotten: one of them jumped.
const SURPRISES_MAX: u32 = 3;
/// Differences below this are no matter.
const OFFSET_MIN_NS: i64 = 1_000_000;

/// What calls between two processes told.
#[derive(Debug, Default)]
struct Pair {
    /// From the caller's start to the callee's, nanoseconds by their own clocks.
    ahead_ns: Vec<i64>,
    /// From the callee's end to the caller's.
    behind_ns: Vec<i64>,
    next: usize,
    seen: u32,
    /// Of some of the calls there may be another reason.
    is_doubtful: bool,
    /// Latest calls in a row that leave their caller although the clocks are set right.
    surprises: u32,
    offset_ns: i64,
}

/// Clocks of pairs of processes.
#[derive(Debug, Default)]
pub(super) struct Skews {
    pairs: Map<(u64, u64), Pair>,
    /// By process, what to add to its times.
    shifts: Map<u64, i64>,
}

impl Skews {
    /// Learns from the calls of a transaction; returns the pairs of spans whose clocks differ.
    pub(super) fn learn(&mut self, spans: &[Span], hops: &[Hop]) -> Vec<Skew> {
        let mut found: Vec<Skew> = Vec::new();
        for hop in hops.iter().filter(|hop| hop.kind == HopKind::Call) {
            let Some(to) = hop.callee else { continue };
            let (caller, callee) = (&spans[hop.caller], &spans[to]);
            if caller.kind() != SpanKind::Client || caller.site.process == callee.site.process {
                continue;
            }
            let offset_ns = self.look(caller, callee);
            let is_new = |known: &Skew| spans[known.to].site.process != callee.site.process;
            if offset_ns != 0 && found.iter().all(is_new) {
                found.push(Skew { from: hop.caller, to, offset_ns });
            }
        }
        found
    }

    /// Learns from one call; returns by how much the callee's clock is ahead, as far as that is certain.
    fn look(&mut self, caller: &Span, callee: &Span) -> i64 {
        let key = (caller.site.process, callee.site.process);
        if self.pairs.len() >= PAIRS_MAX && !self.pairs.contains_key(&key) {
            self.pairs.clear();
        }
        let pair = self.pairs.entry(key).or_default();
        pair.seen = pair.seen.wrapping_add(1);
        let is_known = pair.ahead_ns.len() >= CALLS_MAX;
        // A callee that lasts longer than its caller was given up on: that tells of no clock.
        if callee.duration_ns() > caller.duration_ns() {
            return pair.offset_ns;
        }
        let ahead_ns = callee.start_ns.saturating_sub(caller.start_ns);
        let behind_ns = caller.end_ns.saturating_sub(callee.end_ns);
        let is_surprising = pair.is_surprised_by(ahead_ns, behind_ns);
        pair.surprises = if is_surprising { pair.surprises + 1 } else { 0 };
        if pair.surprises >= SURPRISES_MAX {
            *pair = Pair { seen: pair.seen, ..Pair::default() };
        }
        if is_surprising || !is_known || pair.seen.is_multiple_of(LOOK_ONE_IN) {
            let is_meanwhile = callee.start_ns < caller.end_ns && callee.end_ns > caller.start_ns;
            pair.is_doubtful |= caller.has_error() || !is_meanwhile;
            pair.take(ahead_ns, behind_ns);
        }
        pair.offset_ns
    }

    /// Returns the spans as if all had the root's clock, or nothing if no clock is known to differ.
    pub(super) fn corrected(&mut self, spans: &[Span], parents: &[Option<usize>], skews: &[Skew]) -> Option<Vec<Span>> {
        if skews.is_empty() {
            return None;
        }
        self.shifts.clear();
        let offset_ns = |from: u64, to: u64| {
            let pair = |from: u64, to: u64| self.pairs.get(&(from, to)).map(|pair| pair.offset_ns);
            pair(from, to).or_else(|| pair(to, from).map(|offset_ns| -offset_ns)).unwrap_or(0)
        };
        let mut corrected = spans.to_vec();
        for (index, span) in corrected.iter_mut().enumerate() {
            let process = span.site.process;
            let above = parents[index].map(|parent| spans[parent].site.process);
            // The first way to a process, from above, says what its clock is.
            let shift_ns = match (self.shifts.get(&process), above) {
                (Some(&known_ns), _) => known_ns,
                (None, None) => 0,
                (None, Some(above)) => self.shifts.get(&above).copied().unwrap_or(0) - offset_ns(above, process),
            };
            self.shifts.insert(process, shift_ns);
            span.start_ns = span.start_ns.saturating_add(shift_ns);
            span.end_ns = span.end_ns.saturating_add(shift_ns);
        }
        Some(corrected)
    }
}

impl Pair {
    /// Returns whether a call leaves its caller although the clocks are set right, as far as they are known.
    fn is_surprised_by(&self, ahead_ns: i64, behind_ns: i64) -> bool {
        let least_ns = ahead_ns.saturating_sub(self.offset_ns).min(behind_ns.saturating_add(self.offset_ns));
        self.ahead_ns.len() >= CALLS_MIN && least_ns < -OFFSET_MIN_NS
    }

    fn take(&mut self, ahead_ns: i64, behind_ns: i64) {
        if self.ahead_ns.len() < CALLS_MAX {
            self.ahead_ns.push(ahead_ns);
            self.behind_ns.push(behind_ns);
        } else {
            (self.ahead_ns[self.next], self.behind_ns[self.next]) = (ahead_ns, behind_ns);
        }
        self.next = (self.next + 1) % CALLS_MAX;
        if self.is_doubtful && self.ahead_ns.len() < CALLS_MIN {
            self.offset_ns = 0;
            return;
        }
        let (ahead_ns, behind_ns) = (median(&self.ahead_ns), median(&self.behind_ns));
        // Only a callee that lies outside its caller shows that clocks differ; then, as NTP does, the ways there and back
        // are taken to be alike.
        let is_outside = ahead_ns < 0 || behind_ns < 0;
        let offset_ns = (ahead_ns - behind_ns) / 2;
        self.offset_ns = if is_outside && offset_ns.abs() >= OFFSET_MIN_NS { offset_ns } else { 0 };
    }
}

fn median(values: &[i64]) -> i64 {
    let mut sorted = [0; CALLS_MAX];
    let sorted = &mut sorted[..values.len()];
    sorted.copy_from_slice(values);
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
