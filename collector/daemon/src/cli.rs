//! The command line: what people type, checked, and which part of the daemon answers it.
//! Exit codes: 0 done, 1 it failed, 2 the command line or the configuration is wrong.

use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use analyzer::AnalyzerLimits;
use anyhow::Context as _;
use clap::{Args, CommandFactory, Parser, Subcommand};
use tokio::sync::watch;

use crate::clock::now_ns;
use crate::config::{Complaint, Config, Override};
use crate::query::{Format, Place};
use crate::serve::{Addresses, Daemon, stitcher_limits};
use crate::telemetry;
use crate::{analyze, demo, query};

/// Follows business transactions from end to end and notices when one becomes slow without failing.
///
/// Point OTLP exporters at it (gRPC on 4317, HTTP on 4318), open http://127.0.0.1:8317 and read.
/// Without a command it serves.
#[derive(Parser)]
#[command(name = "throughline", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where settings come from. The environment (`THROUGHLINE_A__B` sets `a.b`) wins over the file, flags over both.
#[derive(Args, Clone)]
struct Settings {
    /// YAML file with settings; every key has a default.
    #[arg(long, global = true, value_name = "FILE", env = "THROUGHLINE_CONFIG")]
    config: Option<PathBuf>,
    /// Folder that holds everything the daemon keeps.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon (the default).
    Serve,
    /// Run the daemon on a temporary folder with a simulated shop that turns slow after a while.
    Demo,
    /// Replay recordings or stored data at event time and write the incidents found.
    ///
    /// With --traces, reads what the OpenTelemetry Collector's file exporter writes: frames of [4-byte big-endian
    /// length][request protobuf], or OTLP/JSON lines; gzip and zstd are seen through; "-" is standard input or output.
    ///
    /// With --stored, reads the spans and log records in a data folder, of a running daemon or not, and changes nothing
    /// there. A span counts as arrived when it ended. So it can be tried what another configuration or another budget of
    /// false alarms would have told:
    ///
    ///   throughline analyze --stored --data-dir /var/lib/throughline --from 24h --false-alarms-per-week 5 --incidents -
    #[command(verbatim_doc_comment)]
    Analyze(AnalyzeArgs),
    /// Run one read-only SQL statement over stored data.
    ///
    /// Tables: spans, logs, metrics, transactions, hops, incidents. Attributes are attributes['order.id'].
    Sql(SqlArgs),
    /// Look at the configuration without starting anything.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look after webhooks of a running daemon.
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Print a completion script for a shell.
    Completions {
        /// Shell to complete in.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff.
    Man,
}

#[derive(Args)]
struct AnalyzeArgs {
    /// Recordings of traces, replayed one after the other.
    #[arg(long, required_unless_present = "stored", num_args = 1.., value_name = "FILE")]
    traces: Vec<PathBuf>,
    /// Recordings of logs, replayed beside the traces: keys in them join traces.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    logs: Vec<PathBuf>,
    /// Replay what the data folder holds instead of recordings; see --data-dir.
    #[arg(long, conflicts_with_all = ["traces", "logs"])]
    stored: bool,
    /// Stored spans that started at this time or later: 2026-11-21T12:00:00Z, or 6h for six hours ago.
    ///
    /// What is usual is learned from then on, which takes half an hour: begin an hour before what you look for.
    #[arg(long, requires = "stored", value_name = "TIME", value_parser = moment)]
    from: Option<i64>,
    /// Stored spans that started before this time.
    #[arg(long, requires = "stored", value_name = "TIME", value_parser = moment)]
    until: Option<i64>,
    /// Where incidents go, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    incidents: PathBuf,
    /// Where transactions go, one JSON object a line.
    ///
    /// A file has each transaction once, as it was known at the end, in order of start. Standard output ("-") has a line
    /// for every revision: a later line for the same id replaces the earlier, and one with "superseded_by" takes it back.
    #[arg(long, value_name = "FILE")]
    transactions: Option<PathBuf>,
    /// Attribute key whose value names one piece of work, such as order.id; beside those of the configuration.
    #[arg(long, value_name = "KEY")]
    join_key: Vec<String>,
    /// False incidents a week that are tolerated; the setting's value when left out.
    #[arg(long, value_name = "N")]
    false_alarms_per_week: Option<f64>,
}

#[derive(Args)]
struct SqlArgs {
    /// The statement.
    statement: String,
    /// A running daemon's address, such as http://127.0.0.1:8317; the data folder is read when left out.
    #[arg(long)]
    url: Option<String>,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check the configuration; prints every complaint at once.
    Check,
    /// Print each value that is in force and where it came from.
    Show,
}

#[derive(Subcommand)]
enum WebhookCommand {
    /// Send a test event to a webhook of the running daemon, through the very same pipeline as real ones.
    Test {
        /// Name of the webhook.
        name: String,
        /// The same key is the same event, with the same id.
        #[arg(long)]
        key: Option<String>,
        /// Retry failures as for a real event.
        #[arg(long)]
        retry: bool,
        /// The daemon's address; that of the configuration when left out.
        #[arg(long)]
        url: Option<String>,
    },
}

/// Why a command did not do what it was asked.
enum Failure {
    /// The configuration is wrong.
    Complaints(Vec<Complaint>),
    /// Something went wrong.
    Error(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}

/// Runs what the process's arguments ask for.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match obey(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Complaints(complaints)) => {
            for complaint in complaints {
                eprintln!("configuration: {complaint}");
            }
            ExitCode::from(2)
        }
        Err(Failure::Error(error)) => {
            eprintln!("throughline: {}", telemetry::error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn obey(cli: Cli) -> Result<(), Failure> {
    let settings = cli.settings;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let config = load(&settings)?;
            let _telemetry = telemetry::init(config.log_format).context("setting up telemetry")?;
            Ok(block_on(serve(config))??)
        }
        Command::Demo => run_demo(&settings),
        Command::Analyze(args) => run_analyze(&settings, args),
        Command::Sql(args) => run_sql(&settings, args),
        Command::Config(ConfigCommand::Check) => {
            load(&settings)?;
            println!("the configuration is fine");
            Ok(())
        }
        Command::Config(ConfigCommand::Show) => {
            for one in load(&settings)?.explain() {
                println!("{}: {}    # {}", one.key, one.value, one.origin);
            }
            Ok(())
        }
        Command::Webhook(WebhookCommand::Test { name, key, retry, url }) => {
            let url = match url {
                Some(url) => url,
                None => format!("http://{}", load(&settings)?.web.endpoint),
            };
            Ok(block_on(test_webhook(&url, &name, key, retry))??)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "throughline", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => {
            let page = clap_mangen::Man::new(Cli::command());
            Ok(page.render(&mut std::io::stdout()).context("writing the manual page")?)
        }
    }
}

fn load(settings: &Settings) -> Result<Config, Failure> {
    let data_dir = settings.data_dir.as_ref().map(|dir| Override {
        key: "data_dir",
        value: dir.display().to_string(),
        flag: "--data-dir",
    });
    Config::load(settings.config.as_deref(), std::env::vars_os(), data_dir.into_iter().collect())
        .map_err(Failure::Complaints)
}

/// Runs a future on a runtime of its own.
fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    Ok(runtime.block_on(future))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let daemon = Daemon::build(config).await?;
    announce(daemon.addresses()?);
    let stop = stop_signal()?;
    daemon.run(stop).await
}

fn announce(addresses: Addresses) {
    let shown = |addr: Option<std::net::SocketAddr>| addr.map_or_else(|| "off".to_owned(), |addr| addr.to_string());
    tracing::info!(
        grpc = shown(addresses.grpc),
        http = shown(addresses.http),
        "receiving OTLP; pages are at http://{}",
        addresses.web
    );
}

/// Resolves at SIGINT or SIGTERM.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn run_demo(settings: &Settings) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("throughline-demo-{}", std::process::id()));
    let settings = Settings { data_dir: Some(folder.clone()), ..settings.clone() };
    let config = load(&settings)?;
    let _telemetry = telemetry::init(config.log_format).context("setting up telemetry")?;
    let ended = block_on(demonstrate(config));
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::warn!(%error, "{} was not removed", folder.display());
    }
    Ok(ended??)
}

