//! Where queries run: threads of their own, so that a heavy query slows neither ingest nor pages, and a rule that lets
//! a query be stopped while it joins.

use std::future::Future;
use std::io;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Threads that read segments for queries; more reads than that wait.
const READING_THREADS_MAX: usize = 8;

/// The threads.
pub(super) struct QueryThreads(Option<Runtime>);

impl QueryThreads {
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .max_blocking_threads(READING_THREADS_MAX)
            .thread_name("store-query")
            .enable_time()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn spawn<T: Send + 'static>(&self, query: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.as_ref().expect("it is only taken when dropped").spawn(query)
    }
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        // Without waiting: the last handle may be dropped by an async task, or by a query itself.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Makes joins give way now and then. A join of a few rows with themselves can run for years without reading anything,
/// and only where a query gives way can it be stopped.
#[derive(Debug)]
pub(super) struct YieldInJoins;

impl PhysicalOptimizerRule for YieldInJoins {
    fn name(&self) -> &'static str {
        "yield_in_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let wrapped = plan.transform_up(|node| {
            let is_join = node.name().ends_with("JoinExec");
            Ok(if is_join {
                Transformed::yes(Arc::new(CooperativeExec::new(node)) as _)
            } else {
                Transformed::no(node)
            })
        })?;
        Ok(wrapped.data)
    }
}
