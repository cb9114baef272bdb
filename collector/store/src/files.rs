//! Files that are written once and then only read: segments, and the list of evidence. All of it through object_store,
//! so that a bucket could hold them; what a local disk needs besides is in [`Files::publish`]. Called by seals,
//! compaction, retention and recovery, on threads that may block; queries read through the same object store.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::StreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::StoreError;
use crate::disk::{Disk, OsDisk};

/// Bytes that are handed to object_store at once; what a bucket takes as one part.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Suffix of a file that is not complete yet. Such names begin with a dot, so that no glob finds them.
const STAGED: &str = ".tmp";

/// Where the files are.
#[derive(Clone)]
pub(crate) struct Files {
    dir: PathBuf,
    store: Arc<dyn ObjectStore>,
    disk: Arc<dyn Disk>,
}

impl Files {
    /// Returns the files below a folder of this machine.
    ///
    /// # Errors
    /// If the folder does not exist.
    pub(crate) fn local(dir: PathBuf) -> Result<Self, StoreError> {
        let store = LocalFileSystem::new_with_prefix(&dir).map_err(|error| failed("opening", &dir, error))?;
        Ok(Self::new(dir, Arc::new(store), Arc::new(OsDisk)))
    }

    pub(crate) fn new(dir: PathBuf, store: Arc<dyn ObjectStore>, disk: Arc<dyn Disk>) -> Self {
        Self { dir, store, disk }
    }

    /// Returns where queries read.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Returns the path of a file for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns name and size of all complete files of a folder.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let mut listing = self.store.list(Some(&Path::from(folder)));
        let mut files = Vec::new();
        while let Some(entry) = wait_for(listing.next()) {
            let entry = entry.map_err(|error| self.failed("listing", folder, error))?;
            files.push((entry.location.to_string(), entry.size));
        }
        Ok(files)
    }

    /// Returns all bytes of a file, or nothing if there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        match wait_for(async { self.store.get(&Path::from(name)).await?.bytes().await }) {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            read => read.map(Some).map_err(|error| self.failed("reading", name, error)),
        }
    }

    /// Returns the size of a file.
    pub(crate) fn size(&self, name: &str) -> Result<u64, StoreError> {
        let head = wait_for(self.store.head(&Path::from(name)));
        head.map(|found| found.size).map_err(|error| self.failed("looking at", name, error))
    }

    /// Returns a reader of parts of a file.
    pub(crate) fn reader(&self, name: &str, bytes: u64) -> FileReader {
        FileReader { store: Arc::clone(&self.store), name: Path::from(name), bytes }
    }

    /// Begins a file that is seen under its name only when it is published.
    pub(crate) fn stage(&self, name: &str) -> Result<Sink, StoreError> {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let staged = Path::from(format!("{folder}/.{file}{STAGED}"));
        let upload = wait_for(self.store.put_multipart(&staged));
        let upload = upload.map_err(|error| self.failed("creating", staged.as_ref(), error))?;
        Ok(Sink { upload: Some(upload), part: Vec::new(), staged, name: name.to_owned() })
    }

    /// Ends the writing of a staged file and makes its bytes durable.
    pub(crate) fn complete(&self, mut sink: Sink) -> Result<Staged, StoreError> {
        let completed = sink.complete();
        completed.map_err(|source| self.io("writing", sink.staged.as_ref(), source))?;
        let sync = self.disk.sync_file(&self.path(sink.staged.as_ref()));
        sync.map_err(|source| self.io("syncing", sink.staged.as_ref(), source))?;
        Ok(Staged { staged: sink.staged.clone(), name: sink.name.clone() })
    }

    /// Gives a durable file its name, in place of what had it. Doing it again, after a failure further on, is harmless.
    pub(crate) fn publish(&self, file: &Staged) -> Result<(), StoreError> {
        let renamed = wait_for(self.store.rename(&file.staged, &Path::from(file.name.as_str())));
        match renamed {
            Err(object_store::Error::NotFound { .. }) if self.exists(&file.name) => {}
            renamed => renamed.map_err(|error| self.failed("publishing", &file.name, error))?,
        }
        self.sync_folder_of(&file.name)
    }

    /// Writes a small file at once, durably and atomically.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut sink = self.stage(name)?;
        sink.write_all(bytes).map_err(|source| self.io("writing", name, source))?;
        self.publish(&self.complete(sink)?)
    }

    /// Removes a file, durably; one that is gone already is no error.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StoreError> {
        match wait_for(self.store.delete(&Path::from(name))) {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            removed => {
                removed.map_err(|error| self.failed("removing", name, error))?;
                self.sync_folder_of(name)
            }
        }
    }

    /// Renames a file.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let renamed = wait_for(self.store.rename(&Path::from(from), &Path::from(to)));
        renamed.map_err(|error| self.failed("renaming", from, error))?;
        self.sync_folder_of(from)
    }

    /// Removes what was begun in a folder and never published.
    pub(crate) fn tidy(&self, folder: &str) -> Result<(), StoreError> {
        let dir = self.path(folder);
        for path in self.disk.list(&dir).map_err(|source| self.io("reading", folder, source))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // object_store stages once more, under the name with a number behind.
            let is_staged = name.starts_with('.') && (name.ends_with(STAGED) || name.contains(".tmp#"));
            if is_staged {
                self.disk.remove(&path).map_err(|source| self.io("removing", name, source))?;
            }
        }
        Ok(())
    }

    fn exists(&self, name: &str) -> bool {
        self.size(name).is_ok()
    }

    fn sync_folder_of(&self, name: &str) -> Result<(), StoreError> {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.disk.sync_dir(&self.path(folder)).map_err(|source| self.io("syncing", folder, source))
    }

    fn failed(&self, doing: &'static str, name: &str, error: object_store::Error) -> StoreError {
        failed(doing, &self.path(name), error)
    }

    fn io(&self, doing: &'static str, name: &str, source: io::Error) -> StoreError {
        StoreError::Io { doing, path: self.path(name), source }
    }
}

