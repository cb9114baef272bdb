//! What is acknowledged is kept once: visible, durable, across seals and restarts.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Condvar, Mutex, mpsc};
use std::time::Duration;

use super::*;

#[tokio::test]
async fn appended_row_is_visible_and_survives_a_crash() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    assert_eq!(append(&store, "1 1 100 A-1\n1 2 101").await, Ok(Appended::Kept));
    assert_eq!(starts(&store).await, [100, 101]);
    let (starts, recovery) = starts_after_restart(dir.path()).await;
    assert_eq!(starts, [100, 101]);
    assert_eq!(recovery, Recovery { replayed: 1, ..Recovery::default() });
}

#[tokio::test]
async fn sealed_rows_and_rows_in_memory_are_one_table() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    append(&store, "1 1 100 A-1").await.unwrap();
    store.seal().await;
    append(&store, "2 1 101 A-2").await.unwrap();
    assert_eq!(starts(&store).await, [100, 101]);
    let spans = &store.stats().tables[0];
    assert_eq!((spans.segments, spans.segment_rows, spans.memory_rows), (1, 1, 1));
    let (starts, recovery) = starts_after_restart(dir.path()).await;
    assert_eq!(starts, [100, 101]);
    assert_eq!((recovery.already_sealed, recovery.replayed), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_query_sees_a_row_twice_or_not_at_all_while_seals_run() {
    const ROWS: i64 = 150;
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let seals = tokio::spawn({
        let (store, is_over) = (store.clone(), Arc::clone(&is_over));
        async move {
            while !is_over.load(SeqCst) {
                store.seal().await;
            }
        }
    });
    for n in 0..ROWS {
        append(&store, &format!("{n} 1 {n}")).await.unwrap();
        let expected: Vec<i64> = (0..=n).collect();
        assert_eq!(starts(&store).await, expected);
    }
    is_over.store(true, SeqCst);
    seals.await.unwrap();
    assert!(store.stats().seals > 1);
    store.close().await;
    let (store, _) = open(dir.path()).await;
    assert_eq!(starts(&store).await, (0..ROWS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_share_one_sync() {
    let dir = folder();
    let (gate, opened) = (Arc::new((Mutex::new(true), Condvar::new())), Mutex::new(()));
    let (reached, is_reached) = mpsc::channel();
    let waiting = Arc::clone(&gate);
    let store = open_on(dir.path(), move |effect, path| {
        if effect == Effect::Sync && is_log(path) {
            let _only_one = opened.lock().unwrap();
            reached.send(()).unwrap();
            drop(waiting.1.wait_while(waiting.0.lock().unwrap(), |is_shut| *is_shut).unwrap());
        }
        Ok(())
    });
    let spawn = |n: u64| {
        tokio::spawn({
            let store = store.clone();
            async move { append(&store, &format!("{n} 1 {n}")).await }
        })
    };
    let mut requests = vec![spawn(0)];
    // The first holds the disk while the others queue up.
    is_reached.recv().unwrap();
    requests.extend((1..20).map(spawn));
    while store.stats().queue_requests < 20 {
        tokio::task::yield_now().await;
    }
    *gate.0.lock().unwrap() = false;
    gate.1.notify_all();
    for request in requests {
        assert_eq!(request.await.unwrap(), Ok(Appended::Kept));
    }
    assert_eq!(store.stats().syncs, 2);
    assert_eq!(starts(&store).await.len(), 20);
}

#[tokio::test]
async fn same_bytes_again_are_acknowledged_and_stored_once() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    assert_eq!(append(&store, "1 1 100").await, Ok(Appended::Kept));
    assert_eq!(append(&store, "1 1 100").await, Ok(Appended::Duplicate));
    let together = tokio::join!(append(&store, "1 1 200"), append(&store, "1 1 200"));
    assert_eq!(together, (Ok(Appended::Kept), Ok(Appended::Duplicate)));
    store.close().await;

    // Sealed, but the log is kept one seal longer for this.
    let (store, _) = open(dir.path()).await;
    assert_eq!(append(&store, "1 1 100").await, Ok(Appended::Duplicate));
    assert_eq!(starts(&store).await, [100, 200]);
    assert_eq!(store.stats().duplicates, 1);
}

#[tokio::test]
async fn log_records_without_a_time_may_be_sent_twice() {
    let dir = folder();
    let heartbeat = |time_ns: i64| {
        let mut builder = collector_table::LogTableBuilder::default();
        builder.append(&collector_table::LogFields {
            time_ns,
            observed_ns: 0,
            trace_id: None,
            span_id: None,
            flags: 0,
            severity_number: 0,
            severity_text: None,
            body: "heartbeat",
            body_type: collector_table::ValueType::String,
            event_name: None,
            service_name: "clock",
            service_instance: None,
            service_version: None,
            scope_name: None,
            dropped_attributes_count: 0,
        });
        builder.finish().batch().clone()
    };
    let replay = |kind: u8, _: &[u8]| Some((TableName::Logs, heartbeat(i64::from(kind))));
    let (store, _) = Store::open(Config::new(dir.path()), replay).await.unwrap();
    let payload = |time: i64| Bytes::from(format!("heartbeat at {time}"));
    for time in [0, 0, 7, 7] {
        let kind = u8::try_from(time).unwrap();
        store.append(kind, payload(time), TableName::Logs, heartbeat(time)).await.unwrap();
    }
    assert_eq!(count(&store, "SELECT count(*) FROM logs").await, 3);
    store.close().await;
    let (store, recovery) = Store::open(Config::new(dir.path()), replay).await.unwrap();
    assert_eq!((recovery.already_sealed, recovery.duplicates), (3, 0));
    assert_eq!(count(&store, "SELECT count(*) FROM logs").await, 3);
}

#[tokio::test]
async fn empty_requests_are_not_duplicates_of_each_other() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    assert_eq!(append(&store, "").await, Ok(Appended::Kept));
    assert_eq!(append(&store, "").await, Ok(Appended::Kept));
}

#[tokio::test]
async fn log_is_removed_one_seal_after_its_rows_were_sealed() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    for n in 0..4 {
        append(&store, &format!("{n} 1 {n}")).await.unwrap();
        store.seal().await;
        assert!(log_files(dir.path()).len() <= 2, "{:?}", log_files(dir.path()));
    }
    assert_eq!(log_files(dir.path()).len(), 1);
    assert_eq!(starts_after_restart(dir.path()).await.0, [0, 1, 2, 3]);
}

#[tokio::test]
async fn rows_are_sealed_by_themselves_after_a_while_or_when_the_log_is_long() {
    let by_time = |config| Config { seal_after: Duration::ZERO, ..config };
    let by_size = |config| Config { wal_bytes_max: 0, ..config };
    let by_rows = |config| Config { seal_rows: 1, ..config };
    let by_memory = |config| Config { seal_bytes: 0, ..config };
    for configure in [by_time as fn(Config) -> Config, by_size, by_rows, by_memory] {
        let dir = folder();
        let (renamed, is_renamed) = mpsc::channel();
        let store = open_with(configure(config(dir.path())), move |effect, _| {
            if effect == Effect::Rename {
                let _ = renamed.send(());
            }
            Ok(())
        });
        append(&store, "1 1 100").await.unwrap();
        is_renamed.recv_timeout(Duration::from_secs(60)).unwrap();
        store.seal().await;
        assert_eq!(store.stats().tables[0].segments, 1);
    }
}

#[tokio::test]
async fn second_daemon_on_the_folder_is_refused() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    assert!(matches!(Store::open(config(dir.path()), decode).await, Err(StoreError::Locked { .. })));
    store.close().await;
    open(dir.path()).await;
}

#[tokio::test]
async fn closed_store_refuses() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    store.clone().close().await;
    assert_eq!(append(&store, "1 1 100").await, Err(AppendError::Closed));
}

#[tokio::test]
async fn rows_of_another_table_are_refused() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    let (_, rows) = decode(SPANS, b"1 1 100").unwrap();
    let refused = store.append(SPANS, Bytes::new(), TableName::Logs, rows).await;
    assert_eq!(refused, Err(AppendError::WrongSchema { table: TableName::Logs }));
}
