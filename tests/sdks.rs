//! Unmodified OpenTelemetry SDKs of Python, Node and Rust, pointed at the real daemon by the endpoint alone: what they
//! send is there once, with its attributes. Must never need anything but the registries' packages, which it installs.

#![allow(clippy::unwrap_used)]

mod daemon;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use daemon::{Daemon, kept_folder, skip};

/// Orders a run places: each is two spans and a log record.
const ORDERS: u64 = 50;

#[test]
fn python_sdk_over_grpc() {
    python("grpc");
}

#[test]
fn python_sdk_over_http_protobuf() {
    python("http/protobuf");
}

#[test]
fn node_sdk_over_grpc() {
    node("grpc");
}

#[test]
fn node_sdk_over_http_protobuf() {
    node("http/protobuf");
}

#[test]
fn node_sdk_over_http_json() {
    node("http/json");
}

#[test]
fn rust_exporter_over_grpc() {
    use opentelemetry_otlp::WithExportConfig as _;
    let daemon = Daemon::start();
    // The exporter's channel lives on this runtime; the test itself stays outside, where it may block.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let entered = runtime.enter();
    let builder = opentelemetry_otlp::SpanExporter::builder().with_tonic();
    let exporter = builder.with_endpoint(format!("http://{}", daemon.grpc)).build().unwrap();
    place_orders_from_rust(exporter, "rust-grpc");
    drop(entered);
    expect_spans(&daemon, "rust-grpc", "rust-grpc");
}

#[test]
fn rust_exporter_over_http_protobuf() {
    use opentelemetry_otlp::WithExportConfig as _;
    let daemon = Daemon::start();
    // The exporter's HTTP client wants to know how it would do TLS, even if it will not.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = opentelemetry_otlp::SpanExporter::builder().with_http();
    let exporter = builder.with_endpoint(format!("http://{}/v1/traces", daemon.http)).build().unwrap();
    place_orders_from_rust(exporter, "rust-http");
    expect_spans(&daemon, "rust-http", "rust-http");
}

fn place_orders_from_rust(exporter: opentelemetry_otlp::SpanExporter, run: &'static str) {
    use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
    use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
    let resource = opentelemetry_sdk::Resource::builder().with_service_name(run).build();
    let builder = opentelemetry_sdk::trace::SdkTracerProvider::builder().with_resource(resource);
    let provider = builder.with_batch_exporter(exporter).build();
    let tracer = provider.tracer("orders");
    for number in 0..ORDERS.cast_signed() {
        let mut server = tracer.span_builder("POST /orders").with_kind(SpanKind::Server).start(&tracer);
        let tags: Vec<StringValue> = vec!["für".into(), "dich".into()];
        server.set_attributes([
            KeyValue::new("order.id", format!("{run}-{number}")),
            KeyValue::new("order.lines", number),
            KeyValue::new("order.total", number as f64 + 0.5),
            KeyValue::new("order.is_gift", number % 2 == 0),
            KeyValue::new("order.tags", Value::Array(Array::String(tags))),
        ]);
        let context = Context::new().with_span(server);
        let mut client = tracer.span_builder("POST").with_kind(SpanKind::Client).start_with_context(&tracer, &context);
        client.set_attribute(KeyValue::new("server.address", "bank.example"));
        client.add_event("retry", vec![KeyValue::new("attempt", 2)]);
        if number == 0 {
            client.set_status(Status::error("declined"));
        }
        client.end();
        context.span().end();
    }
    provider.shutdown().unwrap();
}

fn python(protocol: &str) {
    let python = match python_with_sdk() {
        Ok(python) => python,
        Err(reason) => return skip("the Python SDK", &reason),
    };
    place_orders("python", protocol, Command::new(python).arg(tree("tests/python/app.py")));
}

fn node(protocol: &str) {
    let folder = match node_with_sdk() {
        Ok(folder) => folder,
        Err(reason) => return skip("the Node SDK", &reason),
    };
    place_orders("node", protocol, Command::new("node").env("SDK_FOLDER", folder).arg(tree("tests/node/app.js")));
}

