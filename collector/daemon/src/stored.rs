//! What the write-ahead log holds is the request as received; this is how it becomes rows again.
//! Called when the store is opened, by the daemon, by `sql` and by `analyze`; the same decoding as on the way in.

use std::path::Path;

use anyhow::{Context as _, bail};
use arrow::array::RecordBatch;
use collector_otlp::{Limits, PayloadKind, decode};
use collector_store::{QueryLimits, Reader};
use collector_table::TableName;

/// More than a receiver ever allows: what was acknowledged is read back, also after limits were lowered.
const NESTING_MAX: usize = 90;
const BYTES_MAX: usize = 1 << 30;

/// Opens a data folder to query it, as it is now. Writes nothing and takes no lock: a daemon may be using it.
///
/// # Errors
/// When it is no folder, or cannot be read.
pub(crate) async fn open(dir: &Path) -> anyhow::Result<Reader> {
    if !dir.is_dir() {
        bail!("{} is no folder; name the daemon's with --data-dir", dir.display());
    }
    let limits = limits(&Limits::default());
    let replay = |kind, payload: &[u8]| rows(kind, payload, &limits);
    let opened = Reader::open(dir.to_owned(), QueryLimits::default(), replay).await;
    opened.map(|(reader, _)| reader).with_context(|| format!("opening {}", dir.display()))
}

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
