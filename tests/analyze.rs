//! `throughline analyze` as a user runs it: recordings of a shop with a slow service inside, in every form that the
//! Collector's file exporter has, give the same incidents; and real recordings, where they are at hand, can be read.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use collector_otlp::{Encoding, Limits, PayloadKind, Signal, decode};
use collector_store::Store;
use collector_table::TableName;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::Value;
use throughline::demo::shop::{Shop, Slowdown};

const SECOND_NS: u64 = 1_000_000_000;
/// A round time, so that a failure is easy to read.
const START_NS: u64 = 1_800_000_000 * SECOND_NS;
const SLOW_AFTER_S: u64 = 11 * 60;
const LENGTH_S: u64 = 14 * 60;
/// Event time that one request of the recording carries.
const REQUEST_S: u64 = 5;
/// Files of a real recording that are replayed: an hour.
const REAL_FILES: usize = 12;

/// What the shop sent.
static REQUESTS: LazyLock<Vec<ExportTraceServiceRequest>> = LazyLock::new(|| {
    let from_ns = START_NS + SLOW_AFTER_S * SECOND_NS;
    let slowdown = Slowdown {
        service: "payment",
        operation: "POST /charges",
        factor: 8.0,
        version: "2.9.0",
        log: "waited {wait} ms",
        from_ns,
    };
    let shop = Shop::new(1, 6.0, Some(slowdown));
    let begins = (0..LENGTH_S).step_by(REQUEST_S as usize).map(|second| START_NS + second * SECOND_NS);
    let spans = begins.map(|from_ns| shop.telemetry_between(from_ns, from_ns + REQUEST_S * SECOND_NS).spans);
    spans.map(|resource_spans| ExportTraceServiceRequest { resource_spans }).collect()
});
/// It as frames of [4-byte big-endian length][request].
static FRAMES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut frames = Vec::new();
    for request in REQUESTS.iter() {
        frames.extend(u32::try_from(request.encoded_len()).unwrap().to_be_bytes());
        request.encode(&mut frames).unwrap();
    }
    frames
});
/// It as lines of OTLP/JSON.
static LINES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let lines = REQUESTS.iter().map(|request| serde_json::to_string(request).unwrap() + "\n");
    lines.collect::<String>().into_bytes()
});

#[test]
fn every_form_of_a_recording_gives_the_same_incident() {
    let folder = tempfile::tempdir().unwrap();
    let usual = incidents_of(folder.path(), "frames.otlp", &FRAMES);
    let found = objects(&usual);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["root_cause"][0]["service"], "payment", "{found:#?}");
    assert_eq!(found[0]["root_cause"][0]["operation"], "POST /charges", "{found:#?}");

    for (name, content) in [
        ("again.otlp", FRAMES.clone()),
        ("frames.otlp.gz", gzip(&FRAMES)),
        ("frames.otlp.zst", zstd::encode_all(&FRAMES[..], 1).unwrap()),
        ("lines.jsonl", LINES.clone()),
        ("lines.jsonl.gz", gzip(&LINES)),
        ("lines.jsonl.zst", zstd::encode_all(&LINES[..], 1).unwrap()),
    ] {
        assert_eq!(incidents_of(folder.path(), name, &content), usual, "{name} gives other incidents than frames");
    }
    let piped = analyze(&["--traces", "-", "--incidents", "-"], &FRAMES);
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), usual, "standard input gives other incidents than a file");
}

