//! Looks at the process's resident memory, which knows what all estimates miss, and says when it is above the limit.
//! `intake` asks it before a body is read; `/metrics` shows it. Where the system does not tell, it is never above.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use collector_store::Store;
use tokio::time::MissedTickBehavior;

/// How often to look: at full speed a gigabyte would take seconds to fill.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks above the limit after which rows in memory are sealed again: a seal takes about a second.
const SEAL_EVERY: u32 = 50;

/// What was seen last.
#[derive(Debug, Clone)]
pub(crate) struct Memory(Arc<Seen>);

#[derive(Debug)]
struct Seen {
    limit_bytes: u64,
    resident_bytes: AtomicU64,
    is_over: AtomicBool,
}

impl Memory {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let (resident_bytes, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Seen { limit_bytes: limit_bytes as u64, resident_bytes, is_over }))
    }

    /// Returns whether the limit is exceeded.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_over.load(Relaxed)
    }

    /// Returns the limit, bytes.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.0.limit_bytes
    }

    /// Returns resident memory, bytes; 0 where the system does not tell.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.0.resident_bytes.load(Relaxed)
    }

    /// Looks for as long as the runtime lives; above the limit, has what can be sealed sealed.
    pub(crate) async fn watch(self, store: Store) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut over_for: u32 = 0;
        loop {
            every.tick().await;
            let Some(resident_bytes) = resident_bytes() else { return };
            self.note(resident_bytes);
            if !self.is_over() {
                over_for = 0;
                continue;
            }
            if over_for.is_multiple_of(SEAL_EVERY) {
                let limit_bytes = self.limit_bytes();
                tracing::warn!(
                    resident_bytes,
                    limit_bytes,
                    "out of memory for now: senders are asked to come back later"
                );
                store.seal().await;
            }
            over_for += 1;
        }
    }

    pub(crate) fn note(&self, resident_bytes: u64) {
        self.0.resident_bytes.store(resident_bytes, Relaxed);
        self.0.is_over.store(resident_bytes > self.0.limit_bytes, Relaxed);
    }
}

/// Returns the resident memory of this process, bytes, where Linux' `/proc` tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    resident_of(&status)
}

/// Reads a line such as `VmRSS:   12345 kB`; the kernel's "kB" are 1024 bytes.
fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{Memory, resident_of};

    #[test]
    fn resident_memory_is_read_from_the_kernels_text() {
        assert_eq!(resident_of("Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t   12345 kB\n"), Some(12_345 * 1024));
        assert_eq!(resident_of("VmRSS:\t lots\n"), None);
        assert_eq!(resident_of(""), None);
    }

    #[test]
    fn it_is_over_only_while_it_is_above_the_limit() {
        let memory = Memory::new(100);
        memory.note(100);
        assert!(!memory.is_over());
        memory.note(101);
        assert!(memory.is_over() && memory.resident_bytes() == 101);
        memory.note(99);
        assert!(!memory.is_over());
    }
}
