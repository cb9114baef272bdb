//! Places for what comes and goes, with keys that never name a later one by mistake. Used by the world for tasks, calls
//! and what is on its way: an event that comes too late finds nothing.

/// Names one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    place: u32,
    generation: u32,
}

/// Entries by key. It grows with what is alive at once, and keeps its room.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, entry: T) -> Key {
        if let Some(place) = self.free.pop() {
            let (generation, slot) = &mut self.entries[place as usize];
            *slot = Some(entry);
            return Key { place, generation: *generation };
        }
        let place = u32::try_from(self.entries.len()).expect("fewer than four billion things are alive at once");
        self.entries.push((0, Some(entry)));
        Key { place, generation: 0 }
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let (generation, entry) = &self.entries[key.place as usize];
        entry.as_ref().filter(|_| *generation == key.generation)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, entry) = &mut self.entries[key.place as usize];
        entry.as_mut().filter(|_| *generation == key.generation)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, entry) = &mut self.entries[key.place as usize];
        if *generation != key.generation {
            return None;
        }
        let removed = entry.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(key.place);
        Some(removed)
    }
}
