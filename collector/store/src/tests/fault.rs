//! A disk and an object store that call a hook before each effect, which can watch it, hold it or make it fail.

use std::fmt;
use std::io::{self, Write};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::*;
use crate::disk::{Disk, DiskFile};
use crate::files::Files;

/// An effect on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Create,
    Write,
    Sync,
    Truncate,
    Rename,
    Remove,
    SyncDir,
    /// Asking for free space; failing it means that there is none.
    Free,
}

/// Called before each effect with the file; an error is what the effect gives. A failing write writes half.
type Hook = dyn Fn(Effect, &Path) -> io::Result<()> + Send + Sync;

pub(super) fn open_on(dir: &Path, hook: impl Fn(Effect, &Path) -> io::Result<()> + Send + Sync + 'static) -> Store {
    open_with(config(dir), hook)
}

pub(super) fn open_with(
    config: Config,
    hook: impl Fn(Effect, &Path) -> io::Result<()> + Send + Sync + 'static,
) -> Store {
    let hook: Arc<Hook> = Arc::new(hook);
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk(Arc::clone(&hook)));
    let lock = crate::store::make_folders_and_lock(&config.dir).unwrap();
    let inner = LocalFileSystem::new_with_prefix(&config.dir).unwrap();
    let store = FaultyStore { dir: config.dir.clone(), inner, hook };
    let files = Files::new(config.dir.clone(), Arc::new(store), Arc::clone(&disk));
    Store::open_on(disk, files, lock, config, decode).unwrap().0
}

struct FaultyDisk(Arc<Hook>);

struct FaultyFile {
    path: PathBuf,
    hook: Arc<Hook>,
    file: Box<dyn DiskFile>,
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        (self.0)(Effect::Create, path)?;
        let (path, hook, file) = (path.to_owned(), Arc::clone(&self.0), OsDisk.create(path)?);
        Ok(Box::new(FaultyFile { path, hook, file }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        OsDisk.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        OsDisk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.0)(Effect::Remove, path)?;
        OsDisk.remove(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        (self.0)(Effect::Sync, path)?;
        OsDisk.sync_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (self.0)(Effect::SyncDir, dir)?;
        OsDisk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        if (self.0)(Effect::Free, dir).is_err() { Ok(0) } else { Ok(u64::MAX) }
    }
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = (self.hook)(Effect::Write, &self.path) {
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl DiskFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        (self.hook)(Effect::Sync, &self.path)?;
        self.file.sync()
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        (self.hook)(Effect::Truncate, &self.path)?;
        self.file.truncate(bytes)
    }
}

struct FaultyStore {
    dir: PathBuf,
    inner: LocalFileSystem,
    hook: Arc<Hook>,
}

impl FaultyStore {
    fn before(&self, effect: Effect, name: &Name) -> Result<()> {
        (self.hook)(effect, &self.dir.join(name.as_ref())).map_err(failed)
    }
}

fn failed(error: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: Box::new(error) }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, name: &Name, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.before(Effect::Create, name)?;
        self.inner.put_opts(name, payload, options).await
    }

    async fn put_multipart_opts(&self, name: &Name, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.before(Effect::Create, name)?;
        let inner = self.inner.put_multipart_opts(name, options).await?;
        Ok(Box::new(FaultyUpload { path: self.dir.join(name.as_ref()), hook: Arc::clone(&self.hook), inner }))
    }

    async fn get_opts(&self, name: &Name, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(name, options).await
    }

    fn delete_stream(&self, names: BoxStream<'static, Result<Name>>) -> BoxStream<'static, Result<Name>> {
        let (dir, hook) = (self.dir.clone(), Arc::clone(&self.hook));
        let names = names.map(move |name| {
            let name = name?;
            hook(Effect::Remove, &dir.join(name.as_ref())).map_err(failed)?;
            Ok(name)
        });
        self.inner.delete_stream(names.boxed())
    }

    fn list(&self, folder: Option<&Name>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(folder)
    }

    async fn list_with_delimiter(&self, folder: Option<&Name>) -> Result<ListResult> {
        self.inner.list_with_delimiter(folder).await
    }

    async fn copy_opts(&self, from: &Name, to: &Name, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Name, to: &Name, options: RenameOptions) -> Result<()> {
        self.before(Effect::Rename, to)?;
        self.inner.rename_opts(from, to, options).await
    }
}

struct FaultyUpload {
    path: PathBuf,
    hook: Arc<Hook>,
    inner: Box<dyn MultipartUpload>,
}

impl fmt::Debug for FaultyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        if let Err(error) = (self.hook)(Effect::Write, &self.path) {
            return Box::pin(async { Err(failed(error)) });
        }
        self.inner.put_part(part)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
