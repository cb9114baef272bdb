//! Read-only SQL over one snapshot: guard, limits, results. `web` and the command line query through [`Reader`].
//! A query can neither change anything nor read a file that is not a segment.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;
use bytes::Bytes;
use collector_table::{TableName, TraceId};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use tokio::task::AbortHandle;

use crate::disk::OsDisk;
use crate::files::Files;
use crate::recovery;
use crate::snapshot::{Snapshot, TableSnapshot};
use crate::{QueryLimits, Recovery, SqlError, StoreError};

mod attribute;
mod blooms;
mod engine;
mod form;
mod hops;
mod ids;
mod latest;
mod memory;
mod order;
mod plain;
mod red;
mod result;
mod scan;
mod segments;
mod sketch;
mod threads;
mod wanted;

use engine::{Engine, Session};

pub use hops::HopsOf;
pub use result::{QueryResult, TraceRows};

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

type Published = BTreeMap<String, Arc<RecordBatch>>;

/// Queries a data folder or a running store. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    engine: Arc<Engine>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    published: Arc<ArcSwap<Published>>,
    hops_of: Arc<OnceLock<Arc<HopsOf>>>,
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
        let files = Files::local(dir)?;
        let mut found = recovery::read(&files, &OsDisk, replay)?;
        let gaps = found.take_gaps();
        let revised = Arc::clone(found.revisions.revised());
        let mut names = TableName::ALL.into_iter();
        let tables = found.tables.map(|table| {
            let between = gaps.as_ref().zip(names.next()).map(|(gaps, name)| gaps.rows(name)).unwrap_or_default();
            TableSnapshot {
                memory: between.followed_by(table.memory.rows()),
                segments: crate::segment::shared(table.listing.segments),
            }
        });
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot { tables, revised }));
        Ok((Self::new(&files, limits, snapshot)?, found.report))
    }

    pub(crate) fn new(
        files: &Files,
        limits: QueryLimits,
        snapshot: Arc<ArcSwap<Snapshot>>,
    ) -> Result<Self, StoreError> {
        let engine = Arc::new(Engine::new(files.store(), limits).map_err(StoreError::Engine)?);
        Ok(Self { engine, snapshot, published: Arc::default(), hops_of: Arc::default() })
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

    /// Makes `hops` a view that this function computes from spans: it is given all spans of some transactions, in the
    /// SQL form, and returns rows of [`collector_table::hop_schema`]. Only the first call counts; until then there is no
    /// such table.
    pub fn compute_hops(&self, hops_of: Arc<HopsOf>) {
        let _ = self.hops_of.set(hops_of);
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
        let (reader, sql) = (self.clone(), sql.to_owned());
        self.within_limits(async move { reader.run(&sql, params).await }).await
    }

    /// Returns all spans and log records of a trace, in the SQL form. Faster than a query: nothing is planned, and only
    /// the parts of segments that may hold the trace are read.
    ///
    /// # Errors
    /// See [`SqlError`].
    pub async fn trace(&self, id: TraceId) -> Result<TraceRows, SqlError> {
        let reader = self.clone();
        self.within_limits(async move {
            let [spans, logs] = [TableName::Spans, TableName::Logs].map(|table| reader.rows_of_trace(table, id));
            Ok(TraceRows { spans: spans.await?, logs: logs.await? })
        })
        .await
    }

    async fn rows_of_trace(&self, table: TableName, id: TraceId) -> Result<QueryResult, SqlError> {
        let found = self.engine.rows_of_trace(table, &self.snapshot(), id).await;
        found.map_err(|error| self.engine.explain(error))
    }

    /// Runs a query on the queries' threads, when it is its turn, and no longer than it may take.
    async fn within_limits<T: Send + 'static>(
        &self,
        query: impl Future<Output = Result<T, SqlError>> + Send + 'static,
    ) -> Result<T, SqlError> {
        let engine = Arc::clone(&self.engine);
        let running = self.engine.threads.spawn(async move {
            // Held until the query has really ended: one that was told to stop counts until it does.
            let _permit = engine.permits.acquire().await;
            query.await
        });
        let task = AbortOnDrop(running.abort_handle());
        let after = self.engine.limits.timeout;
        let ended = tokio::time::timeout(after, running).await.map_err(|_| SqlError::Timeout { after })?;
        drop(task);
        ended.unwrap_or_else(|error| Err(SqlError::Failed(DataFusionError::ExecutionJoin(Box::new(error)))))
    }

    async fn run(&self, sql: &str, params: Vec<QueryParam>) -> Result<QueryResult, SqlError> {
        let session = self.engine.session(&self.snapshot(), &self.published.load(), self.hops_of.get().cloned());
        let session = session.map_err(SqlError::Failed)?;
        let plan = plan(&session, sql, params).await?;
        self.engine.execute(&session, &plan).await.map_err(|error| self.engine.explain(error))
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
