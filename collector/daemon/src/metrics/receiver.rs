//! What the receiver counted. Every field of its snapshot is taken apart here, so that none is forgotten.

use collector_receiver::{Counts, LedgerSnapshot, RefusalRow, StreamRow};

use super::{Metric, Sample};

/// A field of the counts of one stream.
type Field = fn(&Counts) -> u64;

pub(super) fn metrics(ledger: &LedgerSnapshot) -> Vec<Metric> {
    let LedgerSnapshot {
        streams,
        senders,
        senders_evicted,
        rejected,
        refusals,
        complaints,
        complaints_evicted,
        cut_attributes,
        connections,
        connections_refused,
        connections_idle,
        in_flight_bytes,
    } = ledger;
    let stream =
        |name, help, field: Field| Metric::counters(name, help, streams.iter().map(|row| of_stream(row, field)));
    let rejected = rejected.iter().map(|(signal, reason, count)| {
        Sample::of(*count as f64).with("signal", signal.as_str()).with("reason", reason.as_str())
    });
    let cut = cut_attributes.iter().map(|(signal, count)| Sample::of(*count as f64).with("signal", signal.as_str()));
    vec![
        stream("throughline_received_requests_total", "Requests kept.", |counts| counts.requests),
        stream("throughline_received_items_total", "Spans, log records and points kept.", |counts| counts.items),
        stream("throughline_received_bytes_total", "Bytes of kept requests, decompressed.", |counts| counts.bytes),
        stream("throughline_received_wire_bytes_total", "Bytes of kept requests as sent.", |counts| counts.wire_bytes),
        Metric::counters(
            "throughline_rejected_items_total",
            "Items left out of requests that were otherwise kept.",
            rejected,
        ),
        Metric::counters(
            "throughline_refused_requests_total",
            "Requests refused as a whole.",
            refusals.iter().map(of_refusal),
        ),
        Metric::counters(
            "throughline_cut_attributes_total",
            "Attributes dropped or shortened to keep the limits.",
            cut,
        ),
        Metric::gauge("throughline_senders", "Senders told apart.", senders.len() as u64),
        Metric::counter("throughline_senders_forgotten_total", "Senders forgotten: too many.", *senders_evicted),
        Metric::gauge("throughline_complaints", "Senders and causes told apart.", complaints.len() as u64),
        Metric::counter(
            "throughline_complaints_forgotten_total",
            "Complaints forgotten: too many.",
            *complaints_evicted,
        ),
        Metric::gauge("throughline_connections", "Open connections of senders.", *connections),
        Metric::counter(
            "throughline_refused_connections_total",
            "Connections closed because too many were open.",
            *connections_refused,
        ),
        Metric::counter(
            "throughline_idle_connections_total",
            "Connections closed because they were silent for too long.",
            *connections_idle,
        ),
        Metric::gauge("throughline_in_flight_bytes", "Bytes of requests not yet answered.", *in_flight_bytes),
    ]
}

fn of_stream(row: &StreamRow, field: Field) -> Sample {
    let StreamRow { signal, protocol, encoding, compression, counts } = row;
    Sample::of(field(counts) as f64)
        .with("signal", signal.as_str())
        .with("protocol", protocol.as_str())
        .with("encoding", encoding.as_str())
        .with("compression", compression.as_str())
}

fn of_refusal(row: &RefusalRow) -> Sample {
    let RefusalRow { protocol, signal, reason, count } = row;
    Sample::of(*count as f64)
        .with("signal", signal.map_or("unknown", collector_otlp::Signal::as_str))
        .with("protocol", protocol.as_str())
        .with("reason", reason.as_str())
}
