//! Whether spans that belong together came out together, and whether the owner of each critical path is who it was. Asked
//! of pairs of spans of one piece of work; transactions may share spans, as batches do.

use std::collections::{BTreeMap, BTreeSet};

use collector_table::SpanId;

use crate::world::{SpanTruth, WorkTruth};

/// What is true, as far as it arrived.
#[derive(Debug, Default)]
pub struct Truth {
    works: BTreeMap<u64, BTreeSet<SpanId>>,
    sites: BTreeMap<SpanId, u32>,
    over: BTreeMap<u64, WorkTruth>,
}

/// What a transaction says of itself.
#[derive(Debug, Clone, Default)]
pub struct Stitched {
    /// Its spans.
    pub spans: Vec<SpanId>,
    /// Its critical path: owners and nanoseconds.
    pub critical_path: Vec<(SpanId, i64)>,
}

/// Pairs and owners that were right and wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Score {
    /// Pairs that belong together and came out together.
    pub pairs_right: usize,
    /// Pairs that came out together and do not belong together.
    pub pairs_wrong: usize,
    /// Pairs that belong together and did not come out together.
    pub pairs_missed: usize,
    /// Pieces of work whose owner was found.
    pub owners_right: usize,
    /// Pieces of work whose owner is known.
    pub owners: usize,
}

impl Score {
    /// Returns the share of pairs that came out together and belong together.
    pub fn precision(&self) -> f64 {
        self.pairs_right as f64 / (self.pairs_right + self.pairs_wrong).max(1) as f64
    }

    /// Returns the share of pairs that belong together and came out together.
    pub fn recall(&self) -> f64 {
        self.pairs_right as f64 / (self.pairs_right + self.pairs_missed).max(1) as f64
    }

    /// Returns the share of owners that were found.
    pub fn owner_share(&self) -> f64 {
        self.owners_right as f64 / self.owners.max(1) as f64
    }

    /// Adds another score.
    pub fn add(&mut self, other: Self) {
        self.pairs_right += other.pairs_right;
        self.pairs_wrong += other.pairs_wrong;
        self.pairs_missed += other.pairs_missed;
        self.owners_right += other.owners_right;
        self.owners += other.owners;
    }
}

/// Pieces of work that a span is of, and transactions that it was said to be in; both in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    works: Vec<u64>,
    transactions: Vec<usize>,
}

impl Place {
    /// Returns the works and transactions by keys that tell both apart.
    fn keys(&self) -> impl Iterator<Item = (bool, u64)> + '_ {
        let works = self.works.iter().map(|work| (true, *work));
        works.chain(self.transactions.iter().map(|index| (false, *index as u64)))
    }
}

/// Returns whether two lists have something in common.
fn shares<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.iter().any(|item| other.contains(item))
}

/// Owners that differ: what was true and what was said, and how often.
pub type Mistakes = BTreeMap<(u32, Option<u32>), usize>;

impl Truth {
    /// Takes in what is true of a chunk.
    pub fn add(&mut self, spans: &[SpanTruth], works: &[WorkTruth]) {
        for span in spans {
            self.sites.insert(span.span, span.site);
            for work in &span.works {
                self.works.entry(*work).or_default().insert(span.span);
            }
        }
        self.over.extend(works.iter().map(|work| (work.work, work.clone())));
    }

    /// Returns the site of a span.
    pub fn site(&self, span: SpanId) -> Option<u32> {
        self.sites.get(&span).copied()
    }

