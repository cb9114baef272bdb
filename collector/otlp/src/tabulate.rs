//! From decoded messages to rows, one file a signal. Keeps what is good and counts what is not.

mod logs;
mod metrics;
mod resource;
mod spans;
mod tally;
mod values;

pub(crate) use logs::logs;
pub(crate) use metrics::metrics;
pub(crate) use spans::spans;
pub(crate) use values::plain_number;
