//! Rows that are derived: transactions with revisions, dependencies, and the rows from which they are derived.

use collector_table::{CompletenessFields, DependencyFields, DependencyTableBuilder, DependencyTally};
use futures::FutureExt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn transaction(trace_no: u64, revision: u32) -> RecordBatch {
    transaction_closed(trace_no, revision, "root")
}

fn transaction_closed(trace_no: u64, revision: u32, close_reason: &str) -> RecordBatch {
    let mut transactions = TransactionTableBuilder::default();
    transactions.append(&TransactionFields {
        transaction_id: trace(trace_no),
        revision,
        service_name: "shop",
        operation: "checkout",
        started_ns: i64::try_from(trace_no).unwrap(),
        duration_ns: i64::from(revision) * 10,
        status: "ok",
        is_complete: true,
        close_reason,
        spans_count: 1,
        errors_count: 0,
        path_id: 0,
        clock_skew_ns: 0,
        trace_ids: &[trace(trace_no)],
        services: &["shop"],
        critical_path: &[],
        completeness: Some(CompletenessFields { expected_count: 1, lacking: &[] }),
        saga: Some("completed"),
    });
    transactions.finish()
}

fn dependency(trace_no: u64) -> RecordBatch {
    let mut dependencies = DependencyTableBuilder::default();
    let mut tally = DependencyTally::default();
    tally.durations.insert(5);
    tally.gaps.insert(2);
    (tally.count, tally.retries, tally.gap_count) = (i64::try_from(trace_no).unwrap(), 1, 1);
    let fields = DependencyFields {
        caller_service: "shop",
        caller_operation: "checkout",
        callee_service: "payment",
        callee_operation: "pay",
        kind: "call",
        caller_kind: "service",
        callee_kind: "service",
        is_instrumented: true,
        ..DependencyFields::default()
    };
    dependencies.append(&fields, &tally);
    dependencies.finish()
}

async fn derive(store: &Store, trace_no: u64, revision: u32) {
    let mut rows = vec![(TableName::Transactions, transaction(trace_no, revision))];
    if revision == 1 {
        rows.push((TableName::Dependencies, dependency(trace_no)));
    }
    store.append_derived(rows).await.unwrap();
}

/// Returns `started_at:revision`.
async fn shown(store: &Store) -> Vec<String> {
    let transactions = "SELECT concat(CAST(started_at AS BIGINT), ':', revision) AS t FROM transactions ORDER BY t";
    column(store, transactions).await
}

#[tokio::test]
async fn only_the_highest_revision_of_a_transaction_is_shown() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    derive(&store, 1, 1).await;
    derive(&store, 2, 1).await;
    assert_eq!(shown(&store).await, ["1:1", "2:1"]);
    store.seal().await;
    // The first revision is in a segment, the second in memory.
    derive(&store, 1, 2).await;
    assert_eq!(shown(&store).await, ["1:2", "2:1"]);
    let by_id = format!("SELECT duration_ns FROM transactions WHERE transaction_id = '{}'", trace(1));
    assert_eq!(column(&store, &by_id).await, ["20"]);
    assert_eq!(count(&store, "SELECT count(*) FROM transactions").await, 2);
    let newest = "SELECT CAST(started_at AS BIGINT) AS t FROM transactions ORDER BY t DESC LIMIT 1";
    assert_eq!(column(&store, newest).await, ["2"]);
    store.close().await;
    let (store, _) = open(dir.path()).await;
    assert_eq!(shown(&store).await, ["1:2", "2:1"], "a restart knows which were revised");
}

#[tokio::test]
async fn transaction_that_became_part_of_another_is_shown_only_among_the_revisions() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    derive(&store, 1, 1).await;
    derive(&store, 2, 1).await;
    store.seal().await;
    let taken_back = vec![(TableName::Transactions, transaction_closed(2, 2, "superseded"))];
    store.append_derived(taken_back).await.unwrap();
    assert_eq!(shown(&store).await, ["1:1"]);
    assert_eq!(count(&store, "SELECT count(*) FROM transaction_revisions").await, 3);
    store.close().await;
    let (store, _) = open(dir.path()).await;
    assert_eq!(shown(&store).await, ["1:1"], "a restart knows it");
    // It turned out to be one of its own after all.
    derive(&store, 2, 3).await;
    assert_eq!(shown(&store).await, ["1:1", "2:3"]);
}

#[tokio::test]
async fn what_the_log_holds_is_given_to_the_analysis_after_a_crash() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    append(&store, "1 1 1").await.unwrap();
    derive(&store, 1, 1).await;
    store.seal().await;
    append(&store, "2 1 2").await.unwrap();
    derive(&store, 2, 1).await;

    let copied = copy(dir.path());
    let (store, _) = open(copied.path()).await;
    assert_eq!(shown(&store).await, ["1:1"], "the second one's transaction has to be derived again");
    let mut committed = store.take_committed().unwrap();
    for _ in [1, 2] {
        // It is there at once: nothing has to be waited for.
        let replayed = committed.recv().now_or_never().flatten().unwrap();
        assert!(replayed.is_replay && replayed.rows.num_rows() == 1);
    }
}

