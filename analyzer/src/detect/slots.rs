//! Numbered places for what is kept of keys that senders choose, and queues of what is kept of each block of time.
//! Bounded: a key beyond the bound gets no place and is counted; places that are unused for long are given anew.

use std::collections::VecDeque;
use std::hash::Hash;

use crate::hash::Map;

/// Blocks after which an unused place is free: a day, so that what runs once a day is known again.
const UNUSED_BLOCKS: i64 = 8_640;
/// The same when no place is left: two hours, longer than what is usual is learned from.
const UNUSED_BLOCKS_WHEN_FULL: i64 = 720;

/// Places by number and by key.
#[derive(Debug)]
pub(super) struct Slots<K, V> {
    ids: Map<K, usize>,
    slots: Vec<Option<Slot<K, V>>>,
    free: Vec<usize>,
    max: usize,
    /// How often a key got no place.
    pub(super) left_out: u64,
}

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    value: V,
    /// Last block in which it was used.
    used: i64,
}

impl<K: Clone + Eq + Hash, V: Default> Slots<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self { ids: Map::default(), slots: Vec::new(), free: Vec::new(), max, left_out: 0 }
    }

    /// Returns the number of a key if it has a place.
    pub(super) fn find(&self, key: &K) -> Option<usize> {
        self.ids.get(key).copied()
    }

    /// Returns the number of a key; gives it a place, unless none is left.
    pub(super) fn id(&mut self, key: K, block: i64) -> Option<usize> {
        if let Some(&id) = self.ids.get(&key) {
            return Some(id);
        }
        if self.is_full() {
            self.left_out += 1;
            return None;
        }
        Some(self.id_beyond_bound(key, block))
    }

    /// Returns the number of a key that has or gets a place even when none is left: for the one that stands for all
    /// beyond the bound.
    pub(super) fn id_beyond_bound(&mut self, key: K, block: i64) -> usize {
        if let Some(&id) = self.ids.get(&key) {
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.ids.insert(key.clone(), id);
        self.slots[id] = Some(Slot { key, value: V::default(), used: block });
        id
    }

    pub(super) fn is_full(&self) -> bool {
        self.ids.len() >= self.max
    }

    /// Returns how many numbers were ever given; those in between may be free.
    pub(super) fn end(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn key(&self, id: usize) -> Option<&K> {
        Some(&self.slots.get(id)?.as_ref()?.key)
    }

    pub(super) fn get(&self, id: usize) -> Option<&V> {
        Some(&self.slots.get(id)?.as_ref()?.value)
    }

    /// Returns a place without using it.
    pub(super) fn get_mut(&mut self, id: usize) -> Option<&mut V> {
        Some(&mut self.slots.get_mut(id)?.as_mut()?.value)
    }

    /// Returns how many keys have places.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns a place that is used in `block`.
    pub(super) fn used(&mut self, id: usize, block: i64) -> Option<(&K, &mut V)> {
        let slot = self.slots.get_mut(id)?.as_mut()?;
        slot.used = slot.used.max(block);
        Some((&slot.key, &mut slot.value))
    }

    /// Returns every place with its number, in order of numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &K, &V)> {
        self.slots.iter().enumerate().filter_map(|(id, slot)| slot.as_ref().map(|slot| (id, &slot.key, &slot.value)))
    }

    /// Returns every place, in order of numbers.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.slots.iter_mut().flatten().map(|slot| (&slot.key, &mut slot.value))
    }

    /// Returns every place with its number, in order of numbers.
    pub(super) fn places_mut(&mut self) -> impl Iterator<Item = (usize, &mut V)> {
        self.slots.iter_mut().enumerate().filter_map(|(id, slot)| slot.as_mut().map(|slot| (id, &mut slot.value)))
    }

    /// Returns the block before which a place must have been used last to be freed in `block`.
    pub(super) fn unused_before(&self, block: i64) -> i64 {
        block - if self.is_full() { UNUSED_BLOCKS_WHEN_FULL } else { UNUSED_BLOCKS }
    }

    /// Frees places that were used last before a block, but those that are needed; returns whether there were any.
    pub(super) fn free_unused(&mut self, before: i64, is_needed: impl Fn(&V) -> bool) -> bool {
        let free_before = self.free.len();
        for (id, place) in self.slots.iter_mut().enumerate() {
            if let Some(slot) = place.take_if(|slot| slot.used < before && !is_needed(&slot.value)) {
                self.ids.remove(&slot.key);
                self.free.push(id);
            }
        }
        self.free.len() > free_before
    }
}

/// Returns the item of a number in a queue that is sorted by numbers, and nearly always asked for the last.
pub(super) fn item_of<T: Default>(queue: &mut VecDeque<(i64, T)>, number: i64) -> &mut T {
    let mut at = queue.len();
    while at > 0 && queue[at - 1].0 > number {
        at -= 1;
    }
    if at > 0 && queue[at - 1].0 == number {
        at -= 1;
    } else {
        queue.insert(at, (number, T::default()));
    }
    &mut queue[at].1
}
