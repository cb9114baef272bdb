//! How a hop's calls are tried again: the pauses between attempts, and what they follow. Told from numbers alone.
//! Kept by the records of the register that saw a second attempt.

/// One millisecond.
pub(super) const MS_NS: i64 = 1_000_000;
/// Attempts whose pauses are told apart; later pauses are left out.
pub(super) const PAUSES_MAX: usize = 5;
/// Pauses that are remembered of each; the oldest go.
const KEPT_MAX: usize = 32;
/// Pauses before one can be told.
const TOLD_MIN: usize = 3;
/// Shorter pauses are what making a call takes.
const IMMEDIATE_MS: f64 = 5.0;
/// A timer is late by some of that, whatever the pause.
const TIMER_MS: f64 = 3.0;
/// Spread of the middle four fifths, of the median, beyond which pauses are jittered.
const JITTER_SHARE: f64 = 0.15;
/// Growth from pause to pause beyond which pauses grow: between none and the usual doubling, on a scale of factors.
const GROWTH: f64 = 1.3;

/// What the pauses between attempts follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Nothing was tried again, or too little to tell.
    Unknown,
    /// There is no pause.
    Immediate,
    /// One pause is known: calls are tried twice at most.
    OnePause,
    /// Pauses are alike.
    Constant,
    /// Each pause is a multiple of the one before.
    Exponential,
    /// Pauses grow, but not by one factor.
    Growing,
}

/// Pauses before each further attempt.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// Milliseconds by attempt, each a ring.
    kept: [Vec<f32>; PAUSES_MAX],
    next: [u8; PAUSES_MAX],
}

/// What is told of pauses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BackoffSeen {
    pub(super) backoff: Backoff,
    pub(super) is_jittered: bool,
    /// Factor from pause to pause.
    pub(super) growth: Option<f64>,
    /// Median of each pause, milliseconds.
    pub(super) medians_ms: Vec<f64>,
}

impl Pauses {
    pub(super) fn note(&mut self, place: usize, pause_ns: i64) {
        let (Some(kept), Some(next)) = (self.kept.get_mut(place), self.next.get_mut(place)) else { return };
        let pause_ms = (pause_ns.max(0) as f64 / MS_NS as f64) as f32;
        if kept.len() < KEPT_MAX {
            kept.push(pause_ms);
        } else {
            kept[usize::from(*next)] = pause_ms;
            *next = (*next + 1) % KEPT_MAX as u8;
        }
    }

    /// Returns what the first so many pauses follow: there may have been more attempts long ago.
    pub(super) fn seen(&self, count: usize) -> BackoffSeen {
        let known = self.kept.iter().take(count).take_while(|kept| kept.len() >= TOLD_MIN);
        let pauses: Vec<Spread> = known.map(|kept| Spread::of(kept)).collect();
        let medians_ms: Vec<f64> = pauses.iter().map(|pause| pause.median).collect();
        let told =
            |backoff, is_jittered, growth| BackoffSeen { backoff, is_jittered, growth, medians_ms: medians_ms.clone() };
        if pauses.is_empty() {
            return told(Backoff::Unknown, false, None);
        }
        if pauses.iter().all(|pause| pause.median < IMMEDIATE_MS) {
            return told(Backoff::Immediate, false, None);
        }
        let jittered = pauses.iter().filter(|pause| pause.is_wide()).count();
        let is_jittered = jittered * 2 > pauses.len();
        let Some(growth) = growth(&pauses) else { return told(Backoff::OnePause, is_jittered, None) };
        let backoff = match growth {
            _ if growth < GROWTH => Backoff::Constant,
            // Where chance varies them, how they grow cannot be told so finely.
            _ if is_jittered || is_by_one_factor(&pauses) => Backoff::Exponential,
            _ => Backoff::Growing,
        };
        told(backoff, is_jittered, Some(growth))
    }
}

/// How long a pause is, and how different from time to time.
struct Spread {
    mean: f64,
    median: f64,
    /// From the tenth to the ninetieth of a hundred.
    width: f64,
}

impl Spread {
    fn of(kept: &[f32]) -> Self {
        let mut sorted = kept.to_vec();
        sorted.sort_by(f32::total_cmp);
        let at = |share: f64| f64::from(sorted[((sorted.len() - 1) as f64 * share).round() as usize]);
        let mean = sorted.iter().map(|pause| f64::from(*pause)).sum::<f64>() / sorted.len() as f64;
        Self { mean, median: at(0.5), width: at(0.9) - at(0.1) }
    }

    fn is_wide(&self) -> bool {
        self.width > (self.median * JITTER_SHARE).max(TIMER_MS)
    }

    /// Returns how long it is: the median of what a timer makes, but of what chance makes the mean varies less.
    fn length(&self) -> f64 {
        if self.is_wide() { self.mean } else { self.median }.max(0.1)
    }
}

/// Returns the factor by which a pause is longer than the one before, over all of them; nothing for a single one.
fn growth(pauses: &[Spread]) -> Option<f64> {
    let (first, last) = (pauses.first()?, pauses.last()?);
    let steps = pauses.len() - 1;
    (steps > 0).then(|| (last.length() / first.length()).powf(1.0 / steps as f64))
}

/// Returns whether pauses do not grow ever less, as they do when a fixed time is added to each.
fn is_by_one_factor(pauses: &[Spread]) -> bool {
    let factors: Vec<f64> = pauses.windows(2).map(|pair| pair[1].length() / pair[0].length()).collect();
    match (factors.first(), factors.last()) {
        (Some(first), Some(last)) => *last >= first * 0.88,
        _ => true,
    }
}
