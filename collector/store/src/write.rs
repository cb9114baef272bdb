//! Segments from rows: those in memory, at a seal, and those of another segment that are kept as evidence.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::error::ArrowError;
use collector_table::{TableName, TraceId};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::PageIndexPolicy;

use crate::StoreError;
use crate::files::{Files, Sink, Staged};
use crate::gather::Gather;
use crate::layout;
use crate::output::Output;
use crate::promote::Promoted;
use crate::rollup;
use crate::segment::{self, Kept, Segment, SeqRange};

/// Rows that are brought into the form of a segment at once.
const CHUNK_ROWS: usize = 16_384;

/// Writes rows in memory form, durably, but not yet under the segment's name.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn memory_rows(
    files: &Files,
    table: TableName,
    seqs: SeqRange,
    batches: &[RecordBatch],
    promoted: &Promoted,
) -> std::result::Result<Staged, StoreError> {
    let name = segment::name(table, Kept::Ordinarily, seqs);
    let sink = files.stage(&name)?;
    let written = if layout::has_attributes(table) {
        write_gathered(sink, table, batches, promoted)
    } else {
        write_sorted(sink, table, batches)
    };
    files.complete(written.map_err(segment::in_segment(files, &name))?)
}

fn write_gathered(sink: Sink, table: TableName, batches: &[RecordBatch], promoted: &Promoted) -> Result<Sink> {
    let mut gather = Gather::new(table, batches, promoted);
    let mut output = Output::new(sink, table, layout::schema(table, promoted))?;
    for from in (0..gather.rows()).step_by(CHUNK_ROWS) {
        let to = (from + CHUNK_ROWS).min(gather.rows());
        output.encode_columns(&gather.columns(from..to)?)?;
    }
    output.keys_in_rest().add(gather.keys_in_rest());
    output.finish()
}

fn write_sorted(sink: Sink, table: TableName, batches: &[RecordBatch]) -> Result<Sink> {
    let rows = match table {
        TableName::Dependencies => rollup::merge(table, batches)?,
        _ => concat_batches(&table.memory_schema(), batches)?,
    };
    let by = rows.column_by_name(table.time_column());
    let order = by.map(|times| sort_to_indices(times, None, None)).transpose()?;
    let rows = order.map_or(Ok(rows.clone()), |order: UInt32Array| take_record_batch(&rows, &order))?;
    let mut output = Output::new(sink, table, table.memory_schema())?;
    output.encode(rows.columns())?;
    output.finish()
}

/// Writes and publishes the rows of a segment that belong to these traces, if there are any.
///
/// # Errors
/// When the segment is unreadable or the disk refuses.
pub(crate) fn evidence(
    files: &Files,
    from: &Segment,
    traces: &HashSet<TraceId>,
) -> std::result::Result<Option<Segment>, StoreError> {
    let rows = rows_of(files, from, traces).map_err(segment::in_segment(files, &from.name))?;
    if rows.iter().all(|rows| rows.num_rows() == 0) {
        return Ok(None);
    }
    let name = segment::name(from.table, Kept::AsEvidence, from.seqs);
    let write = |sink| -> Result<Sink> {
        let schema = layout::union(from.table, std::iter::once(&from.schema));
        let mut output = Output::new(sink, from.table, Arc::clone(&schema))?;
        output.keys_in_rest().add_those_of(&from.schema, &schema);
        for rows in rows {
            output.encode(&layout::with_all_columns(&rows, &schema)?)?;
        }
        output.finish()
    };
    let written = write(files.stage(&name)?).map_err(segment::in_segment(files, &name))?;
    files.publish(&files.complete(written)?)?;
    Segment::open(files, from.table, &name, files.size(&name)?).map(Some)
}

/// Reads only the columns of ids of what has none of these traces.
fn rows_of(files: &Files, segment: &Segment, traces: &HashSet<TraceId>) -> Result<Vec<RecordBatch>> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(segment.reader(files), options)?;
    let ids = ProjectionMask::columns(builder.parquet_schema(), ["trace_id"]);
    let traces = traces.clone();
    let is_evidence = move |ids: RecordBatch| -> std::result::Result<BooleanArray, ArrowError> {
        let ids = ids.column(0).as_fixed_size_binary();
        Ok(ids.iter().map(|id| Some(id.and_then(TraceId::from_otlp).is_some_and(|id| traces.contains(&id)))).collect())
    };
    let filter = parquet::arrow::arrow_reader::ArrowPredicateFn::new(ids, is_evidence);
    let filter = parquet::arrow::arrow_reader::RowFilter::new(vec![Box::new(filter)]);
    let reader = builder.with_row_filter(filter).with_batch_size(CHUNK_ROWS).build()?;
    reader.map(|batch| batch.map_err(ParquetError::from)).collect()
}
