//! Callers with policies that are drawn by a seed: the register must name nearly all of them, and must never see a
//! timeout where there is none. Latencies, errors and outages are drawn, too.

use collector_table::{SpanFields, SpanId, SpanKind, SpanTableBuilder, StatusCode, TraceId, ValueType};

use super::{Backoff, HopHazards, Reliance, Shop, TimeoutState};
use crate::fixture::dice::Dice;

const WORLDS: u64 = 80;
const SECOND_NS: i64 = 1_000_000_000;
const MS_NS: f64 = 1e6;
/// Executions of the caller, and the pause between two.
const EXECUTIONS: u64 = 3_000;
const PER_TABLE: u64 = 100;
const PAUSE_NS: i64 = SECOND_NS / 10;
/// Failures in a row that open a breaker.
const TRIP: u32 = 5;

#[test]
fn policies_that_are_drawn_are_named_and_no_timeout_is_made_up() {
    let mut wrong: Vec<String> = Vec::new();
    let mut made_up = 0;
    let (mut timeouts, mut retries, mut breakers, mut fallbacks) = (0, 0, 0, 0);
    for seed in 0..WORLDS {
        let mut world = World::draw(seed);
        let hop = world.run();
        let policy = &world.policy;
        let mut check = |count: &mut u64, is_right: bool, what: &str, seen: String| {
            *count += u64::from(is_right);
            if !is_right {
                wrong.push(format!("{seed}: {what}: {seen}; {policy:?}"));
            }
        };
        let value = hop.timeout.value_ms.filter(|_| hop.timeout.state == TimeoutState::CutOff);
        made_up += u64::from(policy.timeout_ms.is_none() && value.is_some());
        check(&mut timeouts, is_value(value, policy.timeout_ms), "timeout", format!("{:?}", hop.timeout));
        check(&mut retries, is_retried(&hop, policy), "retries", format!("{:?}", hop.retries));
        let periods = hop.breaker.periods.len();
        check(&mut breakers, (periods > 0) == policy.breaker_s.is_some(), "breaker", format!("{:?}", hop.breaker));
        let reliance = if policy.has_fallback { Reliance::Optional } else { Reliance::Critical };
        check(&mut fallbacks, hop.fallback.reliance == reliance, "fallback", format!("{:?}", hop.fallback));
    }
    let told = wrong.join("\n");
    assert_eq!(made_up, 0, "{told}");
    for (name, right) in
        [("timeouts", timeouts), ("retries", retries), ("breakers", breakers), ("fallbacks", fallbacks)]
    {
        assert!(right * 100 >= WORLDS * 95, "{name}: {right} of {WORLDS}\n{told}");
    }
}

fn is_value(seen_ms: Option<f64>, policy_ms: Option<f64>) -> bool {
    match (seen_ms, policy_ms) {
        (Some(seen), Some(policy)) => (seen - policy).abs() <= policy * 0.05,
        (None, None) => true,
        _ => false,
    }
}

