//! Merges segments into one file. Large row groups are copied as they are, with their indexes and Bloom filters, which
//! costs hardly more than reading them; small ones are encoded anew, together. Rows of rollups with the same key are
//! added up. Memory: one column of one row group, or one row group that is being encoded.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Acquire;

use arrow::array::RecordBatch;
use collector_table::TableName;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::ChunkReader;

use crate::files::Files;
use crate::layout;
use crate::output::Output;
use crate::rollup;
use crate::segment::{self, Segment, SeqRange};
use crate::{StoreError, TRACES};

/// Row groups with less than this part of what they may have are encoded anew. What a busy daemon seals is larger,
/// whatever its share of memory.
const COPIED_PART_MIN: usize = 8;
/// Rollups with more rows are copied as well: their keys repeat hardly ever by then.
const ADDED_ROWS_MAX: u64 = 262_144;
/// Rows that are decoded at once.
const BATCH_ROWS: usize = 8_192;

/// Writes and publishes the file that holds what these neighbours hold. Returns nothing if it was told to stop.
///
/// # Errors
/// When a file is unreadable or the disk refuses; then nothing has changed.
pub(crate) fn merge(
    files: &Files,
    table: TableName,
    inputs: &[Arc<Segment>],
    is_stopping: &AtomicBool,
) -> std::result::Result<Option<Segment>, StoreError> {
    let _told = tracing::info_span!(target: TRACES, "merge", table = table.as_str(), files = inputs.len()).entered();
    let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else { return Ok(None) };
    let name = segment::name(table, first.kept, SeqRange { from: first.seqs.from, to: last.seqs.to });
    let failed = segment::in_segment(files, &name);
    let schema = layout::union(table, inputs.iter().map(|segment| &segment.schema));
    let rows: u64 = inputs.iter().map(|segment| segment.rows).sum();
    let mut output = Output::new(files.stage(&name)?, table, Arc::clone(&schema)).map_err(&failed)?;
    if is_rollup(table) && rows <= ADDED_ROWS_MAX {
        let mut batches = Vec::new();
        for segment in inputs {
            batches.extend(read(files, segment).map_err(segment::in_segment(files, &segment.name))?);
        }
        let added = rollup::merge(table, &batches).map_err(|source| StoreError::Rollup { source })?;
        output.encode(added.columns()).map_err(&failed)?;
    } else {
        for segment in inputs {
            output.keys_in_rest().add_those_of(&segment.schema, &schema);
            let copied = copy(files, segment, &mut output, is_stopping);
            if !copied.map_err(segment::in_segment(files, &segment.name))? {
                return Ok(None);
            }
        }
    }
    let staged = files.complete(output.finish().map_err(&failed)?)?;
    files.publish(&staged)?;
    Segment::open(files, table, &name, files.size(&name)?).map(Some)
}

fn is_rollup(table: TableName) -> bool {
    matches!(table, TableName::Red | TableName::Dependencies)
}

fn read(files: &Files, segment: &Segment) -> Result<Vec<RecordBatch>> {
    let bytes = segment.reader(files).get_bytes(0, usize::try_from(segment.bytes).unwrap_or(usize::MAX))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.with_batch_size(BATCH_ROWS).build()?;
    reader.map(|batch| batch.map_err(ParquetError::from)).collect()
}

/// Adds a segment, row group by row group. Returns false if it was told to stop.
fn copy(files: &Files, segment: &Segment, output: &mut Output, is_stopping: &AtomicBool) -> Result<bool> {
    let reader = segment.reader(files);
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&reader, options)?;
    let copied_rows_min = layout::row_group_rows_max(segment.table) / COPIED_PART_MIN;
    for group in 0..metadata.metadata().num_row_groups() {
        if is_stopping.load(Acquire) {
            return Ok(false);
        }
        let rows = metadata.metadata().row_group(group).num_rows();
        if usize::try_from(rows).is_ok_and(|rows| rows >= copied_rows_min) {
            output.copy_group(&reader, metadata.metadata(), group)?;
            continue;
        }
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(reader.clone(), metadata.clone());
        for batch in builder.with_row_groups(vec![group]).with_batch_size(BATCH_ROWS).build()? {
            output.encode(&layout::with_all_columns(&batch?, output.schema())?)?;
        }
    }
    Ok(true)
}