#[test]
fn stored_data_gives_the_incident_of_the_recording_it_came_from_and_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = objects(&incidents_of(folder.path(), "frames.otlp", &FRAMES));
    let data = folder.path().join("data");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Sealed twice, with segments that overlap in time and out of order, and the end is only in the log. It stays open,
    // as that of a running daemon is.
    let store = runtime.block_on(store_of(&data, 17));
    let before = content_of(&data);
    let args = ["--stored", "--data-dir", data.to_str().unwrap(), "--incidents", "-"];
    let ended = analyze(&args, &[]);
    expect_success(&ended);
    assert!(content_of(&data) == before, "analyze changed the data folder");
    let found = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(story(&objects(&found)), story(&recorded));
    let spans: usize = REQUESTS.iter().map(|request| spans_of(request).count()).sum();
    assert!(String::from_utf8(ended.stderr).unwrap().starts_with(&format!("{spans} spans, ")));
    runtime.block_on(store.close());

    // How the store has laid it out makes no difference, and all of it is sealed by now.
    let again = analyze(&args, &[]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), found);
    let other = folder.path().join("other");
    runtime.block_on(async { store_of(&other, 1).await.close().await });
    let args = ["--stored", "--data-dir", other.to_str().unwrap(), "--incidents", "-"];
    assert_eq!(String::from_utf8(analyze(&args, &[]).stdout).unwrap(), found);
}

#[test]
fn stored_data_is_replayed_between_two_times_with_another_budget() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { store_of(&data, 1).await.close().await });
    let counted = |more: &[&str]| {
        let args = ["--stored", "--data-dir", data.to_str().unwrap(), "--incidents", "-"];
        let ended = analyze(&[&args[..], more].concat(), &[]);
        expect_success(&ended);
        objects(&String::from_utf8(ended.stdout).unwrap()).len()
    };
    let at = |second: u64| analyzer::time::rfc3339(i64::try_from(START_NS + second * SECOND_NS).unwrap());
    assert_eq!(counted(&["--until", &at(SLOW_AFTER_S)]), 0, "nothing had happened by then");
    assert_eq!(counted(&["--from", &at(SLOW_AFTER_S)]), 0, "what is usual is not known");
    let by_budget = ["0.001", "1", "20"].map(|budget| counted(&["--false-alarms-per-week", budget]));
    assert!(by_budget.is_sorted() && by_budget[1] == 1, "{by_budget:?}");

    let complaint = |args: &[&str]| {
        let ended = analyze(args, &[]);
        assert!(!ended.status.success(), "{args:?}");
        String::from_utf8(ended.stderr).unwrap()
    };
    let dir = data.to_str().unwrap();
    let stored = ["--stored", "--incidents", "-", "--data-dir"];
    let after = complaint(&[&stored[..], &[dir, "--from", &at(LENGTH_S + 60)]].concat());
    assert!(after.contains("no span started between these times") && after.contains(&at(0)[..16]), "{after}");
    let nowhere = complaint(&[&stored[..], &["/nowhere"]].concat());
    assert!(nowhere.contains("/nowhere is no folder"), "{nowhere}");
    let both = complaint(&[&stored[..], &[dir, "--traces", "-"]].concat());
    assert!(both.contains("cannot be used with"), "{both}");
    let never = complaint(&[&stored[..], &[dir, "--from", "never"]].concat());
    assert!(never.contains("2026-11-21T12:00:00Z"), "{never}");
}

#[test]
fn transactions_account_for_every_span_and_every_nanosecond() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str| {
        let out = folder.path().join(name);
        let args = ["--traces", "-", "--incidents", "-", "--transactions", out.to_str().unwrap()];
        expect_success(&analyze(&args, &FRAMES));
        fs::read_to_string(out).unwrap()
    };
    let once = written("once.jsonl");
    assert!(once == written("twice.jsonl"), "the second run wrote other transactions");

    // A later line for the same id replaces the earlier.
    let transactions: BTreeMap<String, Value> =
        objects(&once).into_iter().map(|it| (it["transaction_id"].as_str().unwrap().to_owned(), it)).collect();
    let mut spans = Vec::new();
    for transaction in transactions.values() {
        let path = transaction["critical_path"].as_array().unwrap();
        let sum: i64 = path.iter().map(|segment| segment["self_ns"].as_i64().unwrap()).sum();
        assert_eq!(Some(sum), transaction["duration_ns"].as_i64(), "{transaction:#}");
        spans.extend(transaction["span_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    let sent = sent_span_ids();
    assert_eq!(spans.len(), sent.len(), "a span is in no transaction, or in two");
    assert_eq!(spans.into_iter().collect::<BTreeSet<_>>(), sent);
}

#[test]
fn truncated_recording_is_an_error_that_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.otlp");
    let whole = 4 + REQUESTS[0].encoded_len();
    fs::write(&path, &FRAMES[..whole + 10]).unwrap();
    let ended = analyze(&["--traces", path.to_str().unwrap(), "--incidents", "-"], &[]);
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(path.to_str().unwrap()), "{complaint}");
    assert!(complaint.contains(&format!("byte {whole}")), "{complaint}");
}

