//! How queries reach segment files: their object store, and what is kept of them between queries, bounded.

use std::path::Path;
use std::sync::Arc;

use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use super::blooms::Blooms;

/// Where segments are found. A bucket would be another store behind the same address.
const SEGMENTS_URL: &str = "segments://store/";
/// Footers and indexes of segments that are kept for the next query, bytes.
const METADATA_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The segment files.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) url: ObjectStoreUrl,
    pub(super) readers: Arc<CachedParquetFileReaderFactory>,
    pub(super) blooms: Blooms,
}

impl Files {
    /// Opens a folder; also returns the environment in which queries over it run.
    pub(super) fn open(dir: &Path, memory: Arc<dyn MemoryPool>) -> Result<(Self, Arc<RuntimeEnv>), DataFusionError> {
        let url = ObjectStoreUrl::parse(SEGMENTS_URL)?;
        let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(dir)?);
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
