//! The OTLP messages as tables of fields (opentelemetry/proto/*/v1): number, JSON name, type.
//! `scan` walks protobuf by them, `json` writes protobuf by them. A field that is not listed is unknown and ignored.

use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::resource::v1 as resource;
use opentelemetry_proto::tonic::trace::v1 as trace;

use crate::Signal;

/// A message type.
pub(crate) struct Message {
    pub(crate) fields: &'static [Field],
    /// Bytes that prost's struct takes, without what its vectors and strings own.
    pub(crate) struct_bytes: usize,
}

/// A field of a message.
pub(crate) struct Field {
    pub(crate) number: u32,
    /// lowerCamelCase name, the only one OTLP/JSON allows.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) is_repeated: bool,
}

/// Type of a field, named by its way onto the wire.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Bool,
    Uint32,
    Uint64,
    Int64,
    Sint32,
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    Text,
    /// Base64 in JSON.
    Bytes,
    /// Hex in JSON: trace and span ids.
    Id,
    /// Number in JSON; the names, which OTLP forbids but plain protobuf-to-JSON printers write, are read too.
    Enum(fn(&str) -> Option<i32>),
    Message(&'static Message),
}

impl Message {
    pub(crate) fn field(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }

    pub(crate) fn field_named(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// Returns the type of a signal's request.
pub(crate) fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACE_REQUEST,
        Signal::Logs => &LOGS_REQUEST,
        Signal::Metrics => &METRICS_REQUEST,
    }
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, is_repeated: false }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, is_repeated: true }
}

const fn message<T>(fields: &'static [Field]) -> Message {
    Message { fields, struct_bytes: size_of::<T>() }
}

