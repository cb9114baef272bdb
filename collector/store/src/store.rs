//! The handle that the daemon holds: opens the folder, passes requests to the writer, queries, closes.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;
use bytes::Bytes;
use collector_table::{TableName, TraceId};
use tokio::sync::oneshot;

use crate::disk::{Disk, OsDisk};
use crate::evidence::{Evidence, FOLDER as EVIDENCE_FOLDER};
use crate::files::Files;
use crate::inbox::{self, Outbox};
use crate::queue::Place;
use crate::recent::Fingerprints;
use crate::recovery::{self, LOG_FOLDER};
use crate::segment::{self, io_error};
use crate::snapshot::place;
use crate::stats::Counters;
use crate::upkeep::{self, Upkeep};
use crate::writer::{Append, Derived, Message, Surroundings, Writer};
use crate::{
    AppendError, Committed, CommittedReceiver, Config, QueryParam, QueryResult, Reader, SqlError, StoreError,
    StoreStats, committed,
};

/// What a refused sender is told to wait when the store is merely busy.
pub(crate) const RETRY_WHEN_BUSY: Duration = Duration::from_secs(1);
/// What a refused sender is told to wait when the disk is full: someone has to make room.
pub(crate) const RETRY_WHEN_FULL: Duration = Duration::from_secs(10);
/// Name of the file whose lock says that a daemon runs here.
const LOCK_FILE: &str = "lock";

/// What became of a request that may be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is in the log and visible to queries.
    Kept,
    /// The same bytes had been kept before, so nothing was stored again.
    Duplicate,
}

/// What was found when the folder was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segment files.
    pub segments: usize,
    /// Files that are named like segments but cannot be read; set aside, and replayed if the log still has them.
    pub segments_unreadable: usize,
    /// Requests read back from the log into memory.
    pub replayed: u64,
    /// Requests in the log that were in a segment already.
    pub already_sealed: u64,
    /// Requests in the log with the same bytes as an earlier one: a retry after a write that failed.
    pub duplicates: u64,
    /// Damaged places in the log, each of which cost at most one request. A torn tail counts as one.
    pub damaged: u64,
    /// Requests in the log that could not be decoded any more.
    pub undecodable: u64,
}

/// The store. Cheap to clone; all clones are the same store. When the last one is dropped the writer stops without a
/// seal, as after a crash but in order; [`Store::close`] also seals.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    disk: Arc<dyn Disk>,
    reader: Reader,
    counters: Arc<Counters>,
    fingerprints: Fingerprints,
    evidence: Arc<Evidence>,
    upkeep: Upkeep,
    writer: Outbox<Message>,
    /// What the log held, until the analysis takes it.
    replays: Mutex<Option<Vec<Committed>>>,
}

impl Store {
    /// Opens the folder, reads the log back, and starts the writer. `replay` decodes a logged payload by its kind.
    /// Blocks the thread while it reads.
    ///
    /// # Errors
    /// If another process has the folder open or it cannot be read.
    pub async fn open(
        config: Config,
        replay: impl FnMut(u8, &[u8]) -> Option<(TableName, RecordBatch)>,
    ) -> Result<(Self, Recovery), StoreError> {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let lock = make_folders_and_lock(&config.dir)?;
        let files = Files::local(config.dir.clone())?;
        Self::open_on(disk, files, lock, config, replay)
    }

