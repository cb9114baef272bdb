//! Segments: immutable Parquet files, `spans/spans-{from_seq}-{to_seq}.parquet`, that any Parquet reader can glob.
//! The seal writes them, recovery lists them, queries read them through object_store.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use collector_table::TableName;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;

use crate::StoreError;
use crate::disk::{Disk, DiskFile};
use crate::revisions::{self, Id};

const ROW_GROUP_ROWS_MAX: usize = 65_536;
/// Small pages, so that looking one trace up decodes few rows.
const PAGE_ROWS_MAX: usize = 4_096;
/// Rows are sorted in parts of this size, which bounds the copy that sorting makes.
const SORT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Suffix of a segment that could not be read: kept for a person to look at, out of the way of globs.
const UNREADABLE: &str = "unreadable";

/// A segment file.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) table: TableName,
    /// Path below the data folder.
    pub(crate) name: String,
    pub(crate) to_seq: u64,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Earliest and latest event time, Unix nanoseconds.
    pub(crate) time_range: Option<(i64, i64)>,
}

/// A segment whose bytes are durable under a temporary name.
pub(crate) struct Unpublished {
    table: TableName,
    temporary: PathBuf,
    path: PathBuf,
}

impl Segment {
    /// Reads what the file's name and footer say.
    pub(crate) fn open(dir: &Path, table: TableName, path: &Path, to_seq: u64) -> Result<Self, StoreError> {
        let in_segment = |source| StoreError::Segment { path: path.to_owned(), source };
        let file = File::open(path).map_err(|source| io_error("opening", path, source))?;
        let bytes = file.metadata().map_err(|source| io_error("reading", path, source))?.len();
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(in_segment)?;
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        let name = path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned();
        Ok(Self { table, name, to_seq, bytes, rows, time_range: time_range(&metadata, table.time_column()) })
    }
}

/// Writes rows to a temporary file and syncs it. Publishing is a step of its own so that a seal first writes all tables.
pub(crate) fn write(
    disk: &dyn Disk,
    dir: &Path,
    table: TableName,
    seqs: (u64, u64),
    batches: &[RecordBatch],
) -> Result<Unpublished, StoreError> {
    let folder = dir.join(table.as_str());
    let name = format!("{table}-{:020}-{:020}.parquet", seqs.0, seqs.1);
    let temporary = folder.join(format!(".{name}.tmp"));
    let path = folder.join(name);
    let in_segment = |source| StoreError::Segment { path: path.clone(), source };
    let file = disk.create(&temporary).map_err(|source| io_error("creating", &temporary, source))?;
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut writer =
        ArrowWriter::try_new(Sink(file), table.schema(), Some(properties(table, rows))).map_err(in_segment)?;
    for part in parts(batches) {
        let sorted = sort(table, part).map_err(|error| in_segment(error.into()))?;
        writer.write(&sorted).map_err(in_segment)?;
    }
    let mut file = writer.into_inner().map_err(in_segment)?.0;
    file.sync().map_err(|source| io_error("syncing", &temporary, source))?;
    Ok(Unpublished { table, temporary, path })
}

/// Gives a written segment its name. Doing it again, after a failure further on, is harmless.
pub(crate) fn publish(disk: &dyn Disk, dir: &Path, unpublished: &Unpublished) -> Result<Segment, StoreError> {
    let Unpublished { table, temporary, path } = unpublished;
    disk.rename(temporary, path).map_err(|source| io_error("publishing", path, source))?;
    let folder = dir.join(table.as_str());
    disk.sync_dir(&folder).map_err(|source| io_error("syncing", &folder, source))?;
    Segment::open(dir, *table, path, to_seq(path).unwrap_or(0))
}

/// Returns the segments of a table in order, and the files that are no Parquet although they are named so.
pub(crate) fn list(dir: &Path, table: TableName) -> Result<(Vec<Segment>, Vec<PathBuf>), StoreError> {
    let folder = dir.join(table.as_str());
    let reading = |source| io_error("reading", &folder, source);
    let (mut segments, mut unreadable) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((segments, unreadable)),
        entries => entries.map_err(reading)?,
    };
    for entry in entries {
        let path = entry.map_err(reading)?.path();
        let Some(to_seq) = to_seq(&path) else { continue };
        match Segment::open(dir, table, &path, to_seq) {
            Err(StoreError::Segment { source, .. }) => {
                tracing::error!(path = %path.display(), error = %source, "reading a segment: it is left out");
                unreadable.push(path);
            }
            segment => segments.push(segment?),
        }
    }
    segments.sort_by_key(|segment| segment.to_seq);
    Ok((segments, unreadable))
}

