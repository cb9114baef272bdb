//! Derived rows seen from outside: drawn traces in, rows as text out.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, RecordBatch};
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
    | 0      | (client)       | web            | call    | true         | 2     | 0      | 0          |
    | 0      | pay            | bank:443       | call    | false        | 2     | 0      | 0          |
    | 0      | web            | pay            | call    | true         | 2     | 2      | 40000000   |
    | 0      | web            | mail           | message | true         | 2     | 0      | 50000000   |
    | 60     | (client)       | web            | call    | true         | 1     | 0      | 0          |
    | 60     | pay            | bank:443       | call    | false        | 1     | 0      | 0          |
    | 60     | web            | pay            | call    | true         | 1     | 1      | 20000000   |
    | 60     | web            | mail           | message | true         | 1     | 0      | 25000000   |
    +--------+----------------+----------------+---------+--------------+-------+--------+------------+
    ");
    assert!(dependencies.take().is_none(), "what was taken is not told twice");
}

/// Draws the rows of transactions that are given out at these seconds, one trace after the other: who to whom, how often,
/// how many of it failed and were tried again, and gaps or waits in milliseconds.
fn map_of(transactions: &[Transaction]) -> String {
    let mut dependencies = Dependencies::default();
    transactions.iter().for_each(|transaction| assert!(dependencies.add(transaction).is_none()));
    let Some(batch) = dependencies.take() else { return "nothing".to_owned() };
    let text = |name: &str, row: usize| {
        let column = batch.column_by_name(name).unwrap().as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let number = |name: &str, row: usize| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row);
    let mut lines: Vec<String> = Vec::new();
    for row in 0..batch.num_rows() {
        let end = |side: &str| {
            let kind = text(&format!("{side}_kind"), row).unwrap();
            let details = ["instance", "version"].map(|detail| text(&format!("{side}_{detail}"), row));
            let details = details.into_iter().flatten().map(|detail| format!(" @{detail}")).collect::<String>();
            format!("{kind} {}{details}", text(&format!("{side}_service"), row).unwrap())
        };
        let named = ["system", "namespace"].into_iter().filter_map(|name| text(name, row));
        let named: String = named.map(|name| format!(" {name}")).collect();
        let kind = text("kind", row).unwrap();
        let mut line = format!("{} -> {}{named} {kind} {}", end("caller"), end("callee"), number("count", row));
        for (name, word) in [("errors", "failed"), ("retries", "again")] {
            if number(name, row) > 0 {
                line += &format!(" {word} {}", number(name, row));
            }
        }
        if number("gap_count", row) > 0 {
            line += &format!(" gap {}/{}", number("gap_sum_ns", row) / 1_000_000, number("gap_count", row));
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// Stitches drawn traces, all there at once, and draws the map.
fn map(text: &str) -> String {
    map_of(&assemble(&[fixture::table(&lines(text))]))
}

#[test]
fn a_queue_stands_between_producer_and_consumers_and_is_sent_to_once() {
    assert_snapshot!(map("
        shop POST /order 0..100
          shop producer orders send 90..95 messaging.system=kafka messaging.destination.name=orders
            mail consumer orders process 120..150 version=2 on=mail-1
            stock consumer orders process 195..200 error
    "), @r"
    client (client) -> service shop call 1
    queue orders -> service mail @mail-1 @2 message 1 gap 25/1
    queue orders -> service stock message 1 failed 1 gap 100/1
    service shop -> queue orders kafka message 1
    ");
}

#[test]
fn old_names_of_queues_and_queues_of_one_conversation_are_known() {
    assert_snapshot!(map("
        shop producer send 0..5 messaging.system=rabbitmq messaging.destination=orders
          mail consumer receive 10..20 messaging.system=rabbitmq messaging.source.name=orders.mail

        web producer ask 0..5 messaging.system=jms messaging.destination=r-17 messaging.destination.temporary=true

        web producer ask 0..5 messaging.system=jms messaging.destination.name=tenant/7f3a9c4e-0b1d-4c2e-9f00-1234567890ab
    "), @r"
    queue orders -> service mail rabbitmq message 1 gap 5/1
    service shop -> queue orders rabbitmq message 1
    service web -> queue (temporary) jms message 1
    service web -> queue tenant/{id} jms message 1
    ");
}

#[test]
fn a_database_says_its_system_and_name_and_repeated_attempts_are_told() {
    assert_snapshot!(map("
        shop POST /order 0..100 on=a
          shop client SELECT 10..20 db.system.name=postgresql db.namespace=sales peer=db version=7 on=a
          shop client GET 20..30 peer=bank error on=a
          shop client GET 40..50 peer=bank error on=a
          shop client GET 60..70 peer=bank on=a
          shop client GET 80..90 db.system=redis on=a
    "), @r"
    client (client) -> service shop @a call 1
    service shop @a -> peer bank call 3 failed 2 again 2
    service shop @a -> database redis redis database 1
    service shop @a @7 -> database db postgresql sales database 1
    ");
}

/// Stitches traces that arrive one by one at these seconds; returns all that was given out.
fn over_time(text: &str, seconds: &[i64]) -> Vec<Transaction> {
    let drawn = lines(text);
    let traces: Vec<_> = drawn.chunk_by(|left, right| left.is_of(right)).collect();
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    let mut done = Vec::new();
    for second in 0..400 {
        for (trace, _) in traces.iter().zip(seconds).filter(|(_, at)| **at == second) {
            done.extend(stitcher.push(&fixture::table(trace), second * 1_000_000_000));
        }
        done.extend(stitcher.advance(second * 1_000_000_000));
    }
    done
}

const ORDER: &str = "
    shop POST /order 0..100
      shop producer orders send 90..95 messaging.system=kafka messaging.destination.name=orders @sent

    mail consumer orders process 120..150 messaging.system=kafka messaging.destination.name=orders link=@sent
      mail client SELECT 130..140 db.system=mysql
";

#[test]
fn a_message_is_counted_once_whenever_its_traces_come() {
    let at_once = map_of(&over_time(ORDER, &[0, 0]));
    assert_snapshot!(at_once, @r"
    client (client) -> service shop call 1
    service mail -> database mysql mysql database 1
    queue orders -> service mail kafka message 1 gap 25/1
    service shop -> queue orders kafka message 1
    ");
    for (seconds, given_out) in [([0, 3], 1), ([0, 40], 2), ([40, 0], 3)] {
        let transactions = over_time(ORDER, &seconds);
        assert_eq!(transactions.len(), given_out, "{seconds:?}");
        assert_eq!(map_of(&transactions), at_once, "{seconds:?}");
    }
}

#[test]
fn a_batch_that_serves_several_transactions_is_counted_once() {
    let text = "
        shop POST /order 0..100
          shop producer orders send 90..95 messaging.destination.name=orders @one

        shop POST /order 10..110
          shop producer orders send 100..105 messaging.destination.name=orders @two

        mail internal poll 115..200
          mail consumer orders process 120..150 link=@one messaging.destination.name=orders
            mail client render 130..140 peer=printer
          mail consumer orders process 160..190 link=@two messaging.destination.name=orders
            mail client render 170..180 peer=printer
    ";
    let at_once = map_of(&over_time(text, &[0, 0, 0]));
    assert_snapshot!(at_once, @r"
    client (client) -> service shop call 2
    service mail -> peer printer call 2
    queue orders -> service mail message 2 gap 80/2
    service shop -> queue orders message 2
    ");
    for seconds in [[0, 0, 40], [0, 40, 40], [40, 40, 0]] {
        assert_eq!(map_of(&over_time(text, &seconds)), at_once, "{seconds:?}");
    }
}

#[test]
fn messages_whose_producer_is_unknown_are_taken_from_their_queue() {
    assert_snapshot!(map("
        mail internal poll 0..100
          mail consumer receive 10..40 messaging.system=kafka messaging.destination.name=orders
            mail consumer process 20..30 messaging.system=kafka messaging.destination.name=orders
          mail consumer receive 50..60

        job internal nightly 0..10
    "), @r"
    queue (unknown) -> service mail message 1
    queue orders -> service mail kafka message 1
    ");
}

#[test]
fn instances_beyond_the_bound_share_a_row() {
    let mut text = String::from("web GET / 0..1000\n");
    for instance in 0..40 {
        text += &format!(
            "  web client GET {instance}..{0}\n    pay GET {instance}..{0} on=pay-{instance:02}\n",
            instance + 1
        );
    }
    let rows = map(&text);
    let of_pay: Vec<&str> = rows.lines().filter(|row| row.contains("service pay")).collect();
    assert_eq!(of_pay.len(), 33, "{rows}");
    assert!(of_pay[31].contains("service pay @pay-31 call 1"), "{rows}");
    assert!(of_pay[32].contains("service pay @(others) call 8"), "{rows}");
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
    assert_eq!(rows, PAIRS_MAX * 4);
}
