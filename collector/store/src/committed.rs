//! Rows in the order in which they were committed, for the analysis.

use arrow::array::RecordBatch;
use collector_table::TableName;
use tokio::sync::mpsc;

/// Rows of one table that were committed together.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Table of the rows.
    pub table: TableName,
    /// The rows.
    pub rows: RecordBatch,
    /// Whether the rows were read back from the log when the store was opened.
    pub is_replay: bool,
}

/// Receives what is committed, in order.
pub struct CommittedReceiver {
    rows: mpsc::UnboundedReceiver<Committed>,
}

impl CommittedReceiver {
    pub(crate) fn new(rows: mpsc::UnboundedReceiver<Committed>) -> Self {
        Self { rows }
    }

    /// Returns the next rows, or nothing when the store is closed and all was read.
    pub async fn recv(&mut self) -> Option<Committed> {
        self.rows.recv().await
    }
}
