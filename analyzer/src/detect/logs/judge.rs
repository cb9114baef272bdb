//! Which templates of a service stand out near the onset of an incident: new ones, those that are written more often than
//! traffic explains, and those that are not written any more. Called when an incident is told, never to open one.
//! Must never call new what there was no time to know.

use super::counts::Counts;
use super::template::Template;
use super::{Logs, Service};
use crate::detect::block_start_ns;
use crate::detect::rates::log10_binomial_tail;

/// Blocks before the onset that are neither before nor after: a cause comes before what it causes, and an onset is estimated.
pub(super) const MARGIN_BLOCKS: i64 = 6;
/// Blocks that are compared with: half an hour, and how many must have been watched.
const BEFORE_BLOCKS: i64 = 180;
const BEFORE_BLOCKS_MIN: i64 = 60;
/// Lines that a service must have written in them: of one that hardly writes it is not known what is new.
const BEFORE_LINES_MIN: u64 = 5;
/// Blocks since the onset that count: ten minutes. What comes later is the incident's own noise.
pub(super) const NOW_BLOCKS: i64 = 60;
/// Blocks without a line from which on silence means something.
const SILENT_BLOCKS_MIN: i64 = 6;
/// Chance of a mistake over all templates that are looked at.
const CHANCE_MAX: f64 = 1e-3;
/// Factor, beyond that of traffic, by which a template must be written more often, and lines.
const SURGE_FACTOR_MIN: f64 = 2.0;
const SURGE_LINES_MIN: u64 = 5;
/// Blocks around the onset within which the first new template for long is told however seldom it is written.
const NEAR_BLOCKS: i64 = 30;

/// How a template stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Never seen before.
    New,
    /// Written more often than traffic explains.
    Surging,
    /// Not written any more.
    Silent,
}

/// A template that stands out, and the counts that say so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finding<'a> {
    pub(super) template: &'a Template,
    pub(super) stand: Stand,
    pub(super) before: u64,
    pub(super) before_blocks: i64,
    pub(super) now: u64,
    pub(super) now_blocks: i64,
    /// How many times as often as traffic explains; nothing of what was not written before.
    pub(super) factor: Option<f64>,
    /// Minus the decimal logarithm of the chance that nothing changed.
    pub(super) surprise: f64,
}

/// Blocks that are compared: `before..until` with `onset..end`.
#[derive(Debug, Clone, Copy)]
struct Span {
    before: i64,
    until: i64,
    onset: i64,
    end: i64,
}

impl Logs {
    /// Returns how many templates of a service are looked at, if it was watched long enough before the onset to tell.
    pub(super) fn watched(&self, name: &str, onset: i64, block: i64) -> Option<usize> {
        let service = self.service(name)?;
        self.span(service, onset, block).map(|_| service.miner.len())
    }

    /// Returns what stands out in the lines of a service, of `tested` templates that are looked at. `traffic` says how many
    /// transactions a block went through it in a range of blocks, if that is known.
    pub(super) fn findings(
        &self,
        name: &str,
        (onset, block): (i64, i64),
        tested: usize,
        traffic: impl Fn(i64, i64) -> Option<f64>,
    ) -> Vec<Finding<'_>> {
        let Some(service) = self.service(name) else { return Vec::new() };
        let Some(span) = self.span(service, onset, block) else { return Vec::new() };
        let needed = -(CHANCE_MAX / tested.max(1) as f64).log10();
        let growth = traffic(span.onset, span.end).zip(traffic(span.before, span.until));
        let growth = growth.filter(|(_, before)| *before > 0.0).map(|(now, before)| now / before);
        let judged = service.miner.iter().filter_map(|template| {
            let growth = growth.unwrap_or_else(|| span.growth_of_others(&service.lines, &template.counts));
            span.judge(service, template, growth, needed)
        });
        judged.collect()
    }

    /// Returns what is compared; nothing if too little was seen before the onset.
    fn span(&self, service: &Service, onset: i64, block: i64) -> Option<Span> {
        let until = onset - MARGIN_BLOCKS;
        let before = (until - BEFORE_BLOCKS).max(service.first).max(self.whole_from.unwrap_or(i64::MIN));
        // Logs may be behind spans: what is not here yet is not missing.
        let end = (block.min(onset + NOW_BLOCKS - 1).min(service.lines.last()?) + 1).max(onset);
        let is_known = until - before >= BEFORE_BLOCKS_MIN && service.lines.between(before, until) >= BEFORE_LINES_MIN;
        is_known.then_some(Span { before, until, onset, end })
    }
}

