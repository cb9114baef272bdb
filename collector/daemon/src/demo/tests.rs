use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use super::*;

/// A receiver that is unavailable at first, and keeps span ids.
#[derive(Clone)]
struct Reluctant {
    refusals: Arc<Mutex<Vec<Status>>>,
    span_ids: mpsc::UnboundedSender<Vec<u8>>,
}

#[tonic::async_trait]
impl TraceService for Reluctant {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        for span in
            request.into_inner().resource_spans.into_iter().flat_map(|it| it.scope_spans).flat_map(|it| it.spans)
        {
            let _ = self.span_ids.send(span.span_id);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Reluctant {
    async fn export(
        &self,
        _: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

async fn receiver(refusals: Vec<Status>) -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (span_ids, received) = mpsc::unbounded_channel();
    let service = Reluctant { refusals: Arc::new(Mutex::new(refusals)), span_ids };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let traces = TraceServiceServer::new(service.clone()).accept_compressed(CompressionEncoding::Gzip);
    let logs = LogsServiceServer::new(service).accept_compressed(CompressionEncoding::Gzip);
    let server = tonic::transport::Server::builder().add_service(traces).add_service(logs);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, received)
}

fn short_plan() -> Plan {
    Plan { history: Duration::from_secs(6), transactions_per_second: 20.0, ..Plan::default() }
}

#[tokio::test]
async fn history_arrives_once_although_the_receiver_is_unavailable_at_first() {
    let refusals = vec![Status::unavailable("starting"), Status::resource_exhausted("full")];
    let (address, mut received) = receiver(refusals).await;
    let (stop, shutdown) = watch::channel(false);
    let running = tokio::spawn(run(format!("http://{address}"), short_plan(), shutdown));
    let mut span_ids = HashSet::new();
    while span_ids.len() < 300 {
        assert!(span_ids.insert(received.recv().await.unwrap()), "a span was sent twice");
    }
    stop.send(true).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_demo_with_the_reason() {
    let (address, _received) = receiver(vec![Status::unauthenticated("no token")]).await;
    let (_stop, shutdown) = watch::channel(false);
    let error = run(format!("http://{address}"), short_plan(), shutdown).await.unwrap_err();
    assert!(format!("{error:#}").contains("no token"), "{error:#}");
}

#[tokio::test]
async fn shutdown_ends_the_demo_while_nobody_listens() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (stop, shutdown) = watch::channel(false);
    let running = tokio::spawn(run(format!("http://{nobody}"), short_plan(), shutdown));
    stop.send(true).unwrap();
    running.await.unwrap().unwrap();
}

#[test]
fn the_story_names_what_turns_slow_and_when() {
    let story = Plan::default().story();
    assert!(story.contains("In 45 seconds version 2.9.0 of payment"), "{story}");
}
