//! Bloom filters of the id columns of segments, kept in memory: which row groups may hold an id. `scan` asks before it
//! plans a look-up, so that only the few row groups that matter are opened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetAccessPlan};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use parquet::bloom_filter::Sbbf;

use crate::revisions::Id;

/// Filters that are kept for the next look-up, bytes; those not asked for longest go first.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The filters of one file, one for each row group; nothing for one that has none.
type FileBlooms = Arc<Vec<Option<Sbbf>>>;

/// Filters of the files asked for last.
#[derive(Debug)]
pub(super) struct Blooms {
    files: Arc<CachedParquetFileReaderFactory>,
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_file: HashMap<String, (FileBlooms, u64)>,
    bytes: usize,
    /// Counts what was asked, as a clock.
    asked: u64,
}

impl Blooms {
    pub(super) fn new(files: Arc<CachedParquetFileReaderFactory>) -> Self {
        Self { files, bytes_max: BYTES_MAX, kept: Mutex::default() }
    }

    /// Returns the row groups that may hold one of the ids; nothing when none can.
    pub(super) async fn row_groups(
        &self,
        file: &PartitionedFile,
        column: &str,
        ids: &[Id],
    ) -> Result<Option<ParquetAccessPlan>, DataFusionError> {
        let name = file.path().as_ref();
        let blooms = match self.kept(name) {
            Some(blooms) => blooms,
            None => self.load(file, column).await?,
        };
        let mut plan = ParquetAccessPlan::new_none(blooms.len());
        let mut is_found = false;
        for (group, bloom) in blooms.iter().enumerate() {
            let may_hold = bloom.as_ref().is_none_or(|bloom| ids.iter().any(|id| bloom.check(id.as_slice())));
            if may_hold {
                plan.scan(group);
                is_found = true;
            }
        }
        Ok(is_found.then_some(plan))
    }

    fn kept(&self, name: &str) -> Option<FileBlooms> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.asked += 1;
        let now = kept.asked;
        let (blooms, asked) = kept.by_file.get_mut(name)?;
        *asked = now;
        Some(Arc::clone(blooms))
    }

    async fn load(&self, file: &PartitionedFile, column: &str) -> Result<FileBlooms, DataFusionError> {
        let metrics = ExecutionPlanMetricsSet::new();
        let mut reader = self.files.create_reader(0, file.clone(), None, &metrics)?;
        let metadata = reader.get_metadata(None).await?;
        let places: Vec<_> = metadata
            .row_groups()
            .iter()
            .map(|group| {
                let chunk = group.columns().iter().find(|chunk| chunk.column_path().string() == column)?;
                let from = u64::try_from(chunk.bloom_filter_offset()?).ok()?;
                Some(from..from + u64::try_from(chunk.bloom_filter_length()?).ok()?)
            })
            .collect();
        let mut bytes = reader.get_byte_ranges(places.iter().flatten().cloned().collect()).await?.into_iter();
        let blooms: Vec<Option<Sbbf>> =
            places.iter().map(|place| place.as_ref().and_then(|_| Sbbf::from_bytes(&bytes.next()?).ok())).collect();
        let blooms = Arc::new(blooms);
        self.keep(file.path().as_ref(), &blooms);
        Ok(blooms)
    }

    fn keep(&self, name: &str, blooms: &FileBlooms) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { by_file, bytes, asked } = &mut *kept;
        *bytes += size(blooms);
        if let Some((replaced, _)) = by_file.insert(name.to_owned(), (Arc::clone(blooms), *asked)) {
            *bytes -= size(&replaced);
        }
        while *bytes > self.bytes_max {
            let oldest = by_file.iter().min_by_key(|(_, (_, asked))| *asked).map(|(name, _)| name.clone());
            let Some((forgotten, _)) = oldest.and_then(|name| by_file.remove(&name)) else { break };
            *bytes -= size(&forgotten);
        }
    }
}

/// Returns the bytes of the filters; a block has 32.
fn size(blooms: &FileBlooms) -> usize {
    let bits: usize = blooms.iter().flatten().map(|bloom| bloom.num_blocks() * 32).sum();
    bits + size_of_val(blooms.as_slice()) + size_of::<FileBlooms>()
}
