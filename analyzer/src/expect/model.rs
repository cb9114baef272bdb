//! What is known of one transaction type: its stages as a tree, which of them occur together below one, and how long
//! each takes to come. Owned by `Expectations`, shared with readers as it is, and copied when it changes under them.
//! A stage is one of 64 at most, so that what a transaction did is one number, and a comparison of two is one step.

use std::sync::Arc;

use collector_table::SpanKind;

use super::delays::Delays;
use super::saga::{Declared, Saga};
use crate::hash::Map;
use crate::span::Site;

/// Stages of one type; what further operations do is not expected, and counted.
pub(super) const STAGES_MAX: usize = 64;
/// Sets of stages below one that are told apart; how often others came is counted.
const VARIANTS_MAX: usize = 32;
/// What failed transactions did, told apart; further ones are left out.
const FAILURES_MAX: usize = 64;
/// At so many occurrences all counts are halved, so that what is old fades.
const OCCURRENCES_MAX: u32 = 20_000;
/// Occurrences after which it is looked whether a variant still comes.
const EPOCH: u32 = 256;
/// Epochs in which a variant was seen, from which on it is one of the ways in which things go.
const EPOCHS_KNOWN: u8 = 2;
/// Stands for a place below a stage that is not known.
pub(super) const UNPLACED: u8 = u8::MAX;

/// Numbers of stages, as bits.
pub(super) type StageSet = u64;

/// What a transaction does at one place.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// Who does it; of several sites with these names the first.
    pub(super) site: Arc<Site>,
    /// The stage that it is below; its own number for the root.
    pub(super) parent: u8,
    pub(super) children: StageSet,
    /// Transactions in which it occurred, and in how many of them after something had failed.
    pub(super) count: u32,
    pub(super) after_failure: u32,
    /// Which sets of children came below it, when nothing there failed.
    pub(super) variants: Variants,
    /// From its cause to its start.
    pub(super) delays: Delays,
    /// From its cause to its end: when it can be known.
    pub(super) known: Delays,
    /// Transactions that lacked it although it was expected.
    pub(super) missing: u64,
}

impl Stage {
    fn new(site: Arc<Site>, parent: u8) -> Self {
        Self {
            site,
            parent,
            children: 0,
            count: 0,
            after_failure: 0,
            variants: Variants::default(),
            delays: Delays::default(),
            known: Delays::default(),
            missing: 0,
        }
    }

    /// Returns whether it is what a message leads to: it may begin long after what caused it is over.
    pub(super) fn is_message(&self) -> bool {
        self.site.kind == SpanKind::Consumer
    }

    /// Returns whether a call or message leaves a service here.
    pub(super) fn is_outgoing(&self) -> bool {
        matches!(self.site.kind, SpanKind::Client | SpanKind::Producer)
    }
}

/// A set of stages that came together below one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    pub(super) set: StageSet,
    pub(super) count: u32,
    epoch: u32,
    epochs: u8,
}

/// Which sets came, and how often.
#[derive(Debug, Clone, Default)]
pub(super) struct Variants {
    list: Vec<Variant>,
    others: u32,
    total: u32,
    /// Occurrences ever, for epochs.
    ever: u32,
}

/// How sure it is that a stage comes where certain others came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Odds {
    /// Occurrences like it with the stage.
    pub(super) with: u32,
    /// Occurrences like it.
    pub(super) of: u32,
}

impl Odds {
    pub(super) fn share(self) -> f64 {
        f64::from(self.with) / f64::from(self.of.max(1))
    }

    /// Returns whether it is so often that one more without it would not change that.
    pub(super) fn is_at_least(self, share: f64, of_min: u32) -> bool {
        self.of >= of_min && f64::from(self.with) >= share * f64::from(self.of + 1)
    }
}

impl Variants {
    fn add(&mut self, set: StageSet) {
        self.total += 1;
        self.ever = self.ever.saturating_add(1);
        let epoch = self.ever / EPOCH;
        match self.list.iter().position(|variant| variant.set == set) {
            Some(at) => {
                let variant = &mut self.list[at];
                variant.count += 1;
                if variant.epoch != epoch {
                    (variant.epoch, variant.epochs) = (epoch, variant.epochs.saturating_add(1));
                }
                // The usual ones stand first.
                if at > 0 && self.list[at - 1].count < self.list[at].count {
                    self.list.swap(at - 1, at);
                }
            }
            None if self.list.len() < VARIANTS_MAX => self.list.push(Variant { set, count: 1, epoch, epochs: 1 }),
            None => self.others += 1,
        }
        if self.total >= OCCURRENCES_MAX {
            self.list.iter_mut().for_each(|variant| variant.count /= 2);
            self.list.retain(|variant| variant.count > 0);
            self.others /= 2;
            self.total = self.list.iter().map(|variant| variant.count).sum::<u32>() + self.others;
        }
    }

