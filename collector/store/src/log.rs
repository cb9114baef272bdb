//! The write-ahead log: what an acknowledgement rests on. The writer commits groups of requests and rotates at a seal,
//! recovery reads the files back.
//!
//! Groups begin and end at blocks ([`group`]), so that the disk can take large payloads from where they lie.
//!
//! A file that refused a write or a sync is never written again: after a failed fdatasync the kernel may have dropped
//! the pages and still report success the next time. It is cut to what was durable and the next group starts a new one.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::Durability;
use crate::disk::{Disk, DiskFile};
use crate::stats::Counters;

mod group;
mod record;

pub(crate) use record::{Record, Records};

/// A log file that is no longer written.
#[derive(Debug)]
pub(crate) struct ClosedFile {
    pub(crate) path: PathBuf,
    /// No record in it is earlier.
    pub(crate) first_seq: u64,
    /// No record in it is later.
    pub(crate) last_seq: u64,
    pub(crate) bytes: u64,
}

struct ActiveFile {
    path: PathBuf,
    first_seq: u64,
    file: Box<dyn DiskFile>,
    /// Length up to which requests were kept.
    bytes: u64,
    /// Since when something in it waits for a sync; never with [`Durability::Always`].
    unsynced_since: Option<Instant>,
}

/// The log's writing end.
pub(crate) struct Log {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    counters: Arc<Counters>,
    durability: Durability,
    active: Option<ActiveFile>,
    closed: Vec<ClosedFile>,
    next_seq: u64,
}

impl Log {
    /// Returns a log that goes on at `next_seq`, always in a new file: what stands in the old ones stays as it is.
    pub(crate) fn new(
        dir: PathBuf,
        disk: Arc<dyn Disk>,
        counters: Arc<Counters>,
        durability: Durability,
        closed: Vec<ClosedFile>,
        next_seq: u64,
    ) -> Self {
        let log = Self { dir, disk, counters, durability, active: None, closed, next_seq };
        log.count_bytes();
        log
    }

