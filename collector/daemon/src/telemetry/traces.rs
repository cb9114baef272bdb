//! The daemon's own traces, sent as `OTEL_…` variables say: receiving, decoding, committing, sealing, merging, querying.
//! Off unless asked for. Must never trace the receiving of what it sends itself, or sending would never end: exports
//! carry a header, by which the receiver knows them.

use std::collections::HashMap;
use std::error::Error;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;

/// Targets of the spans that become traces.
pub(super) const TARGETS: [&str; 2] = [collector_receiver::TRACES, collector_store::TRACES];
/// Name of the service, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` says another.
const SERVICE: &str = "throughline";

/// Sends spans in the background; those that wait are sent when it is dropped.
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to send if the variables ask for it; the SDK reads the others (headers, sampler, batches) by itself.
    ///
    /// # Errors
    /// When they ask for an exporter or a protocol that is not offered.
    pub(super) fn from_env(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Box<dyn Error + Send + Sync>> {
        if !is_wanted(&variable)? {
            return Ok(None);
        }
        crate::notify::install_tls();
        let own = HashMap::from([(collector_receiver::OWN_TRACES_HEADER.to_owned(), "1".to_owned())]);
        let exporter =
            SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_headers(own).build()?;
        let resource = Resource::builder().with_attributes(default_name(&variable)).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Some(Self(provider)))
    }

    /// Returns what turns spans of [`TARGETS`] into traces.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    {
        let targets = Targets::new().with_targets(TARGETS.map(|target| (target, LevelFilter::INFO)));
        tracing_opentelemetry::layer().with_tracer(self.0.tracer(SERVICE)).with_filter(targets)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last of the daemon's own traces were not sent");
        }
    }
}

/// Returns whether traces are wanted: an exporter is named, or only its address.
fn is_wanted(variable: impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    let has_address =
        ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"].iter().any(|name| set(name).is_some());
    let is_wanted = match set("OTEL_TRACES_EXPORTER").as_deref() {
        None => has_address,
        Some("otlp") => true,
        Some("none") => false,
        Some(other) => return Err(format!("OTEL_TRACES_EXPORTER: {other:?} is not offered; use otlp or none")),
    };
    let protocol = set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
    match protocol {
        Some(other) if is_wanted && other != "http/protobuf" => {
            Err(format!("OTEL_EXPORTER_OTLP_PROTOCOL: {other:?} is not offered; use http/protobuf and its port, 4318"))
        }
        _ => Ok(is_wanted),
    }
}

/// Returns our name unless the variables, which the SDK reads, say another.
fn default_name(variable: impl Fn(&str) -> Option<String>) -> Vec<opentelemetry::KeyValue> {
    let is_named = variable("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty())
        || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
    if is_named { Vec::new() } else { vec![opentelemetry::KeyValue::new("service.name", SERVICE)] }
}

#[cfg(test)]
mod tests {
    use super::is_wanted;

    fn asked(variables: &[(&str, &str)]) -> Result<bool, String> {
        is_wanted(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn traces_are_sent_only_when_the_environment_asks_for_them() {
        assert_eq!(asked(&[]), Ok(false));
        assert_eq!(asked(&[("OTEL_TRACES_EXPORTER", "")]), Ok(false));
        assert_eq!(asked(&[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(true));
        let address = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        assert_eq!(asked(&[address]), Ok(true));
        assert_eq!(asked(&[address, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
        assert_eq!(asked(&[address, ("OTEL_SDK_DISABLED", "true")]), Ok(false));
        assert!(asked(&[address, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err().contains("use http/protobuf"));
        assert!(asked(&[("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err().contains("use otlp or none"));
    }
}
