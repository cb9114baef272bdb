//! Templates of the lines of one service, mined while they come: Drain (He, Zhu, Zheng, Lyu, "Drain: An Online Log Parsing
//! Approach with Fixed Depth Tree", ICWS 2017). A line goes down a tree of fixed depth, by what the record is, how many
//! tokens it has and its first word; only the few templates of that leaf are looked at. Used by [`super::Logs`].
//!
//! Other than in the paper, likeness alone merges nothing: "order accepted" and "order rejected" are as like as two lines
//! with two names in them. Words become a variable part when more than a handful of them were seen in one place.
//! Must never look at more than one leaf and its stand-in for a line, nor keep more templates than the bound.

use std::hash::BuildHasher;

use super::mask::{Line, VARIABLE};
use super::template::{Identity, Template};
use crate::hash::Map;

/// Templates of one service; beyond, those that were written least often in the last hour are folded.
pub(super) const TEMPLATES_MAX: usize = 200;
/// Part of them that is folded at once, so that not each new line looks for the least.
const FOLDED_PART: usize = 8;
/// Templates of one leaf; beyond, the one that was written least often is folded.
const LEAF_MAX: usize = 64;
/// First words for which there are leaves, of records with so many tokens; lines with others share one leaf.
const WORDS_MAX: usize = 32;
/// Lines that differ in the same places before what is there is taken for a variable part.
const VARIANTS_MAX: usize = 8;

/// Templates of one service.
#[derive(Debug, Default)]
pub(super) struct Miner {
    templates: Vec<Option<Template>>,
    free: Vec<usize>,
    leaves: Map<u64, Vec<usize>>,
    /// Leaves by what is above them in the tree.
    words: Map<u64, usize>,
    /// Hashes of leaves and births; keyed anew for each service, as senders choose the words.
    hasher: foldhash::fast::RandomState,
}

/// Where a line belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// To a template that was known, by number.
    Known(usize),
    /// To one that begins with it.
    New(usize),
}

impl Place {
    pub(super) fn is_new(self) -> bool {
        matches!(self, Self::New(_))
    }
}

/// Hashes of the way down the tree.
#[derive(Debug, Clone, Copy)]
struct Way {
    above: u64,
    leaf: u64,
    /// Leaf of lines whose first words are too many.
    stand_in: u64,
}

impl Miner {
    /// Finds the template of a line, or begins one. What must be let go for that is handed to `fold`; so is a part of all
    /// where `is_full` says that the services together have too many.
    pub(super) fn place(
        &mut self,
        identity: &Identity<'_>,
        line: &Line,
        is_full: bool,
        mut fold: impl FnMut(Template),
    ) -> Place {
        let way = self.way(identity, line);
        if let Some(known) = [way.leaf, way.stand_in].into_iter().find_map(|leaf| self.find(leaf, identity, line)) {
            return Place::Known(known);
        }
        let has_leaf = self.leaves.contains_key(&way.leaf);
        let has_many = self.words.get(&way.above).is_some_and(|words| *words >= WORDS_MAX);
        let leaf = if !has_leaf && has_many { way.stand_in } else { way.leaf };
        let (variants, places) = self.variants(leaf, identity, line);
        if variants.len() + 1 >= VARIANTS_MAX {
            return Place::Known(self.merge(&variants, places));
        }
        if self.leaves.get(&leaf).is_some_and(|templates| templates.len() >= LEAF_MAX) {
            let least = self.leaves[&leaf].iter().copied().min_by_key(|at| self.usage(*at));
            fold(self.remove(least.expect("a full leaf has templates")));
        }
        if is_full || self.len() >= TEMPLATES_MAX {
            self.fold_least(fold);
        }
        Place::New(self.begin(identity, line, leaf, way.above))
    }

    pub(super) fn len(&self) -> usize {
        self.templates.len() - self.free.len()
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Template> {
        self.templates.get_mut(at)?.as_mut()
    }

    /// Returns all templates, in a fixed order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Template> {
        self.templates.iter().flatten()
    }

