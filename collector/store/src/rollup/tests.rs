//! Rollups against counting the spans one by one.

use arrow::array::Array;
use arrow::datatypes::TimestampNanosecondType;
use collector_table::{SpanFields, SpanId, SpanKind, SpanTableBuilder, StatusCode, TraceId};

use super::*;

const MINUTE_NS: i64 = 60_000_000_000;

/// Spans of two services, three operations and two minutes, from a number on.
fn spans(from: i64, count: i64) -> RecordBatch {
    let mut spans = SpanTableBuilder::default();
    for n in from..from + count {
        spans.append(&SpanFields {
            trace_id: TraceId([1; 16]),
            span_id: SpanId(n.to_be_bytes()),
            parent_span_id: None,
            trace_state: None,
            flags: 1,
            service_name: if n % 2 == 0 { "shop" } else { "stock" },
            service_instance: (n % 5 == 0).then_some("pod-1"),
            service_version: None,
            name: ["buy", "look", "leave"][usize::try_from(n % 3).unwrap()],
            kind: SpanKind::Server,
            start_ns: n * MINUTE_NS / 50 - MINUTE_NS / 2,
            end_ns: n * MINUTE_NS / 50 - MINUTE_NS / 2 + n * 1_000,
            status_code: if n % 7 == 0 { StatusCode::Error } else { StatusCode::Ok },
            status_message: None,
            scope_name: None,
            scope_version: None,
            dropped: [0; 3],
        });
    }
    spans.finish().batch().clone()
}

fn sum(rows: &RecordBatch, column: &str) -> i64 {
    rows.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().iter().sum()
}

fn keys(rows: &RecordBatch) -> Vec<String> {
    let columns: Vec<_> = (0..6).map(|column| rows.column(column)).collect();
    let text = |column: &ArrayRef, row| arrow::util::display::array_value_to_string(column, row).unwrap();
    (0..rows.num_rows())
        .map(|row| columns.iter().map(|column| text(column, row)).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn each_span_is_counted_once_under_its_minute_and_operation() {
    let rows = red(&[spans(0, 60), spans(60, 40)]).unwrap();
    let mut distinct = keys(&rows);
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), rows.num_rows());
    assert_eq!(sum(&rows, "count"), 100);
    assert_eq!(sum(&rows, "errors"), 15);
    assert_eq!(sum(&rows, "duration_sum_ns"), (0..100).map(|n| n * 1_000).sum::<i64>());
    let minutes = rows.column(0).as_primitive::<TimestampNanosecondType>().values();
    assert!(minutes.iter().all(|minute| minute % MINUTE_NS == 0));
    // The first 25 start before 1970.
    assert_eq!(minutes.iter().min(), Some(&-MINUTE_NS));
}

#[test]
fn merged_parts_are_the_rollup_of_the_whole() {
    let parts = [red(&[spans(0, 60)]).unwrap(), red(&[spans(60, 40)]).unwrap()];
    let merged = merge(TableName::Red, &parts).unwrap();
    let whole = merge(TableName::Red, &[red(&[spans(0, 100)]).unwrap()]).unwrap();
    assert!(parts[0].num_rows() + parts[1].num_rows() > merged.num_rows());
    assert_eq!(merged, whole);
    let operations = merged.column(2).as_string::<i32>();
    assert!(keys(&merged).is_sorted() && operations.len() == merged.num_rows());
}

#[test]
fn spans_of_a_table_that_is_none_and_damaged_sketches_are_errors() {
    let rows = red(&[spans(0, 10)]).unwrap();
    assert!(red(std::slice::from_ref(&rows)).is_err());
    let mut columns = rows.columns().to_vec();
    columns[11] = Arc::new(arrow::array::BinaryArray::from_iter_values(vec![b"\xff"; rows.num_rows()]));
    let damaged = RecordBatch::try_new(rows.schema(), columns).unwrap();
    assert!(merge(TableName::Red, &[damaged]).is_err());
    assert_eq!(merge(TableName::Dependencies, &[]).unwrap().num_rows(), 0);
}
