//! Reads a data folder: the segments, and the log for what is not in them. Opening the store and the read-only reader
//! use it; it writes nothing.
//!
//! Exactly once: the log's records of a table up to its newest readable segment are in segments and not taken into
//! memory again. Segments are listed before the log is read, because a daemon that seals in between keeps the log
//! files of one more seal.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use collector_table::TableName;

use crate::log::{self, ClosedFile, Record, Records};
use crate::memory::MemoryTable;
use crate::recent::{RecentRequests, fingerprint};
use crate::revisions::{self, FIRST_REVISION, Id, Revisions};
use crate::segment::{self, Segment, io_error};
use crate::snapshot::{PerTable, place};
use crate::{Committed, Recovery, StoreError};

/// Name of the folder with the log, below the data folder.
pub(crate) const LOG_FOLDER: &str = "wal";

/// Revisions that segments hold already although the log that they came from is still there.
pub(crate) type Known = HashMap<Id, u32>;

/// One table as found.
#[derive(Default)]
pub(crate) struct FoundTable {
    pub(crate) memory: MemoryTable,
    pub(crate) segments: Vec<Segment>,
    pub(crate) unreadable: Vec<PathBuf>,
    pub(crate) known: Known,
}

impl FoundTable {
    /// Returns up to where the table is in segments.
    pub(crate) fn sealed_to(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.to_seq)
    }
}

/// A data folder as found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) tables: PerTable<FoundTable>,
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
    dir: &Path,
    mut replay: impl FnMut(u8, &[u8]) -> Option<(TableName, RecordBatch)>,
) -> Result<Found, StoreError> {
    let mut found = Found { next_seq: 1, ..Found::default() };
    for table in TableName::ALL {
        let (segments, unreadable) = segment::list(dir, table)?;
        found.report.segments += segments.len();
        found.report.segments_unreadable += unreadable.len();
        let entry = &mut found.tables[place(table)];
        (entry.segments, entry.unreadable) = (segments, unreadable);
        found.next_seq = found.next_seq.max(entry.sealed_to() + 1);
    }
    let files = list_log(&dir.join(LOG_FOLDER))?;
    found.read_revisions(dir, files.first().map(|(first_seq, _)| *first_seq))?;
    for (first_seq, path) in files {
        found.read_log(first_seq, path, &mut replay)?;
    }
    Ok(found)
}

fn list_log(folder: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    match log::list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        files => files.map_err(|source| io_error("reading", folder, source)),
    }
}

impl Found {
    /// Notes which transactions were revised, and which revisions a replay of the log would derive again.
    fn read_revisions(&mut self, dir: &Path, log_from: Option<u64>) -> Result<(), StoreError> {
        for table in TableName::ALL.into_iter().filter(|table| revisions::is_revised(*table)) {
            let entry = &mut self.tables[place(table)];
            for segment in &entry.segments {
                let is_in_log = log_from.is_some_and(|first_seq| segment.to_seq >= first_seq);
                let revision_min = if is_in_log { FIRST_REVISION } else { FIRST_REVISION + 1 };
                for (id, revision) in segment::revisions(dir, segment, revision_min)? {
                    self.revisions.note(id, revision);
                    if is_in_log {
                        let highest = entry.known.entry(id).or_default();
                        *highest = revision.max(*highest);
                    }
                }
            }
        }
        Ok(())
    }

    fn read_log(
        &mut self,
        first_seq: u64,
        path: PathBuf,
        replay: &mut impl FnMut(u8, &[u8]) -> Option<(TableName, RecordBatch)>,
    ) -> Result<(), StoreError> {
        let bytes = match fs::read(&path) {
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
        self.log_files.push(ClosedFile { path, last_seq, bytes });
        Ok(())
    }

    fn take(&mut self, record: Record<'_>, replay: &mut impl FnMut(u8, &[u8]) -> Option<(TableName, RecordBatch)>) {
        let Some((table, rows)) = replay(record.kind, record.payload) else {
            self.report.undecodable += 1;
            return;
        };
        let request = fingerprint(record.kind, record.payload, table, &rows);
        if request.is_some_and(|request| !self.recent.insert(request)) {
            self.report.duplicates += 1;
            return;
        }
        let entry = &mut self.tables[place(table)];
        if record.seq <= entry.sealed_to() {
            self.report.already_sealed += 1;
        } else if rows.schema() == table.schema() && entry.memory.push(rows.clone()).is_ok() {
            self.report.replayed += 1;
        } else {
            self.report.undecodable += 1;
            return;
        }
        self.replays.push(Committed { table, rows, is_replay: true });
    }
}
