//! `throughline serve`: builds every part, binds every port, then runs until it is told to stop, and drains.
//! Nothing is received before everything is built and bound.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use analyzer::AnalyzerLimits;
use analyzer::stitch::StitcherLimits;
use anyhow::Context as _;
use axum::Router;
use axum::http::Uri;
use collector_otlp::Limits as OtlpLimits;
use collector_receiver::Bound;
use collector_store::{Durability, Retention, Store};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use web::{Endpoints, Setting, StoreSource};

use crate::analysis::Analysis;
use crate::backtest::{self, Backtests};
use crate::budget::Budget;
use crate::clock::now_ns;
use crate::config::{Config, Kept, Stitching, Sync};
use crate::intake::Intake;
use crate::memory::Memory;
use crate::notify::{Notifier, NotifyConfig};
use crate::state::State;
use crate::stored;
use crate::views::{Owners, Views};

/// Longest that everything but the store may take to finish when the daemon stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What the analysis holds, by its limits: its share of memory in so many parts, of which each has some, and bytes of one.
/// Closed transactions can be reopened; what is open comes first.
const ANALYSIS_PARTS: usize = 32;
const OPEN_SPANS: Held = Held { parts: 17, bytes: 60 };
const CLOSED_SPANS: Held = Held { parts: 3, bytes: 48 };
const JOINABLE_SPANS: Held = Held { parts: 3, bytes: 50 };
const JOINABLE_TRACES: Held = Held { parts: 5, bytes: 500 };
const JOIN_VALUES: Held = Held { parts: 4, bytes: 150 };
/// A backtest's analysis has this part of the analysis' share; it is taken from what is left for everything else.
const BACKTEST_PART: usize = 4;
/// How often segments are merged and expired.
const MAINTAIN_EVERY: Duration = Duration::from_secs(60);

/// A daemon whose parts are built and whose ports are bound.
pub struct Daemon {
    receiver: Bound,
    store: Store,
    memory: Memory,
    pages: (TcpListener, Router),
    /// Ends when the store is closed; until then its end is a failure.
    analysis: JoinHandle<()>,
    /// Ends when the analysis has ended and its changes of incidents are saved.
    telling: JoinHandle<()>,
    notifier: JoinHandle<()>,
    backtests: Backtests,
    stop: watch::Sender<bool>,
}

/// Addresses that were bound.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// OTLP/gRPC.
    pub grpc: Option<SocketAddr>,
    /// OTLP/HTTP.
    pub http: Option<SocketAddr>,
    /// Pages and API.
    pub web: SocketAddr,
}

impl Daemon {
    /// Opens the data folder, reads back what is needed, and binds every port.
    ///
    /// # Errors
    /// When the folder is in use or unreadable, or a port is taken.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        let receiver = collector_receiver::bind(receiver_config(&config)).await.context("binding the receivers")?;
        let listener = TcpListener::bind(config.web.endpoint)
            .await
            .with_context(|| format!("binding the pages to {}", config.web.endpoint))?;
        let web_addr = listener.local_addr().context("reading the pages' address")?;
        let public_url = config.web.public_url.clone().unwrap_or_else(|| format!("http://{web_addr}"));
        let (stop, stopped) = watch::channel(false);

        let store = open_store(&config).await?;
        store.reader().compute_hops(Arc::new(|spans| analyzer::hops(spans).map_err(Into::into)));
        let committed = store.take_committed().context("the store's commits are read twice")?;
        let state = State::open(&config.data_dir).context("opening the state")?;
        let notify = NotifyConfig::new(config.webhooks.targets.clone(), config.webhooks.egress_allow.clone());
        let (notifier, deliveries) =
            Notifier::start(state.clone(), notify, stopped).await.context("starting the notifier")?;
        let analysis_bytes = Budget::of(config.limits.memory_bytes).analysis_bytes;
        let limits = analyzer_limits(&config, analysis_bytes);
        let (analysis, watched, telling) =
            Analysis::start(limits, store.clone(), &state, notifier.clone(), public_url.clone(), &config.data_dir)
                .await?;
        let analysis = tokio::spawn(analysis.run(committed));

