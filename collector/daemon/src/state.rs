//! What the daemon must not forget besides telemetry: incidents, webhook targets and the outbox, in one SQLite file.
//! Used by the daemon for incidents and by `notify` for deliveries. SQLite, because a change of an incident and the
//! events that tell of it have to be one transaction. One thread owns the connection; nobody else
//! may write to the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use analyzer::incident::Incident;
use reqwest::Url;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

pub use delivery::{AttemptRecord, DeliveryFilter, DeliveryRow, DeliveryState, DueDelivery, NextStep, TestEvent};
pub use incidents::{Happening, Recorded};
pub use targets::{StoredTarget, TargetOrigin};

/// Name of the file in the data folder.
const FILE: &str = "state.db";
/// Requests that wait for the owning thread; further callers wait their turn, so nothing is lost.
const JOBS_MAX: usize = 256;
/// Another process, such as a backup, may hold the file this long.
const BUSY: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Handle to the state; clones share the one owner. The file is closed when the last clone is gone.
#[derive(Debug, Clone)]
pub struct State {
    jobs: mpsc::Sender<Job>,
}

/// Why the state could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be used; the daemon should not start.
    #[error("opening the state in {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing was changed; it may work later, as when the disk was full.
    #[error("{doing}")]
    Query {
        /// What we were doing.
        doing: &'static str,
        /// Why not.
        #[source]
        cause: rusqlite::Error,
    },
    /// The owner is gone; only a restart helps.
    #[error("{doing}: the state's owner has stopped")]
    Stopped {
        /// What we were doing.
        doing: &'static str,
    },
}

impl State {
    /// Opens or creates the state in a folder, bringing an older file up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is no state, or is newer than this program.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join(FILE);
        let mut connection = open_file(dir, &path).map_err(|cause| StateError::Open { path: path.clone(), cause })?;
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_MAX);
        let owner = move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&mut connection);
            }
        };
        let started = std::thread::Builder::new().name("state".to_owned()).spawn(owner);
        started.map_err(|cause| StateError::Open { path, cause: cause.into() })?;
        Ok(Self { jobs })
    }

    /// Returns the newest incidents of a folder without changing anything in it, while a daemon may be using it.
    ///
    /// # Errors
    /// When there is no state, or this process or version cannot read it.
    pub fn peek_incidents(dir: &Path, limit: usize) -> Result<Vec<Incident>, StateError> {
        let path = dir.join(FILE);
        peek_incidents(&path, limit).map_err(|cause| StateError::Open { path, cause })
    }

    /// Runs one transaction on the owning thread.
    async fn transact<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // The caller may have gone away; the work counts all the same.
            let _ = reply.send(run(connection, work));
        });
        self.jobs.send(job).await.map_err(|_| StateError::Stopped { doing })?;
        let result = answer.await.map_err(|_| StateError::Stopped { doing })?;
        result.map_err(|cause| StateError::Query { doing, cause })
    }
}

fn run<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

fn open_file(dir: &Path, path: &Path) -> Result<Connection, Box<dyn std::error::Error + Send + Sync>> {
    std::fs::create_dir_all(dir)?;
    create_private(path)?;
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Every commit is on the disk before it is answered: an event that is queued is kept.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    schema::migrate(&mut connection)?;
    Ok(connection)
}

fn peek_incidents(path: &Path, limit: usize) -> Result<Vec<Incident>, Box<dyn std::error::Error + Send + Sync>> {
    let mut uri = Url::from_file_path(std::path::absolute(path)?).map_err(|()| "the path is no file's")?;
    // Beside a file that nobody has open, even a reader would leave a log of its own, which the daemon could then not
    // open if it runs as someone else. Without a log the file does not change while it is read.
    if !path.with_extension("db-wal").exists() {
        uri.set_query(Some("immutable=1"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri.as_str(), flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(incidents::newest(&connection, limit)?)
}

/// The file holds webhook secrets, so only its owner may read it.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

mod delivery;
mod incidents;
mod outbox;
mod schema;
mod targets;

#[cfg(test)]
pub(crate) mod tests;