    fn remove(&mut self, set: StageSet) {
        // A stage that became known since makes another set of it; that is rare and fades.
        if let Some(variant) = self.list.iter_mut().find(|variant| variant.set == set && variant.count > 0) {
            variant.count -= 1;
            self.total -= 1;
        }
    }

    /// Returns whether a set came so often that nothing in it can be missing.
    pub(super) fn is_usual(&self, set: StageSet) -> bool {
        let found = self.list.iter().find(|variant| variant.set == set);
        found.is_some_and(|variant| u64::from(variant.count) * 32 > u64::from(self.total))
    }

    /// Returns whether a set came again and again over time, however rarely.
    pub(super) fn is_known(&self, set: StageSet) -> bool {
        self.list.iter().any(|variant| variant.set == set && variant.epochs >= EPOCHS_KNOWN)
    }

    /// Returns how often a stage came where at least all of a set did. Where too many ways are not told apart, nothing
    /// is said.
    pub(super) fn odds(&self, stage: u8, given: StageSet) -> Odds {
        if u64::from(self.others) * 100 > u64::from(self.total) {
            return Odds { with: 0, of: 0 };
        }
        let like = self.list.iter().filter(|variant| variant.set & given == given);
        like.fold(Odds { with: 0, of: 0 }, |odds, variant| Odds {
            with: odds.with + if variant.set & bit(stage) == 0 { 0 } else { variant.count },
            of: odds.of + variant.count,
        })
    }

    /// Returns how often a stage came at all.
    pub(super) fn odds_overall(&self, stage: u8) -> Odds {
        let with = self.list.iter().filter(|variant| variant.set & bit(stage) != 0).map(|variant| variant.count).sum();
        Odds { with, of: self.total }
    }
}

/// What failed transactions that were alike did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) present: StageSet,
    pub(super) failed: StageSet,
    pub(super) count: u32,
}

/// One transaction type.
#[derive(Debug, Clone)]
pub(crate) struct TypeModel {
    pub(super) root: Arc<Site>,
    pub(super) stages: Vec<Stage>,
    places: Map<(u8, u64), u8>,
    /// Stages to which messages lead.
    pub(super) messages: StageSet,
    /// Arrival of the first transaction, unix nanoseconds.
    pub(super) since_ns: i64,
    /// Transactions learned from.
    pub(super) transactions: u64,
    /// Transactions that lacked spans, and nothing was learned from.
    pub(super) broken: u64,
    /// Spans of operations beyond the bound of stages.
    pub(super) left_out: u64,
    /// From start to end of whole transactions.
    pub(super) durations: Delays,
    pub(super) failures: Vec<Failure>,
    /// Failed transactions learned from.
    pub(super) failed: u32,
    /// Stages that come nearly always where their parent does.
    pub(super) usual: StageSet,
    pub(super) saga: Option<Arc<Saga>>,
    /// Failed transactions when the saga was last worked out.
    pub(super) saga_of: u32,
}

impl TypeModel {
    pub(super) fn new(root: &Arc<Site>, since_ns: i64) -> Self {
        let mut model = Self {
            root: root.clone(),
            stages: Vec::new(),
            places: Map::default(),
            messages: 0,
            since_ns,
            transactions: 0,
            broken: 0,
            left_out: 0,
            durations: Delays::default(),
            failures: Vec::new(),
            failed: 0,
            usual: 0,
            saga: None,
            saga_of: 0,
        };
        model.stages.push(Stage::new(root.clone(), 0));
        model
    }

    /// Returns the stage that an operation is below another; none if that was never seen.
    pub(super) fn place(&self, parent: u8, site: &Site) -> Option<u8> {
        self.places.get(&(parent, site.shape)).copied()
    }

