//! Hashing: maps keyed by what senders choose, and the one hash that outlives the process.

use std::collections::{HashMap, HashSet};

/// A map whose keys a sender may choose: fast, and keyed anew in every process.
pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
/// A set of such keys.
pub(crate) type Set<K> = HashSet<K, foldhash::fast::RandomState>;

/// Seed of [`fnv`].
pub(crate) const FNV_SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// Returns FNV-1a, 64 bit (draft-eastlake-fnv), which is the same in every build.
pub(crate) fn fnv(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
