//! Rows in memory as a source of a query plan: filters run on the columns as they are kept, and only rows and columns
//! that a query wants are brought into the SQL form. `scan` puts it beside the segments of the same table.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{and, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Statistics;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::simplifier::PhysicalExprSimplifier;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_expr_adapter::PhysicalExprAdapterFactory;
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};

use super::form::SqlForm;

/// What the snapshot has in memory of one table.
#[derive(Debug, Clone)]
pub(super) struct MemorySource {
    batches: Arc<[Arc<RecordBatch>]>,
    partitions: usize,
    sql: SchemaRef,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    projection: ProjectionExprs,
    projected: SchemaRef,
    fetch: Option<usize>,
}

impl MemorySource {
    /// Returns a plan that reads these columns of the SQL form.
    pub(super) fn plan(
        batches: Vec<Arc<RecordBatch>>,
        sql: SchemaRef,
        columns: Option<&Vec<usize>>,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let all: Vec<usize> = (0..sql.fields().len()).collect();
        let projection = ProjectionExprs::from_indices(columns.unwrap_or(&all), &sql);
        let projected = Arc::new(projection.project_schema(&sql)?);
        let partitions = partitions.min(batches.len()).max(1);
        let source =
            Self { batches: batches.into(), partitions, sql, filters: Vec::new(), projection, projected, fetch: None };
        Ok(DataSourceExec::from_data_source(source))
    }

    /// Returns filters and projection for batches as they are kept.
    fn reading(&self) -> Result<Reading, DataFusionError> {
        let stored = self.batches.first().map_or_else(|| Arc::clone(&self.sql), |batch| batch.schema());
        let form = SqlForm.create(Arc::clone(&self.sql), Arc::clone(&stored))?;
        let simplifier = PhysicalExprSimplifier::new(&stored);
        let rewrite = |expr| simplifier.simplify(form.rewrite(expr)?);
        let filters = self.filters.iter().map(|filter| rewrite(Arc::clone(filter))).collect::<Result<_, _>>()?;
        let projection = self.projection.clone().try_map_exprs(rewrite)?;
        let mut columns: Vec<usize> =
            projection.iter().flat_map(|expr| collect_columns(&expr.expr)).map(|column| column.index()).collect();
        columns.sort_unstable();
        columns.dedup();
        let kept = stored.project(&columns)?;
        let projection = projection.try_map_exprs(|expr| reassign_expr_columns(expr, &kept))?;
        Ok(Reading { filters, columns, projection, projected: Arc::clone(&self.projected) })
    }
}

/// A source made ready for the columns that its batches have.
struct Reading {
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// Columns that the projection needs, in the order of its input.
    columns: Vec<usize>,
    projection: ProjectionExprs,
    projected: SchemaRef,
}

impl Reading {
    /// Returns the rows that pass all filters, projected; nothing when there are none.
    fn read(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>, DataFusionError> {
        let mut passing: Option<BooleanArray> = None;
        for filter in &self.filters {
            let values = filter.evaluate(batch)?.into_array(batch.num_rows())?;
            let passes = as_boolean_array(&values)?;
            let passes = if passes.null_count() > 0 { prep_null_mask_filter(passes) } else { passes.clone() };
            let passes = match passing {
                Some(passing) => and(&passing, &passes)?,
                None => passes,
            };
            if passes.true_count() == 0 {
                return Ok(None);
            }
            passing = Some(passes);
        }
        let mut rows = batch.project(&self.columns)?;
        if let Some(passing) = passing.filter(|passing| passing.true_count() < batch.num_rows()) {
            rows = filter_record_batch(&rows, &passing)?;
        }
        let count = rows.num_rows();
        let columns = self.projection.expr_iter().map(|expr| expr.evaluate(&rows)?.into_array(count));
        let columns = columns.collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.projected), columns, &options)?))
    }
}

impl DataSource for MemorySource {
    fn open(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream, DataFusionError> {
        let reading = self.reading()?;
        let (batches, step) = (Arc::clone(&self.batches), self.partitions);
        let mut left = self.fetch.unwrap_or(usize::MAX);
        let rows = (partition..batches.len()).step_by(step).filter_map(move |index| {
            if left == 0 {
                return None;
            }
            let rows = reading.read(&batches[index]).transpose()?.map(|rows| rows.slice(0, rows.num_rows().min(left)));
            left -= rows.as_ref().map_or(0, RecordBatch::num_rows);
            Some(rows)
        });
        let rows = RecordBatchStreamAdapter::new(Arc::clone(&self.projected), futures::stream::iter(rows));
        Ok(Box::pin(cooperative(rows)))
    }

    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: usize = self.batches.iter().map(|batch| batch.num_rows()).sum();
        write!(f, "memory, batches={}, rows={rows}, projection={}", self.batches.len(), self.projection)?;
        for filter in &self.filters {
            write!(f, ", filter={filter}")?;
        }
        self.fetch.map_or(Ok(()), |fetch| write!(f, ", fetch={fetch}"))
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.partitions)
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(Arc::clone(&self.projected))
    }

    fn scheduling_type(&self) -> SchedulingType {
        SchedulingType::Cooperative
    }

    fn partition_statistics(&self, _partition: Option<usize>) -> Result<Arc<Statistics>, DataFusionError> {
        Ok(Arc::new(Statistics::new_unknown(&self.projected)))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        Some(Arc::new(Self { fetch: limit, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn DataSource>>, DataFusionError> {
        // An expression that costs something may be used twice above; here it would then be computed twice.
        if self.projection.expr_iter().any(|expr| !expr.placement().should_push_to_leaves()) {
            return Ok(None);
        }
        let projection = self.projection.try_merge(projection)?;
        let projected: Schema = projection.project_schema(&self.sql)?;
        Ok(Some(Arc::new(Self { projection, projected: Arc::new(projected), ..self.clone() })))
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn DataSource>>, DataFusionError> {
        let taken = vec![PushedDown::Yes; filters.len()];
        let mut source = self.clone();
        for filter in filters {
            let filter = self.projection.unproject_expr(&filter)?;
            source.filters.push(reassign_expr_columns(filter, &self.sql)?);
        }
        Ok(FilterPushdownPropagation::with_parent_pushdown_result(taken).with_updated_node(Arc::new(source)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion, DataFusionError>,
    ) -> Result<TreeNodeRecursion, DataFusionError> {
        let projected = self.projection.iter().map(|expr| &expr.expr);
        for expr in self.filters.iter().chain(projected) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }
}
