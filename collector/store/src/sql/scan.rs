//! One stored table for SQL: the segments and the memory of one snapshot, as one table in the SQL form. Segments that
//! cannot hold what a query wants are left out; filters reach the Parquet reader, which skips row groups and pages.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use arrow::error::ArrowError;
use async_trait::async_trait;
use collector_table::TableName;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::config::{ConfigOptions, TableParquetOptions};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::union::UnionExec;

use super::engine::PARTITIONS;
use super::form::SqlForm;
use super::memory::MemorySource;
use super::plain;
use super::red::RedOfMemory;
use super::segments::SegmentFiles;
use super::wanted::Wanted;
use crate::memory::Rows;
use crate::segment::Segment;

/// Rows that are not in segments.
#[derive(Debug)]
pub(super) enum Memory {
    /// As they are kept.
    Kept(Rows),
    /// Of `red`: rolled up of these spans.
    RolledUp(Rows, Arc<RedOfMemory>),
}

impl Memory {
    fn kept(&self) -> impl Iterator<Item = &RecordBatch> {
        match self {
            Self::Kept(rows) | Self::RolledUp(rows, _) => rows.iter(),
        }
    }

    fn batches(&self) -> Result<Vec<Arc<RecordBatch>>, ArrowError> {
        match self {
            Self::Kept(rows) => Ok(rows.shared()),
            Self::RolledUp(spans, _) if spans.is_empty() => Ok(Vec::new()),
            Self::RolledUp(spans, red) => Ok(vec![red.rows(spans)?]),
        }
    }
}

/// A table at one moment.
#[derive(Debug)]
pub(super) struct StoredTable {
    name: TableName,
    /// The SQL form, with texts as the engine likes them.
    sql: SchemaRef,
    segments: Arc<Vec<Arc<Segment>>>,
    memory: Memory,
    files: Arc<SegmentFiles>,
}

impl StoredTable {
    pub(super) fn new(
        name: TableName,
        segments: Arc<Vec<Arc<Segment>>>,
        memory: Memory,
        files: Arc<SegmentFiles>,
    ) -> Self {
        Self { name, sql: plain::views(&name.sql_schema()), segments, memory, files }
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
            parts.push(self.plan_segments(options, columns, segments, (wanted, limit))?);
        }
        let memory = self.memory.batches()?;
        if !memory.is_empty() {
            parts.push(MemorySource::plan(memory, Arc::clone(&sql), columns, PARTITIONS)?);
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

    /// Returns a plan that reads what is wanted and nothing else, made without the engine's planner.
    pub(super) async fn plan_of(
        &self,
        options: &ConfigOptions,
        wanted: &Wanted,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let rows = self.plan(options, None, wanted, None).await?;
        let filter = wanted.filter(&self.sql, self.name.time_column(), id_column(self.name))?;
        let filtered = FilterExec::try_new(filter, rows)?;
        FilterPushdown::new().optimize(Arc::new(filtered), options)
    }

    /// Returns earliest and latest event time of all rows; nothing when there are none.
    pub(super) fn time_range(&self) -> Option<(i64, i64)> {
        let segments = self.segments.iter().filter_map(|segment| segment.time_range);
        let memory = self.memory.kept().filter_map(|batch| {
            let times = batch.column_by_name(self.name.time_column())?.as_primitive_opt::<TimestampNanosecondType>()?;
            Some((min(times)?, max(times)?))
        });
        segments.chain(memory).reduce(|all, range| (all.0.min(range.0), all.1.max(range.1)))
    }

    /// Returns how many rows there are.
    pub(super) fn rows_count(&self) -> u64 {
        let memory: usize = self.memory.kept().map(RecordBatch::num_rows).sum();
        let segments: u64 = self.segments.iter().map(|segment| segment.rows).sum();
        segments + u64::try_from(memory).unwrap_or(0)
    }

    /// Returns the segments that may hold what is wanted, and which of their row groups.
    async fn wanted_segments(&self, wanted: &Wanted) -> Result<Vec<PartitionedFile>, DataFusionError> {
        let mut found = Vec::new();
        for segment in self.segments.iter().filter(|segment| wanted.overlaps(segment.time_range)) {
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
        (wanted, limit): (&Wanted, Option<usize>),
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let mut options =
            TableParquetOptions { global: options.execution.parquet.clone(), ..TableParquetOptions::default() };
        // Rows of a group stand by id, so pages differ in ids and in nothing else. Where a page is left out, "the newest
        // 20" no longer leaves out row groups that are older than what was found meanwhile: the engine cannot do both.
        options.global.enable_page_index = wanted.ids.is_some();
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
        let wanted = Wanted::by(filters, self.name.time_column(), id_column(self.name));
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