impl Span {
    /// Returns by what factor everything else grew that the service writes: where spans tell of no traffic.
    fn growth_of_others(&self, lines: &Counts, own: &Counts) -> f64 {
        let others = |from, to| lines.between(from, to).saturating_sub(own.between(from, to)) as f64;
        let before = others(self.before, self.until) / (self.until - self.before) as f64;
        let now = others(self.onset, self.end) / (self.end - self.onset).max(1) as f64;
        if before > 0.0 { now / before } else { 1.0 }
    }

    fn judge<'a>(&self, service: &Service, template: &'a Template, growth: f64, needed: f64) -> Option<Finding<'a>> {
        let counts = &template.counts;
        let before = counts.between(self.before, self.until);
        let is_new = before == 0 && !template.was_folded && template.first_ns >= block_start_ns(self.until);
        let from = if is_new { self.until } else { self.onset };
        let finding = Finding {
            template,
            stand: if is_new { Stand::New } else { Stand::Surging },
            before,
            before_blocks: self.until - self.before,
            now: counts.between(from, self.end),
            now_blocks: self.end - from,
            factor: None,
            surprise: 0.0,
        };
        if finding.now_blocks == 0 {
            return None;
        }
        match () {
            () if is_new => self.judge_new(service, finding, needed),
            () if finding.now > 0 => surging(finding, growth.max(1.0), self.clump(counts), needed),
            () => silent(finding, growth.min(1.0), self.clump(counts), needed),
        }
    }

    fn clump(&self, counts: &Counts) -> f64 {
        counts.clump(self.before, self.until)
    }

    /// What is new is told if so many lines can be no chance; or if it is the first new one for long, near the onset.
    fn judge_new<'a>(&self, service: &Service, finding: Finding<'a>, needed: f64) -> Option<Finding<'a>> {
        let surprise = finding.surprise_of_more(1.0, 1.0);
        let recent = i64::midpoint(self.before, self.until);
        let is_first_for_long = service.births.between(recent, self.until) == 0;
        let is_near = finding.template.first_ns < block_start_ns(self.onset + NEAR_BLOCKS);
        let is_told = surprise >= needed || is_first_for_long && is_near;
        (finding.now > 0 && is_told).then_some(Finding { surprise, ..finding })
    }
}

impl Finding<'_> {
    /// Returns minus the decimal logarithm of the chance of so many lines now or more, of all that there were: of two
    /// Poisson counts, each line is of either by the lengths of both times (Przyborowski, Wilenski, Biometrika 1940).
    fn surprise_of_more(&self, growth: f64, clump: f64) -> f64 {
        let (now, before) = (self.now as f64 / clump, self.before as f64 / clump);
        let share = share(self, growth);
        -log10_binomial_tail(now, now + before, share)
    }
}

fn share(finding: &Finding<'_>, growth: f64) -> f64 {
    let now = finding.now_blocks as f64 * growth;
    now / (now + finding.before_blocks as f64)
}

fn surging<'a>(finding: Finding<'a>, growth: f64, clump: f64, needed: f64) -> Option<Finding<'a>> {
    let expected = finding.before as f64 / finding.before_blocks as f64 * finding.now_blocks as f64 * growth;
    let factor = (finding.before > 0).then(|| finding.now as f64 / expected);
    let is_large = finding.now >= SURGE_LINES_MIN && factor.is_none_or(|factor| factor >= SURGE_FACTOR_MIN);
    let surprise = finding.surprise_of_more(growth, clump);
    (is_large && surprise >= needed).then_some(Finding { factor, surprise, ..finding })
}

fn silent<'a>(finding: Finding<'a>, growth: f64, clump: f64, needed: f64) -> Option<Finding<'a>> {
    if finding.now_blocks < SILENT_BLOCKS_MIN {
        return None;
    }
    let surprise = -(finding.before as f64 / clump) * (1.0 - share(&finding, growth)).log10();
    (surprise >= needed).then_some(Finding { stand: Stand::Silent, factor: Some(0.0), surprise, ..finding })
}
