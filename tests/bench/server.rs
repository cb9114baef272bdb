//! The server under test as a process of its own on the first core: the daemon, or one that only receives.

use std::convert::Infallible;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::process;

/// Makes this program the server that only receives.
pub(crate) const NULL_COMMAND: &str = "receive-only";
const PATIENCE: Duration = Duration::from_secs(60);
const WINDOW_BYTES: u32 = 4 << 20;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads requests and answers success.
    Null,
    /// `throughline serve`.
    Daemon,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Daemon => "daemon",
        }
    }
}

/// A running server.
pub(crate) struct Server {
    kind: Kind,
    process: Child,
    folder: tempfile::TempDir,
    grpc: SocketAddr,
}

impl Server {
    /// Starts it on an empty folder and waits until it listens.
    pub(crate) fn start(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the data can be made");
        let [grpc, http, web] = free_ports();
        let mut command = match kind {
            Kind::Null => {
                let own = std::env::current_exe().expect("this program is a file");
                let mut command = process::on_first_core(&own.to_string_lossy());
                command.args([NULL_COMMAND, &grpc.to_string()]);
                command
            }
            Kind::Daemon => daemon(folder.path(), [grpc, http, web]),
        };
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self { kind, process: process.expect("the server starts"), folder, grpc };
        let started = Instant::now();
        while !server.is_ready(web) {
            assert!(started.elapsed() < PATIENCE, "the server is not ready");
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Lets a daemon write everything to segments and end; returns the CPU time that it had used shortly before its end.
    pub(crate) fn stop_and_cpu_seconds(&self) -> f64 {
        let mut used = process::cpu_seconds(self.pid());
        if self.kind == Kind::Daemon {
            // Whether it was sent shows in the loop: without it the process goes on.
            let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
            let asked = Instant::now();
            while asked.elapsed() < PATIENCE {
                let now = process::cpu_seconds(self.pid());
                // A process that ended counts nothing any more.
                if now < used {
                    break;
                }
                used = now;
                thread::sleep(Duration::from_millis(10));
            }
        }
        used
    }

    /// Returns the size of all Parquet files, bytes; nothing of a server that keeps nothing.
    pub(crate) fn parquet_bytes(&self) -> Option<u64> {
        (self.kind == Kind::Daemon).then(|| parquet_bytes(self.folder.path()))
    }

    fn is_ready(&self, web: SocketAddr) -> bool {
        match self.kind {
            Kind::Null => TcpStream::connect(self.grpc).is_ok(),
            Kind::Daemon => is_ready(web).unwrap_or(false),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn daemon(folder: &Path, [grpc, http, web]: [SocketAddr; 3]) -> Command {
    let mut command = process::on_first_core(env!("CARGO_BIN_EXE_throughline"));
    command
        .args(["serve", "--data-dir"])
        .arg(folder)
        .env("THROUGHLINE_RECEIVERS__OTLP__PROTOCOLS__GRPC__ENDPOINT", grpc.to_string())
        .env("THROUGHLINE_RECEIVERS__OTLP__PROTOCOLS__HTTP__ENDPOINT", http.to_string())
        .env("THROUGHLINE_WEB__ENDPOINT", web.to_string());
    command
}

fn free_ports<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("it is bound"))
}

fn is_ready(web: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(web)?;
    write!(stream, "GET /readyz HTTP/1.1\r\nhost: {web}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

fn parquet_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => parquet_bytes(&entry.path()),
            Ok(metadata) if entry.path().extension().is_some_and(|extension| extension == "parquet") => metadata.len(),
            _ => 0,
        })
        .sum()
}

/// Serves gRPC at this address: reads each request to its end and answers success, for ever.
pub(crate) fn receive_only(address: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await.expect("the port is free");
        while let Ok((stream, _)) = listener.accept().await {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service_fn(receive)));
        }
    });
}

type Frames = futures::stream::Iter<std::array::IntoIter<Result<Frame<Bytes>, Infallible>, 2>>;

async fn receive(mut request: Request<Incoming>) -> Result<Response<StreamBody<Frames>>, Infallible> {
    while let Some(Ok(_)) = request.body_mut().frame().await {}
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("it is a header value"));
    let empty_message = Frame::data(Bytes::from_static(&[0; 5]));
    let frames = [Ok(empty_message), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
    response.headers_mut().insert("content-type", "application/grpc".parse().expect("it is a header value"));
    Ok(response)
}