/// Runs an application against a daemon of its own, and expects all that it sent.
fn place_orders(language: &str, protocol: &str, application: &mut Command) {
    let daemon = Daemon::start();
    let endpoint = if protocol == "grpc" { daemon.grpc } else { daemon.http };
    let run = format!("{language}-{}", protocol.replace('/', "-"));
    let output = application
        .args([&run, &ORDERS.to_string()])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{endpoint}"))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_METRICS_EXPORTER", "otlp")
        .env("OTEL_SERVICE_NAME", "orders")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{run}: {said}\n{}", daemon.log());
    expect_spans(&daemon, "orders", &run);
    expect_logs(&daemon, &run);
    let metric = "SELECT count(*) FROM metrics WHERE name = 'orders.placed' AND value = 50";
    assert!(daemon.wait_for_count(metric, 1) >= 1);
}

fn expect_spans(daemon: &Daemon, service: &str, run: &str) {
    let all = format!("SELECT count(*) FROM spans WHERE service_name = '{service}'");
    assert_eq!(daemon.wait_for_count(&all, 2 * ORDERS), 2 * ORDERS);
    let orders = "SELECT count(DISTINCT attributes['order.id']) FROM spans \
        WHERE kind = 'server' AND name = 'POST /orders' AND parent_span_id IS NULL AND duration_ns >= 0 \
        AND attributes['order.tags'] LIKE '%für%'";
    assert_eq!(daemon.count(orders), ORDERS);
    let typed = daemon.sql(&format!(
        "SELECT attributes['order.lines'] AS lines, attributes['order.total'] AS total, \
         attributes['order.is_gift'] AS gift FROM spans WHERE attributes['order.id'] = '{run}-7'"
    ));
    assert_eq!(typed.len(), 1);
    let typed = typed[0].to_string();
    assert!(typed.contains("\"7\"") && typed.contains("\"7.5\"") && typed.contains("\"false\""), "{typed}");
    let children = "SELECT count(*) FROM spans child JOIN spans parent ON child.parent_span_id = parent.span_id \
        AND child.trace_id = parent.trace_id WHERE child.kind = 'client' AND parent.kind = 'server' \
        AND child.attributes['server.address'] = 'bank.example'";
    assert_eq!(daemon.count(children), ORDERS);
    let failed = "SELECT count(*) FROM spans WHERE status_code = 'error' AND status_message = 'declined'";
    assert_eq!(daemon.count(failed), 1);
}

fn expect_logs(daemon: &Daemon, run: &str) {
    assert_eq!(daemon.wait_for_count("SELECT count(*) FROM logs", ORDERS), ORDERS);
    let correlated = format!(
        "SELECT count(*) FROM logs JOIN spans ON logs.span_id = spans.span_id AND logs.trace_id = spans.trace_id \
         WHERE logs.body = 'order ' || spans.attributes['order.id'] || ' placed' \
         AND logs.attributes['order.id'] LIKE '{run}-%' AND logs.severity_number = 13"
    );
    assert_eq!(daemon.count(&correlated), ORDERS);
}

/// Returns a Python that has the SDK, in an environment of its own.
fn python_with_sdk() -> Result<PathBuf, String> {
    let requirements = std::fs::read_to_string(tree("tests/python/requirements.txt")).unwrap();
    let folder = kept_folder("python-sdk");
    let python = folder.join("bin/python");
    install_once(&folder, &requirements, || {
        run("python3", [OsStr::new("-m"), OsStr::new("venv"), folder.as_os_str()])?;
        let list = tree("tests/python/requirements.txt");
        run(&python, ["-m", "pip", "install", "--quiet", "-r"].map(OsStr::new).into_iter().chain([list.as_os_str()]))
    })?;
    Ok(python)
}

/// Returns a folder with the Node SDK in its `node_modules`.
fn node_with_sdk() -> Result<PathBuf, String> {
    let manifest = std::fs::read_to_string(tree("tests/node/package.json")).unwrap();
    let folder = kept_folder("node-sdk");
    install_once(&folder, &manifest, || {
        std::fs::write(folder.join("package.json"), &manifest).map_err(|error| error.to_string())?;
        let prefix = [OsStr::new("--prefix"), folder.as_os_str()];
        run("npm", ["install", "--no-audit", "--no-fund", "--silent"].map(OsStr::new).into_iter().chain(prefix))
    })?;
    Ok(folder)
}

/// Installs unless that was done before with the same list. Tests run at once, so one installs and the others wait.
fn install_once(folder: &Path, list: &str, install: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let lock = std::fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let done = folder.join("installed");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == list) {
        return Ok(());
    }
    install()?;
    std::fs::write(done, list).map_err(|error| error.to_string())
}

fn run<'a>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<(), String> {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
