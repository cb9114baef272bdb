//! Derived rows seen from outside: drawn traces in, rows as text out.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use arrow::util::pretty::pretty_format_batches;
use insta::assert_snapshot;

use super::{Dependencies, PAIRS_MAX};
use crate::fixture::{self, lines};
use crate::stitch::{Stitcher, StitcherLimits, assemble};
use crate::transaction::Transaction;

const SHOP: &str = "
    web POST /checkout 0..100
      web client POST 10..90
        pay POST /charge 20..80 error
          pay client POST 30..70 peer=bank:443
      web producer send 91..95
        mail consumer receive 120..150
";

/// Draws some columns of the rows, times as seconds.
fn drawn(batch: &RecordBatch, columns: &[&'static str]) -> String {
    let column = |name: &&'static str| -> (&'static str, ArrayRef) {
        let column = batch.column_by_name(name).unwrap();
        let times = column.as_primitive_opt::<TimestampNanosecondType>();
        let seconds = times.map(|times| times.unary::<_, Int64Type>(|ns| ns / 1_000_000_000));
        (*name, seconds.map_or_else(|| column.clone(), |seconds| Arc::new(seconds)))
    };
    let batch = RecordBatch::try_from_iter(columns.iter().map(column)).unwrap();
    pretty_format_batches(&[batch]).unwrap().to_string()
}

#[test]
fn hops_of_whole_traces_are_rows() {
    let batch = crate::hops(&[fixture::table(&lines(SHOP)).batch().clone()]).unwrap();
    let columns =
        ["kind", "caller_service", "callee_service", "callee_operation", "instrumented", "gap_ns", "has_error"];
    assert_snapshot!(drawn(&batch, &columns), @r"
    +---------+----------------+----------------+------------------+--------------+----------+-----------+
    | kind    | caller_service | callee_service | callee_operation | instrumented | gap_ns   | has_error |
    +---------+----------------+----------------+------------------+--------------+----------+-----------+
    | call    | web            | pay            | POST /charge     | true         | 20000000 | true      |
    | call    | pay            | bank:443       | POST             | false        |          | false     |
    | message | web            | mail           | receive          | true         | 25000000 | false     |
    +---------+----------------+----------------+------------------+--------------+----------+-----------+
    ");
}

/// Stitches the shop's transaction some times, each in a trace of its own, two in the first minute.
fn transactions() -> Vec<Transaction> {
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    let mut done = Vec::new();
    for (number, second) in [(1, 0), (2, 10), (3, 70)] {
        let mut drawn = lines(SHOP);
        for one in &mut drawn {
            one.at(second * 1_000, number);
        }
        done.extend(stitcher.push(&fixture::table(&drawn), 0));
    }
    done.extend(stitcher.finish(0));
    done
}

#[test]
fn dependencies_are_counted_by_minute_and_names() {
    let mut dependencies = Dependencies::default();
    for transaction in transactions() {
        assert!(dependencies.add(&transaction).is_none());
    }
    let batch = dependencies.take().unwrap();
    let columns =
        ["minute", "caller_service", "callee_service", "kind", "instrumented", "count", "errors", "gap_sum_ns"];
    assert_snapshot!(drawn(&batch, &columns), @r"
    +--------+----------------+----------------+---------+--------------+-------+--------+------------+
    | minute | caller_service | callee_service | kind    | instrumented | count | errors | gap_sum_ns |
    +--------+----------------+----------------+---------+--------------+-------+--------+------------+
    | 0      | pay            | bank:443       | call    | false        | 2     | 0      | 0          |
    | 0      | web            | pay            | call    | true         | 2     | 2      | 40000000   |
    | 0      | web            | mail           | message | true         | 2     | 0      | 50000000   |
    | 60     | pay            | bank:443       | call    | false        | 1     | 0      | 0          |
    | 60     | web            | pay            | call    | true         | 1     | 1      | 20000000   |
    | 60     | web            | mail           | message | true         | 1     | 0      | 25000000   |
    +--------+----------------+----------------+---------+--------------+-------+--------+------------+
    ");
    assert!(dependencies.take().is_none(), "what was taken is not told twice");
}

#[test]
fn later_revisions_count_nothing() {
    let mut dependencies = Dependencies::default();
    for mut transaction in transactions() {
        transaction.revision = 2;
        dependencies.add(&transaction);
    }
    assert!(dependencies.take().is_none());
}

#[test]
fn at_the_bound_counts_become_rows_and_none_is_lost() {
    let mut dependencies = Dependencies::default();
    let mut rows = 0;
    let mut transaction = assemble(&[fixture::table(&lines(SHOP))]).remove(0);
    let minutes = i64::try_from(PAIRS_MAX).unwrap();
    for minute in 0..minutes {
        let mut spans = transaction.spans.to_vec();
        spans.iter_mut().for_each(|span| span.start_ns = minute * super::MINUTE_NS);
        transaction.spans = spans.into();
        rows += dependencies.add(&transaction).map_or(0, |batch| batch.num_rows());
        assert!(dependencies.pairs.len() < PAIRS_MAX);
    }
    rows += dependencies.take().map_or(0, |batch| batch.num_rows());
    assert_eq!(rows, PAIRS_MAX * 3);
}
