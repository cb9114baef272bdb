use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use analyzer::incident::IncidentEvent;
use collector_otlp::{Encoding, Limits, PayloadKind, Signal, decode};
use collector_store::Store;
use collector_table::TableName;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use super::*;
use crate::demo::shop::{Shop, Slowdown};
use crate::state::Happening;

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1_800_000_000 * SECOND_NS;
const SLOW_AFTER_S: u64 = 11 * 60;
const LENGTH_S: u64 = 13 * 60;

fn at(second: u64) -> i64 {
    i64::try_from(START_NS + second * SECOND_NS).unwrap()
}

fn question(false_alarms_per_week: f64, seconds: std::ops::Range<u64>) -> BacktestQuestion {
    BacktestQuestion { false_alarms_per_week, from_ns: at(seconds.start), until_ns: at(seconds.end) }
}

/// A store that holds a shop whose payment becomes slow, and a desk that reads it.
struct Bench {
    folder: tempfile::TempDir,
    store: Store,
    state: State,
    memory: Memory,
    stop: watch::Sender<bool>,
    desk: Backtests,
}

impl Bench {
    async fn new(length_s: u64, bounds: Bounds) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = collector_store::Config::new(folder.path().join("data"));
        let (store, _) = Store::open(config, |_, _| None).await.unwrap();
        for request in requests(length_s) {
            let payload = request.encode_to_vec();
            let kind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Protobuf };
            let rows = decode(kind, &payload, &Limits::default()).unwrap().rows;
            store.append(kind.to_byte(), payload.into(), TableName::Spans, rows).await.unwrap();
        }
        store.seal().await;
        let state = State::open(&folder.path().join("state")).unwrap();
        let (memory, stop) = (Memory::new(1_000), watch::Sender::new(false));
        let means = Means {
            reader: store.reader().clone(),
            state: state.clone(),
            limits: AnalyzerLimits::default(),
            memory: memory.clone(),
            stopped: stop.subscribe(),
            bounds,
        };
        let desk = Backtests::new(means, Handle::current());
        Self { folder, store, state, memory, stop, desk }
    }

    /// Returns the answer, when it is there.
    async fn answer(&self, question: BacktestQuestion) -> BacktestAnswer {
        self.desk.ask(question);
        self.desk.clone().ended().await;
        self.desk.ask(question)
    }

    async fn result(&self, question: BacktestQuestion) -> Arc<BacktestResult> {
        match self.answer(question).await {
            BacktestAnswer::Done(result) => result,
            other => panic!("{other:?}"),
        }
    }

    async fn failure(&self, question: BacktestQuestion) -> String {
        match self.answer(question).await {
            BacktestAnswer::Failed(why) => why,
            other => panic!("{other:?}"),
        }
    }
}

fn requests(length_s: u64) -> Vec<ExportTraceServiceRequest> {
    let from_ns = START_NS + SLOW_AFTER_S * SECOND_NS;
    let (service, operation, log) = ("payment", "POST /charges", "waited {wait} ms");
    let slowdown = Slowdown { service, operation, factor: 8.0, version: "2.9.0", log, from_ns };
    let shop = Shop::new(1, 4.0, Some(slowdown));
    let request = |second: u64| {
        let from_ns = START_NS + second * SECOND_NS;
        ExportTraceServiceRequest { resource_spans: shop.telemetry_between(from_ns, from_ns + 5 * SECOND_NS).spans }
    };
    (0..length_s).step_by(5).map(request).collect()
}

