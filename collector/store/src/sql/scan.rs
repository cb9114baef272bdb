//! One stored table for SQL: the segments and the memory of one snapshot, as one table. Filters reach the Parquet
//! reader, which skips files, row groups and pages by statistics and Bloom filters.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use collector_table::TableName;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;

use crate::segment::Segment;
use crate::snapshot::TableSnapshot;

/// A table at one moment.
#[derive(Debug)]
pub(super) struct StoredTable {
    name: TableName,
    rows: TableSnapshot,
    segments_url: ObjectStoreUrl,
    files: Arc<CachedParquetFileReaderFactory>,
}

impl StoredTable {
    pub(super) fn new(
        name: TableName,
        rows: TableSnapshot,
        segments_url: ObjectStoreUrl,
        files: Arc<CachedParquetFileReaderFactory>,
    ) -> Self {
        Self { name, rows, segments_url, files }
    }

    fn scan_segments(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let schema = self.name.sql_schema();
        let options = TableParquetOptions {
            global: session.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let source = ParquetSource::new(Arc::clone(&schema))
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::clone(&self.files) as _);
        let files: Vec<PartitionedFile> =
            self.rows.segments.iter().map(|segment| file(&schema, self.name, segment)).collect();
        let groups = FileGroup::new(files).split_files(session.config().target_partitions());
        let scan = FileScanConfigBuilder::new(self.segments_url.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        self.name.sql_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !self.rows.segments.is_empty() {
            parts.push(self.scan_segments(session, projection, limit)?);
        }
        match parts.len() {
            0 => {
                let schema = self.schema();
                let schema =
                    projection.map_or(Ok(Arc::clone(&schema)), |columns| schema.project(columns).map(Arc::new))?;
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }

    /// Filters stay in the plan, above the union; the optimizer hands them down into the Parquet scan from there.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Unsupported; filters.len()])
    }
}

/// Describes a segment, with its range of event time so that a query of another time does not open it.
fn file(schema: &SchemaRef, table: TableName, segment: &Segment) -> PartitionedFile {
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = Precision::Exact(usize::try_from(segment.rows).unwrap_or(usize::MAX));
    if let Some((earliest, latest)) = segment.time_range
        && let Ok(column) = schema.index_of(table.time_column())
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
