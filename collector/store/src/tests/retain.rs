//! How long segments are kept: by time, by bytes, while read, and as evidence.

use std::time::Duration;

use super::*;
use crate::Retention;

const SECOND: i64 = 1_000_000_000;

async fn open_keeping(dir: &Path, retention: Retention, evidence: Retention) -> Store {
    Store::open(Config { retention, evidence, ..config(dir) }, decode).await.unwrap().0
}

fn of_time(seconds: u64) -> Retention {
    Retention { time: Some(Duration::from_secs(seconds)), bytes: None }
}

/// Seals a span at each of these seconds, and one at the end which only makes the log forget the others.
async fn seal_at(store: &Store, seconds: &[i64]) {
    for second in seconds {
        append(store, &format!("{second} 1 {}", second * SECOND)).await.unwrap();
        store.seal().await;
    }
    append(store, &format!("999 1 {}", 999 * SECOND)).await.unwrap();
    store.seal().await;
}

async fn seconds(store: &Store) -> Vec<i64> {
    starts(store).await.into_iter().map(|start| start / SECOND).collect()
}

#[tokio::test]
async fn segments_whose_time_is_over_are_removed() {
    let dir = folder();
    let store = open_keeping(dir.path(), of_time(100), Retention::default()).await;
    seal_at(&store, &[50, 150, 60]).await;
    store.maintain(120 * SECOND).await;
    assert_eq!(seconds(&store).await, [50, 60, 150, 999], "nothing is old enough");
    store.maintain(155 * SECOND).await;
    assert_eq!(seconds(&store).await, [60, 150, 999]);
    store.maintain(200 * SECOND).await;
    assert_eq!(seconds(&store).await, [150, 999]);
    assert!(store.stats().expired_segments >= 2);
    let files = std::fs::read_dir(dir.path().join("spans")).unwrap().count();
    assert_eq!(files, 2);
    store.close().await;
    let store = open_keeping(dir.path(), of_time(100), Retention::default()).await;
    assert_eq!(seconds(&store).await, [150, 999], "nothing comes back");
}

#[tokio::test]
async fn oldest_segments_are_removed_while_all_are_too_large() {
    let dir = folder();
    let store = open_keeping(dir.path(), Retention { time: None, bytes: Some(1) }, Retention::default()).await;
    seal_at(&store, &[3, 1, 2]).await;
    store.maintain(1_000 * SECOND).await;
    assert_eq!(seconds(&store).await, [999], "only what the log still has is left");
}

#[tokio::test]
async fn expired_segment_stays_on_the_disk_while_it_is_read() {
    let dir = folder();
    let store = open_keeping(dir.path(), of_time(100), Retention::default()).await;
    seal_at(&store, &[1]).await;
    let snapshot = store.reader().snapshot();
    let name = snapshot.tables[0].segments[0].name.clone();
    store.maintain(500 * SECOND).await;
    assert_eq!(seconds(&store).await, [999]);
    assert!(dir.path().join(&name).exists());
    drop(snapshot);
    store.maintain(500 * SECOND).await;
    assert!(!dir.path().join(&name).exists());
}

#[tokio::test]
async fn rows_of_evidence_outlive_their_segment_and_expire_by_their_own_time() {
    let dir = folder();
    let (retention, evidence) = (of_time(100), of_time(10_000));
    let store = open_keeping(dir.path(), retention, evidence).await;
    append(&store, &format!("1 1 {SECOND} A\n2 1 {SECOND}\n1 2 {}", 2 * SECOND)).await.unwrap();
    store.seal().await;
    seal_at(&store, &[]).await;
    store.keep_evidence(vec![trace(1), trace(7)]).await.unwrap();
    store.close().await;

    // Remembered across a restart.
    let store = open_keeping(dir.path(), retention, evidence).await;
    seal_at(&store, &[998]).await;
    assert_eq!(store.stats().evidence_traces, 2);
    store.maintain(500 * SECOND).await;
    assert_eq!(seconds(&store).await, [1, 2, 998, 999]);
    assert_eq!(store.stats().tables[0].evidence_segments, 1);
    let by_id = format!("SELECT attributes['order.id'] FROM spans WHERE trace_id = '{}' ORDER BY start_time", trace(1));
    assert_eq!(column(&store, &by_id).await[0], "A");
    store.close().await;

    let store = open_keeping(dir.path(), retention, evidence).await;
    assert_eq!(seconds(&store).await, [1, 2, 998, 999], "a start finds the evidence");
    store.maintain(10_500 * SECOND).await;
    assert!(!seconds(&store).await.contains(&1));
    assert_eq!(store.stats().tables[0].evidence_segments, 0);
}

#[tokio::test]
async fn crash_between_evidence_and_expiry_shows_no_row_twice() {
    let dir = folder();
    let evidence = Arc::new(std::sync::Mutex::new(None));
    let (into, from) = (Arc::clone(&evidence), dir.path().to_owned());
    let config = Config { retention: of_time(100), ..config(dir.path()) };
    let store = open_with(config, move |effect, path| {
        if effect == Effect::Remove && path.extension().is_some_and(|extension| extension == "parquet") {
            *into.lock().unwrap() = Some(copy(&from));
        }
        Ok(())
    });
    append(&store, &format!("1 1 {SECOND}\n2 1 {SECOND}")).await.unwrap();
    store.seal().await;
    seal_at(&store, &[]).await;
    store.keep_evidence(vec![trace(1)]).await.unwrap();
    store.maintain(500 * SECOND).await;
    let copied = evidence.lock().unwrap().take().unwrap();
    let (store, _) = open(copied.path()).await;
    assert_eq!(seconds(&store).await, [1, 999]);
}

#[tokio::test]
async fn oldest_evidence_is_forgotten_at_the_limit_and_counted() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    let traces = (1..=crate::evidence::TRACES_MAX as u64 + 1).map(trace).collect();
    store.keep_evidence(traces).await.unwrap();
    let stats = store.stats();
    assert_eq!((stats.evidence_traces, stats.evidence_forgotten), (crate::evidence::TRACES_MAX, 1));
}