    /// Scores transactions; owners that are wrong are counted in `mistakes`.
    pub fn score(&self, stitched: &[Stitched], mistakes: &mut Mistakes) -> Score {
        let mut score = self.score_pairs(stitched);
        let mut of_span: BTreeMap<SpanId, Vec<usize>> = BTreeMap::new();
        for (index, one) in stitched.iter().enumerate() {
            one.spans.iter().for_each(|span| of_span.entry(*span).or_default().push(index));
        }
        for (work, over) in &self.over {
            let (Some((owner, _, _)), Some(spans)) = (over.owner, self.works.get(work)) else { continue };
            // The transaction that has most of its spans is taken for it.
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            spans.iter().flat_map(|span| of_span.get(span).into_iter().flatten()).for_each(|index| {
                *counts.entry(*index).or_default() += 1;
            });
            let Some((index, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { continue };
            let said = self.owner_of(&stitched[index]);
            score.owners += 1;
            if said == Some(owner) {
                score.owners_right += 1;
            } else {
                *mistakes.entry((owner, said)).or_default() += 1;
            }
        }
        score
    }

    /// Counts pairs. Spans that are of the same works and in the same transactions are counted together: pairs are too many
    /// to be looked at one by one.
    fn score_pairs(&self, stitched: &[Stitched]) -> Score {
        let mut places: BTreeMap<SpanId, Place> = BTreeMap::new();
        for (work, spans) in &self.works {
            spans.iter().for_each(|span| places.entry(*span).or_default().works.push(*work));
        }
        for (index, one) in stitched.iter().enumerate() {
            let spans: BTreeSet<&SpanId> = one.spans.iter().collect();
            spans.into_iter().for_each(|span| places.entry(*span).or_default().transactions.push(index));
        }
        let mut counts: BTreeMap<Place, usize> = BTreeMap::new();
        places.into_values().for_each(|place| *counts.entry(place).or_default() += 1);
        let groups: Vec<(Place, usize)> = counts.into_iter().collect();
        let mut neighbours: BTreeMap<(bool, u64), Vec<usize>> = BTreeMap::new();
        for (index, (place, _)) in groups.iter().enumerate() {
            place.keys().for_each(|key| neighbours.entry(key).or_default().push(index));
        }
        let mut score = Score::default();
        for (index, (place, count)) in groups.iter().enumerate() {
            let near: BTreeSet<usize> =
                place.keys().flat_map(|key| neighbours[&key].iter().copied()).filter(|other| *other >= index).collect();
            for other in near {
                let (other_place, other_count) = &groups[other];
                let pairs = if other == index { count * (count - 1) / 2 } else { count * other_count };
                match (shares(&place.works, &other_place.works), shares(&place.transactions, &other_place.transactions))
                {
                    (true, true) => score.pairs_right += pairs,
                    (false, true) => score.pairs_wrong += pairs,
                    (true, false) => score.pairs_missed += pairs,
                    (false, false) => {}
                }
            }
        }
        score
    }

    /// Returns the site that has most of the critical path.
    fn owner_of(&self, stitched: &Stitched) -> Option<u32> {
        let mut by_site: BTreeMap<u32, i64> = BTreeMap::new();
        for (span, ns) in &stitched.critical_path {
            if let Some(site) = self.site(*span) {
                *by_site.entry(site).or_default() += ns;
            }
        }
        by_site.into_iter().max_by_key(|(_, ns)| *ns).map(|(site, _)| site)
    }
}

#[cfg(test)]
mod tests {
    use super::{Mistakes, Score, SpanId, Stitched, Truth};
    use crate::world::{SpanTruth, WorkTruth};

    fn span(number: u8) -> SpanId {
        SpanId([number; 8])
    }

    /// Two pieces of work of three spans each, which share a batch, number 9.
    fn truth() -> Truth {
        let of = |number: u8, works: &[u64]| SpanTruth {
            span: span(number),
            works: works.to_vec(),
            site: u32::from(number),
        };
        let spans = [of(1, &[1]), of(2, &[1]), of(3, &[2]), of(4, &[2]), of(9, &[1, 2])];
        let over = WorkTruth { work: 1, trace: collector_table::TraceId([1; 16]), owner: Some((2, 70, 100)) };
        let mut truth = Truth::default();
        truth.add(&spans, &[over]);
        truth
    }

    fn stitched(spans: &[u8], path: &[(u8, i64)]) -> Stitched {
        Stitched {
            spans: spans.iter().map(|number| span(*number)).collect(),
            critical_path: path.iter().map(|(number, ns)| (span(*number), *ns)).collect(),
        }
    }

    #[test]
    fn what_came_out_as_it_is_scores_full() {
        let said = [stitched(&[1, 2, 9], &[(1, 30), (2, 70)]), stitched(&[3, 4, 9], &[])];
        let score = truth().score(&said, &mut Mistakes::new());
        assert_eq!(score, Score { pairs_right: 6, owners_right: 1, owners: 1, ..Score::default() });
    }

    #[test]
    fn strangers_that_are_glued_and_parts_that_are_apart_are_counted_by_pairs() {
        let glued = truth().score(&[stitched(&[1, 2, 3, 4, 9], &[])], &mut Mistakes::new());
        assert_eq!((glued.pairs_right, glued.pairs_wrong, glued.pairs_missed), (6, 4, 0));
        let said = [stitched(&[1, 2], &[]), stitched(&[3, 4, 9], &[])];
        let apart = truth().score(&said, &mut Mistakes::new());
        assert_eq!((apart.pairs_right, apart.pairs_wrong, apart.pairs_missed), (4, 0, 2));
        assert!(apart.recall() < 0.67 && apart.precision() > 0.99);
    }

    #[test]
    fn an_owner_that_is_mistaken_is_named() {
        let mut mistakes = Mistakes::new();
        let said = [stitched(&[1, 2, 9], &[(1, 60), (2, 40)])];
        let score = truth().score(&said, &mut mistakes);
        assert_eq!((score.owners_right, score.owners), (0, 1));
        assert_eq!(mistakes.into_iter().collect::<Vec<_>>(), [((2, Some(1)), 1)]);
    }
}
