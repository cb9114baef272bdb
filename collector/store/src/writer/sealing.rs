//! When the writer seals, and what it does with the result; how it ends. Part of the writer's state machine, kept apart
//! from the way of a request.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{End, IDLE, Inbox, Message, Outbox, Writer};
use crate::StoreError;
use crate::seal::{Seal, Sealed};

/// Wait after a seal that failed.
const SEAL_RETRY: Duration = Duration::from_secs(5);

/// One seal.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// Starts the thread that seals run on, one after the other; it ends when nobody can send it more. A thread for each
/// seal would be simpler, but allocators give each new thread memory of its own, and get it back late.
///
/// # Errors
/// When there can be no more threads.
pub(super) fn start_sealer() -> io::Result<Sender<Work>> {
    let (sealer, works) = mpsc::channel::<Work>();
    let run = move || works.into_iter().for_each(|work| work());
    thread::Builder::new().name("store-seal".to_owned()).spawn(run)?;
    Ok(sealer)
}

impl Writer {
    /// Returns for how long there is nothing to do without a message.
    pub(super) fn time_to_act(&self) -> Duration {
        let seal = if self.is_sealing {
            None
        } else {
            let due = self.unsealed_since.map(|since| since + self.config.seal_after);
            due.max(self.seal_not_before)
        };
        let due = seal.into_iter().chain(self.log.sync_due()).min();
        due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()))
    }

    pub(super) fn is_seal_due(&self) -> bool {
        if self.is_sealing || self.seal_not_before.is_some_and(|not_before| Instant::now() < not_before) {
            return false;
        }
        let is_old = self.unsealed_since.is_some_and(|since| since.elapsed() >= self.config.seal_after);
        let is_long = self.log.active_bytes() > self.config.wal_bytes_max;
        let bytes_max = self.config.seal_bytes.min(self.config.memory_bytes_max / 2);
        let is_big = self.tables.rows_max() >= self.config.seal_rows || self.memory_bytes() > bytes_max;
        let is_wanted = self.is_seal_urgent || !self.seal_wanted.is_empty();
        self.seal.is_some() || is_old || is_long || is_big || is_wanted
    }

    /// Takes all rows for a seal, or the rows of the one that failed.
    fn next_seal(&mut self) -> Option<Arc<Seal>> {
        if self.seal.is_none() && self.tables.bytes() > 0 {
            self.log.rotate();
            let seq = self.log.take_seq();
            self.seal = Some(Arc::new(self.tables.freeze(seq)));
            self.unsealed_since = None;
        }
        self.is_seal_urgent = false;
        self.seal.clone()
    }

    pub(super) fn start_seal(&mut self, outbox: &Outbox<Message>) {
        let Some(seal) = self.next_seal() else {
            return answer_all(&mut self.seal_wanted);
        };
        self.is_sealing = true;
        self.seal_started = Instant::now();
        self.seal_awaited.append(&mut self.seal_wanted);
        let (files, promoted, outbox) = (self.files.clone(), self.promoted.clone(), outbox.clone());
        let promoted_max = self.config.promoted_max;
        let run = move || {
            // Whatever happens there is an answer, or else nothing would be sealed ever again.
            let result = catch_unwind(AssertUnwindSafe(|| seal.run(&files, &promoted, promoted_max)));
            drop(seal);
            let broken = |_| Err(StoreError::Broken { doing: "sealing" });
            let _ = outbox.send(Message::Sealed(result.unwrap_or_else(broken)));
        };
        if self.sealer.send(Box::new(run)).is_err() {
            self.finish_seal(Err(StoreError::Broken { doing: "sealing" }));
        }
    }

    pub(super) fn finish_seal(&mut self, result: Result<Sealed, StoreError>) {
        self.is_sealing = false;
        match (result, self.seal.take()) {
            (Ok(sealed), Some(seal)) => {
                self.seal_not_before = None;
                self.counters.sealed(self.seal_started.elapsed());
                self.counters.count_promoted(&sealed.promoted);
                self.promoted = sealed.promoted;
                self.tables.add_segments(sealed.segments);
                self.publish();
                if let Some(seq) = seal.seq {
                    // One seal later than possible, so that retries of recent requests are known after a restart too.
                    self.log.remove_through(self.sealed_to);
                    self.sealed_to = seq;
                }
                self.upkeep.wake(self.log.first_seq());
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

    /// Waits for a running seal and for upkeep, seals the rest when closing, and returns whom to tell.
    pub(super) fn end(mut self, end: End, inbox: &Inbox<Message>) -> Option<oneshot::Sender<()>> {
        let mut is_kept_up = self.upkeep.stop();
        while self.is_sealing || is_kept_up {
            for message in inbox.take(IDLE) {
                match message {
                    Message::Sealed(result) => self.finish_seal(result),
                    Message::Replace(replace) => self.replace(replace),
                    Message::UpkeepEnded => is_kept_up = false,
                    // Whatever else still arrives is answered as closed by being dropped.
                    _ => {}
                }
            }
        }
        let End::Close(done) = end else { return None };
        // Twice: a seal that had failed before holds only the older rows.
        for _ in 0..2 {
            if let Some(seal) = self.next_seal() {
                let result = seal.run(&self.files, &self.promoted, self.config.promoted_max);
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