        let memory = Memory::new(config.limits.memory_bytes);
        tokio::spawn(memory.clone().watch(store.clone()));
        tokio::spawn(maintain(store.clone()));
        let backtests = Backtests::new(
            backtest::Means {
                reader: store.reader().clone(),
                state: state.clone(),
                limits: analyzer_limits(&config, analysis_bytes / BACKTEST_PART),
                memory: memory.clone(),
                stopped: stop.subscribe(),
                bounds: backtest::Bounds::USUAL,
            },
            Handle::current(),
        );
        let owners = Owners { ledger: receiver.ledger(), watched: watched.clone(), memory: memory.clone(), state };
        let budget = Budget::of(config.limits.memory_bytes);
        let views = Views::new(owners, store.clone(), &store_config(&config), &budget);
        tokio::spawn(views.clone().measure());
        let (ingest, metrics, ready) = (views.clone(), views.clone(), views);
        let pages = web::router(web::State {
            source: Arc::new(StoreSource::new(store.reader().clone())),
            summary: watched.summary.clone(),
            ingest: Arc::new(move || ingest.ingest()),
            dismiss: Arc::new(move |number| Box::pin(watched.clone().dismiss(number))),
            false_alarms_per_week: config.detection.false_alarms_per_week,
            backtest: Arc::new({
                let backtests = backtests.clone();
                move |question| backtests.ask(question)
            }),
            webhooks: Arc::new(notifier),
            metrics: Arc::new(move || metrics.metrics()),
            ready: Arc::new(move || ready.ready()),
            otlp_json: Arc::new(|tables| {
                collector_otlp::export::traces_json(tables.iter().flat_map(collector_table::SpanTable::rows))
            }),
            stitching: stitcher_limits(&config.stitching),
            now_ns: Arc::new(now_ns),
            settings: settings(&config),
            allowed_hosts: allowed_hosts(&config, &public_url),
            endpoints: Endpoints {
                grpc: receiver.grpc_addr().map(|addr| format!("http://{addr}")),
                http: receiver.http_addr().map(|addr| format!("http://{addr}")),
                public_url,
            },
        });
        let pages = (listener, pages);
        Ok(Self { receiver, store, memory, pages, analysis, telling, notifier: deliveries, backtests, stop })
    }

    /// Returns the addresses that were bound.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn addresses(&self) -> anyhow::Result<Addresses> {
        let web = self.pages.0.local_addr().context("reading the pages' address")?;
        Ok(Addresses { grpc: self.receiver.grpc_addr(), http: self.receiver.http_addr(), web })
    }

    /// Serves until `shutdown` resolves or the analysis fails; then answers what is under way, commits, seals and returns.
    ///
    /// # Errors
    /// When the analysis failed: what is received would no longer be watched, so whoever looks after the daemon must know.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let Self { receiver, store, memory, pages, mut analysis, telling, notifier, backtests, stop } = self;
        let (listener, pages) = pages;
        let mut until_stop = stop.subscribe();
        let mut until_stop_too = stop.subscribe();
        let pages = tokio::spawn(
            axum::serve(listener, pages)
                .with_graceful_shutdown(async move {
                    let _ = until_stop.wait_for(|stop| *stop).await;
                })
                .into_future(),
        );
        let receiving = tokio::spawn(receiver.run(Intake::new(store.clone(), memory), async move {
            let _ = until_stop_too.wait_for(|stop| *stop).await;
        }));
        let failed = tokio::select! {
            () = shutdown => None,
            ended = &mut analysis => Some(ended.err().map_or_else(
                || anyhow::anyhow!("the analysis ended although nobody asked it to"),
                |error| anyhow::Error::new(error).context("the analysis failed"),
            )),
        };
        tracing::info!("stopping: answering what is under way");
        stop.send_replace(true);
        receiving.await.context("draining the receivers")?;
        // Closing ends the stream of commits, which ends the analysis, which ends the telling.
        store.close().await;
        let until = Instant::now() + DRAIN_MAX;
        if failed.is_none() {
            end(analysis, until, "the analysis of what was received last").await;
        }
        tokio::join!(
            end(telling, until, "saving changes of incidents"),
            end(pages, until, "answering pages"),
            end(notifier, until, "calling webhooks"),
            end(tokio::spawn(backtests.ended()), until, "a backtest"),
        );
        failed.map_or(Ok(()), Err)
    }
}

/// Has the store merge and expire segments, for as long as the runtime lives.
async fn maintain(store: Store) {
    let mut every = tokio::time::interval(MAINTAIN_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        store.maintain(now_ns()).await;
    }
}

/// Waits for the end of a task; says so when it was cut off or failed.
async fn end<T>(task: JoinHandle<T>, until: Instant, doing: &str) {
    match tokio::time::timeout_at(until, task).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::error!(%error, "{doing} failed"),
        Err(_) => tracing::warn!("{doing} was cut off"),
    }
}

async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let limits = stored::limits(&otlp_limits(config));
    let (store, recovery) = Store::open(store_config(config), |kind, payload| stored::rows(kind, payload, &limits))
        .await
        .with_context(|| format!("opening {}", config.data_dir.display()))?;
    tracing::info!(
        segments = recovery.segments,
        replayed = recovery.replayed,
        damaged = recovery.damaged,
        undecodable = recovery.undecodable,
        "opened {}",
        config.data_dir.display()
    );
    Ok(store)
}

