//! Segments: immutable Parquet files, `spans/spans-{from_seq}-{to_seq}.parquet`, that any Parquet reader can glob. The
//! name says which requests a file covers; a file whose range lies within another's was merged into that one. Rows kept
//! as evidence after their segment expired stand in `spans/spans-evidence-{from_seq}-{to_seq}.parquet`.
//! Seals, compaction and retention write them, recovery lists them, queries read them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use collector_table::TableName;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use crate::StoreError;
use crate::files::{FileReader, Files};
use crate::revisions::{self, Id};

/// Suffix of a segment that could not be read: kept for a person to look at, out of the way of globs.
const UNREADABLE: &str = "unreadable";
const EVIDENCE: &str = "evidence-";
/// Times that a folder is listed again because a running daemon removed what was listed.
const LISTINGS_MAX: usize = 16;

/// Why a segment is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Until ordinary retention ends.
    Ordinarily,
    /// As evidence, after ordinary retention.
    AsEvidence,
}

/// First and last sequence number of the requests that a segment covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeqRange {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl SeqRange {
    /// Returns whether the other range lies within this one.
    pub(crate) fn covers(self, other: Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }
}

/// A segment file.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) table: TableName,
    pub(crate) kept: Kept,
    /// Path below the data folder.
    pub(crate) name: String,
    pub(crate) seqs: SeqRange,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Earliest and latest event time, Unix nanoseconds.
    pub(crate) time_range: Option<(i64, i64)>,
    /// Columns of the file: those of the table, then the promoted attributes.
    pub(crate) schema: SchemaRef,
}

/// The segments of a table as found.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// By sequence; no range overlaps another.
    pub(crate) segments: Vec<Segment>,
    /// Files that were merged into others.
    pub(crate) superseded: Vec<String>,
    /// Files that are named like segments and cannot be read.
    pub(crate) unreadable: Vec<String>,
}

/// Returns the name of the segment with these requests.
pub(crate) fn name(table: TableName, kept: Kept, seqs: SeqRange) -> String {
    let kept = if kept == Kept::AsEvidence { EVIDENCE } else { "" };
    format!("{table}/{table}-{kept}{:020}-{:020}.parquet", seqs.from, seqs.to)
}

fn parse_name(table: TableName, name: &str) -> Option<(Kept, SeqRange)> {
    let rest = name.strip_prefix(&format!("{table}/{table}-"))?.strip_suffix(".parquet")?;
    let (kept, rest) = match rest.strip_prefix(EVIDENCE) {
        Some(rest) => (Kept::AsEvidence, rest),
        None => (Kept::Ordinarily, rest),
    };
    let (from, to) = rest.split_once('-')?;
    Some((kept, SeqRange { from: from.parse().ok()?, to: to.parse().ok()? }))
}

impl Segment {
    /// Reads what the file's name and footer say.
    ///
    /// # Errors
    /// [`StoreError::Segment`] if it is not a readable segment of this table.
    pub(crate) fn open(files: &Files, table: TableName, name: &str, bytes: u64) -> Result<Self, StoreError> {
        let (kept, seqs) = parse_name(table, name).ok_or_else(|| StoreError::Segment {
            path: files.path(name),
            source: parquet::errors::ParquetError::General("not the name of a segment".to_owned()),
        })?;
        let metadata = metadata(files, name, bytes, PageIndexPolicy::Skip)?;
        let schema = parquet_to_arrow_schema(
            metadata.file_metadata().schema_descr(),
            metadata.file_metadata().key_value_metadata(),
        )
        .map_err(in_segment(files, name))?;
        Ok(Self {
            table,
            kept,
            name: name.to_owned(),
            seqs,
            bytes,
            rows: u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0),
            time_range: time_range(&metadata, table.time_column()),
            schema: Arc::new(schema),
        })
    }

    /// Returns a reader of parts of the file.
    pub(crate) fn reader(&self, files: &Files) -> FileReader {
        files.reader(&self.name, self.bytes)
    }
}

/// Reads the footer of a segment, with the indexes of its pages where they are wanted.
pub(crate) fn metadata(
    files: &Files,
    name: &str,
    bytes: u64,
    pages: PageIndexPolicy,
) -> Result<ParquetMetaData, StoreError> {
    let reader = files.reader(name, bytes);
    let read = ParquetMetaDataReader::new().with_page_index_policy(pages).parse_and_finish(&reader);
    read.map_err(in_segment(files, name))
}

