//! One seal: everything that was in memory at one moment becomes segments. The writer starts it on a thread of its own
//! and goes on committing; a failed one is run again with the same rows and the same names.
//!
//! Order: write and sync all files under temporary names, then rename one after the other, then (the writer) publish a
//! snapshot and remove old logs. A crash in between leaves some tables sealed and others not, so recovery decides for
//! each table by its own segments; what is computed from a table is published before it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use collector_table::TableName;

use crate::files::{Files, Staged};
use crate::memory::{MemoryTable, Rows};
use crate::promote::Promoted;
use crate::rollup;
use crate::segment::{Segment, SeqRange};
use crate::snapshot::{PerTable, place};
use crate::write;
use crate::{StoreError, TRACES};

/// Tables in the order in which their files are published.
const PUBLISHED: [TableName; TableName::ALL.len()] = [
    TableName::Red,
    TableName::Dependencies,
    TableName::Metrics,
    TableName::Logs,
    TableName::Spans,
    TableName::Transactions,
];

/// The rows of one table that are sealed together.
pub(crate) struct Part {
    pub(crate) table: TableName,
    pub(crate) seqs: SeqRange,
    pub(crate) memory: MemoryTable,
}

/// What one seal writes.
pub(crate) struct Seal {
    /// Number of the seal: later than every request in it, earlier than every one after it. Nothing for rows of an
    /// unreadable segment, which are earlier than others that are sealed.
    pub(crate) seq: Option<u64>,
    pub(crate) parts: Vec<Part>,
}

/// What a seal wrote.
pub(crate) struct Sealed {
    pub(crate) segments: Vec<Segment>,
    /// The attributes with columns of their own, more of them than before.
    pub(crate) promoted: PerTable<Arc<Promoted>>,
}

impl Seal {
    /// Returns the rows of a table.
    pub(crate) fn rows(&self, table: TableName) -> Rows {
        let parts = self.parts.iter().filter(|part| part.table == table);
        parts.fold(Rows::default(), |rows, part| rows.followed_by(part.memory.rows()))
    }

    /// Returns the memory of all rows.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.memory.bytes()).sum()
    }

    /// Writes and publishes the segments.
    ///
    /// # Errors
    /// When the disk refuses. Segments that were published by then stay; running it again replaces them by themselves.
    pub(crate) fn run(
        &self,
        files: &Files,
        promoted: &PerTable<Arc<Promoted>>,
        promoted_max: usize,
    ) -> Result<Sealed, StoreError> {
        let _told = tracing::info_span!(target: TRACES, "seal", bytes = self.bytes()).entered();
        let mut promoted = promoted.clone();
        let mut staged: Vec<(TableName, Staged)> = Vec::new();
        for Part { table, seqs, memory } in &self.parts {
            let batches = memory.rows().to_vec();
            let known = &mut promoted[place(*table)];
            let learned = known.learn(*table, &batches, promoted_max);
            *known = Arc::new(learned);
            staged.push((*table, write::memory_rows(files, *table, *seqs, &batches, known)?));
            if *table == TableName::Spans {
                staged.push((TableName::Red, write_red(files, *seqs, &batches)?));
            }
        }
        let mut segments = Vec::new();
        for table in PUBLISHED {
            for (_, file) in staged.iter().filter(|(name, _)| *name == table) {
                files.publish(file)?;
                let bytes = files.size(file.name())?;
                segments.push(Segment::open(files, table, file.name(), bytes)?);
            }
        }
        Ok(Sealed { segments, promoted })
    }
}

fn write_red(files: &Files, seqs: SeqRange, spans: &[RecordBatch]) -> Result<Staged, StoreError> {
    let rows = rollup::red(spans).map_err(|source| StoreError::Rollup { source })?;
    write::memory_rows(files, TableName::Red, seqs, &[rows], &Promoted::default())
}
