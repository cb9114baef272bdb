//! Reads a data folder: the segments, and the log for what is not in them. Opening the store and the read-only reader
//! use it; it writes nothing.
//!
//! Exactly once: a request of the log that a readable segment of its table covers is not taken into memory again.
//! Segments are listed before the log is read, because a daemon that seals in between keeps the log files of one more
//! seal. Every footer is read, which compaction keeps to a few hundred.

use std::io;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use collector_table::TableName;

use crate::disk::Disk;
use crate::files::Files;
use crate::log::{self, ClosedFile, Record, Records};
use crate::memory::MemoryTable;
use crate::recent::{Fingerprints, RecentRequests};
use crate::revisions::{self, Revisions};
use crate::seal::{Part, Seal};
use crate::segment::{self, Listing, Segment, SeqRange, io_error};
use crate::snapshot::{PerTable, place};
use crate::{Committed, Recovery, StoreError};

/// Name of the folder with the log, below the data folder.
pub(crate) const LOG_FOLDER: &str = "wal";

/// Tables whose rows are computed from those of another one, and published before them.
const COMPANIONS: [(TableName, TableName); 2] =
    [(TableName::Red, TableName::Spans), (TableName::Dependencies, TableName::Transactions)];

/// One table as found.
#[derive(Default)]
pub(crate) struct FoundTable {
    /// Rows later than every segment.
    pub(crate) memory: MemoryTable,
    pub(crate) listing: Listing,
    /// Rows between segments, where an unreadable one was, by the range of sequence numbers that it had.
    pub(crate) gaps: Vec<(SeqRange, Vec<RecordBatch>)>,
}

impl FoundTable {
    /// Returns up to where the table is in segments.
    pub(crate) fn sealed_to(&self) -> u64 {
        self.listing.segments.last().map_or(0, |segment| segment.seqs.to)
    }

    /// Returns the segment that covers this number, or else the gap between two of them, or nothing after the last.
    fn find(&self, seq: u64) -> Place {
        let after = self.listing.segments.partition_point(|segment| segment.seqs.to < seq);
        let before = after.checked_sub(1).map_or(0, |index| self.listing.segments[index].seqs.to);
        match self.listing.segments.get(after) {
            Some(segment) if segment.seqs.from <= seq => Place::Sealed,
            Some(segment) => Place::Gap(SeqRange { from: before + 1, to: segment.seqs.from - 1 }),
            None => Place::Memory,
        }
    }

    fn push_to_gap(&mut self, seqs: SeqRange, rows: RecordBatch) {
        match self.gaps.iter_mut().find(|(gap, _)| *gap == seqs) {
            Some((_, batches)) => batches.push(rows),
            None => self.gaps.push((seqs, vec![rows])),
        }
    }
}

/// Where the rows of a logged request belong.
enum Place {
    Sealed,
    Gap(SeqRange),
    Memory,
}

/// A data folder as found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) tables: PerTable<FoundTable>,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) recent: RecentRequests,
    pub(crate) revisions: Revisions,
    pub(crate) log_files: Vec<ClosedFile>,
    pub(crate) next_seq: u64,
    /// Everything in the log in order, for the analysis.
    pub(crate) replays: Vec<Committed>,
    pub(crate) report: Recovery,
}

/// Reads the folder. `replay` decodes a logged payload by its kind.
pub(crate) fn read(
    files: &Files,
    disk: &dyn Disk,
    mut replay: impl FnMut(u8, &[u8]) -> Option<(TableName, RecordBatch)>,
) -> Result<Found, StoreError> {
    let mut found = Found { next_seq: 1, ..Found::default() };
    for table in TableName::ALL {
        found.tables[place(table)].listing = segment::list(files, table)?;
    }
    let log_files = list_log(files, disk)?;
    if let Some((log_from, _)) = log_files.first() {
        found.leave_out_orphans(*log_from);
    }
    for table in &found.tables {
        found.report.segments += table.listing.segments.len();
        found.report.segments_unreadable += table.listing.unreadable.len();
        found.next_seq = found.next_seq.max(table.sealed_to() + 1);
    }
    found.read_revisions(files)?;
    for (first_seq, path) in log_files {
        found.read_log(disk, first_seq, path, &mut replay)?;
    }
    Ok(found)
}

