//! Loss of power at any step: a disk in memory of which only what was synced survives for sure. Of the rest any part may
//! be there: names that were changed, and the beginning of bytes that were written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::sync::Mutex;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as Name;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

use super::*;
use crate::disk::{Disk, DiskFile};
use crate::files::Files;

#[derive(Clone, Default)]
struct ModelFile {
    bytes: Vec<u8>,
    synced: usize,
}

#[derive(Default)]
struct State {
    files: Vec<ModelFile>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Effects until the power is lost.
    steps_left: usize,
}

/// The disk. Paths are below the data folder.
#[derive(Clone)]
struct Model {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Model {
    fn new(dir: &Path, steps_left: usize) -> Self {
        Self { dir: dir.to_owned(), state: Arc::new(Mutex::new(State { steps_left, ..State::default() })) }
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.dir).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn has_power(&self) -> bool {
        self.state.lock().unwrap().steps_left > 0
    }

    /// Does something to the disk if there still is power.
    fn act<T>(&self, effect: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock().unwrap();
        state.steps_left = state.steps_left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        effect(&mut state)
    }

    fn find(&self, name: &str) -> io::Result<ModelFile> {
        let state = self.state.lock().unwrap();
        state.names.get(name).map(|file| state.files[*file].clone()).ok_or(io::ErrorKind::NotFound.into())
    }

    /// Returns the disk as it may be found after the loss.
    fn survivor(&self, mut chance: impl FnMut() -> usize) -> Self {
        let state = self.state.lock().unwrap();
        let all: BTreeSet<&String> = state.names.keys().chain(state.durable_names.keys()).collect();
        let survivor = Self::new(&self.dir, usize::MAX);
        let mut found = survivor.state.lock().unwrap();
        for name in all {
            let names = if chance().is_multiple_of(2) { &state.names } else { &state.durable_names };
            let Some(file) = names.get(name) else { continue };
            let ModelFile { mut bytes, synced } = state.files[*file].clone();
            bytes.truncate(synced + chance() % (bytes.len() - synced + 1));
            let synced = bytes.len();
            found.files.push(ModelFile { bytes, synced });
            let number = found.files.len() - 1;
            found.names.insert(name.clone(), number);
            found.durable_names.insert(name.clone(), number);
        }
        drop(found);
        survivor
    }

