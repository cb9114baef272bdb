//! Segments on the disk: promoted attributes, merging, and what a start makes of interrupted or damaged ones.

use std::collections::BTreeSet;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

/// Seals requests `from..to` one by one, one span each.
async fn seal_each(store: &Store, range: std::ops::Range<i64>) {
    for n in range {
        append(store, &format!("{n} 1 {n} order-{n}")).await.unwrap();
        store.seal().await;
    }
}

fn segment_files(dir: &Path, table: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join(table)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|it| it == "parquet")).collect();
    files.sort();
    files
}

#[tokio::test]
async fn attribute_that_is_frequent_gets_a_column_and_keeps_it() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    append(&store, "1 1 1 A").await.unwrap();
    store.seal().await;
    append(&store, "2 1 2").await.unwrap();
    store.close().await;
    let (store, _) = open(dir.path()).await;
    append(&store, "3 1 3").await.unwrap();
    store.seal().await;
    assert_eq!(store.stats().tables[0].promoted_keys, 1);
    for file in segment_files(dir.path(), "spans") {
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&file).unwrap()).unwrap();
        let field = reader.schema().field_with_name("attributes.order.id").unwrap();
        assert_eq!(field.metadata().get("otlp.type").map(String::as_str), Some("s"), "{}", file.display());
    }
    let orders = "SELECT attributes['order.id'] AS o FROM spans ORDER BY start_time";
    let orders = table(&store.query(orders).await.unwrap().batches);
    assert!(orders.contains("| A |") || orders.contains("| A   |"), "{orders}");
}

#[tokio::test]
async fn attributes_beyond_the_limit_stay_in_the_text_and_are_counted() {
    let dir = folder();
    let config = Config { promoted_max: 0, ..config(dir.path()) };
    let (store, _) = Store::open(config, decode).await.unwrap();
    append(&store, "1 1 1 A").await.unwrap();
    store.seal().await;
    let spans = &store.stats().tables[0];
    assert_eq!((spans.promoted_keys, spans.promoted_left_out), (0, 1));
    assert_eq!(column(&store, "SELECT attributes['order.id'] FROM spans").await, ["A"]);
}

#[tokio::test]
async fn small_segments_are_merged_into_few_and_no_row_is_lost() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    seal_each(&store, 0..70).await;
    store.maintain(0).await;
    let expected: Vec<i64> = (0..70).collect();
    assert_eq!(starts(&store).await, expected);
    let stats = store.stats();
    let spans = &stats.tables[0];
    assert!(spans.segments <= 2 * 7, "{} segments", spans.segments);
    assert_eq!(spans.segment_rows, 70);
    assert!(stats.compactions > 0 && stats.compacted_segments > 64);
    assert_eq!(segment_files(dir.path(), "spans").len(), spans.segments, "what was merged is gone");
    assert_eq!(count(&store, "SELECT sum(count) FROM red").await, 70);
    assert!(stats.tables[4].segment_rows < 70, "rows of one key are added up");
    assert_eq!(
        column(&store, "SELECT attributes['order.id'] FROM spans WHERE start_time = to_timestamp_nanos(9)").await,
        ["order-9"]
    );
    store.close().await;
    let (store, recovery) = open(dir.path()).await;
    assert_eq!((starts(&store).await, recovery.replayed), (expected, 0));
}

#[tokio::test]
async fn crash_at_any_step_of_a_merge_keeps_every_row_exactly_once() {
    let dir = folder();
    let steps: Arc<std::sync::Mutex<Vec<(String, TempDir)>>> = Arc::default();
    let (into, from) = (Arc::clone(&steps), dir.path().to_owned());
    let store = open_on(dir.path(), move |effect, path| {
        if effect != Effect::Free && !is_log(path) && path.components().any(|part| part.as_os_str() == "spans") {
            into.lock().unwrap().push((format!("{effect:?} {}", path.display()), copy(&from)));
        }
        Ok(())
    });
    seal_each(&store, 0..7).await;
    steps.lock().unwrap().clear();
    seal_each(&store, 7..8).await;
    store.maintain(0).await;
    assert_eq!(store.stats().tables[0].segments, 1);
    let steps = std::mem::take(&mut *steps.lock().unwrap());
    assert!(steps.len() > 12, "{}", steps.len());
    for (at, copied) in steps {
        let (reopened, _) = open(copied.path()).await;
        assert_eq!(starts(&reopened).await, (0..8).collect::<Vec<_>>(), "before {at}");
        reopened.maintain(0).await;
        assert_eq!(starts(&reopened).await, (0..8).collect::<Vec<_>>(), "before {at}, merged again");
    }
}

