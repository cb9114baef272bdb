//! Which requests were kept recently. A client that retries because the answer was lost sends the same bytes again;
//! the writer asks here and acknowledges them without storing them twice. Recovery fills it from the log.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use collector_table::TableName;
use xxhash_rust::xxh3::xxh3_128_with_secret;

/// Requests that are remembered; the oldest is forgotten first. About 3 MiB.
const REQUESTS_MAX: usize = 65_536;

/// Bytes of the secret that fingerprints are made with; the longest that the algorithm makes use of.
const SECRET_BYTES: usize = 192;

/// What a request is, and the hash of its bytes under a secret that nobody outside this process can know, so that nobody
/// can make up a request that passes for another one's retry. Not cryptographic, because no hash ever leaves the process,
/// and SHA-256 cost as much as reading the request.
pub(crate) type Fingerprint = (u8, u128);

/// Makes fingerprints. Those of two instances have nothing in common.
#[derive(Clone)]
pub(crate) struct Fingerprints {
    secret: [u8; SECRET_BYTES],
}

impl Default for Fingerprints {
    fn default() -> Self {
        // The standard library seeds its hash maps from the operating system.
        let word = |n: usize| std::collections::hash_map::RandomState::new().hash_one(n).to_le_bytes();
        let mut secret = [0; SECRET_BYTES];
        secret.chunks_exact_mut(8).enumerate().for_each(|(n, bytes)| bytes.copy_from_slice(&word(n)));
        Self { secret }
    }
}

impl Fingerprints {
    /// Returns the fingerprint of a request; nothing for one that may honestly be sent twice: an empty one, and log
    /// records or points that carry no time. Span ids, and times in nanoseconds, make all others one of a kind.
    pub(crate) fn of(&self, kind: u8, payload: &[u8], table: TableName, rows: &RecordBatch) -> Option<Fingerprint> {
        let times = rows.column_by_name(table.time_column());
        let times = times.and_then(|times| times.as_primitive_opt::<TimestampNanosecondType>());
        let has_times = || times.is_some_and(|times| times.values().iter().all(|time| *time != 0));
        if payload.is_empty() || (table != TableName::Spans && !has_times()) {
            return None;
        }
        Some((kind, xxh3_128_with_secret(payload, &self.secret)))
    }
}

/// The fingerprints of recent requests.
#[derive(Default)]
pub(crate) struct RecentRequests {
    known: HashSet<Fingerprint>,
    in_order: VecDeque<Fingerprint>,
}

impl RecentRequests {
    /// Returns whether this request was kept.
    pub(crate) fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.known.contains(fingerprint)
    }

    /// Remembers a request. Returns false when it was known.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint) -> bool {
        if !self.known.insert(fingerprint) {
            return false;
        }
        self.in_order.push_back(fingerprint);
        if self.in_order.len() > REQUESTS_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_request_is_forgotten_at_the_limit() {
        let mut recent = RecentRequests::default();
        let none = RecordBatch::new_empty(TableName::Spans.memory_schema());
        let prints = Fingerprints::default();
        let nth = |n: usize| prints.of(0, &n.to_le_bytes(), TableName::Spans, &none).unwrap();
        for n in 0..=REQUESTS_MAX {
            assert!(recent.insert(nth(n)));
        }
        assert!(!recent.contains(&nth(0)));
        assert!(recent.contains(&nth(1)));
        assert!(!recent.insert(nth(REQUESTS_MAX)));
    }
}
