//! Rows derived from closed transactions, gathered for a moment: many small batches would cost more than their rows.
//! The analysis adds to it and hands what it has to the store. A transaction and what was counted of it are always
//! handed over together, so that after a crash both are derived again, or neither.

use analyzer::{Dependencies, Transaction};
use arrow::array::RecordBatch;
use collector_table::{TableName, TransactionTableBuilder};

use super::rows;

/// Transactions that are gathered before they are kept, also when the moment is not over.
const TRANSACTIONS_MAX: usize = 4_000;

/// What is not kept yet.
#[derive(Default)]
pub(super) struct Derived {
    transactions: TransactionTableBuilder,
    transactions_count: usize,
    dependencies: Dependencies,
    /// Dependencies that the counts had no more room for.
    counted: Vec<RecordBatch>,
}

impl Derived {
    /// Adds a transaction, and counts its hops.
    pub(super) fn add(&mut self, transaction: &Transaction) {
        rows::append(&mut self.transactions, transaction);
        self.transactions_count += 1;
        self.counted.extend(self.dependencies.add(transaction));
    }

    /// Returns whether it is time to keep what was gathered.
    pub(super) fn is_full(&self) -> bool {
        self.transactions_count >= TRANSACTIONS_MAX
    }

    /// Returns what was gathered, by table, and begins anew.
    pub(super) fn take(&mut self) -> Vec<(TableName, RecordBatch)> {
        if self.transactions_count == 0 {
            return Vec::new();
        }
        self.transactions_count = 0;
        let transactions = std::mem::take(&mut self.transactions).finish();
        let mut counted = std::mem::take(&mut self.counted);
        counted.extend(self.dependencies.take());
        let dependencies = counted.into_iter().map(|rows| (TableName::Dependencies, rows));
        std::iter::once((TableName::Transactions, transactions)).chain(dependencies).collect()
    }
}
