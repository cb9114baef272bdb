//! The one owner of everything that changes: a thread that takes all requests that wait, writes them to the log with
//! one sync, makes their rows visible in a new snapshot, and only then answers. Also starts seals and takes their
//! result. Handles send it messages; nothing else may touch its state.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;
use bytes::Bytes;
use collector_table::TableName;
use tokio::sync::oneshot;

use crate::committed::CommittedSender;
use crate::disk::Disk;
use crate::log::Log;
use crate::queue::Place;
use crate::recent::{Fingerprint, RecentRequests};
use crate::recovery::{Found, LOG_FOLDER};
use crate::seal::Seal;
use crate::segment::Segment;
use crate::snapshot::Snapshot;
use crate::stats::Counters;
use crate::store::{RETRY_WHEN_BUSY, RETRY_WHEN_FULL};
use crate::{AppendError, Appended, Committed, Config, StoreError};

mod tables;

use tables::Tables;

/// Payloads that are written together, bytes; further ones wait for the next sync.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Messages that are looked at before what they ask for is done.
const MESSAGES_MAX: usize = 8_192;
/// Wait after a seal that failed.
const SEAL_RETRY: Duration = Duration::from_secs(5);
/// Wait when nothing is due; any length would do.
const IDLE: Duration = Duration::from_secs(3_600);

/// What wakes the writer.
pub(crate) enum Message {
    /// A request.
    Append(Append),
    /// Rows that need no log.
    Derived(Derived),
    /// The analysis wants what is committed from here on.
    Subscribe(CommittedSender),
    /// The analysis caught up, or went away.
    Wake,
    /// Someone wants everything in segments.
    Seal(oneshot::Sender<()>),
    /// The thread of a seal ended.
    Sealed(Result<Vec<Segment>, StoreError>),
    /// Seal and end.
    Close(oneshot::Sender<()>),
    /// End without a seal: the last handle is gone.
    Stop,
}

/// A request that waits for the log.
pub(crate) struct Append {
    pub(crate) kind: u8,
    pub(crate) payload: Bytes,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) table: TableName,
    pub(crate) rows: RecordBatch,
    pub(crate) answer: oneshot::Sender<Result<Appended, AppendError>>,
    pub(crate) place: Place,
}

/// Rows that need no log.
pub(crate) struct Derived {
    pub(crate) table: TableName,
    pub(crate) rows: RecordBatch,
    pub(crate) answer: oneshot::Sender<Result<(), AppendError>>,
}

enum End {
    Close(oneshot::Sender<()>),
    Stop,
}

/// The writer's state.
pub(crate) struct Writer {
    config: Config,
    disk: Arc<dyn Disk>,
    counters: Arc<Counters>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    log: Log,
    recent: RecentRequests,
    tables: Tables,
    subscriber: Option<CommittedSender>,
    /// Requests taken from the inbox; bounded by the queue's limits, whose room they still hold.
    waiting: Vec<Append>,
    derived: Vec<Derived>,
    /// A seal that runs or failed.
    seal: Option<Arc<Seal>>,
    is_sealing: bool,
    /// Number of the last seal that succeeded.
    sealed_to: u64,
    seal_not_before: Option<Instant>,
    /// Since when there are rows that no seal has taken.
    unsealed_since: Option<Instant>,
    seal_wanted: Vec<oneshot::Sender<()>>,
    /// Wait for the running seal.
    seal_awaited: Vec<oneshot::Sender<()>>,
}

