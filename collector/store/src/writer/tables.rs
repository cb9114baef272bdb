//! The tables as the writer holds them: rows in memory, segments, revisions. The writer changes them and asks for
//! snapshots.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use collector_table::TableName;

use crate::memory::MemoryTable;
use crate::recovery::{FoundTable, Known};
use crate::revisions::{self, Revisions};
use crate::seal::{Part, Seal};
use crate::segment::{self, Segment};
use crate::snapshot::{PerTable, Snapshot, TableSnapshot, place};

struct Table {
    name: TableName,
    memory: MemoryTable,
    segments: Arc<Vec<Arc<Segment>>>,
    sealed_to: u64,
    known: Known,
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
            segments: segment::shared(found.segments),
            known: found.known,
        });
        Self { tables, revisions }
    }

    /// Returns the memory of rows that no seal has taken.
    pub(super) fn bytes(&self) -> usize {
        self.tables.iter().map(|table| table.memory.bytes()).sum()
    }

    /// Returns the number of the newest seal that any segment is from.
    pub(super) fn sealed_to(&self) -> u64 {
        self.tables.iter().map(|table| table.sealed_to).max().unwrap_or(0)
    }

    /// Returns how many revised transactions were forgotten.
    pub(super) fn revisions_forgotten(&self) -> u64 {
        self.revisions.forgotten()
    }

    /// Adds the rows of a group and returns them, one batch a table, in the order in which tables first occur.
    pub(super) fn push_group(&mut self, rows: Vec<(TableName, RecordBatch)>) -> Vec<(TableName, RecordBatch)> {
        let mut by_table: Vec<(TableName, Vec<RecordBatch>)> = Vec::new();
        for (table, rows) in rows {
            match by_table.iter_mut().find(|(name, _)| *name == table) {
                Some((_, batches)) => batches.push(rows),
                None => by_table.push((table, vec![rows])),
            }
        }
        let mut pushed = Vec::new();
        for (table, batches) in by_table {
            let batches = match concat_batches(&table.schema(), &batches) {
                Ok(joined) => vec![joined],
                // Text of more than 2 GiB does not fit one column.
                Err(_) => batches,
            };
            for rows in batches.into_iter().filter(|rows| rows.num_rows() > 0) {
                self.push(table, rows.clone());
                pushed.push((table, rows));
            }
        }
        pushed
    }

    /// Adds derived rows, but for those of a revision that a segment holds already.
    pub(super) fn push_derived(&mut self, table: TableName, rows: RecordBatch) {
        let known = &self.tables[place(table)].known;
        if !revisions::is_revised(table) || known.is_empty() {
            return self.push(table, rows);
        }
        let is_new: BooleanArray = revisions::rows_of(&rows)
            .map(|(id, revision)| Some(known.get(&id).is_none_or(|highest| revision > *highest)))
            .collect();
        match filter_record_batch(&rows, &is_new) {
            Ok(rows) => self.push(table, rows),
            Err(error) => tracing::error!(%error, %table, "leaving rows out that are in a segment already"),
        }
    }

    /// Takes all rows out for a seal.
    pub(super) fn freeze(&mut self, seq: u64) -> Seal {
        let bytes = self.bytes();
        let mut parts = Vec::new();
        for table in &mut self.tables {
            let memory = std::mem::take(&mut table.memory);
            if memory.rows() > 0 {
                let batches = memory.batches().to_vec();
                parts.push(Part { table: table.name, from_seq: table.sealed_to + 1, batches });
            }
        }
        Seal { seq, parts, bytes }
    }

    /// Adds the segments of a seal.
    pub(super) fn add_segments(&mut self, segments: Vec<Segment>) {
        for segment in segments {
            let table = &mut self.tables[place(segment.table)];
            table.sealed_to = segment.to_seq;
            Arc::make_mut(&mut table.segments).push(Arc::new(segment));
        }
    }

    /// Returns what queries see: segments, the rows of the seal that runs, and the rows after it.
    pub(super) fn snapshot(&self, seal: Option<&Seal>) -> Snapshot {
        let tables = std::array::from_fn(|index| {
            let table = &self.tables[index];
            let frozen = seal.map_or(&[][..], |seal| seal.batches(table.name));
            let memory = frozen.iter().chain(table.memory.batches()).cloned().collect();
            TableSnapshot { memory: Arc::new(memory), segments: Arc::clone(&table.segments) }
        });
        Snapshot { tables, revised: self.revisions.revised().clone() }
    }

    fn push(&mut self, table: TableName, rows: RecordBatch) {
        if revisions::is_revised(table) {
            for (id, revision) in revisions::rows_of(&rows) {
                self.revisions.note(id, revision);
            }
        }
        if let Err(error) = self.tables[place(table)].memory.push(rows) {
            // The handle checked the schema, and joined batches are far below what a column holds.
            tracing::error!(%error, %table, "joining rows in memory");
        }
    }
}