#[test]
fn real_recording_can_be_replayed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/trainticket/stream");
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("skipped: there is no recording of a real system at {}", folder.display());
        return;
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let files = files.iter().take(REAL_FILES).map(|path| path.to_str().unwrap());
    let args: Vec<&str> = ["--incidents", "-", "--traces"].into_iter().chain(files).collect();
    let ended = analyze(&args, &[]);
    expect_success(&ended);
    let report = String::from_utf8(ended.stderr).unwrap();
    let spans: u64 = report.split_once(" spans").unwrap().0.trim().parse().unwrap();
    assert!(spans > 0, "{report}");
    for incident in objects(&String::from_utf8(ended.stdout).unwrap()) {
        assert_ne!(incident["title"].as_str(), Some(""), "{incident:#}");
        assert!(!incident["root_cause"].as_array().unwrap().is_empty(), "{incident:#}");
    }
}

/// Writes a recording, replays it and returns the lines of its incidents.
fn incidents_of(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    let ended = analyze(&["--traces", path.to_str().unwrap(), "--incidents", "-"], &[]);
    expect_success(&ended);
    String::from_utf8(ended.stdout).unwrap()
}

/// Opens a store that holds the recording: sealed twice, the end of it only in the log. Requests go in out of order, by
/// so many.
async fn store_of(dir: &Path, stride: usize) -> Store {
    let (store, _) = Store::open(collector_store::Config::new(dir), |_, _| None).await.unwrap();
    let order: Vec<usize> = (0..stride).flat_map(|first| (first..REQUESTS.len()).step_by(stride)).collect();
    for (done, number) in order.into_iter().enumerate() {
        let payload = REQUESTS[number].encode_to_vec();
        let kind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Protobuf };
        let rows = decode(kind, &payload, &Limits::default()).unwrap().rows;
        store.append(kind.to_byte(), payload.into(), TableName::Spans, rows).await.unwrap();
        if done == REQUESTS.len() / 3 || done == REQUESTS.len() * 2 / 3 {
            store.seal().await;
        }
    }
    store
}

/// Returns every file below a folder, with its content.
fn content_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Returns what incidents say, without what depends on which seconds' spans had arrived when they were judged: a request
/// of the recording brings five seconds at once.
fn story(incidents: &[Value]) -> Vec<Value> {
    let mut incidents = incidents.to_vec();
    for incident in &mut incidents {
        incident.as_object_mut().unwrap().remove("detected_at");
        incident["evidence"].as_object_mut().unwrap().remove("statistic");
        incident["exemplars"].as_array_mut().unwrap().retain(|one| one["role"] == "affected");
    }
    incidents
}

/// Runs the real program with this on its standard input.
fn analyze(args: &[&str], input: &[u8]) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_throughline"))
        .arg("analyze")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It answers only after it has read everything, so its output cannot be in the way.
    process.stdin.take().unwrap().write_all(input).unwrap();
    process.wait_with_output().unwrap()
}

fn expect_success(ended: &Output) {
    assert!(ended.status.success(), "{}: {}", ended.status, String::from_utf8_lossy(&ended.stderr));
}

fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn sent_span_ids() -> BTreeSet<String> {
    REQUESTS
        .iter()
        .flat_map(spans_of)
        .map(|span| span.span_id.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect()
}

fn spans_of(request: &ExportTraceServiceRequest) -> impl Iterator<Item = &Span> {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| &scope.spans)
}
