//! The one owner of everything that changes: a thread that takes all requests that wait, writes them to the log with
//! one sync, makes their rows visible in a new snapshot, and only then answers. Also starts seals and takes their
//! result, and takes over what upkeep did to the segments. Handles send it messages; nothing else may touch its state.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;
use bytes::Bytes;
use collector_table::TableName;
use tokio::sync::oneshot;

use crate::committed::CommittedSender;
use crate::disk::Disk;
use crate::files::Files;
use crate::inbox::{Inbox, Outbox};
use crate::log::Log;
use crate::promote::Promoted;
use crate::queue::Place;
use crate::recent::{Fingerprint, RecentRequests};
use crate::recovery::{Found, LOG_FOLDER};
use crate::seal::{Seal, Sealed};
use crate::segment::Segment;
use crate::snapshot::{PerTable, Snapshot};
use crate::stats::Counters;
use crate::store::{RETRY_WHEN_BUSY, RETRY_WHEN_FULL};
use crate::upkeep::Upkeep;
use crate::{AppendError, Appended, Committed, Config, StoreError};

mod sealing;
mod tables;

use tables::Tables;

/// Payloads that are written together, bytes; further ones wait for the next sync.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
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
    Sealed(Result<Sealed, StoreError>),
    /// Upkeep merged or expired segments.
    Replace(Replace),
    /// The thread of upkeep ended.
    UpkeepEnded,
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

/// Rows that need no log; of all tables or of none.
pub(crate) struct Derived {
    pub(crate) rows: Vec<(TableName, RecordBatch)>,
    pub(crate) answer: oneshot::Sender<Result<(), AppendError>>,
}

/// Segments that are no longer needed, and what is there instead.
pub(crate) struct Replace {
    pub(crate) removed: Vec<Arc<Segment>>,
    pub(crate) added: Option<Segment>,
    /// Told when no new reader can meet the old ones.
    pub(crate) done: std::sync::mpsc::Sender<()>,
}

enum End {
    Close(oneshot::Sender<()>),
    Stop,
}

/// What the writer works with.
pub(crate) struct Surroundings {
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) files: Files,
    pub(crate) counters: Arc<Counters>,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) upkeep: Upkeep,
}

/// The writer's state.
pub(crate) struct Writer {
    config: Config,
    disk: Arc<dyn Disk>,
    files: Files,
    counters: Arc<Counters>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    upkeep: Upkeep,
    log: Log,
    recent: RecentRequests,
    tables: Tables,
    subscriber: Option<CommittedSender>,
    /// Requests taken from the inbox; bounded by the queue's limits, whose room they still hold.
    waiting: Vec<Append>,
    derived: Vec<Derived>,
    /// Where seals run.
    sealer: Sender<sealing::Work>,
    /// A seal that runs or failed.
    seal: Option<Arc<Seal>>,
    is_sealing: bool,
    promoted: PerTable<Arc<Promoted>>,
    /// Number of the last seal that succeeded.
    sealed_to: u64,
    seal_not_before: Option<Instant>,
    seal_started: Instant,
    /// The log could not be synced.
    is_seal_urgent: bool,
    /// Since when there are rows that no seal has taken.
    unsealed_since: Option<Instant>,
    seal_wanted: Vec<oneshot::Sender<()>>,
    /// Wait for the running seal.
    seal_awaited: Vec<oneshot::Sender<()>>,
}

