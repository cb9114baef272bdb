//! The simulated shop: plays the recipes and says which spans end, and which log records are written, in any stretch
//! of event time. Used by `demo::run`. A pure function of seed and times: it must never read a clock or keep a state,
//! so that however time is cut into batches, the same spans come out.

use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::chance::Chance;
use super::recipes::{self, Call, Entry, Step};
use super::telling::{self, Place, Played, Subject, Told};

const SECOND_NS: u64 = 1_000_000_000;
/// No transaction is longer: the recipes' medians, times the largest factor of chance, times the slow-down.
const LONGEST_NS: u64 = 5 * SECOND_NS;
/// Log-normal spread of everything that takes time: the 99th percentile is 2.2 times the median.
const SIGMA: f64 = 0.34;
/// Median time between caller and callee, each way.
const NETWORK_MS: f64 = 0.4;
/// Median time that handing over a message takes.
const PUBLISH_MS: f64 = 1.5;
/// Median time that a message waits for its consumer.
const QUEUE_MS: f64 = 30.0;

/// From a time on, one operation's own work takes longer, without any error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slowdown {
    /// Service that turns slow.
    pub service: &'static str,
    /// Its operation.
    pub operation: &'static str,
    /// How many times as long its own work takes.
    pub factor: f64,
    /// Version of the service that shows from then on: the roll-out is the reason.
    pub version: &'static str,
    /// What it writes to its log each time, as a warning.
    pub log: &'static str,
    /// Unix nanoseconds.
    pub from_ns: u64,
}

/// Spans and log records of a stretch of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Telemetry {
    /// Spans that ended in it, by service instance.
    pub spans: Vec<ResourceSpans>,
    /// Log records that were written in it, by service instance.
    pub logs: Vec<ResourceLogs>,
}

/// A shop whose customers, chance and faults follow from a seed.
#[derive(Debug, Clone)]
pub struct Shop {
    seed: u64,
    transactions_per_second: f64,
    slowdown: Option<Slowdown>,
}

impl Shop {
    /// Returns a shop with this much traffic, and a slow-down if there shall be one.
    pub fn new(seed: u64, transactions_per_second: f64, slowdown: Option<Slowdown>) -> Self {
        Self { seed, transactions_per_second, slowdown }
    }

    /// Returns what is told in `from_ns..to_ns`: spans by their end, as exporters do, and log records by their time.
    pub fn telemetry_between(&self, from_ns: u64, to_ns: u64) -> Telemetry {
        let mut told = Vec::new();
        let first_second = from_ns.saturating_sub(LONGEST_NS) / SECOND_NS;
        for second in first_second..to_ns.div_ceil(SECOND_NS) {
            for (index, entry) in (0_u64..).zip(recipes::entries()) {
                let mut chance = Chance::new(self.seed, &[second, index]);
                for _ in 0..arrivals(&mut chance, self.transactions_per_second * entry.share) {
                    let start_ns = second * SECOND_NS + chance.below(SECOND_NS);
                    let transaction = Play::new(self, Chance::new(chance.bits(), &[])).transaction(entry, start_ns);
                    told.extend(transaction.into_iter().filter(|it| (from_ns..to_ns).contains(&it.end_ns)));
                }
            }
        }
        told.sort_by_key(|it| it.end_ns);
        telling::by_resource(told)
    }

    fn slowdown_of(&self, service: &str, at_ns: u64) -> Option<&Slowdown> {
        self.slowdown.as_ref().filter(|slow| slow.service == service && at_ns >= slow.from_ns)
    }
}

/// Returns how many transactions begin in one second: Poisson, as when customers do not know of each other.
fn arrivals(chance: &mut Chance, mean: f64) -> u32 {
    const MOST: u32 = 10_000;
    let enough = (-mean).exp();
    let mut product = chance.unit();
    let mut count = 0;
    while product > enough && count < MOST {
        product *= chance.unit();
        count += 1;
    }
    count
}

/// One transaction while it is played.
struct Play<'a> {
    shop: &'a Shop,
    chance: Chance,
    trace_id: [u8; 16],
    subject: Subject,
    told: Vec<Told>,
}

