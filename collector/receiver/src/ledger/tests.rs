use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use collector_otlp::{Encoding, PayloadKind, Signal};

use super::{Kept, Ledger, SENDERS_MAX};
use crate::{Compression, Protocol, Sender};

#[test]
fn senders_beyond_the_limit_are_counted_together() {
    let ledger = Ledger::default();
    let sender = Sender { protocol: Protocol::Http, user_agent: "agent".into(), peer: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let items_by_service: Vec<(String, u64)> =
        (0..SENDERS_MAX + 50).map(|index| (format!("service-{index:05}"), 2)).collect();
    let kept = Kept {
        kind: PayloadKind { signal: Signal::Traces, encoding: Encoding::Json },
        compression: Compression::Identity,
        sender: &sender,
        items_by_service: &items_by_service,
        rejected: &[],
        cut_attributes: 0,
        bytes: 1,
        wire_bytes: 1,
    };
    ledger.kept(&kept, SystemTime::UNIX_EPOCH);
    ledger.kept(&kept, SystemTime::UNIX_EPOCH);
    let senders = ledger.snapshot().senders;
    assert_eq!(senders.len(), SENDERS_MAX + 1);
    let others = senders.iter().find(|row| row.service == Ledger::OTHERS).unwrap();
    assert_eq!((others.requests, others.spans), (100, 200));
    assert_eq!(senders.iter().map(|row| row.spans).sum::<u64>(), 2 * 2 * (SENDERS_MAX as u64 + 50));
}

#[test]
fn long_names_are_cut_at_a_character() {
    assert_eq!(super::cut(&"ü".repeat(100)).len(), 128);
    assert_eq!(super::cut(&format!("a{}", "ü".repeat(100))).len(), 127);
}
