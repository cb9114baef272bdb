//! The retry schedule: answers in, the time of each attempt out.

use std::time::Duration;

use insta::assert_snapshot;

use super::{Answer, RetryPolicy};
use crate::state::{DueDelivery, NextStep};

/// Returns when each attempt is made if every attempt gets this answer, and how it ends.
fn attempts(answer: Answer, may_retry: bool) -> String {
    let mut now_ms = 0;
    let mut lines = Vec::new();
    for attempts in 0.. {
        let delivery = DueDelivery {
            seq: 1,
            event_id: "msg_1".to_owned(),
            body: String::new(),
            attempts,
            may_retry,
            created_ms: 0,
            next_attempt_ms: now_ms,
        };
        lines.push(format!("{} s", now_ms / 1000));
        match RetryPolicy::default().next_step(&delivery, answer, now_ms) {
            NextStep::RetryAt { at_ms } => now_ms = at_ms,
            end => {
                lines.push(format!("{end:?}"));
                break;
            }
        }
    }
    lines.join(", ")
}

fn status(status: u16) -> Answer {
    Answer::Status { status, retry_after: None }
}

#[test]
fn failures_are_retried_for_a_day_with_jitter() {
    let expected = attempts(status(500), true);
    assert_snapshot!(expected, @"0 s, 5 s, 34 s, 135 s, 790 s, 2911 s, 7172 s, 15503 s, 28720 s, 61510 s, 84840 s, GiveUp");
    for same in [Answer::None, status(408), status(425), status(429), status(503), status(599)] {
        assert_eq!(attempts(same, true), expected, "{same:?}");
    }
}

#[test]
fn jitter_stays_within_a_fifth_and_differs_between_events() {
    let policy = RetryPolicy::default();
    let delays: Vec<Duration> = (0..100).map(|event| policy.delay(&format!("msg_{event}"), 2)).collect();
    assert!(delays.iter().all(|delay| (24.0..=36.0).contains(&delay.as_secs_f64())), "{delays:?}");
    assert!(delays.iter().min() < delays.iter().max());
}

#[test]
fn what_a_retry_will_hardly_mend_gets_three_attempts() {
    let expected = attempts(status(404), true);
    assert_snapshot!(expected, @"0 s, 5 s, 34 s, GiveUp");
    for same in [status(302), status(400), status(401), status(413), Answer::Forbidden] {
        assert_eq!(attempts(same, true), expected, "{same:?}");
    }
}

#[test]
fn an_answer_can_end_it_at_once() {
    assert_eq!(attempts(status(204), true), "0 s, Delivered");
    assert_eq!(attempts(status(410), true), "0 s, DisableTarget");
    assert_eq!(attempts(status(500), false), "0 s, GiveUp");
}

#[test]
fn retry_after_is_honoured_up_to_a_bound() {
    let asking = |seconds| Answer::Status { status: 503, retry_after: Some(Duration::from_secs(seconds)) };
    assert!(attempts(asking(7200), true).starts_with("0 s, 7200 s, 14400 s, 21600 s"));
    // Never sooner than the schedule, never later than eight hours.
    assert_eq!(attempts(asking(0), true), attempts(status(503), true));
    assert_eq!(attempts(asking(u64::MAX), true), "0 s, 28800 s, 57600 s, 86400 s, GiveUp");
}