async fn demonstrate(config: Config) -> anyhow::Result<()> {
    let daemon = Daemon::build(config).await?;
    let addresses = daemon.addresses()?;
    let grpc = addresses.grpc.context("the demo needs the gRPC receiver")?;
    let plan = demo::Plan::default();
    println!("{}\n\nOpen http://{}\nStop with Ctrl-C.\n", plan.story(), addresses.web);
    let (stop, stopped) = watch::channel(false);
    let shop = tokio::spawn(demo::run(format!("http://{grpc}"), plan, stopped));
    let signal = stop_signal()?;
    daemon
        .run(async move {
            signal.await;
            stop.send_replace(true);
        })
        .await?;
    shop.await.context("running the shop")?
}

fn run_analyze(settings: &Settings, args: AnalyzeArgs) -> Result<(), Failure> {
    let config = load(settings)?;
    let mut stitching = config.stitching.clone();
    stitching.join_keys.extend(args.join_key);
    let stitcher = stitcher_limits(&stitching);
    let mut limits = AnalyzerLimits { stitcher, sagas: stitching.sagas, ..AnalyzerLimits::default() };
    limits.detector.false_alarms_per_week =
        args.false_alarms_per_week.unwrap_or(config.detection.false_alarms_per_week);
    let AnalyzeArgs { traces, logs, stored, from, until, incidents, transactions, .. } = args;
    let input = if stored {
        analyze::Input::Stored { dir: config.data_dir, from_ns: from, until_ns: until }
    } else {
        analyze::Input::Recordings { traces, logs }
    };
    let report = analyze::run(&analyze::Plan { input, incidents, transactions, limits })?;
    eprintln!(
        "{} spans, {} log records, {} items rejected; {} transactions, {} incidents",
        report.spans, report.logs, report.rejected, report.transactions, report.incidents
    );
    if report.truncated > 0 {
        eprintln!("{} times there was more at once than one query returns; the rest is left out", report.truncated);
    }
    if report.outdated > 0 {
        eprintln!("too many transactions were revised: {} lines replace or take back others", report.outdated);
    }
    Ok(())
}

