//! The last transactions in brief: whom an incident hurts, and which ones to show. Bounded by count and by age.

use std::collections::VecDeque;
use std::sync::Arc;

use collector_table::TraceId;

use super::signals::Deviation;
use super::traits::Said;
use super::types::TypeId;
use crate::incident::Exemplar;
use crate::transaction::Transaction;

/// Transactions kept.
const RECENT_MAX: usize = 20_000;
/// Share of its expected time by which a transaction must be longer to count as hurt.
const HURT_SHARE: f64 = 0.25;
/// Exemplars of each role.
pub(super) const EXEMPLARS_MAX: usize = 3;

/// One transaction in brief.
#[derive(Debug, Clone)]
pub(super) struct Brief {
    pub(super) id: TraceId,
    pub(super) block: i64,
    pub(super) type_id: TypeId,
    pub(super) path_id: u64,
    pub(super) duration_ms: f64,
    pub(super) expected_ms: f64,
    /// Extra milliseconds by service, largest contributions of the transaction.
    pub(super) extra_by_service: Vec<(Arc<str>, f64)>,
    /// Attribute values of which there are few.
    pub(super) said: Vec<Said>,
    /// Whether it is of several traces, each of which was judged by itself before.
    pub(super) is_joined: bool,
}

impl Brief {
    /// Returns a transaction of one trace, without what it says.
    pub(super) fn new(transaction: &Transaction, block: i64, type_id: TypeId, deviation: Deviation) -> Self {
        Self {
            id: transaction.id,
            block,
            type_id,
            path_id: transaction.path_id,
            duration_ms: transaction.duration_ns as f64 / 1e6,
            expected_ms: deviation.expected_ms,
            extra_by_service: deviation.extra_by_service,
            said: Vec::new(),
            is_joined: false,
        }
    }

    /// Returns the extra milliseconds for which the services are to blame; a gap between two of them counts once.
    pub(super) fn extra_ms(&self, is_blamed: impl Fn(&str) -> bool) -> f64 {
        let extra = self.extra_by_service.iter().filter(|(service, _)| is_blamed(service)).map(|(_, extra)| *extra);
        extra.fold(0.0, f64::max)
    }

    /// Returns whether it took at least a quarter longer because of the services.
    pub(super) fn is_hurt(&self, is_blamed: impl Fn(&str) -> bool) -> bool {
        self.extra_ms(is_blamed) >= HURT_SHARE * self.expected_ms
    }
}

/// The last transactions, in order of closing.
#[derive(Debug, Default)]
pub(super) struct Recent {
    briefs: VecDeque<Brief>,
}

impl Recent {
    pub(super) fn push(&mut self, brief: Brief) {
        if self.briefs.len() >= RECENT_MAX {
            self.briefs.pop_front();
        }
        self.briefs.push_back(brief);
    }

    /// Lets go of transactions that ended before a block.
    pub(super) fn forget(&mut self, before: i64) {
        self.briefs.retain(|brief| brief.block >= before);
    }

    /// Returns all of them, in order of closing.
    pub(super) fn all(&self) -> impl Iterator<Item = &Brief> {
        self.briefs.iter()
    }

    /// Returns transactions that ended in or after a block.
    pub(super) fn since(&self, block: i64) -> impl Iterator<Item = &Brief> {
        self.briefs.iter().filter(move |brief| brief.block >= block)
    }

    /// Returns transactions that ended before a block, the latest first.
    pub(super) fn before(&self, block: i64) -> impl Iterator<Item = &Brief> {
        self.briefs.iter().rev().filter(move |brief| brief.block < block)
    }

    /// Picks hurt transactions near the median of the hurt, and usual ones of the same call path from before.
    pub(super) fn exemplars(&self, onset: i64, is_blamed: impl Fn(&str) -> bool) -> Vec<Exemplar> {
        let mut hurt: Vec<&Brief> = self.since(onset).filter(|brief| brief.is_hurt(&is_blamed)).collect();
        hurt.sort_by(|a, b| a.duration_ms.total_cmp(&b.duration_ms));
        let middle = around_middle(&hurt);
        let Some(typical) = middle.first() else { return Vec::new() };
        let alike =
            |brief: &&Brief| brief.block < onset - 1 && brief.type_id == typical.type_id && !brief.is_hurt(&is_blamed);
        let mut usual: Vec<&Brief> =
            self.briefs.iter().filter(alike).filter(|brief| brief.path_id == typical.path_id).collect();
        if usual.is_empty() {
            usual = self.briefs.iter().filter(alike).collect();
        }
        usual.sort_by(|a, b| a.duration_ms.total_cmp(&b.duration_ms));
        let exemplar = |brief: &&Brief, role: &str| Exemplar {
            trace_id: brief.id.to_string(),
            role: role.to_owned(),
            duration_ms: brief.duration_ms,
        };
        let affected = middle.iter().map(|brief| exemplar(brief, "affected"));
        affected.chain(around_middle(&usual).iter().map(|brief| exemplar(brief, "usual"))).collect()
    }
}

/// Returns the middle ones of a sorted list, the median first.
fn around_middle<'a>(sorted: &[&'a Brief]) -> Vec<&'a Brief> {
    let middle = sorted.len() / 2;
    let mut picked: Vec<&Brief> = sorted.iter().skip(middle).take(EXEMPLARS_MAX).copied().collect();
    for brief in sorted.iter().take(middle).rev() {
        if picked.len() >= EXEMPLARS_MAX {
            break;
        }
        picked.push(brief);
    }
    picked
}
