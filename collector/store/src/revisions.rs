//! Which transactions were changed by late spans, and what their highest revision is. Nearly all have only the first,
//! so only the others are listed. The writer notes them, queries hide the rows of lower revisions.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, FixedSizeBinaryArray, RecordBatch, UInt32Array};
use collector_table::TableName;

/// A transaction's id.
pub(crate) type Id = [u8; 16];

/// Revision that every transaction begins with.
pub(crate) const FIRST_REVISION: u32 = 1;
/// Revised transactions that are remembered. Beyond it the oldest is forgotten, which is counted: queries then show
/// its earlier revisions too. About 30 MiB.
const REVISED_MAX: usize = 262_144;
const SHARDS: usize = 256;

/// Returns whether rows of this table belong to a revision of a transaction.
pub(crate) fn is_revised(table: TableName) -> bool {
    table == TableName::Transactions
}

/// Highest revision of each transaction that has more than one; immutable and cheap to clone. In parts, so that a
/// change copies only one of them.
#[derive(Clone, Debug)]
pub(crate) struct Revised {
    shards: Vec<Arc<HashMap<Id, u32>>>,
}

impl Default for Revised {
    fn default() -> Self {
        Self { shards: vec![Arc::default(); SHARDS] }
    }
}

impl Revised {
    /// Returns whether no transaction was revised.
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.is_empty())
    }

    /// Returns which of the rows belong to the highest revision of their transaction.
    pub(crate) fn are_highest(&self, ids: &FixedSizeBinaryArray, revisions: &UInt32Array) -> BooleanArray {
        let is_highest = |row: usize| {
            let Some(id) = ids.value(row).first_chunk::<16>() else { return true };
            self.shards[usize::from(id[0])].get(id).is_none_or(|highest| revisions.value(row) >= *highest)
        };
        (0..ids.len()).map(|row| Some(is_highest(row))).collect()
    }
}

/// The revised transactions, in the order in which they became so.
#[derive(Default)]
pub(crate) struct Revisions {
    revised: Arc<Revised>,
    in_order: VecDeque<Id>,
    forgotten: u64,
}

impl Revisions {
    /// Notes one row. Returns whether queries must know.
    pub(crate) fn note(&mut self, id: Id, revision: u32) -> bool {
        if revision <= FIRST_REVISION {
            return false;
        }
        if self.revised.shards[usize::from(id[0])].get(&id).is_some_and(|highest| *highest >= revision) {
            return false;
        }
        let revised = Arc::make_mut(&mut self.revised);
        let shard = &mut revised.shards[usize::from(id[0])];
        if Arc::make_mut(shard).insert(id, revision).is_none() {
            self.in_order.push_back(id);
        }
        if self.in_order.len() > REVISED_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            Arc::make_mut(&mut revised.shards[usize::from(oldest[0])]).remove(&oldest);
            self.forgotten += 1;
        }
        true
    }

    /// Returns what queries need.
    pub(crate) fn revised(&self) -> &Arc<Revised> {
        &self.revised
    }

    /// Returns how many transactions were forgotten.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// Returns the id and revision of each row of `transactions`; nothing for rows without these columns.
pub(crate) fn rows_of(rows: &RecordBatch) -> impl Iterator<Item = (Id, u32)> {
    let ids = rows.column_by_name("transaction_id").and_then(|ids| ids.as_any().downcast_ref::<FixedSizeBinaryArray>());
    let revisions = rows.column_by_name("revision").and_then(|column| column.as_any().downcast_ref::<UInt32Array>());
    let columns = ids.zip(revisions);
    let count = if columns.is_some() { rows.num_rows() } else { 0 };
    (0..count).filter_map(move |row| {
        let (ids, revisions) = columns?;
        Some((*ids.value(row).first_chunk()?, revisions.value(row)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_revised_transaction_is_forgotten_at_the_limit_and_counted() {
        let mut revisions = Revisions::default();
        for n in 0..=REVISED_MAX {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_le_bytes());
            assert!(revisions.note(id, 2));
        }
        assert_eq!(revisions.forgotten(), 1);
        assert!(!revisions.revised().shards[0].contains_key(&[0; 16]));
        assert!(!revisions.note([9; 16], FIRST_REVISION));
    }
}