    /// Opens a folder whose lock is held.
    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        files: Files,
        lock: File,
        config: Config,
        replay: impl FnMut(u8, &[u8]) -> Option<(TableName, RecordBatch)>,
    ) -> Result<(Self, Recovery), StoreError> {
        let mut found = recovery::read(&files, &*disk, replay)?;
        for table in TableName::ALL {
            segment::tidy(&files, table, &found.tables[place(table)].listing)?;
        }
        let report = found.report.clone();
        let replays = Mutex::new(Some(std::mem::take(&mut found.replays)));
        let fingerprints = found.fingerprints.clone();
        let evidence = Arc::new(Evidence::open(files.clone())?);
        let snapshot = Arc::new(ArcSwap::default());
        let reader = Reader::new(&files, config.query.clone(), Arc::clone(&snapshot))?;
        let counters = Arc::new(Counters::default());
        let (writer, inbox) = inbox::inbox();
        let worker = upkeep::Worker {
            config: config.clone(),
            disk: Arc::clone(&disk),
            files: files.clone(),
            counters: Arc::clone(&counters),
            snapshot: Arc::clone(&snapshot),
            evidence: Arc::clone(&evidence),
            writer: writer.clone(),
        };
        let starting = |source| io_error("starting threads on", &config.dir, source);
        let upkeep = upkeep::start(worker, found.log_from()).map_err(starting)?;
        let surroundings = Surroundings {
            config: config.clone(),
            disk: Arc::clone(&disk),
            files,
            counters: Arc::clone(&counters),
            snapshot,
            upkeep: upkeep.clone(),
        };
        Writer::new(surroundings, found).and_then(|writer| writer.start(inbox, lock)).map_err(starting)?;
        let shared = Shared { config, disk, reader, counters, fingerprints, evidence, upkeep, writer, replays };
        Ok((Self { shared: Arc::new(shared) }, report))
    }

    /// Keeps a request: resolves after the payload is in the log and synced and its rows are visible to queries.
    /// Cheap to call in parallel: all that wait share one sync.
    ///
    /// # Errors
    /// See [`AppendError`]; then nothing was kept.
    pub async fn append(
        &self,
        kind: u8,
        payload: Bytes,
        table: TableName,
        rows: RecordBatch,
    ) -> Result<Appended, AppendError> {
        check_schema(table, &rows)?;
        let place = self.take_place(payload.len())?;
        let fingerprint = self.shared.fingerprints.of(kind, &payload, table, &rows);
        let (answer, answered) = oneshot::channel();
        let append = Append { kind, payload, fingerprint, table, rows, answer, place };
        self.send(Message::Append(append))?;
        answered.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Keeps rows that can be derived again from logged ones (transactions, dependencies): in memory, sealed with the
    /// rest, never logged. Of one call all rows are kept, or none. Rows that are stored already must not be given again.
    /// Taken also while requests wait for the analysis; the queue's limits do not apply, so await one call after another.
    ///
    /// # Errors
    /// See [`AppendError`]; then nothing was kept.
    pub async fn append_derived(&self, rows: Vec<(TableName, RecordBatch)>) -> Result<(), AppendError> {
        for (table, rows) in &rows {
            check_schema(*table, rows)?;
        }
        let (answer, answered) = oneshot::channel();
        self.send(Message::Derived(Derived { rows, answer }))?;
        answered.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Keeps the rows of these traces, spans and logs, longer than others: as `Config::evidence` says. Remembered
    /// durably when this resolves; of very many traces the oldest are forgotten.
    ///
    /// # Errors
    /// When the disk refuses; then it is remembered only until the next start.
    pub async fn keep_evidence(&self, traces: Vec<TraceId>) -> Result<(), StoreError> {
        let evidence = Arc::clone(&self.shared.evidence);
        let kept = tokio::task::spawn_blocking(move || evidence.keep(&traces)).await;
        kept.unwrap_or(Err(StoreError::Broken { doing: "keeping evidence" }))
    }

    /// Merges small segments and removes those that have expired by this time, Unix nanoseconds. Call it every minute or
    /// so: the store reads no clock. Resolves when it is done; merging also happens by itself after each seal.
    pub async fn maintain(&self, now_ns: i64) {
        self.shared.upkeep.maintain(now_ns).await;
    }

    /// Returns the receiver of everything that is appended from now on, preceded by what the log still holds (also
    /// of the previous seal, as context for transactions that were open). Returns nothing the second time. What the log
    /// held stays in memory until this is called, so call it, or drop the receiver, soon after opening.
    pub fn take_committed(&self) -> Option<CommittedReceiver> {
        let shared = &self.shared;
        let replays = shared.replays.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let bytes_max = shared.config.committed_bytes_max;
        let (sender, receiver) = committed::channel(Arc::clone(&shared.counters), bytes_max, shared.writer.clone());
        for committed in replays {
            let bytes = committed.rows.get_array_memory_size();
            sender.send(committed, bytes);
        }
        self.send(Message::Subscribe(sender)).ok()?;
        Some(receiver)
    }

    /// Makes `rows` the content of SQL table `name`, in place of what was there.
    pub fn publish(&self, name: &str, rows: RecordBatch) {
        self.shared.reader.publish(name, rows);
    }

    /// Returns the part of the store that only queries.
    pub fn reader(&self) -> &Reader {
        &self.shared.reader
    }

    /// Runs one read-only statement.
    ///
    /// # Errors
    /// See [`SqlError`].
    pub async fn query(&self, sql: &str) -> Result<QueryResult, SqlError> {
        self.shared.reader.query(sql).await
    }

    /// Runs one read-only statement with values for its placeholders `$1`, `$2`…
    ///
    /// # Errors
    /// See [`SqlError`].
    pub async fn query_with(&self, sql: &str, params: Vec<QueryParam>) -> Result<QueryResult, SqlError> {
        self.shared.reader.query_with(sql, params).await
    }

    /// Writes everything in memory to segments and waits for it. A failure is counted and tried again later.
    pub async fn seal(&self) {
        let (done, is_done) = oneshot::channel();
        if self.send(Message::Seal(done)).is_ok() {
            let _ = is_done.await;
        }
    }

    /// Commits what waits, seals, releases the folder and returns. Other clones get [`AppendError::Closed`].
    pub async fn close(self) {
        let (done, is_done) = oneshot::channel();
        if self.send(Message::Close(done)).is_ok() {
            let _ = is_done.await;
        }
    }

    /// Returns numbers about the store.
    pub fn stats(&self) -> StoreStats {
        let free = self.shared.disk.free_bytes(&self.shared.config.dir).ok();
        self.shared.counters.read(&self.shared.reader.snapshot(), &self.shared.evidence, free)
    }

    fn take_place(&self, bytes: usize) -> Result<Place, AppendError> {
        let Shared { config, counters, .. } = &*self.shared;
        // The log states the length in 32 bits.
        let bytes_max = config.queue_bytes_max.min(u32::MAX as usize);
        if bytes > bytes_max {
            return Err(AppendError::TooLarge { bytes, bytes_max });
        }
        Place::take(config, counters, bytes).ok_or_else(|| {
            counters.refused_busy.fetch_add(1, Relaxed);
            AppendError::Busy { retry_after: RETRY_WHEN_BUSY }
        })
    }

    fn send(&self, message: Message) -> Result<(), AppendError> {
        self.shared.writer.send(message).map_err(|_| AppendError::Closed)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.writer.send(Message::Stop);
    }
}

fn check_schema(table: TableName, rows: &RecordBatch) -> Result<(), AppendError> {
    if *rows.schema_ref() == table.memory_schema() { Ok(()) } else { Err(AppendError::WrongSchema { table }) }
}

pub(crate) fn make_folders_and_lock(dir: &Path) -> Result<File, StoreError> {
    let folders = TableName::ALL.iter().map(|table| table.as_str()).chain([LOG_FOLDER, EVIDENCE_FOLDER]);
    for folder in folders.map(|name| dir.join(name)) {
        fs::create_dir_all(&folder).map_err(|source| io_error("creating", &folder, source))?;
    }
    // The folders themselves must survive a power failure too, and so must those above that were made for them.
    for folder in dir.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            // Someone else's folder above ours may not be readable; it was there before.
            Err(source) if folder == dir => return Err(io_error("syncing", dir, source)),
            Ok(()) | Err(_) => {}
        }
    }
    let path = dir.join(LOCK_FILE);
    let lock = File::create(&path).map_err(|source| io_error("creating", &path, source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error("locking", &path, source)),
    }
}
