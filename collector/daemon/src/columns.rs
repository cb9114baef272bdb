//! Columns of the tables that the daemon publishes to SQL: one value of each thing that the table lists. Called by the
//! modules of these tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, StringArray, TimestampNanosecondArray, UInt64Array};

pub(crate) fn text<T>(rows: &[T], of: impl Fn(&T) -> Option<String>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<StringArray>())
}

pub(crate) fn number<T>(rows: &[T], of: impl Fn(&T) -> Option<f64>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<Float64Array>())
}

pub(crate) fn count<T>(rows: &[T], of: impl Fn(&T) -> Option<u64>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<UInt64Array>())
}

pub(crate) fn truth<T>(rows: &[T], of: impl Fn(&T) -> bool) -> ArrayRef {
    Arc::new(rows.iter().map(|row| Some(of(row))).collect::<BooleanArray>())
}

/// Returns a column of unix nanoseconds.
pub(crate) fn time<T>(rows: &[T], of: impl Fn(&T) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

/// Returns the word that JSON has for a value.
pub(crate) fn word(kind: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(kind).ok()?.as_str().map(str::to_owned)
}
