//! One stored table for SQL: the segments and the memory of one snapshot, as one table in the SQL form. Segments that
//! cannot hold what a query wants are left out; filters reach the Parquet reader, which skips row groups and pages.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use collector_table::{TableName, TraceId};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::config::{ConfigOptions, TableParquetOptions};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::union::UnionExec;

use super::engine::PARTITIONS;
use super::files::Files;
use super::form::SqlForm;
use super::memory::MemorySource;
use super::plain;
use super::wanted::Wanted;
use crate::segment::Segment;
use crate::snapshot::TableSnapshot;

/// A table at one moment.
#[derive(Debug)]
pub(super) struct StoredTable {
    name: TableName,
    /// The SQL form, with texts as the engine likes them.
    sql: SchemaRef,
    rows: TableSnapshot,
    files: Arc<Files>,
}

impl StoredTable {
    pub(super) fn new(name: TableName, rows: TableSnapshot, files: Arc<Files>) -> Self {
        Self { name, sql: plain::views(&name.sql_schema()), rows, files }
    }

    /// Returns a plan that reads these columns of what is wanted, and perhaps of other rows.
    pub(super) async fn plan(
        &self,
        options: &ConfigOptions,
        columns: Option<&Vec<usize>>,
        wanted: &Wanted,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let sql = Arc::clone(&self.sql);
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        let segments = self.wanted_segments(wanted).await?;
        if !segments.is_empty() {
            parts.push(self.plan_segments(options, columns, segments, limit)?);
        }
        if !self.rows.memory.is_empty() {
            parts.push(MemorySource::plan(Arc::new(self.rows.memory.to_vec()), Arc::clone(&sql), columns, PARTITIONS)?);
        }
        match parts.len() {
            0 => {
                let schema = columns.map_or(Ok(Arc::clone(&sql)), |columns| sql.project(columns).map(Arc::new))?;
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }

    /// Returns a plan that reads the rows of one trace.
    pub(super) async fn plan_of_trace(
        &self,
        options: &ConfigOptions,
        id: TraceId,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let wanted = Wanted { ids: Some(vec![id.0]), ..Wanted::ALL };
        let rows = self.plan(options, None, &wanted, None).await?;
        let id = ScalarValue::FixedSizeBinary(16, Some(id.0.to_vec()));
        let column = Arc::new(Column::new_with_schema("trace_id", &self.sql)?);
        let is_of_trace = BinaryExpr::new(column, Operator::Eq, Arc::new(Literal::new(id)));
        let filter = FilterExec::try_new(Arc::new(is_of_trace), rows)?;
        FilterPushdown::new().optimize(Arc::new(filter), options)
    }

    /// Returns the segments that may hold what is wanted, and which of their row groups.
    async fn wanted_segments(&self, wanted: &Wanted) -> Result<Vec<PartitionedFile>, DataFusionError> {
        let mut found = Vec::new();
        for segment in self.rows.segments.iter().filter(|segment| wanted.overlaps(segment.time_range)) {
            let mut file = self.file(segment);
            if let (Some(ids), Some(column)) = (&wanted.ids, id_column(self.name)) {
                let Some(row_groups) = self.files.blooms.row_groups(&file, column, ids).await? else { continue };
                file = file.with_extension(row_groups);
            }
            found.push(file);
        }
        Ok(found)
    }

    fn plan_segments(
        &self,
        options: &ConfigOptions,
        columns: Option<&Vec<usize>>,
        segments: Vec<PartitionedFile>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let options =
            TableParquetOptions { global: options.execution.parquet.clone(), ..TableParquetOptions::default() };
        let source = ParquetSource::new(Arc::clone(&self.sql))
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::clone(&self.files.readers) as _);
        let scan = FileScanConfigBuilder::new(self.files.url.clone(), Arc::new(source))
            .with_file_groups(FileGroup::new(segments).split_files(PARTITIONS))
            .with_expr_adapter(Some(Arc::new(SqlForm)))
            .with_projection_indices(columns.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }

    /// Describes a segment, with its range of event time so that what is found meanwhile can spare opening it.
    fn file(&self, segment: &Segment) -> PartitionedFile {
        let schema = Arc::clone(&self.sql);
        let mut statistics = Statistics::new_unknown(&schema);
        statistics.num_rows = Precision::Exact(usize::try_from(segment.rows).unwrap_or(usize::MAX));
        if let Some((earliest, latest)) = segment.time_range
            && let Ok(column) = schema.index_of(self.name.time_column())
        {
            let time = |ns| Precision::Exact(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())));
            statistics.column_statistics[column] = ColumnStatistics {
                min_value: time(earliest),
                max_value: time(latest),
                null_count: Precision::Exact(0),
                ..ColumnStatistics::new_unknown()
            };
        }
        PartitionedFile::new(segment.name.clone(), segment.bytes).with_statistics(Arc::new(statistics))
    }
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.sql)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let wanted = Wanted::by(filters, self.name, id_column(self.name));
        self.plan(session.config_options(), projection, &wanted, limit).await
    }

    /// Filters are only looked at here; they stay in the plan above, and the optimizer hands them down into the scans.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// Returns the column whose Bloom filters are kept in memory.
fn id_column(table: TableName) -> Option<&'static str> {
    match table {
        TableName::Spans | TableName::Logs => Some("trace_id"),
        TableName::Transactions => Some("transaction_id"),
        TableName::Metrics | TableName::Red | TableName::Dependencies => None,
    }
}
