//! What happens at each bound.

use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::{QueryLimits, SqlError};

#[tokio::test]
async fn full_queue_refuses_at_once_and_counts() {
    let dir = folder();
    // The analysis reads nothing, so nothing after the first request is committed and the queue fills up.
    let config = Config { committed_bytes_max: 1, queue_requests_max: 2, ..config(dir.path()) };
    let (store, _) = Store::open(config, decode).await.unwrap();
    let mut committed = store.take_committed().unwrap();
    append(&store, "0 1 0").await.unwrap();
    let spawn = |n: u64| {
        tokio::spawn({
            let store = store.clone();
            async move { append(&store, &format!("{n} 1 {n}")).await }
        })
    };
    let waiting = [spawn(1), spawn(2)];
    while store.stats().queue_requests < 2 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(append(&store, "3 1 3").await, Err(AppendError::Busy { .. })));
    assert_eq!(store.stats().refused_busy, 1);

    // What the analysis derives is still taken, or else the two would wait for each other.
    let none = TransactionTableBuilder::default().finish();
    store.append_derived(vec![(TableName::Transactions, none)]).await.unwrap();
    assert_eq!(starts(&store).await, [0]);

    // It catches up: what waited is committed.
    let catching_up = tokio::spawn(async move { while committed.recv().await.is_some() {} });
    for request in waiting {
        assert_eq!(request.await.unwrap(), Ok(Appended::Kept));
    }
    assert_eq!(store.stats().queue_requests, 0);
    assert_eq!(store.stats().queue_bytes, 0);
    store.close().await;
    catching_up.await.unwrap();
}

#[tokio::test]
async fn analysis_that_went_away_does_not_hold_requests_back() {
    let dir = folder();
    let config = Config { committed_bytes_max: 1, ..config(dir.path()) };
    let (store, _) = Store::open(config, decode).await.unwrap();
    let committed = store.take_committed().unwrap();
    append(&store, "0 1 0").await.unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { append(&store, "1 1 1").await }
    });
    while store.stats().queue_requests == 0 {
        tokio::task::yield_now().await;
    }
    drop(committed);
    assert_eq!(waiting.await.unwrap(), Ok(Appended::Kept));
}

#[tokio::test]
async fn request_larger_than_the_queue_is_refused_for_good() {
    let dir = folder();
    let config = Config { queue_bytes_max: 4, ..config(dir.path()) };
    let (store, _) = Store::open(config, decode).await.unwrap();
    assert_eq!(append(&store, "1 1 1").await, Err(AppendError::TooLarge { bytes: 5, bytes_max: 4 }));
}

#[tokio::test]
async fn full_memory_makes_requests_wait_for_the_seal_that_makes_room() {
    let dir = folder();
    let (sealing, is_sealing) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let config = Config { memory_bytes_max: 1, ..config(dir.path()) };
    let store = open_with(config, move |effect, _| {
        if effect == Effect::Rename {
            let _ = sealing.send(());
            let _ = may_go_on.lock().unwrap().recv();
        }
        Ok(())
    });
    append(&store, "0 1 0").await.unwrap();
    is_sealing.recv_timeout(Duration::from_secs(60)).unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { append(&store, "1 1 1").await }
    });
    while store.stats().queue_requests == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(starts(&store).await, [0]);
    drop(go_on);
    assert_eq!(waiting.await.unwrap(), Ok(Appended::Kept));
}

#[tokio::test]
async fn full_memory_refuses_while_seals_fail() {
    let dir = folder();
    let config = Config { memory_bytes_max: 1, ..config(dir.path()) };
    let store = open_with(config, |effect, path| {
        if effect == Effect::Create && !is_log(path) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    append(&store, "0 1 0").await.unwrap();
    store.seal().await;
    assert!(matches!(append(&store, "1 1 1").await, Err(AppendError::Busy { .. })));
    assert_eq!(store.stats().refused_busy, 1);
    assert!(store.stats().seals_failed > 0);
}

async fn limited(dir: &Path, query: QueryLimits) -> Store {
    let (store, _) = Store::open(Config { query, ..config(dir) }, decode).await.unwrap();
    let request: Vec<String> = (0..50).map(|n| format!("{n} 1 {n}")).collect();
    append(&store, &request.join("\n")).await.unwrap();
    store
}

#[tokio::test]
async fn result_is_cut_at_the_row_limit_and_says_so() {
    let dir = folder();
    let store = limited(dir.path(), QueryLimits { rows_max: 10, ..QueryLimits::default() }).await;
    let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    let all = store.query("SELECT * FROM spans").await.unwrap();
    assert_eq!((rows(&all.batches), all.truncated), (10, true));
    let some = store.query("SELECT * FROM spans LIMIT 10").await.unwrap();
    assert_eq!((rows(&some.batches), some.truncated), (10, false));
}

#[tokio::test]
async fn query_over_its_memory_is_refused() {
    let dir = folder();
    let store = limited(dir.path(), QueryLimits { memory_bytes: 4_096, ..QueryLimits::default() }).await;
    let sorted = "SELECT a.* FROM spans a CROSS JOIN spans b CROSS JOIN spans c ORDER BY a.trace_id, b.span_id";
    let error = store.query(sorted).await.unwrap_err();
    assert!(matches!(error, SqlError::Memory { bytes_max: 4_096 }), "{error:?}");
    assert_eq!(count(&store, "SELECT count(*) FROM spans").await, 50);
}

#[tokio::test]
async fn query_over_its_time_is_stopped() {
    let dir = folder();
    let timeout = Duration::from_secs(2);
    let store = limited(dir.path(), QueryLimits { timeout, concurrent_max: 1, ..QueryLimits::default() }).await;
    // Much comes out of the join for each batch that goes in: only where it gives way itself can it be stopped.
    let endless = "SELECT sum(a.duration_ns * b.duration_ns * c.duration_ns * s.value)
                   FROM spans a, spans b, spans c, generate_series(1, 1000000) s";
    let stopped = store.query(endless).await;
    assert!(matches!(stopped, Err(SqlError::Timeout { .. })), "{stopped:?}");
    // The only permit is free again.
    assert_eq!(count(&store, "SELECT count(*) FROM spans").await, 50);
}

#[tokio::test]
async fn many_queries_wait_for_their_turn() {
    let dir = folder();
    let store = limited(dir.path(), QueryLimits { concurrent_max: 1, ..QueryLimits::default() }).await;
    let queries: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { count(&store, "SELECT count(*) FROM spans").await })
        })
        .collect();
    for query in queries {
        assert_eq!(query.await.unwrap(), 50);
    }
}