pub(crate) static ANY_VALUE: Message = message::<common::AnyValue>(&[
    one(1, "stringValue", Kind::Text),
    one(2, "boolValue", Kind::Bool),
    one(3, "intValue", Kind::Int64),
    one(4, "doubleValue", Kind::Double),
    one(5, "arrayValue", Kind::Message(&ARRAY_VALUE)),
    one(6, "kvlistValue", Kind::Message(&KEY_VALUE_LIST)),
    one(7, "bytesValue", Kind::Bytes),
]);
static ARRAY_VALUE: Message = message::<common::ArrayValue>(&[many(1, "values", Kind::Message(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message = message::<common::KeyValueList>(&[many(1, "values", Kind::Message(&KEY_VALUE))]);
static KEY_VALUE: Message =
    message::<common::KeyValue>(&[one(1, "key", Kind::Text), one(2, "value", Kind::Message(&ANY_VALUE))]);
static SCOPE: Message = message::<common::InstrumentationScope>(&[
    one(1, "name", Kind::Text),
    one(2, "version", Kind::Text),
    many(3, "attributes", Kind::Message(&KEY_VALUE)),
    one(4, "droppedAttributesCount", Kind::Uint32),
]);
static RESOURCE: Message = message::<resource::Resource>(&[
    many(1, "attributes", Kind::Message(&KEY_VALUE)),
    one(2, "droppedAttributesCount", Kind::Uint32),
    many(3, "entityRefs", Kind::Message(&ENTITY_REF)),
]);
static ENTITY_REF: Message = message::<common::EntityRef>(&[]);

static TRACE_REQUEST: Message =
    message::<trace::TracesData>(&[many(1, "resourceSpans", Kind::Message(&RESOURCE_SPANS))]);
static RESOURCE_SPANS: Message = message::<trace::ResourceSpans>(&[
    one(1, "resource", Kind::Message(&RESOURCE)),
    many(2, "scopeSpans", Kind::Message(&SCOPE_SPANS)),
    one(3, "schemaUrl", Kind::Text),
]);
static SCOPE_SPANS: Message = message::<trace::ScopeSpans>(&[
    one(1, "scope", Kind::Message(&SCOPE)),
    many(2, "spans", Kind::Message(&SPAN)),
    one(3, "schemaUrl", Kind::Text),
]);
static SPAN: Message = message::<trace::Span>(&[
    one(1, "traceId", Kind::Id),
    one(2, "spanId", Kind::Id),
    one(3, "traceState", Kind::Text),
    one(4, "parentSpanId", Kind::Id),
    one(16, "flags", Kind::Fixed32),
    one(5, "name", Kind::Text),
    one(6, "kind", Kind::Enum(|name| trace::span::SpanKind::from_str_name(name).map(i32::from))),
    one(7, "startTimeUnixNano", Kind::Fixed64),
    one(8, "endTimeUnixNano", Kind::Fixed64),
    many(9, "attributes", Kind::Message(&KEY_VALUE)),
    one(10, "droppedAttributesCount", Kind::Uint32),
    many(11, "events", Kind::Message(&EVENT)),
    one(12, "droppedEventsCount", Kind::Uint32),
    many(13, "links", Kind::Message(&LINK)),
    one(14, "droppedLinksCount", Kind::Uint32),
    one(15, "status", Kind::Message(&STATUS)),
]);
static EVENT: Message = message::<trace::span::Event>(&[
    one(1, "timeUnixNano", Kind::Fixed64),
    one(2, "name", Kind::Text),
    many(3, "attributes", Kind::Message(&KEY_VALUE)),
    one(4, "droppedAttributesCount", Kind::Uint32),
]);
static LINK: Message = message::<trace::span::Link>(&[
    one(1, "traceId", Kind::Id),
    one(2, "spanId", Kind::Id),
    one(3, "traceState", Kind::Text),
    many(4, "attributes", Kind::Message(&KEY_VALUE)),
    one(5, "droppedAttributesCount", Kind::Uint32),
    one(6, "flags", Kind::Fixed32),
]);
static STATUS: Message = message::<trace::Status>(&[
    one(2, "message", Kind::Text),
    one(3, "code", Kind::Enum(|name| trace::status::StatusCode::from_str_name(name).map(i32::from))),
]);

static LOGS_REQUEST: Message = message::<logs::LogsData>(&[many(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Message = message::<logs::ResourceLogs>(&[
    one(1, "resource", Kind::Message(&RESOURCE)),
    many(2, "scopeLogs", Kind::Message(&SCOPE_LOGS)),
    one(3, "schemaUrl", Kind::Text),
]);
static SCOPE_LOGS: Message = message::<logs::ScopeLogs>(&[
    one(1, "scope", Kind::Message(&SCOPE)),
    many(2, "logRecords", Kind::Message(&LOG_RECORD)),
    one(3, "schemaUrl", Kind::Text),
]);
static LOG_RECORD: Message = message::<logs::LogRecord>(&[
    one(1, "timeUnixNano", Kind::Fixed64),
    one(11, "observedTimeUnixNano", Kind::Fixed64),
    one(2, "severityNumber", Kind::Enum(|name| logs::SeverityNumber::from_str_name(name).map(i32::from))),
    one(3, "severityText", Kind::Text),
    one(5, "body", Kind::Message(&ANY_VALUE)),
    many(6, "attributes", Kind::Message(&KEY_VALUE)),
    one(7, "droppedAttributesCount", Kind::Uint32),
    one(8, "flags", Kind::Fixed32),
    one(9, "traceId", Kind::Id),
    one(10, "spanId", Kind::Id),
    one(12, "eventName", Kind::Text),
]);

static METRICS_REQUEST: Message =
    message::<metrics::MetricsData>(&[many(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Message = message::<metrics::ResourceMetrics>(&[
    one(1, "resource", Kind::Message(&RESOURCE)),
    many(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS)),
    one(3, "schemaUrl", Kind::Text),
]);
static SCOPE_METRICS: Message = message::<metrics::ScopeMetrics>(&[
    one(1, "scope", Kind::Message(&SCOPE)),
    many(2, "metrics", Kind::Message(&METRIC)),
    one(3, "schemaUrl", Kind::Text),
]);
static METRIC: Message = message::<metrics::Metric>(&[
    one(1, "name", Kind::Text),
    one(2, "description", Kind::Text),
    one(3, "unit", Kind::Text),
    many(12, "metadata", Kind::Message(&KEY_VALUE)),
    one(5, "gauge", Kind::Message(&GAUGE)),
    one(7, "sum", Kind::Message(&SUM)),
    one(9, "histogram", Kind::Message(&HISTOGRAM)),
    one(10, "exponentialHistogram", Kind::Message(&EXPONENTIAL_HISTOGRAM)),
    one(11, "summary", Kind::Message(&SUMMARY)),
]);

const TEMPORALITY: Kind = Kind::Enum(|name| metrics::AggregationTemporality::from_str_name(name).map(i32::from));

static GAUGE: Message = message::<metrics::Gauge>(&[many(1, "dataPoints", Kind::Message(&NUMBER_POINT))]);
static SUM: Message = message::<metrics::Sum>(&[
    many(1, "dataPoints", Kind::Message(&NUMBER_POINT)),
    one(2, "aggregationTemporality", TEMPORALITY),
    one(3, "isMonotonic", Kind::Bool),
]);
static HISTOGRAM: Message = message::<metrics::Histogram>(&[
    many(1, "dataPoints", Kind::Message(&HISTOGRAM_POINT)),
    one(2, "aggregationTemporality", TEMPORALITY),
]);
static EXPONENTIAL_HISTOGRAM: Message = message::<metrics::ExponentialHistogram>(&[
    many(1, "dataPoints", Kind::Message(&EXPONENTIAL_POINT)),
    one(2, "aggregationTemporality", TEMPORALITY),
]);
static SUMMARY: Message = message::<metrics::Summary>(&[many(1, "dataPoints", Kind::Message(&SUMMARY_POINT))]);
static NUMBER_POINT: Message = message::<metrics::NumberDataPoint>(&[
    many(7, "attributes", Kind::Message(&KEY_VALUE)),
    one(2, "startTimeUnixNano", Kind::Fixed64),
    one(3, "timeUnixNano", Kind::Fixed64),
    one(4, "asDouble", Kind::Double),
    one(6, "asInt", Kind::Sfixed64),
    many(5, "exemplars", Kind::Message(&EXEMPLAR)),
    one(8, "flags", Kind::Uint32),
]);
static HISTOGRAM_POINT: Message = message::<metrics::HistogramDataPoint>(&[
    many(9, "attributes", Kind::Message(&KEY_VALUE)),
    one(2, "startTimeUnixNano", Kind::Fixed64),
    one(3, "timeUnixNano", Kind::Fixed64),
    one(4, "count", Kind::Fixed64),
    one(5, "sum", Kind::Double),
    many(6, "bucketCounts", Kind::Fixed64),
    many(7, "explicitBounds", Kind::Double),
    many(8, "exemplars", Kind::Message(&EXEMPLAR)),
    one(10, "flags", Kind::Uint32),
    one(11, "min", Kind::Double),
    one(12, "max", Kind::Double),
]);
static EXPONENTIAL_POINT: Message = message::<metrics::ExponentialHistogramDataPoint>(&[
    many(1, "attributes", Kind::Message(&KEY_VALUE)),
    one(2, "startTimeUnixNano", Kind::Fixed64),
    one(3, "timeUnixNano", Kind::Fixed64),
    one(4, "count", Kind::Fixed64),
    one(5, "sum", Kind::Double),
    one(6, "scale", Kind::Sint32),
    one(7, "zeroCount", Kind::Fixed64),
    one(8, "positive", Kind::Message(&BUCKETS)),
    one(9, "negative", Kind::Message(&BUCKETS)),
    one(10, "flags", Kind::Uint32),
    many(11, "exemplars", Kind::Message(&EXEMPLAR)),
    one(12, "min", Kind::Double),
    one(13, "max", Kind::Double),
    one(14, "zeroThreshold", Kind::Double),
]);
static BUCKETS: Message = message::<metrics::exponential_histogram_data_point::Buckets>(&[
    one(1, "offset", Kind::Sint32),
    many(2, "bucketCounts", Kind::Uint64),
]);
static SUMMARY_POINT: Message = message::<metrics::SummaryDataPoint>(&[
    many(7, "attributes", Kind::Message(&KEY_VALUE)),
    one(2, "startTimeUnixNano", Kind::Fixed64),
    one(3, "timeUnixNano", Kind::Fixed64),
    one(4, "count", Kind::Fixed64),
    one(5, "sum", Kind::Double),
    many(6, "quantileValues", Kind::Message(&QUANTILE)),
    one(8, "flags", Kind::Uint32),
]);
static QUANTILE: Message = message::<metrics::summary_data_point::ValueAtQuantile>(&[
    one(1, "quantile", Kind::Double),
    one(2, "value", Kind::Double),
]);
static EXEMPLAR: Message = message::<metrics::Exemplar>(&[
    many(7, "filteredAttributes", Kind::Message(&KEY_VALUE)),
    one(2, "timeUnixNano", Kind::Fixed64),
    one(3, "asDouble", Kind::Double),
    one(6, "asInt", Kind::Sfixed64),
    one(4, "spanId", Kind::Id),
    one(5, "traceId", Kind::Id),
]);
