//! The real daemon as a child process, and plain HTTP to talk to it. Used by the integration tests that need a
//! running `throughline serve`. Must never outlive its test: dropping it kills the process.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod traffic;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long to wait for what should happen at once; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(60);
const LOG_FILE: &str = "log";
const DATA_FOLDER: &str = "data";
const DATA_DIR: &str = "THROUGHLINE_DATA_DIR";

/// A running daemon on loopback ports of its own.
pub(crate) struct Daemon {
    process: Child,
    folder: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) web: SocketAddr,
}

impl Daemon {
    /// Starts `throughline serve` on an empty folder and waits until it is ready.
    pub(crate) fn start() -> Self {
        Self::start_with(Vec::new())
    }

    /// Starts on an empty folder with these settings in its environment.
    pub(crate) fn start_with(settings: Vec<(&'static str, String)>) -> Self {
        Self::start_at(free_ports(), settings)
    }

    /// Starts on these ports, with these settings in its environment.
    pub(crate) fn start_at(ports: [SocketAddr; 3], mut settings: Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if !settings.iter().any(|(name, _)| *name == DATA_DIR) {
            settings.push((DATA_DIR, folder.path().join(DATA_FOLDER).display().to_string()));
        }
        let process = spawn(folder.path(), ports, &settings);
        let [grpc, http, web] = ports;
        let mut daemon = Self { process, folder, settings, grpc, http, web };
        daemon.wait_until_ready();
        daemon
    }

    /// Ends the process without a warning: SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks the process to end, with SIGTERM, and returns how it did.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let asked = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(asked.success(), "SIGTERM was not sent");
        let mut ended = None;
        wait_until("the daemon has ended", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Starts again, after its end, on the same folder but other ports: the old ones may be taken by now.
    pub(crate) fn start_again(&mut self) {
        let ports = free_ports();
        [self.grpc, self.http, self.web] = ports;
        self.process = spawn(self.folder.path(), ports, &self.settings);
        self.wait_until_ready();
    }

    /// Returns where it keeps its data.
    pub(crate) fn data_folder(&self) -> PathBuf {
        self.folder.path().join(DATA_FOLDER)
    }

    /// Returns the rows of a query.
    pub(crate) fn sql(&self, query: &str) -> Vec<Value> {
        let (status, body) = post(self.web, "/api/v1/sql", &json!({ "query": query }));
        assert_eq!(status, 200, "{query}: {body}\n{}", self.log());
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        answer["rows"].as_array().unwrap_or_else(|| panic!("no rows in {body}")).clone()
    }

    /// Returns the first column of the first row, as a whole number.
    pub(crate) fn count(&self, query: &str) -> u64 {
        let rows = self.sql(query);
        let value = first_column(&rows[0]);
        value.as_u64().unwrap_or_else(|| panic!("{query}: {value} is no count"))
    }

    /// Waits until a query counts at least so many; returns what it counted.
    pub(crate) fn wait_for_count(&self, query: &str, at_least: u64) -> u64 {
        let mut counted = 0;
        wait_until(&format!("{query} >= {at_least}"), || {
            counted = self.count(query);
            counted >= at_least
        });
        counted
    }

    /// Returns status and body of a page.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        exchange(self.web, "GET", path, None).unwrap()
    }

    /// Returns what the daemon logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG_FILE)).unwrap_or_default()
    }

    fn wait_until_ready(&mut self) {
        let started = Instant::now();
        while !exchange(self.web, "GET", "/readyz", None).is_ok_and(|(status, _)| status == 200) {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {}", self.log());
            assert!(started.elapsed() < PATIENCE, "the daemon is not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(folder: &Path, [grpc, http, web]: [SocketAddr; 3], settings: &[(&str, String)]) -> Child {
    // Appended to, so that a failure after several starts shows all of them.
    let log = std::fs::File::options().create(true).append(true).open(folder.join(LOG_FILE)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_throughline"))
        .arg("serve")
        .env("THROUGHLINE_RECEIVERS__OTLP__PROTOCOLS__GRPC__ENDPOINT", grpc.to_string())
        .env("THROUGHLINE_RECEIVERS__OTLP__PROTOCOLS__HTTP__ENDPOINT", http.to_string())
        .env("THROUGHLINE_WEB__ENDPOINT", web.to_string())
        .envs(settings.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Polls another process, which has no way to call us.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "still waiting until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns status and body of a JSON request.
pub(crate) fn post(address: SocketAddr, path: &str, body: &Value) -> (u16, String) {
    exchange(address, "POST", path, Some(body)).unwrap()
}

/// Sends one request on a connection of its own.
pub(crate) fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> std::io::Result<(u16, String)> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let answer = exchange_bytes(address, method, path, "application/json", body.as_bytes())?;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let is_chunked = answer.headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
    Ok((answer.status, if is_chunked { dechunked(&body) } else { body }))
}

/// An answer as it came.
pub(crate) struct Answer {
    /// 0 when the connection ended before there was one.
    pub(crate) status: u16,
    /// By name in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// Sends one request of any media type on a connection of its own.
pub(crate) fn exchange_bytes(
    address: SocketAddr,
    method: &str,
    path: &str,
    media_type: &str,
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    write!(connection, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n")?;
    write!(connection, "Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n", body.len())?;
    connection.write_all(body)?;
    let mut answer = BufReader::new(connection);
    let (first_line, headers) = read_head(&mut answer)?;
    let status = first_line.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    match headers.get("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => answer.take(length).read_to_end(&mut body)?,
        None => answer.read_to_end(&mut body)?,
    };
    Ok(Answer { status, headers, body })
}

/// Reads the first line and the headers, by name in lower case, of a request or an answer.
pub(crate) fn read_head(source: &mut impl BufRead) -> std::io::Result<(String, BTreeMap<String, String>)> {
    let mut first_line = String::new();
    source.read_line(&mut first_line)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        source.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { return Ok((first_line, headers)) };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

/// Joins the chunks of a body (RFC 9112, section 7.1).
fn dechunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..size).filter(|chunk| !chunk.is_empty()) else { break };
        whole.push_str(chunk);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// Returns the value of a row's first column, whether rows are objects or lists.
pub(crate) fn first_column(row: &Value) -> &Value {
    match row {
        Value::Object(columns) => columns.values().next().unwrap_or(&Value::Null),
        other => &other[0],
    }
}

/// Says that a test could not run, and fails where skipping is forbidden, as on CI.
pub(crate) fn skip(test: &str, reason: &str) {
    assert!(std::env::var("TEST_SKIPS").as_deref() != Ok("forbidden"), "{test} cannot run: {reason}");
    eprintln!("skipped: {test}: {reason}");
}

/// Returns a folder for what a test installs, which is kept between runs.
pub(crate) fn kept_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// All three are held at once, so that they differ.
pub(crate) fn free_ports<const N: usize>() -> [SocketAddr; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}
