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
        let said = pairs(stitched.iter().map(|one| one.spans.iter().copied().collect::<BTreeSet<_>>()));
        let truth = pairs(self.works.values().cloned());
        let right = said.intersection(&truth).count();
        let mut score = Score {
            pairs_right: right,
            pairs_wrong: said.len() - right,
            pairs_missed: truth.len() - right,
            ..Score::default()
        };
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

/// Returns all pairs of spans that are in one set.
fn pairs(sets: impl Iterator<Item = BTreeSet<SpanId>>) -> BTreeSet<(SpanId, SpanId)> {
    let mut pairs = Vec::new();
    for set in sets {
        let spans: Vec<SpanId> = set.into_iter().collect();
        for (index, first) in spans.iter().enumerate() {
            pairs.extend(spans[index + 1..].iter().map(|second| (*first, *second)));
        }
    }
    pairs.into_iter().collect()
}
