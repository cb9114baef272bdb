//! Whether a connection is used, for the bounds on silence that hyper does not have: before the first request, because
//! the protocol is not known yet, and between requests on HTTP/2. `server` asks when to look again.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::{Config, Protocol};

/// Of one connection.
pub(crate) struct Activity {
    first_request_until: Instant,
    idle_max: std::time::Duration,
    now: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    has_asked: bool,
    open: usize,
    /// When the last request ended.
    ended: Instant,
}

/// A request that is not yet answered.
pub(crate) struct UnderWay(Arc<Activity>);

impl Activity {
    pub(crate) fn new(protocol: Protocol, config: &Config) -> Self {
        // gRPC clients connect early and send later.
        let first_request = match protocol {
            Protocol::Grpc => config.first_request_timeout,
            Protocol::Http => config.header_timeout,
        };
        let now = Instant::now();
        let state = State { has_asked: false, open: 0, ended: now };
        Self { first_request_until: now + first_request, idle_max: config.idle_timeout, now: Mutex::new(state) }
    }

    /// Notes that a request begins, until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.change(|state| {
            state.has_asked = true;
            state.open += 1;
        });
        UnderWay(self.clone())
    }

    /// Returns whether there was a request.
    pub(crate) fn has_asked(&self) -> bool {
        self.state().has_asked
    }

    /// Returns when to look again, or nothing when it was silent for too long.
    pub(crate) fn look_again(&self) -> Option<Instant> {
        let now = Instant::now();
        let until = match self.state() {
            State { has_asked: false, .. } => self.first_request_until,
            State { open: 0, ended, .. } => ended + self.idle_max,
            // Requests have their own bounds.
            State { .. } => now + self.idle_max,
        };
        // A request may come and go meanwhile, so one look in that time is the least.
        (until > now).then(|| until.min(now + self.idle_max))
    }

    fn state(&self) -> State {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.open -= 1;
            state.ended = Instant::now();
        });
    }
}
