//! From the receiver to the store: a request is acknowledged when the store has it, and refused as the store refuses.

use std::time::Duration;

use collector_receiver::{Keep, Received, Refused};
use collector_store::{AppendError, Store};

use crate::memory::Memory;
use crate::telemetry::error_chain;

/// What a sender is told to wait after an error that should not happen.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What a sender is told to wait while the daemon holds too much memory: about as long as a seal takes.
const RETRY_AFTER_MEMORY: Duration = Duration::from_secs(2);

/// Keeps requests in the store.
#[derive(Clone)]
pub(crate) struct Intake {
    store: Store,
    memory: Memory,
}

impl Intake {
    pub(crate) fn new(store: Store, memory: Memory) -> Self {
        Self { store, memory }
    }
}

impl Keep for Intake {
    fn ready(&self) -> Result<(), Refused> {
        if self.memory.is_over() { Err(Refused::Memory { retry_after: RETRY_AFTER_MEMORY }) } else { Ok(()) }
    }

    async fn keep(&self, received: Received) -> Result<(), Refused> {
        let kind = received.kind;
        let appended =
            self.store.append(kind.to_byte(), received.payload, kind.signal.table(), received.batch.rows).await;
        appended.map(|_| ()).map_err(|error| match error {
            AppendError::Busy { retry_after } => Refused::Busy { retry_after },
            AppendError::NoSpace { retry_after } => Refused::NoSpace { retry_after },
            AppendError::Closed => Refused::Stopping,
            // The receiver's own bound is lower, and its tables have the store's schema.
            AppendError::TooLarge { .. } | AppendError::WrongSchema { .. } => {
                tracing::error!(error = error_chain(&error), "the store cannot take what the receiver decoded");
                Refused::Busy { retry_after: RETRY_AFTER }
            }
        })
    }
}
