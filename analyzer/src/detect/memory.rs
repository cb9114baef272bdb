//! What is usual over days, as it is kept beyond a restart: how far signals were off at each hour, how times and calls grew,
//! and which versions were seen. The analyzer's owner asks for it now and then, and has it recalled once, before anything is
//! read back. Knows no file and no format: it is plain values for serde. Bounded by what is kept of signals and pairs.

use serde::{Deserialize, Serialize};

use super::season::Season;
use super::signals::{Scope, Signal};
use super::steps::Step;
use super::trend::Trend;
use super::{Detector, block_of, block_start_ns};

/// Signals, and pairs of operations, that are kept, those known for longest; of further ones it is learned anew. Each is two
/// kilobytes or less in most formats.
const SIGNALS_MAX: usize = 2_000;
const PAIRS_MAX: usize = 2_000;
/// Event time by which a memory may be ahead of the last span: spans that are read back start before they are judged.
const AHEAD_MAX_NS: i64 = 3_600_000_000_000;

/// What is kept, by the version of its form. A form that is not known here is recognised, and of no use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum LongMemory {
    /// The form of today.
    #[serde(rename = "1")]
    V1(Usual),
    /// Any other.
    #[serde(other)]
    Unknown,
}

/// What is usual over days.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// Event time up to which it tells, unix nanoseconds.
    judged_ns: i64,
    signals: Vec<SignalMemory>,
    pairs: Vec<PairMemory>,
    services: Vec<VersionsMemory>,
}

/// What a signal is about, by names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum About {
    Service(String),
    Operation(String, String),
    Hop(String, String),
}

/// What is kept of one signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SignalMemory {
    about: About,
    /// Hours in which it was off.
    hours: Vec<HourMemory>,
    trend: Option<TrendMemory>,
}

/// Number of an hour, by how far the mean log ratio was shifted, and which share took long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct HourMemory(pub(super) i64, pub(super) f32, pub(super) f32);

/// A trend: number of its first bucket, blocks in a bucket, and of each bucket how many values, and the sum of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TrendMemory {
    pub(super) first: i64,
    pub(super) blocks: i64,
    pub(super) buckets: Vec<(f32, f32)>,
}

/// What is kept of the calls from one operation to another, by their shapes, which are the same in every build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PairMemory {
    caller: u64,
    called: u64,
    trend: TrendMemory,
}

/// Versions of a service, each with the block in which it was first seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct VersionsMemory {
    pub(super) service: String,
    pub(super) versions: Vec<(String, i64)>,
}

/// Why what was kept is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Its form is of another version of this program.
    UnknownVersion,
    /// It tells of later than the last span, so that it is of other spans.
    Ahead,
    /// Something was learned already, which it must not replace.
    TooLate,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::UnknownVersion => "its form is of another version of this program",
            Self::Ahead => "it tells of later than the last span",
            Self::TooLate => "something was learned before it was read",
        })
    }
}

impl std::error::Error for Unfit {}

impl Detector {
    /// Returns what is usual over days, up to the last block that was judged; nothing before the first.
    pub fn remember(&self) -> Option<LongMemory> {
        self.judged?;
        let signals = self.signals.list.iter().filter_map(|(_, scope, signal)| self.signal_memory(scope, signal));
        let pairs = self.signals.chatty.pairs.iter().filter_map(|(_, &(caller, called), pair)| {
            let trend = pair.trend.kept()?;
            Some(PairMemory { caller, called, trend })
        });
        Some(LongMemory::V1(Usual {
            judged_ns: self.judged_ns(),
            signals: signals.take(SIGNALS_MAX).collect(),
            pairs: pairs.take(PAIRS_MAX).collect(),
            services: self.changes.kept(),
        }))
    }

    fn signal_memory(&self, scope: &Scope, signal: &Signal) -> Option<SignalMemory> {
        let about = match scope {
            Scope::Service(service) => About::Service(service.to_string()),
            Scope::Hop(from, to) => About::Hop(from.to_string(), to.to_string()),
            Scope::Operation(step) => {
                let step = self.signals.steps.slots.key(*step)?;
                About::Operation(step.service.to_string(), step.operation.to_string())
            }
            // What comes back each night is asked of the parts.
            Scope::Whole(_) => return None,
        };
        let (hours, trend) = (signal.season.kept(), signal.trend.kept());
        (!hours.is_empty() || trend.is_some()).then_some(SignalMemory { about, hours, trend })
    }

    /// Takes over what was kept before a restart, before anything else is taken in; the last span that is known started at
    /// `last_ns`. What of it cannot be is left out.
    ///
    /// # Errors
    /// When it is of no use, and why; nothing is taken over then.
    pub fn recall(&mut self, memory: &LongMemory, last_ns: i64) -> Result<(), Unfit> {
        let LongMemory::V1(usual) = memory else { return Err(Unfit::UnknownVersion) };
        if usual.judged_ns > last_ns.saturating_add(AHEAD_MAX_NS) {
            return Err(Unfit::Ahead);
        }
        if self.judged.is_some() || self.signals.list.len() > 0 {
            return Err(Unfit::TooLate);
        }
        let block = block_of(usual.judged_ns) - 1;
        debug_assert!(block_start_ns(block) <= usual.judged_ns);
        for one in usual.signals.iter().take(SIGNALS_MAX) {
            self.recall_signal(one, block);
        }
        let pairs = &mut self.signals.chatty.pairs;
        for one in usual.pairs.iter().take(PAIRS_MAX) {
            let Some(trend) = Trend::recalled(&one.trend, block) else { continue };
            let id = pairs.id((one.caller, one.called), block);
            if let Some(pair) = id.and_then(|id| pairs.get_mut(id)) {
                pair.trend = trend;
            }
        }
        self.changes.recall(&usual.services);
        Ok(())
    }

    fn recall_signal(&mut self, one: &SignalMemory, block: i64) {
        let scope = match &one.about {
            About::Service(service) => Some(Scope::Service(service.as_str().into())),
            About::Hop(from, to) => Some(Scope::Hop(from.as_str().into(), to.as_str().into())),
            About::Operation(service, operation) => {
                let step = Step::of_whole(service.as_str().into(), operation.as_str().into());
                self.signals.steps.slots.id(step, block).map(Scope::Operation)
            }
        };
        let id = scope.and_then(|scope| self.signals.list.id(scope, block));
        let Some(signal) = id.and_then(|id| self.signals.list.get_mut(id)) else { return };
        signal.season.recall(&one.hours, Season::hour_of(block));
        if let Some(trend) = one.trend.as_ref().and_then(|trend| Trend::recalled(trend, block)) {
            signal.trend = trend;
        }
    }
}

#[cfg(test)]
mod tests;
