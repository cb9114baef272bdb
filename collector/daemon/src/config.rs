//! The daemon's configuration: commented example (which states every default), YAML file, environment, command line.
//! Loaded by the command line before any port is bound; each component is handed its own part.
//! Must never stop at the first mistake: all complaints are told at once, each with its key, origin and remedy.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::notify::{AllowRule, Target};
use crate::telemetry::LogFormat;
use analyzer::expect::Declared;
use reader::Reader;
pub(crate) use units::duration_of;
use written::Written;

/// The commented example; it states every default, and there is no other place for one.
pub const EXAMPLE: &str = include_str!("../../../deploy/throughline.example.yaml");

/// A checked, complete configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder that holds everything the daemon keeps.
    pub data_dir: PathBuf,
    /// Where telemetry is received.
    pub receivers: Receivers,
    /// Where pages and the API are served.
    pub web: Web,
    /// Whether an endpoint may be one that other machines reach, although there is no authentication.
    pub allows_unauthenticated_remote: bool,
    /// When a request is acknowledged.
    pub sync: Sync,
    /// What the daemon may use.
    pub limits: Limits,
    /// How the store writes.
    pub storage: Storage,
    /// How long and how much is kept.
    pub retention: Retention,
    /// What traces are joined by.
    pub stitching: Stitching,
    /// How often it may be wrong.
    pub detection: Detection,
    /// Who is told.
    pub webhooks: Webhooks,
    /// How log lines look.
    pub log_format: LogFormat,
    explained: Vec<Explained>,
}

/// Where telemetry is received.
#[derive(Debug, Clone, Copy)]
pub struct Receivers {
    /// OTLP/gRPC.
    pub grpc: SocketAddr,
    /// OTLP/HTTP.
    pub http: SocketAddr,
}

/// Where pages and the API are served.
#[derive(Debug, Clone)]
pub struct Web {
    /// Address to bind.
    pub endpoint: SocketAddr,
    /// Address that people and webhook receivers use, without a slash at the end; none: the bound address.
    pub public_url: Option<String>,
    /// Further host names, lower case and without port, by which the pages may be reached. The host of `public_url`,
    /// `localhost` and IP addresses always may.
    pub allowed_hosts: Vec<String>,
}

/// When a request is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// After its bytes are synced.
    Always,
    /// After its bytes are handed to the operating system, which is told to sync this often.
    Interval(Duration),
}

/// What the daemon may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Memory of the whole daemon, bytes.
    pub memory_bytes: usize,
    /// One request, also after decompression, bytes.
    pub request_bytes: usize,
    /// Messages inside one another in a request.
    pub nesting: usize,
    /// Attributes of one item, event or link.
    pub attributes: usize,
    /// An attribute's key, and its value as text, bytes.
    pub attribute_bytes: usize,
    /// Open connections of senders.
    pub connections: usize,
    /// From connecting to the end of the first request's headers.
    pub header_time: Duration,
    /// Between two pieces of a body.
    pub body_pause: Duration,
    /// For a whole body.
    pub body_time: Duration,
    /// An HTTP/2 connection without a request.
    pub idle_time: Duration,
    /// Transactions that wait for more spans.
    pub open_transactions: usize,
    /// Requests are refused when the disk has less free space, bytes.
    pub disk_free_bytes: usize,
    /// Time of one SQL query.
    pub query_time: Duration,
}

/// How the store writes.
#[derive(Debug, Clone, Copy)]
pub struct Storage {
    /// Rows become Parquet segments after this time at the latest.
    pub seal_after: Duration,
}

/// How long and how much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Everything.
    pub all: Kept,
    /// Traces that an incident names.
    pub evidence: Kept,
}

/// A bound on what is kept; nothing is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Age of the newest row of a file that is kept.
    pub time: Option<Duration>,
    /// All files together, bytes.
    pub bytes: Option<usize>,
}

/// What traces are joined by, and how time is read.
#[derive(Debug, Clone)]
pub struct Stitching {
    /// Attribute keys whose values join traces.
    pub join_keys: Vec<String>,
    /// Whether further keys are discovered.
    pub discovers_keys: bool,
    /// Whether critical paths are corrected where clocks are known to differ.
    pub corrects_clock_skew: bool,
    /// Sagas that are declared.
    pub sagas: Vec<Declared>,
}

/// How often detection may be wrong.
#[derive(Debug, Clone, Copy)]
pub struct Detection {
    /// False incidents a week, over everything together.
    pub false_alarms_per_week: f64,
}

/// Who is told.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// Targets from the configuration; the API can add more.
    pub targets: Vec<Target>,
    /// Private addresses that may be called.
    pub egress_allow: Vec<AllowRule>,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the default is in force.
    Default,
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// Line, when it is easily found.
        line: Option<usize>,
    },
    /// In this environment variable.
    Env(String),
    /// On the command line, by this flag.
    Flag(&'static str),
}