fn list_log(files: &Files, disk: &dyn Disk) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let folder = files.path(LOG_FOLDER);
    match log::list(disk, &folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        files => files.map_err(|source| io_error("reading", &folder, source)),
    }
}

impl Found {
    /// Returns the number of the first request that is still in the log.
    pub(crate) fn log_from(&self) -> u64 {
        self.log_files.iter().map(|file| file.first_seq).min().unwrap_or(self.next_seq)
    }

    /// Leaves out what a seal had published before it was interrupted, for rows that are not sealed but will be
    /// computed again: their sources are in the log.
    fn leave_out_orphans(&mut self, log_from: u64) {
        for (companion, source) in COMPANIONS {
            let sealed_to = self.tables[place(source)].sealed_to();
            let listing = &mut self.tables[place(companion)].listing;
            let is_orphan = |segment: &Segment| segment.seqs.from > sealed_to && segment.seqs.to >= log_from;
            listing.superseded.extend(listing.segments.iter().filter(|it| is_orphan(it)).map(|it| it.name.clone()));
            listing.segments.retain(|segment| !is_orphan(segment));
        }
    }

    /// Notes which transactions were revised.
    fn read_revisions(&mut self, files: &Files) -> Result<(), StoreError> {
        for table in TableName::ALL.into_iter().filter(|table| revisions::is_revised(*table)) {
            for segment in &self.tables[place(table)].listing.segments {
                for (id, revision) in segment::revised(files, segment)? {
                    self.revisions.note(id, revision);
                }
            }
        }
        Ok(())
    }

    /// Returns the rows that belong between segments, as a seal that has to be run first.
    pub(crate) fn take_gaps(&mut self) -> Option<Seal> {
        let mut parts = Vec::new();
        for table in TableName::ALL {
            for (seqs, batches) in std::mem::take(&mut self.tables[place(table)].gaps) {
                let mut memory = MemoryTable::default();
                for rows in batches {
                    let bytes = rows.get_array_memory_size();
                    memory.push(rows, bytes);
                }
                parts.push(Part { table, seqs, memory });
            }
        }
        (!parts.is_empty()).then_some(Seal { seq: None, parts })
    }

    fn read_log(
        &mut self,
        disk: &dyn Disk,
        first_seq: u64,
        path: PathBuf,
        replay: &mut impl FnMut(u8, &[u8]) -> Option<(TableName, RecordBatch)>,
    ) -> Result<(), StoreError> {
        let bytes = match disk.read(&path) {
            // Removed since it was listed: all of it is in segments.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            bytes => bytes.map_err(|source| io_error("reading", &path, source))?,
        };
        let mut records = Records::new(&bytes, first_seq);
        let mut last_seq = first_seq;
        for record in records.by_ref() {
            last_seq = record.seq;
            self.take(record, replay);
        }
        self.report.damaged += records.damaged();
        self.next_seq = self.next_seq.max(last_seq + 1);
        let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.log_files.push(ClosedFile { path, first_seq, last_seq, bytes });
        Ok(())
    }

    fn take(&mut self, record: Record<'_>, replay: &mut impl FnMut(u8, &[u8]) -> Option<(TableName, RecordBatch)>) {
        let decoded = replay(record.kind, record.payload);
        let Some((table, rows)) = decoded.filter(|(table, rows)| rows.schema() == table.memory_schema()) else {
            self.report.undecodable += 1;
            return;
        };
        let request = self.fingerprints.of(record.kind, record.payload, table, &rows);
        if request.is_some_and(|request| !self.recent.insert(request)) {
            self.report.duplicates += 1;
            return;
        }
        let entry = &mut self.tables[place(table)];
        match entry.find(record.seq) {
            Place::Sealed => self.report.already_sealed += 1,
            Place::Gap(seqs) => {
                self.report.replayed += 1;
                entry.push_to_gap(seqs, rows.clone());
            }
            Place::Memory => {
                self.report.replayed += 1;
                entry.memory.push(rows.clone(), rows.get_array_memory_size());
            }
        }
        self.replays.push(Committed { table, rows, is_replay: true });
    }
}