impl Writer {
    /// Takes over what recovery found and publishes it.
    pub(crate) fn new(
        config: Config,
        disk: Arc<dyn Disk>,
        counters: Arc<Counters>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        found: Found,
    ) -> Self {
        let folder = config.dir.join(LOG_FOLDER);
        let log = Log::new(folder, Arc::clone(&disk), Arc::clone(&counters), found.log_files, found.next_seq);
        let tables = Tables::new(found.tables, found.revisions);
        let writer = Self {
            sealed_to: tables.sealed_to(),
            unsealed_since: (tables.bytes() > 0).then(Instant::now),
            config,
            disk,
            counters,
            snapshot,
            log,
            recent: found.recent,
            tables,
            subscriber: None,
            waiting: Vec::new(),
            derived: Vec::new(),
            seal: None,
            is_sealing: false,
            seal_not_before: None,
            seal_wanted: Vec::new(),
            seal_awaited: Vec::new(),
        };
        writer.publish();
        writer
    }

    /// Runs until closed. Holds the folder's lock as long.
    pub(crate) fn start(self, channel: (Sender<Message>, Receiver<Message>), lock: File) -> io::Result<()> {
        thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            let (outbox, inbox) = channel;
            let closed = self.run(&inbox, &outbox);
            // Released before the answer, so that the folder can be opened again as soon as it is there.
            drop(lock);
            if let Some(done) = closed {
                let _ = done.send(());
            }
        })?;
        Ok(())
    }

    fn run(mut self, inbox: &Receiver<Message>, outbox: &Sender<Message>) -> Option<oneshot::Sender<()>> {
        loop {
            let first = match inbox.recv_timeout(self.time_to_seal()) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            };
            let mut end = None;
            for message in first.into_iter().chain(inbox.try_iter()).take(MESSAGES_MAX) {
                end = self.take(message);
                if end.is_some() {
                    break;
                }
            }
            self.commit_derived();
            self.commit_waiting(end.is_some());
            if let Some(end) = end {
                return self.end(end, inbox);
            }
            if self.is_seal_due() {
                self.start_seal(outbox);
            }
        }
    }

    fn take(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Append(append) => self.waiting.push(append),
            Message::Derived(derived) => self.derived.push(derived),
            Message::Subscribe(sender) => self.subscriber = Some(sender),
            Message::Wake => {}
            Message::Seal(done) => self.seal_wanted.push(done),
            Message::Sealed(result) => self.finish_seal(result),
            Message::Close(done) => return Some(End::Close(done)),
            Message::Stop => return Some(End::Stop),
        }
        None
    }

    fn commit_derived(&mut self) {
        if self.derived.is_empty() {
            return;
        }
        let mut answers = Vec::new();
        for Derived { table, rows, answer } in std::mem::take(&mut self.derived) {
            let result = if self.is_memory_full() {
                let error = AppendError::Busy { retry_after: RETRY_WHEN_BUSY };
                self.count_refused(&error);
                Err(error)
            } else {
                self.tables.push_derived(table, rows);
                Ok(())
            };
            answers.push((answer, result));
        }
        self.note_unsealed();
        self.publish();
        for (answer, result) in answers {
            let _ = answer.send(result);
        }
    }

    /// Commits what waits, group by group, unless the analysis has to catch up first.
    fn commit_waiting(&mut self, is_ending: bool) {
        while !self.waiting.is_empty() && (is_ending || !self.is_lagging()) {
            let mut bytes = 0;
            let is_within = |append: &&Append| {
                bytes += append.payload.len();
                bytes <= GROUP_BYTES_MAX
            };
            let count = self.waiting.iter().take_while(is_within).count().max(1);
            let group: Vec<Append> = self.waiting.drain(..count).collect();
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Vec<Append>) {
        if let Some(error) = self.refusal() {
            return self.refuse(group, &error);
        }
        let (duplicates, group): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|append| append.fingerprint.is_some_and(|known| self.recent.contains(&known)));
        // A retry may stand in the same group as the first try: then it shares its fate.
        let mut in_group = HashSet::new();
        let is_first: Vec<bool> =
            group.iter().map(|append| append.fingerprint.is_none_or(|request| in_group.insert(request))).collect();
        let records = group.iter().zip(&is_first).filter(|(_, is_first)| **is_first);
        let written = if group.is_empty() {
            Ok(())
        } else {
            self.log.commit(records.map(|(append, _)| (append.kind, &*append.payload)))
        };
        self.answer_duplicates(duplicates);
        match written {
            Ok(()) => self.show(group, &is_first),
            Err(error) => {
                tracing::error!(%error, requests = group.len(), "writing the log: the requests are refused");
                self.refuse(group, &AppendError::NoSpace { retry_after: RETRY_WHEN_FULL });
            }
        }
    }

    /// Makes the rows of a durable group visible and answers.
    fn show(&mut self, group: Vec<Append>, is_first: &[bool]) {
        let mut answers = Vec::new();
        let mut rows: Vec<(TableName, RecordBatch)> = Vec::new();
        for (append, is_first) in group.into_iter().zip(is_first) {
            let appended = if *is_first { Appended::Kept } else { Appended::Duplicate };
            if let Some(fingerprint) = append.fingerprint {
                self.recent.insert(fingerprint);
            }
            if *is_first {
                rows.push((append.table, append.rows));
            }
            answers.push((append.answer, append.place, appended));
        }
        for (table, rows) in self.tables.push_group(rows) {
            if let Some(subscriber) = &self.subscriber {
                subscriber.send(Committed { table, rows, is_replay: false });
            }
        }
        self.note_unsealed();
        self.publish();
        for (answer, place, appended) in answers {
            let count = if appended == Appended::Kept { &self.counters.kept } else { &self.counters.duplicates };
            count.fetch_add(1, Relaxed);
            drop(place);
            let _ = answer.send(Ok(appended));
        }
    }

    fn answer_duplicates(&self, duplicates: Vec<Append>) {
        for append in duplicates {
            self.counters.duplicates.fetch_add(1, Relaxed);
            drop(append.place);
            let _ = append.answer.send(Ok(Appended::Duplicate));
        }
    }

    /// Returns why nothing can be taken at the moment.
    fn refusal(&self) -> Option<AppendError> {
        if self.is_memory_full() {
            return Some(AppendError::Busy { retry_after: RETRY_WHEN_BUSY });
        }
        // When the file system cannot be asked, writing will tell.
        let free = self.disk.free_bytes(&self.config.dir).unwrap_or(u64::MAX);
        (free < self.config.disk_free_bytes_min).then_some(AppendError::NoSpace { retry_after: RETRY_WHEN_FULL })
    }

    /// Answers every request with the error and counts each.
    fn refuse(&self, group: Vec<Append>, error: &AppendError) {
        for append in group {
            self.count_refused(error);
            drop(append.place);
            let _ = append.answer.send(Err(error.clone()));
        }
    }

    fn count_refused(&self, error: &AppendError) {
        let is_disk = matches!(error, AppendError::NoSpace { .. });
        let count = if is_disk { &self.counters.refused_no_space } else { &self.counters.refused_busy };
        count.fetch_add(1, Relaxed);
    }

    fn is_memory_full(&self) -> bool {
        self.memory_bytes() >= self.config.memory_bytes_max
    }

    fn memory_bytes(&self) -> usize {
        self.tables.bytes() + self.seal.as_ref().map_or(0, |seal| seal.bytes)
    }

    fn is_lagging(&self) -> bool {
        self.subscriber.as_ref().is_some_and(CommittedSender::is_lagging)
    }

    fn note_unsealed(&mut self) {
        if self.unsealed_since.is_none() && self.tables.bytes() > 0 {
            self.unsealed_since = Some(Instant::now());
        }
    }

    fn publish(&self) {
        self.counters.memory_bytes.store(self.memory_bytes(), Relaxed);
        self.counters.revisions_forgotten.store(self.tables.revisions_forgotten(), Relaxed);
        self.snapshot.store(Arc::new(self.tables.snapshot(self.seal.as_deref())));
    }
}

