//! Read-only SQL over one snapshot: guard, limits, results. `web` and the command line query through [`Reader`].
//! A query can neither change anything nor read a file that is not a segment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use collector_table::TableName;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use tokio::task::AbortHandle;

use crate::recovery;
use crate::snapshot::{Snapshot, TableSnapshot};
use crate::{QueryLimits, Recovery, SqlError, StoreError};

mod attribute;
mod blooms;
mod engine;
mod files;
mod form;
mod ids;
mod latest;
mod memory;
mod order;
mod plain;
mod scan;
mod threads;
mod wanted;

use engine::{Engine, Session};

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

type Published = BTreeMap<String, Arc<RecordBatch>>;

/// Queries a data folder or a running store. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    engine: Arc<Engine>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    published: Arc<ArcSwap<Published>>,
}

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
        let found = recovery::read(&dir, replay)?;
        let revised = found.revisions.revised().clone();
        let tables = found.tables.map(|table| TableSnapshot {
            memory: Arc::new(table.memory.batches().to_vec()),
            segments: crate::segment::shared(table.segments),
        });
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot { tables, revised }));
        Ok((Self::new(&dir, limits, snapshot)?, found.report))
    }

    pub(crate) fn new(dir: &Path, limits: QueryLimits, snapshot: Arc<ArcSwap<Snapshot>>) -> Result<Self, StoreError> {
        let engine = Arc::new(Engine::new(dir, limits).map_err(StoreError::Engine)?);
        Ok(Self { engine, snapshot, published: Arc::default() })
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Makes `rows` the content of SQL table `name`, in place of what was there.
    pub fn publish(&self, name: &str, rows: RecordBatch) {
        let rows = Arc::new(rows);
        self.published.rcu(|published| {
            let mut published = Published::clone(published);
            published.insert(name.to_owned(), Arc::clone(&rows));
            published
        });
    }

    /// Runs one read-only statement. Every table in it is seen at the same moment.
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
        let timeout = self.engine.limits.timeout;
        let (reader, sql) = (self.clone(), sql.to_owned());
        let running = self.engine.threads.spawn(async move { reader.run(&sql, params).await });
        let task = AbortOnDrop(running.abort_handle());
        let ended = tokio::time::timeout(timeout, running).await.map_err(|_| SqlError::Timeout { after: timeout })?;
        drop(task);
        ended.unwrap_or_else(|error| Err(SqlError::Failed(DataFusionError::ExecutionJoin(Box::new(error)))))
    }

    async fn run(&self, sql: &str, params: Vec<QueryParam>) -> Result<QueryResult, SqlError> {
        // Held until the query has really ended: one that was told to stop counts until it does.
        let _permit = self.engine.permits.acquire().await;
        let session = self.engine.session(&self.snapshot.load(), &self.published.load()).map_err(SqlError::Failed)?;
        let plan = plan(&session, sql, params).await?;
        let limits = &self.engine.limits;
        execute(&session, plan, limits).await.map_err(|error| explain(error, limits))
    }
}

/// Stops a query whose caller no longer waits.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Plans the statement if it only reads.
async fn plan(session: &Session, sql: &str, params: Vec<QueryParam>) -> Result<LogicalPlan, SqlError> {
    let invalid = |error: DataFusionError| SqlError::Invalid { message: error.strip_backtrace() };
    let dialect = session.config().options().sql_parser.dialect;
    let statement = session.sql_to_statement(sql, &dialect).map_err(invalid)?;
    let plan = session.statement_to_plan(statement).await.map_err(invalid)?;
    let reads_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reads_only.verify_plan(&plan).map_err(|error| SqlError::Refused { reason: error.strip_backtrace() })?;
    let values: Vec<ScalarValue> = params.into_iter().map(ScalarValue::from).collect();
    if values.is_empty() { Ok(plan) } else { plan.with_param_values(values).map_err(invalid) }
}

async fn execute(session: &Session, plan: LogicalPlan, limits: &QueryLimits) -> Result<QueryResult, DataFusionError> {
    let physical = session.create_physical_plan(&plan).await?;
    let mut stream = execute_stream(physical, session.task_ctx())?;
    let mut result = QueryResult { schema: stream.schema(), batches: Vec::new(), truncated: false };
    let (mut rows, mut bytes) = (0, 0);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let room = limits.rows_max - rows;
        let taken = batch.slice(0, batch.num_rows().min(room));
        result.truncated = taken.num_rows() < batch.num_rows();
        rows += taken.num_rows();
        bytes += taken.get_array_memory_size();
        result.batches.push(taken);
        if !result.truncated && bytes > limits.memory_bytes {
            // What is left of the stream is not worth another look only to know whether this was the end.
            result.truncated = true;
        }
        if result.truncated {
            break;
        }
    }
    Ok(result)
}

/// Tells the person whose query it was apart from the person who runs the daemon.
fn explain(error: DataFusionError, limits: &QueryLimits) -> SqlError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => SqlError::Memory { bytes_max: limits.memory_bytes },
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) | DataFusionError::ParquetError(_) => {
            SqlError::Failed(error)
        }
        _ => SqlError::Invalid { message: error.strip_backtrace() },
    }
}

impl From<QueryParam> for ScalarValue {
    fn from(param: QueryParam) -> Self {
        match param {
            QueryParam::Text(text) => Self::Utf8(Some(text)),
            QueryParam::Int(int) => Self::Int64(Some(int)),
            QueryParam::Float(float) => Self::Float64(Some(float)),
            QueryParam::Bytes(bytes) => Self::Binary(Some(bytes.to_vec())),
            QueryParam::TimestampNs(ns) => Self::TimestampNanosecond(Some(ns), Some("UTC".into())),
        }
    }
}
