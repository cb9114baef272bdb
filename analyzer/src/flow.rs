//! What kind of flow a transaction is, told from its hops alone. Called by the daemon and by pages; a pure function.

use std::collections::{BTreeMap, BTreeSet};

use crate::transaction::{Hop, HopKind, Transaction};

/// Like callees of one caller that run beside each other, from which on it scatters.
const SCATTERED_MIN: usize = 3;
/// Services that one service calls one after the other, from which on it conducts.
const CONDUCTED_MIN: usize = 3;
/// Messages from service to service in a row, from which on events drive the flow.
const EVENTS_MIN: usize = 2;

/// How the work of a transaction is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowKind {
    /// Callers wait for callees.
    RequestResponse,
    /// One service calls the others, step by step.
    Orchestrated,
    /// Each service is driven by what the one before tells.
    Choreographed,
    /// One caller asks many at once, and gathers what they answer.
    ScatterGather,
    /// Several of these.
    Mixed,
}

impl FlowKind {
    /// Returns the word used in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestResponse => "request_response",
            Self::Orchestrated => "orchestrated",
            Self::Choreographed => "choreographed",
            Self::ScatterGather => "scatter_gather",
            Self::Mixed => "mixed",
        }
    }
}

/// Returns what kind of flow a transaction is.
pub fn flow_kind(transaction: &Transaction) -> FlowKind {
    let scatters = scatters(transaction);
    let is_choreographed = events_in_a_row(transaction) >= EVENTS_MIN || is_driven_by_events_alone(transaction);
    // Whoever asks many at once need not conduct them as well.
    let is_orchestrated = !scatters && conducted(transaction) >= CONDUCTED_MIN;
    match (scatters, is_choreographed, is_orchestrated) {
        (false, false, false) => FlowKind::RequestResponse,
        (true, false, false) => FlowKind::ScatterGather,
        (false, true, false) => FlowKind::Choreographed,
        (false, false, true) => FlowKind::Orchestrated,
        _ => FlowKind::Mixed,
    }
}

/// Hops to another service that sends telemetry, with the span from which the caller acts.
fn remote(transaction: &Transaction) -> impl Iterator<Item = (&Hop, usize, usize)> {
    let spans = &transaction.spans;
    transaction.hops.iter().filter_map(|hop| {
        let callee = hop.callee.filter(|&callee| !spans[hop.caller].is_same_service(&spans[callee]))?;
        let actor = if spans[hop.caller].is_outgoing() { transaction.parent(hop.caller) } else { None };
        Some((hop, actor.unwrap_or(hop.caller), callee))
    })
}

/// Returns whether one span asks several at once; a message that several take is asked at once too.
fn scatters(transaction: &Transaction) -> bool {
    let spans = &transaction.spans;
    let mut asked: BTreeMap<(usize, &str), Vec<(i64, i64)>> = BTreeMap::new();
    for (hop, actor, callee) in remote(transaction) {
        let (from, operation) = (&spans[hop.caller], spans[hop.caller].operation());
        let times = match hop.kind {
            HopKind::Message => (from.start_ns, spans[callee].end_ns),
            _ => (from.start_ns, from.end_ns),
        };
        asked.entry((actor, operation)).or_default().push(times);
    }
    asked.into_values().any(|mut times| {
        times.sort_unstable();
        let beside = times.iter().filter(|one| one.0 < times[0].1).count();
        beside >= SCATTERED_MIN
    })
}

/// Returns how many services the one that calls the most of them calls itself.
fn conducted(transaction: &Transaction) -> usize {
    let spans = &transaction.spans;
    let mut called: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (hop, _, callee) in remote(transaction) {
        called.entry(spans[hop.caller].service()).or_default().insert(spans[callee].service());
    }
    called.values().map(BTreeSet::len).max().unwrap_or(0)
}

/// Returns whether services only tell each other, and none asks another.
fn is_driven_by_events_alone(transaction: &Transaction) -> bool {
    let mut hops = remote(transaction).peekable();
    hops.peek().is_some() && hops.all(|(hop, ..)| hop.kind == HopKind::Message)
}

/// Returns the longest chain of messages, each sent by the service that took the one before, and none sent back.
fn events_in_a_row(transaction: &Transaction) -> usize {
    let spans = &transaction.spans;
    let mut sent_to: BTreeMap<usize, usize> = BTreeMap::new();
    for (hop, _, callee) in remote(transaction).filter(|(hop, ..)| hop.kind == HopKind::Message) {
        sent_to.insert(callee, hop.caller);
    }
    // A parent stands before its children: what drives a message is counted before the message is.
    let mut longest = 0;
    let mut length: Vec<usize> = vec![0; spans.len()];
    for index in 0..spans.len() {
        let above = transaction.parent(index).map_or(0, |parent| length[parent]);
        length[index] = above + usize::from(sent_to.contains_key(&index));
        longest = longest.max(length[index]);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{lines, table};
    use crate::stitch::assemble;

    fn kind(text: &str) -> &'static str {
        let transactions = assemble(&[table(&lines(text))]);
        assert_eq!(transactions.len(), 1);
        flow_kind(&transactions[0]).as_str()
    }

    #[test]
    fn kinds_of_flow_are_told_from_hops() {
        let chain = "
            web GET / 0..100
              web client GET 10..90
                cart GET /cart 15..85
                  cart client SELECT 20..30 db.system=postgresql
        ";
        assert_eq!(kind(chain), "request_response");
        let steps = "
            flow POST /order 0..100
              flow client POST 10..20
                pay POST /pay 11..19
              flow client POST 30..40
                stock POST /take 31..39
              flow client POST 50..60
                ship POST /send 51..59
        ";
        assert_eq!(kind(steps), "orchestrated");
        let events = "
            shop POST /order 0..40
              shop producer ordered 30..35
                pay consumer ordered 50..80
                  pay producer paid 70..75
                    ship consumer paid 90..99
        ";
        assert_eq!(kind(events), "choreographed");
        let told = "
            shop POST /order 0..40
              shop producer ordered 30..35
                pay consumer ordered 50..80
                mail consumer ordered 60..70
        ";
        assert_eq!(kind(told), "choreographed");
        let told_and_asked = "
            web POST /order 0..40
              web client POST 5..20
                shop POST /order 6..19
                  shop producer ordered 10..15
                    mail consumer ordered 60..70
        ";
        assert_eq!(kind(told_and_asked), "request_response");
        let offers = "
            web GET /offers 0..100
              web client ask 10..50
                air offer 15..45
              web client ask 10..60
                rail offer 15..55
              web client ask 10..70
                bus offer 15..65
        ";
        assert_eq!(kind(offers), "scatter_gather");
        let both = "
            web GET /offers 0..100
              web client ask 10..50
                air offer 15..45
              web client ask 10..60
                rail offer 15..55
              web client ask 10..70
                bus offer 15..65
                  bus producer asked 50..51
                    log consumer asked 60..70
                      log producer logged 61..62
                        audit consumer logged 70..80
        ";
        assert_eq!(kind(both), "mixed");
    }
}
