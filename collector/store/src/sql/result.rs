//! Runs a plan and collects what comes out of it, within the bounds of the configuration: rows, and bytes of all queries
//! and all results that somebody still holds.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use collector_table::{TableName, TraceId};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;

use super::engine::{Engine, Session};
use super::plain;
use super::wanted::Wanted;
use crate::SqlError;
use crate::snapshot::Snapshot;

/// Result of a query. Its bytes count against the queries' memory until it is dropped.
#[derive(Debug, Clone)]
pub struct QueryResult {
    /// Columns, also when there are no rows. Texts are plain: no views, no dictionaries.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// Whether rows were cut off at `rows_max` or at the memory limit.
    pub truncated: bool,
    /// Room in the queries' memory; nothing for a result that was not read from a store.
    reserved: Option<Arc<MemoryReservation>>,
}

/// What is stored of one trace, in the SQL form; no order is promised.
#[derive(Debug, Clone)]
pub struct TraceRows {
    /// Its spans.
    pub spans: QueryResult,
    /// Log records that name it.
    pub logs: QueryResult,
}

impl QueryResult {
    /// Returns a result of rows that are at hand.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches, truncated: false, reserved: None }
    }
}

impl Engine {
    /// Runs a statement.
    pub(super) async fn execute(&self, session: &Session, plan: &LogicalPlan) -> Result<QueryResult, DataFusionError> {
        let physical = session.create_physical_plan(plan).await?;
        self.collect(physical, session.task_ctx()).await
    }

    /// Returns the rows of a table with this trace's id.
    pub(super) async fn rows_of_trace(
        &self,
        table: TableName,
        snapshot: &Snapshot,
        id: TraceId,
    ) -> Result<QueryResult, DataFusionError> {
        let wanted = Wanted { ids: Some(vec![id.0]), ..Wanted::ALL };
        let plan = self.stored(table, snapshot).plan_of(self.options(), &wanted).await?;
        self.collect(plan, self.task()).await
    }

    /// Tells the person whose query it was apart from the person who runs the daemon.
    pub(super) fn explain(&self, error: DataFusionError) -> SqlError {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => SqlError::Memory { bytes_max: self.limits.memory_bytes },
            DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) | DataFusionError::ParquetError(_) => {
                SqlError::Failed(error)
            }
            _ => SqlError::Invalid { message: error.strip_backtrace() },
        }
    }

    async fn collect(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        task: Arc<TaskContext>,
    ) -> Result<QueryResult, DataFusionError> {
        let reserved = MemoryConsumer::new("result").register(&self.memory);
        let mut stream = execute_stream(plan, task)?;
        let mut result = QueryResult::new(plain::schema(&stream.schema()), Vec::new());
        let mut room = self.limits.rows_max;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let taken = plain::batch(&batch.slice(0, batch.num_rows().min(room)), &result.schema)?;
            room -= taken.num_rows();
            // What is left of the stream is not worth another look only to know whether this was the end.
            result.truncated = taken.num_rows() < batch.num_rows() || !is_kept(&reserved, &taken);
            result.batches.push(taken);
            if result.truncated {
                break;
            }
        }
        result.reserved = Some(Arc::new(reserved));
        Ok(result)
    }
}

/// Reserves room for rows that are at hand anyway, and returns whether there is room for more.
fn is_kept(reserved: &MemoryReservation, rows: &RecordBatch) -> bool {
    let bytes = rows.get_array_memory_size();
    let has_room = reserved.try_grow(bytes).is_ok();
    if !has_room {
        reserved.grow(bytes);
    }
    has_room
}
