//! The tables as the writer holds them: rows in memory, segments, revisions. The writer changes them and asks for
//! snapshots.

use std::sync::Arc;

use arrow::array::RecordBatch;
use collector_table::TableName;

use crate::memory::MemoryTable;
use crate::recovery::FoundTable;
use crate::revisions::{self, Revisions};
use crate::seal::{Part, Seal};
use crate::segment::{self, Segment, SeqRange};
use crate::snapshot::{PerTable, Snapshot, TableSnapshot, place};

struct Table {
    name: TableName,
    memory: MemoryTable,
    segments: Arc<Vec<Arc<Segment>>>,
    sealed_to: u64,
}

/// All tables.
pub(super) struct Tables {
    tables: PerTable<Table>,
    revisions: Revisions,
}

impl Tables {
    /// Takes over what recovery found.
    pub(super) fn new(found: PerTable<FoundTable>, revisions: Revisions) -> Self {
        let mut names = TableName::ALL.into_iter();
        let tables = found.map(|found| Table {
            name: names.next().expect("there is one entry for each name"),
            sealed_to: found.sealed_to(),
            memory: found.memory,
            segments: segment::shared(found.listing.segments),
        });
        Self { tables, revisions }
    }

    /// Returns the memory of rows that no seal has taken.
    pub(super) fn bytes(&self) -> usize {
        self.tables.iter().map(|table| table.memory.bytes()).sum()
    }

    /// Returns how many rows the longest table has that no seal has taken.
    pub(super) fn rows_max(&self) -> usize {
        self.tables.iter().map(|table| table.memory.rows_count()).max().unwrap_or(0)
    }

    /// Returns the number of the newest seal that any segment is from.
    pub(super) fn sealed_to(&self) -> u64 {
        self.tables.iter().map(|table| table.sealed_to).max().unwrap_or(0)
    }

    /// Returns how many revised transactions were forgotten.
    pub(super) fn revisions_forgotten(&self) -> u64 {
        self.revisions.forgotten()
    }

    /// Adds rows that take this many bytes of memory.
    pub(super) fn push(&mut self, table: TableName, rows: RecordBatch, bytes: usize) {
        if revisions::is_revised(table) {
            for (id, revision) in revisions::rows_of(&rows) {
                self.revisions.note(id, revision);
            }
        }
        self.tables[place(table)].memory.push(rows, bytes);
    }

    /// Takes all rows out for a seal.
    pub(super) fn freeze(&mut self, seq: u64) -> Seal {
        let mut parts = Vec::new();
        for table in &mut self.tables {
            let memory = std::mem::take(&mut table.memory);
            if memory.rows_count() > 0 {
                parts.push(Part { table: table.name, seqs: SeqRange { from: table.sealed_to + 1, to: seq }, memory });
            }
        }
        Seal { seq: Some(seq), parts }
    }

    /// Puts segments in the place of those whose requests they cover, or beside the others. Returns what they replaced.
    pub(super) fn add_segments(&mut self, added: Vec<Segment>) -> Vec<Arc<Segment>> {
        let mut replaced = Vec::new();
        for segment in added {
            let table = &mut self.tables[place(segment.table)];
            table.sealed_to = table.sealed_to.max(segment.seqs.to);
            let segments = Arc::make_mut(&mut table.segments);
            replaced.extend(segments.extract_if(.., |old| segment.seqs.covers(old.seqs)));
            let at = segments.partition_point(|old| old.seqs < segment.seqs);
            segments.insert(at, Arc::new(segment));
        }
        replaced
    }

    /// Takes a segment out.
    pub(super) fn remove_segment(&mut self, table: TableName, name: &str) {
        Arc::make_mut(&mut self.tables[place(table)].segments).retain(|segment| segment.name != name);
    }

    /// Returns what queries see: segments, the rows of the seal that runs, and the rows after it.
    pub(super) fn snapshot(&self, seal: Option<&Seal>) -> Snapshot {
        let tables = std::array::from_fn(|index| {
            let table = &self.tables[index];
            let memory = match seal {
                Some(seal) => seal.rows(table.name).followed_by(table.memory.rows()),
                None => table.memory.rows().clone(),
            };
            TableSnapshot { memory, segments: Arc::clone(&table.segments) }
        });
        Snapshot { tables, revised: Arc::clone(self.revisions.revised()) }
    }
}