fn is_retried(hop: &HopHazards, policy: &Policy) -> bool {
    let seen = &hop.retries;
    let backoff = match policy.backoff {
        _ if policy.retries == 0 => Backoff::Unknown,
        Pause::None => Backoff::Immediate,
        Pause::Constant => Backoff::Constant,
        Pause::Exponential => Backoff::Exponential,
    };
    let is_jittered = policy.retries > 0 && policy.backoff != Pause::None && policy.is_jittered;
    (seen.attempts_max, seen.backoff, seen.is_jittered) == (policy.retries + 1, backoff, is_jittered)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Pause {
    None,
    Constant,
    Exponential,
}

#[derive(Debug)]
struct Policy {
    timeout_ms: Option<f64>,
    retries: u32,
    backoff: Pause,
    base_ms: f64,
    is_jittered: bool,
    breaker_s: Option<i64>,
    has_fallback: bool,
    is_instrumented: bool,
}

/// How the called one does.
#[derive(Debug)]
struct Callee {
    median_ms: f64,
    spread: f64,
    /// Share of calls that hang, and how long.
    hang_share: f64,
    hang_ms: f64,
    error_share: f64,
    error_ms: f64,
    error_spread: f64,
}

struct World {
    chance: Dice,
    policy: Policy,
    callee: Callee,
    /// Ends of logical calls that are still to come, with whether they failed.
    pending: Vec<(i64, bool)>,
    failed_in_row: u32,
    open_until_ns: i64,
    spans: u64,
}

/// One attempt that was made.
struct Made {
    start_ns: i64,
    end_ns: i64,
    callee_end_ns: i64,
    has_failed: bool,
    callee_failed: bool,
}

impl World {
    fn draw(seed: u64) -> Self {
        let mut chance = Dice(seed);
        let policy = Policy {
            timeout_ms: chance.one_of([None, Some(200.0), Some(1_000.0)]),
            retries: chance.one_of([0, 2, 5]),
            backoff: chance.one_of([Pause::None, Pause::Constant, Pause::Exponential]),
            base_ms: chance.between(40.0, 200.0),
            is_jittered: chance.one_of([false, true]),
            breaker_s: chance.one_of([None, Some(10), Some(25)]),
            has_fallback: chance.one_of([false, true]),
            is_instrumented: chance.one_of([false, true]),
        };
        let callee = Callee {
            median_ms: chance.between(4.0, 40.0),
            spread: chance.between(0.2, 0.6),
            hang_share: chance.between(0.01, 0.04),
            hang_ms: chance.between(2_000.0, 8_000.0),
            error_share: chance.between(0.02, 0.05),
            error_ms: chance.between(2.0, 120.0),
            error_spread: chance.between(0.1, 0.7),
        };
        let (pending, spans) = (Vec::new(), 0);
        Self { chance, policy, callee, pending, failed_in_row: 0, open_until_ns: i64::MIN, spans }
    }

    fn run(&mut self) -> HopHazards {
        let mut shop = Shop::default();
        let begin_ns = 1_700_000_000 * SECOND_NS;
        let mut builder = SpanTableBuilder::default();
        for number in 0..EXECUTIONS {
            let start_ns = begin_ns + i64::try_from(number).unwrap() * PAUSE_NS;
            // Two outages, of half a minute each.
            let is_outage = matches!(number, 800..1_100 | 2_000..2_300);
            self.execute(&mut builder, number, start_ns, is_outage);
            if number % PER_TABLE == PER_TABLE - 1 {
                shop.add(&std::mem::take(&mut builder).finish());
            }
        }
        let callee = if self.policy.is_instrumented { "pay" } else { "pay:80" };
        shop.hop(callee)
    }

    fn execute(&mut self, builder: &mut SpanTableBuilder, number: u64, start_ns: i64, is_outage: bool) {
        let is_called = !self.is_open(start_ns);
        let made = if is_called { self.call(start_ns + SECOND_NS / 1_000, is_outage) } else { Vec::new() };
        let has_failed = made.last().is_none_or(|made| made.has_failed);
        let end_ns = made.last().map_or(start_ns + 3_000_000, |made| made.end_ns + 1_000_000);
        if is_called {
            self.pending.push((end_ns, has_failed));
        }
        let trace = TraceId(u128::from(number + 1).to_be_bytes());
        let root = self.span_id();
        let is_error = has_failed && !self.policy.has_fallback;
        append(builder, trace, (root, None), ("web", "GET /page", SpanKind::Server), (start_ns, end_ns), is_error);
        for one in made {
            let call = self.span_id();
            builder.push_attribute("server.address", "pay", ValueType::String);
            builder.push_attribute("server.port", "80", ValueType::Int);
            let times = (one.start_ns, one.end_ns);
            append(builder, trace, (call, Some(root)), ("web", "POST", SpanKind::Client), times, one.has_failed);
            if self.policy.is_instrumented {
                let (ids, times) = ((self.span_id(), Some(call)), (one.start_ns + 300_000, one.callee_end_ns));
                let does = ("pay", "POST /charge", SpanKind::Server);
                append(builder, trace, ids, does, times, one.callee_failed);
            }
        }
    }

    /// Returns whether the breaker keeps from calling.
    fn is_open(&mut self, now_ns: i64) -> bool {
        let Some(open_s) = self.policy.breaker_s else { return false };
        let mut ended: Vec<(i64, bool)> = Vec::new();
        self.pending.retain(|call| {
            let has_ended = call.0 <= now_ns;
            ended.extend(has_ended.then_some(*call));
            !has_ended
        });
        ended.sort_unstable();
        for (end_ns, has_failed) in ended {
            self.failed_in_row = if has_failed { self.failed_in_row + 1 } else { 0 };
            // One that fails after the pause opens it again.
            if self.failed_in_row >= TRIP && end_ns >= self.open_until_ns {
                self.open_until_ns = end_ns + open_s * SECOND_NS;
            }
        }
        now_ns < self.open_until_ns
    }

    fn call(&mut self, mut start_ns: i64, is_outage: bool) -> Vec<Made> {
        let mut made = Vec::new();
        for attempt in 0..=self.policy.retries {
            let one = self.attempt(start_ns, is_outage);
            let (has_failed, end_ns) = (one.has_failed, one.end_ns);
            made.push(one);
            if !has_failed {
                break;
            }
            start_ns = end_ns + self.pause_ns(attempt);
        }
        made
    }

    fn attempt(&mut self, start_ns: i64, is_outage: bool) -> Made {
        let callee = &self.callee;
        let draw = self.chance.share();
        let error_share = if is_outage { 0.95 } else { callee.error_share };
        let is_error = draw < error_share;
        let hangs = !is_error && draw < error_share + callee.hang_share;
        let (median_ms, spread) = match () {
            () if is_error => (callee.error_ms, callee.error_spread),
            () if hangs => (callee.hang_ms, 0.5),
            () => (callee.median_ms, callee.spread),
        };
        let lasts_ms = 1.0 + median_ms * (self.chance.normal() * spread).exp();
        let late_ms = 0.3 - self.chance.share().max(1e-9).ln() * 0.8;
        let ends_ns = |ms: f64| start_ns + (ms * MS_NS) as i64;
        let cut_ms = self.policy.timeout_ms.filter(|timeout_ms| lasts_ms > *timeout_ms);
        Made {
            start_ns,
            end_ns: ends_ns(cut_ms.map_or(lasts_ms, |timeout_ms| timeout_ms + late_ms)),
            callee_end_ns: ends_ns(lasts_ms - 0.5),
            has_failed: is_error || cut_ms.is_some(),
            callee_failed: is_error,
        }
    }

    fn pause_ns(&mut self, attempt: u32) -> i64 {
        let base_ms = match self.policy.backoff {
            Pause::None => return 200_000,
            Pause::Constant => self.policy.base_ms,
            Pause::Exponential => self.policy.base_ms * f64::from(1u32 << attempt),
        };
        // Equal jitter: half of it is by chance.
        let share = if self.policy.is_jittered { 0.5 + self.chance.share() * 0.5 } else { 1.0 };
        ((base_ms * share + self.chance.share() * 0.8) * MS_NS) as i64
    }

    fn span_id(&mut self) -> SpanId {
        self.spans += 1;
        SpanId(self.spans.to_be_bytes())
    }
}

fn append(
    builder: &mut SpanTableBuilder,
    trace_id: TraceId,
    (span_id, parent_span_id): (SpanId, Option<SpanId>),
    (service_name, name, kind): (&str, &str, SpanKind),
    (start_ns, end_ns): (i64, i64),
    is_error: bool,
) {
    builder.append(&SpanFields {
        trace_id,
        span_id,
        parent_span_id,
        trace_state: None,
        flags: 0,
        service_name,
        service_instance: None,
        service_version: None,
        name,
        kind,
        start_ns,
        end_ns,
        status_code: if is_error { StatusCode::Error } else { StatusCode::Unset },
        status_message: None,
        scope_name: None,
        scope_version: None,
        dropped: [0; 3],
    });
}

impl Dice {
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.share() * (high - low)
    }

    fn one_of<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        choices[((self.share() * N as f64) as usize).min(N - 1)]
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.share().max(1e-12).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
}