/// Sealing.
impl Writer {
    fn time_to_seal(&self) -> Duration {
        if self.is_sealing {
            return IDLE;
        }
        let due = self.unsealed_since.map(|since| since + self.config.seal_after);
        let due = due.max(self.seal_not_before);
        due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()))
    }

    fn is_seal_due(&self) -> bool {
        if self.is_sealing || self.seal_not_before.is_some_and(|not_before| Instant::now() < not_before) {
            return false;
        }
        let is_old = self.unsealed_since.is_some_and(|since| since.elapsed() >= self.config.seal_after);
        let is_long = self.log.active_bytes() > self.config.wal_bytes_max;
        let is_big = self.memory_bytes() > self.config.memory_bytes_max / 2;
        self.seal.is_some() || is_old || is_long || is_big || !self.seal_wanted.is_empty()
    }

    /// Takes all rows for a seal, or the rows of the one that failed.
    fn next_seal(&mut self) -> Option<Arc<Seal>> {
        if self.seal.is_none() && self.tables.bytes() > 0 {
            self.log.rotate();
            let seq = self.log.take_seq();
            self.seal = Some(Arc::new(self.tables.freeze(seq)));
            self.unsealed_since = None;
        }
        self.seal.clone()
    }

    fn start_seal(&mut self, outbox: &Sender<Message>) {
        let Some(seal) = self.next_seal() else {
            return answer_all(&mut self.seal_wanted);
        };
        self.is_sealing = true;
        self.seal_awaited.append(&mut self.seal_wanted);
        let (disk, dir, outbox) = (Arc::clone(&self.disk), self.config.dir.clone(), outbox.clone());
        let run = move || {
            // Whatever happens there is an answer, or else nothing would be sealed ever again.
            let result = catch_unwind(AssertUnwindSafe(|| seal.run(&*disk, &dir)));
            let broken = |_| Err(StoreError::Broken { doing: "sealing" });
            let _ = outbox.send(Message::Sealed(result.unwrap_or_else(broken)));
        };
        if let Err(source) = thread::Builder::new().name("store-seal".to_owned()).spawn(run) {
            let path = self.config.dir.clone();
            self.finish_seal(Err(StoreError::Io { doing: "starting the seal of", path, source }));
        }
    }

    fn finish_seal(&mut self, result: Result<Vec<Segment>, StoreError>) {
        self.is_sealing = false;
        match (result, self.seal.take()) {
            (Ok(segments), Some(seal)) => {
                self.seal_not_before = None;
                self.counters.seals.fetch_add(1, Relaxed);
                self.tables.add_segments(segments);
                self.publish();
                // One seal later than possible, so that retries of recent requests are known after a restart too.
                self.log.remove_through(self.sealed_to);
                self.sealed_to = seal.seq;
            }
            (Err(error), seal) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "sealing: it will be tried again");
                self.seal = seal;
                self.seal_not_before = Some(Instant::now() + SEAL_RETRY);
                self.counters.seals_failed.fetch_add(1, Relaxed);
            }
            (Ok(_), None) => {}
        }
        answer_all(&mut self.seal_awaited);
    }

    /// Waits for a running seal, seals the rest when closing, and returns whom to tell.
    fn end(mut self, end: End, inbox: &Receiver<Message>) -> Option<oneshot::Sender<()>> {
        while self.is_sealing {
            match inbox.recv() {
                Ok(Message::Sealed(result)) => self.finish_seal(result),
                // Whatever else still arrives is answered as closed by being dropped.
                Ok(_) => {}
                Err(mpsc::RecvError) => return None,
            }
        }
        let End::Close(done) = end else { return None };
        // Twice: a seal that had failed before holds only the older rows.
        for _ in 0..2 {
            if let Some(seal) = self.next_seal() {
                let result = seal.run(&*self.disk, &self.config.dir);
                self.finish_seal(result);
            }
        }
        Some(done)
    }
}

fn answer_all(waiting: &mut Vec<oneshot::Sender<()>>) {
    for done in waiting.drain(..) {
        let _ = done.send(());
    }
}