/// Returns the segments of a table.
///
/// # Errors
/// If the folder cannot be listed or a file cannot be opened. A file that is no Parquet is none.
pub(crate) fn list(files: &Files, table: TableName) -> Result<Listing, StoreError> {
    for _ in 1..LISTINGS_MAX {
        match list_once(files, table) {
            // A daemon that runs on this folder has merged or expired it since.
            Err(error) if error.is_not_found() => {}
            listing => return listing,
        }
    }
    list_once(files, table)
}

fn list_once(files: &Files, table: TableName) -> Result<Listing, StoreError> {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for (name, bytes) in files.list(table.as_str())? {
        if parse_name(table, &name).is_none() {
            continue;
        }
        match Segment::open(files, table, &name, bytes) {
            Err(StoreError::Segment { source, .. }) if !is_not_found(&source) => {
                tracing::error!(name, error = %source, "reading a segment: it is left out");
                unreadable.push(name);
            }
            segment => found.push(segment?),
        }
    }
    let (segments, superseded) = without_superseded(found);
    Ok(Listing { segments, superseded, unreadable })
}

/// Takes out what was merged into another file, or was kept as evidence, by a step that then was interrupted.
fn without_superseded(mut found: Vec<Segment>) -> (Vec<Segment>, Vec<String>) {
    // Wide ranges first, and evidence before what it was taken from.
    found.sort_by_key(|segment| {
        (segment.seqs.from, std::cmp::Reverse(segment.seqs.to), segment.kept == Kept::Ordinarily)
    });
    let (mut segments, mut superseded): (Vec<Segment>, Vec<String>) = (Vec::new(), Vec::new());
    for segment in found {
        match segments.last() {
            Some(last) if last.seqs.covers(segment.seqs) => superseded.push(segment.name),
            _ => segments.push(segment),
        }
    }
    (segments, superseded)
}

/// Removes what steps that did not finish left, and moves unreadable segments out of the way of globs.
pub(crate) fn tidy(files: &Files, table: TableName, listing: &Listing) -> Result<(), StoreError> {
    for name in &listing.unreadable {
        files.rename(name, &format!("{}.{UNREADABLE}", name.trim_end_matches(".parquet")))?;
    }
    for name in &listing.superseded {
        files.remove(name)?;
    }
    files.tidy(table.as_str())
}

/// Returns id and revision of the transactions that were revised, and perhaps of others; only the parts of the file
/// that can hold such rows are read.
pub(crate) fn revised(files: &Files, segment: &Segment) -> Result<Vec<(Id, u32)>, StoreError> {
    let failed = in_segment(files, &segment.name);
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(segment.reader(files), options);
    let builder = builder.map_err(&failed)?;
    let can_hold = |group: &usize| {
        let highest = highest_revision(builder.metadata().row_group(*group));
        highest.is_none_or(|highest| highest > revisions::FIRST_REVISION)
    };
    let groups: Vec<usize> = (0..builder.metadata().num_row_groups()).filter(can_hold).collect();
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let columns = ProjectionMask::columns(builder.parquet_schema(), ["transaction_id", "revision"]);
    let reader = builder.with_projection(columns).with_row_groups(groups).build().map_err(&failed)?;
    let mut found = Vec::new();
    for batch in reader {
        found.extend(revisions::rows_of(&batch.map_err(|error| failed(error.into()))?));
    }
    Ok(found)
}

/// Returns how to tell in which segment something went wrong.
pub(crate) fn in_segment(files: &Files, name: &str) -> impl Fn(parquet::errors::ParquetError) -> StoreError {
    let path = files.path(name);
    move |source| StoreError::Segment { path: path.clone(), source }
}

pub(crate) fn io_error(doing: &'static str, path: &std::path::Path, source: std::io::Error) -> StoreError {
    StoreError::Io { doing, path: path.to_owned(), source }
}

fn is_not_found(error: &parquet::errors::ParquetError) -> bool {
    match error {
        parquet::errors::ParquetError::External(cause) => cause
            .downcast_ref::<object_store::Error>()
            .is_some_and(|cause| matches!(cause, object_store::Error::NotFound { .. })),
        _ => false,
    }
}

impl StoreError {
    /// Returns whether a file was gone.
    pub(crate) fn is_not_found(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Self::Segment { source, .. } => is_not_found(source),
            _ => false,
        }
    }
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

/// The segments of a table, shared with snapshots.
pub(crate) fn shared(segments: Vec<Segment>) -> Arc<Vec<Arc<Segment>>> {
    Arc::new(segments.into_iter().map(Arc::new).collect())
}