#[tokio::test]
async fn dependencies_of_one_key_are_added_up_when_they_are_sealed() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    for n in 1..=4 {
        derive(&store, n, 1).await;
    }
    assert_eq!(count(&store, "SELECT sum(count) FROM dependencies").await, 10);
    store.seal().await;
    let dependencies = &store.stats().tables[5];
    assert_eq!((dependencies.table, dependencies.segment_rows), (TableName::Dependencies, 1));
    assert_eq!(count(&store, "SELECT sum(count) FROM dependencies").await, 10);
}

/// Has the only file of a table be as it was before columns were added: those that may be null, but for `from_start`.
fn without_later_columns(table: &std::path::Path, from_start: &str) {
    let files = std::fs::read_dir(table).unwrap();
    let ours: Vec<std::path::PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    let path = &ours[0];
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let fields = batches[0].schema().fields().clone();
    let is_first = |column: &usize| !fields[*column].is_nullable() || fields[*column].name() == from_start;
    let first: Vec<usize> = (0..fields.len()).filter(is_first).collect();
    assert!(first.len() < fields.len(), "nothing was added");
    let batches: Vec<RecordBatch> = batches.iter().map(|batch| batch.project(&first).unwrap()).collect();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batches[0].schema(), None).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.close().unwrap();
}

#[tokio::test]
async fn dependencies_from_before_columns_were_added_read_as_null_in_them() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    derive(&store, 1, 1).await;
    store.seal().await;
    store.close().await;
    without_later_columns(&dir.path().join("dependencies"), "");

    let (store, _) = open(dir.path()).await;
    derive(&store, 2, 1).await;
    assert_eq!(count(&store, "SELECT sum(count) FROM dependencies").await, 3);
    assert_eq!(count(&store, "SELECT sum(retries) FROM dependencies").await, 1);
    assert_eq!(count(&store, "SELECT count(*) FROM dependencies WHERE callee_kind IS NULL").await, 1);
    let waits = "SELECT CAST(round(sketch_quantile(gap_sketch, 0.5)) AS BIGINT) FROM dependencies";
    assert_eq!(count(&store, waits).await, 2);
}

#[tokio::test]
async fn derived_rows_of_one_call_are_kept_together_or_not_at_all() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    let wrong = vec![(TableName::Transactions, transaction(1, 1)), (TableName::Dependencies, transaction(1, 1))];
    let refused = store.append_derived(wrong).await;
    assert_eq!(refused, Err(AppendError::WrongSchema { table: TableName::Dependencies }));
    assert!(shown(&store).await.is_empty());
}

#[tokio::test]
async fn seals_with_derived_rows_only_do_not_overwrite_each_other() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    for n in 1..=3 {
        derive(&store, n, 1).await;
        store.seal().await;
    }
    assert_eq!(shown(&store).await, ["1:1", "2:1", "3:1"]);
    store.close().await;
    assert_eq!(shown(&open(dir.path()).await.0).await, ["1:1", "2:1", "3:1"]);
}

#[tokio::test]
async fn analysis_receives_what_is_committed_in_order_and_once() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    let mut committed = store.take_committed().unwrap();
    assert!(store.take_committed().is_none());
    append(&store, "1 1 1").await.unwrap();
    append(&store, "1 1 1").await.unwrap();
    append(&store, "2 1 2\n2 2 3").await.unwrap();
    store.close().await;
    let mut sizes = Vec::new();
    while let Some(rows) = committed.recv().await {
        assert!(rows.table == TableName::Spans && !rows.is_replay);
        sizes.push(rows.rows.num_rows());
    }
    assert_eq!(sizes, [1, 2]);
}

#[tokio::test]
async fn transactions_from_before_columns_were_added_read_as_null_in_them_also_when_merged() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    derive(&store, 1, 1).await;
    store.seal().await;
    store.close().await;
    without_later_columns(&dir.path().join("transactions"), "trace_ids");

    let (store, _) = open(dir.path()).await;
    for trace_no in 2..20 {
        derive(&store, trace_no, 1).await;
        store.seal().await;
    }
    let known = "SELECT concat(count(*), ' ', count(completeness), ' ', count(saga)) FROM transactions";
    assert_eq!(column(&store, known).await, ["19 18 18"]);
    store.maintain(0).await;
    let files = std::fs::read_dir(dir.path().join("transactions")).unwrap().count();
    assert!(files < 19, "nothing was merged");
    assert_eq!(column(&store, known).await, ["19 18 18"]);
}
