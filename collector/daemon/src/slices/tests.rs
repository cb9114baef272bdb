use collector_otlp::{Encoding, Limits, PayloadKind, Signal, decode};
use collector_store::Store;
use collector_table::{
    LogFields, LogTableBuilder, SpanFields, SpanId, SpanKind, SpanTableBuilder, StatusCode, TableName, TraceId,
    ValueType,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use super::*;
use crate::demo::shop::Shop;

const START_NS: i64 = 1_800_000_000 * SECOND_NS;
const LONG: SpanId = SpanId([7; 8]);

/// Returns a store with a shop's spans of two stretches of half a minute, ten minutes apart; one span that lasts from one
/// to the other; and a log record between them. Sealed in part.
async fn store_in(dir: &std::path::Path) -> Store {
    let (store, _) = Store::open(collector_store::Config::new(dir), |_, _| None).await.unwrap();
    let shop = Shop::new(1, 20.0, None);
    for second in (0..30).chain(600..630) {
        let [from_ns, until_ns] = [second, second + 1].map(|at| u64::try_from(START_NS + at * SECOND_NS).unwrap());
        let request = ExportTraceServiceRequest { resource_spans: shop.telemetry_between(from_ns, until_ns).spans };
        append(&store, TableName::Spans, decoded(&request)).await;
        if second == 600 {
            append(&store, TableName::Spans, long_span()).await;
            append(&store, TableName::Logs, log_records(&[Some(TraceId([7; 16])), None])).await;
            store.seal().await;
        }
    }
    store
}

fn decoded(request: &ExportTraceServiceRequest) -> RecordBatch {
    let kind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Protobuf };
    decode(kind, &request.encode_to_vec(), &Limits::default()).unwrap().rows
}

async fn append(store: &Store, table: TableName, rows: RecordBatch) {
    let payload = format!("{table} {} {rows:?}", rows.num_rows()).into_bytes();
    store.append(0, payload.into(), table, rows).await.unwrap();
}

fn long_span() -> RecordBatch {
    let mut builder = SpanTableBuilder::default();
    builder.append(&SpanFields {
        trace_id: TraceId([7; 16]),
        span_id: LONG,
        parent_span_id: None,
        trace_state: None,
        flags: 1,
        service_name: "nightly",
        service_instance: None,
        service_version: None,
        name: "run",
        kind: SpanKind::Internal,
        start_ns: START_NS + SECOND_NS,
        end_ns: START_NS + 610 * SECOND_NS,
        status_code: StatusCode::Unset,
        status_message: None,
        scope_name: None,
        scope_version: None,
        dropped: [0; 3],
    });
    builder.finish().batch().clone()
}

/// Returns log records that were written at the same time, one of each of these traces.
fn log_records(traces: &[Option<TraceId>]) -> RecordBatch {
    let mut builder = LogTableBuilder::default();
    for &trace_id in traces {
        builder.append(&LogFields {
            time_ns: START_NS + 300 * SECOND_NS,
            observed_ns: 0,
            trace_id,
            span_id: trace_id.map(|_| LONG),
            flags: 1,
            severity_number: 9,
            severity_text: None,
            body: "half of it",
            body_type: ValueType::String,
            event_name: None,
            service_name: "nightly",
            service_instance: None,
            service_version: None,
            scope_name: None,
            dropped_attributes_count: 0,
        });
    }
    builder.finish().batch().clone()
}

/// Returns each span, and each log record as a span without an id, with when it arrived and when it ended.
async fn arrived(store: &Store, rows_max: usize) -> Vec<(i64, i64, Option<SpanId>)> {
    let mut slices = Slices::new(store.reader().clone(), START_NS..START_NS + 3_600 * SECOND_NS, rows_max);
    let mut found = Vec::new();
    while let Some(slice) = slices.next().await.unwrap() {
        for Arrival { now_ns, logs, spans } in slice.arrivals {
            found.extend(logs.iter().flat_map(LogTable::rows).map(|row| (now_ns, row.time_ns, None)));
            found.extend(spans.iter().flat_map(SpanTable::rows).map(|row| (now_ns, row.end_ns, Some(row.span_id))));
        }
    }
    assert_eq!(slices.truncated(), 0);
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_once_when_it_ended_however_it_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path()).await;
    let found = arrived(&store, ROWS_MANY).await;
    let stored = store.query("SELECT count(*) FROM spans").await.unwrap();
    let count = stored.batches[0].column(0).as_primitive::<Int64Type>().value(0);
    assert_eq!(i64::try_from(found.len()).unwrap(), count + 2, "each span, and both log records");
    assert!(found.is_sorted_by_key(|(now_ns, ended_ns, _)| (*now_ns, *ended_ns)));
    assert!(found.iter().all(|(now_ns, ended_ns, _)| (1..=ARRIVAL_NS).contains(&(now_ns - ended_ns))));
    let long = found.iter().find(|(_, _, id)| *id == Some(LONG)).unwrap();
    assert_eq!(long.1, START_NS + 610 * SECOND_NS, "held until it ended");
    let logs = found.iter().filter(|(_, _, id)| id.is_none());
    assert!(logs.map(|log| log.1).eq([START_NS + 300 * SECOND_NS; 2]), "also in quiet time, and of no trace");

    for rows_max in [50, 300, 2_000] {
        assert_eq!(arrived(&store, rows_max).await, found, "{rows_max} rows at most");
    }
    store.close().await;
}

#[tokio::test]
async fn of_too_many_log_records_at_once_those_of_traces_arrive_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = collector_store::Config::new(folder.path());
    config.query.rows_max = 10;
    let (store, _) = Store::open(config, |_, _| None).await.unwrap();
    let traces: Vec<Option<TraceId>> = (0..30).map(|number| (number % 6 == 0).then_some(TraceId([7; 16]))).collect();
    append(&store, TableName::Logs, log_records(&traces)).await;
    let mut slices = Slices::new(store.reader().clone(), START_NS..START_NS + 3_600 * SECOND_NS, ROWS_MANY);
    let slice = slices.next().await.unwrap().unwrap();
    assert!(slice.lacks_logs);
    let rows = slice.arrivals.iter().filter_map(|arrival| arrival.logs.as_ref()).flat_map(LogTable::rows);
    assert!(rows.map(|row| row.trace_id).eq([Some(TraceId([7; 16])); 5]));
    assert!(slices.next().await.unwrap().is_none());
    assert_eq!(slices.truncated(), 0, "what keys may join is whole");
    store.close().await;
}
