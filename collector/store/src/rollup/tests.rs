//! Rollups against counting the spans one by one.

use arrow::array::Array;
use arrow::datatypes::TimestampNanosecondType;
use collector_table::{
    DependencyFields, DependencyTableBuilder, DependencyTally, Sketch, SpanFields, SpanId, SpanKind, SpanTableBuilder,
    StatusCode, TraceId,
};

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
fn rows_from_before_a_column_was_added_are_merged_and_count_nothing_in_it() {
    let row = |retries: i64, gap_ns: Option<i64>| {
        let mut tally = DependencyTally { count: 2, retries, ..DependencyTally::default() };
        tally.durations.insert(5);
        if let Some(gap_ns) = gap_ns {
            (tally.gap_count, tally.gap_sum_ns) = (1, gap_ns);
            tally.gaps.insert(gap_ns);
        }
        let mut rows = DependencyTableBuilder::default();
        let fields = DependencyFields { caller_service: "shop", kind: "call", ..DependencyFields::default() };
        rows.append(&fields, &tally);
        rows.finish()
    };
    let young = row(3, Some(7));
    let first: Vec<usize> = (0..13).collect();
    let old = young.project(&first).unwrap();
    assert!(old.column_by_name("retries").is_none());
    let merged = merge(TableName::Dependencies, &[old.clone(), old, young, row(1, None)]).unwrap();
    assert_eq!((merged.num_rows(), sum(&merged, "count"), sum(&merged, "retries")), (2, 8, 4));
    let waits = merged.column_by_name("gap_sketch").unwrap().as_binary::<i32>().clone();
    assert_eq!(waits.null_count(), 1, "of those from before, nobody knows");
    let known = Sketch::decode(waits.iter().flatten().next().unwrap()).unwrap();
    assert_eq!(known.count(), 1);
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
