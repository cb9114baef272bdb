//! Rows that are derived: transactions and hops with revisions, and the rows from which the analysis derives them.

use futures::FutureExt;

use super::*;

fn transaction(trace_no: u64, revision: u32) -> RecordBatch {
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
        close_reason: "root",
        spans_count: 1,
        errors_count: 0,
        path_id: "0",
        clock_skew_ns: 0,
        trace_ids: &[trace(trace_no)],
        services: &["shop"],
        critical_path: &[],
    });
    transactions.finish()
}

fn hop(trace_no: u64, revision: u32, callee: &str) -> RecordBatch {
    let mut hops = HopTableBuilder::default();
    hops.append(&HopFields {
        transaction_id: trace(trace_no),
        revision,
        trace_id: trace(trace_no),
        span_id: SpanId([1; 8]),
        kind: "call",
        caller_service: "shop",
        caller_operation: "checkout",
        callee_service: callee,
        callee_operation: "pay",
        is_instrumented: true,
        start_ns: 1,
        duration_ns: 5,
        callee_duration_ns: None,
        gap_ns: None,
        has_error: false,
    });
    hops.finish()
}

async fn derive(store: &Store, trace_no: u64, revision: u32) {
    store.append_derived(TableName::Transactions, transaction(trace_no, revision)).await.unwrap();
    store.append_derived(TableName::Hops, hop(trace_no, revision, &format!("payment{revision}"))).await.unwrap();
}

/// Returns `started_at:revision` and the callees of the hops.
async fn shown(store: &Store) -> (Vec<String>, Vec<String>) {
    let transactions = "SELECT concat(CAST(started_at AS BIGINT), ':', revision) AS t FROM transactions ORDER BY t";
    let hops = "SELECT callee_service FROM hops ORDER BY callee_service";
    (column(store, transactions).await, column(store, hops).await)
}

#[tokio::test]
async fn only_the_highest_revision_of_a_transaction_is_shown() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    derive(&store, 1, 1).await;
    derive(&store, 2, 1).await;
    assert_eq!(shown(&store).await.0, ["1:1", "2:1"]);
    store.seal().await;
    // The first revision is in a segment, the second in memory.
    derive(&store, 1, 2).await;
    assert_eq!(shown(&store).await, (vec!["1:2".into(), "2:1".into()], vec!["payment1".into(), "payment2".into()]));
    let by_id = format!("SELECT duration_ns FROM transactions WHERE transaction_id = '{}'", trace(1));
    assert_eq!(column(&store, &by_id).await, ["20"]);
    assert_eq!(count(&store, "SELECT count(*) FROM transactions").await, 2);
    let newest = "SELECT CAST(started_at AS BIGINT) AS t FROM transactions ORDER BY t DESC LIMIT 1";
    assert_eq!(column(&store, newest).await, ["2"]);
    store.close().await;
    let (store, _) = open(dir.path()).await;
    assert_eq!(shown(&store).await.0, ["1:2", "2:1"], "a restart knows which were revised");
}

#[tokio::test]
async fn replay_derives_nothing_twice() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    append(&store, "1 1 1").await.unwrap();
    derive(&store, 1, 1).await;
    store.seal().await;
    append(&store, "2 1 2").await.unwrap();
    derive(&store, 2, 1).await;

    // After a crash the log holds both requests; only the second one's transaction is lost and has to be derived.
    let copied = copy(dir.path());
    let (store, _) = open(copied.path()).await;
    assert_eq!(shown(&store).await.0, ["1:1"]);
    let mut committed = store.take_committed().unwrap();
    for trace_no in [1, 2] {
        // It is there at once: nothing has to be waited for.
        let replayed = committed.recv().now_or_never().flatten().unwrap();
        assert!(replayed.is_replay && replayed.rows.num_rows() == 1);
        derive(&store, trace_no, 1).await;
    }
    assert_eq!(shown(&store).await, (vec!["1:1".into(), "2:1".into()], vec!["payment1".into(), "payment1".into()]));
    derive(&store, 1, 2).await;
    assert_eq!(shown(&store).await.0, ["1:2", "2:1"], "a later revision is new");
}

#[tokio::test]
async fn seals_with_derived_rows_only_do_not_overwrite_each_other() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    for n in 1..=3 {
        derive(&store, n, 1).await;
        store.seal().await;
    }
    assert_eq!(shown(&store).await.0, ["1:1", "2:1", "3:1"]);
    store.close().await;
    assert_eq!(shown(&open(dir.path()).await.0).await.0, ["1:1", "2:1", "3:1"]);
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
