//! Admission to the writer: how many requests and bytes may wait. The handle asks; a [`Place`] lives in the message and
//! gives its room back when the request was answered.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::Config;
use crate::stats::Counters;

/// Room in the queue, held until dropped.
pub(crate) struct Place {
    counters: Arc<Counters>,
    bytes: usize,
}

impl Place {
    /// Takes room for a request, or returns nothing when there is none.
    pub(crate) fn take(config: &Config, counters: &Arc<Counters>, bytes: usize) -> Option<Self> {
        let requests = counters.queue_requests.fetch_add(1, Relaxed) + 1;
        let waiting = counters.queue_bytes.fetch_add(bytes, Relaxed) + bytes;
        // Already holds what it added, so a refusal gives it back by dropping.
        let place = Self { counters: Arc::clone(counters), bytes };
        (requests <= config.queue_requests_max && waiting <= config.queue_bytes_max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counters.queue_requests.fetch_sub(1, Relaxed);
        self.counters.queue_bytes.fetch_sub(self.bytes, Relaxed);
    }
}
