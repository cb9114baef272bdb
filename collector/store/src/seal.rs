//! One seal: everything that was in memory at one moment becomes segments. The writer starts it on a thread of its own
//! and goes on committing; a failed one is run again with the same rows and the same names.
//!
//! Order: write and sync all files under temporary names, then rename one after the other, then (the writer) publish a
//! snapshot and remove old logs. A crash in between leaves some tables sealed and others not, so recovery decides for
//! each table by its own segments.

use std::path::Path;

use arrow::array::RecordBatch;
use collector_table::TableName;

use crate::StoreError;
use crate::disk::Disk;
use crate::segment::{self, Segment};

/// The rows of one table that are sealed together.
pub(crate) struct Part {
    pub(crate) table: TableName,
    pub(crate) from_seq: u64,
    pub(crate) batches: Vec<RecordBatch>,
}

/// What one seal writes.
pub(crate) struct Seal {
    /// Number of the seal: later than every request in it, earlier than every one after it.
    pub(crate) seq: u64,
    pub(crate) parts: Vec<Part>,
    pub(crate) bytes: usize,
}

impl Seal {
    /// Returns the rows of a table.
    pub(crate) fn batches(&self, table: TableName) -> &[RecordBatch] {
        self.parts.iter().find(|part| part.table == table).map_or(&[], |part| &part.batches)
    }

    /// Writes and publishes the segments.
    ///
    /// # Errors
    /// When the disk refuses. Segments that were published by then stay; running it again replaces them by themselves.
    pub(crate) fn run(&self, disk: &dyn Disk, dir: &Path) -> Result<Vec<Segment>, StoreError> {
        let mut unpublished = Vec::new();
        for part in &self.parts {
            let seqs = (part.from_seq, self.seq);
            unpublished.push(segment::write(disk, dir, part.table, seqs, &part.batches)?);
        }
        unpublished.iter().map(|segment| segment::publish(disk, dir, segment)).collect()
    }
}
