//! Rows in the order in which they were committed, for the analysis. The writer sends, the daemon's analysis receives.
//! Bounded by bytes: while the analysis lags, the writer commits no further requests, so these wait in the queue and
//! are refused when it is full. Derived rows are still taken, or else analysis and writer would wait for each other.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::RecordBatch;
use collector_table::TableName;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::inbox::Outbox;
use crate::stats::Counters;
use crate::writer::Message;

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

/// Receives what is committed, in order. Dropping it lets the writer go on without a reader.
pub struct CommittedReceiver {
    rows: UnboundedReceiver<(Committed, usize)>,
    counters: Arc<Counters>,
    bytes_max: usize,
    writer: Outbox<Message>,
}

impl CommittedReceiver {
    /// Returns the next rows, or nothing when the store is closed and all was read.
    pub async fn recv(&mut self) -> Option<Committed> {
        let (committed, bytes) = self.rows.recv().await?;
        let before = self.counters.committed_bytes.fetch_sub(bytes, Relaxed);
        if before >= self.bytes_max && before - bytes < self.bytes_max {
            let _ = self.writer.send(Message::Wake);
        }
        Some(committed)
    }
}

impl Drop for CommittedReceiver {
    fn drop(&mut self) {
        self.rows.close();
        let _ = self.writer.send(Message::Wake);
    }
}

/// The writer's end.
pub(crate) struct CommittedSender {
    rows: UnboundedSender<(Committed, usize)>,
    counters: Arc<Counters>,
    bytes_max: usize,
}

impl CommittedSender {
    /// Sends rows of this size without waiting; [`Self::is_lagging`] is asked before a group is committed.
    pub(crate) fn send(&self, committed: Committed, bytes: usize) {
        // Counted first: the receiver may subtract at once.
        self.counters.committed_bytes.fetch_add(bytes, Relaxed);
        // Without a receiver there is nobody to tell.
        let _ = self.rows.send((committed, bytes));
    }

    /// Returns whether the receiver has to catch up first.
    pub(crate) fn is_lagging(&self) -> bool {
        !self.rows.is_closed() && self.counters.committed_bytes.load(Relaxed) >= self.bytes_max
    }
}

/// Makes both ends.
pub(crate) fn channel(
    counters: Arc<Counters>,
    bytes_max: usize,
    writer: Outbox<Message>,
) -> (CommittedSender, CommittedReceiver) {
    let (sender, rows) = unbounded_channel();
    let receiver = CommittedReceiver { rows, counters: Arc::clone(&counters), bytes_max, writer };
    (CommittedSender { rows: sender, counters, bytes_max }, receiver)
}
