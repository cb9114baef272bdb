//! The `hops` view: computed from spans when a query asks for it, by a function that the daemon hands in. Works through
//! the asked time window by window, each with the spans around it, so that memory is bounded by a window and the traces
//! of its hops are whole. A window whose spans are more than queries have memory for is halved, and so is what is read
//! around it. A trace that is longer than that, at first [`AROUND_NS`], on one side of a hop is cut for that hop.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, FixedSizeBinaryBuilder, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use async_trait::async_trait;
use collector_table::hop_schema;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::exec_err;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::{StreamExt, stream};

use super::plain;
use super::scan::StoredTable;
use super::wanted::Wanted;
use crate::revisions::Id;

/// Computes the rows of the view from all spans of some traces, in the SQL form.
pub type HopsOf = dyn Fn(&[RecordBatch]) -> Result<RecordBatch, Box<dyn Error + Send + Sync>> + Send + Sync;

/// Spans before and after a window that are read with it.
const AROUND_NS: i64 = 120 * 1_000_000_000;
/// Spans that a window should have, with those around it.
const WINDOW_SPANS: i128 = 256 * 1024;
/// No window is shorter at first, however dense spans are, or more would be read around windows than in them.
const WINDOW_NS_MIN: i64 = AROUND_NS;
/// What is not halved any more, of a window and around it; for so much there must be memory.
const HALVED_NS_MIN: i64 = 1_000_000_000;

/// The view over the tables of one snapshot.
#[derive(Clone)]
pub(super) struct HopsView {
    spans: Arc<StoredTable>,
    transactions: Arc<StoredTable>,
    hops_of: Arc<HopsOf>,
    schema: SchemaRef,
}

impl HopsView {
    pub(super) fn new(spans: StoredTable, transactions: StoredTable, hops_of: Arc<HopsOf>) -> Self {
        let schema = plain::views(&hop_schema());
        Self { spans: Arc::new(spans), transactions: Arc::new(transactions), hops_of, schema }
    }
}

impl fmt::Debug for HopsView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HopsView").field(&self.spans).finish()
    }
}

#[async_trait]
impl TableProvider for HopsView {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let of_traces = Wanted::by(filters, "start_time", Some("trace_id"));
        let of_transactions = Wanted::by(filters, "start_time", Some("transaction_id"));
        let traces = match (of_traces.ids.clone(), of_transactions.ids) {
            (None, Some(transactions)) => Some(Traces::OfTransactions(transactions)),
            (traces, _) => traces.map(Traces::These),
        };
        let windows = self.windows(&of_traces, traces.is_some());
        let hops = Arc::new(Hops { view: self.clone(), traces, windows });
        let plan = StreamingTableExec::try_new(self.schema(), vec![hops], projection, None, false, limit)?;
        Ok(Arc::new(plan))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

impl HopsView {
    /// Cuts the wanted time into windows; the hops of some traces are found in one.
    fn windows(&self, wanted: &Wanted, is_of_traces: bool) -> Vec<Window> {
        let Some((earliest, latest)) = self.spans.time_range() else { return Vec::new() };
        let (from, to) = (wanted.from_ns.max(earliest), wanted.to_ns.min(latest));
        let mut length_ns = i128::from(u64::MAX);
        if !is_of_traces {
            let stored_ns = i128::from(latest) - i128::from(earliest) + 1;
            let around_ns = 2 * i128::from(AROUND_NS);
            let filled_ns = WINDOW_SPANS * stored_ns / i128::from(self.spans.rows_count().max(1)) - around_ns;
            length_ns = filled_ns.max(i128::from(WINDOW_NS_MIN));
        }
        let mut windows = Vec::new();
        let mut start = i128::from(from);
        while start <= i128::from(to) {
            let end = (start + length_ns - 1).min(i128::from(to));
            let times = i64::try_from(start).ok().zip(i64::try_from(end).ok()).map(|(start, end)| start..=end);
            windows.extend(times.map(|times| Window { times, around_ns: AROUND_NS }));
            start = end + 1;
        }
        windows
    }

    /// Returns the hops that begin within a window.
    async fn hops(
        self,
        traces: Option<Traces>,
        Window { times, around_ns }: Window,
        task: Arc<TaskContext>,
    ) -> Result<RecordBatch, DataFusionError> {
        let (from_ns, to_ns) = (times.start().saturating_sub(around_ns), times.end().saturating_add(around_ns));
        let mut parts = HashMap::new();
        let wanted = match traces {
            None => Wanted { from_ns, to_ns, ids: None },
            Some(Traces::These(ids)) => Wanted { ids: Some(ids), ..Wanted::ALL },
            Some(Traces::OfTransactions(ids)) => {
                parts = self.parts_of(ids, &task).await?;
                let mut ids: Vec<Id> = parts.keys().copied().collect();
                ids.sort_unstable();
                Wanted { ids: Some(ids), ..Wanted::ALL }
            }
        };
        let reserved = MemoryConsumer::new("hops").register(task.memory_pool());
        let spans = collect(&self.spans, &wanted, &task, &reserved).await?;
        let hops = (self.hops_of)(&spans).map_err(DataFusionError::External)?;
        let hops = of_parts(&plain::batch(&hops, &self.schema)?, &parts)?;
        let Some(starts) = hops.column_by_name("start_time") else {
            return exec_err!("hops have no start");
        };
        let starts = starts.as_primitive::<TimestampNanosecondType>().values();
        let is_within: BooleanArray = starts.iter().map(|start| Some(times.contains(start))).collect();
        Ok(filter_record_batch(&hops, &is_within)?)
    }