/// Reads a time, or how long ago it was, as Unix nanoseconds.
fn moment(text: &str) -> Result<i64, String> {
    if let Some(at_ns) = analyzer::time::parse_rfc3339(text) {
        return Ok(at_ns);
    }
    let wrong = |_| format!("{text:?} is no time; write one as 2026-11-21T12:00:00Z, or 6h for six hours ago");
    let ago = crate::config::duration_of(text).map_err(wrong)?;
    Ok(now_ns().saturating_sub(i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX)))
}

fn run_sql(settings: &Settings, args: SqlArgs) -> Result<(), Failure> {
    let place = match args.url {
        Some(url) => Place::Url(url),
        None => Place::Folder(load(settings)?.data_dir),
    };
    // Collected first: a statement that fails half-way prints nothing.
    let mut out = Vec::new();
    block_on(query::run(&args.statement, &place, args.format, &mut out))??;
    Ok(std::io::stdout().write_all(&out).context("writing rows")?)
}

async fn test_webhook(url: &str, name: &str, key: Option<String>, retry: bool) -> anyhow::Result<()> {
    crate::notify::install_tls();
    let mut endpoint = reqwest::Url::parse(url).context("reading the daemon's address")?;
    if let Ok(mut path) = endpoint.path_segments_mut() {
        path.pop_if_empty().extend(["api", "v1", "webhooks", name, "test"]);
    }
    let client = reqwest::Client::builder().no_proxy().build().context("building the HTTP client")?;
    let body = serde_json::json!({ "key": key, "retry": retry });
    let answer = client.post(endpoint).json(&body).send().await.context("asking the daemon")?;
    let status = answer.status();
    let text = answer.text().await.context("reading the daemon's answer")?;
    anyhow::ensure!(status.is_success(), "the daemon answered {status}: {text}");
    println!("{text}");
    Ok(())
}
