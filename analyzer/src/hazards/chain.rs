//! Which hops the transactions of a type make, and how many of them succeed: what the availability of a whole chain is
//! computed from. Fed and read by the register. Bounded by types and by hops of each.

use std::sync::Arc;

use super::tally::{Sum, Windowed};
use crate::hash::Map;
use crate::span::{Site, Span};

/// Types whose chains are known; transactions of further ones are left out, and counted.
const TYPES_MAX: usize = 1_000;
/// Hops of one type; further ones are left out, and counted.
const HOPS_PER_TYPE_MAX: usize = 200;

/// Transactions of a type.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) transactions: u32,
    pub(super) failed: u32,
    /// Of those, the ones in which no synchronous call failed.
    pub(super) failed_by_itself: u32,
}

impl Sum for Outcomes {
    fn add(&mut self, other: &Self) {
        self.transactions += other.transactions;
        self.failed += other.failed;
        self.failed_by_itself += other.failed_by_itself;
    }
}

/// Calls that a type makes of one hop.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) record: usize,
    pub(super) count: Windowed<u32>,
}

/// What is known of a type.
#[derive(Debug)]
pub(super) struct TypeChain {
    pub(super) root: Arc<Site>,
    pub(super) outcomes: Windowed<Outcomes>,
    pub(super) hops: Vec<Calls>,
    last_ns: i64,
}

/// All types.
#[derive(Debug, Default)]
pub(super) struct Chains {
    place_of: Map<u64, usize>,
    pub(super) types: Vec<TypeChain>,
    /// The type of the transaction at hand, and the hop that is likely to come next.
    at: Option<usize>,
    next: usize,
    left_out: u64,
}

impl Chains {
    /// Begins a transaction; one of which the root was told before is not counted again.
    pub(super) fn begin(&mut self, root: &Span, is_counted: bool) {
        self.next = 0;
        if !is_counted {
            self.at = None;
            return;
        }
        let known = self.place_of.get(&root.site.shape).copied();
        self.at = known.or_else(|| (self.types.len() < TYPES_MAX).then(|| self.insert(&root.site)));
        self.left_out += u64::from(self.at.is_none());
    }

    fn insert(&mut self, root: &Arc<Site>) -> usize {
        let place = self.types.len();
        self.place_of.insert(root.shape, place);
        let (outcomes, hops) = (Windowed::default(), Vec::new());
        self.types.push(TypeChain { root: root.clone(), outcomes, hops, last_ns: i64::MIN });
        place
    }

    /// Adds a call of the transaction.
    pub(super) fn note(&mut self, record: usize, at_ns: i64) {
        let Some(at) = self.at else { return };
        let hops = &mut self.types[at].hops;
        // Like transactions call alike: the next hop is nearly always the next in the list.
        let is_next = hops.get(self.next).is_some_and(|calls| calls.record == record);
        let found = if is_next { Some(self.next) } else { hops.iter().position(|calls| calls.record == record) };
        let place = match found {
            Some(place) => place,
            None if hops.len() < HOPS_PER_TYPE_MAX => {
                hops.push(Calls { record, count: Windowed::default() });
                hops.len() - 1
            }
            None => {
                self.left_out += 1;
                return;
            }
        };
        *hops[place].count.at(at_ns) += 1;
        self.next = place + 1;
    }

    /// Ends the transaction.
    pub(super) fn end(&mut self, has_failed: bool, has_failed_call: bool, at_ns: i64) {
        let Some(at) = self.at else { return };
        let chain = &mut self.types[at];
        chain.last_ns = chain.last_ns.max(at_ns);
        let outcomes = chain.outcomes.at(at_ns);
        outcomes.transactions += 1;
        outcomes.failed += u32::from(has_failed);
        outcomes.failed_by_itself += u32::from(has_failed && !has_failed_call);
    }

    /// Forgets types that were not seen since `oldest_ns`, and hops that went; `records` tells where the others are now.
    pub(super) fn forget(&mut self, oldest_ns: i64, records: &[Option<usize>]) {
        self.types.retain(|chain| chain.last_ns >= oldest_ns);
        for chain in &mut self.types {
            chain.hops.retain_mut(|calls| records[calls.record].map(|to| calls.record = to).is_some());
        }
        self.place_of = self.types.iter().enumerate().map(|(at, chain)| (chain.root.shape, at)).collect();
        self.at = None;
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}
