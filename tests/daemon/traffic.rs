//! Telemetry of the simulated shop, sent to a daemon over OTLP/gRPC as an exporter would. Used by tests that need an
//! incident. Must never wait for what the daemon makes of it: each test knows what it waits for.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use throughline::demo::shop::{Shop, Slowdown};

use super::Daemon;

pub(crate) const SECOND_NS: u64 = 1_000_000_000;
pub(crate) const MINUTE_NS: u64 = 60 * SECOND_NS;
/// Event time that one request carries.
const BATCH_NS: u64 = 5 * SECOND_NS;

/// Returns a shop whose payment service is slow from then on.
pub(crate) fn slow_shop(from_ns: u64) -> Shop {
    let slowdown = Slowdown {
        service: "payment",
        operation: "POST /charges",
        factor: 8.0,
        version: "2.9.0",
        log: "waited {wait} ms",
        from_ns,
    };
    Shop::new(1, 6.0, Some(slowdown))
}

/// Sends the spans that a shop ends in `from_ns..to_ns`.
pub(crate) fn send(daemon: &Daemon, shop: &Shop, from_ns: u64, to_ns: u64) {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", daemon.grpc)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut traces = TraceServiceClient::new(endpoint.connect().await.unwrap());
        let mut at_ns = from_ns;
        while at_ns < to_ns {
            let until_ns = to_ns.min(at_ns + BATCH_NS);
            let resource_spans = shop.telemetry_between(at_ns, until_ns).spans;
            traces.export(ExportTraceServiceRequest { resource_spans }).await.unwrap();
            at_ns = until_ns;
        }
    });
}

pub(crate) fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}
