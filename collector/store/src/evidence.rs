//! The traces whose rows outlive ordinary retention: those of incidents and of what is usual. A small file in the
//! folder, written anew at each change; retention asks when a segment expires.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use collector_table::TraceId;

use crate::StoreError;
use crate::files::Files;

/// Traces that are remembered; the oldest is forgotten first, which is counted. About 3 MiB.
pub(crate) const TRACES_MAX: usize = 65_536;
/// Name of its folder, below the data folder.
pub(crate) const FOLDER: &str = "evidence";
/// Name of the file: 16 bytes a trace, the oldest first.
const FILE: &str = "evidence/traces";
const ID_BYTES: usize = 16;

/// The traces.
pub(crate) struct Evidence {
    files: Files,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_order: VecDeque<TraceId>,
    known: Arc<HashSet<TraceId>>,
    forgotten: u64,
}

impl State {
    fn insert(&mut self, id: TraceId) -> bool {
        let known = Arc::make_mut(&mut self.known);
        if !known.insert(id) {
            return false;
        }
        self.in_order.push_back(id);
        if self.in_order.len() > TRACES_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            known.remove(&oldest);
            self.forgotten += 1;
        }
        true
    }
}

impl Evidence {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub(crate) fn open(files: Files) -> Result<Self, StoreError> {
        let bytes = files.read(FILE)?.unwrap_or_default();
        let mut state = State::default();
        for id in bytes.chunks_exact(ID_BYTES).filter_map(TraceId::from_otlp) {
            state.insert(id);
        }
        Ok(Self { files, state: Mutex::new(state) })
    }

    /// Remembers traces, durably.
    ///
    /// # Errors
    /// When the disk refuses. Then they are remembered only until the next start.
    pub(crate) fn keep(&self, ids: &[TraceId]) -> Result<(), StoreError> {
        // Held while writing: of two changes at once the later file has both.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.in_order.len() as u64 + state.forgotten;
        for id in ids {
            state.insert(*id);
        }
        if state.in_order.len() as u64 + state.forgotten == before {
            return Ok(());
        }
        let bytes: Vec<u8> = state.in_order.iter().flat_map(|id| *id.as_bytes()).collect();
        self.files.write(FILE, &bytes)
    }

    /// Returns the traces.
    pub(crate) fn ids(&self) -> Arc<HashSet<TraceId>> {
        Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner).known)
    }

    /// Returns how many traces were forgotten since the start because there were too many.
    pub(crate) fn forgotten(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).forgotten
    }
}