/// A key that the command line sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Dotted key.
    pub key: &'static str,
    /// Value as written.
    pub value: String,
    /// The flag, for people.
    pub flag: &'static str,
}

/// A value in force and where it came from. Secrets are `set` or `not set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Dotted key.
    pub key: String,
    /// Value as text.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

/// What is wrong with a key, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem} [{origin}]; {remedy}", if key.is_empty() { String::new() } else { format!("{key}: ") })]
pub struct Complaint {
    /// Dotted key; empty when it is about a whole file.
    pub key: String,
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl Config {
    /// Reads the file if one is named, lays the environment and then the command line over it, and checks everything.
    ///
    /// # Errors
    /// Every complaint at once.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Vec<Override>,
    ) -> Result<Self, Vec<Complaint>> {
        let mut complaints = Vec::new();
        let env = written::readable(env, &mut complaints);
        let mut written = Written::default();
        if let Some(path) = file {
            written.overlay_file(path, &env, &mut complaints);
        }
        let defaults = Written::defaults(EXAMPLE);
        written.overlay_env(&env, &defaults);
        written.overlay_flags(flags);
        let mut reader = Reader::new(written, defaults, complaints);
        let mut config = Self::read(&mut reader);
        reader.refuse_rest();
        checks::check(&config, &mut reader);
        if !reader.complaints.is_empty() {
            return Err(reader.complaints);
        }
        config.explained = reader.explained;
        Ok(config)
    }

    /// Returns every value in force with its origin, in the order of the commented example; secrets are masked.
    pub fn explain(&self) -> &[Explained] {
        &self.explained
    }

    fn read(reader: &mut Reader) -> Self {
        Self {
            data_dir: reader.take("data_dir", units::text).into(),
            receivers: Receivers {
                grpc: reader.take("receivers.otlp.protocols.grpc.endpoint", units::endpoint),
                http: reader.take("receivers.otlp.protocols.http.endpoint", units::endpoint),
            },
            web: Web {
                endpoint: reader.take("web.endpoint", units::endpoint),
                public_url: reader.take("web.public_url", checks::public_url),
                allowed_hosts: reader.take("web.allowed_hosts", checks::host_names),
            },
            allows_unauthenticated_remote: reader.take("listen.allow_unauthenticated_remote", units::flag),
            sync: reader.take("durability.sync", checks::sync),
            limits: Self::read_limits(reader),
            storage: Storage { seal_after: reader.take("storage.seal_after", units::duration) },
            retention: Retention {
                all: Kept {
                    time: reader.take("retention.time", units::optional(units::duration)),
                    bytes: reader.take("retention.bytes", units::optional(units::size)),
                },
                evidence: Kept {
                    time: reader.take("retention.evidence.time", units::optional(units::duration)),
                    bytes: reader.take("retention.evidence.bytes", units::optional(units::size)),
                },
            },
            stitching: Stitching {
                join_keys: reader.take("stitching.join_keys", checks::join_keys),
                discovers_keys: reader.take("stitching.discover_keys", units::flag),
                corrects_clock_skew: reader.take("stitching.correct_clock_skew", units::flag),
                sagas: sagas::read(reader),
            },
            detection: Detection {
                false_alarms_per_week: reader.take("detection.false_alarms_per_week", units::positive),
            },
            webhooks: Webhooks { targets: webhooks::read_targets(reader), egress_allow: webhooks::read_allow(reader) },
            log_format: reader.take("log.format", checks::log_format),
            explained: Vec::new(),
        }
    }

    fn read_limits(reader: &mut Reader) -> Limits {
        Limits {
            memory_bytes: reader.take("limits.memory", units::size),
            request_bytes: reader.take("limits.request_bytes", units::size),
            nesting: reader.take("limits.nesting", units::count),
            attributes: reader.take("limits.attributes", units::count),
            attribute_bytes: reader.take("limits.attribute_bytes", units::size),
            connections: reader.take("limits.connections", units::count),
            header_time: reader.take("limits.header_time", units::duration),
            body_pause: reader.take("limits.body_pause", units::duration),
            body_time: reader.take("limits.body_time", units::duration),
            idle_time: reader.take("limits.idle_time", units::duration),
            open_transactions: reader.take("limits.open_transactions", units::count),
            disk_free_bytes: reader.take("limits.disk_free", units::size),
            query_time: reader.take("limits.query_time", units::duration),
        }
    }
}

impl Complaint {
    fn new(key: &str, origin: &Origin, problem: impl Into<String>, remedy: &str) -> Self {
        Self { key: key.to_owned(), origin: origin.clone(), problem: problem.into(), remedy: remedy.to_owned() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Env(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

mod checks;
mod interpolate;
mod reader;
mod sagas;
mod units;
mod webhooks;
mod written;

#[cfg(test)]
mod tests;
