//! Listening: both ports are bound before anything runs, connections are bounded, and the shutdown drains.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::activity::Activity;
use crate::in_flight::InFlight;
use crate::intake::Intake;
use crate::{Config, Keep, Ledger, Protocol, grpc, http};

/// Pause after the system refused to hand over a connection (mostly: out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests open at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 200;
/// Bytes of a request's headers, also when they come in CONTINUATION frames. h2's own bound is 16 MiB.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Bytes of one HTTP/2 frame: a small request is one, which is then not copied; each connection may buffer one.
const FRAME_BYTES_MAX: u32 = 64 << 10;
/// Bytes that an HTTP/1 connection buffers, and so the bound on its headers.
const HTTP1_BUFFER_BYTES_MAX: usize = 64 << 10;
/// Headers of one HTTP/1 request.
const HTTP1_HEADERS_MAX: usize = 64;
/// Streams reset by the peer before they were served (rapid reset, CVE-2023-44487).
const RESET_STREAMS_MAX: usize = 20;
/// Streams that we reset because of the peer's errors, remembered on one connection.
const ERROR_STREAMS_MAX: usize = 100;
/// From telling a peer that its connection ends because it is idle to cutting it off.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 pings on a silent connection, and how long their answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

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
    pub cause: io::Error,
}

/// Bound ports that nobody serves yet.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    grpc: Option<Port>,
    http: Option<Port>,
    in_flight: InFlight,
    ledger: Ledger,
}

#[derive(Debug)]
struct Port {
    listener: TcpListener,
    address: SocketAddr,
}

/// Binds the configured ports.
///
/// # Errors
/// If one of them cannot be bound; then none stays bound.
pub async fn bind(config: Config) -> Result<Bound, BindError> {
    let grpc = bind_port("OTLP/gRPC", config.grpc).await?;
    let http = bind_port("OTLP/HTTP", config.http).await?;
    let in_flight = InFlight::new(config.in_flight_bytes_max);
    let ledger = Ledger::new(in_flight.clone());
    Ok(Bound { config, grpc, http, in_flight, ledger })
}

async fn bind_port(protocol: &'static str, address: Option<SocketAddr>) -> Result<Option<Port>, BindError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |cause| BindError { protocol, address, cause };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some(Port { listener, address }))
}

impl Bound {
    /// Returns the address of the gRPC port, if configured.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|port| port.address)
    }

    /// Returns the address of the HTTP port, if configured.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|port| port.address)
    }

    /// Returns a handle on the counters.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// Serves until `shutdown` completes, then lets open requests end, for at most `drain_timeout`.
    pub async fn run<K: Keep>(self, keep: K, shutdown: impl Future<Output = ()> + Send) {
        let Self { config, grpc, http, in_flight, ledger } = self;
        let (stop, stopping) = watch::channel(());
        let house = House {
            builder: builder(&config),
            seats: Arc::new(Semaphore::new(config.connections_max)),
            ledger: ledger.clone(),
            stopping,
            intake: Intake::new(config.clone(), ledger, in_flight, keep),
            config: Arc::new(config),
        };
        let shutdown = async move {
            shutdown.await;
            drop(stop);
        };
        tokio::join!(house.serve(Protocol::Grpc, grpc), house.serve(Protocol::Http, http), shutdown);
    }
}

/// What every connection gets.
#[derive(Clone)]
struct House<K> {
    builder: Builder<TokioExecutor>,
    seats: Arc<Semaphore>,
    ledger: Ledger,
    /// Never sends; its sender is dropped when the shutdown begins.
    stopping: watch::Receiver<()>,
    config: Arc<Config>,
    intake: Intake<K>,
}

/// A place among the open connections; counted until it is dropped.
struct Seat {
    ledger: Ledger,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.ledger.connection_closed();
    }
}

impl<K: Keep> House<K> {
    async fn serve(&self, protocol: Protocol, port: Option<Port>) {
        let Some(Port { listener, .. }) = port else { return };
        let mut connections = JoinSet::new();
        let mut stopping = self.stopping.clone();
        loop {
            tokio::select! {
                _ = stopping.changed() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        if let Some(seat) = self.seat() {
                            connections.spawn(self.clone().serve_connection(protocol, stream, peer.ip(), seat));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, protocol = protocol.as_str(), "accepting a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        let drained = timeout(self.config.drain_timeout, async { while connections.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!(protocol = protocol.as_str(), open = connections.len(), "cutting off open connections");
        }
    }

    fn seat(&self) -> Option<Seat> {
        let Ok(permit) = self.seats.clone().try_acquire_owned() else {
            self.ledger.connection_refused();
            return None;
        };
        self.ledger.connection_opened();
        Some(Seat { ledger: self.ledger.clone(), _permit: permit })
    }

    async fn serve_connection(self, protocol: Protocol, stream: TcpStream, peer: IpAddr, _seat: Seat) {
        // Answers are small; waiting to fill a packet would only delay them. Without the option it works as well.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::new(protocol, &self.config));
        let service = service_fn(|request| {
            let under_way = activity.begin();
            let intake = self.intake.clone();
            async move {
                let _under_way = under_way;
                Ok::<_, Infallible>(match protocol {
                    Protocol::Grpc => grpc::answer(&intake, peer, request).await,
                    Protocol::Http => http::answer(&intake, peer, request).await,
                })
            }
        });
        let mut stopping = self.stopping.clone();
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let mut look = pin!(sleep_until(activity.look_again().unwrap_or_else(Instant::now)));
        let (mut is_leaving, mut is_stopping) = (false, false);
        loop {
            tokio::select! {
                // An error here is a peer that broke off or the protocol; requests are counted where they are read.
                _ = connection.as_mut() => return,
                () = look.as_mut() => {
                    if let Some(again) = activity.look_again() {
                        look.as_mut().reset(again);
                        continue;
                    }
                    if is_leaving {
                        return;
                    }
                    self.ledger.connection_idle();
                    if !activity.has_asked() {
                        return;
                    }
                    // A client that is about to send is told so, and has a moment to see it.
                    is_leaving = true;
                    connection.as_mut().graceful_shutdown();
                    look.as_mut().reset(Instant::now() + LEAVE_TIMEOUT);
                }
                _ = stopping.changed(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

fn builder(config: &Config) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(HTTP1_BUFFER_BYTES_MAX)
        .max_headers(HTTP1_HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(ERROR_STREAMS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
