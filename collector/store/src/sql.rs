//! Read-only SQL over one snapshot.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use collector_table::TableName;

use crate::{QueryLimits, Recovery, SqlError, StoreError};

/// Value for a placeholder: `$1` is the first.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryParam {
    /// Text.
    Text(String),
    /// Integer.
    Int(i64),
    /// Floating point number.
    Float(f64),
    /// Bytes, as an id.
    Bytes(Bytes),
    /// Unix nanoseconds.
    TimestampNs(i64),
}

/// Result of a query.
#[derive(Debug, Clone)]
pub struct QueryResult {
    /// Columns, also when there are no rows.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// Whether rows were cut off at `rows_max` or at the memory limit.
    pub truncated: bool,
}

/// Queries a data folder or a running store. Cheap to clone.
#[derive(Clone)]
pub struct Reader;

impl Reader {
    /// Opens a folder for queries only: reads segments and the log, takes no lock, writes nothing. Works beside a
    /// running daemon, whose derived rows that are not sealed yet (transactions, hops) are then missing.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub async fn open(
        dir: PathBuf,
        limits: QueryLimits,
        replay: impl FnMut(u8, &[u8]) -> Option<(TableName, RecordBatch)>,
    ) -> Result<(Self, Recovery), StoreError> {
        let _ = (dir, limits, replay);
        Ok((Self, Recovery::default()))
    }

    /// Makes `rows` the content of SQL table `name`, in place of what was there.
    pub fn publish(&self, name: &str, rows: RecordBatch) {
        let _ = (name, rows);
    }

    /// Runs one read-only statement.
    ///
    /// # Errors
    /// See [`SqlError`].
    pub async fn query(&self, sql: &str) -> Result<QueryResult, SqlError> {
        self.query_with(sql, Vec::new()).await
    }

    /// Runs one read-only statement with values for its placeholders `$1`, `$2`…
    ///
    /// # Errors
    /// See [`SqlError`].
    pub async fn query_with(&self, sql: &str, params: Vec<QueryParam>) -> Result<QueryResult, SqlError> {
        let _ = params;
        Err(SqlError::Invalid { message: sql.to_owned() })
    }
}
