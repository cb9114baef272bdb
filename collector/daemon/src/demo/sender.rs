//! Sends telemetry over OTLP/gRPC as an exporter does: compressed, and again while the receiver asks for that.
//! Used by `demo::run`. Must never drop a batch silently: it is taken, refused for good, or given up at shutdown.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::warn;

use super::shop::Telemetry;

const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Waits between attempts double up to this.
const RETRY_MAX: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a receiver.
pub(super) struct Sender {
    traces: TraceServiceClient<Channel>,
    logs: LogsServiceClient<Channel>,
    shutdown: watch::Receiver<bool>,
    spans_count: u64,
    logs_count: u64,
}

/// Why a batch was not taken.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The program ends.
    ByShutdown,
    /// The receiver will not take it however often it is sent.
    Refused(anyhow::Error),
}

impl Sender {
    /// Prepares to send to a URL; connects at the first batch.
    pub(super) fn new(endpoint: &str, shutdown: watch::Receiver<bool>) -> anyhow::Result<Self> {
        let endpoint =
            Endpoint::from_shared(endpoint.to_owned()).with_context(|| format!("reading endpoint {endpoint}"))?;
        let channel = endpoint.timeout(REQUEST_TIMEOUT).connect_lazy();
        let traces = TraceServiceClient::new(channel.clone()).send_compressed(CompressionEncoding::Gzip);
        let logs = LogsServiceClient::new(channel).send_compressed(CompressionEncoding::Gzip);
        Ok(Self { traces, logs, shutdown, spans_count: 0, logs_count: 0 })
    }

    /// Returns how many spans were taken so far.
    pub(super) fn spans_count(&self) -> u64 {
        self.spans_count
    }

    /// Returns how many log records were taken so far.
    pub(super) fn logs_count(&self) -> u64 {
        self.logs_count
    }

    /// Sends spans and log records; returns when both were taken.
    pub(super) async fn send(&mut self, telemetry: Telemetry) -> Result<(), Stopped> {
        let Telemetry { spans: resource_spans, logs: resource_logs } = telemetry;
        let spans = resource_spans.iter().flat_map(|it| &it.scope_spans).map(|it| it.spans.len() as u64).sum::<u64>();
        let logs =
            resource_logs.iter().flat_map(|it| &it.scope_logs).map(|it| it.log_records.len() as u64).sum::<u64>();
        if spans > 0 {
            let request = ExportTraceServiceRequest { resource_spans };
            let client = &self.traces;
            until_taken(&mut self.shutdown, || {
                let (mut client, request) = (client.clone(), request.clone());
                async move {
                    let rejection = client.export(request).await?.into_inner().partial_success;
                    Ok(rejection.map(|it| (it.rejected_spans, it.error_message)))
                }
            })
            .await?;
            self.spans_count += spans;
        }
        if logs > 0 {
            let request = ExportLogsServiceRequest { resource_logs };
            let client = &self.logs;
            until_taken(&mut self.shutdown, || {
                let (mut client, request) = (client.clone(), request.clone());
                async move {
                    let rejection = client.export(request).await?.into_inner().partial_success;
                    Ok(rejection.map(|it| (it.rejected_log_records, it.error_message)))
                }
            })
            .await?;
            self.logs_count += logs;
        }
        Ok(())
    }
}

/// Attempts an export until it is taken, is refused for good, or the program ends.
async fn until_taken<Answer>(shutdown: &mut watch::Receiver<bool>, export: impl Fn() -> Answer) -> Result<(), Stopped>
where
    Answer: Future<Output = Result<Option<(i64, String)>, Status>>,
{
    let mut wait = RETRY_FIRST;
    loop {
        let answer = tokio::select! {
            answer = export() => answer,
            _ = shutdown.wait_for(|stop| *stop) => return Err(Stopped::ByShutdown),
        };
        match answer {
            Ok(None) => return Ok(()),
            Ok(Some((rejected, message))) => {
                warn!(rejected, message, "demo: the receiver took only a part");
                return Ok(());
            }
            Err(status) if is_worth_another_try(status.code()) => {
                warn!(code = ?status.code(), message = status.message(), wait = ?wait, "demo: sending again");
            }
            Err(status) => return Err(Stopped::Refused(anyhow::Error::new(status).context("sending telemetry"))),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = shutdown.wait_for(|stop| *stop) => return Err(Stopped::ByShutdown),
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Returns whether OTLP calls the code retryable (specification, "OTLP/gRPC Response", "Failures").
fn is_worth_another_try(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled
    )
}
