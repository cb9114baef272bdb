//! Tests through the public interface. A request is text, one span a line: `trace span start_ns order`, all numbers but
//! the order; so what was kept can be read back as text. `fault` stops, fails or watches any effect on the disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use bytes::Bytes;
use collector_table::{
    SpanFields, SpanId, SpanKind, SpanTableBuilder, StatusCode, TableName, TraceId, TransactionFields,
    TransactionTableBuilder, ValueType,
};
use tempfile::TempDir;

use crate::disk::OsDisk;
use crate::{AppendError, Appended, Config, Recovery, Store, StoreError};

mod crash;
mod derived;
mod fault;
mod handoff;
mod keep;
mod limits;
mod power;
mod query;
mod retain;
mod segments;

use fault::{Effect, open_on, open_with};

/// Kind of the requests made here.
const SPANS: u8 = 1;

fn trace(n: u64) -> TraceId {
    let mut id = [0xAB; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    TraceId(id)
}

/// Decodes a request; nothing if it is not in the form above.
fn decode(kind: u8, payload: &[u8]) -> Option<(TableName, RecordBatch)> {
    let mut spans = SpanTableBuilder::default();
    for line in std::str::from_utf8(payload).ok().filter(|_| kind == SPANS)?.lines() {
        let mut words = line.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (trace_no, span_no, start_ns) = (number()?, number()?, i64::try_from(number()?).ok()?);
        if let Some(order) = words.next() {
            spans.push_attribute("order.id", order, ValueType::String);
        }
        spans.append(&SpanFields {
            trace_id: trace(trace_no),
            span_id: SpanId(span_no.to_be_bytes()),
            parent_span_id: None,
            trace_state: None,
            flags: 1,
            service_name: "shop",
            service_instance: None,
            service_version: None,
            name: "checkout",
            kind: SpanKind::Server,
            start_ns,
            end_ns: start_ns + 5,
            status_code: StatusCode::Ok,
            status_message: None,
            scope_name: None,
            scope_version: None,
            dropped: [0; 3],
        });
    }
    Some((TableName::Spans, spans.finish().batch().clone()))
}

fn config(dir: &Path) -> Config {
    Config { disk_free_bytes_min: 0, ..Config::new(dir) }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn open(dir: &Path) -> (Store, Recovery) {
    Store::open(config(dir), decode).await.unwrap()
}

async fn append(store: &Store, request: &str) -> Result<Appended, AppendError> {
    let (table, rows) = decode(SPANS, request.as_bytes()).unwrap();
    store.append(SPANS, Bytes::copy_from_slice(request.as_bytes()), table, rows).await
}

/// Runs a query and returns the first column, as text.
async fn column(store: &Store, sql: &str) -> Vec<String> {
    let result = store.query(sql).await.unwrap();
    let mut values = Vec::new();
    for batch in &result.batches {
        let text = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
        let text = text.as_any().downcast_ref::<StringArray>().unwrap();
        values.extend((0..text.len()).map(|row| text.value(row).to_owned()));
    }
    values
}

async fn count(store: &Store, sql: &str) -> i64 {
    let result = store.query(sql).await.unwrap();
    result.batches[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0)
}

/// Returns the start times of all spans, which the tests use as numbers of what they sent.
async fn starts(store: &Store) -> Vec<i64> {
    let times = column(store, "SELECT CAST(start_time AS BIGINT) AS s FROM spans ORDER BY s").await;
    times.iter().map(|time| time.parse().unwrap()).collect()
}

/// Returns the starts that a copy of the folder has after a restart.
async fn starts_after_restart(dir: &Path) -> (Vec<i64>, Recovery) {
    let copied = copy(dir);
    let (store, recovery) = open(copied.path()).await;
    (starts(&store).await, recovery)
}

fn table(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).unwrap().to_string()
}

/// Copies the folder as a crash at this moment would leave it.
fn copy(dir: &Path) -> TempDir {
    let target = folder();
    copy_into(dir, target.path());
    target
}

fn copy_into(dir: &Path, target: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let to = target.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy_into(&path, &to);
        } else {
            std::fs::copy(&path, to).unwrap();
        }
    }
}

fn log_files(dir: &Path) -> Vec<PathBuf> {
    crate::log::list(&OsDisk, &dir.join("wal")).unwrap().into_iter().map(|(_, path)| path).collect()
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wal")
}
