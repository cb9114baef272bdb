//! What must hold for any bytes: both decoders return, and for protobuf the walk and the oracle agree on rows and on
//! what is refused. Called with generated requests by the tests, and with a fuzzer's bytes by `fuzz`.
#![allow(dead_code)]

use collector_otlp::{DecodeError, Encoding, Limits, PayloadKind, Signal, decode};
use collector_table::{LogTable, SpanTable};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use crate::oracle;

/// Fields of a message that are messages themselves.
pub(crate) struct Shape(&'static [(u32, &'static Shape)]);

pub(crate) static TRACES: Shape = Shape(&[(1, &Shape(&[(1, &RESOURCE), (2, &Shape(&[(1, &SCOPE), (2, &SPAN)]))]))]);
pub(crate) static LOGS: Shape = Shape(&[(1, &Shape(&[(1, &RESOURCE), (2, &Shape(&[(1, &SCOPE), (2, &RECORD)]))]))]);
static RESOURCE: Shape = Shape(&[(1, &ATTRIBUTE)]);
static SCOPE: Shape = Shape(&[(3, &ATTRIBUTE)]);
static SPAN: Shape = Shape(&[(9, &ATTRIBUTE), (11, &EVENT), (13, &LINK), (15, &STATUS)]);
static EVENT: Shape = Shape(&[(3, &ATTRIBUTE)]);
static LINK: Shape = Shape(&[(4, &ATTRIBUTE)]);
static STATUS: Shape = Shape(&[]);
static RECORD: Shape = Shape(&[(5, &VALUE), (6, &ATTRIBUTE)]);
static ATTRIBUTE: Shape = Shape(&[(2, &VALUE)]);
static VALUE: Shape = Shape(&[(5, &Shape(&[(1, &VALUE)])), (6, &Shape(&[(1, &ATTRIBUTE)]))]);

/// Decodes as every signal.
pub(crate) fn protobuf(body: &[u8]) {
    let limits = Limits::default();
    agree_on_traces(body, &limits);
    agree_on_logs(body, &limits);
    let _ = decode(kind(Signal::Metrics, Encoding::Protobuf), body, &limits);
}

/// Decodes as every signal, and reads what rows there are.
pub(crate) fn json(body: &[u8]) {
    for signal in Signal::ALL {
        let Ok(batch) = decode(kind(signal, Encoding::Json), body, &Limits::default()) else { continue };
        match signal {
            Signal::Traces => drop(SpanTable::from_batch(batch.rows).map(|table| table.rows().count())),
            Signal::Logs => drop(LogTable::from_batch(batch.rows).map(|table| table.rows().count())),
            Signal::Metrics => {}
        }
    }
}

/// Asserts that a trace request means the same to the walk and to the oracle.
pub(crate) fn agree_on_traces(body: &[u8], limits: &Limits) {
    let walked = decode(kind(Signal::Traces, Encoding::Protobuf), body, limits);
    match (walked, ExportTraceServiceRequest::decode(body)) {
        (Ok(batch), Ok(request)) => {
            assert_eq!(batch, oracle::spans(&request, limits));
            let table = SpanTable::from_batch(batch.rows).expect("the rows have the table's schema");
            table.rows().for_each(|row| drop((row.events(), row.links())));
        }
        (Ok(_), Err(error)) => panic!("only prost refuses: {error}"),
        (Err(error), Ok(_)) => assert_is_ours_alone(&error),
        (Err(_), Err(_)) => {}
    }
}

/// Asserts that a logs request means the same to the walk and to the oracle.
pub(crate) fn agree_on_logs(body: &[u8], limits: &Limits) {
    let walked = decode(kind(Signal::Logs, Encoding::Protobuf), body, limits);
    match (walked, ExportLogsServiceRequest::decode(body)) {
        (Ok(batch), Ok(request)) => assert_eq!(batch, oracle::logs(&request, limits)),
        (Ok(_), Err(error)) => panic!("only prost refuses: {error}"),
        (Err(error), Ok(_)) => assert_is_ours_alone(&error),
        (Err(_), Err(_)) => {}
    }
}

/// prost skips groups and knows our limits not.
fn assert_is_ours_alone(error: &DecodeError) {
    let is_ours = matches!(
        error,
        DecodeError::Wire { what: "unknown wire type", .. } | DecodeError::Nested { .. } | DecodeError::TooLarge { .. }
    );
    assert!(is_ours, "prost does not refuse: {error}");
}

const fn kind(signal: Signal, encoding: Encoding) -> PayloadKind {
    PayloadKind { signal, encoding }
}

/// Returns the bytes with one replaced, inserted, or with the rest cut off.
pub(crate) fn damaged(body: &[u8], at: usize, byte: u8, how: u8) -> Vec<u8> {
    let (before, after) = body.split_at(at.min(body.len()));
    match how {
        0 => [before, &[byte], after.get(1..).unwrap_or_default()].concat(),
        1 => [before, &[byte], after].concat(),
        _ => before.to_vec(),
    }
}

/// Returns a valid message with its fields in another order, some given twice, and unknown ones among them; likewise in
/// the messages within it.
pub(crate) fn rewritten(message: &[u8], shape: &Shape, mut seed: u64) -> Vec<u8> {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let before = rest;
        let (number, wire_type) = decode_key(&mut rest).expect("the message is valid");
        match wire_type {
            WireType::Varint => drop(decode_varint(&mut rest).expect("the message is valid")),
            WireType::SixtyFourBit => rest = &rest[8..],
            WireType::ThirtyTwoBit => rest = &rest[4..],
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).expect("the message is valid") as usize;
                let content;
                (content, rest) = rest.split_at(length);
                if let Some((_, inner)) = shape.0.iter().find(|(found, _)| *found == number) {
                    fields.push(delimited(number, &rewritten(content, inner, next(&mut seed))));
                    continue;
                }
            }
            WireType::StartGroup | WireType::EndGroup => unreachable!("nobody writes groups"),
        }
        fields.push(before[..before.len() - rest.len()].to_vec());
    }
    for _ in 0..next(&mut seed) % 3 {
        if !fields.is_empty() {
            let copy = fields[(next(&mut seed) % fields.len() as u64) as usize].clone();
            fields.push(copy);
        }
    }
    if next(&mut seed).is_multiple_of(4) {
        fields.push(delimited(99, b"\xff unknown"));
    }
    for last in (1..fields.len()).rev() {
        fields.swap(last, (next(&mut seed) % (last as u64 + 1)) as usize);
    }
    fields.concat()
}

fn delimited(number: u32, content: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut field);
    encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

/// Returns the next number that looks random (xorshift).
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed).max(1)
}