impl Writer {
    /// Takes over what recovery found and publishes it.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn new(surroundings: Surroundings, mut found: Found) -> io::Result<Self> {
        let Surroundings { config, disk, files, counters, snapshot, upkeep } = surroundings;
        let folder = config.dir.join(LOG_FOLDER);
        let seal = found.take_gaps().map(Arc::new);
        let promoted = std::array::from_fn(|index| Arc::new(Promoted::of(&found.tables[index].listing.segments)));
        let log = Log::new(
            folder,
            Arc::clone(&disk),
            Arc::clone(&counters),
            config.durability,
            found.log_files,
            found.next_seq,
        );
        let tables = Tables::new(found.tables, found.revisions);
        let writer = Self {
            sealed_to: tables.sealed_to(),
            unsealed_since: (tables.bytes() > 0).then(Instant::now),
            config,
            disk,
            files,
            counters,
            snapshot,
            upkeep,
            log,
            recent: found.recent,
            tables,
            subscriber: None,
            waiting: Vec::new(),
            derived: Vec::new(),
            sealer: sealing::start_sealer()?,
            seal,
            is_sealing: false,
            promoted,
            seal_not_before: None,
            seal_started: Instant::now(),
            is_seal_urgent: false,
            seal_wanted: Vec::new(),
            seal_awaited: Vec::new(),
        };
        writer.publish();
        Ok(writer)
    }

    /// Runs until closed. Holds the folder's lock as long.
    pub(crate) fn start(self, inbox: Inbox<Message>, lock: File) -> io::Result<()> {
        thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            let closed = self.run(&inbox);
            // Released before the answer, so that the folder can be opened again as soon as it is there.
            drop(lock);
            drop(inbox);
            if let Some(done) = closed {
                let _ = done.send(());
            }
        })?;
        Ok(())
    }

    fn run(mut self, inbox: &Inbox<Message>) -> Option<oneshot::Sender<()>> {
        if self.is_seal_due() {
            self.start_seal(&inbox.outbox());
        }
        loop {
            let mut end = None;
            for message in inbox.take(self.time_to_act()) {
                // Also what comes after the end: it may be the result of a seal, which is waited for then.
                end = self.take(message).or(end);
            }
            self.commit_derived();
            self.commit_waiting(end.is_some());
            self.sync_if_due();
            if let Some(end) = end {
                return self.end(end, inbox);
            }
            if self.is_seal_due() {
                self.start_seal(&inbox.outbox());
            }
        }
    }

    fn take(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Append(append) => self.waiting.push(append),
            Message::Derived(derived) => self.derived.push(derived),
            Message::Subscribe(sender) => self.subscriber = Some(sender),
            Message::Wake | Message::UpkeepEnded => {}
            Message::Seal(done) => self.seal_wanted.push(done),
            Message::Sealed(result) => self.finish_seal(result),
            Message::Replace(replace) => self.replace(replace),
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
        for Derived { rows, answer } in std::mem::take(&mut self.derived) {
            let result = if self.is_memory_full() {
                let error = AppendError::Busy { retry_after: RETRY_WHEN_BUSY };
                self.count_refused(&error);
                Err(error)
            } else {
                for (table, rows) in rows {
                    let bytes = rows.get_array_memory_size();
                    self.tables.push(table, rows, bytes);
                }
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

    /// Commits what waits, group by group, unless the analysis or a seal has to catch up first.
    fn commit_waiting(&mut self, is_ending: bool) {
        while !self.waiting.is_empty() && (is_ending || !self.has_to_wait()) {
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
            self.counters.group_requests_last.store(group.len(), Relaxed);
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
        let mut answers = Vec::with_capacity(group.len());
        for (append, is_first) in group.into_iter().zip(is_first) {
            let appended = if *is_first { Appended::Kept } else { Appended::Duplicate };
            if let Some(fingerprint) = append.fingerprint {
                self.recent.insert(fingerprint);
            }
            if *is_first && append.rows.num_rows() > 0 {
                let bytes = append.rows.get_array_memory_size();
                self.tables.push(append.table, append.rows.clone(), bytes);
                if let Some(subscriber) = &self.subscriber {
                    let committed =
                        Committed { table: append.table, rows: append.rows, is_replay: false, at: Instant::now() };
                    subscriber.send(committed, bytes);
                }
            }
            answers.push((append.answer, append.place, appended));
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
        self.tables.bytes() + self.seal.as_ref().map_or(0, |seal| seal.bytes())
    }

    /// Returns whether requests stay in the queue for now: the analysis is behind, or a seal is making room.
    fn has_to_wait(&self) -> bool {
        let is_lagging = self.subscriber.as_ref().is_some_and(CommittedSender::is_lagging);
        is_lagging || (self.is_sealing && self.is_memory_full())
    }

    fn note_unsealed(&mut self) {
        if self.unsealed_since.is_none() && self.tables.bytes() > 0 {
            self.unsealed_since = Some(Instant::now());
        }
    }

    fn sync_if_due(&mut self) {
        if self.log.sync_due().is_none_or(|due| Instant::now() < due) {
            return;
        }
        if let Err(error) = self.log.sync() {
            // The rows are still in memory: segments make them durable.
            tracing::error!(%error, "syncing the log: everything is sealed instead");
            self.counters.syncs_failed.fetch_add(1, Relaxed);
            self.is_seal_urgent = true;
        }
    }

    fn replace(&mut self, replace: Replace) {
        for segment in &replace.removed {
            self.tables.remove_segment(segment.table, &segment.name);
        }
        self.tables.add_segments(replace.added.into_iter().collect());
        self.publish();
        let _ = replace.done.send(());
    }

    fn publish(&self) {
        self.counters.memory_bytes.store(self.memory_bytes(), Relaxed);
        self.counters.revisions_forgotten.store(self.tables.revisions_forgotten(), Relaxed);
        self.snapshot.store(Arc::new(self.tables.snapshot(self.seal.as_deref())));
    }
}
