//! What a query sees: all tables at one moment, immutable. The writer publishes a new one after each commit and each
//! seal; the rows that a seal moved are in it exactly once.

use std::sync::Arc;

use collector_table::TableName;

use crate::memory::Rows;
use crate::revisions::Revised;
use crate::segment::Segment;

/// One value for each stored table.
pub(crate) type PerTable<T> = [T; TableName::ALL.len()];

/// Returns the place of a table in a [`PerTable`].
pub(crate) fn place(table: TableName) -> usize {
    TableName::ALL.iter().position(|other| *other == table).expect("ALL lists every table")
}

/// One table at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct TableSnapshot {
    pub(crate) memory: Rows,
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
}

/// All tables at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) tables: PerTable<TableSnapshot>,
    pub(crate) revised: Arc<Revised>,
}
