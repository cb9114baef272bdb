//! What the write-ahead log holds is the request as received; this is how it becomes rows again.
//! Called when the store is opened, by the daemon and by `sql`; the same decoding as on the way in.

use arrow::array::RecordBatch;
use collector_otlp::{Limits, PayloadKind, decode};
use collector_table::TableName;

/// Returns the rows of a logged request, or nothing if this version cannot read it.
pub(crate) fn rows(kind: u8, payload: &[u8], limits: &Limits) -> Option<(TableName, RecordBatch)> {
    let kind = PayloadKind::from_byte(kind).ok()?;
    let batch = decode(kind, payload, limits).ok()?;
    Some((kind.signal.table(), batch.rows))
}
