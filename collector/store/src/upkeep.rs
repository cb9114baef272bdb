//! What keeps the folder in order while nobody waits for it: merges small segments, removes expired ones, keeps rows of
//! evidence. One thread of low priority, woken after each seal and by the daemon's clock. It reads segments and writes
//! new ones; the list of segments belongs to the writer, which is asked to replace them.
//!
//! A file that was replaced is removed when no snapshot holds it any more, so a running query never loses one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use collector_table::TableName;
use tokio::sync::oneshot;

use crate::disk::Disk;
use crate::evidence::Evidence;
use crate::files::Files;
use crate::inbox::Outbox;
use crate::segment::Segment;
use crate::snapshot::{Snapshot, place};
use crate::stats::Counters;
use crate::writer::{Message, Replace};
use crate::{Config, StoreError};

mod compact;
mod expire;
mod plan;

/// How often files are looked at again that a query still held.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often there is a look without any reason.
const IDLE: Duration = Duration::from_secs(60);

enum Task {
    /// A seal has written segments.
    Sealed,
    /// The daemon says what time it is.
    Maintain { now_ns: i64, done: oneshot::Sender<()> },
    /// End soon.
    Stop,
}

/// The writer's and the handle's end.
#[derive(Clone)]
pub(crate) struct Upkeep {
    tasks: Sender<Task>,
    is_stopping: Arc<AtomicBool>,
    log_from: Arc<AtomicU64>,
}

impl Upkeep {
    /// Says that there are new segments, and from which request on the log still has them.
    pub(crate) fn wake(&self, log_from: u64) {
        self.log_from.store(log_from, Relaxed);
        let _ = self.tasks.send(Task::Sealed);
    }

    /// Merges what is to be merged and removes what has expired by this time; resolves when that is done.
    pub(crate) async fn maintain(&self, now_ns: i64) {
        let (done, is_done) = oneshot::channel();
        if self.tasks.send(Task::Maintain { now_ns, done }).is_ok() {
            let _ = is_done.await;
        }
    }

    /// Stops at the next opportunity. Returns whether it still runs and will say when it ended.
    pub(crate) fn stop(&self) -> bool {
        self.is_stopping.store(true, Release);
        self.tasks.send(Task::Stop).is_ok()
    }
}

/// The thread's state.
pub(crate) struct Worker {
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) files: Files,
    pub(crate) counters: Arc<Counters>,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) evidence: Arc<Evidence>,
    pub(crate) writer: Outbox<Message>,
}

/// Starts the thread. Requests before `log_from` are no longer in the log.
///
/// # Errors
/// When there can be no more threads.
pub(crate) fn start(worker: Worker, log_from: u64) -> io::Result<Upkeep> {
    let (tasks, inbox) = mpsc::channel();
    let upkeep =
        Upkeep { tasks, is_stopping: Arc::new(AtomicBool::new(false)), log_from: Arc::new(AtomicU64::new(log_from)) };
    let running = Running {
        worker,
        is_stopping: Arc::clone(&upkeep.is_stopping),
        log_from: Arc::clone(&upkeep.log_from),
        replaced: Vec::new(),
    };
    thread::Builder::new().name("store-upkeep".to_owned()).spawn(move || running.run(&inbox))?;
    Ok(upkeep)
}

struct Running {
    worker: Worker,
    is_stopping: Arc<AtomicBool>,
    log_from: Arc<AtomicU64>,
    /// Files that are to be removed when no snapshot holds them.
    replaced: Vec<Arc<Segment>>,
}

impl Running {
    fn run(mut self, inbox: &Receiver<Task>) {
        be_nice();
        let writer = self.worker.writer.clone();
        // However this thread ends, the writer must know, or it would wait for it when it closes.
        let _tells_at_the_end = TellsAtTheEnd(writer);
        while !self.is_stopping() {
            let wait = if self.replaced.is_empty() { IDLE } else { LOOK_AGAIN };
            match inbox.recv_timeout(wait) {
                Ok(Task::Sealed) => self.compact(),
                Ok(Task::Maintain { now_ns, done }) => {
                    self.compact();
                    self.expire(now_ns);
                    self.remove_replaced();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.remove_replaced();
        }
        // What a query still holds is found superseded or expired at the next start.
        self.remove_replaced();
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Acquire)
    }

    /// Merges until nothing is left to merge.
    fn compact(&mut self) {
        for table in TableName::ALL {
            while let Some(inputs) = self.next_merge(table) {
                if self.is_stopping() || !self.has_room(&inputs) {
                    return;
                }
                match compact::merge(&self.worker.files, table, &inputs, &self.is_stopping) {
                    Ok(Some(merged)) => {
                        self.worker.counters.compacted(inputs.len(), merged.rows);
                        self.replace(inputs, Some(merged));
                    }
                    Ok(None) => return,
                    Err(error) => {
                        self.worker.counters.compactions_failed.fetch_add(1, Relaxed);
                        return say(&error, "merging segments: it will be tried again");
                    }
                }
            }
        }
    }

    fn next_merge(&self, table: TableName) -> Option<Vec<Arc<Segment>>> {
        let segments = Arc::clone(&self.worker.snapshot.load().tables[place(table)].segments);
        plan::next_merge(&segments, &plan::Limits::of(&self.worker.config)).map(|range| segments[range].to_vec())
    }

    /// Returns whether the disk can hold what is merged twice, and still take requests.
    fn has_room(&self, inputs: &[Arc<Segment>]) -> bool {
        let Worker { config, disk, .. } = &self.worker;
        let needed: u64 = inputs.iter().map(|segment| segment.bytes).sum();
        let free = disk.free_bytes(&config.dir).unwrap_or(u64::MAX);
        free >= config.disk_free_bytes_min.saturating_add(needed)
    }

    /// Asks the writer to replace segments. Afterwards no new reader can meet them.
    fn replace(&mut self, removed: Vec<Arc<Segment>>, added: Option<Segment>) {
        let (done, is_done) = mpsc::channel();
        let replace = Replace { removed: removed.clone(), added, done };
        if self.worker.writer.send(Message::Replace(replace)).is_ok() && is_done.recv().is_ok() {
            self.replaced.extend(removed);
        }
    }

    fn remove_replaced(&mut self) {
        let files = &self.worker.files;
        self.replaced.retain(|segment| {
            // Ours is the only reference left, and nobody can make another one.
            if Arc::strong_count(segment) > 1 {
                return true;
            }
            let removed = files.remove(&segment.name);
            if let Err(error) = &removed {
                say(error, "removing a segment that is no longer needed");
            }
            removed.is_err()
        });
        self.worker.counters.replaced.store(self.replaced.len(), Relaxed);
    }
}

struct TellsAtTheEnd(Outbox<Message>);

impl Drop for TellsAtTheEnd {
    fn drop(&mut self) {
        let _ = self.0.send(Message::UpkeepEnded);
    }
}

/// Lets everything else on this machine go first. Where that is not possible it runs as it is.
fn be_nice() {
    const NICE: i32 = 10;
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}

fn say(error: &StoreError, doing: &str) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "{doing}");
}
