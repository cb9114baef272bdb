//! Bytes of requests that are not yet answered, against one bound. `intake` reserves before it keeps bytes; the
//! reservation lives and dies with the request, whatever becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bound and how much of it is taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Pool>);

#[derive(Debug, Default)]
struct Pool {
    taken: AtomicUsize,
    max: usize,
}

/// Bytes taken by one request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    pool: Arc<Pool>,
    bytes: usize,
}

impl InFlight {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Pool { taken: AtomicUsize::new(0), max }))
    }

    /// Returns an empty reservation.
    pub(crate) fn reserve(&self) -> Reservation {
        Reservation { pool: self.0.clone(), bytes: 0 }
    }

    /// Returns how many bytes are taken.
    pub(crate) fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Takes more bytes; returns false, and takes none, when the bound is reached.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let max = self.pool.max;
        let grown = self.pool.taken.try_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            taken.checked_add(bytes).filter(|taken| *taken <= max)
        });
        if grown.is_ok() {
            self.bytes += bytes;
        }
        grown.is_ok()
    }

    /// Takes or gives back what is missing to exactly so many bytes, also beyond the bound: they are in memory already,
    /// and whoever comes next finds the bound reached.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.pool.taken.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.pool.taken.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// Returns how many bytes are taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns how many more bytes there could be if nobody else had any.
    pub(crate) fn room(&self) -> usize {
        self.pool.max.saturating_sub(self.bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.pool.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