    /// Returns the stage that an operation is below another, a new one if there is room.
    pub(super) fn place_or_add(&mut self, parent: u8, site: &Arc<Site>) -> Option<u8> {
        if let Some(known) = self.place(parent, site) {
            return Some(known);
        }
        if self.stages.len() >= STAGES_MAX {
            self.left_out += 1;
            return None;
        }
        let number = u8::try_from(self.stages.len()).ok()?;
        self.places.insert((parent, site.shape), number);
        self.stages[usize::from(parent)].children |= bit(number);
        let stage = Stage::new(site.clone(), parent);
        self.messages |= if stage.is_message() { bit(number) } else { 0 };
        self.stages.push(stage);
        Some(number)
    }

    pub(super) fn stage(&self, number: u8) -> &Stage {
        &self.stages[usize::from(number)]
    }

    /// Returns whether nothing can be said of what lies below a stage, because it failed or something right below did.
    pub(super) fn is_cut_short(&self, number: u8, failed: StageSet) -> bool {
        failed & (bit(number) | self.stage(number).children) != 0
    }

    /// Counts what one whole transaction did.
    pub(super) fn count(&mut self, present: StageSet, failed: StageSet, after_failure: StageSet) {
        self.transactions += 1;
        for number in members(present) {
            let stage = &mut self.stages[usize::from(number)];
            stage.count = stage.count.saturating_add(1);
            stage.after_failure += u32::from(after_failure & bit(number) != 0);
            if stage.children != 0 && failed & (bit(number) | stage.children) == 0 {
                let set = present & stage.children;
                stage.variants.add(set);
            }
        }
        if failed != 0 {
            self.count_failure(present, failed);
        }
        const USUAL_EVERY: u64 = 64;
        if self.transactions.is_multiple_of(USUAL_EVERY) {
            self.find_usual();
        }
    }

    /// Takes back what was counted of one transaction, because more of it came.
    pub(super) fn uncount(&mut self, present: StageSet, failed: StageSet) {
        self.transactions = self.transactions.saturating_sub(1);
        for number in members(present) {
            let stage = &mut self.stages[usize::from(number)];
            stage.count = stage.count.saturating_sub(1);
            if stage.children != 0 && failed & (bit(number) | stage.children) == 0 {
                stage.variants.remove(present & stage.children);
            }
        }
        let is_it = |known: &&mut Failure| (known.present, known.failed) == (present, failed);
        if let Some(known) = self.failures.iter_mut().find(is_it).filter(|_| failed != 0) {
            known.count = known.count.saturating_sub(1);
            self.failed = self.failed.saturating_sub(1);
        }
    }

    fn count_failure(&mut self, present: StageSet, failed: StageSet) {
        self.failed = self.failed.saturating_add(1);
        let is_alike = |known: &Failure| (known.present, known.failed) == (present, failed);
        match self.failures.iter().position(is_alike) {
            Some(at) => self.failures[at].count += 1,
            None if self.failures.len() < FAILURES_MAX => self.failures.push(Failure { present, failed, count: 1 }),
            None => self.left_out += 1,
        }
    }

    fn find_usual(&mut self) {
        self.usual = 0;
        for number in 1..self.stages.len() {
            let number = u8::try_from(number).unwrap_or(UNPLACED);
            let odds = self.stage(self.stage(number).parent).variants.odds_overall(number);
            if odds.is_at_least(super::SHARE_MIN, super::PASSAGE_SUPPORT_MIN) {
                self.usual |= bit(number);
            }
        }
    }

    /// Works the saga out anew, if stages were added or enough failed since it was last done.
    pub(super) fn renew_saga(&mut self, declared: &[Declared], has_new_stages: bool) {
        const SAGA_EVERY: u32 = 8;
        if has_new_stages || self.failed >= self.saga_of + SAGA_EVERY {
            self.saga_of = self.failed;
            self.saga = super::saga::of(self, declared).map(Arc::new);
        }
    }
}

/// Returns a set of one stage.
pub(super) fn bit(number: u8) -> StageSet {
    1_u64.checked_shl(u32::from(number)).unwrap_or(0)
}

/// Returns the numbers in a set.
pub(super) fn members(mut set: StageSet) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let number = u8::try_from(set.trailing_zeros()).unwrap_or(UNPLACED);
        (set != 0).then(|| {
            set &= set - 1;
            number
        })
    })
}
