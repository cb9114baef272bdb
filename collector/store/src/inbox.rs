//! The hand-off to the writer: many handles send, one thread takes everything that waits at once, so that one sync
//! serves all of it. Tested by itself under a model checker (`tests/handoff.rs`), which is why it takes its primitives
//! from `super::sync`. A message is either taken, or dropped when the inbox is; nobody waits for an answer for ever.

use std::time::Duration;

use super::sync::{Arc, Condvar, Mutex, MutexGuard};

/// What senders and the taker share.
struct Shared<T> {
    state: Mutex<State<T>>,
    is_filled: Condvar,
}

struct State<T> {
    /// Bounded by the senders: a request holds a [`Place`](crate::queue::Place) of the queue.
    messages: Vec<T>,
    is_closed: bool,
}

/// The taking end. Dropping it closes the hand-off and drops what waits.
pub(crate) struct Inbox<T> {
    shared: Arc<Shared<T>>,
}

/// A sending end.
pub(crate) struct Outbox<T> {
    shared: Arc<Shared<T>>,
}

/// The taker is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Makes both ends.
pub(crate) fn inbox<T>() -> (Outbox<T>, Inbox<T>) {
    let state = Mutex::new(State { messages: Vec::new(), is_closed: false });
    let shared = Arc::new(Shared { state, is_filled: Condvar::new() });
    (Outbox { shared: Arc::clone(&shared) }, Inbox { shared })
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that runs under the lock can panic half way.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T> Outbox<T> {
    /// Sends a message.
    ///
    /// # Errors
    /// When nobody will take it any more; it is dropped then.
    pub(crate) fn send(&self, message: T) -> Result<(), Closed> {
        let mut state = self.shared.lock();
        if state.is_closed {
            return Err(Closed);
        }
        let was_empty = state.messages.is_empty();
        state.messages.push(message);
        drop(state);
        // The taker sleeps only while nothing waits.
        if was_empty {
            self.shared.is_filled.notify_one();
        }
        Ok(())
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Inbox<T> {
    /// Takes all messages that wait, in order; waits for the first one, but not longer than this.
    pub(crate) fn take(&self, time_max: Duration) -> Vec<T> {
        let mut state = self.shared.lock();
        if state.messages.is_empty() && !time_max.is_zero() {
            // Waking up without a reason is harmless: there is nothing to take then.
            let waited = self.shared.is_filled.wait_timeout(state, time_max);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        std::mem::take(&mut state.messages)
    }

    /// Returns a sending end.
    pub(crate) fn outbox(&self) -> Outbox<T> {
        Outbox { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        let left = std::mem::take(&mut state.messages);
        // Outside the lock: what is dropped may answer somebody.
        drop(state);
        drop(left);
    }
}
