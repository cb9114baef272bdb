//! Rows by key, of which only the most recently used are kept. The ledger keeps senders and their complaints in it:
//! whoever invents names pushes out old rows, but never makes it grow.

use std::collections::HashMap;

/// At most `max` rows.
#[derive(Debug)]
pub(super) struct Recent<V> {
    rows: HashMap<String, Used<V>>,
    max: usize,
    /// Counts uses; larger is more recent.
    uses: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Used<V> {
    value: V,
    used: u64,
}

impl<V> Recent<V> {
    pub(super) fn new(max: usize) -> Self {
        Self { rows: HashMap::new(), max, uses: 0, evicted: 0 }
    }

    /// Returns the row of a key, made anew when there is none; then the least recently used may have to
    /// go.
    pub(super) fn entry(&mut self, key: &str, make: impl FnOnce() -> V) -> &mut V {
        self.uses += 1;
        if !self.rows.contains_key(key) {
            self.make_room();
            self.rows.insert(key.to_owned(), Used { value: make(), used: self.uses });
        }
        let row = self.rows.get_mut(key).expect("it was there or was put there");
        row.used = self.uses;
        &mut row.value
    }

    /// Returns the rows, most recently used first.
    pub(super) fn newest_first(&self) -> Vec<&V> {
        let mut rows: Vec<&Used<V>> = self.rows.values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.used));
        rows.into_iter().map(|row| &row.value).collect()
    }

    /// Returns how many rows had to go.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// A tenth goes at once, so that finding the oldest costs little for each of many new keys.
    fn make_room(&mut self) {
        if self.rows.len() < self.max {
            return;
        }
        let mut uses: Vec<u64> = self.rows.values().map(|row| row.used).collect();
        let going = (self.max / 10).clamp(1, uses.len());
        let (_, last_to_go, _) = uses.select_nth_unstable(going - 1);
        let last_to_go = *last_to_go;
        self.rows.retain(|_, row| row.used > last_to_go);
        self.evicted += going as u64;
    }
}
