//! What each reason for a refusal means and what its sender can do. Words are those of the receiver and of decoding.

/// Returns meaning and remedy of a cause.
pub(super) fn of(cause: &str) -> (&'static str, &'static str) {
    match cause {
        "busy" => (
            "The queue before the write-ahead log was full.",
            "Exporters send again by themselves. If it lasts, the disk is too slow for this load, or the queue too small.",
        ),
        "in_flight" => (
            "Open requests held all the memory that they may hold.",
            "Exporters send again by themselves. If it lasts, send smaller batches or raise limits.memory.",
        ),
        "memory" => (
            "The daemon held all the memory that it may hold.",
            "Exporters send again by themselves. If it lasts, raise limits.memory, or send less.",
        ),
        "no_space" => ("The disk is full.", "Make room, or lower retention.bytes. Receiving resumes by itself."),
        "stopping" => ("The daemon was stopping.", "Nothing to do: exporters send again by themselves."),
        "too_large" => (
            "A body was larger than allowed.",
            "Lower OTEL_BSP_MAX_EXPORT_BATCH_SIZE in the sender, or raise limits.request_bytes.",
        ),
        "bad_compression" => (
            "A body was not compressed as its header said.",
            "Look for a proxy that decompresses bodies but keeps the content-encoding header.",
        ),
        "malformed" => (
            "A body was not what its content type says.",
            "Often the protocol and the port do not match: gRPC goes to 4317, HTTP to 4318; or JSON is sent as protobuf.",
        ),
        "nested" => ("Attribute values nested too deeply.", "Flatten the values, or send them as JSON text."),
        "content_type" => (
            "The content type is not one of OTLP.",
            "Use OTLP: application/x-protobuf or application/json on HTTP. Zipkin and Jaeger formats need a Collector between.",
        ),
        "content_encoding" => {
            ("The compression is not offered.", "Use gzip, zstd or none: OTEL_EXPORTER_OTLP_COMPRESSION=gzip.")
        }
        "path" => (
            "There is no such path or method.",
            "HTTP exporters append /v1/traces to OTEL_EXPORTER_OTLP_ENDPOINT; give it without a path. \
             OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as it is: include /v1/traces there.",
        ),
        "method" => {
            ("OTLP is sent by POST.", "Something else probes this port; use /healthz on the web port for probes.")
        }
        "timeout" => ("A body came too slowly.", "Look at the network between the sender and the daemon."),
        "cut_attributes" => (
            "Attributes were too many or too long; the rest of the items was kept.",
            "Send shorter ones, or raise limits.attributes and limits.attribute_bytes.",
        ),
        "disconnected" => (
            "The sender closed the connection within a body.",
            "Often the exporter's own timeout: raise OTEL_EXPORTER_OTLP_TIMEOUT, or send smaller batches.",
        ),
        "internal" => ("A fault of the daemon.", "The daemon's log says more; please report it."),
        "invalid_trace_id" => (
            "Trace ids were not 16 bytes, or all zero.",
            "Check hand-written exporters: in OTLP/JSON ids are hex, not base64.",
        ),
        "invalid_span_id" | "invalid_parent_span_id" => (
            "Span ids were not 8 bytes, or all zero.",
            "Check hand-written exporters: in OTLP/JSON ids are hex, not base64.",
        ),
        "time_out_of_range" => ("Times lay beyond the year 2262.", "Send unix nanoseconds; check the unit."),
        "batch_full" => {
            ("One request held more than one request may.", "Lower OTEL_BSP_MAX_EXPORT_BATCH_SIZE in the sender.")
        }
        "unknown_metric_kind" => ("Metrics came without data points of a known kind.", "Update the sender's SDK."),
        _ => ("", "The daemon's log says more."),
    }
}