impl<'a> Play<'a> {
    fn new(shop: &'a Shop, mut chance: Chance) -> Self {
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&chance.bits().to_be_bytes());
        trace_id[8..].copy_from_slice(&chance.bits().to_be_bytes());
        let subject = Subject { order: 100_000 + chance.below(900_000), customer: 1 + chance.below(5_000) };
        Self { shop, chance, trace_id, subject, told: Vec::new() }
    }

    fn transaction(mut self, entry: &Entry, start_ns: u64) -> Vec<Told> {
        self.serve(entry.step, None, SpanKind::Server, start_ns);
        debug_assert!(self.told.iter().all(|it| it.end_ns < start_ns + LONGEST_NS), "batches would lose spans");
        self.told
    }

    /// Plays a step from its arrival on and returns when it is done.
    fn serve(&mut self, step: &'static Step, caller: Option<[u8; 8]>, kind: SpanKind, arrives_ns: u64) -> u64 {
        let place = self.place(step.service, arrives_ns);
        let span_id = self.span_id();
        let slow = self.shop.slowdown_of(step.service, arrives_ns).filter(|slow| slow.operation == step.operation);
        let own_ns = self.takes_ns(step.own_ms * slow.map_or(1.0, |slow| slow.factor));
        let piece_ns = own_ns / (step.calls.len() as u64 + 1);
        let mut now_ns = arrives_ns + piece_ns;
        if let Some(slow) = slow {
            let waited = Played { span_id, parent: caller, kind, start_ns: arrives_ns, end_ns: now_ns };
            self.told.push(telling::warned(slow.log, place, self.trace_id, &waited));
        }
        for call in step.calls {
            now_ns = self.call(call, place, span_id, now_ns) + piece_ns;
        }
        let played = Played { span_id, parent: caller, kind, start_ns: arrives_ns, end_ns: now_ns };
        self.told.extend(telling::served(step, place, self.trace_id, &played, &self.subject));
        now_ns
    }

    /// Plays a call from the caller's side and returns when the caller goes on.
    fn call(&mut self, call: &'static Call, caller: Place, parent: [u8; 8], start_ns: u64) -> u64 {
        if let Call::AtOnce(calls) = call {
            return calls.iter().map(|call| self.call(call, caller, parent, start_ns)).max().unwrap_or(start_ns);
        }
        let span_id = self.span_id();
        let (kind, end_ns) = match call {
            Call::Http(step) => {
                let arrives_ns = start_ns + self.takes_ns(NETWORK_MS);
                let done_ns = self.serve(step, Some(span_id), SpanKind::Server, arrives_ns);
                (SpanKind::Client, done_ns + self.takes_ns(NETWORK_MS))
            }
            Call::Query { median_ms, .. } | Call::Outside { median_ms, .. } => {
                (SpanKind::Client, start_ns + self.takes_ns(*median_ms))
            }
            Call::Publish { consumer, .. } => {
                let sent_ns = start_ns + self.takes_ns(PUBLISH_MS);
                let taken_ns = sent_ns + self.takes_ns(QUEUE_MS);
                self.serve(consumer, Some(span_id), SpanKind::Consumer, taken_ns);
                (SpanKind::Producer, sent_ns)
            }
            Call::AtOnce(_) => return start_ns,
        };
        let played = Played { span_id, parent: Some(parent), kind, start_ns, end_ns };
        self.told.push(telling::called(call, caller, self.trace_id, &played, &self.subject));
        end_ns
    }

    fn place(&mut self, service: &str, at_ns: u64) -> Place {
        let service = recipes::service(service);
        let version = self.shop.slowdown_of(service.name, at_ns).map_or(service.version, |slow| slow.version);
        Place { service, version, instance: 1 + self.chance.below(service.instances) }
    }

    fn span_id(&mut self) -> [u8; 8] {
        // An all-zero id is invalid; the lowest bit costs nothing.
        (self.chance.bits() | 1).to_be_bytes()
    }

    fn takes_ns(&mut self, median_ms: f64) -> u64 {
        (median_ms * 1e6 * self.chance.spread(SIGMA)) as u64
    }
}

#[cfg(test)]
mod tests;