    /// Returns the traces that transactions consist of, each with its transaction.
    async fn parts_of(
        &self,
        transactions: Vec<Id>,
        task: &Arc<TaskContext>,
    ) -> Result<HashMap<Id, Id>, DataFusionError> {
        let wanted = Wanted { ids: Some(transactions.clone()), ..Wanted::ALL };
        let reserved = MemoryConsumer::new("transactions").register(task.memory_pool());
        let mut parts: HashMap<Id, Id> = transactions.into_iter().map(|id| (id, id)).collect();
        for batch in collect(&self.transactions, &wanted, task, &reserved).await? {
            let lists = batch.column_by_name("trace_ids").and_then(|lists| lists.as_list_opt::<i32>());
            let ids = batch.column_by_name("transaction_id").and_then(|ids| ids.as_fixed_size_binary_opt());
            for (transaction, traces) in
                ids.zip(lists).into_iter().flat_map(|(ids, lists)| ids.iter().zip(lists.iter()))
            {
                let Some((transaction, traces)) = transaction.and_then(|id| Id::try_from(id).ok()).zip(traces) else {
                    continue;
                };
                let traces = traces.as_fixed_size_binary().iter().flatten();
                for trace in traces.filter_map(|trace| Id::try_from(trace).ok()) {
                    parts.entry(trace).or_insert(transaction);
                }
            }
        }
        Ok(parts)
    }
}

/// A stretch of time whose hops are computed at once.
#[derive(Debug, Clone)]
struct Window {
    times: RangeInclusive<i64>,
    /// Nanoseconds before and after it of which spans are read with it.
    around_ns: i64,
}

impl Window {
    /// Returns what can be read instead with less memory, the earlier first; nothing if it is as small as can be.
    fn halves(&self) -> Vec<Self> {
        let (start, end) = (*self.times.start(), *self.times.end());
        let length_ns = end.saturating_sub(start);
        let around_ns = (self.around_ns / 2).max(HALVED_NS_MIN);
        let window = |times| Self { times, around_ns };
        if length_ns > HALVED_NS_MIN {
            let middle = start.saturating_add(length_ns / 2);
            vec![window(start..=middle), window(middle + 1..=end)]
        } else if around_ns < self.around_ns {
            vec![window(start..=end)]
        } else {
            Vec::new()
        }
    }
}

/// Gives hops of traces that were kept as part of a transaction its id: their spans alone may not say so any more.
fn of_parts(hops: &RecordBatch, parts: &HashMap<Id, Id>) -> Result<RecordBatch, DataFusionError> {
    let schema = hops.schema();
    let (Ok(transactions), Ok(traces)) = (schema.index_of("transaction_id"), schema.index_of("trace_id")) else {
        return exec_err!("hops have no ids");
    };
    let rows = hops.column(transactions).as_fixed_size_binary().iter();
    let mut ids = FixedSizeBinaryBuilder::with_capacity(hops.num_rows(), 16);
    for (own, trace) in rows.zip(hops.column(traces).as_fixed_size_binary().iter()) {
        let own = own.unwrap_or_default();
        let part_of = trace.and_then(|trace| parts.get(trace)).filter(|_| !parts.values().any(|id| id == own));
        ids.append_value(part_of.map_or(own, |id| id.as_slice()))?;
    }
    let mut columns = hops.columns().to_vec();
    columns[transactions] = Arc::new(ids.finish());
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// Traces whose hops are asked for.
#[derive(Debug, Clone)]
enum Traces {
    These(Vec<Id>),
    OfTransactions(Vec<Id>),
}

/// The rows of the view that one query reads.
#[derive(Debug)]
struct Hops {
    view: HopsView,
    traces: Option<Traces>,
    windows: Vec<Window>,
}

impl PartitionStream for Hops {
    fn schema(&self) -> &SchemaRef {
        &self.view.schema
    }

    fn execute(&self, task: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (view, traces) = (self.view.clone(), self.traces.clone());
        // The newest first: a query with a limit then reads no more than it must.
        let hops = stream::try_unfold(self.windows.clone(), move |mut windows| {
            let (view, traces, task) = (view.clone(), traces.clone(), Arc::clone(&task));
            async move {
                while let Some(window) = windows.pop() {
                    // Some traces are read whole, whatever the window is.
                    let halves = if traces.is_none() { window.halves() } else { Vec::new() };
                    match view.clone().hops(traces.clone(), window, Arc::clone(&task)).await {
                        Err(error) if is_out_of_memory(&error) && !halves.is_empty() => windows.extend(halves),
                        hops => return Ok(Some((hops?, windows))),
                    }
                }
                Ok(None)
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.view.schema), hops))
    }
}

fn is_out_of_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

async fn collect(
    table: &StoredTable,
    wanted: &Wanted,
    task: &Arc<TaskContext>,
    reserved: &MemoryReservation,
) -> Result<Vec<RecordBatch>, DataFusionError> {
    let plan = table.plan_of(task.session_config().options(), wanted).await?;
    let mut stream = execute_stream(plan, Arc::clone(task))?;
    let schema = plain::schema(&stream.schema());
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = plain::batch(&batch?, &schema)?;
        reserved.try_grow(batch.get_array_memory_size())?;
        rows.push(batch);
    }
    Ok(rows)
}
