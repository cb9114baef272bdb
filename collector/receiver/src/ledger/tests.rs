use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use collector_otlp::{Encoding, PayloadKind, RejectReason, Rejected, Signal};

use super::{COMPLAINTS_MAX, Kept, Ledger, SENDERS_MAX};
use crate::refusal::Refusal;
use crate::{Compression, Protocol, RefusalReason, Sender};

fn sender(user_agent: &str) -> Sender {
    Sender { protocol: Protocol::Http, user_agent: user_agent.into(), peer: IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

fn keep(ledger: &Ledger, items_by_service: &[(String, u64)], rejected: &[Rejected], cut_attributes: u64) {
    let kept = Kept {
        kind: PayloadKind { signal: Signal::Traces, encoding: Encoding::Json },
        compression: Compression::Identity,
        sender: &sender("agent"),
        items_by_service,
        rejected,
        cut_attributes,
        bytes: 1,
        wire_bytes: 1,
    };
    ledger.kept(&kept, SystemTime::UNIX_EPOCH);
}

#[test]
fn of_too_many_senders_the_one_that_was_silent_for_longest_is_forgotten_and_counted() {
    let ledger = Ledger::default();
    let services = |range: std::ops::Range<usize>| -> Vec<(String, u64)> {
        range.map(|index| (format!("service-{index:05}"), 2)).collect()
    };
    keep(&ledger, &services(0..SENDERS_MAX), &[], 0);
    keep(&ledger, &services(0..1), &[], 0);
    keep(&ledger, &services(SENDERS_MAX..SENDERS_MAX + 50), &[], 0);
    let snapshot = ledger.snapshot();
    // A tenth goes at once.
    assert_eq!((snapshot.senders.len(), snapshot.senders_evicted), (SENDERS_MAX - 50, 100));
    let has = |service: &str| snapshot.senders.iter().any(|row| row.service == service);
    assert!(has("service-00000") && !has("service-00001") && !has("service-00100") && has("service-00101"));
    // What is counted by signal forgets nothing.
    assert_eq!(snapshot.streams[0].counts.items, 2 * (SENDERS_MAX as u64 + 51));
}

#[test]
fn complaints_are_told_apart_by_sender_and_cause_and_are_bounded() {
    let ledger = Ledger::default();
    let invalid = Rejected { reason: RejectReason::InvalidTraceId, count: 3 };
    keep(&ledger, &[("shop".to_owned(), 1)], &[invalid], 7);
    for _ in 0..2 {
        ledger.refused(&sender("agent"), Some(Signal::Traces), &Refusal::in_flight(), SystemTime::UNIX_EPOCH);
    }
    let told: Vec<String> = ledger
        .snapshot()
        .complaints
        .iter()
        .map(|row| format!("{} {} {} {:?}", row.sender.user_agent, row.cause.as_str(), row.count, row.service))
        .collect();
    let expected =
        ["agent in_flight 2 None", "agent cut_attributes 7 Some(\"shop\")", "agent invalid_trace_id 3 Some(\"shop\")"];
    assert_eq!(told, expected);
    for number in 0..COMPLAINTS_MAX {
        let refusal = Refusal::new(RefusalReason::Path, "no such path");
        ledger.refused(&sender(&format!("agent {number}")), None, &refusal, SystemTime::UNIX_EPOCH);
    }
    let snapshot = ledger.snapshot();
    assert_eq!((snapshot.complaints.len(), snapshot.complaints_evicted), (COMPLAINTS_MAX - 97, 100));
    assert_eq!(snapshot.refusals.iter().map(|row| row.count).sum::<u64>(), 2 + COMPLAINTS_MAX as u64);
}

#[test]
fn long_names_are_cut_at_a_character() {
    assert_eq!(super::cut(&"ü".repeat(100)).len(), 128);
    assert_eq!(super::cut(&format!("a{}", "ü".repeat(100))).len(), 127);
}
