//! The SQL engine: functions and rules are set up once, and each query gets a session with the tables of one snapshot
//! and its own memory pool.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use collector_table::TableName;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::Analyzer;
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use tokio::sync::Semaphore;

use super::Published;
use super::ids::IdLiterals;
use super::latest;
use super::scan::StoredTable;
use super::threads::{QueryThreads, YieldInJoins};
use crate::QueryLimits;
use crate::revisions;
use crate::snapshot::{Snapshot, place};

/// State of one query.
pub(super) type Session = datafusion::execution::session_state::SessionState;

/// Where segments are found. A bucket would be another store behind the same address.
const SEGMENTS_URL: &str = "segments://store/";
/// Footers and indexes of segments that are kept for the next query, bytes.
const METADATA_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Parts in which a query runs at once, and threads that queries have.
const PARTITIONS: usize = 2;
const CATALOG: &str = "throughline";
const SCHEMA: &str = "public";

/// What all queries share.
pub(super) struct Engine {
    pub(super) limits: QueryLimits,
    pub(super) permits: Semaphore,
    pub(super) threads: QueryThreads,
    base: Session,
    segments_url: ObjectStoreUrl,
    files: Arc<CachedParquetFileReaderFactory>,
}

impl Engine {
    pub(super) fn new(dir: &Path, limits: QueryLimits) -> Result<Self, DataFusionError> {
        let segments_url = ObjectStoreUrl::parse(SEGMENTS_URL)?;
        let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(dir)?);
        let runtime = RuntimeEnvBuilder::new()
            .with_metadata_cache_limit(METADATA_BYTES_MAX)
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        runtime.register_object_store(segments_url.as_ref(), Arc::clone(&store));
        let metadata = runtime.cache_manager.get_file_metadata_cache();
        let files = Arc::new(CachedParquetFileReaderFactory::new(store, metadata));
        let permits = Semaphore::new(limits.concurrent_max);
        let threads = QueryThreads::start(PARTITIONS)?;
        Ok(Self { permits, threads, limits, base: base_session(runtime), segments_url, files })
    }

    /// Returns a session that sees these tables and nothing else.
    pub(super) fn session(&self, snapshot: &Snapshot, published: &Published) -> Result<Session, DataFusionError> {
        let schema = MemorySchemaProvider::new();
        for (name, rows) in published {
            let table = MemTable::try_new(rows.schema(), vec![vec![RecordBatch::clone(rows)]])?;
            schema.register_table(name.clone(), Arc::new(table))?;
        }
        for table in TableName::ALL {
            schema.register_table(table.as_str().to_owned(), self.table(table, snapshot)?)?;
        }
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(schema))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        let mut session = SessionStateBuilder::new_from_existing(self.base.clone())
            .with_catalog_list(Arc::new(catalogs))
            .with_runtime_env(self.runtime_of_one_query()?)
            .build();
        // Without a start, `now()` has no value.
        session.mark_start_execution();
        Ok(session)
    }

    fn table(&self, table: TableName, snapshot: &Snapshot) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        let tables = snapshot.tables[place(table)].clone();
        let stored = Arc::new(StoredTable::new(table, tables, self.segments_url.clone(), Arc::clone(&self.files)));
        if revisions::is_revised(table) && !snapshot.revised.is_empty() {
            return latest::view(table, stored, Arc::clone(&snapshot.revised));
        }
        Ok(stored)
    }

    fn runtime_of_one_query(&self) -> Result<Arc<RuntimeEnv>, DataFusionError> {
        RuntimeEnvBuilder::from_runtime_env(self.base.runtime_env())
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(self.limits.memory_bytes)))
            .build_arc()
    }
}

fn base_session(runtime: Arc<RuntimeEnv>) -> Session {
    let mut config = SessionConfig::new()
        .with_target_partitions(PARTITIONS)
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA);
    config.options_mut().execution.parquet.pushdown_filters = true;
    config.options_mut().execution.parquet.reorder_filters = true;
    let mut analyzer = Analyzer::new();
    analyzer.rules.insert(0, Arc::new(IdLiterals));
    let mut builder = SessionStateBuilder::new_with_default_features().with_config(config).with_runtime_env(runtime);
    builder = builder.with_physical_optimizer_rule(Arc::new(YieldInJoins));
    *builder.analyzer() = Some(analyzer);
    builder.build()
}