/// Waits on a thread that may block. Within a task, tokio would let reads pend for ever once the task's turn is used up,
/// because only going back to the scheduler begins the next one.
fn wait_for<T>(reading: impl Future<Output = T>) -> T {
    futures_executor::block_on(tokio::task::unconstrained(reading))
}

fn failed(doing: &'static str, path: &std::path::Path, error: object_store::Error) -> StoreError {
    StoreError::Io { doing, path: path.to_owned(), source: error.into() }
}

/// A file whose bytes are durable under a temporary name.
#[derive(Debug)]
pub(crate) struct Staged {
    staged: Path,
    name: String,
}

impl Staged {
    /// Returns the name that the file will have.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// A file that is being written. Dropped before it is complete, it leaves nothing behind.
pub(crate) struct Sink {
    upload: Option<Box<dyn MultipartUpload>>,
    part: Vec<u8>,
    staged: Path,
    name: String,
}

impl Sink {
    fn put_part(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        let Some(upload) = &mut self.upload else { return Err(io::ErrorKind::BrokenPipe.into()) };
        Ok(wait_for(upload.put_part(part.into()))?)
    }

    fn complete(&mut self) -> io::Result<()> {
        if !self.part.is_empty() {
            self.put_part()?;
        }
        let Some(mut upload) = self.upload.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        wait_for(upload.complete())?;
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.capacity() == 0 {
            // Pages that are not written to are not resident, while growing by doubling copies all of it.
            self.part.reserve_exact(PART_BYTES + bytes.len());
        }
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART_BYTES {
            self.put_part()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            // What cannot be removed now is removed at the next start.
            let _ = wait_for(upload.abort());
        }
    }
}

/// Reads parts of a file. A part is fetched as a whole, so ask for what is needed.
#[derive(Clone)]
pub(crate) struct FileReader {
    store: Arc<dyn ObjectStore>,
    name: Path,
    bytes: u64,
}

impl Length for FileReader {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for FileReader {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let rest = usize::try_from(self.bytes.saturating_sub(start)).unwrap_or(usize::MAX);
        Ok(self.get_bytes(start, rest)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let end = start.saturating_add(length as u64);
        if end > self.bytes {
            return Err(ParquetError::EOF(format!("{start}..{end} of {} bytes", self.bytes)));
        }
        if length == 0 {
            return Ok(Bytes::new());
        }
        wait_for(self.store.get_range(&self.name, start..end)).map_err(|error| ParquetError::External(Box::new(error)))
    }
}
