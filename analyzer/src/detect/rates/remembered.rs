//! What is remembered for a while, in two generations: when the newer is full or old, the older goes. Used by what looks for
//! repetitions and order. Bounded by entries of a generation, so that what is remembered may be younger than its life.

use std::hash::Hash;

use crate::hash::Map;

/// Values by key, for one to two lives of a generation.
#[derive(Debug)]
pub(super) struct Remembered<K, V> {
    newer: Map<K, V>,
    older: Map<K, V>,
    turned_ns: i64,
    max: usize,
    life_ns: i64,
    /// Entries that went before their time, at the bound.
    pub(super) let_go: u64,
}

impl<K: Eq + Hash, V> Remembered<K, V> {
    /// Returns an empty memory of so many entries a generation, which lasts so long at most.
    pub(super) fn new(max: usize, life_ns: i64) -> Self {
        Self { newer: Map::default(), older: Map::default(), turned_ns: i64::MIN, max, life_ns, let_go: 0 }
    }

    /// Begins another generation if the newer one is full or old at arrival time `now_ns`; returns whether it did.
    pub(super) fn turn(&mut self, now_ns: i64) -> bool {
        let is_old = now_ns.saturating_sub(self.turned_ns) >= self.life_ns;
        if !is_old && self.newer.len() < self.max {
            return false;
        }
        self.let_go += if is_old { 0 } else { self.older.len() as u64 };
        self.older = std::mem::take(&mut self.newer);
        self.turned_ns = now_ns;
        true
    }

    /// Takes out what is remembered of a key.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.newer.remove(key).or_else(|| self.older.remove(key))
    }

    /// Returns what is remembered of a key.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.newer.get(key).or_else(|| self.older.get(key))
    }

    /// Remembers something in the newer generation, which [`Self::turn`] bounds.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.newer.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_generations_the_older_goes_when_the_newer_is_full_or_old() {
        let mut memory: Remembered<u64, u64> = Remembered::new(2, 100);
        memory.turn(0);
        for key in 0..6 {
            memory.turn(1);
            memory.insert(key, key);
        }
        let known = |memory: &Remembered<u64, u64>| (0..6).filter(|key| memory.get(key).is_some()).collect::<Vec<_>>();
        assert_eq!((known(&memory), memory.let_go), (vec![2, 3, 4, 5], 2));
        assert!(!memory.turn(50) || memory.newer.is_empty());
        memory.turn(101);
        memory.turn(201);
        assert_eq!((known(&memory), memory.let_go), (vec![], 4));
        assert_eq!(memory.remove(&5), None);
    }
}