    /// Writes the requests, and syncs once or leaves that to [`Self::sync`]. Their numbers are never used again, whether it succeeds or not.
    pub(crate) fn commit<'a>(&mut self, requests: impl Iterator<Item = (u8, &'a [u8])>) -> io::Result<()> {
        let first_seq = self.next_seq;
        let begins_file = self.active.is_none();
        let records = group::lay_out(first_seq, begins_file, requests);
        self.next_seq += records.len() as u64;
        let result = self.write(first_seq, &records);
        if result.is_err() {
            self.abandon();
        }
        self.count_bytes();
        result
    }

    /// Returns a number that no request has, later than all before it.
    pub(crate) fn take_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// Returns when [`Self::sync`] has to be called.
    pub(crate) fn sync_due(&self) -> Option<Instant> {
        let Durability::Interval(interval) = self.durability else { return None };
        Some(self.active.as_ref()?.unsynced_since? + interval)
    }

    /// Syncs what was only written so far. After a failure nothing can be said of these requests; the file is not
    /// written again, and a seal should make them durable soon.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let Some(active) = self.active.as_mut().filter(|active| active.unsynced_since.is_some()) else {
            return Ok(());
        };
        let started = Instant::now();
        let synced = active.file.sync();
        active.unsynced_since = None;
        self.counters.synced(started.elapsed());
        if synced.is_err() {
            self.close_active();
        }
        synced
    }

    /// Ends the active file; the next commit starts another one.
    pub(crate) fn rotate(&mut self) {
        if let Err(error) = self.sync() {
            tracing::error!(%error, "syncing a log file that is to be sealed");
        }
        self.close_active();
    }

    fn close_active(&mut self) {
        if let Some(active) = self.active.take() {
            self.push_closed(active);
        }
    }

    fn push_closed(&mut self, active: ActiveFile) {
        let ActiveFile { path, first_seq, bytes, .. } = active;
        self.closed.push(ClosedFile { path, first_seq, last_seq: self.next_seq - 1, bytes });
    }

    /// Removes the files that hold nothing later than `seq`. One that cannot be removed is tried again next time.
    pub(crate) fn remove_through(&mut self, seq: u64) {
        let disk = &self.disk;
        self.closed.retain(|file| {
            if file.last_seq > seq {
                return true;
            }
            let removed = disk.remove(&file.path);
            if let Err(error) = &removed {
                tracing::warn!(path = %file.path.display(), %error, "removing a log file that is no longer needed");
            }
            removed.is_err()
        });
        self.count_bytes();
    }

    /// Returns the number of the first request that a replay would meet.
    pub(crate) fn first_seq(&self) -> u64 {
        let closed = self.closed.iter().map(|file| file.first_seq);
        closed.chain(self.active.as_ref().map(|active| active.first_seq)).min().unwrap_or(self.next_seq)
    }

    /// Returns the size of the file that is being written.
    pub(crate) fn active_bytes(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.bytes)
    }

    fn write(&mut self, first_seq: u64, records: &[Record<'_>]) -> io::Result<()> {
        if self.active.is_none() {
            self.active = Some(self.create(first_seq)?);
        }
        let active = self.active.as_mut().expect("it was created above");
        let header = if active.bytes == 0 { &record::FILE_HEADER[..] } else { &[] };
        let bytes = write_records(&mut *active.file, header, records)?;
        let started = Instant::now();
        if self.durability == Durability::Always {
            active.file.sync()?;
            self.counters.synced(started.elapsed());
        } else {
            active.unsynced_since.get_or_insert(started);
        }
        active.bytes += bytes;
        Ok(())
    }

    fn create(&self, first_seq: u64) -> io::Result<ActiveFile> {
        let path = self.dir.join(format!("wal-{first_seq:020}.wal"));
        let file = self.disk.create(&path)?;
        if let Err(error) = self.disk.sync_dir(&self.dir) {
            drop(file);
            // Nothing is in it, should it stay.
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        Ok(ActiveFile { path, first_seq, file, bytes: 0, unsynced_since: None })
    }

    /// Gives the active file up after a failed write. Should cutting it fail as well, the refused records may come back at
    /// the next start: the sender was told to retry, and replaying drops the second copy.
    fn abandon(&mut self) {
        let Some(mut active) = self.active.take() else { return };
        if active.bytes == 0 && self.disk.remove(&active.path).is_ok() {
            return;
        }
        if let Err(error) = active.file.truncate(active.bytes) {
            tracing::warn!(path = %active.path.display(), %error, "cutting a log file after a failed write");
        }
        self.push_closed(active);
    }

    fn count_bytes(&self) {
        let closed: u64 = self.closed.iter().map(|file| file.bytes).sum();
        self.counters.set_wal_bytes(closed + self.active_bytes());
    }
}

/// Writes the file's header, if any, and the records from where their payloads lie; returns how many bytes they are.
fn write_records(file: &mut dyn DiskFile, file_header: &[u8], records: &[Record<'_>]) -> io::Result<u64> {
    let headers: Vec<_> = records.iter().map(|record| record::header(*record)).collect();
    let pieces = headers.iter().zip(records).flat_map(|(header, record)| [&header[..], record.payload]);
    let pieces = std::iter::once(file_header).chain(pieces);
    let mut pieces: Vec<IoSlice<'_>> = pieces.filter(|piece| !piece.is_empty()).map(IoSlice::new).collect();
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut rest = &mut pieces[..];
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes as u64)
}

/// Returns the log files of a folder with the number of their first record, in order.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for path in disk.list(dir)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let seq = name.strip_prefix("wal-").and_then(|rest| rest.strip_suffix(".wal")).and_then(|seq| seq.parse().ok());
        if let Some(seq) = seq {
            files.push((seq, path));
        }
    }
    files.sort();
    Ok(files)
}