    fn way(&self, identity: &Identity<'_>, line: &Line) -> Way {
        let tokens = line.tokens();
        // Lines that begin with a time or a number are told apart by what follows.
        let is_word = |token: &&str| !token.contains(VARIABLE);
        let word = tokens.clone().enumerate().find(|(_, token)| is_word(token));
        let above = self.hasher.hash_one((identity, tokens.len()));
        let leaf = self.hasher.hash_one((above, word));
        Way { above, leaf, stand_in: self.hasher.hash_one((above, "")) }
    }

    /// Returns the template of a leaf that fits a line; of several the one that says most.
    fn find(&self, leaf: u64, identity: &Identity<'_>, line: &Line) -> Option<usize> {
        let of_leaf = self.leaves.get(&leaf)?.iter();
        let fits = |at: &usize| {
            let template = self.templates[*at].as_ref()?;
            let same = template.fits(line.tokens()).filter(|_| template.is_of(identity))?;
            Some((same, std::cmp::Reverse(*at)))
        };
        of_leaf.filter_map(fits).max().map(|(_, at)| at.0)
    }

    /// Returns the templates of a leaf that a line differs from in the same places, of all such places those in which most
    /// do, and the places.
    fn variants(&self, leaf: u64, identity: &Identity<'_>, line: &Line) -> (Vec<usize>, u64) {
        let of_leaf = self.leaves.get(&leaf).map(Vec::as_slice).unwrap_or_default();
        let differs = |at: &usize| {
            let template = self.templates[*at].as_ref().filter(|template| template.is_of(identity))?;
            Some((template.differs_at(line.tokens())?, *at))
        };
        let mut differing: Vec<(u64, usize)> = of_leaf.iter().filter_map(differs).collect();
        differing.sort_unstable();
        let alike = differing.chunk_by(|a, b| a.0 == b.0).max_by_key(|alike| alike.len()).unwrap_or_default();
        (alike.iter().map(|(_, at)| *at).collect(), alike.first().map_or(0, |(places, _)| *places))
    }

    /// Makes one template of several; returns its number.
    fn merge(&mut self, variants: &[usize], places: u64) -> usize {
        let (first, others) = variants.split_first().expect("several are merged");
        let others: Vec<Template> = others.iter().map(|at| self.remove(*at)).collect();
        let merged = self.templates[*first].as_mut().expect("variants are templates");
        merged.vary(places);
        others.into_iter().for_each(|other| merged.absorb(other));
        *first
    }

    /// Folds a part of the templates, those that were written least often.
    fn fold_least(&mut self, mut fold: impl FnMut(Template)) {
        let mut least: Vec<usize> = (0..self.templates.len()).filter(|at| self.templates[*at].is_some()).collect();
        least.sort_by_key(|at| self.usage(*at));
        for at in least.into_iter().take(self.len().div_ceil(FOLDED_PART)) {
            fold(self.remove(at));
        }
    }

    fn begin(&mut self, identity: &Identity<'_>, line: &Line, leaf: u64, above: u64) -> usize {
        let mut template = Template::new(identity, line.tokens());
        (template.leaf, template.above) = (leaf, above);
        template.birth = line.tokens().fold(above, |hash, token| self.hasher.hash_one((hash, token)));
        let at = self.free.pop().unwrap_or_else(|| {
            self.templates.push(None);
            self.templates.len() - 1
        });
        self.templates[at] = Some(template);
        let of_leaf = self.leaves.entry(leaf).or_default();
        if of_leaf.is_empty() {
            *self.words.entry(above).or_default() += 1;
        }
        of_leaf.push(at);
        at
    }

    fn remove(&mut self, at: usize) -> Template {
        let template = self.templates[at].take().expect("only templates are removed");
        self.free.push(at);
        let of_leaf = self.leaves.get_mut(&template.leaf).expect("each template is in its leaf");
        of_leaf.retain(|other| *other != at);
        if of_leaf.is_empty() {
            self.leaves.remove(&template.leaf);
            let words = self.words.get_mut(&template.above).expect("each leaf is below something");
            *words -= 1;
            if *words == 0 {
                self.words.remove(&template.above);
            }
        }
        template
    }

    /// Orders templates by how little they would be missed.
    fn usage(&self, at: usize) -> (u64, Option<i64>, usize) {
        let template = self.templates[at].as_ref().map(|template| (template.counts.kept(), template.counts.last()));
        let (kept, last) = template.unwrap_or_default();
        (kept, last, at)
    }
}

#[cfg(test)]
mod tests;
