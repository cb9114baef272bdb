//! What services write to their logs: templates of the lines, mined while they come, and how often each is written. Fed by
//! the detector; what is new or surges near the onset of an incident becomes evidence of it (`logs/evidence.rs`).
//! Must never open, update or end an incident: what stands out in a log is a reason to believe, not a reason to wake.

mod counts;
mod evidence;
mod judge;
mod mask;
mod miner;
mod template;

use std::sync::Arc;

use collector_table::{LogRow, LogTable};

use self::counts::{BLOCKS_KEPT, Counts};
use self::mask::Line;
use self::miner::{Miner, Place};
use self::template::{Identity, Template, text_of};
use super::block_of;
use crate::hash::{Map, Set};

/// Services whose lines are mined; lines of further ones are not looked at, and counted.
const SERVICES_MAX: usize = 1_000;
/// Templates of all services together; beyond, who needs a new one folds its own, and has at least that one.
const TEMPLATES_MAX: usize = 4_000;
/// Folded templates that are remembered, so that they are not new when they come back: of two generations the older goes.
const FOLDED_MAX: usize = 16_384;

/// Templates of all services.
#[derive(Debug, Default)]
pub(super) struct Logs {
    ids: Map<Arc<str>, usize>,
    services: Vec<Service>,
    templates_count: usize,
    folded: Folded,
    /// Last block in which a line was written.
    clock: Option<i64>,
    /// Block in which was last looked for a service that makes room.
    looked: Option<i64>,
    /// Block from which on no line was missed, as far as is known.
    whole_from: Option<i64>,
    of_further_services: u64,
    too_old: u64,
    line: Line,
}

/// What is known of the lines of one service.
#[derive(Debug)]
struct Service {
    name: Arc<str>,
    miner: Miner,
    /// All its lines.
    lines: Counts,
    /// Templates that began.
    births: Counts,
    /// Block of the first line.
    first: i64,
}

/// Births of templates that were folded.
#[derive(Debug, Default)]
struct Folded {
    generations: [Set<u64>; 2],
    count: u64,
}

impl Logs {
    /// Takes in log records that arrived at `now_ns`; one that says to be of later counts as written then.
    pub(super) fn read(&mut self, table: &LogTable, now_ns: i64) {
        table.rows().for_each(|row| self.read_row(&row, row.time_ns.min(now_ns)));
    }

    /// States that lines which were written before `until_ns` may be missing: what is new or more often is known only when
    /// there was time to watch since then.
    pub(super) fn miss(&mut self, until_ns: i64) {
        self.whole_from = self.whole_from.max(Some(block_of(until_ns) + 1));
    }

    /// Returns what happened at bounds, by name.
    pub(super) fn at_bounds(&self) -> [(&'static str, u64); 3] {
        [
            ("log_templates_folded", self.folded.count),
            ("log_records_of_further_services", self.of_further_services),
            ("log_records_too_old", self.too_old),
        ]
    }

    fn service(&self, name: &str) -> Option<&Service> {
        self.ids.get(name).map(|at| &self.services[*at])
    }

    fn read_row(&mut self, row: &LogRow<'_>, time_ns: i64) {
        let block = block_of(time_ns);
        let clock = self.clock.map_or(block, |clock| clock.max(block));
        self.clock = Some(clock);
        if block <= clock - BLOCKS_KEPT {
            self.too_old += 1;
            return;
        }
        let known = self.ids.get(row.service_name).copied();
        let Some(at) = known.or_else(|| self.begin(row.service_name, block, clock)) else {
            self.of_further_services += 1;
            return;
        };
        let service = &mut self.services[at];
        service.first = service.first.min(block);
        service.lines.add(block);
        self.line.read(text_of(row));
        let before = service.miner.len();
        let is_full = self.templates_count >= TEMPLATES_MAX;
        let fold = |template: Template| self.folded.remember(template.birth);
        let place = service.miner.place(&Identity::of(row), &self.line, is_full, fold);
        self.templates_count = self.templates_count - before + service.miner.len();
        let (Place::Known(template) | Place::New(template)) = place;
        let Some(template) = service.miner.get_mut(template) else { return };
        if place.is_new() {
            template.was_folded = self.folded.contains(template.birth);
            service.births.add(block);
        }
        template.add(row, time_ns, block);
    }

    /// Returns the place of a service that was not known, if there is one: that of one which is silent for longer than is
    /// kept makes room for it. That is looked for once a block, however many lines ask.
    fn begin(&mut self, name: &str, block: i64, clock: i64) -> Option<usize> {
        let service = Service::new(name.into(), block);
        let at = if self.services.len() < SERVICES_MAX {
            self.services.push(service);
            self.services.len() - 1
        } else {
            if self.looked.replace(clock) == Some(clock) {
                return None;
            }
            let is_silent = |service: &Service| service.lines.last().is_none_or(|last| last <= clock - BLOCKS_KEPT);
            let at = self.services.iter().position(is_silent)?;
            let gone = std::mem::replace(&mut self.services[at], service);
            self.ids.remove(&gone.name);
            self.templates_count -= gone.miner.len();
            at
        };
        self.ids.insert(self.services[at].name.clone(), at);
        Some(at)
    }
}

impl Service {
    fn new(name: Arc<str>, block: i64) -> Self {
        let (lines, births) = (Counts::default(), Counts::default());
        Self { name, miner: Miner::default(), lines, births, first: block }
    }
}

impl Folded {
    fn remember(&mut self, birth: u64) {
        self.count += 1;
        if self.generations[0].len() >= FOLDED_MAX {
            self.generations.swap(0, 1);
            self.generations[0].clear();
        }
        self.generations[0].insert(birth);
    }

    fn contains(&self, birth: u64) -> bool {
        self.generations.iter().any(|generation| generation.contains(&birth))
    }
}

#[cfg(test)]
pub(super) mod tests;