#[tokio::test]
async fn full_disk_stops_merging_and_nothing_else() {
    let dir = folder();
    let is_full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let full = Arc::clone(&is_full);
    let store = open_on(dir.path(), move |effect, path| {
        let is_segment = effect == Effect::Write && !is_log(path);
        if is_segment && full.load(std::sync::atomic::Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    });
    seal_each(&store, 0..7).await;
    append(&store, "7 1 7").await.unwrap();
    is_full.store(true, std::sync::atomic::Ordering::SeqCst);
    store.seal().await;
    store.maintain(0).await;
    assert_eq!(starts(&store).await, (0..8).collect::<Vec<_>>());
    assert_eq!(append(&store, "8 1 8").await, Ok(Appended::Kept));
    is_full.store(false, std::sync::atomic::Ordering::SeqCst);
    store.close().await;
    let (store, _) = open(dir.path()).await;
    store.maintain(0).await;
    assert_eq!(starts(&store).await, (0..9).collect::<Vec<_>>());
    assert!(store.stats().compactions > 0);
}

#[tokio::test]
async fn running_query_keeps_the_files_that_it_reads() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    seal_each(&store, 0..7).await;
    let snapshot = store.reader().snapshot();
    let held: BTreeSet<String> = snapshot.tables[0].segments.iter().map(|segment| segment.name.clone()).collect();
    seal_each(&store, 7..8).await;
    store.maintain(0).await;
    assert_eq!(store.stats().tables[0].segments, 1);
    assert!(held.iter().all(|name| dir.path().join(name).exists()));
    assert!(store.stats().replaced_segments >= 7);
    drop(snapshot);
    store.maintain(0).await;
    assert!(held.iter().all(|name| !dir.path().join(name).exists()));
}

#[tokio::test]
async fn unreadable_segment_comes_back_from_the_log_although_a_later_one_is_readable() {
    let dir = folder();
    let before_removal = Arc::new(std::sync::Mutex::new(None));
    let (into, from) = (Arc::clone(&before_removal), dir.path().to_owned());
    // A crash before the last seal removed the log of the one before.
    let store = open_on(dir.path(), move |effect, path| {
        if effect == Effect::Remove && is_log(path) {
            *into.lock().unwrap() = Some(copy(&from));
        }
        Ok(())
    });
    seal_each(&store, 0..3).await;
    let copied = before_removal.lock().unwrap().take().unwrap();
    let files = segment_files(copied.path(), "spans");
    std::fs::write(&files[1], "not Parquet").unwrap();
    let (store, recovery) = open(copied.path()).await;
    assert_eq!((recovery.segments_unreadable, recovery.replayed), (1, 1));
    assert_eq!(starts(&store).await, [0, 1, 2]);
    store.seal().await;
    assert_eq!(starts(&store).await, [0, 1, 2]);
    assert_eq!(count(&store, "SELECT sum(count) FROM red").await, 3);
    store.close().await;
    let (store, recovery) = open(copied.path()).await;
    assert_eq!((starts(&store).await, recovery.replayed), (vec![0, 1, 2], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_with_many_files_is_read_within_one_turn_of_a_task() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    seal_each(&store, 0..1).await;
    store.close().await;
    let path = dir.path().to_owned();
    let task = tokio::spawn(async move {
        let files = crate::files::Files::local(path).unwrap();
        // More reads than tokio allows a task before it must give way.
        (0..300).map(|_| crate::segment::list(&files, TableName::Spans).unwrap().segments.len()).sum::<usize>()
    });
    assert_eq!(task.await.unwrap(), 300);
}