fn receiver_config(config: &Config) -> collector_receiver::Config {
    let Config { receivers, limits, .. } = config;
    collector_receiver::Config {
        grpc: Some(receivers.grpc),
        http: Some(receivers.http),
        body_bytes_max: limits.request_bytes,
        in_flight_bytes_max: Budget::of(limits.memory_bytes).in_flight_bytes,
        connections_max: limits.connections,
        header_timeout: limits.header_time,
        body_idle_timeout: limits.body_pause,
        body_timeout: limits.body_time,
        idle_timeout: limits.idle_time,
        otlp: otlp_limits(config),
        ..collector_receiver::Config::default()
    }
}

fn otlp_limits(config: &Config) -> OtlpLimits {
    let Config { limits, .. } = config;
    let in_flight_bytes = Budget::of(limits.memory_bytes).in_flight_bytes;
    OtlpLimits {
        nesting_max: limits.nesting,
        attributes_max: limits.attributes,
        attribute_bytes_max: limits.attribute_bytes,
        decoded_bytes_max: in_flight_bytes,
        rows_bytes_max: in_flight_bytes,
    }
}

fn store_config(config: &Config) -> collector_store::Config {
    let Config { limits, storage, .. } = config;
    let budget = Budget::of(limits.memory_bytes);
    let mut store = collector_store::Config::new(&config.data_dir);
    store.durability = match config.sync {
        Sync::Always => Durability::Always,
        Sync::Interval(interval) => Durability::Interval(interval),
    };
    store.seal_after = storage.seal_after;
    // While one half is sealed, the other is collected.
    store.seal_bytes = budget.tables_bytes / 2;
    store.retention = retention(config.retention.all);
    store.evidence = retention(config.retention.evidence);
    // What waits for the log is in flight too, so this is no share of its own.
    store.queue_bytes_max = budget.in_flight_bytes;
    store.memory_bytes_max = budget.tables_bytes;
    store.committed_bytes_max = budget.committed_bytes;
    store.disk_free_bytes_min = limits.disk_free_bytes as u64;
    store.query.memory_bytes = budget.queries_bytes;
    store.query.timeout = limits.query_time;
    store
}

fn retention(kept: Kept) -> Retention {
    Retention { time: kept.time, bytes: kept.bytes.map(|bytes| bytes as u64) }
}

/// A share of what the analysis holds.
struct Held {
    parts: usize,
    bytes: usize,
}

impl Held {
    fn count_of(&self, analysis_bytes: usize) -> usize {
        analysis_bytes / ANALYSIS_PARTS * self.parts / self.bytes
    }
}

/// Returns what the configuration says of stitching, with the usual bounds.
pub(crate) fn stitcher_limits(stitching: &Stitching) -> StitcherLimits {
    StitcherLimits {
        join_keys: stitching.join_keys.clone(),
        discovers_keys: stitching.discovers_keys,
        corrects_skew: stitching.corrects_clock_skew,
        ..StitcherLimits::default()
    }
}

fn analyzer_limits(config: &Config, analysis_bytes: usize) -> AnalyzerLimits {
    let mut limits = AnalyzerLimits {
        stitcher: StitcherLimits {
            open_spans_max: OPEN_SPANS.count_of(analysis_bytes),
            closed_spans_max: CLOSED_SPANS.count_of(analysis_bytes),
            open_transactions_max: config.limits.open_transactions,
            joinable_spans_max: JOINABLE_SPANS.count_of(analysis_bytes),
            joinable_traces_max: JOINABLE_TRACES.count_of(analysis_bytes),
            join_values_max: JOIN_VALUES.count_of(analysis_bytes),
            ..stitcher_limits(&config.stitching)
        },
        sagas: config.stitching.sagas.clone(),
        ..AnalyzerLimits::default()
    };
    limits.detector.false_alarms_per_week = config.detection.false_alarms_per_week;
    limits
}

fn settings(config: &Config) -> Vec<Setting> {
    let setting = |one: &crate::config::Explained| Setting {
        key: one.key.clone(),
        value: one.value.clone(),
        origin: one.origin.to_string(),
    };
    config.explain().iter().map(setting).collect()
}

/// Returns the names by which the pages may be reached besides `localhost` and addresses.
fn allowed_hosts(config: &Config, public_url: &str) -> Vec<String> {
    let public: Option<Uri> = public_url.parse().ok();
    let public = public.as_ref().and_then(Uri::host).map(str::to_owned);
    config.web.allowed_hosts.iter().cloned().chain(public).collect()
}
