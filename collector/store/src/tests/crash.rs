//! Crashes at every step, damaged files, disks that fail.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::{ProptestConfig, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::disk::BLOCK;

/// Copies the folder before every effect on the disk and returns the copies.
type Copies = Arc<Mutex<Vec<(Effect, PathBuf, TempDir)>>>;

fn open_copying(dir: &Path) -> (Store, Copies) {
    let copies = Copies::default();
    let (into, from) = (Arc::clone(&copies), dir.to_owned());
    let store = open_on(dir, move |effect, path| {
        if effect != Effect::Free {
            into.lock().unwrap().push((effect, path.to_owned(), copy(&from)));
        }
        Ok(())
    });
    (store, copies)
}

#[tokio::test]
async fn crash_at_any_step_of_a_seal_keeps_every_row_exactly_once() {
    let dir = folder();
    let (store, copies) = open_copying(dir.path());
    for n in 0..3 {
        append(&store, &format!("{n} 1 {n}")).await.unwrap();
        append_log(&store, n).await;
        copies.lock().unwrap().clear();
        store.seal().await;
        let steps = std::mem::take(&mut *copies.lock().unwrap());
        let renames = steps.iter().filter(|(effect, ..)| *effect == Effect::Rename).count();
        assert_eq!(renames, 3, "spans, their rollup, and logs are sealed");
        let expected: Vec<i64> = (0..=n).collect();
        for (effect, path, copied) in steps {
            let at = format!("seal {n} before {effect:?} of {}", path.display());
            let (reopened, _) = Store::open(config(copied.path()), decode_both).await.unwrap();
            assert_eq!(starts(&reopened).await, expected, "{at}");
            assert_eq!(count(&reopened, "SELECT count(*) FROM logs").await, n + 1, "{at}");
            assert_eq!(count(&reopened, "SELECT sum(count) FROM red").await, n + 1, "{at}, rolled up");
            // And once more, sealed from there.
            reopened.seal().await;
            assert_eq!(starts(&reopened).await, expected, "{at}, sealed again");
            assert_eq!(count(&reopened, "SELECT count(*) FROM logs").await, n + 1, "{at}, sealed again");
            assert_eq!(count(&reopened, "SELECT sum(count) FROM red").await, n + 1, "{at}, rolled up and sealed again");
            reopened.close().await;
            let (reopened, _) = Store::open(config(copied.path()), decode_both).await.unwrap();
            assert_eq!(starts(&reopened).await, expected, "{at}, reopened again");
        }
    }
}

#[tokio::test]
async fn crash_at_any_step_of_a_commit_keeps_what_was_acknowledged() {
    let dir = folder();
    let (store, copies) = open_copying(dir.path());
    append(&store, "0 1 0").await.unwrap();
    copies.lock().unwrap().clear();
    append(&store, "1 1 1").await.unwrap();
    let steps = std::mem::take(&mut *copies.lock().unwrap());
    for (effect, path, copied) in steps {
        let (starts, _) = starts_after_restart(copied.path()).await;
        assert_eq!(starts.first(), Some(&0), "before {effect:?} of {}", path.display());
    }
}

/// Kind of a request with one log record, whose text is its time.
const LOGS: u8 = 2;

fn decode_both(kind: u8, payload: &[u8]) -> Option<(TableName, RecordBatch)> {
    if kind != LOGS {
        return decode(kind, payload);
    }
    let mut logs = collector_table::LogTableBuilder::default();
    logs.append(&collector_table::LogFields {
        time_ns: std::str::from_utf8(payload).ok()?.parse().ok()?,
        observed_ns: 0,
        trace_id: None,
        span_id: None,
        flags: 0,
        severity_number: 9,
        severity_text: None,
        body: "placed",
        body_type: ValueType::String,
        event_name: None,
        service_name: "shop",
        service_instance: None,
        service_version: None,
        scope_name: None,
        dropped_attributes_count: 0,
    });
    Some((TableName::Logs, logs.finish().batch().clone()))
}

async fn append_log(store: &Store, n: i64) {
    let payload = n.to_string();
    let (table, rows) = decode_both(LOGS, payload.as_bytes()).unwrap();
    store.append(LOGS, payload.into(), table, rows).await.unwrap();
}

