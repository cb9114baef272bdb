//! What follows from an attempt: delivered, again later, or given up. Asked by the worker after each attempt.
//! Pure: given the same delivery, answer and time it decides the same; even the jitter is derived from the event's id.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::state::{DueDelivery, NextStep};

/// Attempts after a refusal that a later attempt will hardly change, such as 404: enough to outlive a deployment.
const REFUSED_ATTEMPTS_MAX: u32 = 3;
/// A receiver that asks for more patience than this gets no more.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(8 * 3600);
/// Delays are moved by up to this share, so that many deliveries do not come back at once.
const JITTER_SHARE: f64 = 0.2;

/// When a failed delivery is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Delay after the first failed attempt, after the second, and so on; the last one repeats.
    pub delays: Vec<Duration>,
    /// An event older than this is given up.
    pub give_up_after: Duration,
}

/// How a receiver reacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It answered.
    Status {
        status: u16,
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
    },
    /// It could not be reached, or did not answer in time.
    None,
    /// We may not call it.
    Forbidden,
}

/// What a status means for a delivery.
enum Verdict {
    Delivered,
    Later,
    Refused,
    Gone,
}

impl Default for RetryPolicy {
    /// 5 s, 30 s, 2 min, 10 min, 30 min, then 1, 2, 4 and 8 hours, up to a day.
    fn default() -> Self {
        let delays = [5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800].map(Duration::from_secs);
        Self { delays: delays.to_vec(), give_up_after: Duration::from_secs(24 * 3600) }
    }
}

impl RetryPolicy {
    /// Returns what follows from the attempt that was just made.
    pub(super) fn next_step(&self, delivery: &DueDelivery, answer: Answer, now_ms: i64) -> NextStep {
        let attempts = delivery.attempts.saturating_add(1);
        match verdict(answer) {
            Verdict::Delivered => NextStep::Delivered,
            Verdict::Gone => NextStep::DisableTarget,
            Verdict::Refused if attempts >= REFUSED_ATTEMPTS_MAX => NextStep::GiveUp,
            Verdict::Refused | Verdict::Later if !delivery.may_retry => NextStep::GiveUp,
            Verdict::Refused | Verdict::Later => {
                let asked = match answer {
                    Answer::Status { retry_after: Some(asked), .. } => asked.min(RETRY_AFTER_MAX),
                    _ => Duration::ZERO,
                };
                let at_ms = now_ms.saturating_add(whole_ms(self.delay(&delivery.event_id, attempts).max(asked)));
                let last_ms = delivery.created_ms.saturating_add(whole_ms(self.give_up_after));
                if at_ms > last_ms { NextStep::GiveUp } else { NextStep::RetryAt { at_ms } }
            }
        }
    }

    fn delay(&self, event_id: &str, attempts: u32) -> Duration {
        let index = usize::try_from(attempts - 1).unwrap_or(usize::MAX).min(self.delays.len().saturating_sub(1));
        let delay = self.delays.get(index).copied().unwrap_or_default();
        delay.mul_f64(1.0 + JITTER_SHARE * (2.0 * fraction(event_id, attempts) - 1.0))
    }
}

fn verdict(answer: Answer) -> Verdict {
    match answer {
        Answer::None => Verdict::Later,
        Answer::Forbidden => Verdict::Refused,
        Answer::Status { status, .. } => match status {
            200..=299 => Verdict::Delivered,
            410 => Verdict::Gone,
            408 | 425 | 429 | 500..=599 => Verdict::Later,
            // A redirect is not followed: it would lead past the guard, or the operator means another address.
            _ => Verdict::Refused,
        },
    }
}

/// Returns a number from 0 to 1 that depends on nothing but the event and the attempt.
fn fraction(event_id: &str, attempts: u32) -> f64 {
    let digest = Sha256::digest(format!("{event_id}/{attempts}").as_bytes());
    f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX)
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
