//! The one place where the daemon reads the time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns unix nanoseconds; 0 before 1970.
pub(crate) fn now_ns() -> i64 {
    to_ns(SystemTime::now())
}

/// Returns a moment as unix nanoseconds.
pub(crate) fn to_ns(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
