//! The SQL engine: functions and rules are set up once, and each query gets a session with the tables of one snapshot
//! and its own memory pool.

use std::sync::Arc;

use arrow::array::RecordBatch;
use collector_table::TableName;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{FunctionRegistry, TaskContext};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::optimizer::Analyzer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use tokio::sync::Semaphore;

use super::Published;
use super::attribute::{Attribute, Subscript};
use super::hops::{HopsOf, HopsView};
use super::ids::IdLiterals;
use super::latest;
use super::order;
use super::red::RedOfMemory;
use super::scan::{Memory, StoredTable};
use super::segments::SegmentFiles;
use super::sketch::{ShareSums, SketchQuantile};
use super::threads::{QueryThreads, YieldInJoins};
use crate::QueryLimits;
use crate::revisions;
use crate::snapshot::{Snapshot, TableSnapshot, place};

/// State of one query.
pub(super) type Session = datafusion::execution::session_state::SessionState;

/// Parts in which a query runs at once, and threads that queries have.
pub(super) const PARTITIONS: usize = 2;
const CATALOG: &str = "throughline";
const SCHEMA: &str = "public";
/// Name of the view that is computed from spans.
const HOPS: &str = "hops";
/// Every revision of `transactions`, also of those that are part of another by now.
const TRANSACTION_REVISIONS: &str = "transaction_revisions";

/// What all queries share.
pub(super) struct Engine {
    pub(super) limits: QueryLimits,
    pub(super) permits: Semaphore,
    pub(super) threads: QueryThreads,
    /// All queries together draw from it, and what they return until it is dropped.
    pub(super) memory: Arc<dyn MemoryPool>,
    base: Session,
    red: Arc<RedOfMemory>,
    files: Arc<SegmentFiles>,
}

impl Engine {
    pub(super) fn new(store: Arc<dyn ObjectStore>, limits: QueryLimits) -> Result<Self, DataFusionError> {
        let memory: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(limits.memory_bytes));
        let (files, runtime) = SegmentFiles::new(store, Arc::clone(&memory))?;
        let permits = Semaphore::new(limits.concurrent_max);
        let threads = QueryThreads::start(PARTITIONS)?;
        Ok(Self {
            permits,
            threads,
            limits,
            memory,
            base: base_session(runtime)?,
            red: Arc::default(),
            files: Arc::new(files),
        })
    }

    /// Returns a session that sees these tables and nothing else.
    pub(super) fn session(
        &self,
        snapshot: &Snapshot,
        published: &Published,
        hops_of: Option<Arc<HopsOf>>,
    ) -> Result<Session, DataFusionError> {
        let schema = MemorySchemaProvider::new();
        for (name, rows) in published {
            let table = MemTable::try_new(rows.schema(), vec![vec![RecordBatch::clone(rows)]])?;
            schema.register_table(name.clone(), Arc::new(table))?;
        }
        for table in TableName::ALL {
            schema.register_table(table.as_str().to_owned(), self.table(table, snapshot)?)?;
        }
        let revisions: Arc<dyn TableProvider> = Arc::new(self.stored(TableName::Transactions, snapshot));
        schema.register_table(TRANSACTION_REVISIONS.to_owned(), revisions)?;
        if let Some(hops_of) = hops_of {
            let [spans, transactions] = [TableName::Spans, TableName::Transactions].map(|of| self.stored(of, snapshot));
            schema.register_table(HOPS.to_owned(), Arc::new(HopsView::new(spans, transactions, hops_of)))?;
        }
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(schema))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        let mut session =
            SessionStateBuilder::new_from_existing(self.base.clone()).with_catalog_list(Arc::new(catalogs)).build();
        // Without a start, `now()` has no value.
        session.mark_start_execution();
        Ok(session)
    }

    /// Returns a table as it is stored.
    pub(super) fn stored(&self, table: TableName, snapshot: &Snapshot) -> StoredTable {
        let TableSnapshot { memory, segments } = &snapshot.tables[place(table)];
        let memory = match table {
            TableName::Red => {
                let spans = snapshot.tables[place(TableName::Spans)].memory.clone();
                Memory::RolledUp(spans, Arc::clone(&self.red))
            }
            _ => Memory::Kept(memory.clone()),
        };
        StoredTable::new(table, Arc::clone(segments), memory, Arc::clone(&self.files))
    }

    /// Returns the options that all queries run with.
    pub(super) fn options(&self) -> &ConfigOptions {
        self.base.config_options()
    }

    /// Returns what a plan that was made without a session runs in.
    pub(super) fn task(&self) -> Arc<TaskContext> {
        self.base.task_ctx()
    }

    fn table(&self, table: TableName, snapshot: &Snapshot) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        let stored = Arc::new(self.stored(table, snapshot));
        if revisions::is_revised(table) && !snapshot.revised.is_empty() {
            return latest::view(table, stored, Arc::clone(&snapshot.revised));
        }
        Ok(stored)
    }
}

fn base_session(runtime: Arc<RuntimeEnv>) -> Result<Session, DataFusionError> {
    let mut config = SessionConfig::new()
        .with_target_partitions(PARTITIONS)
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA);
    config.options_mut().execution.parquet.pushdown_filters = true;
    config.options_mut().execution.parquet.reorder_filters = true;
    let mut analyzer = Analyzer::new();
    analyzer.rules.insert(0, Arc::new(IdLiterals));
    analyzer.rules.push(Arc::new(ShareSums));
    let mut builder = SessionStateBuilder::new_with_default_features().with_config(config).with_runtime_env(runtime);
    let mut rules = PhysicalOptimizer::new().rules;
    order::insert(&mut rules);
    rules.push(Arc::new(YieldInJoins));
    builder = builder.with_physical_optimizer_rules(rules);
    *builder.analyzer() = Some(analyzer);
    builder.expr_planners().get_or_insert_default().insert(0, Arc::new(Subscript));
    let mut session = builder.build();
    session.register_udf(Arc::new(ScalarUDF::from(Attribute::default())))?;
    session.register_udaf(Arc::new(AggregateUDF::from(SketchQuantile::default())))?;
    Ok(session)
}