    fn open(&self) -> (Store, Files) {
        let lock = tempfile::tempfile().unwrap();
        let files = Files::new(self.dir.clone(), Arc::new(self.clone()), Arc::new(self.clone()));
        let store = Store::open_on(Arc::new(self.clone()), files.clone(), lock, config(&self.dir), decode).unwrap().0;
        (store, files)
    }
}

impl Disk for Model {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let name = self.name(path);
        let file = self.act(|state| {
            state.files.push(ModelFile::default());
            state.names.insert(name, state.files.len() - 1);
            Ok(state.files.len() - 1)
        })?;
        Ok(Box::new(OpenFile { model: self.clone(), file }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.find(&self.name(path))?.bytes)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let folder = format!("{}/", self.name(dir));
        let state = self.state.lock().unwrap();
        Ok(state.names.keys().filter(|name| name.starts_with(&folder)).map(|name| self.dir.join(name)).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.act(|state| state.names.remove(&self.name(path)).map(drop).ok_or(io::ErrorKind::NotFound.into()))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.act(|state| {
            let file = *state.names.get(&self.name(path)).ok_or(io::ErrorKind::NotFound)?;
            state.files[file].synced = state.files[file].bytes.len();
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let folder = format!("{}/", self.name(dir));
        self.act(|state| {
            state.durable_names.retain(|name, _| !name.starts_with(&folder));
            let synced = state.names.iter().filter(|(name, _)| name.starts_with(&folder));
            state.durable_names.extend(synced.map(|(name, file)| (name.clone(), *file)).collect::<Vec<_>>());
            Ok(())
        })
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

struct OpenFile {
    model: Model,
    file: usize,
}

impl Write for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.model.act(|state| state.files[self.file].bytes.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for OpenFile {
    fn sync(&mut self) -> io::Result<()> {
        self.model.act(|state| {
            state.files[self.file].synced = state.files[self.file].bytes.len();
            Ok(())
        })
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.model.act(|state| {
            let file = &mut state.files[self.file];
            file.bytes.truncate(usize::try_from(bytes).unwrap());
            file.synced = file.synced.min(file.bytes.len());
            Ok(())
        })
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("model")
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("model")
    }
}

fn failed(error: io::Error) -> object_store::Error {
    match error.kind() {
        io::ErrorKind::NotFound => object_store::Error::NotFound { path: String::new(), source: Box::new(error) },
        _ => object_store::Error::Generic { store: "model", source: Box::new(error) },
    }
}

fn not_needed<T>() -> Result<T> {
    Err(object_store::Error::NotImplemented { operation: String::new(), implementer: "model".to_owned() })
}

#[async_trait]
impl ObjectStore for Model {
    async fn put_opts(&self, _: &Name, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        not_needed()
    }

    async fn put_multipart_opts(&self, name: &Name, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(ModelUpload { model: self.clone(), name: name.to_string(), bytes: Vec::new() }))
    }

    async fn get_opts(&self, name: &Name, options: GetOptions) -> Result<GetResult> {
        let file = self.find(name.as_ref()).map_err(failed)?;
        let one = InMemory::new();
        one.put(name, file.bytes.into()).await?;
        one.get_opts(name, options).await
    }

    fn delete_stream(&self, names: BoxStream<'static, Result<Name>>) -> BoxStream<'static, Result<Name>> {
        let model = self.clone();
        names
            .map(move |name| {
                let name = name?;
                model.remove(&model.dir.join(name.as_ref())).map_err(failed)?;
                Ok(name)
            })
            .boxed()
    }

    fn list(&self, folder: Option<&Name>) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = self.dir.join(folder.map_or("", Name::as_ref));
        let metas: Vec<Result<ObjectMeta>> = Disk::list(self, &folder)
            .unwrap()
            .into_iter()
            .map(|path| {
                let name = self.name(&path);
                let size = self.find(&name).map_err(failed)?.bytes.len() as u64;
                let last_modified = Default::default();
                Ok(ObjectMeta { location: Name::from(name), last_modified, size, e_tag: None, version: None })
            })
            .collect();
        stream::iter(metas).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Name>) -> Result<ListResult> {
        not_needed()
    }

    async fn copy_opts(&self, _: &Name, _: &Name, _: CopyOptions) -> Result<()> {
        not_needed()
    }

    async fn rename_opts(&self, from: &Name, to: &Name, _: RenameOptions) -> Result<()> {
        let renamed = self.act(|state| {
            let file = state.names.remove(from.as_ref()).ok_or(io::ErrorKind::NotFound)?;
            state.names.insert(to.to_string(), file);
            Ok(())
        });
        renamed.map_err(failed)
    }
}

#[derive(Debug)]
struct ModelUpload {
    model: Model,
    name: String,
    bytes: Vec<u8>,
}

#[async_trait]
impl MultipartUpload for ModelUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        part.iter().for_each(|bytes| self.bytes.extend_from_slice(bytes));
        async { Ok(()) }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let bytes = std::mem::take(&mut self.bytes);
        let completed = self.model.act(|state| {
            state.files.push(ModelFile { bytes, synced: 0 });
            state.names.insert(self.name.clone(), state.files.len() - 1);
            Ok(PutResult { e_tag: None, version: None })
        });
        completed.map_err(failed)
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Returns the starts of all spans, and how many of the sealed ones are rolled up.
fn kept(store: &Store, files: &Files) -> (Vec<i64>, i64) {
    let snapshot = store.reader().snapshot();
    let read = |table: usize| {
        let segments = snapshot.tables[table].segments.iter();
        let batches = segments.flat_map(|segment| {
            ParquetRecordBatchReaderBuilder::try_new(files.read(&segment.name).unwrap().unwrap())
                .unwrap()
                .build()
                .unwrap()
        });
        batches.map(|batch| batch.unwrap()).collect::<Vec<_>>()
    };
    let (sealed, rolled_up) = (read(0), read(4));
    let mut starts: Vec<i64> = Vec::new();
    for batch in sealed.iter().chain(snapshot.tables[0].memory.iter()) {
        let column = batch.column_by_name("start_time").unwrap();
        starts.extend(column.as_primitive::<TimestampNanosecondType>().values());
    }
    let counts =
        rolled_up.iter().map(|batch| batch.column_by_name("count").unwrap().as_primitive::<Int64Type>().clone());
    let count: i64 = counts.map(|counts| counts.values().iter().sum::<i64>()).sum();
    let sealed: usize = sealed.iter().map(RecordBatch::num_rows).sum();
    starts.sort_unstable();
    (starts, count - i64::try_from(sealed).unwrap())
}

/// Appends, seals and merges until the power is lost. Returns what was acknowledged, and how much was tried.
async fn live(store: &Store, model: &Model) -> (BTreeSet<i64>, i64) {
    let mut acknowledged = BTreeSet::new();
    let tried = 20;
    for n in (0..tried).take_while(|_| model.has_power()) {
        if append(store, &format!("{n} 1 {n} order")).await.is_ok() {
            acknowledged.insert(n);
        }
        if n % 2 == 1 {
            store.seal().await;
        }
        if n % 5 == 4 {
            store.maintain(0).await;
        }
    }
    (acknowledged, tried)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loss_of_power_loses_nothing_acknowledged_and_doubles_nothing(steps in 1..420_usize, seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let dir = folder();
        let model = Model::new(dir.path(), steps);
        let (store, _) = model.open();
        let (acknowledged, tried) = runtime.block_on(live(&store, &model));
        let mut state = seed;
        let found = model.survivor(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap()
        });
        drop(store);
        let mut first: Option<Vec<i64>> = None;
        for round in 0..3 {
            let (store, files) = found.open();
            let (starts, rolled_up_too_many) = kept(&store, &files);
            let unique: BTreeSet<i64> = starts.iter().copied().collect();
            prop_assert!(unique.len() == starts.len(), "round {round}: doubled in {starts:?}");
            prop_assert!(acknowledged.is_subset(&unique), "round {round}: kept {starts:?} of {acknowledged:?}");
            prop_assert!(unique.iter().all(|start| (0..tried).contains(start)));
            prop_assert!(rolled_up_too_many == 0, "round {round}: {rolled_up_too_many} rolled up too many");
            prop_assert!(first.get_or_insert_with(|| starts.clone()) == &starts, "round {round}: {starts:?} of {first:?}");
            runtime.block_on(async {
                if round == 0 {
                    store.seal().await;
                }
                store.maintain(0).await;
                store.close().await;
            });
        }
    }
}