fn content_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content_of(&path));
        } else {
            found.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_replayed_from_before_it_one_question_at_a_time_and_nothing_is_written() {
    let bench = Bench::new(LENGTH_S, Bounds::USUAL).await;
    let before = content_of(&bench.folder.path().join("data"));
    // What is usual is learned from the time before the window, or nothing would be found in so short a one.
    let asked = question(1.0, SLOW_AFTER_S..LENGTH_S);
    assert!(matches!(bench.desk.ask(asked), BacktestAnswer::Running(BacktestProgress { minutes_total: 47, .. })));
    assert!(matches!(bench.desk.ask(asked), BacktestAnswer::Running(_)));
    let other = question(20.0, SLOW_AFTER_S..LENGTH_S);
    assert!(matches!(bench.desk.ask(other), BacktestAnswer::Busy(running, _) if running == asked));
    let found = bench.result(asked).await;
    assert_eq!(found.would_open.len(), 1, "{found:#?}");
    assert_eq!(found.would_open[0].root_cause[0].service, "payment");
    assert_eq!((found.cut_short.as_deref(), found.opened.len()), (None, 0));
    let first_ns = found.first_span_ns.unwrap();
    assert!(first_ns >= at(0) && first_ns < at(10), "{first_ns}");

    // What opened is looked up in the state.
    let incident = found.would_open[0].clone();
    let event_time_ns = at(LENGTH_S);
    let happening = Happening { incident: incident.clone(), event: IncidentEvent::Opened, event_time_ns };
    bench.state.record(&happening, "{}".to_owned(), 0).await.unwrap();
    let again = bench.result(other).await;
    assert_eq!(again.opened.iter().map(|one| &one.id).collect::<Vec<_>>(), [&incident.id]);
    assert!(again.would_open.len() >= found.would_open.len(), "a higher budget tells no less here");
    let before_it = bench.result(question(20.0, 0..SLOW_AFTER_S)).await;
    assert_eq!((before_it.would_open.len(), before_it.opened.len()), (0, 0), "it opened later");
    assert!(content_of(&bench.folder.path().join("data")) == before, "the data folder was written to");
    bench.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_stops_at_its_bounds_and_says_so() {
    let bounds = Bounds { spans_max: 500, ..Bounds::USUAL };
    let bench = Bench::new(LENGTH_S, bounds).await;
    let found = bench.result(question(1.0, 0..LENGTH_S)).await;
    assert_eq!(found.cut_short.as_deref(), Some("at most 500 spans are replayed"));
    assert!(found.replayed_until_ns < at(LENGTH_S) && found.spans >= 500, "{found:#?}");
    let bounds = Bounds { takes_max: Duration::ZERO, ..Bounds::USUAL };
    let found = Bench::new(10, bounds).await.result(question(1.0, 0..10)).await;
    assert_eq!((found.cut_short.as_deref(), found.spans), (Some("a replay may take 0 s"), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_gives_way_when_memory_is_short_or_the_daemon_stops() {
    let bench = Bench::new(10, Bounds::USUAL).await;
    bench.memory.note(901);
    let why = bench.failure(question(1.0, 0..10)).await;
    assert!(why.contains("limits.memory"), "{why}");
    bench.memory.note(900);
    assert!(bench.failure(question(1.0, 0..10)).await.contains("limits.memory"), "it is kept for a while");
    assert!(matches!(bench.answer(question(2.0, 0..10)).await, BacktestAnswer::Done(_)));
    bench.stop.send_replace(true);
    assert_eq!(bench.failure(question(3.0, 0..10)).await, "the daemon is stopping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_that_were_asked_for_last_are_kept() {
    let bench = Bench::new(5, Bounds::USUAL).await;
    let ask = |budget: u32| question(f64::from(budget), 0..5);
    let first = bench.result(ask(1)).await;
    for budget in 2..=8 {
        bench.result(ask(budget)).await;
    }
    assert!(matches!(bench.desk.ask(ask(1)), BacktestAnswer::Done(result) if Arc::ptr_eq(&result, &first)));
    bench.result(ask(9)).await;
    assert_eq!(bench.desk.0.desk().kept.len(), KEPT_MAX);
    assert!(matches!(bench.desk.ask(ask(1)), BacktestAnswer::Done(result) if Arc::ptr_eq(&result, &first)));
    assert!(matches!(bench.desk.ask(ask(2)), BacktestAnswer::Running(_)), "it was asked for least recently");
    bench.desk.clone().ended().await;
}
