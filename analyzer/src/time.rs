//! Unix nanoseconds as RFC 3339 text, the one form in which times leave the daemon.

/// Returns `2026-11-21T08:00:00.123456789Z` for unix nanoseconds.
pub fn rfc3339(unix_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(unix_ns)).map_or_else(|_| unix_ns.to_string(), |at| at.to_string())
}

/// Returns unix nanoseconds for RFC 3339 text, or nothing if it is not that.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok()
}

/// Returns `2026-11-21 08:00:00 UTC`, for sentences.
pub fn in_words(unix_ns: i64) -> String {
    let at = jiff::Timestamp::from_nanosecond(i128::from(unix_ns));
    at.map_or_else(|_| unix_ns.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}