/// Removes what a seal that did not finish left, and moves unreadable segments out of the way of globs.
pub(crate) fn tidy(dir: &Path, table: TableName, unreadable: &[PathBuf]) -> io::Result<()> {
    for path in unreadable {
        fs::rename(path, path.with_extension(UNREADABLE))?;
    }
    for entry in fs::read_dir(dir.join(table.as_str()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Returns id and revision of the rows of `transactions` or `hops` whose revision is at least `revision_min`, and
/// perhaps of others; only the parts of the file that can hold such rows are read.
pub(crate) fn revisions(dir: &Path, segment: &Segment, revision_min: u32) -> Result<Vec<(Id, u32)>, StoreError> {
    let path = dir.join(&segment.name);
    let in_segment = |source| StoreError::Segment { path: path.clone(), source };
    let file = File::open(&path).map_err(|source| io_error("opening", &path, source))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(in_segment)?;
    let groups: Vec<usize> = (0..builder.metadata().num_row_groups())
        .filter(|group| highest_revision(builder.metadata().row_group(*group)).is_none_or(|max| max >= revision_min))
        .collect();
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let columns = ProjectionMask::columns(builder.parquet_schema(), ["transaction_id", "revision"]);
    let reader = builder.with_projection(columns).with_row_groups(groups).build().map_err(in_segment)?;
    let mut found = Vec::new();
    for batch in reader {
        found.extend(revisions::rows_of(&batch.map_err(|error| in_segment(error.into()))?));
    }
    Ok(found)
}

pub(crate) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { doing, path: path.to_owned(), source }
}

/// Returns the last number in `spans-{from}-{to}.parquet`.
fn to_seq(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".parquet")?;
    name.rsplit('-').next()?.parse().ok()
}

/// Columns by which rows are sorted: traces together where there are any, else by time.
fn sort_columns(table: TableName) -> &'static [&'static str] {
    match table {
        TableName::Spans => &["trace_id", "start_time"],
        TableName::Logs => &["trace_id", "time"],
        TableName::Metrics => &["time"],
        TableName::Transactions => &["started_at"],
        TableName::Hops => &["start_time"],
    }
}

/// Id columns that are looked up by value.
fn id_columns(table: TableName) -> &'static [&'static str] {
    match table {
        TableName::Spans | TableName::Logs => &["trace_id"],
        TableName::Metrics => &[],
        TableName::Transactions => &["transaction_id"],
        TableName::Hops => &["transaction_id", "trace_id"],
    }
}

fn properties(table: TableName, rows: usize) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_data_page_row_count_limit(PAGE_ROWS_MAX)
        .set_write_batch_size(1024);
    for column in id_columns(table) {
        let column = ColumnPath::from(*column);
        let distinct = u64::try_from(rows.clamp(1, ROW_GROUP_ROWS_MAX)).unwrap_or(1);
        properties = properties
            .set_column_bloom_filter_enabled(column.clone(), true)
            .set_column_bloom_filter_max_ndv(column.clone(), distinct)
            .set_column_bloom_filter_fpp(column.clone(), 0.01)
            // A dictionary of ids that hardly repeat is all cost.
            .set_column_dictionary_enabled(column, false);
    }
    properties.build()
}

/// Cuts the batches into parts of at most [`SORT_BYTES_MAX`]; a larger single batch is a part of its own.
fn parts(batches: &[RecordBatch]) -> Vec<&[RecordBatch]> {
    let mut parts = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (index, batch) in batches.iter().enumerate() {
        let more = batch.get_array_memory_size();
        if index > from && bytes + more > SORT_BYTES_MAX {
            parts.push(&batches[from..index]);
            (from, bytes) = (index, 0);
        }
        bytes += more;
    }
    parts.push(&batches[from..]);
    parts
}

fn sort(table: TableName, batches: &[RecordBatch]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let all = concat_batches(&table.schema(), batches)?;
    let by: Vec<SortColumn> = sort_columns(table)
        .iter()
        .filter_map(|column| all.column_by_name(column))
        .map(|values| SortColumn { values: ArrayRef::clone(values), options: None })
        .collect();
    take_record_batch(&all, &lexsort_to_indices(&by, None)?)
}

fn time_range(metadata: &ParquetMetaData, column: &str) -> Option<(i64, i64)> {
    let mut range: Option<(i64, i64)> = None;
    for group in metadata.row_groups() {
        let Some(Statistics::Int64(stats)) = statistics(group, column) else { return None };
        let (min, max) = (*stats.min_opt()?, *stats.max_opt()?);
        range = Some(range.map_or((min, max), |(earliest, latest)| (earliest.min(min), latest.max(max))));
    }
    range
}

fn highest_revision(group: &RowGroupMetaData) -> Option<u32> {
    match statistics(group, "revision")? {
        // Parquet keeps an unsigned 32-bit number in the bits of a signed one.
        Statistics::Int32(stats) => stats.max_opt().map(|max| max.cast_unsigned()),
        _ => None,
    }
}

fn statistics<'a>(group: &'a RowGroupMetaData, column: &str) -> Option<&'a Statistics> {
    group.columns().iter().find(|chunk| chunk.column_path().string() == column)?.statistics()
}

/// Lets Parquet write to the store's disk.
struct Sink(Box<dyn DiskFile>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The segments of a table, shared with snapshots.
pub(crate) fn shared(segments: Vec<Segment>) -> Arc<Vec<Arc<Segment>>> {
    Arc::new(segments.into_iter().map(Arc::new).collect())
}
