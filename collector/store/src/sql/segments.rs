//! How queries reach segment files: their object store, and what is kept of them between queries, bounded.

use std::sync::Arc;

use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use object_store::ObjectStore;

use super::blooms::Blooms;

/// Address of the object store that segments are in.
const SEGMENTS_URL: &str = "segments://store/";
/// Footers and indexes of segments that are kept for the next query, bytes.
const METADATA_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The segment files.
#[derive(Debug)]
pub(super) struct SegmentFiles {
    pub(super) url: ObjectStoreUrl,
    pub(super) readers: Arc<CachedParquetFileReaderFactory>,
    pub(super) blooms: Blooms,
}

impl SegmentFiles {
    /// Returns the files of an object store, and the environment in which queries over them run.
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        memory: Arc<dyn MemoryPool>,
    ) -> Result<(Self, Arc<RuntimeEnv>), DataFusionError> {
        let url = ObjectStoreUrl::parse(SEGMENTS_URL)?;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(memory)
            .with_metadata_cache_limit(METADATA_BYTES_MAX)
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        runtime.register_object_store(url.as_ref(), Arc::clone(&store));
        let metadata = runtime.cache_manager.get_file_metadata_cache();
        let readers = Arc::new(CachedParquetFileReaderFactory::new(store, metadata));
        let blooms = Blooms::new(Arc::clone(&readers));
        Ok((Self { url, readers, blooms }, runtime))
    }
}