/// Any place in a log of so many blocks; more often at the begin of one, where a request is, than in what fills it up.
fn position(blocks: usize) -> impl Strategy<Value = usize> {
    (0..blocks, prop_oneof![4 => 0..120_usize, 1 => 0..BLOCK]).prop_map(|(block, offset)| block * BLOCK + offset)
}

/// A log of ten requests of different lengths, in one file, each in a block of its own.
fn ten_requests(runtime: &tokio::runtime::Runtime) -> TempDir {
    let dir = folder();
    runtime.block_on(async {
        let (store, _) = open(dir.path()).await;
        for n in 0..10 {
            let order = "x".repeat(n * 7);
            append(&store, &format!("{n} 1 {n} {order}")).await.unwrap();
        }
    });
    copy(dir.path())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_byte_costs_at_most_one_request(position in position(10), flip in 1..=u8::MAX) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let dir = ten_requests(&runtime);
        let [file] = &log_files(dir.path())[..] else { panic!("one log file") };
        let mut bytes = std::fs::read(file).unwrap();
        prop_assert_eq!(bytes.len(), 10 * BLOCK);
        bytes[position] ^= flip;
        std::fs::write(file, bytes).unwrap();
        let (starts, recovery) = runtime.block_on(starts_after_restart(dir.path()));
        let kept: BTreeSet<i64> = starts.iter().copied().collect();
        prop_assert!(kept.len() == starts.len() && kept.is_subset(&(0..10).collect()));
        prop_assert!(kept.len() >= 9, "kept {kept:?} after a flip at {position}");
        prop_assert!(recovery.damaged == 1);
    }

    #[test]
    fn torn_tail_costs_only_what_was_cut(cut in position(10)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let dir = ten_requests(&runtime);
        let [file] = &log_files(dir.path())[..] else { panic!("one log file") };
        let bytes = std::fs::read(file).unwrap();
        std::fs::write(file, &bytes[..cut]).unwrap();
        let (starts, _) = runtime.block_on(starts_after_restart(dir.path()));
        // Requests are whole up to the cut, and nothing else appears.
        let whole = crate::log::Records::new(&bytes, 1)
            .map(|record| record.payload.as_ptr_range().end.addr() - bytes.as_ptr().addr())
            .take_while(|end| *end <= cut)
            .count();
        prop_assert!(starts == (0..i64::try_from(whole).unwrap()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn request_that_looks_like_a_log_does_not_become_one() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    append(&store, "0 1 0").await.unwrap();
    let hostile = std::fs::read(&log_files(dir.path())[0]).unwrap();
    let (table, rows) = decode(SPANS, b"1 1 1").unwrap();
    store.append(9, hostile.into(), table, rows).await.unwrap();
    append(&store, "2 1 2").await.unwrap();
    let (starts, recovery) = starts_after_restart(dir.path()).await;
    assert_eq!(starts, [0, 2]);
    assert_eq!((recovery.damaged, recovery.undecodable), (0, 1));
}

#[tokio::test]
async fn unreadable_segment_is_set_aside_and_its_rows_come_back_from_the_log() {
    let dir = folder();
    let (store, _) = open(dir.path()).await;
    append(&store, "0 1 0").await.unwrap();
    store.close().await;
    let segment = std::fs::read_dir(dir.path().join("spans")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&segment, "not Parquet").unwrap();
    let (store, recovery) = open(dir.path()).await;
    assert_eq!((recovery.segments_unreadable, recovery.replayed), (1, 1));
    assert_eq!(starts(&store).await, [0]);
    assert!(!segment.exists());
}

/// Opens a store whose log fails at this effect while the switch is on.
fn open_failing(dir: &Path, failing: Effect) -> (Store, Arc<AtomicU8>) {
    let switch = Arc::new(AtomicU8::new(0));
    let is_on = Arc::clone(&switch);
    let store = open_on(dir, move |effect, path| {
        let is_hit = effect == failing && (is_log(path) || failing == Effect::Free);
        if is_hit && is_on.load(SeqCst) > 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    (store, switch)
}

#[tokio::test]
async fn failing_disk_refuses_with_a_hint_and_recovers_by_itself() {
    for failing in [Effect::Create, Effect::Write, Effect::Sync] {
        let dir = folder();
        let (store, switch) = open_failing(dir.path(), failing);
        append(&store, "0 1 0").await.unwrap();
        if failing == Effect::Create {
            store.seal().await;
        }
        switch.store(1, SeqCst);
        for _ in 0..3 {
            let refused = append(&store, "1 1 1").await;
            assert!(matches!(refused, Err(AppendError::NoSpace { .. })), "{failing:?}: {refused:?}");
        }
        assert_eq!(starts(&store).await, [0], "{failing:?}: queries go on without it");
        assert_eq!(store.stats().refused_no_space, 3);
        switch.store(0, SeqCst);
        assert_eq!(append(&store, "1 1 1").await, Ok(Appended::Kept), "{failing:?}");
        assert_eq!(append(&store, "2 1 2").await, Ok(Appended::Kept), "{failing:?}");
        let (starts, recovery) = starts_after_restart(dir.path()).await;
        assert_eq!(starts, [0, 1, 2], "{failing:?}");
        assert_eq!(recovery.damaged, 0, "{failing:?}: the partial record was cut away");
    }
}

#[tokio::test]
async fn refused_request_that_stayed_on_the_disk_is_not_stored_beside_its_retry() {
    let dir = folder();
    let switch = Arc::new(AtomicU8::new(0));
    let is_on = Arc::clone(&switch);
    let store = open_on(dir.path(), move |effect, path| {
        let is_hit = matches!(effect, Effect::Sync | Effect::Truncate | Effect::Remove) && is_log(path);
        if is_hit && is_on.load(SeqCst) > 0 { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    });
    append(&store, "0 1 0").await.unwrap();
    switch.store(1, SeqCst);
    append(&store, "1 1 1").await.unwrap_err();
    switch.store(0, SeqCst);
    append(&store, "1 1 1").await.unwrap();
    let (starts, recovery) = starts_after_restart(dir.path()).await;
    assert_eq!(starts, [0, 1]);
    assert_eq!(recovery.duplicates, 1);
}

#[tokio::test]
async fn low_disk_refuses_until_there_is_room() {
    let dir = folder();
    let switch = Arc::new(AtomicU8::new(1));
    let is_on = Arc::clone(&switch);
    let config = Config { disk_free_bytes_min: 1, ..config(dir.path()) };
    let store = open_with(config, move |effect, _| {
        if effect == Effect::Free && is_on.load(SeqCst) > 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    assert!(matches!(append(&store, "1 1 1").await, Err(AppendError::NoSpace { .. })));
    assert_eq!(store.stats().disk_free_bytes, Some(0));
    switch.store(0, SeqCst);
    assert_eq!(append(&store, "1 1 1").await, Ok(Appended::Kept));
}

#[tokio::test]
async fn seal_that_panics_is_a_failed_seal() {
    let dir = folder();
    let store = open_on(dir.path(), |effect, _| {
        assert!(effect != Effect::Rename, "a defect");
        Ok(())
    });
    append(&store, "0 1 0").await.unwrap();
    store.seal().await;
    assert_eq!(store.stats().seals_failed, 1);
    assert_eq!(starts(&store).await, [0]);
}

#[tokio::test]
async fn failed_seal_loses_nothing_and_succeeds_later() {
    for failing in [Effect::Create, Effect::Write, Effect::Sync, Effect::Rename, Effect::SyncDir] {
        let dir = folder();
        let switch = Arc::new(AtomicU8::new(1));
        let is_on = Arc::clone(&switch);
        let store = open_on(dir.path(), move |effect, path| {
            let is_hit = effect == failing && path.components().any(|part| part.as_os_str() == "spans");
            if is_hit && is_on.load(SeqCst) > 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        append(&store, "0 1 0").await.unwrap();
        store.seal().await;
        assert_eq!((store.stats().seals, store.stats().seals_failed), (0, 1), "{failing:?}");
        append(&store, "1 1 1").await.unwrap();
        assert_eq!(starts(&store).await, [0, 1], "{failing:?}");
        assert_eq!(starts_after_restart(dir.path()).await.0, [0, 1], "{failing:?}");
        switch.store(0, SeqCst);
        store.close().await;
        let (store, recovery) = open(dir.path()).await;
        assert_eq!(starts(&store).await, [0, 1], "{failing:?}");
        assert_eq!(recovery.replayed, 0, "{failing:?}: closing sealed everything");
    }
}
