//! What is usual over days, in a file beside the store: read once at the start, and written now and then by a task of its own,
//! so that the analysis does not wait for the disk. A file that cannot be read is said and left out: what is usual is learned
//! anew. Must never keep the daemon from starting.

use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use analyzer::detect::LongMemory;
use anyhow::Context as _;

use super::Analysis;

/// Name of the file in the data folder.
const FILE: &str = "usual.json";
/// Largest file that is read: several times what all that is kept can take.
const BYTES_MAX: u64 = 64 << 20;
/// How often it is written. What came since is read back at the start, from what is stored.
pub(super) const KEEP_EVERY: Duration = Duration::from_secs(5 * 60);

/// The file in a data folder.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    path: PathBuf,
}

impl Kept {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join(FILE) }
    }

    /// Returns what was kept; nothing if nothing was.
    async fn read(&self) -> anyhow::Result<Option<LongMemory>> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || read(&path)).await.context("reading what was usual")?
    }

    /// Replaces what was kept. A crash leaves the old or the new file.
    async fn write(self, memory: LongMemory) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || write(&self.path, &memory)).await.context("keeping what is usual")?
    }
}

fn read(path: &Path) -> anyhow::Result<Option<LongMemory>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
    };
    let mut text = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut text).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).map(Some).with_context(|| format!("understanding {}", path.display()))
}

fn write(path: &Path, memory: &LongMemory) -> anyhow::Result<()> {
    let text = serde_json::to_vec(memory).context("writing down what is usual")?;
    let new = path.with_extension("json.new");
    let mut file = std::fs::File::create(&new).with_context(|| format!("creating {}", new.display()))?;
    file.write_all(&text).and_then(|()| file.sync_all()).with_context(|| format!("writing {}", new.display()))?;
    std::fs::rename(&new, path).with_context(|| format!("replacing {}", path.display()))
}

impl Analysis {
    /// Takes over what was usual before the start, before anything is read back.
    pub(super) async fn recall(&mut self, last_ns: i64) {
        let recalled = match self.kept.read().await {
            Ok(None) => return,
            Ok(Some(memory)) => self.analyzer.recall(&memory, last_ns).map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        if let Err(error) = recalled {
            tracing::warn!("what is usual over days is learned anew: {error:#}");
        }
    }

    /// Has what is usual be written, unless that still goes on.
    pub(super) fn keep_usual(&mut self) {
        if self.keeping.as_ref().is_some_and(|keeping| !keeping.is_finished()) {
            return;
        }
        let Some(memory) = self.analyzer.remember() else { return };
        let writing = self.kept.clone().write(memory);
        self.keeping = Some(tokio::spawn(async move {
            if let Err(error) = writing.await {
                tracing::warn!("what is usual was not kept; a restart would learn some of it anew: {error:#}");
            }
        }));
    }

    /// Has what is usual be written a last time, and waits for that.
    pub(super) async fn keep_usual_at_end(&mut self) {
        if let Some(keeping) = self.keeping.take() {
            // A task that panicked has said so.
            let _ = keeping.await;
        }
        self.keep_usual();
        if let Some(keeping) = self.keeping.take() {
            let _ = keeping.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = Kept::in_folder(folder.path()).path;
        assert!(read(&path).unwrap().is_none(), "nothing was kept");
        let memory: LongMemory =
            serde_json::from_str(r#"{"version":"1","judged_ns":0,"signals":[],"pairs":[],"services":[]}"#).unwrap();
        for _ in 0..2 {
            write(&path, &memory).unwrap();
            assert_eq!(read(&path).unwrap(), Some(memory.clone()));
        }
        std::fs::write(&path, r#"{"version":"99","of":"tomorrow"}"#).unwrap();
        assert_eq!(read(&path).unwrap(), Some(LongMemory::Unknown));
        std::fs::write(&path, "{").unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("usual.json"));
    }
}
