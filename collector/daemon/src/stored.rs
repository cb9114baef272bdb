//! What the write-ahead log holds is the request as received; this is how it becomes rows again.
//! Called when the store is opened, by the daemon and by `sql`; the same decoding as on the way in.

use arrow::array::RecordBatch;
use collector_otlp::{Limits, PayloadKind, decode};
use collector_table::TableName;

/// More than a receiver ever allows: what was acknowledged is read back, also after limits were lowered.
const NESTING_MAX: usize = 90;
const BYTES_MAX: usize = 1 << 30;

/// Returns the limits for reading back what was received under these or others.
pub(crate) fn limits(receiving: &Limits) -> Limits {
    Limits { nesting_max: NESTING_MAX, decoded_bytes_max: BYTES_MAX, rows_bytes_max: BYTES_MAX, ..*receiving }
}

/// Returns the rows of a logged request, or nothing if this version cannot read it.
pub(crate) fn rows(kind: u8, payload: &[u8], limits: &Limits) -> Option<(TableName, RecordBatch)> {
    let kind = PayloadKind::from_byte(kind).ok()?;
    let batch = decode(kind, payload, limits).ok()?;
    Some((kind.signal.table(), batch.rows))
}
